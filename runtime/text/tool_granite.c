/* tool_granite.c: <|tool_call|>[{"name": ..., "arguments": {...}}, ...], of Granite 3. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_granite;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<|tool_call|>"); }

const struct ci_tool_format ci_tool_format_granite = {
    .name = "granite",
    .marks = {{.open = "<|tool_call|>"}},
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
