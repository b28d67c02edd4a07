#include "engine/read.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/names.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "hub/tokenizer_chain.h"
#include "model/numbers.h"
#include "text/tokenizer_json.h"

static enum clinfer_status read_sampling(const struct ci_gguf *gguf, struct clinfer_engine_info *info) {
    info->temperature = 0.8f;
    info->top_p = 0.95f;
    info->min_p = 0.05f;
    info->repeat_penalty = 1;
    float top_k = 40; /* a whole number, however it is stored; none, or one of no use, takes all tokens */
    const struct {
        const char *key;
        float *value, least, most;
    } keys[] = {{"general.sampling.temp", &info->temperature, 0, 1000},
                {"general.sampling.top_p", &info->top_p, 0, 1},
                {"general.sampling.min_p", &info->min_p, 0, 1},
                {"general.sampling.penalty_repeat", &info->repeat_penalty, 0.001f, 1000}};
    enum clinfer_status status = ci_gguf_get_number(gguf, "general.sampling.top_k", CI_GGUF_OPTIONAL, &top_k);
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == CLINFER_OK; i++) {
        status = ci_gguf_get_number(gguf, keys[i].key, CI_GGUF_OPTIONAL, keys[i].value);
        if (status == CLINFER_OK && !(*keys[i].value >= keys[i].least && *keys[i].value <= keys[i].most))
            status = ci_fail(CLINFER_BAD_FILE, "%s: %s: %g, must be %g to %g", CI_KEY_AT(gguf, keys[i].key),
                             (double)*keys[i].value, (double)keys[i].least, (double)keys[i].most);
    }
    info->top_k = top_k >= 1 && top_k < 1e9f ? (int)top_k : 0;
    return status;
}

/* What the file advises and clinfer's sampling does not know, unless it advises what is the case anyway. */
static void tell_not_followed(const struct ci_gguf *gguf, const struct clinfer_engine_info *info) {
    const struct ci_gguf_value *suppressed = ci_gguf_find(gguf, "tokenizer.ggml.suppress_tokens");
    const struct {
        const char *key;
        float neutral;
        bool matters;
    } keys[] = {{"general.sampling.mirostat", 0, true},
                {"general.sampling.xtc_probability", 0, true},
                {"general.sampling.penalty_last_n", CI_PENALTY_WINDOW, info->repeat_penalty != 1},
                {"general.sampling.sequence", NAN, true},
                {"tokenizer.ggml.suppress_tokens", NAN, suppressed && suppressed->count}};
    char names[256] = "";
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        float number = keys[i].neutral;
        bool there = ci_gguf_find(gguf, keys[i].key) != NULL;
        bool neutral =
            ci_gguf_get_number(gguf, keys[i].key, CI_GGUF_OPTIONAL, &number) == CLINFER_OK && number == keys[i].neutral;
        if (there && keys[i].matters && !neutral) ci_names_add(names, sizeof names, keys[i].key);
    }
    if (*names)
        ci_log(CLINFER_LOG_WARNING,
               "%s: %s: not followed: tokens are drawn by temperature, top-k, top-p, min-p and a repeat penalty over "
               "the last %d tokens",
               ci_gguf_path(gguf), names, CI_PENALTY_WINDOW);
}

enum clinfer_status ci_read_tokenizer(const struct ci_gguf *gguf, struct ci_tokenizer **tokenizer) {
    char *folder = NULL;
    const char *path = ci_gguf_path(gguf);
    bool missing = !ci_gguf_find(gguf, "tokenizer.ggml.model") && !ci_gguf_folder(gguf) && access(path, R_OK) == 0;
    if (missing && ci_hub_tokenizer_near(path, &folder) == CLINFER_OK) {
        enum clinfer_status status = ci_tokenizer_create_folder(folder, tokenizer);
        if (status == CLINFER_OK)
            ci_log(CLINFER_LOG_NOTICE, "%s holds no tokenizer: that of %s is used", path, folder);
        else
            ci_fail_prefix(status, "%s holds no tokenizer, and this one cannot take its place", path);
        free(folder);
        return status;
    }
    enum clinfer_status status = ci_tokenizer_create_gguf(gguf, tokenizer);
    if (status == CLINFER_BAD_FILE && missing)
        ci_fail(status,
                "%s; `clinfer pull USER/REPO --tokenizer` looks for one elsewhere, or put a tokenizer.json beside it",
                ci_status_message());
    return status;
}

enum clinfer_status ci_read_model(const struct ci_gguf *gguf, struct ci_threads *threads, struct ci_model *model,
                                  struct ci_tokenizer **tokenizer, struct clinfer_engine_info *info) {
    enum clinfer_status status = ci_model_open(gguf, model);
    if (status == CLINFER_OK) status = ci_read_tokenizer(gguf, tokenizer);
    if (status == CLINFER_OK && ci_tokenizer_size(*tokenizer) > (size_t)model->hyper.vocabulary)
        status =
            ci_fail(CLINFER_BAD_FILE, "%s: %s: %zu tokens, but token_embd.weight has %d rows",
                    CI_KEY_AT(gguf, "tokenizer.ggml.tokens"), ci_tokenizer_size(*tokenizer), model->hyper.vocabulary);
    if (status == CLINFER_OK) status = read_sampling(gguf, info);
    if (status == CLINFER_OK) tell_not_followed(gguf, info);
    return status == CLINFER_OK ? ci_model_check_numbers(model, threads) : status;
}
