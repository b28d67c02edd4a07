/* pretokenizer.c: see pretokenizer.h.
 *
 * A pre-tokenizer is up to six expressions in sequence: each one cuts every piece that the one before left into its
 * matches and the gaps between them. PCRE2 runs them, compiled to machine code where that is possible.
 *
 * The expressions are those of the tokenizers' own tokenizer.json files, also where llama.cpp only comes near them (it
 * takes accents and capitals for other letters in words of GPT-4o's kind, and white space beyond ASCII for one and the
 * same). Their \s means the White_Space property;
 * PCRE2's \s also takes U+180E, which lost that property in Unicode 6.3, so the property is named. They end in an
 * alternative for every character, so no gap ever remains, but nothing here relies on that. */
#define _GNU_SOURCE
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenizer.h"

#include <assert.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "text/utf8.h"

#define S "\\p{wspace}"
#define NOT_S "\\P{wspace}"

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define SPACES S "+(?!" NOT_S ")|" S "+"
#define EACH_DIGIT "\\p{N}"
#define GPT2 CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^" S "\\p{L}\\p{N}]+|" SPACES

/* What ends nearly all of them: punctuation with what belongs to it, and white space that ends in a line. */
#define LINE_ENDS S "*[\\r\\n]+|" SPACES
#define MARKS(ends) " ?[^" S "\\p{L}\\p{N}]+" ends

/* GPT-4's expression and its children: line ends belong to the punctuation before them, digits go in groups. */
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define GPT4(digits) "(?i:" CONTRACTIONS ")|" WORD digits "|" MARKS("[\\r\\n]*") "|" LINE_ENDS

/* The same where accents belong to words. */
#define QWEN35                                                                                                         \
    "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" S                                        \
    "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINE_ENDS

/* GPT-4o's: a word begins with its capitals. `any` is put before each letter, `tail` behind each word. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CAPITALS(any, tail, digits)                                                                                    \
    "[^\\r\\n\\p{L}\\p{N}]?(?:" any UPPER ")*(?:" any LOWER ")+" tail "|[^\\r\\n\\p{L}\\p{N}]?(?:" any UPPER           \
    ")+(?:" any LOWER ")*" tail "|" digits "|"
#define TAIL "(?i:" CONTRACTIONS ")?"
#define GPT4O CAPITALS("", TAIL, "\\p{N}{1,3}") MARKS("[\\r\\n/]*") "|" LINE_ENDS
#define TEKKEN CAPITALS("", "", "\\p{N}") MARKS("[\\r\\n/]*") "|" LINE_ENDS
#define YOUTU CAPITALS("", TAIL, "\\p{N}") MARKS("[\\r\\n/]*") "|" LINE_ENDS
#define KIMI "\\p{sc:Han}+|" CAPITALS("(?!\\p{sc:Han})", TAIL, "\\p{N}{1,3}") MARKS("[\\r\\n]*") "|" LINE_ENDS

/* DeepSeek's third: accents belong to words, symbols are no letters. */
#define DEEPSEEK3(marks)                                                                                               \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" marks         \
    "|" SPACES
#define CJK "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define CJK_AND_KOREAN "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define CJK_AND_NEIGHBOURS                                                                                             \
    "[\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{F900}-\\x{FAFF}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}\\x{FF65}-\\x{"   \
    "FF9F}"                                                                                                            \
    "\\x{2F00}-\\x{2FDF}\\x{E40}-\\x{E7F}\\x{E80}-\\x{EFF}\\x{1780}-\\x{17FF}\\x{1000}-\\x{109F}\\x{AA60}-\\x{AA7F}"   \
    "\\x{A9E0}-\\x{A9FF}\\x{AC00}-\\x{D7AF}\\x{1100}-\\x{11FF}]+"
#define KOREAN_MARKS_BOPOMOFO_CJK                                                                                      \
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{2014}\\x{"   \
    "FF1A}"                                                                                                            \
    "\\x{FF1B}\\x{FF0C}\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|" CJK

/* DeepSeek's first names its letters. */
#define LETTERS                                                                                                        \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"                    \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}"             \
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"                    \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"                  \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"                  \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}"          \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}"         \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"                   \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"                    \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}"                    \
    "\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"                   \
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"                  \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"                \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"                             \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
#define FULL_WIDTH_MARKS "\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}"

/* Bloom's words end where punctuation of several scripts begins. */
#define BLOOM " ?[^(" S "|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"

#define JAIS2_SPACES                                                                                                   \
    S "{512}(?!" NOT_S ")|" S "{256}(?!" NOT_S ")|" S "{128}(?!" NOT_S ")|" S "{64}(?!" NOT_S ")|" S "{32}(?!" NOT_S   \
      ")|" S "{16}(?!" NOT_S ")|" S "{8}(?!" NOT_S ")|" S "{4}(?!" NOT_S ")|" S "{1,2}(?!" NOT_S ")|" S

/* What llama.cpp takes for files that do not say which it is. */
#define PUNCTUATION "[\\p{P}$+<=>^~|]+"

/* Lines, and what ends them. */
#define LINES "[^\\n]+|\\n+"

/* Its matches are cut into groups of three from the right. An expression that looks ahead to the end of the number
 * would take quadratic time. */
static const char threes[] = "\\p{N}+";

enum { MAXIMUM_EXPRESSIONS = 6 };

static const struct kind {
    const char *names; /* with spaces between them */
    struct ci_pretokenizer_traits traits;
    const char *expressions[MAXIMUM_EXPRESSIONS];
} kinds[] = {
    {CI_PRETOKENIZER_DEFAULT, {0}, {PUNCTUATION, GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", {0}, {EACH_DIGIT, GPT2}},
    {"gpt-2 gpt2 phi-2 gigachat a.x-4.0 mellum modern-bert exaone4 mpt olmo jais trillion granite-docling jina-es "
     "jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe",
     {0},
     {GPT2}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     {.whole_words = true, .add_bos = true},
     {GPT4("\\p{N}{1,3}")}},
    {"glm4 glm5", {.whole_words = true}, {GPT4("\\p{N}{1,3}")}},
    {"chatglm-bpe dbrx smaug-bpe", {0}, {GPT4("\\p{N}{1,3}")}},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", {0}, {GPT4("\\p{N}")}},
    {"qwen35", {0}, {QWEN35}},
    {"minicpm5", {.whole_words = true}, {"\\p{N}{1,3}", GPT4("\\p{N}+")}},
    {"laguna", {0}, {LINES, GPT4("\\p{N}")}},
    {"ufakzeka", {0}, {WORD "\\p{N}|" MARKS("[\\r\\n]*") "|" LINE_ENDS}},
    {"seed-coder", {0}, {"(?i:" CONTRACTIONS ")|" WORD "\\p{N}| ?[^" S "\\p{L}\\p{N}\\r\\n]+|" LINE_ENDS}},
    {"bailingmoe bailingmoe2 llada-moe",
     {0},
     {"'(?i:[sdmt]|ll|ve|re)|" WORD "\\p{N}|" MARKS("[\\r\\n]*") "|" S "*[\\r\\n]|" SPACES}},
    {"exaone-moe",
     {0},
     {"(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|" MARKS(
         "[\\r\\n/]?") "|" S "*[\\r\\n]|" SPACES}},
    {"jais-2", {0}, {"(?i:" CONTRACTIONS ")|" WORD "\\p{N}{1,3}|" MARKS("[\\r\\n]*") "|" S "*[\\r\\n]+|" JAIS2_SPACES}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {0}, {GPT4O}},
    {"granite-embed-multi-97m", {.whole_words = true}, {GPT4O}},
    {"tiny_aya cohere2moe", {0}, {threes, GPT4O}},
    {"tekken", {.whole_words = true, .add_bos = true}, {TEKKEN}},
    {"youtu", {.whole_words = true}, {KOREAN_MARKS_BOPOMOFO_CJK, YOUTU}},
    {"kimi-k2", {0}, {KIMI}},
    {"deepseek-llm",
     {0},
     {"[\\r\\n]", S "?[" LETTERS "]+", S "?[!-/:-~" FULL_WIDTH_MARKS "]+", S "+\\z", CJK_AND_KOREAN, "\\p{N}+"}},
    {"deepseek-coder", {0}, {"[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", CJK_AND_KOREAN, EACH_DIGIT}},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     {0},
     {"\\p{N}{1,3}", CJK, DEEPSEEK3(" ?[\\p{P}\\p{S}]+[\\r\\n]*|" S "*[\\r\\n]+")}},
    {"spark2_5", {0}, {"\\p{N}{1,3}", CJK, DEEPSEEK3(" ?[\\p{P}\\p{S}]+|[\\r\\n]"), EACH_DIGIT}},
    {"afmoe", {0}, {threes, CJK_AND_NEIGHBOURS, DEEPSEEK3(" ?[\\p{P}\\p{S}]+[\\r\\n]*|" S "*[\\r\\n]+")}},
    {"superbpe", {0}, {threes}},
    {"falcon", {0}, {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"bloom poro-chat gpt3-finnish", {0}, {BLOOM}},
    {"viking", {0}, {BLOOM, EACH_DIGIT}},
    {"chameleon",
     {.add_bos = true},
     {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", EACH_DIGIT, "[\\p{P}!-/:-@\\[-`{-~]", GPT2}},
    {CI_PRETOKENIZER_GEMMA4 " granite-embed-multi-311m",
     {.whole_lines = true, .always_bos = true, .characters = true},
     {LINES}},
    {"sarvam-moe", {.characters = true}, {LINES}},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

enum use { MATCHES_AND_GAPS, MATCHES_IN_THREES, MATCHES_ONLY };

struct ci_pretokenizer {
    pcre2_code *codes[CI_PRETOKENIZER_MOST];
    enum use uses[CI_PRETOKENIZER_MOST];
    int count;
};

/* The name that begins at text: its length. */
static size_t name_length(const char *text) { return strcspn(text, " "); }

static const char *next_name(const char *text) {
    text += name_length(text);
    return *text ? text + 1 : NULL;
}

static const struct kind *find_kind(const char *name, size_t length) {
    for (size_t i = 0; i < KINDS; i++)
        for (const char *own = kinds[i].names; own; own = next_name(own))
            if (name_length(own) == length && memcmp(own, name, length) == 0) return &kinds[i];
    return NULL;
}

struct ci_pretokenizer_traits ci_pretokenizer_traits_of(const char *name, size_t length) {
    const struct kind *kind = find_kind(name, length);
    return kind ? kind->traits : (struct ci_pretokenizer_traits){0};
}

static enum clinfer_status fail_unknown(const char *name, size_t length) {
    char known[1280] = "", own_name[64];
    for (size_t i = 0; i < KINDS; i++)
        for (const char *own = kinds[i].names; own; own = next_name(own)) {
            snprintf(own_name, sizeof own_name, "%.*s", ci_shown(name_length(own), sizeof own_name), own);
            ci_names_add(known, sizeof known, own_name);
        }
    return ci_fail(CLINFER_UNSUPPORTED,
                   "tokenizer.ggml.pre: '%.*s': this pre-tokenizer is not supported; these are: %s",
                   ci_shown(length, 64), name, known);
}

static enum clinfer_status add(struct ci_pretokenizer *pretokenizer, const char *expression, enum use use) {
    int error;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
    if (code == NULL) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(error, text, sizeof text);
        /* A file's own, or an old PCRE2 without \p{wspace} (below 10.40). */
        return ci_fail(CLINFER_UNSUPPORTED, "PCRE2 does not take '%.40s...' at %zu: %s; PCRE2 10.40 or newer is needed",
                       expression, (size_t)offset, text);
    }
    /* Without machine code (no executable memory) PCRE2 interprets: slower, same result. */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    pretokenizer->codes[pretokenizer->count] = code;
    pretokenizer->uses[pretokenizer->count++] = use;
    return CLINFER_OK;
}

static enum clinfer_status create_of(const struct ci_pretokenizer_expression *expressions, size_t count,
                                     struct ci_pretokenizer **pretokenizer) {
    struct ci_pretokenizer *created = calloc(1, sizeof *created);
    *pretokenizer = NULL;
    if (created == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "pre-tokenizer: out of memory");
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        enum use use = expressions[i].matches_only ? MATCHES_ONLY : MATCHES_AND_GAPS;
        status = add(created, expressions[i].pattern, expressions[i].pattern == threes ? MATCHES_IN_THREES : use);
    }
    if (status == CLINFER_OK)
        *pretokenizer = created;
    else
        ci_pretokenizer_destroy(created);
    return status;
}

enum clinfer_status ci_pretokenizer_create(const char *name, size_t length, struct ci_pretokenizer **pretokenizer) {
    struct ci_pretokenizer_expression expressions[MAXIMUM_EXPRESSIONS];
    size_t count = 0;
    *pretokenizer = NULL;
    const struct kind *kind = find_kind(name, length);
    if (kind == NULL) return fail_unknown(name, length);
    for (; count < MAXIMUM_EXPRESSIONS && kind->expressions[count] != NULL; count++)
        expressions[count] = (struct ci_pretokenizer_expression){kind->expressions[count], false};
    return create_of(expressions, count, pretokenizer);
}

enum clinfer_status ci_pretokenizer_create_own(const struct ci_pretokenizer_expression *expressions, size_t count,
                                               struct ci_pretokenizer **pretokenizer) {
    *pretokenizer = NULL;
    if (count > CI_PRETOKENIZER_MOST)
        return ci_fail(CLINFER_UNSUPPORTED, "%zu expressions that cut text; %d are possible", count,
                       CI_PRETOKENIZER_MOST);
    return create_of(expressions, count, pretokenizer);
}

void ci_pretokenizer_destroy(struct ci_pretokenizer *pretokenizer) {
    if (pretokenizer == NULL) return;
    for (int i = 0; i < pretokenizer->count; i++) pcre2_code_free(pretokenizer->codes[i]);
    free(pretokenizer);
}

struct split {
    const struct ci_pretokenizer *pretokenizer;
    pcre2_match_data *match;
    ci_pretokenizer_word *word;
    void *user;
};

/* The next match at or behind `start`; *found is false when there is none. */
static enum clinfer_status find(const struct split *split, int level, const char *text, size_t length, size_t start,
                                bool *found) {
    const pcre2_code *code = split->pretokenizer->codes[level];
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int count = pcre2_match(code, subject, length, start, PCRE2_NO_UTF_CHECK, split->match, NULL);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
        count = pcre2_match(code, subject, length, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, split->match, NULL);
    *found = count > 0;
    if (count > 0 || count == PCRE2_ERROR_NOMATCH) return CLINFER_OK;
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(count, reason, sizeof reason);
    enum clinfer_status status = count == PCRE2_ERROR_NOMEMORY || count == PCRE2_ERROR_HEAPLIMIT
                                     ? CLINFER_OUT_OF_MEMORY
                                     : CLINFER_INVALID_ARGUMENT;
    return ci_fail(status, "splitting %zu bytes of text into words: %s; use shorter runs of white space", length,
                   reason);
}

static enum clinfer_status split_piece(const struct split *split, int level, const char *text, size_t length);

/* A match goes on to the next level, in groups of three characters where the expression asks for them. */
static enum clinfer_status split_match(const struct split *split, int level, const char *text, size_t length) {
    if (split->pretokenizer->uses[level] != MATCHES_IN_THREES) return split_piece(split, level + 1, text, length);
    size_t characters = 0;
    for (size_t i = 0; i < length; i++) characters += ((uint8_t)text[i] & 0xc0) != 0x80;
    enum clinfer_status status = CLINFER_OK;
    for (size_t begin = 0, at = 0; at < length && status == CLINFER_OK; begin = at) {
        do at += ci_utf8_character(text + at, length - at);
        while (--characters % 3);
        status = split_piece(split, level + 1, text + begin, at - begin);
    }
    return status;
}

/* What is between matches goes on as they do, or is dropped. */
static enum clinfer_status split_gap(const struct split *split, int level, const char *text, size_t length) {
    if (split->pretokenizer->uses[level] == MATCHES_ONLY) return CLINFER_OK;
    return split_piece(split, level + 1, text, length);
}

/* Cuts one piece by expression `level`; matches and gaps go on to the next level. */
static enum clinfer_status split_piece(const struct split *split, int level, const char *text, size_t length) {
    if (length == 0) return CLINFER_OK;
    if (level == split->pretokenizer->count) return split->word(split->user, text, length);
    for (size_t at = 0, from = 0; at < length;) {
        bool found = false;
        enum clinfer_status status = from < length ? find(split, level, text, length, from, &found) : CLINFER_OK;
        if (status != CLINFER_OK) return status;
        if (!found) return split_gap(split, level, text + at, length - at);
        /* Copied, as the next level uses the same match data. */
        const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(split->match);
        size_t begin = bounds[0], end = bounds[1];
        assert(begin >= at && end >= begin);
        status = split_gap(split, level, text + at, begin - at);
        if (status == CLINFER_OK && end > begin) status = split_match(split, level, text + begin, end - begin);
        if (status != CLINFER_OK) return status;
        /* A match of nothing, which only a file's own expression has, is a cut. */
        at = from = end;
        if (end == begin && end < length) from += ci_utf8_character(text + end, length - end);
    }
    return CLINFER_OK;
}

enum clinfer_status ci_pretokenizer_split(const struct ci_pretokenizer *pretokenizer, const char *text, size_t length,
                                          ci_pretokenizer_word *word, void *user) {
    struct split split = {.pretokenizer = pretokenizer, .word = word, .user = user};
    split.match = pcre2_match_data_create(1, NULL);
    if (split.match == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "splitting text into words: out of memory");
    enum clinfer_status status = split_piece(&split, 0, text, length);
    pcre2_match_data_free(split.match);
    return status;
}
