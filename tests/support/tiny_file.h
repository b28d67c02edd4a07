/* tiny_file.h: a GGUF file of a family that is like Llama, made in memory, with more or other keys and tensors as a
 * test wants them, and opened as a model: for what is refused, and what is found. */
#ifndef TESTS_SUPPORT_TINY_FILE_H
#define TESTS_SUPPORT_TINY_FILE_H

#include <stdint.h>

#include "model/model.h"
#include "support/gguf_writer.h"

enum {
    TINY_FILE_LAYERS = 2,
    TINY_FILE_WIDTH = 32,
    TINY_FILE_FF = 64,
    TINY_FILE_HEADS = 2,
    TINY_FILE_HEAD = 16,
    TINY_FILE_VOCABULARY = 48,
    TINY_FILE_F32 = 0
};

struct tiny_file {
    struct gguf_writer *writer;
    const char *architecture;
    struct ci_gguf *gguf; /* these two once it is opened */
    struct ci_model model;
};

/* Everything but head counts and feed_forward_length, so that tests can say them in their own way; no layers. */
struct tiny_file tiny_file_begin(const char *architecture);
void tiny_file_add_layer(struct tiny_file *file, int layer);

/* All of it, with one head of keys. */
struct tiny_file tiny_file_start(const char *architecture);

/* "<architecture>.<key>" until the next call. */
const char *tiny_file_key(const struct tiny_file *file, const char *key);
void tiny_file_vector(struct tiny_file *file, const char *name, uint64_t size);

/* What opening the model gives; then tiny_file_end() frees all. */
enum clinfer_status tiny_file_open(struct tiny_file *file);
void tiny_file_end(struct tiny_file *file);

/* The model is refused, with these words; frees all. */
void tiny_file_refused(struct tiny_file *file, enum clinfer_status expected, const char *first, const char *second);

/* Of an open model; NULL: there is none of that name. */
const struct ci_finding *tiny_file_find(const struct tiny_file *file, const char *name);
void tiny_file_has_finding(const struct tiny_file *file, const char *name, enum ci_finding_kind kind);

/* Number `index` of an F32 weight, wherever it lies. */
float tiny_file_number(const struct ci_tensor *tensor, int64_t index);

#endif
