/* check_tokens.h: text becomes tokens of the vocabulary, or is refused with a message. */
#ifndef TESTS_FUZZ_CHECK_TOKENS_H
#define TESTS_FUZZ_CHECK_TOKENS_H

#include <stdlib.h>

#include "text/tokenizer.h"

static inline void check_tokens(const struct ci_tokenizer *tokenizer, const char *text, size_t length, unsigned flags) {
    int32_t *ids;
    size_t count;
    if (ci_tokenizer_encode(tokenizer, text, length, flags, &ids, &count) != CLINFER_OK) {
        if (clinfer_error()[0] == 0) abort();
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        if (ids[i] < 0 || (size_t)ids[i] >= ci_tokenizer_size(tokenizer)) abort();
        (void)ci_tokenizer_piece(tokenizer, ids[i], true, &bytes);
    }
    free(ids);
}

#endif
