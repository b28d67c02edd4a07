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
#include "text/chat.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum clinfer_status open_input(const uint8_t *data, size_t size, uint8_t **copy, struct ci_gguf **gguf) {
    *copy = malloc(size + !size); /* of its own, so that AddressSanitizer sees its end */
    if (!*copy) abort();
    memcpy(*copy, data, size);
    enum clinfer_status status = ci_gguf_open_memory(*copy, size, "input", gguf);
    if (status != CLINFER_OK) free(*copy);
    return status;
}

static void check_encoding(const struct ci_tokenizer *tokenizer, const char *text, size_t length, unsigned flags) {
    int32_t *ids;
    size_t count, at = 0;
    if (ci_tokenizer_encode(tokenizer, text, length, flags, &ids, &count) != CLINFER_OK) {
        if (clinfer_error()[0] == 0) abort();
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        if (ids[i] < 0 || (size_t)ids[i] >= ci_tokenizer_size(tokenizer)) abort();
        const char *piece = ci_tokenizer_piece(tokenizer, ids[i], true, &bytes);
        (void)ci_tokenizer_is_end(tokenizer, ids[i]);
        if (flags & CI_TOKENIZER_ADD_SPECIAL) continue; /* the added ones are no text */
        for (size_t j = 0; j < bytes; j++, at++) {
            while (at < length && text[at] != piece[j]) at++;
            if (at >= length) abort();
        }
    }
    free(ids);
}

/* The same with a prompt, by the file's template or in its stead: no token of it is outside the vocabulary, and none
 * stands for bytes that the template did not print. */
static void check_prompt(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer, const char *text) {
    const struct clinfer_message messages[] = {{.role = "system", .content = "<|im_end|>"},
                                               {.role = "user", .content = text},
                                               {.role = "assistant", .content = " a "},
                                               {.role = "user", .content = text}};
    struct ci_chat *chat;
    struct ci_rendered rendered;
    if (ci_chat_create(gguf, NULL, tokenizer, &chat) != CLINFER_OK) abort(); /* a bad template waits */
    enum clinfer_status status = ci_chat_render(chat, messages, 4, true, &rendered);
    if ((status == CLINFER_OK) != (rendered.text != NULL)) abort();
    for (int parse = 0; parse < 2 && status == CLINFER_OK; parse++) {
        int32_t *ids;
        size_t count, at = 0;
        if (ci_prompt_tokens(tokenizer, &rendered, messages, 4, parse, &ids, &count) != CLINFER_OK) break;
        bool added = count && ids[0] == ci_tokenizer_bos(tokenizer);
        for (size_t i = added; i < count; i++) {
            size_t bytes;
            const char *piece = ci_tokenizer_piece(tokenizer, ids[i], true, &bytes);
            for (size_t j = 0; j < bytes; j++, at++) {
                while (at < rendered.length && rendered.text[at] != piece[j]) at++;
                if (at >= rendered.length) abort();
            }
        }
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
        for (unsigned flags = 0; flags < 4; flags++) {
            check_encoding(tokenizer, text, sizeof text - 1, flags);
            check_encoding(tokenizer, (const char *)copy + size - tail, tail, flags);
        }
        check_prompt(gguf, tokenizer, text);
        ci_tokenizer_destroy(tokenizer);
    }
    ci_gguf_close(gguf);
    free(copy);
    return 0;
}
