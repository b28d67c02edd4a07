/* tool_deepseek_v32.c: <｜DSML｜function_calls> <｜DSML｜invoke name="NAME"> <｜DSML｜parameter name="KEY"
 * string="true">VALUE
 * </｜DSML｜parameter> </｜DSML｜invoke> </｜DSML｜function_calls>, of DeepSeek V3.2; values that are no texts have
 * string="false". */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_deepseek_v32;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "｜DSML｜") && ci_tool_format_has(text, length, "function_calls>");
}

static const struct ci_tool_tags tags = {.call = "<｜DSML｜invoke name=\"",
                                         .name_end = "\">",
                                         .call_end = "</｜DSML｜invoke>",
                                         .key = "<｜DSML｜parameter name=\"",
                                         .key_end = "\" string=\"",
                                         .value = "\">",
                                         .value_end = "</｜DSML｜parameter>",
                                         .typed = true};

const struct ci_tool_format ci_tool_format_deepseek_v32 = {
    .name = "deepseek_v32",
    .marks = {{.open = "<｜DSML｜function_calls>", .close = "</｜DSML｜function_calls>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .before = "\n",
    .between = "\n",
    .after = "\n",
    .arguments = "arguments",
    .fits = fits,
};
