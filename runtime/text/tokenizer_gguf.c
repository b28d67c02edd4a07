/* tokenizer_gguf.c: the tokenizer.ggml.* entries of a GGUF file as the source of a tokenizer. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "format/kind.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

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

enum clinfer_status ci_tokenizer_create_gguf(const struct ci_gguf *gguf, struct ci_tokenizer **tokenizer) {
    *tokenizer = NULL;
    struct ci_tokenizer_source source = {0};
    struct ci_text_span *tokens = NULL, *merges = NULL;
    int32_t *types = NULL;
    enum clinfer_status status = CLINFER_OK;
    /* No model at all? */
    if (!ci_gguf_find(gguf, "tokenizer.ggml.model") && !ci_gguf_find(gguf, "tokenizer.ggml.tokens"))
        status = ci_kind_check_metadata(gguf);
    if (status == CLINFER_OK) status = read_text(gguf, "tokenizer.ggml.model", &source.model);
    bool has_tokens = ci_gguf_find(gguf, "tokenizer.ggml.tokens") || !ci_tokenizer_has_no_text(&source.model);
    if (status == CLINFER_OK && has_tokens)
        status = read_spans(gguf, "tokenizer.ggml.tokens", &tokens, &source.token_count);
    if (status == CLINFER_OK) status = read_types(gguf, source.token_count, &types);
    if (status == CLINFER_OK) status = read_ids(gguf, &source);
    if (status == CLINFER_OK) status = read_flag(gguf, "tokenizer.ggml.add_bos_token", &source.add_bos);
    if (status == CLINFER_OK) status = read_flag(gguf, "tokenizer.ggml.add_eos_token", &source.add_eos);
    /* Another kind of vocabulary has neither merges nor a pre-tokenizer: let the message name the kind. */
    bool byte_level = source.model.length == 4 && memcmp(source.model.text, "gpt2", 4) == 0;
    if (status == CLINFER_OK && byte_level) status = read_pre_tokenizer(gguf, &source.pre_tokenizer);
    if (status == CLINFER_OK && byte_level)
        status = read_spans(gguf, "tokenizer.ggml.merges", &merges, &source.merge_count);
    source.tokens = tokens;
    source.merges = merges;
    source.types = types;
    if (status == CLINFER_OK) {
        status = ci_tokenizer_create(&source, tokenizer);
        if (status != CLINFER_OK) ci_fail_prefix(status, "%s", ci_gguf_path(gguf));
    }
    free(tokens);
    free(merges);
    free(types);
    return status;
}
