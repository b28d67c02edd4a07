/* nmse.h: how far numbers are from the truth. */
#ifndef TESTS_SUPPORT_NMSE_H
#define TESTS_SUPPORT_NMSE_H

#include <stddef.h>

/* The mean square of the error over that of the truth. */
static inline double nmse(const float *truth, const float *other, size_t count) {
    double error = 0, square = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)truth[i] - (double)other[i];
        error += difference * difference;
        square += (double)truth[i] * (double)truth[i];
    }
    return error / square;
}

#endif
