/* run.h: what the parts of `clinfer run` share. All of them reach the library through the public header only. */
#ifndef CI_CLI_RUN_H
#define CI_CLI_RUN_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>

#include "cli/engine_flags.h"
#include "cli/output.h"
#include "cli/prompts.h"
#include "cli/record.h"

struct ci_run_state {
    /* flags */
    struct ci_engine_flags engine_flags;
    struct ci_prompt_sources sources;
    struct ci_log_flags log;
    struct ci_record_flags record;
    const char *system;
    long long predict, seed, top_k, parallel;
    double temperature, top_p, min_p, repeat_penalty; /* NAN: the model's own */
    bool json, explain, raw, shift, ignore_end;

    /* once the engine is open */
    double started; /* ci_seconds() when the command began */
    struct ci_model_choice model;
    clinfer_engine *engine;
    struct clinfer_engine_info info;
    struct clinfer_session_options session;
};

/* One prompt and what came of it. */
struct ci_answer {
    struct ci_run_state *run;
    const struct ci_prompt *prompt;
    clinfer_session *session;
    char *text;
    size_t length, capacity;
    bool live;            /* pieces go to standard output as they come */
    double first_text_at; /* seconds after run->started; 0: there was none */
    enum clinfer_status status;
    char message[1024]; /* of a failure */
    struct clinfer_result result;
    int32_t *tokens; /* a copy of result.tokens */
};

/* run.c: tokens of a conversation in the model's chat template, or of the last message as it is with --raw. */
enum clinfer_status ci_run_tokens(const struct ci_run_state *run, const struct clinfer_message *messages, size_t count,
                                  int32_t **tokens, size_t *token_count);

/* chat.c: returns the exit status. */
int ci_chat(struct ci_run_state *run);

/* explain.c: where every op of a decode plan and of a prompt's plan runs: as text on standard error, or as an array. */
enum clinfer_status ci_explain_print(clinfer_engine *engine);
enum clinfer_status ci_explain_json(clinfer_engine *engine, json_t **plans);

/* report.c: what is said about a run. */
void ci_report_start(const struct ci_run_state *run);
/* The line at the end when something ran elsewhere than asked for. */
void ci_report_fallbacks(const struct ci_run_state *run);
void ci_report_timings(const struct clinfer_result *result, double first_text_seconds);
json_t *ci_report_answer(const struct ci_answer *answer);
void ci_report_engine(const struct ci_run_state *run, json_t *object);
const char *ci_report_finish(enum clinfer_finish finish);

#endif
