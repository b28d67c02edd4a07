/* Quantising to super-blocks: for each sub-block a search over scales around the plain one, each with the codes that it
 * gives and the scale and least number that fit these best (least squares); then all scales are rounded to the few bits
 * that they have, and the codes are made anew. ggml weighs larger numbers more; plain squares are what a product with
 * activations of unknown direction is off by. */
#include "types/k_quant.h"

#include <math.h>

enum { STEPS = 20 };

static float clamp(float value, float least, float most) { return fmaxf(least, fminf(most, value)); }

/* x ~ scale * code - minimum with codes 0..most; minimum >= 0, since a format cannot say less. */
static float fit_range(const float *x, int count, int most, float *minimum) {
    float low = 0, high = 0, best = INFINITY, best_scale = 0;
    for (int i = 0; i < count; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    *minimum = 0;
    if (!(high - low > 1e-30f)) return 0;
    for (int step = 0; step <= STEPS; step++) {
        float inverse = ((float)most - 1.0f + 0.1f * (float)step) / (high - low);
        float n = (float)count, sum_c = 0, sum_cc = 0, sum_x = 0, sum_cx = 0, sum_xx = 0;
        for (int i = 0; i < count; i++) {
            float code = clamp(floorf(inverse * (x[i] - low) + 0.5f), 0, (float)most);
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
    for (int s = 0; s < count; s++) largest = fmaxf(largest, scales[s]);
    uint16_t half = ci_float_to_half(largest / (float)most);
    float d = ci_half_to_float(half);
    for (int s = 0; s < count; s++)
        codes[s] = (uint8_t)(d > 0 ? clamp(floorf(scales[s] / d + 0.5f), 0, (float)most) : 0);
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
        float code = scale > 0 ? floorf((source[i] + minimum) / scale + 0.5f) : 0;
        fit->codes[i] = (uint8_t)clamp(code, 0, (float)most);
    }
}
