/* opencl_norm.c: OpenCL variants of the norms: "portable" has a work-item for each row or slice, "local" a work-group.
 */
#include "ops/op_list.h"
#include "ops/opencl.h"
#include "tensor/op_params.h"

#define CALL_GRID                                                                                                      \
    const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps, struct ci_grid *grid

static bool fits_portable(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return !ci_type_planes(call->out[0].type) || call->out[0].cols % 32 == 0;
}

static bool fits_local(const struct ci_caps *caps, const struct ci_call *call) {
    return !ci_is_cpu(caps->device) && fits_portable(caps, call);
}

/* Of norm_heads: the slices, and one for what is in none. */
static size_t slices_of(const struct ci_call *call) { return (size_t)call->params.i[CI_NORM_HEADS_I_GROUPS] + 1; }

static void grid_row(CALL_GRID) {
    (void)tunables;
    (void)caps;
    ci_grid_1d(grid, (size_t)call->out[0].rows);
}

static void grid_slices(CALL_GRID) {
    (void)tunables;
    (void)caps;
    grid->dimensions = 2;
    grid->global[0] = slices_of(call);
    grid->global[1] = (size_t)call->out[0].rows;
    grid->local[0] = grid->local[1] = 1;
}

static const struct ci_tunable lanes_tunables[] = {{"LANES", 128, {32, 64, 128, 256}}, {0}};

static void grid_row_lanes(CALL_GRID) {
    (void)caps;
    grid->dimensions = 1;
    grid->local[0] = (size_t)tunables[0];
    grid->global[0] = (size_t)call->out[0].rows * grid->local[0];
}

static void grid_slices_lanes(CALL_GRID) {
    (void)caps;
    grid->dimensions = 2;
    grid->local[0] = (size_t)tunables[0];
    grid->local[1] = 1;
    grid->global[0] = slices_of(call) * grid->local[0];
    grid->global[1] = (size_t)call->out[0].rows;
}

static size_t lanes_local_bytes(const struct ci_call *call, const int *tunables) {
    (void)call;
    return (size_t)tunables[0] * sizeof(float);
}

/* Both variants of an op: `kernel` of norm_vec.cl and of norm_local.cl. */
#define NORM(symbol, kernel, binds, portable_grid, local_grid)                                                         \
    static const struct ci_launch symbol##_portable_launch = {kernel, binds, portable_grid};                           \
    static const struct ci_launch symbol##_local_launch = {kernel, binds, local_grid};                                 \
    const struct ci_variant ci_variant_##symbol##_opencl = {.op = &ci_op_##symbol,                                     \
                                                            .name = "portable",                                        \
                                                            .for_whom = "all devices",                                 \
                                                            .backend = CI_BACKEND_OPENCL,                              \
                                                            .fits = fits_portable,                                     \
                                                            .header = "common/norm.clh",                               \
                                                            .source = "norm_vec.cl",                                   \
                                                            .type_input = -1,                                          \
                                                            .launches = &symbol##_portable_launch,                     \
                                                            .launch_count = 1};                                        \
    const struct ci_variant ci_variant_##symbol##_local = {.op = &ci_op_##symbol,                                      \
                                                           .name = "local",                                            \
                                                           .for_whom = "GPUs",                                         \
                                                           .backend = CI_BACKEND_OPENCL,                               \
                                                           .fits = fits_local,                                         \
                                                           .header = "common/norm.clh",                                \
                                                           .source = "norm_local.cl",                                  \
                                                           .type_input = -1,                                           \
                                                           .tunables = lanes_tunables,                                 \
                                                           .launches = &symbol##_local_launch,                         \
                                                           .local_bytes = lanes_local_bytes,                           \
                                                           .launch_count = 1};

static const struct ci_bind rmsnorm_bind[] = {IN(0), IN(1), OUT(0), OUT_COLS(0), F(CI_NORM_F_EPS), END};
static const struct ci_bind layernorm_bind[] = {IN(0), IN(1), IN(2), OUT(0), OUT_COLS(0), F(CI_NORM_F_EPS), END};
static const struct ci_bind norm_heads_bind[] = {IN(0),
                                                 IN(1),
                                                 OUT(0),
                                                 OUT_COLS(0),
                                                 IN_COLS(1),
                                                 I(CI_NORM_HEADS_I_FIRST),
                                                 I(CI_NORM_HEADS_I_GROUPS),
                                                 I(CI_NORM_HEADS_I_WIDTH),
                                                 I(CI_NORM_HEADS_I_CENTRED),
                                                 F(CI_NORM_F_EPS),
                                                 END};

NORM(rmsnorm, "rmsnorm", rmsnorm_bind, grid_row, grid_row_lanes)
NORM(rmsnorm_quantise, "rmsnorm", rmsnorm_bind, grid_row, grid_row_lanes)
NORM(layernorm, "layernorm", layernorm_bind, grid_row, grid_row_lanes)
NORM(layernorm_quantise, "layernorm", layernorm_bind, grid_row, grid_row_lanes)
NORM(norm_heads, "norm_heads", norm_heads_bind, grid_slices, grid_slices_lanes)
