/* gguf_make.h: the files of another format under GGUF's names: whoever reads models sees keys, values and tensors, and
 * need not know what they were read from. Messages about them name the files and names of the other format, since that
 * is what the user knows.
 *
 *     ci_gguf_maker_create("models/tiny", &maker);
 *     ci_gguf_add_file(maker->gguf, "models/tiny/model.safetensors");
 *     ci_gguf_make_integer(maker, "llama.block_count", 2);
 *     ci_gguf_make_tensor(maker, &tensor);
 *     ci_gguf_make_finish(maker, &gguf);
 *
 * Functions without a status remember the first failure for ci_gguf_make_finish(). */
#ifndef CI_FORMAT_GGUF_MAKE_H
#define CI_FORMAT_GGUF_MAKE_H

#include "format/gguf_private.h"

/* Where a key or a tensor of GGUF comes from. */
struct ci_gguf_origin {
    const char *name; /* GGUF's */
    const char *file, *own_name;
};

struct ci_gguf_maker {
    struct ci_gguf_naming naming;
    struct ci_gguf *gguf;
    enum clinfer_status status;
    size_t value_room, tensor_room;
    struct ci_gguf_origin *keys, *tensors;
    size_t key_count, key_room, origin_count, origin_room;
    const char *file, *own_name; /* of the values that are added now; NULL: they have no others than GGUF's */

    /* How a tensor that is not there would be called; may be NULL. */
    void (*own_tensor_name)(const struct ci_gguf_maker *maker, const char *name, char *text, size_t size);
    const void *user;
};

/* The maker lives in the memory of its `gguf`, which is the caller's to close until ci_gguf_make_finish() gave it. */
enum clinfer_status ci_gguf_maker_create(const char *path, struct ci_gguf_maker **maker);

/* Memory and texts that live as long as the result; NULL: out of memory. */
void *ci_gguf_make_array(struct ci_gguf_maker *maker, size_t count, size_t size);
const char *ci_gguf_make_text(struct ci_gguf_maker *maker, const char *text);

/* From here on values come from this field of this file. Borrowed. */
void ci_gguf_make_from(struct ci_gguf_maker *maker, const char *file, const char *own_name);

/* The key would come from there, but the file has none: only for messages. */
void ci_gguf_make_absent(struct ci_gguf_maker *maker, const char *key);

/* Values; all is copied. */
void ci_gguf_make_integers(struct ci_gguf_maker *maker, const char *key, bool array, const int64_t *numbers,
                           size_t count);
void ci_gguf_make_floats(struct ci_gguf_maker *maker, const char *key, bool array, const double *numbers, size_t count);
void ci_gguf_make_bools(struct ci_gguf_maker *maker, const char *key, bool array, const bool *flags, size_t count);
void ci_gguf_make_strings(struct ci_gguf_maker *maker, const char *key, bool array, const char *const *texts,
                          size_t count);
static inline void ci_gguf_make_integer(struct ci_gguf_maker *maker, const char *key, int64_t number) {
    ci_gguf_make_integers(maker, key, false, &number, 1);
}
static inline void ci_gguf_make_float(struct ci_gguf_maker *maker, const char *key, double number) {
    ci_gguf_make_floats(maker, key, false, &number, 1);
}
static inline void ci_gguf_make_bool(struct ci_gguf_maker *maker, const char *key, bool flag) {
    ci_gguf_make_bools(maker, key, false, &flag, 1);
}
static inline void ci_gguf_make_string(struct ci_gguf_maker *maker, const char *key, const char *text) {
    ci_gguf_make_strings(maker, key, false, &text, 1);
}

/* `tensor` as it will be found, but for its name's memory; `file` and `own_name` say where it comes from. Returns its
 * index, for what is filled in later (ci_gguf_make_tensor_at()). */
size_t ci_gguf_make_tensor(struct ci_gguf_maker *maker, const struct ci_gguf_tensor *tensor, const char *file,
                           const char *own_name);
struct ci_gguf_tensor *ci_gguf_make_tensor_at(struct ci_gguf_maker *maker, size_t index);

/* Nothing is added any more. CLINFER_BAD_FILE: a tensor comes twice. On failure closes the maker's `gguf`. */
enum clinfer_status ci_gguf_make_finish(struct ci_gguf_maker *maker, struct ci_gguf **gguf);

#endif
