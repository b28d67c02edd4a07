/* One OpenCL call of a decode step fails: nobody sees it in the text, and one line on the log tells it. And what
 * careful mode does about it. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "engine/engine_private.h"
#include "engine/warm.h"
#include "profile/quarantine.h"
#include "support/layer.h"
#include "support/model.h"
#include "support/poison.h"

enum { OUT_OF_RESOURCES = -5, TOKENS = 8, ARMED_AT = 3 };

static char model[4096];
static int accidents, replaced;
static const char *in_careful_mode; /* the faults from when it begins; NULL: those that began it go on */

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user, (void)level;
    if (in_careful_mode && strstr(message, "computed again, ")) layer_arm("%s", in_careful_mode);
    accidents += strstr(message, "no kernel was wrong") != NULL;
    replaced += strstr(message, "quarantined; op") != NULL;
}

struct talk {
    int calls;
    const char *fault; /* armed behind token ARMED_AT; NULL: none */
    char text[1024];
};

static bool collect(void *user, const char *bytes, size_t length) {
    struct talk *talk = user;
    size_t used = strlen(talk->text);
    assert_true(used + length < sizeof talk->text);
    memcpy(talk->text + used, bytes, length);
    if (++talk->calls == ARMED_AT && talk->fault) layer_arm("%s", talk->fault);
    return true;
}

static enum clinfer_status answer(clinfer_engine *engine, struct talk *talk) {
    static const char prompt[] = "A list of the planets of our solar system, by distance: Mercury,";
    struct clinfer_session_options options;
    clinfer_session *session;
    int32_t *tokens;
    size_t count;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0.8f; /* the same random numbers must be drawn again */
    options.seed = 7;
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    assert_int_equal(clinfer_tokenize(engine, prompt, strlen(prompt), false, false, &tokens, &count), CLINFER_OK);
    struct clinfer_request request = {
        .tokens = tokens, .count = count, .max_tokens = TOKENS, .callback = collect, .user = talk};
    enum clinfer_status status = clinfer_generate(session, &request, NULL);
    clinfer_free(tokens);
    clinfer_session_destroy(session);
    return status;
}

/* On each OpenCL device. */
static void with_engines(void (*check)(clinfer_engine *)) {
    for (const char *const *device = test_devices(); *device; device++) {
        if (strcmp(*device, "cpu") == 0) continue;
        struct clinfer_engine_options options = test_engine_options(model, *device);
        layer_disarm();
        clinfer_engine *engine = test_engine_open(&options);
        check(engine);
        clinfer_engine_close(engine);
        assert_int_equal(ci_quarantine_clear(NULL), CLINFER_OK);
    }
}

static void fail_calls(clinfer_engine *engine) {
    /* The last ones are those around the wait for the result. */
    static const int calls[] = {1, 2, 40, 279, 282, 283, 284, 285, 286, 289};
    struct talk right = {0};
    if (answer(engine, &right) != CLINFER_OK) fail_msg("%s", clinfer_error());
    int lived_with = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char fault[32];
        snprintf(fault, sizeof fault, "*@%d:%d", calls[i], OUT_OF_RESOURCES);
        struct talk talk = {.fault = fault};
        accidents = replaced = 0;
        enum clinfer_status status = answer(engine, &talk);
        const char *name = layer_struck();
        layer_disarm();
        if (!name) fail_msg("call %d was not made", calls[i]);
        if (status != CLINFER_OK) fail_msg("call %d (%s): %s", calls[i], name, clinfer_error());
        assert_string_equal(talk.text, right.text);
        if (replaced > 0) fail_msg("call %d (%s): a kernel was replaced", calls[i], name);
        if (accidents > 1) fail_msg("call %d (%s): said %d times", calls[i], name, accidents);
        lived_with += accidents == 0;
        print_message("call %d (%s): %s\n", calls[i], name, accidents ? "computed again" : "lived with");
    }
    assert_true(lived_with < (int)(sizeof calls / sizeof *calls) / 2);
}

static void test_a_call_that_fails_once_changes_no_text(void **state) {
    (void)state;
    with_engines(fail_calls);
}

static void answer_with(clinfer_engine *engine, const char *fault, const struct talk *right) {
    struct talk talk = {.fault = fault};
    accidents = replaced = 0;
    if (answer(engine, &talk) != CLINFER_OK) fail_msg("%s: %s", fault, clinfer_error());
    if (layer_strikes() == 0) fail_msg("%s: no such call was made", fault);
    layer_disarm();
    assert_string_equal(talk.text, right->text);
}

static void make_whole_again(clinfer_engine *engine) {
    engine->chain_tried = false;
    ci_engine_make_chain(engine, 0);
}

/* No kernel by itself can be blamed for the launch of a whole token, nor for what is read behind it: it is computed
 * again, kernel by kernel. */
static void fail_whole_tokens(clinfer_engine *engine) {
    struct talk right = {0}, whole = {0};
    if (answer(engine, &right) != CLINFER_OK) fail_msg("%s", clinfer_error());
    long launches = layer_calls("clEnqueueNDRangeKernel");
    unsetenv("CLINFER_SINGLE_LAUNCHES"); /* only now: what is in the cache already would be taken at once */
    ci_engine_make_chain(engine, 0);
    const long before = layer_calls("clEnqueueNDRangeKernel");
    if (answer(engine, &whole) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_true(layer_calls("clEnqueueNDRangeKernel") - before < launches / 2);
    assert_string_equal(whole.text, right.text);
    whole = (struct talk){0};
    for (int call = 1; call <= 12; call++) {
        char fault[32];
        snprintf(fault, sizeof fault, "*@%d:%d", call, OUT_OF_RESOURCES);
        make_whole_again(engine);
        answer_with(engine, fault, &right);
        assert_int_equal(replaced, 0);
    }
    make_whole_again(engine);
    answer_with(engine, "clEnqueueNDRangeKernel@1:corrupt", &right);
    assert_int_equal(accidents, 1);
    const long after = layer_calls("clEnqueueNDRangeKernel");
    if (answer(engine, &whole) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_true(layer_calls("clEnqueueNDRangeKernel") - after > launches / 2); /* what failed as one stays single */
    setenv("CLINFER_SINGLE_LAUNCHES", "1", 1);
}

static int single_launches_again(void **state) {
    (void)state;
    return setenv("CLINFER_SINGLE_LAUNCHES", "1", 1);
}

static void test_the_launch_of_a_whole_token_may_fail(void **state) {
    (void)state;
    ci_warm_allow();
    with_engines(fail_whole_tokens);
}

static int steps_counted;

static void count_step(void *user, const struct clinfer_plan_step *step) {
    (void)user, (void)step;
    steps_counted++;
}

/* The reference takes seconds for all kernels of a token. Another kernel takes over on the spot, with the caches as
 * they are: for a kernel that was not run has spoilt nothing. */
static void compare_few(clinfer_engine *engine) {
    const struct ci_careful_cost *cost = &engine->careful_cost;
    struct talk right = {0};
    if (answer(engine, &right) != CLINFER_OK) fail_msg("%s", clinfer_error());
    steps_counted = 0;
    assert_int_equal(clinfer_engine_explain(engine, 1, count_step, NULL, NULL), CLINFER_OK);
    int kernels = steps_counted;

    answer_with(engine, "clEnqueueNDRangeKernel@40:-5", &right);
    assert_int_equal(accidents, 1);
    assert_int_equal(cost->steps, kernels);
    assert_int_equal(cost->compared, 1);

    answer_with(engine, "clEnqueueNDRangeKernel/glu@2:corrupt", &right);
    assert_int_equal(accidents, 1);
    assert_int_equal(cost->steps, kernels);
    assert_int_equal(cost->compared, 0);
    assert_true(cost->build_seconds == 0);

    answer_with(engine, "clEnqueueNDRangeKernel/glu@2+:-5", &right);
    assert_int_equal(replaced, 1);
    assert_int_equal(cost->compared, 2); /* the one that fails, and what takes its place */
    assert_true(cost->build_seconds > 0);
    print_message("%.0f ms one by one, %.0f ms compare 2 of %d, %.0f ms build\n", 1e3 * cost->seconds,
                  1e3 * cost->compare_seconds, kernels, 1e3 * cost->build_seconds);
}

static void test_careful_mode_compares_only_what_there_is_a_reason_to(void **state) {
    (void)state;
    with_engines(compare_few);
}

/* What kernels left behind that were run before is nothing that a right one gives; but whose fault is that? */
static void compute_nothing(clinfer_engine *engine) {
    struct talk talk = {.fault = "clEnqueueNDRangeKernel/glu@2:corrupt"};
    replaced = 0;
    in_careful_mode = "clEnqueueNDRangeKernel@1+:skip";
    enum clinfer_status status = answer(engine, &talk);
    in_careful_mode = NULL;
    layer_disarm();
    assert_int_equal(status, CLINFER_DEVICE_ERROR);
    assert_non_null(strstr(clinfer_error(), "does not compute any more"));
    assert_int_equal(replaced, 0);
}

static void test_a_device_that_computes_nothing_is_no_kernels_fault(void **state) {
    (void)state;
    with_engines(compute_nothing);
}

/* A device that is lost fails at everything from then on. */
static void lose_device(clinfer_engine *engine) {
    struct talk talk = {.fault = "*@1:lost"};
    enum clinfer_status status = answer(engine, &talk);
    layer_disarm();
    assert_int_equal(status, CLINFER_DEVICE_ERROR);
    assert_non_null(strstr(clinfer_error(), "CL_OUT_OF_RESOURCES"));
    assert_int_equal(replaced, 0);
}

static void test_a_device_that_is_lost_is_an_error_and_nobodys_fault(void **state) {
    (void)state;
    replaced = 0;
    with_engines(lose_device);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_that_fails_once_changes_no_text),
        cmocka_unit_test_teardown(test_the_launch_of_a_whole_token_may_fail, single_launches_again),
        cmocka_unit_test(test_careful_mode_compares_only_what_there_is_a_reason_to),
        cmocka_unit_test(test_a_device_that_computes_nothing_is_no_kernels_fault),
        cmocka_unit_test(test_a_device_that_is_lost_is_an_error_and_nobodys_fault),
    };
    if (!layer_load()) return 1;
    snprintf(model, sizeof model, "%s", test_model_path()); /* while it is known where models are */
    poison_fresh_data();
    clinfer_log_to(listen, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
