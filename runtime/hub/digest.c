#include "hub/digest.h"

#include <stdio.h>
#include <string.h>

#include "base/narrow.h"

void ci_hub_take_etag(const char *header, char *text, size_t size) {
    if (strncmp(header, "W/", 2) == 0) header += 2;
    size_t length = strlen(header);
    if (length >= 2 && header[0] == '"' && header[length - 1] == '"') header++, length -= 2;
    snprintf(text, size, "%.*s", ci_shown(length, ci_narrowed((int64_t)size) - 1), header);
}

bool ci_hub_is_digest(const char *text) {
    size_t length = strspn(text, "0123456789abcdefABCDEF");
    return !text[length] && (length == 64 || length == 40);
}
