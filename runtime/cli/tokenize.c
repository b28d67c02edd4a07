/* tokenize.c: `clinfer tokenize`: a text as token ids and pieces, or as a message: the prompt that the chat template
 * makes of it. Reads vocabulary and template from the file and nothing else of it, so it needs no engine and no device.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/models.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompts.h"
#include "engine/read.h"
#include "format/gguf.h"
#include "model/source.h"
#include "text/chat.h"
#include "text/prompt.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

struct tokenize {
    struct ci_engine_flags flags; /* model and template */
    struct ci_prompt_sources sources;
    struct ci_log_flags log;
    const char *system;
    bool chat, render;
    bool json, ids, count, no_special, no_bos, no_parse_special;
};

/* As llama-server gives it: text, or the bytes when they are part of a character. */
static json_t *piece_json(const char *piece, size_t length) {
    if (ci_utf8_valid(piece, length) == length) return ci_json_text(piece, length);
    json_t *bytes = json_array();
    for (size_t i = 0; i < length; i++) json_array_append_new(bytes, json_integer((unsigned char)piece[i]));
    return bytes;
}

static int print_json(const struct ci_tokenizer *tokenizer, const int32_t *tokens, size_t count) {
    json_t *object = json_object(), *list = json_array();
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *piece = ci_tokenizer_piece(tokenizer, tokens[i], true, &length);
        json_t *token = json_object();
        json_object_set_new(token, "id", json_integer(tokens[i]));
        json_object_set_new(token, "piece", piece_json(piece, length));
        json_array_append_new(list, token);
    }
    json_object_set_new(object, "count", json_integer((json_int_t)count));
    json_object_set_new(object, "tokens", list);
    return ci_print_json(object);
}

/* One line a token; what would break the line or the terminal is escaped. */
static void print_lines(const struct ci_tokenizer *tokenizer, const int32_t *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *piece = ci_tokenizer_piece(tokenizer, tokens[i], true, &length);
        ci_printf("%6d -> '", tokens[i]);
        for (size_t at = 0; at < length;) {
            size_t character = ci_utf8_character(piece + at, length - at);
            unsigned char byte = (unsigned char)piece[at];
            if (byte == '\n')
                ci_printf("\\n");
            else if (character == 0 || byte < 32 || byte == 127)
                ci_printf("\\x%02x", byte);
            else
                ci_print(piece + at, character);
            at += character ? character : 1;
        }
        ci_printf("'\n");
    }
}

static void print_ids(const int32_t *tokens, size_t count) {
    ci_printf("[");
    for (size_t i = 0; i < count; i++) ci_printf("%s%d", i ? ", " : "", tokens[i]);
    ci_printf("]\n");
}

static enum clinfer_status encode(const struct tokenize *tokenize, const struct ci_tokenizer *tokenizer,
                                  int32_t **tokens, size_t *count) {
    struct ci_prompts prompts;
    enum clinfer_status status = ci_prompts_read(&tokenize->sources, &prompts);
    unsigned flags = (tokenize->no_special || tokenize->no_bos ? 0 : CI_TOKENIZER_ADD_SPECIAL) |
                     (tokenize->no_special || tokenize->no_parse_special ? 0 : CI_TOKENIZER_PARSE_SPECIAL);
    for (size_t i = 0; status == CLINFER_OK && i < prompts.count; i++) {
        int32_t *added = NULL;
        size_t added_count = 0;
        status =
            ci_tokenizer_encode(tokenizer, prompts.items[i].text, prompts.items[i].length, flags, &added, &added_count);
        int32_t *grown =
            status == CLINFER_OK && added_count ? realloc(*tokens, (*count + added_count) * sizeof **tokens) : NULL;
        if (grown) {
            memcpy(grown + *count, added, added_count * sizeof *added);
            *tokens = grown;
            *count += added_count;
        } else if (status == CLINFER_OK && added_count) {
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", added_count);
        }
        free(added);
    }
    ci_prompts_free(&prompts);
    return status;
}

/* As `clinfer run` does it. */
static enum clinfer_status render(const struct tokenize *tokenize, struct ci_chat *chat,
                                  const struct ci_tokenizer *tokenizer, struct ci_rendered *rendered, int32_t **tokens,
                                  size_t *count) {
    struct ci_prompts prompts;
    enum clinfer_status status = ci_prompts_read(&tokenize->sources, &prompts);
    if (status == CLINFER_OK && prompts.count != 1)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s takes one message", tokenize->render ? "--render" : "--chat");
    if (status == CLINFER_OK && strlen(prompts.items[0].text) != prompts.items[0].length)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "byte %zu of the message is zero; a message is text",
                         strlen(prompts.items[0].text));
    if (status == CLINFER_OK) {
        const struct clinfer_message messages[] = {{.role = "system", .content = tokenize->system},
                                                   {.role = "user", .content = prompts.items[0].text}};
        size_t skipped = tokenize->system ? 0 : 1;
        status = ci_chat_render(chat, messages + skipped, 2 - skipped, NULL, true, rendered);
        if (status == CLINFER_OK)
            status = ci_prompt_tokens(tokenizer, rendered, messages + skipped, 2 - skipped, false, tokens, count);
    }
    ci_prompts_free(&prompts);
    return status;
}

static int print_tokens(const struct tokenize *tokenize, const struct ci_tokenizer *tokenizer,
                        const struct ci_rendered *rendered, const int32_t *tokens, size_t count) {
    int exit_status = 0;
    if (tokenize->json)
        exit_status = print_json(tokenizer, tokens, count);
    else if (tokenize->render)
        ci_print(rendered->text, rendered->length);
    else if (tokenize->ids)
        print_ids(tokens, count);
    else
        print_lines(tokenizer, tokens, count);
    if (tokenize->count) ci_printf("Total number of tokens: %zu\n", count);
    return exit_status;
}

static int tokenize_with(struct tokenize *tokenize) {
    struct ci_model_choice choice;
    struct clinfer_engine_options options;
    struct ci_gguf *gguf = NULL;
    struct ci_tokenizer *tokenizer = NULL;
    struct ci_chat *chat = NULL; /* from which the tokenizer learns what the template writes */
    struct ci_rendered rendered = {0};
    int32_t *tokens = NULL;
    size_t count = 0;
    enum clinfer_status status = ci_engine_flags_options(&tokenize->flags, &choice, &options);
    if (status == CLINFER_OK) status = ci_source_open(choice.path, NULL, &gguf);
    if (status == CLINFER_OK) status = ci_read_tokenizer(gguf, &tokenizer);
    if (status == CLINFER_OK)
        status = ci_chat_create(gguf, options.chat_template, options.chat_template_variables, tokenizer, &chat);
    if (status == CLINFER_INVALID_ARGUMENT) status = ci_engine_flags_explain(&tokenize->flags, status);
    if (status == CLINFER_OK) ci_chat_tell_types(chat);
    if (status == CLINFER_OK)
        status = tokenize->chat || tokenize->render ? render(tokenize, chat, tokenizer, &rendered, &tokens, &count)
                                                    : encode(tokenize, tokenizer, &tokens, &count);
    int exit_status =
        status == CLINFER_OK ? print_tokens(tokenize, tokenizer, &rendered, tokens, count) : ci_complain(status);
    free(tokens);
    ci_rendered_free(&rendered);
    ci_chat_destroy(chat);
    ci_tokenizer_destroy(tokenizer);
    ci_gguf_close(gguf);
    ci_models_free(&choice);
    return exit_status;
}

int ci_command_tokenize(int argc, char **argv) {
    struct tokenize tokenize = {.flags = CI_ENGINE_FLAGS_DEFAULT};
    const struct ci_option options[] = {
        CI_SECTION("Text"),
        CI_TEXT("-m --model", &tokenize.flags.from.model, "MODEL", "as for clinfer run, with the same default"),
        CI_HUB_OPTIONS(&tokenize.flags.from),
        CI_PROMPT_OPTIONS(&tokenize.sources),
        CI_FLAG("--no-special", &tokenize.no_special, "both of the next two"),
        CI_FLAG("--no-bos", &tokenize.no_bos, "add no begin-of-text token"),
        CI_FLAG("--no-parse-special", &tokenize.no_parse_special, "<|im_start|> and the like are plain text"),
        CI_SECTION("Message"),
        CI_FLAG("--chat", &tokenize.chat,
                "the text is a message: the tokens of the prompt that the chat template makes"),
        CI_FLAG("--render", &tokenize.render, "that prompt as text"),
        CI_TEXT("-sys --system-prompt", &tokenize.system, "TEXT", "with this system message"),
        CI_TEMPLATE_OPTIONS(&tokenize.flags),
        CI_SECTION("Output"),
        CI_FLAG("--ids", &tokenize.ids, "only the ids, as [1, 2, 3]"),
        CI_FLAG("--json", &tokenize.json, "one JSON object: count, tokens with id and piece"),
        CI_FLAG("--show-count", &tokenize.count, "the number of tokens behind them"),
        CI_LOG_OPTIONS(&tokenize.log),
    };
    const struct ci_usage usage = {
        .command = "tokenize",
        .synopsis = "[-m MODEL] [text]",
        .about = "Shows the tokens of a text: of the words given, of -p, of files, or of standard input.",
        .examples = "  clinfer tokenize \"Why is the sky blue?\"\n  clinfer tokenize --ids -f question.txt\n"
                    "  echo hello | clinfer tokenize --json\n"
                    "  clinfer tokenize --render --chat-template-kwargs '{\"enable_thinking\": false}' \"Why?\"",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &tokenize.sources.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&tokenize.log);
        exit_status = status == CLINFER_OK ? tokenize_with(&tokenize) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&tokenize.sources.words);
    ci_texts_free(&tokenize.sources.files);
    ci_engine_flags_free(&tokenize.flags);
    return exit_status;
}
