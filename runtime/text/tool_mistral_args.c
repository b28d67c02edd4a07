/* tool_mistral_args.c: Mistral's from the third version on: [TOOL_CALLS]NAME, maybe [CALL_ID] and an id, [ARGS]{...}.
 */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_mistral_args;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "[TOOL_CALLS]") && ci_tool_format_has(text, length, "[ARGS]");
}

const struct ci_tool_format ci_tool_format_mistral_args = {
    .name = "mistral_args",
    .marks = {{.open = "[TOOL_CALLS]"}},
    .name_end = "[ARGS]",
    .id_mark = "[CALL_ID]",
    .has_ids = true,
    .holds = true,
    .named = true,
    .arguments = "arguments",
    .fits = fits,
};
