/* tool_hermes.c: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, of Hermes, Qwen 2.5 and 3, Granite 4 and
 * many others. Families that have other things between the same marks (functions as XML, keys and values by turns) are
 * not meant. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_hermes;

static bool fits(const char *text, size_t length) {
    static const char *const others[] = {"<function=", "<function name=", "<arg_key>", "<parameter", "<invoke name"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ci_tool_format_has(text, length, others[i])) return false;
    return ci_tool_format_has(text, length, "<tool_call>");
}

const struct ci_tool_format ci_tool_format_hermes = {
    .name = "hermes",
    .marks = {{.open = "<tool_call>", .close = "</tool_call>"}},
    .holds = true,
    .before = "\n",
    .after = "\n",
    .arguments = "arguments",
    .fits = fits,
};
