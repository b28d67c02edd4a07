/* tokenizer.c: see tokenizer.h. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "text/normal_form.h"
#include "text/special.h"
#include "text/template.h"
#include "text/tokenizer_kind.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

/* Signs that are looked for in templates have no more bytes. */
enum { MOST_SIGN = 64 };

struct ci_tokenizer {
    struct ci_vocabulary vocabulary;
    struct ci_special special;
    const struct ci_tokenizer_kind *kind; /* NULL: the file has no way from text to tokens */
    void *rules;                          /* of that kind */
    uint8_t *marks;                       /* [size] enum mark */
    char mistyped[256];
    int32_t bos, eos;
    bool add_bos, add_eos;
    enum ci_normal_form normal_form;
    bool types_are_right; /* struct ci_tokenizer_source */
};

/* Two of them are enum ci_strip_side. */
enum mark { MARK_STRIP_LEFT = CI_STRIP_LEFT, MARK_STRIP_RIGHT = CI_STRIP_RIGHT, MARK_END = 4, MARK_MISTYPED = 8 };

/* Files name one end token, models use several; these are the others' names. In formats that have the two `unless`
 * tokens as well, the name means something else: harmony's "<|end|>" ends a message, and <|return|> and <|call|> end
 * the turn. */
static const struct {
    const char *name, *unless[2];
} end_names[] = {
    {"<|eot_id|>", {0}},
    {"<|im_end|>", {0}},
    {"<|end|>", {"<|return|>", "<|call|>"}},
    {"<|end|>", {"<|flush|>", "<|calls|>"}},
    {"<|return|>", {0}},
    {"<|call|>", {0}},
    {"<|flush|>", {0}},
    {"<|calls|>", {0}},
    {"<end_of_turn>", {0}},
    {"<|eom_id|>", {0}},
    {"<|eot|>", {0}},
    {"<EOT>", {0}},
    {"_<EOT>", {0}},
    {"[EOT]", {0}},
    {"[EOS]", {0}},
    {"[e~[", {0}},
    {"</s>", {"<|tool_response>", "<|tool_response>"}},
    {"</s>", {"<|plamo:eos|>", "<|plamo:eos|>"}},
    {"<eos>", {0}},
    {"<turn|>", {0}},
    {"<|tool_response>", {0}},
    {"<end_of_utterance>", {0}},
    {"<|endoftext|>", {0}},
    {"<|end_of_text|>", {0}},
    {"<reponame>", {0}},
    {"<|fim_pad|>", {0}},
    {"<|repo_name|>", {0}},
    {"<|file_sep|>", {0}},
    {"<｜end▁of▁sentence｜>", {0}},
};

static bool inside(const struct ci_tokenizer *tokenizer, int32_t token) {
    return token >= 0 && (uint32_t)token < tokenizer->vocabulary.count;
}

/* ---- text to tokens ---- */

static enum clinfer_status encode_text(const struct ci_tokenizer *tokenizer, const char *text, size_t length,
                                       bool begins, struct ci_token_work *work, struct ci_token_list *out) {
    bool first = begins && out->count == 0;
    char *normal = NULL;
    if (length == 0) return CLINFER_OK;
    enum clinfer_status status = ci_normalise(tokenizer->normal_form, text, length, &normal, &length);
    const struct ci_text_piece piece = {normal ? normal : text, length, begins, first};
    if (status == CLINFER_OK)
        status = tokenizer->kind->encode(tokenizer->rules, &tokenizer->vocabulary, &piece, work, out);
    free(normal);
    return status;
}

/* Of White_Space beyond ASCII. */
static bool is_wide_space(uint32_t c) {
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Bytes of the white space that text[begin, end) begins with, or ends with. */
static size_t leading_space(const struct ci_tokenizer *tokenizer, const char *text, size_t begin, size_t end) {
    if (begin == end) return 0;
    if (text[begin] == ' ' || (text[begin] >= '\t' && text[begin] <= '\r')) return 1;
    size_t length = ci_utf8_character(text + begin, end - begin);
    bool wide = tokenizer->types_are_right && length > 1 && is_wide_space(ci_utf8_decode(text + begin, length));
    return wide ? length : 0;
}

static size_t trailing_space(const struct ci_tokenizer *tokenizer, const char *text, size_t begin, size_t end) {
    for (size_t length = 1; length <= 3 && length <= end - begin; length++)
        if (leading_space(tokenizer, text, end - length, end) == length) return length;
    return 0;
}

/* The bytes [begin, end) of the text. */
static enum clinfer_status encode_part(const struct ci_tokenizer *tokenizer, const struct ci_rendered *text,
                                       size_t begin, size_t end, struct ci_token_work *work,
                                       struct ci_token_list *out) {
    struct ci_special_origins origins = {.runs = text->runs, .count = text->run_count};
    enum clinfer_status status = CLINFER_OK;
    /* What is in the list already stands before this part. */
    int32_t before = out->count ? out->tokens[out->count - 1] : -1;
    bool begins = !inside(tokenizer, before) || ci_token_is_special(tokenizer->vocabulary.types[before]);
    while (status == CLINFER_OK && begin < end) {
        size_t from = end, to = end;
        int32_t special = ci_special_find(&tokenizer->special, text->text, begin, end, &origins, &from, &to);
        uint8_t strip = special < 0 ? 0 : tokenizer->marks[special];
        size_t space;
        while ((strip & MARK_STRIP_LEFT) && (space = trailing_space(tokenizer, text->text, begin, from)) > 0)
            from -= space;
        while ((strip & MARK_STRIP_RIGHT) && (space = leading_space(tokenizer, text->text, to, end)) > 0) to += space;
        status = encode_text(tokenizer, text->text + begin, from - begin, begins, work, out);
        if (status == CLINFER_OK && special >= 0) status = ci_token_list_append(out, special);
        begins = true;
        begin = to;
    }
    return status;
}

enum clinfer_status ci_tokenizer_append(const struct ci_tokenizer *tokenizer, const struct ci_rendered *text,
                                        size_t begin, size_t end, struct ci_token_list *out) {
    if (end - begin > INT32_MAX)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "text of %zu bytes: at most %d can be tokenized at once", end - begin,
                       INT32_MAX);
    if (!tokenizer->kind)
        return ci_fail(CLINFER_UNSUPPORTED, "the model has no tokenizer (tokenizer.ggml.model): it takes token ids, as "
                                            "`clinfer logits --tokens` gives them, and no text");
    struct ci_token_work work = {0};
    enum clinfer_status status = encode_part(tokenizer, text, begin, end, &work, out);
    ci_token_work_destroy(&work);
    return status;
}

enum clinfer_status ci_tokenizer_encode(const struct ci_tokenizer *tokenizer, const char *text, size_t length,
                                        unsigned flags, int32_t **tokens, size_t *count) {
    struct ci_rendered_run run = {length, !(flags & CI_TOKENIZER_PARSE_SPECIAL)};
    const struct ci_rendered whole = {(char *)(uintptr_t)text, length, &run, 1};
    struct ci_token_list out = {0};
    *tokens = NULL;
    *count = 0;
    enum clinfer_status status = ci_tokenizer_append(tokenizer, &whole, 0, length, &out);
    /* Afterwards, since for a text it matters what of it stands before: an added token is no part of it. */
    if (status == CLINFER_OK && (flags & CI_TOKENIZER_ADD_SPECIAL) && tokenizer->add_bos) {
        status = ci_token_list_append(&out, tokenizer->bos);
        if (status == CLINFER_OK) memmove(out.tokens + 1, out.tokens, (out.count - 1) * sizeof *out.tokens);
        if (status == CLINFER_OK) out.tokens[0] = tokenizer->bos;
    }
    if (status == CLINFER_OK && (flags & CI_TOKENIZER_ADD_SPECIAL) && tokenizer->add_eos)
        status = ci_token_list_append(&out, tokenizer->eos);
    if (status != CLINFER_OK) {
        free(out.tokens);
        return status;
    }
    *tokens = out.tokens;
    *count = out.count;
    return CLINFER_OK;
}

/* ---- what tokens are ---- */

/* A token that no plain text becomes was not learnt from text: somebody put it there to stand for something, whatever
 * its type says. */
static enum clinfer_status is_sign(const struct ci_tokenizer *tokenizer, int32_t id, bool *is) {
    *is = false;
    if (!tokenizer->kind) return CLINFER_OK;
    struct ci_token_work work = {0};
    struct ci_token_list out = {0};
    size_t length;
    const char *text = ci_tokenizer_piece(tokenizer, id, true, &length);
    enum clinfer_status status = encode_text(tokenizer, text, length, false, &work, &out);
    *is = length > 0 && !(out.count == 1 && out.tokens[0] == id);
    ci_token_work_destroy(&work);
    free(out.tokens);
    return status;
}

/* Gives a sign that is typed as text another type. *taken: it is special now. */
static enum clinfer_status retype(struct ci_tokenizer *tokenizer, int32_t id, enum ci_token_type type, bool *taken) {
    uint8_t *own = &tokenizer->vocabulary.types[id];
    *taken = ci_token_is_special(*own);
    if (*taken || tokenizer->types_are_right) return CLINFER_OK;
    enum clinfer_status status = is_sign(tokenizer, id, taken);
    if (status != CLINFER_OK || !*taken) return status;
    *own = (uint8_t)type;
    tokenizer->marks[id] |= MARK_MISTYPED;
    size_t length;
    const char *text = ci_tokenizer_piece(tokenizer, id, true, &length);
    char name[64];
    snprintf(name, sizeof name, "%.*s", ci_shown(length, sizeof name), text);
    ci_names_add(tokenizer->mistyped, sizeof tokenizer->mistyped, name);
    return CLINFER_OK;
}

static int32_t find(const struct ci_tokenizer *tokenizer, const char *name) {
    return ci_vocabulary_find(&tokenizer->vocabulary, name, strlen(name));
}

/* Whether the vocabulary uses an end's name for something else. */
static bool is_no_end(const struct ci_tokenizer *tokenizer, const char *name) {
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++)
        if (end_names[i].unless[0] && strcmp(end_names[i].name, name) == 0 &&
            find(tokenizer, end_names[i].unless[0]) >= 0 && find(tokenizer, end_names[i].unless[1]) >= 0)
            return true;
    return false;
}

static enum clinfer_status find_ends(const struct ci_tokenizer_source *source, struct ci_tokenizer *tokenizer) {
    enum clinfer_status status = CLINFER_OK;
    bool taken;
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names && status == CLINFER_OK; i++) {
        int32_t id = find(tokenizer, end_names[i].name);
        if (!inside(tokenizer, id) || is_no_end(tokenizer, end_names[i].name)) continue;
        status = retype(tokenizer, id, CI_TOKEN_CONTROL, &taken);
        if (status != CLINFER_OK || !taken) continue;
        tokenizer->marks[id] |= MARK_END;
        tokenizer->vocabulary.types[id] = CI_TOKEN_CONTROL; /* it may have been user-defined */
    }
    const int64_t ids[] = {source->eos_id, source->eot_id, source->eom_id, source->bos_id};
    for (size_t i = 0; i < sizeof ids / sizeof *ids && status == CLINFER_OK; i++) {
        if (ids[i] < 0) continue;
        status = retype(tokenizer, ci_narrowed(ids[i]), CI_TOKEN_CONTROL, &taken);
        if (ids[i] != source->bos_id) tokenizer->marks[ids[i]] |= MARK_END;
    }
    for (size_t i = 0; i < source->end_count; i++) tokenizer->marks[source->end_ids[i]] |= MARK_END;
    return status;
}

/* "<think>" of a vocabulary that has "</think>" too marks up what an answer says, which is to be seen; a turn's signs
 * have no such partner ("<s>" is one letter long, "[INST]" has other brackets). */
static bool is_markup(const struct ci_tokenizer *tokenizer, const char *text, size_t length) {
    char partner[MOST_SIGN + 2];
    size_t skipped = text[1] == '/' ? 2 : 1; /* to the name */
    if (text[0] != '<' || length < skipped + 3 || length > MOST_SIGN) return false;
    snprintf(partner, sizeof partner, "%s%.*s", skipped == 1 ? "</" : "<", ci_shown(length - skipped, MOST_SIGN),
             text + skipped);
    return find(tokenizer, partner) >= 0;
}

enum clinfer_status ci_tokenizer_take_written(struct ci_tokenizer *tokenizer, const char *text, size_t length) {
    enum clinfer_status status = CLINFER_OK;
    bool some = false, taken;
    for (size_t at = 0; at < length; at++) {
        char open = text[at], close = open == '<' ? '>' : ']';
        if (open != '<' && open != '[') continue;
        for (size_t end = at + 1; end < length && end - at < MOST_SIGN && text[end] != open; end++) {
            if (text[end] != close) continue;
            size_t bytes = end + 1 - at;
            int32_t id = ci_vocabulary_find(&tokenizer->vocabulary, text + at, bytes);
            if (id < 0 || ci_token_is_special(tokenizer->vocabulary.types[id])) continue;
            bool markup = is_markup(tokenizer, text + at, bytes);
            status = retype(tokenizer, id, markup ? CI_TOKEN_USER_DEFINED : CI_TOKEN_CONTROL, &taken);
            if (status != CLINFER_OK) return status;
            some = some || taken;
        }
    }
    if (!some) return CLINFER_OK;
    ci_special_destroy(&tokenizer->special);
    return ci_special_build(&tokenizer->vocabulary, &tokenizer->special);
}

enum clinfer_status ci_tokenizer_end_at(struct ci_tokenizer *tokenizer, const char *text, size_t length) {
    struct ci_rendered_run run = {length, false};
    struct ci_special_origins origins = {&run, 1, 0, 0};
    size_t begin = length, end = length;
    int32_t id = ci_special_find(&tokenizer->special, text, 0, length, &origins, &begin, &end);
    char name[MOST_SIGN + 1];
    snprintf(name, sizeof name, "%.*s", ci_shown(end, MOST_SIGN), text);
    if (id < 0 || begin > 0 || is_no_end(tokenizer, name)) return CLINFER_OK;
    uint8_t *type = &tokenizer->vocabulary.types[id];
    bool text_like = *type == CI_TOKEN_USER_DEFINED && !is_markup(tokenizer, text, end);
    if (!text_like && !(tokenizer->marks[id] & MARK_MISTYPED)) return CLINFER_OK;
    tokenizer->marks[id] |= MARK_END;
    if (!text_like) return CLINFER_OK;
    *type = CI_TOKEN_CONTROL;
    ci_special_destroy(&tokenizer->special);
    return ci_special_build(&tokenizer->vocabulary, &tokenizer->special);
}

const char *ci_tokenizer_mistyped(const struct ci_tokenizer *tokenizer) { return tokenizer->mistyped; }

/* ---- making one ---- */

static enum clinfer_status check_ids(const struct ci_tokenizer_source *source) {
    const struct {
        const char *name;
        int64_t id;
    } ids[] = {{"bos", source->bos_id},         {"eos", source->eos_id},
               {"eot", source->eot_id},         {"eom", source->eom_id},
               {"unknown", source->unknown_id}, {"padding", source->padding_id},
               {"cls", source->classifier_id},  {"seperator", source->separator_id}};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].id < -1 || ids[i].id >= (int64_t)source->token_count)
            return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.%s_token_id: %lld is outside the vocabulary of %zu tokens",
                           ids[i].name, (long long)ids[i].id, source->token_count);
    if (source->add_bos == 1 && source->bos_id < 0)
        return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.add_bos_token is true, but there is no bos_token_id");
    if (source->add_eos == 1 && source->eos_id < 0)
        return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.add_eos_token is true, but there is no eos_token_id");
    return CLINFER_OK;
}

static enum clinfer_status make_marks(struct ci_tokenizer *tokenizer) {
    tokenizer->marks = calloc((size_t)tokenizer->vocabulary.count + 1, sizeof *tokenizer->marks);
    return tokenizer->marks ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
}

static bool is_named(const struct ci_text_span *model, const char *name) {
    return model->length == strlen(name) && memcmp(model->text, name, model->length) == 0;
}

bool ci_tokenizer_has_no_text(const struct ci_text_span *model) {
    return is_named(model, "none") || is_named(model, "no_vocab") || is_named(model, "test");
}

static enum clinfer_status fail_unknown(const struct ci_text_span *model) {
    char names[512];
    ci_tokenizer_kind_names(names, sizeof names);
    return ci_fail(CLINFER_UNSUPPORTED,
                   "tokenizer.ggml.model: '%.*s': this kind of vocabulary is not supported; these are: %s",
                   ci_shown(model->length, 64), model->text, names);
}

/* Behind find_ends(), which may make tokens special. */
static void mark_strips(const struct ci_tokenizer_source *source, struct ci_tokenizer *tokenizer) {
    const struct ci_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (size_t i = 0; i < source->strip_count; i++) {
        const struct ci_strip *strip = &source->strips[i];
        int32_t only = ci_vocabulary_find(vocabulary, strip->token.text, strip->token.length);
        for (uint32_t id = 0; id < vocabulary->count; id++) {
            if (strip->token.length ? (int32_t)id != only : !ci_token_is_special(vocabulary->types[id])) continue;
            tokenizer->marks[id] &= (uint8_t) ~(CI_STRIP_LEFT | CI_STRIP_RIGHT);
            tokenizer->marks[id] |= strip->sides;
        }
    }
}

static enum clinfer_status build(const struct ci_tokenizer_source *source, struct ci_tokenizer *created) {
    const struct ci_tokenizer_kind *kind = created->kind;
    enum clinfer_status status = CLINFER_OK;
    if (source->token_count || kind)
        status =
            ci_vocabulary_build(source, kind ? kind->spelling(source) : ci_spelling_byte_level, &created->vocabulary);
    if (status == CLINFER_OK) status = check_ids(source);
    if (status == CLINFER_OK && kind) status = kind->create(source, &created->vocabulary, &created->rules);
    if (status == CLINFER_OK) status = make_marks(created);
    if (status == CLINFER_OK) status = find_ends(source, created);
    if (status == CLINFER_OK) mark_strips(source, created);
    if (status == CLINFER_OK) status = ci_special_build(&created->vocabulary, &created->special);
    return status;
}

enum clinfer_status ci_tokenizer_create(const struct ci_tokenizer_source *given, struct ci_tokenizer **tokenizer) {
    *tokenizer = NULL;
    const struct ci_tokenizer_kind *kind = ci_tokenizer_kind_find(&given->model);
    if (!kind && !ci_tokenizer_has_no_text(&given->model)) return fail_unknown(&given->model);
    struct ci_tokenizer *created = calloc(1, sizeof *created);
    if (created == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
    created->kind = kind;
    created->normal_form = given->normal_form;
    created->types_are_right = given->types_are_right;

    struct ci_tokenizer_source source = *given;
    if (kind) kind->complete(&source);
    enum clinfer_status status = build(&source, created);
    if (status != CLINFER_OK) {
        ci_tokenizer_destroy(created);
        return status;
    }
    created->bos = ci_narrowed(source.bos_id);
    created->eos = ci_narrowed(source.eos_id);
    created->add_bos = source.add_bos == 1;
    created->add_eos = source.add_eos == 1;
    *tokenizer = created;
    return CLINFER_OK;
}

void ci_tokenizer_destroy(struct ci_tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    if (tokenizer->kind) tokenizer->kind->destroy(tokenizer->rules);
    free(tokenizer->marks);
    ci_special_destroy(&tokenizer->special);
    ci_vocabulary_destroy(&tokenizer->vocabulary);
    free(tokenizer);
}

/* ---- questions ---- */

const char *ci_tokenizer_piece(const struct ci_tokenizer *tokenizer, int32_t token, bool special, size_t *length) {
    const struct ci_vocabulary *vocabulary = &tokenizer->vocabulary;
    *length = 0;
    if (!inside(tokenizer, token) || (!special && ci_tokenizer_is_control(tokenizer, token))) return "";
    return ci_vocabulary_piece(vocabulary, token, length);
}

bool ci_tokenizer_is_end(const struct ci_tokenizer *tokenizer, int32_t token) {
    return inside(tokenizer, token) && (tokenizer->marks[token] & MARK_END);
}

bool ci_tokenizer_is_control(const struct ci_tokenizer *tokenizer, int32_t token) {
    if (!inside(tokenizer, token)) return false;
    uint8_t type = tokenizer->vocabulary.types[token];
    return type == CI_TOKEN_CONTROL || type == CI_TOKEN_UNKNOWN;
}

int32_t ci_tokenizer_find(const struct ci_tokenizer *tokenizer, const char *text, size_t length) {
    return ci_vocabulary_find(&tokenizer->vocabulary, text, length);
}

size_t ci_tokenizer_size(const struct ci_tokenizer *tokenizer) { return tokenizer->vocabulary.count; }

int32_t ci_tokenizer_bos(const struct ci_tokenizer *tokenizer) { return tokenizer->bos; }

int32_t ci_tokenizer_eos(const struct ci_tokenizer *tokenizer) { return tokenizer->eos; }

bool ci_tokenizer_adds_bos(const struct ci_tokenizer *tokenizer) { return tokenizer->add_bos; }

bool ci_tokenizer_adds_eos(const struct ci_tokenizer *tokenizer) { return tokenizer->add_eos; }
