/* router.h: what the files of the request ladder share: the rungs and what is known of them, conversations, routes. */
#ifndef CI_REMOTE_ROUTER_H
#define CI_REMOTE_ROUTER_H

#include <sys/types.h>

#include "engine/runner.h"
#include "remote/remote.h"
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
    char *text; /* that came, also what is held, where a remote may go on with it */
    size_t text_length, text_capacity;
    struct ci_stop_texts stop;
    struct ci_sampler_memory memory; /* of the rung that generated the tokens */
    json_t *tools; /* of the request, NULL: none may be called */
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

/* route.c: fills in conversation->route. `answered`: index of the rung, or -1. */
void ci_route_write(struct clinfer_conversation *conversation, int answered);

#endif
