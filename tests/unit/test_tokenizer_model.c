/* tokenizer.model, SentencePiece's own file, with small ones made here: what its fields mean, what is refused and how
 * that is said, and that damage is told with its place. Whole vocabularies: scripts/compare_tokenizer_json.py. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "support/words.h"
#include "text/tokenizer_json.h"

#define SPACE "\xe2\x96\x81"

enum { ADD = CI_TOKENIZER_ADD_SPECIAL, SPECIAL = CI_TOKENIZER_PARSE_SPECIAL };

/* ---- a writer of Protocol Buffers: lengths and values below 128 ---- */

struct bytes {
    uint8_t data[4096];
    size_t length;
};

static void put(struct bytes *out, uint8_t byte) {
    assert_true(out->length < sizeof out->data);
    out->data[out->length++] = byte;
}

static void put_key(struct bytes *out, unsigned number, unsigned wire) {
    unsigned key = number << 3 | wire;
    if (key > 127) put(out, (uint8_t)(key & 127) | 128);
    put(out, (uint8_t)(key > 127 ? key >> 7 : key));
}

static void put_number(struct bytes *out, unsigned number, uint64_t value) {
    put_key(out, number, 0);
    for (; value > 127; value >>= 7) put(out, (uint8_t)(value & 127) | 128);
    put(out, (uint8_t)value);
}

static void put_bytes(struct bytes *out, unsigned number, const void *bytes, size_t length) {
    assert_true(length < 128);
    put_key(out, number, 2);
    put(out, (uint8_t)length);
    for (size_t i = 0; i < length; i++) put(out, ((const uint8_t *)bytes)[i]);
}

static void put_piece(struct bytes *out, const char *text, float score, unsigned type) {
    struct bytes piece = {.length = 0};
    put_bytes(&piece, 1, text, strlen(text));
    put_key(&piece, 2, 5);
    for (size_t i = 0; i < sizeof score; i++) put(&piece, ((const uint8_t *)&score)[i]);
    if (type != 1) put_number(&piece, 3, type); /* 1 is what counts where none is said */
    put_bytes(out, 1, piece.data, piece.length);
}

/* What a test has otherwise than Llama's. */
struct made {
    uint64_t kind, bos;
    int no_prefix, merge_spaces, suffix, unescaped;
    const char *charsmap;
};

static void make(struct bytes *out, struct made made) {
    struct bytes trainer = {.length = 0}, normalizer = {.length = 0};
    *out = (struct bytes){.length = 0};
    put_piece(out, "<unk>", 0, 2);
    put_piece(out, "<s>", 0, 3);
    put_piece(out, "</s>", 0, 3);
    put_piece(out, "<0x21>", 0, 6);
    put_piece(out, SPACE, -9, 1);
    put_piece(out, "a", -8, 1);
    put_piece(out, "b", -7, 1);
    put_piece(out, "ab", -2, 1);
    put_piece(out, SPACE "ab", -1, 1);
    put_piece(out, "<tool>", 0, 4);
    put_number(&trainer, 3, made.kind ? made.kind : 2);
    put_number(&trainer, 4, 10);
    if (made.suffix) put_number(&trainer, 24, 1);
    put_number(&trainer, 41, made.bos ? made.bos : 1);
    put_number(&trainer, 43, UINT64_MAX); /* -1: no padding */
    put_bytes(&normalizer, 1, "identity", 8);
    if (made.charsmap) put_bytes(&normalizer, 2, made.charsmap, strlen(made.charsmap));
    put_number(&normalizer, 3, !made.no_prefix);
    put_number(&normalizer, 4, made.merge_spaces != 0);
    if (made.unescaped) put_number(&normalizer, 5, 0);
    put_bytes(out, 2, trainer.data, trainer.length);
    put_bytes(out, 3, normalizer.data, normalizer.length);
}

static enum clinfer_status read_bytes(const void *data, size_t length, const char *config, const char *added,
                                      struct ci_tokenizer **tokenizer) {
    const struct ci_tokenizer_json files = {.sentencepiece = {"tokenizer.model", data, length},
                                            .config = {"config.json", config, config ? strlen(config) : 0},
                                            .added = {"added.json", added, added ? strlen(added) : 0}};
    return ci_tokenizer_create_json(&files, tokenizer);
}

static struct ci_tokenizer *create(struct made made, const char *config, const char *added) {
    struct bytes bytes;
    struct ci_tokenizer *tokenizer;
    make(&bytes, made);
    if (read_bytes(bytes.data, bytes.length, config, added, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return tokenizer;
}

static void expect_failure(struct made made, const char *config, const char *added, enum clinfer_status expected,
                           const char *message) {
    struct bytes bytes;
    struct ci_tokenizer *tokenizer;
    make(&bytes, made);
    enum clinfer_status status = read_bytes(bytes.data, bytes.length, config, added, &tokenizer);
    if (status != expected || !strstr(clinfer_error(), message))
        fail_msg("status %d, not %d with '%s': %s", status, expected, message, clinfer_error());
    assert_null(tokenizer);
}

/* ---- what files mean ---- */

static void test_pieces_merge_by_score(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create((struct made){0}, NULL, NULL);
    expect_ids(tokenizer, "ab", 0, 1, 8);
    expect_ids(tokenizer, "abba", ADD, 4, 1, 8, 6, 5);
    expect_ids(tokenizer, "ab!", 0, 2, 8, 3);
    expect_ids(tokenizer, "a<tool>", 0, 3, 4, 5, 9);
    assert_int_equal(ci_tokenizer_bos(tokenizer), 1);
    assert_int_equal(ci_tokenizer_eos(tokenizer), 2);
    assert_true(ci_tokenizer_is_end(tokenizer, 2));
    ci_tokenizer_destroy(tokenizer);
}

static void test_the_space_before_a_text_is_the_files(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create((struct made){.no_prefix = 1}, NULL, NULL);
    expect_ids(tokenizer, "ab", 0, 1, 7);
    ci_tokenizer_destroy(tokenizer);
}

static void test_ids_are_the_trainers_or_the_configs(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create((struct made){.bos = 2}, NULL, NULL);
    assert_int_equal(ci_tokenizer_bos(tokenizer), 2);
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create((struct made){.bos = 2}, "{\"bos_token\": \"<s>\", \"add_bos_token\": false}", NULL);
    assert_int_equal(ci_tokenizer_bos(tokenizer), 1);
    assert_false(ci_tokenizer_adds_bos(tokenizer));
    ci_tokenizer_destroy(tokenizer);
}

static void test_tokens_that_were_added_count(void **state) {
    (void)state;
    static const char config[] = "{\"added_tokens_decoder\": {\"1\": {\"content\": \"<s>\", \"special\": true},"
                                 "\"11\": {\"content\": \"<|end|>\", \"special\": true, \"rstrip\": true}}}";
    struct ci_tokenizer *tokenizer = create((struct made){0}, config, "{\"<|end|>\": 11, \"<word>\": 10}");
    assert_int_equal(ci_tokenizer_size(tokenizer), 12);
    expect_ids(tokenizer, "ab<|end|> ab<word>", SPECIAL, 4, 8, 11, 8, 10);
    assert_true(ci_tokenizer_is_control(tokenizer, 11));
    assert_false(ci_tokenizer_is_control(tokenizer, 10));
    ci_tokenizer_destroy(tokenizer);
}

static void test_a_folder_is_read_without_a_tokenizer_json(void **state) {
    (void)state;
    char folder[] = "/tmp/clinfer-model-XXXXXX", path[64];
    struct bytes bytes;
    struct ci_tokenizer *tokenizer;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(ci_tokenizer_create_folder(folder, &tokenizer), CLINFER_NOT_FOUND);
    assert_non_null(strstr(clinfer_error(), "tokenizer.model"));
    make(&bytes, (struct made){0});
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    assert_int_equal(ci_file_write(path, bytes.data, bytes.length), CLINFER_OK);
    if (ci_tokenizer_create_folder(folder, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    expect_ids(tokenizer, "ab", 0, 1, 8);
    ci_tokenizer_destroy(tokenizer);
    unlink(path);
    rmdir(folder);
}

/* ---- what is refused ---- */

static void test_what_would_cut_otherwise_is_refused(void **state) {
    (void)state;
    expect_failure((struct made){.kind = 1}, NULL, NULL, CLINFER_UNSUPPORTED, "trainer_spec.model_type: unigram");
    expect_failure((struct made){.kind = 9}, NULL, NULL, CLINFER_UNSUPPORTED, "a new kind");
    expect_failure((struct made){.suffix = 1}, NULL, NULL, CLINFER_UNSUPPORTED, "treat_whitespace_as_suffix");
    expect_failure((struct made){.merge_spaces = 1}, NULL, NULL, CLINFER_UNSUPPORTED, "remove_extra_whitespaces");
    expect_failure((struct made){.unescaped = 1}, NULL, NULL, CLINFER_UNSUPPORTED, "escape_whitespaces");
    expect_failure((struct made){.charsmap = "x"}, NULL, NULL, CLINFER_UNSUPPORTED, "precompiled_charsmap");
}

static void test_contradictions_are_named(void **state) {
    (void)state;
    expect_failure((struct made){.bos = 1 << 30}, NULL, NULL, CLINFER_BAD_FILE,
                   "tokenizer.model: trainer_spec.bos_id: 1073741824 is no id");
    expect_failure((struct made){0}, NULL, "[1]", CLINFER_BAD_FILE, "added.json: (top): is no object");
    expect_failure((struct made){0}, NULL, "{\"<x>\": \"7\"}", CLINFER_BAD_FILE, "added.json: <x>: is no id");
    expect_failure((struct made){0}, NULL, "{\"<x>\": 99999999}", CLINFER_BAD_FILE, "out of range");
    expect_failure((struct made){0}, NULL, "{\"<x>\": 5}", CLINFER_BAD_FILE, "is that of 'a' already");
    expect_failure((struct made){0}, "{\"added_tokens_decoder\": {\"seven\": {\"content\": \"x\"}}}", NULL,
                   CLINFER_BAD_FILE, "added_tokens[0].id");
    expect_failure((struct made){0}, "{\"added_tokens_decoder\": 5}", NULL, CLINFER_BAD_FILE,
                   "config.json: added_tokens_decoder: is no object");
}

/* Every length, and every byte changed in four ways: read, or refused with the file's name first. */
static void test_damage_is_told(void **state) {
    (void)state;
    static const uint8_t changes[] = {0x01, 0x80, 0xff, 0x07};
    struct bytes whole;
    size_t refused = 0;
    make(&whole, (struct made){0});
    for (size_t i = 0; i < whole.length * (1 + sizeof changes); i++) {
        struct bytes bytes = whole;
        size_t at = i % whole.length, change = i / whole.length, length = change ? whole.length : at;
        struct ci_tokenizer *tokenizer;
        if (change) bytes.data[at] ^= changes[change - 1];
        void *exact = malloc(length ? length : 1); /* so that a sanitizer sees what is read behind it */
        memcpy(exact, bytes.data, length);
        if (read_bytes(exact, length, NULL, NULL, &tokenizer) != CLINFER_OK) {
            assert_memory_equal(clinfer_error(), "tokenizer.model: ", 17);
            refused++;
        }
        ci_tokenizer_destroy(tokenizer);
        free(exact);
    }
    assert_true(refused > whole.length); /* most of what is shortened, and much of what is changed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_merge_by_score),
        cmocka_unit_test(test_the_space_before_a_text_is_the_files),
        cmocka_unit_test(test_ids_are_the_trainers_or_the_configs),
        cmocka_unit_test(test_tokens_that_were_added_count),
        cmocka_unit_test(test_a_folder_is_read_without_a_tokenizer_json),
        cmocka_unit_test(test_what_would_cut_otherwise_is_refused),
        cmocka_unit_test(test_contradictions_are_named),
        cmocka_unit_test(test_damage_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
