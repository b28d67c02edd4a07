/* schema.h: a JSON schema (draft 2020-12, https://json-schema.org/draft/2020-12) becomes a grammar of the answers that
 * are valid under it. docs/grammars.md lists the keywords that are held.
 *
 * The grammar's language is a part of what the schema allows: keys come in the schema's order, an object that names
 * properties has no others unless additionalProperties is given, a schema that has keywords of one type means that
 * type, numbers have at most 16 digits before and behind the point. What cannot be held is an error, never left out. */
#ifndef CI_GRAMMAR_SCHEMA_H
#define CI_GRAMMAR_SCHEMA_H

#include <jansson.h>

#include "grammar/grammar.h"

/* `name` is for messages: a file, "-j". Messages name the path in the schema: "-j: properties.a: minLength: ...".
 * CLINFER_INVALID_ARGUMENT: it is no JSON, no schema, or allows nothing; CLINFER_UNSUPPORTED: a keyword that cannot be
 * held, or more than can be held. */
enum clinfer_status ci_schema_compile(const char *name, const char *text, size_t length, struct ci_grammar **grammar);

/* Takes keywords out of a schema that draft 2020-12 does not know, at any depth: for it they are notes, which clients
 * of servers write for each other. What is known and cannot be held stays, and is an error as ever. */
void ci_schema_drop_unknown(json_t *schema);

#endif
