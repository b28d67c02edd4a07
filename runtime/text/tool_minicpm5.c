/* tool_minicpm5.c: <function name="NAME"><param name="KEY">VALUE</param></function>, of MiniCPM 5. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_minicpm5;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<function name="); }

static const struct ci_tool_tags tags = {.call = "<function name=\"",
                                         .name_end = "\">",
                                         .call_end = "</function>",
                                         .key = "<param name=\"",
                                         .key_end = "\">",
                                         .value_end = "</param>",
                                         .cdata = true};

const struct ci_tool_format ci_tool_format_minicpm5 = {
    .name = "minicpm5",
    .marks = {{.open = "<function name=\""}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .arguments = "arguments",
    .fits = fits,
};
