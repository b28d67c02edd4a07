/* tuner/: what is tuned, in which order, who wins, what is kept, with a worker that measures nothing: times come from
 * a formula, faults from a list. Its functions stand in for those of tuner/worker.c, which the linker then leaves out.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/status.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/process.h"
#include "tuner/search.h"
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
    int created, measured, compared, models;
    struct try tries[MOST_TRIES];
    int try_count;
    /* what the test wants */
    double (*seconds)(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);
    enum ci_trial_outcome (*outcome)(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);
    double (*model_seconds)(const struct ci_profile *profile, bool decode); /* NULL profile: none */
    double sleep;                                                           /* real seconds of a try */
    double build_seconds;
    int fail_model; /* outcome of ci_worker_model */
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

enum clinfer_status ci_worker_try(struct ci_worker *worker, const struct ci_problem *problem,
                                  const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                  struct ci_trial *trial) {
    (void)worker;
    (void)deadline_seconds;
    assert_true(mark.set);
    assert_string_equal(mark.item.op, problem->op->name);
    assert_string_equal(mark.item.variant, candidate->variant->name);
    assert_true(fake.try_count < MOST_TRIES);
    struct try *made = &fake.tries[fake.try_count++];
    *made = (struct try){.op = problem->op, .rows = problem->shape.in[0].rows, .candidate = *candidate};
    for (int i = 0; i < CI_MAX_INPUTS; i++) made->types[i] = problem->shape.in[i].type;
    if (fake.sleep > 0) usleep((useconds_t)(1e6 * fake.sleep));
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
    for (int i = 0; i < rounds * count; i++) samples[i] = fake.seconds(problem, &candidates[i % count]);
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

enum clinfer_status ci_worker_measure(struct ci_worker *worker, uint64_t bytes, double deadline_seconds,
                                      struct ci_profile_device *measured, struct ci_trial *trial) {
    (void)worker;
    (void)bytes;
    (void)deadline_seconds;
    fake.measured++;
    *measured = (struct ci_profile_device){
        .read_bytes_per_second = 1e11, .operations_per_second = 1e12, .launch_seconds = 1e-6, .crossing_seconds = 1e-5};
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

enum clinfer_status ci_worker_model(struct ci_worker *worker, const struct ci_worker_model *model,
                                    double deadline_seconds, struct ci_trial *trial) {
    (void)worker;
    (void)deadline_seconds;
    fake.models++;
    *trial = (struct ci_trial){.outcome = (enum ci_trial_outcome)fake.fail_model};
    for (int side = 0; side < 2; side++) {
        struct ci_profile profile = {0};
        bool has = strchr(model->tunings[side], '/') != NULL;
        if (has) assert_ok(ci_profile_read(model->tunings[side], &profile));
        for (int round = 0; round < model->rounds; round++) {
            model->decode[2 * round + side] =
                fake.model_seconds ? fake.model_seconds(has ? &profile : NULL, true) : 0.01 * (side ? 0.95 : 1);
            model->prefill[2 * round + side] =
                fake.model_seconds ? fake.model_seconds(has ? &profile : NULL, false) : 1 * (side ? 0.95 : 1);
        }
        ci_profile_free(&profile);
    }
    return CLINFER_OK;
}

/* ---- a device ---- */

static const struct ci_device_caps gpu = {.name = "Imagined GPU",
                                          .vendor = "nobody",
                                          .platform = "Imagined",
                                          .platform_version = "OpenCL 3.0",
                                          .version = "OpenCL 3.0",
                                          .driver = "1.0",
                                          .kind = CI_DEVICE_GPU,
                                          .opencl_major = 3,
                                          .compute_units = 16,
                                          .global_bytes = UINT64_C(8) << 30,
                                          .max_alloc_bytes = UINT64_C(2) << 30,
                                          .local_bytes = 48 << 10,
                                          .max_work_group = 1024,
                                          .max_work_item = {1024, 1024, 64},
                                          .base_align_bytes = 128,
                                          .local_is_dedicated = true,
                                          .fp16 = true,
                                          .subgroups = true,
                                          .key = 42};

static struct ci_caps gpu_caps(void) {
    return (struct ci_caps){.cpu = ci_cpu_features(), .device = &gpu, .threads = 2};
}

/* The further up the lists of allowed values, the faster; the variant's name decides the rest. */
static double by_tunables(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    const char *name = candidate->variant->name;
    double seconds = 1e-5 * (1 + (double)(ci_hash(CI_HASH_START, name, strlen(name)) % 50) / 100);
    seconds *= 1 + log2((double)problem->shape.in[0].rows * (double)problem->shape.in[0].cols);
    for (int i = 0; candidate->variant->tunables && candidate->variant->tunables[i].name; i++) {
        const int *allowed = candidate->variant->tunables[i].allowed;
        int count = 0, place = 0;
        for (; allowed[count]; count++)
            if (allowed[count] == candidate->tunables[i]) place = count;
        seconds *= 1 + 0.1 * (count - 1 - place);
    }
    return seconds;
}

static double all_alike(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    (void)candidate;
    return 1e-9 * (double)(problem->shape.in[0].rows * problem->shape.in[0].cols);
}

static bool is_standard(const struct ci_tuner_candidate *candidate) {
    for (int i = 0; candidate->variant->tunables && candidate->variant->tunables[i].name; i++)
        if (candidate->tunables[i] != candidate->variant->tunables[i].value) return false;
    return true;
}

/* ---- a tune ---- */

static struct {
    int stop_after; /* tries; 0: never */
    char said[4096];
    int progress, trials, skips;
} heard;

static bool stopped(void *user) {
    (void)user;
    return heard.stop_after && fake.try_count >= heard.stop_after;
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
    bool thorough, again, standard;
};

static enum clinfer_status tune(const struct wish *wish, struct ci_tune_result *result) {
    static struct ci_caps caps;
    const char *const models[] = {model_path};
    caps = gpu_caps();
    fake.try_count = fake.created = fake.compared = fake.models = fake.measured = 0;
    memset(&heard.progress, 0, sizeof heard - offsetof(__typeof__(heard), progress));
    heard.said[0] = 0;
    const struct ci_tune_options options = {.device = 0,
                                            .caps = &caps,
                                            .threads = 2,
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
    fake.seconds = by_tunables;
    /* Marks are synced to disk: thousands of them are quick in memory only. */
    snprintf(data_folder, sizeof data_folder, "%s/clinfer-tuner-%d",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    snprintf(cache, sizeof cache, "%s/cache", data_folder);
    nftw(data_folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    setenv("XDG_DATA_HOME", data_folder, 1);
    setenv("XDG_CACHE_HOME", cache, 1);
    return 0;
}

static const struct ci_profile_entry *entry_of(const struct ci_profile *profile, const char *op, int64_t rows,
                                               const char *layout) {
    for (int i = 0; i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        if (strcmp(entry->signature.op, op) == 0 && entry->signature.rows == rows && strcmp(entry->layout, layout) == 0)
            return entry;
    }
    return NULL;
}

/* ---- problems ---- */

static const struct ci_tune_problem *find_problem(const struct ci_problems *problems, const char *op, int64_t rows,
                                                  const char *types) {
    for (int i = 0; i < problems->count; i++) {
        const struct ci_profile_signature *signature = &problems->items[i].signature;
        if (strcmp(signature->op, op) == 0 && signature->rows == rows &&
            strncmp(signature->types, types, strlen(types)) == 0)
            return &problems->items[i];
    }
    return NULL;
}

static void test_problems_are_those_of_the_model_each_once(void **state) {
    (void)state;
    struct ci_caps caps = gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    assert_int_equal(problems.model_count, 1);
    for (int i = 0; i < problems.count; i++)
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(&problems.items[i].signature, &problems.items[k].signature,
                                    sizeof problems.items[i].signature);
    for (int run = 0; run < CI_TUNE_RUNS; run++) {
        assert_non_null(find_problem(&problems, "matmul", ci_tune_rows[run], "q8"));
        assert_non_null(find_problem(&problems, "matmul", ci_tune_rows[run], "f32"));
        assert_non_null(find_problem(&problems, "attention", ci_tune_rows[run], "f32"));
    }
    /* A fused op comes with its parts, which stand before it. */
    const struct ci_tune_problem *fused = find_problem(&problems, "matmul_add", 1, "q8");
    assert_non_null(fused);
    assert_true(fused->first >= 0 && fused->first < fused - problems.items);
    assert_string_equal(problems.items[fused->first].signature.op, "matmul");
    assert_string_equal(problems.items[fused->second].signature.op, "add");
    assert_int_equal(problems.items[fused->second].signature.n, fused->signature.n);
    /* The output matrix of a prompt: one row is wanted, though the plan has room for more. */
    bool scaled = false;
    for (int i = 0; i < problems.use_count; i++)
        scaled = scaled || (problems.uses[i].run == CI_TUNE_PROMPT && problems.uses[i].scale < 0.9);
    assert_true(scaled);
    ci_problems_free(&problems);
}

static void test_another_copy_of_a_model_adds_no_problem(void **state) {
    (void)state;
    struct ci_caps caps = gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    int count = problems.count;
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    assert_int_equal(problems.count, count);
    assert_int_equal(problems.models[0].fingerprint, problems.models[1].fingerprint);
    assert_int_equal(ci_problems_add_file(&problems, &caps, "/nonexistent.gguf"), CLINFER_NOT_FOUND);
    assert_int_equal(problems.model_count, 2);
    ci_problems_free(&problems);
}

static void test_standard_models_need_no_file(void **state) {
    (void)state;
    struct ci_caps caps = gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_standard(&problems, &caps));
    assert_true(problems.model_count >= 5);
    const struct ci_tune_problem *smol = NULL, *qwen = NULL;
    for (int i = 0; i < problems.count; i++) {
        const struct ci_profile_signature *signature = &problems.items[i].signature;
        if (signature->rows == 1 && signature->k == 576 && signature->n == 49152) smol = &problems.items[i];
        if (signature->rows == 1 && signature->k == 8960 && signature->n == 1536) qwen = &problems.items[i];
    }
    assert_non_null(smol);
    assert_non_null(qwen);
    ci_problems_free(&problems);
}

static unsigned kinds_of(const struct ci_problems *problems, int problem, int run) {
    unsigned kinds = 0;
    for (int i = 0; i < problems->use_count; i++)
        if (problems->uses[i].problem == problem && problems->uses[i].run == run) kinds |= 1u << problems->uses[i].kind;
    return kinds;
}

static void test_weights_follow_the_share_of_time(void **state) {
    (void)state;
    struct ci_caps caps = gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    double *seconds = calloc((size_t)problems.count, sizeof *seconds),
           *weights = calloc((size_t)problems.count, sizeof *weights);
    bool *tuned = calloc((size_t)problems.count, sizeof *tuned);
    int heavy = (int)(find_problem(&problems, "matmul", 1, "q8") - problems.items);
    int f32 = -1; /* of a decode that rounds nothing, and of no other */
    for (int i = 0; i < problems.count && f32 < 0; i++)
        if (kinds_of(&problems, i, CI_TUNE_DECODE) == 1u << CI_TUNE_F32) f32 = i;
    assert_true(f32 >= 0 && kinds_of(&problems, heavy, CI_TUNE_DECODE) == 1u << CI_TUNE_Q8);
    for (int i = 0; i < problems.count; i++) seconds[i] = 1e-6;
    seconds[heavy] = 1e-3;
    ci_problems_weigh(&problems, seconds, weights);
    /* With activations in 8 bits it takes all the time, so nobody would choose them: its chance is small. */
    assert_true(weights[heavy] < weights[f32]);
    seconds[f32] = 1e-1;
    ci_problems_weigh(&problems, seconds, weights);
    assert_true(weights[heavy] > weights[f32]);
    double covered, all = ci_problems_run(&problems, seconds, 0, CI_TUNE_DECODE, NULL, NULL);
    tuned[heavy] = true;
    assert_true(ci_problems_run(&problems, seconds, 0, CI_TUNE_DECODE, tuned, &covered) == all);
    assert_true(covered > 0.9 && covered < 1);
    free(seconds);
    free(weights);
    free(tuned);
    ci_problems_free(&problems);
}

/* ---- the search ---- */

struct hunt {
    struct ci_problems problems;
    struct ci_caps caps;
    struct ci_search search;
    const struct ci_tune_problem *problem;
    uint64_t random_state;
};

static void hunt_start(struct hunt *hunt, const char *op, int64_t rows, const char *types) {
    *hunt = (struct hunt){.caps = gpu_caps(), .random_state = 7};
    assert_ok(ci_problems_add_file(&hunt->problems, &hunt->caps, model_path));
    hunt->problem = find_problem(&hunt->problems, op, rows, types);
    assert_non_null(hunt->problem);
    ci_search_init(&hunt->search, &hunt->caps, hunt->problem);
}

static void hunt_end(struct hunt *hunt) {
    ci_search_free(&hunt->search);
    ci_problems_free(&hunt->problems);
}

/* Asks to the end of this depth; returns how many. */
static int hunt_run(struct hunt *hunt, enum ci_search_depth depth) {
    struct ci_tuner_candidate candidate;
    int count = 0;
    while (ci_search_ask(&hunt->search, depth, &hunt->random_state, &candidate)) {
        struct ci_trial trial = {.outcome = CI_TRIAL_PASSED,
                                 .seconds = fake.seconds(&hunt->problem->problem, &candidate)};
        assert_int_equal(ci_search_find(&hunt->search, &candidate), -1);
        assert_ok(ci_search_tell(&hunt->search, &candidate, &trial, trial.seconds));
        assert_true(++count < 2000);
    }
    return count;
}

static void test_search_begins_with_what_would_run_anyway(void **state) {
    (void)state;
    struct hunt hunt;
    struct ci_tuner_candidate candidate;
    hunt_start(&hunt, "matmul", 1, "q8");
    int first = 0;
    struct ci_call call = hunt.problem->call;
    while (ci_variants[first]->op != &ci_op_matmul || !ci_variant_fits(ci_variants[first], &hunt.caps, &call)) first++;
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_SEEDS, &hunt.random_state, &candidate));
    assert_ptr_equal(candidate.variant, ci_variants[first]);
    assert_true(is_standard(&candidate));
    hunt_end(&hunt);
}

static void test_search_takes_seeds_before_other_variants(void **state) {
    (void)state;
    struct hunt hunt;
    struct ci_tuner_candidate candidate, seed;
    hunt_start(&hunt, "matmul", 1, "q8");
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_SEEDS, &hunt.random_state, &seed));
    seed.tunables[0] = 4;
    assert_ok(ci_search_seed(&hunt.search, &seed));
    /* A variant of another op does not fit and is forgotten. */
    struct ci_tuner_candidate stranger = seed;
    stranger.variant = ci_variant_find(&ci_op_add, CI_BACKEND_OPENCL, "portable");
    assert_non_null(stranger.variant);
    assert_ok(ci_search_seed(&hunt.search, &stranger));
    assert_int_equal(hunt_run(&hunt, CI_SEARCH_SEEDS), 2);
    assert_true(ci_candidates_equal(&hunt.search.points[1].candidate, &seed));
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_VARIANTS, &hunt.random_state, &candidate));
    hunt_end(&hunt);
}

static void test_search_tries_every_variant_in_every_layout(void **state) {
    (void)state;
    struct hunt hunt;
    hunt_start(&hunt, "matmul", 1, "q8");
    hunt_run(&hunt, CI_SEARCH_VARIANTS);
    for (int i = 0; ci_variants[i]; i++)
        for (int k = 0; ci_layouts[k]; k++) {
            struct ci_call call = hunt.problem->call;
            for (int w = 1; w <= 3; w++)
                if (call.in[w].type) call.in[w].layout = ci_layouts[k];
            bool own = !ci_variants[i]->weight_layout || ci_variants[i]->weight_layout == ci_layouts[k];
            if (ci_variants[i]->op != &ci_op_matmul || !own || !ci_variant_fits(ci_variants[i], &hunt.caps, &call))
                continue;
            bool found = false;
            for (int p = 0; p < hunt.search.count; p++)
                found = found || (hunt.search.points[p].candidate.variant == ci_variants[i] &&
                                  hunt.search.points[p].candidate.layout == ci_layouts[k]);
            if (!found) fail_msg("%s in layout %s was not tried", ci_variants[i]->name, ci_layouts[k]->name);
        }
    hunt_end(&hunt);
}

static void test_descent_finds_the_best_of_a_slope(void **state) {
    (void)state;
    struct hunt hunt;
    hunt_start(&hunt, "matmul", 512, "f32");
    int before = hunt_run(&hunt, CI_SEARCH_VARIANTS);
    int descent = hunt_run(&hunt, CI_SEARCH_DESCENT);
    assert_true(before > 0 && descent > 0);
    double best = INFINITY;
    for (int i = 0; i < hunt.search.count; i++) best = fmin(best, hunt.search.points[i].seconds);
    /* Whatever is left: none is faster. */
    hunt_run(&hunt, CI_SEARCH_RANDOM);
    for (int i = 0; i < hunt.search.count; i++)
        if (hunt.search.points[i].seconds < 0.999 * best)
            fail_msg("%s was missed: %g, found %g", hunt.search.points[i].candidate.variant->name,
                     hunt.search.points[i].seconds, best);
    hunt_end(&hunt);
}

static void test_ops_without_weights_have_no_layout(void **state) {
    (void)state;
    struct hunt hunt;
    hunt_start(&hunt, "attention", 1, "f32");
    assert_true(hunt_run(&hunt, CI_SEARCH_RANDOM) > 1);
    for (int i = 0; i < hunt.search.count; i++) assert_null(hunt.search.points[i].candidate.layout);
    assert_true(ci_search_best(&hunt.search, NULL) >= 0);
    assert_int_equal(ci_search_best(&hunt.search, &ci_layout_stored), -1);
    hunt_end(&hunt);
}

static void test_a_default_that_fails_has_a_successor(void **state) {
    (void)state;
    struct hunt hunt;
    struct ci_tuner_candidate candidate;
    hunt_start(&hunt, "matmul", 1, "q8");
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_VARIANTS, &hunt.random_state, &candidate));
    struct ci_trial trial = {.outcome = CI_TRIAL_CRASHED};
    assert_ok(ci_search_tell(&hunt.search, &candidate, &trial, 1));
    assert_int_equal(ci_search_overall_default(&hunt.search), -1);
    hunt_run(&hunt, CI_SEARCH_VARIANTS);
    int index = ci_search_overall_default(&hunt.search);
    assert_int_equal(index, 1);
    assert_int_equal(hunt.search.crashed, 1);
    assert_false(ci_candidates_equal(&hunt.search.points[index].candidate, &candidate));
    hunt_end(&hunt);
}

static void test_a_winner_needs_three_percent(void **state) {
    (void)state;
    /* default, old, fastest */
    assert_int_equal(ci_search_winner((double[]){1.00, INFINITY, 0.98}, 0, -1, 2, CI_SEARCH_GAIN), 0);
    assert_int_equal(ci_search_winner((double[]){1.00, INFINITY, 0.96}, 0, -1, 2, CI_SEARCH_GAIN), 2);
    /* ... over the old profile's too */
    assert_int_equal(ci_search_winner((double[]){1.00, 0.80, 0.79}, 0, 1, 2, CI_SEARCH_GAIN), 1);
    assert_int_equal(ci_search_winner((double[]){1.00, 0.80, 0.77}, 0, 1, 2, CI_SEARCH_GAIN), 2);
    /* The old one stays as long as the default is not clearly faster. */
    assert_int_equal(ci_search_winner((double[]){0.99, 1.00, 0.99}, 0, 1, 2, CI_SEARCH_GAIN), 1);
    assert_int_equal(ci_search_winner((double[]){0.80, 1.00, 0.80}, 0, 1, 2, CI_SEARCH_GAIN), 0);
    /* Without either, whoever passed. */
    assert_int_equal(ci_search_winner((double[]){INFINITY, INFINITY, 5}, -1, -1, 2, CI_SEARCH_GAIN), 2);
}

/* ---- whole tunes ---- */

static void test_tune_writes_the_fastest_in_each_layout(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_profile profile;
    assert_ok(tune(&usual, &result));
    assert_true(result.changed);
    assert_false(result.interrupted);
    assert_false(mark.set);
    assert_int_equal(fake.measured, 1);
    assert_true(fake.models > 0);
    assert_true(heard.progress > 0 && heard.trials == result.tried);
    assert_ok(ci_profile_read(result.path, &profile));
    assert_string_equal(profile.key.device, gpu.name);
    assert_true(profile.measured.read_bytes_per_second == 1e11);
    const struct ci_profile_entry *stored = entry_of(&profile, "matmul", 1, "stored");
    assert_non_null(stored);
    assert_non_null(entry_of(&profile, "matmul", 512, "r16"));
    assert_non_null(entry_of(&profile, "attention", 1, ""));
    assert_true(stored->default_seconds > stored->seconds * CI_SEARCH_GAIN);
    assert_true(stored->source != 0 && stored->tried > 1);
    assert_int_equal(profile.model_count, 1);
    assert_true(profile.models[0].covered > 0.99);
    assert_true(profile.models[0].decode_after > 0);
    assert_true(result.line_count > 10 && result.lines[0].decode_share + result.lines[0].prefill_share > 0);
    ci_profile_free(&profile);
    ci_tune_free(&result);
}

static void test_a_second_tune_measures_nothing(void **state) {
    (void)state;
    struct ci_tune_result first, second;
    assert_ok(tune(&usual, &first));
    assert_ok(tune(&usual, &second));
    assert_int_equal(fake.created + fake.try_count, 0);
    assert_false(second.changed);
    assert_int_equal(second.line_count, first.line_count);
    assert_int_equal(second.kept, second.line_count);
    assert_int_equal(second.waiting, 0);
    assert_true(second.models[0].decode_after > 0);
    assert_true(second.seconds < 1);
    ci_tune_free(&second);
    /* A longer one does, and --again. */
    assert_ok(tune(&(struct wish){.budget = 40}, &second));
    assert_true(fake.try_count > 0);
    ci_tune_free(&second);
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    assert_true(fake.try_count > 0);
    ci_tune_free(&second);
    ci_tune_free(&first);
}

static void test_an_entry_of_another_kernel_is_measured_again(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&usual, &result));
    struct ci_profile profile;
    assert_ok(ci_profile_read(result.path, &profile));
    for (int i = 0; i < profile.entry_count; i++)
        if (strcmp(profile.entries[i].signature.op, "sample") == 0) profile.entries[i].source ^= 1;
    assert_ok(ci_profile_write(result.path, &profile));
    ci_profile_free(&profile);
    ci_tune_free(&result);
    assert_ok(tune(&usual, &result));
    assert_true(fake.try_count > 0);
    for (int i = 0; i < fake.try_count; i++) assert_string_equal(fake.tries[i].op->name, "sample");
    assert_true(result.changed && result.kept > 0);
    ci_tune_free(&result);
}

static void test_what_was_known_of_other_models_stays(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&usual, &result));
    struct ci_profile profile;
    assert_ok(ci_profile_read(result.path, &profile));
    int count = profile.entry_count;
    struct ci_profile_entry foreign = profile.entries[0];
    foreign.signature.k = 123456;
    assert_ok(ci_profile_set(&profile, &foreign));
    assert_ok(ci_profile_write(result.path, &profile));
    ci_profile_free(&profile);
    ci_tune_free(&result);
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &result));
    assert_true(result.profile.entry_count >= count + 1);
    bool found = false;
    for (int i = 0; i < result.profile.entry_count; i++)
        found = found || result.profile.entries[i].signature.k == 123456;
    assert_true(found);
    ci_tune_free(&result);
}

static bool old_is_there;

/* The old winner: the last values; a challenger is 1% faster. */
static double nearly_alike(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    double seconds = by_tunables(problem, candidate);
    return is_standard(candidate) ? seconds * 0.99 * (old_is_there ? 0.5 : 2) : seconds;
}

static void test_an_old_winner_stays_unless_beaten(void **state) {
    (void)state;
    struct ci_tune_result first, second;
    fake.seconds = by_tunables;
    assert_ok(tune(&usual, &first));
    /* Now all are alike: nobody beats anybody. */
    fake.seconds = all_alike;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    for (int i = 0; i < first.profile.entry_count; i++) {
        const struct ci_profile_entry *before = &first.profile.entries[i];
        const struct ci_profile_entry *after =
            entry_of(&second.profile, before->signature.op, before->signature.rows, before->layout);
        if (strcmp(before->signature.op, "sample") != 0) continue;
        assert_non_null(after);
        assert_string_equal(after->variant, before->variant);
        assert_memory_equal(after->tunables, before->tunables, sizeof after->tunables);
    }
    ci_tune_free(&second);
    /* And when defaults are twice as fast as all others, they win. */
    old_is_there = true;
    fake.seconds = nearly_alike;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    const struct ci_profile_entry *sample = NULL;
    for (int i = 0; i < second.profile.entry_count; i++)
        if (strcmp(second.profile.entries[i].signature.op, "sample") == 0) sample = &second.profile.entries[i];
    assert_non_null(sample);
    assert_true(sample->seconds == sample->default_seconds);
    ci_tune_free(&second);
    ci_tune_free(&first);
}

static double noise(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return all_alike(problem, candidate) * (is_standard(candidate) ? 1 : 0.98);
}

static void test_two_percent_are_noise(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.seconds = noise;
    assert_ok(tune(&usual, &result));
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        if (strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0) continue;
        if (entry->seconds < entry->default_seconds) fail_msg("%s %s won", entry->signature.op, entry->variant);
    }
    ci_tune_free(&result);
}

/* ---- time ---- */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void test_the_budget_holds(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.sleep = 0.01;
    double start = now();
    assert_ok(tune(&(struct wish){.budget = 1}, &result));
    assert_true(now() - start < 2);
    assert_true(result.left > 0 && result.searched > 0 && result.waiting > 0 && result.waiting <= result.left);
    assert_false(result.interrupted);
    /* What matters most came first. */
    assert_int_equal(fake.tries[0].rows == 1 || fake.tries[0].rows == 512, 1);
    ci_tune_free(&result);
    /* Its time was over once: that is not tried again by a tune of the same length. */
    assert_ok(tune(&(struct wish){.budget = 1}, &result));
    assert_int_equal(fake.try_count, 0);
    assert_true(!result.changed && result.waiting > 0);
    ci_tune_free(&result);
}

static void test_an_interrupted_tune_keeps_what_is_known(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_profile profile;
    heard.stop_after = 40;
    assert_ok(tune(&usual, &result));
    assert_int_equal(fake.try_count, 40);
    assert_true(result.interrupted && result.changed);
    assert_false(mark.set);
    assert_ok(ci_profile_read(result.path, &profile));
    assert_true(profile.entry_count > 0 && profile.tune_seconds < 20);
    ci_profile_free(&profile);
    ci_tune_free(&result);
    /* The next one goes on. */
    heard.stop_after = 0;
    assert_ok(tune(&usual, &result));
    assert_true(fake.try_count > 40 && !result.interrupted);
    ci_tune_free(&result);
}

/* The profile that the whole model runs with is beside the other, and a kill leaves it there. */
static void test_what_a_killed_tune_left_is_removed(void **state) {
    (void)state;
    struct ci_tune_result result;
    char left[2][512];
    assert_ok(tune(&usual, &result));
    assert_true(fake.models > 0);
    snprintf(left[0], sizeof left[0], "%s.trial", result.path);
    snprintf(left[1], sizeof left[1], "%s.trial.aB3dE6", result.path);
    ci_tune_free(&result);
    for (int i = 0; i < 2; i++) {
        assert_int_not_equal(access(left[i], F_OK), 0);
        close(open(left[i], O_CREAT | O_WRONLY, 0600));
    }
    assert_ok(tune(&usual, &result));
    assert_int_equal(fake.models, 0); /* nothing to do */
    for (int i = 0; i < 2; i++) assert_int_not_equal(access(left[i], F_OK), 0);
    assert_int_equal(access(result.path, F_OK), 0);
    ci_tune_free(&result);
}

/* ---- faults ---- */

static const char *faulty; /* a variant's name */
static enum ci_trial_outcome fault;

static enum ci_trial_outcome one_is_faulty(const struct ci_problem *problem,
                                           const struct ci_tuner_candidate *candidate) {
    (void)problem;
    return strcmp(candidate->variant->name, faulty) == 0 ? fault : CI_TRIAL_PASSED;
}

static int tries_of(const char *variant) {
    int count = 0;
    for (int i = 0; i < fake.try_count; i++) count += strcmp(fake.tries[i].candidate.variant->name, variant) == 0;
    return count;
}

static void assert_not_in_profile(const struct ci_profile *profile, const char *variant) {
    for (int i = 0; i < profile->entry_count; i++) assert_string_not_equal(profile->entries[i].variant, variant);
}

static void test_what_is_wrong_goes_to_the_quarantine(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_quarantine quarantine;
    faulty = "gemv_subgroup";
    fault = CI_TRIAL_WRONG;
    fake.outcome = one_is_faulty;
    assert_ok(tune(&usual, &result));
    int first = tries_of(faulty);
    assert_true(first >= 1 && first <= 6); /* not for ever with other numbers */
    assert_not_in_profile(&result.profile, faulty);
    assert_int_equal(result.refused, first);
    ci_tune_free(&result);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_int_equal(quarantine.count, first);
    assert_non_null(strstr(quarantine.items[0].reason, "wrong result: as the test wants"));
    assert_string_equal(quarantine.items[0].device_name, gpu.name);
    ci_quarantine_free(&quarantine);

    /* It is not tried again, */
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &result));
    assert_true(heard.skips > 0);
    assert_not_in_profile(&result.profile, faulty);
    ci_tune_free(&result);

    /* but a thorough tune lets it prove itself. */
    fake.outcome = NULL;
    assert_ok(tune(&(struct wish){.budget = 30, .thorough = true}, &result));
    assert_true(tries_of(faulty) > 0);
    ci_tune_free(&result);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_int_equal(quarantine.count, 0);
    ci_quarantine_free(&quarantine);
}

static void test_what_crashes_or_hangs_is_not_tried_even_by_a_thorough_tune(void **state) {
    (void)state;
    static const enum ci_trial_outcome faults[] = {CI_TRIAL_CRASHED, CI_TRIAL_TIMED_OUT};
    struct ci_tune_result result;
    for (size_t i = 0; i < 2; i++) {
        set_up(NULL);
        faulty = "gemv_subgroup";
        fault = faults[i];
        fake.outcome = one_is_faulty;
        assert_ok(tune(&usual, &result));
        int tries = tries_of(faulty);
        assert_true(tries >= 1 && tries <= 4);
        assert_int_equal(result.crashed, tries);
        assert_not_in_profile(&result.profile, faulty);
        struct try bad[4];
        int count = 0;
        for (int k = 0; k < fake.try_count; k++)
            if (strcmp(fake.tries[k].candidate.variant->name, faulty) == 0) bad[count++] = fake.tries[k];
        ci_tune_free(&result);
        assert_ok(tune(&(struct wish){.budget = 30, .thorough = true}, &result));
        assert_true(heard.skips > 0);
        for (int k = 0; k < fake.try_count; k++)
            for (int j = 0; j < count; j++) {
                bool same = fake.tries[k].op == bad[j].op &&
                            memcmp(fake.tries[k].types, bad[j].types, sizeof bad[j].types) == 0 &&
                            ci_candidates_equal(&fake.tries[k].candidate, &bad[j].candidate);
                assert_false(same);
            }
        ci_tune_free(&result);
    }
}

static void test_what_does_not_build_is_no_fault(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_quarantine quarantine;
    faulty = "gemv_subgroup";
    fault = CI_TRIAL_UNUSABLE;
    fake.outcome = one_is_faulty;
    assert_ok(tune(&usual, &result));
    assert_true(result.refused > 0);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_int_equal(quarantine.count, 0);
    ci_tune_free(&result);
}

static void test_what_was_being_tried_when_all_ended_is_skipped(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&usual, &result));
    /* Whoever won for one token is the one during which the machine stopped. */
    const struct ci_tune_line *line = NULL;
    for (int i = 0; i < result.line_count && !line; i++)
        if (strcmp(result.lines[i].entry.signature.op, "matmul") == 0) line = &result.lines[i];
    assert_non_null(line);
    struct ci_caps caps = gpu_caps();
    struct ci_profile_key key;
    ci_signature_key(&caps, &key);
    struct ci_quarantined item = {
        .device = ci_quarantine_device(&key), .source = line->entry.source, .tunable_count = line->entry.tunable_count};
    memcpy(item.tunables, line->entry.tunables, sizeof item.tunables);
    snprintf(item.device_name, sizeof item.device_name, "%s", key.device);
    snprintf(item.op, sizeof item.op, "%s", line->entry.signature.op);
    snprintf(item.variant, sizeof item.variant, "%s", line->entry.variant);
    snprintf(item.types, sizeof item.types, "%s", line->entry.signature.types);
    mark.item = item;
    mark.left_over = true;
    struct ci_profile_entry lost = line->entry;
    ci_tune_free(&result);

    assert_ok(tune(&usual, &result));
    assert_int_equal(result.recovered, 1);
    assert_true(fake.try_count > 0); /* its problems have no winner any more */
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        if (memcmp(&entry->signature, &lost.signature, sizeof lost.signature) != 0 ||
            strcmp(entry->layout, lost.layout) != 0)
            continue;
        assert_false(strcmp(entry->variant, lost.variant) == 0 &&
                     memcmp(entry->tunables, lost.tunables, sizeof lost.tunables) == 0);
    }
    ci_tune_free(&result);
    /* Not even a thorough one: it may have been the machine. */
    assert_ok(tune(&(struct wish){.budget = 40, .thorough = true}, &result));
    assert_true(heard.skips > 0);
    ci_tune_free(&result);
}

static double never_faster(const struct ci_profile *profile, bool decode) {
    (void)profile;
    return decode ? 0.01 : 1;
}

static void test_what_makes_the_model_no_faster_is_given_back(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.model_seconds = never_faster;
    assert_ok(tune(&usual, &result));
    assert_true(result.given_back > 0);
    assert_float_equal(result.models[0].decode_after, result.models[0].decode_before, 1e-9);

    /* A winner that does make it faster stays. */
    int given_back = result.given_back;
    ci_tune_free(&result);
    fake.model_seconds = NULL;
    assert_ok(tune(&(struct wish){.budget = 40, .thorough = true}, &result));
    assert_true(result.given_back < given_back);
    ci_tune_free(&result);
}

/* ---- fused or not, CLBlast, the whole model ---- */

static double fused_is_slow(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return all_alike(problem, candidate) * (problem->op == &ci_op_swiglu_quantise ? 5 : 1);
}

static void test_a_fused_op_whose_parts_are_faster_is_taken_apart(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.seconds = fused_is_slow;
    assert_ok(tune(&usual, &result));
    bool found = false;
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        bool apart = strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0;
        bool slow = strcmp(entry->signature.op, "swiglu_quantise") == 0;
        if (slow && !apart) fail_msg("swiglu_quantise of %d rows stayed together", (int)entry->signature.rows);
        if (apart) assert_true(entry->seconds < entry->default_seconds && entry->tunable_count == 0);
        found = found || slow;
    }
    assert_true(found);
    ci_tune_free(&result);
    /* Kept like any other winner. */
    assert_ok(tune(&usual, &result));
    assert_int_equal(fake.try_count, 0);
    ci_tune_free(&result);
}

static double clblast_is_fast(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return 1e-3 * all_alike(problem, candidate) * (candidate->variant->backend == CI_BACKEND_CLBLAST ? 0.5 : 1);
}

static double clblast_saves_much(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return 1e9 * clblast_is_fast(problem, candidate);
}

static bool has_clblast(const struct ci_profile *profile) {
    bool found = false;
    for (int i = 0; i < profile->entry_count; i++) found = found || strcmp(profile->entries[i].variant, "clblast") == 0;
    return found;
}

static void test_clblast_pays_for_its_programs(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.build_seconds = 1;
    fake.seconds = clblast_is_fast;
    assert_ok(tune(&usual, &result));
    assert_false(has_clblast(&result.profile));
    ci_tune_free(&result);
    set_up(NULL);
    fake.build_seconds = 1;
    fake.seconds = clblast_saves_much;
    assert_ok(tune(&usual, &result));
    assert_true(has_clblast(&result.profile));
    ci_tune_free(&result);
}

/* The model is slow with whatever is not the default for `sample`. */
static double slow_with_sample(const struct ci_profile *profile, bool decode) {
    double seconds = decode ? 0.01 : 1;
    for (int i = 0; profile && i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        if (strcmp(entry->signature.op, "sample") == 0 && entry->signature.rows == 1 &&
            entry->seconds < entry->default_seconds && decode)
            seconds *= 1.2;
    }
    return seconds;
}

static void test_winners_that_slow_the_whole_model_are_given_back(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.model_seconds = slow_with_sample;
    assert_ok(tune(&usual, &result));
    assert_true(result.given_back > 0);
    assert_non_null(strstr(heard.said, "got slower as a whole"));
    int kept = 0;
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        if (strcmp(entry->signature.op, "sample") == 0 && entry->signature.rows == 1)
            assert_true(entry->seconds >= entry->default_seconds);
        else
            kept += entry->seconds * CI_SEARCH_GAIN < entry->default_seconds;
    }
    assert_true(kept > 0); /* the others won all the same */
    assert_true(result.models[0].decode_after >= result.models[0].decode_before * 0.97);
    ci_tune_free(&result);
}

static void test_a_model_that_cannot_be_run_is_said(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.fail_model = CI_TRIAL_TIMED_OUT;
    assert_ok(tune(&usual, &result));
    assert_non_null(strstr(heard.said, "was not run as a whole"));
    assert_int_equal(result.given_back, 0);
    assert_true(result.changed);
    ci_tune_free(&result);
    /* It fails without the winners too: they are not to blame. */
    fake.fail_model = CI_TRIAL_CRASHED;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &result));
    assert_int_equal(result.given_back, 0);
    ci_tune_free(&result);
}

/* ---- others, and the disk ---- */

static void test_a_second_tune_waits_and_says_for_whom(void **state) {
    (void)state;
    struct ci_caps caps = gpu_caps();
    struct ci_profile_key key;
    struct ci_tune_result result;
    int ready[2];
    char byte;
    ci_signature_key(&caps, &key);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ci_profile_lock lock;
        if (ci_profile_lock(&key, 0, &lock) != CLINFER_OK || write(ready[1], "x", 1) != 1) _exit(1);
        usleep(1200000);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    double start = now();
    assert_ok(tune(&usual, &result));
    assert_true(now() - start > 0.6);
    char who[32];
    snprintf(who, sizeof who, "process %d", (int)child);
    assert_non_null(strstr(heard.said, who));
    assert_non_null(strstr(heard.said, "; waiting"));
    ci_tune_free(&result);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_a_folder_that_cannot_be_written_is_said_at_once(void **state) {
    (void)state;
    struct ci_tune_result result;
    /* A file where the folder should be: that stops root too. */
    mkdir(data_folder, 0700);
    char path[300];
    snprintf(path, sizeof path, "%s/clinfer", data_folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(tune(&usual, &result), CLINFER_IO);
    assert_int_equal(fake.try_count, 0);
    assert_non_null(strstr(clinfer_error(), "profiles"));
    ci_tune_free(&result);
}

static void test_without_a_model_common_shapes_are_tuned(void **state) {
    (void)state;
    struct ci_tune_result result;
    heard.stop_after = 200;
    assert_ok(tune(&(struct wish){.budget = 5, .standard = true}, &result));
    assert_int_equal(fake.models, 0);
    assert_true(result.model_count >= 5 && result.profile.entry_count > 0);
    ci_tune_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_problems_are_those_of_the_model_each_once, set_up),
        cmocka_unit_test_setup(test_another_copy_of_a_model_adds_no_problem, set_up),
        cmocka_unit_test_setup(test_standard_models_need_no_file, set_up),
        cmocka_unit_test_setup(test_weights_follow_the_share_of_time, set_up),
        cmocka_unit_test_setup(test_search_begins_with_what_would_run_anyway, set_up),
        cmocka_unit_test_setup(test_search_takes_seeds_before_other_variants, set_up),
        cmocka_unit_test_setup(test_search_tries_every_variant_in_every_layout, set_up),
        cmocka_unit_test_setup(test_descent_finds_the_best_of_a_slope, set_up),
        cmocka_unit_test_setup(test_ops_without_weights_have_no_layout, set_up),
        cmocka_unit_test_setup(test_a_default_that_fails_has_a_successor, set_up),
        cmocka_unit_test_setup(test_a_winner_needs_three_percent, set_up),
        cmocka_unit_test_setup(test_tune_writes_the_fastest_in_each_layout, set_up),
        cmocka_unit_test_setup(test_a_second_tune_measures_nothing, set_up),
        cmocka_unit_test_setup(test_an_entry_of_another_kernel_is_measured_again, set_up),
        cmocka_unit_test_setup(test_what_was_known_of_other_models_stays, set_up),
        cmocka_unit_test_setup(test_an_old_winner_stays_unless_beaten, set_up),
        cmocka_unit_test_setup(test_two_percent_are_noise, set_up),
        cmocka_unit_test_setup(test_the_budget_holds, set_up),
        cmocka_unit_test_setup(test_an_interrupted_tune_keeps_what_is_known, set_up),
        cmocka_unit_test_setup(test_what_a_killed_tune_left_is_removed, set_up),
        cmocka_unit_test_setup(test_what_is_wrong_goes_to_the_quarantine, set_up),
        cmocka_unit_test_setup(test_what_crashes_or_hangs_is_not_tried_even_by_a_thorough_tune, set_up),
        cmocka_unit_test_setup(test_what_does_not_build_is_no_fault, set_up),
        cmocka_unit_test_setup(test_what_was_being_tried_when_all_ended_is_skipped, set_up),
        cmocka_unit_test_setup(test_what_makes_the_model_no_faster_is_given_back, set_up),
        cmocka_unit_test_setup(test_a_fused_op_whose_parts_are_faster_is_taken_apart, set_up),
        cmocka_unit_test_setup(test_clblast_pays_for_its_programs, set_up),
        cmocka_unit_test_setup(test_winners_that_slow_the_whole_model_are_given_back, set_up),
        cmocka_unit_test_setup(test_a_model_that_cannot_be_run_is_said, set_up),
        cmocka_unit_test_setup(test_a_second_tune_waits_and_says_for_whom, set_up),
        cmocka_unit_test_setup(test_a_folder_that_cannot_be_written_is_said_at_once, set_up),
        cmocka_unit_test_setup(test_without_a_model_common_shapes_are_tuned, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
