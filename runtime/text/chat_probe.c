/* chat_probe.c: what a chat template can do, found out once per model by rendering short conversations with marks for
 * contents: in which form it takes content, whether it has system messages, a history, tools and calls. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/chat_private.h"
#include "text/reasoning.h"
#include "text/tool_format.h"

static enum clinfer_status out_of_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "chat template: out of memory");
}

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Digits, which no filter for letters changes. */
static const char *const marks[] = {"4815162342108", "2718281828459", "3141592653589"};

/* A list that was printed as such is no content. */
static bool holds(const struct ci_rendered *rendered, const char *mark) {
    static const char *const printed[] = {"'text': '", "\"text\": \"", "\"text\":\""};
    const char *at = memmem(rendered->text, rendered->length, mark, strlen(mark));
    for (size_t i = 0; at && i < sizeof printed / sizeof *printed; i++) {
        size_t length = strlen(printed[i]);
        if ((size_t)(at - rendered->text) >= length && memcmp(at - length, printed[i], length) == 0) return false;
    }
    return at != NULL;
}

/* A conversation of these roles, whose contents are the marks in order. A short one takes some thousand steps; a
 * template that needs more here shall not hold up the start. */
static const struct ci_template_limits limits = {.steps = 1000000, .memory = 16 << 20};
static const struct ci_chat_style usual = {.add_generation_prompt = true};

static enum clinfer_status probe(const struct ci_chat *chat, const enum role *roles, size_t count,
                                 struct ci_rendered *rendered) {
    struct clinfer_message messages[sizeof marks / sizeof *marks] = {{0}};
    for (size_t i = 0; i < count; i++) {
        messages[i].role = ci_chat_roles[roles[i]];
        messages[i].content = marks[i];
    }
    return ci_chat_render_as_is(chat, messages, count, NULL, &usual, &limits, rendered);
}

/* Finds the form in which the content of message `which`, of the role in question, comes out. *found is false if none
 * does: then the status is that of content as a text. *rendered is the last attempt, for the caller to free. */
static enum clinfer_status find_form(struct ci_chat *chat, const enum role *roles, size_t count, size_t which,
                                     bool *found, struct ci_rendered *rendered) {
    enum form *form = &chat->forms[roles[which]];
    *form = FORM_TEXT;
    enum clinfer_status status = probe(chat, roles, count, rendered);
    *found = status == CLINFER_OK && holds(rendered, marks[which]);
    if (*found || status == CLINFER_OUT_OF_MEMORY || status == CLINFER_BAD_FILE)
        return status; /* the latter: a bound */
    char *message = strdup(ci_status_message());
    if (!message) return out_of_memory();
    ci_rendered_free(rendered);
    *form = FORM_PARTS;
    enum clinfer_status second = probe(chat, roles, count, rendered);
    *found = second == CLINFER_OK && holds(rendered, marks[which]);
    if (*found || second == CLINFER_OUT_OF_MEMORY) {
        status = second;
    } else {
        *form = FORM_TEXT;
        if (status != CLINFER_OK) ci_fail(status, "%s", message);
    }
    free(message);
    return status;
}

static enum clinfer_status probe_user(struct ci_chat *chat, struct ci_tokenizer *tokenizer) {
    static const enum role alone[] = {ROLE_USER}, behind_system[] = {ROLE_SYSTEM, ROLE_USER};
    struct ci_rendered rendered = {0};
    bool found;
    enum clinfer_status status = find_form(chat, alone, 1, 0, &found, &rendered);
    if (!found && status != CLINFER_OUT_OF_MEMORY && status != CLINFER_BAD_FILE) {
        /* Some want a system message. */
        char *message = strdup(ci_status_message());
        bool failed = status != CLINFER_OK;
        ci_rendered_free(&rendered);
        enum clinfer_status second = find_form(chat, behind_system, 2, 1, &found, &rendered);
        if (found || second == CLINFER_OUT_OF_MEMORY)
            status = second;
        else if (failed)
            ci_fail(status, "%s", message ? message : "");
        free(message);
    }
    if (found) status = ci_tokenizer_take_written(tokenizer, rendered.text, rendered.length);
    if (found && !chat->reasoning) chat->reasoning = ci_reasoning_find(rendered.text, rendered.length);
    if (!found && status == CLINFER_OK)
        status = ci_fail(CLINFER_BAD_FILE, "it writes nothing of what a user's message says, neither of content that "
                                           "is a text nor of a list with a part of type \"text\"");
    ci_rendered_free(&rendered);
    return status;
}

static enum clinfer_status probe_system(struct ci_chat *chat) {
    static const enum role roles[] = {ROLE_SYSTEM, ROLE_USER};
    struct ci_rendered rendered = {0};
    bool found;
    enum clinfer_status status = find_form(chat, roles, 2, 0, &found, &rendered);
    chat->no_system = !found;
    ci_rendered_free(&rendered);
    return status == CLINFER_OUT_OF_MEMORY ? status : CLINFER_OK;
}

/* Whatever sign stands behind an answer in the history ends one. */
static enum clinfer_status probe_assistant(struct ci_chat *chat, struct ci_tokenizer *tokenizer) {
    static const enum role roles[] = {ROLE_USER, ROLE_ASSISTANT, ROLE_USER};
    struct ci_rendered rendered = {0};
    bool found;
    enum clinfer_status status = find_form(chat, roles, 3, 1, &found, &rendered);
    bool rendered_at_all = status == CLINFER_OK;
    chat->no_history = rendered_at_all && !(found && holds(&rendered, marks[0]));
    if (rendered_at_all) status = ci_tokenizer_take_written(tokenizer, rendered.text, rendered.length);
    if (found && status == CLINFER_OK) {
        const char *end = rendered.text + rendered.length;
        const char *at = (const char *)memmem(rendered.text, rendered.length, marks[1], strlen(marks[1]));
        at += strlen(marks[1]);
        while (at < end && is_space(*at)) at++;
        status = ci_tokenizer_end_at(tokenizer, at, (size_t)(end - at));
    }
    ci_rendered_free(&rendered);
    return status == CLINFER_OUT_OF_MEMORY ? status : CLINFER_OK;
}

/* Whether `mark` comes out; *status: that memory is out. */
static bool writes(const struct ci_chat *chat, const struct clinfer_message *messages, size_t count, json_t *tools,
                   const char *mark, struct ci_rendered *rendered, enum clinfer_status *status) {
    ci_rendered_free(rendered);
    enum clinfer_status rendering = ci_chat_render_as_is(chat, messages, count, tools, &usual, &limits, rendered);
    if (rendering == CLINFER_OUT_OF_MEMORY) *status = rendering;
    return rendering == CLINFER_OK && memmem(rendered->text, rendered->length, mark, strlen(mark));
}

/* Whether it writes a tool, and a call with its result, and in what form; and whether that form is known. */
static enum clinfer_status probe_tools(struct ci_chat *chat, struct ci_tokenizer *tokenizer, struct ci_text_span text) {
    static const struct clinfer_tool_call call = {
        .id = "481516234", .name = "clinfer_probe", .arguments = "{\"mark\": \"2718281828459\"}"};
    const struct clinfer_message messages[] = {
        {.role = "user", .content = marks[0]},
        {.role = "assistant", .content = "", .calls = &call, .call_count = 1},
        {.role = "tool", .content = marks[2], .call_id = call.id, .tool = call.name}};
    json_t *tools = json_pack("[{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s, s:s}}, s:[s]}}}]", "type", "function", "function",
                              "name", call.name, "description", "", "parameters", "type", "object", "properties",
                              "mark", "type", "string", "description", "", "required", "mark");
    struct ci_rendered rendered = {0};
    enum clinfer_status status = tools ? CLINFER_OK : out_of_memory();
    chat->calls = ci_tool_format_find(text.text, text.length);
    chat->takes_tools = tools && writes(chat, messages, 1, tools, call.name, &rendered, &status);
    if (chat->takes_tools && !chat->calls) chat->calls = ci_tool_format_find(rendered.text, rendered.length);
    if (chat->takes_tools) status = ci_tokenizer_take_written(tokenizer, rendered.text, rendered.length);
    for (int as_text = 0; status == CLINFER_OK && chat->takes_tools && as_text < 2 && !chat->takes_calls; as_text++) {
        chat->calls_are_text = as_text;
        chat->takes_calls = writes(chat, messages, 3, tools, marks[1], &rendered, &status) &&
                            memmem(rendered.text, rendered.length, marks[2], strlen(marks[2]));
        if (chat->takes_calls && !chat->calls) chat->calls = ci_tool_format_find(rendered.text, rendered.length);
    }
    if (!chat->takes_tools) chat->calls = ci_tool_format_generic();
    ci_rendered_free(&rendered);
    json_decref(tools);
    return status;
}

enum clinfer_status ci_chat_probe(struct ci_chat *chat, struct ci_tokenizer *tokenizer, struct ci_text_span text) {
    enum clinfer_status status = probe_user(chat, tokenizer);
    if (status == CLINFER_OK) status = probe_system(chat);
    if (status == CLINFER_OK) status = probe_assistant(chat, tokenizer);
    return status == CLINFER_OK ? probe_tools(chat, tokenizer, text) : status;
}
