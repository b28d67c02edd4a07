/* pieces.h: text that is partly free, partly under JSON schemas, as a model writes calls of tools.
 *
 * The document is JSON, {"root": [piece, ...], "$defs": {...}}. A piece is a text, which has to come as it stands, or
 * one of
 *   {"schema": {...}}              a JSON value (schema.h); its $ref lead into the document
 *   {"until": "text"}              anything in which the text is not, and the text
 *   {"any": [[piece, ...], ...]}   one of them
 *   {"maybe": [piece, ...]}        these or nothing
 *   {"many": [piece, ...], "between": "text"}   these once or more often, the text between them
 * Where a text is, or has, a control token, the token has to come. */
#ifndef CI_GRAMMAR_PIECES_H
#define CI_GRAMMAR_PIECES_H

#include "grammar/grammar.h"

struct ci_tokenizer;

/* `tokenizer` NULL: there are no control tokens. As ci_schema_compile(). */
enum clinfer_status ci_pieces_compile(const char *name, const char *text, size_t length,
                                      const struct ci_tokenizer *tokenizer, struct ci_grammar **grammar);

#endif
