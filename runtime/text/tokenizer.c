/* tokenizer.c: see tokenizer.h. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/special.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

struct ci_tokenizer {
    struct ci_vocabulary vocabulary;
    struct ci_bpe bpe;
    struct ci_special special;
    struct ci_pretokenizer *pretokenizer; /* NULL: the file has no way from text to tokens */
    bool *ends;                           /* [size] */
    int32_t bos, eos;
    bool add_bos, add_eos;
};

/* Files name one end token, models use several; these are the others' names. "<|end|>" ends a turn except in the
 * harmony format, where it ends a message and <|return|> and <|call|> end the turn. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<|eot|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "</s>",
    "<eos>",
    "<turn|>",
    "<end_of_utterance>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<reponame>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<｜end▁of▁sentence｜>",
};

static int32_t find_special(const struct ci_tokenizer *tokenizer, const char *name) {
    int32_t id = ci_vocabulary_find(&tokenizer->vocabulary, name, strlen(name));
    return id >= 0 && ci_token_is_special(tokenizer->vocabulary.types[id]) ? id : -1;
}

static enum clinfer_status find_ends(const struct ci_tokenizer_source *source, struct ci_tokenizer *tokenizer) {
    tokenizer->ends = calloc(source->token_count + 1, sizeof *tokenizer->ends);
    if (tokenizer->ends == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        int32_t id = find_special(tokenizer, end_names[i]);
        if (id >= 0) tokenizer->ends[id] = true;
    }
    int32_t end = find_special(tokenizer, "<|end|>");
    if (end >= 0 && find_special(tokenizer, "<|return|>") >= 0 && find_special(tokenizer, "<|call|>") >= 0)
        tokenizer->ends[end] = false;
    const int64_t ids[] = {source->eos_id, source->eot_id, source->eom_id};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i] >= 0) tokenizer->ends[ids[i]] = true;
    return CLINFER_OK;
}

static enum clinfer_status check_ids(const struct ci_tokenizer_source *source) {
    const struct {
        const char *name;
        int64_t id;
    } ids[] = {{"bos", source->bos_id}, {"eos", source->eos_id},         {"eot", source->eot_id},
               {"eom", source->eom_id}, {"unknown", source->unknown_id}, {"padding", source->padding_id}};
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

static bool is_named(const struct ci_text_span *model, const char *name) {
    return model->length == strlen(name) && memcmp(model->text, name, model->length) == 0;
}

bool ci_tokenizer_has_no_text(const struct ci_text_span *model) {
    return is_named(model, "none") || is_named(model, "no_vocab") || is_named(model, "test");
}

/* From words of text to tokens. */
static enum clinfer_status build_text(const struct ci_tokenizer_source *source, struct ci_tokenizer *created) {
    if (ci_tokenizer_has_no_text(&source->model)) return CLINFER_OK;
    enum clinfer_status status =
        ci_pretokenizer_create(source->pre_tokenizer.text, source->pre_tokenizer.length, &created->pretokenizer);
    return status == CLINFER_OK ? ci_bpe_build(source, &created->vocabulary, &created->bpe) : status;
}

enum clinfer_status ci_tokenizer_create(const struct ci_tokenizer_source *source, struct ci_tokenizer **tokenizer) {
    *tokenizer = NULL;
    if (!is_named(&source->model, "gpt2") && !ci_tokenizer_has_no_text(&source->model))
        return ci_fail(CLINFER_UNSUPPORTED,
                       "tokenizer.ggml.model: '%.*s': this kind of vocabulary is not supported; 'gpt2' (byte-level "
                       "BPE) is",
                       ci_shown(source->model.length, 64), source->model.text);
    struct ci_tokenizer *created = calloc(1, sizeof *created);
    if (created == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizer: out of memory");

    enum clinfer_status status = CLINFER_OK;
    if (source->token_count || !ci_tokenizer_has_no_text(&source->model))
        status = ci_vocabulary_build(source, &created->vocabulary);
    if (status == CLINFER_OK) status = check_ids(source);
    if (status == CLINFER_OK) status = build_text(source, created);
    if (status == CLINFER_OK) status = ci_special_build(&created->vocabulary, &created->special);
    if (status == CLINFER_OK) status = find_ends(source, created);
    if (status != CLINFER_OK) {
        ci_tokenizer_destroy(created);
        return status;
    }
    created->bos = ci_narrowed(source->bos_id);
    created->eos = ci_narrowed(source->eos_id);
    bool add_bos = source->add_bos == 1;
    if (source->add_bos == -1 && created->pretokenizer) add_bos = ci_pretokenizer_traits(created->pretokenizer).add_bos;
    created->add_bos = add_bos && created->bos >= 0;
    created->add_eos = source->add_eos == 1;
    *tokenizer = created;
    return CLINFER_OK;
}

void ci_tokenizer_destroy(struct ci_tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    free(tokenizer->ends);
    ci_special_destroy(&tokenizer->special);
    ci_bpe_destroy(&tokenizer->bpe);
    ci_vocabulary_destroy(&tokenizer->vocabulary);
    ci_pretokenizer_destroy(tokenizer->pretokenizer);
    free(tokenizer);
}

struct encoding {
    const struct ci_tokenizer *tokenizer;
    bool whole_words;
    struct ci_bpe_work work;
    struct ci_token_list out;
};

static enum clinfer_status encode_word(void *user, const char *word, size_t length) {
    struct encoding *encoding = user;
    const struct ci_vocabulary *vocabulary = &encoding->tokenizer->vocabulary;
    if (encoding->whole_words) {
        int32_t whole = ci_vocabulary_find_bytes(vocabulary, word, length);
        if (whole >= 0) return ci_token_list_append(&encoding->out, whole);
    }
    return ci_bpe_encode(&encoding->tokenizer->bpe, vocabulary, word, length, &encoding->work, &encoding->out);
}

/* Text without special tokens: runs of UTF-8 go through the pre-tokenizer, runs of other bytes are words. */
static enum clinfer_status encode_text(struct encoding *encoding, const char *text, size_t length) {
    for (size_t at = 0; at < length;) {
        size_t valid = ci_utf8_valid(text + at, length - at);
        enum clinfer_status status =
            ci_pretokenizer_split(encoding->tokenizer->pretokenizer, text + at, valid, encode_word, encoding);
        at += valid;
        size_t invalid = ci_utf8_invalid(text + at, length - at);
        if (status == CLINFER_OK && invalid > 0) status = encode_word(encoding, text + at, invalid);
        if (status != CLINFER_OK) return status;
        at += invalid;
    }
    return CLINFER_OK;
}

static enum clinfer_status encode_all(struct encoding *encoding, const char *text, size_t length, unsigned flags) {
    const struct ci_tokenizer *tokenizer = encoding->tokenizer;
    enum clinfer_status status = CLINFER_OK;
    if ((flags & CI_TOKENIZER_ADD_SPECIAL) && tokenizer->add_bos)
        status = ci_token_list_append(&encoding->out, tokenizer->bos);
    for (size_t at = 0; status == CLINFER_OK && at < length;) {
        size_t begin = length - at, end = begin;
        int32_t special = ci_special_find(&tokenizer->special, text + at, length - at,
                                          flags & CI_TOKENIZER_PARSE_SPECIAL, &begin, &end);
        status = encode_text(encoding, text + at, begin);
        if (status == CLINFER_OK && special >= 0) status = ci_token_list_append(&encoding->out, special);
        at += end;
    }
    if (status == CLINFER_OK && (flags & CI_TOKENIZER_ADD_SPECIAL) && tokenizer->add_eos)
        status = ci_token_list_append(&encoding->out, tokenizer->eos);
    return status;
}

enum clinfer_status ci_tokenizer_encode(const struct ci_tokenizer *tokenizer, const char *text, size_t length,
                                        unsigned flags, int32_t **tokens, size_t *count) {
    *tokens = NULL;
    *count = 0;
    if (length > INT32_MAX)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "text of %zu bytes: at most %d can be tokenized at once", length,
                       INT32_MAX);
    if (!tokenizer->pretokenizer)
        return ci_fail(CLINFER_UNSUPPORTED, "the model has no tokenizer (tokenizer.ggml.model): it takes token ids, as "
                                            "`clinfer logits --tokens` gives them, and no text");
    struct encoding encoding = {.tokenizer = tokenizer};
    encoding.whole_words = ci_pretokenizer_traits(tokenizer->pretokenizer).whole_words;
    enum clinfer_status status = encode_all(&encoding, text, length, flags);
    ci_bpe_work_destroy(&encoding.work);
    if (status != CLINFER_OK) {
        free(encoding.out.tokens);
        return status;
    }
    *tokens = encoding.out.tokens;
    *count = encoding.out.count;
    return CLINFER_OK;
}

static bool inside(const struct ci_tokenizer *tokenizer, int32_t token) {
    return token >= 0 && (uint32_t)token < tokenizer->vocabulary.count;
}

const char *ci_tokenizer_piece(const struct ci_tokenizer *tokenizer, int32_t token, bool special, size_t *length) {
    const struct ci_vocabulary *vocabulary = &tokenizer->vocabulary;
    *length = 0;
    if (!inside(tokenizer, token) || (!special && ci_tokenizer_is_control(tokenizer, token))) return "";
    *length = vocabulary->byte_offsets[token + 1] - vocabulary->byte_offsets[token];
    return vocabulary->bytes + vocabulary->byte_offsets[token];
}

bool ci_tokenizer_is_end(const struct ci_tokenizer *tokenizer, int32_t token) {
    return inside(tokenizer, token) && tokenizer->ends[token];
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
