/* tool_apertus.c: <|tools_prefix|>[{NAME: {...}}, ...]<|tools_suffix|>, of Apertus. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_apertus;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<|tools_prefix|>"); }

const struct ci_tool_format ci_tool_format_apertus = {
    .name = "apertus",
    .marks = {{.open = "<|tools_prefix|>", .close = "<|tools_suffix|>"}},
    .name_is_key = true,
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
