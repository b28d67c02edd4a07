/* activations.h: the functions of glu and unary (tensor/op_params.h) in vectors. */
#ifndef CI_CPU_ACTIVATIONS_H
#define CI_CPU_ACTIVATIONS_H

#include "cpu/simd.h"
#include "tensor/op_params.h"

struct activation {
    int kind;
    float a, limit;
};

INLINE struct activation activation_of(const struct ci_params *params) {
    return (struct activation){.kind = params->i[CI_ACTIVATION_I_KIND],
                               .a = params->f[CI_ACTIVATION_F_A],
                               .limit = params->f[CI_ACTIVATION_F_LIMIT]};
}

/* x / (1 + e^-slope) */
INLINE vf gated(vf x, vf slope) { return vf_div(x, vf_add(vf_set(1), vf_exp(vf_sub(vf_set(0), slope)))); }

/* Which one is asked for each vector: one jump that is always guessed right. */
INLINE vf activation(const struct activation *by, vf x) {
    const float a = by->a;
    switch (by->kind) {
    case CI_ACTIVATION_SILU: return gated(x, x);
    case CI_ACTIVATION_GELU: { /* 1 + tanh z is 2 / (1 + e^-2z) */
        vf cubic = vf_fma(vf_mul(x, x), vf_set(0.044715f), vf_set(1));
        return gated(x, vf_mul(vf_mul(x, vf_set(1.5957691216f)), cubic));
    }
    case CI_ACTIVATION_GELU_ERF: {
        vf half = vf_mul(vf_mul(x, vf_set(0.5f)), vf_erfc_of_size(vf_mul(x, vf_set(0.70710678f))));
        return vf_where_less(x, vf_set(0), half, vf_sub(x, half));
    }
    case CI_ACTIVATION_GELU_QUICK: return gated(x, vf_mul(x, vf_set(1.702f)));
    case CI_ACTIVATION_RELU: return vf_max(vf_set(0), x);
    case CI_ACTIVATION_RELU_SQUARED: x = vf_max(vf_set(0), x); return vf_mul(x, x);
    case CI_ACTIVATION_TANH: return vf_tanh(x);
    case CI_ACTIVATION_SOFTCAP: return vf_mul(vf_set(a), vf_tanh(vf_mul(x, vf_set(1 / a))));
    case CI_ACTIVATION_SIGMOID: return gated(vf_set(1), x);
    case CI_ACTIVATION_CLAMP: return vf_max(vf_set(-a), vf_min(vf_set(a), x));
    default: return vf_mul(vf_set(a), x);
    }
}

/* glu: what the gate x lets through of `up`. */
INLINE vf gated_unit(const struct activation *by, vf x, vf up) {
    if (by->kind != CI_ACTIVATION_SWIGLU_OAI) return vf_mul(activation(by, x), up);
    x = vf_min(vf_set(by->limit), x);
    up = vf_max(vf_set(-by->limit), vf_min(vf_set(by->limit), up));
    return vf_mul(gated(x, vf_mul(x, vf_set(by->a))), vf_add(up, vf_set(1)));
}

#endif
