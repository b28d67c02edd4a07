/* execute.c: jobs of a worker: POST /execute answers with events, POST /cancel ends a job by its name.
 *
 * Each event is a "data:" line whose JSON says its `type`: started, a token for each piece of text, and exactly one of
 * end and error. A name is of the key that came with it: nobody cancels the jobs of others. */
#define _GNU_SOURCE
#include "server/execute_read.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/status.h"
#include "server/dialect.h"
#include "server/exchange.h"
#include "server/server.h"
#include "text/utf8_json.h"

struct answer {
    struct ci_exchange *exchange;
    const char *job_id;
    size_t tokens; /* that the text which is out is made of */
    double first;  /* when the first text came */
    bool fine;
};

static void event(struct answer *answer, json_t *data) {
    if (!data || !ci_stream_json(answer->exchange, NULL, data)) answer->fine = false;
    json_decref(data);
}

static json_t *text_json(const char *text) { return ci_utf8_json(text ? text : "", text ? strlen(text) : 0); }

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct answer *answer = user;
    char now[32];
    struct tm parts;
    time_t seconds = time(NULL);
    gmtime_r(&seconds, &parts);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &parts);
    ci_stream_begin(answer->exchange, "text/event-stream");
    event(answer, json_pack("{s:s, s:o, s:o, s:s}", "type", "started", "job_id", text_json(answer->job_id), "model",
                            text_json(facts->model), "started_at", now));
}

/* i: how many tokens the text before is made of. */
static bool on_piece(void *user, int choice, const struct clinfer_piece *piece) {
    struct answer *answer = user;
    (void)choice;
    if (!answer->first) answer->first = ci_now();
    if (piece->length)
        event(answer, json_pack("{s:s, s:o, s:I}", "type", "token", "t", ci_utf8_json(piece->text, piece->length), "i",
                                (json_int_t)answer->tokens));
    answer->tokens += piece->token_count;
    return answer->fine;
}

static void end(struct answer *answer, size_t tokens, double seconds, const char *reason) {
    event(answer, json_pack("{s:s, s:I, s:f, s:s}", "type", "end", "tokens_out", (json_int_t)tokens, "decode_time_ms",
                            seconds * 1000, "stop_reason", reason));
    ci_stream_end(answer->exchange, true);
}

static const char *reason_of(const struct ci_job_choice *choice) {
    switch (choice->result.finish) {
    case CLINFER_FINISH_CANCELLED: return "CANCELLED";
    case CLINFER_FINISH_LENGTH:
    case CLINFER_FINISH_CONTEXT: return "MAX_TOKENS";
    default: return choice->result.stop_text ? "STOP_SEQUENCE" : "EOS";
    }
}

/* ---- failures ---- */

static const char *code_of(const struct ci_failure *failure) {
    switch (failure->kind) {
    case CI_FAIL_CANCELLED: return "CANCELLED";
    case CI_FAIL_SERVER:
    case CI_FAIL_BUSY:
    case CI_FAIL_UNAVAILABLE:
        return failure->status == CLINFER_OUT_OF_MEMORY ? "VRAM_OOM"
               : failure->status == CLINFER_OUT_OF_TIME ? "TIMEOUT"
                                                        : "INFERENCE_FAILED";
    default: return "INVALID_REQUEST";
    }
}

static json_t *error_json(const struct ci_failure *failure) {
    return json_pack("{s:s, s:s, s:o}", "type", "error", "code", code_of(failure), "message",
                     text_json(failure->message));
}

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    json_t *body =
        failure->kind == CI_FAIL_INVALID || failure->kind == CI_FAIL_CONTEXT
            ? json_pack("{s:[{s:s, s:s, s:o}]}", "errors", "field", failure->param ? failure->param : "prompt",
                        "constraint", failure->kind == CI_FAIL_CONTEXT ? "context" : "value", "message",
                        text_json(failure->message))
            : error_json(failure);
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), body);
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    struct answer *answer = ci_exchange_user(exchange);
    json_t *body = error_json(failure);
    if (answer && failure->kind == CI_FAIL_CANCELLED) {
        end(answer, answer->tokens, answer->first ? ci_now() - answer->first : 0, "CANCELLED");
    } else {
        ci_stream_json(exchange, NULL, body);
        ci_stream_end(exchange, true);
    }
    json_decref(body);
}

/* ---- the routes ---- */

/* Takes the errors; none: memory was out. */
static void refuse(struct ci_exchange *exchange, json_t *errors) {
    if (json_array_size(errors)) {
        ci_reply_json(exchange, 400, json_pack("{s:o}", "errors", errors));
        return;
    }
    json_decref(errors);
    ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "out of memory"});
}

static void execute(struct ci_exchange *exchange) {
    struct answer answer = {.exchange = exchange, .fine = true};
    struct ci_job_result result;
    struct ci_job job;
    json_t *errors;
    const json_t *body = ci_exchange_json(exchange);
    if (!body) return;
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    bool fine = ci_execute_read(body, &options->sampling, ci_exchange_arena(exchange), &job, &errors);
    if (!fine) {
        refuse(exchange, errors);
        return;
    }
    json_decref(errors);
    answer.job_id = job.name;
    job.user = &answer;
    job.started = on_started;
    job.piece = on_piece;
    ci_exchange_set_user(exchange, &answer);
    ci_stream_expect_events(exchange);
    if (ci_job_run(exchange, &job, &result)) {
        const struct ci_job_choice *choice = &result.choices[0];
        end(&answer, choice->result.generated_tokens, choice->result.generate_seconds, reason_of(choice));
        ci_job_free(&result);
    }
    ci_exchange_set_user(exchange, NULL);
}

/* One that there is not, or not any more, is as good as cancelled. */
static void cancel(struct ci_exchange *exchange) {
    const json_t *body = ci_exchange_json(exchange);
    const char *id = ci_execute_id(body);
    if (!body) return;
    if (!id) {
        ci_reply_json(exchange, 400,
                      json_pack("{s:[{s:s, s:s, s:s}]}", "errors", "field", "job_id", "constraint", "required",
                                "message", "job_id must be a text of 1 to 256 bytes"));
        return;
    }
    ci_job_cancel(ci_exchange_server(exchange), ci_exchange_key(exchange), id);
    ci_reply_json(exchange, 202, json_pack("{s:o, s:s}", "job_id", text_json(id), "status", "cancelling"));
}

#define FIELDS "job_id prompt max_tokens temperature top_p top_k repetition_penalty stop seed"
static const struct ci_route routes[] = {
    {.method = "POST", .path = "/execute", .handle = execute, .fields = FIELDS},
    {.method = "POST", .path = "/cancel", .handle = cancel, .fields = "job_id"},
};

const struct ci_server_dialect ci_server_dialect_execute = {
    .name = "execute",
    .routes = routes,
    .count = sizeof routes / sizeof *routes,
    .fail = fail,
    .break_off = break_off,
};
