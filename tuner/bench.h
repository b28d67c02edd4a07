/* bench.h: where candidates are proven and timed: one device (or the CPU backend) and the memory of the last few
 * problems. It runs in the worker (worker.h), since what is tried here may crash, hang or eat all memory. */
#ifndef CI_TUNER_BENCH_H
#define CI_TUNER_BENCH_H

#include "tuner/worker.h"

struct ci_bench;

/* `device` is an index of ci_device_list, -1 the CPU backend with so many threads (0: all processors). Copies of
 * weights take at most a quarter of `memory` bytes (0: any). `tell` (may be NULL) hears what is going on, for the
 * reason should it never end: "compiling", "running". */
struct ci_bench_options {
    int device, threads;
    uint64_t memory;
    struct ci_profile_clblast clblast;
    void (*tell)(void *user, const char *what);
    void *user;
};
enum clinfer_status ci_bench_create(const struct ci_bench_options *options, struct ci_bench **bench);
void ci_bench_destroy(struct ci_bench *bench);

/* Borrowed; NULL for the CPU backend. */
struct ci_device *ci_bench_device(const struct ci_bench *bench);
struct ci_threads *ci_bench_threads(const struct ci_bench *bench);

/* As ci_worker_try; what fails is the trial's outcome. */
void ci_bench_try(struct ci_bench *bench, const struct ci_problem *problem, const struct ci_tuner_candidate *candidate,
                  struct ci_trial *trial);

/* As ci_worker_build. */
void ci_bench_build(struct ci_bench *bench, const struct ci_problem *problem,
                    const struct ci_tuner_candidate *candidate, struct ci_trial *trial);

/* As ci_worker_compare. */
void ci_bench_compare(struct ci_bench *bench, const struct ci_problem *problem,
                      const struct ci_tuner_candidate *candidates, int count, int rounds, double *samples,
                      struct ci_trial *trial);

/* As ci_worker_model, with engines of its own on the device of `options`. */
enum clinfer_status ci_bench_model(const struct ci_bench_options *options, struct ci_worker_model *model);

/* As ci_worker_steps, with the first of the model's tunings. */
enum clinfer_status ci_bench_steps(const struct ci_bench_options *options, const struct ci_worker_model *model,
                                   struct ci_profile_steps *steps);

/* Gives back the memory of the problems that are kept. */
void ci_bench_forget(struct ci_bench *bench);

/* What a status says about a candidate; the reason is the message of this thread. */
void ci_bench_conclude(const struct ci_bench *bench, enum clinfer_status status, struct ci_trial *trial);

/* Whether the device does no more: a fresh process is needed. */
bool ci_bench_is_broken(const struct ci_bench *bench);

#endif
