/* append.h: text that grows at its end. */
#ifndef CI_BASE_APPEND_H
#define CI_BASE_APPEND_H

#include <stdbool.h>
#include <stddef.h>

/* Adds bytes[0..count) to (*text)[0..*length), which has room for *capacity and is moved where that is too little; a
 * zero byte comes behind it. All three start as zero, and the owner frees *text. `bytes` may be NULL where `count` is
 * 0. false: memory is out, and the text is as before. */
bool ci_append(char **text, size_t *length, size_t *capacity, const char *bytes, size_t count);

#endif
