/* nearest.h: how far apart two words are that somebody may have confused. */
#ifndef CI_BASE_NEAREST_H
#define CI_BASE_NEAREST_H

#include <stddef.h>

enum { CI_NEAREST_BYTES = 128 };

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b (Damerau and Levenshtein, each place
 * touched once); CI_NEAREST_BYTES where one of them is longer than that. */
size_t ci_nearest_distance(const char *a, const char *b);

#endif
