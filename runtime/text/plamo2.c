/* plamo2.c: the unigram vocabulary of PLaMo 2 (tokenizer.ggml.model "plamo2"): the way through the text whose scores,
 * rounded to ten-thousandths, add up to most. A character that no token has costs 1,000 and becomes its bytes. Ways are
 * found from the end of the text on, and of two that are worth the same the one that begins with the longer token
 * counts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer_kind.h"
#include "text/trie.h"
#include "text/utf8.h"

enum { SCALE = 10000, UNKNOWN_SCORE = -10000000, LEAST_SCORE = -20000000 };

struct rules {
    struct ci_trie tokens;
    int32_t byte_tokens[256];
    int32_t *scores; /* [tokens], times SCALE; tokens at LEAST_SCORE or below are in no text */
};

static void complete(struct ci_tokenizer_source *source) {
    ci_tokenizer_default_id(source, &source->bos_id, 1);
    ci_tokenizer_default_id(source, &source->eos_id, 2);
    ci_tokenizer_default_id(source, &source->unknown_id, 0);
    ci_tokenizer_default_flag(&source->add_bos, false);
    ci_tokenizer_default_flag(&source->add_eos, false);
}

/* As the text is, but for bytes. */
static size_t spell(const char *text, size_t length, int type, char *out) {
    int byte = type == CI_TOKEN_BYTE ? ci_spelling_read_byte(text, length) : -1;
    if (byte < 0) {
        memcpy(out, text, length);
        return length;
    }
    out[0] = (char)byte;
    return 1;
}

static ci_spelling *spelling(const struct ci_tokenizer_source *source) {
    (void)source;
    return spell;
}

static enum clinfer_status find_bytes(const struct ci_vocabulary *vocabulary, struct rules *rules) {
    for (int byte = 0; byte < 256; byte++) {
        char spelled[CI_SPELLED_BYTE_LENGTH];
        ci_spelling_write_byte((uint8_t)byte, spelled);
        rules->byte_tokens[byte] = ci_vocabulary_find(vocabulary, spelled, sizeof spelled);
        if (rules->byte_tokens[byte] < 0)
            return ci_fail(CLINFER_BAD_FILE, "%s: there is no token '%.*s'; all 256 bytes need one",
                           vocabulary->keys->tokens, CI_SPELLED_BYTE_LENGTH, spelled);
    }
    return CLINFER_OK;
}

static enum clinfer_status find_scores(const struct ci_tokenizer_source *source, struct rules *rules) {
    for (size_t id = 0; id < source->token_count; id++) {
        float score = roundf(source->scores[id] * SCALE);
        if (score != score) /* no number */
            return ci_fail(CLINFER_BAD_FILE, "%s: element %zu is not a number", ci_tokenizer_keys(source)->scores, id);
        rules->scores[id] = score <= LEAST_SCORE ? LEAST_SCORE : score >= -LEAST_SCORE ? -LEAST_SCORE : (int32_t)score;
    }
    return CLINFER_OK;
}

static enum clinfer_status build_trie(const struct ci_vocabulary *vocabulary, struct rules *rules) {
    struct ci_trie_entry *entries = malloc((size_t)vocabulary->count * sizeof *entries);
    size_t count = 0;
    if (entries == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%u tokens: out of memory", vocabulary->count);
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        uint32_t begin = vocabulary->text_offsets[id], length = vocabulary->text_offsets[id + 1] - begin;
        if (ci_token_is_special(vocabulary->types[id]) || vocabulary->types[id] == CI_TOKEN_BYTE) continue;
        entries[count++] = (struct ci_trie_entry){vocabulary->texts + begin, length, (int32_t)id};
    }
    enum clinfer_status status = ci_trie_build(entries, count, &rules->tokens);
    free(entries);
    return status;
}

static enum clinfer_status create(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **created) {
    if (source->scores == NULL) return ci_fail(CLINFER_BAD_FILE, "%s is missing", vocabulary->keys->scores);
    struct rules *rules = calloc(1, sizeof *rules);
    *created = rules;
    if (rules == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
    rules->scores = malloc((size_t)vocabulary->count * sizeof *rules->scores);
    if (rules->scores == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%u scores: out of memory", vocabulary->count);
    enum clinfer_status status = find_bytes(vocabulary, rules);
    if (status == CLINFER_OK) status = find_scores(source, rules);
    return status == CLINFER_OK ? build_trie(vocabulary, rules) : status;
}

static void destroy(void *created) {
    struct rules *rules = created;
    if (rules == NULL) return;
    ci_trie_destroy(&rules->tokens);
    free(rules->scores);
    free(rules);
}

/* From a place of the text to its end. */
struct step {
    int64_t score;
    int32_t token; /* -1: the character's bytes */
    uint32_t length;
};

/* Bytes of the character at text[at]; one for what is no UTF-8. */
static size_t character_at(const char *text, size_t length, size_t at) {
    size_t step = ci_utf8_character(text + at, length - at);
    return step ? step : 1;
}

/* The places where characters begin, from the last on. */
static void find_best(const struct rules *rules, const char *text, size_t length, struct step *steps) {
    steps[length] = (struct step){0, -1, 0};
    for (size_t at = length; at-- > 0;) {
        uint32_t node = 0;
        size_t character = character_at(text, length, at);
        /* Within a character: no token begins here. */
        steps[at] = (struct step){INT64_MIN / 2, -1, ci_narrowed_unsigned(character)};
        if (((uint8_t)text[at] & 0xc0) == 0x80 && at > 0) {
            size_t back = at - 1;
            while (back > 0 && at - back < 3 && ((uint8_t)text[back] & 0xc0) == 0x80) back--;
            if (back + character_at(text, length, back) > at) continue;
        }
        steps[at].score = steps[at + character].score + UNKNOWN_SCORE;
        for (size_t end = at; end < length; end++) {
            node = ci_trie_next(&rules->tokens, node, (uint8_t)text[end]);
            if (node == 0) break;
            int32_t token = rules->tokens.values[node];
            if (token < 0 || rules->scores[token] <= LEAST_SCORE) continue;
            int64_t score = steps[end + 1].score + rules->scores[token];
            /* The longer one goes before the shorter; the character's bytes come last. */
            if (score >= steps[at].score) steps[at] = (struct step){score, token, ci_narrowed_unsigned(end + 1 - at)};
        }
    }
}

static enum clinfer_status encode(const void *rules_of_kind, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out) {
    static const char mark[] = "\xef\xbb\xbf"; /* of the byte order, which is no text */
    const struct rules *rules = rules_of_kind;
    const char *text = piece->text;
    size_t length = piece->length;
    (void)vocabulary;
    (void)work;
    if (length >= 3 && memcmp(text, mark, 3) == 0) {
        text += 3;
        length -= 3;
    }
    struct step *steps = malloc((length + 1) * sizeof *steps);
    if (steps == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizing %zu bytes: out of memory", length);
    find_best(rules, text, length, steps);
    enum clinfer_status status = CLINFER_OK;
    for (size_t at = 0; at < length && status == CLINFER_OK; at += steps[at].length) {
        if (steps[at].token >= 0) status = ci_token_list_append(out, steps[at].token);
        for (size_t i = 0; steps[at].token < 0 && i < steps[at].length && status == CLINFER_OK; i++)
            status = ci_token_list_append(out, rules->byte_tokens[(uint8_t)text[at + i]]);
    }
    free(steps);
    return status;
}

const struct ci_tokenizer_kind ci_tokenizer_kind_plamo2 = {.model = "plamo2",
                                                           .title = "PLaMo 2",
                                                           .needs = CI_TOKENIZER_NEEDS_SCORES,
                                                           .complete = complete,
                                                           .spelling = spelling,
                                                           .create = create,
                                                           .destroy = destroy,
                                                           .encode = encode};
