#include "base/append.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 256 };

bool ci_append(char **text, size_t *length, size_t *capacity, const char *bytes, size_t count) {
    if (count >= SIZE_MAX / 2 - *length) return false;
    size_t needed = *length + count + 1;
    if (needed > *capacity) {
        size_t room = *capacity ? *capacity : FIRST_ROOM;
        while (room < needed) room *= 2;
        char *grown = realloc(*text, room);
        if (!grown) return false;
        *text = grown;
        *capacity = room;
    }
    if (count) memcpy(*text + *length, bytes, count);
    *length += count;
    (*text)[*length] = 0;
    return true;
}
