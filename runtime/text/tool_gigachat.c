/* tool_gigachat.c: <|function_call|>{"name": ..., "arguments": {...}}, of GigaChat 3.1, and of 3
 * <|message_sep|> function call<|role_sep|> before it. */
#include "text/tool_format.h"

extern const struct ci_tool_format ci_tool_format_gigachat;

static bool fits(const char *text, size_t length) {
    return ci_tool_format_has(text, length, "<|function_call|>") ||
           (ci_tool_format_has(text, length, "function call") && ci_tool_format_has(text, length, "<|role_sep|>"));
}

const struct ci_tool_format ci_tool_format_gigachat = {
    .name = "gigachat",
    .marks = {{.open = "<|function_call|>"}, {.open = "<|message_sep|>\n\nfunction call<|role_sep|>"}},
    .arguments = "arguments",
    .fits = fits,
};
