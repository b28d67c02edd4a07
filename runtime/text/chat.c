/* chat.c: see chat.h. */
#define _GNU_SOURCE
#include "text/chat_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "text/reasoning.h"
#include "text/tool_format.h"
#include "text/tool_prompt.h"

const char *const ci_chat_roles[ROLE_COUNT] = {"system", "user", "assistant"};

static const struct ci_chat_built_in built_in[] = {
#define X(name, text) {name, text},
#include "text/chat_templates.inc"
#undef X
};

static enum clinfer_status out_of_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "chat template: out of memory");
}

/* ---- which template ---- */

static bool has_jinja(struct ci_text_span text) {
    for (size_t i = 0; i + 1 < text.length; i++)
        if (text.text[i] == '{' && text.text[i + 1] && strchr("{%#", text.text[i + 1])) return true;
    return false;
}

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static struct ci_text_span trim(struct ci_text_span text) {
    while (text.length && is_space(text.text[text.length - 1])) text.length--;
    for (; text.length && is_space(text.text[0]); text.length--) text.text++;
    return text;
}

static struct ci_text_span without_byte_order_mark(struct ci_text_span text) {
    bool has = text.length >= 3 && memcmp(text.text, "\xEF\xBB\xBF", 3) == 0;
    return (struct ci_text_span){text.text + (has ? 3 : 0), text.length - (has ? 3 : 0)};
}

/* NULL when there is none of that name. */
static const struct ci_chat_built_in *find_built_in(struct ci_text_span name) {
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (strlen(built_in[i].name) == name.length && memcmp(built_in[i].name, name.text, name.length) == 0)
            return &built_in[i];
    return NULL;
}

static struct ci_text_span text_of(const struct ci_chat_built_in *found) {
    return (struct ci_text_span){found->text, strlen(found->text)};
}

static enum clinfer_status choose_given(struct ci_text_span given, struct ci_text_span *text) {
    const struct ci_chat_built_in *found = find_built_in(trim(given));
    char names[1024] = "";
    *text = found ? text_of(found) : given;
    if (found || has_jinja(given)) return CLINFER_OK;
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++) ci_names_add(names, sizeof names, built_in[i].name);
    given = trim(given);
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "--chat-template \"%.*s\": neither Jinja nor the name of a built-in template; these are %s",
                   ci_shown(given.length, 40), given.text, names);
}

/* What is used for a file without a template. */
static const struct ci_chat_built_in *choose_stand_in(const struct ci_tokenizer *tokenizer) {
    bool chatml =
        ci_tokenizer_find(tokenizer, "<|im_start|>", 12) >= 0 && ci_tokenizer_find(tokenizer, "<|im_end|>", 10) >= 0;
    return find_built_in(chatml ? (struct ci_text_span){"chatml", 6} : (struct ci_text_span){"plain", 5});
}

static enum clinfer_status read_text(const struct ci_gguf *gguf, const char *key, struct ci_text_span *text) {
    struct ci_gguf_string string = {"", 0};
    enum clinfer_status status = ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &string);
    *text = without_byte_order_mark((struct ci_text_span){string.text, string.length});
    return status;
}

static enum clinfer_status choose_own(const struct ci_gguf *gguf, const struct ci_tokenizer *tokenizer,
                                      struct ci_chat *chat, struct ci_text_span *text) {
    chat->source = "tokenizer.chat_template";
    enum clinfer_status status = read_text(gguf, chat->source, text);
    /* Files with several templates name them. */
    if (status == CLINFER_OK && !trim(*text).length) status = read_text(gguf, "tokenizer.chat_template.default", text);
    if (status != CLINFER_OK) return status;
    chat->in_file = trim(*text).length > 0;
    chat->stand_in = chat->in_file ? NULL : choose_stand_in(tokenizer);
    chat->named = chat->in_file ? find_built_in(trim(*text)) : chat->stand_in;
    if (chat->named) *text = text_of(chat->named);
    return CLINFER_OK;
}

/* ---- rendering ---- */

static enum role role_of(const struct clinfer_message *message) {
    for (int role = 0; role < ROLE_COUNT; role++)
        if (strcmp(message->role, ci_chat_roles[role]) == 0) return (enum role)role;
    return ROLE_USER;
}

static bool add_text(json_t *json, const char *name, const char *text) {
    return !text || json_object_set_new(json, name, json_string(text)) == 0;
}

static bool add_tool_members(const struct ci_chat *chat, const struct clinfer_message *message, json_t *json) {
    if (message->call_count &&
        json_object_set_new(json, "tool_calls",
                            ci_tool_calls_json(message->calls, message->call_count, chat->calls_are_text)) != 0)
        return false;
    return add_text(json, "tool_call_id", message->call_id) && add_text(json, "name", message->tool);
}

static json_t *message_json(const struct ci_chat *chat, const struct clinfer_message *message) {
    json_t *json = chat->forms[role_of(message)] == FORM_TEXT
                       ? json_pack("{s:s, s:s}", "role", message->role, "content", message->content)
                       : json_pack("{s:s, s:[{s:s, s:s}]}", "role", message->role, "content", "type", "text", "text",
                                   message->content);
    /* Templates have names of their own for it, and write it or leave it out. */
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking", "thought"};
    for (size_t i = 0; json && message->reasoning && i < sizeof names / sizeof *names; i++)
        if (json_object_set_new(json, names[i], json_string(message->reasoning)) != 0) {
            json_decref(json);
            json = NULL;
        }
    if (json && !add_tool_members(chat, message, json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

/* Neither is transformers', but FireFunction's template cannot do without. */
static bool add_functions(json_t *context, const json_t *tools, const struct ci_template_limits *limits) {
    time_t now = limits && limits->now ? limits->now : time(NULL);
    char *text = tools ? json_dumps(tools, JSON_INDENT(2)) : strdup("[]"), date[64] = "";
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%b %d %Y %H:%M:%S GMT", &utc);
    bool fits = text && add_text(context, "functions", text) && add_text(context, "datetime", date);
    free(text);
    return fits;
}

enum clinfer_status ci_chat_render_as_is(const struct ci_chat *chat, const struct clinfer_message *messages,
                                         size_t count, json_t *tools, const struct ci_chat_style *style,
                                         const struct ci_template_limits *limits, struct ci_rendered *rendered) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *message = message_json(chat, &messages[i]);
        if (!message) {
            json_decref(list);
            return ci_fail(CLINFER_INVALID_ARGUMENT,
                           "message %zu (%s) is not UTF-8, which the chat template needs; --raw takes any bytes", i,
                           messages[i].role);
        }
        json_array_append_new(list, message);
    }
    json_t *context = json_pack("{s:o, s:b, s:O, s:O, s:n, s:n}", "messages", list, "add_generation_prompt",
                                (int)style->add_generation_prompt, "bos_token", chat->bos, "eos_token", chat->eos,
                                "tools", "documents");
    if (!context || (chat->takes_functions && !add_functions(context, tools, limits)) ||
        (chat->variables && json_object_update(context, chat->variables) != 0) ||
        (style->variables && json_object_update(context, style->variables) != 0)) {
        json_decref(context);
        return out_of_memory();
    }
    if (tools) json_object_set(context, "tools", tools);
    enum clinfer_status status = ci_template_render(chat->template, context, limits, rendered);
    json_decref(context);
    return status;
}

/* ---- making one ---- */

static json_t *token_string(const struct ci_tokenizer *tokenizer, int32_t token) {
    size_t length;
    const char *text = ci_tokenizer_piece(tokenizer, token, true, &length);
    json_t *string = json_stringn(text, length);
    return string ? string : json_string("");
}

static bool has_usual_marks(const struct ci_tokenizer *tokenizer) {
    return ci_tokenizer_find(tokenizer, "<think>", 7) >= 0 && ci_tokenizer_find(tokenizer, "</think>", 8) >= 0;
}

/* Parses the template and finds out what it can do (chat_probe.c). */
static enum clinfer_status prepare(struct ci_chat *chat, struct ci_tokenizer *tokenizer, struct ci_text_span text) {
    enum clinfer_status status = ci_template_create(text.text, text.length, &chat->template);
    chat->reasoning = ci_reasoning_find(text.text, text.length);
    chat->takes_functions =
        memmem(text.text, text.length, "+ functions", 11) && memmem(text.text, text.length, "+ datetime", 10);
    if (status == CLINFER_OK) status = ci_tokenizer_take_written(tokenizer, text.text, text.length);
    if (status == CLINFER_OK) status = ci_chat_probe(chat, tokenizer, text);
    if (!chat->reasoning && has_usual_marks(tokenizer)) chat->reasoning = ci_reasoning_usual();
    return status;
}

/* What the conversation itself says is not for variables to change. */
enum clinfer_status ci_chat_variables(const char *where, const char *text, json_t **variables) {
    static const char *const own[] = {"messages", "add_generation_prompt"};
    json_error_t error;
    enum clinfer_status status = CLINFER_OK;
    *variables = NULL;
    if (!text) return CLINFER_OK;
    json_t *read = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!read)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: line %d, column %d: %s", where, error.line, error.column,
                       error.text);
    if (!json_is_object(read))
        status =
            ci_fail(CLINFER_INVALID_ARGUMENT, "%s: must be a JSON object, such as {\"enable_thinking\": false}", where);
    for (size_t i = 0; i < sizeof own / sizeof *own && status == CLINFER_OK; i++)
        if (json_object_get(read, own[i]))
            status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s: \"%s\" comes from the conversation", where, own[i]);
    if (status == CLINFER_OK)
        *variables = read;
    else
        json_decref(read);
    return status;
}

/* Files with several templates may have one called tool_use, as Hermes 3 has. One that fails is as if not there. */
static enum clinfer_status add_for_tools(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer,
                                         struct ci_chat *chat) {
    static const char key[] = "tokenizer.chat_template.tool_use";
    struct ci_text_span text;
    if (read_text(gguf, key, &text) != CLINFER_OK || !trim(text).length) return CLINFER_OK;
    struct ci_chat *other = calloc(1, sizeof *other);
    if (!other) return out_of_memory();
    other->tokenizer = tokenizer;
    other->source = key;
    other->in_file = true;
    other->file = strdup(chat->file);
    other->bos = json_incref(chat->bos);
    other->eos = json_incref(chat->eos);
    other->variables = json_incref(chat->variables);
    enum clinfer_status status = other->file ? prepare(other, tokenizer, text) : out_of_memory();
    if (status == CLINFER_OK && other->takes_tools) {
        chat->for_tools = other;
        return CLINFER_OK;
    }
    ci_chat_destroy(other);
    return status == CLINFER_OUT_OF_MEMORY ? status : CLINFER_OK;
}

enum clinfer_status ci_chat_create(const struct ci_gguf *gguf, const char *given, const char *variables,
                                   struct ci_tokenizer *tokenizer, struct ci_chat **out) {
    struct ci_text_span text = {"", 0};
    *out = NULL;
    struct ci_chat *chat = calloc(1, sizeof *chat);
    if (!chat) return out_of_memory();
    chat->tokenizer = tokenizer;
    chat->source = "--chat-template";
    chat->file = strdup(ci_gguf_path(gguf));
    chat->bos = token_string(tokenizer, ci_tokenizer_bos(tokenizer));
    chat->eos = token_string(tokenizer, ci_tokenizer_eos(tokenizer));
    enum clinfer_status status = chat->file && chat->bos && chat->eos ? CLINFER_OK : out_of_memory();
    if (status == CLINFER_OK) status = ci_chat_variables("--chat-template-kwargs", variables, &chat->variables);
    bool variables_read = status == CLINFER_OK;
    if (variables_read)
        status = given ? choose_given(without_byte_order_mark((struct ci_text_span){given, strlen(given)}), &text)
                       : choose_own(gguf, tokenizer, chat, &text);
    bool chosen = status == CLINFER_OK;
    if (chosen) status = prepare(chat, tokenizer, text);
    if (chosen && status != CLINFER_OK && status != CLINFER_OUT_OF_MEMORY)
        status = given ? ci_fail_prefix(CLINFER_INVALID_ARGUMENT, "%s", chat->source)
                       : ci_fail_prefix(status, "%s: %s", chat->file, chat->source);
    /* Who never asks for a prompt does not need the file's template: its failure waits until somebody does. */
    if (variables_read && status != CLINFER_OK && status != CLINFER_OUT_OF_MEMORY && !given) {
        chat->status = status;
        chat->message = strdup(ci_status_message());
        status = chat->message ? CLINFER_OK : out_of_memory();
    }
    if (status == CLINFER_OK && !given) status = add_for_tools(gguf, tokenizer, chat);
    if (status != CLINFER_OK) {
        ci_chat_destroy(chat);
        return status;
    }
    *out = chat;
    return CLINFER_OK;
}

void ci_chat_destroy(struct ci_chat *chat) {
    if (!chat) return;
    ci_chat_destroy(chat->for_tools);
    ci_template_destroy(chat->template);
    json_decref(chat->bos);
    json_decref(chat->eos);
    json_decref(chat->variables);
    free(chat->message);
    free(chat->file);
    free(chat);
}

enum clinfer_status ci_chat_check(const struct ci_chat *chat) {
    return chat->status == CLINFER_OK ? CLINFER_OK : ci_fail(chat->status, "%s", chat->message);
}

const struct ci_reasoning_form *ci_chat_reasoning(const struct ci_chat *chat) { return chat->reasoning; }

const struct ci_tool_format *ci_chat_calls(const struct ci_chat *chat) {
    if (chat->for_tools) chat = chat->for_tools;
    return chat->calls ? chat->calls : ci_tool_format_generic();
}

void ci_chat_describe(const struct ci_chat *chat, struct ci_chat_facts *facts) {
    *facts = (struct ci_chat_facts){.name = chat->named ? chat->named->name : NULL,
                                    .in_file = chat->in_file,
                                    .system = !chat->no_system,
                                    .history = !chat->no_history,
                                    .thinking = chat->reasoning != NULL};
}

bool ci_chat_has_template(const struct ci_chat *chat) { return chat->in_file; }

/* ---- prompts ---- */

static bool has_role(const struct clinfer_message *messages, size_t count, enum role role) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(messages[i].role, ci_chat_roles[role]) == 0) return true;
    return false;
}

void ci_chat_tell_types(struct ci_chat *chat) {
    const char *mistyped = ci_tokenizer_mistyped(chat->tokenizer);
    if (*mistyped && !atomic_exchange(&chat->told_types, true))
        ci_log(CLINFER_LOG_WARNING,
               "%s: tokenizer.ggml.token_type: these are typed as text, or not at all, and count as special tokens: %s",
               chat->file, mistyped);
}

static void warn(struct ci_chat *chat, const struct clinfer_message *messages, size_t count) {
    if (chat->stand_in && !atomic_exchange(&chat->told_stand_in, true))
        ci_log(CLINFER_LOG_WARNING,
               "%s: no chat template (tokenizer.chat_template); messages are written in the format \"%s\". "
               "--chat-template chooses another, --raw takes the prompt as it is",
               chat->file, chat->stand_in->name);
    if (chat->no_system && has_role(messages, count, ROLE_SYSTEM) && !atomic_exchange(&chat->told_no_system, true))
        ci_log(CLINFER_LOG_WARNING,
               "%s: the chat template has no system message; its text comes first in the first message of the user",
               chat->file);
    if (chat->no_history && has_role(messages, count, ROLE_ASSISTANT) && !atomic_exchange(&chat->told_no_history, true))
        ci_log(CLINFER_LOG_WARNING, "%s: the chat template leaves out what was said before the last message",
               chat->file);
}

/* The same conversation without system messages: their texts, then an empty line, begin the first message of the user.
 * The caller frees *merged, and *text, which is that message's content. */
static enum clinfer_status merge_system(const struct clinfer_message *messages, size_t *count,
                                        struct clinfer_message **merged, char **text) {
    size_t bytes = 1, kept = 0, user = *count;
    for (size_t i = 0; i < *count; i++) bytes += strlen(messages[i].content) + 2;
    *merged = calloc(*count + 1, sizeof **merged);
    *text = malloc(bytes);
    if (!*merged || !*text) return out_of_memory();
    char *end = *text;
    *end = 0;
    for (size_t i = 0; i < *count; i++) {
        if (role_of(&messages[i]) == ROLE_SYSTEM)
            end = stpcpy(stpcpy(end, messages[i].content), "\n\n");
        else
            (*merged)[kept++] = messages[i];
    }
    for (size_t i = kept; i-- > 0;)
        if (role_of(&(*merged)[i]) == ROLE_USER) user = i;
    if (user < kept) {
        strcpy(end, (*merged)[user].content);
        (*merged)[user].content = *text;
    } else {
        memmove(*merged + 1, *merged, kept++ * sizeof **merged);
        **merged = (struct clinfer_message){.role = ci_chat_roles[ROLE_USER], .content = *text};
    }
    *count = kept;
    return CLINFER_OK;
}

/* ---- whether the words of a conversation came out ---- */

static bool must_come_out(const struct clinfer_message *message) {
    return (strcmp(message->role, "user") == 0 || strcmp(message->role, "system") == 0) &&
           trim((struct ci_text_span){message->content, strlen(message->content)}).length > 0;
}

/* The end of the words of `message` in what the template did not write itself, at or behind `from`; 0: not there. */
static size_t find_words(const struct ci_rendered *rendered, size_t from, const struct clinfer_message *message) {
    struct ci_text_span words = trim((struct ci_text_span){message->content, strlen(message->content)});
    size_t at = 0;
    for (size_t i = 0; i < rendered->run_count; at += rendered->runs[i++].length) {
        size_t start = at > from ? at : from, end = at + rendered->runs[i].length;
        if (!rendered->runs[i].input || start >= end) continue;
        const char *found = (const char *)memmem(rendered->text + start, end - start, words.text, words.length);
        if (found) return (size_t)(found - rendered->text) + words.length;
    }
    return 0;
}

static bool all_in_order(const struct ci_rendered *rendered, const struct clinfer_message *messages, size_t count) {
    size_t from = 0;
    for (size_t i = 0; i < count; i++)
        if (must_come_out(&messages[i]) && !(from = find_words(rendered, from, &messages[i]))) return false;
    return true;
}

enum { MARK_BYTES = 32 };

/* The same conversation with marks for contents: "4815162342" and the message's number. */
static enum clinfer_status render_marks(const struct ci_chat *chat, const struct clinfer_message *messages,
                                        size_t count, json_t *tools, const struct ci_chat_style *style,
                                        struct ci_rendered *rendered) {
    struct clinfer_message *marked = calloc(count, sizeof *marked);
    char(*mark)[MARK_BYTES] = calloc(count, sizeof *mark);
    enum clinfer_status status = marked && mark ? CLINFER_OK : out_of_memory();
    for (size_t i = 0; status == CLINFER_OK && i < count; i++) {
        snprintf(mark[i], sizeof mark[i], "4815162342%08zu", i);
        marked[i] = messages[i];
        marked[i].content = mark[i];
        marked[i].reasoning = NULL;
    }
    if (status == CLINFER_OK) status = ci_chat_render_as_is(chat, marked, count, tools, style, NULL, rendered);
    free(marked);
    free(mark);
    return status;
}

static enum clinfer_status judge_marks(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                       const struct ci_rendered *rendered, const struct ci_rendered *marked) {
    size_t last = count;
    for (size_t i = 0; i < count; i++)
        if (strcmp(messages[i].role, "user") == 0) last = i;
    for (size_t i = 0; i < count; i++) {
        char mark[MARK_BYTES];
        int length = snprintf(mark, sizeof mark, "4815162342%08zu", i);
        if (!must_come_out(&messages[i])) continue;
        bool out = memmem(marked->text, marked->length, mark, (size_t)length) != NULL;
        if (!out && i == last)
            return ci_fail(CLINFER_BAD_FILE,
                           "it leaves out the last message of the user in this conversation of %zu messages; "
                           "--chat-template chooses another, --raw does without",
                           count);
        if (!out && !atomic_exchange(&chat->told_no_history, true))
            ci_log(CLINFER_LOG_WARNING, "%s: the chat template leaves out message %zu of %zu (%s)", chat->file, i + 1,
                   count, messages[i].role);
        if (out && !find_words(rendered, 0, &messages[i]) && !atomic_exchange(&chat->told_changed, true))
            ci_log(CLINFER_LOG_WARNING, "%s: the chat template changes the words of message %zu of %zu (%s)",
                   chat->file, i + 1, count, messages[i].role);
    }
    return CLINFER_OK;
}

/* Words that stand one behind the other are all there. Else marks tell whether a message is left out, or stands at
 * another place, or is written in other words, as by the filter `upper`. */
static enum clinfer_status check_words(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                       json_t *tools, const struct ci_chat_style *style,
                                       const struct ci_rendered *rendered) {
    if (all_in_order(rendered, messages, count)) return CLINFER_OK;
    struct ci_rendered marked = {0};
    enum clinfer_status status = render_marks(chat, messages, count, tools, style, &marked);
    if (status == CLINFER_OK)
        status = judge_marks(chat, messages, count, rendered, &marked);
    else if (status != CLINFER_OUT_OF_MEMORY && status != CLINFER_CANCELLED)
        status = CLINFER_OK; /* a template that takes these words and refuses marks: nothing is known */
    ci_rendered_free(&marked);
    return status;
}

static bool has_calls(const struct clinfer_message *messages, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (messages[i].call_count || strcmp(messages[i].role, "tool") == 0) return true;
    return false;
}

static void warn_of_tools(struct ci_chat *chat) {
    if (atomic_exchange(&chat->told_tools, true)) return;
    if (!chat->takes_tools)
        ci_log(CLINFER_LOG_WARNING,
               "%s: the chat template knows no tools; they stand in the system message, which asks for calls as JSON",
               chat->file);
    else if (!chat->calls)
        ci_log(CLINFER_LOG_WARNING,
               "%s: the chat template's form of tool calls is not known: only calls that are JSON are understood, "
               "others stay text",
               chat->file);
}

static enum clinfer_status render_prompt(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                         json_t *tools, const struct ci_chat_style *style,
                                         struct ci_rendered *rendered) {
    struct clinfer_message *merged = NULL;
    char *text = NULL;
    warn(chat, messages, count);
    enum clinfer_status status = CLINFER_OK;
    if (chat->no_system && has_role(messages, count, ROLE_SYSTEM)) {
        status = merge_system(messages, &count, &merged, &text);
        messages = merged;
    }
    if (status == CLINFER_OK) status = ci_chat_render_as_is(chat, messages, count, tools, style, NULL, rendered);
    if (status == CLINFER_OK) status = check_words(chat, messages, count, tools, style, rendered);
    if (status != CLINFER_OK) ci_rendered_free(rendered);
    if (status != CLINFER_OK && status != CLINFER_OUT_OF_MEMORY)
        ci_fail_prefix(status, "%s: %s", chat->file, chat->source);
    free(merged);
    free(text);
    return status;
}

enum clinfer_status ci_chat_render_in(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                      json_t *tools, const struct ci_chat_style *style, struct ci_rendered *rendered) {
    *rendered = (struct ci_rendered){0};
    if (chat->status != CLINFER_OK)
        return ci_fail(chat->status, "%s; --chat-template chooses another, --raw does without", chat->message);
    ci_chat_tell_types(chat);
    if (chat->for_tools && (tools || has_calls(messages, count))) chat = chat->for_tools;
    if (tools) warn_of_tools(chat);
    bool tools_fit = !tools || chat->takes_tools, calls_fit = chat->takes_calls || !has_calls(messages, count);
    if (tools_fit && calls_fit) return render_prompt(chat, messages, count, tools, style, rendered);
    struct clinfer_message *spelled;
    char *texts;
    enum clinfer_status status =
        ci_tool_prompt_spell(messages, count, tools_fit ? NULL : tools, &spelled, &count, &texts);
    if (status == CLINFER_OK) status = render_prompt(chat, spelled, count, tools_fit ? tools : NULL, style, rendered);
    free(spelled);
    free(texts);
    return status;
}

enum clinfer_status ci_chat_render(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                   json_t *tools, bool add_generation_prompt, struct ci_rendered *rendered) {
    const struct ci_chat_style style = {.add_generation_prompt = add_generation_prompt};
    return ci_chat_render_in(chat, messages, count, tools, &style, rendered);
}
