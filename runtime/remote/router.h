/* router.h: what the files of the request ladder share: the rungs and what is known of them, conversations, routes. */
#ifndef CI_REMOTE_ROUTER_H
#define CI_REMOTE_ROUTER_H

#include <sys/types.h>

#include "engine/runner.h"
#include "remote/remote.h"
#include "text/chat.h"
#include "text/stop_texts.h"
#include "text/tool_parser.h"

enum { CI_REASON_BYTES = 1024 };

struct ci_rung {
    enum clinfer_rung_kind kind;
    char *name;
    struct ci_engine_rung place;         /* of a local one */
    const struct clinfer_remote *remote; /* of a remote, else NULL */
    struct ci_runner *runner;            /* NULL: not opened, or ended */
    bool out;                            /* is not tried again: */
    enum clinfer_status status;
    char reason[CI_REASON_BYTES];
    bool announced; /* that prompts go there */
    bool told;      /* why it is out */
};

struct clinfer_router {
    pid_t process; /* that opened it */
    bool closing;  /* to be closed when the last of its conversations is destroyed */
    struct clinfer_router_options options;
    struct clinfer_remote *remotes; /* a copy */
    struct ci_watch_limits limits;
    struct ci_rung *rungs;
    int count, local_count;
    struct ci_runner **ended; /* [local_count], of which ended_count: they close while others answer */
    int ended_count;
    struct clinfer_rung *shown;                 /* [count], for clinfer_router_rungs() */
    struct clinfer_conversation *conversations; /* all of them */
};

/* Tokens that no piece has had yet. */
struct ci_new_tokens {
    int32_t *ids;                     /* [capacity] */
    struct clinfer_logprob *logprobs; /* [capacity, width]; width 0: nobody asked */
    size_t count, capacity, width;
    size_t passed; /* that pieces have had */
    bool late;     /* memory was out: those that come now wait for the last piece */
};

/* What a request has met on one rung. */
struct ci_visit {
    bool tried, told; /* told: the log has its reason */
    enum clinfer_status status;
    char reason[CI_REASON_BYTES];
    double seconds;
    size_t tokens;
};

struct clinfer_conversation {
    struct clinfer_router *router;
    struct clinfer_conversation *next;
    struct clinfer_session_options sampling;
    struct ci_runner *runner; /* on which `seat` is */
    struct ci_seat *seat;

    /* the request */
    struct clinfer_chat_request request;
    struct clinfer_message *messages;
    atomic_bool cancel;
    bool active;
    int rung;   /* that has it; -1: none is left */
    bool ended; /* it has answered */
    struct ci_task *task;
    double started, arrived; /* the request; on this rung */
    int32_t *tokens;         /* of the answer, as earlier rungs have left it */
    size_t token_count, text_bytes;
    struct ci_sampler_memory memory; /* of the rung that generated the tokens */
    json_t *tools;                   /* of the request, NULL: none may be called */
    json_t *variables;               /* of its template, NULL: none */
    int32_t *prompt;                 /* its own tokens */

    /* outlet.c: what goes out of the answer */
    char *text; /* that came, also what is held, where a remote may go on with it */
    size_t text_length, text_capacity;
    struct ci_stop_texts stop;
    struct ci_new_tokens new_tokens;
    bool told_start;
    struct ci_tool_parser parser;
    struct ci_tool_calls calls;
    size_t calls_before;        /* of these, from rungs before a remote */
    enum clinfer_status status; /* of the last rung that was tried, and its message */
    char message[CI_REASON_BYTES];

    struct ci_visit *visits;    /* [router->count] */
    struct clinfer_rung *shown; /* [router->count] */
    char *route_text;
    struct clinfer_route route;
};

/* router.c: the runner of a local rung, its engine opened or being opened. */
enum clinfer_status ci_router_runner(struct clinfer_router *router, int rung, struct ci_runner **runner);

/* router.c: the rung is not tried again; its engine closes when the last of its tasks is done, or is left behind when
 * it hangs. The reason is ci_status_message(). */
void ci_router_retire(struct clinfer_router *router, int rung, enum clinfer_status status, bool hangs);

/* router.c: a runner that was retired, and hangs before it has ended, is left behind too. Nothing if it was already. */
void ci_router_leave_ended(struct clinfer_router *router, struct ci_runner *runner);

/* router.c: ci_fail() with what there is to say of a runner that hangs. */
enum clinfer_status ci_router_fail_hanging(double silent, bool opening);

/* router.c: how a rung looks from outside. */
struct clinfer_rung ci_router_show(const struct ci_rung *rung);

/* conversation.c: what a request says of its prompt; tools and variables as they were read. */
struct ci_prompt_request ci_chat_prompt_request(const struct clinfer_chat_request *request, json_t *tools,
                                                json_t *variables);

/* outlet.c: a request begins; its text, its last message's included where that is an answer that has begun. */
void ci_outlet_begin(struct clinfer_conversation *conversation);
const char *ci_outlet_begun(const struct clinfer_conversation *conversation);

/* outlet.c: callbacks of tasks and remotes, the user being the conversation. */
bool ci_outlet_text(void *user, const char *text, size_t length);
bool ci_outlet_reasoning(void *user, const char *text, size_t length);
bool ci_outlet_remote_call(void *user, const struct clinfer_tool_call_piece *piece);
void ci_outlet_expect_calls(void *user, const struct ci_tool_format *format, enum ci_call_start start);
void ci_outlet_start(void *user, size_t prompt_tokens, size_t cached_tokens);
void ci_outlet_progress(void *user, size_t done, size_t total);
void ci_outlet_token(void *user, int32_t token, const struct clinfer_logprob *row);

/* outlet.c: at the end of an answer, whole or not: what might have become a stop text is none, nor does a call go on.
 * `result` is that of the rung that ended it, NULL: none did. */
void ci_outlet_end(struct clinfer_conversation *conversation, const struct clinfer_result *result);
void ci_outlet_free(struct clinfer_conversation *conversation);

/* outlet.c: CLINFER_INVALID_ARGUMENT: this thread is in a callback of the router's, and would wait for itself. */
enum clinfer_status ci_outlet_require_outside(const struct clinfer_router *router);

/* route.c: fills in conversation->route. `answered`: index of the rung, or -1. */
void ci_route_write(struct clinfer_conversation *conversation, int answered);

#endif
