/* tuner/tune.h on devices that nobody here has: the recorded devices (support/recorded_devices.h) with a cost model in
 * the place of hardware, whose fastest kernels are anywhere but where the table has them. A tune of a minute has to
 * find nearly the best there is, and one that has nothing to find has to end before its time.
 *
 * The clock is the test's own: what a driver would take to build and to run is added to it, and nobody waits. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "ops/bind.h"
#include "ops/signature.h"
#include "support/gguf_writer.h"
#include "support/recorded_devices.h"
#include "tuner/search.h"
#include "unit/fake_tuner.h"

/* Seconds: what building one more program takes, about as drivers of GPUs do, and proving and timing a candidate. */
static const double build_seconds = 0.12, proof_seconds = 0.05;

/* The width of SmolLM2-135M, with fewer layers and tokens. */
enum { LAYERS = 12, WIDTH = 576, FEED_FORWARD = 1536, KV = 192, VOCABULARY = 16384, MOST_BUILT = 4096 };

static struct recorded_device devices[RECORDED_DEVICES];
static char shape_path[300];

/* ---- the clock ---- */

static double clock_seconds = 1000;

double ci_now(void) { return clock_seconds; }

static void pass(double seconds) { clock_seconds += seconds; }

/* ---- the device that there is not ---- */

static struct {
    const struct recorded_device *recorded;
    struct ci_profile_device measured;
    enum { NEAR_THE_LIMIT, FAR_FROM_IT, SCRAMBLED } like; /* all kernels alike; or the fastest may be anywhere */
    uint64_t built[MOST_BUILT];                           /* programs, by their source */
    int built_count;
    uint64_t random_state;
} device;

/* Some number in [0, 1) that is always the same for a device and a name, however often it is asked for. */
static double trait(const char *what, const char *name, int number) {
    uint64_t hash = ci_hash(CI_HASH_START, device.recorded->id, strlen(device.recorded->id));
    hash = ci_hash(hash, what, strlen(what) + 1);
    hash = ci_hash(hash, name, strlen(name) + 1);
    hash = ci_hash(hash, &number, sizeof number);
    return (double)(hash >> 40) / (double)(1 << 24);
}

/* What public figures say of its like, about: bandwidth and peak by kind and number of compute units. */
static void imagine_hardware(const struct recorded_device *recorded) {
    const struct ci_device_caps *caps = &recorded->caps;
    bool discrete = caps->kind == CI_DEVICE_GPU && !caps->unified_memory;
    double units = caps->compute_units ? caps->compute_units : 1;
    device.recorded = recorded;
    device.built_count = 0;
    device.random_state = 1;
    device.measured = (struct ci_profile_device){.read_bytes_per_second = discrete ? 3e11 : 4e10,
                                                 .operations_per_second = units * (discrete ? 2e11 : 4e10),
                                                 .dot8_operations_per_second = units * (discrete ? 6e11 : 1e11),
                                                 .launch_seconds = discrete ? 5e-6 : 1e-5,
                                                 .wait_seconds = 3e-5,
                                                 .crossing_seconds = 3e-5,
                                                 .crossing_bytes_per_second = 1e10};
}

static int count_of(const struct ci_tunable *tunable) {
    int count = 0;
    while (count < (int)(sizeof tunable->allowed / sizeof *tunable->allowed) && tunable->allowed[count]) count++;
    return count;
}

static int place_of(const struct ci_tunable *tunable, int value) {
    for (int i = 0; i < count_of(tunable); i++)
        if (tunable->allowed[i] == value) return i;
    return -1;
}

/* How far a value is from the one that suits the device best, in steps. What suits depends on the number of rows, and
 * for all tunables but the first on the value of the first. */
static int distance(const char *variant, const struct ci_tunable *list, const int *values, int which, int64_t rows) {
    const struct ci_tunable *tunable = &list[which];
    int count = count_of(tunable), place = place_of(tunable, values[which]);
    if (count == 0) return 0;
    if (place < 0) place = place_of(tunable, tunable->value) >= 0 ? place_of(tunable, tunable->value) : count / 2;
    int best = (int)(trait(tunable->name, variant, rows > 8) * count);
    if (which > 0 && place_of(&list[0], values[0]) % 2) best = best + 1 < count ? best + 1 : best;
    return abs(place - best);
}

/* The share of what the hardware gives that a kernel reaches. */
static double efficiency(const struct ci_variant *variant, const struct ci_layout *layout, const int *values,
                         int64_t rows) {
    const double step = 0.88;
    char family[96];
    snprintf(family, sizeof family, "%s %s", variant->name, layout ? layout->name : "");
    if (device.like != SCRAMBLED) return device.like == FAR_FROM_IT ? 0.45 : 0.95;
    double share = variant->backend == CI_BACKEND_CLBLAST ? 0.1 : 0.15 + 0.75 * trait("family", family, rows > 8);
    for (int i = 0; variant->tunables && variant->tunables[i].name; i++)
        share *= pow(step, distance(variant->name, variant->tunables, values, i, rows));
    return share;
}

/* What a problem is timed as is the first member of what the tuner knows of it. */
static const struct ci_tune_problem *item_of(const struct ci_problem *problem) {
    return (const struct ci_tune_problem *)(const void *)problem;
}

static double true_seconds(const struct ci_tune_problem *item, const struct ci_tuner_candidate *candidate) {
    double limit = ci_problems_estimate(item, &device.measured) - device.measured.launch_seconds;
    int64_t rows = item->signature.rows;
    return limit / efficiency(candidate->variant, candidate->layout, candidate->tunables, rows) +
           device.measured.launch_seconds;
}

/* As a clock sees it: within some percent. */
static double timed_seconds(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    double noise = (double)(ci_random(&device.random_state) >> 40) / (double)(1 << 24);
    return true_seconds(item_of(problem), candidate) * (0.98 + 0.04 * noise);
}

static struct ci_call call_in(const struct ci_tune_problem *item, const struct ci_layout *layout) {
    struct ci_call call = item->call;
    for (int i = 0; i < item->problem.op->inputs && layout; i++)
        if (call.in[i].type && (item->problem.op->weight_inputs >> i & 1)) call.in[i].layout = layout;
    return call;
}

/* 0: the program is there. */
static double program_seconds(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    struct ci_call call = call_in(item_of(problem), candidate->layout);
    uint64_t source;
    assert_ok(ci_signature_source(candidate->variant, candidate->tunables, &call, &source));
    for (int i = 0; i < device.built_count; i++)
        if (device.built[i] == source) return 0;
    assert_true(device.built_count < MOST_BUILT);
    device.built[device.built_count++] = source;
    return (candidate->variant->backend == CI_BACKEND_CLBLAST ? 20 : 1) * build_seconds;
}

static double trial_seconds(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return proof_seconds + program_seconds(problem, candidate);
}

/* ---- the best there is ---- */

/* With the values that suit the device best: each by itself, once the first is given. */
static double best_values(const struct ci_tune_problem *item, const struct ci_variant *variant,
                          const struct ci_layout *layout) {
    struct ci_tuner_candidate candidate = {.variant = variant, .layout = layout};
    double best = INFINITY;
    ci_bind_defaults(variant, candidate.tunables);
    if (!variant->tunables || !variant->tunables[0].name) return true_seconds(item, &candidate);
    for (int first = -1; first < count_of(&variant->tunables[0]); first++) {
        ci_bind_defaults(variant, candidate.tunables);
        if (first >= 0) candidate.tunables[0] = variant->tunables[0].allowed[first];
        for (int i = 1; variant->tunables[i].name; i++) {
            struct ci_tuner_candidate with = candidate;
            for (int k = 0; k < count_of(&variant->tunables[i]); k++) {
                with.tunables[i] = variant->tunables[i].allowed[k];
                if (true_seconds(item, &with) < true_seconds(item, &candidate)) candidate = with;
            }
        }
        best = fmin(best, true_seconds(item, &candidate));
    }
    return best;
}

static bool has_weights(const struct ci_tune_problem *item) {
    for (int i = 0; i < item->problem.op->inputs; i++)
        if (item->call.in[i].type && (item->problem.op->weight_inputs >> i & 1)) return true;
    return false;
}

static bool fits(const struct ci_caps *caps, const struct ci_tune_problem *item, const struct ci_variant *variant,
                 const struct ci_layout *layout) {
    struct ci_call call = call_in(item, layout);
    if (variant->op != item->problem.op || variant->backend == CI_BACKEND_CLBLAST) return false;
    if (layout && variant->weight_layout && variant->weight_layout != layout) return false;
    for (int i = 0; i < variant->op->inputs && layout; i++)
        if (call.in[i].type && (variant->op->weight_inputs >> i & 1) &&
            !ci_layout_fits(layout, call.in[i].type, call.in[i].cols))
            return false;
    return ci_variant_fits(variant, caps, &call);
}

static double best_seconds(const struct ci_caps *caps, const struct ci_tune_problem *item) {
    double best = INFINITY;
    for (int i = 0; ci_variants[i]; i++) {
        if (!has_weights(item) && fits(caps, item, ci_variants[i], NULL))
            best = fmin(best, best_values(item, ci_variants[i], NULL));
        for (int k = 0; ci_layouts[k] && has_weights(item); k++)
            if (fits(caps, item, ci_variants[i], ci_layouts[k]))
                best = fmin(best, best_values(item, ci_variants[i], ci_layouts[k]));
    }
    return best;
}

/* What a run without any profile takes. */
static double table_seconds(const struct ci_caps *caps, const struct ci_tune_problem *item) {
    for (int i = 0; ci_variants[i]; i++) {
        struct ci_tuner_candidate candidate = {.variant = ci_variants[i]};
        ci_bind_defaults(ci_variants[i], candidate.tunables);
        for (int k = 0; !has_weights(item) ? k == 0 : ci_layouts[k] != NULL; k++) {
            candidate.layout = has_weights(item) ? ci_layouts[k] : NULL;
            if (fits(caps, item, ci_variants[i], candidate.layout)) return true_seconds(item, &candidate);
        }
    }
    return INFINITY;
}

/* What the winners of a profile take, in their best layout. */
static double profile_seconds(const struct ci_caps *caps, const struct ci_tune_problem *item,
                              const struct ci_profile *profile) {
    double best = INFINITY;
    for (int i = -1; i < 0 || ci_layouts[i]; i++) {
        const char *layout = i < 0 ? "" : ci_layouts[i]->name;
        const struct ci_profile_entry *entry = profile ? ci_profile_find(profile, &item->signature, layout) : NULL;
        if (!entry || strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0) continue;
        struct ci_tuner_candidate candidate = {.variant =
                                                   ci_variant_find(item->problem.op, CI_BACKEND_OPENCL, entry->variant),
                                               .layout = i < 0 ? NULL : ci_layouts[i]};
        if (!candidate.variant) continue;
        assert_ok(ci_signature_values(candidate.variant, entry->tunables, entry->tunable_count, candidate.tunables));
        best = fmin(best, true_seconds(item, &candidate));
    }
    return isfinite(best) ? best : table_seconds(caps, item);
}

/* ---- whole runs ---- */

static struct ci_problems known; /* of the shape, on the device */
static struct ci_caps known_caps;

enum state { TABLE, TUNED, BEST };

static double run_seconds(enum state state, const struct ci_profile *profile, int run) {
    double *seconds = calloc((size_t)known.count + 1, sizeof *seconds);
    assert_non_null(seconds);
    for (int i = 0; i < known.count; i++) {
        const struct ci_tune_problem *item = &known.items[i];
        seconds[i] = state == BEST    ? best_seconds(&known_caps, item)
                     : state == TABLE ? table_seconds(&known_caps, item)
                                      : profile_seconds(&known_caps, item, profile);
        /* Parts stand before what they are parts of. */
        if (state == BEST && item->first >= 0)
            seconds[i] = fmin(seconds[i], seconds[item->first] + seconds[item->second]);
    }
    double sum = ci_problems_run(&known, seconds, 0, run, NULL, NULL);
    free(seconds);
    return sum;
}

static double model_seconds(const struct ci_profile *profile, bool decode) {
    double noise = (double)(ci_random(&device.random_state) >> 40) / (double)(1 << 24);
    return (0.98 + 0.04 * noise) * run_seconds(TUNED, profile, decode ? CI_TUNE_DECODE : CI_TUNE_PROMPT);
}

static void begin(const struct recorded_device *recorded, int like) {
    set_up(NULL);
    imagine_hardware(recorded);
    device.like = like;
    fake.seconds = timed_seconds;
    fake.try_seconds = trial_seconds;
    fake.pass = pass;
    fake.device = device.measured;
    fake.model_seconds = model_seconds;
    fake.build_seconds = build_seconds;
    fake.build = program_seconds;
    known_caps = (struct ci_caps){.cpu = ci_cpu_features(), .device = &recorded->caps, .threads = 2};
    known = (struct ci_problems){0};
    assert_ok(ci_problems_add_file(&known, &known_caps, shape_path));
}

/* ---- tests ---- */

/* Of each device with work-groups to choose from: how far from the best a tune of a minute ends. */
static void test_the_best_is_found_where_the_table_is_wrong(void **state) {
    const double near = 1.05, far = 1.2;
    int runs = 0, close = 0;
    (void)state;
    for (int d = 0; d < RECORDED_DEVICES; d++) {
        static const int kinds[2] = {CI_TUNE_DECODE, CI_TUNE_PROMPT};
        struct ci_tune_result result;
        double above[2], before[2];
        if (!devices[d].usable || devices[d].caps.max_work_group < 16) continue;
        begin(&devices[d], SCRAMBLED);
        double start = ci_now();
        assert_ok(tune(&(struct wish){.budget = 60, .device = &devices[d].caps, .model = shape_path}, &result));
        double spent = ci_now() - start;
        assert_true(spent < 61);
        for (int r = 0; r < 2; r++) {
            double best = run_seconds(BEST, NULL, kinds[r]);
            above[r] = run_seconds(TUNED, &result.profile, kinds[r]) / best;
            before[r] = run_seconds(TABLE, NULL, kinds[r]) / best;
            runs++;
            close += above[r] <= near;
        }
        print_message("%-31s %4d tried in %.0f s; of the best: decode %.2f -> %.3f, prompt %.2f -> %.3f\n",
                      devices[d].id, result.tried, spent, before[0], above[0], before[1], above[1]);
        assert_true(above[0] <= fmin(far, before[0] + 1e-9) && above[1] <= fmin(far, before[1] + 1e-9));
        ci_tune_free(&result);
        ci_problems_free(&known);
    }
    print_message("%d of %d runs are within 5%% of the best\n", close, runs);
    assert_true(runs >= 30 && close >= 0.93 * runs);
}

/* What runs today is near the limits: there is nothing to find, and the user does not wait for it. */
static void test_it_ends_early_where_nothing_is_to_gain(void **state) {
    struct ci_tune_result result;
    (void)state;
    begin(&devices[0], NEAR_THE_LIMIT);
    double start = ci_now();
    assert_ok(tune(&(struct wish){.budget = 60, .device = &devices[0].caps, .model = shape_path}, &result));
    print_message("%d tried in %.0f of 60 s\n", result.tried, ci_now() - start);
    assert_true(ci_now() - start < 40); /* a third of it for settings */
    assert_true(run_seconds(TUNED, &result.profile, CI_TUNE_DECODE) <=
                run_seconds(TABLE, NULL, CI_TUNE_DECODE) * 1.001);
    ci_tune_free(&result);
    ci_problems_free(&known);
}

/* All kernels leave most of what the device gives, and none is better than what runs today: the limits promise what is
 * not there. That has to be seen in time for everything that is no kernel. */
static void test_what_is_no_kernel_has_its_time_where_no_kernel_helps(void **state) {
    struct ci_tune_result result;
    (void)state;
    begin(&devices[0], FAR_FROM_IT);
    double start = ci_now();
    assert_ok(tune(&(struct wish){.budget = 60, .device = &devices[0].caps, .model = shape_path}, &result));
    print_message("%d tried, %d settings in %.0f of 60 s\n", result.tried, result.setting_count, ci_now() - start);
    for (int i = 0; i < result.setting_count; i++)
        if (result.settings[i].what == CI_TUNE_NOT_MEASURED)
            fail_msg("%s %s was not measured: %s", result.settings[i].name, result.settings[i].value,
                     result.settings[i].reason);
    assert_true(result.models[0].steps.seconds[0] > 0);
    ci_tune_free(&result);
    ci_problems_free(&known);
}

/* ---- the shape ---- */

static void write_shape(void) {
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } tensors[] = {{"attn_q", WIDTH, WIDTH},
                   {"attn_k", WIDTH, KV},
                   {"attn_v", WIDTH, KV},
                   {"attn_output", WIDTH, WIDTH},
                   {"ffn_gate", WIDTH, FEED_FORWARD},
                   {"ffn_up", WIDTH, FEED_FORWARD},
                   {"ffn_down", FEED_FORWARD, WIDTH}};
    enum { F32 = 0, Q4_0 = 2, Q8_0 = 8 };
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "llama.context_length", 2048);
    gguf_writer_u32(writer, "llama.embedding_length", WIDTH);
    gguf_writer_u32(writer, "llama.block_count", LAYERS);
    gguf_writer_u32(writer, "llama.feed_forward_length", FEED_FORWARD);
    gguf_writer_u32(writer, "llama.attention.head_count", 9);
    gguf_writer_u32(writer, "llama.attention.head_count_kv", 3);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_writer_tensor(writer, "token_embd.weight", Q8_0, 2, (uint64_t[]){WIDTH, VOCABULARY}, NULL);
    gguf_writer_tensor(writer, "output_norm.weight", F32, 1, (uint64_t[]){WIDTH}, NULL);
    for (int layer = 0; layer < LAYERS; layer++) {
        char name[64];
        static const char *const norms[] = {"attn_norm", "ffn_norm"};
        for (size_t i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, norms[i]);
            gguf_writer_tensor(writer, name, F32, 1, (uint64_t[]){WIDTH}, NULL);
        }
        for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, tensors[i].name);
            gguf_writer_tensor(writer, name, Q4_0, 2, (uint64_t[]){tensors[i].cols, tensors[i].rows}, NULL);
        }
    }
    gguf_writer_save(writer, shape_path);
    gguf_writer_destroy(writer);
}

static int prepare_all(void **state) {
    (void)state;
    snprintf(shape_path, sizeof shape_path, "%s/clinfer-shape-%d.gguf",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    write_shape();
    return read_recorded_devices(devices);
}

static int remove_all(void **state) {
    (void)state;
    return unlink(shape_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_is_found_where_the_table_is_wrong),
        cmocka_unit_test(test_it_ends_early_where_nothing_is_to_gain),
        cmocka_unit_test(test_what_is_no_kernel_has_its_time_where_no_kernel_helps),
    };
    return cmocka_run_group_tests(tests, prepare_all, remove_all);
}
