#define _GNU_SOURCE
#include "cli/models.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/config.h"
#include "format/folder.h"
#include "format/kind.h"

static const char default_model[] = "smollm2-135m-instruct-q4_1.gguf";

enum { MAX_DEPTH = 8, MAX_FOLDERS = 1000 };

/* ---- what there is ---- */

static bool is_folder(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* A file, whatever is in it, or a folder with SafeTensors. */
static bool is_model(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && (!S_ISDIR(status.st_mode) || ci_folder_is(path));
}

/* How many bytes of it are ".gguf" in whatever case; 0 where it has none. */
static size_t extension_of(const char *name) {
    size_t length = strlen(name);
    return length > 5 && strcasecmp(name + length - 5, ".gguf") == 0 ? 5 : 0;
}

/* A walk through the models folder. Links are followed, and a folder is looked into once, by whatever ways one gets
 * there. */
struct walk {
    const char *root;
    char **names; /* [count], NULL behind the last */
    size_t count;
    struct {
        dev_t device;
        ino_t number;
    } seen[MAX_FOLDERS];
    int seen_count;
};

static bool add_name(struct walk *walk, const char *name) {
    char **grown = realloc(walk->names, (walk->count + 2) * sizeof *grown);
    if (!grown) return false;
    walk->names = grown;
    walk->names[walk->count + 1] = NULL;
    walk->names[walk->count] = strdup(name);
    return walk->names[walk->count] && ++walk->count;
}

static bool is_new(struct walk *walk, const char *path) {
    struct stat status;
    if (walk->seen_count == MAX_FOLDERS || stat(path, &status) != 0) return false;
    for (int i = 0; i < walk->seen_count; i++)
        if (walk->seen[i].device == status.st_dev && walk->seen[i].number == status.st_ino) return false;
    walk->seen[walk->seen_count].device = status.st_dev;
    walk->seen[walk->seen_count++].number = status.st_ino;
    return true;
}

/* A split model is called as its first part is. */
static bool is_later_part(const char *name) {
    int number, count;
    return ci_kind_split_name(name, &number, &count) && number > 1;
}

static bool walk_folder(struct walk *walk, const char *below, int depth);

/* One entry of a folder, if it is a folder or none as wanted: it is a model, or there may be some in it. */
static bool visit(struct walk *walk, const char *below, const char *name, bool folder, int depth) {
    char *path = NULL, *inner = NULL;
    bool fine = asprintf(&path, "%s/%s%s", walk->root, below, name) >= 0;
    if (!fine) return false;
    if (asprintf(&inner, "%s%s", below, name) < 0) inner = NULL;
    bool wanted = is_folder(path) == folder;
    fine = inner && (!wanted || (folder && !ci_folder_is(path)) || add_name(walk, inner));
    free(inner);
    if (fine && wanted && folder && depth < MAX_DEPTH) {
        fine = asprintf(&inner, "%s%s/", below, name) >= 0 && walk_folder(walk, inner, depth + 1);
        free(inner);
    }
    free(path);
    return fine;
}

/* The models of a folder first, then those below it. `below` is its path from the root, ending with '/' unless it is
 * the root. False: out of memory. */
static bool walk_folder(struct walk *walk, const char *below, int depth) {
    char *path = NULL;
    struct dirent **entries = NULL;
    if (asprintf(&path, "%s/%s", walk->root, below) < 0) return false;
    int found = is_new(walk, path) ? scandir(path, &entries, NULL, alphasort) : 0;
    bool fine = found >= 0 || errno != ENOMEM;
    free(path);
    for (int folders = 0; folders < 2; folders++)
        for (int i = 0; i < found && fine; i++) {
            const char *name = entries[i]->d_name;
            bool file = extension_of(name) && !is_later_part(name);
            if (name[0] != '.' && (folders || file)) fine = visit(walk, below, name, folders == 1, depth);
        }
    for (int i = 0; i < found; i++) free(entries[i]);
    free(entries);
    return fine;
}

char **ci_models_list(const char *folder, size_t *count) {
    struct walk *walk = calloc(1, sizeof *walk);
    char **names = NULL;
    *count = 0;
    if (!walk) return NULL;
    walk->root = folder;
    walk->names = calloc(1, sizeof *walk->names);
    if (walk->names && walk_folder(walk, "", 0)) {
        names = walk->names;
        *count = walk->count;
    } else {
        ci_models_list_free(walk->names);
    }
    free(walk);
    return names;
}

void ci_models_list_free(char **names) {
    for (size_t i = 0; names && names[i]; i++) free(names[i]);
    free(names);
}

/* ---- which of them is meant ---- */

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

/* By its path from the models folder or its name alone, with or without ".gguf". */
static bool is_meant(const char *name, const char *wanted) {
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    size_t length = strlen(wanted), end = strlen(name) - extension_of(name), base_end = end - (size_t)(base - name);
    return strcmp(name, wanted) == 0 || strcmp(base, wanted) == 0 ||
           (length == end && memcmp(name, wanted, length) == 0) ||
           (length == base_end && memcmp(base, wanted, length) == 0);
}

/* Those that `wanted` may mean, all of them where it is NULL, as messages name them. */
static size_t list_meant(char *const *names, const char *wanted, char *list, size_t bytes, size_t *last) {
    size_t count = 0;
    list[0] = 0;
    for (size_t i = 0; names[i]; i++) {
        if (wanted && !is_meant(names[i], wanted)) continue;
        size_t used = strlen(list);
        snprintf(list + used, bytes - used, "%s%s", count++ ? ", " : "", names[i]);
        *last = i;
    }
    return count;
}

static enum clinfer_status no_memory(const char *folder) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for the list of models", folder);
}

static enum clinfer_status not_found(const char *wanted, const char *folder, char *const *names) {
    char list[512];
    size_t last, count = list_meant(names, NULL, list, sizeof list, &last);
    if (count)
        return ci_fail(CLINFER_NOT_FOUND, "%s: no such model; in %s there %s: %s. Choose one with -m, or give a path",
                       wanted, folder, count == 1 ? "is" : "are", list);
    return ci_fail(
        CLINFER_NOT_FOUND,
        "%s: no such model, and none in %s. `make run` or `scripts/fetch_model.sh` in clinfer's source "
        "folder fetches the default model; -m takes the path of any GGUF file, or of a folder with SafeTensors",
        wanted, folder);
}

static enum clinfer_status choose_listed(const char *wanted, const char *why, const char *folder, char *const *names,
                                         struct ci_model_choice *choice) {
    char list[512];
    size_t last, count = list_meant(names, wanted, list, sizeof list, &last);
    if (count == 1) return set_path(choice, why, folder, names[last], "");
    if (count > 1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: in %s that may be any of: %s. Give one of these names", wanted,
                       folder, list);
    return not_found(wanted, folder, names);
}

/* One in the models folder or below it: what lies in the folder itself goes before what has the same name below. */
static enum clinfer_status choose_there(const char *wanted, const char *why, const char *folder,
                                        struct ci_model_choice *choice) {
    static const char *const extensions[] = {"", ".gguf"};
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions && wanted[0] != '/'; i++) {
        enum clinfer_status status = set_path(choice, why, folder, wanted, extensions[i]);
        if (status != CLINFER_OK || is_model(choice->path)) return status;
    }
    size_t count;
    char **names = ci_models_list(folder, &count);
    enum clinfer_status status = names ? choose_listed(wanted, why, folder, names, choice) : no_memory(folder);
    ci_models_list_free(names);
    return status;
}

/* Why there is nothing at a path, where that is not plainly because nobody put it there. */
static enum clinfer_status tell_why(const char *wanted) {
    struct stat status;
    if (stat(wanted, &status) == 0) return CLINFER_OK;
    int why = errno;
    if (why == ENOENT && lstat(wanted, &status) == 0)
        return ci_fail(CLINFER_NOT_FOUND, "%s: a link to a file that is not there; give -m the path of a GGUF file",
                       wanted);
    if (why == ENOTDIR)
        return ci_fail(CLINFER_NOT_FOUND, "%s: no such model: what stands before a '/' in it is a file, not a folder",
                       wanted);
    if (why == EACCES || why == ELOOP)
        return ci_fail(CLINFER_IO, "%s: cannot be reached: %s; give -m the path of a GGUF file", wanted, strerror(why));
    return CLINFER_OK;
}

/* A folder without a model that happens to have the name is what was meant only if there is nothing else. */
static enum clinfer_status choose_named(const char *wanted, const char *why, const char *folder,
                                        struct ci_model_choice *choice) {
    if (is_model(wanted)) return set_path(choice, why, "", wanted, "");
    enum clinfer_status status = is_folder(wanted) ? CLINFER_OK : ci_kind_check_path(wanted);
    if (status == CLINFER_OK) status = choose_there(wanted, why, folder, choice);
    if (status == CLINFER_NOT_FOUND && is_folder(wanted)) return set_path(choice, why, "", wanted, "");
    if (status != CLINFER_NOT_FOUND) return status;
    enum clinfer_status told = tell_why(wanted);
    return told == CLINFER_OK ? status : told;
}

/* The only one, or the default one. */
static enum clinfer_status choose_default(const char *folder, struct ci_model_choice *choice) {
    size_t count;
    char **names = ci_models_list(folder, &count);
    enum clinfer_status status = !names       ? no_memory(folder)
                                 : count == 1 ? set_path(choice, "the only model there is", folder, names[0], "")
                                              : choose_there(default_model, "the default model", folder, choice);
    ci_models_list_free(names);
    return status;
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
    return choose_default(folder, choice);
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
