/* runner.h: the thread that owns an engine, so that whoever waits for an answer can leave it behind.
 *
 * Everything that may hang in a driver happens on the runner: opening, computing, closing. It computes steps for all
 * tasks that it has, and gives signs of life (base/watch.h). The one who waits looks at them; when they stay away, it
 * abandons the runner: no text of it comes through any more, its memory is never freed, and the process has to end with
 * _exit, since the driver's own clean-up would wait for the thread that hangs.
 *
 * All functions are for the threads that wait, none of which ever waits for the engine itself. */
#ifndef CI_ENGINE_RUNNER_H
#define CI_ENGINE_RUNNER_H

#include <jansson.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/watch.h"
#include "engine/devices.h"
#include "engine/prompt.h"
#include "engine/sampler.h"

struct ci_runner;
struct ci_tool_format;

/* How a call that has to come begins: anywhere in the text; at once, behind the form's first mark, which the prompt
 * ends with; at once, as a JSON object. */
enum ci_call_start { CI_CALL_ANYWHERE, CI_CALL_BEHIND_MARK, CI_CALL_IS_OBJECT };

/* A conversation's place on a runner: its session. Made by the first task. */
struct ci_seat;

/* A wish that a request may end, from any thread or a signal handler. Shared, since a task whose runner was left behind
 * may look at it for ever. */
struct ci_cancel {
    atomic_bool wanted;
    atomic_int owners;
};

/* The caller owns it; NULL: out of memory. */
struct ci_cancel *ci_cancel_create(void);
void ci_cancel_release(struct ci_cancel *cancel);

struct ci_task_request {
    struct ci_prompt_request prompt;         /* copied, with messages, tokens, tools and variables */
    struct clinfer_session_options sampling; /* NAN, -1: the model's own; copied with what it points to */
    int max_tokens;
    bool ignore_end, no_cache;
    struct ci_cancel *cancel;              /* the task becomes an owner of it; NULL: only ci_task_cancel() ends it */
    const struct clinfer_grammar *grammar; /* copied; NULL: any answer */
    clinfer_text_callback *callback;       /* comes from the runner's thread, one at a time, and may take its time */
    clinfer_text_callback *reasoning;      /* the same for that part of the text; NULL: `callback` gets all of it */
    void *user;

    /* Where the prompt has tools, `began` is told, before any text comes, how this engine's model writes calls, which
     * the text has as they are, and how one that has to come begins. On the runner's thread, as the others. */
    const char *tool_choice; /* as in struct clinfer_chat_request, copied */
    void (*began)(void *user, const struct ci_tool_format *calls, enum ci_call_start start);

    /* Each NULL, or told: that the prompt is accepted; how far it is, after a step; of a token, before its text (row:
     * [1 + sampling.logprobs], NULL: not wanted), which must be quick and call nothing of the runner. */
    void (*started)(void *user, size_t prompt_tokens, size_t cached_tokens);
    void (*progress)(void *user, size_t done, size_t total);
    void (*token)(void *user, int32_t token, const struct clinfer_logprob *row);

    /* An answer that has begun on another runner: its tokens, copied, and the bytes of their text that are out. */
    const int32_t *begun;
    size_t begun_count, text_bytes;
    struct ci_sampler_memory memory; /* what choosing these left behind */
};

enum ci_task_state { CI_TASK_WAITS, CI_TASK_RUNS, CI_TASK_DONE };

/* What is known of a task at a moment. */
struct ci_task_view {
    enum ci_task_state state;
    bool opening;   /* the engine is not there yet */
    bool hangs;     /* for `silent` seconds, longer than allowed */
    bool of_model;  /* the failure would be the same on any device */
    bool of_engine; /* ... is one of opening the engine: every task of this runner fails */
    double silent;
    enum clinfer_status status; /* when it is done; the message is the calling thread's clinfer_error() */
    struct clinfer_result result;
    size_t computed, prompt_tokens; /* how far the prompt is */
};

struct ci_runner_options {
    bool prove;          /* the engine counts as open when it has computed something: prove.h */
    double save_seconds; /* when it closes: for saving programs that were built; 0: until all are */
    sem_t *bell; /* NULL, or posted when the engine is open, or is not, when a task is done and when the runner is
                  * closed, until it is abandoned */
};

/* Opens an engine there. Texts of the options are copied: a runner that was abandoned may read them at any time. */
enum clinfer_status ci_runner_create(const struct clinfer_engine_options *options, const struct ci_engine_rung *rung,
                                     const struct ci_runner_options *own, struct ci_runner **runner);

/* Waits until the engine is open, at most `seconds`; false: not yet. Then *status is how that went, with its message,
 * and *of_device as ci_engine_open_on() tells it. */
bool ci_runner_wait_open(struct ci_runner *runner, double seconds, enum clinfer_status *status, bool *of_device);

/* The open engine, for questions while no task runs; NULL: not open. */
clinfer_engine *ci_runner_engine(struct ci_runner *runner);

/* The same, and it stays open until it is let go of, unless the runner is closed. */
clinfer_engine *ci_runner_hold(struct ci_runner *runner);
void ci_runner_let_go(struct ci_runner *runner);

/* Whether somebody holds that engine of its. */
bool ci_runner_is_held(struct ci_runner *runner, const clinfer_engine *engine);

/* Adds what its engine has done, as after its last step. */
void ci_runner_add_stats(struct ci_runner *runner, struct clinfer_router_stats *stats);

/* Whether it has been silent for too long. */
bool ci_runner_hangs(struct ci_runner *runner, const struct ci_watch_limits *limits, double *silent);

/* No text of it comes through from now on, and it is left to itself: the object is not to be used any more. false: it
 * is in a callback, and so does not hang. */
bool ci_runner_abandon(struct ci_runner *runner);

/* It ends when its tasks are done and its seats are released. */
void ci_runner_end(struct ci_runner *runner);

/* Whether nobody has a seat, nor holds its engine. */
bool ci_runner_is_unused(struct ci_runner *runner);

/* Whether it has ended: ci_runner_close() does not wait then. */
bool ci_runner_is_closed(struct ci_runner *runner);

/* Ends it and waits for that; false: it hangs, or is still opening its engine, and was abandoned. All tasks must be
 * done and released. */
bool ci_runner_close(struct ci_runner *runner, const struct ci_watch_limits *limits);

/* CLINFER_INVALID_ARGUMENT names what is NULL. */
enum clinfer_status ci_messages_check(const struct clinfer_message *messages, size_t count);

/* Messages with their texts and tokens in one block of the caller's to free; NULL: out of memory. */
struct clinfer_message *ci_messages_copy(const struct clinfer_message *messages, size_t count);

struct ci_task;

/* *seat is NULL the first time. Where nothing was begun, what its session has computed of the messages already is not
 * computed again. */
enum clinfer_status ci_task_submit(struct ci_runner *runner, const struct ci_task_request *request,
                                   struct ci_seat **seat, struct ci_task **task);

/* Waits until the task is done, at most `seconds`. */
void ci_task_wait(struct ci_task *task, double seconds, const struct ci_watch_limits *limits,
                  struct ci_task_view *view);

/* Asks for the end after the present token. From any thread. */
void ci_task_cancel(struct ci_task *task);

/* The tokens of the answer so far, those that were begun included, and the bytes of their text that are out. Borrowed
 * until the task is released; those of an abandoned runner stand still. */
const int32_t *ci_task_tokens(struct ci_task *task, size_t *count, size_t *text_bytes,
                              struct ci_sampler_memory *memory);

/* Of a task that is done, or whose runner was abandoned. */
void ci_task_release(struct ci_task *task);

/* Gives the session up; no task of it may run. */
void ci_seat_release(struct ci_runner *runner, struct ci_seat *seat);

#endif
