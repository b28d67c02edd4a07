/* tool_command_r.c: "Action:" and a block of code, [{"tool_name": ..., "parameters": {...}}, ...], of Command R and R+.
 */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_command_r;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "Action:") && ci_tool_format_has(text, length, "\"tool_name\"") &&
           ci_tool_format_has(text, length, "```json");
}

const struct ci_tool_format ci_tool_format_command_r = {
    .name = "command_r",
    .marks = {{.open = "Action:\n```json", .close = "```"}},
    .holds = true,
    .before = "\n[",
    .between = ", ",
    .after = "]\n",
    .name_member = "tool_name",
    .arguments = "parameters",
    .fits = fits,
};
