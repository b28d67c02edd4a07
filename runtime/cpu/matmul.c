#include "cpu/matmul.h"

#include "tensor/op_params.h"

static void set_job(const struct ci_call *call, int index, int64_t first_col, struct ci_matmul_job *job) {
    const struct ci_view *bias = &call->in[CI_MATMUL_B0 + index], *addend = &call->in[CI_MATMUL_ADDEND];
    *job = (struct ci_matmul_job){
        .x = &call->in[CI_MATMUL_X],
        .w = &call->in[CI_MATMUL_W0 + index],
        .bias = bias->type ? bias->data : NULL,
        .addend = addend->type ? (const float *)addend->data + first_col : NULL,
        .out = (float *)call->out[0].data + first_col,
        .out_cols = call->out[0].cols,
    };
}

void ci_matmul_share(const struct ci_call *call, int thread, int threads, int unit, ci_matmul_part *part) {
    int64_t units = 0, first, last, first_unit = 0, first_col = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        if (w->type) units += (w->rows + unit - 1) / unit;
    }
    ci_share(units, 1, thread, threads, &first, &last);
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        if (!w->type) continue;
        int64_t own = (w->rows + unit - 1) / unit;
        int64_t from = first - first_unit > 0 ? first - first_unit : 0;
        int64_t to = last - first_unit < own ? last - first_unit : own;
        if (from < to) {
            struct ci_matmul_job job;
            set_job(call, i, first_col, &job);
            part(&job, from * unit, to * unit < w->rows ? to * unit : w->rows);
        }
        first_unit += own;
        first_col += w->rows;
    }
}
