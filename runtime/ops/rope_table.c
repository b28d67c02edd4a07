/* rope_table: cosines and sines of this run's positions, once for all layers (Su et al. 2021, arXiv 2104.09864), times
 * a magnitude, by which YaRN and LongRoPE make up for positions that are stretched. The angle is the float product
 * position * frequency in every variant, so that they differ only by their cosines. */
#include <math.h>

#include "base/random.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("rope_table", call, 0, &ci_type_i32, -1, 1);
    if (status == CLINFER_OK) status = ci_infer_expect("rope_table", call, 1, &ci_type_f32, 1, -1);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, 2 * call->in[1].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const int32_t *positions = call->in[0].data;
    const float *frequencies = call->in[1].data;
    int64_t half = call->in[1].cols;
    float magnitude = call->params.f[CI_ROPE_TABLE_F_MAGNITUDE];
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        float *cosines = (float *)call->out[0].data + row * 2 * half, *sines = cosines + half;
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)positions[row] * frequencies[i];
            cosines[i] = magnitude * (float)cos(angle);
            sines[i] = magnitude * (float)sin(angle);
        }
    }
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    int32_t *positions = call->in[0].data;
    float *frequencies = call->in[1].data;
    for (int64_t i = 0; i < call->in[0].rows; i++) positions[i] = (int32_t)(ci_random(random_state) % 32768);
    for (int64_t i = 0; i < call->in[1].cols; i++) frequencies[i] = powf(10000.0f, -(float)i / (float)call->in[1].cols);
}

#define CASE(title, rows, half, magnitude)                                                                             \
    {                                                                                                                  \
        .name = title, .in = {{&ci_type_i32, rows, 1}, {&ci_type_f32, 1, half}}, .params = {                           \
            .f = {[CI_ROPE_TABLE_F_MAGNITUDE] = magnitude}                                                             \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", 1, 32, 1),
                                       CASE("head of 128, many", 77, 64, 1),
                                       CASE("odd, stretched", 3, 5, 1.25f),
                                       {0}};

const struct ci_op ci_op_rope_table = {
    .name = "rope_table",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};
