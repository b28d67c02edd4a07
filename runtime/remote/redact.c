#define _GNU_SOURCE
#include "remote/redact.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "text/utf8.h"

static const char replacement[] = "[key]", cut[] = "...";

/* Bytes at the start of text that stand somewhere in the key. */
static size_t part_of_key(const char *key, size_t key_length, const char *text, size_t length) {
    size_t longest = 0;
    for (size_t at = 0; at < key_length; at++) {
        size_t count = 0;
        while (at + count < key_length && count < length &&
               tolower((unsigned char)key[at + count]) == tolower((unsigned char)text[count]))
            count++;
        if (count > longest) longest = count;
    }
    return longest;
}

/* How many bytes of text one step takes, and what they become. */
static size_t next_piece(const char *key, const char *text, size_t length, const char **piece, size_t *piece_length) {
    size_t key_length = key ? strlen(key) : 0;
    size_t found = key_length ? part_of_key(key, key_length, text, length) : 0;
    if (found && found >= (key_length < CI_REDACT_PART ? key_length : CI_REDACT_PART)) {
        *piece = replacement;
        *piece_length = sizeof replacement - 1;
        return found;
    }
    size_t bytes = ci_utf8_character(text, length);
    /* C1 controls (U+0080 to U+009F) steer terminals as well. */
    bool control = !bytes || (unsigned char)*text < 0x20 || *text == 0x7f ||
                   (bytes == 2 && (unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0);
    *piece = control ? " " : text;
    *piece_length = control ? 1 : bytes;
    return bytes ? bytes : 1;
}

void ci_redact(const char *key, const char *text, size_t length, char *out, size_t size) {
    size_t used = 0, room = size - sizeof cut; /* "..." and the zero always fit */
    for (size_t at = 0; at < length;) {
        const char *piece;
        size_t piece_length;
        at += next_piece(key, text + at, length - at, &piece, &piece_length);
        if (*piece == ' ' && (used == 0 || out[used - 1] == ' ')) continue;
        if (used + piece_length > room) {
            memcpy(out + used, cut, sizeof cut);
            return;
        }
        memcpy(out + used, piece, piece_length);
        used += piece_length;
    }
    while (used && out[used - 1] == ' ') used--;
    out[used] = 0;
}
