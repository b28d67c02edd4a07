/* Parameters for CLBlast: in a profile, as a thorough tune looks for them (with a worker that measures nothing), within
 * the limits of 31 recorded devices, and in a run of a model on a real device. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/status.h"
#include "ops/clblast.h"
#include "ops/signature.h"
#include "profile/fields.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/imagined_gpu.h"
#include "support/process.h"
#include "tuner/builders.h"
#include "tuner/tune.h"
#include "tuner/tuner_private.h"

static const char model_path[] = "tests/data/llama_tiny.gguf";

/* All kernels, small enough for any device that has work-groups. */
static const struct ci_profile_clblast sample = {
    .kernels = (1 << CI_CLBLAST_KERNELS) - 1,
    .xgemm = {.KREG = 1,
              .KWG = 16,
              .KWI = 2,
              .MDIMA = 8,
              .MDIMC = 8,
              .MWG = 32,
              .NDIMB = 8,
              .NDIMC = 8,
              .NWG = 64,
              .SA = 1,
              .VWM = 4,
              .VWN = 2},
    .direct = {.KWID = 2,
               .MDIMAD = 8,
               .MDIMCD = 8,
               .NDIMBD = 8,
               .NDIMCD = 8,
               .PADA = 1,
               .PADB = 1,
               .VWMD = 2,
               .VWND = 1,
               .WGD = 16},
    .routine = {1},
};

/* ---- in a profile ---- */

static json_t *sample_profile(void) {
    const struct ci_profile profile = {
        .key = {.kind = "gpu", .platform = "P", .device = "D"}, .created = "2026-11-21T10:00:00Z", .clblast = sample};
    char *text;
    assert_ok(ci_profile_print("sample", &profile, &text));
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

static enum clinfer_status parse(const json_t *json, struct ci_profile *profile) {
    char *text = json_dumps(json, 0);
    enum clinfer_status status = ci_profile_parse("file", text, strlen(text), profile);
    free(text);
    return status;
}

static void test_parameters_come_back_as_they_were_written(void **state) {
    (void)state;
    struct ci_profile back;
    json_t *json = sample_profile();
    assert_ok(parse(json, &back));
    assert_true(ci_profile_clblast_equal(&back.clblast, &sample));
    ci_profile_free(&back);
    /* Each kernel for itself; and none. */
    json_object_del(json_object_get(json, "clblast"), "Xgemm");
    assert_ok(parse(json, &back));
    assert_int_equal(back.clblast.kernels, 1 << CI_CLBLAST_DIRECT | 1 << CI_CLBLAST_ROUTINE);
    assert_int_equal(back.clblast.xgemm.MWG, 0);
    assert_int_equal(back.clblast.direct.WGD, 16);
    ci_profile_free(&back);
    json_object_del(json, "clblast");
    assert_ok(parse(json, &back));
    assert_int_equal(back.clblast.kernels, 0);
    ci_profile_free(&back);
    json_decref(json);
}

static void test_bad_parameters_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *kernel, *name, *value; /* name NULL: the whole kernel; value NULL: missing */
        const char *messages[2];
    } cases[] = {
        {"Xgemm", "MWG", "31", {"field \"clblast.Xgemm.MWG\": value 31", "power of two"}},
        {"Xgemm", "MWG", "512", {"clblast.Xgemm.MWG", "from 8 to 256"}},
        {"Xgemm", "MWG", "32.5", {"clblast.Xgemm.MWG", "whole number"}},
        {"Xgemm", "MWG", "\"32\"", {"clblast.Xgemm.MWG", "whole number"}},
        {"Xgemm", "MWG", "16", {"clblast.Xgemm.MWG", "a multiple of MDIMC * VWM"}},
        {"Xgemm", "NWG", "8", {"clblast.Xgemm.NWG", "a multiple of NDIMC * VWN"}},
        {"Xgemm", "MDIMA", "16", {"clblast.Xgemm.MWG", "a multiple of MDIMA * VWM"}},
        {"Xgemm", "NDIMB", "64", {"clblast.Xgemm.NWG", "a multiple of NDIMB * VWN"}},
        {"Xgemm", "KWG", "4", {"clblast.Xgemm.KWG", "MDIMC * NDIMC / MDIMA"}},
        {"Xgemm", "NDIMB", "2", {"clblast.Xgemm.KWG", "MDIMC * NDIMC / NDIMB"}},
        {"Xgemm", "KWI", "16", {NULL, NULL}},
        {"Xgemm", "KREG", "2", {"clblast.Xgemm.KREG", "1 with GEMMK 0"}},
        {"Xgemm", "GEMMK", "1", {"clblast.Xgemm.KREG", "VWN with GEMMK 1"}},
        {"Xgemm", "SA", "2", {"clblast.Xgemm.SA", "from 0 to 1"}},
        {"Xgemm", "VWM", "-4", {"clblast.Xgemm.VWM", "from 1 to 16"}},
        {"Xgemm", "VWN", NULL, {"clblast.Xgemm.VWN", "missing"}},
        {"Xgemm", "VWX", "1", {"clblast.Xgemm.VWX", "unknown"}},
        {"Xgemm", NULL, "3", {"clblast.Xgemm", "must be an object"}},
        {"XgemmDirect", "WGD", "8", {"clblast.XgemmDirect.WGD", "MDIMCD * VWMD"}},
        {"XgemmDirect", "KWID", "32", {"clblast.XgemmDirect.WGD", "KWID"}},
        {"XgemmDirect", "PADA", "9223372036854775807", {"clblast.XgemmDirect.PADA", "from 0 to 1"}},
        {"GemmRoutine", "XGEMM_MIN_INDIRECT_SIZE", "0", {"clblast.GemmRoutine.XGEMM_MIN_INDIRECT_SIZE", "from 1"}},
        {"Xdot", NULL, "{}", {"clblast.Xdot", "unknown"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_profile profile;
        json_t *json = sample_profile(), *clblast = json_object_get(json, "clblast");
        json_t *object = cases[i].name ? json_object_get(clblast, cases[i].kernel) : clblast;
        const char *name = cases[i].name ? cases[i].name : cases[i].kernel;
        if (cases[i].value)
            json_object_set_new(object, name, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        else
            json_object_del(object, name);
        enum clinfer_status status = parse(json, &profile);
        if ((status == CLINFER_OK) != (cases[i].messages[0] == NULL)) fail_msg("case %zu: %s", i, clinfer_error());
        for (int k = 0; k < 2 && cases[i].messages[k]; k++) assert_message(cases[i].messages[k]);
        ci_profile_free(&profile);
        json_decref(json);
    }
    struct ci_profile profile;
    json_t *json = sample_profile();
    json_object_clear(json_object_get(json, "clblast"));
    assert_int_equal(parse(json, &profile), CLINFER_BAD_FILE);
    assert_message("names no kernel");
    json_decref(json);
    /* Nor are they written. */
    char *text;
    struct ci_profile wrong = {.key = {.kind = "gpu", .platform = "P", .device = "D"}, .clblast = sample};
    wrong.clblast.xgemm.NWG = 48;
    assert_int_equal(ci_profile_print("file", &wrong, &text), CLINFER_BAD_FILE);
    assert_message("clblast.Xgemm.NWG");
}

/* ---- limits of devices ---- */

static void test_limits_of_the_device_are_kept(void **state) {
    (void)state;
    struct ci_device_caps caps = imagined_gpu;
    struct ci_profile_clblast wrong = sample;
    assert_ok(ci_clblast_check(&caps, &sample));
    caps.max_work_group = 63;
    assert_int_equal(ci_clblast_check(&caps, &sample), CLINFER_UNSUPPORTED);
    assert_message("work-groups of 8 x 8");
    caps = imagined_gpu;
    caps.max_work_item[1] = 4;
    assert_int_equal(ci_clblast_check(&caps, &sample), CLINFER_UNSUPPORTED);
    caps = imagined_gpu;
    caps.local_bytes = 2047; /* Xgemm's tile of one factor */
    assert_int_equal(ci_clblast_check(&caps, &sample), CLINFER_UNSUPPORTED);
    assert_message("Xgemm: 2048 bytes of local memory");
    caps.local_bytes = 2048; /* XgemmDirect's tiles of both, with a column of padding each */
    assert_int_equal(ci_clblast_check(&caps, &sample), CLINFER_UNSUPPORTED);
    assert_message("XgemmDirect: 2176 bytes of local memory");
    wrong.xgemm.MWG = 16;
    assert_int_equal(ci_clblast_check(&imagined_gpu, &wrong), CLINFER_BAD_FILE);
    assert_message("MDIMC * VWM");
}

static size_t number_of(const json_t *device, const char *key, size_t otherwise) {
    const json_t *value = json_object_get(device, key);
    return json_is_integer(value) ? (size_t)json_integer_value(value) : otherwise;
}

static void read_caps(const json_t *device, struct ci_device_caps *caps) {
    *caps = (struct ci_device_caps){.max_work_group = number_of(device, "max_work_group_size", 1),
                                    .local_bytes = number_of(device, "local_mem_bytes", 32 << 10)};
    const char *kind = json_string_value(json_object_get(device, "device_type"));
    caps->kind = kind && strcmp(kind, "CPU") == 0 ? CI_DEVICE_CPU : CI_DEVICE_GPU;
    for (size_t i = 0; i < 3; i++) {
        const json_t *size = json_array_get(json_object_get(device, "max_work_item_sizes"), i);
        caps->max_work_item[i] = json_is_integer(size) ? (size_t)json_integer_value(size) : 1;
    }
}

/* By CLBlast's own words: a tile for each work-item and whole vectors, loads of whole rows, local memory. */
static void assert_possible(const char *device, const struct ci_device_caps *caps,
                            const struct ci_profile_clblast *set) {
    const struct ci_profile_xgemm *x = &set->xgemm;
    const struct ci_profile_xgemm_direct *d = &set->direct;
    bool right = set->kernels >> CI_CLBLAST_ROUTINE & 1;
    if (set->kernels >> CI_CLBLAST_XGEMM & 1)
        right = right && x->MWG % (x->MDIMC * x->VWM) == 0 && x->NWG % (x->NDIMC * x->VWN) == 0 &&
                x->MWG % (x->MDIMA * x->VWM) == 0 && x->NWG % (x->NDIMB * x->VWN) == 0 && x->KWG % x->KWI == 0 &&
                (x->GEMMK ? x->KREG % x->VWN == 0 && !x->SA && !x->SB
                          : x->KWG % (x->MDIMC * x->NDIMC / x->MDIMA) == 0 &&
                                x->KWG % (x->MDIMC * x->NDIMC / x->NDIMB) == 0) &&
                (size_t)(x->MDIMC * x->NDIMC) <= caps->max_work_group && (size_t)x->MDIMC <= caps->max_work_item[0] &&
                (size_t)x->NDIMC <= caps->max_work_item[1] &&
                4 * (size_t)(x->KWG * (x->SA * x->MWG + x->SB * x->NWG)) <= caps->local_bytes;
    if (set->kernels >> CI_CLBLAST_DIRECT & 1)
        right = right && d->WGD % d->KWID == 0 && d->WGD % (d->MDIMCD * d->VWMD) == 0 &&
                d->WGD % (d->NDIMCD * d->VWND) == 0 && d->WGD % (d->MDIMCD * d->NDIMCD / d->MDIMAD) == 0 &&
                d->WGD % (d->MDIMCD * d->NDIMCD / d->NDIMBD) == 0 &&
                (size_t)(d->MDIMCD * d->NDIMCD) <= caps->max_work_group &&
                4 * (size_t)(d->WGD * (2 * d->WGD + d->PADA + d->PADB)) <= caps->local_bytes;
    if (!right)
        fail_msg("%s: MWG %d NWG %d MDIMC %d NDIMC %d VWM %d VWN %d KWG %d; WGD %d", device, x->MWG, x->NWG, x->MDIMC,
                 x->NDIMC, x->VWM, x->VWN, x->KWG, d->WGD);
}

/* Two steps from each set to begin with. */
static int walk(const char *device, const struct ci_device_caps *caps, const struct ci_profile_clblast *from,
                int depth) {
    int count = 0;
    struct ci_profile_clblast set;
    for (int i = 0; i < CI_CLBLAST_STEPS; i++) {
        if (!ci_clblast_step(caps, from, i, &set)) continue;
        assert_false(ci_profile_clblast_equal(from, &set));
        assert_possible(device, caps, &set);
        count += 1 + (depth > 1 ? walk(device, caps, &set, depth - 1) : 0);
    }
    return count;
}

static void test_every_set_of_the_search_is_possible_on_the_device(void **state) {
    (void)state;
    size_t index;
    json_t *file = json_load_file("tests/data/devices.json", 0, NULL), *device;
    assert_int_equal(json_array_size(json_object_get(file, "devices")), 31);
    json_array_foreach(json_object_get(file, "devices"), index, device) {
        struct ci_device_caps caps;
        struct ci_profile_clblast list[CI_CLBLAST_STARTS];
        const char *name = json_string_value(json_object_get(device, "id"));
        read_caps(device, &caps);
        int count = ci_clblast_starts(&caps, list);
        if (count < 2 && caps.max_work_group >= 64) fail_msg("%s has only %d sets to begin with", name, count);
        for (int i = 0; i < count; i++) {
            assert_possible(name, &caps, &list[i]);
            if (walk(name, &caps, &list[i], 2) == 0) fail_msg("%s: no step from set %d", name, i);
        }
    }
    json_decref(file);
}

/* ---- a tune, with a worker that measures nothing ---- */

struct ci_worker {
    struct ci_profile_clblast clblast;
};

static struct {
    double gain;            /* of the sets that are better */
    bool crash;             /* those with local memory do */
    bool alone;             /* the device is for one process at a time */
    int running;            /* workers */
    int tries, sets, again; /* of CLBlast: all, those with parameters, those of other rows with parameters */
} fake;

enum clinfer_status ci_trial_begin(const struct ci_quarantined *candidate) {
    (void)candidate;
    return CLINFER_OK;
}
void ci_trial_end(void) {}
int ci_trial_recover(void) { return 0; }

enum clinfer_status ci_worker_create(const struct ci_worker_options *options, struct ci_worker **worker) {
    *worker = malloc(sizeof **worker);
    assert_non_null(*worker);
    (*worker)->clblast = options->clblast;
    fake.running++;
    if (options->clblast.kernels) assert_ok(ci_clblast_check(&imagined_gpu, &options->clblast));
    return CLINFER_OK;
}

void ci_worker_destroy(struct ci_worker *worker) {
    fake.running -= worker != NULL;
    free(worker);
}

/* Deep and narrow tiles are better, and the best is two steps from any set to begin with. */
static double seconds_of(const struct ci_worker *worker, const struct ci_problem *problem,
                         const struct ci_tuner_candidate *candidate) {
    double seconds = 1e-6 * (double)(problem->shape.in[0].rows * problem->shape.in[0].cols);
    if (candidate->variant->backend != CI_BACKEND_CLBLAST) return seconds;
    bool better = worker->clblast.kernels >> CI_CLBLAST_XGEMM & 1 && worker->clblast.xgemm.KWG >= 32;
    return 1.1 * seconds / (better ? fake.gain : 1);
}

enum clinfer_status ci_worker_try(struct ci_worker *worker, const struct ci_problem *problem,
                                  const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                  struct ci_trial *trial) {
    (void)deadline_seconds;
    if (fake.alone && fake.running > 1) return ci_fail(CLINFER_DEVICE_ERROR, "as the test wants");
    *trial = (struct ci_trial){.seconds = seconds_of(worker, problem, candidate), .nmse = 1e-12};
    if (candidate->variant->backend != CI_BACKEND_CLBLAST) return CLINFER_OK;
    fake.tries++;
    fake.sets += worker->clblast.kernels != 0;
    fake.again += worker->clblast.kernels && problem->shape.in[0].rows == 64;
    if (fake.crash && worker->clblast.xgemm.SA) trial->outcome = CI_TRIAL_CRASHED;
    return CLINFER_OK;
}

enum clinfer_status ci_worker_compare(struct ci_worker *worker, const struct ci_problem *problem,
                                      const struct ci_tuner_candidate *candidates, int count, int rounds,
                                      double deadline_seconds, double *samples, struct ci_trial *trial) {
    (void)deadline_seconds;
    for (int i = 0; i < rounds * count; i++) samples[i] = seconds_of(worker, problem, &candidates[i % count]);
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

enum clinfer_status ci_worker_measure(struct ci_worker *worker, uint64_t bytes, double deadline_seconds,
                                      struct ci_profile_device *measured, struct ci_trial *trial) {
    (void)worker;
    (void)bytes;
    (void)deadline_seconds;
    *measured = (struct ci_profile_device){.read_bytes_per_second = 1e11, .operations_per_second = 1e12};
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

enum clinfer_status ci_worker_model(struct ci_worker *worker, struct ci_worker_model *model, double deadline_seconds,
                                    struct ci_trial *trial) {
    (void)worker;
    (void)deadline_seconds;
    for (int i = 0; i < 2 * model->decode_rounds; i++) model->decode[i] = i % 2 ? 0.9 : 1;
    for (int i = 0; i < 2 * model->prefill_rounds; i++) model->prefill[i] = i % 2 ? 0.9 : 1;
    *trial = (struct ci_trial){.outcome = CI_TRIAL_PASSED};
    return CLINFER_OK;
}

enum clinfer_status ci_worker_steps(struct ci_worker *worker, const char *model, const char *tuning, int context,
                                    double deadline_seconds, struct ci_profile_steps *steps, struct ci_trial *trial) {
    (void)worker;
    (void)model;
    (void)tuning;
    (void)context;
    (void)deadline_seconds;
    (void)steps;
    *trial = (struct ci_trial){.outcome = CI_TRIAL_UNUSABLE};
    return CLINFER_OK;
}

/* Nothing is compiled ahead: parameters of CLBlast are the process's. */
struct ci_builders *ci_builders_create(const struct ci_worker_options *options) {
    (void)options;
    return NULL;
}
void ci_builders_destroy(struct ci_builders *builders) { (void)builders; }
int ci_builders_count(const struct ci_builders *builders) {
    (void)builders;
    return 0;
}
void ci_builders_build(struct ci_builders *builders, struct ci_build *list, int count, double deadline_seconds) {
    (void)builders;
    (void)list;
    (void)count;
    (void)deadline_seconds;
}

static void tune(bool thorough, struct ci_tune_result *result) {
    static struct ci_caps caps;
    const char *const models[] = {model_path};
    caps = imagined_gpu_caps();
    fake.tries = fake.sets = fake.again = 0;
    const struct ci_tune_options options = {.caps = &caps,
                                            .threads = 2,
                                            .models = models,
                                            .model_count = 1,
                                            .budget = thorough ? 25 : 20,
                                            .candidate_seconds = 10,
                                            .rounds = 3,
                                            .thorough = thorough,
                                            .again = true,
                                            .seed = 1};
    assert_ok(ci_tune(&options, result));
}

static int clblast_entries(const struct ci_profile *profile) {
    int count = 0;
    for (int i = 0; i < profile->entry_count; i++) count += ci_tuner_is_clblast(&profile->entries[i]);
    return count;
}

static int set_up(void **state) {
    (void)state;
    static int number;
    char folder[256];
    snprintf(folder, sizeof folder, "%s/%d", process_folder(), number++);
    setenv("XDG_DATA_HOME", folder, 1);
    setenv("XDG_CACHE_HOME", folder, 1);
    memset(&fake, 0, sizeof fake);
    fake.gain = 2;
    return 0;
}

static void test_a_thorough_tune_finds_better_parameters(void **state) {
    (void)state;
    struct ci_tune_result result;
    tune(true, &result);
    assert_true(fake.sets > 2 && fake.again > 0);
    assert_true(result.profile.clblast.kernels >> CI_CLBLAST_XGEMM & 1 && result.profile.clblast.xgemm.KWG >= 32);
    assert_true(clblast_entries(&result.profile) > 0);
    struct ci_profile_clblast found = result.profile.clblast;
    ci_tune_free(&result);
    /* A usual one looks for none, and keeps what was found; it is what CLBlast has in all of its trials. */
    tune(false, &result);
    assert_true(ci_profile_clblast_equal(&result.profile.clblast, &found));
    assert_true(clblast_entries(&result.profile) > 0);
    assert_int_equal(fake.sets, fake.tries);
    ci_tune_free(&result);
    /* Nothing is better any more: they stay. */
    tune(true, &result);
    assert_true(ci_profile_clblast_equal(&result.profile.clblast, &found));
    ci_tune_free(&result);
}

static void test_a_usual_tune_looks_for_no_parameters(void **state) {
    (void)state;
    struct ci_tune_result result;
    tune(false, &result);
    assert_true(fake.tries > 0);
    assert_int_equal(fake.sets, 0);
    assert_int_equal(result.profile.clblast.kernels, 0);
    assert_int_equal(clblast_entries(&result.profile), 0);
    ci_tune_free(&result);
}

static void test_parameters_that_gain_too_little_are_left(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.gain = 1.02;
    tune(true, &result);
    assert_true(fake.sets > 2);
    assert_int_equal(fake.again, 0);
    assert_int_equal(result.profile.clblast.kernels, 0);
    ci_tune_free(&result);
}

static void test_a_set_that_crashes_costs_itself_only(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_quarantine quarantine;
    fake.crash = true;
    tune(true, &result);
    assert_true(result.crashed > 2);
    assert_true(result.profile.clblast.xgemm.KWG >= 32 && !result.profile.clblast.xgemm.SA);
    assert_true(clblast_entries(&result.profile) > 0);
    ci_tune_free(&result);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_true(quarantine.count > 2);
    for (int i = 0; i < quarantine.count; i++) {
        assert_string_equal(quarantine.items[i].variant, "clblast");
        assert_string_equal(quarantine.items[i].tunables[0].name, "PARAMETERS");
    }
    ci_quarantine_free(&quarantine);
}

static void test_a_device_for_one_process_goes_without_a_search(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.alone = true;
    tune(true, &result);
    assert_true(fake.tries > 0 && result.searched > 0);
    assert_int_equal(result.profile.clblast.kernels, 0);
    ci_tune_free(&result);
    assert_int_equal(fake.running, 0);
}

/* ---- a run, on a real device ---- */

enum { PROMPT = 40 };

static int handed_over; /* sets that reached CLBlast */

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    (void)level;
    handed_over += strstr(message, "CLBlast has other parameters") != NULL;
}

/* Logits after a prompt whose rows make CLBlast worth a plan; [vocabulary], the caller's. */
static float *logits_of(const char *device, const char *tuning, const char *op, int *vocabulary) {
    struct clinfer_engine_options options;
    struct clinfer_session_options session_options;
    struct clinfer_engine_info info;
    clinfer_engine *engine;
    clinfer_session *session;
    int32_t tokens[PROMPT];
    clinfer_engine_options_default(&options);
    options.model = model_path;
    options.device = device;
    options.tuning = tuning;
    options.activations = CLINFER_ACTIVATIONS_F32;
    options.ops = &op;
    options.op_count = op != NULL;
    handed_over = 0;
    assert_ok(clinfer_engine_open(&options, &engine));
    clinfer_session_options_default(engine, &session_options);
    assert_ok(clinfer_session_create(engine, &session_options, &session));
    clinfer_engine_get_info(engine, &info);
    for (int i = 0; i < PROMPT; i++) tokens[i] = (i * 7 + 3) % info.vocabulary;
    float *logits = malloc(sizeof *logits * (size_t)info.vocabulary);
    assert_non_null(logits);
    assert_ok(clinfer_logits(session, tokens, PROMPT, false, logits));
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
    *vocabulary = info.vocabulary;
    return logits;
}

static void assert_alike(const float *a, const float *b, int count) {
    for (int i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-2f)) fail_msg("logit %d is %g, expected %g", i, (double)b[i], (double)a[i]);
}

static void test_a_run_has_the_parameters_of_its_profile(void **state) {
    (void)state;
    struct ci_device_list list;
    struct ci_profile profile = {.clblast = sample};
    int count;
    char path[300];
    assert_ok(ci_device_list(&list));
    assert_true(list.count > 0);
    const struct ci_caps caps = {ci_cpu_features(), &list.caps[0], 0};
    ci_signature_key(&caps, &profile.key);
    snprintf(path, sizeof path, "%s/parameters.json", process_folder());
    assert_ok(ci_profile_write(path, &profile));
    float *right = logits_of("cpu", "none", NULL, &count);

    /* Nobody asks for a product: CLBlast is left alone. */
    float *own = logits_of("0", path, NULL, &count);
    assert_int_equal(handed_over, 0);
    assert_alike(right, own, count);

    /* One of another machine says nothing about this one. */
    profile.imported = true;
    assert_ok(ci_profile_write(path, &profile));
    float *imported = logits_of("0", path, "matmul=clblast", &count);
    assert_int_equal(handed_over, 0);
    assert_alike(right, imported, count);

    profile.imported = false;
    assert_ok(ci_profile_write(path, &profile));
    float *forced = logits_of("0", path, "matmul=clblast", &count);
    assert_int_equal(handed_over, 1);
    assert_alike(right, forced, count);
    free(right);
    free(own);
    free(imported);
    free(forced);
    ci_device_list_free(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_come_back_as_they_were_written),
        cmocka_unit_test(test_bad_parameters_are_refused),
        cmocka_unit_test(test_limits_of_the_device_are_kept),
        cmocka_unit_test(test_every_set_of_the_search_is_possible_on_the_device),
        /* With the machine's own caches; the others have theirs. */
        cmocka_unit_test(test_a_run_has_the_parameters_of_its_profile),
        cmocka_unit_test_setup(test_a_thorough_tune_finds_better_parameters, set_up),
        cmocka_unit_test_setup(test_a_usual_tune_looks_for_no_parameters, set_up),
        cmocka_unit_test_setup(test_parameters_that_gain_too_little_are_left, set_up),
        cmocka_unit_test_setup(test_a_set_that_crashes_costs_itself_only, set_up),
        cmocka_unit_test_setup(test_a_device_for_one_process_goes_without_a_search, set_up),
    };
    clinfer_log_to(listen, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
