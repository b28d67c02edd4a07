/* tokens.h: texts and ids as requests have them, and token ids. */
#ifndef CI_SERVER_TOKENS_H
#define CI_SERVER_TOKENS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_exchange;

/* A text, or a list of ids and texts; add_special: what the model wants before the first text comes before it. *tokens
 * is for clinfer_free(). false: it has been refused, naming `param`. */
bool ci_tokens_read(struct ci_exchange *exchange, const clinfer_engine *engine, const json_t *value, const char *param,
                    bool add_special, bool parse_special, int32_t **tokens, size_t *count);

#endif
