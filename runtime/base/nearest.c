#include "base/nearest.h"

#include <string.h>

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

size_t ci_nearest_distance(const char *a, const char *b) {
    size_t rows[3][CI_NEAREST_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    size_t na = strlen(a), nb = strlen(b);
    if (na > CI_NEAREST_BYTES || nb > CI_NEAREST_BYTES) return CI_NEAREST_BYTES;
    for (size_t j = 0; j <= nb; j++) last[j] = before[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = smaller(smaller(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[nb];
}
