/* gguf_make.c: see gguf_make.h. Values are stored as a file of GGUF stores them, so that nobody who reads them needs a
 * second way. Lists that grow leave their old memory behind until all is closed: a folder has some hundred of each. */
#include "format/gguf_make.h"

#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"

enum { FIRST_ROOM = 64, LENGTH_BYTES = 8 };

static void fail(struct ci_gguf_maker *maker) {
    if (maker->status == CLINFER_OK)
        maker->status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", maker->gguf->path);
}

void *ci_gguf_make_array(struct ci_gguf_maker *maker, size_t count, size_t size) {
    void *memory = ci_arena_array(&maker->gguf->arena, count, size);
    if (!memory) fail(maker);
    return memory;
}

const char *ci_gguf_make_text(struct ci_gguf_maker *maker, const char *text) {
    const char *kept = ci_arena_string(&maker->gguf->arena, text, strlen(text));
    if (!kept) fail(maker);
    return kept;
}

/* Room for one more; NULL: out of memory, the list is as before. */
static void *grown(struct ci_gguf_maker *maker, void *list, size_t count, size_t *room, size_t size) {
    if (count < *room) return list;
    size_t wanted = *room ? 2 * *room : FIRST_ROOM;
    void *memory = ci_gguf_make_array(maker, wanted, size);
    if (!memory) return NULL;
    if (count) memcpy(memory, list, count * size);
    *room = wanted;
    return memory;
}

/* ---- names ---- */

static void name_key(const struct ci_gguf_naming *naming, const char *key, struct ci_gguf_place *place) {
    const struct ci_gguf_maker *maker = (const struct ci_gguf_maker *)(const void *)naming;
    for (size_t i = 0; i < maker->key_count; i++)
        if (strcmp(maker->keys[i].name, key) == 0) {
            place->file = maker->keys[i].file;
            snprintf(place->name, sizeof place->name, "%s", maker->keys[i].own_name);
            return;
        }
}

static void name_tensor(const struct ci_gguf_naming *naming, const char *name, struct ci_gguf_place *place) {
    const struct ci_gguf_maker *maker = (const struct ci_gguf_maker *)(const void *)naming;
    for (size_t i = 0; i < maker->origin_count; i++)
        if (strcmp(maker->tensors[i].name, name) == 0) {
            place->file = maker->tensors[i].file;
            snprintf(place->name, sizeof place->name, "%s", maker->tensors[i].own_name);
            return;
        }
    if (maker->own_tensor_name) maker->own_tensor_name(maker, name, place->name, sizeof place->name);
}

enum clinfer_status ci_gguf_maker_create(const char *path, struct ci_gguf_maker **result) {
    struct ci_gguf *gguf;
    *result = NULL;
    enum clinfer_status status = ci_gguf_create(path, &gguf);
    if (status != CLINFER_OK) return status;
    struct ci_gguf_maker *maker = ci_arena_alloc(&gguf->arena, sizeof *maker);
    if (!maker) {
        ci_gguf_close(gguf);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    maker->naming = (struct ci_gguf_naming){name_key, name_tensor};
    maker->gguf = gguf;
    gguf->naming = &maker->naming;
    gguf->alignment = LENGTH_BYTES;
    *result = maker;
    return CLINFER_OK;
}

void ci_gguf_make_from(struct ci_gguf_maker *maker, const char *file, const char *own_name) {
    maker->file = file;
    maker->own_name = own_name;
}

void ci_gguf_make_absent(struct ci_gguf_maker *maker, const char *key) {
    if (!maker->own_name) return;
    struct ci_gguf_origin *list = grown(maker, maker->keys, maker->key_count, &maker->key_room, sizeof *maker->keys);
    const char *kept = ci_gguf_make_text(maker, key);
    if (!list || !kept) return;
    maker->keys = list;
    list[maker->key_count++] = (struct ci_gguf_origin){kept, maker->file, maker->own_name};
}

/* ---- values ---- */

static struct ci_gguf_value *add_value(struct ci_gguf_maker *maker, const char *key, bool array, enum ci_gguf_type type,
                                       size_t count, size_t bytes, uint8_t **data) {
    struct ci_gguf *gguf = maker->gguf;
    struct ci_gguf_value *list = grown(maker, gguf->values, gguf->n_values, &maker->value_room, sizeof *gguf->values);
    const char *kept = ci_gguf_make_text(maker, key);
    *data = ci_gguf_make_array(maker, bytes ? bytes : 1, 1);
    ci_gguf_make_absent(maker, key);
    if (!list || !kept || !*data) return NULL;
    gguf->values = list;
    struct ci_gguf_value *value = &list[gguf->n_values++];
    *value = (struct ci_gguf_value){.key = kept,
                                    .type = array ? CI_GGUF_ARRAY : type,
                                    .element_type = type,
                                    .count = count,
                                    .data = *data,
                                    .bytes = bytes};
    return value;
}

/* Little endian, as machines that clinfer runs on are, too (gguf.h). */
static void store(uint8_t *at, uint64_t bits) {
    for (size_t i = 0; i < LENGTH_BYTES; i++) at[i] = (uint8_t)(ci_low_bits(bits >> (8 * i)) & 0xff);
}

void ci_gguf_make_integers(struct ci_gguf_maker *maker, const char *key, bool array, const int64_t *numbers,
                           size_t count) {
    uint8_t *data;
    if (!add_value(maker, key, array, CI_GGUF_INT64, count, count * sizeof *numbers, &data)) return;
    for (size_t i = 0; i < count; i++) store(data + i * sizeof *numbers, (uint64_t)numbers[i]);
}

void ci_gguf_make_floats(struct ci_gguf_maker *maker, const char *key, bool array, const double *numbers,
                         size_t count) {
    uint8_t *data;
    if (!add_value(maker, key, array, CI_GGUF_FLOAT64, count, count * sizeof *numbers, &data)) return;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        store(data + i * sizeof bits, bits);
    }
}

void ci_gguf_make_bools(struct ci_gguf_maker *maker, const char *key, bool array, const bool *flags, size_t count) {
    uint8_t *data;
    if (!add_value(maker, key, array, CI_GGUF_BOOL, count, count, &data)) return;
    for (size_t i = 0; i < count; i++) data[i] = flags[i];
}

void ci_gguf_make_strings(struct ci_gguf_maker *maker, const char *key, bool array, const char *const *texts,
                          size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += LENGTH_BYTES + strlen(texts[i]);
    uint8_t *data;
    uint32_t *offsets = ci_gguf_make_array(maker, count ? count : 1, sizeof *offsets);
    struct ci_gguf_value *value =
        bytes <= UINT32_MAX ? add_value(maker, key, array, CI_GGUF_STRING, count, bytes, &data) : NULL;
    if (!offsets || !value) return;
    value->strings = offsets;
    for (size_t i = 0, at = 0; i < count; i++) {
        size_t length = strlen(texts[i]);
        offsets[i] = ci_narrowed_unsigned(at);
        store(data + at, length);
        memcpy(data + at + LENGTH_BYTES, texts[i], length);
        at += LENGTH_BYTES + length;
    }
}

/* ---- tensors ---- */

size_t ci_gguf_make_tensor(struct ci_gguf_maker *maker, const struct ci_gguf_tensor *tensor, const char *file,
                           const char *own_name) {
    struct ci_gguf *gguf = maker->gguf;
    struct ci_gguf_tensor *list =
        grown(maker, gguf->tensors, gguf->n_tensors, &maker->tensor_room, sizeof *gguf->tensors);
    struct ci_gguf_origin *origins =
        grown(maker, maker->tensors, maker->origin_count, &maker->origin_room, sizeof *maker->tensors);
    const char *kept = ci_gguf_make_text(maker, tensor->name);
    if (list) gguf->tensors = list;
    if (origins) maker->tensors = origins;
    if (!list || !origins || !kept) return SIZE_MAX;
    origins[maker->origin_count++] = (struct ci_gguf_origin){kept, file, own_name};
    list[gguf->n_tensors] = *tensor;
    list[gguf->n_tensors].name = kept;
    return gguf->n_tensors++;
}

struct ci_gguf_tensor *ci_gguf_make_tensor_at(struct ci_gguf_maker *maker, size_t index) {
    return index < maker->gguf->n_tensors ? &maker->gguf->tensors[index] : NULL;
}

static enum clinfer_status finish(struct ci_gguf_maker *maker) {
    struct ci_gguf *gguf = maker->gguf;
    gguf->by_key = ci_gguf_make_array(maker, gguf->n_values + 1, sizeof *gguf->by_key);
    gguf->by_name = ci_gguf_make_array(maker, gguf->n_tensors + 1, sizeof *gguf->by_name);
    if (maker->status != CLINFER_OK) return maker->status;
    const char *twice = ci_gguf_sort_values(gguf);
    if (twice) return ci_fail(CLINFER_BAD_FILE, "%s: %s: comes from two fields", CI_KEY_AT(gguf, twice));
    twice = ci_gguf_sort_tensors(gguf);
    if (!twice) return CLINFER_OK;
    const char *names[2] = {twice, twice};
    for (size_t i = 0, count = 0; i < maker->origin_count && count < 2; i++)
        if (strcmp(maker->tensors[i].name, twice) == 0) names[count++] = maker->tensors[i].own_name;
    return ci_fail(CLINFER_BAD_FILE, "%s: tensors %s and %s: both are the model's %s", gguf->path, names[0], names[1],
                   twice);
}

enum clinfer_status ci_gguf_make_finish(struct ci_gguf_maker *maker, struct ci_gguf **result) {
    struct ci_gguf *gguf = maker->gguf;
    enum clinfer_status status = finish(maker);
    *result = status == CLINFER_OK ? gguf : NULL;
    if (status != CLINFER_OK) ci_gguf_close(gguf);
    return status;
}
