/* tool_deepseek_dsml.c: <｜DSML｜function_calls> <｜DSML｜invoke name="NAME"> <｜DSML｜parameter name="KEY"
 * string="true">VALUE</｜DSML｜parameter> </｜DSML｜invoke> </｜DSML｜function_calls>, of DeepSeek V3.2; V4 says
 * tool_calls in place of function_calls. Values that are no texts have string="false". */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_deepseek_v32, ci_tool_format_deepseek_v4;

static bool fits_v32(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "｜DSML｜") && ci_tool_format_has(text, length, "function_calls>");
}

static bool fits_v4(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "｜DSML｜") && ci_tool_format_has(text, length, "tool_calls>");
}

static const struct ci_tool_tags tags = {.call = "<｜DSML｜invoke name=\"",
                                         .name_end = "\">",
                                         .call_end = "</｜DSML｜invoke>",
                                         .key = "<｜DSML｜parameter name=\"",
                                         .key_end = "\" string=\"",
                                         .value = "\">",
                                         .value_end = "</｜DSML｜parameter>",
                                         .typed = true};

#define DSML_FORMAT(version, calls)                                                                                    \
    const struct ci_tool_format ci_tool_format_deepseek_##version = {                                                  \
        .name = "deepseek_" #version,                                                                                  \
        .marks = {{.open = "<｜DSML｜" calls ">", .close = "</｜DSML｜" calls ">"}},                                   \
        .read = ci_tool_read_tags,                                                                                     \
        .tags = &tags,                                                                                                 \
        .holds = true,                                                                                                 \
        .before = "\n",                                                                                                \
        .between = "\n",                                                                                               \
        .after = "\n",                                                                                                 \
        .arguments = "arguments",                                                                                      \
        .fits = fits_##version,                                                                                        \
    };
DSML_FORMAT(v32, "function_calls")
DSML_FORMAT(v4, "tool_calls")
