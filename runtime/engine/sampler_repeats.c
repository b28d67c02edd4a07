/* sampler_repeats.c: samplers that make less likely what has been said. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/sampler.h"

bool ci_sampler_has_penalties(const struct clinfer_session_options *options) {
    bool neutral = options->repeat_penalty == 1 && options->frequency_penalty == 0 && options->presence_penalty == 0;
    return options->repeat_last_n > 0 && !neutral;
}

/* Keskar et al. 2019, arXiv 1909.05858: logits of recent tokens are divided by the penalty when positive, else
 * multiplied; and the two penalties of the OpenAI API. */
void ci_sampler_penalties(struct ci_sampling *choice) {
    const struct clinfer_session_options *options = &choice->sampler->options;
    size_t window = (size_t)options->repeat_last_n;
    size_t first = choice->known > window ? choice->known - window : 0;
    int32_t *counts = choice->room->marks;
    for (size_t i = first; i < choice->known; i++) counts[choice->tokens[i]]++;
    for (size_t i = 0; i < choice->count; i++) {
        struct ci_candidate *item = &choice->items[i];
        int32_t count = counts[item->id];
        if (!count) continue;
        item->logit = item->logit <= 0 ? item->logit * options->repeat_penalty : item->logit / options->repeat_penalty;
        item->logit -= (float)count * options->frequency_penalty + options->presence_penalty;
    }
    for (size_t i = first; i < choice->known; i++) counts[choice->tokens[i]] = 0;
    choice->sorted = false;
}

/* ---- DRY (https://github.com/oobabooga/text-generation-webui/pull/5677) ---- */

bool ci_sampler_has_dry(const struct clinfer_session_options *options) {
    return options->dry_multiplier != 0 && options->dry_last_n > 0;
}

static int32_t token_before(const struct ci_sampling *choice, size_t back) {
    return choice->tokens[choice->known - 1 - back];
}

/* The first breaker with this head; NULL: none. */
static const struct ci_breaker *breakers_of(const struct ci_sampler *sampler, int32_t head) {
    size_t first = 0, end = sampler->breaker_count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (sampler->breakers[middle].head < head)
            first = middle + 1;
        else
            end = middle;
    }
    return first < sampler->breaker_count && sampler->breakers[first].head == head ? &sampler->breakers[first] : NULL;
}

static bool tail_follows(const struct ci_sampling *choice, const struct ci_breaker *breaker, size_t back) {
    if ((size_t)breaker->tail_length > back) return false;
    for (int i = 0; i < breaker->tail_length; i++)
        if (breaker->tail[i] != token_before(choice, back - (size_t)i - 1)) return false;
    return true;
}

/* Tokens behind the last breaker: no repetition goes further back than these. */
static int longest_repetition(const struct ci_sampling *choice, size_t looked_at) {
    const struct ci_sampler *sampler = choice->sampler;
    const struct ci_breaker *end = sampler->breakers + sampler->breaker_count;
    for (size_t back = 0; back < looked_at; back++) {
        int32_t head = token_before(choice, back);
        int longest = -1;
        for (const struct ci_breaker *breaker = breakers_of(sampler, head); breaker && breaker < end; breaker++) {
            if (breaker->head != head) break;
            if (breaker->tail_length > longest && tail_follows(choice, breaker, back)) longest = breaker->tail_length;
        }
        if (longest >= 0) return ci_narrowed(back) - longest;
    }
    return ci_narrowed(looked_at);
}

/* repeats[k]: of how many tokens those before k back are the same as the last ones; Z-function of the tokens read
 * backwards. */
static void find_repeats(const struct ci_sampling *choice, size_t looked_at, int32_t *repeats) {
    size_t left = 0, right = 0; /* [left, right) equals [0, right - left) */
    repeats[0] = 0;
    for (size_t k = 1; k < looked_at; k++) {
        size_t same = k < right ? (size_t)repeats[k - left] : 0;
        if (k < right && same > right - k) same = right - k;
        while (k + same < looked_at && token_before(choice, same) == token_before(choice, k + same)) same++;
        repeats[k] = ci_narrowed(same);
        if (k + same > right) {
            left = k;
            right = k + same;
        }
    }
}

static bool is_breaker(const struct ci_sampler *sampler, int32_t token) {
    const struct ci_breaker *breaker = breakers_of(sampler, token), *end = sampler->breakers + sampler->breaker_count;
    for (; breaker && breaker < end && breaker->head == token; breaker++)
        if (breaker->tail_length == 0) return true;
    return false;
}

static float dry_penalty(const struct clinfer_session_options *options, int repeated) {
    const float log_of_most = 88.7228391f; /* of a float */
    int most = options->dry_base > 1.000001f ? (int)(log_of_most / logf(options->dry_base)) : 0;
    int exponent = repeated - options->dry_allowed_length;
    if (most > 0 && exponent > most) exponent = most;
    return (float)((double)options->dry_multiplier * pow((double)options->dry_base, exponent));
}

/* A token that would make a repetition longer loses the more, the longer that is. */
void ci_sampler_dry(struct ci_sampling *choice) {
    const struct clinfer_session_options *options = &choice->sampler->options;
    int32_t *longest = choice->room->marks, *repeats = choice->room->repeats;
    size_t looked_at = choice->known;
    if (looked_at > (size_t)options->dry_last_n) looked_at = (size_t)options->dry_last_n;
    if (looked_at <= (size_t)options->dry_allowed_length) return;
    int most = longest_repetition(choice, looked_at);
    if (most < options->dry_allowed_length) return;
    find_repeats(choice, looked_at, repeats);
    for (size_t k = 1; k < looked_at; k++) {
        int32_t *mark = &longest[token_before(choice, k - 1)], repeated = repeats[k] < most ? repeats[k] : most;
        if (repeated >= options->dry_allowed_length && *mark < repeated + 1) *mark = repeated + 1;
    }
    for (size_t i = 0; i < choice->count; i++) {
        struct ci_candidate *item = &choice->items[i];
        int32_t mark = longest[item->id];
        if (mark && !is_breaker(choice->sampler, item->id)) item->logit -= dry_penalty(options, mark - 1);
    }
    for (size_t k = 1; k < looked_at; k++) longest[token_before(choice, k - 1)] = 0;
    choice->sorted = false;
}

/* ---- what breaks a repetition ---- */

static enum clinfer_status add_breaker(struct ci_sampler *sampler, int32_t head, const int32_t *tail, size_t length) {
    struct ci_breaker breaker = {.head = head};
    breaker.tail_length = ci_narrowed(length < CI_BREAKER_TAIL ? length : CI_BREAKER_TAIL);
    if (length) memcpy(breaker.tail, tail, (size_t)breaker.tail_length * sizeof *tail);
    if (!ci_array_reserve(&sampler->breakers, &sampler->breaker_capacity, sampler->breaker_count))
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for what breaks repetitions");
    sampler->breakers[sampler->breaker_count++] = breaker;
    return CLINFER_OK;
}

/* A token that ends with the beginning of the text: the rest has tokens of its own. */
static enum clinfer_status add_begun(const struct ci_tokenizer *tokenizer, struct ci_sampler *sampler, int32_t head,
                                     const char *rest) {
    int32_t *tail;
    size_t length;
    enum clinfer_status status = ci_tokenizer_encode(tokenizer, rest, strlen(rest), 0, &tail, &length);
    if (status != CLINFER_OK) return status;
    status = add_breaker(sampler, head, tail, length);
    free(tail);
    return status;
}

static enum clinfer_status add_text(const struct ci_tokenizer *tokenizer, struct ci_sampler *sampler,
                                    const char *text) {
    size_t length = strlen(text), piece_length;
    enum clinfer_status status = CLINFER_OK;
    for (size_t id = 0; id < ci_tokenizer_size(tokenizer) && status == CLINFER_OK; id++) {
        const char *piece = ci_tokenizer_piece(tokenizer, ci_narrowed(id), true, &piece_length);
        if (piece_length >= length && memmem(piece, piece_length, text, length)) {
            status = add_breaker(sampler, ci_narrowed(id), NULL, 0);
            continue;
        }
        for (size_t begun = length - 1; begun > 0 && status == CLINFER_OK; begun--)
            if (begun <= piece_length && memcmp(piece + piece_length - begun, text, begun) == 0)
                status = add_begun(tokenizer, sampler, ci_narrowed(id), text + begun);
    }
    return status;
}

static int by_head(const void *a, const void *b) {
    const struct ci_breaker *x = a, *y = b;
    return x->head < y->head ? -1 : x->head > y->head;
}

enum clinfer_status ci_sampler_find_breakers(const struct ci_tokenizer *tokenizer, struct ci_sampler *sampler) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    const struct clinfer_session_options *options = &sampler->options;
    const char *const *texts = options->dry_breakers ? options->dry_breakers : usual;
    size_t count = options->dry_breakers ? options->dry_breaker_count : sizeof usual / sizeof *usual;
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        if (!texts[i] || !*texts[i]) return ci_fail(CLINFER_INVALID_ARGUMENT, "dry_breakers: text %zu is empty", i);
        status = add_text(tokenizer, sampler, texts[i]);
    }
    if (sampler->breaker_count) qsort(sampler->breakers, sampler->breaker_count, sizeof *sampler->breakers, by_head);
    return status;
}
