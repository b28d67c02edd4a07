/* run.h: what the parts of `clinfer run` share. All of them reach the library through the public header only. */
#ifndef CI_CLI_RUN_H
#define CI_CLI_RUN_H

#include <clinfer.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "cli/engine_flags.h"
#include "cli/grammar_flags.h"
#include "cli/output.h"
#include "cli/prompts.h"
#include "cli/record.h"
#include "cli/remotes.h"
#include "cli/sampling_flags.h"

struct ci_run_state {
    /* flags */
    struct ci_engine_flags engine_flags;
    struct ci_prompt_sources sources;
    struct ci_log_flags log;
    struct ci_record_flags record;
    struct ci_remote_flags remote_flags;
    struct ci_texts stop;
    const char *system, *system_file, *deadline;
    struct ci_grammar_flags grammar_flags;
    const struct clinfer_grammar *grammar; /* of these; NULL: any answer */
    char *system_text;                     /* of system_file */
    const char *tools_file, *tool_choice;
    char *tools; /* of tools_file */
    long long predict, parallel;
    struct ci_sampling_flags sampling;
    double watchdog;
    bool show_thinking, hide_thinking;
    bool json, explain, raw, parse_special, shift, ignore_end, dry_run, no_history, conversation;
    int attention; /* index in "on|off|auto" */

    /* once the ladder is made */
    double started; /* ci_seconds() when the command began */
    double deadline_seconds;
    struct ci_model_choice model; /* no path: there is none, and no_model says why */
    char *no_model;
    struct ci_remotes remotes;
    clinfer_router *router;
    clinfer_engine *engine;                 /* the one at hand, NULL: none; ci_run_look() */
    struct clinfer_engine_info info;        /* of the last one that was at hand; model_name NULL: there was none */
    char *info_texts[4];                    /* what `info` points to: the engine may be gone */
    struct clinfer_session_options session; /* borrows from `sampling` */
    pthread_mutex_t text_lock;              /* answers' text comes from an engine's thread */
};

/* One prompt and what came of it. */
struct ci_answer {
    struct ci_run_state *run;
    const struct ci_prompt *prompt;
    clinfer_conversation *conversation;
    bool submitted;
    struct ci_kept_text text; /* this and the next three: under run->text_lock while the answer is made */
    struct ci_kept_text reasoning;
    bool live;            /* pieces go out as they come */
    double first_text_at; /* seconds after run->started; 0: there was none */
    enum clinfer_status status;
    char message[1024]; /* of a failure */
    struct clinfer_result result;
    int32_t *tokens;  /* a copy of result.tokens */
    json_t *calls;    /* result.calls as OpenAI's API has them; NULL: none */
    bool partial;     /* the text is the beginning of an answer that failed */
    char *route_said; /* what is said of its way where another rung answered; or NULL */
    json_t *route;
    json_t *logprobs; /* or NULL */
};

/* run.c: the engine that is at hand now, since another may have taken over; none is no failure, and leaves what is
 * known of the one before. */
void ci_run_look(struct ci_run_state *run);

/* run.c: a request of the run's own settings. */
struct clinfer_chat_request ci_run_request(const struct ci_run_state *run, const struct clinfer_message *messages,
                                           size_t count, clinfer_text_callback *callback,
                                           clinfer_text_callback *reasoning, void *user);

/* run.c: whether what a model thinks is shown: as the flags say, else where standard error is a terminal. */
bool ci_run_shows_thinking(const struct ci_run_state *run);

/* run.c: begins the request, with Ctrl-C ending it; and waits for it. */
enum clinfer_status ci_run_submit(clinfer_conversation *conversation, const struct clinfer_chat_request *request);
enum clinfer_status ci_run_wait(clinfer_conversation *conversation, const struct clinfer_route **route);

/* chat.c: with the prompts as its first messages; returns the exit status. */
int ci_chat(struct ci_run_state *run, const struct ci_prompts *prompts);

/* explain.c: where every op of a decode plan and of a prompt's plan runs: as text on standard error, or as an array. */
enum clinfer_status ci_explain_print(clinfer_engine *engine);
enum clinfer_status ci_explain_json(clinfer_engine *engine, json_t **plans);

/* report.c: what is said about a run. */
void ci_report_start(const struct ci_run_state *run);
/* The line at the end when something ran elsewhere than asked for. */
void ci_report_fallbacks(const struct ci_run_state *run);
void ci_report_timings(const struct clinfer_result *result, double first_text_seconds);
json_t *ci_report_answer(const struct ci_answer *answer);
json_t *ci_report_calls(const struct clinfer_result *result);

/* result->logprobs as an array; the engine for the tokens' texts. */
json_t *ci_report_logprobs(const struct clinfer_engine *engine, const struct clinfer_result *result, int likeliest);
/* Of a remote's answer: the same without numbers of tokens. */
json_t *ci_report_remote_logprobs(const struct clinfer_result *result, int likeliest);

/* route.c: how a request was answered. */
json_t *ci_report_route_json(const struct clinfer_route *route);

/* --dry-run: the ladder and why; returns the exit status. */
int ci_report_ladder(struct ci_run_state *run);

void ci_report_engine(const struct ci_run_state *run, json_t *object);
const char *ci_report_finish(enum clinfer_finish finish);

#endif
