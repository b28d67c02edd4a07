#define _GNU_SOURCE
#include "support/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "text/utf8.h"

double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

struct ci_text_span span(const char *text) {
    return (struct ci_text_span){text, strlen(text)};
}

void make_words(struct words *words) {
    memset(words, 0, sizeof *words);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        ci_utf8_encode(plain ? byte : next++, words->spelled[byte]);
        words->tokens[byte] = span(words->spelled[byte]);
        words->types[byte] = CI_TOKEN_NORMAL;
    }
    words->source = (struct ci_tokenizer_source){.model = span("gpt2"),
                                                 .pre_tokenizer = span("gpt-2"),
                                                 .tokens = words->tokens,
                                                 .types = words->types,
                                                 .token_count = 256,
                                                 .merges = words->merges,
                                                 .bos_id = -1,
                                                 .eos_id = -1,
                                                 .eot_id = -1,
                                                 .eom_id = -1,
                                                 .unknown_id = -1,
                                                 .padding_id = -1,
                                                 .classifier_id = -1,
                                                 .separator_id = -1,
                                                 .add_bos = -1,
                                                 .add_eos = -1,
                                                 .add_space_prefix = -1,
                                                 .remove_extra_whitespaces = -1,
                                                 .lowercase = -1,
                                                 .strip_accents = -1};
}

int32_t add_token(struct words *words, const char *text, enum ci_token_type type) {
    size_t id = words->source.token_count++;
    words->tokens[id] = span(text);
    words->types[id] = (int32_t)type;
    return (int32_t)id;
}

void add_merge(struct words *words, const char *text) { words->merges[words->source.merge_count++] = span(text); }

void make_pieces(struct words *words) {
    make_words(words);
    words->source.model = span("llama");
    words->source.pre_tokenizer = span("");
    words->source.scores = words->scores;
    words->source.token_count = 0;
    add_token(words, "<unk>", CI_TOKEN_UNKNOWN);
    add_token(words, "<s>", CI_TOKEN_CONTROL);
    add_token(words, "</s>", CI_TOKEN_CONTROL);
    for (int byte = 0; byte < 256; byte++) {
        snprintf(words->spelled[byte], sizeof words->spelled[byte], "<0x%02X>", (unsigned)byte);
        add_token(words, words->spelled[byte], CI_TOKEN_BYTE);
    }
}

int32_t add_piece(struct words *words, const char *text, float score) {
    int32_t id = add_token(words, text, CI_TOKEN_NORMAL);
    words->scores[id] = score;
    return id;
}

struct ci_tokenizer *create_tokenizer(const struct words *words) {
    struct ci_tokenizer *tokenizer;
    if (ci_tokenizer_create(&words->source, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return tokenizer;
}

void expect_ids(const struct ci_tokenizer *tokenizer, const char *text, unsigned flags, size_t count, ...) {
    int32_t *ids;
    size_t found;
    if (ci_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids, &found) != CLINFER_OK)
        fail_msg("'%s': %s", text, clinfer_error());
    va_list wanted;
    va_start(wanted, count);
    for (size_t i = 0; i < count && i < found; i++) {
        int id = va_arg(wanted, int);
        if (ids[i] != id) fail_msg("'%s': token %zu is %d, not %d", text, i, ids[i], id);
    }
    va_end(wanted);
    if (found != count) fail_msg("'%s': %zu tokens, not %zu", text, found, count);
    free(ids);
}

void expect_refused(const struct words *words, enum clinfer_status expected, const char *part) {
    struct ci_tokenizer *tokenizer;
    enum clinfer_status status = ci_tokenizer_create(&words->source, &tokenizer);
    if (status == CLINFER_OK) fail_msg("a vocabulary was taken that should fail with '%s'", part);
    assert_null(tokenizer);
    if (status != expected || !strstr(clinfer_error(), part))
        fail_msg("status %d with '%s', not %d with '%s'", status, clinfer_error(), expected, part);
}

void expect_round_trip(const struct ci_tokenizer *tokenizer, const char *text, size_t length) {
    int32_t *ids;
    size_t count, at = 0;
    if (ci_tokenizer_encode(tokenizer, text, length, 0, &ids, &count) != CLINFER_OK) fail_msg("%s", clinfer_error());
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *piece = ci_tokenizer_piece(tokenizer, ids[i], false, &bytes);
        if (bytes > length - at || memcmp(piece, text + at, bytes)) fail_msg("token %zu changes byte %zu", i, at);
        at += bytes;
    }
    if (at != length) fail_msg("%zu of %zu bytes came back", at, length);
    free(ids);
}
