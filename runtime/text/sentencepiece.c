/* sentencepiece.c: vocabularies of SentencePiece's BPE (tokenizer.ggml.model "llama": Llama 1 and 2, Mistral, Gemma).
 * Source: Kudo and Richardson 2018 (arXiv 1808.06226).
 *
 * There is no list of merges: two neighbours merge when both together are a token, that of the highest score first. So
 * a pair is looked up by its text; making a table of all pairs that tokens can be cut into takes longer than reading
 * the whole file. */
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/pieces.h"
#include "text/tokenizer_kind.h"

struct rules {
    struct ci_pieces pieces;
    bool space_prefix;
    uint32_t ranks[]; /* [tokens], of their scores: the best first */
};

static void complete(struct ci_tokenizer_source *source) {
    ci_tokenizer_default_id(source, &source->bos_id, 1);
    ci_tokenizer_default_id(source, &source->eos_id, 2);
    ci_tokenizer_default_id(source, &source->unknown_id, 0);
    ci_tokenizer_default_flag(&source->add_bos, source->bos_id >= 0);
    ci_tokenizer_default_flag(&source->add_eos, false);
    ci_tokenizer_default_flag(&source->add_space_prefix, true);
}

static ci_spelling *spelling(const struct ci_tokenizer_source *source) {
    (void)source;
    return ci_spelling_sentencepiece;
}

/* Numbers of IEEE 754 are ordered as their bits are, the negative ones backwards. */
static uint32_t rank_of(float score) {
    uint32_t bits;
    float number = score + 0.0f; /* one zero */
    memcpy(&bits, &number, sizeof bits);
    return bits >> 31 ? bits : ~(bits | UINT32_C(1) << 31);
}

static enum clinfer_status create(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **created) {
    if (source->scores == NULL) return ci_fail(CLINFER_BAD_FILE, "%s is missing", vocabulary->keys->scores);
    struct rules *rules = malloc(sizeof *rules + vocabulary->count * sizeof *rules->ranks);
    *created = rules;
    if (rules == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%u scores: out of memory", vocabulary->count);
    rules->space_prefix = source->add_space_prefix == 1;
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        float score = source->scores[id];
        if (score != score) /* no number */
            return ci_fail(CLINFER_BAD_FILE, "%s: element %u is not a number", vocabulary->keys->scores, id);
        rules->ranks[id] = rank_of(score);
    }
    ci_pieces_build(source, vocabulary, &rules->pieces);
    return CLINFER_OK;
}

static void destroy(void *rules) { free(rules); }

static bool find(const void *rules_of_word, const struct ci_symbol *left, const struct ci_symbol *right, uint32_t *rank,
                 int32_t *merged) {
    const struct ci_pieces_word *word = rules_of_word;
    const struct rules *rules = word->rules;
    *merged = ci_pieces_find(word->vocabulary, word->text + left->begin, (size_t)left->length + right->length);
    if (*merged < 0) return false;
    *rank = rules->ranks[*merged];
    return true;
}

static enum clinfer_status encode(const void *rules_of_kind, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out) {
    const struct rules *rules = rules_of_kind;
    return ci_pieces_encode(&rules->pieces, vocabulary, piece->text, piece->length,
                            rules->space_prefix && piece->begins, find, rules, work, out);
}

const struct ci_tokenizer_kind ci_tokenizer_kind_llama = {.model = "llama",
                                                          .title = "SentencePiece BPE",
                                                          .needs = CI_TOKENIZER_NEEDS_SCORES,
                                                          .complete = complete,
                                                          .spelling = spelling,
                                                          .create = create,
                                                          .destroy = destroy,
                                                          .encode = encode};
