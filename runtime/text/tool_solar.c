/* tool_solar.c: <|tool_calls|><|tool_call:begin|>ID<|tool_call:name|>NAME<|tool_call:args|>{...}<|tool_call:end|>, of
 * Solar Open. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_solar;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<|tool_call:begin|>"); }

static const struct ci_tool_tags tags = {.call = "<|tool_call:begin|>",
                                         .id_end = "<|tool_call:name|>",
                                         .name_end = "<|tool_call:args|>",
                                         .call_end = "<|tool_call:end|>"};

const struct ci_tool_format ci_tool_format_solar = {
    .name = "solar",
    .marks = {{.open = "<|tool_calls|>"}, {.open = "<|tool_call:begin|>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .between = "",
    .arguments = "arguments",
    .fits = fits,
};
