/* tool_seed.c: <seed:tool_call> <function=NAME> <parameter=KEY>VALUE</parameter> </function> </seed:tool_call>, of
 * Seed-OSS. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_seed;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<seed:tool_call>"); }

static const struct ci_tool_tags tags = {.call = "<function=",
                                         .name_end = ">",
                                         .call_end = "</function>",
                                         .key = "<parameter=",
                                         .key_end = ">",
                                         .value_end = "</parameter>"};

const struct ci_tool_format ci_tool_format_seed = {
    .name = "seed",
    .marks = {{.open = "<seed:tool_call>", .close = "</seed:tool_call>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .before = "\n",
    .after = "\n",
    .arguments = "arguments",
    .fits = fits,
};
