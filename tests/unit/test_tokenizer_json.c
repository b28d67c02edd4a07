/* tokenizer.json with small files of our own: what its steps mean, what is refused and how that is said. Files of whole
 * models: scripts/compare_tokenizer_json.py. */
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

enum { SPECIAL = CI_TOKENIZER_PARSE_SPECIAL, ADD = CI_TOKENIZER_ADD_SPECIAL };

#define SPACE "\xe2\x96\x81"
#define WORD_BREAK "\xc4\xa0" /* a space as byte-level vocabularies spell it */

/* Over bytes, as GPT-2, Llama 3 and Qwen have it. */
static const char byte_level[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n"
    "\"added_tokens\": [{\"id\": 7, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": "
    "false,\n"
    "  \"normalized\": false, \"special\": true},\n"
    "  {\"id\": 8, \"content\": \"<tool>\", \"special\": false, \"lstrip\": true, \"rstrip\": true}],\n"
    "\"normalizer\": {\"type\": \"NFC\"},\n"
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
    "  {\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}, \"behavior\": \"Isolated\", \"invert\": "
    "false},\n"
    "  {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}]},\n"
    "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", "
    "\"type_id\": 0}},\n"
    "  {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {}},\n"
    "\"decoder\": {\"type\": \"ByteLevel\"},\n"
    "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": \"\",\n"
    "  \"end_of_word_suffix\": \"\", \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false,\n"
    "  \"vocab\": {\"a\": 0, \"b\": 1, \"" WORD_BREAK "\": 2, \"ab\": 3, \"" WORD_BREAK
    "ab\": 4, \"\xc3\x83\": 5, \"\xc2\xa9\": 6},\n"
    "  \"merges\": [\"a b\", [\"" WORD_BREAK "\", \"ab\"]]}}";

/* Over characters with bytes for the others, as TinyLlama has it. */
static const char characters[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 1, \"content\": \"<s>\", "
    "\"special\": true}],\n"
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"" SPACE "\"},\n"
    "  {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" SPACE "\"}]},\n"
    "\"pre_tokenizer\": null, \"post_processor\": null,\n"
    "\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, \"byte_fallback\": true,\n"
    "  \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"<0x21>\": 2, \"" SPACE "\": 3, \"a\": 4, \"" SPACE "a\": 5},\n"
    "  \"merges\": [\"" SPACE " a\"]}}";

/* As XLM-RoBERTa has it. */
static const char unigram[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<s>\", \"special\": true}, {\"id\": 1, \"content\": \"</s>\", "
    "\"special\": true},\n"
    "  {\"id\": 2, \"content\": \"<unk>\", \"special\": true}],\n"
    "\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": null},\n"
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"},\n"
    "  {\"type\": \"Metaspace\", \"replacement\": \"" SPACE "\", \"add_prefix_space\": true}]},\n"
    "\"post_processor\": {\"type\": \"RobertaProcessing\", \"sep\": [\"</s>\", 1], \"cls\": [\"<s>\", 0], "
    "\"trim_offsets\": true,\n"
    "  \"add_prefix_space\": false},\n"
    "\"model\": {\"type\": \"Unigram\", \"unk_id\": 2, \"vocab\": [[\"<s>\", 0], [\"</s>\", 0], [\"<unk>\", 0],\n"
    "  [\"" SPACE "\", -2.5], [\"a\", -3], [\"" SPACE "a\", -1]]}}";

/* As BERT has it. */
static const char wordpiece[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"[UNK]\", \"special\": true}, {\"id\": 1, \"content\": \"[CLS]\", "
    "\"special\": true},\n"
    "  {\"id\": 2, \"content\": \"[SEP]\", \"special\": true}],\n"
    "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true,\n"
    "  \"strip_accents\": null, \"lowercase\": true},\n"
    "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},\n"
    "\"post_processor\": {\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 2], \"cls\": [\"[CLS]\", 1]},\n"
    "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\",\n"
    "  \"max_input_chars_per_word\": 5, \"vocab\": {\"[UNK]\": 0, \"[CLS]\": 1, \"[SEP]\": 2, \"go\": 3, \"##ing\": 4, "
    "\"##go\": 5}}}";

static enum clinfer_status read_json(const char *json, size_t length, const char *config,
                                     struct ci_tokenizer **tokenizer) {
    const struct ci_tokenizer_json files = {.tokenizer = {"tokenizer.json", json, length},
                                            .config = {"config.json", config, config ? strlen(config) : 0}};
    return ci_tokenizer_create_json(&files, tokenizer);
}

static struct ci_tokenizer *create(const char *json, const char *config) {
    struct ci_tokenizer *tokenizer;
    if (read_json(json, strlen(json), config, &tokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return tokenizer;
}

/* A copy of the text with `from` replaced, once. */
static char *changed(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    char *copy;
    if (!at) fail_msg("there is no '%s'", from);
    if (asprintf(&copy, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) < 0) fail_msg("out of memory");
    return copy;
}

static struct ci_tokenizer *create_changed(const char *text, const char *from, const char *to) {
    char *copy = changed(text, from, to);
    struct ci_tokenizer *tokenizer = create(copy, NULL);
    free(copy);
    return tokenizer;
}

/* ---- what files mean ---- */

static void test_bytes_are_merged_within_words(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create(byte_level, NULL);
    expect_ids(tokenizer, "ab ab", 0, 2, 3, 4);
    expect_ids(tokenizer, "ab ab", ADD, 3, 7, 3, 4);
    expect_ids(tokenizer, "a<s>b", SPECIAL, 3, 0, 7, 1);
    expect_ids(tokenizer, "a \t<tool>\xe3\x80\x80 b", 0, 3, 0, 8, 1); /* it takes the white space, all of Unicode's */
    expect_ids(tokenizer, "e\xcc\x81", 0, 2, 5, 6);                   /* one character in normal form C */
    expect_ids(tokenizer, "\xc3\xa9", 0, 2, 5, 6);
    assert_true(ci_tokenizer_is_control(tokenizer, 7));
    assert_false(ci_tokenizer_is_control(tokenizer, 8));
    assert_int_equal(ci_tokenizer_bos(tokenizer), 7);
    assert_false(ci_tokenizer_adds_eos(tokenizer));
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create_changed(byte_level, "\"NFC\"", "\"NFD\"");
    expect_ids(tokenizer, "\xc3\xa9", 0, 0);
    ci_tokenizer_destroy(tokenizer);
    /* The matches alone: what the expression leaves is dropped. */
    tokenizer = create_changed(byte_level, "\"Isolated\", \"invert\": false", "\"Removed\", \"invert\": true");
    expect_ids(tokenizer, "ab  ab ", 0, 2, 3, 4);
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create_changed(byte_level, "\"Isolated\", \"invert\": false}",
                               "\"Isolated\"}, {\"type\": \"Digits\", "
                               "\"individual_digits\": true}");
    expect_ids(tokenizer, "ab ab", 0, 2, 3, 4);
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create_changed(byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{\"String\": \"a\"}");
    expect_ids(tokenizer, "ab", 0, 2, 0, 1);
    ci_tokenizer_destroy(tokenizer);
}

static void test_words_that_are_tokens_may_go_before_merges(void **state) {
    (void)state;
    char *without = changed(byte_level, "[\"a b\", [\"" WORD_BREAK "\", \"ab\"]]", "[]");
    struct ci_tokenizer *tokenizer = create(without, NULL);
    expect_ids(tokenizer, "ab", 0, 2, 0, 1);
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create_changed(without, "\"ignore_merges\": false", "\"ignore_merges\": true");
    expect_ids(tokenizer, "ab", 0, 1, 3);
    ci_tokenizer_destroy(tokenizer);
    free(without);
}

static void test_characters_are_merged_with_bytes_for_the_others(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create(characters, NULL);
    expect_ids(tokenizer, "a a", 0, 2, 5, 5);
    expect_ids(tokenizer, " a", 0, 2, 3, 5);
    expect_ids(tokenizer, "a<s>a!?", SPECIAL, 5, 5, 1, 5, 2, 0);
    size_t length;
    assert_memory_equal(ci_tokenizer_piece(tokenizer, 2, false, &length), "!", 1);
    assert_int_equal(length, 1);
    ci_tokenizer_destroy(tokenizer);
    static const struct {
        const char *scheme;
        size_t count;
        int ids[5];
    } schemes[] = {{"first", 5, {5, 1, 4, 1, 5}}, {"always", 5, {5, 1, 5, 1, 5}}, {"never", 5, {4, 1, 4, 1, 5}}};
    char *plain = changed(characters, "\"normalizer\": {", "\"normalizer\": null, \"decoder\": {");
    for (size_t i = 0; i < 3; i++) {
        char step[160];
        snprintf(step, sizeof step, "{\"type\": \"Metaspace\", \"prepend_scheme\": \"%s\", \"split\": %s}",
                 schemes[i].scheme, i ? "true" : "false");
        char *json = changed(plain, "\"pre_tokenizer\": null", "\"pre_tokenizer\": STEP");
        tokenizer = create_changed(json, "STEP", step);
        expect_ids(tokenizer, "a<s>a<s> a", SPECIAL, 5, schemes[i].ids[0], schemes[i].ids[1], schemes[i].ids[2],
                   schemes[i].ids[3], schemes[i].ids[4]);
        ci_tokenizer_destroy(tokenizer);
        free(json);
    }
    free(plain);
}

static void test_unigram_and_wordpiece_are_read(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create(unigram, NULL);
    expect_ids(tokenizer, "a  aa ", ADD, 5, 0, 5, 5, 4, 1);
    expect_ids(tokenizer, "x", 0, 2, 3, 2);
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create(wordpiece, NULL);
    expect_ids(tokenizer, "Going go", ADD, 5, 1, 3, 4, 3, 2);
    expect_ids(tokenizer, "gogo gogogo", 0, 3, 3, 5, 0); /* six characters are too many */
    ci_tokenizer_destroy(tokenizer);
}

static void test_the_config_names_ends_and_flags(void **state) {
    (void)state;
    struct ci_tokenizer *tokenizer = create(
        byte_level, "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"<tool>\", \"add_bos_token\": false, "
                    "\"add_eos_token\": true}");
    assert_int_equal(ci_tokenizer_eos(tokenizer), 8);
    assert_true(ci_tokenizer_is_end(tokenizer, 8));
    expect_ids(tokenizer, "a", ADD, 2, 0, 8);
    ci_tokenizer_destroy(tokenizer);
    tokenizer = create(byte_level, "{\"eos_token\": \"<absent>\", \"add_eos_token\": true}");
    expect_ids(tokenizer, "a", ADD, 2, 7, 0);
    ci_tokenizer_destroy(tokenizer);
    /* Text that looks like an end is text where the file says so. */
    tokenizer = create_changed(byte_level, "\"ab\": 3", "\"ab\": 3, \"</s>\": 9");
    assert_false(ci_tokenizer_is_end(tokenizer, 9));
    assert_false(ci_tokenizer_is_control(tokenizer, 9));
    ci_tokenizer_destroy(tokenizer);
}

/* ---- what is refused ---- */

static const struct {
    const char *json, *from, *to;
    enum clinfer_status status;
    const char *part;
} refused[] = {
#define BAD CLINFER_BAD_FILE
#define NOT CLINFER_UNSUPPORTED
    {byte_level, "\"version\"", "\"versions\"", NOT, "versions: is not known"},
    {byte_level, "\"model\":", "\"modell\":", NOT, "modell"},
    {byte_level, "\"type\": \"BPE\"", "\"type\": \"WordLevel\"", NOT, "model.type: 'WordLevel'"},
    {byte_level, "\"type\": \"BPE\"", "\"type\": 3", BAD, "model.type: a string is needed; it is a number"},
    {byte_level, "\"dropout\": null", "\"dropout\": 0.1", NOT, "model.dropout"},
    {byte_level, "\"dropout\": null", "\"drop\": null", NOT, "model.drop: is not known"},
    {byte_level, "\"unk_token\": null", "\"unk_token\": \"<u>\"", BAD, "model.unk_token: '<u>' is not a token"},
    {byte_level, "\"continuing_subword_prefix\": \"\"", "\"continuing_subword_prefix\": \"##\"", NOT,
     "model.continuing_subword_prefix: '##'"},
    {byte_level, "\"end_of_word_suffix\": \"\"", "\"end_of_word_suffix\": \"</w>\"", NOT,
     "model.end_of_word_suffix: '</w>'"},
    {byte_level, "\"byte_fallback\": false", "\"byte_fallback\": \"no\"", BAD,
     "model.byte_fallback: true or false is needed; it is a string"},
    {byte_level, "\"vocab\": {\"a\": 0", "\"vocab\": {\"a\": -1", BAD, "model.vocab.a: the id -1"},
    {byte_level, "\"vocab\": {\"a\": 0", "\"vocab\": {\"a\": 16777215", BAD, "model.vocab.a: the id 16777215"},
    {byte_level, "\"vocab\": {\"a\": 0", "\"vocab\": {\"a\": 70000", BAD, "the id 70000 is out of range"},
    {byte_level, "\"vocab\": {\"a\": 0", "\"vocab\": {\"a\": 0.5", BAD, "model.vocab.a: the id is no whole number"},
    {byte_level, "\"vocab\": {\"a\": 0", "\"vocab\": {\"a\": \"0\"", BAD, "model.vocab.a"},
    {byte_level, "\"vocab\": {\"a\": 0", "\"vocab\": {\"a\": 1", BAD, "model.vocab: the id 1 of"},
    {byte_level, "\"b\": 1", "\"a\": 1", BAD, "duplicate"},
    {byte_level, "\"vocab\": {", "\"vocab\": [], \"vocabulary\": {", NOT, "model.vocabulary"},
    {unigram, "\"vocab\": [", "\"vocab\": {}, \"type\": [", BAD, "line"},
    {byte_level, "\"merges\": [", "\"merges\": {}, \"merge\": [", NOT, "model.merge"},
    {byte_level, "\"a b\"", "\"ab\"", BAD, "model.merges: element 0: 'ab' is not two tokens"},
    {byte_level, "\"a b\"", "\"a x\"", BAD, "model.merges: element 0: 'a x': the right part is not a token"},
    {byte_level, "\"a b\"", "7", BAD, "model.merges[0]: is not two tokens"},
    {byte_level, "\"ab\"]]", "\"ab\", \"a\"]]", BAD, "model.merges[1]: is not two tokens"},
    {byte_level, "\"ab\"]]", "\"a b\"]]", NOT, "model.merges[1]: a token with a space"},
    {byte_level, "\"id\": 7", "\"id\": 3", BAD, "added_tokens[0]: the id 3 of '<s>' is that of 'ab' already"},
    {byte_level, "\"id\": 7", "\"id\": -7", BAD, "added_tokens[0].id: the id -7"},
    {byte_level, "\"id\": 7, ", "", BAD, "added_tokens[0].id: the id is no whole number"},
    {byte_level, "\"id\": 8", "\"id\": 7", BAD, "added_tokens[1]: the id 7 of '<tool>'"},
    {byte_level, "\"content\": \"<s>\"", "\"content\": null", BAD,
     "added_tokens[0].content: a string is needed; it is null"},
    {byte_level, "\"single_word\": false", "\"single_word\": true", NOT, "added_tokens[0]: single_word"},
    {byte_level, "\"special\": true", "\"special\": 1", BAD, "added_tokens[0].special"},
    {byte_level, "\"special\": true", "\"spezial\": true", NOT, "added_tokens[0].spezial: is not known"},
    {byte_level, "\"added_tokens\": [", "\"added_tokens\": 1, \"decoder\": [", BAD, "line"},
    {byte_level, "{\"type\": \"NFC\"}", "{\"type\": \"NFX\"}", NOT, "normalizer.type: 'NFX'"},
    {byte_level, "{\"type\": \"NFC\"}", "{\"kind\": \"NFC\"}", BAD,
     "normalizer.type: a string is needed; it is absent"},
    {byte_level, "{\"type\": \"NFC\"}", "[]", BAD, "normalizer: an object is needed; it is a list"},
    {byte_level, "{\"type\": \"NFC\"}", "{\"type\": \"Lowercase\"}", NOT, "normalizer.type: 'Lowercase'"},
    {byte_level, "\"pretokenizers\": [", "\"pretokenisers\": [", NOT, "pre_tokenizer.pretokenisers"},
    {byte_level, "\"pretokenizers\": [", "\"pretokenizers\": 5, \"x\": [", NOT, "pre_tokenizer.x"},
    {byte_level, "\"type\": \"Split\"", "\"type\": \"Whitespace\"", NOT,
     "pre_tokenizer.pretokenizers[0].type: 'Whitespace'"},
    {byte_level, "\"Isolated\"", "\"MergedWithNext\"", NOT,
     "pre_tokenizer.pretokenizers[0]: behavior 'MergedWithNext'"},
    {byte_level, "\"Isolated\", \"invert\": false", "\"Isolated\", \"invert\": true", NOT, "'Isolated' inverted"},
    {byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{}", BAD, "pre_tokenizer.pretokenizers[0].pattern"},
    {byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{\"Regex\": 5}", BAD, "pattern.Regex: a string is needed"},
    {byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{\"Regex\": \"[a-z\"}", NOT, "PCRE2 does not take '[a-z"},
    {byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{\"Regex\": \"[a&&[b]]\"}", NOT, "'&&' in an expression"},
    {byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{\"Regex\": \"\\\\h\"}", NOT, "'\\h' in an expression"},
    {byte_level, "{\"Regex\": \"\\\\s?[a-z]+|\\\\S\"}", "{\"Regex\": \"\"}", BAD, "the pattern is empty"},
    {byte_level, "\"add_prefix_space\": false", "\"add_prefix_space\": true", NOT, "add_prefix_space"},
    {byte_level, "\"trim_offsets\": true, \"use_regex\"", "\"trim_offsets\": true, \"regex\"", NOT,
     "pre_tokenizer.pretokenizers[1].regex"},
    {byte_level, "\"type\": \"ByteLevel\", \"add", "\"type\": \"Digits\", \"add", NOT,
     "pretokenizers[1].add_prefix_space"},
    {byte_level, "TemplateProcessing", "Template", NOT, "post_processor.type: 'Template'"},
    {byte_level, "\"single\": [", "\"single\": null, \"pair\": [", BAD, "line"},
    {byte_level, "{\"id\": \"<s>\", \"type_id\"", "{\"id\": \"<x>\", \"type_id\"", BAD,
     "post_processor.single[0]: '<x>' is not a token"},
    {byte_level, "\"Sequence\": {\"id\": \"A\"", "\"Series\": {\"id\": \"A\"", NOT, "post_processor.single[1]"},
    {byte_level, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}", "{\"SpecialToken\": {\"id\": \"<s>\"}}", NOT,
     "post_processor.single[1]: more than one token before"},
    {characters, "\"prepend\": \"" SPACE "\"", "\"prepend\": \"_\"", NOT, "normalizer.normalizers[0]"},
    {characters, "{\"String\": \" \"}", "{\"String\": \"x\"}", NOT, "replacing 'x'"},
    {characters, "\"byte_fallback\": true", "\"byte_fallback\": false", NOT, "model.byte_fallback"},
    {characters, "\"normalizer\": {", "\"normalizer\": null, \"decoder\": {", NOT, "pre_tokenizer: neither ByteLevel"},
    {characters, "\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}",
     NOT, "at once"},
    {characters, "\"fuse_unk\": true", "\"ignore_merges\": true", NOT, "model.ignore_merges"},
    {unigram, "\"unk_id\": 2", "\"unk_id\": 6", BAD, "model.unk_id"},
    {unigram, "\"unk_id\": 2", "\"byte_fallback\": true", NOT, "model.byte_fallback"},
    {unigram, "[\"a\", -3]", "[\"a\"]", BAD, "model.vocab[4]: is not a token with its score"},
    {unigram, "[\"a\", -3]", "[\"a\", \"-3\"]", BAD, "model.vocab[4]"},
    {unigram, "[\"a\", -3]", "[\"a\", -1e300]", BAD, "model.vocab: element 4 is not a number, or infinite"},
    {unigram, "[\"a\", -3]", "[\"" SPACE "a\", -3]", BAD, "model.vocab: elements 4 and 5"},
    {unigram, "\"precompiled_charsmap\": null", "\"precompiled_charsmap\": \"A?\"", BAD, "no base64 at 1"},
    {unigram, "\"precompiled_charsmap\": null", "\"precompiled_charsmap\": \"BAAA\"", BAD,
     "normalizer.precompiled_charsmap: 3 bytes"},
    {unigram, "\"WhitespaceSplit\"", "\"BertPreTokenizer\"", NOT, "pretokenizers[0].type: 'BertPreTokenizer'"},
    {unigram, "{\"type\": \"WhitespaceSplit\"},", "", NOT, "unigram that keeps runs of spaces"},
    {unigram, "\"replacement\": \"" SPACE "\"", "\"replacement\": \"_\"", NOT, "replacement '_'"},
    {unigram, "\"sep\": [\"</s>\", 1]", "\"sep\": 1", BAD, "post_processor.sep"},
    {wordpiece, "\"clean_text\": true", "\"clean_text\": false", NOT, "normalizer: clean_text"},
    {wordpiece, "\"handle_chinese_chars\": true", "\"handle_chinese_chars\": false", NOT, "handle_chinese_chars"},
    {wordpiece, "{\"type\": \"BertPreTokenizer\"}", "null", NOT, "WordPiece without BertPreTokenizer"},
    {wordpiece, "\"continuing_subword_prefix\": \"##\"", "\"continuing_subword_prefix\": \"@@\"", NOT, "'@@'"},
    {wordpiece, "\"max_input_chars_per_word\": 5", "\"max_input_chars_per_word\": 0", BAD,
     "model.max_input_chars_per_word"},
    {wordpiece, "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[U]\"", BAD, "model.unk_token: '[U]'"},
#undef BAD
#undef NOT
};

static void test_what_is_not_understood_is_refused_with_its_path(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char *json = changed(refused[i].json, refused[i].from, refused[i].to);
        struct ci_tokenizer *tokenizer;
        enum clinfer_status status = read_json(json, strlen(json), NULL, &tokenizer);
        if (status == CLINFER_OK) fail_msg("'%s' was taken", refused[i].to);
        assert_null(tokenizer);
        if (status != refused[i].status || !strstr(clinfer_error(), refused[i].part) ||
            strncmp(clinfer_error(), "tokenizer.json: ", 16) != 0)
            fail_msg("'%s': status %d with '%s', not %d with '%s'", refused[i].to, status, clinfer_error(),
                     refused[i].status, refused[i].part);
        free(json);
    }
}

static void test_damaged_configs_are_refused(void **state) {
    (void)state;
    static const char *const configs[][2] = {{"[]", "config.json: (top): is no object"},
                                             {"{\"bos_token\": 3}", "config.json: bos_token"},
                                             {"{\"add_bos_token\": 3}", "config.json: (top).add_bos_token"},
                                             {"{\"bos_token\": ", "config.json: line 1"}};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct ci_tokenizer *tokenizer;
        assert_int_equal(read_json(byte_level, strlen(byte_level), configs[i][0], &tokenizer), CLINFER_BAD_FILE);
        if (!strstr(clinfer_error(), configs[i][1])) fail_msg("'%s' lacks '%s'", clinfer_error(), configs[i][1]);
    }
}

static enum clinfer_status read_generation(const char *text, struct ci_tokenizer **tokenizer) {
    const struct ci_tokenizer_json files = {.tokenizer = {"tokenizer.json", byte_level, strlen(byte_level)},
                                            .generation = {"generation_config.json", text, strlen(text)}};
    return ci_tokenizer_create_json(&files, tokenizer);
}

static void test_generation_ends_with_the_tokens_of_its_config(void **state) {
    (void)state;
    static const char *const damaged[][2] = {
        {"[5]", "(top): is no object"},
        {"{\"eos_token_id\": \"x\"}", "eos_token_id: a number is needed; it is a string"},
        {"{\"eos_token_id\": [7, 9]}", "eos_token_id[1]: 9 is outside"},
        {"{\"eos_token_id\": -1}", "eos_token_id: -1 is outside"}};
    struct ci_tokenizer *tokenizer;
    assert_int_equal(read_generation("{\"eos_token_id\": [7, 3]}", &tokenizer), CLINFER_OK);
    assert_true(ci_tokenizer_is_end(tokenizer, 7));
    assert_true(ci_tokenizer_is_end(tokenizer, 3));
    assert_false(ci_tokenizer_is_end(tokenizer, 8));
    ci_tokenizer_destroy(tokenizer);
    assert_int_equal(read_generation("{\"eos_token_id\": 8, \"temperature\": 1}", &tokenizer), CLINFER_OK);
    assert_true(ci_tokenizer_is_end(tokenizer, 8));
    ci_tokenizer_destroy(tokenizer);
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        assert_int_equal(read_generation(damaged[i][0], &tokenizer), CLINFER_BAD_FILE);
        if (strncmp(clinfer_error(), "generation_config.json: ", 24) != 0 || !strstr(clinfer_error(), damaged[i][1]))
            fail_msg("'%s' lacks '%s' or the file", clinfer_error(), damaged[i][1]);
    }
}

/* Cut anywhere, or with any byte changed: an error that names the file, or a tokenizer. */
static void test_any_damage_is_survived(void **state) {
    (void)state;
    static const char *const files[] = {byte_level, characters, unigram, wordpiece};
    static const char bytes[] = "\0{[\"\\9-x\xff";
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t length = strlen(files[i]);
        char *copy = malloc(length);
        for (size_t at = 0; at < length * sizeof bytes; at++) {
            struct ci_tokenizer *tokenizer;
            bool cut = at % sizeof bytes == sizeof bytes - 1;
            memcpy(copy, files[i], length);
            copy[at / sizeof bytes] = bytes[at % sizeof bytes];
            enum clinfer_status status = read_json(copy, cut ? at / sizeof bytes : length, NULL, &tokenizer);
            if (status != CLINFER_OK && strncmp(clinfer_error(), "tokenizer.json: ", 16) != 0)
                fail_msg("'%s' does not name the file", clinfer_error());
            if (cut && status == CLINFER_OK) fail_msg("%zu bytes were taken", at / sizeof bytes);
            ci_tokenizer_destroy(tokenizer);
        }
        free(copy);
    }
}

/* ---- folders ---- */

static void write_in(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (ci_file_write(path, text, strlen(text)) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void test_folders_are_read(void **state) {
    (void)state;
    char folder[] = "/tmp/clinfer-tokenizer-XXXXXX";
    struct ci_tokenizer *tokenizer;
    assert_non_null(mkdtemp(folder));
    assert_int_not_equal(ci_tokenizer_create_folder(folder, &tokenizer), CLINFER_OK);
    if (!strstr(clinfer_error(), "tokenizer.json")) fail_msg("%s", clinfer_error());
    write_in(folder, "tokenizer.json", byte_level);
    assert_int_equal(ci_tokenizer_create_folder(folder, &tokenizer), CLINFER_OK);
    expect_ids(tokenizer, "ab", ADD, 2, 7, 3);
    ci_tokenizer_destroy(tokenizer);
    write_in(folder, "tokenizer_config.json", "{\"add_bos_token\": false, \"chat_template\": \"{{ x }}\"}");
    assert_int_equal(ci_tokenizer_create_folder(folder, &tokenizer), CLINFER_OK);
    expect_ids(tokenizer, "ab", ADD, 1, 3);
    ci_tokenizer_destroy(tokenizer);
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < 2; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_merged_within_words),
        cmocka_unit_test(test_words_that_are_tokens_may_go_before_merges),
        cmocka_unit_test(test_characters_are_merged_with_bytes_for_the_others),
        cmocka_unit_test(test_unigram_and_wordpiece_are_read),
        cmocka_unit_test(test_the_config_names_ends_and_flags),
        cmocka_unit_test(test_what_is_not_understood_is_refused_with_its_path),
        cmocka_unit_test(test_damaged_configs_are_refused),
        cmocka_unit_test(test_generation_ends_with_the_tokens_of_its_config),
        cmocka_unit_test(test_any_damage_is_survived),
        cmocka_unit_test(test_folders_are_read),
    };
    return cmocka_run_group_tests_name("tokenizer_json", tests, NULL, NULL);
}
