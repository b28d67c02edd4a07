/* bpe.c: byte-pair encoding by a list of merges (tokenizer.ggml.model "gpt2", and "gemma4", which spells its tokens as
 * SentencePiece does). Source: Sennrich et al. 2016 (arXiv 1508.07909), over bytes as in GPT-2.
 *
 * Text is cut into words (pretokenizer.h), and each word is merged by rank (merge.h). Bytes that are not UTF-8 form
 * words of their own, so every byte for which the vocabulary has a token comes back from decoding. A byte that it has
 * no token for is left out before merging, as Hugging Face's tokenizers do it without an unknown token. */
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/pages.h"
#include "base/status.h"
#include "text/pieces.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_kind.h"
#include "text/utf8.h"

/* The longest merges of real vocabularies are runs of some 256 spaces, spelled in twice as many bytes. */
enum { MAXIMUM_MERGES = 1 << 25, LONGEST_MERGE = 4096 };

struct rules {
    struct ci_pretokenizer *pretokenizer;
    struct ci_pretokenizer_traits traits;
    bool space_prefix, first_only, unless_space; /* struct ci_tokenizer_words */
    int32_t byte_tokens[256];                    /* id of the token that is this byte alone; -1 */
    struct ci_pieces *pieces;                    /* for those spelled as SentencePiece does it; else NULL */

    /* Pair of tokens -> rank and what they become. Open addressing; rank_plus_one 0 is free. */
    struct slot {
        uint64_t pair; /* left << 32 | right */
        uint32_t rank_plus_one;
        int32_t merged;
    } * slots;
    size_t slot_mask;
    uint64_t secret;
};

/* ---- the table of merges ---- */

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

static struct slot *find_slot(const struct rules *rules, uint64_t pair) {
    size_t at = ci_text_mix(pair ^ rules->secret, UINT64_C(0xe7037ed1a0b428db)) & rules->slot_mask;
    while (rules->slots[at].rank_plus_one && rules->slots[at].pair != pair) at = (at + 1) & rules->slot_mask;
    return &rules->slots[at];
}

/* "left right": the texts of tokens are free of spaces, so the only space is the border. *expected is what the merge
 * before this one made: vocabularies list their tokens in the order of the merges, which spares most look-ups. */
static enum clinfer_status add(const struct ci_vocabulary *vocabulary, const struct ci_text_span *merge, size_t rank,
                               int32_t *expected, struct rules *rules) {
    const char *text = merge->text, *key = vocabulary->keys->merges;
    size_t length = merge->length;
    const char *space = length ? memchr(text, ' ', length) : NULL;
    int shown = ci_shown(length, 64);
    if (space == NULL || space == text || space == text + length - 1)
        return ci_fail(CLINFER_BAD_FILE, "%s: element %zu: '%.*s' is not two tokens with a space", key, rank, shown,
                       text);
    char joined[LONGEST_MERGE];
    if (length > sizeof joined)
        return ci_fail(CLINFER_BAD_FILE, "%s: element %zu has %zu bytes; at most %zu are possible", key, rank, length,
                       sizeof joined);
    size_t left_length = (size_t)(space - text), right_length = length - left_length - 1;
    memcpy(joined, text, left_length);
    memcpy(joined + left_length, space + 1, right_length);

    int32_t left = ci_vocabulary_find(vocabulary, text, left_length);
    int32_t right = ci_vocabulary_find(vocabulary, space + 1, right_length);
    int32_t merged = *expected;
    if (!ci_vocabulary_is(vocabulary, merged, joined, length - 1))
        merged = ci_vocabulary_find(vocabulary, joined, length - 1);
    if (left < 0 || right < 0 || merged < 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: element %zu: '%.*s': %s is not a token", key, rank, shown, text,
                       left < 0    ? "the left part"
                       : right < 0 ? "the right part"
                                   : "the whole");
    *expected = merged + 1;
    struct slot *slot = find_slot(rules, pair_of(left, right));
    if (slot->rank_plus_one == 0) *slot = (struct slot){pair_of(left, right), ci_narrowed_unsigned(rank) + 1, merged};
    return CLINFER_OK;
}

static enum clinfer_status build(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                 struct rules *rules) {
    if (source->merge_count > MAXIMUM_MERGES)
        return ci_fail(CLINFER_BAD_FILE, "%s: %zu merges; at most %d are possible", vocabulary->keys->merges,
                       source->merge_count, MAXIMUM_MERGES);
    size_t slots = 16;
    while (slots * 2 < source->merge_count * 3) slots *= 2;
    rules->slot_mask = slots - 1;
    rules->secret = vocabulary->secret;
    rules->slots = ci_pages_zeros(slots * sizeof *rules->slots);
    if (rules->slots == NULL)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "table of %zu merges: out of memory", source->merge_count);
    int32_t expected = 0;
    for (size_t rank = 0; rank < source->merge_count; rank++) {
        enum clinfer_status status = add(vocabulary, &source->merges[rank], rank, &expected, rules);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* The rank of the pair, as ci_merge_find. */
static bool find_pair(const void *rules, const struct ci_symbol *left, const struct ci_symbol *right, uint32_t *rank,
                      int32_t *merged) {
    const struct slot *slot = find_slot(rules, pair_of(left->token, right->token));
    if (slot->rank_plus_one == 0) return false;
    *rank = slot->rank_plus_one;
    *merged = slot->merged;
    return true;
}

static bool find_pair_of_pieces(const void *word, const struct ci_symbol *left, const struct ci_symbol *right,
                                uint32_t *rank, int32_t *merged) {
    return find_pair(((const struct ci_pieces_word *)word)->rules, left, right, rank, merged);
}

/* ---- making the rules ---- */

static struct ci_pretokenizer_traits traits_of(const struct ci_tokenizer_source *source) {
    const struct ci_tokenizer_words *words = source->words;
    if (words)
        return (struct ci_pretokenizer_traits){.whole_words = words->whole_words, .characters = words->characters};
    return ci_pretokenizer_traits_of(source->pre_tokenizer.text, source->pre_tokenizer.length);
}

static void complete(struct ci_tokenizer_source *source) {
    struct ci_pretokenizer_traits traits = traits_of(source);
    if (traits.always_bos && source->bos_id >= 0) source->add_bos = 1;
    ci_tokenizer_default_flag(&source->add_bos, traits.add_bos && source->bos_id >= 0);
    ci_tokenizer_default_flag(&source->add_eos, false);
}

static void complete_gemma4(struct ci_tokenizer_source *source) {
    source->pre_tokenizer = (struct ci_text_span){CI_PRETOKENIZER_GEMMA4, strlen(CI_PRETOKENIZER_GEMMA4)};
    complete(source);
}

static ci_spelling *spelling(const struct ci_tokenizer_source *source) {
    return traits_of(source).characters ? ci_spelling_sentencepiece : ci_spelling_byte_level;
}

/* The token that stands for exactly these bytes among those spelled by bytes; -1 when there is none. */
static int32_t find_bytes(const struct ci_vocabulary *vocabulary, const char *bytes, size_t length) {
    char spelled[LONGEST_MERGE];
    if (length > LONGEST_MERGE / 2) return -1;
    size_t at = 0;
    for (size_t i = 0; i < length; i++) at += ci_utf8_encode(ci_spelling_of_byte((uint8_t)bytes[i]), spelled + at);
    int32_t id = ci_vocabulary_find(vocabulary, spelled, at);
    return id >= 0 && ci_token_is_special(vocabulary->types[id]) ? -1 : id;
}

static enum clinfer_status create(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **created) {
    struct rules *rules = calloc(1, sizeof *rules);
    *created = rules;
    if (rules == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
    const struct ci_tokenizer_words *words = source->words;
    enum clinfer_status status =
        words ? ci_pretokenizer_create_own(words->expressions, words->count, &rules->pretokenizer)
              : ci_pretokenizer_create(source->pre_tokenizer.text, source->pre_tokenizer.length, &rules->pretokenizer);
    if (status != CLINFER_OK) return status;
    rules->traits = traits_of(source);
    rules->space_prefix = words && source->add_space_prefix == 1;
    rules->first_only = words && words->first_only;
    rules->unless_space = words && words->unless_space;
    if (rules->traits.characters) {
        rules->pieces = malloc(sizeof *rules->pieces);
        if (rules->pieces == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
        ci_pieces_build(source, vocabulary, rules->pieces);
    }
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        rules->byte_tokens[byte] = find_bytes(vocabulary, &text, 1);
    }
    return build(source, vocabulary, rules);
}

static void destroy(void *created) {
    struct rules *rules = created;
    if (rules == NULL) return;
    ci_pretokenizer_destroy(rules->pretokenizer);
    free(rules->pieces);
    free(rules->slots);
    free(rules);
}

/* ---- text to tokens ---- */

struct encoding {
    const struct rules *rules;
    const struct ci_vocabulary *vocabulary;
    struct ci_token_work *work;
    struct ci_token_list *out;
    bool prefix; /* for the word that comes next */
};

static enum clinfer_status merge_bytes(const struct encoding *encoding, const char *word, size_t length) {
    struct ci_symbols *symbols = &encoding->work->word;
    enum clinfer_status status = CLINFER_OK;
    symbols->count = 0;
    for (size_t i = 0; i < length && status == CLINFER_OK; i++) {
        int32_t token = encoding->rules->byte_tokens[(uint8_t)word[i]];
        if (token >= 0) status = ci_symbols_add(symbols, token, 0, 1);
    }
    if (status == CLINFER_OK) status = ci_symbols_merge(symbols, find_pair, encoding->rules);
    for (int32_t i = symbols->count ? 0 : -1; i >= 0 && status == CLINFER_OK; i = symbols->symbols[i].next)
        status = ci_token_list_append(encoding->out, symbols->symbols[i].token);
    return status;
}

static enum clinfer_status encode_word(void *user, const char *word, size_t length) {
    struct encoding *encoding = user;
    const struct rules *rules = encoding->rules;
    int32_t whole = -1;
    bool prefix = encoding->prefix;
    encoding->prefix = false;
    if (rules->traits.whole_words && !rules->traits.characters) whole = find_bytes(encoding->vocabulary, word, length);
    if (rules->traits.whole_lines && word[0] == '\n') whole = ci_pieces_find(encoding->vocabulary, word, length);
    if (whole >= 0) return ci_token_list_append(encoding->out, whole);
    if (rules->pieces == NULL) return merge_bytes(encoding, word, length);
    return ci_pieces_encode(rules->pieces, encoding->vocabulary, word, length, prefix, find_pair_of_pieces, rules,
                            encoding->work, encoding->out);
}

static bool has_prefix(const struct rules *rules, const struct ci_text_piece *piece) {
    bool space = piece->text[0] == ' ' || (piece->length >= CI_SPELLED_SPACE_LENGTH &&
                                           ci_spelling_is_space(piece->text, CI_SPELLED_SPACE_LENGTH));
    return rules->space_prefix && (rules->first_only ? piece->first : piece->begins) && !(rules->unless_space && space);
}

/* Runs of UTF-8 go through the pre-tokenizer, runs of other bytes are words. */
static enum clinfer_status encode(const void *rules_of_kind, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out) {
    const struct rules *rules = rules_of_kind;
    struct encoding encoding = {rules, vocabulary, work, out, has_prefix(rules, piece)};
    for (size_t at = 0; at < piece->length;) {
        const char *text = piece->text + at;
        size_t valid = ci_utf8_valid(text, piece->length - at);
        enum clinfer_status status = ci_pretokenizer_split(rules->pretokenizer, text, valid, encode_word, &encoding);
        size_t invalid = ci_utf8_invalid(text + valid, piece->length - at - valid);
        if (status == CLINFER_OK && invalid > 0) status = encode_word(&encoding, text + valid, invalid);
        if (status != CLINFER_OK) return status;
        at += valid + invalid;
    }
    return CLINFER_OK;
}

#define BPE .spelling = spelling, .create = create, .destroy = destroy, .encode = encode

const struct ci_tokenizer_kind ci_tokenizer_kind_gpt2 = {.model = "gpt2",
                                                         .title = "byte-level BPE",
                                                         .needs = CI_TOKENIZER_NEEDS_MERGES | CI_TOKENIZER_NEEDS_PRE,
                                                         .complete = complete,
                                                         BPE};

const struct ci_tokenizer_kind ci_tokenizer_kind_gemma4 = {.model = "gemma4",
                                                           .title = "BPE of SentencePiece's pieces",
                                                           .needs = CI_TOKENIZER_NEEDS_MERGES,
                                                           .complete = complete_gemma4,
                                                           BPE};
