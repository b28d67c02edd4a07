/* tool_qwen3_coder.c: <tool_call> <function=NAME> <parameter=KEY>\nVALUE\n</parameter> </function> </tool_call>, of
 * Qwen3-Coder and 3.5, Nemotron 3 and Step 3.5. Some leave <tool_call> out. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_qwen3_coder;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<function=") && ci_tool_format_has(text, length, "<parameter=") &&
           ci_tool_format_has(text, length, "<tool_call>");
}

static const struct ci_tool_tags tags = {.call = "<function=",
                                         .name_end = ">",
                                         .call_end = "</function>",
                                         .key = "<parameter=",
                                         .key_end = ">",
                                         .value_end = "</parameter>",
                                         .lines = true};

const struct ci_tool_format ci_tool_format_qwen3_coder = {
    .name = "qwen3_coder",
    .marks = {{.open = "<tool_call>", .close = "</tool_call>"},
              {.open = "<function=", .close = "</tool_call>", .unsure = true}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .before = "\n",
    .after = "\n",
    .arguments = "arguments",
    .fits = fits,
};
