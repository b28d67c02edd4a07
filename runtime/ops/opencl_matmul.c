/* opencl_matmul.c: OpenCL variants of matmul and matmul_add. All take every weight type in either layout through
 * load_block. */
#include "ops/op_list.h"
#include "ops/op_params.h"
#include "ops/opencl.h"

/* MATMUL_ARGUMENTS of clkernels/common/matmul.clh. */
#define MATMUL_ARGUMENTS                                                                                               \
    IN(0), IN(1), IN(2), IN(3), IN(4), IN(5), IN(6), IN(7), OUT(0), IN_ROWS(0), IN_COLS(0), IN_ROWS(1), IN_ROWS(2),    \
        IN_ROWS(3)

static const struct ci_bind arguments[] = {MATMUL_ARGUMENTS, END};
static const struct ci_bind arguments_scratch[] = {MATMUL_ARGUMENTS, SCRATCH, END};

/* matmul and matmul_add are the same but for the last input. */
#define BOTH(symbol, ...)                                                                                              \
    const struct ci_variant ci_variant_matmul_##symbol = {.op = &ci_op_matmul,                                         \
                                                          .backend = CI_BACKEND_OPENCL,                                \
                                                          .type_input = CI_MATMUL_W0,                                  \
                                                          .header = "common/matmul.clh",                               \
                                                          __VA_ARGS__};                                                \
    const struct ci_variant ci_variant_matmul_add_##symbol = {.op = &ci_op_matmul_add,                                 \
                                                              .backend = CI_BACKEND_OPENCL,                            \
                                                              .type_input = CI_MATMUL_W0,                              \
                                                              .header = "common/matmul.clh",                           \
                                                              __VA_ARGS__};

static bool fits_units(const struct ci_call *call) { return call->in[CI_MATMUL_X].cols % 32 == 0; }

static int64_t rows_of(const struct ci_call *call) { return call->in[CI_MATMUL_X].rows; }

/* ---- gemv_vec ---- */

enum { GEMV_STREAMS, GEMV_TASKS };

static const struct ci_tunable gemv_vec_tunables[] = {
    {"STREAMS", 4, {1, 2, 4, 8}}, {"TASKS", 4, {1, 2, 4, 8, 16}}, {0}};

static void gemv_vec_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                          struct ci_grid *grid) {
    size_t most = ci_ceil_div(call->out[0].cols, tunables[GEMV_STREAMS]);
    size_t items = (size_t)caps->compute_units * (size_t)tunables[GEMV_TASKS];
    ci_grid_1d(grid, rows_of(call) == 0 ? 0 : items < most ? items : most);
}

static bool gemv_vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    return ci_is_cpu(caps->device) && fits_units(call) && rows_of(call) <= 2;
}

static const struct ci_launch gemv_vec_launches[] = {{"matmul_gemv_vec", arguments, gemv_vec_grid}};

BOTH(gemv_vec, .name = "gemv_vec", .fits = gemv_vec_fits, .source = "matmul_gemv_vec.cl", .tunables = gemv_vec_tunables,
     .launches = gemv_vec_launches, .launch_count = 1)

/* ---- gemm_vec: fits everywhere ---- */

enum { GEMM_CHUNK, GEMM_TASKS, GEMM_TILE = 4 };

static const struct ci_tunable gemm_vec_tunables[] = {
    {"CHUNK", 512, {64, 256, 512, 1024, 2048}}, {"TASKS", 8, {1, 4, 8, 16, 64}}, {0}};

static void gemm_expand_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                             struct ci_grid *grid) {
    (void)tunables;
    (void)caps;
    ci_grid_1d(grid, call->in[CI_MATMUL_X].type == &ci_type_q8 ? (size_t)rows_of(call) : 0);
}

static void gemm_vec_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                          struct ci_grid *grid) {
    size_t most = 0, items = (size_t)caps->compute_units * (size_t)tunables[GEMM_TASKS];
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) most += ci_ceil_div(call->in[CI_MATMUL_W0 + i].rows, GEMM_TILE);
    ci_grid_1d(grid, rows_of(call) == 0 ? 0 : items < most ? items : most);
}

static size_t gemm_vec_scratch(const struct ci_call *call, const int *tunables) {
    (void)tunables;
    const struct ci_view *x = &call->in[CI_MATMUL_X];
    return x->type == &ci_type_q8 ? (size_t)x->rows * (size_t)x->cols * sizeof(float) : 0;
}

static bool gemm_vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return fits_units(call);
}

static const struct ci_bind gemm_expand_arguments[] = {IN(0), SCRATCH, IN_COLS(0), END};
static const struct ci_launch gemm_vec_launches[] = {{"matmul_expand", gemm_expand_arguments, gemm_expand_grid},
                                                     {"matmul_gemm_vec", arguments_scratch, gemm_vec_grid}};

BOTH(gemm_vec, .name = "gemm_vec", .fits = gemm_vec_fits, .source = "matmul_gemm_vec.cl", .tunables = gemm_vec_tunables,
     .launches = gemm_vec_launches, .launch_count = 2, .scratch = gemm_vec_scratch)
