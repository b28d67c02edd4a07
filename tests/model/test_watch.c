/* test_watch.c: what a watchdog hears of a model that runs (base/watch.h): how long a run should take, by what was
 * measured of the device, and a beat for each kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "base/watch.h"
#include "engine/engine_private.h"
#include "graph/plan_private.h"
#include "ops/signature.h"
#include "support/model.h"
#include "support/process.h"
#include "support/profile_sample.h"

static clinfer_engine *open_engine(const char *device, const char *tuning) {
    struct clinfer_engine_options options = test_engine_options("tests/data/llama_tiny.gguf", device);
    options.tuning = tuning;
    return test_engine_open(&options);
}

/* A profile of this engine's device that says how fast it is, and nothing of kernels. */
static const char *profile_of(const clinfer_engine *engine, double bytes_per_second, double operations_per_second) {
    struct ci_profile profile;
    char *text;
    profile_sample(&profile);
    profile.entry_count = 0;
    ci_signature_key(&engine->store.places[1].caps, &profile.key);
    profile.measured.read_bytes_per_second = bytes_per_second;
    profile.measured.operations_per_second = operations_per_second;
    if (ci_profile_print("slow", &profile, &text) != CLINFER_OK) fail_msg("%s", clinfer_error());
    const char *path = process_file("slow.json", text, strlen(text));
    free(text);
    ci_profile_free(&profile);
    return path;
}

static double estimate(const clinfer_engine *engine) { return engine->buckets[0].plan->estimate; }

static void test_a_run_should_take_what_the_profile_says_of_the_device(void **state) {
    const double nominal_bytes = 4e9, nominal_operations = 20e9, slower = 1000;
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        if (strcmp(*device, "cpu") == 0) continue;
        clinfer_engine *unknown = open_engine(*device, "none");
        const char *path = profile_of(unknown, nominal_bytes / slower, nominal_operations / slower);
        clinfer_engine *known = open_engine(*device, path);
        double ratio = estimate(known) / estimate(unknown);
        if (!(ratio > 0.9 * slower && ratio < 1.1 * slower))
            fail_msg("%s: %g s, but %g s where nothing is known", *device, estimate(known), estimate(unknown));
        clinfer_engine_close(known);
        clinfer_engine_close(unknown);
    }
}

static bool take(void *user, const char *bytes, size_t length) {
    (void)user, (void)bytes, (void)length;
    return true;
}

static void count_step(void *user, const struct clinfer_plan_step *step) {
    (void)step;
    ++*(unsigned *)user;
}

static void test_each_kernel_is_a_beat(void **state) {
    enum { TOKENS = 8 };
    static const int32_t tokens[] = {1, 84, 104, 101};
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct ci_watch watch = {0};
        struct clinfer_session_options options;
        clinfer_session *session;
        unsigned kernels = 0;
        clinfer_engine *engine = open_engine(*device, "none");
        assert_int_equal(clinfer_engine_explain(engine, 1, count_step, &kernels, NULL), CLINFER_OK);
        clinfer_session_options_default(engine, &options);
        assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
        struct clinfer_request request = {
            .tokens = tokens, .count = 4, .max_tokens = TOKENS, .callback = take, .ignore_end = true};
        ci_watch_by(&watch);
        if (clinfer_generate(session, &request, NULL) != CLINFER_OK) fail_msg("%s", clinfer_error());
        ci_watch_by(NULL);
        unsigned beats = atomic_load(&watch.beats);
        if (beats < (TOKENS - 1) * (kernels - 1))
            fail_msg("%s: %u beats in %d runs of %u kernels", *device, beats, (int)TOKENS, kernels);
        /* What has been waited for is no part of the estimate any more. */
        assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
        assert_true(atomic_load(&watch.estimate) <= 2.01 * estimate(engine));
        clinfer_session_destroy(session);
        clinfer_engine_close(engine);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_should_take_what_the_profile_says_of_the_device),
        cmocka_unit_test(test_each_kernel_is_a_beat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
