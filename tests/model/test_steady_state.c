/* Nothing is made per token: over 100 decode steps after the first, code of ours calls no allocator, makes no OpenCL
 * object and builds no program. The linker sends every call of an allocator from our objects through here (--wrap);
 * those inside drivers and libraries do not come this way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/model.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

static atomic_int allocations;

void *__wrap_malloc(size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_realloc(memory, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_aligned_alloc(alignment, bytes);
}

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
    struct counts now = {atomic_load(&allocations), stats.objects, stats.builds, stats.waits, stats.enqueues};
    watch->calls++;
    if (watch->calls == WARM_UP) watch->first = now;
    if (watch->calls == WARM_UP + STEPS) watch->last = now;
    return watch->calls < WARM_UP + STEPS;
}

static void test_decoding_makes_nothing_per_token(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        struct clinfer_session_options sampling;
        clinfer_engine *engine;
        clinfer_session *session;
        clinfer_engine_options_default(&options);
        options.model = test_model_path();
        options.device = *device;
        if (clinfer_engine_open(&options, &engine) != CLINFER_OK) fail_msg("%s", clinfer_error());
        clinfer_session_options_default(engine, &sampling);
        sampling.temperature = 0;
        assert_int_equal(clinfer_session_create(engine, &sampling, &session), CLINFER_OK);
        /* Longer than a page of the KV cache and shorter than what it starts with. */
        const char *prompt = "Here is a long list of animals: the aardvark, the ant, the ape, the bat, the bear,";
        int32_t *tokens;
        size_t prompt_tokens;
        assert_int_equal(clinfer_tokenize(engine, prompt, strlen(prompt), false, false, &tokens, &prompt_tokens),
                         CLINFER_OK);
        struct watch watch = {.engine = engine};
        struct clinfer_request request = {tokens, prompt_tokens, -1, count, &watch, false};
        if (clinfer_generate(session, &request, NULL) != CLINFER_OK) fail_msg("%s", clinfer_error());
        assert_int_equal(watch.calls, WARM_UP + STEPS);
        printf("%s: %d steps, %d allocations, %llu objects, %llu builds, %.2f waits and %.1f enqueues a step\n",
               *device, STEPS, watch.last.allocations - watch.first.allocations,
               (unsigned long long)(watch.last.objects - watch.first.objects),
               (unsigned long long)(watch.last.builds - watch.first.builds),
               (double)(watch.last.waits - watch.first.waits) / STEPS,
               (double)(watch.last.enqueues - watch.first.enqueues) / STEPS);
        assert_int_equal(watch.last.allocations, watch.first.allocations);
        assert_int_equal(watch.last.objects, watch.first.objects);
        assert_int_equal(watch.last.builds, watch.first.builds);
        clinfer_free(tokens);
        clinfer_session_destroy(session);
        clinfer_engine_close(engine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decoding_makes_nothing_per_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
