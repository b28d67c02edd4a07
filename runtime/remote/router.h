/* router.h: what the files of the request ladder share: the rungs and what is known of them, conversations, routes. */
#ifndef CI_REMOTE_ROUTER_H
#define CI_REMOTE_ROUTER_H

#include <pthread.h>
#include <semaphore.h>
#include <sys/types.h>

#include "engine/runner.h"
#include "remote/logprobs.h"
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
    bool ready;                          /* its engine is open */
    bool out;                            /* is not in use: */
    enum clinfer_status status;
    char reason[CI_REASON_BYTES];
    bool of_model;  /* the failure to open it would be the same anywhere */
    bool hung;      /* it was left behind */
    bool announced; /* that prompts go there */
    bool told;      /* why it is out */
    bool shown;     /* somebody has its engine, and does not say for how long */

    double again;            /* when it is tried again, of ci_now(); 0: never */
    double retry_seconds;    /* the last while between failure and trial */
    double came_back;        /* when it last did */
    double used;             /* when a request last went there */
    struct ci_runner *trial; /* whether it works again: NULL: nobody tries */
    uint64_t answered, failed, tokens;
};

struct clinfer_router {
    pid_t process; /* that opened it */
    bool closing;  /* to be closed when the last of its conversations is destroyed */
    struct clinfer_router_options options;
    struct clinfer_remote *remotes; /* a copy */
    struct ci_watch_limits limits;
    struct ci_rung *rungs;
    int count, local_count;

    pthread_mutex_t lock;     /* of all that follows, of what changes in rungs, and of where requests are */
    pthread_cond_t changed;   /* something of the rungs */
    struct ci_runner **ended; /* [ended_capacity], of which ended_count: they close while others answer */
    int ended_count, ended_capacity;
    struct clinfer_conversation *conversations; /* all of them */
    bool wanted;                                /* a rung of this machine is to be open */
    enum clinfer_status start_status;           /* why none is, in the end */
    char start_message[CI_REASON_BYTES];
    struct clinfer_router_stats stats; /* of requests that have ended */

    sem_t bell; /* of the keeper */
    pthread_t keeper;
    bool keeps, stops;
    pthread_mutex_t state_lock; /* held for a copy at most, so that nobody waits */
    struct clinfer_router_state state;
};

/* Which rungs may still help. */
enum ci_reach { CI_REACH_ALL, CI_REACH_REMOTES, CI_REACH_NONE };

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
    struct ci_cancel *cancel;
    pthread_cond_t changed; /* with the router's lock: it has left the rungs of this machine */
    bool active;
    int rung;   /* that has it; -1: none is left */
    bool runs;  /* there, as it was last looked at */
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
    struct ci_text_logprobs remote_logprobs;
    size_t calls_before;        /* of these, from rungs before a remote */
    enum clinfer_status status; /* of the last rung that was tried, and its message */
    char message[CI_REASON_BYTES];

    struct ci_visit *visits;    /* [router->count] */
    struct clinfer_rung *shown; /* [router->count] */
    char *route_text;
    struct clinfer_route route;
};

/* rungs.c: the runner of a local rung, its engine opened or being opened. */
enum clinfer_status ci_rungs_runner(struct clinfer_router *router, int rung, struct ci_runner **runner);

/* rungs.c: the rung is out of use, for a while where that is its device's fault; its engine closes when the last of its
 * tasks is done. The reason is ci_status_message(). */
void ci_rungs_retire(struct clinfer_router *router, int rung, enum clinfer_status status, bool of_device);

/* rungs.c: a runner that hangs is left behind, with its rung, for ci_status_message(), where that is not -1. false: it
 * has just given a sign of life. */
bool ci_rungs_leave(struct clinfer_router *router, int rung, struct ci_runner *runner);
void ci_rungs_note_left_behind(void);

/* rungs.c: the runner that was ended, and not left behind, whose engine somebody holds still; NULL: none. */
struct ci_runner *ci_rungs_ending(const struct clinfer_router *router, const clinfer_engine *engine);

/* rungs.c: ci_fail() with what there is to say of a runner that hangs. */
enum clinfer_status ci_rungs_fail_hanging(double silent, bool opening);

/* rungs.c: what has become of engines that are opened, and of those that have failed. true: there is something to look
 * at again soon. Else when: of ci_now(), 0: never. */
bool ci_rungs_look(struct clinfer_router *router);
double ci_rungs_next_look(const struct clinfer_router *router);

/* rungs.c: where `wanted`, opens the first rung that is in use. */
void ci_rungs_keep_open(struct clinfer_router *router);

/* keeper.c: begins to look after the router; nothing if it does already. */
enum clinfer_status ci_keeper_start(struct clinfer_router *router);
void ci_keeper_end(struct clinfer_router *router);
void ci_keeper_note_state(struct clinfer_router *router);

/* here.c: a request on a local rung: handed to its runner; looked at. false: it still runs; else *status, and of a
 * failure *reach, tell how this rung has ended it. */
enum clinfer_status ci_here_submit(struct clinfer_conversation *conversation);
bool ci_here_look(struct clinfer_conversation *conversation, struct clinfer_result *result, enum ci_reach *reach,
                  enum clinfer_status *status);

/* here.c: gives its place on a runner up, which one that was abandoned keeps. */
void ci_here_leave_seat(struct clinfer_conversation *conversation);

/* ask.c: a request on a remote rung, until it has answered or failed; without the lock. */
enum clinfer_status ci_ask_remote(struct clinfer_conversation *conversation, struct clinfer_result *result);

/* descent.c: a request begins; and is done with a rung, from where it goes on to the next one if it failed. */
void ci_descent_begin(struct clinfer_conversation *conversation);
void ci_descent_leave(struct clinfer_conversation *conversation, enum clinfer_status status,
                      struct clinfer_result *result, enum ci_reach reach);

/* conversation.c: whether it was told to end; whether its request is on a rung of this machine. */
bool ci_conversation_is_cancelled(const struct clinfer_conversation *conversation);
bool ci_conversation_is_here(const struct clinfer_conversation *conversation);

/* router.c: how a rung looks from outside. */
struct clinfer_rung ci_router_show(const struct ci_rung *rung);

/* request.c: CLINFER_INVALID_ARGUMENT says what is wrong. */
enum clinfer_status ci_request_check(const struct clinfer_chat_request *request);

/* request.c: copies of what it points to, but for what is borrowed until the wait has ended. */
enum clinfer_status ci_request_take(struct clinfer_conversation *conversation,
                                    const struct clinfer_chat_request *request);

/* request.c: what it says of its prompt; tools and variables as they were read. */
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
