/* attention_cache.h: the part of attention.h that reads keys and values from the paged cache: where they lie, what of
 * them is asked for ahead, and how those that are no floats are unpacked. */
#ifndef CI_CPU_ATTENTION_CACHE_H
#define CI_CPU_ATTENTION_CACHE_H

/* The keys, or the values, of one kv head of one sequence. */
struct side {
    const struct ci_view *view;
    const int32_t *pages;
    int64_t first_col;
    int dim, padded; /* columns; in whole vectors */
    size_t row_bytes;
    int direct; /* used as they lie in the cache */
};

/* BLOCK positions of a side as the kernels read them: floats, or halves of the cache. */
struct block {
    const void *at;
    int half;
    int64_t stride; /* numbers from row to row */
};

INLINE int whole_vectors(int dim) { return (dim + VF_LANES - 1) / VF_LANES * VF_LANES; }

INLINE struct side side_of(const struct ci_call *call, int input, const int32_t *tile, int kv_head, int dim) {
    const struct ci_view *view = &call->in[input];
    return (struct side){.view = view,
                         .pages = (const int32_t *)call->in[4].data + (int64_t)tile[CI_TILE_LINE] * call->in[4].cols,
                         .first_col = (int64_t)kv_head * dim,
                         .dim = dim,
                         .padded = whole_vectors(dim),
                         .row_bytes = ci_type_row_bytes(view->type, view->cols),
                         .direct = view->type->block_cols == 1 && dim % VF_LANES == 0};
}

/* LANES numbers of a block. */
INLINE vf load_kv(const void *at, int half, int64_t index) {
    return half ? vf_load_f16((const uint16_t *)at + index) : vf_load((const float *)at + index);
}

INLINE int64_t slot_of(const struct side *side, int32_t p) {
    return (int64_t)side->pages[p / CI_PAGE_ROWS] * CI_PAGE_ROWS + p % CI_PAGE_ROWS;
}

/* Where the numbers of position p lie. BLOCK positions follow each other at a distance of row_bytes. */
INLINE const uint8_t *kv_at(const struct side *side, int32_t p) {
    const struct ci_type *type = side->view->type;
    return (const uint8_t *)side->view->data + (size_t)slot_of(side, p) * side->row_bytes +
           (size_t)(side->first_col / type->block_cols * type->block_bytes);
}

/* Rows that lie BLOCK behind the block's, of this item and of the next one, which are asked for while this block is
 * computed: rows of one head lie apart, and no processor guesses the next ones in time. Line by line between the
 * arithmetic: of a burst that is longer than the list of what a core waits for, the rest is dropped (Zen 5, a memory of
 * 55 GB/s: 35 GB/s by 16 lines at once, 43 so). With AVX2, whose cores wait for the arithmetic, asking behind each of
 * its short vectors was half of it, so four rows are asked for at once. Each piece of the queries asks for its part,
 * every so many fours of rows. */
enum { LINE_BYTES = 64, SPREAD = VF_LANES != 8 };

struct ahead_side {
    const uint8_t *own, *next; /* row 0 of either */
    size_t bytes, next_bytes;  /* from row to row */
    size_t step;               /* under VF_LANES numbers of a row */
};

struct ahead {
    struct ahead_side keys, values;
    size_t heads_bytes[2]; /* from one kv head that is asked for to the next: keys, values */
    int heads;             /* how many kv heads of a row are asked for */
    int own, rows,
        skipped;    /* rows [0, own) of the block stand for own ones, [own, rows) for next ones, but `skipped` */
    uint32_t fours; /* bit i / 4: row i of the block and the three after it are for this piece */
};

_Static_assert(BLOCK / 4 <= 32, "a bit for four rows of a block");

static void take_turn(struct ahead *ahead, int turn, int turns) {
    ahead->fours = 0;
    for (int four = turn; 4 * four < ahead->rows; four += turns) ahead->fours |= 1u << four;
}

/* What row i stands for and the next three, `bytes` from each other, or NULL. */
INLINE const uint8_t *rows_ahead(const struct ahead *ahead, const struct ahead_side *side, int i, size_t *bytes) {
    if (!(ahead->fours >> i / 4 & 1)) return NULL;
    *bytes = i < ahead->own ? side->bytes : side->next_bytes;
    return i < ahead->own ? side->own + (size_t)i * side->bytes
                          : side->next + (size_t)(i - ahead->own + ahead->skipped) * side->next_bytes;
}

/* Of a row what begins `at` bytes into each head, under VF_LANES numbers, where a line begins there. */
INLINE void ask_for(const struct ahead *ahead, int side, const uint8_t *row, size_t at, size_t step) {
    if (at % LINE_BYTES < step)
        for (int head = 0; head < ahead->heads; head++, row += ahead->heads_bytes[side]) __builtin_prefetch(row + at);
}

/* Of four rows what begins from `at` to `end` bytes into each head. */
INLINE void ask_for_four(const struct ahead *ahead, int side, const uint8_t *rows, size_t bytes, size_t at,
                         size_t end) {
    at = (at + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
    for (int head = 0; head < ahead->heads; head++, rows += ahead->heads_bytes[side])
        for (const uint8_t *line = rows + at; line < rows + end; line += LINE_BYTES)
            UNROLL for (size_t row = 0; row < 4; row++) __builtin_prefetch(line + row * bytes);
}

INLINE size_t step_bytes(const struct side *side) { return side->row_bytes * VF_LANES / (size_t)side->view->cols; }

/* From a number of a kv head to the same one of the next. */
INLINE size_t head_bytes(const struct side *side) {
    return (size_t)(side->dim / side->view->type->block_cols * side->view->type->block_bytes);
}

/* With AVX2 and heads of LONG_HEAD columns or more, whole rows instead: of 32 KB of cache the rows of one head, a power
 * of two apart, have half, which keys and values of a block fill. So its values are asked for while its scores are
 * computed, and the next keys while values are added; a whole block ahead where both are unpacked before the scores are
 * computed. Blocks of shorter rows are over too soon for that. */
enum { LONG_HEAD = SPREAD ? INT32_MAX : 128 };

struct asked {
    const uint8_t *rows; /* NULL: none */
    size_t bytes, head;  /* from row to row; in each */
};

INLINE struct asked asked_of(const struct side *side, int joint, int32_t p) {
    return (struct asked){kv_at(side, p) + (size_t)joint * head_bytes(side), side->row_bytes, head_bytes(side)};
}

INLINE void ask_for_rows(const struct asked *asked, int first, int count) {
    if (!asked->rows) return;
    const uint8_t *row = asked->rows + (size_t)first * asked->bytes;
    for (int i = 0; i < count; i++, row += asked->bytes)
        for (const uint8_t *line = row - (uintptr_t)row % LINE_BYTES; line < row + asked->head; line += LINE_BYTES)
            __builtin_prefetch(line);
}

/* ---- unpacking ---- */

INLINE vf half_at(const uint8_t *at) {
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
#if defined(__F16C__)
    return vf_set(_cvtsh_ss(bits));
#else
    return vf_set(ci_half_to_float(bits));
#endif
}

INLINE void unpack_q8_0(const uint8_t *block, int blocks, float *out) {
    enum { BYTES = 34, COLS = 32 };
    for (int b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        vf d = half_at(block);
        UNROLL for (int i = 0; i < COLS; i += VF_LANES)
            vf_store(out + i, vf_mul(vf_load_i8((const int8_t *)block + 2 + i), d));
    }
}

/* (code - 8) * d */
INLINE void unpack_q4_0(const uint8_t *block, int blocks, float *out) {
    enum { BYTES = 18, COLS = 32 };
    for (int b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        const uint64_t low = 0x0f0f0f0f0f0f0f0f;
        vf d = half_at(block), zero = vf_mul(d, vf_set(-8));
        uint64_t bytes[2], halves[4];
        int8_t codes[COLS];
        memcpy(bytes, block + 2, sizeof bytes);
        for (int i = 0; i < 2; i++) {
            halves[i] = bytes[i] & low;
            halves[i + 2] = bytes[i] >> 4 & low;
        }
        memcpy(codes, halves, sizeof codes);
        UNROLL for (int i = 0; i < COLS; i += VF_LANES) vf_store(out + i, vf_fma(vf_load_i8(codes + i), d, zero));
    }
}

/* Positions p + skip .. p + n as floats out[BLOCK][padded]; what lies between and behind is 0: its weights are too, and
 * 0 times what lies in the cache could be no number. */
INLINE void unpack(const struct side *side, int32_t p, int skip, int n, float *out) {
    const struct ci_type *type = side->view->type;
    const uint8_t *row = kv_at(side, p);
    bool whole_blocks = side->dim % 32 == 0;
    for (int i = 0; i < BLOCK; i++, out += side->padded, row += side->row_bytes) {
        if (i < skip || i >= n) {
            memset(out, 0, (size_t)side->padded * sizeof *out);
            continue;
        }
        if (side->direct)
            for (int d = 0; d < side->dim; d += VF_LANES) vf_store(out + d, load_kv(row, type == &ci_type_f16, d));
        else if (whole_blocks && type == &ci_type_q8_0)
            unpack_q8_0(row, side->dim / 32, out);
        else if (whole_blocks && type == &ci_type_q4_0)
            unpack_q4_0(row, side->dim / 32, out);
        else
            ci_view_columns(side->view, slot_of(side, p) + i, side->first_col, side->dim, out);
        for (int d = side->dim; d < side->padded; d++) out[d] = 0;
    }
}

#endif
