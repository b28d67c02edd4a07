/* pairs.c: see pairs.h. */
#include "tuner/pairs.h"

#include <math.h>
#include <stdlib.h>

/* The sign test: whether chance makes so many pairs, or more, say the same as rarely as that. A median alone says
 * little here: a pair differs by 15% where other programs run. */
bool ci_pairs_are_sure(int said, int rounds, double chance) {
    double tail = 0, likely = pow(0.5, rounds);
    for (int i = rounds; i >= said; i--) {
        tail += likely;
        likely *= (double)i / (rounds - i + 1);
    }
    return tail <= chance;
}

static int by_magnitude(const void *a, const void *b) {
    double x = fabs(*(const double *)a), y = fabs(*(const double *)b);
    return (x > y) - (x < y);
}

/* Wilcoxon's signed-rank test, exact: of the 2^n ways in which the differences, by rank, could have had their signs so
 * many give no more weight to "slower". One pair in eight that was disturbed a little counts less than with signs
 * alone. */
bool ci_pairs_are_surely_less(const double *pairs, int rounds, double chance) {
    enum { MOST_SUM = CI_PAIRS_MOST * (CI_PAIRS_MOST + 1) / 2 };
    double logs[CI_PAIRS_MOST], tail = 0;
    int against = 0;
    double *ways = calloc(MOST_SUM + 1, sizeof *ways);
    if (!ways) return false;
    for (int i = 0; i < rounds; i++) logs[i] = log(pairs[2 * i + 1] / pairs[2 * i]);
    qsort(logs, (size_t)rounds, sizeof *logs, by_magnitude);
    for (int i = 0; i < rounds; i++) against += logs[i] < 0 ? 0 : i + 1; /* no difference is no gain */
    ways[0] = 1;
    for (int rank = 1; rank <= rounds; rank++)
        for (int sum = rank * (rank + 1) / 2; sum >= 0; sum--)
            ways[sum] = 0.5 * (ways[sum] + (sum >= rank ? ways[sum - rank] : 0));
    for (int sum = 0; sum <= against; sum++) tail += ways[sum];
    free(ways);
    return tail <= chance;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ci_pairs_ratio(const double *pairs, int rounds) {
    double ratios[CI_PAIRS_MOST];
    for (int i = 0; i < rounds; i++) ratios[i] = pairs[2 * i + 1] / pairs[2 * i];
    qsort(ratios, (size_t)rounds, sizeof *ratios, by_value);
    return rounds > 0 ? ratios[rounds / 2] : 1;
}
