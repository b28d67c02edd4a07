/* visible.c: see visible.h. */
#include "text/visible.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "text/utf8.h"

static bool is_spelled(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

/* sprintf() into room that was promised. */
static size_t spell(uint32_t code, bool is_byte, char *out) {
    char text[CI_VISIBLE_GROWTH + 1];
    if (!is_byte && (code == '\n' || code == '\t' || code == '\r'))
        snprintf(text, sizeof text, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
    else
        snprintf(text, sizeof text, is_byte ? "\\x%02x" : "\\u%04x", (unsigned)(code & 0xffff));
    size_t length = strlen(text);
    memcpy(out, text, length);
    return length;
}

size_t ci_visible(const char *text, size_t length, bool lines, char *out) {
    size_t written = 0;
    for (size_t at = 0; at < length;) {
        size_t bytes = ci_utf8_character(text + at, length - at);
        uint32_t code = bytes ? ci_utf8_decode(text + at, bytes) : (uint8_t)text[at];
        bool stays = bytes && (!is_spelled(code) || (lines && (code == '\n' || code == '\t')));
        if (stays) memcpy(out + written, text + at, bytes);
        written += stays ? bytes : spell(code, !bytes, out + written);
        at += bytes ? bytes : 1;
    }
    return written;
}
