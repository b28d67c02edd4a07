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
    struct ci_tokenizer_json files = {.tokenizer = {"input", "", 0}};
    struct ci_tokenizer_json_file *const parts[] = {&files.tokenizer, &files.config, &files.generation};
    size_t at = 0;
    for (size_t i = 0; i < 3 && at <= size; i++) {
        const uint8_t *end = size > at ? memchr(data + at, 0, size - at) : NULL;
        size_t length = end ? (size_t)(end - data) - at : size - at;
        *parts[i] = (struct ci_tokenizer_json_file){"input", (const char *)data + at, length};
        at += length + 1;
    }
    check_tokenizer(&files, data, size);
    return 0;
}
