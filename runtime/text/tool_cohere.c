/* tool_cohere.c: <|START_ACTION|>[{"tool_call_id": "0", "tool_name": ..., "parameters": {...}}, ...]<|END_ACTION|>, of
 * Command R7B and A. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_cohere;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<|START_ACTION|>"); }

const struct ci_tool_format ci_tool_format_cohere = {
    .name = "cohere",
    .marks = {{.open = "<|START_ACTION|>", .close = "<|END_ACTION|>"}},
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .name_member = "tool_name",
    .arguments = "parameters",
    .fits = fits,
};
