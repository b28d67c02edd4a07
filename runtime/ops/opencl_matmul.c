/* opencl_matmul.c: OpenCL variants of matmul, matmul_add and matmul_experts. All take every weight type in either
 * layout through load_block, but for those that are made for one layout. */
#include <string.h>

#include "ops/op_list.h"
#include "ops/opencl.h"
#include "tensor/op_params.h"

/* MATMUL_ARGUMENTS of clkernels/common/matmul.clh. */
#define MATMUL_ARGUMENTS                                                                                               \
    IN(0), IN(1), IN(2), IN(3), IN(4), IN(5), IN(6), IN(7), OUT(0), IN_ROWS(0), IN_COLS(0), IN_ROWS(1), IN_ROWS(2),    \
        IN_ROWS(3)

/* The same of matmul_experts. */
#define EXPERTS_ARGUMENTS                                                                                              \
    IN(0), IN(1), IN(2), IN(3), IN(4), IN(5), IN(6), IN(7), OUT(0), IN_ROWS(0), IN_COLS(1), IN_COLS(0), IN_ROWS(1),    \
        IN_COLS(3), IN_COLS(5), OUT_COLS(0)

static const struct ci_bind arguments[] = {MATMUL_ARGUMENTS, END};
static const struct ci_bind arguments_told[] = {MATMUL_ARGUMENTS, IN_ROWS(CI_MATMUL_ADDEND), END};
static const struct ci_bind arguments_scratch[] = {MATMUL_ARGUMENTS, SCRATCH, END};
static const struct ci_bind experts_arguments[] = {EXPERTS_ARGUMENTS, END};
static const struct ci_bind experts_arguments_scratch[] = {EXPERTS_ARGUMENTS, SCRATCH, END};

/* One launch, of a kernel that all three ops have. */
#define LAUNCH(symbol, kernel, grid)                                                                                   \
    static const struct ci_launch symbol##_launches[] = {{kernel, arguments, grid}};                                   \
    static const struct ci_launch symbol##_experts_launches[] = {{kernel, experts_arguments, grid}};

#define VARIANT(symbol_op, symbol, place, launched, ...)                                                               \
    const struct ci_variant ci_variant_##symbol_op##_##symbol = {.op = &ci_op_##symbol_op,                             \
                                                                 .backend = place,                                     \
                                                                 .type_input = CI_MATMUL_W0,                           \
                                                                 .header = "common/matmul.clh",                        \
                                                                 .launches = launched,                                 \
                                                                 .launch_count = sizeof launched / sizeof *launched,   \
                                                                 __VA_ARGS__};

/* matmul and matmul_add are the same but for the last input. */
#define BOTH(place, symbol, launched, ...)                                                                             \
    VARIANT(matmul, symbol, place, launched, __VA_ARGS__)                                                              \
    VARIANT(matmul_add, symbol, place, launched, __VA_ARGS__)

/* And matmul_experts, whose kernels take other arguments (clkernels/common/matmul.clh). */
#define ALL(symbol, launched, ...)                                                                                     \
    BOTH(CI_BACKEND_OPENCL, symbol, launched##_launches, __VA_ARGS__)                                                  \
    VARIANT(matmul_experts, symbol, CI_BACKEND_OPENCL, launched##_experts_launches, __VA_ARGS__)

static bool is_experts(const struct ci_call *call) { return call->in[CI_EXPERTS_IDS].type == &ci_type_i32; }

static int64_t experts_of(const struct ci_call *call) { return call->in[CI_EXPERTS_STARTS].cols - 1; }

/* Columns of the output that belong to one row of x, or to a pair of a row and an expert. */
static int64_t columns_of(const struct ci_call *call) {
    return is_experts(call) ? call->out[0].cols / call->in[CI_EXPERTS_IDS].cols : call->out[0].cols;
}

/* In layout r16 the rows of an expert are read from a whole group on. */
static bool has_whole_groups(const struct ci_call *call) {
    return !is_experts(call) || call->in[CI_EXPERTS_W0].rows / experts_of(call) % ci_layout_r16.group_rows == 0;
}

/* Kernels read 32 columns at a time. */
static bool fits_units(const struct ci_call *call) {
    const struct ci_view *w = &call->in[CI_MATMUL_W0];
    return w->cols % 32 == 0 && (w->layout != &ci_layout_r16 || has_whole_groups(call));
}

/* Whether the activations are codes, of 8 or of 16 bits. */
static bool is_rounded(const struct ci_call *call) { return ci_type_planes(call->in[CI_MATMUL_X].type) > 0; }

/* Rows of x, or pairs. */
static int64_t rows_of(const struct ci_call *call) {
    int64_t rows = call->in[CI_MATMUL_X].rows;
    return is_experts(call) ? rows * call->in[CI_EXPERTS_IDS].cols : rows;
}

/* Whether reading the weights again for each row costs little: for up to `most` rows, or where an expert has few. */
static bool is_few(const struct ci_call *call, int most) {
    return call->in[CI_MATMUL_X].rows <= most || (is_experts(call) && rows_of(call) <= 2 * experts_of(call));
}

/* Tiles of up to `unit` rows, none of two experts; at most, since how many an expert has only the device knows. */
static size_t tiles_of(const struct ci_call *call, int unit) {
    int64_t rows = rows_of(call);
    if (!is_experts(call)) return ci_ceil_div(rows, unit);
    return (size_t)(rows / unit + (experts_of(call) < rows ? experts_of(call) : rows));
}

/* Work-items in lockstep, work-groups with local memory: what is made for it is no use on a CPU device. */
static bool is_parallel(const struct ci_caps *caps) { return !ci_is_cpu(caps->device); }

/* Blocks of `unit` output columns, none across two weights. */
static size_t blocks_of(const struct ci_call *call, int unit) {
    size_t blocks = 0;
    if (is_experts(call)) {
        int64_t n = call->in[CI_EXPERTS_W0].rows / experts_of(call);
        return ci_ceil_div(n, unit) * (size_t)(columns_of(call) / n);
    }
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) blocks += ci_ceil_div(call->in[CI_MATMUL_W0 + i].rows, unit);
    return blocks;
}

/* Kernels with all rows in each work-item: `items` of them, no more than blocks of the output. With experts some for
 * each, since they have work of different size, and some none. */
static void grid_blocks(const struct ci_call *call, size_t items, size_t most, struct ci_grid *grid) {
    int64_t sets = is_experts(call) ? experts_of(call) : 1;
    if (sets > 1) items = ci_ceil_div((int64_t)(4 * items), sets);
    ci_grid_1d(grid, rows_of(call) == 0 ? 0 : items < most ? items : most);
    if (!is_experts(call)) return;
    grid->dimensions = 2;
    grid->global[1] = (size_t)sets;
    grid->local[1] = 1;
}

/* ---- gemv_subgroup ---- */

enum { SUBGROUP_ROWS, SUBGROUP_LOCAL };

#define GEMV_SUBGROUP_TUNABLES                                                                                         \
    {"ROWS", 2, {1, 2, 4}}, {"LOCAL", 64, {32, 64, 128, 256}}, {                                                       \
        "SUBGROUP", 1, { 1 }                                                                                           \
    }

static const struct ci_tunable gemv_subgroup_tunables[] = {GEMV_SUBGROUP_TUNABLES, {0}};

/* Enough sub-groups of 32 for all blocks; where they are smaller or larger the kernel's loop shares the blocks. */
static void gemv_subgroup_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                               struct ci_grid *grid) {
    (void)caps;
    size_t local = (size_t)tunables[SUBGROUP_LOCAL], blocks = blocks_of(call, tunables[SUBGROUP_ROWS]);
    grid->dimensions = 2;
    grid->local[0] = local;
    grid->global[0] = ci_ceil_div((int64_t)blocks * 32, (int64_t)local) * local;
    grid->local[1] = 1;
    grid->global[1] = (size_t)rows_of(call);
}

static bool gemv_subgroup_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return caps->device->subgroups && is_parallel(caps) && fits_units(call) && is_few(call, 8);
}

LAUNCH(gemv_subgroup, "matmul_gemv_subgroup", gemv_subgroup_grid)

ALL(gemv_subgroup, gemv_subgroup, .name = "gemv_subgroup", .for_whom = "GPUs with sub-groups, decode",
    .fits = gemv_subgroup_fits, .source = "matmul_gemv_lanes.cl", .tunables = gemv_subgroup_tunables,
    .grid_tunables = 1u << SUBGROUP_LOCAL)

/* ---- gemv_local ---- */

enum { LOCAL_ROWS, LOCAL_LANES };

#define GEMV_LOCAL_TUNABLES                                                                                            \
    {"ROWS", 2, {1, 2, 4}}, {"LANES", 32, {8, 16, 32, 64, 128}}, {                                                     \
        "REDUCE", 2, { 1, 2 }                                                                                          \
    }

static const struct ci_tunable gemv_local_tunables[] = {GEMV_LOCAL_TUNABLES, {0}};

static void gemv_local_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                            struct ci_grid *grid) {
    (void)caps;
    grid->dimensions = 2;
    grid->local[0] = (size_t)tunables[LOCAL_LANES];
    grid->global[0] = blocks_of(call, tunables[LOCAL_ROWS]) * grid->local[0];
    grid->local[1] = 1;
    grid->global[1] = (size_t)rows_of(call);
}

static bool gemv_local_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return is_parallel(caps) && fits_units(call) && is_few(call, 8);
}

static size_t gemv_local_bytes(const struct ci_call *call, const int *tunables) {
    (void)call;
    return (size_t)(tunables[LOCAL_ROWS] * tunables[LOCAL_LANES]) * sizeof(float);
}

LAUNCH(gemv_local, "matmul_gemv_local", gemv_local_grid)

ALL(gemv_local, gemv_local, .name = "gemv_local", .for_whom = "GPUs without sub-groups, decode",
    .fits = gemv_local_fits, .source = "matmul_gemv_lanes.cl", .tunables = gemv_local_tunables,
    .local_bytes = gemv_local_bytes)

/* ---- gemm_local ---- */

enum { TILE_BM, TILE_BN, TILE_TM, TILE_TN };

static const struct ci_tunable gemm_local_tunables[] = {
    {"BM", 32, {16, 32, 64, 128}}, {"BN", 64, {16, 32, 64, 128}}, {"TM", 4, {2, 4, 8}}, {"TN", 4, {2, 4, 8}}, {0}};

static void gemm_local_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                            struct ci_grid *grid) {
    (void)caps;
    grid->dimensions = 2;
    grid->local[0] = (size_t)(tunables[TILE_BN] / tunables[TILE_TN]);
    grid->local[1] = (size_t)(tunables[TILE_BM] / tunables[TILE_TM]);
    grid->global[0] = blocks_of(call, tunables[TILE_BN]) * grid->local[0];
    grid->global[1] = tiles_of(call, tunables[TILE_BM]) * grid->local[1];
}

static bool gemm_local_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return is_parallel(caps) && fits_units(call);
}

static size_t gemm_local_bytes(const struct ci_call *call, const int *tunables) {
    (void)call;
    return (size_t)(32 * (tunables[TILE_BM] + tunables[TILE_BN])) * sizeof(float);
}

LAUNCH(gemm_local, "matmul_gemm_local", gemm_local_grid)

ALL(gemm_local, gemm_local, .name = "gemm_local", .for_whom = "GPUs, prefill", .fits = gemm_local_fits,
    .source = "matmul_gemm_local.cl", .tunables = gemm_local_tunables, .local_bytes = gemm_local_bytes)

/* ---- gemv_r16, gemm_r16: __asm__ for x86-64 ---- */

/* A CPU device of PoCL or of Intel's runtime, whose compilers take __asm__, and of this very processor: its name is in
 * the device's, and PoCL may have others on remote machines. */
static bool is_this_processor(const struct ci_caps *caps) {
#if defined(__x86_64__)
    const char *platform = caps->device->platform;
    return ci_is_cpu(caps->device) &&
           (strcmp(platform, "Portable Computing Language") == 0 || strcmp(platform, "Intel(R) OpenCL") == 0) &&
           strstr(caps->device->name, caps->cpu->name);
#else
    (void)caps;
    return false;
#endif
}

static bool r16_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return is_this_processor(caps) && has_whole_groups(call) && is_rounded(call);
}

static bool gemm_r16_vnni_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return caps->cpu->avx512vnni && r16_fits(caps, call);
}

static bool gemm_r16_avx2_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return caps->cpu->avx2 && r16_fits(caps, call);
}

static bool gemv_r16_vnni_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return gemm_r16_vnni_fits(caps, call) && is_few(call, 2);
}

static bool gemv_r16_avx2_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return gemm_r16_avx2_fits(caps, call) && is_few(call, 2);
}

enum { R16_ROWS = 16, R16_STREAMS = 0, R16_GEMV_TASKS = 1, R16_GEMM_TASKS = 0 };

static const struct ci_tunable gemv_r16_vnni_tunables[] = {{"STREAMS", 2, {1, 2, 4, 8}},
                                                           {"TASKS", 1, {1, 2, 4, 8}},
                                                           {"PREFETCH", 4096, {64, 1024, 2048, 4096, 8192}},
                                                           {"VNNI", 1, {1}},
                                                           {0}};
static const struct ci_tunable gemv_r16_avx2_tunables[] = {
    {"STREAMS", 2, {1, 2, 4, 8}}, {"TASKS", 1, {1, 2, 4, 8}}, {"PREFETCH", 4096, {64, 1024, 2048, 4096, 8192}}, {0}};
static const struct ci_tunable gemm_r16_vnni_tunables[] = {{"TASKS", 4, {1, 2, 4, 8, 16}},
                                                           {"TILE", 8, {2, 4, 8, 16}},
                                                           {"CHUNK", 1536, {256, 512, 1024, 1536, 2048}},
                                                           {"VNNI", 1, {1}},
                                                           {0}};
static const struct ci_tunable gemm_r16_avx2_tunables[] = {
    {"TASKS", 4, {1, 2, 4, 8, 16}}, {"TILE", 4, {2, 4, 8}}, {"CHUNK", 1536, {256, 512, 1024, 1536, 2048}}, {0}};

/* Each work-item a run of groups of 16 rows. */
static void gemv_r16_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                          struct ci_grid *grid) {
    size_t most = ci_ceil_div((int64_t)blocks_of(call, R16_ROWS), tunables[R16_STREAMS]);
    size_t items = (size_t)caps->compute_units * (size_t)tunables[R16_GEMV_TASKS];
    ci_grid_1d(grid, rows_of(call) == 0 ? 0 : items < most ? items : most);
}

static void gemm_r16_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                          struct ci_grid *grid) {
    grid_blocks(call, (size_t)caps->compute_units * (size_t)tunables[R16_GEMM_TASKS], blocks_of(call, R16_ROWS), grid);
}

LAUNCH(gemv_r16, "matmul_gemv_r16", gemv_r16_grid)
static const struct ci_launch gemm_r16_experts_launches[] = {{"matmul_gemm_r16", experts_arguments, gemm_r16_grid}};

/* matmul and matmul_add are the same programs, which is what a first start waits for. */
static const struct ci_launch gemv_r16_told[] = {{"matmul_gemv_r16", arguments_told, gemv_r16_grid}};
static const struct ci_launch gemm_r16_told[] = {{"matmul_gemm_r16", arguments_told, gemm_r16_grid}};

#define R16_FIELDS(kind, isa, plane, tasks, whom)                                                                      \
    .name = #kind "_r16_" #isa, .for_whom = whom, .fits = kind##_r16_##isa##_fits, .second_header = "common/r16.clh",  \
    .source = "matmul_r16.cl", .weight_layout = &ci_layout_r16, .tunables = kind##_r16_##isa##_tunables,               \
    .grid_tunables = 1u << (tasks), .second_plane = plane
#define R16(kind, isa, plane, tasks, whom)                                                                             \
    BOTH(CI_BACKEND_OPENCL, kind##_r16_##isa, kind##_r16_told, .untold_inputs = 1u << CI_MATMUL_ADDEND,                \
         R16_FIELDS(kind, isa, plane, tasks, whom))                                                                    \
    VARIANT(matmul_experts, kind##_r16_##isa, CI_BACKEND_OPENCL, kind##_r16_experts_launches,                          \
            R16_FIELDS(kind, isa, plane, tasks, whom))
R16(gemv, vnni, CI_SECOND_PLANE_HIDDEN, R16_GEMV_TASKS, "PoCL and Intel's runtime on x86-64 with AVX-512 VNNI, decode")
R16(gemv, avx2, CI_SECOND_PLANE_COSTS, R16_GEMV_TASKS, "PoCL and Intel's runtime on x86-64 with AVX2, decode")
R16(gemm, vnni, CI_SECOND_PLANE_HIDDEN, R16_GEMM_TASKS, "PoCL and Intel's runtime on x86-64 with AVX-512 VNNI, prefill")
R16(gemm, avx2, CI_SECOND_PLANE_COSTS, R16_GEMM_TASKS, "PoCL and Intel's runtime on x86-64 with AVX2, prefill")

/* ---- gemv_vec_r16: the same layout, without __asm__ ---- */

static const struct ci_tunable gemv_vec_r16_tunables[] = {{"STREAMS", 2, {1, 2, 4}}, {"TASKS", 1, {1, 2, 4, 8}}, {0}};

/* Types that look their numbers up have no portable way to do so for 16 rows at once. */
static bool looks_up(const struct ci_type *type) {
    return type == &ci_type_iq4_nl || type == &ci_type_iq4_xs || type == &ci_type_mxfp4;
}

static bool gemv_vec_r16_fits(const struct ci_caps *caps, const struct ci_call *call) {
    const struct ci_type *type = call->in[CI_MATMUL_W0].type;
    return ci_is_cpu(caps->device) && has_whole_groups(call) && !is_rounded(call) && is_few(call, 2) &&
           type->quantised && !looks_up(type);
}

ALL(gemv_vec_r16, gemv_r16, .name = "gemv_vec_r16", .for_whom = "CPU devices, decode, activations in floats",
    .fits = gemv_vec_r16_fits, .second_header = "common/r16.clh", .source = "matmul_gemv_vec_r16.cl",
    .weight_layout = &ci_layout_r16, .tunables = gemv_vec_r16_tunables, .grid_tunables = 1u << R16_GEMV_TASKS)

/* ---- gemv_dot, gemv_dot_subgroup, gemm_dot: four bytes at a time ----
 *
 * For NVIDIA since Pascal, Mali since G76, AMD since Vega 20 (but the first RDNA), Intel since Xe: what these do with
 * codes the others do with floats, after a conversion per code. First in the table: where they fit, activations are
 * rounded unless the user asked for floats, as on CPU devices. */

static bool dot_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return is_parallel(caps) && caps->device->dot4 && fits_units(call) && is_rounded(call) &&
           call->in[CI_MATMUL_W0].type->quantised;
}

static bool gemv_dot_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return dot_fits(caps, call) && is_few(call, 8);
}

static bool gemv_dot_subgroup_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return gemv_dot_fits(caps, call) && caps->device->subgroups;
}

#define DOT_TUNABLES                                                                                                   \
    {"QUADS", 2, {1, 2, 4}}, {                                                                                         \
        "DOT", 1, { 1 }                                                                                                \
    }

static const struct ci_tunable gemv_dot_tunables[] = {GEMV_LOCAL_TUNABLES, DOT_TUNABLES, {0}};
static const struct ci_tunable gemv_dot_subgroup_tunables[] = {GEMV_SUBGROUP_TUNABLES, DOT_TUNABLES, {0}};

ALL(gemv_dot, gemv_local, .name = "gemv_dot", .for_whom = "GPUs with a dot product of bytes, decode",
    .fits = gemv_dot_fits, .second_header = "common/dot.clh", .opencl_c = "newest", .source = "matmul_gemv_lanes.cl",
    .tunables = gemv_dot_tunables, .second_plane = CI_SECOND_PLANE_HIDDEN)
ALL(gemv_dot_subgroup, gemv_subgroup, .name = "gemv_dot_subgroup",
    .for_whom = "GPUs with a dot product of bytes and sub-groups, decode", .fits = gemv_dot_subgroup_fits,
    .second_header = "common/dot.clh", .opencl_c = "newest", .source = "matmul_gemv_lanes.cl",
    .tunables = gemv_dot_subgroup_tunables, .grid_tunables = 1u << SUBGROUP_LOCAL,
    .second_plane = CI_SECOND_PLANE_HIDDEN)

LAUNCH(gemm_dot, "matmul_gemm_dot", gemm_local_grid)

ALL(gemm_dot, gemm_dot, .name = "gemm_dot", .for_whom = "GPUs with a dot product of bytes, prefill", .fits = dot_fits,
    .second_header = "common/dot.clh", .opencl_c = "newest", .source = "matmul_gemm_dot.cl",
    .tunables = gemm_local_tunables, .second_plane = CI_SECOND_PLANE_HIDDEN)

/* ---- gemv_vec ---- */

enum { GEMV_STREAMS, GEMV_TASKS };

static const struct ci_tunable gemv_vec_tunables[] = {
    {"STREAMS", 8, {1, 2, 4, 8}}, {"TASKS", 4, {1, 2, 4, 8, 16}}, {0}};

static void gemv_vec_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                          struct ci_grid *grid) {
    size_t most = ci_ceil_div(columns_of(call), tunables[GEMV_STREAMS]);
    size_t items = (size_t)caps->compute_units * (size_t)tunables[GEMV_TASKS];
    ci_grid_1d(grid, rows_of(call) == 0 ? 0 : items < most ? items : most);
}

static bool gemv_vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return ci_is_cpu(caps->device) && fits_units(call) && is_few(call, 2);
}

/* The same kernel, where its integer arithmetic is faster: a variant of its own before the other, so that activations
 * are rounded where nobody asked for either. With vectors of 512 bits floats are faster, and as exact as can be. */
static bool gemv_q8_vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return !caps->cpu->avx512vnni && gemv_vec_fits(caps, call) && is_rounded(call) &&
           call->in[CI_MATMUL_W0].type->quantised;
}

LAUNCH(gemv_vec, "matmul_gemv_vec", gemv_vec_grid)

ALL(gemv_q8_vec, gemv_vec, .name = "gemv_q8_vec", .for_whom = "CPU devices, decode with 8-bit activations",
    .fits = gemv_q8_vec_fits, .source = "matmul_gemv_vec.cl", .tunables = gemv_vec_tunables,
    .grid_tunables = 1u << GEMV_TASKS)
ALL(gemv_vec, gemv_vec, .name = "gemv_vec", .for_whom = "CPU devices, decode", .fits = gemv_vec_fits,
    .source = "matmul_gemv_vec.cl", .tunables = gemv_vec_tunables, .grid_tunables = 1u << GEMV_TASKS)

/* ---- gemm_vec: fits everywhere ---- */

enum { GEMM_CHUNK, GEMM_TASKS, GEMM_TILE = 4 };

static const struct ci_tunable gemm_vec_tunables[] = {
    {"CHUNK", 1024, {64, 256, 512, 1024, 2048}}, {"TASKS", 8, {1, 4, 8, 16, 64}}, {0}};

static void gemm_expand_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                             struct ci_grid *grid) {
    (void)tunables;
    (void)caps;
    ci_grid_1d(grid, is_rounded(call) ? (size_t)call->in[CI_MATMUL_X].rows : 0);
}

static void gemm_vec_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                          struct ci_grid *grid) {
    grid_blocks(call, (size_t)caps->compute_units * (size_t)tunables[GEMM_TASKS], blocks_of(call, GEMM_TILE), grid);
}

static size_t gemm_vec_scratch(const struct ci_call *call, const int *tunables) {
    (void)tunables;
    const struct ci_view *x = &call->in[CI_MATMUL_X];
    return is_rounded(call) ? (size_t)x->rows * (size_t)x->cols * sizeof(float) : 0;
}

static bool gemm_vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return fits_units(call);
}

static const struct ci_bind gemm_expand_arguments[] = {IN(0), SCRATCH, IN_COLS(0), END};
static const struct ci_launch gemm_vec_launches[] = {{"matmul_expand", gemm_expand_arguments, gemm_expand_grid},
                                                     {"matmul_gemm_vec", arguments_scratch, gemm_vec_grid}};
static const struct ci_launch gemm_vec_experts_launches[] = {
    {"matmul_expand", gemm_expand_arguments, gemm_expand_grid},
    {"matmul_gemm_vec", experts_arguments_scratch, gemm_vec_grid}};

ALL(gemm_vec, gemm_vec, .name = "gemm_vec", .for_whom = "CPU devices, prefill; the portable fallback of all",
    .fits = gemm_vec_fits, .second_header = "common/expand.clh", .source = "matmul_gemm_vec.cl",
    .tunables = gemm_vec_tunables, .grid_tunables = 1u << GEMM_TASKS, .scratch = gemm_vec_scratch)

/* ---- clblast: weights as floats, one product for all of them; floats as they are, a product each ---- */

enum { CLBLAST_LEAST_ROWS = 16 };

static bool is_plain(const struct ci_call *call) { return call->in[CI_MATMUL_W0].type == &ci_type_f32; }

static bool has_start(const struct ci_call *call) {
    bool has = call->in[CI_MATMUL_ADDEND].type != NULL;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) has = has || call->in[CI_MATMUL_B0 + i].type;
    return has;
}

/* Floats: expanded activations, then weights. */
static size_t clblast_scratch(const struct ci_call *call, const int *tunables) {
    (void)tunables;
    int64_t rows = (is_rounded(call) ? rows_of(call) : 0) + (is_plain(call) ? 0 : call->out[0].cols);
    return (size_t)rows * (size_t)call->in[CI_MATMUL_X].cols * sizeof(float);
}

/* Its kernels count in 32 bits. */
static bool clblast_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return fits_units(call) && rows_of(call) >= CLBLAST_LEAST_ROWS &&
           call->out[0].cols * call->in[CI_MATMUL_X].cols < INT32_MAX &&
           rows_of(call) * call->out[0].cols < INT32_MAX &&
           clblast_scratch(call, NULL) <= caps->device->max_alloc_bytes / 2;
}

static void clblast_weights_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                                 struct ci_grid *grid) {
    (void)tunables;
    ci_grid_rows(grid, caps, is_plain(call) || rows_of(call) == 0 ? 0 : call->out[0].cols,
                 call->in[CI_MATMUL_X].cols / 32, 0);
}

static void clblast_start_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                               struct ci_grid *grid) {
    (void)tunables;
    ci_grid_rows(grid, caps, has_start(call) ? rows_of(call) : 0, call->out[0].cols, 0);
}

static void clblast_part(const struct ci_call *call, int part, struct ci_gemm *gemm) {
    const struct ci_view *x = &call->in[CI_MATMUL_X], *w = &call->in[CI_MATMUL_W0 + part], *out = &call->out[0];
    bool plain = is_plain(call), expanded = is_rounded(call);
    if (!plain && part > 0) return;
    int64_t start = 0;
    for (int i = 0; i < part; i++) start += call->in[CI_MATMUL_W0 + i].rows;
    *gemm = (struct ci_gemm){.m = x->rows,
                             .n = plain ? w->rows : out->cols,
                             .k = x->cols,
                             .c_stride = out->cols,
                             .beta = has_start(call) ? 1.0f : 0.0f,
                             .a = expanded ? call->scratch.buffer : x->buffer,
                             .a_offset = expanded ? call->scratch.offset : x->offset,
                             .b = plain ? w->buffer : call->scratch.buffer,
                             .b_offset = plain ? w->offset : call->scratch.offset,
                             .c = out->buffer,
                             .c_offset = out->offset + (uint64_t)start * sizeof(float)};
    if (expanded && !plain) gemm->b_offset += (uint64_t)(x->rows * x->cols) * sizeof(float);
}

static void clblast_first(const struct ci_call *call, struct ci_gemm *gemm) { clblast_part(call, 0, gemm); }
static void clblast_second(const struct ci_call *call, struct ci_gemm *gemm) { clblast_part(call, 1, gemm); }
static void clblast_third(const struct ci_call *call, struct ci_gemm *gemm) { clblast_part(call, 2, gemm); }

static const struct ci_launch clblast_launches[] = {{"matmul_expand", gemm_expand_arguments, gemm_expand_grid},
                                                    {"matmul_dequantise", arguments_scratch, clblast_weights_grid},
                                                    {"matmul_start", arguments, clblast_start_grid}};
static ci_product *const clblast_products[] = {clblast_first, clblast_second, clblast_third, NULL};

BOTH(CI_BACKEND_CLBLAST, clblast, clblast_launches, .name = "clblast",
     .for_whom = "GPUs that CLBlast is tuned for, long prompts", .fits = clblast_fits,
     .second_header = "common/expand.clh", .source = "matmul_clblast.cl", .products = clblast_products,
     .scratch = clblast_scratch)
