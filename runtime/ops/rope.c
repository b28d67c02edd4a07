/* rope: rotates the first `heads` heads by this run's table (Su et al. 2021, arXiv 2104.09864); NORM pairs neighbours,
 * NEOX pairs the two halves. Alone and followed by kv_append. */
#include <string.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    int32_t heads = call->params.i[CI_ROPE_I_HEADS], head_dim = call->params.i[CI_ROPE_I_HEAD_DIM];
    int32_t offset = call->params.i[CI_ROPE_I_OFFSET];
    int64_t rotated = call->in[1].cols;
    enum clinfer_status status = ci_infer_expect("rope", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("rope", call, 1, &ci_type_f32, call->in[0].rows, -1);
    if (status == CLINFER_OK && (heads < 0 || head_dim <= 0 || (int64_t)heads * head_dim > call->in[0].cols ||
                                 offset < 0 || offset + rotated > head_dim || rotated % 2))
        status =
            ci_fail(CLINFER_BAD_FILE, "op rope: %d heads of %d with %lld rotated from %d on do not fit in %lld columns",
                    heads, head_dim, (long long)rotated, offset, (long long)call->in[0].cols);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, call->in[0].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->in[0].cols, half = call->in[1].cols / 2;
    bool neox = call->params.i[CI_ROPE_I_NEOX];
    int64_t step = neox ? 1 : 2, partner = neox ? half : 1;
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        const float *x = (const float *)call->in[0].data + row * cols;
        const float *cosines = (const float *)call->in[1].data + row * 2 * half, *sines = cosines + half;
        float *out = (float *)call->out[0].data + row * cols;
        memcpy(out, x, sizeof(float) * (size_t)cols);
        for (int32_t head = 0; head < call->params.i[CI_ROPE_I_HEADS]; head++) {
            int64_t base = (int64_t)head * call->params.i[CI_ROPE_I_HEAD_DIM] + call->params.i[CI_ROPE_I_OFFSET];
            for (int64_t i = 0; i < half; i++) {
                float a = x[base + i * step], b = x[base + i * step + partner];
                out[base + i * step] = a * cosines[i] - b * sines[i];
                out[base + i * step + partner] = a * sines[i] + b * cosines[i];
            }
        }
    }
}

/* The table's values are cosines and sines of nothing: any numbers rotate. The slots are those of kv_append. */
static void fill_slots(struct ci_call *call, uint64_t *random_state) {
    (void)random_state;
    ci_fill_slots(&call->in[2], call->out[1].rows);
}

#define FULL_CASE(title, key_type, value_type, rows, q, kv, dim, rotated, neox, offset)                                \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_f32, rows, ((q) + 2 * (kv)) * (dim)}, {&ci_type_f32, rows, rotated}, {&ci_type_i32, rows, 1}},  \
            {{NULL, 0, 0}, {&ci_type_##key_type, 256, (kv) * (dim)}, {&ci_type_##value_type, 256, (kv) * (dim)}}, {    \
            {(q) + (kv), dim, neox, (q) * (dim), ((q) + (kv)) * (dim), offset}, { 0 }                                  \
        }                                                                                                              \
    }
#define CASE(title, kv_type, rows, q, kv, dim, rotated, neox)                                                          \
    FULL_CASE(title, kv_type, kv_type, rows, q, kv, dim, rotated, neox, 0)

static const struct ci_case cases[] = {CASE("smollm2, one token", f16, 1, 9, 3, 64, 64, 0),
                                       CASE("smollm2, prompt", f16, 37, 9, 3, 64, 64, 0),
                                       CASE("qwen2 1.5b, one token", f16, 1, 12, 2, 128, 128, 1),
                                       CASE("qwen2 1.5b, prompt", f32, 7, 12, 2, 128, 128, 1),
                                       CASE("one head", f32, 2, 1, 1, 32, 32, 1),
                                       CASE("partly rotated", f32, 3, 2, 1, 64, 32, 1),
                                       CASE("partly rotated, neighbours", f16, 3, 2, 1, 64, 16, 0),
                                       FULL_CASE("rotated in the middle", q8_0, q4_0, 9, 2, 1, 96, 32, 1, 50),
                                       FULL_CASE("rotated at the end", q4_0, q8_0, 3, 2, 1, 64, 22, 0, 42),
                                       {0}};

/* As for kv_append. */
static void like(const struct ci_call *call, struct ci_case *shape) {
    enum { ROWS = 9, SLOTS = 64 };
    int64_t rows = call->in[0].rows < ROWS ? call->in[0].rows : ROWS;
    *shape = (struct ci_case){.name = "its own",
                              .in = {{call->in[0].type, rows, call->in[0].cols},
                                     {call->in[1].type, rows, call->in[1].cols},
                                     {&ci_type_i32, rows, 1}},
                              .state = {{NULL, 0, 0},
                                        {call->out[1].type, SLOTS, call->out[1].cols},
                                        {call->out[2].type, SLOTS, call->out[2].cols}},
                              .params = call->params};
}

const struct ci_op ci_op_rope = {
    .name = "rope",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-12, 1e-5},
    .cases = cases,
};

const struct ci_op ci_op_rope_kv_append = {
    .name = "rope_kv_append",
    .inputs = 3,
    .outputs = 3,
    .state_outputs = 1u << 1 | 1u << 2,
    .first = &ci_op_rope,
    .second = &ci_op_kv_append,
    .second_input = 0,
    .keeps_first = true,
    .fill = fill_slots,
    .gate = {1e-6, 2e-3},
    .cases = cases,
    .like = like,
};
