/* schema_place.h: where things stand in a schema, and what leads from one place to another. */
#ifndef CI_GRAMMAR_SCHEMA_PLACE_H
#define CI_GRAMMAR_SCHEMA_PLACE_H

#include "grammar/schema_private.h"

/* Any JSON value; integers beyond 64 bits make all numbers reals. NULL: it is none, with a message that can be shown.
 */
json_t *ci_schema_load(const char *text, size_t length, size_t flags, json_error_t *error);

/* Text to a schema, an object, true or false, which is the caller's. CLINFER_INVALID_ARGUMENT with line and column. */
enum clinfer_status ci_schema_parse(const char *name, const char *text, size_t length, json_t **document);

uint32_t ci_schema_root(struct ci_schema_compiler *compiler);

/* What `n`th subschema holds for the same value: $ref, allOf, and with `all` anyOf and oneOf; false: there are no more,
 * or a failure. */
bool ci_schema_in_place(struct ci_schema_compiler *compiler, uint32_t place, size_t n, bool all, uint32_t *to);

/* Fails where a place leads back to itself for the same value. */
void ci_schema_check_circle(struct ci_schema_compiler *compiler, uint32_t place);

/* The target of a $ref in the document; NULL: there is none. Each step goes through `step`, if that is not NULL. */
typedef void ci_schema_pointer_step(void *user, const char *key, size_t index);
const json_t *ci_schema_follow(const json_t *document, const char *pointer, ci_schema_pointer_step *step, void *user);

#endif
