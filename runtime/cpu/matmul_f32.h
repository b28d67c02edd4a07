/* matmul_f32.h: x w^T for activations in f32 and weights as they lie in the file, with the vectors of simd.h; included
 * once per instruction set. The lanes run along a row; 4 rows of the weight by 4 rows of x share what is loaded.
 *
 *       w rows   [k k k k ..]  x 4                 16 sums, one of each pair, summed across lanes at the end
 *       x rows   [k k k k ..]  x 4
 *
 * f32, f16 and bf16 are converted while they are loaded. Any other type, in any layout, is turned into floats first,
 * four rows of PART columns at a time, which is used for all rows of x: it is the way for weights that no better kernel
 * knows, not a fast one. There x may be codes (q8), which become floats too. Many rows of x go other ways:
 * matmul_f32_rows.h, and for weights of 16 bits matmul_i16_rows.h where there is one. */
#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/matmul_f32_rows.h"
#if defined(__AVX2__)
#include "cpu/matmul_i16_rows.h"
#else
static inline bool pair_walk(bool brain, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    (void)brain, (void)job, (void)first, (void)last;
    return false;
}
#endif
#include "cpu/simd.h"
#include "types/layout.h"

enum { TILE = 4, PART = 512, PREFETCH_BYTES = 2048 };

enum weight_kind { WEIGHT_F32, WEIGHT_F16, WEIGHT_BF16 };

INLINE vf load_weight(enum weight_kind kind, const void *row, int64_t k) {
    if (kind == WEIGHT_F16) return vf_load_f16((const uint16_t *)row + k);
    if (kind == WEIGHT_BF16) return vf_load_bf16((const uint16_t *)row + k);
    return vf_load((const float *)row + k);
}

/* The last n < VF_LANES columns. */
INLINE vf load_weight_some(enum weight_kind kind, const void *row, int64_t k, int n) {
    uint16_t lanes[VF_LANES] = {0};
    if (kind == WEIGHT_F32) return vf_load_some((const float *)row + k, n);
    memcpy(lanes, (const uint16_t *)row + k, (size_t)n * sizeof *lanes);
    return kind == WEIGHT_F16 ? vf_load_f16(lanes) : vf_load_bf16(lanes);
}

/* sums[w][x] of TILE rows of weights and `rows` rows of x; `kind` and `rows` are constant. */
INLINE void dot_tile(enum weight_kind kind, const void *const *w, const float *const *x, int rows, int64_t cols,
                     float sums[TILE][TILE]) {
    vf sum[TILE][TILE];
    int64_t k = 0;
    UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int r = 0; r < rows; r++) sum[i][r] = vf_set(0);
    for (; k + VF_LANES <= cols; k += VF_LANES) {
        vf inputs[TILE];
        UNROLL for (int r = 0; r < rows; r++) inputs[r] = vf_load(x[r] + k);
        UNROLL for (int i = 0; i < TILE; i++) {
            vf weight = load_weight(kind, w[i], k);
            if (rows == 1) __builtin_prefetch((const char *)w[i] + k * (kind == WEIGHT_F32 ? 4 : 2) + PREFETCH_BYTES);
            UNROLL for (int r = 0; r < rows; r++) sum[i][r] = vf_fma(weight, inputs[r], sum[i][r]);
        }
    }
    if (k < cols) {
        int n = (int)(cols - k);
        UNROLL for (int i = 0; i < TILE; i++) {
            vf weight = load_weight_some(kind, w[i], k, n);
            UNROLL for (int r = 0; r < rows; r++) sum[i][r] = vf_fma(weight, vf_load_some(x[r] + k, n), sum[i][r]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        float of_row[TILE];
        vf_sum4(sum[0][r], sum[1][r], sum[2][r], sum[3][r], of_row);
        UNROLL for (int i = 0; i < TILE; i++) sums[i][r] = of_row[i];
    }
}

/* Adds to the outputs, or sets them. w_rows: the rows of the weight, of which the first `count` are wanted. */
INLINE void store_tile(const struct ci_matmul_job *job, const int64_t *w_rows, int count, int64_t x_row, int rows,
                       int add, float sums[TILE][TILE]) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < count; i++) {
            int64_t at = ci_matmul_output(job, x_row + r) + w_rows[i];
            float value = sums[i][r];
            if (add)
                value += job->out[at];
            else if (job->bias)
                value += job->bias[w_rows[i]];
            if (!add && job->addend) value += job->addend[at];
            job->out[at] = value;
        }
}

/* Columns first .. first + cols of `rows` rows of x from `row`; of codes, as floats in `expanded`. */
INLINE void rows_of_x(const struct ci_matmul_job *job, int64_t row, int rows, int64_t first, int64_t cols,
                      float expanded[TILE][PART], const float **x) {
    for (int r = 0; r < rows; r++) {
        int64_t first_col, x_row = ci_matmul_input(job, row + r, &first_col);
        x[r] = expanded[r];
        if (job->x->type == &ci_type_f32)
            x[r] = (const float *)job->x->data + x_row * job->x->cols + first_col + first;
        else
            ci_view_part(job->x, x_row, first_col + first, cols, expanded[r]);
    }
}

/* All rows of x by TILE rows of weights, columns first .. first + cols; of these no more than PART where x is codes. */
INLINE void all_rows(enum weight_kind kind, const struct ci_matmul_job *job, const void *const *w,
                     const int64_t *w_rows, int count, int64_t first, int64_t cols) {
    int64_t row = 0;
    float sums[TILE][TILE], expanded[TILE][PART];
    const float *x[TILE];
    for (; row + TILE <= job->rows; row += TILE) {
        rows_of_x(job, row, TILE, first, cols, expanded, x);
        dot_tile(kind, w, x, TILE, cols, sums);
        store_tile(job, w_rows, count, row, TILE, first > 0, sums);
    }
    for (; row < job->rows; row++) {
        rows_of_x(job, row, 1, first, cols, expanded, x);
        dot_tile(kind, w, x, 1, cols, sums);
        store_tile(job, w_rows, count, row, 1, first > 0, sums);
    }
}

/* The TILE rows come from four distant places of the share: memory gives more to several streams. */
INLINE void part_stored(enum weight_kind kind, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    size_t row_bytes = ci_type_row_bytes(job->w->type, job->w->cols);
    int64_t each = (last - first) / TILE, rest = (last - first) % TILE, w_rows[TILE];
    for (int64_t n = 0; n < each + (rest > 0); n++) {
        const void *w[TILE];
        int count = n < each ? TILE : (int)rest;
        for (int i = 0; i < TILE; i++) {
            w_rows[i] = n < each ? first + i * each + n : first + TILE * each + (i < rest ? i : 0);
            w[i] = (const uint8_t *)job->w->data + (size_t)w_rows[i] * row_bytes;
        }
        all_rows(kind, job, w, w_rows, count, 0, job->w->cols);
    }
}

INLINE void floats_of(enum weight_kind kind, const struct ci_view *w, int64_t row, int64_t first, int64_t cols,
                      float *out) {
    const void *start = (const uint8_t *)w->data + (size_t)row * ci_type_row_bytes(w->type, w->cols);
    int64_t k = 0;
    for (; k + VF_LANES <= cols; k += VF_LANES) vf_store(out + k, load_weight(kind, start, first + k));
    if (k < cols) vf_store_some(out + k, load_weight_some(kind, start, first + k, (int)(cols - k)), (int)(cols - k));
}

/* From so many rows of x on they are the lanes. */
enum { MANY_ROWS = BLOCK };

#define STORED(name, kind, bytes)                                                                                      \
    static void floats_##name(const struct ci_view *w, int64_t row, int64_t first, int64_t cols, float *out) {         \
        floats_of(kind, w, row, first, cols, out);                                                                     \
    }                                                                                                                  \
    static void part_##name(const struct ci_matmul_job *job, int64_t first, int64_t last) {                            \
        if (job->rows < MANY_ROWS)                                                                                     \
            part_stored(kind, job, first, last);                                                                       \
        else if (kind == WEIGHT_F32 || !pair_walk(kind == WEIGHT_BF16, job, first, last))                              \
            part_rows(floats_##name, bytes, job, first, last);                                                         \
    }
STORED(f32, WEIGHT_F32, 4)
STORED(f16, WEIGHT_F16, 2)
STORED(bf16, WEIGHT_BF16, 2)

static void few_rows_of_any(const struct ci_matmul_job *job, int64_t first, int64_t last) {
    float panel[TILE][PART];
    for (int64_t n = first; n < last; n += TILE)
        for (int64_t k = 0; k < job->w->cols; k += PART) {
            int64_t cols = job->w->cols - k < PART ? job->w->cols - k : PART, w_rows[TILE];
            int count = last - n < TILE ? (int)(last - n) : TILE;
            const void *w[TILE];
            for (int i = 0; i < TILE; i++) {
                w_rows[i] = n + (i < count ? i : 0);
                w[i] = panel[i < count ? i : 0];
                if (i < count) ci_view_part(job->w, w_rows[i], k, cols, panel[i]);
            }
            all_rows(WEIGHT_F32, job, w, w_rows, count, k, cols);
        }
}

static void part_any(const struct ci_matmul_job *job, int64_t first, int64_t last) {
    if (job->rows >= MANY_ROWS)
        part_rows(ci_view_part, 0, job, first, last);
    else
        few_rows_of_any(job, first, last);
}

static ci_matmul_part *part_for(const struct ci_type *type) {
    return type == &ci_type_f32    ? part_f32
           : type == &ci_type_f16  ? part_f16
           : type == &ci_type_bf16 ? part_bf16
                                   : part_any;
}

void SIMD_NAME(ci_cpu_matmul_f32)(const struct ci_call *call, int thread, int threads) {
    ci_matmul_share(call, thread, threads, TILE, NULL, part_for(call->in[1].type));
}

void SIMD_NAME(ci_cpu_matmul_experts_f32)(const struct ci_call *call, int thread, int threads) {
    ci_experts_share(call, thread, threads, TILE, NULL, part_for(call->in[1].type));
}
