/* opencl_experts.c: OpenCL variants of route and combine; those of matmul_experts stand with those of matmul. */
#include "ops/op_list.h"
#include "ops/opencl.h"
#include "tensor/op_params.h"

#define CALL_GRID                                                                                                      \
    const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps, struct ci_grid *grid

static void grid_rows(CALL_GRID) {
    (void)tunables;
    (void)caps;
    ci_grid_1d(grid, (size_t)call->in[0].rows);
}

static void grid_experts(CALL_GRID) {
    (void)tunables;
    (void)caps;
    ci_grid_1d(grid, call->in[0].rows == 0 ? 0 : (size_t)call->in[0].cols);
}

static void grid_vectors(CALL_GRID) {
    ci_grid_rows(grid, caps, call->out[0].rows, (call->out[0].cols + 15) / 16, tunables[0]);
}

static const struct ci_bind route_bind[] = {IN(0),
                                            IN(1),
                                            OUT(0),
                                            OUT(1),
                                            IN_COLS(0),
                                            I(CI_ROUTE_I_USED),
                                            I(CI_ROUTE_I_GATING),
                                            I(CI_ROUTE_I_NORMALISE),
                                            I(CI_ROUTE_I_GROUPS),
                                            I(CI_ROUTE_I_GROUPS_USED),
                                            F(CI_ROUTE_F_SCALE),
                                            END};
static const struct ci_bind order_bind[] = {OUT(0), OUT(2), OUT(3), IN_ROWS(0), I(CI_ROUTE_I_USED), IN_COLS(0), END};
static const struct ci_launch route_launches[] = {{"route", route_bind, grid_rows},
                                                  {"route_order", order_bind, grid_experts}};

const struct ci_variant ci_variant_route_opencl = {.op = &ci_op_route,
                                                   .name = "portable",
                                                   .for_whom = "all devices",
                                                   .backend = CI_BACKEND_OPENCL,
                                                   .source = "experts.cl",
                                                   .type_input = -1,
                                                   .launches = route_launches,
                                                   .launch_count = 2};

static const struct ci_tunable group_tunables[] = {CI_GROUP_TUNABLE, {0}};
static const struct ci_bind combine_bind[] = {IN(0), IN(1), IN(2), OUT(0), OUT_COLS(0), IN_COLS(1), END};
static const struct ci_launch combine_launch = {"combine", combine_bind, grid_vectors};

const struct ci_variant ci_variant_combine_opencl = {.op = &ci_op_combine,
                                                     .name = "portable",
                                                     .for_whom = "all devices",
                                                     .backend = CI_BACKEND_OPENCL,
                                                     .source = "experts.cl",
                                                     .type_input = -1,
                                                     .tunables = group_tunables,
                                                     .grid_tunables = 1,
                                                     .launches = &combine_launch,
                                                     .launch_count = 1};
