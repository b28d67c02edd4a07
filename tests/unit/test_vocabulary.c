/* The tokenizer with vocabularies of our own: merges, special tokens, bytes that are no UTF-8, hostile vocabularies,
 * and the time that many special tokens take. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/gguf_writer.h"
#include "support/words.h"
#include "text/pretokenizer.h"

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
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
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
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, whole, 0, 1, id);
    ci_tokenizer_destroy(tokenizer);
}

static void test_whole_words_come_before_merges(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    int32_t hello = add_token(&words, "hello", CI_TOKEN_NORMAL), he = add_token(&words, "he", CI_TOKEN_NORMAL);
    add_merge(&words, "h e");
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "hello", 0, 4, he, 'l', 'l', 'o');
    ci_tokenizer_destroy(tokenizer);
    words.source.pre_tokenizer = span("llama-bpe");
    tokenizer = create_tokenizer(&words);
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
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
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
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
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
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "x", CI_TOKENIZER_ADD_SPECIAL, 3, bos, 'x', eos);
    expect_ids(tokenizer, "", CI_TOKENIZER_ADD_SPECIAL, 2, bos, eos);
    expect_ids(tokenizer, "x", 0, 1, 'x');
    ci_tokenizer_destroy(tokenizer);
    /* When the file says nothing, the pre-tokenizer decides. */
    words.source.add_bos = words.source.add_eos = -1;
    tokenizer = create_tokenizer(&words);
    assert_false(ci_tokenizer_adds_bos(tokenizer));
    ci_tokenizer_destroy(tokenizer);
    words.source.pre_tokenizer = span("llama-bpe");
    tokenizer = create_tokenizer(&words);
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
    int32_t word = add_token(&words, "EOT>", CI_TOKEN_NORMAL);
    words.source.eos_id = own;
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    assert_true(ci_tokenizer_is_end(tokenizer, eot));
    assert_true(ci_tokenizer_is_end(tokenizer, end));
    assert_true(ci_tokenizer_is_end(tokenizer, call));
    assert_true(ci_tokenizer_is_end(tokenizer, own));
    assert_true(ci_tokenizer_is_end(tokenizer, text)); /* whatever its type says */
    assert_true(ci_tokenizer_is_control(tokenizer, text));
    assert_false(ci_tokenizer_is_end(tokenizer, word));
    assert_string_equal(ci_tokenizer_mistyped(tokenizer), "<|im_end|>");
    ci_tokenizer_destroy(tokenizer);
    /* The harmony format: <|end|> ends a message, not the turn. */
    int32_t result = add_token(&words, "<|return|>", CI_TOKEN_CONTROL);
    tokenizer = create_tokenizer(&words);
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
        struct ci_tokenizer *tokenizer = create_tokenizer(&words);
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
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
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
    words.source.model = span("lama");
    expect_refused(&words, CLINFER_UNSUPPORTED, "'lama'");
    expect_refused(&words, CLINFER_UNSUPPORTED, "gpt2 (byte-level BPE), llama (SentencePiece BPE)");
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
        if (damage == 1)
            gguf_writer_u32(writer, "tokenizer.ggml.pre", 2);
        else
            gguf_writer_string(writer, "tokenizer.ggml.pre", "gpt-2");
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

/* ---- a file that names no pre-tokenizer ---- */

static void keep_warning(void *user, enum clinfer_log_level level, const char *message) {
    if (level == CLINFER_LOG_WARNING) snprintf(user, 512, "%s", message);
}

struct cut {
    char text[256];
};

static enum clinfer_status add_cut(void *user, const char *word, size_t length) {
    struct cut *cut = user;
    size_t used = strlen(cut->text);
    snprintf(cut->text + used, sizeof cut->text - used, "[%.*s]", (int)length, word);
    return CLINFER_OK;
}

/* The words are those of llama.cpp's default: punctuation first, then GPT-2's words, then numbers in threes. */
static void test_a_missing_pre_tokenizer_is_the_default_and_said(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"Hello, world!", "[Hello][,][ world][!]"},
        {"it's 12345 $$x", "[it]['][s][ ][123][45][ ][$$][x]"},
        {"  two  spaces\n\nend\n", "[ ][ two][ ][ spaces][\n][\n][end][\n]"},
        {"a1b22\t\"q\"", "[a][1][b][22][\t][\"][q][\"]"},
    };
    struct ci_pretokenizer *pretokenizer;
    assert_int_equal(ci_pretokenizer_create("default", 7, &pretokenizer), CLINFER_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct cut cut = {""};
        assert_int_equal(ci_pretokenizer_split(pretokenizer, texts[i][0], strlen(texts[i][0]), add_cut, &cut),
                         CLINFER_OK);
        assert_string_equal(cut.text, texts[i][1]);
    }
    ci_pretokenizer_destroy(pretokenizer);

    for (int empty = 0; empty < 2; empty++) {
        struct words words;
        make_words(&words);
        struct gguf_writer *writer = gguf_writer_create();
        const char *tokens[256];
        char *texts_of[256];
        for (int i = 0; i < 256; i++) tokens[i] = texts_of[i] = strndup(words.tokens[i].text, words.tokens[i].length);
        gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
        if (empty) gguf_writer_string(writer, "tokenizer.ggml.pre", "");
        gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 256);
        gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
        size_t size;
        const void *bytes = gguf_writer_bytes(writer, &size);
        struct ci_gguf *gguf;
        struct ci_tokenizer *tokenizer;
        char warning[512] = "";
        if (ci_gguf_open_memory(bytes, size, "old.gguf", &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
        clinfer_log_to(keep_warning, warning);
        enum clinfer_status status = ci_tokenizer_create_gguf(gguf, &tokenizer);
        clinfer_log_to(NULL, NULL);
        if (status != CLINFER_OK) fail_msg("%s", clinfer_error());
        if (!strstr(warning, "old.gguf: tokenizer.ggml.pre is missing") || !strstr(warning, "\"default\""))
            fail_msg("the warning is \"%s\"", warning);
        ci_tokenizer_destroy(tokenizer);
        ci_gguf_close(gguf);
        gguf_writer_destroy(writer);
        for (int i = 0; i < 256; i++) free(texts_of[i]);
    }
}

static void test_a_model_without_text_has_pieces_and_encodes_nothing(void **state) {
    (void)state;
    static const char *const kinds[] = {"test", "none", "no_vocab"}, *const tokens[] = {"tok_0", "tok_1"};
    for (size_t i = 0; i < 3; i++) {
        struct gguf_writer *writer = gguf_writer_create();
        gguf_writer_string(writer, "tokenizer.ggml.model", kinds[i]);
        if (i == 0) gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 2);
        size_t size, length, count;
        const void *bytes = gguf_writer_bytes(writer, &size);
        struct ci_gguf *gguf;
        struct ci_tokenizer *tokenizer = NULL;
        int32_t *ids;
        if (ci_gguf_open_memory(bytes, size, "test.gguf", &gguf) != CLINFER_OK ||
            ci_tokenizer_create_gguf(gguf, &tokenizer) != CLINFER_OK)
            fail_msg("%s: %s", kinds[i], clinfer_error());
        assert_int_equal(ci_tokenizer_size(tokenizer), i == 0 ? 2 : 0);
        const char *piece = ci_tokenizer_piece(tokenizer, 1, true, &length);
        assert_int_equal(length, i == 0 ? 5 : 0);
        assert_memory_equal(piece, "tok_1", length);
        assert_int_equal(ci_tokenizer_find(tokenizer, "tok_9", 5), -1);
        assert_false(ci_tokenizer_is_end(tokenizer, 1));
        assert_int_equal(ci_tokenizer_encode(tokenizer, "a", 1, 0, &ids, &count), CLINFER_UNSUPPORTED);
        if (!strstr(clinfer_error(), "tokenizer.ggml.model")) fail_msg("%s", clinfer_error());
        ci_tokenizer_destroy(tokenizer);
        ci_gguf_close(gguf);
        gguf_writer_destroy(writer);
    }
}

/* ---- time ---- */

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
    struct ci_tokenizer *tokenizer = create_tokenizer(words);
    size_t length = 1 << 20;
    char *text = malloc(length);
    for (size_t i = 0; i < length; i++) text[i] = "<|reserved_special_token_"[i % 25];
    int32_t *ids;
    size_t count;
    double start = processor_seconds();
    assert_int_equal(ci_tokenizer_encode(tokenizer, text, length, CI_TOKENIZER_PARSE_SPECIAL, &ids, &count),
                     CLINFER_OK);
    if (processor_seconds() - start > 10) fail_msg("took %.1f s", processor_seconds() - start);
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

int main(void) {
    const struct CMUnitTest tests[] = {
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
        cmocka_unit_test(test_a_missing_pre_tokenizer_is_the_default_and_said),
        cmocka_unit_test(test_a_model_without_text_has_pieces_and_encodes_nothing),
        cmocka_unit_test(test_many_special_tokens_take_no_time),
    };
    return cmocka_run_group_tests_name("vocabulary", tests, NULL, NULL);
}
