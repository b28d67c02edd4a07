/* ollama.h: what the parts of Ollama's dialect have in common: ollama.c (answers), ollama_embed.c,
 * ollama_models.c, ollama_pull.c. */
#ifndef CI_SERVER_OLLAMA_H
#define CI_SERVER_OLLAMA_H

#include <jansson.h>
#include <stdint.h>

#include "server/exchange.h"

/* RFC 3339; now, with nanoseconds. Returns `text`. */
enum { CI_OLLAMA_TIME_BYTES = 40 };
const char *ci_ollama_now(char text[CI_OLLAMA_TIME_BYTES]);
const char *ci_ollama_time(int64_t seconds, char text[CI_OLLAMA_TIME_BYTES]);

/* Nanoseconds, 1 at least: clients tell what is missing by 0. */
json_t *ci_ollama_nanoseconds(double seconds);

json_t *ci_ollama_text(const char *text);

/* What the server calls the model that a client calls `name`: "x:latest" is "x" unless there is one of that name, and
 * models of Ollama's own store need no "ollama:" in front. Of the exchange's arena, or `name` itself. */
const char *ci_ollama_real_name(struct ci_exchange *exchange, const char *name);

/* The model that a body names. NULL: none, and the exchange has been answered. */
const char *ci_ollama_named(struct ci_exchange *exchange);

void ci_ollama_embed(struct ci_exchange *exchange);
void ci_ollama_embeddings(struct ci_exchange *exchange);
void ci_ollama_tags(struct ci_exchange *exchange);
void ci_ollama_ps(struct ci_exchange *exchange);
void ci_ollama_show(struct ci_exchange *exchange);
void ci_ollama_delete(struct ci_exchange *exchange);
void ci_ollama_copy(struct ci_exchange *exchange);
void ci_ollama_pull(struct ci_exchange *exchange);

#endif
