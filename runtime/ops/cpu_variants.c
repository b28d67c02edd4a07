/* The variants of the CPU backend: which kernel of cpu/ serves which call. Ops without one here (embed, gather, concat,
 * affine, rope_table) take too little time; their references serve.
 *
 * Every instruction set has the same list; what the processor lacks is left out by `fits`, what an architecture lacks
 * is not compiled. With weights in layout r16 all kinds of activations are served, without it f32, and codes
 * for types that have no layout r16. */
#include "cpu/kernels.h"
#include "ops/op_list.h"
#include "ops/sample.h"
#include "tensor/op_params.h"

/* ---- what the kernels ask for ---- */

static bool is_cache_type(const struct ci_type *type) {
    return type == &ci_type_f16 || type == &ci_type_f32 || type == &ci_type_q8_0 || type == &ci_type_q4_0;
}

static bool append_fits(const struct ci_view *keys, const struct ci_view *values) {
    return is_cache_type(keys->type) && is_cache_type(values->type);
}

/* Outputs rounded to codes are whole groups of one head. */
static bool attention_fits(const struct ci_call *call) {
    return is_cache_type(call->in[1].type) && is_cache_type(call->in[2].type) &&
           (!ci_type_planes(call->out[0].type) ||
            call->out[0].cols % (call->params.i[CI_ATTENTION_I_HEADS] * CI_Q8_GROUP) == 0);
}

/* Codes of activations too where no kernel takes them as they are. */
static bool floats_fit(const struct ci_call *call) {
    const struct ci_view *w = &call->in[CI_MATMUL_W0];
    return call->in[CI_MATMUL_X].type == &ci_type_f32 || !w->type->pack_r16 || w->cols > CI_R16_MOST_COLS;
}

/* The rows of an expert begin at a whole group of rows, or at any in the file's own layout. */
static bool is_whole(const struct ci_call *call) {
    return call->in[CI_EXPERTS_W0].rows / (call->in[CI_EXPERTS_STARTS].cols - 1) % ci_layout_r16.group_rows == 0;
}

static bool experts_fit(const struct ci_call *call) {
    return is_whole(call) ? floats_fit(call) : call->in[CI_EXPERTS_W0].layout != &ci_layout_r16;
}

/* Fewer rows wait for their weights, and the memory stands still while a gate is computed and rounded: the op takes 1
 * to 5% longer than the two that it stands for. */
enum { GATED_ROWS = 8 };

/* Gate and up are two weights of one size, or one of both, whose outputs are whole groups of codes; not in slices. */
static bool is_gated(const struct ci_call *call) {
    const struct ci_view *gate = &call->in[CI_MATMUL_W0], *up = &call->in[CI_MATMUL_W0 + 1];
    int64_t cols = call->out[0].cols, width = call->params.i[CI_ACTIVATION_I_WIDTH];
    if (call->in[CI_MATMUL_X].rows < GATED_ROWS || call->in[CI_MATMUL_W0 + 2].type || cols % CI_Q8_GROUP ||
        (width && width != cols))
        return false;
    return up->type ? gate->rows == cols && up->rows == cols : gate->rows == 2 * cols;
}

struct r16_kernel {
    const struct ci_type *weight;
    ci_cpu_function *q8, *q16, *f32; /* by type of the activations */
    ci_cpu_function *experts_q8, *experts_q16, *experts_f32;
    ci_cpu_function *glu_q8, *glu_q16;
};

/* NULL: no kernel for these types. Weight and activations have the same places in all ops. */
static const struct r16_kernel *find_r16(const struct r16_kernel *kernels, const struct ci_type *x,
                                         const struct ci_call *call) {
    if (call->in[CI_MATMUL_X].type != x) return NULL;
    for (; kernels->weight; kernels++)
        if (kernels->weight == call->in[CI_MATMUL_W0].type) return kernels;
    return NULL;
}

/* ---- one list per instruction set ---- */

#define FOR_WHOM_avx512vnni "x86 processors with AVX-512 VNNI"
#define FOR_WHOM_avx2 "x86 processors with AVX2 and FMA"
#define FOR_WHOM_neondot "64-bit ARM processors with dot products"
#define FOR_WHOM_neon "64-bit ARM processors"

/* AVX2 has no instruction that sums four products, and is not ahead of the memory by as much as AVX-512 VNNI. */
#define SECOND_PLANE_avx512vnni CI_SECOND_PLANE_HIDDEN
#define SECOND_PLANE_avx2 CI_SECOND_PLANE_COSTS
#define SECOND_PLANE_neondot CI_SECOND_PLANE_NOT_MEASURED
#define SECOND_PLANE_neon CI_SECOND_PLANE_NOT_MEASURED

#define VARIANT(symbol, which, isa, title, test, layout)                                                               \
    const struct ci_variant ci_variant_cpu_##symbol##_##which = {.op = &ci_op_##symbol,                                \
                                                                 .name = title,                                        \
                                                                 .for_whom = FOR_WHOM_##isa,                           \
                                                                 .backend = CI_BACKEND_CPU,                            \
                                                                 .weight_layout = layout,                              \
                                                                 .fits = test,                                         \
                                                                 .second_plane = SECOND_PLANE_##isa,                   \
                                                                 .cpu = find_##symbol##_##which};

/* A kernel for every call of the op that meets `condition`. */
#define SIMPLE(symbol, function, isa, condition)                                                                       \
    static ci_cpu_function *find_##symbol##_##isa(const struct ci_call *call) {                                        \
        (void)call;                                                                                                    \
        return (condition) ? ci_cpu_##function##_##isa : NULL;                                                         \
    }                                                                                                                  \
    VARIANT(symbol, isa, isa, #isa, has_##isa, NULL)

#define SIMD(isa)                                                                                                      \
    static bool has_##isa(const struct ci_caps *caps, const struct ci_call *call) {                                    \
        (void)call;                                                                                                    \
        return caps->cpu->isa;                                                                                         \
    }                                                                                                                  \
    static void sample_##isa(const struct ci_call *call, int thread, int threads) {                                    \
        ci_sample_rows(call, ci_cpu_largest_##isa, thread, threads);                                                   \
    }                                                                                                                  \
    static ci_cpu_function *find_sample_##isa(const struct ci_call *call) {                                            \
        (void)call;                                                                                                    \
        return sample_##isa;                                                                                           \
    }                                                                                                                  \
    VARIANT(sample, isa, isa, #isa, has_##isa, NULL)                                                                   \
    SIMPLE(matmul, matmul_f32, isa, floats_fit(call))                                                                  \
    SIMPLE(matmul_add, matmul_f32, isa, floats_fit(call))                                                              \
    SIMPLE(matmul_experts, matmul_experts_f32, isa, experts_fit(call))                                                 \
    SIMPLE(combine, combine, isa, true)                                                                                \
    SIMPLE(attention, attention, isa, attention_fits(call))                                                            \
    SIMPLE(attention_quantise, attention, isa, attention_fits(call))                                                   \
    SIMPLE(kv_append, kv_append, isa, append_fits(&call->out[0], &call->out[1]))                                       \
    SIMPLE(rope_kv_append, rope_kv_append, isa, append_fits(&call->out[1], &call->out[2]))                             \
    SIMPLE(rope, rope, isa, true)                                                                                      \
    SIMPLE(rmsnorm, rmsnorm, isa, true)                                                                                \
    SIMPLE(rmsnorm_quantise, rmsnorm_quantise, isa, true)                                                              \
    SIMPLE(layernorm, layernorm, isa, true)                                                                            \
    SIMPLE(layernorm_quantise, layernorm_quantise, isa, true)                                                          \
    SIMPLE(norm_heads, norm_heads, isa, true)                                                                          \
    SIMPLE(quantise, quantise, isa, true)                                                                              \
    SIMPLE(glu, glu, isa, true)                                                                                        \
    SIMPLE(unary, unary, isa, true)                                                                                    \
    SIMPLE(glu_quantise, glu_quantise, isa, true)                                                                      \
    SIMPLE(unary_quantise, unary_quantise, isa, true)                                                                  \
    SIMPLE(add, add, isa, true)                                                                                        \
    SIMPLE(mul, mul, isa, true)

#define R16_KERNEL(name, isa)                                                                                          \
    {&ci_type_##name,                                                                                                  \
     ci_cpu_matmul_q8_##name##_r16_##isa,                                                                              \
     ci_cpu_matmul_q16_##name##_r16_##isa,                                                                             \
     ci_cpu_matmul_f32_##name##_r16_##isa,                                                                             \
     ci_cpu_matmul_experts_q8_##name##_r16_##isa,                                                                      \
     ci_cpu_matmul_experts_q16_##name##_r16_##isa,                                                                     \
     ci_cpu_matmul_experts_f32_##name##_r16_##isa,                                                                     \
     ci_cpu_matmul_glu_q8_##name##_r16_##isa,                                                                          \
     ci_cpu_matmul_glu_q16_##name##_r16_##isa},
#define R16_OF(x, isa)                                                                                                 \
    static ci_cpu_function *find_matmul_##x##_r16_##isa(const struct ci_call *call) {                                  \
        const struct r16_kernel *kernel = find_r16(r16_kernels_##isa, &ci_type_##x, call);                             \
        return kernel ? kernel->x : NULL;                                                                              \
    }                                                                                                                  \
    static ci_cpu_function *find_matmul_experts_##x##_r16_##isa(const struct ci_call *call) {                          \
        const struct r16_kernel *kernel = find_r16(r16_kernels_##isa, &ci_type_##x, call);                             \
        return kernel && is_whole(call) ? kernel->experts_##x : NULL;                                                  \
    }                                                                                                                  \
    static ci_cpu_function *find_matmul_add_##x##_r16_##isa(const struct ci_call *call) {                              \
        return find_matmul_##x##_r16_##isa(call);                                                                      \
    }                                                                                                                  \
    VARIANT(matmul, x##_r16_##isa, isa, #x "_r16_" #isa, has_r16_##isa, &ci_layout_r16)                                \
    VARIANT(matmul_add, x##_r16_##isa, isa, #x "_r16_" #isa, has_r16_##isa, &ci_layout_r16)                            \
    VARIANT(matmul_experts, x##_r16_##isa, isa, #x "_r16_" #isa, has_r16_##isa, &ci_layout_r16)
#define R16_GLU_OF(x, isa)                                                                                             \
    static ci_cpu_function *find_matmul_glu_quantise_##x##_r16_##isa(const struct ci_call *call) {                     \
        const struct r16_kernel *kernel = find_r16(r16_kernels_##isa, &ci_type_##x, call);                             \
        return kernel && is_gated(call) ? kernel->glu_##x : NULL;                                                      \
    }                                                                                                                  \
    VARIANT(matmul_glu_quantise, x##_r16_##isa, isa, #x "_r16_" #isa, has_r16_##isa, &ci_layout_r16)
#define R16(isa)                                                                                                       \
    static bool has_r16_##isa(const struct ci_caps *caps, const struct ci_call *call) {                                \
        return caps->cpu->isa && call->in[CI_MATMUL_W0].cols <= CI_R16_MOST_COLS;                                      \
    }                                                                                                                  \
    R16_OF(q8, isa)                                                                                                    \
    R16_OF(q16, isa)                                                                                                   \
    R16_OF(f32, isa)                                                                                                   \
    R16_GLU_OF(q8, isa)                                                                                                \
    R16_GLU_OF(q16, isa)

#if defined(__x86_64__)
#define CI_R16_TYPE(name, ...) R16_KERNEL(name, avx512vnni)
static const struct r16_kernel r16_kernels_avx512vnni[] = {
#include "cpu/r16_list.inc"
    {0}};
#undef CI_R16_TYPE
#define CI_R16_TYPE(name, ...) R16_KERNEL(name, avx2)
static const struct r16_kernel r16_kernels_avx2[] = {
#include "cpu/r16_list.inc"
    {0}};
#undef CI_R16_TYPE
SIMD(avx512vnni)
SIMD(avx2)
R16(avx512vnni)
R16(avx2)
#elif defined(__aarch64__)
#define CI_R16_TYPE(name, ...) R16_KERNEL(name, neondot)
static const struct r16_kernel r16_kernels_neondot[] = {
#include "cpu/r16_list.inc"
    {0}};
#undef CI_R16_TYPE
SIMD(neon)
R16(neondot)
#endif
