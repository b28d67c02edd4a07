/* Any bytes as an answer in which calls may be: the first byte chooses the form, the second how long the pieces are.
 * In whatever pieces it comes: words are no more than what came, arguments not much more (escapes, and what stands for
 * arguments that are none), calls that are whole have arguments that are a JSON object, and cutting it differently
 * changes nothing. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tool_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    char *text;
    size_t length, arguments;
    struct ci_tool_calls calls;
};

static bool take_text(void *user, const char *text, size_t length) {
    struct outcome *outcome = user;
    outcome->text = realloc(outcome->text, outcome->length + length);
    if (!outcome->text || !length) abort();
    memcpy(outcome->text + outcome->length, text, length);
    outcome->length += length;
    return true;
}

static bool take_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct outcome *outcome = user;
    outcome->arguments += piece->length;
    if ((piece->index == outcome->calls.count) != (piece->name != NULL)) abort();
    return ci_tool_calls_add(&outcome->calls, piece);
}

static void parse(const struct ci_tool_format *format, const json_t *tools, const char *text, size_t length,
                  size_t piece, struct outcome *outcome) {
    const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = outcome};
    struct ci_tool_parser parser;
    ci_tool_parser_begin(&parser, format, tools, 1, &sink);
    for (size_t at = 0; at < length; at += piece)
        if (!ci_tool_parser_push(&parser, text + at, length - at < piece ? length - at : piece)) break;
    ci_tool_parser_end(&parser);
}

static void check_calls(struct outcome *outcome) {
    const struct clinfer_tool_call *calls = ci_tool_calls_view(&outcome->calls);
    for (size_t i = 0; i < outcome->calls.count; i++) {
        if (!*calls[i].name || (!calls[i].cut && !*calls[i].id)) abort();
        if (calls[i].cut) continue;
        json_error_t error;
        json_t *arguments = json_loads(calls[i].arguments, 0, &error);
        /* What jansson refuses and the scan does not: bytes that are no UTF-8, lone surrogates, \u0000, numbers beyond
         * a double's. */
        enum json_error_code code = json_error_code(&error);
        bool syntax = code == json_error_invalid_syntax || code == json_error_premature_end_of_input;
        if (!arguments && syntax && !strstr(error.text, "Unicode")) abort();
        if (arguments && !json_is_object(arguments)) abort();
        json_decref(arguments);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const signs[] = {"<tool_call>",
                                        "[TOOL_CALLS]",
                                        "<TOOLCALL>",
                                        "<|python_tag|>",
                                        "<function=></function>",
                                        "<function=<parameter=<tool_call>",
                                        "<arg_key><tool_call>",
                                        "<seed:tool_call>",
                                        "<minimax:tool_call>",
                                        "<function name=",
                                        "｜DSML｜ function_calls>",
                                        "<｜tool▁sep｜>",
                                        "<｜tool▁sep｜>```json",
                                        "<|tool_call_argument_begin|>",
                                        "<|tool_call:begin|>",
                                        "<|channel|>commentary functions",
                                        "<|tool_call_start|>",
                                        "<|tool_call>",
                                        "<|tools_prefix|>",
                                        "functools[",
                                        "<|function_call|>"};
    enum { SIGNS = sizeof signs / sizeof *signs };
    if (size < 2) return 0;
    size_t which = data[0] % (SIGNS + 1), piece = data[1] % 16 + 1;
    const struct ci_tool_format *format =
        which < SIGNS ? ci_tool_format_find(signs[which], strlen(signs[which])) : ci_tool_format_generic();
    json_t *tools = json_pack("[{s:{s:s}}]", "function", "name", "f");
    struct outcome outcomes[2] = {0};
    for (int i = 0; i < 2; i++) {
        parse(format, tools, (const char *)data + 2, size - 2, i ? piece : size, &outcomes[i]);
        if (outcomes[i].length > size || outcomes[i].arguments > 8 * size) abort();
        check_calls(&outcomes[i]);
    }
    if (outcomes[0].length != outcomes[1].length || outcomes[0].calls.count != outcomes[1].calls.count ||
        outcomes[0].arguments != outcomes[1].arguments ||
        (outcomes[0].length && memcmp(outcomes[0].text, outcomes[1].text, outcomes[0].length) != 0))
        abort();
    for (int i = 0; i < 2; i++) {
        free(outcomes[i].text);
        ci_tool_calls_free(&outcomes[i].calls);
    }
    json_decref(tools);
    return 0;
}
