/* sampler_filters.c: samplers that leave fewer candidates, and temperature. Sums and logarithms are of 32 bits and run
 * in llama.cpp's order, which decides what lies on the edge. */
#include <float.h>
#include <math.h>

#include "engine/sampler.h"

/* Several at a time: each would wait for the one before. */
float ci_sampler_largest(const struct ci_sampling *choice) {
    enum { LANES = 8 };
    const struct ci_candidate *items = choice->items;
    float tops[LANES], top = items[0].logit;
    size_t i = 0;
    if (choice->sorted) return top;
    for (int lane = 0; lane < LANES; lane++) tops[lane] = top;
    for (; i + LANES <= choice->count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            tops[lane] = items[i + (size_t)lane].logit > tops[lane] ? items[i + (size_t)lane].logit : tops[lane];
    for (; i < choice->count; i++) top = fmaxf(top, items[i].logit);
    for (int lane = 0; lane < LANES; lane++) top = fmaxf(top, tops[lane]);
    return top;
}

void ci_sampler_softmax(struct ci_sampling *choice, bool sort) {
    if (sort && !choice->sorted) ci_sampler_sort(choice, choice->count);
    float top = ci_sampler_largest(choice), sum = 0;
    for (size_t i = 0; i < choice->count; i++) sum += choice->items[i].p = expf(choice->items[i].logit - top);
    for (size_t i = 0; i < choice->count; i++) choice->items[i].p /= sum;
}

/* ---- the samplers ---- */

static bool has_top_k(const struct clinfer_session_options *options) { return options->top_k > 0; }

static void top_k(struct ci_sampling *choice) {
    size_t k = (size_t)choice->sampler->options.top_k;
    if (k > choice->count) k = choice->count;
    if (!choice->sorted) ci_sampler_sort(choice, k);
    choice->count = k;
    choice->sorted = true;
}

static bool has_top_p(const struct clinfer_session_options *options) { return options->top_p < 1; }

/* Holtzman et al. 2019, arXiv 1904.09751. Few of many are enough as a rule: only these are sorted at first. */
static void top_p(struct ci_sampling *choice) {
    enum { MANY = 1024, FEW = 256 };
    float sum = 0;
    size_t ready = choice->count, kept = 0;
    ci_sampler_softmax(choice, false);
    if (!choice->sorted) {
        if (choice->count > MANY) ready = FEW;
        ci_sampler_sort(choice, ready);
    }
    while (kept < choice->count) {
        if (kept == ready) {
            ready = choice->count;
            ci_sampler_sort(choice, ready);
        }
        sum += choice->items[kept++].p;
        if (sum >= choice->sampler->options.top_p) break;
    }
    choice->count = kept;
    choice->sorted = true;
}

static bool has_min_p(const struct clinfer_session_options *options) { return options->min_p > 0; }

/* Nguyen et al. 2024, arXiv 2407.01082. The order stays. */
static void min_p(struct ci_sampling *choice) {
    float least = ci_sampler_largest(choice) + logf(choice->sampler->options.min_p);
    size_t kept = 0;
    for (size_t i = 0; i < choice->count; i++)
        if (choice->items[i].logit >= least) choice->items[kept++] = choice->items[i];
    choice->count = kept ? kept : 1;
}

static bool has_typical(const struct clinfer_session_options *options) {
    return options->typical_p > 0 && options->typical_p < 1;
}

/* Meister et al. 2022, arXiv 2202.00666: those whose surprise is closest to the entropy. As a rule these are few: only
 * so many are sorted at first. */
static void typical(struct ci_sampling *choice) {
    enum { FEW = 256 };
    float entropy = 0, sum = 0;
    size_t kept = 0, ready = choice->count > 4 * FEW ? FEW : choice->count;
    ci_sampler_softmax(choice, true);
    for (size_t i = 0; i < choice->count; i++)
        if (choice->items[i].p > 0) entropy += -choice->items[i].p * logf(choice->items[i].p);
    for (size_t i = 0; i < choice->count; i++) choice->items[i].score = fabsf(-logf(choice->items[i].p) - entropy);
    ci_sampler_sort_by_score(choice, ready);
    while (kept < choice->count) {
        if (kept == ready) {
            ready = choice->count;
            ci_sampler_sort_by_score(choice, ready);
        }
        sum += choice->items[kept++].p;
        if (sum > choice->sampler->options.typical_p) break;
    }
    choice->count = kept;
    choice->sorted = false;
}

static bool has_top_n_sigma(const struct clinfer_session_options *options) { return options->top_n_sigma > 0; }

/* Tang et al. 2024, arXiv 2411.07641: those within so many standard deviations of the largest logit. */
static void top_n_sigma(struct ci_sampling *choice) {
    float top = -INFINITY, sum = 0, squares = 0;
    size_t valid = 0;
    if (choice->count <= 1) return;
    for (size_t i = 0; i < choice->count; i++) {
        float logit = choice->items[i].logit;
        if (logit == -INFINITY) continue;
        top = fmaxf(top, logit);
        sum += logit;
        valid++;
    }
    float mean = valid ? sum / (float)valid : 0;
    for (size_t i = 0; i < choice->count; i++) {
        double off = (double)(choice->items[i].logit - mean);
        if (choice->items[i].logit != -INFINITY) squares = (float)((double)squares + off * off);
    }
    float least = top - choice->sampler->options.top_n_sigma * (valid ? sqrtf(squares / (float)valid) : 0);
    for (size_t i = 0; i < choice->count; i++)
        if (choice->items[i].logit < least) choice->items[i].logit = -INFINITY;
}

static bool has_xtc(const struct clinfer_session_options *options) {
    return options->xtc_probability > 0 && options->xtc_threshold <= 0.5f;
}

/* Now and then without the likeliest of those that are likely enough, but for the last of these
 * (https://github.com/oobabooga/text-generation-webui/pull/6335). */
static void xtc(struct ci_sampling *choice) {
    struct ci_sampler *sampler = choice->sampler;
    size_t last = 0;
    if (choice->count < 2) return;
    sampler->memory.words++;
    if (ci_mersenne_float(&sampler->own) > sampler->options.xtc_probability) return;
    ci_sampler_softmax(choice, true);
    for (size_t i = 0; i < choice->count && choice->items[i].p >= sampler->options.xtc_threshold; i++) last = i;
    choice->items += last;
    choice->count -= last;
}

static bool has_temperature(const struct clinfer_session_options *options) { return options->temperature != 1; }

void ci_sampler_temperature(struct ci_sampling *choice) {
    float temperature = choice->sampler->options.temperature;
    size_t best = 0;
    if (temperature > 0) {
        for (size_t i = 0; i < choice->count; i++) choice->items[i].logit /= temperature;
        return;
    }
    for (size_t i = 1; i < choice->count; i++)
        if (choice->items[i].logit > choice->items[best].logit) best = i;
    for (size_t i = 0; i < choice->count; i++)
        if (i != best) choice->items[i].logit = -INFINITY;
}

const struct ci_sampler_kind ci_sampler_kinds[] = {
    {"penalties", "", ci_sampler_has_penalties, ci_sampler_penalties},
    {"dry", "", ci_sampler_has_dry, ci_sampler_dry},
    {"top_n_sigma", "top-n-sigma", has_top_n_sigma, top_n_sigma},
    {"top_k", "top-k", has_top_k, top_k},
    {"typ_p", "typ-p typ typical typical-p typical_p", has_typical, typical},
    {"top_p", "top-p nucleus", has_top_p, top_p},
    {"min_p", "min-p", has_min_p, min_p},
    {"xtc", "", has_xtc, xtc},
    {"temperature", "temp", has_temperature, ci_sampler_temperature},
    {0}};
