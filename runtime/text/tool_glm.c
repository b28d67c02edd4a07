/* tool_glm.c: <tool_call>NAME <arg_key>KEY</arg_key> <arg_value>VALUE</arg_value> </tool_call>, of GLM 4.5 and later,
 * Ling 3, Spark and Laguna. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_glm;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<arg_key>") && ci_tool_format_has(text, length, "<tool_call>");
}

static const struct ci_tool_tags tags = {
    .key = "<arg_key>", .key_end = "</arg_key>", .value = "<arg_value>", .value_end = "</arg_value>"};

const struct ci_tool_format ci_tool_format_glm = {
    .name = "glm",
    .marks = {{.open = "<tool_call>", .close = "</tool_call>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .arguments = "arguments",
    .fits = fits,
};
