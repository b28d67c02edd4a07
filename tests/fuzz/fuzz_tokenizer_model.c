/* Any bytes as a tokenizer.model behind two lengths (16 bits each) and the texts of an added_tokens.json and a
 * tokenizer_config.json: they are refused with a message that begins with a file's name, or text becomes tokens of the
 * vocabulary. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/check_tokens.h"
#include "text/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_tokenizer_json files = {.sentencepiece = {"input", "", 0}};
    struct ci_tokenizer_json_file *const parts[] = {&files.added, &files.config};
    size_t at = 4;
    if (size < at) return 0;
    for (size_t i = 0; i < 2; i++) {
        size_t length = data[2 * i] | (size_t)data[2 * i + 1] << 8;
        if (length > size - at) length = size - at;
        if (length) *parts[i] = (struct ci_tokenizer_json_file){"input", (const char *)data + at, length};
        at += length;
    }
    files.sentencepiece = (struct ci_tokenizer_json_file){"input", (const char *)data + at, size - at};
    check_tokenizer(&files, data, size);
    return 0;
}
