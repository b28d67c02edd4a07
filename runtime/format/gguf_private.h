/* gguf_private.h: what is behind a `struct ci_gguf`, for the readers that make one: gguf.c of a GGUF file, and whoever
 * gives the files of another format GGUF's names (gguf_make.h). What all of them share stands in gguf_source.c. */
#ifndef CI_FORMAT_GGUF_PRIVATE_H
#define CI_FORMAT_GGUF_PRIVATE_H

#include "base/arena.h"
#include "base/mapped.h"
#include "format/gguf.h"

struct ci_gguf_file {
    struct ci_mapped mapped; /* descriptor -1: the bytes are somebody else's */
    const char *path;
};

/* How names of GGUF are called in another format: changes what `place` says to that, or leaves it. */
struct ci_gguf_naming {
    void (*key)(const struct ci_gguf_naming *naming, const char *key, struct ci_gguf_place *place);
    void (*tensor)(const struct ci_gguf_naming *naming, const char *name, struct ci_gguf_place *place);
};

struct ci_gguf {
    struct ci_arena arena;
    size_t index_bytes; /* given out of the arena so far */
    const char *path;   /* what was opened */
    const char *folder; /* of another format; NULL: GGUF */
    struct ci_gguf_file *files;
    size_t n_files;
    uint32_t version;
    uint32_t alignment;
    size_t n_values, n_tensors;
    struct ci_gguf_value *values;          /* [n_values] in the order of the file */
    struct ci_gguf_tensor *tensors;        /* [n_tensors] */
    const struct ci_gguf_value **by_key;   /* [n_values] sorted */
    const struct ci_gguf_tensor **by_name; /* [n_tensors] sorted */
    const struct ci_gguf_naming *naming;   /* of another format; NULL: names are GGUF's own */
};

/* Without files, values and tensors. */
enum clinfer_status ci_gguf_create(const char *path, struct ci_gguf **gguf);

/* One more file, mapped; ci_gguf_close() closes it. Its bytes stay where they are. */
enum clinfer_status ci_gguf_add_file(struct ci_gguf *gguf, const char *path);

/* The same over bytes of the caller. */
enum clinfer_status ci_gguf_add_bytes(struct ci_gguf *gguf, const char *name, const void *data, size_t size);

/* The files of another become gguf's. */
enum clinfer_status ci_gguf_take_files(struct ci_gguf *gguf, struct ci_gguf *other);

/* As ci_gguf_open(), of one file, be it a part of a split model. */
enum clinfer_status ci_gguf_open_alone(const char *path, struct ci_gguf **gguf);

/* Of a part of a split model makes the whole (gguf_split.c); of what is no part nothing. On failure *gguf is closed,
 * and NULL. */
enum clinfer_status ci_gguf_join_parts(struct ci_gguf **gguf);

/* Fills by_key and by_name, which have room. A name that comes twice; NULL: none does. */
const char *ci_gguf_sort_values(struct ci_gguf *gguf);
const char *ci_gguf_sort_tensors(struct ci_gguf *gguf);

#endif
