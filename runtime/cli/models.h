/* models.h: which model a command means, and how it comes here.
 *
 * In this order: what the flags say, what CLINFER_MODEL says, what config.json says, the only model in the models
 * folder and below it (of the Hub's cache, where that folder is empty), the default model there. All but the last two
 * take a path or a name, as hub/find.h does: of a model in the models folder, an alias, user/repo:QUANT, a link of the
 * Hub, ollama:NAME. What such a name means and this machine does not have is fetched as `clinfer pull` does, with
 * progress on standard error, unless --no-pull, --offline or HF_HUB_OFFLINE say that it is not. What is here is used as
 * it is, without one request: `clinfer pull` is what looks for something newer. */
#ifndef CI_CLI_MODELS_H
#define CI_CLI_MODELS_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>

/* Of the command line, as llama-cli's; what no flag said is NULL or false. */
struct ci_model_flags {
    const char *model, *repo, *file, *url, *token;
    bool offline, no_pull;
    bool local; /* the command fetches nothing, whatever flags say: no flag, and no word of it in messages */
};

/* Of every command that takes a model: how one is named otherwise than by -m. */
#define CI_HUB_OPTIONS(flags)                                                                                          \
    CI_TEXT("-hf -hfr --hf-repo", &(flags)->repo, "USER/REPO[:QUANT]",                                                 \
            "a model of the Hub; what is not here yet is fetched, as for such a name behind -m"),                      \
        CI_TEXT("-hff --hf-file", &(flags)->file, "FILE", "the file of that repo, whatever QUANT says"),               \
        CI_TEXT("-hft --hf-token", &(flags)->token, "TOKEN",                                                           \
                "refused, since others can read it there: set HF_TOKEN, or put it into the file HF_TOKEN_PATH"),       \
        CI_TEXT("-mu --model-url", &(flags)->url, "ADDRESS",                                                           \
                "the address of a GGUF file, fetched where it is not here"),                                           \
        CI_FLAG("--offline", &(flags)->offline, "fetch nothing: a model that is not here is an error"),                \
        CI_FLAG("--no-pull", &(flags)->no_pull, "the same; `clinfer pull` fetches models by their names")

struct ci_model_choice {
    char *path;
    const char *why; /* "given", "CLINFER_MODEL", "config.json", "the only model there is", "the default model" */
};

/* CLINFER_NOT_FOUND: the message lists what there is, near names and the command that would fetch it.
 * CLINFER_INVALID_ARGUMENT: several files have that name, or flags contradict each other. What a pull may return
 * (hub/pull.h). Free the choice in any case. */
enum clinfer_status ci_models_choose(const struct ci_model_flags *flags, struct ci_model_choice *choice);
void ci_models_free(struct ci_model_choice *choice);

/* The models in the own models folder and below it. */
struct ci_own_models {
    char **names; /* [count] paths from `folder` */
    char **paths; /* [count] */
    size_t count;
};

/* Free in any case; without a home there are none. */
enum clinfer_status ci_models_own(struct ci_own_models *models);
void ci_models_own_free(struct ci_own_models *models);

#endif
