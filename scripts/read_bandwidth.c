/* How fast this machine reads memory right now: the ceiling of decoding, which reads every weight once per token.
 * usage: read_bandwidth BYTES THREADS     prints GB/s, the best of several passes
 *
 * Each thread walks its part of the buffer in eight streams at once, since one sequential stream per thread reaches
 * only half of what the memory gives. The kernel of the loop is a sum of 64-bit words, which compilers vectorise. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STREAMS = 8, PASSES = 12, LINE = 8 };

struct part {
    const uint64_t *words;
    size_t words_per_stream;
    uint64_t sum;
};

static void *read_part(void *argument) {
    struct part *part = argument;
    uint64_t sums[LINE] = {0};
    for (size_t i = 0; i + LINE <= part->words_per_stream; i += LINE) {
        for (int stream = 0; stream < STREAMS; stream++) {
            const uint64_t *line = part->words + (size_t)stream * part->words_per_stream + i;
            __builtin_prefetch(line + 512);
            for (int word = 0; word < LINE; word++) sums[word] += line[word];
        }
    }
    for (int word = 0; word < LINE; word++) part->sum += sums[word];
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double one_pass(const uint64_t *words, size_t bytes, int threads) {
    struct part parts[256] = {0};
    pthread_t ids[256];
    size_t share = bytes / sizeof *words / (size_t)threads / STREAMS;
    double start = seconds();
    for (int i = 0; i < threads; i++) {
        parts[i] = (struct part){words + (size_t)i * share * STREAMS, share, 0};
        if (pthread_create(&ids[i], NULL, read_part, &parts[i]) != 0) exit(1);
    }
    uint64_t sum = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += parts[i].sum;
    }
    double taken = seconds() - start;
    if (sum == 1) puts(""); /* never so, but the compiler cannot know: the reads stay */
    return (double)(share * STREAMS * sizeof *words * (size_t)threads) / taken / 1e9;
}

int main(int count, char **arguments) {
    size_t bytes = count > 1 ? (size_t)strtoull(arguments[1], NULL, 10) : (size_t)1 << 30;
    int threads = count > 2 ? (int)strtol(arguments[2], NULL, 10) : 2;
    if (threads < 1 || threads > 256 || bytes < 1 << 20) {
        fputs("usage: read_bandwidth BYTES THREADS\n", stderr);
        return 2;
    }
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, bytes + 4096) != 0) return 1;
    memset(memory, 3, bytes + 4096);
    double best = 0.0;
    for (int i = 0; i < PASSES; i++) {
        double now = one_pass(memory, bytes, threads);
        best = now > best ? now : best;
    }
    printf("%.1f\n", best);
    free(memory);
    return 0;
}
