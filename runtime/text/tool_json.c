/* tool_json.c: what models are asked for whose templates do not tell how calls are written (tool_prompt.c): an answer
 * that is nothing but {"name": ..., "arguments": {...}}, or a list of these. Some write it as a block of code or in the
 * form that they know from elsewhere. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_json;

static bool fits(const char *text, size_t length) {
    (void)text;
    (void)length;
    return false;
}

const struct ci_tool_format ci_tool_format_json = {
    .name = "json",
    .marks = {{.open = "<tool_call>", .close = "</tool_call>"}, {.open = "```json", .close = "```", .unsure = true}},
    .bare = true,
    .arguments = "arguments",
    .fits = fits,
};
