/* embed: the rows of the token table that the ids name. */
#include <assert.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("embed", call, 0, NULL, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("embed", call, 1, &ci_type_i32, -1, 1);
    if (status == CLINFER_OK) status = ci_infer_expect("embed", call, 2, &ci_type_i32, -1, 1);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[1].extent, call->in[1].rows, call->in[0].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const struct ci_view *table = &call->in[0];
    const int32_t *ids = call->in[1].data, *previous = call->in[2].data;
    float *out = call->out[0].data;
    for (int64_t row = 0; row < call->in[1].rows; row++) {
        int32_t id = ids[row] >= 0 ? ids[row] : previous[-1 - ids[row]];
        assert(ids[row] < table->rows);
        if (id < 0 || id >= table->rows) id = 0; /* a sampler gone wrong, which the engine notices */
        ci_view_row(table, id, out + row * table->cols);
    }
}

static double looked_up(const struct ci_call *call) {
    return (double)call->in[1].rows * (double)ci_type_row_bytes(call->in[0].type, call->in[0].cols);
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    int32_t *ids = call->in[1].data, *previous = call->in[2].data;
    for (int64_t i = 0; i < call->in[2].rows; i++)
        previous[i] = (int32_t)(ci_random(random_state) % (uint64_t)call->in[0].rows);
    for (int64_t i = 0; i < call->in[1].rows; i++) {
        int32_t id = (int32_t)(ci_random(random_state) % (uint64_t)call->in[0].rows);
        ids[i] = i % 3 == 2 ? (int32_t)(-1 - id % call->in[2].rows) : id;
    }
}

#define CASE(title, type, vocabulary, cols, rows)                                                                      \
    {                                                                                                                  \
        title, {{&ci_type_##type, vocabulary, cols}, {&ci_type_i32, rows, 1}, {&ci_type_i32, 4, 1}}, {{0}}, {          \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", q8_0, 49152, 576, 1),
                                       CASE("f32", f32, 37, 64, 5),
                                       CASE("f16", f16, 37, 96, 5),
                                       CASE("bf16", bf16, 37, 32, 3),
                                       CASE("q4_0", q4_0, 48, 64, 7),
                                       CASE("q4_1", q4_1, 50, 96, 7),
                                       CASE("q5_0", q5_0, 31, 64, 7),
                                       CASE("q5_1", q5_1, 31, 64, 7),
                                       CASE("q2_k", q2_k, 33, 512, 7),
                                       CASE("q3_k", q3_k, 33, 512, 7),
                                       CASE("q4_k", q4_k, 33, 512, 7),
                                       CASE("q5_k", q5_k, 35, 512, 7),
                                       CASE("q6_k", q6_k, 33, 512, 7),
                                       CASE("iq4_nl", iq4_nl, 31, 64, 7),
                                       CASE("iq4_xs", iq4_xs, 33, 512, 3),
                                       CASE("mxfp4", mxfp4, 31, 96, 7),
                                       CASE("nvfp4", nvfp4, 31, 128, 5),
                                       CASE("tq1_0", tq1_0, 19, 512, 3),
                                       CASE("tq2_0", tq2_0, 19, 512, 3),
                                       CASE("iq1_s", iq1_s, 19, 512, 3),
                                       CASE("iq1_m", iq1_m, 19, 512, 3),
                                       CASE("iq2_xxs", iq2_xxs, 19, 512, 3),
                                       CASE("iq2_xs", iq2_xs, 19, 512, 3),
                                       CASE("iq2_s", iq2_s, 19, 512, 3),
                                       CASE("iq3_xxs", iq3_xxs, 19, 512, 3),
                                       CASE("iq3_s", iq3_s, 19, 512, 3),
                                       CASE("q8_0, many", q8_0, 100, 64, 130),
                                       {0}};

const struct ci_op ci_op_embed = {
    .name = "embed",
    .inputs = 3,
    .outputs = 1,
    .weight_inputs = 1u << 0,
    .looked_up_inputs = 1u << 0,
    .extra_bytes = looked_up,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-12, 1e-6},
    .cases = cases,
};
