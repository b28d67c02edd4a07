/* round_trip.h: tokens of a text stand for the bytes of the text, less what a kind of vocabulary may leave out or add.
 */
#ifndef TESTS_FUZZ_ROUND_TRIP_H
#define TESTS_FUZZ_ROUND_TRIP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "text/spelling.h"
#include "text/tokenizer.h"

struct round_trip {
    bool whole;      /* there are tokens for all bytes: nothing may be lost; else bytes may be left out */
    bool characters; /* spelled as SentencePiece does it: spaces come and go */
    bool changes;    /* text is read otherwise than it stands there: only that ids are tokens is checked */
    bool marks;      /* a mark of the byte order is left out */
    int64_t unknown; /* such a token may stand for any byte; -1: there is none */
};

/* Neither spaces nor the bytes of U+2581, nor those of U+FEFF. */
static inline bool counts(const struct round_trip *rule, char byte) {
    if (rule->marks && (byte == '\xef' || byte == '\xbb' || byte == '\xbf')) return false;
    return !rule->characters ||
           (byte != ' ' && byte != CI_SPELLED_SPACE[0] && byte != CI_SPELLED_SPACE[1] && byte != CI_SPELLED_SPACE[2]);
}

/* Aborts where it is otherwise. */
static inline void check_tokens(const struct ci_tokenizer *tokenizer, const struct round_trip *rule, const int32_t *ids,
                                size_t count, const char *text, size_t length) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        if (ids[i] < 0 || (size_t)ids[i] >= ci_tokenizer_size(tokenizer)) abort();
        const char *piece = ci_tokenizer_piece(tokenizer, ids[i], true, &bytes);
        (void)ci_tokenizer_is_end(tokenizer, ids[i]);
        if (rule->changes || (!rule->whole && ids[i] == rule->unknown)) continue;
        for (size_t j = 0; j < bytes; j++) {
            if (!counts(rule, piece[j])) continue;
            while (at < length && text[at] != piece[j] && (!rule->whole || !counts(rule, text[at]))) at++;
            if (at >= length || text[at] != piece[j]) abort();
            at++;
        }
    }
    if (rule->changes) return;
    while (at < length && !counts(rule, text[at])) at++;
    if (rule->whole && at != length) abort();
}

#endif
