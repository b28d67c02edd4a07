/* tool_mistral.c: Mistral's: [TOOL_CALLS] and a list, [{"name": ..., "arguments": {...}, "id": ...}, ...], or, from the
 * third version on, the name, maybe [CALL_ID] and an id, [ARGS] and the arguments. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_mistral;

static bool fits(const char *text, size_t length) { return ci_tool_format_has(text, length, "[TOOL_CALLS]"); }

const struct ci_tool_format ci_tool_format_mistral = {
    .name = "mistral",
    .marks = {{.open = "[TOOL_CALLS]"}},
    .name_end = "[ARGS]",
    .id_mark = "[CALL_ID]",
    .prefix = "[TOOL_CALLS]",
    .has_ids = true,
    .arguments = "arguments",
    .fits = fits,
};
