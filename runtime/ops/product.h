/* product.h: rows of weights times rows of activations, as the references of matmul and matmul_experts compute them:
 * products and squares are summed in double. */
#ifndef CI_OPS_PRODUCT_H
#define CI_OPS_PRODUCT_H

#include "ops/op.h"

enum { CI_PRODUCT_ROWS = 64 };

struct ci_product {
    double product[CI_PRODUCT_ROWS], x_squares[CI_PRODUCT_ROWS], w_squares;
};

/* A row of x from a column on. */
struct ci_product_input {
    int64_t row, first_col;
};

/* Row n of w times `rows` (at most CI_PRODUCT_ROWS) inputs of w->cols columns. */
void ci_product_row(const struct ci_view *x, const struct ci_product_input *inputs, int64_t rows,
                    const struct ci_view *w, int64_t n, struct ci_product *product);

/* What a row gives: x w + offset, or the size |x| |w| + |offset|: by Cauchy and Schwarz no less than the sum of the
 * terms' sizes, which is what rounding errors grow with. */
float ci_product_value(const struct ci_product *product, int64_t row, double offset, int size);

/* How exact a product must be. */
#define CI_GATE_PRODUCT                                                                                                \
    { 1e-9, 1e-5 }

/* The same for a call of matmul or matmul_experts: with weights of 16 bits and CI_PRODUCT_MANY rows or more (a prompt)
 * no more exact than with activations rounded to f16, of which a product has an NMSE of 4.4e-8 and a number an error of
 * up to 4.9e-4 |x| |w|; elsewhere kernels for many rows of f16 do that. */
enum { CI_PRODUCT_MANY = 32 };
struct ci_gate ci_product_gate(const struct ci_call *call);

/* From how many rows on the arithmetic of a call is products of 16-bit integers, half as many in a second as of bytes;
 * 0: never, as with ops that are no products with weights. Types as in signatures. On x86-64 they are what weights of
 * 16 bits take (cpu/matmul_i16_rows.h); with AVX-512 VNNI two products come from one multiplication, so that more than
 * all of a peak is possible. */
int64_t ci_product_16_bit_rows(const char *op, const char *types, const char *variant);

#endif
