/* mersenne.h: MT19937 (Matsumoto and Nishimura 1998, https://doi.org/10.1145/272991.272995), and what libstdc++'s
 * std::uniform_real_distribution makes of it: the random numbers of llama.cpp, so that the same seed gives the same
 * text. */
#ifndef CI_BASE_MERSENNE_H
#define CI_BASE_MERSENNE_H

#include <stdint.h>

enum { CI_MERSENNE_WORDS = 624, CI_DRAWS_KEPT = 8 };

struct ci_mersenne {
    uint32_t words[CI_MERSENNE_WORDS];
    int next; /* the word that comes next */
};

void ci_mersenne_seed(struct ci_mersenne *state, uint32_t seed);
uint32_t ci_mersenne_word(struct ci_mersenne *state);

/* In [0, 1), of two words, the low one first; and of one. */
double ci_mersenne_double(struct ci_mersenne *state);
float ci_mersenne_float(struct ci_mersenne *state);

/* Doubles of one seed by their number. The last ones are kept, since steps are computed again or in advance; an earlier
 * one is found by beginning anew. */
struct ci_draws {
    struct ci_mersenne state;
    uint32_t seed;
    uint64_t made;
    double last[CI_DRAWS_KEPT]; /* number i at i % CI_DRAWS_KEPT */
};

void ci_draws_seed(struct ci_draws *draws, uint32_t seed);

/* The one with this number, from 0. */
double ci_draws_at(struct ci_draws *draws, uint64_t number);

#endif
