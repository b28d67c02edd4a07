/* wordpiece.c: WordPiece (tokenizer.ggml.model "bert"). Source: Devlin et al. 2019 (arXiv 1810.04805); what becomes of
 * characters is what Hugging Face's BertNormalizer and BertPreTokenizer do, which models were made with. (llama.cpp
 * comes near it: it takes the first character alone of what a syllable of Korean decomposes to, drops spacing marks
 * with the accents, and has words end at control characters.)
 *
 * Text is cut at white space and around punctuation and Chinese characters, made small and freed of accents; each word
 * is taken apart from the left, the longest token first. A word that cannot be is the unknown token as a whole. Files
 * spell a token that begins a word with U+2581 in front, one that goes on without. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer_kind.h"
#include "text/utf8.h"

struct rules {
    int32_t unknown;
    size_t longest;      /* bytes of a token */
    size_t longest_word; /* characters; 0: no word is too long */
    bool lowercase, strip_accents;
};

/* Ids of BERT's own vocabulary, for files that say less. The classifying and the separating token stand around a text
 * always. */
static void complete(struct ci_tokenizer_source *source) {
    if (source->bos_id == -1) source->bos_id = source->classifier_id;
    if (source->eos_id == -1) source->eos_id = source->separator_id;
    ci_tokenizer_default_id(source, &source->bos_id, 101);
    ci_tokenizer_default_id(source, &source->eos_id, 102);
    ci_tokenizer_default_id(source, &source->unknown_id, 100);
    source->add_bos = source->bos_id >= 0;
    source->add_eos = source->eos_id >= 0;
    ci_tokenizer_default_flag(&source->lowercase, true);
    ci_tokenizer_default_flag(&source->strip_accents, source->lowercase);
}

static ci_spelling *spelling(const struct ci_tokenizer_source *source) {
    (void)source;
    return ci_spelling_sentencepiece;
}

static enum clinfer_status create(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **created) {
    struct rules *rules = calloc(1, sizeof *rules);
    *created = rules;
    if (rules == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
    rules->unknown = source->unknown_id < 0 ? -1 : ci_narrowed(source->unknown_id);
    rules->longest_word = source->longest_word;
    rules->lowercase = source->lowercase == 1;
    rules->strip_accents = source->strip_accents == 1;
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        size_t length = vocabulary->text_offsets[id + 1] - vocabulary->text_offsets[id];
        if (length > rules->longest) rules->longest = length;
    }
    return CLINFER_OK;
}

static void destroy(void *rules) { free(rules); }

/* ---- what characters are ---- */

enum class { CLASS_LETTER, CLASS_SPACE, CLASS_MARK, CLASS_DROPPED };

static bool is_chinese(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static enum class class_of(uint32_t c) {
    if (c < 128){if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return CLASS_SPACE;
                 if (c < 32 || c == 127) return CLASS_DROPPED;
                 bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
                 return letter ? CLASS_LETTER : CLASS_MARK;}
utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
if (c == 0xfffd || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
    category == UTF8PROC_CATEGORY_CO)
    return CLASS_DROPPED;
if (category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP) return CLASS_SPACE;
return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO ? CLASS_MARK : CLASS_LETTER;
}

/* ---- words to tokens ---- */

struct encoding {
    const struct rules *rules;
    const struct ci_vocabulary *vocabulary;
    struct ci_token_work *work; /* its text is the word so far, U+2581 in front; nothing between words */
    struct ci_token_list *out;
};

/* The longest token that the word goes on with at this place; -1 when there is none. A U+2581 of the text itself is
 * none that begins a word. */
static int32_t longest_token(const struct encoding *encoding, size_t at, size_t end, size_t *taken) {
    const char *text = encoding->work->text + at;
    size_t most = end - at < encoding->rules->longest ? end - at : encoding->rules->longest;
    bool spelled = end - at >= CI_SPELLED_SPACE_LENGTH && ci_spelling_is_space(text, CI_SPELLED_SPACE_LENGTH);
    size_t least = at == 0 ? CI_SPELLED_SPACE_LENGTH + 1 : 1;
    if (at > 0 && spelled && most > CI_SPELLED_SPACE_LENGTH) most = CI_SPELLED_SPACE_LENGTH;
    for (*taken = most; *taken >= least; --*taken) {
        int32_t token = ci_vocabulary_find(encoding->vocabulary, text, *taken);
        if (token >= 0 && !ci_token_is_special(encoding->vocabulary->types[token])) return token;
    }
    return -1;
}

static bool is_too_long(const struct rules *rules, const char *word, size_t length) {
    size_t characters = 0;
    if (rules->longest_word == 0) return false;
    for (size_t i = CI_SPELLED_SPACE_LENGTH; i < length; i++) characters += ((uint8_t)word[i] & 0xc0) != 0x80;
    return characters > rules->longest_word;
}

static enum clinfer_status append_unknown(const struct encoding *encoding) {
    int32_t unknown = encoding->rules->unknown;
    return unknown < 0 ? CLINFER_OK : ci_token_list_append(encoding->out, unknown);
}

static enum clinfer_status end_word(const struct encoding *encoding) {
    struct ci_token_work *work = encoding->work;
    size_t begin = encoding->out->count, length = work->text_length;
    enum clinfer_status status = CLINFER_OK;
    work->text_length = 0;
    if (length && is_too_long(encoding->rules, work->text, length)) return append_unknown(encoding);
    for (size_t at = 0, taken; at < length && status == CLINFER_OK; at += taken) {
        int32_t token = longest_token(encoding, at, length, &taken);
        if (token < 0) {
            encoding->out->count = begin;
            return append_unknown(encoding);
        }
        status = ci_token_list_append(encoding->out, token);
    }
    return status;
}

static enum clinfer_status add_to_word(const struct encoding *encoding, uint32_t c) {
    char bytes[CI_SPELLED_SPACE_LENGTH + 4];
    size_t length = 0;
    if (encoding->work->text_length == 0) {
        memcpy(bytes, CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH);
        length = CI_SPELLED_SPACE_LENGTH;
    }
    length += ci_utf8_encode(c, bytes + length);
    return ci_token_work_append(encoding->work, bytes, length);
}

/* A character that nothing is to be taken from any more. */
static enum clinfer_status add_plain(const struct encoding *encoding, uint32_t c) {
    enum class class = class_of(c);
    enum clinfer_status status = CLINFER_OK;
    if (class != CLASS_LETTER) status = end_word(encoding);
    if (status == CLINFER_OK && class != CLASS_SPACE) status = add_to_word(encoding, c);
    return status == CLINFER_OK && class == CLASS_MARK ? end_word(encoding) : status;
}

static enum clinfer_status add_character(const struct encoding *encoding, uint32_t c) {
    const struct rules *rules = encoding->rules;
    if (c < 128) {
        if (rules->lowercase && c >= 'A' && c <= 'Z') c += 'a' - 'A';
        return class_of(c) == CLASS_DROPPED ? CLINFER_OK : add_plain(encoding, c);
    }
    enum class class = class_of(c);
    if (class == CLASS_DROPPED) return CLINFER_OK;
    if (class == CLASS_SPACE) return end_word(encoding);
    utf8proc_int32_t parts[32] = {(utf8proc_int32_t)c}; /* 18 are the most that a character decomposes to */
    utf8proc_ssize_t count = 1;
    int boundary = 0;
    if (rules->strip_accents)
        count = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    bool chinese = is_chinese(c);
    enum clinfer_status status = chinese ? end_word(encoding) : CLINFER_OK;
    for (utf8proc_ssize_t i = 0; i < count && i < 32 && status == CLINFER_OK; i++) {
        if (rules->strip_accents && utf8proc_category(parts[i]) == UTF8PROC_CATEGORY_MN) continue;
        uint32_t part = (uint32_t)(rules->lowercase ? utf8proc_tolower(parts[i]) : parts[i]);
        status = add_plain(encoding, part);
    }
    return chinese && status == CLINFER_OK ? end_word(encoding) : status;
}

/* Bytes that are not UTF-8 count as U+FFFD, which is dropped. */
static enum clinfer_status encode(const void *rules, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out) {
    const struct encoding encoding = {rules, vocabulary, work, out};
    enum clinfer_status status = CLINFER_OK;
    work->text_length = 0;
    for (size_t at = 0; at < piece->length && status == CLINFER_OK;) {
        size_t step = ci_utf8_character(piece->text + at, piece->length - at);
        if (step) status = add_character(&encoding, ci_utf8_decode(piece->text + at, step));
        at += step ? step : 1;
    }
    return status == CLINFER_OK ? end_word(&encoding) : status;
}

const struct ci_tokenizer_kind ci_tokenizer_kind_bert = {.model = "bert",
                                                         .title = "WordPiece",
                                                         .complete = complete,
                                                         .spelling = spelling,
                                                         .create = create,
                                                         .destroy = destroy,
                                                         .encode = encode};
