/* chat_fixture.h: a model that is a vocabulary and a template, for tests of what becomes of messages. */
#ifndef TESTS_SUPPORT_CHAT_FIXTURE_H
#define TESTS_SUPPORT_CHAT_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "format/gguf.h"
#include "support/gguf_writer.h"
#include "support/words.h"
#include "text/chat.h"

#define CHATML                                                                                                         \
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"                         \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

struct fixture {
    struct words words;
    int32_t start, end; /* <|im_start|>, <|im_end|>; -1: not there */
    struct gguf_writer *writer;
    struct ci_gguf *gguf;
    struct ci_tokenizer *tokenizer;
    struct ci_chat *chat;
    int warnings;
    char warned[2048];
};

static inline void on_log(void *user, enum clinfer_log_level level, const char *message) {
    struct fixture *fixture = user;
    if (level != CLINFER_LOG_WARNING) return;
    fixture->warnings++;
    strncat(fixture->warned, message, sizeof fixture->warned - strlen(fixture->warned) - 2);
    strcat(fixture->warned, "\n");
}

static inline void begin(struct fixture *fixture) {
    memset(fixture, 0, sizeof *fixture);
    make_words(&fixture->words);
    fixture->writer = gguf_writer_create();
    fixture->start = fixture->end = -1;
    clinfer_log_to(on_log, fixture);
}

static inline void begin_with_chatml(struct fixture *fixture, enum ci_token_type type) {
    begin(fixture);
    fixture->start = add_token(&fixture->words, "<|im_start|>", type);
    fixture->end = add_token(&fixture->words, "<|im_end|>", type);
}

static inline enum clinfer_status make(struct fixture *fixture, const char *template, const char *given) {
    size_t size;
    if (template) gguf_writer_string(fixture->writer, "tokenizer.chat_template", template);
    const uint8_t *bytes = gguf_writer_bytes(fixture->writer, &size);
    if (ci_gguf_open_memory(bytes, size, "model.gguf", &fixture->gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    fixture->tokenizer = create_tokenizer(&fixture->words);
    return ci_chat_create(fixture->gguf, given, NULL, fixture->tokenizer, &fixture->chat);
}

static inline void must_make(struct fixture *fixture, const char *template, const char *given) {
    if (make(fixture, template, given) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static inline void end(struct fixture *fixture) {
    ci_chat_destroy(fixture->chat);
    ci_tokenizer_destroy(fixture->tokenizer);
    ci_gguf_close(fixture->gguf);
    gguf_writer_destroy(fixture->writer);
    clinfer_log_to(NULL, NULL);
}

#define MESSAGE(who, what)                                                                                             \
    { .role = who, .content = what }
#define COUNT(messages) (sizeof(messages) / sizeof *(messages))

static const struct clinfer_message conversation[] = {MESSAGE("system", "Be brief."), MESSAGE("user", "Hi there"),
                                                      MESSAGE("assistant", "Hello you"), MESSAGE("user", "Bye")};

static inline void expect_text(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                               const char *expected) {
    struct ci_rendered rendered;
    if (ci_chat_render(fixture->chat, messages, count, NULL, true, &rendered) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    assert_string_equal(rendered.text, expected);
    ci_rendered_free(&rendered);
}

static inline void expect_failure(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                                  enum clinfer_status status, const char *part) {
    struct ci_rendered rendered;
    enum clinfer_status found = ci_chat_render(fixture->chat, messages, count, NULL, true, &rendered);
    if (found != status || !strstr(clinfer_error(), part))
        fail_msg("status %d with '%s', not %d with '%s'", found, clinfer_error(), status, part);
    assert_null(rendered.text);
}

static inline void expect_warnings(const struct fixture *fixture, int count, const char *part) {
    if (fixture->warnings != count || !strstr(fixture->warned, part))
        fail_msg("%d warnings, not %d with '%s':\n%s", fixture->warnings, count, part, fixture->warned);
}

#endif
