/* temperature: queries grow with the logarithm of their position, so that attention stays sharp in texts longer than
 * those of the training (as Llama 4 and Ministral 3 do). */
#include <math.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[0];
    enum clinfer_status status = ci_infer_expect("temperature", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("temperature", call, 1, &ci_type_i32, x->rows, 1);
    int32_t cols = call->params.i[CI_TEMPERATURE_I_COLUMNS];
    if (status == CLINFER_OK && (cols < 0 || cols > x->cols || !(call->params.f[CI_TEMPERATURE_F_LENGTH] > 0)))
        status = ci_fail(CLINFER_BAD_FILE, "op temperature: %d of %lld columns, a length of %g", (int)cols,
                         (long long)x->cols, (double)call->params.f[CI_TEMPERATURE_F_LENGTH]);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->in[0].cols;
    double scale = (double)call->params.f[CI_TEMPERATURE_F_SCALE];
    double length = (double)call->params.f[CI_TEMPERATURE_F_LENGTH];
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        double position = ((const int32_t *)call->in[1].data)[row];
        float factor = (float)(scale * log(floor(position / length) + 1) + 1);
        const float *x = (const float *)call->in[0].data + row * cols;
        float *out = (float *)call->out[0].data + row * cols;
        for (int64_t i = 0; i < cols; i++) out[i] = i < call->params.i[CI_TEMPERATURE_I_COLUMNS] ? x[i] * factor : x[i];
    }
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    (void)random_state;
    for (int64_t i = 0; i < call->in[1].rows; i++) ((int32_t *)call->in[1].data)[i] = (int32_t)(i * 37);
}

static const struct ci_case cases[] = {
    {"8 heads, prompt", {{&ci_type_f32, 37, 12 * 64}, {&ci_type_i32, 37, 1}}, {{0}}, {{8 * 64}, {0.1f, 100}}},
    {"odd", {{&ci_type_f32, 3, 43}, {&ci_type_i32, 3, 1}}, {{0}}, {{21}, {0.5f, 16}}},
    {0}};

const struct ci_op ci_op_temperature = {
    .name = "temperature",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-12, 1e-5},
    .cases = cases,
};
