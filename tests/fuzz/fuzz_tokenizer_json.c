/* Any bytes as a tokenizer.json, up to a zero, then as a tokenizer_config.json, and up to another zero and then as a
 * generation_config.json: they are refused with a message that begins with a file's name, or text becomes tokens of the
 * vocabulary. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/check_tokens.h"
#include "text/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "Hello <s> a1b22  it's\n\n[SEP]\xc3\xa9\xe4\xbd\xa0 \xe2\x96\x81\xff a";
    struct ci_tokenizer_json files = {.tokenizer = {"input", "", 0}};
    struct ci_tokenizer_json_file *const parts[] = {&files.tokenizer, &files.config, &files.generation};
    size_t at = 0;
    for (size_t i = 0; i < 3 && at <= size; i++) {
        const uint8_t *end = size > at ? memchr(data + at, 0, size - at) : NULL;
        size_t length = end ? (size_t)(end - data) - at : size - at;
        *parts[i] = (struct ci_tokenizer_json_file){"input", (const char *)data + at, length};
        at += length + 1;
    }
    struct ci_tokenizer *tokenizer;
    if (ci_tokenizer_create_json(&files, &tokenizer) != CLINFER_OK) {
        if (tokenizer || strncmp(clinfer_error(), "input: ", 7) != 0) abort();
        return 0;
    }
    size_t tail = size < 64 ? size : 64;
    for (unsigned flags = 0; flags < 4; flags++) {
        check_tokens(tokenizer, text, sizeof text - 1, flags);
        check_tokens(tokenizer, (const char *)data + size - tail, tail, flags);
    }
    ci_tokenizer_destroy(tokenizer);
    return 0;
}
