/* inspect_text.c: what a template takes is found out by trying it, as chat.c does. */
#define _GNU_SOURCE
#include "cli/inspect_text.h"

#include <stdio.h>
#include <string.h>

/* A name that no template has in it. */
#define TOOL_MARK "clinfer_4815162342108"

/* The prompt of a short conversation with these variables; empty where the template does not take them. */
static enum clinfer_status render_with(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer,
                                       const char *variables, struct ci_rendered *rendered) {
    const struct clinfer_message message = {.role = "user", .content = "2718281828459"};
    struct ci_chat *chat;
    enum clinfer_status status = ci_chat_create(gguf, NULL, variables, tokenizer, &chat);
    if (status == CLINFER_OK) status = ci_chat_render(chat, &message, 1, NULL, true, rendered);
    ci_chat_destroy(chat);
    return status == CLINFER_OUT_OF_MEMORY ? status : CLINFER_OK;
}

static enum clinfer_status try_template(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer,
                                        struct ci_inspected_text *found) {
    struct ci_rendered tools = {0}, on = {0}, off = {0};
    enum clinfer_status status = render_with(
        gguf, tokenizer,
        "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"" TOOL_MARK "\", \"description\": "
        "\"\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}]}",
        &tools);
    if (status == CLINFER_OK) status = render_with(gguf, tokenizer, "{\"enable_thinking\": true}", &on);
    if (status == CLINFER_OK) status = render_with(gguf, tokenizer, "{\"enable_thinking\": false}", &off);
    found->tools = tools.text && memmem(tools.text, tools.length, TOOL_MARK, strlen(TOOL_MARK));
    found->switchable = on.text && off.text && (on.length != off.length || memcmp(on.text, off.text, on.length) != 0);
    ci_rendered_free(&tools);
    ci_rendered_free(&on);
    ci_rendered_free(&off);
    return status;
}

static void find_ends(const struct ci_tokenizer *tokenizer, struct ci_inspected_text *found) {
    for (size_t i = 0; i < ci_tokenizer_size(tokenizer) && found->end_count < CI_INSPECT_ENDS; i++) {
        if (!ci_tokenizer_is_end(tokenizer, (int32_t)i)) continue;
        size_t length;
        const char *piece = ci_tokenizer_piece(tokenizer, (int32_t)i, true, &length);
        snprintf(found->ends[found->end_count++], CI_INSPECT_END_BYTES, "%.*s", (int)(length < 63 ? length : 63),
                 piece);
    }
}

enum clinfer_status ci_inspect_text(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer,
                                    const struct ci_chat *chat, struct ci_inspected_text *found) {
    *found = (struct ci_inspected_text){0};
    ci_chat_describe(chat, &found->chat);
    find_ends(tokenizer, found);
    return found->chat.in_file ? try_template(gguf, tokenizer, found) : CLINFER_OK; /* ours know neither */
}
