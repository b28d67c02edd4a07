/* product.h: rows of weights times rows of activations, as the references of matmul and matmul_experts compute them:
 * products and squares are summed in double. */
#ifndef CI_OPS_PRODUCT_H
#define CI_OPS_PRODUCT_H

#include "tensor/tensor.h"

enum { CI_PRODUCT_ROWS = 64 };

struct ci_product {
    double product[CI_PRODUCT_ROWS], x_squares[CI_PRODUCT_ROWS], w_squares;
};

/* Row n of w times `rows` (at most CI_PRODUCT_ROWS) rows of x from first_row on, their columns first_col .. first_col +
 * w->cols - 1. */
void ci_product_row(const struct ci_view *x, int64_t first_row, int64_t rows, int64_t first_col,
                    const struct ci_view *w, int64_t n, struct ci_product *product);

/* What a row gives: x w + offset, or the size |x| |w| + |offset|: by Cauchy and Schwarz no less than the sum of the
 * terms' sizes, which is what rounding errors grow with. */
float ci_product_value(const struct ci_product *product, int64_t row, double offset, int size);

#endif
