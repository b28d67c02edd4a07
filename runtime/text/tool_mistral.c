/* tool_mistral.c: Mistral's: [TOOL_CALLS] and a list, [{"name": ..., "arguments": {...}, "id": ...}, ...]; what is
 * written as later versions have it (tool_mistral_args.c) counts, too. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_mistral;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "[TOOL_CALLS]"); }

const struct ci_tool_format ci_tool_format_mistral = {
    .name = "mistral",
    .marks = {{.open = "[TOOL_CALLS]"}},
    .name_end = "[ARGS]",
    .id_mark = "[CALL_ID]",
    .has_ids = true,
    .holds = true,
    .before = "[",
    .between = ", ",
    .after = "]",
    .arguments = "arguments",
    .fits = fits,
};
