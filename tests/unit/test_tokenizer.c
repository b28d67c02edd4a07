/* The tokenizer: ids and words against what Hugging Face's tokenizers made of some 11,000 strings
 * (tests/data/tokenizer.bin, recorded by scripts/reference_tokenizer.py), bytes that are no UTF-8, special tokens,
 * hostile vocabularies, and the time that long words and loading take.
 *
 * `test_tokenizer --ids VOCABULARY.gguf FILE` prints the ids of texts instead (32-bit length, bytes, and so on): the
 * door for comparing with other tokenizers. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "format/gguf.h"
#include "support/gguf_writer.h"
#include "support/model.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

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

/* Of this process, as the machine may be busy. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static struct ci_text_span span(const char *text) { return (struct ci_text_span){text, strlen(text)}; }

/* ---- vocabularies of our own: all 256 bytes, then what a test adds ---- */

enum { MAXIMUM = 400 };

struct words {
    struct ci_tokenizer_source source;
    char spelled[256][3];
    struct ci_text_span tokens[MAXIMUM], merges[MAXIMUM];
    int32_t types[MAXIMUM];
};

/* GPT-2's spelling of a byte, told once more: 188 bytes are themselves, the others follow from U+0100 on. */
static void make_words(struct words *words) {
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
                                                 .add_bos = -1,
                                                 .add_eos = -1};
}

static int32_t add_token(struct words *words, const char *text, enum ci_token_type type) {
    size_t id = words->source.token_count++;
    words->tokens[id] = span(text);
    words->types[id] = (int32_t)type;
    return (int32_t)id;
}

static void add_merge(struct words *words, const char *text) {
    words->merges[words->source.merge_count++] = span(text);
}

static struct ci_tokenizer *create(const struct words *words) {
    struct ci_tokenizer *tokenizer;
    if (ci_tokenizer_create(&words->source, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return tokenizer;
}

static void expect_ids(const struct ci_tokenizer *tokenizer, const char *text, unsigned flags, size_t count, ...) {
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

static void expect_refused(const struct words *words, enum clinfer_status expected, const char *part) {
    struct ci_tokenizer *tokenizer;
    enum clinfer_status status = ci_tokenizer_create(&words->source, &tokenizer);
    if (status == CLINFER_OK) fail_msg("a vocabulary was taken that should fail with '%s'", part);
    assert_null(tokenizer);
    if (status != expected || !strstr(clinfer_error(), part))
        fail_msg("status %d with '%s', not %d with '%s'", status, clinfer_error(), expected, part);
}

/* Encodes, decodes and compares byte for byte. */
static void expect_round_trip(const struct ci_tokenizer *tokenizer, const char *text, size_t length) {
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
    double start = seconds();
    if (ci_tokenizer_create_gguf(gguf, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    if (taken) *taken = seconds() - start;
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

/* ---- merges ---- */

static void test_merges_go_by_rank_then_from_the_left(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t ab = add_token(&words, "ab", CI_TOKEN_NORMAL), bc = add_token(&words, "bc", CI_TOKEN_NORMAL);
    int32_t aa = add_token(&words, "aa", CI_TOKEN_NORMAL), abc = add_token(&words, "abc", CI_TOKEN_NORMAL);
    int32_t aaaa = add_token(&words, "aaaa", CI_TOKEN_NORMAL);
    static const char *const merges[] = {"b c", "a b", "a a", "ab c", "aa aa", "a bc"};
    for (size_t i = 0; i < 6; i++) add_merge(&words, merges[i]);
    struct ci_tokenizer *tokenizer = create(&words);
    expect_ids(tokenizer, "abc", 0, 1, abc); /* b c first, then a bc */
    expect_ids(tokenizer, "ab", 0, 1, ab);
    expect_ids(tokenizer, "bcb", 0, 2, bc, 'b');
    expect_ids(tokenizer, "aaa", 0, 2, aa, 'a');
    expect_ids(tokenizer, "aaaaa", 0, 2, aaaa, 'a');
    expect_ids(tokenizer, "aaaaaaa", 0, 3, aaaa, aa, 'a');
    expect_ids(tokenizer, "a a", 0, 3, 'a', ' ', 'a'); /* no merge across words */
    expect_ids(tokenizer, "", 0, 0);
    ci_tokenizer_destroy(tokenizer);
}

/* Real vocabularies merge runs of 256 spaces. */
static void test_long_merges_are_taken(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    char half[301], whole[601], merge[602];
    memset(half, 'a', 300);
    memset(whole, 'a', 600);
    half[300] = whole[600] = 0;
    snprintf(merge, sizeof merge, "%s %s", half, half);
    add_token(&words, half, CI_TOKEN_NORMAL);
    int32_t id = add_token(&words, whole, CI_TOKEN_NORMAL);
    add_merge(&words, merge);
    words.source.pre_tokenizer = span("llama-bpe"); /* takes it as a whole word */
    struct ci_tokenizer *tokenizer = create(&words);
    expect_ids(tokenizer, whole, 0, 1, id);
    ci_tokenizer_destroy(tokenizer);
}

static void test_whole_words_come_before_merges(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t hello = add_token(&words, "hello", CI_TOKEN_NORMAL), he = add_token(&words, "he", CI_TOKEN_NORMAL);
    add_merge(&words, "h e");
    struct ci_tokenizer *tokenizer = create(&words);
    expect_ids(tokenizer, "hello", 0, 4, he, 'l', 'l', 'o');
    ci_tokenizer_destroy(tokenizer);
    words.source.pre_tokenizer = span("llama-bpe");
    tokenizer = create(&words);
    expect_ids(tokenizer, "hello", 0, 1, hello);
    expect_ids(tokenizer, "hellox", 0, 5, he, 'l', 'l', 'o', 'x');
    ci_tokenizer_destroy(tokenizer);
}

static void test_bytes_without_token_are_left_out(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    words.tokens['x'] = span("");
    int32_t ab = add_token(&words, "ab", CI_TOKEN_NORMAL);
    add_merge(&words, "a b");
    struct ci_tokenizer *tokenizer = create(&words);
    expect_ids(tokenizer, "axb", 0, 1, ab);
    expect_ids(tokenizer, "x", 0, 0);
    ci_tokenizer_destroy(tokenizer);
}

/* ---- special tokens ---- */

static void test_special_tokens_longest_first(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t a = add_token(&words, "<a>", CI_TOKEN_CONTROL), ab = add_token(&words, "<a><b>", CI_TOKEN_CONTROL);
    int32_t user = add_token(&words, "<u>", CI_TOKEN_USER_DEFINED), b = add_token(&words, "<b>", CI_TOKEN_CONTROL);
    int32_t unknown = add_token(&words, "<unk>", CI_TOKEN_UNKNOWN);
    struct ci_tokenizer *tokenizer = create(&words);
    unsigned parse = CI_TOKENIZER_PARSE_SPECIAL;
    expect_ids(tokenizer, "<a><b><a>", parse, 2, ab, a);
    expect_ids(tokenizer, "<a><a><b>x", parse, 3, a, ab, 'x');
    expect_ids(tokenizer, "<a<b>", parse, 3, '<', 'a', b);
    expect_ids(tokenizer, "<<u>>", parse, 3, '<', user, '>');
    expect_ids(tokenizer, "<unk>", parse, 1, unknown);
    expect_ids(tokenizer, "<a", parse, 2, '<', 'a');
    /* Without the flag only what the user defined counts. */
    expect_ids(tokenizer, "<b><u>", 0, 4, '<', 'b', '>', user);
    assert_true(ci_tokenizer_is_control(tokenizer, a));
    assert_false(ci_tokenizer_is_control(tokenizer, user));
    ci_tokenizer_destroy(tokenizer);
}

static void test_first_and_last_tokens_are_added_on_request(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t bos = add_token(&words, "<s>", CI_TOKEN_CONTROL), eos = add_token(&words, "</s>", CI_TOKEN_CONTROL);
    words.source.bos_id = bos;
    words.source.eos_id = eos;
    words.source.add_bos = words.source.add_eos = 1;
    struct ci_tokenizer *tokenizer = create(&words);
    expect_ids(tokenizer, "x", CI_TOKENIZER_ADD_SPECIAL, 3, bos, 'x', eos);
    expect_ids(tokenizer, "", CI_TOKENIZER_ADD_SPECIAL, 2, bos, eos);
    expect_ids(tokenizer, "x", 0, 1, 'x');
    ci_tokenizer_destroy(tokenizer);
    /* When the file says nothing, the pre-tokenizer decides. */
    words.source.add_bos = words.source.add_eos = -1;
    tokenizer = create(&words);
    assert_false(ci_tokenizer_adds_bos(tokenizer));
    ci_tokenizer_destroy(tokenizer);
    words.source.pre_tokenizer = span("llama-bpe");
    tokenizer = create(&words);
    assert_true(ci_tokenizer_adds_bos(tokenizer));
    assert_false(ci_tokenizer_adds_eos(tokenizer));
    ci_tokenizer_destroy(tokenizer);
}

static void test_end_tokens_are_known_by_name_and_id(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t eot = add_token(&words, "<|eot_id|>", CI_TOKEN_CONTROL),
            end = add_token(&words, "<|end|>", CI_TOKEN_CONTROL);
    int32_t call = add_token(&words, "<|call|>", CI_TOKEN_CONTROL), own = add_token(&words, "<stop>", CI_TOKEN_CONTROL);
    int32_t text = add_token(&words, "<|im_end|>", CI_TOKEN_NORMAL);
    words.source.eos_id = own;
    struct ci_tokenizer *tokenizer = create(&words);
    assert_true(ci_tokenizer_is_end(tokenizer, eot));
    assert_true(ci_tokenizer_is_end(tokenizer, end));
    assert_true(ci_tokenizer_is_end(tokenizer, call));
    assert_true(ci_tokenizer_is_end(tokenizer, own));
    assert_false(ci_tokenizer_is_end(tokenizer, text)); /* a normal token that only looks so */
    ci_tokenizer_destroy(tokenizer);
    /* The harmony format: <|end|> ends a message, not the turn. */
    int32_t result = add_token(&words, "<|return|>", CI_TOKEN_CONTROL);
    tokenizer = create(&words);
    assert_false(ci_tokenizer_is_end(tokenizer, end));
    assert_true(ci_tokenizer_is_end(tokenizer, result));
    ci_tokenizer_destroy(tokenizer);
}

/* ---- bytes that are no UTF-8 ---- */

static void test_any_bytes_come_back(void **state) {
    (void)state;
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    struct words words;
    make_words(&words);
    add_token(&words, "\xc3\xa2\xc4\x80", CI_TOKEN_NORMAL); /* the bytes E2 00 */
    for (size_t i = 0; i < 4; i++) {
        words.source.pre_tokenizer = span(names[i]);
        struct ci_tokenizer *tokenizer = create(&words);
        char bytes[64];
        uint64_t random = 1;
        for (int round = 0; round < 5000; round++) {
            size_t length = 1 + (size_t)round % sizeof bytes;
            for (size_t j = 0; j < length; j++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                /* Few kinds of bytes, so that sequences come close to being characters. */
                static const char kinds[] =
                    "a \n\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\x80\xff\xfe\xc0\x80\xf4\x90 1'";
                bytes[j] = round % 2 ? (char)(random >> 56) : kinds[(random >> 33) % (sizeof kinds)];
            }
            expect_round_trip(tokenizer, bytes, length);
        }
        ci_tokenizer_destroy(tokenizer);
    }
}

/* Characters around damaged bytes are cut as if they stood alone. */
static void test_damaged_bytes_are_words_of_their_own(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t pair = add_token(&words, "\xc3\xbf\xc3\xbe", CI_TOKEN_NORMAL); /* the bytes FF FE */
    int32_t mixed = add_token(&words, "a\xc3\xbf", CI_TOKEN_NORMAL);       /* a FF: never */
    add_merge(&words, "\xc3\xbf \xc3\xbe");
    add_merge(&words, "a \xc3\xbf");
    (void)mixed;
    struct ci_tokenizer *tokenizer = create(&words);
    expect_ids(tokenizer, "a\xff\xfe", 0, 2, 'a', pair);
    expect_ids(tokenizer, "\xe2\x82", 0, 2, 0xe2, 0x82);           /* the start of a character */
    expect_ids(tokenizer, "\xed\xa0\x80", 0, 3, 0xed, 0xa0, 0x80); /* a surrogate */
    ci_tokenizer_destroy(tokenizer);
}

/* ---- hostile vocabularies ---- */

static void test_hostile_vocabularies_are_refused(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    words.source.model = span("llama");
    expect_refused(&words, CLINFER_UNSUPPORTED, "'llama'");
    words.source.model = span("");
    expect_refused(&words, CLINFER_UNSUPPORTED, "tokenizer.ggml.model");
    make_words(&words);
    words.source.pre_tokenizer = span("no-such-thing");
    expect_refused(&words, CLINFER_UNSUPPORTED, "smollm");
    words.source.pre_tokenizer = span("");
    expect_refused(&words, CLINFER_UNSUPPORTED, "tokenizer.ggml.pre");

    make_words(&words);
    add_token(&words, "a", CI_TOKEN_NORMAL);
    expect_refused(&words, CLINFER_BAD_FILE, "elements 97 and 256 are both 'a'");
    make_words(&words);
    add_token(&words, "<x>", CI_TOKEN_CONTROL);
    add_token(&words, "<x>", CI_TOKEN_NORMAL);
    expect_refused(&words, CLINFER_BAD_FILE, "'<x>'");
    make_words(&words);
    words.types[7] = 99;
    expect_refused(&words, CLINFER_BAD_FILE, "element 7 is 99");
    words.types[7] = -1;
    expect_refused(&words, CLINFER_BAD_FILE, "token_type");

    make_words(&words);
    words.source.token_count = 0;
    expect_refused(&words, CLINFER_BAD_FILE, "0 tokens");
    words.source.token_count = SIZE_MAX;
    expect_refused(&words, CLINFER_BAD_FILE, "tokens");
    words.source.token_count = (size_t)1 << 31;
    expect_refused(&words, CLINFER_BAD_FILE, "tokens");
    make_words(&words);
    words.source.merge_count = SIZE_MAX;
    expect_refused(&words, CLINFER_BAD_FILE, "merges");
}

static void test_hostile_merges_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *merge, *part;
    } cases[] = {{"a q q", "not a token"},  {"a zz", "the right part is not a token"},
                 {"zz a", "the left part"}, {"a b", "the whole"},
                 {"ab", "not two tokens"},  {" ab", "not two tokens"},
                 {"ab ", "not two tokens"}, {"", "not two tokens"},
                 {" ", "not two tokens"}};
    struct words words;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_words(&words);
        add_merge(&words, cases[i].merge);
        expect_refused(&words, CLINFER_BAD_FILE, cases[i].part);
    }
    char *long_merge = malloc(5000);
    memset(long_merge, 'a', 4999);
    long_merge[1000] = ' ';
    long_merge[4999] = 0;
    make_words(&words);
    add_merge(&words, long_merge);
    expect_refused(&words, CLINFER_BAD_FILE, "4999 bytes");
    long_merge[1000] = 'a';
    make_words(&words);
    add_token(&words, long_merge, CI_TOKEN_CONTROL);
    expect_refused(&words, CLINFER_BAD_FILE, "special token of 4999 bytes");
    free(long_merge);
}

static void test_hostile_ids_are_refused(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int64_t *const ids[] = {&words.source.bos_id, &words.source.eos_id,     &words.source.eot_id,
                            &words.source.eom_id, &words.source.unknown_id, &words.source.padding_id};
    static const int64_t values[] = {256, -2, INT64_MAX, INT64_MIN, (int64_t)1 << 32};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 5; j++) {
            *ids[i] = values[j];
            expect_refused(&words, CLINFER_BAD_FILE, "outside the vocabulary");
            *ids[i] = -1;
        }
    words.source.add_bos = 1;
    expect_refused(&words, CLINFER_BAD_FILE, "add_bos_token");
    words.source.add_bos = -1;
    words.source.add_eos = 1;
    expect_refused(&words, CLINFER_BAD_FILE, "add_eos_token");
}

/* The same through a file: what only the GGUF side can get wrong. */
static void test_hostile_files_are_refused(void **state) {
    (void)state;
    static const char *const tokens[] = {"a", "b", "ab"}, *const merges[] = {"a b"};
    static const int32_t types[] = {1, 1, 1, 1};
    for (int damage = 0; damage < 7; damage++) {
        static const char *const parts[] = {"tokenizer.ggml.model",        "tokenizer.ggml.pre",
                                            "tokenizer.ggml.tokens",       "tokenizer.ggml.merges",
                                            "4 elements for 3 tokens",     "tokenizer.ggml.bos_token_id",
                                            "tokenizer.ggml.add_bos_token"};
        struct gguf_writer *writer = gguf_writer_create();
        if (damage != 0) gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
        if (damage != 1) gguf_writer_string(writer, "tokenizer.ggml.pre", "gpt-2");
        if (damage == 2)
            gguf_writer_u32(writer, "tokenizer.ggml.tokens", 3);
        else
            gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 3);
        if (damage != 3) gguf_writer_strings(writer, "tokenizer.ggml.merges", merges, 1);
        gguf_writer_array(writer, "tokenizer.ggml.token_type", CI_GGUF_INT32, types, damage == 4 ? 4 : 3);
        if (damage == 5) gguf_writer_f32(writer, "tokenizer.ggml.bos_token_id", 1.0f);
        if (damage == 6) gguf_writer_bool(writer, "tokenizer.ggml.add_bos_token", true);
        size_t size;
        const void *bytes = gguf_writer_bytes(writer, &size);
        struct ci_gguf *gguf;
        struct ci_tokenizer *tokenizer;
        if (ci_gguf_open_memory(bytes, size, "test.gguf", &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
        enum clinfer_status status = ci_tokenizer_create_gguf(gguf, &tokenizer);
        if (status == CLINFER_OK || tokenizer) fail_msg("damage %d was taken", damage);
        if (!strstr(clinfer_error(), parts[damage]) || !strstr(clinfer_error(), "test.gguf"))
            fail_msg("damage %d: '%s' lacks '%s' or the file", damage, clinfer_error(), parts[damage]);
        ci_gguf_close(gguf);
        gguf_writer_destroy(writer);
    }
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
        double start = seconds();
        if (ci_tokenizer_encode(tokenizer, text, length, CI_TOKENIZER_PARSE_SPECIAL, &ids, &count) != CLINFER_OK)
            fail_msg("'%s': %s", patterns[i], clinfer_error());
        double taken = seconds() - start;
        free(ids);
        if (taken > 10) fail_msg("a million bytes of '%s' took %.1f s", patterns[i], taken);
    }
    free(text);
    ci_tokenizer_destroy(tokenizer);
}

/* 1,000 special tokens that share all but their last digits, and text full of their beginning. */
static void test_many_special_tokens_take_no_time(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    struct words *words = malloc(sizeof *words);
    make_words(words);
    struct ci_text_span *tokens = calloc(256 + COUNT, sizeof *tokens);
    int32_t *types = calloc(256 + COUNT, sizeof *types);
    char(*texts)[40] = calloc(COUNT, sizeof *texts);
    memcpy(tokens, words->tokens, 256 * sizeof *tokens);
    memcpy(types, words->types, 256 * sizeof *types);
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof texts[i], "<|reserved_special_token_%d|>", i);
        tokens[256 + i] = span(texts[i]);
        types[256 + i] = CI_TOKEN_CONTROL;
    }
    words->source.tokens = tokens;
    words->source.types = types;
    words->source.token_count = 256 + COUNT;
    struct ci_tokenizer *tokenizer = create(words);
    size_t length = 1 << 20;
    char *text = malloc(length);
    for (size_t i = 0; i < length; i++) text[i] = "<|reserved_special_token_"[i % 25];
    int32_t *ids;
    size_t count;
    double start = seconds();
    assert_int_equal(ci_tokenizer_encode(tokenizer, text, length, CI_TOKENIZER_PARSE_SPECIAL, &ids, &count),
                     CLINFER_OK);
    if (seconds() - start > 10) fail_msg("took %.1f s", seconds() - start);
    expect_ids(tokenizer, "<|reserved_special_token_77|><|reserved_special_token_7", CI_TOKENIZER_PARSE_SPECIAL, 1 + 26,
               256 + 77, '<', '|', 'r', 'e', 's', 'e', 'r', 'v', 'e', 'd', '_', 's', 'p', 'e', 'c', 'i', 'a', 'l', '_',
               't', 'o', 'k', 'e', 'n', '_', '7');
    free(ids);
    free(text);
    ci_tokenizer_destroy(tokenizer);
    free(texts);
    free(types);
    free(tokens);
    free(words);
}

static int print_ids(const char *vocabulary, const char *path) {
    struct ci_gguf *gguf;
    struct ci_tokenizer *tokenizer;
    struct ci_file file;
    if (ci_gguf_open(vocabulary, &gguf) != CLINFER_OK || ci_tokenizer_create_gguf(gguf, &tokenizer) != CLINFER_OK ||
        ci_file_map(path, &file) != CLINFER_OK)
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
        cmocka_unit_test(test_ids_equal_hugging_face),
        cmocka_unit_test(test_words_equal_hugging_face),
        cmocka_unit_test(test_model_tokens_are_known),
        cmocka_unit_test(test_every_token_decodes_to_its_bytes),
        cmocka_unit_test(test_model_loads_fast),
        cmocka_unit_test(test_merges_go_by_rank_then_from_the_left),
        cmocka_unit_test(test_long_merges_are_taken),
        cmocka_unit_test(test_whole_words_come_before_merges),
        cmocka_unit_test(test_bytes_without_token_are_left_out),
        cmocka_unit_test(test_special_tokens_longest_first),
        cmocka_unit_test(test_first_and_last_tokens_are_added_on_request),
        cmocka_unit_test(test_end_tokens_are_known_by_name_and_id),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_damaged_bytes_are_words_of_their_own),
        cmocka_unit_test(test_hostile_vocabularies_are_refused),
        cmocka_unit_test(test_hostile_merges_are_refused),
        cmocka_unit_test(test_hostile_ids_are_refused),
        cmocka_unit_test(test_hostile_files_are_refused),
        cmocka_unit_test(test_long_words_take_linear_time),
        cmocka_unit_test(test_many_special_tokens_take_no_time),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
