/* Any bytes as a GGUF file with a tokenizer: it is refused with a message that begins with the file's name, or texts
 * are encoded to tokens whose bytes are the text again, less the bytes that the vocabulary has no token for. The texts
 * are the file's own last bytes and one of our own; fuzz_tokenizer.c is about vocabularies, this about the file. A
 * conversation becomes a prompt by its template, too. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_mutator.h"
#include "round_trip.h"
#include "text/chat.h"
#include "text/pretokenizer.h"
#include "text/prompt.h"
#include "text/tokenizer_kind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum clinfer_status open_input(const uint8_t *data, size_t size, uint8_t **copy, struct ci_gguf **gguf) {
    *copy = malloc(size + !size); /* of its own, so that AddressSanitizer sees its end */
    if (!*copy) abort();
    memcpy(*copy, data, size);
    enum clinfer_status status = ci_gguf_open_memory(*copy, size, "input", gguf);
    if (status != CLINFER_OK) free(*copy);
    return status;
}

static struct round_trip rule_of(const struct ci_gguf *gguf) {
    struct ci_gguf_string model = {"", 0}, pre = {"", 0};
    struct round_trip rule = {.unknown = 0};
    (void)ci_gguf_get_string(gguf, "tokenizer.ggml.model", CI_GGUF_OPTIONAL, &model);
    (void)ci_gguf_get_string(gguf, "tokenizer.ggml.pre", CI_GGUF_OPTIONAL, &pre);
    (void)ci_gguf_get_i64(gguf, "tokenizer.ggml.unknown_token_id", CI_GGUF_OPTIONAL, &rule.unknown);
    const struct ci_text_span name = {model.text, model.length};
    const struct ci_tokenizer_kind *kind = ci_tokenizer_kind_find(&name);
    if (kind && strcmp(kind->model, "gpt2") == 0) rule.unknown = -1;
    rule.changes = kind && (strcmp(kind->model, "bert") == 0 || strcmp(kind->model, "t5") == 0);
    rule.marks = kind && strcmp(kind->model, "plamo2") == 0;
    rule.characters = model.length != 4 || memcmp(model.text, "gpt2", 4) != 0 ||
                      ci_pretokenizer_traits_of(pre.text, pre.length).characters;
    return rule;
}

static void check_encoding(const struct ci_tokenizer *tokenizer, const struct round_trip *rule, const char *text,
                           size_t length, unsigned flags) {
    int32_t *ids;
    size_t count;
    if (ci_tokenizer_encode(tokenizer, text, length, flags, &ids, &count) != CLINFER_OK) {
        if (clinfer_error()[0] == 0) abort();
        return;
    }
    /* What is added is no text. */
    if (!(flags & CI_TOKENIZER_ADD_SPECIAL)) check_tokens(tokenizer, rule, ids, count, text, length);
    free(ids);
}

/* The same with a prompt, by the file's template or in its stead: no token of it is outside the vocabulary, and none
 * stands for bytes that the template did not print. */
static void check_prompt(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer, const struct round_trip *rule,
                         const char *text) {
    const struct clinfer_message messages[] = {{.role = "system", .content = "<|im_end|>"},
                                               {.role = "user", .content = text},
                                               {.role = "assistant", .content = " a "},
                                               {.role = "user", .content = text}};
    struct ci_chat *chat;
    struct ci_rendered rendered;
    if (ci_chat_create(gguf, NULL, NULL, tokenizer, &chat) != CLINFER_OK) abort(); /* a bad template waits */
    enum clinfer_status status = ci_chat_render(chat, messages, 4, NULL, true, &rendered);
    if ((status == CLINFER_OK) != (rendered.text != NULL)) abort();
    for (int parse = 0; parse < 2 && status == CLINFER_OK; parse++) {
        int32_t *ids;
        size_t count;
        if (ci_prompt_tokens(tokenizer, &rendered, messages, 4, parse, &ids, &count) != CLINFER_OK) break;
        bool added = count && ids[0] == ci_tokenizer_bos(tokenizer);
        check_tokens(tokenizer, rule, added ? ids + 1 : ids, count - added, rendered.text, rendered.length);
        free(ids);
    }
    ci_rendered_free(&rendered);
    ci_chat_destroy(chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "Hello <|im_start|> a1b22  it's\n\n<|im_end|>\xc3\xa9\xe4\xbd\xa0";
    struct ci_gguf *gguf;
    struct ci_tokenizer *tokenizer;
    uint8_t *copy;
    if (open_input(data, size, &copy, &gguf) != CLINFER_OK) return 0; /* fuzz_gguf.c's business */
    enum clinfer_status status = ci_tokenizer_create_gguf(gguf, &tokenizer);
    if (status != CLINFER_OK) {
        if (tokenizer || strncmp(clinfer_error(), "input: ", 7) != 0) abort();
    } else {
        size_t tail = size < 64 ? size : 64;
        int32_t bos = ci_tokenizer_bos(tokenizer), eos = ci_tokenizer_eos(tokenizer);
        if (bos < -1 || bos >= (int64_t)ci_tokenizer_size(tokenizer)) abort();
        if (eos < -1 || eos >= (int64_t)ci_tokenizer_size(tokenizer)) abort();
        struct round_trip rule = rule_of(gguf);
        for (unsigned flags = 0; flags < 4; flags++) {
            check_encoding(tokenizer, &rule, text, sizeof text - 1, flags);
            check_encoding(tokenizer, &rule, (const char *)copy + size - tail, tail, flags);
        }
        check_prompt(gguf, tokenizer, &rule, text);
        ci_tokenizer_destroy(tokenizer);
    }
    ci_gguf_close(gguf);
    free(copy);
    return 0;
}
