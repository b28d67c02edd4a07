/* activation.h: the functions of one number that glu and unary apply (tensor/op_params.h), as their references compute
 * them. What is no number stays none. */
#ifndef CI_OPS_ACTIVATION_H
#define CI_OPS_ACTIVATION_H

#include <math.h>

#include "tensor/op_params.h"

static inline double ci_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* `a` is the factor of SCALE and the bound of SOFTCAP and CLAMP. */
static inline double ci_activation(int kind, double x, double a) {
    switch (kind) {
    case CI_ACTIVATION_SILU: return x * ci_sigmoid(x);
    case CI_ACTIVATION_GELU: return 0.5 * x * (1.0 + tanh(0.79788456080286536 * x * (1.0 + 0.044715 * x * x)));
    case CI_ACTIVATION_GELU_ERF: return 0.5 * x * erfc(-0.70710678118654752 * x);
    case CI_ACTIVATION_GELU_QUICK: return x * ci_sigmoid(1.702 * x);
    case CI_ACTIVATION_RELU: return x < 0 ? 0 : x;
    case CI_ACTIVATION_RELU_SQUARED: return x < 0 ? 0 : x * x;
    case CI_ACTIVATION_TANH: return tanh(x);
    case CI_ACTIVATION_SOFTCAP: return a * tanh(x / a);
    case CI_ACTIVATION_SIGMOID: return ci_sigmoid(x);
    case CI_ACTIVATION_CLAMP: return x < -a ? -a : x > a ? a : x;
    default: return a * x; /* CI_ACTIVATION_SCALE */
    }
}

#endif
