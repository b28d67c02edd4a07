/* read_lines_body.h: ci_read_lines of the instruction set that the including file is compiled for. */
#include "proof/read_lines.h"

/* As many registers as it takes. */
typedef uint64_t read_line __attribute__((vector_size(CI_READ_LINE_BYTES)));

static inline uint64_t read_lines(const void *start, size_t lines, size_t streams) {
    enum { AHEAD = 64, WORDS = CI_READ_LINE_BYTES / sizeof(uint64_t) };
    const read_line *first = start;
    read_line sums = {0};
    for (size_t i = 0; i < lines; i++)
        for (size_t stream = 0; stream < streams; stream++) {
            const read_line *line = first + stream * lines + i;
            __builtin_prefetch(line + AHEAD);
            sums += *line;
        }
    uint64_t sum = 0;
    for (int word = 0; word < WORDS; word++) sum += sums[word];
    return sum;
}
