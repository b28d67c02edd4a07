/* utf8.c: see utf8.h. */
#include "text/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Length that the first byte promises and the range that the second byte must lie in; 0 for a byte that starts
 * nothing. All restrictions of the standard's table sit in the second byte. */
static size_t lead(uint8_t first, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xbf;
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return 2;
    if (first < 0xf0) {
        if (first == 0xe0) *low = 0xa0;
        if (first == 0xed) *high = 0x9f;
        return 3;
    }
    if (first > 0xf4) return 0;
    if (first == 0xf0) *low = 0x90;
    if (first == 0xf4) *high = 0x8f;
    return 4;
}

/* Whether `count` bytes at text are the start of a well-formed character of `*need` bytes. */
static bool starts_character(const char *text, size_t count, size_t *need) {
    uint8_t low, high;
    *need = lead((uint8_t)text[0], &low, &high);
    if (*need == 0) return false;
    for (size_t i = 1; i < count && i < *need; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte < (i == 1 ? low : 0x80) || byte > (i == 1 ? high : 0xbf)) return false;
    }
    return true;
}

size_t ci_utf8_character(const char *text, size_t length) {
    size_t need;
    if (length == 0 || !starts_character(text, length, &need) || need > length) return 0;
    return need;
}

size_t ci_utf8_valid(const char *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        size_t step = ci_utf8_character(text + at, length - at);
        if (step == 0) break;
        at += step;
    }
    return at;
}

size_t ci_utf8_invalid(const char *text, size_t length) {
    size_t at = 0;
    while (at < length && ci_utf8_character(text + at, length - at) == 0) at++;
    return at;
}

uint32_t ci_utf8_decode(const char *text, size_t length) {
    static const uint8_t lead_bits[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code_point = (uint8_t)text[0] & lead_bits[length];
    for (size_t i = 1; i < length; i++) code_point = code_point << 6 | ((uint8_t)text[i] & 0x3f);
    return code_point;
}

size_t ci_utf8_encode(uint32_t code_point, char *out) {
    if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point <= 0xdfff)) code_point = 0xfffd;
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t length = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    static const uint8_t lead_byte[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead_byte[length] | code_point);
    return length;
}

/* How many bytes at the end of text could still become a character. */
static size_t incomplete_tail(const char *text, size_t length) {
    for (size_t tail = 1; tail <= CI_UTF8_HELD && tail <= length; tail++) {
        const char *start = text + length - tail;
        if (((uint8_t)*start & 0xc0) == 0x80) continue;
        size_t need;
        return starts_character(start, tail, &need) && need > tail ? tail : 0;
    }
    return 0;
}

size_t ci_utf8_stream_push(struct ci_utf8_stream *stream, const char *bytes, size_t length, char *out) {
    if (length == 0) return 0;
    memcpy(out, stream->held, stream->count);
    memcpy(out + stream->count, bytes, length);
    size_t total = stream->count + length;
    stream->count = incomplete_tail(out, total);
    memcpy(stream->held, out + total - stream->count, stream->count);
    return total - stream->count;
}

size_t ci_utf8_stream_flush(struct ci_utf8_stream *stream, char *out) {
    size_t count = stream->count;
    memcpy(out, stream->held, count);
    stream->count = 0;
    return count;
}
