#define _GNU_SOURCE
#include "remote/redact.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "text/utf8.h"

static const char replacement[] = "[key]", cut[] = "...";

/* A server may show the key as it is, percent-encoded in whole or in part, in hexadecimal, or in base64 ("Basic ..."),
 * where what it looks like depends on how many bytes stand before it. */
enum form { PLAIN, HEXADECIMAL, BASE64, FORMS = BASE64 + 3 };

/* Encoded forms of fewer characters may be anything. */
enum { LEAST_ENCODED = 6 };

/* The first bit of the key whose base64 digit does not depend on the bytes before it, by their number modulo 3. */
static const unsigned first_bit[] = {0, 4, 2};

static size_t form_length(enum form form, size_t key_length) {
    if (form == PLAIN) return key_length;
    if (form == HEXADECIMAL) return 2 * key_length;
    unsigned first = first_bit[form - BASE64];
    return 8 * key_length > first ? (8 * key_length - first) / 6 : 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bits of the key from `first` on, `count` of them, at most 8. */
static unsigned bits_of(const char *key, size_t first, unsigned count) {
    unsigned high = (unsigned char)key[first / 8], low = (unsigned char)key[first / 8 + 1]; /* there is a zero */
    return (high << 8 | low) >> (16 - count - first % 8) & ((1u << count) - 1);
}

/* How many bytes of text are character `index` of the key in this form: 0: they are not. */
static size_t match(enum form form, const char *key, size_t index, const char *text, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (form == HEXADECIMAL) return hex_digit(*text) == (int)bits_of(key, 4 * index, 4);
    if (form >= BASE64) {
        char digit = digits[bits_of(key, first_bit[form - BASE64] + 6 * index, 6)];
        char shown = *text == '-' ? '+' : *text == '_' ? '/' : *text; /* both alphabets */
        return shown == digit;
    }
    int wanted = tolower((unsigned char)key[index]);
    if (tolower((unsigned char)*text) == wanted) return 1;
    if (length < 3 || *text != '%' || hex_digit(text[1]) < 0 || hex_digit(text[2]) < 0) return 0;
    return tolower(16 * hex_digit(text[1]) + hex_digit(text[2])) == wanted ? 3 : 0;
}

/* Bytes at the start of text that are a part of the key in this form, of `least` characters or more; 0: none. */
static size_t part_in_form(enum form form, const char *key, size_t characters, size_t least, const char *text,
                           size_t length) {
    size_t longest = 0;
    for (size_t from = 0; from + least <= characters; from++) {
        size_t bytes = 0, count = 0, found = 1;
        while (from + count < characters && bytes < length &&
               (found = match(form, key, from + count, text + bytes, length - bytes)) > 0) {
            bytes += found;
            count++;
        }
        if (count >= least && bytes > longest) longest = bytes;
    }
    return longest;
}

static size_t part_of_key(const char *key, const char *text, size_t length) {
    static const size_t parts[FORMS] = {CI_REDACT_PART, 2 * CI_REDACT_PART, 8 * CI_REDACT_PART / 6,
                                        8 * CI_REDACT_PART / 6, 8 * CI_REDACT_PART / 6};
    size_t key_length = strlen(key), longest = 0;
    for (enum form form = PLAIN; form < FORMS; form++) {
        size_t characters = form_length(form, key_length);
        if (characters == 0 || (form != PLAIN && characters < LEAST_ENCODED)) continue;
        size_t least = characters < parts[form] ? characters : parts[form];
        size_t found = part_in_form(form, key, characters, least, text, length);
        if (found > longest) longest = found;
    }
    return longest;
}

/* How many bytes of text one step takes, and what they become. */
static size_t next_piece(const char *key, const char *text, size_t length, const char **piece, size_t *piece_length) {
    size_t found = key ? part_of_key(key, text, length) : 0;
    if (found) {
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
