/* judge_product.c: sums of a product's outputs with random signs, known without the product; see judge_product.h. What
 * is summed has the same form for all ops: `used` products for each row of outputs, each in one or more parts (weights
 * that share an input) that lie `used` times their width apart. A matmul is one product of one part. */
#include "proof/judge_product.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

enum { MOST_VECTORS = 2, FEW_ROWS = 4 };

/* A row's sum of errors with random signs has the deviation of the row's error, which the gate bounds on average; this
 * many deviations happen once in 10^15. */
static const double deviations = 8;

struct ci_judge_product {
    double gate;                      /* the op's NMSE */
    int64_t rows, used, parts, width; /* rows of outputs; products of each; parts of a product, and their columns */
    int vectors;
    int8_t *signs;    /* [vectors, parts * width], +-1 */
    double *expected; /* [vectors, rows * used] */
    double *size;     /* [rows * used]: about what the product's outputs have as their norm */
};

/* What some weights give with the signs. */
struct signed_weights {
    double *products;          /* [vectors, K]: w^T v */
    double sums[MOST_VECTORS]; /* b v */
    double squares, b_squares; /* of all w, of all b */
};

static bool has_experts(const struct ci_op *op) { return op == &ci_op_matmul_experts; }

/* Rows [first, end) of a weight and of its biases (or none), whose signs begin at `column`; `row` has room for K. */
static void multiply(const struct ci_judge_product *product, const struct ci_view *w, const struct ci_view *b,
                     int64_t first, int64_t end, int64_t column, float *row, struct signed_weights *sums) {
    for (int64_t n = first; n < end; n++, column++) {
        double bias = b->type ? (double)((const float *)b->data)[n] : 0.0;
        ci_view_row(w, n, row);
        for (int64_t k = 0; k < w->cols; k++) sums->squares += (double)row[k] * row[k];
        sums->b_squares += bias * bias;
        for (int v = 0; v < product->vectors; v++) {
            double sign = product->signs[v * product->parts * product->width + column];
            double *products = sums->products + v * w->cols;
            sums->sums[v] += sign * bias;
            for (int64_t k = 0; k < w->cols; k++) products[k] += sign * row[k];
        }
    }
}

/* One product of x [depth] and, where it has one, an addend [parts * width]. */
static void expect(struct ci_judge_product *product, int64_t which, const float *x, int64_t depth,
                   const struct signed_weights *weights, const float *addend) {
    int64_t width = product->parts * product->width;
    double x_squares = 0, added_squares = 0;
    for (int64_t k = 0; k < depth; k++) x_squares += (double)x[k] * x[k];
    for (int64_t n = 0; addend && n < width; n++) added_squares += (double)addend[n] * addend[n];
    /* As if the directions of x and w had nothing to do with each other. */
    product->size[which] = sqrt(x_squares * weights->squares / (double)depth + weights->b_squares + added_squares);
    for (int v = 0; v < product->vectors; v++) {
        double sum = weights->sums[v];
        for (int64_t k = 0; k < depth; k++) sum += x[k] * weights->products[v * depth + k];
        for (int64_t n = 0; addend && n < width; n++) sum += addend[n] * product->signs[v * width + n];
        product->expected[v * product->rows * product->used + which] = sum;
    }
}

static void expect_matmul(struct ci_judge_product *product, const struct ci_sample_call *sample, float *row,
                          struct signed_weights *weights) {
    const struct ci_call *call = &sample->call;
    const struct ci_view *x = &call->in[CI_MATMUL_X], *addend = &call->in[CI_MATMUL_ADDEND];
    int64_t column = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        if (!w->type) continue;
        multiply(product, w, &call->in[CI_MATMUL_B0 + i], 0, w->rows, column, row, weights);
        column += w->rows;
    }
    for (int64_t r = 0; r < product->rows; r++) {
        bool adds = sample->op == &ci_op_matmul_add;
        ci_view_row(x, r, row);
        expect(product, r, row, x->cols, weights, adds ? (const float *)addend->data + r * product->width : NULL);
    }
}

static void multiply_expert(const struct ci_judge_product *product, const struct ci_call *call, int64_t expert,
                            float *row, struct signed_weights *weights) {
    int64_t width = product->width;
    memset(weights->products, 0, sizeof *weights->products * (size_t)(product->vectors * call->in[CI_EXPERTS_W0].cols));
    *weights = (struct signed_weights){.products = weights->products};
    for (int p = 0; p < product->parts; p++)
        multiply(product, &call->in[CI_EXPERTS_W0 + p], &call->in[CI_EXPERTS_B0 + p], expert * width,
                 (expert + 1) * width, p * width, row, weights);
}

/* Expert by expert, so that each's weights are read once, and those of none that no row goes to. */
static void expect_experts(struct ci_judge_product *product, const struct ci_sample_call *sample, float *row,
                           struct signed_weights *weights) {
    const struct ci_call *call = &sample->call;
    const struct ci_view *x = &call->in[CI_EXPERTS_X];
    const int32_t *ids = call->in[CI_EXPERTS_IDS].data;
    int64_t experts = call->in[CI_EXPERTS_STARTS].cols - 1, depth = call->in[CI_EXPERTS_W0].cols;
    int64_t own = x->cols == depth ? 0 : depth; /* each expert's input begins this much after the one before */
    for (int64_t expert = 0; expert < experts; expert++) {
        bool read = false;
        for (int64_t pair = 0; pair < product->rows * product->used; pair++) {
            if ((ids[pair] < 0 || ids[pair] >= experts ? 0 : ids[pair]) != expert) continue;
            if (!read) multiply_expert(product, call, expert, row, weights);
            read = true;
            ci_view_row(x, pair / product->used, row);
            expect(product, pair, row + pair % product->used * own, depth, weights, NULL);
        }
    }
}

enum clinfer_status ci_judge_product_create(const struct ci_sample_call *sample, struct ci_judge_product **out) {
    const struct ci_call *call = &sample->call;
    const bool experts = has_experts(sample->op);
    int64_t depth = call->in[experts ? CI_EXPERTS_W0 : CI_MATMUL_W0].cols;
    uint64_t random = 2;
    struct ci_judge_product *product = *out = calloc(1, sizeof *product);
    if (!product) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory judging op %s", sample->op->name);
    product->gate = ci_op_gate(sample->op, call).nmse;
    product->rows = call->out[0].rows;
    product->used = experts ? call->in[CI_EXPERTS_IDS].cols : 1;
    product->parts = experts && call->in[CI_EXPERTS_W1].type ? 2 : 1;
    product->width = call->out[0].cols / (product->used * product->parts);
    int64_t count = product->rows * product->used, signs = product->parts * product->width;
    product->vectors = count < FEW_ROWS ? MOST_VECTORS : 1; /* few products say little each */
    product->signs = calloc((size_t)(product->vectors * signs), 1);
    product->expected = calloc((size_t)(product->vectors * count), sizeof *product->expected);
    product->size = calloc((size_t)count, sizeof *product->size);
    struct signed_weights weights = {.products = calloc((size_t)(product->vectors * depth), sizeof(double))};
    float *row = malloc(sizeof *row * (size_t)(depth * product->used));
    enum clinfer_status status = CLINFER_OK;
    if (!product->signs || !product->expected || !product->size || !weights.products || !row) {
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory judging op %s", sample->op->name);
    } else {
        for (int64_t i = 0; i < product->vectors * signs; i++) product->signs[i] = ci_random(&random) >> 63 ? 1 : -1;
        (experts ? expect_experts : expect_matmul)(product, sample, row, &weights);
    }
    free(weights.products);
    free(row);
    if (status == CLINFER_OK) return status;
    ci_judge_product_destroy(product);
    *out = NULL;
    return status;
}

void ci_judge_product_destroy(struct ci_judge_product *product) {
    if (!product) return;
    free(product->signs);
    free(product->expected);
    free(product->size);
    free(product);
}

static double sum_outputs(const struct ci_judge_product *product, const struct ci_view *out, int64_t which,
                          int vector) {
    const float *row = (const float *)out->data + which / product->used * out->cols;
    const int8_t *signs = product->signs + vector * product->parts * product->width;
    double sum = 0;
    for (int64_t p = 0; p < product->parts; p++, signs += product->width) {
        const float *part = row + (p * product->used + which % product->used) * product->width;
        for (int64_t n = 0; n < product->width; n++) sum += (double)part[n] * signs[n];
    }
    return sum;
}

static void say_sum(const struct ci_judge_product *product, int64_t which, double sum, double expected, double bound,
                    struct ci_gate_result *verdict) {
    char expert[64] = "";
    if (product->used > 1)
        snprintf(expert, sizeof expert, ", expert %lld of its %lld", (long long)(which % product->used),
                 (long long)product->used);
    snprintf(verdict->text, sizeof verdict->text,
             "row %lld of %lld%s: its sum with random signs is %.9g, expected %.9g +- %.3g",
             (long long)(which / product->used), (long long)product->rows, expert, sum, expected, bound);
}

/* Of a product whose sum is not finite nothing can be said. A NaN among the actual numbers must fail: comparisons are
 * written so that it does. */
void ci_judge_product_check(const struct ci_judge_product *product, const struct ci_view *out,
                            struct ci_gate_result *verdict) {
    const int64_t count = product->rows * product->used, width = product->parts * product->width;
    double errors = 0, squares = 0, sums = 0;
    for (int64_t i = 0; i < count; i++) {
        double bound = deviations * sqrt(product->gate) * product->size[i] + FLT_MIN * (double)width;
        if (!isfinite(product->expected[i]) || !isfinite(product->size[i])) {
            verdict->unjudged += width;
            continue;
        }
        squares += product->size[i] * product->size[i] * product->vectors;
        sums += product->vectors;
        for (int v = 0; v < product->vectors; v++) {
            double sum = sum_outputs(product, out, i, v), expected = product->expected[v * count + i];
            double error = sum - expected;
            errors += error * error;
            if (fabs(error) <= bound) continue;
            if (verdict->passed) say_sum(product, i, sum, expected, bound, verdict);
            verdict->passed = false;
        }
    }
    if (sums == 0) return;
    /* An estimate: it varies the more, the fewer sums there are. */
    double nmse = errors == 0 || squares == 0 ? 0 : errors / squares;
    double allowed = product->gate * (1 + deviations * sqrt(2 / sums));
    if (!(nmse * verdict->allowed <= verdict->nmse * allowed)) {
        verdict->nmse = nmse;
        verdict->allowed = allowed;
    }
    if (nmse <= allowed) return;
    if (verdict->passed) snprintf(verdict->text, sizeof verdict->text, "NMSE about %.3g, allowed %.3g", nmse, allowed);
    verdict->passed = false;
}
