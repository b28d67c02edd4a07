/* tool_nemotron.c: <TOOLCALL>[{"name": ..., "arguments": {...}}, ...]</TOOLCALL>, of Nemotron. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_nemotron;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<TOOLCALL>"); }

const struct ci_tool_format ci_tool_format_nemotron = {
    .name = "nemotron",
    .marks = {{.open = "<TOOLCALL>", .close = "</TOOLCALL>"}},
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
