/* concat: up to three matrices side by side, for weights of different types that read the same input. */
#include <string.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    int64_t cols = 0;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS && status == CLINFER_OK; i++) {
        if (i > 0 && !call->in[i].type) continue;
        status = ci_infer_expect("concat", call, i, &ci_type_f32, call->in[0].rows, -1);
        cols += call->in[i].cols;
    }
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, cols);
    return status;
}

static void reference(const struct ci_call *call) {
    float *out = call->out[0].data;
    for (int64_t row = 0; row < call->in[0].rows; row++)
        for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
            const struct ci_view *in = &call->in[i];
            if (!in->type) continue;
            memcpy(out, (const float *)in->data + row * in->cols, sizeof(float) * (size_t)in->cols);
            out += in->cols;
        }
}

static const struct ci_case cases[] = {
    {"three", {{&ci_type_f32, 5, 96}, {&ci_type_f32, 5, 32}, {&ci_type_f32, 5, 33}}, {{0}}, {{0}, {0}}},
    {"two, one row", {{&ci_type_f32, 1, 1536}, {&ci_type_f32, 1, 1536}}, {{0}}, {{0}, {0}}},
    {0}};

const struct ci_op ci_op_concat = {
    .name = "concat",
    .inputs = 3,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-15, 1e-7},
    .cases = cases,
};
