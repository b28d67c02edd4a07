/* tool_functionary.c: <function=NAME>{...}</function>, of Functionary 3.1. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_functionary;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<function=") && ci_tool_format_has(text, length, "</function>") &&
           !ci_tool_format_has(text, length, "<parameter");
}

const struct ci_tool_format ci_tool_format_functionary = {
    .name = "functionary",
    .marks = {{.open = "<function=", .close = "</function>"}},
    .name_end = ">",
    .holds = true,
    .named = true,
    .arguments = "arguments",
    .fits = fits,
};
