#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024, ALIGNMENT = 16 };

struct ci_arena_chunk {
    struct ci_arena_chunk *next;
    size_t size;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

void *ci_arena_alloc(struct ci_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (!arena->chunks || arena->used + bytes > arena->chunks->size) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        struct ci_arena_chunk *chunk = calloc(1, sizeof *chunk + size);
        if (!chunk) return NULL;
        chunk->size = size;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->used = 0;
    }
    void *result = arena->chunks->bytes + arena->used;
    arena->used += bytes;
    return result;
}

void *ci_arena_array(struct ci_arena *arena, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    return ci_arena_alloc(arena, count * size);
}

char *ci_arena_string(struct ci_arena *arena, const char *text, size_t length) {
    char *copy = ci_arena_alloc(arena, length + 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

void ci_arena_destroy(struct ci_arena *arena) {
    while (arena->chunks) {
        struct ci_arena_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
    arena->used = 0;
}
