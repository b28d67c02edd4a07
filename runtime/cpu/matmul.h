/* matmul.h: what the matmul kernels of all instruction sets share: one weight as a job, and how threads divide it.
 *
 * The outputs of up to three weights stand side by side. A thread gets a share of all their rows together, in units of
 * the rows that a kernel works on at once, so that a fused gate|up or q|k|v is divided as evenly as one weight. With
 * experts it is a share of all that some row goes to, so that few rows of many experts are divided as evenly. */
#ifndef CI_CPU_MATMUL_H
#define CI_CPU_MATMUL_H

#include <stdbool.h>

#include "tensor/tensor.h"

/* Behind a product that is a gate: what it lets through, and what becomes of both. */
struct ci_matmul_glu {
    const struct ci_view *up; /* of the gate's type, layout and columns */
    int64_t up_first;         /* its first row: not 0 where gate and up are one matrix */
    const float *up_bias;     /* [outputs] or NULL */
    const struct ci_params *params;
    const struct ci_view *out; /* q8 or q16 */
};

/* One weight and the columns of the output that belong to it. With `pairs`, one expert's weight, and what is a row
 * elsewhere is a pair of a row of x and an expert: pair row * used + j has its input from column j * own_cols of x on,
 * and its output from column j * w->rows of `out` on. */
struct ci_matmul_job {
    const struct ci_view *x, *w;
    int64_t rows;        /* of x, or pairs */
    const float *bias;   /* [w->rows] or NULL */
    const float *addend; /* [rows, w->rows] in rows of out_cols, or NULL; not with pairs */
    float *out;          /* as addend */
    int64_t out_cols;
    const int32_t *pairs; /* [rows] or NULL */
    int64_t used, own_cols;
    const struct ci_matmul_glu *glu; /* of a gate, whose `out` is not set; else NULL */
    struct ci_matmul_panel *panel;   /* of the kernel's own thread, for all parts with the same rows of x; or NULL */
};

/* x as a kernel packs it, once for all parts of a call that a thread computes. It is large: one on a stack, no more. */
struct ci_matmul_panel {
    bool full;
    _Alignas(64) uint8_t bytes[512 * 1024];
};

/* The row of x, and its first column, that row r of the job reads. */
static inline int64_t ci_matmul_input(const struct ci_matmul_job *job, int64_t r, int64_t *first_col) {
    *first_col = job->pairs ? job->pairs[r] % job->used * job->own_cols : 0;
    return job->pairs ? job->pairs[r] / job->used : r;
}

/* Where the outputs of row r begin. */
static inline int64_t ci_matmul_output(const struct ci_matmul_job *job, int64_t r) {
    if (!job->pairs) return r * job->out_cols;
    return job->pairs[r] / job->used * job->out_cols + job->pairs[r] % job->used * job->w->rows;
}

/* Rows [first, last) of the weight, first a multiple of the unit. */
typedef void ci_matmul_part(const struct ci_matmul_job *job, int64_t first, int64_t last);

/* Calls `part` for what of each weight falls to this thread: of matmul, and of matmul_experts. */
void ci_matmul_share(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                     ci_matmul_part *part);
void ci_experts_share(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                      ci_matmul_part *part);

/* The same for matmul, where a thread that is through takes from what is left: neighbours on a shared machine, and
 * cores that differ, make equal shares take times that are not equal. Equal shares without call->taken, and with one
 * row or many (matmul.c). */
void ci_matmul_turns(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                     ci_matmul_part *part);

/* Of matmul_glu_quantise: outputs [first, last) of the gate, both multiples of the unit, with those of `up`. */
void ci_glu_share(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                  ci_matmul_part *part);
void ci_glu_turns(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                  ci_matmul_part *part);

#endif
