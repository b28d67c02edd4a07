/* tool_firefunction.c: functools[{"name": ..., "arguments": {...}}, ...], of FireFunction v2. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_firefunction;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "functools["); }

const struct ci_tool_format ci_tool_format_firefunction = {
    .name = "firefunction",
    .marks = {{.open = "functools"}},
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
