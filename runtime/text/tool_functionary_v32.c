/* tool_functionary_v32.c: >>>NAME, a line break and {...}, of Functionary 3.2, whose prompts end with the first >>>;
 * what is for the user goes to >>>all. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_functionary_v32;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, ">>>all") && ci_tool_format_has(text, length, "'>>>' + tool_call");
}

static const struct ci_tool_tags tags = {.call = ">>>", .name_end = "\n"};

const struct ci_tool_format ci_tool_format_functionary_v32 = {
    .name = "functionary_v32",
    .marks = {{.open = ">>>", .unsure = true}},
    .begun = true,
    .talk = "all",
    .read = ci_tool_read_tags,
    .tags = &tags,
    .arguments = "arguments",
    .fits = fits,
};
