/* tool_gpt_oss.c: "to=functions.NAME" and the arguments, of gpt-oss (https://cookbook.openai.com/articles/
 * openai-harmony): what is left of "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}" and of
 * "assistant to=functions.NAME<|channel|>commentary json<|message|>{...}" when the signs of channels are taken out
 * (reasoning.c). */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_gpt_oss;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<|channel|>commentary") && ci_tool_format_has(text, length, "functions");
}

static const struct ci_tool_tags tags = {.call = NULL};

const struct ci_tool_format ci_tool_format_gpt_oss = {
    .name = "gpt_oss",
    .marks = {{.open = "to=functions.", .unsure = true}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .arguments = "arguments",
    .fits = fits,
};
