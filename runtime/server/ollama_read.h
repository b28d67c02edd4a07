/* ollama_read.h: bodies of Ollama's API to the library's request. */
#ifndef CI_SERVER_OLLAMA_READ_H
#define CI_SERVER_OLLAMA_READ_H

#include <stdbool.h>

#include "server/translate.h"

struct ci_ollama_request {
    const char *model;     /* as the client said it, which answers say again; "" */
    bool stream;           /* unless it says false */
    bool empty;            /* nothing is asked: the model is to be loaded, or unloaded with a keep_alive of 0 */
    const char *suffix;    /* what comes behind the gap to be filled; NULL: there is none */
    const json_t *context; /* ids that come before the prompt; NULL: none */
    bool logprobs;
    size_t top_logprobs;
};

/* Calls ci_translate_begin and _finish; false: translation->problem says why. `chat`: /api/chat, else /api/generate. */
bool ci_ollama_read(const json_t *body, bool chat, const struct clinfer_session_options *defaults,
                    struct ci_arena *arena, struct ci_job *job, struct ci_translation *translation,
                    struct ci_ollama_request *request);

/* "model", or "name" as older clients have it; NULL: neither is a text. */
const char *ci_ollama_model(const json_t *body);

/* Seconds of a keep_alive: a number, or "300", "5m", "1h30m", "-1s"; below 0: for ever. false: it is none of these. */
bool ci_ollama_duration(const json_t *value, double *seconds);

#endif
