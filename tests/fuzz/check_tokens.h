/* check_tokens.h: text becomes tokens of the vocabulary, or is refused with a message. */
#ifndef TESTS_FUZZ_CHECK_TOKENS_H
#define TESTS_FUZZ_CHECK_TOKENS_H

#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

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

/* What is wrong with the files is told by their name, "input"; else the tokenizer is tried on a text, and on the last
 * of the input. */
static inline void check_tokenizer(const struct ci_tokenizer_json *files, const uint8_t *data, size_t size) {
    static const char text[] = "Hello <s> a1b22  it's\n\n[SEP]\xc3\xa9\xe4\xbd\xa0 \xe2\x96\x81\xff a";
    struct ci_tokenizer *tokenizer;
    if (ci_tokenizer_create_json(files, &tokenizer) != CLINFER_OK) {
        if (tokenizer || strncmp(clinfer_error(), "input: ", 7) != 0) abort();
        return;
    }
    size_t tail = size < 64 ? size : 64;
    for (unsigned flags = 0; flags < 4; flags++) {
        check_tokens(tokenizer, text, sizeof text - 1, flags);
        check_tokens(tokenizer, (const char *)data + size - tail, tail, flags);
    }
    ci_tokenizer_destroy(tokenizer);
}

#endif
