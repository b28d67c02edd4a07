#include "text/utf8_json.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

json_t *ci_utf8_json(const char *text, size_t length) {
    static const char replacement[] = "\xEF\xBF\xBD";
    char *valid = malloc(length * (sizeof replacement - 1) + 1);
    if (!valid) return NULL;
    size_t out = 0;
    for (size_t at = 0; at < length;) {
        size_t good = ci_utf8_valid(text + at, length - at);
        memcpy(valid + out, text + at, good);
        out += good;
        at += good;
        size_t bad = ci_utf8_invalid(text + at, length - at);
        for (size_t i = 0; i < bad; i++, out += sizeof replacement - 1)
            memcpy(valid + out, replacement, sizeof replacement - 1);
        at += bad;
    }
    json_t *string = json_stringn_nocheck(valid, out);
    free(valid);
    return string;
}
