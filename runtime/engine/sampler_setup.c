/* sampler_setup.c: a session's options become a chain of those samplers that do something with them. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

void ci_sampler_unset(struct clinfer_session_options *options) {
    *options = (struct clinfer_session_options){
        .temperature = NAN,
        .top_k = -1,
        .top_p = NAN,
        .min_p = NAN,
        .repeat_penalty = NAN,
        .repeat_last_n = -1,
        .presence_penalty = NAN,
        .frequency_penalty = NAN,
        .dry_multiplier = NAN,
        .dry_base = NAN,
        .dry_allowed_length = -1,
        .dry_last_n = -1,
        .xtc_probability = NAN,
        .xtc_threshold = NAN,
        .typical_p = NAN,
        .top_n_sigma = NAN,
        .mirostat = -1,
        .mirostat_tau = NAN,
        .mirostat_eta = NAN,
        .draft_most = -1,
        .draft_least = -1,
        .draft_p_min = NAN,
    };
}

void ci_sampler_fill_in(const struct clinfer_engine_info *info, struct clinfer_session_options *options) {
    const struct {
        float *value, otherwise;
    } numbers[] = {{&options->temperature, info->temperature},
                   {&options->top_p, info->top_p},
                   {&options->min_p, info->min_p},
                   {&options->repeat_penalty, info->repeat_penalty},
                   {&options->presence_penalty, 0},
                   {&options->frequency_penalty, 0},
                   {&options->dry_multiplier, 0},
                   {&options->dry_base, 1.75f},
                   {&options->xtc_probability, info->xtc_probability},
                   {&options->xtc_threshold, info->xtc_threshold},
                   {&options->typical_p, 1},
                   {&options->top_n_sigma, 0},
                   {&options->mirostat_tau, info->mirostat_tau},
                   {&options->mirostat_eta, info->mirostat_eta}};
    const struct {
        int *value, otherwise;
    } counts[] = {{&options->top_k, info->top_k},
                  {&options->repeat_last_n, info->repeat_last_n},
                  {&options->dry_allowed_length, 2},
                  {&options->dry_last_n, 64},
                  {&options->mirostat, info->mirostat}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (isnan(*numbers[i].value)) *numbers[i].value = numbers[i].otherwise;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (*counts[i].value < 0) *counts[i].value = counts[i].otherwise;
    if (!options->samplers) options->samplers = info->samplers;
}

static enum clinfer_status check(const struct clinfer_session_options *options) {
    const struct {
        const char *name;
        float value, least, most;
    } ranges[] = {{"temperature", options->temperature, 0, 1000},
                  {"top_k", (float)options->top_k, 0, 1e9f},
                  {"top_p", options->top_p, 0, 1},
                  {"min_p", options->min_p, 0, 1},
                  {"repeat_penalty", options->repeat_penalty, 0.001f, 1000},
                  {"repeat_last_n", (float)options->repeat_last_n, 0, 0x1p31f},
                  {"presence_penalty", options->presence_penalty, -1000, 1000},
                  {"frequency_penalty", options->frequency_penalty, -1000, 1000},
                  {"dry_multiplier", options->dry_multiplier, 0, 1000},
                  {"dry_base", options->dry_multiplier != 0 ? options->dry_base : 1, 1, 1000},
                  {"dry_allowed_length", (float)options->dry_allowed_length, 0, 0x1p31f},
                  {"dry_last_n", (float)options->dry_last_n, 0, 0x1p31f},
                  {"xtc_probability", options->xtc_probability, 0, 1},
                  {"xtc_threshold", options->xtc_threshold, 0, 1},
                  {"typical_p", options->typical_p, 0, 1},
                  {"top_n_sigma", options->top_n_sigma, -1, 1000},
                  {"mirostat", (float)options->mirostat, 0, 2},
                  {"mirostat_tau", options->mirostat_tau, 0, 1000},
                  {"mirostat_eta", options->mirostat_eta, 0, 1000},
                  {"draft_most", (float)options->draft_most, -1, 0x1p31f},
                  {"draft_least", (float)options->draft_least, -1, 0x1p31f},
                  {"draft_p_min", isnan(options->draft_p_min) ? 0 : options->draft_p_min, 0, 1},
                  {"logprobs", (float)options->logprobs, 0, CI_LOGPROBS_MAX}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].least && ranges[i].value <= ranges[i].most))
            return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %g, must be %g to %g", ranges[i].name,
                           (double)ranges[i].value, (double)ranges[i].least, (double)ranges[i].most);
    return CLINFER_OK;
}

static enum clinfer_status take_bias(struct ci_sampler *sampler, int vocabulary) {
    const struct clinfer_session_options *options = &sampler->options;
    if (!options->logit_bias_count) return CLINFER_OK;
    if (!options->logit_bias) return ci_fail(CLINFER_INVALID_ARGUMENT, "logit_bias is NULL, its count is not 0");
    for (size_t i = 0; i < options->logit_bias_count; i++) {
        const struct clinfer_logit_bias *bias = &options->logit_bias[i];
        if (bias->token < 0 || bias->token >= vocabulary)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "logit_bias: token %d, the vocabulary has 0..%d", (int)bias->token,
                           vocabulary - 1);
        if (isnan(bias->bias) || bias->bias == INFINITY)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "logit_bias: %g for token %d, must be a number or -inf",
                           (double)bias->bias, (int)bias->token);
    }
    sampler->bias = malloc(options->logit_bias_count * sizeof *sampler->bias);
    if (!sampler->bias)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu biases", options->logit_bias_count);
    memcpy(sampler->bias, options->logit_bias, options->logit_bias_count * sizeof *sampler->bias);
    sampler->bias_count = options->logit_bias_count;
    return CLINFER_OK;
}

static bool is_word_of(const char *words, const char *word, size_t length) {
    for (; *words; words += strcspn(words, " "), words += strspn(words, " "))
        if (strcspn(words, " ") == length && memcmp(words, word, length) == 0) return true;
    return false;
}

/* NULL: none has this name, which is the message. */
static const struct ci_sampler_kind *find_kind(const char *name, size_t length) {
    char names[256] = "";
    for (const struct ci_sampler_kind *kind = ci_sampler_kinds; kind->name; kind++) {
        ci_names_add(names, sizeof names, kind->name);
        if (is_word_of(kind->name, name, length) || is_word_of(kind->other_names, name, length)) return kind;
    }
    ci_fail(CLINFER_INVALID_ARGUMENT, "samplers: \"%.*s\" is none; there are %s", ci_shown(length, 40), name, names);
    return NULL;
}

/* One name after the other; *kind is NULL when there is no more. */
static enum clinfer_status next_kind(const char **names, const struct ci_sampler_kind **kind) {
    *names += strspn(*names, ";");
    size_t length = strcspn(*names, ";");
    *kind = length ? find_kind(*names, length) : NULL;
    *names += length;
    return length && !*kind ? CLINFER_INVALID_ARGUMENT : CLINFER_OK;
}

enum clinfer_status ci_sampler_check_names(const char *names) {
    const struct ci_sampler_kind *kind;
    enum clinfer_status status;
    do status = next_kind(&names, &kind);
    while (kind);
    return status;
}

static enum clinfer_status make_chain(struct ci_sampler *sampler) {
    const struct clinfer_session_options *options = &sampler->options;
    const char *names = options->samplers;
    const struct ci_sampler_kind *kind;
    enum clinfer_status status = names ? ci_sampler_check_names(names) : CLINFER_OK;
    if (options->mirostat || status != CLINFER_OK) return status;
    for (kind = ci_sampler_kinds; !names && kind->name; kind++)
        if (kind->active(options)) sampler->chain[sampler->count++] = kind;
    while (names && next_kind(&names, &kind) == CLINFER_OK && kind) {
        if (!kind->active(options)) continue;
        if (sampler->count == CI_SAMPLERS_MAX)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "samplers: there are more than %d", CI_SAMPLERS_MAX);
        sampler->chain[sampler->count++] = kind;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_sampler_create(const struct clinfer_engine *engine,
                                      const struct clinfer_session_options *options, struct ci_sampler *sampler) {
    *sampler = (struct ci_sampler){.options = *options};
    ci_sampler_fill_in(&engine->info, &sampler->options);
    enum clinfer_status status = check(&sampler->options);
    if (status == CLINFER_OK) status = make_chain(sampler);
    if (status == CLINFER_OK) status = take_bias(sampler, engine->model.hyper.vocabulary);
    if (status == CLINFER_OK && ci_sampler_has_dry(&sampler->options))
        status = ci_sampler_find_breakers(engine->tokenizer, sampler);
    ci_sampler_begin(sampler, NULL);
    if (status != CLINFER_OK) ci_sampler_destroy(sampler);
    return status;
}

void ci_sampler_destroy(struct ci_sampler *sampler) {
    free(sampler->bias);
    free(sampler->breakers);
    sampler->bias = NULL;
    sampler->breakers = NULL;
}

/* One that is NULL is as wrong as one that is empty, and said when the session is made. */
static const char *text_or_none(const char *text) { return text ? text : ""; }

bool ci_sampler_copy_options(const struct clinfer_session_options *options, struct clinfer_session_options *copy,
                             void **block) {
    size_t biases = options->logit_bias ? options->logit_bias_count * sizeof *options->logit_bias : 0;
    size_t breakers = options->dry_breakers ? options->dry_breaker_count : 0;
    size_t bytes = biases + (breakers + 1) * sizeof(char *) + (options->samplers ? strlen(options->samplers) + 1 : 0);
    for (size_t i = 0; i < breakers; i++) bytes += strlen(text_or_none(options->dry_breakers[i])) + 1;
    *copy = *options;
    const char **texts = *block = malloc(bytes);
    if (!*block) return false;
    struct clinfer_logit_bias *bias = (void *)(texts + breakers + 1);
    char *text = (char *)bias + biases;
    if (biases) copy->logit_bias = memcpy(bias, options->logit_bias, biases);
    if (options->dry_breakers) copy->dry_breakers = texts;
    for (size_t i = 0; i < breakers; i++) {
        texts[i] = text;
        text = stpcpy(text, text_or_none(options->dry_breakers[i])) + 1;
    }
    if (options->samplers) copy->samplers = strcpy(text, options->samplers);
    return true;
}
