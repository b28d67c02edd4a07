/* sampler_draw.c: from the candidates that are left to one. */
#include <math.h>

#include "engine/sampler.h"

size_t ci_sampler_draw(struct ci_sampling *choice, double random) {
    double total = 0, sum = 0;
    float top = ci_sampler_largest(choice);
    for (size_t i = 0; i < choice->count; i++)
        total += (double)(choice->items[i].p = expf(choice->items[i].logit - top));
    for (size_t i = 0; i + 1 < choice->count; i++) {
        sum += (double)choice->items[i].p;
        if (sum >= total * random) return i;
    }
    return choice->count - 1;
}

/* What std::discrete_distribution draws, which draws nothing from one. */
static size_t draw_p(struct ci_sampling *choice) {
    struct ci_sampler *sampler = choice->sampler;
    double total = 0, sum = 0;
    if (choice->count < 2) return 0;
    double random = ci_mersenne_double(&sampler->own);
    sampler->memory.words += 2;
    for (size_t i = 0; i < choice->count; i++) total += (double)choice->items[i].p;
    for (size_t i = 0; i + 1 < choice->count; i++) {
        sum += (double)choice->items[i].p / total;
        if (sum >= random) return i;
    }
    return choice->count - 1;
}

/* How many of the likeliest keep the surprise at what it should be, if probabilities follow Zipf's law. */
static size_t zipf_count(const struct ci_sampling *choice) {
    float products = 0, squares = 0;
    for (size_t i = 0; i < CI_MIROSTAT_TOKENS - 1 && i + 1 < choice->count; i++) {
        float t = logf((float)(i + 2) / (float)(i + 1));
        products += t * logf(choice->items[i].p / choice->items[i + 1].p);
        squares += t * t;
    }
    float s = products / squares, epsilon = s - 1;
    float k = powf(
        epsilon * powf(2, choice->sampler->memory.surprise) / (1 - powf((float)choice->vocabulary, -epsilon)), 1 / s);
    /* No number, or one beyond an int: the tail is too flat for the law, and llama.cpp takes the likeliest. */
    if (!(k >= 1 && k < 0x1p31f)) return 1;
    return k < (float)choice->count ? (size_t)k : choice->count;
}

static size_t likely_count(const struct ci_sampling *choice) {
    size_t kept = 0;
    while (kept < choice->count && -log2f(choice->items[kept].p) <= choice->sampler->memory.surprise) kept++;
    return kept ? kept : 1;
}

void ci_sampler_surprise(struct ci_sampler *sampler, float p) {
    sampler->memory.surprise -= sampler->options.mirostat_eta * (-log2f(p) - sampler->options.mirostat_tau);
}

/* Basu et al. 2020, arXiv 2007.14966. */
size_t ci_sampler_mirostat(struct ci_sampling *choice) {
    struct ci_sampler *sampler = choice->sampler;
    ci_sampler_temperature(choice);
    ci_sampler_softmax(choice, true);
    choice->count = sampler->options.mirostat == 1 ? zipf_count(choice) : likely_count(choice);
    ci_sampler_softmax(choice, true);
    size_t chosen = draw_p(choice);
    ci_sampler_surprise(sampler, choice->items[chosen].p);
    return chosen;
}
