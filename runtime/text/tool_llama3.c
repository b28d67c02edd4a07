/* tool_llama3.c: Llama 3's: an answer that is nothing but {"name": ..., "parameters": {...}}, or several of these with
 * semicolons between, maybe behind <|python_tag|>. Behind that mark there may be code for an interpreter, too, which
 * stays text. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_llama3;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<|python_tag|>") ||
           ci_tool_format_has(text, length, "\"parameters\": dictionary of argument name");
}

const struct ci_tool_format ci_tool_format_llama3 = {
    .name = "llama3",
    .marks = {{.open = "<|python_tag|>"}},
    .bare = true,
    .arguments = "parameters",
    .fits = fits,
};
