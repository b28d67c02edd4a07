/* sampler.c: what the op `sample` is told, and sampling on the host for settings that it does not know: a repeat
 * penalty, which needs the last token before the next step, and more candidates than it keeps. Same filters in the same
 * order. */
#include <math.h>
#include <stdlib.h>

#include "base/narrow.h"
#include "base/random.h"
#include "base/status.h"
#include "engine/engine_private.h"

bool ci_sampler_needs_host(const struct clinfer_session_options *options) {
    bool penalty = options->repeat_penalty != 1 && options->repeat_penalty > 0;
    bool many = options->temperature > 0 && (options->top_k < 1 || options->top_k > CI_SAMPLE_MAX_K);
    return penalty || many;
}

/* A token's random number is that of its place behind the beginning of the prompt, and of nothing else: not of other
 * sessions in the step, of steps that were computed twice or in vain, or of who made the tokens before it. */
static float random_of(const struct clinfer_session *session, int ahead) {
    uint64_t place = session->result.prompt_tokens + session->generated + (uint64_t)ahead;
    return (float)(ci_random_at(session->options.seed, place) >> 40) * 0x1p-24f;
}

void ci_sampler_fill(const struct clinfer_session *session, int ahead, float sampler[CI_SAMPLER_COLS]) {
    const struct clinfer_session_options *options = &session->options;
    for (int i = 0; i < CI_SAMPLER_COLS; i++) sampler[i] = 0;
    sampler[CI_SAMPLER_TEMPERATURE] = session->on_host ? 0 : options->temperature;
    sampler[CI_SAMPLER_TOP_K] = (float)options->top_k;
    sampler[CI_SAMPLER_TOP_P] = options->top_p;
    sampler[CI_SAMPLER_MIN_P] = options->min_p;
    if (!session->on_host && options->temperature > 0) sampler[CI_SAMPLER_RANDOM] = random_of(session, ahead);
}

/* Keskar et al. 2019 (arXiv 1909.05858): logits of recent tokens are divided by the penalty when positive, else
 * multiplied. */
static void penalise(const struct clinfer_session *session, float *logits, int64_t vocabulary) {
    size_t first = session->known > CI_PENALTY_WINDOW ? session->known - CI_PENALTY_WINDOW : 0;
    for (size_t i = first; i < session->known; i++) {
        int32_t id = session->tokens[i];
        bool seen = false;
        for (size_t k = first; k < i && !seen; k++) seen = session->tokens[k] == id;
        if (seen || id >= vocabulary) continue;
        logits[id] = logits[id] > 0 ? logits[id] / session->options.repeat_penalty
                                    : logits[id] * session->options.repeat_penalty;
    }
}

static int larger_first(const void *a, const void *b) {
    const struct ci_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id - y->id;
}

static int32_t draw(struct ci_candidate *candidates, int64_t count, const struct clinfer_session_options *options,
                    float random) {
    double total = 0, sum = 0;
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) total += exp((double)candidates[i].logit - (double)candidates[0].logit);
    for (; kept < count && (kept == 0 || sum < (double)options->top_p * total); kept++)
        sum += exp((double)candidates[kept].logit - (double)candidates[0].logit);
    while (kept > 1 && exp((double)candidates[kept - 1].logit - (double)candidates[0].logit) < (double)options->min_p)
        kept--;
    double temperature = (double)options->temperature;
    total = 0;
    for (int64_t i = 0; i < kept; i++)
        total += exp(((double)candidates[i].logit - (double)candidates[0].logit) / temperature);
    double rest = (double)random * total;
    for (int64_t i = 0; i < kept - 1; i++) {
        rest -= exp(((double)candidates[i].logit - (double)candidates[0].logit) / temperature);
        if (rest < 0) return candidates[i].id;
    }
    return candidates[kept - 1].id;
}

enum clinfer_status ci_sampler_reserve(struct clinfer_engine *engine) {
    size_t vocabulary = (size_t)engine->model.hyper.vocabulary;
    if (!engine->host_logits) engine->host_logits = malloc(vocabulary * sizeof *engine->host_logits);
    if (!engine->candidates) engine->candidates = malloc(vocabulary * sizeof *engine->candidates);
    return engine->host_logits && engine->candidates
               ? CLINFER_OK
               : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu candidates", vocabulary);
}

int32_t ci_sampler_choose(struct clinfer_session *session, float *logits) {
    const struct clinfer_session_options *options = &session->options;
    struct ci_candidate *candidates = session->engine->candidates;
    int64_t vocabulary = session->engine->model.hyper.vocabulary, count = 0;
    if (options->repeat_penalty != 1 && options->repeat_penalty > 0) penalise(session, logits, vocabulary);
    if (options->temperature <= 0) {
        int64_t best = 0;
        for (int64_t i = 1; i < vocabulary; i++)
            if (logits[i] > logits[best]) best = i;
        return ci_narrowed(best);
    }
    for (int64_t i = 0; i < vocabulary; i++)
        if (isfinite(logits[i])) candidates[count++] = (struct ci_candidate){logits[i], ci_narrowed(i)};
    if (count == 0) return 0;
    qsort(candidates, (size_t)count, sizeof *candidates, larger_first);
    if (options->top_k > 0 && options->top_k < count) count = options->top_k;
    return draw(candidates, count, options, random_of(session, 0));
}
