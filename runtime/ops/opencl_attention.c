/* opencl_attention.c: OpenCL variants of attention and attention_quantise. */
#include "ops/op_list.h"
#include "ops/opencl.h"
#include "tensor/op_params.h"

#define BOTH(symbol, ...)                                                                                              \
    const struct ci_variant ci_variant_attention_##symbol = {.op = &ci_op_attention,                                   \
                                                             .backend = CI_BACKEND_OPENCL,                             \
                                                             .type_input = -1,                                         \
                                                             .constants = constants,                                   \
                                                             .header = "common/attention.clh",                         \
                                                             __VA_ARGS__};                                             \
    const struct ci_variant ci_variant_attention_quantise_##symbol = {.op = &ci_op_attention_quantise,                 \
                                                                      .backend = CI_BACKEND_OPENCL,                    \
                                                                      .type_input = -1,                                \
                                                                      .constants = constants,                          \
                                                                      .header = "common/attention.clh",                \
                                                                      __VA_ARGS__};

static const struct ci_constant constants[] = {{"HEADS", I(CI_ATTENTION_I_HEADS)},
                                               {"KV_HEADS", I(CI_ATTENTION_I_KV_HEADS)},
                                               {"HEAD_DIM", I(CI_ATTENTION_I_HEAD_DIM)},
                                               {"KEY_COLS", IN_COLS(1)},
                                               {"VALUE_COLS", IN_COLS(2)},
                                               {"OUT_COLS", OUT_COLS(0)},
                                               {0}};

static int32_t value_dim_of(const struct ci_call *call) {
    return (int32_t)(call->out[0].cols / call->params.i[CI_ATTENTION_I_HEADS]);
}

static bool is_cache_type(const struct ci_type *type) {
    return type == &ci_type_f16 || type == &ci_type_f32 || type == &ci_type_q8_0 || type == &ci_type_q4_0;
}

/* Caches that the kernels read; rounded outputs of whole groups. */
static bool fits_caches(const struct ci_call *call) {
    return is_cache_type(call->in[1].type) && is_cache_type(call->in[2].type) &&
           (!ci_type_planes(call->out[0].type) || value_dim_of(call) % 32 == 0);
}

#define NUMBERS                                                                                                        \
    IN_COLS(0), IN_COLS(4), F(CI_ATTENTION_F_SCALE), F(CI_ATTENTION_F_SOFTCAP), I(CI_ATTENTION_I_WINDOW),              \
        I(CI_ATTENTION_I_WINDOW_KIND), I(CI_ATTENTION_I_BOTH_WAYS)

static const struct ci_bind arguments[] = {IN(0),  IN(1),   IN(2), IN(3), IN(4), IN(CI_ATTENTION_SINKS),
                                           OUT(0), NUMBERS, END};

/* ---- split: few rows ---- */

enum { SPLIT_SPLITS, SPLIT_LANES, SPLIT_MOST_ROWS = 16 };

static const struct ci_tunable split_tunables[] = {{"SPLITS", 8, {1, 4, 8, 16, 32}}, {"LANES", 64, {32, 64, 128}}, {0}};

static void split_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                       struct ci_grid *grid) {
    (void)caps;
    grid->dimensions = 2;
    grid->local[0] = (size_t)tunables[SPLIT_LANES];
    grid->global[0] = (size_t)call->params.i[CI_ATTENTION_I_HEADS] * (size_t)tunables[SPLIT_SPLITS] * grid->local[0];
    grid->local[1] = 1;
    grid->global[1] = (size_t)call->in[3].rows;
}

static void merge_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                       struct ci_grid *grid) {
    (void)tunables;
    (void)caps;
    grid->dimensions = 2;
    grid->global[0] = (size_t)(call->out[0].cols / (ci_type_planes(call->out[0].type) ? 32 : 16));
    grid->global[1] = (size_t)call->out[0].rows;
    grid->local[0] = grid->local[1] = 1;
}

static bool split_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return !ci_is_cpu(caps->device) && fits_caches(call) && call->params.i[CI_ATTENTION_I_HEAD_DIM] % 4 == 0 &&
           value_dim_of(call) % 16 == 0 && call->in[0].rows <= SPLIT_MOST_ROWS;
}

static size_t split_scratch(const struct ci_call *call, const int *tunables) {
    return (size_t)call->in[0].rows * (size_t)call->params.i[CI_ATTENTION_I_HEADS] * (size_t)tunables[SPLIT_SPLITS] *
           (size_t)(value_dim_of(call) + 2) * sizeof(float);
}

static size_t split_local_bytes(const struct ci_call *call, const int *tunables) {
    return (size_t)(2 * tunables[SPLIT_LANES] + call->params.i[CI_ATTENTION_I_HEAD_DIM]) * sizeof(float);
}

static const struct ci_bind split_arguments[] = {IN(0),   IN(1),   IN(2), IN(3), IN(4), IN(CI_ATTENTION_SINKS),
                                                 SCRATCH, NUMBERS, END};
static const struct ci_bind merge_arguments[] = {SCRATCH, OUT(0), END};
static const struct ci_launch split_launches[] = {{"attention_split", split_arguments, split_grid},
                                                  {"attention_merge", merge_arguments, merge_grid}};

BOTH(split, .name = "split", .for_whom = "GPUs, decode", .fits = split_fits, .source = "attention_split.cl",
     .tunables = split_tunables, .launches = split_launches, .launch_count = 2, .scratch = split_scratch,
     .local_bytes = split_local_bytes)

/* ---- local: whole tiles ---- */

enum { LOCAL_BLOCK, LOCAL_LANES };

static const struct ci_tunable local_tunables[] = {{"BLOCK", 32, {16, 32, 64}}, {"LANES", 64, {32, 64, 128, 256}}, {0}};

static void local_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                       struct ci_grid *grid) {
    (void)caps;
    grid->dimensions = 2;
    grid->local[0] = (size_t)tunables[LOCAL_LANES];
    grid->global[0] = (size_t)call->params.i[CI_ATTENTION_I_HEADS] * grid->local[0];
    grid->local[1] = 1;
    grid->global[1] = (size_t)call->in[3].rows;
}

static bool local_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return !ci_is_cpu(caps->device) && fits_caches(call);
}

/* Queries, a block of keys or values, scores, three numbers a row. */
static size_t local_local_bytes(const struct ci_call *call, const int *tunables) {
    int32_t head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM], value_dim = value_dim_of(call);
    int stride = (head_dim > value_dim ? head_dim : value_dim) + 1, block = tunables[LOCAL_BLOCK];
    return (size_t)((CI_TILE_ROWS + block) * stride + CI_TILE_ROWS * (block + 3)) * sizeof(float);
}

static const struct ci_launch local_launches[] = {{"attention_local", arguments, local_grid}};

BOTH(local, .name = "local", .for_whom = "GPUs, prefill", .fits = local_fits, .source = "attention_local.cl",
     .tunables = local_tunables, .launches = local_launches, .launch_count = 1, .local_bytes = local_local_bytes)

/* ---- vec ---- */

/* Heads in a work-item on a processor, where tiles are single rows: heads that share keys and values, which so are read
 * once from the memory or a far cache. As many as take no longer, since items of all sizes should keep all processors
 * busy. */
static int heads_together(const struct ci_call *call, const struct ci_device_caps *caps) {
    const int64_t heads = call->params.i[CI_ATTENTION_I_HEADS], tiles = call->in[3].rows;
    const int64_t units = caps->compute_units > 0 ? caps->compute_units : 1;
    const int group = (int)heads / call->params.i[CI_ATTENTION_I_KV_HEADS];
    int best = 1;
    if (!ci_is_cpu(caps) || call->in[0].rows != tiles) return 1;
    for (int i = 2; i <= group && i <= CI_TILE_ROWS; i++)
        if (group % i == 0 && ci_ceil_div(tiles * heads / i, units) * (size_t)i <=
                                  ci_ceil_div(tiles * heads / best, units) * (size_t)best)
            best = i;
    return best;
}

static void vec_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                     struct ci_grid *grid) {
    (void)tunables;
    grid->dimensions = 2;
    grid->global[0] = (size_t)(call->params.i[CI_ATTENTION_I_HEADS] / heads_together(call, caps));
    grid->global[1] = (size_t)call->in[3].rows;
    grid->local[0] = grid->local[1] = 1;
}

static bool vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return fits_caches(call);
}

static const struct ci_launch vec_launches[] = {{"attention_vec", arguments, vec_grid}};

BOTH(vec, .name = "vec", .for_whom = "CPU devices; the portable fallback of all", .fits = vec_fits,
     .source = "attention_vec.cl", .launches = vec_launches, .launch_count = 1)
