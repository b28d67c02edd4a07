/* gguf_writer.h: builds GGUF files in memory: damaged ones for the reader's tests, and tiny models with random weights
 * for everything above it.
 *
 *     struct gguf_writer *writer = gguf_writer_create();
 *     gguf_writer_string(writer, "general.architecture", "llama");
 *     gguf_writer_u32(writer, "llama.block_count", 2);
 *     gguf_writer_random(writer, "token_embd.weight", 8, 64, 256, 0.02f);    (Q8_0, 64 columns, 256 rows)
 *     gguf_writer_save(writer, path);
 *     gguf_writer_destroy(writer);
 *
 * A test has no use for a writer that fails: out of memory and a path that cannot be written end the process with a
 * message. Keys and names are not checked, so that a test can write them twice. */
#ifndef TESTS_SUPPORT_GGUF_WRITER_H
#define TESTS_SUPPORT_GGUF_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/gguf.h"

struct gguf_writer;

/* An empty file: version 3, alignment 32, seed 1. */
struct gguf_writer *gguf_writer_create(void);
void gguf_writer_destroy(struct gguf_writer *writer);

void gguf_writer_version(struct gguf_writer *writer, uint32_t version);

/* Where tensors are placed; also writes the key general.alignment. */
void gguf_writer_alignment(struct gguf_writer *writer, uint32_t alignment);

/* Metadata. gguf_writer_value() writes a scalar of any type but string from its little-endian bytes. */
void gguf_writer_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_writer_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_writer_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_writer_string(struct gguf_writer *writer, const char *key, const char *text);
void gguf_writer_value(struct gguf_writer *writer, const char *key, enum ci_gguf_type type, const void *value);
void gguf_writer_strings(struct gguf_writer *writer, const char *key, const char *const *texts, size_t count);

/* An array of `count` elements of `type` (not string) from their little-endian bytes. */
void gguf_writer_array(struct gguf_writer *writer, const char *key, enum ci_gguf_type type, const void *elements,
                       size_t count);

/* All metadata of a file that was opened. */
void gguf_writer_copy_values(struct gguf_writer *writer, const struct ci_gguf *from);

/* A tensor of dims[0..n_dims) in GGUF order (row length first); data NULL means zeroes. */
void gguf_writer_tensor(struct gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *dims, const void *data);

/* A tensor [rows, cols] (one dimension when rows is 0) of random weights with mean near 0 and standard deviation
 * `deviation`, for F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q6_K. The same seed gives the same bytes. */
void gguf_writer_seed(struct gguf_writer *writer, uint64_t seed);
void gguf_writer_random(struct gguf_writer *writer, const char *name, uint32_t type, uint64_t cols, uint64_t rows,
                        float deviation);

/* A llama of one layer of width 2, but for its tokenizer and its embedding: the smallest that can be opened. */
void gguf_writer_one_layer(struct gguf_writer *writer);

/* The file, borrowed until the next call on the writer; at least 32-byte aligned. */
const uint8_t *gguf_writer_bytes(struct gguf_writer *writer, size_t *size);

void gguf_writer_save(struct gguf_writer *writer, const char *path);

#endif
