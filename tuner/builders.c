/* builders.c: a worker each, and a thread that waits for it. */
#include "tuner/builders.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/child.h"
#include "base/threads.h"

/* A driver with a compiler in memory, and a kernel's data. */
static const uint64_t builder_bytes = UINT64_C(1) << 30;

struct ci_builders {
    int count;
    struct ci_worker *workers[CI_BUILDERS_MOST];
};

struct ci_builders *ci_builders_create(const struct ci_worker_options *options) {
    int count = ci_threads_default();
    uint64_t memory = ci_proc_bytes("/proc/meminfo", "MemAvailable:") / 2;
    struct ci_worker_options each = *options;
    struct ci_builders *builders = NULL;
    if (count > CI_BUILDERS_MOST) count = CI_BUILDERS_MOST;
    if (memory / builder_bytes < (uint64_t)count) count = (int)(memory / builder_bytes);
    if (count > 1 && options->device >= 0) builders = calloc(1, sizeof *builders);
    each.memory = builder_bytes;
    for (int i = 0; builders && i < count; i++)
        if (ci_worker_create(&each, &builders->workers[i]) == CLINFER_OK) builders->count++;
    if (builders && builders->count > 1) return builders;
    ci_builders_destroy(builders);
    return NULL;
}

void ci_builders_destroy(struct ci_builders *builders) {
    if (!builders) return;
    for (int i = 0; i < builders->count; i++) ci_worker_destroy(builders->workers[i]);
    free(builders);
}

int ci_builders_count(const struct ci_builders *builders) { return builders->count; }

struct batch {
    struct ci_build *list;
    int count;
    double deadline;
    atomic_int taken;
};

struct turn {
    struct batch *batch;
    struct ci_worker *worker;
};

static void *work(void *argument) {
    const struct turn *turn = argument;
    struct batch *batch = turn->batch;
    for (int i; (i = atomic_fetch_add(&batch->taken, 1)) < batch->count;) {
        struct ci_build *build = &batch->list[i];
        struct ci_trial trial;
        build->failed =
            ci_worker_build(turn->worker, build->problem, &build->candidate, batch->deadline, &trial) != CLINFER_OK ||
            trial.outcome != CI_TRIAL_PASSED;
    }
    return NULL;
}

void ci_builders_build(struct ci_builders *builders, struct ci_build *list, int count, double deadline_seconds) {
    struct batch batch = {.list = list, .count = count, .deadline = deadline_seconds};
    struct turn turns[CI_BUILDERS_MOST] = {{&batch, builders->workers[0]}};
    pthread_t threads[CI_BUILDERS_MOST];
    int started = 0;
    for (int i = 1; i < builders->count; i++) turns[i] = (struct turn){&batch, builders->workers[i]};
    while (started + 1 < builders->count && started + 1 < count &&
           ci_threads_start(&threads[started], work, &turns[started + 1]) == 0)
        started++;
    work(&turns[0]);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
}
