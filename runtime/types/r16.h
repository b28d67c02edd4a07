/* r16.h: layout r16 (layout.h) made of 16 rows at once. A start packs every weight of a model, so this has to keep up
 * with the memory: words are moved four rows by four, in vectors of 16 bytes, which are the compiler's own and exist on
 * every processor (SSE2, NEON). Word by word it took six times as long.
 *
 * "Words" are 4 bytes of each of 4 rows; what is done to words is done to four rows. */
#ifndef CI_TYPES_R16_H
#define CI_TYPES_R16_H

#include "types/block.h"

typedef uint8_t ci_r16_bytes __attribute__((vector_size(16)));
typedef uint32_t ci_r16_words __attribute__((vector_size(16)));

static inline ci_r16_words ci_r16_load(const uint8_t *at) {
    ci_r16_words words;
    memcpy(&words, at, sizeof words);
    return words;
}

/* words[j] are word j of four rows; for the rows first..first + 3. */
static inline void ci_r16_take_words(const uint8_t *const rows[16], int first, int offset, ci_r16_words words[4]) {
    const uint8_t *const *row = rows + first;
    ci_r16_words a = ci_r16_load(row[0] + offset), b = ci_r16_load(row[1] + offset);
    ci_r16_words c = ci_r16_load(row[2] + offset), d = ci_r16_load(row[3] + offset);
    ci_r16_words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    words[0] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    words[1] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    words[2] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    words[3] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

/* Quad `quad` of a plane, for the rows first..first + 3. */
static inline void ci_r16_put_words(uint8_t *plane, int quad, int first, ci_r16_words words) {
    memcpy(plane + quad * CI_R16_QUAD_BYTES + 4 * first, &words, sizeof words);
}

/* A plane of bytes of which every row has `quads` times four (a multiple of four times): quad j of 16 rows, then quad
 * j + 1. */
static inline void ci_r16_put_quads(uint8_t *plane, const uint8_t *const rows[16], int offset, int quads) {
    ci_r16_words words[4];
    for (int first = 0; first < CI_R16_ROWS; first += 4)
        for (int quad = 0; quad < quads; quad += 4) {
            ci_r16_take_words(rows, first, offset + 4 * quad, words);
            for (int i = 0; i < 4; i++) ci_r16_put_words(plane, quad + i, first, words[i]);
        }
}

/* 16 times two bytes, mostly halves. */
static inline void ci_r16_put_halves(uint8_t *plane, const uint8_t *const rows[16], int offset) {
    for (int row = 0; row < CI_R16_ROWS; row++) memcpy(plane + 2 * row, rows[row] + offset, 2);
}

/* columns[i]: byte i of 16 bytes of every row. */
static inline void ci_r16_take_columns(const uint8_t *const rows[16], int offset, ci_r16_bytes columns[16]) {
    ci_r16_bytes other[16];
    for (int row = 0; row < 16; row++) memcpy(&columns[row], rows[row] + offset, 16);
    /* Four times over, vectors i and i + 8 are shuffled like cards. */
    for (int round = 0; round < 4; round++) {
        memcpy(other, columns, sizeof other);
        for (int i = 0; i < 8; i++) {
            columns[2 * i] =
                __builtin_shufflevector(other[i], other[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            columns[2 * i + 1] = __builtin_shufflevector(other[i], other[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                                         13, 29, 14, 30, 15, 31);
        }
    }
}

static inline void ci_r16_put_column(uint8_t *at, ci_r16_bytes column) { memcpy(at, &column, sizeof column); }

#endif
