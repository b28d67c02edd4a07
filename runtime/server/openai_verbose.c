#include "server/openai_verbose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "server/answer.h"
#include "server/timings.h"
#include "text/utf8_json.h"

/* ---- the prompt ---- */

static bool append_token(char **text, size_t *length, size_t *capacity, const clinfer_engine *engine, int32_t token) {
    size_t bytes = 0;
    const char *piece = clinfer_token_text(engine, token, true, &bytes);
    return !piece || ci_append(text, length, capacity, piece, bytes);
}

json_t *ci_openai_prompt(const struct ci_openai_request *request) {
    const clinfer_engine *engine = request->engine;
    char *prompt = NULL, *text = NULL;
    int32_t *tokens = NULL;
    size_t bytes = 0, count = 0, length = 0, capacity = 0;
    if (!engine ||
        clinfer_router_prompt(request->router, &request->job.request, &prompt, &bytes, &tokens, &count) != CLINFER_OK)
        return json_string("");
    for (size_t i = 0; i < count; i++)
        if (!append_token(&text, &length, &capacity, engine, tokens[i])) break;
    json_t *json = ci_utf8_json(text ? text : "", length);
    free(text);
    clinfer_free(prompt);
    clinfer_free(tokens);
    return json;
}

/* ---- settings ---- */

/* What is the model's own where the request says nothing, and llama-server's value where the model says nothing. */
static double number(float value, float own, double otherwise) {
    double chosen = isnan(value) ? (double)own : (double)value;
    return isnan(chosen) ? otherwise : chosen;
}

static int whole(int value, int own, int otherwise) {
    int chosen = value < 0 ? own : value;
    return chosen < 0 ? otherwise : chosen;
}

static json_t *stop_json(const struct clinfer_chat_request *request) {
    json_t *texts = json_array();
    for (size_t i = 0; i < request->stop_count; i++)
        json_array_append_new(texts, ci_utf8_json(request->stop[i], strlen(request->stop[i])));
    return texts;
}

static json_t *samplers_json(const char *names) {
    static const char usual[] = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
    json_t *list = json_array();
    for (const char *at = names ? names : usual; *at;) {
        size_t length = strcspn(at, ";");
        if (length) json_array_append_new(list, json_stringn(at, length));
        at += length + (at[length] == ';');
    }
    return list;
}

/* -INFINITY is null, which JSON has for it. The tokens that end answers stand there where they are not to come. */
static json_t *bias_json(const clinfer_engine *engine, const struct ci_openai_request *request) {
    const struct clinfer_session_options *sampling = &request->job.sampling;
    json_t *list = json_array();
    for (size_t i = 0; i < sampling->logit_bias_count; i++) {
        const struct clinfer_logit_bias *bias = &sampling->logit_bias[i];
        json_array_append_new(list, json_pack("{s:i, s:o}", "token", (int)bias->token, "bias",
                                              isfinite(bias->bias) ? json_real((double)bias->bias) : json_null()));
    }
    struct clinfer_engine_info info = {0};
    if (engine && request->job.request.ignore_end) clinfer_engine_get_info(engine, &info);
    for (int32_t token = 0; token < info.vocabulary; token++)
        if (clinfer_token_ends(engine, token))
            json_array_append_new(list, json_pack("{s:i, s:n}", "token", (int)token, "bias"));
    return list;
}

static const char *grammar_text(const struct clinfer_chat_request *request) {
    return request->grammar ? request->grammar->text : "";
}

static void set_numbers(json_t *settings, const struct clinfer_session_options *given,
                        const struct clinfer_session_options *own) {
#define NUMBER(name, member, otherwise)                                                                                \
    { name, json_real(number(given->member, own->member, otherwise)) }
#define WHOLE(name, member, otherwise)                                                                                 \
    { name, json_integer(whole(given->member, own->member, otherwise)) }
    const struct {
        const char *name;
        json_t *value;
    } list[] = {
        NUMBER("temperature", temperature, 0.8),
        NUMBER("top_p", top_p, 0.95),
        NUMBER("min_p", min_p, 0.05),
        NUMBER("top_n_sigma", top_n_sigma, 0),
        NUMBER("xtc_probability", xtc_probability, 0),
        NUMBER("xtc_threshold", xtc_threshold, 0.1),
        NUMBER("typical_p", typical_p, 1),
        NUMBER("repeat_penalty", repeat_penalty, 1),
        NUMBER("presence_penalty", presence_penalty, 0),
        NUMBER("frequency_penalty", frequency_penalty, 0),
        NUMBER("dry_multiplier", dry_multiplier, 0),
        NUMBER("dry_base", dry_base, 1.75),
        NUMBER("mirostat_tau", mirostat_tau, 5),
        NUMBER("mirostat_eta", mirostat_eta, 0.1),
        WHOLE("top_k", top_k, 40),
        WHOLE("repeat_last_n", repeat_last_n, 64),
        WHOLE("dry_allowed_length", dry_allowed_length, 2),
        WHOLE("dry_penalty_last_n", dry_last_n, 64),
        WHOLE("mirostat", mirostat, 0),
        {"n_probs", json_integer(given->logprobs)},
        /* What clinfer has no setting for. */
        {"dynatemp_range", json_real(0)},
        {"dynatemp_exponent", json_real(1)},
        {"adaptive_target", json_real(-1)},
        {"adaptive_decay", json_real(0.9)},
        {"n_keep", json_integer(0)},
        {"n_discard", json_integer(0)},
        {"min_keep", json_integer(0)},
    };
#undef NUMBER
#undef WHOLE
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) ci_answer_set(settings, list[i].name, list[i].value);
}

json_t *ci_openai_settings(const clinfer_engine *engine, const struct ci_openai_request *request) {
    const struct clinfer_session_options *sampling = &request->job.sampling;
    const struct clinfer_chat_request *chat = &request->job.request;
    struct clinfer_session_options own;
    json_t *settings = json_object();
    clinfer_session_options_default(engine, &own);
    set_numbers(settings, sampling, &own);
    ci_answer_set(settings, "seed", json_integer((json_int_t)sampling->seed));
    ci_answer_set(settings, "max_tokens", json_integer(chat->max_tokens));
    ci_answer_set(settings, "n_predict", json_integer(chat->max_tokens));
    ci_answer_set(settings, "ignore_eos", json_boolean(chat->ignore_end));
    ci_answer_set(settings, "stream", json_boolean(request->stream));
    ci_answer_set(settings, "stop", stop_json(chat));
    ci_answer_set(settings, "logit_bias", bias_json(engine, request));
    ci_answer_set(settings, "grammar", ci_utf8_json(grammar_text(chat), strlen(grammar_text(chat))));
    ci_answer_set(settings, "samplers", samplers_json(sampling->samplers ? sampling->samplers : own.samplers));
    ci_answer_set(settings, "timings_per_token", json_boolean(request->timings_per_token));
    ci_answer_set(settings, "post_sampling_probs", json_boolean(request->post_sampling_probs));
    ci_answer_set(settings, "reasoning_format",
                  json_string(request->reasoning_format ? request->reasoning_format : "auto"));
    ci_answer_set(settings, "lora", json_array());
    return settings;
}

/* ---- the answer ---- */

static const char *stop_type(const struct ci_job_choice *choice) {
    if (choice->result.stop_text) return "word";
    switch (choice->result.finish) {
    case CLINFER_FINISH_END: return "eos";
    case CLINFER_FINISH_LENGTH:
    case CLINFER_FINISH_CONTEXT: return "limit";
    case CLINFER_FINISH_CANCELLED: break;
    }
    return "none";
}

static json_t *tokens_json(const struct clinfer_result *result) {
    json_t *tokens = json_array();
    for (size_t i = 0; result->tokens && i < result->generated_tokens; i++)
        json_array_append_new(tokens, json_integer(result->tokens[i]));
    return tokens;
}

/* Whether the context was full: then the answer ended, or went on without its beginning. */
static bool truncated(const clinfer_engine *engine, const struct clinfer_result *result) {
    struct clinfer_engine_info info;
    if (result->finish == CLINFER_FINISH_CONTEXT || !engine) return result->finish == CLINFER_FINISH_CONTEXT;
    clinfer_engine_get_info(engine, &info);
    return info.context > 0 && result->prompt_tokens + result->generated_tokens > (size_t)info.context;
}

json_t *ci_openai_verbose(const struct ci_openai_request *request, const struct ci_job_result *result, int index) {
    const struct ci_job_choice *choice = &result->choices[index];
    const clinfer_engine *engine = request->engine;
    const struct clinfer_result *facts = &choice->result;
    const char *text = choice->text ? choice->text : "";
    json_t *answer = json_pack(
        "{s:i, s:o, s:o, s:i, s:b, s:s, s:I, s:I, s:I, s:b, s:b, s:s, s:o}", "index", index, "content",
        ci_utf8_json(text, choice->text_length), "tokens", request->return_tokens ? tokens_json(facts) : json_array(),
        "id_slot", request->slot > 0 ? request->slot : 0, "stop", 1, "model", result->model ? result->model : "",
        "tokens_predicted", (json_int_t)facts->generated_tokens, "tokens_evaluated", (json_int_t)facts->prompt_tokens,
        "tokens_cached", (json_int_t)(facts->prompt_tokens + facts->generated_tokens), "has_new_line",
        memchr(text, '\n', choice->text_length) != NULL, "truncated", truncated(engine, facts), "stop_type",
        stop_type(choice), "stopping_word",
        ci_utf8_json(choice->result.stop_text ? choice->result.stop_text : "",
                     choice->result.stop_text ? strlen(choice->result.stop_text) : 0));
    ci_answer_set(answer, "generation_settings", ci_openai_settings(engine, request));
    ci_answer_set(answer, "prompt", ci_openai_prompt(request));
    ci_answer_set(answer, "timings", ci_timings_json(facts));
    if (result->route) ci_answer_set(answer, "route", json_string(result->route));
    return answer;
}
