/* unigram.c: SentencePiece's unigram language model (tokenizer.ggml.model "t5": T5, XLM-RoBERTa and its children).
 * Source: Kudo 2018 (arXiv 1804.10959).
 *
 * The text is normalised (charsmap.h), then taken apart so that the sum of the tokens' scores is highest: for each
 * place the best way to get there, by all tokens that end there (Viterbi). Sums are of doubles from the beginning of
 * the text on, as SentencePiece adds them up, since the order of adding decides between ways that are worth the same. A
 * character that no token has is unknown, which costs ten more than the worst token; unknown neighbours are one token.
 */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/charsmap.h"
#include "text/tokenizer_kind.h"
#include "text/trie.h"
#include "text/utf8.h"

#define UNKNOWN_PENALTY 10.0f

struct rules {
    struct ci_charsmap charsmap;
    struct ci_trie tokens, user_defined; /* the latter are not normalised */
    double *scores;                      /* [tokens] */
    double unknown_score;
    int32_t unknown;
    bool space_prefix, merge_spaces;
};

static void complete(struct ci_tokenizer_source *source) {
    ci_tokenizer_default_id(source, &source->eos_id, 1);
    ci_tokenizer_default_id(source, &source->unknown_id, 2);
    ci_tokenizer_default_flag(&source->add_bos, false);
    ci_tokenizer_default_flag(&source->add_eos, source->eos_id >= 0);
    ci_tokenizer_default_flag(&source->add_space_prefix, false);
    ci_tokenizer_default_flag(&source->remove_extra_whitespaces, false);
}

static ci_spelling *spelling(const struct ci_tokenizer_source *source) {
    (void)source;
    return ci_spelling_sentencepiece;
}

static bool is_text(uint8_t type) {
    return type == CI_TOKEN_NORMAL || type == CI_TOKEN_USER_DEFINED || type == CI_TOKEN_UNUSED;
}

static enum clinfer_status build_tries(const struct ci_vocabulary *vocabulary, struct rules *rules) {
    struct ci_trie_entry *entries = malloc((size_t)vocabulary->count * sizeof *entries);
    if (entries == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%u tokens: out of memory", vocabulary->count);
    enum clinfer_status status = CLINFER_OK;
    for (int user = 0; user < 2 && status == CLINFER_OK; user++) {
        size_t count = 0;
        for (uint32_t id = 0; id < vocabulary->count; id++) {
            if (user ? vocabulary->types[id] != CI_TOKEN_USER_DEFINED : !is_text(vocabulary->types[id])) continue;
            uint32_t begin = vocabulary->text_offsets[id];
            entries[count++] = (struct ci_trie_entry){vocabulary->texts + begin,
                                                      vocabulary->text_offsets[id + 1] - begin, (int32_t)id};
        }
        status = ci_trie_build(entries, count, user ? &rules->user_defined : &rules->tokens);
    }
    free(entries);
    return status;
}

static enum clinfer_status create(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **created) {
    if (source->scores == NULL) return ci_fail(CLINFER_BAD_FILE, "%s is missing", vocabulary->keys->scores);
    struct rules *rules = calloc(1, sizeof *rules);
    *created = rules;
    if (rules == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
    rules->unknown = source->unknown_id < 0 ? -1 : ci_narrowed(source->unknown_id);
    rules->space_prefix = source->add_space_prefix == 1;
    rules->merge_spaces = source->remove_extra_whitespaces == 1;
    rules->scores = malloc((size_t)vocabulary->count * sizeof *rules->scores);
    if (rules->scores == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%u scores: out of memory", vocabulary->count);
    float worst = FLT_MAX;
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        float score = source->scores[id];
        if (!(score >= -FLT_MAX && score <= FLT_MAX))
            return ci_fail(CLINFER_BAD_FILE, "%s: element %u is not a number, or infinite", vocabulary->keys->scores,
                           id);
        if (vocabulary->types[id] == CI_TOKEN_NORMAL && score < worst) worst = score;
        /* Scores are logarithms of probabilities: nothing is likelier. */
        rules->scores[id] = vocabulary->types[id] == CI_TOKEN_USER_DEFINED ? 0 : score;
    }
    rules->unknown_score = worst - UNKNOWN_PENALTY;
    enum clinfer_status status = ci_charsmap_build(&source->charsmap, vocabulary->keys->charsmap, &rules->charsmap);
    return status == CLINFER_OK ? build_tries(vocabulary, rules) : status;
}

static void destroy(void *created) {
    struct rules *rules = created;
    if (rules == NULL) return;
    ci_charsmap_destroy(&rules->charsmap);
    ci_trie_destroy(&rules->tokens);
    ci_trie_destroy(&rules->user_defined);
    free(rules->scores);
    free(rules);
}

/* ---- normalising ---- */

/* What the text at this place becomes, and of how many of its bytes. */
static size_t normalise(const struct rules *rules, const char *text, size_t length, struct ci_text_span *normal) {
    size_t taken = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < length && (node = ci_trie_next(&rules->user_defined, node, (uint8_t)text[i])) != 0; i++)
        if (rules->user_defined.values[node] >= 0) taken = i + 1;
    if (taken == 0) {
        const char *replacement;
        taken = ci_charsmap_find(&rules->charsmap, text, length, &replacement);
        if (taken) {
            *normal = (struct ci_text_span){replacement, strlen(replacement)};
            return taken;
        }
        taken = ci_utf8_character(text, length);
    }
    *normal = taken ? (struct ci_text_span){text, taken} : (struct ci_text_span){"\xef\xbf\xbd", 3};
    return taken ? taken : 1;
}

/* The whole piece to work->text, spaces as U+2581: each of them, or one before each word. */
static enum clinfer_status normalise_piece(const struct rules *rules, const struct ci_text_piece *piece,
                                           struct ci_token_work *work) {
    bool in_word = false, prefixed = false;
    enum clinfer_status status = CLINFER_OK;
    work->text_length = 0;
    for (size_t at = 0; at < piece->length;) {
        struct ci_text_span normal;
        at += normalise(rules, piece->text + at, piece->length - at, &normal);
        for (size_t i = 0; i < normal.length && status == CLINFER_OK;) {
            size_t word = i;
            while (word < normal.length && normal.text[word] != ' ') word++;
            bool begins = word > i && !in_word && ((rules->space_prefix && !prefixed) || rules->merge_spaces);
            if (begins || (word == i && !rules->merge_spaces))
                status = ci_token_work_append(work, CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH);
            if (status == CLINFER_OK) status = ci_token_work_append(work, normal.text + i, word - i);
            prefixed = prefixed || begins;
            in_word = word > i;
            i = word > i ? word : i + 1;
        }
        if (status != CLINFER_OK) return status;
    }
    return status;
}

/* ---- the best way ---- */

/* To a place of the text: the last token, and where it began. */
struct step {
    double score;
    int32_t token;
    uint32_t from;
};

static void take_if_better(struct step *step, double score, int32_t token, size_t from) {
    if (score > step->score) *step = (struct step){score, token, ci_narrowed_unsigned(from)};
}

static void find_best(const struct rules *rules, const char *text, size_t length, struct step *steps) {
    steps[0] = (struct step){0, rules->unknown, 0};
    for (size_t i = 1; i <= length; i++) steps[i] = (struct step){-DBL_MAX, rules->unknown, 0};
    for (size_t at = 0; at < length;) {
        size_t character = ci_utf8_character(text + at, length - at);
        uint32_t node = 0;
        bool alone = false; /* whether the character is a token of its own */
        if (character == 0) character = 1;
        for (size_t end = at; end < length && (node = ci_trie_next(&rules->tokens, node, (uint8_t)text[end])) != 0;) {
            int32_t token = rules->tokens.values[node];
            end++;
            if (token < 0) continue;
            alone = alone || end - at == character;
            take_if_better(&steps[end], steps[at].score + rules->scores[token], token, at);
        }
        if (!alone) take_if_better(&steps[at + character], steps[at].score + rules->unknown_score, rules->unknown, at);
        at += character;
    }
}

/* The tokens of the steps, from behind; then turned round. */
static enum clinfer_status append_best(const struct rules *rules, const struct step *steps, size_t length,
                                       struct ci_token_list *out) {
    size_t begin = out->count;
    bool unknown = false;
    for (size_t at = length; at > 0; at = steps[at].from) {
        bool again = unknown && steps[at].token == rules->unknown;
        unknown = steps[at].token == rules->unknown;
        if (again || steps[at].token < 0) continue;
        enum clinfer_status status = ci_token_list_append(out, steps[at].token);
        if (status != CLINFER_OK) return status;
    }
    for (size_t i = begin, j = out->count; i + 1 < j; i++) {
        int32_t token = out->tokens[i];
        out->tokens[i] = out->tokens[--j];
        out->tokens[j] = token;
    }
    return CLINFER_OK;
}

static enum clinfer_status encode(const void *rules_of_kind, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out) {
    const struct rules *rules = rules_of_kind;
    (void)vocabulary;
    enum clinfer_status status = normalise_piece(rules, piece, work);
    if (status != CLINFER_OK || work->text_length == 0) return status;
    struct step *steps = work->text_length < UINT32_MAX ? malloc((work->text_length + 1) * sizeof *steps) : NULL;
    if (steps == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizing %zu bytes: out of memory", work->text_length);
    find_best(rules, work->text, work->text_length, steps);
    status = append_best(rules, steps, work->text_length, out);
    free(steps);
    return status;
}

const struct ci_tokenizer_kind ci_tokenizer_kind_t5 = {.model = "t5",
                                                       .title = "SentencePiece unigram",
                                                       .needs = CI_TOKENIZER_NEEDS_SCORES,
                                                       .complete = complete,
                                                       .spelling = spelling,
                                                       .create = create,
                                                       .destroy = destroy,
                                                       .encode = encode};
