/* sampling_fields.c: how tokens are chosen, as OpenAI's, llama-server's and vLLM's clients say it. */
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/append.h"
#include "base/arena.h"
#include "base/status.h"
#include "server/fields.h"

#define AT(member) offsetof(struct clinfer_session_options, member)

/* The ranges are those of the library. repeat_penalty of 0 is what some clients send for none. */
static const struct ci_field sampling_fields[] = {
    {"temperature", CI_FIELD_FLOAT, 0, 1000, AT(temperature)},
    {"top_k", CI_FIELD_NONE, 0, INT_MAX, AT(top_k)},
    {"top_p", CI_FIELD_FLOAT, 0, 1, AT(top_p)},
    {"min_p", CI_FIELD_FLOAT, 0, 1, AT(min_p)},
    {"typical_p", CI_FIELD_FLOAT, 0, 1, AT(typical_p)},
    {"top_n_sigma", CI_FIELD_FLOAT, -1, 1000, AT(top_n_sigma)},
    {"repeat_penalty", CI_FIELD_FLOAT, 0, 1000, AT(repeat_penalty)},
    {"repeat_last_n", CI_FIELD_MOST, 0, INT_MAX, AT(repeat_last_n)},
    {"presence_penalty", CI_FIELD_FLOAT, -1000, 1000, AT(presence_penalty)},
    {"frequency_penalty", CI_FIELD_FLOAT, -1000, 1000, AT(frequency_penalty)},
    {"dry_multiplier", CI_FIELD_FLOAT, 0, 1000, AT(dry_multiplier)},
    {"dry_base", CI_FIELD_FLOAT, 1, 1000, AT(dry_base)},
    {"dry_allowed_length", CI_FIELD_INT, 0, INT_MAX, AT(dry_allowed_length)},
    {"dry_penalty_last_n", CI_FIELD_MOST, 0, INT_MAX, AT(dry_last_n)},
    {"xtc_probability", CI_FIELD_FLOAT, 0, 1, AT(xtc_probability)},
    {"xtc_threshold", CI_FIELD_FLOAT, 0, 1, AT(xtc_threshold)},
    {"mirostat", CI_FIELD_INT, 0, 2, AT(mirostat)},
    {"mirostat_tau", CI_FIELD_FLOAT, 0, 1000, AT(mirostat_tau)},
    {"mirostat_eta", CI_FIELD_FLOAT, 0, 1000, AT(mirostat_eta)},
    {"speculative.n_max", CI_FIELD_INT, 0, INT_MAX, AT(draft_most)},
    {"speculative.n_min", CI_FIELD_INT, 0, INT_MAX, AT(draft_least)},
    {"speculative.p_min", CI_FIELD_FLOAT, 0, 1, AT(draft_p_min)},
};

static enum clinfer_status out_of_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "request: out of memory"); }

/* 2^53 is the last whole number before doubles, which some clients count in, leave some out. */
static enum clinfer_status read_seed(const json_t *body, struct clinfer_session_options *sampling, const char **param) {
    const json_t *value = json_object_get(body, "seed");
    double number = json_number_value(value);
    if (!value || json_is_null(value)) return CLINFER_OK;
    if (!json_is_number(value) || number != floor(number) || number < -0x1p63 || number >= 0x1p64)
        return ci_field_wrong("seed", "a whole number", value, param);
    if (json_is_integer(value))
        sampling->seed = (uint64_t)json_integer_value(value);
    else
        sampling->seed = number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number;
    if (number != -1 && number != (double)UINT32_MAX) return CLINFER_OK;
    uint32_t random; /* both are llama-server's words for any seed; the answer says which it became */
    if (getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random) sampling->seed = random;
    return CLINFER_OK;
}

/* ---- samplers: ["top_k", ...], "top_k;top_p", or llama-server's letters ---- */

static const char *const by_letter[][2] = {
    {"e", "penalties"}, {"d", "dry"},   {"s", "top_n_sigma"}, {"k", "top_k"},       {"y", "typ_p"},
    {"p", "top_p"},     {"m", "min_p"}, {"x", "xtc"},         {"t", "temperature"},
};

static const char *sampler_name(const char *name, size_t length) {
    static const char *const others[][2] = {
        {"typical_p", "typ_p"}, {"temp", "temperature"}, {"top-k", "top_k"}, {"top-p", "top_p"}, {"min-p", "min_p"}};
    for (size_t i = 0; length == 1 && i < sizeof by_letter / sizeof *by_letter; i++)
        if (*by_letter[i][0] == *name) return by_letter[i][1];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i][0]) == length && strncmp(others[i][0], name, length) == 0) return others[i][1];
    return NULL;
}

static bool append_sampler(char **text, size_t *length, size_t *capacity, const char *name, size_t count) {
    const char *other = sampler_name(name, count);
    return (!*length || ci_append(text, length, capacity, ";", 1)) &&
           ci_append(text, length, capacity, other ? other : name, other ? strlen(other) : count);
}

static enum clinfer_status read_samplers(const json_t *body, struct ci_arena *arena,
                                         struct clinfer_session_options *sampling, const char **param) {
    static const char wanted[] = "a list of names of samplers";
    const json_t *value = json_object_get(body, "samplers");
    char *text = NULL;
    size_t length = 0, capacity = 0;
    bool fits = true;
    if (!value || json_is_null(value)) return CLINFER_OK;
    if (json_is_string(value) && strchr(json_string_value(value), ';')) {
        sampling->samplers = json_string_value(value);
        return CLINFER_OK;
    }
    if (!json_is_string(value) && !json_is_array(value)) return ci_field_wrong("samplers", wanted, value, param);
    for (size_t i = 0; i < json_string_length(value) && fits; i++)
        fits = append_sampler(&text, &length, &capacity, json_string_value(value) + i, 1);
    for (size_t i = 0; i < json_array_size(value) && fits; i++) {
        const json_t *name = json_array_get(value, i);
        if (!json_is_string(name)) {
            free(text);
            return ci_field_wrong("samplers", wanted, value, param);
        }
        fits = append_sampler(&text, &length, &capacity, json_string_value(name), json_string_length(name));
    }
    if (fits && length) sampling->samplers = ci_arena_string(arena, text, length);
    fits = fits && (!length || sampling->samplers);
    free(text);
    return fits ? CLINFER_OK : out_of_memory();
}

static enum clinfer_status read_breakers(const json_t *body, struct ci_arena *arena,
                                         struct clinfer_session_options *sampling, const char **param) {
    struct clinfer_chat_request texts = {0};
    enum clinfer_status status = ci_stop_read(body, "dry_sequence_breakers", arena, &texts, param);
    if (status == CLINFER_OK && texts.stop) {
        sampling->dry_breakers = texts.stop;
        sampling->dry_breaker_count = texts.stop_count;
    }
    return status;
}

enum clinfer_status ci_sampling_read(const json_t *body, struct ci_arena *arena,
                                     struct clinfer_session_options *sampling, const char **param) {
    enum clinfer_status status =
        ci_fields_read(body, sampling_fields, sizeof sampling_fields / sizeof *sampling_fields, sampling, param);
    if (status == CLINFER_OK && sampling->repeat_penalty >= 0 && sampling->repeat_penalty < 0.001F)
        sampling->repeat_penalty = 1;
    if (status == CLINFER_OK && sampling->top_n_sigma < 0) sampling->top_n_sigma = 0;
    if (status == CLINFER_OK) status = read_seed(body, sampling, param);
    if (status == CLINFER_OK) status = read_samplers(body, arena, sampling, param);
    if (status == CLINFER_OK) status = read_breakers(body, arena, sampling, param);
    return status;
}

bool ci_sampling_knows(const char *name) {
    for (size_t i = 0; i < sizeof sampling_fields / sizeof *sampling_fields; i++)
        if (strcmp(sampling_fields[i].name, name) == 0) return true;
    return false;
}

/* ---- logit_bias ---- */

/* A token as text is an id where it is all digits. */
static bool is_id(const char *text) {
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits < 10 && !text[digits];
}

bool ci_bias_has_texts(const json_t *body) {
    json_t *bias = json_object_get(body, "logit_bias"), *value;
    const char *key;
    size_t i;
    json_object_foreach(bias, key, value) if (!is_id(key)) return true;
    json_array_foreach(bias, i, value) if (json_is_string(json_array_get(value, 0))) return true;
    return false;
}

struct biases {
    struct ci_arena *arena;
    const clinfer_engine *engine;
    struct clinfer_logit_bias *list;
    size_t count, capacity;
    int vocabulary; /* 0: not known */
};

static enum clinfer_status add_bias(struct biases *biases, json_int_t token, float bias, const char **param) {
    if (token < 0 || token > INT32_MAX || (biases->vocabulary && token >= biases->vocabulary)) {
        *param = "logit_bias";
        return ci_fail(CLINFER_INVALID_ARGUMENT, "logit_bias: the model has no token %lld", (long long)token);
    }
    if (biases->count == biases->capacity) {
        size_t capacity = biases->capacity ? 2 * biases->capacity : 64;
        struct clinfer_logit_bias *list = ci_arena_array(biases->arena, capacity, sizeof *list);
        if (!list) return out_of_memory();
        if (biases->count) memcpy(list, biases->list, biases->count * sizeof *list);
        biases->list = list;
        biases->capacity = capacity;
    }
    biases->list[biases->count++] = (struct clinfer_logit_bias){.token = (int32_t)token, .bias = bias};
    return CLINFER_OK;
}

static enum clinfer_status add_text(struct biases *biases, const char *text, size_t length, float bias,
                                    const char **param) {
    int32_t *tokens = NULL;
    size_t count = 0;
    *param = "logit_bias";
    if (!biases->engine)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "logit_bias: no model is here that could say which tokens a text has");
    enum clinfer_status status = clinfer_tokenize(biases->engine, text, length, false, false, &tokens, &count);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) status = add_bias(biases, tokens[i], bias, param);
    clinfer_free(tokens);
    return status;
}

/* false: never, as -INFINITY, which JSON cannot say. */
static enum clinfer_status read_bias(const json_t *value, float *bias, const char **param) {
    if (!json_is_number(value) && !json_is_false(value))
        return ci_field_wrong("logit_bias", "a map of tokens to numbers", value, param);
    *bias = json_is_false(value) ? -INFINITY : (float)json_number_value(value);
    return CLINFER_OK;
}

static enum clinfer_status read_pair(struct biases *biases, const json_t *pair, const char **param) {
    const json_t *token = json_array_get(pair, 0);
    float bias = 0;
    if (json_array_size(pair) != 2 || (!json_is_integer(token) && !json_is_string(token)))
        return ci_field_wrong("logit_bias", "a list of pairs, [token, number]", pair, param);
    enum clinfer_status status = read_bias(json_array_get(pair, 1), &bias, param);
    if (status != CLINFER_OK) return status;
    if (json_is_integer(token)) return add_bias(biases, json_integer_value(token), bias, param);
    return add_text(biases, json_string_value(token), json_string_length(token), bias, param);
}

enum clinfer_status ci_bias_read(const json_t *body, const clinfer_engine *engine, struct ci_arena *arena,
                                 struct clinfer_session_options *sampling, const char **param) {
    json_t *given = json_object_get(body, "logit_bias"), *value;
    struct biases biases = {.arena = arena, .engine = engine};
    struct clinfer_engine_info info;
    enum clinfer_status status = CLINFER_OK;
    const char *key;
    size_t i;
    if (!given || json_is_null(given)) return CLINFER_OK;
    if (!json_is_object(given) && !json_is_array(given))
        return ci_field_wrong("logit_bias", "a map of tokens to numbers", given, param);
    if (engine) {
        clinfer_engine_get_info(engine, &info);
        biases.vocabulary = info.vocabulary;
    }
    json_object_foreach(given, key, value) {
        float bias = 0;
        if (status == CLINFER_OK) status = read_bias(value, &bias, param);
        if (status == CLINFER_OK)
            status = is_id(key) ? add_bias(&biases, strtoll(key, NULL, 10), bias, param)
                                : add_text(&biases, key, strlen(key), bias, param);
    }
    json_array_foreach(given, i, value) if (status == CLINFER_OK) status = read_pair(&biases, value, param);
    sampling->logit_bias = biases.list;
    sampling->logit_bias_count = biases.count;
    return status;
}
