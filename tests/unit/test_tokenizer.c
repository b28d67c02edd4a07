/* The tokenizer: ids and words against what Hugging Face's tokenizers made of some 11,000 strings
 * (tests/data/tokenizer.bin, recorded by scripts/reference_tokenizer.py), the model's own vocabulary, and the time that
 * loading it and long words take.
 *
 * `test_tokenizer --ids VOCABULARY.gguf FILE` (or a folder with a tokenizer.json) prints the ids of texts instead
 * (32-bit length, bytes, and so on): the door for comparing with other tokenizers. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "format/gguf.h"
#include "support/model.h"
#include "support/words.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer)
#define SLOWED_DOWN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SLOWED_DOWN 1
#endif
#ifndef SLOWED_DOWN
#define SLOWED_DOWN 0
#endif

/* ---- against the recorded truth ---- */

struct record {
    struct ci_file file;
    size_t strings, ranges;
    const uint8_t *string_data, *range_data, *id_hashes, *split_hashes[3];
};

static uint32_t u32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t u16(const uint8_t *bytes) { return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8; }

static void open_record(struct record *record) {
    if (ci_file_map("tests/data/tokenizer.bin", &record->file) != CLINFER_OK)
        fail_msg("%s; run from the top of the repository", clinfer_error());
    const uint8_t *at = record->file.data;
    assert_memory_equal(at, "CITOKEN1", 8);
    record->strings = u32(at + 8);
    record->ranges = u32(at + 12);
    record->string_data = at += 16;
    for (size_t i = 0; i < record->strings; i++) at += 2 + u16(at);
    record->range_data = at;
    record->id_hashes = at += 8 * record->ranges;
    at += 4 * (record->strings + record->ranges);
    for (int i = 0; i < 3; i++, at += 2 * (record->strings + record->ranges)) record->split_hashes[i] = at;
    assert_ptr_equal(at, record->file.data + record->file.size);
}

/* Calls check for each string; what it returns are the wrong ones, and the first few are printed. */
static void for_all(const struct record *record,
                    bool (*check)(const struct record *, size_t, const char *, size_t, void *), void *user) {
    const uint8_t *at = record->string_data;
    size_t wrong = 0;
    for (size_t i = 0; i < record->strings + record->ranges; i++) {
        char built[64 * 4];
        const char *text = built;
        size_t length = 0;
        if (i < record->strings) {
            length = u16(at);
            text = (const char *)at + 2;
            at += 2 + length;
        } else {
            const uint8_t *range = record->range_data + 8 * (i - record->strings);
            for (uint32_t c = u32(range); c <= u32(range + 4); c++) length += ci_utf8_encode(c, built + length);
        }
        if (check(record, i, text, length, user)) continue;
        if (wrong++ < 10) print_error("string %zu: '%.*s'\n", i, (int)length, text);
    }
    if (wrong)
        fail_msg("%zu of %zu strings differ from Hugging Face's tokenizers", wrong, record->strings + record->ranges);
}

static uint64_t add_hash(uint64_t hash, uint32_t number) {
    uint8_t bytes[4] = {(uint8_t)number, (uint8_t)(number >> 8), (uint8_t)(number >> 16), (uint8_t)(number >> 24)};
    return ci_hash(hash, bytes, sizeof bytes);
}

static uint32_t fold32(uint64_t hash) { return (uint32_t)hash + (uint32_t)(hash >> 32); }

static uint32_t fold16(uint64_t hash) {
    return (uint32_t)((hash & 0xffff) + (hash >> 16 & 0xffff) + (hash >> 32 & 0xffff) + (hash >> 48)) & 0xffff;
}

static bool same_ids(const struct record *record, size_t index, const char *text, size_t length, void *user) {
    int32_t *ids;
    size_t count;
    if (ci_tokenizer_encode(user, text, length, CI_TOKENIZER_PARSE_SPECIAL, &ids, &count) != CLINFER_OK) return false;
    uint64_t hash = CI_HASH_START;
    for (size_t i = 0; i < count; i++) hash = add_hash(hash, (uint32_t)ids[i]);
    bool same = fold32(hash) == u32(record->id_hashes + 4 * index);
    if (!same) {
        print_error("our ids:");
        for (size_t i = 0; i < count && i < 40; i++) print_error(" %d", ids[i]);
        print_error("; ");
    }
    free(ids);
    return same;
}

static struct ci_tokenizer *model_tokenizer(double *taken) {
    struct ci_gguf *gguf;
    struct ci_tokenizer *tokenizer;
    if (ci_gguf_open(test_model_path(), &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    double start = processor_seconds();
    if (ci_tokenizer_create_gguf(gguf, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    if (taken) *taken = processor_seconds() - start;
    ci_gguf_close(gguf);
    return tokenizer;
}

static void test_ids_equal_hugging_face(void **state) {
    (void)state;
    struct record record;
    open_record(&record);
    if (record.strings + record.ranges < 10000) fail_msg("too few strings are recorded");
    struct ci_tokenizer *tokenizer = model_tokenizer(NULL);
    for_all(&record, same_ids, tokenizer);
    ci_tokenizer_destroy(tokenizer);
    ci_file_unmap(&record.file);
}

struct splitting {
    struct ci_pretokenizer *pretokenizer;
    int which;
    uint64_t hash;
    size_t total;
};

static enum clinfer_status add_word(void *user, const char *word, size_t length) {
    struct splitting *splitting = user;
    (void)word;
    splitting->hash = add_hash(splitting->hash, (uint32_t)length);
    splitting->total += length;
    return CLINFER_OK;
}

static bool same_words(const struct record *record, size_t index, const char *text, size_t length, void *user) {
    struct splitting *splitting = user;
    splitting->hash = CI_HASH_START;
    splitting->total = 0;
    if (ci_pretokenizer_split(splitting->pretokenizer, text, length, add_word, splitting) != CLINFER_OK) return false;
    return splitting->total == length &&
           fold16(splitting->hash) == u16(record->split_hashes[splitting->which] + 2 * index);
}

static void test_words_equal_hugging_face(void **state) {
    (void)state;
    static const char *const names[] = {"gpt-2", "llama-bpe", "qwen2"};
    struct record record;
    open_record(&record);
    for (int i = 0; i < 3; i++) {
        struct splitting splitting = {.which = i};
        if (ci_pretokenizer_create(names[i], strlen(names[i]), &splitting.pretokenizer) != CLINFER_OK)
            fail_msg("%s", clinfer_error());
        print_message("%s\n", names[i]);
        for_all(&record, same_words, &splitting);
        ci_pretokenizer_destroy(splitting.pretokenizer);
    }
    ci_file_unmap(&record.file);
}

/* ---- the model's vocabulary ---- */

static void test_model_tokens_are_known(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = model_tokenizer(NULL);
    size_t length;
    assert_int_equal(ci_tokenizer_size(tokenizer), 49152);
    assert_int_equal(ci_tokenizer_bos(tokenizer), 1);
    assert_int_equal(ci_tokenizer_eos(tokenizer), 2);
    assert_false(ci_tokenizer_adds_bos(tokenizer));
    assert_int_equal(ci_tokenizer_find(tokenizer, "<|im_end|>", 10), 2);
    assert_int_equal(ci_tokenizer_find(tokenizer, "<|im_fin|>", 10), -1);
    assert_int_equal(ci_tokenizer_find(tokenizer, "", 0), -1);
    assert_true(ci_tokenizer_is_end(tokenizer, 2));
    assert_true(ci_tokenizer_is_end(tokenizer, 0)); /* <|endoftext|> */
    assert_false(ci_tokenizer_is_end(tokenizer, 1));
    assert_false(ci_tokenizer_is_end(tokenizer, 4093));
    assert_false(ci_tokenizer_is_end(tokenizer, -1));
    assert_false(ci_tokenizer_is_end(tokenizer, 49152));
    ci_tokenizer_piece(tokenizer, 2, false, &length);
    assert_int_equal(length, 0);
    assert_memory_equal(ci_tokenizer_piece(tokenizer, 2, true, &length), "<|im_end|>", 10);
    assert_int_equal(length, 10);
    ci_tokenizer_piece(tokenizer, 49152, true, &length);
    assert_int_equal(length, 0);
    /* With and without special tokens in the text. */
    expect_ids(tokenizer, "<|im_start|>user", CI_TOKENIZER_PARSE_SPECIAL, 2, 1, 4093);
    expect_ids(tokenizer, "<|im_end|>", 0, 7, 44, 108, 306, 79, 486, 108, 46);
    ci_tokenizer_destroy(tokenizer);
}

/* Every token's bytes are bytes that the tokenizer can read back. */
static void test_every_token_decodes_to_its_bytes(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = model_tokenizer(NULL);
    for (int32_t id = 0; id < (int32_t)ci_tokenizer_size(tokenizer); id++) {
        size_t length;
        const char *piece = ci_tokenizer_piece(tokenizer, id, true, &length);
        if (length == 0) fail_msg("token %d has no bytes", id);
        expect_round_trip(tokenizer, piece, length);
    }
    ci_tokenizer_destroy(tokenizer);
}

/* Best of five: the machine may be busy. */
static void test_model_loads_fast(void **state) {
    (void)state;
    double best = 1e9, taken;
    for (int i = 0; i < 5; i++) {
        ci_tokenizer_destroy(model_tokenizer(&taken));
        if (taken < best) best = taken;
    }
    print_message("49,152 tokens and 48,900 merges in %.1f ms\n", best * 1e3);
    if (SLOWED_DOWN) best /= 10;
    if (best > 0.030) fail_msg("loading the vocabulary took %.1f ms", best * 1e3);
}

/* ---- time ---- */

/* A word of a million bytes: a quadratic step anywhere would take minutes. */
static void test_long_words_take_linear_time(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = model_tokenizer(NULL);
    size_t length = 1 << 20;
    char *text = malloc(length);
    static const char *const patterns[] = {"a", "ab", " ", "\n ", "1", "<", "<|", "\xff", "'s", "the", "\xe6\x97\xa5"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        size_t period = strlen(patterns[i]);
        for (size_t j = 0; j < length; j++) text[j] = patterns[i][j % period];
        int32_t *ids;
        size_t count;
        double start = processor_seconds();
        if (ci_tokenizer_encode(tokenizer, text, length, CI_TOKENIZER_PARSE_SPECIAL, &ids, &count) != CLINFER_OK)
            fail_msg("'%s': %s", patterns[i], clinfer_error());
        double taken = processor_seconds() - start;
        free(ids);
        if (taken > 10) fail_msg("a million bytes of '%s' took %.1f s", patterns[i], taken);
    }
    free(text);
    ci_tokenizer_destroy(tokenizer);
}

static int print_ids(const char *vocabulary, const char *path) {
    struct ci_gguf *gguf = NULL;
    struct ci_tokenizer *tokenizer;
    struct ci_file file;
    struct stat kind;
    enum clinfer_status status = CLINFER_OK;
    if (stat(vocabulary, &kind) == 0 && S_ISDIR(kind.st_mode))
        status = ci_tokenizer_create_folder(vocabulary, &tokenizer);
    else
        status = ci_gguf_open(vocabulary, &gguf);
    if (gguf) status = ci_tokenizer_create_gguf(gguf, &tokenizer);
    if (status != CLINFER_OK || ci_file_map(path, &file) != CLINFER_OK)
        return fprintf(stderr, "%s\n", clinfer_error()), 1;
    for (size_t at = 0; at + 4 <= file.size;) {
        size_t length = u32(file.data + at), count;
        int32_t *ids;
        if (length > file.size - at - 4) break;
        if (ci_tokenizer_encode(tokenizer, (const char *)file.data + at + 4, length, CI_TOKENIZER_PARSE_SPECIAL, &ids,
                                &count) != CLINFER_OK)
            return fprintf(stderr, "%s\n", clinfer_error()), 1;
        for (size_t i = 0; i < count; i++) printf("%d ", ids[i]);
        printf("\n");
        free(ids);
        at += 4 + length;
    }
    ci_file_unmap(&file);
    ci_tokenizer_destroy(tokenizer);
    ci_gguf_close(gguf);
    return 0;
}

int main(int count, char **arguments) {
    if (count == 4 && !strcmp(arguments[1], "--ids")) return print_ids(arguments[2], arguments[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_equal_hugging_face), cmocka_unit_test(test_words_equal_hugging_face),
        cmocka_unit_test(test_model_tokens_are_known), cmocka_unit_test(test_every_token_decodes_to_its_bytes),
        cmocka_unit_test(test_model_loads_fast),       cmocka_unit_test(test_long_words_take_linear_time),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
