/* folder.c: see folder.h. The index decides which files make the model where there is one; else it is
 * model.safetensors, else the only .safetensors that there is. */
#define _GNU_SOURCE
#include "format/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/names.h"
#include "base/status.h"
#include "format/json.h"
#include "format/kind.h"

enum { MAX_CONFIG = 16 << 20, MAX_INDEX = 64 << 20, MAX_FILES = 4096 };

static const char config_name[] = "config.json", index_name[] = "model.safetensors.index.json",
                  usual_name[] = "model.safetensors", extension[] = ".safetensors";

/* ---- paths ---- */

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_weights(const char *name) {
    size_t length = strlen(name), wanted = sizeof extension - 1;
    return name[0] != '.' && length > wanted && strcmp(name + length - wanted, extension) == 0;
}

static bool is_kind(const char *path, mode_t kind) {
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

static int is_entry(const struct dirent *entry) { return is_weights(entry->d_name); }

/* The .safetensors of a folder in the order of their names; -1: it cannot be read. */
static int list_weights(const char *path, struct dirent ***entries) {
    *entries = NULL;
    return scandir(path, entries, is_entry, alphasort);
}

static void free_list(struct dirent **entries, int count) {
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
}

bool ci_folder_is(const char *path) {
    const char *base = base_of(path);
    if (is_kind(path, S_IFREG))
        return is_weights(base) || strcmp(base, config_name) == 0 || strcmp(base, index_name) == 0;
    if (!is_kind(path, S_IFDIR)) return false;
    bool found = false;
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && !found && (entry = readdir(folder));) found = is_weights(entry->d_name);
    if (folder) closedir(folder);
    return found;
}

const char *ci_folder_path(const struct ci_folder *folder, const char *name) {
    char *path;
    if (asprintf(&path, "%s/%s", folder->path, name) < 0) return NULL;
    const char *kept = ci_gguf_make_text(folder->maker, path);
    free(path);
    return kept;
}

/* The folder of what the user named: without a '/' behind it, "." where it is the current one. */
static const char *folder_of(struct ci_gguf_maker *maker, const char *path) {
    size_t length = strlen(path);
    if (!is_kind(path, S_IFDIR)) length = (size_t)(base_of(path) - path);
    while (length > 1 && path[length - 1] == '/') length--;
    return length ? ci_arena_string(&maker->gguf->arena, path, length) : ci_gguf_make_text(maker, ".");
}

static enum clinfer_status out_of_memory(const struct ci_folder *folder) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", folder->maker->gguf->path);
}

/* ---- JSON files ---- */

enum clinfer_status ci_folder_json(const struct ci_folder *folder, const char *name, const char **path,
                                   json_t **object) {
    *object = NULL;
    *path = ci_folder_path(folder, name);
    if (!*path) return out_of_memory(folder);
    enum clinfer_status status = ci_json_read(*path, MAX_CONFIG, object);
    return status == CLINFER_NOT_FOUND ? CLINFER_OK : status;
}

static enum clinfer_status read_config(struct ci_folder *folder) {
    enum clinfer_status status = ci_folder_json(folder, config_name, &folder->config_path, &folder->config);
    if (status != CLINFER_OK || folder->config) return status;
    const char *adapter = ci_folder_path(folder, "adapter_config.json");
    if (adapter && is_kind(adapter, S_IFREG))
        return ci_fail(CLINFER_UNSUPPORTED,
                       "%s: this is an adapter (LoRA): a change to a model, and none itself: clinfer applies no "
                       "adapters; merge it into its model, and give -m the folder of the result",
                       folder->path);
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: is missing: SafeTensors weights are half a model; fetch config.json and the other files of its "
                   "repository into the same folder",
                   folder->config_path);
}

/* ---- weights ---- */

/* Which files; an array of their names. */
static enum clinfer_status read_index(const struct ci_folder *folder, const char *path, const json_t *index,
                                      json_t *names) {
    char text[CI_JSON_SHOWN];
    json_t *map = json_object_get(index, "weight_map"), *value;
    const char *tensor;
    if (!json_is_object(map))
        return ci_fail(CLINFER_BAD_FILE, "%s: weight_map: %s: must be an object", path, ci_json_shown(map, text));
    json_object_foreach(map, tensor, value) {
        const char *name = json_string_value(value);
        if (!ci_json_is_printable(tensor))
            return ci_fail(CLINFER_BAD_FILE, "%s: weight_map: a name in it has control characters: it is damaged",
                           path);
        if (!name || !ci_json_is_printable(name) || !is_weights(name) || strchr(name, '/'))
            return ci_fail(CLINFER_BAD_FILE,
                           "%s: weight_map: %.200s: %s: must be the name of a .safetensors file in the "
                           "same folder",
                           path, tensor, ci_json_shown(value, text));
        size_t i = 0;
        while (i < json_array_size(names) && strcmp(json_string_value(json_array_get(names, i)), name) != 0) i++;
        if (i == MAX_FILES) return ci_fail(CLINFER_UNSUPPORTED, "%s: weight_map: more than %d files", path, MAX_FILES);
        if (i == json_array_size(names) && json_array_append(names, value) != 0) return out_of_memory(folder);
    }
    if (json_array_size(names)) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: weight_map: is empty: it must say which file each tensor is in", path);
}

/* Without an index. `wanted`: the file that the user named, or NULL. */
static enum clinfer_status choose_file(const struct ci_folder *folder, const char *wanted, json_t *names) {
    struct dirent **entries;
    char list[512] = "";
    const char *chosen = wanted;
    int count = list_weights(folder->path, &entries);
    for (int i = 0; i < count; i++) {
        if (!wanted && (count == 1 || strcmp(entries[i]->d_name, usual_name) == 0)) chosen = entries[i]->d_name;
        ci_names_add(list, sizeof list, entries[i]->d_name);
    }
    enum clinfer_status status = CLINFER_OK;
    if (count < 0)
        status = ci_fail(errno == ENOMEM ? CLINFER_OUT_OF_MEMORY : CLINFER_IO, "%s: the folder cannot be read: %s",
                         folder->path, strerror(errno));
    else if (!chosen && count == 0)
        status = ci_fail(CLINFER_BAD_FILE, "%s: there are no .safetensors files in this folder: fetch them, too",
                         folder->path);
    else if (!chosen)
        status = ci_fail(CLINFER_BAD_FILE,
                         "%s: is missing, and which of these files belong together only it says: %s; fetch it, or give "
                         "-m one of them",
                         ci_folder_path(folder, index_name), list);
    else if (json_array_append_new(names, json_string(chosen)) != 0)
        status = out_of_memory(folder);
    free_list(entries, count);
    return status;
}

static enum clinfer_status map_file(struct ci_folder *folder, const char *name, const char *index_path) {
    const char *path = ci_folder_path(folder, name);
    struct ci_gguf *gguf = folder->maker->gguf;
    if (!path) return out_of_memory(folder);
    enum clinfer_status status = ci_gguf_add_file(gguf, path);
    if (status == CLINFER_NOT_FOUND && index_path)
        return ci_fail(CLINFER_BAD_FILE, "%s: weight_map: %s: there is no such file in the folder: fetch it, too",
                       index_path, name);
    if (status != CLINFER_OK) return status;
    struct ci_safetensors found;
    const struct ci_file *file = &gguf->files[gguf->n_files - 1].mapped.file;
    if (!ci_safetensors_is(file->data, file->size)) status = ci_kind_check_bytes(path, file->data, file->size);
    if (status == CLINFER_OK) status = ci_safetensors_read(path, file->data, file->size, &gguf->arena, &found);
    if (status != CLINFER_OK) return status;
    struct ci_safetensors_tensor *all = ci_gguf_make_array(folder->maker, folder->count + found.count + 1, sizeof *all);
    if (!all) return out_of_memory(folder);
    if (folder->count) memcpy(all, folder->tensors, folder->count * sizeof *all);
    if (found.count) memcpy(all + folder->count, found.tensors, found.count * sizeof *all);
    for (size_t i = 0; i < found.count; i++) all[folder->count + i].file = gguf->n_files - 1;
    folder->tensors = all;
    folder->count += found.count;
    return CLINFER_OK;
}

static int compare(const void *a, const void *b) {
    return strcmp(((const struct ci_safetensors_tensor *)a)->name, ((const struct ci_safetensors_tensor *)b)->name);
}

static enum clinfer_status sort(struct ci_folder *folder) {
    qsort(folder->tensors, folder->count, sizeof *folder->tensors, compare);
    for (size_t i = 1; i < folder->count; i++)
        if (compare(&folder->tensors[i - 1], &folder->tensors[i]) == 0)
            return ci_fail(CLINFER_BAD_FILE, "%s: tensor %s: stands in %s, too",
                           ci_folder_file_of(folder, &folder->tensors[i]), folder->tensors[i].name,
                           base_of(ci_folder_file_of(folder, &folder->tensors[i - 1])));
    return CLINFER_OK;
}

/* Each tensor is in the file that the index says. */
static enum clinfer_status check_index(const struct ci_folder *folder, const char *path, const json_t *index) {
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(index, "weight_map"), name, value) {
        const struct ci_safetensors_tensor *tensor = ci_folder_find(folder, name);
        const char *file = json_string_value(value);
        if (!tensor || strcmp(base_of(ci_folder_file_of(folder, tensor)), file) != 0)
            return ci_fail(CLINFER_BAD_FILE,
                           "%s: weight_map: %.200s: is not in %s: the files do not belong together, or one of them is "
                           "damaged; fetch them again",
                           path, name, file);
    }
    return CLINFER_OK;
}

/* A file that the user named and that the index does not list is a model of its own. */
static bool lists(const json_t *names, const char *wanted) {
    if (!wanted || json_array_size(names) == 0) return true;
    for (size_t i = 0; i < json_array_size(names); i++)
        if (strcmp(json_string_value(json_array_get(names, i)), wanted) == 0) return true;
    return false;
}

static enum clinfer_status map_weights(struct ci_folder *folder, const char *wanted, json_t **index, json_t *names) {
    const char *path = ci_folder_path(folder, index_name);
    if (!path || !names) return out_of_memory(folder);
    enum clinfer_status status = ci_json_read(path, MAX_INDEX, index);
    if (status == CLINFER_NOT_FOUND) status = CLINFER_OK;
    if (status == CLINFER_OK && *index) status = read_index(folder, path, *index, names);
    bool indexed = *index && lists(names, wanted);
    if (!indexed) json_array_clear(names);
    if (status == CLINFER_OK && !indexed) status = choose_file(folder, wanted, names);
    for (size_t i = 0; i < json_array_size(names) && status == CLINFER_OK; i++)
        status = map_file(folder, json_string_value(json_array_get(names, i)), indexed ? path : NULL);
    if (status == CLINFER_OK) status = sort(folder);
    return status == CLINFER_OK && indexed ? check_index(folder, path, *index) : status;
}

enum clinfer_status ci_folder_open(const char *path, struct ci_folder *folder) {
    *folder = (struct ci_folder){0};
    enum clinfer_status status = ci_gguf_maker_create(path, &folder->maker);
    if (status != CLINFER_OK) return status;
    const char *wanted = is_kind(path, S_IFREG) && is_weights(base_of(path)) ? base_of(path) : NULL;
    json_t *index = NULL, *names = json_array();
    folder->path = folder_of(folder->maker, path);
    folder->maker->gguf->folder = folder->path;
    if (!folder->path) status = out_of_memory(folder);
    if (status == CLINFER_OK) status = read_config(folder);
    if (status == CLINFER_OK) status = map_weights(folder, wanted, &index, names);
    json_decref(index);
    json_decref(names);
    if (status != CLINFER_OK) ci_folder_close(folder);
    return status;
}

void ci_folder_end(struct ci_folder *folder) {
    json_decref(folder->config);
    *folder = (struct ci_folder){0};
}

void ci_folder_close(struct ci_folder *folder) {
    struct ci_gguf *gguf = folder->maker ? folder->maker->gguf : NULL;
    ci_folder_end(folder);
    ci_gguf_close(gguf);
}

/* ---- tensors ---- */

const struct ci_safetensors_tensor *ci_folder_find(const struct ci_folder *folder, const char *name) {
    const struct ci_safetensors_tensor wanted = {.name = name};
    if (folder->count == 0) return NULL;
    return bsearch(&wanted, folder->tensors, folder->count, sizeof *folder->tensors, compare);
}

const char *ci_folder_file_of(const struct ci_folder *folder, const struct ci_safetensors_tensor *tensor) {
    return folder->maker->gguf->files[tensor->file].path;
}
