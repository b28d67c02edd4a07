/* gguf_source.c: what does not depend on the format that a `struct ci_gguf` was read from: its files, how names are
 * looked up, and how messages name what they are about. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "format/gguf_private.h"

/* ---- files ---- */

static enum clinfer_status out_of_memory(const char *path) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
}

enum clinfer_status ci_gguf_create(const char *path, struct ci_gguf **result) {
    struct ci_gguf *gguf = calloc(1, sizeof *gguf);
    *result = gguf;
    if (!gguf) return out_of_memory(path);
    gguf->path = ci_arena_string(&gguf->arena, path, strlen(path));
    if (gguf->path) return CLINFER_OK;
    ci_gguf_close(gguf);
    *result = NULL;
    return out_of_memory(path);
}

/* Room for one more, which counts once it is filled. */
static struct ci_gguf_file *next_file(struct ci_gguf *gguf, const char *path) {
    struct ci_gguf_file *grown = realloc(gguf->files, (gguf->n_files + 1) * sizeof *grown);
    const char *kept = ci_arena_string(&gguf->arena, path, strlen(path));
    if (grown) gguf->files = grown;
    if (!grown || !kept) return NULL;
    grown[gguf->n_files] = (struct ci_gguf_file){.mapped = {.descriptor = -1, .slot = -1}, .path = kept};
    return &grown[gguf->n_files];
}

enum clinfer_status ci_gguf_add_file(struct ci_gguf *gguf, const char *path) {
    struct ci_gguf_file *file = next_file(gguf, path);
    enum clinfer_status status = file ? ci_mapped_open(path, &file->mapped) : out_of_memory(path);
    gguf->n_files += status == CLINFER_OK;
    return status;
}

enum clinfer_status ci_gguf_add_bytes(struct ci_gguf *gguf, const char *name, const void *data, size_t size) {
    struct ci_gguf_file *file = next_file(gguf, name);
    if (!file) return out_of_memory(name);
    file->mapped.file = (struct ci_file){.data = data, .size = size};
    gguf->n_files++;
    return CLINFER_OK;
}

enum clinfer_status ci_gguf_take_files(struct ci_gguf *gguf, struct ci_gguf *other) {
    while (other->n_files) {
        struct ci_gguf_file *from = &other->files[0], *to = next_file(gguf, from->path);
        if (!to) return out_of_memory(from->path);
        to->mapped = from->mapped;
        gguf->n_files++;
        memmove(from, from + 1, --other->n_files * sizeof *from);
    }
    return CLINFER_OK;
}

void ci_gguf_close(struct ci_gguf *gguf) {
    if (!gguf) return;
    for (size_t i = 0; i < gguf->n_files; i++)
        if (gguf->files[i].mapped.descriptor >= 0) ci_mapped_close(&gguf->files[i].mapped);
    free(gguf->files);
    ci_arena_destroy(&gguf->arena);
    free(gguf);
}

enum clinfer_status ci_gguf_check_whole(const struct ci_gguf *gguf) {
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < gguf->n_files && status == CLINFER_OK; i++)
        status = ci_mapped_check(&gguf->files[i].mapped, gguf->files[i].path);
    return status;
}

size_t ci_gguf_file_count(const struct ci_gguf *gguf) { return gguf->n_files; }

const struct ci_file *ci_gguf_file_at(const struct ci_gguf *gguf, size_t index) {
    assert(index < gguf->n_files);
    return &gguf->files[index].mapped.file;
}

int ci_gguf_descriptor_at(const struct ci_gguf *gguf, size_t index) {
    assert(index < gguf->n_files);
    return gguf->files[index].mapped.descriptor;
}

uint64_t ci_gguf_file_bytes(const struct ci_gguf *gguf) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < gguf->n_files; i++) bytes += gguf->files[i].mapped.file.size;
    return bytes;
}

/* Of one file its own, so that what is remembered under it stays. */
uint64_t ci_gguf_identity(const struct ci_gguf *gguf) {
    uint64_t identity = gguf->n_files ? gguf->files[0].mapped.file.identity : 0;
    for (size_t i = 1; i < gguf->n_files && identity; i++) {
        uint64_t other = gguf->files[i].mapped.file.identity;
        identity = other ? ci_hash(identity, &other, sizeof other) : 0;
    }
    return identity;
}

const char *ci_gguf_path(const struct ci_gguf *gguf) { return gguf->path; }

const char *ci_gguf_folder(const struct ci_gguf *gguf) { return gguf->folder; }

uint32_t ci_gguf_version(const struct ci_gguf *gguf) { return gguf->version; }

uint32_t ci_gguf_alignment(const struct ci_gguf *gguf) { return gguf->alignment; }

/* ---- names ---- */

static int compare_values(const void *a, const void *b) {
    return strcmp((*(const struct ci_gguf_value *const *)a)->key, (*(const struct ci_gguf_value *const *)b)->key);
}

static int compare_tensors(const void *a, const void *b) {
    return strcmp((*(const struct ci_gguf_tensor *const *)a)->name, (*(const struct ci_gguf_tensor *const *)b)->name);
}

const char *ci_gguf_sort_values(struct ci_gguf *gguf) {
    for (size_t i = 0; i < gguf->n_values; i++) gguf->by_key[i] = &gguf->values[i];
    if (gguf->n_values) qsort(gguf->by_key, gguf->n_values, sizeof *gguf->by_key, compare_values);
    for (size_t i = 1; i < gguf->n_values; i++)
        if (strcmp(gguf->by_key[i - 1]->key, gguf->by_key[i]->key) == 0) return gguf->by_key[i]->key;
    return NULL;
}

const char *ci_gguf_sort_tensors(struct ci_gguf *gguf) {
    for (size_t i = 0; i < gguf->n_tensors; i++) gguf->by_name[i] = &gguf->tensors[i];
    if (gguf->n_tensors) qsort(gguf->by_name, gguf->n_tensors, sizeof *gguf->by_name, compare_tensors);
    for (size_t i = 1; i < gguf->n_tensors; i++)
        if (strcmp(gguf->by_name[i - 1]->name, gguf->by_name[i]->name) == 0) return gguf->by_name[i]->name;
    return NULL;
}

size_t ci_gguf_value_count(const struct ci_gguf *gguf) { return gguf->n_values; }

const struct ci_gguf_value *ci_gguf_value_at(const struct ci_gguf *gguf, size_t index) {
    assert(index < gguf->n_values);
    return &gguf->values[index];
}

size_t ci_gguf_tensor_count(const struct ci_gguf *gguf) { return gguf->n_tensors; }

const struct ci_gguf_tensor *ci_gguf_tensor_at(const struct ci_gguf *gguf, size_t index) {
    assert(index < gguf->n_tensors);
    return &gguf->tensors[index];
}

const struct ci_gguf_value *ci_gguf_find(const struct ci_gguf *gguf, const char *key) {
    const struct ci_gguf_value wanted = {.key = key}, *pointer = &wanted;
    if (gguf->n_values == 0) return NULL;
    const struct ci_gguf_value **found =
        bsearch(&pointer, gguf->by_key, gguf->n_values, sizeof *gguf->by_key, compare_values);
    return found ? *found : NULL;
}

const struct ci_gguf_tensor *ci_gguf_find_tensor(const struct ci_gguf *gguf, const char *name) {
    const struct ci_gguf_tensor wanted = {.name = name}, *pointer = &wanted;
    if (gguf->n_tensors == 0) return NULL;
    const struct ci_gguf_tensor **found =
        bsearch(&pointer, gguf->by_name, gguf->n_tensors, sizeof *gguf->by_name, compare_tensors);
    return found ? *found : NULL;
}

/* ---- messages ---- */

struct ci_gguf_place ci_gguf_key_place(const struct ci_gguf *gguf, const char *key) {
    struct ci_gguf_place place = {.file = gguf->path};
    snprintf(place.name, sizeof place.name, "%s", key);
    if (gguf->naming) gguf->naming->key(gguf->naming, key, &place);
    return place;
}

const char *ci_gguf_file_holding(const struct ci_gguf *gguf, const void *data) {
    for (size_t i = 0; i < gguf->n_files; i++) {
        const struct ci_file *file = &gguf->files[i].mapped.file;
        if ((uintptr_t)data - (uintptr_t)file->data < file->size) return gguf->files[i].path;
    }
    return NULL;
}

/* That of several in which the tensor lies. */
static const char *file_of(const struct ci_gguf *gguf, const char *name) {
    bool several = gguf->n_files > 1 && !gguf->naming; /* which knows better */
    const struct ci_gguf_tensor *tensor = several ? ci_gguf_find_tensor(gguf, name) : NULL;
    const char *file = tensor ? ci_gguf_file_holding(gguf, tensor->data) : NULL;
    return file ? file : gguf->path;
}

struct ci_gguf_place ci_gguf_tensor_place(const struct ci_gguf *gguf, const char *name) {
    struct ci_gguf_place place = {.file = file_of(gguf, name)};
    snprintf(place.name, sizeof place.name, "%s", name);
    if (gguf->naming) gguf->naming->tensor(gguf->naming, name, &place);
    return place;
}
