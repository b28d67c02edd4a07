/* native.h: what other routes answer as llama-server's /completion does. */
#ifndef CI_SERVER_NATIVE_H
#define CI_SERVER_NATIVE_H

#include <jansson.h>

struct ci_exchange;

/* Answers as if POST /completion had come with this body, an object. */
void ci_native_complete(struct ci_exchange *exchange, const json_t *body);

#endif
