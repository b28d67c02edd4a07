/* tool_prompt.h: conversations with tools as messages and variables of a chat template. */
#ifndef CI_TEXT_TOOL_PROMPT_H
#define CI_TEXT_TOOL_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>
#include <jansson.h>

/* The text of a request's `tools` as a JSON array in which each tool has a name. CLINFER_INVALID_ARGUMENT says what is
 * wrong, also with `choice`, which may be NULL. *tools is the caller's; NULL where there are none or none may be
 * called ("none"). */
enum clinfer_status ci_tools_read(const char *text, const char *choice, json_t **tools);

/* Whether a call is due: "required", or a tool's name. */
bool ci_tool_choice_requires(const char *choice);

/* The JSON schema of a call that `choice` requires, an object whose member `arguments` has that name: the caller's to
 * free. CLINFER_UNSUPPORTED: two tools define something of one name ($defs) differently. */
enum clinfer_status ci_tools_schema(const json_t *tools, const char *choice, const char *arguments, char **schema);

/* The schema of a tool's arguments, an object, without its definitions; the caller's. NULL: out of memory. */
json_t *ci_tool_arguments_schema(const json_t *tool);

/* The definitions of a tool's parameters, to which their references lead, become the root's. As ci_tools_schema(). */
enum clinfer_status ci_tools_hoist(json_t *root, const json_t *parameters);

/* `tool_calls` of a message, as templates know them; `as_text`: with arguments as a text, not as an object. NULL: out
 * of memory, or a text is no UTF-8. */
json_t *ci_tool_calls_json(const struct clinfer_tool_call *calls, size_t count, bool as_text);

/* The same conversation for a template that knows nothing of tools: `tools` (NULL: none) at the end of the system
 * message, calls as JSON in the answers, results as messages of the user. *texts is one block that the messages
 * borrow; both are the caller's to free. */
enum clinfer_status ci_tool_prompt_spell(const struct clinfer_message *messages, size_t count, const json_t *tools,
                                         struct clinfer_message **spelled, size_t *spelled_count, char **texts);

#endif
