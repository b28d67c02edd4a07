/* WordPiece, unigram, RWKV and PLaMo 2, with small vocabularies of our own. Real ones: scripts/compare_tokenizers.py.
 */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/gguf_writer.h"
#include "support/words.h"

enum { SPECIAL = CI_TOKENIZER_PARSE_SPECIAL, ADD = CI_TOKENIZER_ADD_SPECIAL };

#define SPACE "\xe2\x96\x81"

/* ---- WordPiece ---- */

enum { BERT_UNKNOWN, BERT_CLS, BERT_SEP, BERT_FIRST };

static void make_bert(struct words *words) {
    make_words(words);
    words->source.model = span("bert");
    words->source.token_count = 0;
    add_token(words, "[UNK]", CI_TOKEN_CONTROL);
    add_token(words, "[CLS]", CI_TOKEN_CONTROL);
    add_token(words, "[SEP]", CI_TOKEN_CONTROL);
    words->source.unknown_id = BERT_UNKNOWN;
    words->source.classifier_id = BERT_CLS;
    words->source.separator_id = BERT_SEP;
}

static void test_words_are_taken_apart_from_the_left(void **state) {
    (void)state;
    struct words words;
    make_bert(&words);
    int32_t un = add_token(&words, SPACE "un", CI_TOKEN_NORMAL), able = add_token(&words, "able", CI_TOKEN_NORMAL);
    int32_t aff = add_token(&words, "aff", CI_TOKEN_NORMAL), affable = add_token(&words, "affa", CI_TOKEN_NORMAL);
    int32_t dot = add_token(&words, SPACE ".", CI_TOKEN_NORMAL), x = add_token(&words, "x", CI_TOKEN_NORMAL);
    int32_t chinese = add_token(&words, SPACE "\xe4\xb8\xad", CI_TOKEN_NORMAL);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "unaff", 0, 2, un, aff);
    expect_ids(tokenizer, "unaffable", 0, 1, BERT_UNKNOWN); /* the longest first, and it does not come back */
    expect_ids(tokenizer, "unable un.un", 0, 5, un, able, un, dot, un);
    expect_ids(tokenizer, "aff un", 0, 2, BERT_UNKNOWN, un); /* it begins no word */
    expect_ids(tokenizer, "un\xe4\xb8\xad\xe4\xb8\xadun", 0, 4, un, chinese, chinese, un);
    expect_ids(tokenizer, "un" SPACE "un", 0, 1, BERT_UNKNOWN); /* no begin of a word within one */
    expect_ids(tokenizer, "  un \t\n", ADD, 3, BERT_CLS, un, BERT_SEP);
    expect_ids(tokenizer, "", ADD, 2, BERT_CLS, BERT_SEP);
    expect_ids(tokenizer, "un[SEP]un", SPECIAL, 3, un, BERT_SEP, un);
    (void)affable, (void)x;
    ci_tokenizer_destroy(tokenizer);
}

static void test_words_lose_case_accents_and_control_characters(void **state) {
    (void)state;
    struct words words;
    make_bert(&words);
    int32_t eau = add_token(&words, SPACE "eau", CI_TOKEN_NORMAL),
            big = add_token(&words, SPACE "EAU", CI_TOKEN_NORMAL);
    int32_t accented = add_token(&words,
                                 SPACE "\xc3\xa9"
                                       "au",
                                 CI_TOKEN_NORMAL);
    /* The three letters of U+AC01, a syllable of Korean. */
    int32_t syllable = add_token(&words, SPACE "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", CI_TOKEN_NORMAL);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer,
               "EAU \xc3\x89"
               "AU \xc3\xa9"
               "au e\xcc\x81"
               "au",
               0, 4, eau, eau, eau, eau);
    expect_ids(tokenizer,
               "e\xe2\x80\x8b"
               "a\x01u\xef\xbf\xbd e\x7f"
               "au\xff",
               0, 2, eau, eau);
    expect_ids(tokenizer,
               "eau\xc2\xa0"
               "eau\xe3\x80\x80"
               "eau",
               0, 3, eau, eau, eau);
    expect_ids(tokenizer, "\xea\xb0\x81", 0, 1, syllable);
    ci_tokenizer_destroy(tokenizer);
    words.source.lowercase = 0;
    tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer,
               "EAU eau \xc3\xa9"
               "au",
               0, 3, big, eau, accented); /* accents go with the case */
    ci_tokenizer_destroy(tokenizer);
    words.source.lowercase = 1;
    words.source.strip_accents = 0;
    tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer,
               "EAU \xc3\x89"
               "AU",
               0, 2, eau, accented);
    ci_tokenizer_destroy(tokenizer);
}

/* ---- unigram ---- */

static void make_unigram(struct words *words) {
    make_words(words);
    words->source.model = span("t5");
    words->source.scores = words->scores;
    words->source.token_count = 0;
    add_token(words, "<pad>", CI_TOKEN_CONTROL);
    add_token(words, "</s>", CI_TOKEN_CONTROL);
    add_token(words, "<unk>", CI_TOKEN_UNKNOWN);
}

static void test_the_likeliest_way_is_taken(void **state) {
    (void)state;
    struct words words;
    make_unigram(&words);
    int32_t a = add_piece(&words, "a", -2), b = add_piece(&words, "b", -2), ab = add_piece(&words, "ab", -5);
    int32_t bcd = add_piece(&words, "bcd", -3), abc = add_piece(&words, "abc", -1), d = add_piece(&words, "d", -9);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "ab", 0, 2, a, b); /* two that are likelier than the one */
    expect_ids(tokenizer, "abcd", 0, 2, a, bcd);
    expect_ids(tokenizer, "abcabcd", 0, 3, abc, a, bcd);
    expect_ids(tokenizer, "abcd", ADD, 3, a, bcd, 1); /* the end is added where the file does not say */
    expect_ids(tokenizer, "axxb", 0, 3, a, 2, b);     /* neighbours that are unknown are one */
    expect_ids(tokenizer, "x\xe6\x97\xa5\xff", 0, 1, 2);
    (void)ab, (void)d;
    ci_tokenizer_destroy(tokenizer);
}

static void test_spaces_are_kept_or_put_before_each_word(void **state) {
    (void)state;
    struct words words;
    make_unigram(&words);
    int32_t space = add_piece(&words, SPACE, -2), a = add_piece(&words, "a", -2);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, " a  a ", 0, 6, space, a, space, space, a, space);
    ci_tokenizer_destroy(tokenizer);
    words.source.add_space_prefix = 1;
    tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "a a", 0, 4, space, a, space, a);
    ci_tokenizer_destroy(tokenizer);
    words.source.remove_extra_whitespaces = 1;
    tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "  a   a  ", 0, 4, space, a, space, a);
    expect_ids(tokenizer, "  ", 0, 0);
    ci_tokenizer_destroy(tokenizer);
}

/* "X" becomes "ab", and "Y" nothing: the array's root has its children at 256 ^ byte. */
static size_t make_charsmap(char bytes[4 + 4 * 512 + 4]) {
    uint32_t nodes[512] = {0}, size = sizeof nodes;
    nodes[0] = 256u << 10;
    nodes[256 ^ 'X'] = 'X' | 1u << 8 | (uint32_t)((256 ^ 'X') ^ 10) << 10;
    nodes[10] = 1u << 31 | 0;
    nodes[256 ^ 'Y'] = 'Y' | 1u << 8 | (uint32_t)((256 ^ 'Y') ^ 11) << 10;
    nodes[11] = 1u << 31 | 2;
    memcpy(bytes, &size, 4);
    memcpy(bytes + 4, nodes, size);
    memcpy(bytes + 4 + size, "ab", 3);
    return 4 + size + 3;
}

static void test_text_is_normalised_by_the_files_map(void **state) {
    (void)state;
    struct words words;
    char bytes[4 + 4 * 512 + 4];
    make_unigram(&words);
    int32_t ab = add_piece(&words, "ab", -2), x = add_piece(&words, "X", -1);
    int32_t kept = add_token(&words, "YX", CI_TOKEN_USER_DEFINED);
    words.source.charsmap = (struct ci_text_span){bytes, make_charsmap(bytes)};
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "XabYX", 0, 3, ab, ab, kept);
    expect_ids(tokenizer, "YabY", 0, 1, ab);
    ci_tokenizer_destroy(tokenizer);
    (void)x;

    const struct ci_text_span whole = words.source.charsmap;
    words.source.charsmap.length = 3;
    expect_refused(&words, CLINFER_BAD_FILE, "tokenizer.ggml.precompiled_charsmap: 3 bytes");
    words.source.charsmap.length = 1000;
    expect_refused(&words, CLINFER_BAD_FILE, "an array of 2048");
    words.source.charsmap.length = whole.length - 1;
    expect_refused(&words, CLINFER_BAD_FILE, "has no end");
    /* Wherever the array leads: nothing outside it is read. */
    for (uint32_t i = 0; i < 512; i++)
        for (int bit = 8; bit < 32; bit++) {
            make_charsmap(bytes);
            bytes[4 + 4 * i + (unsigned)bit / 8] ^= (char)(1 << bit % 8);
            words.source.charsmap = whole;
            if (i != 0 && i != 10 && i != 11 && i != (256 ^ 'X') && i != (256 ^ 'Y')) continue;
            tokenizer = create_tokenizer(&words);
            int32_t *ids;
            size_t count;
            assert_int_equal(ci_tokenizer_encode(tokenizer, "XYab", 4, 0, &ids, &count), CLINFER_OK);
            free(ids);
            ci_tokenizer_destroy(tokenizer);
        }
}

static void test_unigram_scores_are_checked(void **state) {
    (void)state;
    struct words words;
    make_unigram(&words);
    int32_t a = add_piece(&words, "a", INFINITY);
    expect_refused(&words, CLINFER_BAD_FILE, "element 3 is not a number");
    words.scores[a] = NAN;
    expect_refused(&words, CLINFER_BAD_FILE, "element 3 is not a number");
    words.source.scores = NULL;
    expect_refused(&words, CLINFER_BAD_FILE, "tokenizer.ggml.scores");
    words.source.model = span("plamo2");
    expect_refused(&words, CLINFER_BAD_FILE, "tokenizer.ggml.scores");
}

/* ---- RWKV ---- */

static void test_rwkv_takes_the_longest_and_knows_escapes(void **state) {
    (void)state;
    struct words words;
    make_words(&words);
    words.source.model = span("rwkv");
    words.source.token_count = 0;
    int32_t a = add_token(&words, "a", CI_TOKEN_NORMAL), abc = add_token(&words, "abc", CI_TOKEN_NORMAL);
    int32_t line = add_token(&words, "\\n", CI_TOKEN_NORMAL), tab = add_token(&words, "\\t\\r\\\\", CI_TOKEN_NORMAL);
    int32_t high = add_token(&words, "\\xff", CI_TOKEN_NORMAL), quote = add_token(&words, "\\'", CI_TOKEN_NORMAL);
    int32_t b = add_token(&words, "b", CI_TOKEN_NORMAL), x = add_token(&words, "\\x4", CI_TOKEN_NORMAL);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "abcaba", 0, 4, abc, a, b, a); /* "ab" begins one, and is none */
    expect_ids(tokenizer, "\n\t\r\\\xff'", 0, 4, line, tab, high, quote);
    expect_ids(tokenizer, "zax4", 0, 2, a, x); /* a byte that no token has is left out */
    expect_round_trip(tokenizer, "abc\n\t\r\\\xff'b", 10);
    ci_tokenizer_destroy(tokenizer);
    words.source.unknown_id = b;
    tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "za", 0, 2, b, a);
    ci_tokenizer_destroy(tokenizer);
}

/* ---- PLaMo 2 ---- */

static void test_plamo2_adds_up_scores_from_the_end(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    words.source.model = span("plamo2");
    int32_t a = add_piece(&words, "a", -1), aa = add_piece(&words, "aa", -2), b = add_piece(&words, "b", -1);
    int32_t ab = add_piece(&words, "ab", -1.5f), never = add_piece(&words, "bb", -2000);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "aa", 0, 1, aa); /* worth the same as two: the longer one */
    expect_ids(tokenizer, "aab", 0, 2, a, ab);
    expect_ids(tokenizer, "aaa", 0, 2, aa, a);
    expect_ids(tokenizer, "bb", 0, 2, b, b);
    expect_ids(tokenizer,
               "\xef\xbb\xbf"
               "a",
               0, 1, a); /* the mark of the byte order is no text */
    expect_ids(tokenizer,
               "\xe6\x97\xa5"
               "a\xff",
               0, 5, PIECES_BYTES + 0xe6, PIECES_BYTES + 0x97, PIECES_BYTES + 0xa5, a, PIECES_BYTES + 0xff);
    expect_round_trip(tokenizer, "a b \xe6\x97\xa5\x80\xe6", 9);
    (void)never;
    ci_tokenizer_destroy(tokenizer);
    words.tokens[PIECES_BYTES + 65] = span("<0xA>");
    expect_refused(&words, CLINFER_BAD_FILE, "there is no token '<0x41>'");
}

/* ---- files ---- */

static void test_files_of_these_kinds_are_read(void **state) {
    (void)state;
    static const char *const tokens[] = {"<pad>", "</s>", "<unk>", "ab"};
    static const float scores[] = {0, 0, 0, -1};
    static const int32_t types[] = {3, 3, 2, 1};
    char map[4 + 4 * 512 + 4];
    size_t map_size = make_charsmap(map);
    for (int damage = 0; damage < 3; damage++) {
        struct gguf_writer *writer = gguf_writer_create();
        gguf_writer_string(writer, "tokenizer.ggml.model", "t5");
        gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 4);
        gguf_writer_array(writer, "tokenizer.ggml.scores", CI_GGUF_FLOAT32, scores, 4);
        gguf_writer_array(writer, "tokenizer.ggml.token_type", CI_GGUF_INT32, types, 4);
        if (damage == 1)
            gguf_writer_array(writer, "tokenizer.ggml.precompiled_charsmap", CI_GGUF_INT32, types, 4);
        else
            gguf_writer_array(writer, "tokenizer.ggml.precompiled_charsmap", CI_GGUF_UINT8, map, map_size);
        if (damage == 2)
            gguf_writer_string(writer, "tokenizer.ggml.remove_extra_whitespaces", "yes");
        else
            gguf_writer_bool(writer, "tokenizer.ggml.remove_extra_whitespaces", true);
        size_t size;
        const void *bytes = gguf_writer_bytes(writer, &size);
        struct ci_gguf *gguf;
        struct ci_tokenizer *tokenizer;
        if (ci_gguf_open_memory(bytes, size, "test.gguf", &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
        enum clinfer_status status = ci_tokenizer_create_gguf(gguf, &tokenizer);
        if (damage == 0) {
            if (status != CLINFER_OK) fail_msg("%s", clinfer_error());
            expect_ids(tokenizer, "X Y", 0, 2, 2, 3); /* the space before the word is unknown */
            ci_tokenizer_destroy(tokenizer);
        } else {
            assert_int_equal(status, CLINFER_BAD_FILE);
            const char *part = damage == 1 ? "test.gguf: tokenizer.ggml.precompiled_charsmap: an array of int32"
                                           : "tokenizer.ggml.remove_extra_whitespaces";
            if (!strstr(clinfer_error(), part)) fail_msg("'%s' lacks '%s'", clinfer_error(), part);
        }
        ci_gguf_close(gguf);
        gguf_writer_destroy(writer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_are_taken_apart_from_the_left),
        cmocka_unit_test(test_words_lose_case_accents_and_control_characters),
        cmocka_unit_test(test_the_likeliest_way_is_taken),
        cmocka_unit_test(test_spaces_are_kept_or_put_before_each_word),
        cmocka_unit_test(test_text_is_normalised_by_the_files_map),
        cmocka_unit_test(test_unigram_scores_are_checked),
        cmocka_unit_test(test_rwkv_takes_the_longest_and_knows_escapes),
        cmocka_unit_test(test_plamo2_adds_up_scores_from_the_end),
        cmocka_unit_test(test_files_of_these_kinds_are_read),
    };
    return cmocka_run_group_tests_name("tokenizer_kinds", tests, NULL, NULL);
}
