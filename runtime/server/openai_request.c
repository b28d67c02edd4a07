#define _GNU_SOURCE
#include "server/openai_request.h"

#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/fields.h"
#include "server/server.h"
#include "server/translate.h"

/* ---- what bodies have in common ---- */

enum { MOST_CHOICES = 128, MOST_LIKELIEST = 100 };

#define AT(member) offsetof(struct ci_openai_request, member)
static const struct ci_field option_fields[] = {
    {"stream", CI_FIELD_BOOL, 0, 0, AT(stream)},
    {"timings_per_token", CI_FIELD_BOOL, 0, 0, AT(timings_per_token)},
    {"return_progress", CI_FIELD_BOOL, 0, 0, AT(return_progress)},
    {"verbose", CI_FIELD_BOOL, 0, 0, AT(verbose)},
    {"echo", CI_FIELD_BOOL, 0, 0, AT(echo)},
    {"return_tokens", CI_FIELD_BOOL, 0, 0, AT(return_tokens)},
    {"post_sampling_probs", CI_FIELD_BOOL, 0, 0, AT(post_sampling_probs)},
    {"cache_prompt", CI_FIELD_BOOL, 0, 0, AT(cache_prompt)},
    {"add_generation_prompt", CI_FIELD_BOOL, 0, 0, AT(add_generation_prompt)},
    {"parallel_tool_calls", CI_FIELD_BOOL, 0, 0, AT(parallel_tool_calls)},
    {"n", CI_FIELD_INT, 1, MOST_CHOICES, AT(choices)},
    {"n_cmpl", CI_FIELD_INT, 1, MOST_CHOICES, AT(choices)},
    {"n_probs", CI_FIELD_INT, 0, MOST_LIKELIEST, AT(likeliest)},
    {"top_logprobs", CI_FIELD_INT, 0, MOST_LIKELIEST, AT(likeliest)},
    {"id_slot", CI_FIELD_INT, -1, INT_MAX, AT(slot)},
    {"n_indent", CI_FIELD_INT, 0, INT_MAX, AT(indent)},
    {"reasoning_format", CI_FIELD_TEXT, 0, 0, AT(reasoning_format)},
    {"reasoning_effort", CI_FIELD_TEXT, 0, 0, AT(reasoning_effort)},
    {"chat_template_kwargs", CI_FIELD_OBJECT, 0, 0, AT(template_variables)},
    {"stream_options", CI_FIELD_OBJECT, 0, 0, AT(stream_options)},
    {"response_fields", CI_FIELD_ARRAY, 0, 0, AT(response_fields)},
};

/* In chats true or false, with top_logprobs; in completions how many, though llama-server's clients say true there too.
 */
static enum clinfer_status read_logprobs(const json_t *body, bool chat, struct ci_openai_request *request,
                                         const char **param) {
    const json_t *value = json_object_get(body, "logprobs");
    request->logprobs = request->likeliest > 0 && !chat;
    if (value && !json_is_null(value)) {
        double number = json_number_value(value);
        if (json_is_boolean(value))
            request->logprobs = json_is_true(value);
        else if (chat || !json_is_integer(value) || number < 0 || number > MOST_LIKELIEST)
            return ci_field_wrong("logprobs", chat ? "true or false" : "a whole number from 0 to 100", value, param);
        else {
            request->logprobs = true;
            request->likeliest = (int)number;
        }
    } else if (chat && json_object_get(body, "n_probs"))
        request->logprobs = request->likeliest > 0;
    /* The library gives each token's own only together with the likeliest. */
    request->job.sampling.logprobs = !request->logprobs ? 0 : request->likeliest > 0 ? request->likeliest : 1;
    return CLINFER_OK;
}

static enum clinfer_status read_usage(struct ci_openai_request *request, const char **param) {
    const struct ci_field field = {"include_usage", CI_FIELD_BOOL, 0, 0, AT(include_usage)};
    return ci_fields_read(request->stream_options, &field, 1, request, param);
}

/* The command line's values are what a body that says nothing gets. */
static void begin(struct ci_exchange *exchange, const json_t *body, struct ci_translation *translation,
                  struct ci_openai_request *request) {
    *request = (struct ci_openai_request){
        .choices = 1, .slot = -1, .cache_prompt = true, .add_generation_prompt = true, .parallel_tool_calls = true};
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    request->verbose = options->verbose;
    request->reasoning_format = options->reasoning_format;
    ci_translate_begin(translation, body, &options->sampling, ci_exchange_arena(exchange), &request->job);
}

static bool refuse(struct ci_exchange *exchange, enum clinfer_status status, const char *param) {
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    if (status == CLINFER_INVALID_ARGUMENT && param) failure.param = param;
    ci_exchange_fail(exchange, &failure);
    return false;
}

bool ci_openai_take_engine(struct ci_exchange *exchange, struct ci_openai_request *request) {
    if (request->engine) return true;
    if (!ci_job_take(exchange, &request->job)) return false;
    request->router = ci_job_router(exchange, &request->job);
    if (request->router) request->engine = clinfer_router_take_engine(request->router);
    return true;
}

void ci_openai_give_engine(struct ci_openai_request *request) {
    if (request->engine) clinfer_router_give_back_engine(request->router, request->engine);
    request->engine = NULL;
    request->router = NULL;
}

/* Biases by text need the tokenizer, so the model is taken for them. */
static bool read_bias(struct ci_exchange *exchange, const json_t *body, struct ci_openai_request *request) {
    const char *param = "logit_bias";
    if (ci_bias_has_texts(body) && !ci_openai_take_engine(exchange, request)) return false;
    enum clinfer_status status =
        ci_bias_read(body, request->engine, ci_exchange_arena(exchange), &request->job.sampling, &param);
    return status == CLINFER_OK || refuse(exchange, status, param);
}

static bool read_options(struct ci_exchange *exchange, const json_t *body, bool chat,
                         struct ci_openai_request *request) {
    const char *param = NULL;
    struct ci_arena *arena = ci_exchange_arena(exchange);
    struct ci_job *job = &request->job;
    enum clinfer_status status =
        ci_fields_read(body, option_fields, sizeof option_fields / sizeof *option_fields, request, &param);
    if (status == CLINFER_OK) status = read_usage(request, &param);
    if (status == CLINFER_OK) status = read_logprobs(body, chat, request, &param);
    if (status == CLINFER_OK) status = ci_sampling_read(body, arena, &job->sampling, &param);
    if (status == CLINFER_OK) status = ci_limits_read(body, &job->request, &param);
    if (status == CLINFER_OK) status = ci_room_read(body, "num_ctx", job, &param);
    if (status == CLINFER_OK) status = ci_stop_read(body, "stop", arena, &job->request, &param);
    if (status == CLINFER_OK) status = ci_form_read(body, arena, &job->request, &request->schema, &param);
    if (status != CLINFER_OK) return refuse(exchange, status, param);
    job->choices = request->choices;
    job->request.no_cache = !request->cache_prompt;
    return read_bias(exchange, body, request);
}

void ci_openai_request_free(struct ci_exchange *exchange, struct ci_openai_request *request) {
    ci_openai_give_engine(request);
    ci_job_give_back(exchange, &request->job);
    free(request->schema);
}

static bool answer_problem(struct ci_exchange *exchange, const struct ci_translation *translation) {
    if (translation->no_memory)
        ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = translation->problem});
    else
        ci_exchange_refuse(exchange, translation->param, "%s", translation->problem);
    return false;
}

bool ci_openai_read_common(struct ci_exchange *exchange, const json_t *body, bool chat,
                           struct ci_openai_request *request) {
    struct ci_translation translation;
    begin(exchange, body, &translation, request);
    if (!ci_translate_finish(&translation)) return answer_problem(exchange, &translation);
    return read_options(exchange, body, chat, request);
}

/* ---- messages ---- */

/* Where in the body something is, for messages to the client. */
struct place {
    char text[96];
};

__attribute__((format(printf, 1, 2))) static struct place place(const char *format, ...) {
    struct place at;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(at.text, sizeof at.text, format, arguments);
    va_end(arguments);
    return at;
}

static void read_part(struct ci_translation *translation, const struct place *at, const json_t *part) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");
    if (!json_is_object(part) || (!type && !text)) {
        ci_translate_refuse(translation, at->text, "%s: must be an object with a type, such as text", at->text);
    } else if (!type || strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 ||
               strcmp(type, "output_text") == 0) {
        ci_translate_say(translation, at->text, text);
    } else if (strcmp(type, "refusal") == 0) {
        ci_translate_say(translation, at->text, json_object_get(part, "refusal"));
    } else {
        ci_translate_refuse(translation, at->text,
                            "%s: is of type \"%.40s\"; the model here reads text only: send the part as text, or leave "
                            "it out",
                            at->text, type);
    }
}

/* The parts of an answer that has begun stand an empty line apart, as with llama-server; others a line break. */
static json_t *joined(const json_t *parts) {
    json_t *all = json_string("");
    for (size_t i = 0; i < json_array_size(parts) && all; i++) {
        const char *text = json_string_value(json_object_get(json_array_get(parts, i), "text"));
        json_t *longer = text ? json_sprintf("%s%s%s", json_string_value(all), i ? "\n\n" : "", text) : NULL;
        json_decref(all);
        all = longer;
    }
    return all;
}

static void read_content(struct ci_translation *translation, const struct place *message, const json_t *content,
                         bool begun) {
    struct place at = place("%s.content", message->text);
    json_t *whole = begun && json_is_array(content) ? joined(content) : NULL;
    if (json_is_string(content) || whole) {
        ci_translate_say(translation, at.text, whole ? whole : content);
    } else if (json_is_array(content)) {
        for (size_t i = 0; i < json_array_size(content); i++) {
            struct place part = place("%s[%zu]", at.text, i);
            read_part(translation, &part, json_array_get(content, i));
        }
    } else if (content && !json_is_null(content)) {
        ci_translate_refuse(translation, at.text, "%s: must be a text, null, or a list of parts", at.text);
    }
    json_decref(whole);
}

static void read_calls(struct ci_translation *translation, const struct place *message, const json_t *calls) {
    if (!calls || json_is_null(calls)) return;
    struct place list = place("%s.tool_calls", message->text);
    if (!json_is_array(calls)) ci_translate_refuse(translation, list.text, "%s: must be a list", list.text);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *function = json_object_get(call, "function");
        struct place at = place("%s[%zu].function", list.text, i);
        ci_translate_call(translation, at.text, json_string_value(json_object_get(call, "id")),
                          json_string_value(json_object_get(function, "name")), json_object_get(function, "arguments"));
    }
}

static const char *library_role(const char *role) {
    static const char *const roles[][2] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
                                           {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i][0]) == 0) return roles[i][1];
    return NULL;
}

static void read_message(struct ci_translation *translation, size_t index, const json_t *message, bool last) {
    struct place at = place("messages[%zu]", index);
    const json_t *content = json_object_get(message, "content"), *calls = json_object_get(message, "tool_calls"),
                 *thought = json_object_get(message, "reasoning_content");
    const char *given = json_string_value(json_object_get(message, "role")), *role = library_role(given);
    if (!json_is_object(message)) {
        ci_translate_refuse(translation, at.text, "%s: must be an object with role and content", at.text);
        return;
    }
    if (!role) {
        ci_translate_refuse(translation, place("%s.role", at.text).text,
                            "%s.role: must be system, developer, user, assistant or tool%s%.40s", at.text,
                            given ? ", and is " : "", given ? given : "");
        return;
    }
    bool answer = strcmp(role, "assistant") == 0;
    if (!content && !(answer && calls)) {
        ci_translate_refuse(translation, place("%s.content", at.text).text, "%s.content: is missing", at.text);
        return;
    }
    ci_translate_add(translation, role);
    read_content(translation, &at, content, last && answer);
    if (answer && json_is_string(thought)) ci_translate_think(translation, at.text, thought);
    if (answer) read_calls(translation, &at, calls);
    if (strcmp(role, "tool") == 0) {
        const char *id = json_string_value(json_object_get(message, "tool_call_id")),
                   *name = json_string_value(json_object_get(message, "name"));
        ci_translate_answers(translation, id, name ? name : ci_translate_called(translation, id));
    }
}

static void read_messages(struct ci_translation *translation, const json_t *body) {
    const json_t *messages = json_object_get(body, "messages");
    if (!json_is_array(messages) || !json_array_size(messages)) {
        ci_translate_refuse(translation, "messages", "messages: must be a list of messages, and is %s",
                            !messages                 ? "missing"
                            : json_is_array(messages) ? "empty"
                                                      : "none");
        return;
    }
    for (size_t i = 0; i < json_array_size(messages) && !translation->problem; i++)
        read_message(translation, i, json_array_get(messages, i), i + 1 == json_array_size(messages));
}

/* ---- tools ---- */

/* Tools of other types are for OpenAI's own machines. */
static void read_tools(struct ci_translation *translation, const json_t *tools) {
    if (!tools || json_is_null(tools)) return;
    if (!json_is_array(tools)) ci_translate_refuse(translation, "tools", "tools: must be a list");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
        const char *type = json_string_value(json_object_get(tool, "type"));
        struct place at = place("tools[%zu].function", i);
        if (type && strcmp(type, "function") != 0) continue;
        if (!json_is_object(function))
            ci_translate_refuse(translation, at.text, "%s: must be an object with a name", at.text);
        else
            ci_translate_tool(translation, at.text, json_object_get(function, "name"),
                              json_object_get(function, "description"), json_object_get(function, "parameters"));
    }
}

static void read_choice(struct ci_translation *translation, const json_t *choice) {
    const json_t *function = json_object_get(choice, "function");
    const char *text = json_string_value(choice);
    if (!choice || json_is_null(choice)) return;
    if (json_is_object(choice)) text = json_string_value(json_object_get(function ? function : choice, "name"));
    if (!text)
        ci_translate_refuse(translation, "tool_choice",
                            "tool_choice: must be auto, none, required, or {\"type\": \"function\", \"function\": "
                            "{\"name\": ...}}");
    else
        translation->job->request.tool_choice = text;
}

/* ---- what the template is told ---- */

static bool answers_last(const struct ci_translation *translation, size_t before) {
    size_t count = translation->count;
    return count > before && strcmp(translation->messages[count - 1 - before].role, "assistant") == 0;
}

/* An answer at the end is one that has begun, as llama-server has it; continue_final_message says so expressly. */
static void read_continuation(struct ci_translation *translation, const json_t *body,
                              const struct ci_openai_request *request) {
    const json_t *said = json_object_get(body, "continue_final_message");
    bool wanted = said && !json_is_null(said) && !json_is_false(said), last = answers_last(translation, 0);
    struct clinfer_chat_request *to = &translation->job->request;
    to->no_generation_prompt = !request->add_generation_prompt;
    if (wanted && request->add_generation_prompt && json_is_true(json_object_get(body, "add_generation_prompt")))
        ci_translate_refuse(translation, "continue_final_message",
                            "continue_final_message: add_generation_prompt is true, too; the two exclude each other");
    if (wanted && !last)
        ci_translate_refuse(translation, "continue_final_message",
                            "continue_final_message: the last message is not the assistant's");
    if (last && answers_last(translation, 1))
        ci_translate_refuse(translation, "messages",
                            "messages: the last two are the assistant's; only one answer can be gone on with");
    if (!last || json_is_false(said)) return;
    to->continue_last = true;
    to->no_generation_prompt = false;
}

/* Today's date for templates that ask for it, as llama-server tells it. */
static json_t *today(void) {
    time_t now = time(NULL);
    struct tm local;
    char date[64] = "";
    if (localtime_r(&now, &local)) strftime(date, sizeof date, "%d %b %Y", &local);
    return json_string(date);
}

/* Members of chat_template_kwargs go before the rest, and what a body says before the command line. */
static void read_variables(struct ci_translation *translation, const struct ci_server_options *options,
                           const struct ci_openai_request *request) {
    const char *key;
    json_t *value;
    ci_translate_thinking(translation, !options->reasoning || strcmp(options->reasoning, "off") != 0);
    if (translation->variables) json_object_set_new(translation->variables, "date_string", today());
    if (request->reasoning_effort && strcmp(request->reasoning_effort, "none") == 0)
        ci_translate_thinking(translation, false);
    else if (request->reasoning_effort)
        ci_translate_effort(translation, request->reasoning_effort);
    if (!request->template_variables) return;
    translation->job->request.optional_arguments = false;
    const json_t *thinking = json_object_get(request->template_variables, "enable_thinking");
    if (thinking && !json_is_boolean(thinking))
        ci_translate_refuse(translation, "chat_template_kwargs.enable_thinking",
                            "chat_template_kwargs.enable_thinking: must be true or false");
    if (!translation->variables) translation->variables = json_object();
    json_object_foreach((json_t *)request->template_variables, key,
                        value) if (json_object_set(translation->variables, key, value) != 0) translation->no_memory =
        true;
}

bool ci_openai_read_chat(struct ci_exchange *exchange, const json_t *body, struct ci_openai_request *request) {
    struct ci_translation translation;
    begin(exchange, body, &translation, request);
    if (!translation.problem && !read_options(exchange, body, true, request)) {
        ci_translate_finish(&translation);
        return false;
    }
    read_messages(&translation, body);
    read_tools(&translation, json_object_get(body, "tools"));
    read_choice(&translation, json_object_get(body, "tool_choice"));
    if (!translation.problem) read_continuation(&translation, body, request);
    read_variables(&translation, ci_server_get_options(ci_exchange_server(exchange)), request);
    if (!ci_translate_finish(&translation)) return answer_problem(exchange, &translation);
    return true;
}
