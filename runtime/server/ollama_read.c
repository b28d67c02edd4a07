/* ollama_read.c: what Ollama's fields are to the library (github.com/ollama/ollama, docs/api.md). */
#define _GNU_SOURCE
#include "server/ollama_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "server/fields.h"

enum { MOST_TOKENS = 1 << 30, MOST_TOP_LOGPROBS = 20 };

static const json_t *member(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static const char *text_member(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

const char *ci_ollama_model(const json_t *body) {
    const char *model = text_member(body, "model");
    return model && *model ? model : text_member(body, "name");
}

/* ---- durations ---- */

/* As Go writes them: numbers with units behind one another ("m" is the beginning of "ms", so it stands behind it). */
static bool parse_duration(const char *text, double *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\xC2\xB5s", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
    bool negative = *text == '-';
    double sum = 0;
    if (*text == '-' || *text == '+') text++;
    if (!*text) return false;
    while (*text) {
        char *end;
        size_t digits = strspn(text, "0123456789.");
        double number = strtod(text, &end);
        size_t i = 0, count = sizeof units / sizeof *units;
        if (!digits || end != text + digits) return false; /* neither "0x10" nor "1e3" */
        if (!*end) {                                       /* no unit: seconds, where it is the only number */
            if (sum != 0) return false;
            sum = number;
            break;
        }
        while (i < count && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0) i++;
        if (i == count) return false;
        sum += number * units[i].seconds;
        text = end + strlen(units[i].unit);
    }
    *seconds = negative ? -sum : sum;
    return isfinite(sum);
}

bool ci_ollama_duration(const json_t *value, double *seconds) {
    if (json_is_number(value)) {
        *seconds = json_number_value(value);
        return isfinite(*seconds);
    }
    return json_is_string(value) && parse_duration(json_string_value(value), seconds);
}

/* ---- messages ---- */

static void refuse_images(struct ci_translation *translation, const json_t *holder) {
    if (json_array_size(json_object_get(holder, "images")))
        ci_translate_refuse(translation, "images", "images: image input is not supported by this server");
}

static void read_calls(struct ci_translation *translation, const json_t *calls) {
    const json_t *call;
    size_t i;
    json_array_foreach(calls, i, call) {
        const json_t *function = json_object_get(call, "function");
        ci_translate_call(translation, "tool_calls", text_member(call, "id"), text_member(function, "name"),
                          json_object_get(function, "arguments"));
    }
}

/* Results say the tool's name, and only newer clients which call they are of. */
static void read_result(struct ci_translation *translation, const json_t *message) {
    const char *id = text_member(message, "tool_call_id"), *tool = text_member(message, "tool_name");
    if (!tool) tool = text_member(message, "name");
    ci_translate_answers(translation, id, tool ? tool : ci_translate_called(translation, id));
}

static void read_message(struct ci_translation *translation, const json_t *message) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const char *role = text_member(message, "role");
    const json_t *thinking = member(message, "thinking"), *content = member(message, "content");
    size_t i = 0, count = sizeof roles / sizeof *roles;
    while (i < count && (!role || strcmp(role, roles[i]) != 0)) i++;
    if (i == count) {
        ci_translate_refuse(translation, "messages",
                            "messages: the role of a message must be system, user, assistant or tool");
        return;
    }
    ci_translate_add(translation, roles[i]);
    if (content) ci_translate_say(translation, "content", content);
    if (thinking) ci_translate_think(translation, "thinking", thinking);
    if (i == 3) read_result(translation, message);
    if (i == 2) read_calls(translation, member(message, "tool_calls"));
    refuse_images(translation, message);
}

static void read_messages(struct ci_translation *translation, const json_t *messages) {
    const json_t *message;
    size_t i;
    if (messages && !json_is_array(messages)) ci_translate_refuse(translation, "messages", "messages: must be a list");
    json_array_foreach(messages, i, message) { read_message(translation, message); }
    translation->job->request.continue_last =
        translation->count && strcmp(translation->messages[translation->count - 1].role, "assistant") == 0 &&
        !translation->call_count;
}

static void read_tools(struct ci_translation *translation, const json_t *tools) {
    const json_t *tool;
    size_t i;
    if (tools && !json_is_array(tools)) ci_translate_refuse(translation, "tools", "tools: must be a list");
    json_array_foreach(tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        ci_translate_tool(translation, "tools", json_object_get(function, "name"),
                          json_object_get(function, "description"), json_object_get(function, "parameters"));
    }
}

/* ---- /api/generate ---- */

/* Templates of Ollama are Go's, and those of models here are Jinja. */
static void read_prompt(struct ci_translation *translation, const json_t *body, struct ci_ollama_request *request) {
    const json_t *prompt = member(body, "prompt"), *system = member(body, "system"), *context = member(body, "context");
    const char *template = NULL;
    bool raw = false;
    ci_translate_flag(translation, body, "raw", &raw);
    ci_translate_text(translation, body, "template", &template);
    ci_translate_text(translation, body, "suffix", &request->suffix);
    if (request->suffix && !*request->suffix) request->suffix = NULL;
    if (template && *template)
        ci_translate_refuse(translation, "template",
                            "template: not supported by this server, which takes the model's own; send raw: true with "
                            "a prompt that is written out");
    refuse_images(translation, body);
    if (context && !json_is_array(context))
        ci_translate_refuse(translation, "context", "context: must be a list of token ids");
    if (json_array_size(context)) request->context = context;
    if (system && !raw) {
        ci_translate_add(translation, "system");
        ci_translate_say(translation, "system", system);
    }
    ci_translate_add(translation, "user");
    if (prompt) ci_translate_say(translation, "prompt", prompt);
    translation->job->request.raw = raw;
}

/* ---- what both have ---- */

static void read_options(struct ci_translation *translation, const json_t *options) {
    struct ci_job *job = translation->job;
    const char *param = NULL;
    int most = -1;
    if (!options) return;
    if (!json_is_object(options)) {
        ci_translate_refuse(translation, "options", "options: must be an object");
        return;
    }
    if (ci_sampling_read(options, translation->arena, &job->sampling, &param) != CLINFER_OK)
        ci_translate_refuse(translation, param, "options.%s", clinfer_error());
    if (ci_room_read(options, "options.num_ctx", job, &param) != CLINFER_OK)
        ci_translate_refuse(translation, param, "options.%s", clinfer_error());
    ci_translate_integer(translation, options, "num_predict", -MOST_TOKENS, MOST_TOKENS, &most);
    ci_translate_stop(translation, options, "stop");
    ci_translate_force(translation, options); /* clients have no place for it beside them */
    job->request.max_tokens = most < 0 ? -1 : most;
}

static void read_format(struct ci_translation *translation, const json_t *format) {
    const char *name = json_string_value(format);
    if (!format || (name && !*name)) return;
    if (name && strcmp(name, "json") == 0)
        ci_translate_schema(translation, "format", NULL);
    else if (json_is_object(format))
        ci_translate_schema(translation, "format", format);
    else
        ci_translate_refuse(translation, "format", "format: must be \"json\" or a JSON schema");
}

static void read_think(struct ci_translation *translation, const json_t *think) {
    const char *level = json_string_value(think);
    if (!think) return;
    if (!json_is_boolean(think) && !level)
        ci_translate_refuse(translation, "think", "think: must be true, false, or how hard: low, medium, high");
    ci_translate_thinking(translation, !json_is_false(think));
    if (level) ci_translate_effort(translation, level);
}

static void read_logprobs(struct ci_translation *translation, const json_t *body, struct ci_ollama_request *request) {
    int top = 0;
    ci_translate_flag(translation, body, "logprobs", &request->logprobs);
    ci_translate_integer(translation, body, "top_logprobs", 0, MOST_TOP_LOGPROBS, &top);
    request->top_logprobs = (size_t)top;
    if (request->logprobs) translation->job->sampling.logprobs = top ? top : 1;
}

bool ci_ollama_read(const json_t *body, bool chat, const struct clinfer_session_options *defaults,
                    struct ci_arena *arena, struct ci_job *job, struct ci_translation *translation,
                    struct ci_ollama_request *request) {
    const json_t *keep_alive = member(body, "keep_alive");
    *request = (struct ci_ollama_request){.stream = true, .model = ci_ollama_model(body)};
    ci_translate_begin(translation, body, defaults, arena, job);
    job->model = request->model;
    if (!request->model) {
        ci_translate_refuse(translation, "model", "model is required");
        request->model = "";
    }
    ci_translate_flag(translation, body, "stream", &request->stream);
    if (keep_alive && !ci_ollama_duration(keep_alive, &job->keep_alive))
        ci_translate_refuse(translation, "keep_alive", "keep_alive: must be seconds, or a text such as \"5m\"");
    read_options(translation, member(body, "options"));
    ci_translate_force(translation, body);
    read_format(translation, member(body, "format"));
    read_think(translation, member(body, "think"));
    read_logprobs(translation, body, request);
    if (chat) {
        read_messages(translation, member(body, "messages"));
        read_tools(translation, member(body, "tools"));
        request->empty = !translation->count;
    } else {
        const char *prompt = text_member(body, "prompt");
        read_prompt(translation, body, request);
        request->empty = (!prompt || !*prompt) && !request->suffix && !request->context;
    }
    return ci_translate_finish(translation);
}
