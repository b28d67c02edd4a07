/* job.h: what a dialect asks the library for: a chat request (public header), `choices` answers to it. The only place
 * where the server meets routers, conversations and queues.
 *
 *     struct ci_job job;
 *     struct ci_job_result result;
 *     ci_job_init(&job);
 *     job.request...;
 *     if (!ci_job_run(exchange, &job, &result)) return;
 *     ... ci_job_free(&result);
 *
 * Who needs the model's tokenizer or template before it can say what it wants calls ci_job_take() first. */
#ifndef CI_SERVER_JOB_H
#define CI_SERVER_JOB_H

#include "server/exchange.h"

struct ci_pool_model;

/* What is known when a request has been accepted, before the first piece. */
struct ci_job_facts {
    const char *model; /* its real name */
    size_t prompt_tokens, cached_tokens;
    int context;
};

struct ci_job {
    const char *model; /* as the client said it; NULL, "": the one that is there */
    const char *name;  /* by which the same key may cancel it, NULL: none */
    /* Messages, raw text or tokens; grammar, tools, stop, ...; callbacks and user are the job's own: NULL. */
    struct clinfer_chat_request request;
    struct clinfer_session_options sampling; /* of ci_job_init(): NAN, -1, a seed of UINT64_MAX: the
                                              * server's, else the model's own, and a seed for each request */
    int choices;                             /* they share the prompt; choice i has seed + i */
    int room; /* tokens of prompt and answer that the client wants room for (num_ctx); 0: it says nothing */
    const char *room_field; /* of what name */
    double keep_alive;      /* seconds after the answer, < 0 for ever, NAN: the server's */

    void *user;
    /* A piece of a choice's answer, from an engine's thread, one at a time for the job; NULL: only the result is
     * wanted. false: cancel. Never blocks. */
    bool (*piece)(void *user, int choice, const struct clinfer_piece *piece);
    bool (*call)(void *user, int choice, const struct clinfer_tool_call_piece *piece);
    /* The prompt is accepted and counted; once, before the first piece, from the thread that pieces come from: here a
     * stream begins (ci_stream_begin), since failures before are ordinary answers. NULL: the result alone is wanted. */
    void (*started)(void *user, const struct ci_job_facts *facts);
    void (*progress)(void *user, size_t done, size_t total, size_t cached);

    struct ci_pool *pool; /* the job's own, as `taken` */
    struct ci_pool_model *taken;
    double load_seconds; /* that it took to be had */
};

struct ci_job_choice {
    char *text, *reasoning; /* whole, gathered whether .piece is NULL or not; a zero byte behind each */
    size_t text_length, reasoning_length;
    struct clinfer_result result; /* tokens, logprobs, calls: copied, valid until ci_job_free() */
};

struct ci_job_result {
    struct ci_job_choice *choices;
    int count;
    const char *model; /* its real name */
    const char *route; /* in one line; as X-Clinfer-Route has it */
    bool fell_back;
    double queue_seconds, load_seconds, prompt_seconds, generate_seconds;
    struct ci_job *job; /* whose model goes back with the result */
    struct ci_arena *arena;
};

void ci_job_init(struct ci_job *job);

/* Optional, before ci_job_run: takes the model, loading it on demand. false: the exchange has been answered. */
bool ci_job_take(struct ci_exchange *exchange, struct ci_job *job);
/* Where it was taken and did not run to a result, which gives it back; nothing where none is taken. */
void ci_job_give_back(struct ci_exchange *exchange, struct ci_job *job);
/* Of what is taken; NULL and "": nothing is. */
clinfer_router *ci_job_router(struct ci_exchange *exchange, const struct ci_job *job);
const char *ci_job_model(struct ci_exchange *exchange, const struct ci_job *job);

/* Queues (CI_FAIL_BUSY where that is full), takes the model, submits, waits, cancels when the client leaves. false: the
 * exchange has been answered with the failure (or broken off), or the client is gone: the handler returns, and there is
 * nothing to free but what it took itself. */
bool ci_job_run(struct ci_exchange *exchange, struct ci_job *job, struct ci_job_result *result);
void ci_job_free(struct ci_job_result *result);

/* Ends what runs or waits under that name for that key (ci_exchange_key). Nothing where there is none. */
void ci_job_cancel(struct ci_server *server, const char *key, const char *name);

#endif
