/* arena.h: memory that lives and dies together (a parsed file, a graph, a plan). Allocation never moves what it gave
 * out; everything is freed at once by ci_arena_destroy(). All memory comes zeroed. */
#ifndef CI_BASE_ARENA_H
#define CI_BASE_ARENA_H

#include <stddef.h>

struct ci_arena_chunk;

struct ci_arena {
    struct ci_arena_chunk *chunks; /* newest first */
    size_t used;                   /* bytes given out of the newest chunk */
};

/* 16-byte aligned, zeroed; NULL when memory is out (the caller reports CLINFER_OUT_OF_MEMORY). */
void *ci_arena_alloc(struct ci_arena *arena, size_t bytes);

/* count * size checked for overflow. */
void *ci_arena_array(struct ci_arena *arena, size_t count, size_t size);

/* A zero-terminated copy of text[0..length). */
char *ci_arena_string(struct ci_arena *arena, const char *text, size_t length);

void ci_arena_destroy(struct ci_arena *arena);

#endif
