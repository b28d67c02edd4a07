/* utf8_json.h: text of any bytes as a JSON string. */
#ifndef CI_TEXT_UTF8_JSON_H
#define CI_TEXT_UTF8_JSON_H

#include <jansson.h>
#include <stddef.h>

/* Bytes that are no UTF-8 become U+FFFD each. NULL: out of memory. The reference is the caller's. */
json_t *ci_utf8_json(const char *text, size_t length);

#endif
