/* Quantising to super-blocks: for each sub-block a search over scales around the plain one, each with the codes that it
 * gives and the scale and least number that fit these best (least squares); then all scales are rounded to the few bits
 * that they have, and the codes are made anew. ggml weighs larger numbers more; plain squares are what a product with
 * activations of unknown direction is off by. */
#include "types/k_quant.h"

#include <math.h>
#include <stdlib.h>

enum { STEPS = 20, MIDDLE_STEP = 10 };

/* The nearest whole number of least..most, which are whole; what is no number becomes the least. */
static float round_within(float value, int least, int most) {
    float above = value - (float)least, range = (float)(most - least);
    above = above > 0 ? (above < range ? above : range) : 0;
    return (float)((int)(above + 0.5f) + least);
}

/* x ~ scale * code - minimum with codes 0..most; minimum >= 0, since a format cannot say less. */
static float fit_range(const float *x, int count, int most, float *minimum) {
    float low = 0, high = 0, best = INFINITY, best_scale = 0;
    for (int i = 0; i < count; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    *minimum = 0;
    if (!(high - low > 1e-30f)) return 0;
    for (int step = 0; step <= STEPS; step++) {
        float inverse = ((float)most - 1.0f + 0.1f * (float)step) / (high - low);
        float n = (float)count, sum_c = 0, sum_cc = 0, sum_x = 0, sum_cx = 0, sum_xx = 0;
        for (int i = 0; i < count; i++) {
            float code = round_within(inverse * (x[i] - low), 0, most);
            sum_c += code;
            sum_cc += code * code;
            sum_x += x[i];
            sum_cx += code * x[i];
            sum_xx += x[i] * x[i];
        }
        float determinant = n * sum_cc - sum_c * sum_c;
        if (!(determinant > 0)) continue;
        float scale = (n * sum_cx - sum_x * sum_c) / determinant,
              least = (sum_cc * sum_x - sum_c * sum_cx) / determinant;
        if (least > 0) {
            least = 0;
            scale = sum_cx / sum_cc;
        }
        float error =
            sum_xx + scale * (scale * sum_cc + 2 * least * sum_c - 2 * sum_cx) + least * (n * least - 2 * sum_x);
        if (error >= best) continue;
        best = error;
        best_scale = scale;
        *minimum = -least;
    }
    return best_scale;
}

/* Of `count` numbers of 0..: what the largest becomes `most` with, as a half, and the codes. */
static uint16_t round_scales(const float *scales, int count, int most, uint8_t *codes) {
    float largest = 0;
    for (int s = 0; s < count; s++)
        if (scales[s] > largest) largest = scales[s];
    uint16_t half = ci_float_to_half(largest / (float)most);
    float d = ci_half_to_float(half);
    for (int s = 0; s < count; s++) codes[s] = (uint8_t)(d > 0 ? round_within(scales[s] / d, 0, most) : 0);
    return half;
}

void ci_k_fit_range(const float *source, int sub_blocks, int most, int most_scale, struct ci_k_range *fit) {
    float scales[CI_K_MOST_SUB_BLOCKS], minima[CI_K_MOST_SUB_BLOCKS];
    int count = CI_K_COLS / sub_blocks;
    for (int s = 0; s < sub_blocks; s++) scales[s] = fit_range(source + s * count, count, most, &minima[s]);
    fit->d = round_scales(scales, sub_blocks, most_scale, fit->scales);
    fit->minimum = round_scales(minima, sub_blocks, most_scale, fit->minima);
    for (int i = 0; i < CI_K_COLS; i++) {
        int s = i / count;
        float scale = ci_half_to_float(fit->d) * (float)fit->scales[s];
        float minimum = ci_half_to_float(fit->minimum) * (float)fit->minima[s];
        fit->codes[i] = (uint8_t)(scale > 0 ? round_within((source[i] + minimum) / scale, 0, most) : 0);
    }
}

/* x ~ scale * code with codes -zero..zero - 1. */
static float fit_signed(const float *x, int count, int zero) {
    float extreme = 0, best = 0, best_scale = 0;
    for (int i = 0; i < count; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (!(fabsf(extreme) > 1e-30f)) return 0;
    for (int step = -STEPS; step <= STEPS; step++) {
        /* The extreme has code -zero or, from the other side, up to zero - 1. */
        float size = (float)zero + 0.1f * (float)(abs(step) - MIDDLE_STEP),
              inverse = (step < 0 ? size : -size) / extreme;
        float sum_cc = 0, sum_cx = 0;
        for (int i = 0; i < count; i++) {
            float code = round_within(inverse * x[i], -zero, zero - 1);
            sum_cc += code * code;
            sum_cx += code * x[i];
        }
        if (!(sum_cc > 0) || sum_cx * sum_cx <= best * sum_cc) continue;
        best = sum_cx * sum_cx / sum_cc;
        best_scale = sum_cx / sum_cc;
    }
    return best_scale;
}

void ci_k_fit_signed(const float *source, int zero, int least_scale, struct ci_k_signed *fit) {
    enum { COUNT = CI_K_COLS / CI_K_MOST_SUB_BLOCKS };
    float scales[CI_K_MOST_SUB_BLOCKS], extreme = 0;
    for (int s = 0; s < CI_K_MOST_SUB_BLOCKS; s++) {
        scales[s] = fit_signed(source + s * COUNT, COUNT, zero);
        if (fabsf(scales[s]) > fabsf(extreme)) extreme = scales[s];
    }
    fit->d = ci_float_to_half(extreme / (float)-least_scale);
    float d = ci_half_to_float(fit->d);
    for (int s = 0; s < CI_K_MOST_SUB_BLOCKS; s++) {
        fit->scales[s] = (int8_t)(d != 0 ? round_within(scales[s] / d, -least_scale, least_scale - 1) : 0);
    }
    for (int i = 0; i < CI_K_COLS; i++) {
        int s = i / COUNT;
        float scale = d * (float)fit->scales[s];
        fit->codes[i] = (uint8_t)((scale != 0 ? round_within(source[i] / scale, -zero, zero - 1) : 0) + (float)zero);
    }
}
