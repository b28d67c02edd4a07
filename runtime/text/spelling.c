/* spelling.c: see spelling.h. */
#include "text/spelling.h"

#include <string.h>

#include "text/utf8.h"
#include "text/vocabulary.h"

/* First code point of the bytes that do not stand for themselves, and one behind the last. */
enum { SHIFTED = 0x100, SHIFTED_END = 0x100 + 68 };

/* Those are 0..32, 127..160 and 173, in this order. */
uint32_t ci_spelling_of_byte(uint8_t byte) {
    if (byte <= 32) return SHIFTED + byte;
    if (byte >= 127 && byte <= 160) return SHIFTED + 33u + byte - 127u;
    return byte == 173 ? SHIFTED_END - 1 : byte;
}

/* -1 for a character outside the table. */
static int byte_of(uint32_t code_point) {
    if (code_point >= SHIFTED_END) return -1;
    if (code_point >= SHIFTED) {
        uint32_t index = code_point - SHIFTED;
        return index <= 32 ? (int)index : index < 67 ? (int)index - 33 + 127 : 173;
    }
    return ci_spelling_of_byte((uint8_t)code_point) == code_point ? (int)code_point : -1;
}

/* A text with any other character stays as it is. */
size_t ci_spelling_byte_level(const char *text, size_t length, int type, char *out) {
    (void)type;
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        size_t step = ci_utf8_character(text + at, length - at);
        int byte = step ? byte_of(ci_utf8_decode(text + at, step)) : -1;
        if (byte < 0) {
            memcpy(out, text, length);
            return length;
        }
        out[count++] = (char)byte;
        at += step;
    }
    return count;
}

bool ci_spelling_is_space(const char *text, size_t length) {
    return length == CI_SPELLED_SPACE_LENGTH && memcmp(text, CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH) == 0;
}

void ci_spelling_write_byte(uint8_t byte, char out[CI_SPELLED_BYTE_LENGTH]) {
    static const char digits[] = "0123456789ABCDEF";
    const char text[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
    memcpy(out, text, sizeof text);
}

static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int ci_spelling_read_byte(const char *text, size_t length) {
    if (length != CI_SPELLED_BYTE_LENGTH || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = digit(text[3]), low = digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t ci_spelling_sentencepiece(const char *text, size_t length, int type, char *out) {
    int byte = type == CI_TOKEN_BYTE ? ci_spelling_read_byte(text, length) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        if (length - at >= CI_SPELLED_SPACE_LENGTH && ci_spelling_is_space(text + at, CI_SPELLED_SPACE_LENGTH)) {
            out[count++] = ' ';
            at += CI_SPELLED_SPACE_LENGTH;
        } else {
            out[count++] = text[at++];
        }
    }
    return count;
}
