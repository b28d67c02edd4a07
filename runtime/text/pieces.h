/* pieces.h: text as SentencePiece reads it: spaces are U+2581, characters merge across what other tokenizers call
 * words, and a character that is no token becomes a token per byte. Which characters merge is the caller's.
 *
 * Text is merged in stretches, since a heap of a whole book is slow: two neighbouring bytes that no token has next to
 * each other are a border that no merge can cross. Most words end at one. */
#ifndef CI_TEXT_PIECES_H
#define CI_TEXT_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

#include "text/merge.h"

struct ci_tokenizer_source;
struct ci_token_list;
struct ci_token_work;
struct ci_vocabulary;

struct ci_pieces {
    int32_t byte_tokens[256]; /* -1: none */
    int32_t ascii[128];       /* the token of that character; CI_SYMBOL_NONE */
    int32_t space;
    int32_t unknown;      /* for a byte that has no token; -1: it is left out */
    uint64_t joins[1024]; /* a bit for last byte << 8 | first byte of two neighbours in some token, ' ' for U+2581 */
};

void ci_pieces_build(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                     struct ci_pieces *pieces);

/* What the caller's ci_merge_find gets as rules. */
struct ci_pieces_word {
    const void *rules;
    const struct ci_vocabulary *vocabulary;
    const char *text; /* symbols' begin and length count from here */
};

/* Appends the tokens of any bytes; prefix: as if a space stood before them. */
enum clinfer_status ci_pieces_encode(const struct ci_pieces *pieces, const struct ci_vocabulary *vocabulary,
                                     const char *text, size_t length, bool prefix, ci_merge_find *find,
                                     const void *rules, struct ci_token_work *work, struct ci_token_list *out);

/* The token that text may become: no control token, nor one for a byte. -1 when there is none. */
int32_t ci_pieces_find(const struct ci_vocabulary *vocabulary, const char *text, size_t length);

#endif
