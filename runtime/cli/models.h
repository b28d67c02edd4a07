/* models.h: which model file a command means.
 *
 * In this order: what -m says, what CLINFER_MODEL says, what config.json says, the only model in the models folder and
 * below it, the default model there. A model is a *.gguf (in whatever case) or a folder with SafeTensors. All three take
 * a path, or the name of a model in that folder with or without ".gguf"; of one in a folder below, its path from there
 * or its name alone. */
#ifndef CI_CLI_MODELS_H
#define CI_CLI_MODELS_H

#include <clinfer.h>
#include <stddef.h>

struct ci_model_choice {
    char *path;
    const char *why; /* "given", "CLINFER_MODEL", "config.json", "the only model there is", "the default model" */
};

/* `wanted` may be NULL. CLINFER_NOT_FOUND: the message lists what there is and how to get the default model.
 * CLINFER_INVALID_ARGUMENT: several files have that name. CLINFER_UNSUPPORTED: it is an address. Free the choice in any
 * case. */
enum clinfer_status ci_models_choose(const char *wanted, struct ci_model_choice *choice);
void ci_models_free(struct ci_model_choice *choice);

/* The model files in `folder`, then those in the folders below (to a depth of eight; links are followed, loops are
 * not), each as its path from there; NULL behind the last, none where there is no such folder. NULL: out of memory. */
char **ci_models_list(const char *folder, size_t *count);
void ci_models_list_free(char **names);

#endif
