/* gbnf.h: llama.cpp's notation of grammars (its grammars/README.md): rules `name ::= ...` of "literals", [sets], .,
 * (groups), names, |, *, +, ?, {m,n}, tokens <[7]> and <|im_end|>, comments behind #. */
#ifndef CI_GRAMMAR_GBNF_H
#define CI_GRAMMAR_GBNF_H

#include "grammar/grammar.h"

struct ci_tokenizer;

/* The rule that an answer begins with is `root`. `name` is for messages: a file, "--grammar". `tokenizer`: whose tokens
 * <...> means; NULL: none. CLINFER_INVALID_ARGUMENT with name, line, column, what stands there and what was expected;
 * and those of ci_grammar_finish. */
enum clinfer_status ci_gbnf_parse(const char *name, const char *text, size_t length,
                                  const struct ci_tokenizer *tokenizer, struct ci_grammar **grammar);

#endif
