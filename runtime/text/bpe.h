/* bpe.h: byte-pair merges over one word, in O(n log n). Source: Sennrich et al. 2016 (arXiv 1508.07909), over bytes as
 * in GPT-2. */
#ifndef CI_TEXT_BPE_H
#define CI_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_tokenizer_source;
struct ci_vocabulary;

/* Pair of tokens -> rank and what they become. Open addressing; rank_plus_one 0 is free. */
struct ci_bpe {
    struct ci_bpe_slot {
        uint64_t pair; /* left << 32 | right */
        uint32_t rank_plus_one;
        int32_t merged;
    } * slots;
    size_t slot_mask;
    uint64_t secret;
};

/* A growing list of token ids, freed by its owner. */
struct ci_token_list {
    int32_t *tokens;
    size_t count;
    size_t capacity;
};

/* Memory that successive words share; starts zeroed. */
struct ci_bpe_work {
    struct ci_bpe_symbol *symbols;
    struct ci_bpe_candidate *heap;
    size_t capacity; /* bytes of a word that fit */
};

/* Fails when a merge is malformed or names a token that is absent. Of two equal merges the first counts. Destroy it in
 * any case. */
enum clinfer_status ci_bpe_build(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                 struct ci_bpe *bpe);
void ci_bpe_destroy(struct ci_bpe *bpe);

/* Appends the tokens of one word. A byte that the vocabulary has no token for is left out before merging, as Hugging
 * Face's tokenizers do it without an unknown token. */
enum clinfer_status ci_bpe_encode(const struct ci_bpe *bpe, const struct ci_vocabulary *vocabulary, const char *word,
                                  size_t length, struct ci_bpe_work *work, struct ci_token_list *out);
void ci_bpe_work_destroy(struct ci_bpe_work *work);

enum clinfer_status ci_token_list_append(struct ci_token_list *list, int32_t token);

#endif
