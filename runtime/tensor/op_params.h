/* op_params.h: the ops, their inputs and outputs, and the indices of their parameters.
 *
 * All tensors are [rows, cols]; R rows of the run (CI_EXTENT_ROWS), W wanted rows, T tiles. f32 unless said otherwise.
 */
/* clang-format off
 *
 * embed       in:  table [V, E] of any weight type; ids [R, 1] i32; previous [any, 1] i32
 *             out: [R, E]. An id below zero means previous[-1 - id]: what `sample` wrote for that row in the run before.
 * rope_table  in:  positions [R, 1] i32; frequencies [1, D/2] in radians per position
 *             out: [R, D]: D/2 cosines, then D/2 sines, times magnitude
 * rmsnorm     in:  x [R, E]; weight [1, E] (or absent)
 *             out: [R, E] = x * weight / sqrt(mean(x^2) + eps)   (Zhang and Sennrich 2019, arXiv 1910.07467)
 * layernorm   in:  x [R, E]; weight [1, E] (or absent); bias [1, E] (or absent)
 *             out: [R, E] = (x - mean) * weight / sqrt(mean((x - mean)^2) + eps) + bias   (Ba et al. 2016, arXiv 1607.06450)
 * norm_heads  in:  x [R, C]; weight [1, width] or [1, groups * width] (or absent)
 *             out: [R, C]: `groups` slices of `width` columns, from column `first` on, are each as rmsnorm makes them, CENTRED
 *             as layernorm; all else is copied. A weight for each slice does queries and keys at once where their heads are equally wide.
 * quantise    in:  x [R, K]
 *             out: [R, K] q8, or q16 (params)
 * matmul      in:  x [R, K] f32, q8 or q16; w0 [N0, K]; w1, w2 (absent, or of w0's type, layout and K); b0 [1, N0], b1, b2 (or absent)
 *             out: [R, N0 + N1 + N2] = x w^T + b side by side
 * route       in:  logits [R, X]; bias [1, X] (or absent), which counts for the choice only
 *             out: ids [R, k] i32, the k = `used` experts with the largest gates (of equals the first), best first; weights
 *                  [R, k]; order [R, k] i32, all pairs row * k + j sorted by expert, then by pair; starts [1, X + 1] i32, where
 *                  each expert's pairs begin in it
 *             With GROUPS only experts of the GROUPS_USED groups (as many experts in a row each) are chosen in which the two
 *             largest gates have the largest sum.
 *             weights: the gate of each expert; NORMALISE: divided by their sum, at least CI_ROUTE_LEAST_SUM; times SCALE
 * matmul_experts  in:  x [R, K] or [R, k * K] f32, q8 or q16; w0 [X * N, K]; w1 (or absent, as w0); ids, order, starts of `route`;
 *                  b0 [1, X * N] (or absent), b1
 *             out: [R, k * N]: for each row its experts side by side; with w1 [R, 2 * k * N]: all of w0, then all of w1. With k
 *             inputs side by side in x each expert has its own.
 * combine     in:  y [R, k * N]; weights [R, k]; addend [R, N] (or absent)
 *             out: [R, N] = sum of weights[j] * y[j], plus addend
 * concat      in:  a [R, A]; b [R, B]; c [R, C] (or absent)
 *             out: [R, A + B + C]
 * affine      in:  x [R, C]; factors [1, C]; offsets [1, C] (or absent)
 *             out: [R, C] = x factors + offsets, column by column
 * scale_experts  in:  x [R, k * N], or [R, 2 * k * N]; ids [R, k] i32; scales0 [1, X]; scales1 [1, X] (or absent, with k * N)
 *             out: x, each slice of N columns times the scale of its expert
 * temperature in:  x [R, C]; positions [R, 1] i32
 *             out: [R, C]: the first `columns` columns times scale * log(floor(position / length) + 1) + 1, all else is copied
 * rope        in:  x [R, C]; table [R, D]
 *             out: [R, C]: the first `heads` heads of `head_dim` columns are rotated in D columns, those from `offset` on, all
 *             else is copied. neox = 0: pairs (2i, 2i + 1); neox = 1: pairs (i, i + D/2)   (Su et al. 2021, arXiv 2104.09864)
 * kv_append   in:  x [R, C]; slots [R, 1] i32
 *             state out: keys [S, K], values [S, V], each f16, f32, q8_0 or q4_0: row slots[r] gets the columns of x from key_column
 *             and value_column on; a slot below 0 is skipped
 * attention   in:  x [R, C], whose first heads * head_dim columns are the queries; keys [S, kv_heads * head_dim];
 *                  values [S, kv_heads * value_dim] (with one kv head also wider rows, of which the first columns count);
 *                  tiles [T, CI_TILE_COLS] i32; pages [sequences, P] i32; sinks [1, heads] (or absent)
 *             out: [R, heads * value_dim] = softmax(s) v with s = scale q k, or with a soft cap cap tanh(scale q k / cap); value_dim
 *             0 is head_dim. A sink is one more number beside a row's s, without a value: it only makes the others weigh less.
 *             A tile is {first row, rows (1..CI_TILE_ROWS), line of `pages`, position of the first row, positions that the sequence
 *             has after this run}: consecutive rows of one sequence. Position p of a sequence is slot
 *             pages[line][p / CI_PAGE_ROWS] * CI_PAGE_ROWS + p % CI_PAGE_ROWS. Query head h uses kv head h / (heads / kv_heads).
 *             A row sees positions 0 to its own, with both_ways all of the sequence, of which a window hides some
 *             (ci_attention_range); what no row of a tile sees is not read, and its pages need not be there.
 * add         in:  a [R, E]; b [R, E]
 *             out: a + b
 * mul         in:  a [R, E]; b [R, E]
 *             out: a * b
 * glu         in:  x [R, 2F]: gate, then up; or slices of WIDTH (not 0; a multiple of 32) columns of gate, then as many of up
 *             out: [R, F] = kind(gate) * up; CI_ACTIVATION_SWIGLU_OAI: y / (1 + exp(-A y)) (1 + up), y the gate up to LIMIT, up
 *             within -LIMIT..LIMIT
 * unary       in:  x [R, E]
 *             out: [R, E] = kind(x), any kind but the last
 * gather      in:  x [R, E]; rows [W, 1] i32
 *             out: [W, E]
 * sample      in:  logits [W, V]; sampler [W, CI_SAMPLER_COLS]; mask [>= W, CI_MASK_WORDS(V)] i32 or absent
 *             out: ids [W, 1] i32; how many logits are not finite [W, 1] i32
 *
 * Fused: rmsnorm_quantise, layernorm_quantise, glu_quantise, unary_quantise, attention_quantise (output q8 or q16); matmul_add (last input: what is added, [R, N]);
 * matmul_glu_quantise (matmul, then glu_quantise: no output of the product is left);
 * rope_kv_append (last input: slots; outputs: rotated x, then state keys and values).
 *
 * clang-format on */
#ifndef CI_TENSOR_OP_PARAMS_H
#define CI_TENSOR_OP_PARAMS_H

#include <stdint.h>

#include "tensor/tensor.h"

enum { CI_PAGE_ROWS = 128, CI_TILE_ROWS = 16 };

/* Columns of the input `tiles` of attention. */
enum { CI_TILE_ROW, CI_TILE_COUNT, CI_TILE_LINE, CI_TILE_POSITION, CI_TILE_LENGTH, CI_TILE_COLS };

/* 1: to q16. The index is free in all ops that are fused with quantise. */
enum { CI_QUANTISE_I_16_BITS = 7 };

enum { CI_NORM_F_EPS = 0 }; /* of rmsnorm, layernorm, norm_heads */

enum {
    CI_NORM_HEADS_I_FIRST = 0,
    CI_NORM_HEADS_I_GROUPS = 1,
    CI_NORM_HEADS_I_WIDTH = 2,
    CI_NORM_HEADS_I_CENTRED = 3 /* 1: as layernorm without a bias makes them */
};

/* The functions of glu and unary. SCALE is A x, SOFTCAP is A tanh(x / A), CLAMP is x within -A..A. */
enum {
    CI_ACTIVATION_SILU,         /* x / (1 + exp(-x)) */
    CI_ACTIVATION_GELU,         /* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    CI_ACTIVATION_GELU_ERF,     /* x / 2 (1 + erf(x / sqrt(2))) */
    CI_ACTIVATION_GELU_QUICK,   /* x / (1 + exp(-1.702 x)) */
    CI_ACTIVATION_RELU,         /* max(x, 0) */
    CI_ACTIVATION_RELU_SQUARED, /* max(x, 0)^2 */
    CI_ACTIVATION_TANH,
    CI_ACTIVATION_SCALE,
    CI_ACTIVATION_SOFTCAP,
    CI_ACTIVATION_CLAMP,
    CI_ACTIVATION_SIGMOID,   /* 1 / (1 + exp(-x)) */
    CI_ACTIVATION_SWIGLU_OAI /* glu only */
};
enum {
    CI_ACTIVATION_I_KIND = 0,
    CI_ACTIVATION_I_WIDTH = 1, /* of glu */
    CI_ACTIVATION_F_A = 0,
    CI_ACTIVATION_F_LIMIT = 1
};

enum { CI_MATMUL_X = 0, CI_MATMUL_W0 = 1, CI_MATMUL_B0 = 4, CI_MATMUL_ADDEND = 7, CI_MATMUL_MAX_WEIGHTS = 3 };

enum { CI_ROPE_TABLE_F_MAGNITUDE = 0 };

enum {
    CI_ROUTE_I_USED = 0,
    CI_ROUTE_I_GATING = 1,
    CI_ROUTE_I_NORMALISE = 2,
    CI_ROUTE_I_GROUPS = 3, /* 0 or 1: none */
    CI_ROUTE_I_GROUPS_USED = 4,
    CI_ROUTE_F_SCALE = 0
};
enum {
    CI_GATING_SOFTMAX,
    CI_GATING_SIGMOID,
    CI_GATING_SOFTMAX_CHOSEN /* of the logits of the chosen experts alone */
};
enum { CI_MAX_EXPERTS = 1024, CI_MAX_EXPERTS_USED = 64 };
#define CI_ROUTE_LEAST_SUM 0x1p-14 /* the least normal f16 */

enum {
    CI_EXPERTS_X,
    CI_EXPERTS_W0,
    CI_EXPERTS_W1,
    CI_EXPERTS_IDS,
    CI_EXPERTS_ORDER,
    CI_EXPERTS_STARTS,
    CI_EXPERTS_B0,
    CI_EXPERTS_B1
};

enum { CI_TEMPERATURE_I_COLUMNS = 0, CI_TEMPERATURE_F_SCALE = 0, CI_TEMPERATURE_F_LENGTH = 1 };

enum { CI_ROPE_I_HEADS = 0, CI_ROPE_I_HEAD_DIM = 1, CI_ROPE_I_NEOX = 2, CI_ROPE_I_OFFSET = 5 };

enum { CI_KV_I_KEY_COLUMN = 3, CI_KV_I_VALUE_COLUMN = 4 };

enum {
    CI_ATTENTION_I_HEADS = 0,
    CI_ATTENTION_I_KV_HEADS = 1,
    CI_ATTENTION_I_HEAD_DIM = 2,
    CI_ATTENTION_I_VALUE_DIM = 3,   /* 0: head_dim */
    CI_ATTENTION_I_WINDOW = 4,      /* 0: none */
    CI_ATTENTION_I_WINDOW_KIND = 5, /* of ci_window_kind */
    CI_ATTENTION_I_BOTH_WAYS = 6,   /* 1: rows see what comes after them, too */
    CI_ATTENTION_F_SCALE = 0,
    CI_ATTENTION_F_SOFTCAP = 1, /* 0: none */
    CI_ATTENTION_MAX_DIM = 576  /* of keys and of values */
};
enum { CI_ATTENTION_SINKS = 5 }; /* the input */

/* What the row at position p sees: the last `window` positions, its own included; those from p / window * window on;
 * those up to window / 2 away. */
enum ci_window_kind { CI_WINDOW_SLIDING, CI_WINDOW_CHUNKED, CI_WINDOW_SYMMETRIC };

/* The positions [*first, *end) that the row at `position` sees, of a sequence of `length`. Later rows begin and end no
 * earlier. */
static inline void ci_attention_range(const struct ci_params *params, int32_t position, int32_t length, int32_t *first,
                                      int32_t *end) {
    int32_t window = params->i[CI_ATTENTION_I_WINDOW], kind = params->i[CI_ATTENTION_I_WINDOW_KIND];
    *first = 0;
    *end = params->i[CI_ATTENTION_I_BOTH_WAYS] ? length : position + 1;
    if (window == 0) return;
    *first = kind == CI_WINDOW_CHUNKED     ? position / window * window
             : kind == CI_WINDOW_SYMMETRIC ? position - window / 2
                                           : position - window + 1;
    if (*first < 0) *first = 0;
    if (kind == CI_WINDOW_SYMMETRIC && *end - position > window / 2 + 1) *end = position + window / 2 + 1;
}

/* The same of all rows of a tile together. */
static inline void ci_attention_tile_range(const struct ci_params *params, const int32_t *tile, int32_t *first,
                                           int32_t *end) {
    int32_t other;
    ci_attention_range(params, tile[CI_TILE_POSITION], tile[CI_TILE_LENGTH], first, &other);
    ci_attention_range(params, tile[CI_TILE_POSITION] + tile[CI_TILE_COUNT] - 1, tile[CI_TILE_LENGTH], &other, end);
}

/* Columns of the sampler input, all f32. Order of filters: top-k, top-p, min-p, temperature, as llama.cpp's default
 * chain. temperature <= 0: the largest logit, the lowest id among equals. top_k: 1..CI_SAMPLE_MAX_K. The random number
 * is RANDOM + RANDOM_LOW / 2^24, both in [0, 1) and multiples of 1 / 2^24. */
enum {
    CI_SAMPLER_TEMPERATURE,
    CI_SAMPLER_TOP_K,
    CI_SAMPLER_TOP_P,
    CI_SAMPLER_MIN_P,
    CI_SAMPLER_RANDOM,
    CI_SAMPLER_RANDOM_LOW,
    CI_SAMPLER_MASKED, /* 1: only tokens whose bit is set in the row's mask are candidates */
    CI_SAMPLER_COLS = 8
};
enum { CI_SAMPLE_MAX_K = 64, CI_SAMPLE_MASK = 2 /* the input */ };

/* Token i is bit i % 32 of word i / 32. */
#define CI_MASK_WORDS(vocabulary) (((vocabulary) + 31) / 32)

#endif
