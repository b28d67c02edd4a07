/* tokenizer_json_steps.c: "normalizer", "pre_tokenizer" and "post_processor" of a tokenizer.json.
 *
 * Sequences are walked through; each step that published models have leaves its mark in the reader, and what the marks
 * together mean is checked once all are known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/spelling.h"
#include "text/tokenizer_json_private.h"
#include "text/utf8.h"

/* The expression of ByteLevel's own, which GPT-2 came with. */
#define GPT2                                                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{wspace}\\p{L}\\p{N}]+|\\p{wspace}+(?!\\P{wspace})|"           \
    "\\p{wspace}+"

typedef enum clinfer_status reading(struct ci_json_reader *reader, json_t *object, const char *path,
                                    const struct ci_text_span *type);

/* Calls `step` for the object at `path`, or for each of its parts where it is a sequence of them. */
static enum clinfer_status walk(struct ci_json_reader *reader, json_t *object, const char *path, const char *parts,
                                int depth, reading *step) {
    struct ci_text_span type = {"", 0};
    if (!object || json_is_null(object)) return CLINFER_OK;
    enum clinfer_status status = ci_json_type(reader, object, path, &type);
    if (status != CLINFER_OK) return status;
    if (!ci_json_is(&type, "Sequence")) return step(reader, object, path, &type);
    json_t *list = json_object_get(object, parts), *part;
    size_t i;
    char inner[CI_JSON_PATH];
    status = ci_json_check_keys(reader, object, path,
                                parts[0] == 'n'                      ? "type normalizers"
                                : parts[1] == 'r' && parts[2] == 'e' ? "type pretokenizers"
                                                                     : "type processors");
    if (status != CLINFER_OK) return status;
    if (!json_is_array(list) || depth == 4) return ci_json_bad(reader, path, "'%s' is no list, or too deep", parts);
    json_array_foreach(list, i, part) {
        snprintf(inner, sizeof inner, "%.100s.%s[%zu]", path, parts, i);
        status = walk(reader, part, inner, parts, depth + 1, step);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

static enum clinfer_status unknown_type(const struct ci_json_reader *reader, const char *path,
                                        const struct ci_text_span *type) {
    char member[CI_JSON_PATH];
    snprintf(member, sizeof member, "%.150s.type", path);
    return ci_json_unknown(reader, member, "'%.*s' is not supported", ci_shown(type->length, 60), type->text);
}

/* ---- normalizer ---- */

/* What a "pattern" is: {"String": "..."} or {"Regex": "..."}. */
static enum clinfer_status read_pattern(const struct ci_json_reader *reader, json_t *object, const char *path,
                                        struct ci_text_span *text, bool *regex) {
    json_t *pattern = json_object_get(object, "pattern");
    char member[CI_JSON_PATH];
    snprintf(member, sizeof member, "%.150s.pattern", path);
    *regex = json_object_get(pattern, "Regex") != NULL;
    if (!json_is_object(pattern) || json_object_size(pattern) != 1)
        return ci_json_bad(reader, member, "is neither a String nor a Regex");
    return ci_json_string(reader, pattern, member, *regex ? "Regex" : "String", true, text);
}

static enum clinfer_status read_replace(struct ci_json_reader *reader, json_t *object, const char *path) {
    struct ci_text_span pattern = {"", 0}, content = {"", 0};
    bool regex = false;
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type pattern content");
    if (status == CLINFER_OK) status = read_pattern(reader, object, path, &pattern, &regex);
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "content", true, &content);
    if (status != CLINFER_OK) return status;
    bool spaced = ci_json_is(&content, CI_SPELLED_SPACE);
    if (!regex && ci_json_is(&pattern, " ") && spaced) {
        reader->spaces_replaced = true;
        return CLINFER_OK;
    }
    if (regex && ci_json_is(&pattern, " {2,}") && (spaced || ci_json_is(&content, " "))) {
        reader->merges_spaces = true;
        return CLINFER_OK;
    }
    return ci_json_unknown(reader, path, "replacing '%.*s' with '%.*s' is not supported", ci_shown(pattern.length, 60),
                           pattern.text, ci_shown(content.length, 60), content.text);
}

static enum clinfer_status read_prepend(struct ci_json_reader *reader, json_t *object, const char *path) {
    struct ci_text_span text = {"", 0};
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type prepend");
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "prepend", true, &text);
    if (status != CLINFER_OK) return status;
    if (!ci_json_is(&text, CI_SPELLED_SPACE))
        return ci_json_unknown(reader, path, "putting '%.*s' before a text is not supported; U+2581 is",
                               ci_shown(text.length, 60), text.text);
    reader->source.add_space_prefix = 1;
    return CLINFER_OK;
}

static int digit64(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static enum clinfer_status read_precompiled(struct ci_json_reader *reader, json_t *object, const char *path) {
    struct ci_text_span text = {"", 0};
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type precompiled_charsmap");
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "precompiled_charsmap", false, &text);
    if (status != CLINFER_OK || text.length == 0) return status;
    char *bytes = ci_arena_alloc(&reader->arena, text.length / 4 * 3 + 4);
    if (bytes == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "precompiled_charsmap: out of memory");
    uint32_t bits = 0;
    size_t count = 0, digits = 0;
    while (text.length && text.text[text.length - 1] == '=') text.length--;
    for (size_t i = 0; i < text.length; i++, digits++) {
        int digit = digit64(text.text[i]);
        if (digit < 0) return ci_json_bad(reader, path, "precompiled_charsmap is no base64 at %zu", i);
        bits = bits << 6 | (uint32_t)digit;
        if (digits % 4) bytes[count++] = (char)(bits >> (6 - digits % 4 * 2) & 0xff);
    }
    reader->source.charsmap = (struct ci_text_span){bytes, count};
    return CLINFER_OK;
}

static enum clinfer_status read_bert(struct ci_json_reader *reader, json_t *object, const char *path) {
    bool clean = true, chinese = true, lowercase = true;
    enum clinfer_status status =
        ci_json_check_keys(reader, object, path, "type clean_text handle_chinese_chars strip_accents lowercase");
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "clean_text", &clean);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "handle_chinese_chars", &chinese);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "lowercase", &lowercase);
    bool strip = lowercase;
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "strip_accents", &strip);
    if (status != CLINFER_OK) return status;
    if (!clean) return ci_json_unknown(reader, path, "clean_text false is not supported");
    if (!chinese) return ci_json_unknown(reader, path, "handle_chinese_chars false is not supported");
    reader->source.lowercase = lowercase;
    reader->source.strip_accents = strip;
    reader->bert_normalizer = true;
    return CLINFER_OK;
}

/* Of unigram's, at the end of a text only. */
static enum clinfer_status read_strip(struct ci_json_reader *reader, json_t *object, const char *path) {
    bool left = false, right = false;
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type strip_left strip_right");
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "strip_left", &left);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "strip_right", &right);
    if (status != CLINFER_OK) return status;
    if (left) return ci_json_unknown(reader, path, "strip_left is not supported");
    reader->strips_right = right;
    return CLINFER_OK;
}

static enum clinfer_status read_form(struct ci_json_reader *reader, const char *path, const struct ci_text_span *type) {
    static const char *const names[] = {
        [CI_NORMAL_NFC] = "NFC", [CI_NORMAL_NFD] = "NFD", [CI_NORMAL_NFKC] = "NFKC", [CI_NORMAL_NFKD] = "NFKD"};
    for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
        if (!ci_json_is(type, names[i])) continue;
        if (reader->source.normal_form) return ci_json_unknown(reader, path, "a second normal form is not supported");
        reader->source.normal_form = (enum ci_normal_form)i;
        return CLINFER_OK;
    }
    return unknown_type(reader, path, type);
}

static enum clinfer_status read_normalizer(struct ci_json_reader *reader, json_t *object, const char *path,
                                           const struct ci_text_span *type) {
    if (reader->model == CI_JSON_WORDPIECE)
        return ci_json_is(type, "BertNormalizer") ? read_bert(reader, object, path) : unknown_type(reader, path, type);
    if (ci_json_is(type, "Replace")) return read_replace(reader, object, path);
    if (reader->model == CI_JSON_UNIGRAM && ci_json_is(type, "Precompiled"))
        return read_precompiled(reader, object, path);
    if (reader->model == CI_JSON_UNIGRAM && ci_json_is(type, "Strip")) return read_strip(reader, object, path);
    if (reader->model == CI_JSON_UNIGRAM) return unknown_type(reader, path, type);
    if (ci_json_is(type, "Prepend")) return read_prepend(reader, object, path);
    return read_form(reader, path, type);
}

enum clinfer_status ci_json_read_normalizer(struct ci_json_reader *reader) {
    return walk(reader, json_object_get(reader->root, "normalizer"), "normalizer", "normalizers", 0, read_normalizer);
}

/* ---- pre_tokenizer ---- */

static enum clinfer_status add_expression(struct ci_json_reader *reader, const char *path, const char *pattern,
                                          bool matches_only) {
    if (pattern == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    if (reader->words.count == CI_PRETOKENIZER_MOST)
        return ci_json_unknown(reader, path, "more than %d steps are not supported", CI_PRETOKENIZER_MOST);
    reader->expressions[reader->words.count++] = (struct ci_pretokenizer_expression){pattern, matches_only};
    return CLINFER_OK;
}

/* Oniguruma's syntax, which is the file's, to PCRE2's. Their \s is the property White_Space, which PCRE2's is not
 * quite; intersections of sets and \h (a hexadecimal digit there) mean something else here. */
static enum clinfer_status translate(struct ci_json_reader *reader, const char *path, const struct ci_text_span *regex,
                                     char **pattern) {
    char *out = *pattern = ci_arena_alloc(&reader->arena, regex->length * 6 + 1);
    if (out == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    for (size_t i = 0; i < regex->length; i++) {
        char c = regex->text[i], next = i + 1 < regex->length ? regex->text[i + 1] : 0;
        if (c == 0) return ci_json_unknown(reader, path, "a zero in an expression is not supported");
        if ((c == '&' && next == '&') || (c == '\\' && (next == 'h' || next == 'H' || next == 'K' || next == 'G')))
            return ci_json_unknown(reader, path, "'%c%c' in an expression is not supported", c, next);
        if (c == '\\' && (next == 's' || next == 'S')) {
            memcpy(out, next == 's' ? "\\p{wspace}" : "\\P{wspace}", 10);
            out += 10;
            i++;
        } else if (c == '\\' && next) {
            *out++ = c;
            *out++ = next;
            i++;
        } else {
            *out++ = c;
        }
    }
    *out = 0;
    return CLINFER_OK;
}

/* A text as an expression that matches just it. */
static char *quote(struct ci_json_reader *reader, const struct ci_text_span *text) {
    char *out = ci_arena_alloc(&reader->arena, text->length * 4 + 1), *at = out;
    for (size_t i = 0; out && i < text->length; i++) {
        uint8_t byte = (uint8_t)text->text[i];
        bool plain =
            byte >= 128 || (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        at += plain ? (*at = (char)byte, 1) : snprintf(at, 5, "\\x%02x", byte);
    }
    return out;
}

static enum clinfer_status read_split(struct ci_json_reader *reader, json_t *object, const char *path) {
    struct ci_text_span text = {"", 0}, behavior = {"", 0};
    bool regex = false, invert = false;
    char *pattern = NULL;
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type pattern behavior invert");
    if (status == CLINFER_OK) status = read_pattern(reader, object, path, &text, &regex);
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "behavior", true, &behavior);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "invert", &invert);
    if (status != CLINFER_OK) return status;
    /* Gemma's: there are no spaces any more. */
    if (!regex && ci_json_is(&text, " ") && reader->spaces_replaced) return CLINFER_OK;
    bool matches_only = ci_json_is(&behavior, "Removed") && invert;
    if (!matches_only && (!ci_json_is(&behavior, "Isolated") || invert))
        return ci_json_unknown(reader, path, "behavior '%.*s'%s is not supported", ci_shown(behavior.length, 60),
                               behavior.text, invert ? " inverted" : "");
    if (text.length == 0) return ci_json_bad(reader, path, "the pattern is empty");
    if (regex)
        status = translate(reader, path, &text, &pattern);
    else
        pattern = quote(reader, &text);
    return status == CLINFER_OK ? add_expression(reader, path, pattern, matches_only) : status;
}

static enum clinfer_status read_byte_level(struct ci_json_reader *reader, json_t *object, const char *path) {
    bool prefix = true, regex = true;
    enum clinfer_status status =
        ci_json_check_keys(reader, object, path, "type add_prefix_space trim_offsets use_regex");
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "add_prefix_space", &prefix);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "use_regex", &regex);
    if (status != CLINFER_OK) return status;
    if (prefix) return ci_json_unknown(reader, path, "add_prefix_space is not supported");
    reader->byte_level = true;
    return regex ? add_expression(reader, path, GPT2, false) : CLINFER_OK;
}

static enum clinfer_status read_digits(struct ci_json_reader *reader, json_t *object, const char *path) {
    bool each = false;
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type individual_digits");
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "individual_digits", &each);
    return status == CLINFER_OK ? add_expression(reader, path, each ? "\\p{N}" : "\\p{N}+", false) : status;
}

static enum clinfer_status read_punctuation(struct ci_json_reader *reader, json_t *object, const char *path) {
    struct ci_text_span behavior = {"Isolated", 8};
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type behavior");
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "behavior", false, &behavior);
    if (status != CLINFER_OK) return status;
    if (ci_json_is(&behavior, "Isolated")) return add_expression(reader, path, "[\\p{P}!-/:-@\\[-`{-~]", false);
    if (ci_json_is(&behavior, "Contiguous")) return add_expression(reader, path, "[\\p{P}!-/:-@\\[-`{-~]+", false);
    return ci_json_unknown(reader, path, "behavior '%.*s' is not supported", ci_shown(behavior.length, 60),
                           behavior.text);
}

static enum clinfer_status read_metaspace(struct ci_json_reader *reader, json_t *object, const char *path) {
    struct ci_text_span replacement = {CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH}, scheme = {"always", 6};
    bool prefix = true, split = true;
    enum clinfer_status status =
        ci_json_check_keys(reader, object, path, "type replacement str_rep add_prefix_space prepend_scheme split");
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "replacement", false, &replacement);
    if (status == CLINFER_OK) status = ci_json_string(reader, object, path, "prepend_scheme", false, &scheme);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "add_prefix_space", &prefix);
    if (status == CLINFER_OK) status = ci_json_flag(reader, object, path, "split", &split);
    if (status != CLINFER_OK) return status;
    if (!ci_json_is(&replacement, CI_SPELLED_SPACE))
        return ci_json_unknown(reader, path, "replacement '%.*s' is not supported; U+2581 is",
                               ci_shown(replacement.length, 60), replacement.text);
    if (ci_json_is(&scheme, "never")) prefix = false;
    reader->words.first_only = ci_json_is(&scheme, "first");
    if (!reader->words.first_only && !ci_json_is(&scheme, "never") && !ci_json_is(&scheme, "always"))
        return ci_json_unknown(reader, path, "prepend_scheme '%.*s' is not supported", ci_shown(scheme.length, 60),
                               scheme.text);
    reader->spaces_replaced = true;
    reader->words.unless_space = true;
    reader->source.add_space_prefix = prefix;
    if (!split || reader->model == CI_JSON_UNIGRAM)
        return CLINFER_OK; /* its tokens have spaces at their beginning only */
    return add_expression(reader, path, "[ \\x{2581}][^ \\x{2581}]*", false);
}

static enum clinfer_status read_pretokenizer(struct ci_json_reader *reader, json_t *object, const char *path,
                                             const struct ci_text_span *type) {
    if (reader->model == CI_JSON_WORDPIECE) {
        if (!ci_json_is(type, "BertPreTokenizer")) return unknown_type(reader, path, type);
        reader->bert_pretokenizer = true;
        return ci_json_check_keys(reader, object, path, "type");
    }
    if (ci_json_is(type, "Metaspace")) return read_metaspace(reader, object, path);
    if (reader->model == CI_JSON_UNIGRAM) {
        if (!ci_json_is(type, "WhitespaceSplit")) return unknown_type(reader, path, type);
        reader->splits_at_spaces = true;
        return ci_json_check_keys(reader, object, path, "type");
    }
    if (ci_json_is(type, "Split")) return read_split(reader, object, path);
    if (ci_json_is(type, "ByteLevel")) return read_byte_level(reader, object, path);
    if (ci_json_is(type, "Digits")) return read_digits(reader, object, path);
    if (ci_json_is(type, "Punctuation")) return read_punctuation(reader, object, path);
    return unknown_type(reader, path, type);
}

/* What the steps mean together. */
static enum clinfer_status judge(struct ci_json_reader *reader) {
    struct ci_tokenizer_source *source = &reader->source;
    if (reader->model == CI_JSON_WORDPIECE) {
        if (!reader->bert_normalizer)
            return ci_json_unknown(reader, "normalizer", "WordPiece without BertNormalizer is not supported");
        if (!reader->bert_pretokenizer)
            return ci_json_unknown(reader, "pre_tokenizer", "WordPiece without BertPreTokenizer is not supported");
        return CLINFER_OK;
    }
    if (!reader->spaces_replaced && (reader->model == CI_JSON_UNIGRAM || !reader->byte_level))
        return ci_json_unknown(
            reader, "pre_tokenizer",
            "neither ByteLevel nor U+2581 in place of spaces (Metaspace, or a normalizer's Replace): "
            "such a model is not supported");
    if (reader->spaces_replaced && reader->byte_level)
        return ci_json_unknown(reader, "pre_tokenizer",
                               "ByteLevel and U+2581 in place of spaces are not supported at once");
    if (reader->model == CI_JSON_UNIGRAM) {
        bool merges = reader->splits_at_spaces || (reader->merges_spaces && reader->strips_right);
        if (!merges)
            return ci_json_unknown(reader, "pre_tokenizer", "unigram that keeps runs of spaces is not supported");
        source->remove_extra_whitespaces = 1;
        return CLINFER_OK;
    }
    if (reader->merges_spaces)
        return ci_json_unknown(reader, "normalizer", "BPE that merges runs of spaces is not supported");
    reader->words.expressions = reader->expressions;
    reader->words.characters = !reader->byte_level;
    if (reader->words.characters && !reader->byte_fallback)
        return ci_json_unknown(reader, "model.byte_fallback", "BPE over characters without it is not supported");
    if (reader->words.characters && reader->words.whole_words)
        return ci_json_unknown(reader, "model.ignore_merges", "is not supported in BPE over characters");
    return CLINFER_OK;
}

enum clinfer_status ci_json_read_pretokenizer(struct ci_json_reader *reader) {
    enum clinfer_status status = walk(reader, json_object_get(reader->root, "pre_tokenizer"), "pre_tokenizer",
                                      "pretokenizers", 0, read_pretokenizer);
    return status == CLINFER_OK ? judge(reader) : status;
}

/* ---- post_processor ---- */

static enum clinfer_status add_end(struct ci_json_reader *reader, const char *path, const struct ci_text_span *text,
                                   bool behind) {
    int64_t id = ci_json_find_token(reader, text), *own = behind ? &reader->source.eos_id : &reader->source.bos_id;
    int *flag = behind ? &reader->source.add_eos : &reader->source.add_bos;
    if (id < 0) return ci_json_bad(reader, path, "'%.*s' is not a token", ci_shown(text->length, 60), text->text);
    if (*flag == 1)
        return ci_json_unknown(reader, path, "more than one token %s a text is not supported",
                               behind ? "behind" : "before");
    *flag = 1;
    *own = id;
    return CLINFER_OK;
}

/* "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}] */
static enum clinfer_status read_template(struct ci_json_reader *reader, json_t *object, const char *path) {
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type single pair special_tokens");
    if (status != CLINFER_OK) return status;
    json_t *single = json_object_get(object, "single"), *part;
    char member[CI_JSON_PATH];
    size_t i;
    bool behind = false;
    snprintf(member, sizeof member, "%.140s.single", path);
    if (!json_is_array(single)) return ci_json_bad(reader, member, "is no list");
    json_array_foreach(single, i, part) {
        json_t *token = json_object_get(part, "SpecialToken");
        struct ci_text_span text = {"", 0};
        snprintf(member, sizeof member, "%.120s.single[%zu]", path, i);
        if (json_object_get(part, "Sequence")) {
            behind = true;
            continue;
        }
        if (!json_is_object(token)) return ci_json_unknown(reader, member, "is neither SpecialToken nor Sequence");
        status = ci_json_string(reader, token, member, "id", true, &text);
        if (status == CLINFER_OK) status = add_end(reader, member, &text, behind);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* "sep": ["[SEP]", 102], "cls": ["[CLS]", 101] */
static enum clinfer_status read_bert_ends(struct ci_json_reader *reader, json_t *object, const char *path) {
    enum clinfer_status status = ci_json_check_keys(reader, object, path, "type sep cls trim_offsets add_prefix_space");
    for (int behind = 0; behind < 2 && status == CLINFER_OK; behind++) {
        json_t *token = json_array_get(json_object_get(object, behind ? "sep" : "cls"), 0);
        char member[CI_JSON_PATH];
        snprintf(member, sizeof member, "%.150s.%s", path, behind ? "sep" : "cls");
        if (!json_is_string(token)) return ci_json_bad(reader, member, "is no token with its id");
        const struct ci_text_span text = {json_string_value(token), json_string_length(token)};
        status = add_end(reader, member, &text, behind);
    }
    return status;
}

static enum clinfer_status read_postprocessor(struct ci_json_reader *reader, json_t *object, const char *path,
                                              const struct ci_text_span *type) {
    if (ci_json_is(type, "ByteLevel")) return CLINFER_OK; /* of offsets, which nobody asks for here */
    if (ci_json_is(type, "TemplateProcessing")) return read_template(reader, object, path);
    if (ci_json_is(type, "BertProcessing") || ci_json_is(type, "RobertaProcessing"))
        return read_bert_ends(reader, object, path);
    return unknown_type(reader, path, type);
}

enum clinfer_status ci_json_read_postprocessor(struct ci_json_reader *reader) {
    return walk(reader, json_object_get(reader->root, "post_processor"), "post_processor", "processors", 0,
                read_postprocessor);
}
