/* Vocabularies spelled as SentencePiece does it, with small ones of our own: scores, the space before a text, bytes for
 * what no token has, white space that special tokens take, and Gemma 4's merges. That text is merged in stretches is
 * held to a merge of the whole that looks at every pair. Real vocabularies: scripts/compare_tokenizers.py. */
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

enum { SPECIAL = CI_TOKENIZER_PARSE_SPECIAL, UNKNOWN = 0, BEGIN = 1, END = 2 };

#define BYTE(byte) (PIECES_BYTES + (byte))
#define SPACE "\xe2\x96\x81"

/* ---- scores ---- */

static void test_the_best_score_merges_first_then_the_leftmost(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    words.source.add_space_prefix = 0;
    int32_t a = add_piece(&words, "a", -9), b = add_piece(&words, "b", -9), c = add_piece(&words, "c", -9);
    int32_t ab = add_piece(&words, "ab", -2), bc = add_piece(&words, "bc", -1), aa = add_piece(&words, "aa", -0.0f);
    int32_t aaa = add_piece(&words, "aaa", 0), cab = add_piece(&words, "cab", 5);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "abc", 0, 2, a, bc);
    expect_ids(tokenizer, "ab", 0, 1, ab);
    expect_ids(tokenizer, "aab", 0, 2, aa, b);
    expect_ids(tokenizer, "aaaa", 0, 2, aaa, a); /* aa and aaa are worth the same: the leftmost */
    expect_ids(tokenizer, "cab", 0, 1, cab);     /* a score above zero */
    expect_ids(tokenizer, "cb", 0, 2, c, b);
    expect_ids(tokenizer, "", 0, 0);
    ci_tokenizer_destroy(tokenizer);
}

/* The whole text as one list of tokens, every pair looked at for every merge. */
static size_t merge_slowly(const struct words *words, const char *text, size_t length, int32_t *ids) {
    size_t begins[256], count = 0;
    for (size_t i = 0; i < length; i++) begins[count++] = i;
    begins[count] = length;
    for (;;) {
        size_t best = count;
        float best_score = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            size_t bytes = begins[i + 2] - begins[i];
            for (size_t id = BYTE(256); id < words->source.token_count; id++) {
                const struct ci_text_span *token = &words->tokens[id];
                if (token->length != bytes || memcmp(token->text, text + begins[i], bytes) != 0) continue;
                if (best != count && words->scores[id] <= best_score) continue;
                best = i;
                best_score = words->scores[id];
            }
        }
        if (best == count) break;
        memmove(&begins[best + 1], &begins[best + 2], (count - best - 1) * sizeof *begins);
        count--;
    }
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t found = -1;
        size_t bytes = begins[i + 1] - begins[i];
        for (size_t id = BYTE(256); id < words->source.token_count; id++)
            if (words->tokens[id].length == bytes && memcmp(words->tokens[id].text, text + begins[i], bytes) == 0)
                found = (int32_t)id;
        ids[written++] = found >= 0 ? found : BYTE((uint8_t)text[begins[i]]);
    }
    return written;
}

/* Random tokens of few letters, and texts of the same and one more: most neighbours can join, some cannot. */
static void test_merging_in_stretches_is_merging_the_whole(void **state) {
    (void)state;
    uint64_t random = 7;
    static const char letters[] = "abcdx";
    for (int round = 0; round < 200; round++) {
        struct words words;
        char texts[60][5];
        make_pieces(&words);
        words.source.add_space_prefix = 0;
        for (size_t i = 0; i < 60; i++) {
            size_t length = i < 3 ? 1 : 2 + i % 3;
            for (size_t j = 0; j < length; j++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                texts[i][j] = i < 3 ? letters[i] : letters[(random >> 33) % 4];
            }
            texts[i][length] = 0;
            bool known = false;
            for (size_t id = BYTE(256); id < words.source.token_count; id++)
                known = known || strcmp(words.tokens[id].text, texts[i]) == 0;
            if (!known) add_piece(&words, texts[i], (float)((random >> 40) % 20) - 10);
        }
        struct ci_tokenizer *tokenizer = create_tokenizer(&words);
        char text[200];
        for (size_t i = 0; i < sizeof text; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            text[i] = letters[(random >> 33) % 5];
        }
        int32_t *ids, wanted[sizeof text];
        size_t count, wanted_count = merge_slowly(&words, text, sizeof text, wanted);
        assert_int_equal(ci_tokenizer_encode(tokenizer, text, sizeof text, 0, &ids, &count), CLINFER_OK);
        assert_int_equal(count, wanted_count);
        assert_memory_equal(ids, wanted, count * sizeof *ids);
        free(ids);
        ci_tokenizer_destroy(tokenizer);
    }
}

/* ---- spaces ---- */

static void test_a_space_comes_before_the_text_and_behind_special_tokens(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    int32_t space = add_piece(&words, SPACE, -9), a = add_piece(&words, "a", -9),
            with = add_piece(&words, SPACE "a", -1);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    assert_true(ci_tokenizer_adds_bos(tokenizer)); /* what files of this kind mean that do not say */
    assert_false(ci_tokenizer_adds_eos(tokenizer));
    assert_int_equal(ci_tokenizer_bos(tokenizer), BEGIN);
    assert_int_equal(ci_tokenizer_eos(tokenizer), END);
    expect_ids(tokenizer, "a", CI_TOKENIZER_ADD_SPECIAL, 2, BEGIN, with);
    expect_ids(tokenizer, "a", 0, 1, with);
    expect_ids(tokenizer, " a", 0, 2, space, with);
    expect_ids(tokenizer, "aa", 0, 2, with, a);
    expect_ids(tokenizer, "a<s>a", SPECIAL, 3, with, BEGIN, with);
    expect_ids(tokenizer, "<s>", SPECIAL, 1, BEGIN);
    expect_ids(tokenizer, "a" SPACE "a", 0, 2, with, with); /* it is how a space is spelled */
    ci_tokenizer_destroy(tokenizer);
    words.source.add_space_prefix = 0;
    words.source.add_bos = 0;
    tokenizer = create_tokenizer(&words);
    assert_false(ci_tokenizer_adds_bos(tokenizer));
    expect_ids(tokenizer, "a", 0, 1, a);
    expect_ids(tokenizer, "<s>a a", SPECIAL, 3, BEGIN, a, with);
    ci_tokenizer_destroy(tokenizer);
}

/* The tokens' bytes, one after the other, are the text, the first space included: what a stream of them prints. */
static void test_token_by_token_gives_the_text_of_the_whole(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    add_piece(&words, SPACE, -9);
    add_piece(&words, SPACE "the", -1);
    add_piece(&words, "th", -3);
    add_piece(&words, "the", -2);
    for (int prefix = 0; prefix < 2; prefix++) {
        static const char text[] = "the  the\n\xe6\x97\xa5 \xff\xfe the";
        words.source.add_space_prefix = prefix;
        struct ci_tokenizer *tokenizer = create_tokenizer(&words);
        int32_t *ids;
        size_t count, at = 0;
        char out[64];
        assert_int_equal(ci_tokenizer_encode(tokenizer, text, sizeof text - 1, 0, &ids, &count), CLINFER_OK);
        for (size_t i = 0; i < count; i++) {
            size_t bytes;
            const char *piece = ci_tokenizer_piece(tokenizer, ids[i], false, &bytes);
            memcpy(out + at, piece, bytes);
            at += bytes;
        }
        assert_int_equal(at, sizeof text - 1 + (size_t)prefix);
        if (prefix) assert_int_equal(out[0], ' ');
        assert_memory_equal(out + prefix, text, sizeof text - 1);
        free(ids);
        ci_tokenizer_destroy(tokenizer);
    }
}

/* ---- text that no token has ---- */

static void test_characters_without_token_become_bytes(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    words.source.add_space_prefix = 0;
    int32_t a = add_piece(&words, "a", -9), pair = add_piece(&words, "\xc3\xa9\xc3\xa8", -1);
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "a\xe2\x82\xac", 0, 4, a, BYTE(0xe2), BYTE(0x82), BYTE(0xac));
    expect_ids(tokenizer, "\xc3\xa9\xc3\xa8", 0, 1, pair); /* characters that are no token may merge */
    expect_ids(tokenizer, "\xc3\xa9", 0, 2, BYTE(0xc3), BYTE(0xa9));
    expect_ids(tokenizer, "\xff a", 0, 5, BYTE(0xff), BYTE(0xe2), BYTE(0x96), BYTE(0x81), a);
    expect_ids(tokenizer, "<0x41>", 0, 6, BYTE('<'), BYTE('0'), BYTE('x'), BYTE('4'), BYTE('1'), BYTE('>'));
    size_t length;
    assert_memory_equal(ci_tokenizer_piece(tokenizer, BYTE(0xff), false, &length), "\xff", 1);
    assert_int_equal(length, 1);
    ci_tokenizer_destroy(tokenizer);
    /* Without tokens for bytes: the unknown token for each. */
    for (int byte = 0; byte < 256; byte++) words.types[BYTE(byte)] = CI_TOKEN_NORMAL;
    for (int byte = 0; byte < 256; byte++) memcpy(words.spelled[byte], "<x", 2);
    tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "a\xe2\x82\xac", 0, 4, a, UNKNOWN, UNKNOWN, UNKNOWN);
    ci_tokenizer_destroy(tokenizer);
}

/* What a message says must not end its turn, whatever merges there are. */
static void test_no_text_becomes_a_control_token(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    words.source.add_space_prefix = 0;
    int32_t begin = add_piece(&words, "</", -1), end = add_piece(&words, "s>", -1);
    words.scores[END] = 10;
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "</s>", 0, 2, begin, end);
    expect_ids(tokenizer, "</s>", SPECIAL, 1, END);
    ci_tokenizer_destroy(tokenizer);
}

/* ---- white space that special tokens take ---- */

static void test_special_tokens_take_the_white_space_beside_them(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    words.source.add_space_prefix = 0;
    int32_t space = add_piece(&words, SPACE, -9), a = add_piece(&words, "a", -9);
    int32_t mask = add_token(&words, "<mask>", CI_TOKEN_CONTROL);
    static const struct ci_strip strips[] = {
        {{"", 0}, CI_STRIP_RIGHT}, {{"</s>", 4}, 0}, {{"<mask>", 6}, CI_STRIP_LEFT}};
    words.source.strips = strips;
    words.source.strip_count = 3;
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    expect_ids(tokenizer, "a <s> \t\r\n\v\f a", SPECIAL, 4, a, space, BEGIN, a);
    expect_ids(tokenizer, "a </s> a", SPECIAL, 5, a, space, END, space, a);
    expect_ids(tokenizer, "a \n<mask> a", SPECIAL, 4, a, mask, space, a);
    expect_ids(tokenizer, " <mask>", SPECIAL, 1, mask);
    expect_ids(tokenizer, "<s>  ", SPECIAL, 1, BEGIN);
    expect_ids(tokenizer, "<s> <mask>", SPECIAL, 2, BEGIN, mask);
    ci_tokenizer_destroy(tokenizer);
}

/* ---- files ---- */

static struct gguf_writer *write_pieces(const struct words *words, const char *const *tokens) {
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "tokenizer.ggml.model", "llama");
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, words->source.token_count);
    gguf_writer_array(writer, "tokenizer.ggml.token_type", CI_GGUF_INT32, words->types, words->source.token_count);
    return writer;
}

/* Closes the writer. */
static enum clinfer_status open_pieces(struct gguf_writer *writer, struct ci_tokenizer **tokenizer) {
    size_t size;
    struct ci_gguf *gguf;
    const void *bytes = gguf_writer_bytes(writer, &size);
    if (ci_gguf_open_memory(bytes, size, "test.gguf", &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    enum clinfer_status status = ci_tokenizer_create_gguf(gguf, tokenizer);
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
    return status;
}

static void test_files_say_scores_flags_and_names(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    int32_t ab = add_piece(&words, "ab", -1), bc = add_piece(&words, "bc", -2), space = add_piece(&words, SPACE, -9);
    const char *tokens[WORDS_MAXIMUM];
    for (size_t i = 0; i < words.source.token_count; i++) tokens[i] = words.tokens[i].text;
    struct ci_tokenizer *tokenizer;
    for (int whole = 0; whole < 2; whole++) {
        struct gguf_writer *writer = write_pieces(&words, tokens);
        int32_t whole_scores[WORDS_MAXIMUM] = {0};
        whole_scores[bc] = 1;
        if (whole)
            gguf_writer_array(writer, "tokenizer.ggml.scores", CI_GGUF_INT32, whole_scores, words.source.token_count);
        else
            gguf_writer_array(writer, "tokenizer.ggml.scores", CI_GGUF_FLOAT32, words.scores, words.source.token_count);
        if (whole) gguf_writer_bool(writer, "tokenizer.ggml.add_space_prefix", false);
        gguf_writer_string(writer, "general.name", whole ? "A Phi-3 model" : "some model");
        if (open_pieces(writer, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
        if (whole)
            expect_ids(tokenizer, "abc<s> ab</s> ab", SPECIAL, 7, BYTE('a'), bc, BEGIN, space, ab, END, ab);
        else
            expect_ids(tokenizer, "abc<s> ab</s> ab", SPECIAL, 11, space, ab, BYTE('c'), BEGIN, space, space, ab, END,
                       space, space, ab);
        ci_tokenizer_destroy(tokenizer);
    }
}

static void test_damaged_scores_are_refused_by_name(void **state) {
    (void)state;
    static const char *const parts[] = {"test.gguf: tokenizer.ggml.scores", "elements for",
                                        "element 260 is not a number", "tokenizer.ggml.scores"};
    struct words words;
    make_pieces(&words);
    add_piece(&words, "a", -1);
    add_piece(&words, "b", NAN);
    const char *tokens[WORDS_MAXIMUM];
    for (size_t i = 0; i < words.source.token_count; i++) tokens[i] = words.tokens[i].text;
    for (int damage = 0; damage < 4; damage++) {
        struct ci_tokenizer *tokenizer;
        struct gguf_writer *writer = write_pieces(&words, tokens);
        if (damage == 3)
            gguf_writer_string(writer, "tokenizer.ggml.scores", "high");
        else if (damage)
            gguf_writer_array(writer, "tokenizer.ggml.scores", CI_GGUF_FLOAT32, words.scores,
                              words.source.token_count - (damage == 1));
        assert_int_equal(open_pieces(writer, &tokenizer), CLINFER_BAD_FILE);
        assert_null(tokenizer);
        if (!strstr(clinfer_error(), parts[damage]) || !strstr(clinfer_error(), "test.gguf"))
            fail_msg("damage %d: '%s' lacks '%s' or the file", damage, clinfer_error(), parts[damage]);
    }
}

/* ---- Gemma 4 ---- */

static void test_gemma4_merges_by_rank_across_spaces_and_keeps_lines(void **state) {
    (void)state;
    struct words words;
    make_pieces(&words);
    words.source.model = span("gemma4");
    words.source.bos_id = BEGIN;
    words.source.add_bos = 0; /* a mistake of the converter */
    static const char *const texts[] = {"a", "b", SPACE, "a" SPACE, "a" SPACE "b", "ab", "\n\n", "\n"};
    int32_t ids[8];
    for (size_t i = 0; i < 8; i++) ids[i] = add_token(&words, texts[i], CI_TOKEN_NORMAL);
    add_merge(&words, "a b");
    add_merge(&words, "a " SPACE);
    add_merge(&words, "a" SPACE " b");
    struct ci_tokenizer *tokenizer = create_tokenizer(&words);
    assert_true(ci_tokenizer_adds_bos(tokenizer));
    expect_ids(tokenizer, "a b", 0, 1, ids[4]);
    expect_ids(tokenizer, "ab a", 0, 3, ids[5], ids[2], ids[0]);
    expect_ids(tokenizer, "a\n\nb", 0, 3, ids[0], ids[6], ids[1]);
    expect_ids(tokenizer, "\n\n\n", 0, 3, ids[7], ids[7], ids[7]); /* three are no token, and nothing merges */
    expect_ids(tokenizer,
               "a\xff"
               "c",
               0, 3, ids[0], BYTE(0xff), BYTE('c'));
    expect_round_trip(tokenizer, " a  b\n\xe6\x97\xa5 ", 10);
    ci_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_score_merges_first_then_the_leftmost),
        cmocka_unit_test(test_merging_in_stretches_is_merging_the_whole),
        cmocka_unit_test(test_a_space_comes_before_the_text_and_behind_special_tokens),
        cmocka_unit_test(test_token_by_token_gives_the_text_of_the_whole),
        cmocka_unit_test(test_characters_without_token_become_bytes),
        cmocka_unit_test(test_no_text_becomes_a_control_token),
        cmocka_unit_test(test_special_tokens_take_the_white_space_beside_them),
        cmocka_unit_test(test_files_say_scores_flags_and_names),
        cmocka_unit_test(test_damaged_scores_are_refused_by_name),
        cmocka_unit_test(test_gemma4_merges_by_rank_across_spaces_and_keeps_lines),
    };
    return cmocka_run_group_tests_name("pieces", tests, NULL, NULL);
}
