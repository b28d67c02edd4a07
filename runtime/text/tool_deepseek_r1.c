/* tool_deepseek_r1.c: <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME, then the arguments as a
 * block of code, and <｜tool▁call▁end｜><｜tool▁calls▁end｜>, of DeepSeek V3 and R1. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_deepseek_r1;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<｜tool▁sep｜>") && ci_tool_format_has(text, length, "```json");
}

static const struct ci_tool_tags tags = {.call = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                                         .name_end = "\n```json",
                                         .call_end = "```<｜tool▁call▁end｜>"};

const struct ci_tool_format ci_tool_format_deepseek_r1 = {
    .name = "deepseek_r1",
    .marks = {{.open = "<｜tool▁calls▁begin｜>", .close = "<｜tool▁calls▁end｜>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .between = "\n",
    .arguments = "arguments",
    .fits = fits,
};
