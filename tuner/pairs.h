/* pairs.h: what pairs of times, of one way to run and of another in turn, say of the two: pairs [rounds][2] of seconds,
 * of which the second is asked about. */
#ifndef CI_TUNER_PAIRS_H
#define CI_TUNER_PAIRS_H

#include <stdbool.h>

enum { CI_PAIRS_MOST = 96 };

/* Whether chance makes so many of so many pairs say the same no more often than that. */
bool ci_pairs_are_sure(int said, int rounds, double chance);

/* The same of "the second of each pair is less", by how much as well as by how many; rounds <= CI_PAIRS_MOST. */
bool ci_pairs_are_surely_less(const double *pairs, int rounds, double chance);

/* The median of second / first; of no pairs 1. */
double ci_pairs_ratio(const double *pairs, int rounds);

#endif
