/* How fast this machine reads memory right now: the ceiling of decoding, which reads every weight once per token.
 * usage: read_bandwidth BYTES THREADS     prints GB/s, the best of several passes
 *
 * Each thread walks its part of the buffer in 1, 2, 4 or 8 streams at once, as proof/measure.c does, with the same
 * loop: which is best differs between processors by a factor of two, either way. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proof/read_lines_body.h"

enum { PASSES = 24 };

struct part {
    const char *start;
    size_t lines, streams;
    uint64_t sum;
};

static void *read_part(void *argument) {
    struct part *part = argument;
    part->sum = read_lines(part->start, part->lines, part->streams);
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double one_pass(const char *memory, size_t bytes, int threads, size_t streams) {
    struct part parts[256] = {0};
    pthread_t ids[256];
    size_t lines = bytes / CI_READ_LINE_BYTES / (size_t)threads / streams;
    size_t share = lines * streams * CI_READ_LINE_BYTES;
    double start = seconds();
    for (int i = 0; i < threads; i++) {
        parts[i] = (struct part){memory + (size_t)i * share, lines, streams, 0};
        if (pthread_create(&ids[i], NULL, read_part, &parts[i]) != 0) exit(1);
    }
    uint64_t sum = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += parts[i].sum;
    }
    double taken = seconds() - start;
    if (sum == 1) puts(""); /* never so, but the compiler cannot know: the reads stay */
    return (double)(share * (size_t)threads) / taken / 1e9;
}

int main(int count, char **arguments) {
    size_t bytes = count > 1 ? (size_t)strtoull(arguments[1], NULL, 10) : (size_t)1 << 30;
    int threads = count > 2 ? (int)strtol(arguments[2], NULL, 10) : 2;
    if (threads < 1 || threads > 256 || bytes < 1 << 20) {
        fputs("usage: read_bandwidth BYTES THREADS\n", stderr);
        return 2;
    }
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, bytes + 8192) != 0) return 1;
    memset(memory, 3, bytes + 8192);
    double best = 0.0;
    for (int i = 0; i < PASSES; i++) {
        double now = one_pass(memory, bytes, threads, (size_t)1 << i % 4);
        best = now > best ? now : best;
    }
    printf("%.1f\n", best);
    free(memory);
    return 0;
}
