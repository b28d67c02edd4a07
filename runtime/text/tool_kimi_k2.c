/* tool_kimi_k2.c: <|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}
 * <|tool_call_end|><|tool_calls_section_end|>, of Kimi K2. Some leave the marks of the section and the ends out. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_kimi_k2;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<|tool_call_argument_begin|>");
}

static const struct ci_tool_tags tags = {.call = "<|tool_call_begin|>",
                                         .name_end = "<|tool_call_argument_begin|>",
                                         .call_end = "<|tool_call_end|>",
                                         .numbered = true};

const struct ci_tool_format ci_tool_format_kimi_k2 = {
    .name = "kimi_k2",
    .marks = {{.open = "<|tool_calls_section_begin|>", .close = "<|tool_calls_section_end|>"},
              {.open = "<|tool_call_begin|>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .between = "",
    .arguments = "arguments",
    .fits = fits,
};
