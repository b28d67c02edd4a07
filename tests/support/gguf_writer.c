#include "support/gguf_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { PAGE = 4096 };

struct bytes {
    uint8_t *data; /* page-aligned */
    size_t size, capacity;
};

struct gguf_writer {
    uint32_t version, alignment;
    uint64_t values, tensors, random;
    struct bytes metadata, infos, weights, file;
};

static void die(const char *what, const char *detail) {
    fprintf(stderr, "gguf_writer: %s: %s\n", what, detail);
    exit(EXIT_FAILURE);
}

/* Room for `size` more bytes, zeroed and counted. */
static uint8_t *extend(struct bytes *bytes, size_t size) {
    if (bytes->size + size > bytes->capacity) {
        size_t capacity = (bytes->size + size) * 2 / PAGE * PAGE + PAGE;
        uint8_t *data = aligned_alloc(PAGE, capacity);
        if (!data) die("memory", "out of memory");
        if (bytes->size) memcpy(data, bytes->data, bytes->size);
        free(bytes->data);
        bytes->data = data;
        bytes->capacity = capacity;
    }
    uint8_t *at = bytes->data + bytes->size;
    memset(at, 0, size);
    bytes->size += size;
    return at;
}

static void append(struct bytes *bytes, const void *data, size_t size) {
    uint8_t *at = extend(bytes, size);
    if (size) memcpy(at, data, size);
}

static void append_integer(struct bytes *bytes, uint64_t value, size_t size) {
    uint8_t *at = extend(bytes, size);
    for (size_t i = 0; i < size; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void append_string(struct bytes *bytes, const char *text) {
    append_integer(bytes, strlen(text), 8);
    append(bytes, text, strlen(text));
}

static void pad(struct bytes *bytes, size_t alignment) {
    if (bytes->size % alignment) extend(bytes, alignment - bytes->size % alignment);
}

struct gguf_writer *gguf_writer_create(void) {
    struct gguf_writer *writer = calloc(1, sizeof *writer);
    if (!writer) die("memory", "out of memory");
    writer->version = 3;
    writer->alignment = 32;
    gguf_writer_seed(writer, 1);
    return writer;
}

void gguf_writer_destroy(struct gguf_writer *writer) {
    if (!writer) return;
    free(writer->metadata.data);
    free(writer->infos.data);
    free(writer->weights.data);
    free(writer->file.data);
    free(writer);
}

void gguf_writer_version(struct gguf_writer *writer, uint32_t version) { writer->version = version; }

void gguf_writer_alignment(struct gguf_writer *writer, uint32_t alignment) {
    writer->alignment = alignment;
    gguf_writer_u32(writer, "general.alignment", alignment);
}

static void begin_value(struct gguf_writer *writer, const char *key, enum ci_gguf_type type) {
    writer->values++;
    append_string(&writer->metadata, key);
    append_integer(&writer->metadata, type, 4);
}

static size_t element_bytes(enum ci_gguf_type type) {
    static const uint8_t sizes[CI_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (sizes[type] == 0) die("metadata", "strings and arrays have functions of their own");
    return sizes[type];
}

void gguf_writer_value(struct gguf_writer *writer, const char *key, enum ci_gguf_type type, const void *value) {
    begin_value(writer, key, type);
    append(&writer->metadata, value, element_bytes(type));
}

void gguf_writer_u32(struct gguf_writer *writer, const char *key, uint32_t value) {
    gguf_writer_value(writer, key, CI_GGUF_UINT32, &value);
}

void gguf_writer_f32(struct gguf_writer *writer, const char *key, float value) {
    gguf_writer_value(writer, key, CI_GGUF_FLOAT32, &value);
}

void gguf_writer_bool(struct gguf_writer *writer, const char *key, bool value) {
    gguf_writer_value(writer, key, CI_GGUF_BOOL, &value);
}

void gguf_writer_string(struct gguf_writer *writer, const char *key, const char *text) {
    begin_value(writer, key, CI_GGUF_STRING);
    append_string(&writer->metadata, text);
}

void gguf_writer_strings(struct gguf_writer *writer, const char *key, const char *const *texts, size_t count) {
    begin_value(writer, key, CI_GGUF_ARRAY);
    append_integer(&writer->metadata, CI_GGUF_STRING, 4);
    append_integer(&writer->metadata, count, 8);
    for (size_t i = 0; i < count; i++) append_string(&writer->metadata, texts[i]);
}

void gguf_writer_array(struct gguf_writer *writer, const char *key, enum ci_gguf_type type, const void *elements,
                       size_t count) {
    begin_value(writer, key, CI_GGUF_ARRAY);
    append_integer(&writer->metadata, type, 4);
    append_integer(&writer->metadata, count, 8);
    append(&writer->metadata, elements, count * element_bytes(type));
}

/* As they stand there, behind magic, version and the two counts. */
void gguf_writer_copy_values(struct gguf_writer *writer, const struct ci_gguf *from) {
    const struct ci_gguf_value *last = ci_gguf_value_at(from, ci_gguf_value_count(from) - 1);
    const uint8_t *first = ci_gguf_file_at(from, 0)->data + 24;
    append(&writer->metadata, first, (size_t)(last->data + last->bytes - first));
    writer->values += ci_gguf_value_count(from);
}

/* Describes a tensor and gives the place of its zeroed bytes. */
static uint8_t *begin_tensor(struct gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                             const uint64_t *dims, size_t *size) {
    const struct ci_gguf_tensor_type *format = ci_gguf_tensor_type(type);
    if (!format) die(name, "unknown tensor type");
    if (dims[0] % format->block_cols) die(name, "the row is no multiple of the block");
    pad(&writer->weights, writer->alignment);
    writer->tensors++;
    append_string(&writer->infos, name);
    append_integer(&writer->infos, n_dims, 4);
    *size = (size_t)(dims[0] / format->block_cols * format->block_bytes);
    for (uint32_t d = 0; d < n_dims; d++) {
        append_integer(&writer->infos, dims[d], 8);
        if (d > 0) *size *= (size_t)dims[d];
    }
    append_integer(&writer->infos, type, 4);
    append_integer(&writer->infos, writer->weights.size, 8);
    return extend(&writer->weights, *size);
}

void gguf_writer_tensor(struct gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *dims, const void *data) {
    size_t size;
    uint8_t *at = begin_tensor(writer, name, type, n_dims, dims, &size);
    if (data) memcpy(at, data, size);
}

void gguf_writer_seed(struct gguf_writer *writer, uint64_t seed) { writer->random = seed; }

/* splitmix64 (https://prng.di.unimi.it/splitmix64.c) */
static uint64_t next_random(struct gguf_writer *writer) {
    uint64_t z = writer->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform with mean 0 and standard deviation 1. */
static float uniform(struct gguf_writer *writer) {
    return (float)(((double)(next_random(writer) >> 11) * 0x1p-53 - 0.5) * sqrt(12.0));
}

/* To the nearest half; magnitudes below the smallest normal half become 0. */
static uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000;
    int32_t magnitude = (int32_t)(bits & 0x7fffffff) - (112 << 23);
    if (magnitude < 1 << 23) return (uint16_t)sign;
    return (uint16_t)(sign | (uint32_t)(magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

/* How a block is filled: a half at `scale_at` (and an offset half behind it when `minimum` is not 0), the rest random
 * bits; `deviation` is that of the integers in it. */
struct block_recipe {
    uint32_t type, scale_at;
    float minimum, deviation;
};

static void fill_blocks(struct gguf_writer *writer, const struct block_recipe *recipe, uint8_t *at, size_t size,
                        float deviation) {
    enum { Q6_K = 14, Q6_K_SCALES_AT = 192, Q6_K_SCALES = 16, Q6_K_SCALE = 20 };
    size_t block_bytes = ci_gguf_tensor_type(recipe->type)->block_bytes;
    for (size_t i = 0; i < size; i++) at[i] = (uint8_t)next_random(writer);
    for (uint8_t *block = at; block < at + size; block += block_bytes) {
        /* Scales differ from block to block so that a kernel that takes the wrong one is seen. */
        float scale = deviation / recipe->deviation * (1.0f + 0.25f * uniform(writer));
        if (recipe->type == Q6_K) {
            memset(block + Q6_K_SCALES_AT, Q6_K_SCALE, Q6_K_SCALES);
            scale /= Q6_K_SCALE;
        }
        uint16_t halves[2] = {to_half(scale), to_half(scale * recipe->minimum)};
        memcpy(block + recipe->scale_at, halves, recipe->minimum != 0.0f ? 4 : 2);
    }
}

void gguf_writer_random(struct gguf_writer *writer, const char *name, uint32_t type, uint64_t cols, uint64_t rows,
                        float deviation) {
    static const struct block_recipe recipes[] = {{2, 0, 0.0f, 4.6f},   {3, 0, -7.5f, 4.6f}, {6, 0, 0.0f, 9.2f},
                                                  {7, 0, -15.5f, 9.2f}, {8, 0, 0.0f, 73.9f}, {14, 208, 0.0f, 18.5f}};
    enum { F32 = 0, F16 = 1, BF16 = 30 };
    uint64_t dims[2] = {cols, rows};
    size_t size;
    uint8_t *at = begin_tensor(writer, name, type, rows ? 2 : 1, dims, &size);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (recipes[i].type != type) continue;
        fill_blocks(writer, &recipes[i], at, size, deviation);
        return;
    }
    for (size_t i = 0; i < cols * (rows ? rows : 1); i++) {
        float value = uniform(writer) * deviation;
        uint16_t half = to_half(value);
        if (type == F32)
            memcpy(at + 4 * i, &value, 4);
        else if (type == F16)
            memcpy(at + 2 * i, &half, 2);
        else if (type == BF16)
            memcpy(at + 2 * i, (uint8_t *)&value + 2, 2);
        else
            die(name, "no random weights for this type");
    }
}

void gguf_writer_one_layer(struct gguf_writer *writer) {
    static const char *const matrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "llama.block_count", 1);
    gguf_writer_u32(writer, "llama.context_length", 64);
    gguf_writer_u32(writer, "llama.embedding_length", 2);
    gguf_writer_u32(writer, "llama.feed_forward_length", 2);
    gguf_writer_u32(writer, "llama.attention.head_count", 1);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_writer_random(writer, "output_norm.weight", 0, 2, 0, 1);
    gguf_writer_random(writer, "blk.0.attn_norm.weight", 0, 2, 0, 1);
    gguf_writer_random(writer, "blk.0.ffn_norm.weight", 0, 2, 0, 1);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight", matrices[i]);
        gguf_writer_random(writer, name, 0, 2, 2, 1);
    }
}

const uint8_t *gguf_writer_bytes(struct gguf_writer *writer, size_t *size) {
    struct bytes *file = &writer->file;
    file->size = 0;
    append(file, "GGUF", 4);
    append_integer(file, writer->version, 4);
    append_integer(file, writer->tensors, 8);
    append_integer(file, writer->values, 8);
    append(file, writer->metadata.data, writer->metadata.size);
    append(file, writer->infos.data, writer->infos.size);
    pad(file, writer->alignment);
    append(file, writer->weights.data, writer->weights.size);
    *size = file->size;
    return file->data;
}

void gguf_writer_save(struct gguf_writer *writer, const char *path) {
    size_t size;
    const uint8_t *data = gguf_writer_bytes(writer, &size);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) die(path, "cannot be written");
}
