/* bench_problem.h: a problem brought to life in memory, for candidates of every layout: what bench.c proves and times
 * on.
 *
 * Proof and timing have memory of their own. What proves a kernel lies at awkward offsets between guard bytes; what
 * times it lies as a plan would lay it out, with as many copies of the weights as the problem asks for. Only weights so
 * large that twice is a waste are shared. */
#ifndef CI_TUNER_BENCH_PROBLEM_H
#define CI_TUNER_BENCH_PROBLEM_H

#include "proof/device_call.h"
#include "proof/judge.h"
#include "tuner/worker.h"

enum { CI_BENCH_SLOTS = CI_MAX_INPUTS + CI_MAX_OUTPUTS, CI_BENCH_STAGES = 8 };

/* A problem with its weights in one layout. */
struct ci_bench_stage {
    const struct ci_layout *layout; /* NULL: the op has no weights */
    struct ci_device_call proof;    /* on a device */
    struct ci_call call;            /* for timing: the first copy */
    struct ci_buffer *buffers[CI_BENCH_SLOTS];
    void *memory[CI_BENCH_SLOTS]; /* on the host; NULL: it is the driver's */
    uint64_t stride[CI_MAX_INPUTS];
    int copies;
    uint64_t bytes; /* that it takes, about */
};

struct ci_bench_problem {
    struct ci_problem problem;
    struct ci_sample_call sample;
    struct ci_judge *judge;
    struct ci_bench_stage *stages[CI_BENCH_STAGES];
    int stage_count;
    uint64_t bytes; /* without stages */
};

/* `device` NULL: the CPU backend. */
enum clinfer_status ci_bench_problem_create(const struct ci_problem *problem, struct ci_bench_problem **created);
void ci_bench_problem_destroy(struct ci_bench_problem *problem);

/* The stage for a layout, made when it is asked for first; copies take at most `limit` bytes. */
enum clinfer_status ci_bench_stage(struct ci_bench_problem *problem, struct ci_device *device,
                                   const struct ci_layout *layout, uint64_t limit, struct ci_bench_stage **stage);

/* Bytes of the problem and its stages, about. */
uint64_t ci_bench_problem_bytes(const struct ci_bench_problem *problem);

/* Gives back the stages of all layouts but this one. */
void ci_bench_problem_trim(struct ci_bench_problem *problem, const struct ci_layout *layout);

/* Lets `call` (a copy of stage->call) read copy number `copy`, counted on for ever. */
void ci_bench_stage_copy(const struct ci_bench_stage *stage, struct ci_call *call, int64_t copy);

bool ci_bench_same_problem(const struct ci_problem *a, const struct ci_problem *b);

#endif
