/* chat.h: from the messages of a conversation to the tokens of a prompt.
 *
 * The template is the file's own (tokenizer.chat_template), or one that the caller gives by name or as Jinja; a file
 * without one gets ChatML where its vocabulary has the tokens, else lines "User: ...". Templates differ in what they
 * take: content as a text or as a list of parts, a system message or none. That is found out once per model by
 * rendering short conversations with marks for contents, since the words of messages have to reach the model whole.
 * Whether they do is looked at again in each prompt: a template may write the first messages and not the later ones.
 *
 * Of the text that comes out, prompt.h makes tokens. */
#ifndef CI_TEXT_CHAT_H
#define CI_TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>
#include <jansson.h>

#include "text/template.h"

struct ci_chat;
struct ci_gguf;
struct ci_reasoning_form;
struct ci_tool_format;
struct ci_tokenizer;

/* `given`: NULL, the name of a built-in template or Jinja. `variables`: NULL, or a JSON object whose members the
 * template sees beside the messages, such as enable_thinking. The tokenizer must not be shared yet: it gets to know
 * what the template writes; it is borrowed until the chat is destroyed. CLINFER_INVALID_ARGUMENT: what is wrong with
 * `given` or `variables`. A file's own template that is wrong fails only when a prompt is asked for. On failure *chat
 * is NULL. */
enum clinfer_status ci_chat_create(const struct ci_gguf *gguf, const char *given, const char *variables,
                                   struct ci_tokenizer *tokenizer, struct ci_chat **chat);
void ci_chat_destroy(struct ci_chat *chat);

/* Whether prompts can be made: CLINFER_OK, or the failure of every attempt, with its message. */
enum clinfer_status ci_chat_check(const struct ci_chat *chat);

/* Whether the file brought a template that is not empty. */
bool ci_chat_has_template(const struct ci_chat *chat);

/* What its template is and takes, for people. */
struct ci_chat_facts {
    const char *name; /* of the built-in template that it is; NULL: the file's own, or the caller's Jinja */
    bool in_file;     /* the file names it or brought it */
    bool system;      /* messages of the system; without, they begin the user's first one */
    bool history;     /* all messages come out, not the last one alone */
    bool thinking;    /* the model thinks before it answers, in a form that is known */
};
void ci_chat_describe(const struct ci_chat *chat, struct ci_chat_facts *facts);

/* How the model marks what it thinks (reasoning.h); NULL: it shows no such form. */
const struct ci_reasoning_form *ci_chat_reasoning(const struct ci_chat *chat);

/* How it writes calls of tools (tool_format.h). */
const struct ci_tool_format *ci_chat_calls(const struct ci_chat *chat);

/* Warns once of tokens whose types are wrong in the file. From any thread. */
void ci_chat_tell_types(struct ci_chat *chat);

/* What a prompt is to be beyond its messages. */
struct ci_chat_style {
    bool add_generation_prompt;
    json_t *variables; /* as ci_chat_variables() gives them; they go before the chat's own; NULL: none */
};

/* A text that is a JSON object whose members are variables of a template; NULL stays NULL. *variables is the caller's.
 * CLINFER_INVALID_ARGUMENT: it is none, or names what comes from the conversation; `where` begins the message. */
enum clinfer_status ci_chat_variables(const char *where, const char *text, json_t **variables);

/* The text of a prompt; `tools` is NULL, or an array as ci_tools_read() gives it, which a template that knows none gets
 * as part of the system message (tool_prompt.h). For the caller to ci_rendered_free(). Warns once of what is not as the
 * messages say. CLINFER_BAD_FILE: the last message of the user does not come out. From any thread. */
enum clinfer_status ci_chat_render(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                   json_t *tools, bool add_generation_prompt, struct ci_rendered *rendered);
enum clinfer_status ci_chat_render_in(struct ci_chat *chat, const struct clinfer_message *messages, size_t count,
                                      json_t *tools, const struct ci_chat_style *style, struct ci_rendered *rendered);

#endif
