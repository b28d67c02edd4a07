#include "engine/read.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
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
    info->xtc_probability = 0;
    info->xtc_threshold = 0.1f;
    info->mirostat_tau = 5;
    info->mirostat_eta = 0.1f;
    float last_n = 64, mirostat = 0;
    float top_k = 40; /* a whole number, however it is stored; none, or one of no use, takes all tokens */
    const struct {
        const char *key;
        float *value, least, most;
    } keys[] = {{"general.sampling.temp", &info->temperature, 0, 1000},
                {"general.sampling.top_p", &info->top_p, 0, 1},
                {"general.sampling.min_p", &info->min_p, 0, 1},
                {"general.sampling.penalty_repeat", &info->repeat_penalty, 0.001f, 1000},
                {"general.sampling.penalty_last_n", &last_n, -1, 1e9f},
                {"general.sampling.xtc_probability", &info->xtc_probability, 0, 1},
                {"general.sampling.xtc_threshold", &info->xtc_threshold, 0, 1},
                {"general.sampling.mirostat", &mirostat, 0, 2},
                {"general.sampling.mirostat_tau", &info->mirostat_tau, 0, 1000},
                {"general.sampling.mirostat_eta", &info->mirostat_eta, 0, 1000}};
    enum clinfer_status status = ci_gguf_get_number(gguf, "general.sampling.top_k", CI_GGUF_OPTIONAL, &top_k);
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == CLINFER_OK; i++) {
        status = ci_gguf_get_number(gguf, keys[i].key, CI_GGUF_OPTIONAL, keys[i].value);
        if (status == CLINFER_OK && !(*keys[i].value >= keys[i].least && *keys[i].value <= keys[i].most))
            status = ci_fail(CLINFER_BAD_FILE, "%s: %s: %g, must be %g to %g", CI_KEY_AT(gguf, keys[i].key),
                             (double)*keys[i].value, (double)keys[i].least, (double)keys[i].most);
    }
    info->repeat_last_n = last_n > 0 ? (int)last_n : 0;
    info->mirostat = (int)mirostat;
    info->top_k = top_k >= 1 && top_k < 1e9f ? (int)top_k : 0;
    return status;
}

/* What the file advises and clinfer's sampling does not know. */
static void tell_not_followed(const struct ci_gguf *gguf) {
    const struct ci_gguf_value *suppressed = ci_gguf_find(gguf, "tokenizer.ggml.suppress_tokens");
    if (suppressed && suppressed->count)
        ci_log(CLINFER_LOG_WARNING, "%s: tokenizer.ggml.suppress_tokens: not followed: all tokens may come",
               ci_gguf_path(gguf));
}

enum clinfer_status ci_read_samplers(const struct ci_gguf *gguf, struct ci_arena *arena,
                                     struct clinfer_engine_info *info) {
    static const char key[] = "general.sampling.sequence";
    struct ci_gguf_string names = {.text = NULL};
    info->samplers = NULL;
    if (!ci_gguf_find(gguf, key)) return CLINFER_OK;
    enum clinfer_status status = ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &names);
    if (status != CLINFER_OK) return status;
    char *copy = ci_arena_string(arena, names.text, names.length);
    if (!copy) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %s", key);
    if (ci_sampler_check_names(copy) == CLINFER_OK)
        info->samplers = copy;
    else
        ci_log(CLINFER_LOG_WARNING, "%s: %s: not followed: %s", ci_gguf_path(gguf), key, ci_status_message());
    return CLINFER_OK;
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

enum clinfer_status ci_read_vocabulary(const struct ci_gguf *gguf, const struct ci_model *model,
                                       struct ci_tokenizer **tokenizer) {
    enum clinfer_status status = ci_read_tokenizer(gguf, tokenizer);
    if (status != CLINFER_OK || ci_tokenizer_size(*tokenizer) <= (size_t)model->hyper.vocabulary) return status;
    return ci_fail(CLINFER_BAD_FILE, "%s: %s: %zu tokens, but token_embd.weight has %d rows",
                   CI_KEY_AT(gguf, "tokenizer.ggml.tokens"), ci_tokenizer_size(*tokenizer), model->hyper.vocabulary);
}

enum clinfer_status ci_read_model(const struct ci_gguf *gguf, struct ci_threads *threads, struct ci_stages *stages,
                                  struct ci_model *model, struct clinfer_engine_info *info) {
    enum clinfer_status status = ci_model_open(gguf, model);
    if (status == CLINFER_OK) status = read_sampling(gguf, info);
    if (status == CLINFER_OK) tell_not_followed(gguf);
    ci_stages_end(stages, "metadata");
    if (status == CLINFER_OK) status = ci_model_check_numbers(model, threads);
    ci_stages_end(stages, "numbers");
    return status;
}
