/* pretokenizer.c: see pretokenizer.h.
 *
 * A pre-tokenizer is up to four expressions in sequence: each one cuts every piece that the one before left into its
 * matches and the gaps between them. PCRE2 runs them, compiled to machine code where that is possible.
 *
 * The expressions are those of the tokenizers' own tokenizer.json files. Their \s means the White_Space property;
 * PCRE2's \s also takes U+180E, which lost that property in Unicode 6.3, so the property is named. They end in an
 * alternative for every character, so no gap ever remains, but nothing here relies on that. */
#define _GNU_SOURCE
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenizer.h"

#include <assert.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"

#define S "\\p{wspace}"
#define NOT_S "\\P{wspace}"

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define SPACES S "+(?!" NOT_S ")|" S "+"
#define EACH_DIGIT "\\p{N}"
#define GPT2 CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^" S "\\p{L}\\p{N}]+|" SPACES

/* GPT-4's expression and its children: line ends belong to the punctuation before them, digits go in groups. */
#define GPT4(digits)                                                                                                   \
    "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" S "\\p{L}\\p{N}]+[\\r\\n]*|" S               \
    "*[\\r\\n]+|" SPACES

/* What llama.cpp takes for files that do not say which it is. */
#define PUNCTUATION "[\\p{P}$+<=>^~|]+"

/* Lines, and what ends them. */
#define LINES "[^\\n]+|\\n+"

enum { MAXIMUM_EXPRESSIONS = 4 };

static const struct kind {
    const char *name;
    struct ci_pretokenizer_traits traits;
    const char *expressions[MAXIMUM_EXPRESSIONS];
} kinds[] = {
    {CI_PRETOKENIZER_DEFAULT, {0}, {PUNCTUATION, GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"smollm", {0}, {EACH_DIGIT, GPT2}},
    {"starcoder", {0}, {EACH_DIGIT, GPT2}},
    {"refact", {0}, {EACH_DIGIT, GPT2}},
    {"command-r", {0}, {EACH_DIGIT, GPT2}},
    {"gpt-2", {0}, {GPT2}},
    {"gpt2", {0}, {GPT2}},
    {"llama-bpe", {.whole_words = true, .add_bos = true}, {GPT4("\\p{N}{1,3}")}},
    {"llama3", {.whole_words = true, .add_bos = true}, {GPT4("\\p{N}{1,3}")}},
    {"llama-v3", {.whole_words = true, .add_bos = true}, {GPT4("\\p{N}{1,3}")}},
    {"qwen2", {0}, {GPT4("\\p{N}")}},
    {"deepseek-r1-qwen", {0}, {GPT4("\\p{N}")}},
    {CI_PRETOKENIZER_GEMMA4, {.whole_lines = true, .always_bos = true, .characters = true}, {LINES}},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

struct ci_pretokenizer {
    const struct kind *kind;
    pcre2_code *codes[MAXIMUM_EXPRESSIONS];
    int count;
};

static const struct kind *find_kind(const char *name, size_t length) {
    for (size_t i = 0; i < KINDS; i++)
        if (strlen(kinds[i].name) == length && memcmp(kinds[i].name, name, length) == 0) return &kinds[i];
    return NULL;
}

struct ci_pretokenizer_traits ci_pretokenizer_traits_of(const char *name, size_t length) {
    const struct kind *kind = find_kind(name, length);
    return kind ? kind->traits : (struct ci_pretokenizer_traits){0};
}

static enum clinfer_status fail_unknown(const char *name, size_t length) {
    char known[256] = "";
    for (size_t i = 0; i < KINDS; i++) ci_names_add(known, sizeof known, kinds[i].name);
    return ci_fail(CLINFER_UNSUPPORTED,
                   "tokenizer.ggml.pre: '%.*s': this pre-tokenizer is not supported; these are: %s",
                   ci_shown(length, 64), name, known);
}

static enum clinfer_status compile(const char *expression, pcre2_code **code) {
    int error;
    PCRE2_SIZE offset;
    *code = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
    if (*code == NULL) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(error, text, sizeof text);
        /* The expressions are ours: an old PCRE2 without \p{wspace} (below 10.40) is what can get here. */
        return ci_fail(CLINFER_UNSUPPORTED, "PCRE2 does not take '%.40s...' at %zu: %s; PCRE2 10.40 or newer is needed",
                       expression, (size_t)offset, text);
    }
    /* Without machine code (no executable memory) PCRE2 interprets: slower, same result. */
    (void)pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE);
    return CLINFER_OK;
}

enum clinfer_status ci_pretokenizer_create(const char *name, size_t length, struct ci_pretokenizer **pretokenizer) {
    *pretokenizer = NULL;
    const struct kind *kind = find_kind(name, length);
    if (kind == NULL) return fail_unknown(name, length);

    struct ci_pretokenizer *created = calloc(1, sizeof *created);
    if (created == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "pre-tokenizer: out of memory");
    created->kind = kind;
    while (created->count < MAXIMUM_EXPRESSIONS && kind->expressions[created->count] != NULL) {
        enum clinfer_status status = compile(kind->expressions[created->count], &created->codes[created->count]);
        if (status != CLINFER_OK) {
            ci_pretokenizer_destroy(created);
            return status;
        }
        created->count++;
    }
    *pretokenizer = created;
    return CLINFER_OK;
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

/* Cuts one piece by expression `level`; matches and gaps go on to the next level. */
static enum clinfer_status split_piece(const struct split *split, int level, const char *text, size_t length) {
    if (length == 0) return CLINFER_OK;
    if (level == split->pretokenizer->count) return split->word(split->user, text, length);
    for (size_t at = 0; at < length;) {
        bool found;
        enum clinfer_status status = find(split, level, text, length, at, &found);
        if (status != CLINFER_OK) return status;
        if (!found) return split_piece(split, level + 1, text + at, length - at);
        /* Copied, as the next level uses the same match data. */
        const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(split->match);
        size_t begin = bounds[0], end = bounds[1];
        assert(begin >= at && end > begin);
        status = split_piece(split, level + 1, text + at, begin - at);
        if (status == CLINFER_OK) status = split_piece(split, level + 1, text + begin, end - begin);
        if (status != CLINFER_OK) return status;
        at = end;
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
