#define _GNU_SOURCE
#include "cli/models.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/config.h"

static const char default_model[] = "smollm2-135m-instruct-q4_1.gguf";

static bool exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0;
}

static bool is_model_name(const char *name) {
    size_t length = strlen(name);
    return name[0] != '.' && length > 5 && strcmp(name + length - 5, ".gguf") == 0;
}

char **ci_models_list(const char *folder, size_t *count) {
    struct dirent **entries = NULL;
    int found = scandir(folder, &entries, NULL, alphasort);
    bool fine = found >= 0 || errno != ENOMEM;
    char **names = fine ? calloc((size_t)(found > 0 ? found : 0) + 1, sizeof *names) : NULL;
    *count = 0;
    for (int i = 0; i < found; i++) {
        if (names && fine && is_model_name(entries[i]->d_name)) {
            fine = (names[*count] = strdup(entries[i]->d_name)) != NULL;
            *count += fine;
        }
        free(entries[i]);
    }
    free(entries);
    if (fine) return names;
    ci_models_list_free(names);
    *count = 0;
    return NULL;
}

void ci_models_list_free(char **names) {
    for (size_t i = 0; names && names[i]; i++) free(names[i]);
    free(names);
}

/* How many models lie in the folder; the first names, separated by commas, in `list`, and one of them in `name`. */
static enum clinfer_status list_models(const char *folder, char *list, size_t list_bytes, char *name, size_t name_bytes,
                                       size_t *count) {
    char **names = ci_models_list(folder, count);
    if (!names) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", folder);
    list[0] = 0;
    for (size_t i = 0; i < *count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, list_bytes - used, "%s%s", i ? ", " : "", names[i]);
        if (!i) snprintf(name, name_bytes, "%s", names[i]);
    }
    ci_models_list_free(names);
    return CLINFER_OK;
}

static enum clinfer_status set_path(struct ci_model_choice *choice, const char *why, const char *folder,
                                    const char *name, const char *extension) {
    free(choice->path);
    size_t bytes = strlen(folder) + strlen(name) + strlen(extension) + 2;
    choice->path = malloc(bytes);
    choice->why = why;
    if (!choice->path) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    snprintf(choice->path, bytes, "%s%s%s%s", folder, *folder ? "/" : "", name, extension);
    return CLINFER_OK;
}

static enum clinfer_status not_found(const char *wanted, const char *folder) {
    char list[512], name[256];
    size_t count;
    enum clinfer_status status = list_models(folder, list, sizeof list, name, sizeof name, &count);
    if (status != CLINFER_OK) return status;
    if (count)
        return ci_fail(CLINFER_NOT_FOUND, "%s: no such model; in %s there %s: %s. Choose one with -m, or give a path",
                       wanted, folder, count == 1 ? "is" : "are", list);
    return ci_fail(CLINFER_NOT_FOUND,
                   "%s: no such model, and none in %s. `make run` or `scripts/fetch_model.sh` in clinfer's source "
                   "folder fetches the default model; -m takes the path of any GGUF file",
                   wanted, folder);
}

static enum clinfer_status choose_named(const char *wanted, const char *why, const char *folder,
                                        struct ci_model_choice *choice) {
    enum clinfer_status status = set_path(choice, why, "", wanted, "");
    if (status != CLINFER_OK || exists(choice->path)) return status;
    if (strchr(wanted, '/')) return not_found(wanted, folder);
    status = set_path(choice, why, folder, wanted, "");
    if (status != CLINFER_OK || exists(choice->path)) return status;
    status = set_path(choice, why, folder, wanted, ".gguf");
    if (status != CLINFER_OK || exists(choice->path)) return status;
    return not_found(wanted, folder);
}

static bool is_said(const char *text) { return text && *text; }

static enum clinfer_status choose(const char *wanted, const char *variable, const char *configured, const char *folder,
                                  struct ci_model_choice *choice) {
    enum clinfer_status status;
    if (wanted && !*wanted) return ci_fail(CLINFER_INVALID_ARGUMENT, "-m: the name of the model is empty");
    if (wanted) return choose_named(wanted, "given", folder, choice);
    if (is_said(variable)) {
        status = choose_named(variable, "CLINFER_MODEL", folder, choice);
        return status == CLINFER_NOT_FOUND ? ci_fail_prefix(status, "CLINFER_MODEL") : status;
    }
    if (configured) {
        status = choose_named(configured, "config.json", folder, choice);
        return status == CLINFER_NOT_FOUND ? ci_fail_prefix(status, "config.json") : status;
    }
    char list[512], name[256] = "";
    size_t count;
    status = list_models(folder, list, sizeof list, name, sizeof name, &count);
    if (status != CLINFER_OK) return status;
    if (count == 1)
        status = set_path(choice, "the only model there is", folder, name, "");
    else
        status = set_path(choice, "the default model", folder, default_model, "");
    return status == CLINFER_OK && !exists(choice->path) ? not_found(default_model, folder) : status;
}

enum clinfer_status ci_models_choose(const char *wanted, struct ci_model_choice *choice) {
    *choice = (struct ci_model_choice){0};
    char *folder = ci_file_xdg("DATA", "models");
    if (!folder && ci_file_no_xdg("DATA", "models") == CLINFER_OUT_OF_MEMORY) return CLINFER_OUT_OF_MEMORY;
    const char *where = folder ? folder : "(no models folder: neither XDG_DATA_HOME nor HOME is set)";
    const char *variable = getenv("CLINFER_MODEL");
    struct ci_config config = {0};
    enum clinfer_status status = wanted || is_said(variable) ? CLINFER_OK : ci_config_read(&config);
    if (status == CLINFER_OK) status = choose(wanted, variable, config.model, where, choice);
    ci_config_free(&config);
    free(folder);
    return status;
}

void ci_models_free(struct ci_model_choice *choice) {
    free(choice->path);
    *choice = (struct ci_model_choice){0};
}
