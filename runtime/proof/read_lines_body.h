/* read_lines_body.h: ci_read_lines of the instruction set that the including file is compiled for. */
#include "proof/read_lines.h"

/* Vectors of one register each: gcc keeps sums in memory whose vectors are longer, and then reads 11 GB/s in place of
 * 40. */
#if defined(__AVX512F__)
enum { REGISTER_BYTES = 64 };
#elif defined(__AVX2__)
enum { REGISTER_BYTES = 32 };
#else
enum { REGISTER_BYTES = 16 };
#endif
enum { PARTS = CI_READ_LINE_BYTES / REGISTER_BYTES, WORDS = REGISTER_BYTES / sizeof(uint64_t) };
typedef uint64_t read_vector __attribute__((vector_size(REGISTER_BYTES)));

static inline uint64_t read_lines(const void *start, size_t lines, size_t streams) {
    enum { AHEAD = 64 };
    const read_vector *first = start;
    read_vector sums[PARTS] = {{0}};
    for (size_t i = 0; i < lines; i++)
        for (size_t stream = 0; stream < streams; stream++) {
            const read_vector *line = first + (stream * lines + i) * PARTS;
            __builtin_prefetch(line + AHEAD * PARTS);
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++) sums[part] += line[part];
        }
    uint64_t sum = 0;
    for (int part = 0; part < PARTS; part++)
        for (int word = 0; word < WORDS; word++) sum += sums[part][word];
    return sum;
}
