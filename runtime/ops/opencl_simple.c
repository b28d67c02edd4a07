/* opencl_simple.c: OpenCL variants of the ops that are neither matmul nor attention nor norms: one portable kernel
 * each. */
#include "ops/op_list.h"
#include "ops/opencl.h"
#include "tensor/op_params.h"

#define CALL_GRID                                                                                                      \
    const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps, struct ci_grid *grid

static void grid_units(CALL_GRID) { ci_grid_rows(grid, caps, call->out[0].rows, call->out[0].cols / 32, tunables[0]); }

static void grid_vectors(CALL_GRID) {
    ci_grid_rows(grid, caps, call->out[0].rows, (call->out[0].cols + 15) / 16, tunables[0]);
}

static void grid_halves(CALL_GRID) { ci_grid_rows(grid, caps, call->out[0].rows, call->out[0].cols / 2, tunables[0]); }

static void grid_row(CALL_GRID) {
    (void)tunables;
    (void)caps;
    ci_grid_1d(grid, (size_t)call->out[0].rows);
}

static bool fits_units(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return call->in[0].cols % 32 == 0;
}

static const struct ci_tunable group_tunables[] = {CI_GROUP_TUNABLE, {0}};

/* A variant of one launch. */
#define SIMPLE(variant_op, kernel_name, file, type, fit, grid_function, ...)                                           \
    static const struct ci_bind variant_op##_bind[] = {__VA_ARGS__, END};                                              \
    static const struct ci_launch variant_op##_launch = {kernel_name, variant_op##_bind, grid_function};               \
    const struct ci_variant ci_variant_##variant_op##_opencl = {.op = &ci_op_##variant_op,                             \
                                                                .name = "portable",                                    \
                                                                .for_whom = "all devices",                             \
                                                                .backend = CI_BACKEND_OPENCL,                          \
                                                                .fits = fit,                                           \
                                                                .source = file,                                        \
                                                                .type_input = type,                                    \
                                                                .tunables = group_tunables,                            \
                                                                .grid_tunables = 1,                                    \
                                                                .launches = &variant_op##_launch,                      \
                                                                .launch_count = 1};

SIMPLE(embed, "embed", "embed.cl", 0, fits_units, grid_units, IN(0), IN(1), IN(2), OUT(0), OUT_COLS(0), IN_ROWS(0))
SIMPLE(rope_table, "rope_table", "rope_table.cl", -1, NULL, grid_halves, IN(0), IN(1), OUT(0), IN_COLS(1),
       F(CI_ROPE_TABLE_F_MAGNITUDE))
SIMPLE(quantise, "quantise", "quantise.cl", -1, fits_units, grid_units, IN(0), OUT(0), OUT_COLS(0))
SIMPLE(add, "add", "elementwise.cl", -1, NULL, grid_vectors, IN(0), IN(1), OUT(0), OUT_COLS(0))
SIMPLE(mul, "mul", "elementwise.cl", -1, NULL, grid_vectors, IN(0), IN(1), OUT(0), OUT_COLS(0))
SIMPLE(gather, "gather", "elementwise.cl", -1, NULL, grid_vectors, IN(0), IN(1), OUT(0), OUT_COLS(0))
SIMPLE(concat, "concat", "elementwise.cl", -1, NULL, grid_vectors, IN(0), IN(1), IN(2), OUT(0), IN_COLS(0), IN_COLS(1),
       IN_COLS(2))
SIMPLE(affine, "affine", "affine.cl", -1, NULL, grid_vectors, IN(0), IN(1), IN(2), OUT(0), OUT_COLS(0))

SIMPLE(scale_experts, "scale_experts", "scale_experts.cl", -1, NULL, grid_vectors, IN(0), IN(1), IN(2), IN(3), OUT(0),
       OUT_COLS(0), IN_COLS(1))
SIMPLE(temperature, "temperature", "temperature.cl", -1, NULL, grid_vectors, IN(0), IN(1), OUT(0), OUT_COLS(0),
       I(CI_TEMPERATURE_I_COLUMNS), F(CI_TEMPERATURE_F_SCALE), F(CI_TEMPERATURE_F_LENGTH))

/* ---- glu and unary ---- */

SIMPLE(glu, "glu", "activation.cl", -1, NULL, grid_vectors, IN(0), OUT(0), OUT_COLS(0), I(CI_ACTIVATION_I_KIND),
       I(CI_ACTIVATION_I_WIDTH), F(CI_ACTIVATION_F_A), F(CI_ACTIVATION_F_LIMIT))
SIMPLE(glu_quantise, "glu", "activation.cl", -1, NULL, grid_units, IN(0), OUT(0), OUT_COLS(0), I(CI_ACTIVATION_I_KIND),
       I(CI_ACTIVATION_I_WIDTH), F(CI_ACTIVATION_F_A), F(CI_ACTIVATION_F_LIMIT))
SIMPLE(unary, "unary", "activation.cl", -1, NULL, grid_vectors, IN(0), OUT(0), OUT_COLS(0), I(CI_ACTIVATION_I_KIND),
       F(CI_ACTIVATION_F_A))
SIMPLE(unary_quantise, "unary", "activation.cl", -1, NULL, grid_units, IN(0), OUT(0), OUT_COLS(0),
       I(CI_ACTIVATION_I_KIND), F(CI_ACTIVATION_F_A))

/* ---- rope and the KV cache ---- */

static void grid_heads(CALL_GRID) {
    (void)tunables;
    (void)caps;
    grid->dimensions = 2;
    grid->global[0] = ci_ceil_div(call->in[0].cols, call->params.i[CI_ROPE_I_HEAD_DIM]);
    grid->global[1] = (size_t)call->in[0].rows;
    grid->local[0] = grid->local[1] = 1;
}

static void grid_append(CALL_GRID) { ci_grid_rows(grid, caps, call->in[0].rows, call->out[0].cols, tunables[0]); }

static bool is_cache_type(const struct ci_type *type) {
    return type == &ci_type_f16 || type == &ci_type_f32 || type == &ci_type_q8_0 || type == &ci_type_q4_0;
}

static bool fits_append(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return is_cache_type(call->out[0].type) && is_cache_type(call->out[1].type);
}

/* A work-item has the columns of one head, and so whole blocks. */
static bool fits_rope_append(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    const int32_t *params = call->params.i;
    for (int i = 1; i <= 2; i++) {
        if (!is_cache_type(call->out[i].type)) return false;
        int unit = call->out[i].type->block_cols;
        if (params[CI_ROPE_I_HEAD_DIM] % unit || params[i == 1 ? CI_KV_I_KEY_COLUMN : CI_KV_I_VALUE_COLUMN] % unit)
            return false;
    }
    return true;
}

SIMPLE(rope, "rope", "rope.cl", -1, NULL, grid_heads, IN(0), IN(1), OUT(0), IN_COLS(0), IN_COLS(1), I(CI_ROPE_I_HEADS),
       I(CI_ROPE_I_HEAD_DIM), I(CI_ROPE_I_NEOX), I(CI_ROPE_I_OFFSET))
#define ROPE_APPEND "rope.cl", .header = "common/cache.clh"
#define KV_APPEND "kv_append.cl", .header = "common/cache.clh"
SIMPLE(rope_kv_append, "rope_kv_append", ROPE_APPEND, -1, fits_rope_append, grid_heads, IN(0), IN(1), IN(2), OUT(0),
       OUT(1), OUT(2), IN_COLS(0), IN_COLS(1), I(CI_ROPE_I_HEADS), I(CI_ROPE_I_HEAD_DIM), I(CI_ROPE_I_NEOX),
       I(CI_ROPE_I_OFFSET), I(CI_KV_I_KEY_COLUMN), I(CI_KV_I_VALUE_COLUMN), OUT_COLS(1), OUT_COLS(2))
SIMPLE(kv_append, "kv_append", KV_APPEND, -1, fits_append, grid_append, IN(0), IN(1), OUT(0), OUT(1), IN_COLS(0),
       I(CI_KV_I_KEY_COLUMN), I(CI_KV_I_VALUE_COLUMN), OUT_COLS(0), OUT_COLS(1))

/* ---- sample ---- */

enum { SAMPLE_CHUNKS, SAMPLE_CHUNK_BYTES = 4 * (2 * CI_SAMPLE_MAX_K + 2) };

static const struct ci_tunable sample_tunables[] = {{"CHUNKS", 32, {1, 8, 32, 128}}, {0}};

static void grid_sample_chunks(CALL_GRID) {
    (void)caps;
    grid->dimensions = 2;
    grid->global[0] = (size_t)tunables[SAMPLE_CHUNKS];
    grid->global[1] = (size_t)call->in[0].rows;
    grid->local[0] = grid->local[1] = 1;
}

static size_t sample_scratch(const struct ci_call *call, const int *tunables) {
    return (size_t)call->in[0].rows * (size_t)tunables[SAMPLE_CHUNKS] * SAMPLE_CHUNK_BYTES;
}

static const struct ci_bind sample_chunks_bind[] = {IN(0), IN(1), IN(CI_SAMPLE_MASK), SCRATCH, IN_COLS(0), END};
static const struct ci_bind sample_merge_bind[] = {IN(1), SCRATCH, OUT(0), OUT(1), END};
static const struct ci_launch sample_launches[] = {{"sample_chunks", sample_chunks_bind, grid_sample_chunks},
                                                   {"sample_merge", sample_merge_bind, grid_row}};

const struct ci_variant ci_variant_sample_opencl = {.op = &ci_op_sample,
                                                    .name = "portable",
                                                    .for_whom = "all devices",
                                                    .backend = CI_BACKEND_OPENCL,
                                                    .source = "sample.cl",
                                                    .type_input = -1,
                                                    .tunables = sample_tunables,
                                                    .launches = sample_launches,
                                                    .launch_count = 2,
                                                    .scratch = sample_scratch};
