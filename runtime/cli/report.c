/* report.c: what `clinfer run` says about a run: lines on standard error, or the members of its JSON object. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "cli/run.h"

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void ci_report_start(const struct ci_run_state *run) {
    char parameters[CI_AMOUNT_BYTES], bytes[CI_AMOUNT_BYTES];
    const struct clinfer_engine_info *info = &run->info;
    if (!run->engine) return; /* a remote answers, and says so when it is asked */
    bool given = strcmp(run->model.why, "given") == 0;
    ci_say("%s (%s%s%s parameters, %s) on %s (%s)", given ? file_name(run->model.path) : run->model.path,
           given ? "" : run->model.why, given ? "" : "; ", ci_format_count(info->parameters, parameters),
           ci_format_bytes(info->weight_bytes, bytes), info->opencl ? info->device : "the CPU",
           info->opencl ? "OpenCL" : clinfer_cpu_isa());
}

const char *ci_report_finish(enum clinfer_finish finish) {
    switch (finish) {
    case CLINFER_FINISH_END: return "stop";
    case CLINFER_FINISH_LENGTH: return "length";
    case CLINFER_FINISH_CONTEXT: return "context";
    case CLINFER_FINISH_CANCELLED: return "cancelled";
    }
    return "stop";
}

static size_t computed_tokens(const struct clinfer_result *result) {
    return result->prompt_tokens - result->cached_tokens;
}

static double prompt_rate(const struct clinfer_result *result) {
    return result->prompt_seconds > 0 ? (double)computed_tokens(result) / result->prompt_seconds : 0;
}

/* The first token belongs to the prompt's time. */
static double generate_rate(const struct clinfer_result *result) {
    if (result->generated_tokens < 2 || result->generate_seconds <= 0) return 0;
    return (double)(result->generated_tokens - 1) / result->generate_seconds;
}

void ci_report_timings(const struct clinfer_result *result, double first_text_seconds) {
    char cached[48] = "", rate[48] = "", guessed[64] = "";
    if (generate_rate(result) > 0) snprintf(rate, sizeof rate, " at %.1f t/s", generate_rate(result));
    if (result->cached_tokens) snprintf(cached, sizeof cached, " (+%zu cached)", result->cached_tokens);
    if (result->drafts)
        snprintf(guessed, sizeof guessed, " (%zu of %zu guesses right)", result->accepted_tokens,
                 result->drafted_tokens);
    ci_say("%zu prompt tokens%s at %.0f t/s, %zu generated%s%s, first after %.0f ms", computed_tokens(result), cached,
           prompt_rate(result), result->generated_tokens, rate, guessed, first_text_seconds * 1e3);
}

static json_t *timings_json(const struct ci_answer *answer) {
    const struct clinfer_result *result = &answer->result;
    json_t *object = json_object();
    json_object_set_new(object, "load_ms", json_real(answer->run->info.load_seconds * 1e3));
    json_object_set_new(object, "cached_n", json_integer((json_int_t)result->cached_tokens));
    json_object_set_new(object, "prompt_n", json_integer((json_int_t)computed_tokens(result)));
    json_object_set_new(object, "prompt_ms", json_real(result->prompt_seconds * 1e3));
    json_object_set_new(object, "prompt_per_second", json_real(prompt_rate(result)));
    json_object_set_new(object, "predicted_n", json_integer((json_int_t)result->generated_tokens));
    json_object_set_new(object, "predicted_ms", json_real(result->generate_seconds * 1e3));
    json_object_set_new(object, "predicted_per_second", json_real(generate_rate(result)));
    if (result->drafts) {
        json_object_set_new(object, "draft_n", json_integer((json_int_t)result->drafted_tokens));
        json_object_set_new(object, "draft_n_accepted", json_integer((json_int_t)result->accepted_tokens));
    }
    json_object_set_new(object, "first_token_ms", json_real(answer->first_text_at * 1e3));
    return object;
}

void ci_report_fallbacks(const struct ci_run_state *run) {
    struct clinfer_engine_stats stats;
    clinfer_engine_get_stats(run->engine, &stats);
    if (*stats.fallback_text) ci_warn("%s", stats.fallback_text);
}

json_t *ci_report_calls(const struct clinfer_result *result) {
    json_t *list = result->call_count ? json_array() : NULL;
    for (size_t i = 0; i < result->call_count; i++) {
        const struct clinfer_tool_call *call = &result->calls[i];
        json_t *function = json_object(), *object = json_object();
        json_object_set_new(function, "name", ci_json_text(call->name, strlen(call->name)));
        json_object_set_new(function, "arguments", ci_json_text(call->arguments, strlen(call->arguments)));
        json_object_set_new(object, "id", ci_json_text(call->id, strlen(call->id)));
        json_object_set_new(object, "type", json_string("function"));
        json_object_set_new(object, "function", function);
        if (call->cut) json_object_set_new(object, "cut", json_true());
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *logprob_json(const struct clinfer_engine *engine, const struct clinfer_logprob *logprob) {
    size_t length = 0;
    json_t *object = json_object();
    const char *text = engine ? clinfer_token_text(engine, logprob->token, true, &length) : "";
    json_object_set_new(object, "id", json_integer(logprob->token));
    json_object_set_new(object, "token", ci_json_text(text, length));
    json_object_set_new(object, "logprob",
                        isfinite(logprob->logprob) ? json_real((double)logprob->logprob) : json_null());
    return object;
}

static json_t *text_logprob_json(const struct clinfer_text_logprob *logprob) {
    json_t *object = json_object();
    json_object_set_new(object, "token", ci_json_text(logprob->text, logprob->length));
    json_object_set_new(object, "logprob",
                        isfinite(logprob->logprob) ? json_real((double)logprob->logprob) : json_null());
    return object;
}

json_t *ci_report_remote_logprobs(const struct clinfer_result *result, int likeliest) {
    json_t *rows = json_array();
    for (size_t i = 0; i < result->remote_logprob_count; i++) {
        const struct clinfer_text_logprob *row = result->remote_logprobs + i * (size_t)(likeliest + 1);
        json_t *object = text_logprob_json(row), *top = json_array();
        for (int k = 1; k <= likeliest && row[k].text; k++) json_array_append_new(top, text_logprob_json(&row[k]));
        json_object_set_new(object, "top_logprobs", top);
        json_array_append_new(rows, object);
    }
    return rows;
}

json_t *ci_report_logprobs(const struct clinfer_engine *engine, const struct clinfer_result *result, int likeliest) {
    json_t *rows = json_array();
    for (size_t i = 0; i < result->generated_tokens; i++) {
        const struct clinfer_logprob *row = result->logprobs + i * (size_t)(likeliest + 1);
        json_t *object = logprob_json(engine, row), *top = json_array();
        for (int k = 1; k <= likeliest && row[k].token >= 0; k++)
            json_array_append_new(top, logprob_json(engine, &row[k]));
        json_object_set_new(object, "top_logprobs", top);
        json_array_append_new(rows, object);
    }
    return rows;
}

json_t *ci_report_answer(const struct ci_answer *answer) {
    json_t *object = json_object(), *tokens = json_array();
    for (size_t i = 0; answer->tokens && i < answer->result.generated_tokens; i++) /* a remote has none */
        json_array_append_new(tokens, json_integer(answer->tokens[i]));
    json_object_set_new(object, "prompt_name", ci_json_text(answer->prompt->name, strlen(answer->prompt->name)));
    json_object_set_new(object, "text", ci_json_text(answer->text.text ? answer->text.text : "", answer->text.length));
    if (answer->reasoning.length) {
        json_object_set_new(object, "reasoning", ci_json_text(answer->reasoning.text, answer->reasoning.length));
        json_object_set_new(object, "reasoning_tokens", json_integer((json_int_t)answer->result.reasoning_tokens));
        if (answer->result.reasoning_cut) json_object_set_new(object, "reasoning_cut", json_true());
    }
    json_object_set_new(object, "tokens", tokens);
    if (answer->calls) json_object_set(object, "tool_calls", answer->calls);
    if (answer->logprobs) json_object_set(object, "logprobs", answer->logprobs);
    if (answer->status == CLINFER_OK) {
        bool calls = answer->calls && answer->result.finish == CLINFER_FINISH_END;
        json_object_set_new(object, "finish_reason",
                            json_string(calls ? "tool_calls" : ci_report_finish(answer->result.finish)));
    } else {
        json_object_set_new(object, "finish_reason", json_string("error"));
        json_object_set_new(object, "error", ci_json_text(answer->message, strlen(answer->message)));
    }
    json_object_set_new(object, "timings", timings_json(answer));
    if (answer->partial) json_object_set_new(object, "partial", json_true());
    if (answer->route) json_object_set(object, "route", answer->route);
    return object;
}

/* `stats` NULL: the engine is gone, and with it what it has counted. */
static json_t *device_json(const char *name, bool opencl, const struct clinfer_engine_stats *stats) {
    json_t *object = json_object();
    json_object_set_new(object, "name", ci_json_text(name, strlen(name)));
    json_object_set_new(object, "opencl", json_boolean(opencl));
    if (stats) {
        double seconds = opencl ? stats->device_seconds : stats->cpu_seconds;
        double total = stats->device_seconds + stats->cpu_seconds;
        json_object_set_new(object, "op_seconds", json_real(seconds));
        json_object_set_new(object, "op_time_share", json_real(total > 0 ? seconds / total : 0));
    }
    return object;
}

static void set_count(json_t *object, const char *name, uint64_t count) {
    json_object_set_new(object, name, json_integer((json_int_t)count));
}

static json_t *model_json(const struct ci_run_state *run) {
    const struct clinfer_engine_info *info = &run->info;
    json_t *model = json_object();
    json_object_set_new(model, "path", ci_json_text(run->model.path, strlen(run->model.path)));
    if (!info->model_name) return model;
    json_object_set_new(model, "name", ci_json_text(info->model_name, strlen(info->model_name)));
    json_object_set_new(model, "architecture", ci_json_text(info->architecture, strlen(info->architecture)));
    set_count(model, "parameters", info->parameters);
    set_count(model, "bytes", info->weight_bytes);
    return model;
}

static json_t *devices_json(const struct clinfer_engine_info *info, const struct clinfer_engine_stats *stats) {
    json_t *devices = json_array();
    if (info->opencl) json_array_append_new(devices, device_json(info->device, true, stats));
    json_array_append_new(devices, device_json("cpu", false, stats));
    return devices;
}

static void set_stats(json_t *object, json_t *memory, const struct clinfer_engine_stats *stats) {
    json_t *counters = json_object();
    set_count(counters, "steps", stats->steps);
    set_count(counters, "rows", stats->rows);
    set_count(counters, "enqueues", stats->enqueues);
    set_count(counters, "waits", stats->waits);
    set_count(counters, "builds", stats->builds);
    set_count(counters, "objects", stats->objects);
    set_count(memory, "weight_bytes", stats->weight_bytes);
    set_count(memory, "cache_bytes", stats->cache_bytes);
    set_count(memory, "activation_bytes", stats->activation_bytes);
    json_object_set_new(object, "fallbacks", json_integer(stats->fallbacks));
    json_object_set_new(object, "fallback_reason", ci_json_text(stats->fallback_text, strlen(stats->fallback_text)));
    json_object_set_new(object, "counters", counters);
}

void ci_report_engine(const struct ci_run_state *run, json_t *object) {
    struct clinfer_engine_stats stats = {0};
    json_t *memory = json_object();
    if (run->engine) clinfer_engine_get_stats(run->engine, &stats);
    json_object_set_new(object, "seed", json_integer((json_int_t)run->session.seed));
    if (run->model.path) json_object_set_new(object, "model", model_json(run));
    if (run->info.model_name)
        json_object_set_new(object, "devices", devices_json(&run->info, run->engine ? &stats : NULL));
    if (run->engine) set_stats(object, memory, &stats);
    set_count(memory, "peak_resident_bytes", ci_process_peak_bytes());
    json_object_set_new(object, "memory", memory);
}
