/* opencl_attention.c: OpenCL variants of attention and attention_quantise. */
#include "ops/op_list.h"
#include "ops/op_params.h"
#include "ops/opencl.h"

#define BOTH(symbol, ...)                                                                                              \
    const struct ci_variant ci_variant_attention_##symbol = {                                                          \
        .op = &ci_op_attention, .backend = CI_BACKEND_OPENCL, .type_input = -1, .constants = constants, __VA_ARGS__};  \
    const struct ci_variant ci_variant_attention_quantise_##symbol = {.op = &ci_op_attention_quantise,                 \
                                                                      .backend = CI_BACKEND_OPENCL,                    \
                                                                      .type_input = -1,                                \
                                                                      .constants = constants,                          \
                                                                      __VA_ARGS__};

static const struct ci_constant constants[] = {{"HEADS", I(CI_ATTENTION_I_HEADS)},
                                               {"KV_HEADS", I(CI_ATTENTION_I_KV_HEADS)},
                                               {"HEAD_DIM", I(CI_ATTENTION_I_HEAD_DIM)},
                                               {0}};

static bool is_float(const struct ci_type *type) { return type == &ci_type_f16 || type == &ci_type_f32; }

/* Heads of whole vectors; rounded outputs of whole groups. */
static bool fits_vectors(const struct ci_call *call) {
    int32_t unit = call->out[0].type == &ci_type_q8 ? 32 : 16;
    return call->params.i[CI_ATTENTION_I_HEAD_DIM] % unit == 0 && is_float(call->in[1].type) &&
           is_float(call->in[2].type);
}

/* ---- vec ---- */

static void vec_grid(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                     struct ci_grid *grid) {
    (void)tunables;
    (void)caps;
    grid->dimensions = 2;
    grid->global[0] = (size_t)call->params.i[CI_ATTENTION_I_HEADS];
    grid->global[1] = (size_t)call->in[3].rows;
    grid->local[0] = grid->local[1] = 1;
}

static bool vec_fits(const struct ci_caps *caps, const struct ci_call *call) {
    (void)caps;
    return fits_vectors(call);
}

static const struct ci_bind vec_arguments[] = {
    IN(0), IN(1), IN(2), IN(3), IN(4), OUT(0), IN_COLS(0), IN_COLS(4), F(CI_ATTENTION_F_SCALE), END};
static const struct ci_launch vec_launches[] = {{"attention_vec", vec_arguments, vec_grid}};

BOTH(vec, .name = "vec", .fits = vec_fits, .source = "attention_vec.cl", .launches = vec_launches, .launch_count = 1)
