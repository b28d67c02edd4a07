/* gguf_mutator.h: a mutator for fuzz targets that take GGUF files: most of the time it gives one number of the file
 * another value (of the metadata, an array's element, a tensor's dimension, type or offset), so that what lies behind
 * the reader's checks is reached; else it leaves the bytes to libFuzzer. Included by one target each; without libFuzzer
 * (replay.c) nobody calls it. */
#ifndef TESTS_FUZZ_GGUF_MUTATOR_H
#define TESTS_FUZZ_GGUF_MUTATOR_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/gguf.h"

size_t __attribute__((weak)) LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static uint64_t next_number(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ (z >> 27);
}

/* One that finds limits: near a power of two, or small. */
static uint64_t odd_number(uint64_t *state) {
    uint64_t power = UINT64_C(1) << next_number(state) % 64;
    switch (next_number(state) % 6) {
    case 0: return power;
    case 1: return power - 1;
    case 2: return power + next_number(state) % 300;
    case 3: return 0 - power;
    default: return next_number(state) % 130;
    }
}

static void put(uint8_t *at, uint64_t number, size_t bytes) { memcpy(at, &number, bytes); }

static void change_value(const struct ci_gguf_value *value, const uint8_t *base, uint8_t *data, uint64_t *state) {
    uint8_t *at = data + (value->data - base);
    if (value->bytes == 0) return;
    if (value->element_type == CI_GGUF_STRING) {
        struct ci_gguf_string text = ci_gguf_string_at(value, next_number(state) % value->count);
        if (text.length)
            data[(const uint8_t *)text.text - base + next_number(state) % text.length] ^= 1 << next_number(state) % 8;
        return;
    }
    size_t each = value->bytes / (size_t)value->count;
    put(at + next_number(state) % value->count * each, odd_number(state), each);
}

/* Behind the name stand the number of dimensions, these, the type and the offset. */
static void change_tensor(const struct ci_gguf_tensor *tensor, uint8_t *data, size_t size, uint64_t *state) {
    uint8_t *name = memmem(data, size, tensor->name, strlen(tensor->name));
    uint64_t which = next_number(state) % (tensor->n_dims + 2);
    if (!name) return;
    uint8_t *dims = name + strlen(tensor->name) + 4, *type = dims + 8 * tensor->n_dims;
    if (which < tensor->n_dims) put(dims + 8 * which, odd_number(state), 8);
    if (which == tensor->n_dims) put(type, next_number(state) % 45, 4);
    if (which > tensor->n_dims) put(type + 4, next_number(state) % 4096 * 32, 8);
}

/* Opens the bytes as the target does; *copy is for the caller to free. */
static enum clinfer_status open_input(const uint8_t *data, size_t size, uint8_t **copy, struct ci_gguf **gguf);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint64_t state = seed;
    struct ci_gguf *gguf;
    uint8_t *copy;
    if (next_number(&state) % 4 == 0 || open_input(data, size, &copy, &gguf) != CLINFER_OK)
        return LLVMFuzzerMutate(data, size, most);
    size_t values = ci_gguf_value_count(gguf), tensors = ci_gguf_tensor_count(gguf);
    const uint8_t *base = ci_gguf_file_at(gguf, 0)->data;
    for (uint64_t changes = 1 + next_number(&state) % 3; changes && values + tensors; changes--) {
        size_t which = next_number(&state) % (values + tensors);
        if (which < values)
            change_value(ci_gguf_value_at(gguf, which), base, data, &state);
        else
            change_tensor(ci_gguf_tensor_at(gguf, which - values), data, size, &state);
    }
    ci_gguf_close(gguf);
    free(copy);
    return size;
}

#endif
