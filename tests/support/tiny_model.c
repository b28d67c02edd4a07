#include "support/tiny_model.h"

#include <fnmatch.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clinfer.h>

#include "base/hash.h"
#include "model/model.h"
#include "support/gguf_writer.h"

/* Two layers with two heads to a key; the feed-forward is no multiple of the width. */
static const char usual[] =
    "block_count=2 context_length=64 embedding_length=64 feed_forward_length=96 attention.head_count=4 "
    "attention.head_count_kv=2 attention.layer_norm_rms_epsilon=1e-5 attention.layer_norm_epsilon=1e-5 vocab_size=32";

static void die(const struct tiny_model *model, const char *what, const char *detail) {
    fprintf(stderr, "tiny_model %s: %s: %s\n", model->name, what, detail);
    exit(EXIT_FAILURE);
}

/* ---- keys ---- */

/* One value's bytes and type; words are of no such type. */
static bool parse_value(const char *text, enum ci_gguf_type *type, uint32_t *bits) {
    char *end;
    *type = CI_GGUF_BOOL;
    *bits = strcmp(text, "true") == 0;
    if (*bits || strcmp(text, "false") == 0) return true;
    *type = CI_GGUF_UINT32;
    *bits = (uint32_t)strtoul(text, &end, 10);
    if (end > text && !*end) return true;
    float number = strtof(text, &end);
    memcpy(bits, &number, sizeof number);
    *type = CI_GGUF_FLOAT32;
    return end > text && !*end;
}

/* The text ends with "]" and is used up. */
static void write_list(const struct tiny_model *model, struct gguf_writer *writer, const char *key, char *text) {
    enum { MOST = 64 };
    uint32_t bits[MOST];
    uint8_t flags[MOST];
    enum ci_gguf_type type = CI_GGUF_UINT32;
    size_t count = 0;
    char *rest;
    for (char *word = strtok_r(text, ",]", &rest); word && count < MOST; word = strtok_r(NULL, ",]", &rest), count++) {
        if (!parse_value(word, &type, &bits[count])) die(model, key, "is no list of numbers");
        flags[count] = (uint8_t)bits[count];
    }
    gguf_writer_array(writer, key, type, type == CI_GGUF_BOOL ? (const void *)flags : (const void *)bits, count);
}

static void write_key(const struct tiny_model *model, struct gguf_writer *writer, const char *name, char *value) {
    enum ci_gguf_type type;
    uint32_t bits;
    char key[128];
    snprintf(key, sizeof key, "%s.%s", model->architecture, name);
    if (*value == '[')
        write_list(model, writer, key, value + 1);
    else if (parse_value(value, &type, &bits))
        gguf_writer_value(writer, key, type, &bits);
    else
        gguf_writer_string(writer, key, value);
}

/* Whether `keys` has one that begins with these bytes. */
static bool has_key(const char *keys, const char *name, size_t length) {
    for (const char *at = keys; at; at = strchr(at, ' ')) {
        at += strspn(at, " ");
        if (strncmp(at, name, length) == 0) return true;
    }
    return false;
}

/* Those of `keys`, but not those that `instead` has. */
static void write_keys(const struct tiny_model *model, struct gguf_writer *writer, const char *keys,
                       const char *instead) {
    char text[1024], *rest;
    snprintf(text, sizeof text, "%s", keys);
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        if (!value) die(model, word, "has no value");
        bool replaced = has_key(instead, word, (size_t)(value - word) + 1);
        *value = 0;
        if (!replaced) write_key(model, writer, word, value + 1);
    }
}

static struct gguf_writer *with_keys(const struct tiny_model *model) {
    struct gguf_writer *writer = gguf_writer_create();
    const char *own = model->keys ? model->keys : "";
    gguf_writer_string(writer, "general.architecture", model->architecture);
    gguf_writer_string(writer, "tokenizer.ggml.model", "none");
    gguf_writer_u32(writer, "tokenizer.ggml.token_type_count", TINY_VOCABULARY); /* rows of token_types.weight */
    write_keys(model, writer, usual, own);
    write_keys(model, writer, own, "");
    return writer;
}

/* ---- weights ---- */

/* splitmix64 (https://prng.di.unimi.it/splitmix64.c): evenly from -1 to 1 */
static float draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)((double)(z >> 11) * 0x1p-52 - 1);
}

/* So that nothing drowns: products of about 1.5, norms and scales around 1, biases that are seen beside them, and
 * angles that differ. */
static void fill(const char *name, int64_t rows, int64_t cols, float *numbers) {
    uint64_t state = ci_hash(CI_HASH_START, name, strlen(name));
    float mean = 0, spread = 2.6f / sqrtf((float)cols);
    if (fnmatch("*_embd.weight", name, 0) == 0 || fnmatch("*sinks.weight", name, 0) == 0)
        spread = 1.7f;
    else if (fnmatch("*.bias", name, 0) == 0)
        spread = 0.5f;
    else if (fnmatch("rope_*.weight", name, 0) == 0)
        mean = 4, spread = 3;
    else if (rows == 1 || fnmatch("*.scale", name, 0) == 0)
        mean = 1, spread = 0.5f;
    for (int64_t i = 0; i < rows * cols; i++) numbers[i] = mean + spread * draw(&state);
}

/* Those of experts lie one behind the other as rows. */
static void write_weight(const struct tiny_model *model, const struct ci_model *imagined, struct gguf_writer *writer,
                         const struct ci_tensor *tensor) {
    const struct ci_view *view = &tensor->view;
    bool stacked = fnmatch("*_exps.weight", tensor->name, 0) == 0;
    uint64_t experts = stacked ? (uint64_t)imagined->hyper.experts : 1;
    uint64_t dims[] = {(uint64_t)view->cols, (uint64_t)view->rows / experts, experts};
    float *numbers = calloc((size_t)(view->rows * view->cols), sizeof *numbers);
    if (!numbers) die(model, tensor->name, "out of memory");
    fill(tensor->name, view->rows, view->cols, numbers);
    gguf_writer_tensor(writer, tensor->name, 0, stacked ? 3 : view->rows > 1 ? 2 : 1, dims, numbers);
    free(numbers);
}

void tiny_model_write(const struct tiny_model *model, const char *path) {
    struct gguf_writer *writer = with_keys(model);
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(writer, &size);
    struct ci_gguf *keys;
    if (ci_gguf_open_memory(bytes, size, model->name, &keys) != CLINFER_OK) die(model, "keys", clinfer_error());
    const struct ci_imagined imagined = {.keys = keys,
                                         .hyper.vocabulary = TINY_VOCABULARY,
                                         .matrices = &ci_type_f32,
                                         .embedding = &ci_type_f32,
                                         .optional = model->optional,
                                         .families = model->families};
    struct ci_model built;
    if (ci_model_imagine(&imagined, &built) != CLINFER_OK) die(model, "weights", clinfer_error());
    struct gguf_writer *whole = with_keys(model);
    for (const struct ci_weight *weight = built.weights; weight; weight = weight->next)
        if (!weight->computed) write_weight(model, &built, whole, weight->tensor);
    gguf_writer_save(whole, path);
    ci_model_close(&built);
    ci_gguf_close(keys);
    gguf_writer_destroy(writer);
    gguf_writer_destroy(whole);
}
