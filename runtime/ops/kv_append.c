/* kv_append: keys and values of this run's rows go to their slots of a layer's KV cache. Idempotent: running it again
 * writes the same. */
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    int64_t cols = call->in[0].cols;
    int32_t key = call->params.i[CI_KV_I_KEY_COLUMN], value = call->params.i[CI_KV_I_VALUE_COLUMN];
    enum clinfer_status status = ci_infer_expect("kv_append", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("kv_append", call, 1, &ci_type_i32, call->in[0].rows, 1);
    if (status == CLINFER_OK &&
        (key < 0 || value < 0 || key + call->out[0].cols > cols || value + call->out[1].cols > cols))
        status =
            ci_fail(CLINFER_BAD_FILE, "op kv_append: keys at column %d and values at %d do not fit in %lld columns",
                    key, value, (long long)cols);
    for (int i = 0; i < 2 && status == CLINFER_OK; i++)
        if (!ci_type_fits_cols(call->out[i].type, call->out[i].cols))
            status = ci_fail(CLINFER_UNSUPPORTED,
                             "op kv_append: a cache of %s has rows of a multiple of %d columns, not %lld",
                             call->out[i].type->name, call->out[i].type->block_cols, (long long)call->out[i].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const int32_t *slots = call->in[1].data;
    for (int output = 0; output < 2; output++) {
        const struct ci_view *cache = &call->out[output];
        int32_t column = call->params.i[output ? CI_KV_I_VALUE_COLUMN : CI_KV_I_KEY_COLUMN];
        size_t row_bytes = ci_type_row_bytes(cache->type, cache->cols);
        for (int64_t row = 0; row < call->in[0].rows; row++) {
            if (slots[row] < 0) continue;
            uint8_t *out = (uint8_t *)cache->data + (size_t)slots[row] * row_bytes;
            ci_type_to_cache(cache->type, (const float *)call->in[0].data + row * call->in[0].cols + column,
                             cache->cols, out);
        }
    }
}

void ci_fill_slots(const struct ci_view *slots, int64_t capacity) {
    int32_t *slot = slots->data;
    for (int64_t i = 0; i < slots->rows; i++) slot[i] = i % 8 == 7 ? -1 : (int32_t)((i * 5 + 3) % capacity);
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    (void)random_state;
    ci_fill_slots(&call->in[1], call->out[0].rows);
}

#define CASE(title, key_type, value_type, rows, cols, key, value)                                                      \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_i32, rows, 1}},                                                  \
            {{&ci_type_##key_type, 256, key}, {&ci_type_##value_type, 256, value}}, {                                  \
            {0, 0, 0, (cols) - (key) - (value), (cols) - (value)}, { 0 }                                               \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", f16, f16, 1, 960, 192, 192),
                                       CASE("smollm2, prompt", f16, f16, 37, 960, 192, 192),
                                       CASE("f32", f32, f32, 9, 96, 32, 32),
                                       CASE("values of f32, narrower", f16, f32, 9, 160, 96, 42),
                                       CASE("q8_0 and q4_0", q8_0, q4_0, 20, 360, 96, 160),
                                       CASE("q4_0 and q8_0", q4_0, q8_0, 1, 960, 192, 192),
                                       {0}};

/* Nine rows, one of which is skipped. */
static void like(const struct ci_call *call, struct ci_case *shape) {
    enum { ROWS = 9, SLOTS = 64 };
    int64_t rows = call->in[0].rows < ROWS ? call->in[0].rows : ROWS;
    *shape = (struct ci_case){
        .name = "its own",
        .in = {{call->in[0].type, rows, call->in[0].cols}, {&ci_type_i32, rows, 1}},
        .state = {{call->out[0].type, SLOTS, call->out[0].cols}, {call->out[1].type, SLOTS, call->out[1].cols}},
        .params = call->params};
}

const struct ci_op ci_op_kv_append = {
    .name = "kv_append",
    .inputs = 2,
    .outputs = 2,
    .state_outputs = 1u << 0 | 1u << 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-6, 2e-3},
    .cases = cases,
    .like = like,
};
