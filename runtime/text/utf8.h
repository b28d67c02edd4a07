/* utf8.h: where UTF-8 is well formed, and a stream that never cuts a character in two.
 *
 * Well formed is Table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF. Bytes
 * that are not are data like any other here: they pass through unchanged, since a model may well produce them. */
#ifndef CI_TEXT_UTF8_H
#define CI_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that starts at text[0]: 1..4; 0 when none that is whole and well formed starts there. */
size_t ci_utf8_character(const char *text, size_t length);

/* Bytes at the start of text that are well formed, or that are not, up to the first that differ. */
size_t ci_utf8_valid(const char *text, size_t length);
size_t ci_utf8_invalid(const char *text, size_t length);

/* The character of `length` bytes at text, as ci_utf8_character() measured it; and the way back, into out[4]: the
 * number of bytes written. A code point that UTF-8 cannot hold becomes U+FFFD. */
uint32_t ci_utf8_decode(const char *text, size_t length);
size_t ci_utf8_encode(uint32_t code_point, char *out);

/* Holds back the at most 3 bytes at the end that may become a character with the next ones. Starts zeroed. */
struct ci_utf8_stream {
    char held[3];
    size_t count;
};

enum { CI_UTF8_HELD = 3 };

/* Takes bytes, writes what is complete to `out`, which has room for length + CI_UTF8_HELD bytes; returns how many. */
size_t ci_utf8_stream_push(struct ci_utf8_stream *stream, const char *bytes, size_t length, char *out);

/* At the end of the text: what is still held, complete or not, to out[CI_UTF8_HELD]. */
size_t ci_utf8_stream_flush(struct ci_utf8_stream *stream, char *out);

#endif
