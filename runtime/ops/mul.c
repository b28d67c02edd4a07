/* mul: one matrix times another, number by number. */
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *a = &call->in[0];
    enum clinfer_status status = ci_infer_expect("mul", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("mul", call, 1, &ci_type_f32, a->rows, a->cols);
    ci_infer_out(&call->out[0], &ci_type_f32, a->extent, a->rows, a->cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *out = call->out[0].data;
    for (int64_t i = 0; i < call->in[0].rows * call->in[0].cols; i++) out[i] = a[i] * b[i];
}

static const struct ci_case cases[] = {
    {"one token", {{&ci_type_f32, 1, 1536}, {&ci_type_f32, 1, 1536}}, {{0}}, {{0}, {0}}},
    {"odd", {{&ci_type_f32, 13, 43}, {&ci_type_f32, 13, 43}}, {{0}}, {{0}, {0}}},
    {0}};

const struct ci_op ci_op_mul = {
    .name = "mul",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-13, 1e-6},
    .cases = cases,
};
