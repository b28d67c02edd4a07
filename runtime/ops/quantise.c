/* quantise: activations to q8 or q16 (types/type.h), for kernels that multiply integers. An op of its own, so that
 * integer kernels are judged on the same rounded inputs as their reference. */
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("quantise", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK && !ci_type_fits_cols(&ci_type_q8, call->in[0].cols))
        status =
            ci_fail(CLINFER_UNSUPPORTED, "op quantise: %lld columns are not a multiple of %d; use --activations f32",
                    (long long)call->in[0].cols, CI_Q8_GROUP);
    const struct ci_type *type = call->params.i[CI_QUANTISE_I_16_BITS] ? &ci_type_q16 : &ci_type_q8;
    ci_infer_out(&call->out[0], type, call->in[0].extent, call->in[0].rows, call->in[0].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->in[0].cols;
    size_t row_bytes = ci_type_row_bytes(call->out[0].type, cols);
    for (int64_t row = 0; row < call->in[0].rows; row++)
        ci_codes_from_floats((const float *)call->in[0].data + row * cols, cols, ci_type_planes(call->out[0].type),
                             (uint8_t *)call->out[0].data + (size_t)row * row_bytes);
}

#define CASE(title, rows, cols)                                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}}, {{0}}, {                                                                  \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", 1, 576),
                                       CASE("smollm2, prompt", 37, 1536),
                                       CASE("one group", 3, 32),
                                       CASE("1.5b, ffn", 2, 8960),
                                       {0}};

const struct ci_op ci_op_quantise = {
    .name = "quantise",
    .inputs = 1,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = CI_GATE_Q8,
    .cases = cases,
};
