/* runner_private.h: what the runner's thread (runner.c, start.c), those who wait for its tasks (tasks.c) and the
 * threads that make prompts and grammars (prepare.c) share. */
#ifndef CI_ENGINE_RUNNER_PRIVATE_H
#define CI_ENGINE_RUNNER_PRIVATE_H

#include <pthread.h>

#include "base/arena.h"
#include "engine/constraint.h"
#include "engine/runner.h"

struct ci_seat {
    struct ci_seat *next; /* of those to be destroyed */
    clinfer_session *session;
};

/* What a task's engine needs of its request before anything is computed. */
struct ci_prepared {
    enum clinfer_status status; /* its text is the task's `message` */
    int32_t *tokens;            /* [count] the prompt, with what a call has to begin with; the task's own */
    size_t count;
    bool reasoning_begun;
    enum ci_call_start call_start;
    const char *mark;             /* behind which the grammar holds; NULL: it holds for the whole answer */
    struct ci_compiled *compiled; /* the task's grammar; NULL: the answer is free */
};

enum ci_preparation { CI_PREPARATION_WAITS, CI_PREPARATION_RUNS, CI_PREPARATION_DONE };

struct ci_task {
    struct ci_task *next;
    struct ci_runner *runner;
    struct ci_seat *seat;
    struct ci_task_request request;
    struct clinfer_message *messages; /* [message_bytes] all texts in one block behind them */
    size_t message_bytes;
    int32_t *prompt;                /* the request's own tokens */
    struct clinfer_grammar grammar; /* the request's, or that of its tools; texts in one block at `text` */
    struct ci_prepared prepared;    /* its thread's own while that runs, then the runner's */
    void *sampling;                 /* what request.sampling points to, in one block */
    atomic_bool cancel;

    /* under the runner's lock */
    enum ci_task_state state;
    enum ci_preparation preparation; /* RUNS: on a thread of its own, while the task waits */
    enum clinfer_status status;
    char message[1024];
    bool of_model, of_engine;
    struct clinfer_result result;
    int32_t *tokens; /* the answer's */
    size_t token_count, token_capacity, text_bytes;
    struct ci_sampler_memory memory;
    size_t computed, prompt_tokens; /* those of an answer that was begun included */
    bool released;                  /* by who waited for it, while the runner still had it */
};

struct ci_runner {
    struct clinfer_engine_options options;
    struct ci_arena arena; /* of the options' texts */
    struct ci_engine_rung rung;
    struct ci_runner_options own;
    struct ci_watch watch;
    pthread_t thread;
    clinfer_engine *engine; /* the thread's own; others may ask it things while no task runs */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    bool opened, of_device, abandoned, closing, closed;
    bool talks;                 /* a text callback is under way */
    double close_until;         /* of ci_now(): programs are saved no longer; 0: they are */
    bool must_close;            /* whatever seats there are: nobody is left to release them */
    enum clinfer_status status; /* of opening */
    char message[1024];
    struct ci_task *tasks;            /* that wait or run, oldest first */
    int seats, holds;                 /* each hold counts as a seat */
    struct clinfer_engine_stats seen; /* the engine's, as after its last step */
    struct ci_seat *leaving;          /* of these, to be destroyed */
};

/* prepare.c: makes prompt and grammar of a task's request, and fills `prepared`, for the calling thread alone. */
void ci_task_prepare(struct ci_task *task);

/* prepare.c: the same on a thread of its own, where that may take long and nobody has begun; the runner is told when it
 * is done. false: whoever starts the task does it. Under the runner's lock. */
bool ci_task_prepare_aside(struct ci_task *task);

/* start.c: from what was prepared to a session that generates. *of_model: what failed is no device's fault. */
enum clinfer_status ci_task_start(struct ci_task *task, bool *of_model);

/* start.c: tokens of the prompt, of all. The request has a `progress`. */
void ci_task_tell_progress(struct ci_task *task, size_t done, size_t total);

bool ci_task_is_cancelled(const struct ci_task *task);

/* Nobody may have it any more. */
void ci_task_free(struct ci_task *task);

/* Whether the runner gives no sign of life for longer than allowed. */
bool ci_runner_is_silent(struct ci_runner *runner, const struct ci_watch_limits *limits, double *silent);

/* Until something changes, or that moment (base/clock.h). Under its lock. */
void ci_runner_wait_for_change(struct ci_runner *runner, double until);

#endif
