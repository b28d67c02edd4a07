/* json.h: the JSON files that lie beside a model's weights, and what messages say of what stands in them. */
#ifndef CI_FORMAT_JSON_H
#define CI_FORMAT_JSON_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Text to an object, which is the caller's. CLINFER_BAD_FILE names line and column, also of a key that comes twice. */
enum clinfer_status ci_json_parse(const char *path, const char *text, size_t length, json_t **object);

/* The same of a file of at most `most` bytes. CLINFER_NOT_FOUND: there is none. */
enum clinfer_status ci_json_read(const char *path, size_t most, json_t **object);

/* A value as it stands in the file, or what it is where that is long; "missing" for NULL. Returns `text`. */
enum { CI_JSON_SHOWN = 72 };
const char *ci_json_shown(const json_t *value, char text[CI_JSON_SHOWN]);

/* Whether messages can hold it: there are no control characters in it. */
bool ci_json_is_printable(const char *text);

#endif
