/* remote.h: one request to one remote API, over libcurl: dialect, key, timeouts, retries.
 *
 * HTTPS with verified certificates, except to this host and to remotes that carry plain_http; no redirects; proxies as
 * libcurl takes them from the environment. A key is read when it is needed, is never part of a message, and makes the
 * process one that leaves no core. */
#ifndef CI_REMOTE_REMOTE_H
#define CI_REMOTE_REMOTE_H

#include <jansson.h>
#include <stdatomic.h>

#include <clinfer.h>

struct ci_text_logprobs;

struct ci_remote_request {
    const struct clinfer_message *messages;
    size_t count;
    const char *begun;                         /* NULL, or how the answer has begun elsewhere: it is to be continued */
    float temperature, top_p;                  /* NAN: the API's own */
    float presence_penalty, frequency_penalty; /* NAN, 0: none; for dialects that have them, as logit_bias */
    const struct clinfer_logit_bias *logit_bias;
    size_t logit_bias_count;
    struct ci_text_logprobs *logprobs; /* NULL, or where those of the answer's tokens go (logprobs.h) */
    int64_t seed;                      /* -1: none; passed over where the API has none */
    int max_tokens;                    /* -1: as many as the API gives; where it must be told, 4096 */
    const char *const *stop;
    size_t stop_count;
    const char *json_schema; /* NULL, or the JSON text of a schema that the answer must follow */
    bool whole;              /* the answer in one piece, not as a stream */
    const json_t *tools;     /* NULL, or an array as ci_tools_read() gives it, with which calls come to `call` */
    const char *tool_choice; /* as in struct clinfer_chat_request */
    clinfer_tool_call_callback *call;
    clinfer_text_callback *callback;
    void *user;
    const atomic_bool *cancel; /* NULL, or looked at all the time */
    double deadline;           /* in the clock of ci_now(); 0: none */
};

struct ci_remote_result {
    enum clinfer_finish finish;
    size_t prompt_tokens, generated_tokens; /* as the API counts them; 0: it did not say */
    size_t text_bytes, call_pieces;         /* that the callbacks got, also when it failed half-way */
    int requests;                           /* that were sent: 1, or more with retries */
    double first_byte_seconds;              /* from the call to the first byte of the answer's text */
};

/* What can be said without the network: CLINFER_INVALID_ARGUMENT (url, dialect, more than one source of a key),
 * CLINFER_REFUSED (http where it is not allowed, or with a key; CLINFER_NO_REMOTE in the environment). */
enum clinfer_status ci_remote_check(const struct clinfer_remote *remote);

/* Sends the request and waits for the whole answer; text comes by the callback of this thread. As long as no text came,
 * it is sent again after failures that may pass. A cancelled request, also by the callback, is CLINFER_OK with
 * CLINFER_FINISH_CANCELLED.
 *
 * CLINFER_REMOTE_FAILED: the message says what, where and what to do, and whether text came before; for 60 seconds
 * after it the same URL is not asked again by this process, which is the same status and says so, unless it was this
 * request that the remote did not like (HTTP 400, 413, 422, its content filter). CLINFER_REFUSED: as ci_remote_check,
 * and for a key file that others may read. CLINFER_OUT_OF_TIME: the deadline. CLINFER_INVALID_ARGUMENT: the schema, no
 * message. */
enum clinfer_status ci_remote_ask(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                  struct ci_remote_result *result);

/* A step of ci_remote_test: "resolve", "connect", "certificate", "authenticate", "answer". */
struct ci_remote_step {
    const char *name;
    enum clinfer_status status;
    const char *text; /* what was found; of a failure, what went wrong and what to do */
    double seconds;
};
typedef void ci_remote_step_callback(void *user, const struct ci_remote_step *step);

/* Tries it step by step, up to one token, with one request and without the rest that a failure brings; the first
 * failure ends it and is returned. What can be said without the network (ci_remote_check, no key) fails before the
 * first step. */
enum clinfer_status ci_remote_test(const struct clinfer_remote *remote, ci_remote_step_callback *callback, void *user);

#endif
