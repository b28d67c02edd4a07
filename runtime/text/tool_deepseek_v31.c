/* tool_deepseek_v31.c:
 * <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜><｜tool▁calls▁end｜>, of
 * DeepSeek V3.1. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_deepseek_v31;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<｜tool▁sep｜>"); }

static const struct ci_tool_tags tags = {
    .call = "<｜tool▁call▁begin｜>", .name_end = "<｜tool▁sep｜>", .call_end = "<｜tool▁call▁end｜>"};

const struct ci_tool_format ci_tool_format_deepseek_v31 = {
    .name = "deepseek_v31",
    .marks = {{.open = "<｜tool▁calls▁begin｜>", .close = "<｜tool▁calls▁end｜>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .between = "",
    .arguments = "arguments",
    .fits = fits,
};
