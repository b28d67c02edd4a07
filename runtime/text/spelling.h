/* spelling.h: how vocabularies spell the bytes that their tokens stand for.
 *
 * Byte-level vocabularies spell each byte as one printable character (GPT-2's table: 33..126, 161..172 and 174..255
 * stand for themselves, the other 68 bytes in order for U+0100...). SentencePiece spells a space as U+2581 and single
 * bytes, for text that no token has, as "<0x0A>". */
#ifndef CI_TEXT_SPELLING_H
#define CI_TEXT_SPELLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes that a token's text stands for, to out[length]; returns how many. `type` is an enum ci_token_type. Special
 * tokens are spelled as they are and never get here. */
typedef size_t ci_spelling(const char *text, size_t length, int type, char *out);

ci_spelling ci_spelling_byte_level, ci_spelling_sentencepiece;

/* The character of a byte in byte-level vocabularies. */
uint32_t ci_spelling_of_byte(uint8_t byte);

/* U+2581, three bytes. */
#define CI_SPELLED_SPACE "\xe2\x96\x81"
enum { CI_SPELLED_SPACE_LENGTH = sizeof CI_SPELLED_SPACE - 1 };

/* Whether text[0, length), one character, is U+2581. */
bool ci_spelling_is_space(const char *text, size_t length);

/* "<0x0A>" for 10; it has CI_SPELLED_BYTE_LENGTH bytes and no zero. And back: -1 for any other text. */
enum { CI_SPELLED_BYTE_LENGTH = 6 };
void ci_spelling_write_byte(uint8_t byte, char out[CI_SPELLED_BYTE_LENGTH]);
int ci_spelling_read_byte(const char *text, size_t length);

#endif
