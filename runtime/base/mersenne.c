#include "base/mersenne.h"

#include <math.h>

enum { WORDS = CI_MERSENNE_WORDS, SHIFTED = 397 };

void ci_mersenne_seed(struct ci_mersenne *state, uint32_t seed) {
    uint32_t *words = state->words;
    words[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++) words[i] = UINT32_C(1812433253) * (words[i - 1] ^ words[i - 1] >> 30) + i;
    state->next = WORDS;
}

static void twist(uint32_t *words) {
    for (int i = 0; i < WORDS; i++) {
        uint32_t both = (words[i] & UINT32_C(0x80000000)) | (words[(i + 1) % WORDS] & UINT32_C(0x7fffffff));
        words[i] = words[(i + SHIFTED) % WORDS] ^ both >> 1 ^ (both & 1 ? UINT32_C(0x9908b0df) : 0);
    }
}

uint32_t ci_mersenne_word(struct ci_mersenne *state) {
    if (state->next == WORDS) {
        twist(state->words);
        state->next = 0;
    }
    uint32_t word = state->words[state->next++];
    word ^= word >> 11;
    word ^= word << 7 & UINT32_C(0x9d2c5680);
    word ^= word << 15 & UINT32_C(0xefc60000);
    return word ^ word >> 18;
}

double ci_mersenne_double(struct ci_mersenne *state) {
    double low = ci_mersenne_word(state), sum = low + 0x1p32 * (double)ci_mersenne_word(state);
    double drawn = sum * 0x1p-64; /* rounding may have made it 1 */
    return drawn < 1 ? drawn : nextafter(1, 0);
}

float ci_mersenne_float(struct ci_mersenne *state) {
    float drawn = (float)ci_mersenne_word(state) * 0x1p-32f;
    return drawn < 1 ? drawn : nextafterf(1, 0);
}

void ci_draws_seed(struct ci_draws *draws, uint32_t seed) {
    ci_mersenne_seed(&draws->state, seed);
    draws->seed = seed;
    draws->made = 0;
}

double ci_draws_at(struct ci_draws *draws, uint64_t number) {
    if (number + CI_DRAWS_KEPT < draws->made) ci_draws_seed(draws, draws->seed);
    for (; draws->made <= number; draws->made++)
        draws->last[draws->made % CI_DRAWS_KEPT] = ci_mersenne_double(&draws->state);
    return draws->last[number % CI_DRAWS_KEPT];
}
