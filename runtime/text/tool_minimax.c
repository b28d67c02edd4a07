/* tool_minimax.c: <tool_calls> {"name": ..., "arguments": {...}} {...} </tool_calls>, of MiniMax M1. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_minimax;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<tool_calls></tool_calls>");
}

const struct ci_tool_format ci_tool_format_minimax = {
    .name = "minimax",
    .marks = {{.open = "<tool_calls>", .close = "</tool_calls>"}},
    .holds = true,
    .before = "\n",
    .between = "\n",
    .after = "\n",
    .arguments = "arguments",
    .fits = fits,
};
