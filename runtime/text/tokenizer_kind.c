/* tokenizer_kind.c: see tokenizer_kind.h. */
#include "text/tokenizer_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/status.h"

static const struct ci_tokenizer_kind *const kinds[] = {
#define CI_TOKENIZER_KIND(name) &ci_tokenizer_kind_##name,
#include "text/tokenizer_kind_list.inc"
#undef CI_TOKENIZER_KIND
};

const struct ci_tokenizer_keys *ci_tokenizer_keys(const struct ci_tokenizer_source *source) {
    static const struct ci_tokenizer_keys gguf = {.tokens = "tokenizer.ggml.tokens",
                                                  .types = "tokenizer.ggml.token_type",
                                                  .scores = "tokenizer.ggml.scores",
                                                  .merges = "tokenizer.ggml.merges",
                                                  .charsmap = "tokenizer.ggml.precompiled_charsmap"};
    return source->keys ? source->keys : &gguf;
}

const struct ci_tokenizer_kind *ci_tokenizer_kind_find(const struct ci_text_span *model) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i]->model) == model->length && memcmp(kinds[i]->model, model->text, model->length) == 0)
            return kinds[i];
    return NULL;
}

void ci_tokenizer_kind_names(char *names, size_t capacity) {
    names[0] = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s (%s)", kinds[i]->model, kinds[i]->title);
        ci_names_add(names, capacity, name);
    }
}

enum clinfer_status ci_token_work_append(struct ci_token_work *work, const char *text, size_t length) {
    if (length > work->text_capacity - work->text_length) {
        size_t capacity = 2 * work->text_capacity + length + 256;
        char *grown = realloc(work->text, capacity);
        if (grown == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizing %zu bytes: out of memory", capacity);
        work->text = grown;
        work->text_capacity = capacity;
    }
    if (length) memcpy(work->text + work->text_length, text, length);
    work->text_length += length;
    return CLINFER_OK;
}

void ci_token_work_destroy(struct ci_token_work *work) {
    ci_symbols_destroy(&work->word);
    free(work->text);
    memset(work, 0, sizeof *work);
}

void ci_tokenizer_default_id(const struct ci_tokenizer_source *source, int64_t *id, int64_t value) {
    if (*id == -1 && value < (int64_t)source->token_count) *id = value;
}

void ci_tokenizer_default_flag(int *flag, bool value) {
    if (*flag == -1) *flag = value;
}
