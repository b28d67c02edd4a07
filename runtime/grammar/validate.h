/* validate.h: whether a JSON value is what a schema (draft 2020-12) allows. Unlike a grammar it holds the whole of what
 * it understands: not, if, contains, uniqueItems, dependencies, property names; objects are open unless they are
 * closed. `format` is checked for the formats that grammars hold, and is an annotation otherwise. */
#ifndef CI_GRAMMAR_VALIDATE_H
#define CI_GRAMMAR_VALIDATE_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Checks an answer, as text, against a schema, as text. CLINFER_REMOTE_FAILED: the answer is no JSON, or is not valid;
 * the message says where and why. CLINFER_INVALID_ARGUMENT, CLINFER_UNSUPPORTED: the schema is none, or has keywords
 * that are not understood. `name` is the schema's in messages. */
enum clinfer_status ci_schema_validate(const char *name, const char *schema, size_t schema_length, const char *answer,
                                       size_t answer_length);

/* Whether `schema`, part of `document`, allows the value. `within`: an enum of the schema that is known to hold the
 * value, or NULL. *budget: steps that it may take, lessened by those it took. CLINFER_UNSUPPORTED: it took more, or the
 * schema cannot be judged. */
enum clinfer_status ci_schema_judge(const json_t *document, const json_t *schema, const json_t *within,
                                    const json_t *value, size_t *budget, bool *allowed);

#endif
