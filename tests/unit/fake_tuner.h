/* fake_tuner.h: tunes with a worker that measures nothing: times come from a formula, faults from a list. Its functions
 * stand in for those of tuner/worker.c and profile/trial.c, which the linker then leaves out: for one file of a
 * program.
 */
#ifndef TESTS_UNIT_FAKE_TUNER_H
#define TESTS_UNIT_FAKE_TUNER_H

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/threads.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/imagined_gpu.h"
#include "tuner/builders.h"
#include "tuner/tune.h"

static char data_folder[256];
static const char model_path[] = "tests/data/llama_tiny.gguf";

/* ---- the worker that measures nothing ---- */

enum { MOST_TRIES = 65536 };

struct try {
    const struct ci_op *op;
    int64_t rows;
    const struct ci_type *types[CI_MAX_INPUTS];
    struct ci_tuner_candidate candidate;
};

static struct {
    int created, measured, compared, models, settings;
    double longest_usual, longest_clblast; /* deadlines of tries */
    struct try tries[MOST_TRIES];
    int try_count;
    /* what the test wants */
    double (*seconds)(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);
    enum ci_trial_outcome (*outcome)(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);
    double (*model_seconds)(const struct ci_profile *profile, bool decode); /* NULL profile: none */
    double cpu_speed;             /* of the CPU backend beside the device; 0: the same */
    double sleep;                 /* real seconds of a try */
    void (*pass)(double seconds); /* NULL: what takes time takes none; else the test's own clock goes on */
    double (*try_seconds)(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);
    struct ci_profile_device device; /* what is measured of it; zeros: a usual one */
    double build_seconds;
    double (*build)(const struct ci_problem *problem,
                    const struct ci_tuner_candidate *candidate); /* NULL: none ahead */
    int built_ahead;
    int fail_model;  /* outcome of ci_worker_model */
    int most_rounds; /* that it has time for; 0: all */
    int asked;       /* rounds of decoding, of the last run of a whole model with other kernels */
} fake;

/* ---- the mark "trying X", in memory: that it is on disk is what tests of profile/ and e2e/ are for ---- */

static struct {
    bool set, left_over;
    struct ci_quarantined item;
} mark;

enum clinfer_status ci_trial_begin(const struct ci_quarantined *candidate) {
    mark.set = true;
    mark.item = *candidate;
    return CLINFER_OK;
}

void ci_trial_end(void) { mark.set = false; }

int ci_trial_recover(void) {
    if (!mark.left_over) return 0;
    mark.left_over = false;
    snprintf(mark.item.reason, sizeof mark.item.reason, "clinfer or the machine stopped while trying it");
    assert_ok(ci_quarantine_add(&mark.item));
    return 1;
}

enum clinfer_status ci_worker_create(const struct ci_worker_options *options, struct ci_worker **worker) {
    (void)options;
    fake.created++;
    *worker = NULL;
    return CLINFER_OK;
}

void ci_worker_destroy(struct ci_worker *worker) { (void)worker; }

/* Two builders, each of which takes as long as the worker would. */
struct ci_builders *ci_builders_create(const struct ci_worker_options *options) {
    static char builders;
    (void)options;
    return fake.build ? (struct ci_builders *)(void *)&builders : NULL;
}

void ci_builders_destroy(struct ci_builders *builders) { (void)builders; }

int ci_builders_count(const struct ci_builders *builders) {
    (void)builders;
    return 2;
}

void ci_builders_build(struct ci_builders *builders, struct ci_build *list, int count, double deadline_seconds) {
    (void)builders;
    (void)deadline_seconds;
    double seconds = 0;
    for (int i = 0; i < count; i++) seconds += fake.build(list[i].problem, &list[i].candidate);
    if (fake.pass) fake.pass(0.5 * seconds);
    fake.built_ahead += count;
}

enum clinfer_status ci_worker_try(struct ci_worker *worker, const struct ci_problem *problem,
                                  const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                  struct ci_trial *trial) {
    (void)worker;
    double *longest = candidate->variant->backend == CI_BACKEND_CLBLAST ? &fake.longest_clblast : &fake.longest_usual;
    if (deadline_seconds > *longest) *longest = deadline_seconds;
    assert_true(mark.set);
    assert_string_equal(mark.item.op, problem->op->name);
    assert_string_equal(mark.item.variant, candidate->variant->name);
    assert_true(fake.try_count < MOST_TRIES);
    struct try *made = &fake.tries[fake.try_count++];
    *made = (struct try){.op = problem->op, .rows = problem->shape.in[0].rows, .candidate = *candidate};
    for (int i = 0; i < CI_MAX_INPUTS; i++) made->types[i] = problem->shape.in[i].type;
    if (fake.sleep > 0) usleep((useconds_t)(1e6 * fake.sleep));
    if (fake.pass) fake.pass(fake.try_seconds(problem, candidate));
    *trial = (struct ci_trial){.outcome = fake.outcome ? fake.outcome(problem, candidate) : CI_TRIAL_PASSED,
                               .build_seconds = fake.build_seconds,
                               .nmse = 1e-12};
    if (trial->outcome == CI_TRIAL_PASSED)
        trial->seconds = fake.seconds(problem, candidate);
    else
        snprintf(trial->reason, sizeof trial->reason, "as the test wants");
    return CLINFER_OK;
}

enum clinfer_status ci_worker_compare(struct ci_worker *worker, const struct ci_problem *problem,
                                      const struct ci_tuner_candidate *candidates, int count, int rounds,
                                      double deadline_seconds, double *samples, struct ci_trial *trial) {
    (void)worker;
    (void)deadline_seconds;
    fake.compared++;
    for (int i = 0; i < rounds * count; i++) {
        samples[i] = fake.seconds(problem, &candidates[i % count]);
        if (fake.pass) fake.pass(fmax(0.01, samples[i]));
    }
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

enum clinfer_status ci_worker_measure(struct ci_worker *worker, uint64_t bytes, double deadline_seconds,
                                      struct ci_profile_device *measured, struct ci_trial *trial) {
    (void)worker;
    (void)bytes;
    (void)deadline_seconds;
    fake.measured++;
    *measured = (struct ci_profile_device){.read_bytes_per_second = 1e11,
                                           .operations_per_second = 1e12,
                                           .dot8_operations_per_second = 4e12,
                                           .launch_seconds = 1e-6,
                                           .crossing_seconds = 1e-5};
    if (fake.device.read_bytes_per_second > 0) *measured = fake.device;
    if (fake.pass) fake.pass(2);
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

/* After three rounds, as the worker does it. */
static bool is_given_up(const struct ci_worker_model *model) {
    const double *runs[] = {model->decode, model->prefill};
    const int rounds[] = {model->decode_rounds, model->prefill_rounds};
    if (!(model->give_up > 0)) return false;
    for (int r = 0; r < 2; r++) {
        const double *pairs = runs[r];
        if (rounds[r] == 0) continue;
        if (rounds[r] < 3) return false;
        if (pairs[1] + pairs[3] + pairs[5] < model->give_up * (pairs[0] + pairs[2] + pairs[4])) return false;
    }
    return true;
}

enum clinfer_status ci_worker_model(struct ci_worker *worker, struct ci_worker_model *model, double deadline_seconds,
                                    struct ci_trial *trial) {
    (void)worker;
    (void)deadline_seconds;
    fake.models += !(model->give_up > 0);
    fake.settings += model->give_up > 0;
    if (!(model->give_up > 0)) fake.asked = model->decode_rounds;
    assert_true(model->decode_rounds >= 0 && model->prefill_rounds >= 0);
    assert_true(model->context > 0 && model->prompt > 0);
    /* What the tiny one was made for. */
    if (strcmp(model->model, model_path) == 0)
        assert_true(model->context + CI_WORKER_ANSWER < 512 && model->prompt + CI_WORKER_ANSWER < 512);
    *trial = (struct ci_trial){.outcome = (enum ci_trial_outcome)fake.fail_model};
    if (fake.most_rounds && model->decode_rounds > fake.most_rounds) model->decode_rounds = fake.most_rounds;
    if (fake.most_rounds && model->prefill_rounds > fake.most_rounds) model->prefill_rounds = fake.most_rounds;
    for (int side = 0; side < 2; side++) {
        struct ci_profile profile = {0};
        bool has = strchr(model->tunings[side], '/') != NULL;
        enum clinfer_status status = has ? ci_profile_read(model->tunings[side], &profile) : CLINFER_OK;
        if (status == CLINFER_OUT_OF_MEMORY) return status;
        assert_ok(status);
        /* Kernels make it faster; settings only where the test says so. */
        double share = side && !(model->give_up > 0) ? 0.95 : 1;
        double slower = model->devices[side] && fake.cpu_speed > 0 ? 1 / fake.cpu_speed : 1;
        for (int round = 0; round < model->decode_rounds; round++)
            model->decode[2 * round + side] =
                slower * (fake.model_seconds ? fake.model_seconds(has ? &profile : NULL, true) : 0.01 * share);
        for (int round = 0; round < model->prefill_rounds; round++)
            model->prefill[2 * round + side] =
                slower * (fake.model_seconds ? fake.model_seconds(has ? &profile : NULL, false) : 1 * share);
        ci_profile_free(&profile);
    }
    if (is_given_up(model)) {
        model->decode_rounds = model->decode_rounds ? 3 : 0;
        model->prefill_rounds = model->prefill_rounds ? 3 : 0;
    }
    /* Loading, and samples of about such a length, of both sides. */
    double seconds = 2 * (0.3 + 0.06 * model->decode_rounds + 0.12 * model->prefill_rounds);
    if (fake.pass) fake.pass(fmin(seconds, model->seconds));
    return CLINFER_OK;
}

enum clinfer_status ci_worker_steps(struct ci_worker *worker, const char *model, const char *tuning, int context,
                                    double deadline_seconds, struct ci_profile_steps *steps, struct ci_trial *trial) {
    (void)worker;
    (void)model;
    (void)deadline_seconds;
    assert_true(context > 0 && strchr(tuning, '/'));
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    *steps = (struct ci_profile_steps){{0.01, 0.011, 0.012, 0.016, 0.03}};
    if (fake.pass) fake.pass(0.5);
    return CLINFER_OK;
}

/* ---- a tune ---- */

static struct {
    int stop_after;        /* tries; 0: never */
    int stop_after_models; /* runs of a whole model; 0: never */
    char said[4096];
    int progress, trials, skips;
} heard;

static bool stopped(void *user) {
    (void)user;
    return (heard.stop_after && fake.try_count >= heard.stop_after) ||
           (heard.stop_after_models && fake.models >= heard.stop_after_models);
}

static void on_progress(void *user, const struct ci_tune_progress *progress) {
    (void)user;
    assert_true(progress->elapsed >= 0);
    heard.progress++;
}

static void on_trial(void *user, const struct ci_tune_trial *trial) {
    (void)user;
    heard.trials += strcmp(trial->kind, "trial") == 0;
    heard.skips += strcmp(trial->kind, "skip") == 0;
}

static void on_say(void *user, const char *text) {
    (void)user;
    size_t used = strlen(heard.said);
    snprintf(heard.said + used, sizeof heard.said - used, "%s\n", text);
}

struct wish {
    double budget;
    bool thorough, again, standard, cpu; /* cpu: the CPU backend with all processors */
    const struct ci_device_caps *device; /* NULL: the imagined GPU */
    const char *model;                   /* NULL: the tiny one */
};

static enum clinfer_status tune(const struct wish *wish, struct ci_tune_result *result) {
    static struct ci_caps caps;
    const char *const models[] = {wish->model ? wish->model : model_path};
    caps = imagined_gpu_caps();
    if (wish->device) caps.device = wish->device;
    if (wish->cpu) caps = (struct ci_caps){.cpu = ci_cpu_features(), .threads = ci_threads_default()};
    fake.try_count = fake.created = fake.compared = fake.models = fake.measured = fake.settings = 0;
    memset(&heard.progress, 0, sizeof heard - offsetof(__typeof__(heard), progress));
    heard.said[0] = 0;
    const struct ci_tune_options options = {.device = wish->cpu ? -1 : 0,
                                            .caps = &caps,
                                            .threads = wish->cpu ? caps.threads : 2,
                                            .models = models,
                                            .model_count = wish->standard ? 0 : 1,
                                            .budget = wish->budget,
                                            .candidate_seconds = 10,
                                            .rounds = 3,
                                            .thorough = wish->thorough,
                                            .again = wish->again,
                                            .seed = 1,
                                            .listener = {NULL, stopped, on_progress, on_trial, on_say}};
    return ci_tune(&options, result);
}

static const struct wish usual = {.budget = 20};

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk) {
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    char cache[300];
    memset(&fake, 0, sizeof fake);
    memset(&heard, 0, sizeof heard);
    fake.seconds = seconds_by_tunables;
    /* Marks are synced to disk: thousands of them are quick in memory only. */
    snprintf(data_folder, sizeof data_folder, "%s/clinfer-tuner-%d",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    snprintf(cache, sizeof cache, "%s/cache", data_folder);
    nftw(data_folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    setenv("XDG_DATA_HOME", data_folder, 1);
    setenv("XDG_CACHE_HOME", cache, 1);
    return 0;
}

#endif
