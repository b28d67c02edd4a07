/* bench.c: proof first, then the clock. A candidate runs once on the proof's memory and is judged; only then is it
 * timed on memory as a plan has it.
 *
 * One call is too short for any clock, so calls are timed in batches of some milliseconds that end with one wait:
 * enqueueing costs what it costs the real run too. The copies of the weights go on from batch to batch, so that no
 * cache holds more of them than in the real run. */
#define _GNU_SOURCE
#include "tuner/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cache.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/threads.h"
#include "ops/clblast.h"
#include "proof/known_answer.h"
#include "proof/prepare.h"
#include "tuner/bench_problem.h"
#include "tuner/worker_wire.h"

enum { KEPT_PROBLEMS = 4, MOST_LAUNCHES = 512, LEAST_SAMPLES = 3, MOST_SAMPLES = 9, ALIGNMENT = 4096 };

/* Seconds: of a batch; of one so short that it says too little; of all samples of a trial; of a call so slow that one
 * sample is enough to know that. */
static const double long_batch = 20e-3, least_true = 0.9, most_true = 1.005;
static const double batch_seconds = 4e-3, short_batch = 2e-3, enough_seconds = 30e-3, slow_call = 0.1;

struct ci_bench {
    struct ci_bench_options options;
    struct ci_device *device;
    struct ci_threads *threads;
    struct ci_caps caps;
    bool broken;
    enum { CLOCK_UNKNOWN, CLOCK_DEVICE, CLOCK_WALL } clock;
    struct ci_bench_problem *problems[KEPT_PROBLEMS]; /* the last one used first */
};

/* A candidate on a stage, ready to be run as often as one likes. */
struct runner {
    struct ci_bench *bench;
    const struct ci_bench_stage *stage;
    struct ci_call call;
    struct ci_bound *bound;
    ci_cpu_function *function;
    struct ci_buffer *scratch;
    void *memory;
    int64_t next_copy;
    int launches; /* of a batch */
};

static void tell(const struct ci_bench *bench, const char *what) {
    if (bench->options.tell) bench->options.tell(bench->options.user, what);
}

/* ---- the bench ---- */

enum clinfer_status ci_bench_create(const struct ci_bench_options *options, struct ci_bench **out) {
    *out = NULL;
    struct ci_bench *bench = calloc(1, sizeof *bench);
    if (!bench) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    bench->options = *options;
    bench->caps = (struct ci_caps){.cpu = ci_cpu_features()};
    enum clinfer_status status = ci_threads_create(options->threads, &bench->threads);
    if (status == CLINFER_OK) bench->caps.threads = ci_threads_count(bench->threads);
    if (status == CLINFER_OK && options->device >= 0) {
        char *cache = ci_cache_path("programs");
        status = ci_device_open(options->device, cache, &bench->device);
        free(cache);
        if (status == CLINFER_OK) status = ci_clblast_use(bench->device, &options->clblast);
    }
    if (bench->device) bench->caps.device = ci_device_caps(bench->device);
    if (!bench->device || ci_device_clock(bench->device, true) != CLINFER_OK) bench->clock = CLOCK_WALL;
    if (status == CLINFER_OK)
        *out = bench;
    else
        ci_bench_destroy(bench);
    return status;
}

void ci_bench_forget(struct ci_bench *bench) {
    for (int i = 0; i < KEPT_PROBLEMS; i++) {
        ci_bench_problem_destroy(bench->problems[i]);
        bench->problems[i] = NULL;
    }
}

void ci_bench_destroy(struct ci_bench *bench) {
    if (!bench) return;
    ci_bench_forget(bench);
    ci_device_close(bench->device);
    ci_threads_destroy(bench->threads);
    free(bench);
}

struct ci_device *ci_bench_device(const struct ci_bench *bench) {
    return bench->device;
}
struct ci_threads *ci_bench_threads(const struct ci_bench *bench) {
    return bench->threads;
}
bool ci_bench_is_broken(const struct ci_bench *bench) { return bench->broken; }

/* Kept ones, else made; the one that was not used for longest makes room. */
static enum clinfer_status find_problem(struct ci_bench *bench, const struct ci_problem *problem,
                                        struct ci_bench_problem **found) {
    struct ci_bench_problem *kept = NULL;
    int at = 0;
    while (at < KEPT_PROBLEMS - 1 &&
           !(bench->problems[at] && ci_bench_same_problem(&bench->problems[at]->problem, problem)))
        at++;
    if (bench->problems[at] && ci_bench_same_problem(&bench->problems[at]->problem, problem)) {
        kept = bench->problems[at];
    } else {
        ci_bench_problem_destroy(bench->problems[at]);
        bench->problems[at] = NULL;
        enum clinfer_status status = ci_bench_problem_create(problem, &kept);
        if (status != CLINFER_OK) return status;
    }
    memmove(bench->problems + 1, bench->problems, sizeof *bench->problems * (size_t)at);
    bench->problems[0] = *found = kept;
    return CLINFER_OK;
}

/* What is kept may take half of the memory; the one that is asked for stays. */
static void make_room(struct ci_bench *bench, const struct ci_layout *layout) {
    uint64_t bytes = 0, most = bench->options.memory / 2;
    for (int i = 0; i < KEPT_PROBLEMS && most; i++) {
        if (!bench->problems[i]) continue;
        bytes += ci_bench_problem_bytes(bench->problems[i]);
        if (bytes <= most) continue;
        if (i == 0) {
            ci_bench_problem_trim(bench->problems[0], layout);
            bytes = ci_bench_problem_bytes(bench->problems[0]);
        } else {
            ci_bench_problem_destroy(bench->problems[i]);
            bench->problems[i] = NULL;
        }
    }
}

static enum clinfer_status find_stage(struct ci_bench *bench, const struct ci_problem *problem,
                                      const struct ci_layout *layout, struct ci_bench_problem **kept,
                                      struct ci_bench_stage **stage) {
    uint64_t most = bench->options.memory / 4;
    if (bench->device && (!most || most > bench->caps.device->global_bytes / 4))
        most = bench->caps.device->global_bytes / 4;
    tell(bench, CI_WIRE_PREPARING);
    enum clinfer_status status = find_problem(bench, problem, kept);
    return status == CLINFER_OK ? ci_bench_stage(*kept, bench->device, layout, most, stage) : status;
}

/* ---- running ---- */

struct cpu_run {
    const struct runner *runner;
    int count;
};

/* As in a CPU section of a plan: a barrier between steps. */
static void run_on_threads(void *argument, int thread, int threads) {
    const struct cpu_run *run = argument;
    struct ci_call call = run->runner->call;
    for (int i = 0; i < run->count; i++) {
        ci_bench_stage_copy(run->runner->stage, &call, run->runner->next_copy + i);
        run->runner->function(&call, thread, threads);
        if (i + 1 < run->count) ci_threads_barrier(run->runner->bench->threads);
    }
}

/* Events are true if a long batch takes as long by them as on the wall: from then on they count, which leave out the
 * wait at the end. Some drivers have no events, some count in units of their own, some time the enqueueing. */
static enum clinfer_status ask_device_clock(struct ci_bench *bench, double *seconds) {
    double elapsed;
    enum clinfer_status status = ci_device_clock_elapsed(bench->device, &elapsed);
    if (status != CLINFER_OK || elapsed == 0) return status;
    bool true_now = elapsed > least_true * *seconds && elapsed < most_true * *seconds;
    if (bench->clock == CLOCK_DEVICE) {
        *seconds = elapsed;
    } else if (*seconds > long_batch) {
        bench->clock = true_now ? CLOCK_DEVICE : CLOCK_WALL;
        if (!true_now) status = ci_device_clock(bench->device, false);
    }
    return status;
}

/* `count` calls, waited for. */
static enum clinfer_status run_batch(struct runner *runner, int count, double *seconds) {
    enum clinfer_status status = CLINFER_OK;
    struct ci_device *device = runner->bench->device;
    double start = ci_now();
    if (device) {
        double before; /* what the clock says of earlier kernels is of no interest */
        if (runner->bench->clock != CLOCK_WALL) status = ci_device_clock_elapsed(device, &before);
        start = ci_now();
        for (int i = 0; i < count && status == CLINFER_OK; i++) {
            ci_bench_stage_copy(runner->stage, &runner->call, runner->next_copy + i);
            status = ci_bind_update(runner->bound, &runner->call);
            if (status == CLINFER_OK) status = ci_bind_enqueue(runner->bound);
        }
        enum clinfer_status finished = ci_device_finish(device);
        if (finished != CLINFER_OK) runner->bench->broken = true;
        if (status == CLINFER_OK) status = finished;
    } else {
        struct cpu_run run = {.runner = runner, .count = count};
        ci_threads_run(runner->bench->threads, run_on_threads, &run);
    }
    *seconds = ci_now() - start;
    runner->next_copy += count;
    if (status == CLINFER_OK && runner->bench->clock != CLOCK_WALL) status = ask_device_clock(runner->bench, seconds);
    return status;
}

static void destroy_runner(struct runner *runner) {
    ci_bind_destroy(runner->bound);
    ci_buffer_destroy(runner->scratch);
    free(runner->memory);
    *runner = (struct runner){0};
}

static enum clinfer_status create_runner(struct ci_bench *bench, const struct ci_bench_stage *stage,
                                         const struct ci_tuner_candidate *candidate, struct runner *runner) {
    const struct ci_variant *variant = candidate->variant;
    enum clinfer_status status = CLINFER_OK;
    *runner = (struct runner){.bench = bench, .stage = stage, .call = stage->call, .launches = 1};
    size_t scratch = variant->scratch ? variant->scratch(&runner->call, candidate->tunables) : 0;
    if (bench->device) {
        if (scratch) status = ci_buffer_create(bench->device, scratch, NULL, &runner->scratch);
        runner->call.scratch.buffer = runner->scratch;
        if (status == CLINFER_OK)
            status = ci_bind_create(bench->device, variant, candidate->tunables, &runner->call, &runner->bound);
    } else {
        if (scratch) runner->memory = aligned_alloc(ALIGNMENT, (scratch + ALIGNMENT) / ALIGNMENT * ALIGNMENT);
        if (scratch && !runner->memory) status = ci_fail(CLINFER_OUT_OF_MEMORY, "%zu bytes of scratch", scratch);
        runner->call.scratch.data = runner->memory;
        runner->function = variant->cpu(&runner->call);
    }
    if (status != CLINFER_OK) destroy_runner(runner);
    return status;
}

static int launches_for(int launches, double seconds, double wanted) {
    double count = wanted / (seconds > 1e-7 ? seconds : 1e-7) * launches;
    return count < 1 ? 1 : count < MOST_LAUNCHES ? (int)count + 1 : MOST_LAUNCHES;
}

/* How many calls make a batch; the first of them warm up. The first time a long one, to look at the device's clock.
 * *seconds is what a call took in the last batch. */
static enum clinfer_status size_batch(struct runner *runner, double *seconds) {
    double taken = 0;
    runner->launches = 1;
    for (int tries = 0; tries < 4; tries++) {
        bool unknown = runner->bench->clock == CLOCK_UNKNOWN;
        enum clinfer_status status = run_batch(runner, runner->launches, &taken);
        if (status != CLINFER_OK) return status;
        *seconds = taken / runner->launches;
        if (taken >= (unknown ? long_batch : short_batch) || runner->launches == MOST_LAUNCHES) break;
        runner->launches = launches_for(runner->launches, taken, unknown ? 1.5 * long_batch : batch_seconds);
    }
    if (taken > 1.5 * batch_seconds) runner->launches = launches_for(runner->launches, taken, batch_seconds);
    return CLINFER_OK;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is slow anyhow, or slower than anybody wants to know, is timed once. */
static enum clinfer_status time_runner(struct runner *runner, double give_up_seconds, double *seconds) {
    double samples[MOST_SAMPLES], total = 0;
    int count = 0;
    enum clinfer_status status = size_batch(runner, seconds);
    if (status != CLINFER_OK || *seconds > slow_call || (give_up_seconds > 0 && *seconds > give_up_seconds))
        return status;
    while (status == CLINFER_OK && count < MOST_SAMPLES && (count < LEAST_SAMPLES || total < enough_seconds)) {
        double taken;
        status = run_batch(runner, runner->launches, &taken);
        samples[count++] = taken / runner->launches;
        total += taken;
    }
    qsort(samples, (size_t)count, sizeof *samples, by_size);
    *seconds = samples[count / 2];
    return status;
}

/* ---- proving ---- */

/* Outputs that are not written must be seen: they begin as NaN; state as the sample has it. */
static enum clinfer_status fresh_outputs(const struct ci_sample_call *sample, struct ci_sample_call *result) {
    enum clinfer_status status = ci_sample_copy(sample, result);
    for (int i = 0; i < sample->op->outputs && status == CLINFER_OK; i++)
        if (!(sample->op->state_outputs >> i & 1))
            memset(result->call.out[i].data, 0xff, ci_view_bytes(&result->call.out[i]));
    return status;
}

static enum clinfer_status prove_on_device(struct ci_bench *bench, struct ci_bench_stage *stage,
                                           const struct ci_tuner_candidate *candidate, struct ci_sample_call *result,
                                           struct ci_trial *trial) {
    struct ci_bound *bound = NULL;
    struct ci_device_counts before, after;
    ci_device_counts(bench->device, &before);
    tell(bench, "compiling");
    double start = ci_now();
    enum clinfer_status status =
        ci_device_call_bind(&stage->proof, candidate->variant, candidate->tunables, result, &bound);
    if (status == CLINFER_OK) {
        tell(bench, "running");
        status = ci_bind_enqueue(bound);
        enum clinfer_status finished = ci_device_finish(bench->device);
        if (finished != CLINFER_OK) bench->broken = true;
        if (status == CLINFER_OK) status = finished;
    }
    trial->build_seconds = ci_now() - start;
    ci_device_counts(bench->device, &after);
    trial->cached = after.builds == before.builds;
    if (candidate->variant->backend == CI_BACKEND_CLBLAST) { /* of which nothing outlives a process */
        trial->cached = false;
        trial->build_seconds += before.clblast_seconds;
    }
    if (status == CLINFER_OK) status = ci_device_call_fetch(&stage->proof, result);
    ci_bind_destroy(bound);
    return status;
}

static enum clinfer_status prove_on_cpu(struct ci_bench *bench, const struct ci_bench_stage *stage,
                                        const struct ci_tuner_candidate *candidate, struct ci_sample_call *result,
                                        struct ci_trial *trial) {
    struct runner runner;
    double start = ci_now(), seconds;
    enum clinfer_status status = create_runner(bench, stage, candidate, &runner);
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < CI_MAX_OUTPUTS; i++) runner.call.out[i] = result->call.out[i];
    tell(bench, "running");
    status = run_batch(&runner, 1, &seconds);
    trial->build_seconds = ci_now() - start;
    trial->cached = true;
    destroy_runner(&runner);
    return status;
}

static enum clinfer_status prove_once(struct ci_bench *bench, struct ci_bench_problem *problem,
                                      struct ci_bench_stage *stage, const struct ci_tuner_candidate *candidate,
                                      struct ci_trial *trial) {
    struct ci_sample_call result;
    struct ci_gate_result verdict;
    const struct ci_call *call = bench->device ? &stage->proof.call : &stage->call;
    if (!ci_variant_fits(candidate->variant, &bench->caps, call))
        return ci_fail(CLINFER_UNSUPPORTED, "op %s, variant %s does not do this here", problem->problem.op->name,
                       candidate->variant->name);
    enum clinfer_status status = fresh_outputs(&problem->sample, &result);
    if (status != CLINFER_OK) return status;
    status = bench->device ? prove_on_device(bench, stage, candidate, &result, trial)
                           : prove_on_cpu(bench, stage, candidate, &result, trial);
    if (status == CLINFER_OK) status = ci_judge_compare(problem->judge, &result, &verdict);
    if (status == CLINFER_OK) trial->nmse = verdict.nmse;
    if (status == CLINFER_OK && !verdict.passed) status = ci_fail(CLINFER_WRONG_RESULT, "%s", verdict.text);
    ci_sample_destroy(&result);
    return status;
}

/* What is wrong once may be an accident; what is wrong twice goes into quarantine. */
static enum clinfer_status prove(struct ci_bench *bench, struct ci_bench_problem *problem, struct ci_bench_stage *stage,
                                 const struct ci_tuner_candidate *candidate, struct ci_trial *trial) {
    enum clinfer_status status = prove_once(bench, problem, stage, candidate, trial);
    return status == CLINFER_WRONG_RESULT ? prove_once(bench, problem, stage, candidate, trial) : status;
}

/* ---- what the worker asks for ---- */

void ci_bench_conclude(const struct ci_bench *bench, enum clinfer_status status, struct ci_trial *trial) {
    static const enum ci_trial_outcome outcomes[] = {[CLINFER_OK] = CI_TRIAL_PASSED,
                                                     [CLINFER_WRONG_RESULT] = CI_TRIAL_WRONG,
                                                     [CLINFER_OUT_OF_MEMORY] = CI_TRIAL_OUT_OF_MEMORY};
    trial->outcome = bench->broken ? CI_TRIAL_CRASHED : CI_TRIAL_UNUSABLE;
    if (status == CLINFER_OK || status == CLINFER_WRONG_RESULT || status == CLINFER_OUT_OF_MEMORY)
        trial->outcome = outcomes[status];
    if (status != CLINFER_OK) snprintf(trial->reason, sizeof trial->reason, "%s", ci_status_message());
}

void ci_bench_try(struct ci_bench *bench, const struct ci_problem *problem, const struct ci_tuner_candidate *candidate,
                  struct ci_trial *trial) {
    struct ci_bench_problem *kept;
    struct ci_bench_stage *stage;
    struct runner runner = {0};
    *trial = (struct ci_trial){0};
    enum clinfer_status status = find_stage(bench, problem, candidate->layout, &kept, &stage);
    bool prepared = status == CLINFER_OK;
    if (status == CLINFER_OK) make_room(bench, candidate->layout);
    if (status == CLINFER_OK) status = prove(bench, kept, stage, candidate, trial);
    if (status == CLINFER_OK) status = create_runner(bench, stage, candidate, &runner);
    if (status == CLINFER_OK) tell(bench, "timing");
    if (status == CLINFER_OK) status = time_runner(&runner, candidate->give_up_seconds, &trial->seconds);
    destroy_runner(&runner);
    trial->device_clock = bench->clock == CLOCK_DEVICE;
    ci_bench_conclude(bench, status, trial);
    if (!prepared) trial->outcome = CI_TRIAL_UNUSABLE; /* the candidate has not run */
}

void ci_bench_build(struct ci_bench *bench, const struct ci_problem *problem,
                    const struct ci_tuner_candidate *candidate, struct ci_trial *trial) {
    const struct ci_op *op = problem->op;
    struct ci_call call;
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    tell(bench, "compiling");
    if (!bench->device || !ci_proof_signature(op, &problem->shape, &call)) return;
    for (int i = 0; i < op->inputs && candidate->layout; i++)
        if (call.in[i].type && (op->weight_inputs >> i & 1)) call.in[i].layout = candidate->layout;
    if (!ci_variant_fits(candidate->variant, &bench->caps, &call)) return;
    ci_proof_prepare(bench->device, &bench->caps, candidate->variant, candidate->tunables, &call,
                     bench->caps.device->kind == CI_DEVICE_CPU);
    ci_proof_prepared(bench->device);
}

void ci_bench_compare(struct ci_bench *bench, const struct ci_problem *problem,
                      const struct ci_tuner_candidate *candidates, int count, int rounds, double *samples,
                      struct ci_trial *trial) {
    struct ci_bench_problem *kept;
    struct ci_bench_stage *stage;
    double ignored;
    *trial = (struct ci_trial){0};
    struct runner *runners = count > 0 && rounds > 0 ? calloc((size_t)count, sizeof *runners) : NULL;
    enum clinfer_status status =
        runners ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d candidates", count);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        status = find_stage(bench, problem, candidates[i].layout, &kept, &stage);
        if (status == CLINFER_OK) status = create_runner(bench, stage, &candidates[i], &runners[i]);
        if (status == CLINFER_OK) status = size_batch(&runners[i], &ignored);
        if (status != CLINFER_OK) ci_fail_prefix(status, "%s", candidates[i].variant->name);
    }
    if (status == CLINFER_OK) tell(bench, "timing");
    for (int round = 0; round < rounds && status == CLINFER_OK; round++)
        for (int i = 0; i < count && status == CLINFER_OK; i++) {
            double *seconds = &samples[round * count + i];
            status = run_batch(&runners[i], runners[i].launches, seconds);
            *seconds /= runners[i].launches;
        }
    for (int i = 0; runners && i < count; i++) destroy_runner(&runners[i]);
    free(runners);
    trial->device_clock = bench->clock == CLOCK_DEVICE;
    ci_bench_conclude(bench, status, trial);
}
