/* Any bytes as the answer of a remote API. The first byte says what kind of answer it is, in which dialect, and into
 * pieces of what size it is cut; however it is cut, the same text and the same judgement must come out, and no message
 * holds the key or a control character. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "remote/answer.h"
#include "remote/failure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char key[] = "sk-sentinel-0f9e8d7c6b5a";
static const char *const types[] = {"text/event-stream", "application/json", "", "text/plain"};
static const char *const dialects[] = {"openai", "anthropic"};
static const size_t steps[] = {1, 7, 64, SIZE_MAX};

struct outcome {
    uint64_t hash; /* of the text */
    size_t bytes;
    struct ci_reply reply;
    struct ci_failure failure;
};

static bool take(void *user, const char *text, size_t length) {
    struct outcome *outcome = user;
    if (!length) abort();
    outcome->hash = ci_hash(outcome->hash, text, length);
    outcome->bytes += length;
    return true;
}

static bool take_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct outcome *outcome = user;
    outcome->hash = ci_hash(outcome->hash, &piece->index, sizeof piece->index);
    if (piece->name) outcome->hash = ci_hash(outcome->hash, piece->name, strlen(piece->name));
    outcome->hash = ci_hash(outcome->hash, piece->arguments, piece->length);
    return true;
}

static void check_words(const char *text) {
    if (memmem(text, strlen(text), key, strlen(key))) abort();
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) abort();
}

/* `step` bytes at a time, each piece in memory of its own, so that AddressSanitizer sees its end. */
static void receive(const struct ci_http_answer *head, const char *dialect, const uint8_t *data, size_t size,
                    size_t step, struct outcome *outcome) {
    const struct clinfer_remote remote = {.name = "fuzz", .key_variable = "KEY"};
    const struct ci_failure_context context = {"fuzz", &remote, key, false};
    struct ci_answer answer;
    enum ci_http_wish wish = CI_HTTP_MORE;
    *outcome = (struct outcome){.hash = CI_HASH_START};
    ci_answer_start(&answer, ci_dialect_find(dialect, NULL, 0), take, take_call, outcome);
    for (size_t at = 0; at < size && wish == CI_HTTP_MORE;) {
        size_t count = size - at < step ? size - at : step;
        char *piece = malloc(count);
        if (!piece) abort();
        memcpy(piece, data + at, count);
        wish = ci_answer_receive(&answer, head, piece, count);
        free(piece);
        at += count;
    }
    ci_answer_end(&answer, true);
    ci_failure_judge(&context, head, &answer, &outcome->failure);
    outcome->reply = answer.reply;
    if (answer.reply.text_bytes != outcome->bytes) abort();
    if (outcome->failure.status != CLINFER_OK) check_words(outcome->failure.text);
    ci_answer_free(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    unsigned how = *data++;
    struct ci_http_answer head = {.end = CI_HTTP_DONE, .status = how & 16 ? 400 : 200};
    strcpy(head.content_type, types[how >> 2 & 3]);
    struct outcome whole, cut;
    receive(&head, dialects[how & 1], data, size - 1, SIZE_MAX, &whole);
    receive(&head, dialects[how & 1], data, size - 1, steps[how >> 5 & 3], &cut);
    if (whole.hash != cut.hash || whole.bytes != cut.bytes) abort();
    if (whole.reply.complete != cut.reply.complete || whole.reply.finish != cut.reply.finish ||
        whole.reply.prompt_tokens != cut.reply.prompt_tokens || whole.reply.error.there != cut.reply.error.there)
        abort();
    if (whole.failure.status != cut.failure.status || strcmp(whole.failure.text, cut.failure.text) != 0) abort();
    return 0;
}
