/* visible.h: text from outside as a terminal may be given it: what would move the cursor, change colours, clear the
 * screen, answer for the user or turn the reading direction is spelled instead.
 *
 * Spelled are control characters (C0, DEL, and C1, as UTF-8 and as single bytes, which some terminals heed; ECMA-48),
 * bytes that are no UTF-8, and the overrides and isolates of the bidirectional algorithm (UAX 9, U+202A..U+202E and
 * U+2066..U+2069), by which a name can look like another. Spelled is the code point as JSON does, \u001b, so that JSON
 * stays JSON and says the same; a byte that is no UTF-8 is \x9b. */
#ifndef CI_TEXT_VISIBLE_H
#define CI_TEXT_VISIBLE_H

#include <stdbool.h>
#include <stddef.h>

/* How many bytes one byte may become. */
enum { CI_VISIBLE_GROWTH = 6 };

/* Writes `length` bytes to `out`, which has room for CI_VISIBLE_GROWTH times as many; returns how many, without a zero
 * at their end. `lines`: line breaks and tabs stay; else they are \n and \t. */
size_t ci_visible(const char *text, size_t length, bool lines, char *out);

#endif
