/* infer.h: what the infer functions of all ops share. */
#ifndef CI_OPS_INFER_H
#define CI_OPS_INFER_H

#include "ops/op.h"

/* Sets what infer sets and leaves where the bytes are. */
static inline void ci_infer_out(struct ci_view *out, const struct ci_type *type, enum ci_extent extent, int64_t rows,
                                int64_t cols) {
    out->type = type;
    out->layout = &ci_layout_stored;
    out->extent = extent;
    out->rows = rows;
    out->cols = cols;
}

/* CLINFER_BAD_FILE "op matmul: input 1 is [4, 32] f32, expected [4, 64]"; rows or cols -1: any. A type of NULL: any but
 * absent. */
enum clinfer_status ci_infer_expect(const char *op, const struct ci_call *call, int input, const struct ci_type *type,
                                    int64_t rows, int64_t cols);

/* The same for an input that may be absent. */
static inline enum clinfer_status ci_infer_optional(const char *op, const struct ci_call *call, int input,
                                                    const struct ci_type *type, int64_t rows, int64_t cols) {
    return call->in[input].type ? ci_infer_expect(op, call, input, type, rows, cols) : CLINFER_OK;
}

/* Test data: distinct slots below `capacity`, some of them -1. */
void ci_fill_slots(const struct ci_view *slots, int64_t capacity);

#endif
