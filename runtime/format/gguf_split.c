/* gguf_split.c: a model in several GGUF files, as llama.cpp's llama-gguf-split cuts one: NAME-00001-of-00003.gguf and
 * so on, each with its number and their count; the first has all metadata, each has some of the tensors. The parts are
 * read one by one as every GGUF file is, and become one `struct ci_gguf` with the files of all. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf_private.h"
#include "format/kind.h"

enum { MOST_PARTS = 99999 }; /* as many as five digits name */

struct split {
    int64_t number, count, tensors; /* from 0; tensors of all parts, -1: not said */
};

static enum clinfer_status read_split(const struct ci_gguf *gguf, struct split *split) {
    *split = (struct split){.count = 1, .tensors = -1};
    enum clinfer_status status = ci_gguf_get_i64(gguf, "split.count", CI_GGUF_OPTIONAL, &split->count);
    if (status == CLINFER_OK) status = ci_gguf_get_i64(gguf, "split.no", CI_GGUF_OPTIONAL, &split->number);
    if (status == CLINFER_OK) status = ci_gguf_get_i64(gguf, "split.tensors.count", CI_GGUF_OPTIONAL, &split->tensors);
    if (status != CLINFER_OK || split->count <= 1) return status;
    if (split->count > MOST_PARTS)
        return ci_fail(CLINFER_BAD_FILE, "%s: split.count: %" PRId64 ": must be no more than %d", gguf->path,
                       split->count, MOST_PARTS);
    if (split->number < 0 || split->number >= split->count)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: split.no: %" PRId64 ": must be between 0 and %" PRId64 ", one less than "
                       "split.count",
                       gguf->path, split->number, split->count - 1);
    return status;
}

/* The path of another part of the same model; the caller frees it. */
static char *path_of(const char *path, int64_t number, int64_t count) {
    int named, of;
    size_t length = ci_kind_split_name(path, &named, &of);
    char *other = NULL;
    if (asprintf(&other, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", ci_narrowed((int64_t)length), path, number + 1,
                 count) < 0)
        return NULL;
    return other;
}

/* That its name is the one by which the others are found. */
static enum clinfer_status check_name(const struct ci_gguf *gguf, const struct split *split) {
    int number, count;
    if (ci_kind_split_name(gguf->path, &number, &count) && number == split->number + 1 && count == split->count)
        return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: by what stands in it this is part %" PRId64 " of %" PRId64 " of a split model (split.no, "
                   "split.count), and not by its name: call the parts NAME-%05" PRId64 "-of-%05" PRId64
                   ".gguf as they were, so that each is found",
                   gguf->path, split->number + 1, split->count, split->number + 1, split->count);
}

/* Part `number`, itself alone, of the model that `asked` is a part of. */
static enum clinfer_status open_part(const struct ci_gguf *asked, int64_t number, int64_t count,
                                     struct ci_gguf **part) {
    char *path = path_of(asked->path, number, count);
    if (!path) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", asked->path);
    enum clinfer_status status = ci_gguf_open_alone(path, part);
    if (status == CLINFER_NOT_FOUND)
        ci_fail(status,
                "%s: there is no such file, which is part %" PRId64 " of the %" PRId64 " of the model that %s belongs "
                "to (split.count): fetch it into the same folder",
                path, number + 1, count, asked->path);
    free(path);
    return status;
}

/* That the part says of the model what the first one says. What is in both has to be the same, but for its number. */
static enum clinfer_status check_part(const struct ci_gguf *first, const struct ci_gguf *part,
                                      const struct split *expected) {
    struct split split;
    enum clinfer_status status = read_split(part, &split);
    if (status != CLINFER_OK) return status;
    if (split.count != expected->count)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: split.count: %" PRId64 ": %s says %" PRId64 ": these are parts of different models",
                       part->path, split.count, first->path, expected->count);
    if (split.number != expected->number)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: split.no: %" PRId64 ": its name says that it is part %" PRId64 ", which is number %" PRId64
                       " here: give the parts the names that they had",
                       part->path, split.number, expected->number + 1, expected->number);
    for (size_t i = 0; i < part->n_values; i++) {
        const struct ci_gguf_value *value = &part->values[i], *other = ci_gguf_find(first, value->key);
        if (!other || strcmp(value->key, "split.no") == 0) continue;
        if (value->type != other->type || value->bytes != other->bytes ||
            memcmp(value->data, other->data, value->bytes) != 0)
            return ci_fail(CLINFER_BAD_FILE, "%s: %.200s: is another than in %s: these are parts of different models",
                           part->path, value->key, first->path);
    }
    return CLINFER_OK;
}

/* What the parts have becomes gguf's: their files, and tensors with names of its own. */
static enum clinfer_status join(struct ci_gguf *gguf, struct ci_gguf **parts, size_t count) {
    size_t tensors = gguf->n_tensors, at = gguf->n_tensors;
    for (size_t i = 0; i < count; i++) tensors += parts[i]->n_tensors;
    struct ci_gguf_tensor *all = ci_arena_array(&gguf->arena, tensors + 1, sizeof *all);
    gguf->by_name = ci_arena_array(&gguf->arena, tensors + 1, sizeof *gguf->by_name);
    bool fine = all && gguf->by_name;
    if (fine && at) memcpy(all, gguf->tensors, at * sizeof *all);
    for (size_t i = 0; i < count && fine; i++) {
        for (size_t k = 0; k < parts[i]->n_tensors && fine; k++) {
            const struct ci_gguf_tensor *tensor = &parts[i]->tensors[k];
            all[at] = *tensor;
            all[at].name = ci_arena_string(&gguf->arena, tensor->name, strlen(tensor->name));
            fine = all[at++].name != NULL;
        }
        fine = fine && ci_gguf_take_files(gguf, parts[i]) == CLINFER_OK;
    }
    if (!fine) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for %zu tensors", gguf->path, tensors);
    gguf->tensors = all;
    gguf->n_tensors = tensors;
    const char *twice = ci_gguf_sort_tensors(gguf);
    if (twice)
        return ci_fail(CLINFER_BAD_FILE, "%s: tensor %.200s: stands in two parts: these are parts of different models",
                       gguf->path, twice);
    return CLINFER_OK;
}

/* The parts behind the first one, and what they have in all. */
static enum clinfer_status add_parts(struct ci_gguf *gguf, struct split *split) {
    size_t wanted = (size_t)split->count - 1, count = 0;
    struct ci_gguf **parts = calloc(wanted, sizeof(struct ci_gguf *));
    if (!parts) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for %zu parts", gguf->path, wanted);
    enum clinfer_status status = CLINFER_OK;
    while (count < wanted && status == CLINFER_OK) {
        split->number = (int64_t)count + 1;
        status = open_part(gguf, split->number, split->count, &parts[count]);
        if (status == CLINFER_OK) status = check_part(gguf, parts[count++], split);
    }
    if (status == CLINFER_OK) status = join(gguf, parts, count);
    for (size_t i = 0; i < count; i++) ci_gguf_close(parts[i]);
    free(parts);
    if (status == CLINFER_OK && split->tensors >= 0 && (uint64_t)split->tensors != gguf->n_tensors)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: split.tensors.count: %" PRId64 ": the %" PRId64 " parts have %zu tensors: one of them is "
                       "another model's, or was badly made: fetch them again",
                       gguf->path, split->tensors, split->count, gguf->n_tensors);
    return status;
}

enum clinfer_status ci_gguf_join_parts(struct ci_gguf **gguf) {
    struct split split;
    struct ci_gguf *first = *gguf;
    enum clinfer_status status = read_split(first, &split);
    if (status == CLINFER_OK && split.count <= 1) return CLINFER_OK;
    if (status == CLINFER_OK) status = check_name(first, &split);
    if (status == CLINFER_OK && split.number > 0) {
        const struct split expected = {.count = split.count};
        status = open_part(*gguf, 0, split.count, &first);
        if (status == CLINFER_OK) status = check_part(*gguf, first, &expected);
        ci_gguf_close(*gguf);
    }
    if (status == CLINFER_OK) status = add_parts(first, &split);
    *gguf = status == CLINFER_OK ? first : NULL;
    if (status != CLINFER_OK) ci_gguf_close(first);
    return status;
}
