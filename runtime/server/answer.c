#include "server/answer.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "text/utf8_json.h"

bool ci_answer_set(json_t *object, const char *name, json_t *value) {
    return json_object_set_new(object, name, value) == 0;
}

/* ---- on the way ---- */

void ci_answer_started(struct ci_answer_live *live, size_t cached) {
    *live = (struct ci_answer_live){.begun = ci_now()};
    live->so_far.prompt_tokens = live->so_far.cached_tokens = cached;
}

void ci_answer_computed(struct ci_answer_live *live, size_t prompt_tokens) {
    live->so_far.prompt_tokens = prompt_tokens;
    live->so_far.prompt_seconds = ci_now() - live->begun;
}

void ci_answer_made(struct ci_answer_live *live, size_t tokens) {
    double now = ci_now();
    if (!tokens) return;
    if (!live->so_far.generated_tokens) {
        live->first = now;
        live->so_far.prompt_seconds = now - live->begun;
    }
    live->so_far.generated_tokens += tokens;
    live->so_far.generate_seconds = now - live->first;
}

json_t *ci_answer_progress(const struct ci_answer_live *live, size_t total) {
    return json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t)total, "cache",
                     (json_int_t)live->so_far.cached_tokens, "processed", (json_int_t)live->so_far.prompt_tokens,
                     "time_ms", (json_int_t)(1e3 * live->so_far.prompt_seconds));
}

/* ---- at its end ---- */

const char *ci_answer_finish(const struct ci_job_choice *choice) {
    switch (choice->result.finish) {
    case CLINFER_FINISH_LENGTH:
    case CLINFER_FINISH_CONTEXT: return "length";
    default: return choice->result.call_count ? "tool_calls" : "stop";
    }
}

json_t *ci_answer_usage(const struct ci_job_result *result) {
    json_int_t prompt = 0, cached = 0, made = 0;
    for (int i = 0; i < result->count; i++) {
        const struct clinfer_result *one = &result->choices[i].result;
        if (i == 0) {
            prompt = (json_int_t)one->prompt_tokens;
            cached = (json_int_t)one->cached_tokens;
        }
        made += (json_int_t)one->generated_tokens;
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", prompt, "completion_tokens", made, "total_tokens",
                     prompt + made, "prompt_tokens_details", "cached_tokens", cached);
}

/* ---- logprobs ---- */

/* NAN is what nobody computed, since the form left no other choice: then it was certain. -INFINITY is no JSON. */
static double shown(float logprob) {
    if (isnan(logprob)) return 0;
    return logprob < -9999 ? -9999 : (double)logprob;
}

static json_t *bytes_json(const char *text, size_t length) {
    json_t *bytes = json_array();
    for (size_t i = 0; i < length && bytes; i++) json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    return bytes;
}

static json_t *entry(const clinfer_engine *engine, const struct clinfer_logprob *logprob) {
    size_t length = 0;
    const char *text = engine ? clinfer_token_text(engine, logprob->token, true, &length) : "";
    return json_pack("{s:i, s:o, s:o, s:f}", "id", (int)logprob->token, "token", ci_utf8_json(text ? text : "", length),
                     "bytes", bytes_json(text, text ? length : 0), "logprob", shown(logprob->logprob));
}

static bool has_text(const clinfer_engine *engine, int32_t token) {
    size_t length = 0;
    const char *text = engine && token >= 0 ? clinfer_token_text(engine, token, false, &length) : NULL;
    return text && length;
}

bool ci_answer_add_logprobs(json_t *entries, const clinfer_engine *engine, const struct clinfer_logprob *logprobs,
                            size_t count, size_t row, size_t top, bool all) {
    bool fits = true;
    for (size_t i = 0; i < count && fits; i++) {
        const struct clinfer_logprob *own = logprobs + i * row;
        if (own->token < 0 || (!all && !has_text(engine, own->token))) continue;
        json_t *one = entry(engine, own), *others = json_array();
        for (size_t j = 1; j < row && j <= top; j++)
            if (own[j].token >= 0) json_array_append_new(others, entry(engine, &own[j]));
        fits = ci_answer_set(one, "top_logprobs", others) && json_array_append_new(entries, one) == 0;
    }
    return fits;
}
