/* gather: the rows whose logits are wanted, before the output matrix: a prompt needs one row of them. */
#include <string.h>

#include "base/random.h"
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("gather", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("gather", call, 1, &ci_type_i32, -1, 1);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[1].extent, call->in[1].rows, call->in[0].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const int32_t *rows = call->in[1].data;
    size_t row_bytes = sizeof(float) * (size_t)call->in[0].cols;
    for (int64_t i = 0; i < call->in[1].rows; i++)
        memcpy((uint8_t *)call->out[0].data + (size_t)i * row_bytes,
               (const uint8_t *)call->in[0].data + (size_t)rows[i] * row_bytes, row_bytes);
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    int32_t *rows = call->in[1].data;
    for (int64_t i = 0; i < call->in[1].rows; i++)
        rows[i] = (int32_t)(ci_random(random_state) % (uint64_t)call->in[0].rows);
}

#define CASE(title, rows, cols, wanted)                                                                                \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_i32, wanted, 1}}, {{0}}, {                                       \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("last of a prompt", 37, 576, 1), CASE("several", 9, 33, 5), {0}};

const struct ci_op ci_op_gather = {
    .name = "gather",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-15, 1e-7},
    .cases = cases,
};
