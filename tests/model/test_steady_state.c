/* Nothing is made per token: over 100 decode steps after the first, code of ours calls no allocator, makes no OpenCL
 * object and builds no program.
 *
 * And what each token takes does not grow unseen: steps, enqueues, waits and bytes of a token, and objects of a start,
 * are held against tests/data/counts.json, by driver and instruction set, without any profile. Where they change on
 * purpose, CLINFER_STORE_COUNTS=1 (`make bench-guard STORE=1`) stores the new ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <clinfer.h>

#include "support/failing_malloc.h"
#include "support/model.h"

/* What had been counted at one token. */
struct counts {
    int allocations;
    uint64_t objects, builds, waits, enqueues;
};

enum { WARM_UP = 2, STEPS = 100 };

struct watch {
    clinfer_engine *engine;
    int calls;
    struct counts first, last;
};

static bool count(void *user, const char *text, size_t length) {
    struct watch *watch = user;
    struct clinfer_engine_stats stats;
    (void)text, (void)length;
    clinfer_engine_get_stats(watch->engine, &stats);
    struct counts now = {failing_malloc_count(), stats.objects, stats.builds, stats.waits, stats.enqueues};
    watch->calls++;
    if (watch->calls == WARM_UP) watch->first = now;
    if (watch->calls == WARM_UP + STEPS) watch->last = now;
    return watch->calls < WARM_UP + STEPS;
}

/* ---- stored figures ---- */

static const char counts_path[] = "tests/data/counts.json";

/* Of one token, and of a start with its first prompt. */
struct figures {
    double steps, enqueues, waits, bytes, objects;
};

static void add_bytes(void *user, const struct clinfer_plan_step *step) {
    struct figures *figures = user;
    figures->steps++;
    figures->bytes += step->bytes;
}

/* The driver by its platform; its version may change what is counted as little as the processor's name. */
static void name_of(const clinfer_engine *engine, char *name, size_t size) {
    struct clinfer_engine_info info;
    struct clinfer_device *devices;
    size_t count;
    clinfer_engine_get_info(engine, &info);
    snprintf(name, size, "cpu, %s", clinfer_cpu_isa());
    assert_int_equal(clinfer_devices(&devices, &count), CLINFER_OK);
    for (size_t i = 0; i < count && info.opencl; i++)
        if (strcmp(devices[i].name, info.device) == 0)
            snprintf(name, size, "%s, %s", devices[i].platform, clinfer_cpu_isa());
    clinfer_devices_free(devices, count);
}

static void compare_figure(const char *device, const char *figure, double now, json_t *stored) {
    double before = json_number_value(json_object_get(stored, figure));
    if (now > before)
        fail_msg("%s: %s were %.0f and are %.0f now; if that is meant: make bench-guard STORE=1", device, figure,
                 before, now);
    if (now < before) print_message("%s: %s were %.0f and are %.0f now\n", device, figure, before, now);
}

static void compare_figures(const char *device, const struct figures *now) {
    json_error_t error;
    json_t *all = json_load_file(counts_path, 0, &error);
    if (!all) fail_msg("%s: line %d: %s", counts_path, error.line, error.text);
    if (getenv("CLINFER_STORE_COUNTS")) {
        json_object_set_new(all, device,
                            json_pack("{s:f, s:f, s:f, s:f, s:f}", "steps", now->steps, "enqueues", now->enqueues,
                                      "waits", now->waits, "bytes", now->bytes, "objects", now->objects));
        assert_int_equal(json_dump_file(all, counts_path, JSON_INDENT(4) | JSON_SORT_KEYS | JSON_REAL_PRECISION(12)),
                         0);
    }
    json_t *stored = json_object_get(all, device);
    if (stored) {
        compare_figure(device, "steps", now->steps, stored);
        compare_figure(device, "enqueues", now->enqueues, stored);
        compare_figure(device, "waits", now->waits, stored);
        compare_figure(device, "bytes", now->bytes, stored);
        compare_figure(device, "objects", now->objects, stored);
    } else {
        print_message("%s: no figures are stored for this driver and processor\n", device);
    }
    json_decref(all);
}

/* Decodes in a new engine; what is counted of it goes to `watch`, whose engine is the caller's to close. */
static void decode(const char *device, struct watch *watch) {
    struct clinfer_engine_options options;
    struct clinfer_session_options sampling;
    clinfer_session *session;
    clinfer_engine_options_default(&options);
    options.model = test_model_path();
    options.device = device;
    options.tuning = "none";
    *watch = (struct watch){0};
    if (clinfer_engine_open(&options, &watch->engine) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_options_default(watch->engine, &sampling);
    sampling.temperature = 0;
    assert_int_equal(clinfer_session_create(watch->engine, &sampling, &session), CLINFER_OK);
    /* Longer than a page of the KV cache and shorter than what it starts with. */
    const char *prompt = "Here is a long list of animals: the aardvark, the ant, the ape, the bat, the bear,";
    int32_t *tokens;
    size_t prompt_tokens;
    assert_int_equal(clinfer_tokenize(watch->engine, prompt, strlen(prompt), false, false, &tokens, &prompt_tokens),
                     CLINFER_OK);
    struct clinfer_request request = {
        .tokens = tokens, .count = prompt_tokens, .max_tokens = -1, .callback = count, .user = watch};
    failing_malloc_arm(0, false);
    if (clinfer_generate(session, &request, NULL) != CLINFER_OK) fail_msg("%s", clinfer_error());
    failing_malloc_disarm();
    assert_int_equal(watch->calls, WARM_UP + STEPS);
    clinfer_free(tokens);
    clinfer_session_destroy(session);
}

static void test_decoding_makes_nothing_per_token(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct watch watch;
        /* The first answer ever proves its kernels, with objects that later ones do not need. */
        decode(*device, &watch);
        clinfer_engine_close(watch.engine);
        decode(*device, &watch);
        printf("%s: %llu objects of a start; %d steps, %d allocations, %llu objects, %llu builds, %.2f waits and %.1f "
               "enqueues a step\n",
               *device, (unsigned long long)watch.last.objects, STEPS, watch.last.allocations - watch.first.allocations,
               (unsigned long long)(watch.last.objects - watch.first.objects),
               (unsigned long long)(watch.last.builds - watch.first.builds),
               (double)(watch.last.waits - watch.first.waits) / STEPS,
               (double)(watch.last.enqueues - watch.first.enqueues) / STEPS);
        assert_int_equal(watch.last.allocations, watch.first.allocations);
        assert_int_equal(watch.last.objects, watch.first.objects);
        assert_int_equal(watch.last.builds, watch.first.builds);
        struct figures figures = {.enqueues = (double)(watch.last.enqueues - watch.first.enqueues) / STEPS,
                                  .objects = (double)watch.last.objects};
        char name[256];
        int waits;
        assert_int_equal(clinfer_engine_explain(watch.engine, 1, add_bytes, &figures, &waits), CLINFER_OK);
        figures.waits = waits;
        name_of(watch.engine, name, sizeof name);
        compare_figures(name, &figures);
        clinfer_engine_close(watch.engine);
    }
}

int main(void) {
    /* Whether a token is one launch depends on what is in the cache of programs; here none is. */
    setenv("CLINFER_SINGLE_LAUNCHES", "1", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decoding_makes_nothing_per_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
