/* tool_lfm2.c: <|tool_call_start|>[NAME(KEY="VALUE", ...), ...]<|tool_call_end|>, calls as Python has them, of LFM2. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_lfm2;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<|tool_call_start|>") ||
           ci_tool_format_has(text, length, "List of tools: ");
}

static const struct ci_tool_tags tags = {.list = true, .name_end = "(", .call_end = ")", .key_end = "="};

const struct ci_tool_format ci_tool_format_lfm2 = {
    .name = "lfm2",
    .marks = {{.open = "<|tool_call_start|>", .close = "<|tool_call_end|>"}},
    .read = ci_tool_read_literal,
    .tags = &tags,
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
