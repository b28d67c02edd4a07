#include "ops/product.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "cpu/kernels.h"
#include "tensor/op_params.h"
#include "types/layout.h"

enum { PART_COLS = 1024 };

static_assert((int)CI_PRODUCT_MANY <= (int)CI_CPU_INTEGER_ROWS, "the gate knows where weights are rounded");

void ci_product_row(const struct ci_view *x, const struct ci_product_input *inputs, int64_t rows,
                    const struct ci_view *w, int64_t n, struct ci_product *product) {
    float weights[PART_COLS], values[PART_COLS];
    memset(product, 0, sizeof *product);
    for (int64_t first = 0; first < w->cols; first += PART_COLS) {
        int64_t count = w->cols - first < PART_COLS ? w->cols - first : PART_COLS;
        ci_view_part(w, n, first, count, weights);
        for (int64_t k = 0; k < count; k++) product->w_squares += (double)weights[k] * weights[k];
        for (int64_t row = 0; row < rows; row++) {
            ci_view_part(x, inputs[row].row, inputs[row].first_col + first, count, values);
            double sum = 0, squares = 0;
            for (int64_t k = 0; k < count; k++) {
                sum += (double)weights[k] * values[k];
                squares += (double)values[k] * values[k];
            }
            product->product[row] += sum;
            product->x_squares[row] += squares;
        }
    }
}

float ci_product_value(const struct ci_product *product, int64_t row, double offset, int size) {
    return (float)(size ? sqrt(product->w_squares * product->x_squares[row]) + fabs(offset)
                        : product->product[row] + offset);
}

struct ci_gate ci_product_gate(const struct ci_call *call) {
    const struct ci_type *w = call->in[CI_MATMUL_W0].type; /* the same place with experts */
    if ((w == &ci_type_f16 || w == &ci_type_bf16) && call->in[CI_MATMUL_X].rows >= CI_PRODUCT_MANY)
        return (struct ci_gate){1e-7, 2e-4};
    return (struct ci_gate)CI_GATE_PRODUCT;
}

int64_t ci_product_16_bit_rows(const char *op, const char *types, const char *variant) {
    if (strncmp(op, "matmul", strlen("matmul")) != 0) return 0; /* the keys of attention are f16, too */
    if (strncmp(types, "q16,", 4) == 0) return 1;
    bool halves = strncmp(types, "f32,f16,", 8) == 0 || strncmp(types, "f32,bf16,", 9) == 0;
    bool integers = strcmp(variant, "avx512vnni") == 0 || strcmp(variant, "avx2") == 0;
    return halves && integers ? CI_PRODUCT_MANY : 0;
}
