/* tokenizer_kind.h: what a kind of vocabulary is: how its tokens are spelled, and how text becomes tokens. A kind is
 * one .c file and one line in tokenizer_kind_list.inc. What kinds have in common, special tokens, ids and flags, is
 * tokenizer.c's. */
#ifndef CI_TEXT_TOKENIZER_KIND_H
#define CI_TEXT_TOKENIZER_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

#include "text/merge.h"
#include "text/spelling.h"
#include "text/token_list.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

/* Text between special tokens. */
struct ci_text_piece {
    const char *text;
    size_t length; /* at least 1 */
    bool begins;   /* the text begins here, or behind a special token */
    bool first;    /* no token stands before it */
};

/* Memory that successive pieces share; starts zeroed. */
struct ci_token_work {
    struct ci_symbols word;
    char *text; /* [text_length], whatever the kind makes of the piece */
    size_t text_length, text_capacity;
};

enum ci_tokenizer_needs { CI_TOKENIZER_NEEDS_MERGES = 1, CI_TOKENIZER_NEEDS_PRE = 2, CI_TOKENIZER_NEEDS_SCORES = 4 };

struct ci_tokenizer_kind {
    const char *model; /* tokenizer.ggml.model */
    const char *title;
    unsigned needs; /* what else a file must say: enum ci_tokenizer_needs */

    /* Puts into the source what files of this kind mean when they do not say. */
    void (*complete)(struct ci_tokenizer_source *source);

    ci_spelling *(*spelling)(const struct ci_tokenizer_source *source);

    /* *rules, NULL at first, are for destroy() in any case. */
    enum clinfer_status (*create)(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **rules);
    void (*destroy)(void *rules);

    enum clinfer_status (*encode)(const void *rules, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out);
};

#define CI_TOKENIZER_KIND(name) extern const struct ci_tokenizer_kind ci_tokenizer_kind_##name;
#include "text/tokenizer_kind_list.inc"
#undef CI_TOKENIZER_KIND

/* What messages call the parts of the file that the source is from. */
const struct ci_tokenizer_keys *ci_tokenizer_keys(const struct ci_tokenizer_source *source);

/* NULL when there is none of this name. */
const struct ci_tokenizer_kind *ci_tokenizer_kind_find(const struct ci_text_span *model);

/* All of them, for messages: "gpt2 (byte-level BPE), llama (SentencePiece BPE)". */
void ci_tokenizer_kind_names(char *names, size_t capacity);

enum clinfer_status ci_token_work_append(struct ci_token_work *work, const char *text, size_t length);
void ci_token_work_destroy(struct ci_token_work *work);

/* For complete(): an id that the file does not give, if the vocabulary has that many tokens; a flag likewise. */
void ci_tokenizer_default_id(const struct ci_tokenizer_source *source, int64_t *id, int64_t value);
void ci_tokenizer_default_flag(int *flag, bool value);

#endif
