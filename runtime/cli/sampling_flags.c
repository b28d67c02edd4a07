#include "cli/sampling_flags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/prompts.h"

/* "15043+1", "15043-0.5", "15043-inf". */
static enum clinfer_status read_bias(const char *text, struct clinfer_logit_bias *bias) {
    char *sign, *end;
    errno = 0;
    long long token = strtoll(text, &sign, 10);
    bool well = sign != text && errno == 0 && token >= 0 && token <= INT32_MAX && (*sign == '+' || *sign == '-');
    double value = well ? strtod(sign + 1, &end) : 0;
    well = well && end != sign + 1 && !*end && sign[1] != '-' && sign[1] != '+' && !isnan(value);
    if (well && *sign == '-') value = -value;
    if (!well || value > 1e6) {
        ci_refuse(CLINFER_INVALID_ARGUMENT, "-l %s: must be a token's number, + or -, and what is added: 15043-1.5",
                  text);
        return CLINFER_INVALID_ARGUMENT;
    }
    *bias = (struct clinfer_logit_bias){(int32_t)token, (float)value};
    return CLINFER_OK;
}

static enum clinfer_status read_biases(struct ci_sampling_flags *flags, struct clinfer_session_options *options) {
    size_t count = flags->bias_texts.count;
    enum clinfer_status status = CLINFER_OK;
    flags->bias = count ? calloc(count, sizeof *flags->bias) : NULL;
    if (count && !flags->bias) {
        ci_refuse(CLINFER_OUT_OF_MEMORY, "%zu biases: out of memory", count);
        return CLINFER_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count && status == CLINFER_OK; i++)
        status = read_bias(flags->bias_texts.items[i], &flags->bias[i]);
    options->logit_bias = flags->bias;
    options->logit_bias_count = count;
    return status;
}

/* "none" takes away those before it. */
static enum clinfer_status read_breakers(const struct ci_sampling_flags *flags, bool escape,
                                         struct clinfer_session_options *options) {
    const struct ci_texts *texts = &flags->breakers;
    size_t first = 0;
    for (size_t i = 0; i < texts->count; i++) {
        char *text = (char *)(uintptr_t)texts->items[i]; /* the program's to change */
        if (strcmp(text, "none") == 0) first = i + 1;
        size_t length = escape ? ci_prompts_unescape(text, strlen(text)) : strlen(text);
        if (length > 0 && strlen(text) == length) continue;
        ci_refuse(CLINFER_INVALID_ARGUMENT,
                  "--dry-sequence-breaker: must be a text that is not empty and has no zeros");
        return CLINFER_INVALID_ARGUMENT;
    }
    if (texts->count) options->dry_breakers = texts->items + first;
    options->dry_breaker_count = texts->count - first;
    return CLINFER_OK;
}

static uint64_t seed_of(const struct ci_sampling_flags *flags) {
    uint32_t drawn = (uint32_t)(ci_seconds() * 1e9);
    if (flags->seed >= 0) return (uint64_t)flags->seed;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) drawn ^= (uint32_t)getpid();
    return drawn;
}

enum clinfer_status ci_sampling_flags_read(struct ci_sampling_flags *flags, bool escape,
                                           struct clinfer_session_options *options) {
    *options = (struct clinfer_session_options){.temperature = (float)flags->temperature,
                                                .top_k = (int)flags->top_k,
                                                .top_p = (float)flags->top_p,
                                                .min_p = (float)flags->min_p,
                                                .repeat_penalty = (float)flags->repeat_penalty,
                                                .repeat_last_n = (int)flags->repeat_last_n,
                                                .presence_penalty = (float)flags->presence_penalty,
                                                .frequency_penalty = (float)flags->frequency_penalty,
                                                .dry_multiplier = (float)flags->dry_multiplier,
                                                .dry_base = (float)flags->dry_base,
                                                .dry_allowed_length = (int)flags->dry_allowed_length,
                                                .dry_last_n = (int)flags->dry_last_n,
                                                .xtc_probability = (float)flags->xtc_probability,
                                                .xtc_threshold = (float)flags->xtc_threshold,
                                                .typical_p = (float)flags->typical_p,
                                                .top_n_sigma = (float)flags->top_n_sigma,
                                                .mirostat = (int)flags->mirostat,
                                                .mirostat_tau = (float)flags->mirostat_tau,
                                                .mirostat_eta = (float)flags->mirostat_eta,
                                                .samplers = flags->samplers,
                                                .logprobs = (int)flags->logprobs,
                                                .draft_most = -1,
                                                .draft_least = -1,
                                                .draft_p_min = NAN,
                                                .seed = seed_of(flags)};
    enum clinfer_status status = read_breakers(flags, escape, options);
    return status == CLINFER_OK ? read_biases(flags, options) : status;
}

void ci_sampling_flags_free(struct ci_sampling_flags *flags) {
    ci_texts_free(&flags->breakers);
    ci_texts_free(&flags->bias_texts);
    free(flags->bias);
}
