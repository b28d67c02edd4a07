/* joined.c: see joined.h. Both kinds of prompts are as llama-server makes them (tools/server/server-common.cpp,
 * format_prompt_rerank and format_prompt_infill), so that answers can be compared. */
#include "engine/joined.h"

#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/require.h"
#include "engine/engine_private.h"
#include "text/token_list.h"

/* ---- which tokens ---- */

enum { MOST_NAMES = 8 };

static const struct mark {
    const char *keys[2];
    const char *names[MOST_NAMES];
} prefix = {{"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"},
            {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
             "<|prefix|>"}},
  suffix = {{"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"},
            {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
             "<|suffix|>"}},
  middle = {{"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"},
            {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
             "<|middle|>"}},
  repo = {{"tokenizer.ggml.fim_rep_token_id"}, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
  file = {{"tokenizer.ggml.fim_sep_token_id"}, {"<|file_sep|>"}};

static enum clinfer_status read_id(const struct ci_gguf *gguf, const char *key, const struct ci_tokenizer *tokenizer,
                                   int32_t *token) {
    int64_t id = -1;
    enum clinfer_status status = ci_gguf_get_i64(gguf, key, CI_GGUF_OPTIONAL, &id);
    if (status != CLINFER_OK) return status;
    if (id < -1 || id >= (int64_t)ci_tokenizer_size(tokenizer))
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %lld is outside the vocabulary of %zu tokens", CI_KEY_AT(gguf, key),
                       (long long)id, ci_tokenizer_size(tokenizer));
    if (id >= 0) *token = ci_narrowed(id);
    return CLINFER_OK;
}

static enum clinfer_status find_mark(const struct ci_gguf *gguf, const struct ci_tokenizer *tokenizer,
                                     const struct mark *mark, int32_t *token) {
    enum clinfer_status status = CLINFER_OK;
    *token = -1;
    for (int i = 0; i < 2 && mark->keys[i] && *token < 0 && status == CLINFER_OK; i++)
        status = read_id(gguf, mark->keys[i], tokenizer, token);
    for (int i = 0; i < MOST_NAMES && mark->names[i] && *token < 0; i++)
        *token = ci_tokenizer_find(tokenizer, mark->names[i], strlen(mark->names[i]));
    return status;
}

static bool is_model(const struct ci_gguf *gguf, const char *name) {
    struct ci_gguf_string model = {"", 0};
    if (ci_gguf_get_string(gguf, "tokenizer.ggml.model", CI_GGUF_OPTIONAL, &model) != CLINFER_OK) return false;
    return model.length == strlen(name) && memcmp(model.text, name, model.length) == 0;
}

/* What a file does not say follows from the kind of its vocabulary. A folder's tokenizer says how one text is marked.
 */
static enum clinfer_status read_pairs(const struct ci_gguf *gguf, const struct ci_tokenizer *tokenizer,
                                      struct ci_arena *texts, struct ci_joined *joined) {
    static const char key[] = "tokenizer.chat_template.rerank";
    struct ci_gguf_string text = {NULL, 0};
    bool folder = !ci_gguf_find(gguf, "tokenizer.ggml.model");
    joined->adds_end = folder ? ci_tokenizer_adds_eos(tokenizer) : is_model(gguf, "t5");
    joined->adds_separator = !folder && is_model(gguf, "bert");
    joined->separator = -1;
    enum clinfer_status status =
        ci_gguf_get_bool(gguf, "tokenizer.ggml.add_eos_token", CI_GGUF_OPTIONAL, &joined->adds_end);
    if (status == CLINFER_OK)
        status = ci_gguf_get_bool(gguf, "tokenizer.ggml.add_sep_token", CI_GGUF_OPTIONAL, &joined->adds_separator);
    if (status == CLINFER_OK)
        status = read_id(gguf, "tokenizer.ggml.seperator_token_id", tokenizer, &joined->separator);
    joined->end = ci_tokenizer_eos(tokenizer) >= 0 ? ci_tokenizer_eos(tokenizer) : joined->separator;
    if (joined->separator < 0) joined->separator = joined->end;
    if (status != CLINFER_OK || !ci_gguf_find(gguf, key)) return status;
    status = ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &text);
    if (status == CLINFER_OK && !(joined->template = ci_arena_string(texts, text.text, text.length)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %s", key);
    return status;
}

enum clinfer_status ci_joined_read(const struct ci_gguf *gguf, const struct ci_tokenizer *tokenizer,
                                   struct ci_arena *texts, struct ci_joined *joined) {
    *joined = (struct ci_joined){0};
    enum clinfer_status status = find_mark(gguf, tokenizer, &prefix, &joined->prefix);
    if (status == CLINFER_OK) status = find_mark(gguf, tokenizer, &suffix, &joined->suffix);
    if (status == CLINFER_OK) status = find_mark(gguf, tokenizer, &middle, &joined->middle);
    if (status == CLINFER_OK) status = find_mark(gguf, tokenizer, &repo, &joined->repo);
    if (status == CLINFER_OK) status = find_mark(gguf, tokenizer, &file, &joined->file);
    return status == CLINFER_OK ? read_pairs(gguf, tokenizer, texts, joined) : status;
}

/* ---- lists of tokens ---- */

static enum clinfer_status add_text(const clinfer_engine *engine, struct ci_token_list *list, const char *text,
                                    size_t length, unsigned flags) {
    int32_t *tokens;
    size_t count;
    enum clinfer_status status = ci_tokenizer_encode(engine->tokenizer, text, length, flags, &tokens, &count);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) status = ci_token_list_append(list, tokens[i]);
    free(tokens);
    return status;
}

static enum clinfer_status add_if(bool wanted, struct ci_token_list *list, int32_t token) {
    return wanted && token >= 0 ? ci_token_list_append(list, token) : CLINFER_OK;
}

static enum clinfer_status add_begin(const clinfer_engine *engine, struct ci_token_list *list) {
    return add_if(ci_tokenizer_adds_bos(engine->tokenizer), list, ci_tokenizer_bos(engine->tokenizer));
}

static enum clinfer_status hand_over(enum clinfer_status status, struct ci_token_list *list, int32_t **tokens,
                                     size_t *count) {
    if (status != CLINFER_OK) {
        free(list->tokens);
        return status;
    }
    *tokens = list->tokens;
    *count = list->count;
    return CLINFER_OK;
}

/* ---- pairs ---- */

/* The template with both texts in it, for free(); NULL: out of memory. */
static char *fill_template(const char *template, const struct clinfer_pair *pair, size_t *length) {
    static const char query[] = "{query}", document[] = "{document}";
    size_t queries = 0, documents = 0;
    for (const char *at = template; (at = strstr(at, query)); at += sizeof query - 1) queries++;
    for (const char *at = template; (at = strstr(at, document)); at += sizeof document - 1) documents++;
    char *text = malloc(strlen(template) + queries * pair->query_length + documents * pair->document_length + 1);
    if (!text) return NULL;
    *length = 0;
    for (const char *at = template; *at;) {
        bool is_query = strncmp(at, query, sizeof query - 1) == 0;
        bool is_document = strncmp(at, document, sizeof document - 1) == 0;
        const char *from = is_query ? pair->query : is_document ? pair->document : at;
        size_t bytes = is_query ? pair->query_length : is_document ? pair->document_length : 1;
        if (bytes) memcpy(text + *length, from, bytes);
        *length += bytes;
        at += is_query ? sizeof query - 1 : is_document ? sizeof document - 1 : 1;
    }
    return text;
}

static enum clinfer_status join_pair(const clinfer_engine *engine, const struct clinfer_pair *pair,
                                     struct ci_token_list *list) {
    const struct ci_joined *joined = &engine->joined;
    if (joined->template) {
        size_t length;
        char *text = fill_template(joined->template, pair, &length);
        if (!text) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a question and a document");
        enum clinfer_status status = add_text(engine, list, text, length, CI_TOKENIZER_PARSE_SPECIAL);
        free(text);
        return status;
    }
    enum clinfer_status status = add_begin(engine, list);
    if (status == CLINFER_OK) status = add_text(engine, list, pair->query, pair->query_length, 0);
    if (status == CLINFER_OK) status = add_if(joined->adds_end, list, joined->end);
    if (status == CLINFER_OK) status = add_if(joined->adds_separator, list, joined->separator);
    if (status == CLINFER_OK) status = add_text(engine, list, pair->document, pair->document_length, 0);
    return status == CLINFER_OK ? add_if(joined->adds_end, list, joined->end) : status;
}

enum clinfer_status clinfer_tokenize_pair(const clinfer_engine *engine, const struct clinfer_pair *pair,
                                          int32_t **tokens, size_t *count) {
    struct ci_token_list list = {0};
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(count, "count");
    *tokens = NULL;
    *count = 0;
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(pair, "pair");
    if (pair->query_length) CI_REQUIRE(pair->query, "pair.query");
    if (pair->document_length) CI_REQUIRE(pair->document, "pair.document");
    return hand_over(join_pair(engine, pair, &list), &list, tokens, count);
}

/* ---- infilling ---- */

/* What is around the gap, the nearest to it. */
struct around {
    struct ci_token_list files, before, prompt, behind;
};

static enum clinfer_status add_file(const clinfer_engine *engine, const char *name, const char *text,
                                    struct ci_token_list *list) {
    static const char cut[] = "\n\n--- snippet ---\n\n";
    int32_t mark = engine->joined.file;
    enum clinfer_status status = add_if(true, list, mark);
    if (mark < 0)
        status = text ? add_text(engine, list, cut, sizeof cut - 1, 0) : CLINFER_OK;
    else {
        size_t length = strlen(name);
        char *line = malloc(length + 1);
        if (!line) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the name of a file");
        memcpy(line, name, length);
        line[length] = '\n';
        if (status == CLINFER_OK) status = add_text(engine, list, line, length + 1, 0);
        free(line);
    }
    return status == CLINFER_OK && text ? add_text(engine, list, text, strlen(text), 0) : status;
}

static enum clinfer_status read_around(const clinfer_engine *engine, const struct clinfer_infill *infill,
                                       struct around *around) {
    static const char project[] = "myproject\n";
    enum clinfer_status status = CLINFER_OK;
    if (engine->joined.repo >= 0) {
        status = ci_token_list_append(&around->files, engine->joined.repo);
        if (status == CLINFER_OK) status = add_text(engine, &around->files, project, sizeof project - 1, 0);
    }
    for (size_t i = 0; i < infill->file_count && status == CLINFER_OK; i++)
        status = add_file(engine, infill->files[i].name ? infill->files[i].name : "tmp", infill->files[i].text,
                          &around->files);
    if (status == CLINFER_OK) status = add_file(engine, "filename", NULL, &around->files);
    if (status == CLINFER_OK) status = add_text(engine, &around->before, infill->prefix, strlen(infill->prefix), 0);
    if (status == CLINFER_OK) status = add_text(engine, &around->behind, infill->suffix, strlen(infill->suffix), 0);
    if (status == CLINFER_OK && infill->prompt)
        status = add_text(engine, &around->prompt, infill->prompt, strlen(infill->prompt), CI_TOKENIZER_PARSE_SPECIAL);
    return status;
}

static enum clinfer_status add_some(struct ci_token_list *list, const struct ci_token_list *from, size_t first,
                                    size_t count) {
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = first; i < first + count && status == CLINFER_OK; i++)
        status = ci_token_list_append(list, from->tokens[i]);
    return status;
}

static size_t at_most(size_t count, int64_t most) {
    if (most < 0) return 0;
    return count < (size_t)most ? count : (size_t)most;
}

/* files, prefix mark, what is before, suffix mark, what is behind, middle mark; the parts are cut so that they fit. */
static enum clinfer_status put_together(const clinfer_engine *engine, const struct clinfer_infill *infill,
                                        const struct around *around, struct ci_token_list *list) {
    const struct ci_joined *joined = &engine->joined;
    int64_t batch = infill->room > 0 ? infill->room : CI_DEFAULT_BATCH, context = engine->context;
    if (batch > context) batch = context;
    size_t before = at_most(around->before.count, 3 * (batch / 4));
    size_t behind = at_most(around->behind.count, batch / 4 - 2 - (int64_t)around->prompt.count);
    size_t files =
        at_most(around->files.count, context - batch - 2 * (int64_t)(infill->answer > 0 ? infill->answer : 0));
    enum clinfer_status status = add_some(list, &around->files, around->files.count - files, files);
    if (status == CLINFER_OK) status = add_begin(engine, list);
    for (int turn = 0; turn < 2 && status == CLINFER_OK; turn++) {
        if ((turn == 0) == infill->suffix_first) {
            status = ci_token_list_append(list, joined->suffix);
            if (status == CLINFER_OK) status = add_some(list, &around->behind, 0, behind);
        } else {
            status = ci_token_list_append(list, joined->prefix);
            if (status == CLINFER_OK) status = add_some(list, &around->before, around->before.count - before, before);
            if (status == CLINFER_OK) status = add_some(list, &around->prompt, 0, around->prompt.count);
        }
    }
    return status == CLINFER_OK ? ci_token_list_append(list, joined->middle) : status;
}

static enum clinfer_status check_infill(const clinfer_engine *engine, const struct clinfer_infill *infill) {
    const struct ci_joined *joined = &engine->joined;
    CI_REQUIRE(infill->prefix, "infill.prefix");
    CI_REQUIRE(infill->suffix, "infill.suffix");
    if (infill->file_count) CI_REQUIRE(infill->files, "infill.files");
    for (size_t i = 0; i < infill->file_count; i++) CI_REQUIRE(infill->files[i].text, "infill.files[].text");
    if (joined->prefix >= 0 && joined->suffix >= 0 && joined->middle >= 0) return CLINFER_OK;
    const char *lacks = joined->prefix < 0 ? "prefix" : joined->suffix < 0 ? "suffix" : "middle";
    return ci_fail(CLINFER_UNSUPPORTED,
                   "%s: infill is not supported by this model: its vocabulary has no token that marks the %s; take one "
                   "that was made to fill gaps in code (qwen2.5-coder, ...)",
                   engine->options.model, lacks);
}

enum clinfer_status clinfer_infill_tokens(const clinfer_engine *engine, const struct clinfer_infill *infill,
                                          int32_t **tokens, size_t *count) {
    struct around around = {0};
    struct ci_token_list list = {0};
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(count, "count");
    *tokens = NULL;
    *count = 0;
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(infill, "infill");
    enum clinfer_status status = check_infill(engine, infill);
    if (status == CLINFER_OK) status = read_around(engine, infill, &around);
    if (status == CLINFER_OK) status = put_together(engine, infill, &around, &list);
    free(around.files.tokens);
    free(around.before.tokens);
    free(around.prompt.tokens);
    free(around.behind.tokens);
    return hand_over(status, &list, tokens, count);
}
