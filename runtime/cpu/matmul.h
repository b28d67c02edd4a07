/* matmul.h: what the matmul kernels of all instruction sets share: one weight as a job, and how threads divide it.
 *
 * The outputs of up to three weights stand side by side. A thread gets a share of all their rows together, in units of
 * the rows that a kernel works on at once, so that a fused gate|up or q|k|v is divided as evenly as one weight. */
#ifndef CI_CPU_MATMUL_H
#define CI_CPU_MATMUL_H

#include "tensor/tensor.h"

/* One weight and the columns of the output that belong to it. */
struct ci_matmul_job {
    const struct ci_view *x, *w;
    const float *bias;   /* [w->rows] or NULL */
    const float *addend; /* [x->rows, w->rows] in rows of out_cols, or NULL */
    float *out;          /* as addend */
    int64_t out_cols;
};

/* Rows [first, last) of the weight, first a multiple of the unit. */
typedef void ci_matmul_part(const struct ci_matmul_job *job, int64_t first, int64_t last);

/* Calls `part` for what of each weight falls to this thread. */
void ci_matmul_share(const struct ci_call *call, int thread, int threads, int unit, ci_matmul_part *part);

#endif
