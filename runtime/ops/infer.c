#include "ops/infer.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/status.h"

static const char *dimension(int64_t value, char text[24]) {
    if (value < 0) return "any";
    snprintf(text, 24, "%" PRId64, value);
    return text;
}

enum clinfer_status ci_infer_expect(const char *op, const struct ci_call *call, int input, const struct ci_type *type,
                                    int64_t rows, int64_t cols) {
    const struct ci_view *in = &call->in[input];
    bool right =
        in->type && (!type || in->type == type) && (rows < 0 || in->rows == rows) && (cols < 0 || in->cols == cols);
    if (right) return CLINFER_OK;
    char rows_text[24], cols_text[24];
    return ci_fail(CLINFER_BAD_FILE, "op %s: input %d is [%" PRId64 ", %" PRId64 "] %s, expected [%s, %s] %s", op,
                   input, in->rows, in->cols, in->type ? in->type->name : "absent", dimension(rows, rows_text),
                   dimension(cols, cols_text), type ? type->name : "of any type");
}
