/* tool_gemma4.c: <|tool_call>call:NAME{KEY:<|"|>VALUE<|"|>, ...}<tool_call|>, of Gemma 4. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_gemma4;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<|tool_call>"); }

static const struct ci_tool_tags tags = {
    .call = "call:", .name_end = "{", .call_end = "}", .key_end = ":", .quote = "<|\"|>"};

const struct ci_tool_format ci_tool_format_gemma4 = {
    .name = "gemma4",
    .marks = {{.open = "<|tool_call>", .close = "<tool_call|>"}},
    .read = ci_tool_read_literal,
    .tags = &tags,
    .holds = true,
    .arguments = "arguments",
    .fits = fits,
};
