/* tool_apriel.c: <tool_calls>[{"name": ..., "arguments": {...}}, ...]</tool_calls>, of Apriel. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_apriel;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<tool_calls>[") && ci_tool_format_has(text, length, "</tool_calls>");
}

const struct ci_tool_format ci_tool_format_apriel = {
    .name = "apriel",
    .marks = {{.open = "<tool_calls>", .close = "</tool_calls>"}},
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
