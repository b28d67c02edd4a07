/* take_up.h: an answer that one engine began and another one ends, as if nothing had happened. */
#ifndef CI_ENGINE_TAKE_UP_H
#define CI_ENGINE_TAKE_UP_H

#include <clinfer.h>

#include "engine/sampler.h"
#include "text/reasoning.h"
#include "text/tool_format.h"

struct ci_compiled;

/* Told of every token before its text goes out, on the thread that computes; false ends the generation. */
typedef bool ci_session_token_callback(void *user, int32_t token);

/* What is beyond a request: `generated` tokens of the answer, which the request's tokens end with, as far as the
 * context has not been shifted since; the first `text_bytes` bytes of their text are out. `user` of on_token is the
 * request's. */
struct ci_take_up {
    const int32_t *answer; /* [generated] */
    size_t generated, prompt_tokens, text_bytes;
    struct ci_sampler_memory memory; /* of the session that generated them */
    ci_session_token_callback *on_token;
    void (*on_start)(void *user, size_t cached_tokens); /* before the prompt is computed; or NULL. `user` as above */

    /* Where `reasoning` is not NULL, text of that part goes there, and only the rest to the request's callback. */
    const struct ci_reasoning_form *form; /* NULL: there is none */
    bool reasoning_begun;                 /* by the prompt */
    clinfer_text_callback *reasoning;

    struct ci_compiled *compiled; /* the request's grammar, borrowed for the call; NULL: it is compiled there */

    /* The request's grammar holds only what comes behind this text of the answer, to the grammar's end, each time;
     * NULL: all of the answer. Borrowed for the call. */
    const char *grammar_mark;

    const struct ci_tool_format *calls; /* control tokens of its marks are part of the text; NULL: none */
};

/* clinfer_submit() for such a request: the session, which must be new or have the same options and seed as the one
 * before, draws the same random numbers for the next token as that would have. The result counts all tokens of the
 * answer. */
enum clinfer_status ci_session_submit(clinfer_session *session, const struct clinfer_request *request,
                                      const struct ci_take_up *take_up);

/* What a shift of the context leaves of `known` tokens: the older half of what came after the first is dropped. Returns
 * how many are left. */
size_t ci_session_shift(int32_t *tokens, size_t known);

/* One step for all that was submitted, for a thread that has more to do than to wait for one session. false: nothing
 * is active. */
bool ci_engine_turn(clinfer_engine *engine);

/* Whether the session's request still runs; and its end, as clinfer_wait() tells it. */
bool ci_session_is_active(clinfer_session *session);

/* Tokens of the session's request whose keys and values are in the caches, or were before a step that is under way. */
size_t ci_session_computed(clinfer_session *session);

/* To be called when nothing is active: what was built is kept for the next process. false: it was to stop before the
 * end (base/stop.h). */
bool ci_engine_save_programs(clinfer_engine *engine);

/* Whether another process does so right now, which ci_engine_save_programs() looks after. */
bool ci_engine_is_built_aside(const clinfer_engine *engine);

#endif
