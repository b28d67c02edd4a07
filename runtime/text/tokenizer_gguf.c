/* tokenizer_gguf.c: the tokenizer.ggml.* entries of a GGUF file as the source of a tokenizer. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "format/kind.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_kind.h"

/* Spans that point into the mapped file; *spans is for the caller to free. */
static enum clinfer_status read_spans(const struct ci_gguf *gguf, const char *key, struct ci_text_span **spans,
                                      size_t *count) {
    const struct ci_gguf_value *value = NULL;
    enum clinfer_status status = ci_gguf_get_strings(gguf, key, CI_GGUF_REQUIRED, &value);
    if (status != CLINFER_OK) return status;
    *count = (size_t)value->count;
    *spans = calloc(*count ? *count : 1, sizeof **spans);
    if (*spans == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: %zu strings: out of memory", key, *count);
    for (size_t i = 0; i < *count; i++) {
        struct ci_gguf_string string = ci_gguf_string_at(value, i);
        (*spans)[i] = (struct ci_text_span){string.text, string.length};
    }
    return CLINFER_OK;
}

static enum clinfer_status read_types(const struct ci_gguf *gguf, size_t token_count, int32_t **types) {
    static const char key[] = "tokenizer.ggml.token_type";
    const struct ci_gguf_value *value = NULL;
    enum clinfer_status status = ci_gguf_get_integers(gguf, key, CI_GGUF_OPTIONAL, &value);
    if (status != CLINFER_OK || value == NULL) return status;
    if (value->count != token_count)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %llu elements for %zu tokens; the file is damaged",
                       ci_gguf_path(gguf), key, (unsigned long long)value->count, token_count);
    *types = malloc(token_count ? token_count * sizeof **types : 1);
    if (*types == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", key);
    for (size_t i = 0; i < token_count; i++) {
        if (!ci_narrow(ci_gguf_integer_at(value, i), &(*types)[i])) (*types)[i] = -1;
    }
    return CLINFER_OK;
}

/* Old writers store whole numbers. */
static enum clinfer_status read_scores(const struct ci_gguf *gguf, size_t token_count, float **scores) {
    static const char key[] = "tokenizer.ggml.scores";
    const struct ci_gguf_value *value = ci_gguf_find(gguf, key);
    bool whole = value && ci_gguf_type_is_integer(value->element_type);
    enum clinfer_status status = whole ? ci_gguf_get_integers(gguf, key, CI_GGUF_REQUIRED, &value)
                                       : ci_gguf_get_floats(gguf, key, CI_GGUF_REQUIRED, &value);
    if (status != CLINFER_OK) return status;
    if (value->count != token_count)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %llu elements for %zu tokens; the file is damaged",
                       ci_gguf_path(gguf), key, (unsigned long long)value->count, token_count);
    *scores = malloc(token_count ? token_count * sizeof **scores : 1);
    if (*scores == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", key);
    for (size_t i = 0; i < token_count; i++)
        (*scores)[i] = whole ? (float)ci_gguf_integer_at(value, i) : (float)ci_gguf_float_at(value, i);
    return CLINFER_OK;
}

/* Which tokens take white space with them is not in the file: models are known by name. */
static const struct ci_strip phi3_strips[] = {{{"", 0}, CI_STRIP_RIGHT},
                                              {{"</s>", 4}, CI_STRIP_RIGHT},
                                              {{"<unk>", 5}, 0},
                                              {{"<s>", 3}, 0},
                                              {{"<|endoftext|>", 13}, 0}},
                             mask_strips[] = {{{"<mask>", 6}, CI_STRIP_LEFT}},
                             bert_mask_strips[] = {{{"[MASK]", 6}, CI_STRIP_LEFT}};

static const struct {
    const char *key, *part; /* of the value, without regard to case */
    const struct ci_strip *strips;
    size_t count;
} strip_rules[] = {
    {"tokenizer.ggml.pre", "jina-v2-de", mask_strips, 1},
    {"tokenizer.ggml.pre", "jina-v2-es", mask_strips, 1},
    {"tokenizer.ggml.pre", "jina-v2-code", mask_strips, 1},
    {"general.architecture", "nomic-bert-moe", mask_strips, 1},
    {"general.architecture", "jina-bert-v3", mask_strips, 1},
    {"general.name", "phi-3", phi3_strips, sizeof phi3_strips / sizeof *phi3_strips},
    {"general.name", "phi3", phi3_strips, sizeof phi3_strips / sizeof *phi3_strips},
    {"general.name", "modern-bert", bert_mask_strips, 1},
};

static void find_strips(const struct ci_gguf *gguf, struct ci_tokenizer_source *source) {
    for (size_t i = 0; i < sizeof strip_rules / sizeof *strip_rules; i++) {
        const struct ci_gguf_value *value = ci_gguf_find(gguf, strip_rules[i].key);
        if (!value || value->type != CI_GGUF_STRING) continue;
        struct ci_gguf_string name = ci_gguf_string_at(value, 0);
        size_t length = strlen(strip_rules[i].part);
        for (size_t at = 0; at + length <= name.length; at++) {
            if (strncasecmp(name.text + at, strip_rules[i].part, length) != 0) continue;
            source->strips = strip_rules[i].strips;
            source->strip_count = strip_rules[i].count;
            return;
        }
    }
}

static enum clinfer_status read_text(const struct ci_gguf *gguf, const char *key, struct ci_text_span *span) {
    struct ci_gguf_string string = {"", 0};
    enum clinfer_status status = ci_gguf_get_string(gguf, key, CI_GGUF_REQUIRED, &string);
    *span = (struct ci_text_span){string.text, string.length};
    return status;
}

/* Files from before April 2024 do not say how their model cuts text into words. */
static enum clinfer_status read_pre_tokenizer(const struct ci_gguf *gguf, struct ci_text_span *span) {
    static const char key[] = "tokenizer.ggml.pre";
    struct ci_gguf_string name = {"", 0};
    enum clinfer_status status = ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &name);
    if (status == CLINFER_OK && name.length == 0) {
        name = (struct ci_gguf_string){CI_PRETOKENIZER_DEFAULT, strlen(CI_PRETOKENIZER_DEFAULT)};
        ci_log(CLINFER_LOG_WARNING,
               "%s: %s is missing: the pre-tokenizer \"%s\" is used, as llama.cpp does; text may be cut otherwise than "
               "the model has learned it, and answers be worse: a file converted after April 2024 says which it is",
               ci_gguf_path(gguf), key, CI_PRETOKENIZER_DEFAULT);
    }
    *span = (struct ci_text_span){name.text, name.length};
    return status;
}

static enum clinfer_status read_flag(const struct ci_gguf *gguf, const char *key, int *flag) {
    *flag = -1;
    if (ci_gguf_find(gguf, key) == NULL) return CLINFER_OK;
    bool value = false;
    enum clinfer_status status = ci_gguf_get_bool(gguf, key, CI_GGUF_REQUIRED, &value);
    *flag = value;
    return status;
}

static enum clinfer_status read_flags(const struct ci_gguf *gguf, struct ci_tokenizer_source *source) {
    const struct {
        const char *key;
        int *flag;
    } flags[] = {
        {"tokenizer.ggml.add_bos_token", &source->add_bos},
        {"tokenizer.ggml.add_eos_token", &source->add_eos},
        {"tokenizer.ggml.add_space_prefix", &source->add_space_prefix},
        {"tokenizer.ggml.remove_extra_whitespaces", &source->remove_extra_whitespaces},
        {"tokenizer.ggml.normalizer.lowercase", &source->lowercase},
        {"tokenizer.ggml.normalizer.strip_accents", &source->strip_accents},
    };
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && status == CLINFER_OK; i++)
        status = read_flag(gguf, flags[i].key, flags[i].flag);
    return status;
}

/* Bytes that point into the mapped file. */
static enum clinfer_status read_charsmap(const struct ci_gguf *gguf, struct ci_text_span *charsmap) {
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct ci_gguf_value *value = NULL;
    enum clinfer_status status = ci_gguf_get_integers(gguf, key, CI_GGUF_OPTIONAL, &value);
    if (status != CLINFER_OK || value == NULL) return status;
    if (value->bytes != value->count)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: an array of %s; bytes are possible", ci_gguf_path(gguf), key,
                       ci_gguf_type_name(value->element_type));
    *charsmap = (struct ci_text_span){(const char *)value->data, value->bytes};
    return CLINFER_OK;
}

static enum clinfer_status read_ids(const struct ci_gguf *gguf, struct ci_tokenizer_source *source) {
    const struct {
        const char *key;
        int64_t *id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &source->bos_id},
        {"tokenizer.ggml.eos_token_id", &source->eos_id},
        {"tokenizer.ggml.eot_token_id", &source->eot_id},
        {"tokenizer.ggml.eom_token_id", &source->eom_id},
        {"tokenizer.ggml.unknown_token_id", &source->unknown_id},
        {"tokenizer.ggml.padding_token_id", &source->padding_id},
        {"tokenizer.ggml.cls_token_id", &source->classifier_id},
        {"tokenizer.ggml.seperator_token_id", &source->separator_id},
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        *ids[i].id = -1;
        enum clinfer_status status = ci_gguf_get_i64(gguf, ids[i].key, CI_GGUF_OPTIONAL, ids[i].id);
        if (status != CLINFER_OK) return status;
        /* Some writers store "none" as the largest unsigned number. */
        if (*ids[i].id == UINT32_MAX) *ids[i].id = -1;
    }
    return CLINFER_OK;
}

/* Arrays that the source points to. */
struct arrays {
    struct ci_text_span *tokens, *merges;
    int32_t *types;
    float *scores;
};

static enum clinfer_status read_source(const struct ci_gguf *gguf, struct ci_tokenizer_source *source,
                                       struct arrays *arrays) {
    enum clinfer_status status = read_text(gguf, "tokenizer.ggml.model", &source->model);
    const struct ci_tokenizer_kind *kind = status == CLINFER_OK ? ci_tokenizer_kind_find(&source->model) : NULL;
    unsigned needs = kind ? kind->needs : 0; /* of an unknown kind the message is to name the kind */
    bool has_tokens = ci_gguf_find(gguf, "tokenizer.ggml.tokens") || !ci_tokenizer_has_no_text(&source->model);
    if (status == CLINFER_OK && has_tokens)
        status = read_spans(gguf, "tokenizer.ggml.tokens", &arrays->tokens, &source->token_count);
    if (status == CLINFER_OK) status = read_types(gguf, source->token_count, &arrays->types);
    if (status == CLINFER_OK) status = read_ids(gguf, source);
    if (status == CLINFER_OK) status = read_flags(gguf, source);
    if (status == CLINFER_OK) status = read_charsmap(gguf, &source->charsmap);
    if (status == CLINFER_OK && needs & CI_TOKENIZER_NEEDS_PRE)
        status = read_pre_tokenizer(gguf, &source->pre_tokenizer);
    if (status == CLINFER_OK && needs & CI_TOKENIZER_NEEDS_MERGES)
        status = read_spans(gguf, "tokenizer.ggml.merges", &arrays->merges, &source->merge_count);
    if (status == CLINFER_OK && needs & CI_TOKENIZER_NEEDS_SCORES)
        status = read_scores(gguf, source->token_count, &arrays->scores);
    find_strips(gguf, source);
    source->tokens = arrays->tokens;
    source->merges = arrays->merges;
    source->types = arrays->types;
    source->scores = arrays->scores;
    return status;
}

enum clinfer_status ci_tokenizer_create_gguf(const struct ci_gguf *gguf, struct ci_tokenizer **tokenizer) {
    *tokenizer = NULL;
    struct ci_tokenizer_source source = {0};
    struct arrays arrays = {0};
    enum clinfer_status status = CLINFER_OK;
    if (ci_gguf_folder(gguf) && !ci_gguf_find(gguf, "tokenizer.ggml.model"))
        return ci_tokenizer_create_folder(ci_gguf_folder(gguf), tokenizer);
    /* No model at all? */
    if (!ci_gguf_find(gguf, "tokenizer.ggml.model") && !ci_gguf_find(gguf, "tokenizer.ggml.tokens"))
        status = ci_kind_check_metadata(gguf);
    if (status == CLINFER_OK) status = read_source(gguf, &source, &arrays);
    if (status == CLINFER_OK) {
        status = ci_tokenizer_create(&source, tokenizer);
        if (status != CLINFER_OK) ci_fail_prefix(status, "%s", ci_gguf_path(gguf));
    }
    free(arrays.tokens);
    free(arrays.merges);
    free(arrays.types);
    free(arrays.scores);
    return status;
}
