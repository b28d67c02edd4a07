/* scale_experts: what each chosen expert gave, times the scale of that expert's matrix, of formats whose blocks have
 * too few bits for their range. */
#include "base/random.h"
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"

enum { X, IDS, SCALES0, SCALES1 };

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[X], *ids = &call->in[IDS], *scales = &call->in[SCALES0];
    enum clinfer_status status = ci_infer_expect("scale_experts", call, X, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("scale_experts", call, IDS, &ci_type_i32, x->rows, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("scale_experts", call, SCALES0, &ci_type_f32, 1, -1);
    if (status == CLINFER_OK) status = ci_infer_optional("scale_experts", call, SCALES1, &ci_type_f32, 1, scales->cols);
    int64_t slices = ids->cols * (call->in[SCALES1].type ? 2 : 1);
    if (status == CLINFER_OK && x->cols % slices)
        status = ci_fail(CLINFER_BAD_FILE, "op scale_experts: %lld columns are not %lld equal slices",
                         (long long)x->cols, (long long)slices);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t used = call->in[IDS].cols, cols = call->in[X].cols, parts = call->in[SCALES1].type ? 2 : 1;
    int64_t width = cols / (used * parts);
    for (int64_t row = 0; row < call->in[X].rows; row++)
        for (int64_t i = 0; i < cols; i++) {
            int64_t slice = i / width, at = row * cols + i;
            int32_t expert = ((const int32_t *)call->in[IDS].data)[row * used + slice % used];
            const float *scales = call->in[slice < used ? SCALES0 : SCALES1].data;
            ((float *)call->out[0].data)[at] = ((const float *)call->in[X].data)[at] * scales[expert];
        }
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    int32_t *ids = call->in[IDS].data;
    for (int64_t i = 0; i < call->in[IDS].rows * call->in[IDS].cols; i++)
        ids[i] = (int32_t)(ci_random(random_state) % (uint64_t)call->in[SCALES0].cols);
}

#define ONE_MATRIX(rows, used, width, experts)                                                                         \
    {&ci_type_f32, rows, (used) * (width)}, {&ci_type_i32, rows, used}, { &ci_type_f32, 1, experts }

static const struct ci_case cases[] = {
    {"down, one token", {ONE_MATRIX(1, 8, 2048, 128)}, {{0}}, {{0}, {0}}},
    {"odd", {ONE_MATRIX(5, 3, 7, 4)}, {{0}}, {{0}, {0}}},
    {"gate and up, prompt",
     {{&ci_type_f32, 37, 2 * 8 * 96}, {&ci_type_i32, 37, 8}, {&ci_type_f32, 1, 64}, {&ci_type_f32, 1, 64}},
     {{0}},
     {{0}, {0}}},
    {0}};

const struct ci_op ci_op_scale_experts = {
    .name = "scale_experts",
    .inputs = 4,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-13, 1e-6},
    .cases = cases,
};
