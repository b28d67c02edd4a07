/* add: the residual. */
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("add", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK)
        status = ci_infer_expect("add", call, 1, &ci_type_f32, call->in[0].rows, call->in[0].cols);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, call->in[0].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *out = call->out[0].data;
    for (int64_t i = 0; i < call->in[0].rows * call->in[0].cols; i++) out[i] = a[i] + b[i];
}

#define CASE(title, rows, cols)                                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_f32, rows, cols}}, {{0}}, {                                      \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {
    CASE("smollm2, one token", 1, 576), CASE("prompt", 37, 576), CASE("odd", 3, 7), {0}};

const struct ci_op ci_op_add = {
    .name = "add",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-13, 1e-6},
    .cases = cases,
};
