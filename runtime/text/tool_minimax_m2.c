/* tool_minimax_m2.c: <minimax:tool_call> <invoke name="NAME"> <parameter name="KEY">VALUE</parameter> </invoke>
 * </minimax:tool_call>, of MiniMax M2. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_minimax_m2;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "<minimax:tool_call>"); }

static const struct ci_tool_tags tags = {.call = "<invoke name=\"",
                                         .name_end = "\">",
                                         .call_end = "</invoke>",
                                         .key = "<parameter name=\"",
                                         .key_end = "\">",
                                         .value_end = "</parameter>"};

const struct ci_tool_format ci_tool_format_minimax_m2 = {
    .name = "minimax_m2",
    .marks = {{.open = "<minimax:tool_call>", .close = "</minimax:tool_call>"}},
    .read = ci_tool_read_tags,
    .tags = &tags,
    .holds = true,
    .before = "\n",
    .between = "\n",
    .after = "\n",
    .arguments = "arguments",
    .fits = fits,
};
