/* What a watchdog sees of a thread that works: silence, signs of life, what is queued and what is built. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/watch.h"

static void look_for(struct ci_watch *watch, const struct ci_watch_limits *limits, int looks, bool *expired) {
    double silent;
    *expired = false;
    for (int i = 0; i < looks && !*expired; i++) {
        usleep(100000);
        *expired = ci_watch_expired(watch, limits, &silent);
    }
}

static void test_silence_is_a_hang_unless_nobody_looked(void **state) {
    (void)state;
    const struct ci_watch_limits limits = {.step = 0.5, .build = 5};
    struct ci_watch watch = {0};
    bool expired;
    double silent;
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_STEP, 0);
    assert_false(ci_watch_expired(&watch, &limits, &silent));
    usleep(1200000); /* as if the whole process had been stopped */
    assert_false(ci_watch_expired(&watch, &limits, &silent));
    look_for(&watch, &limits, 20, &expired);
    assert_true(expired);
    ci_watch_begin(CI_WATCH_STEP, 0);
    look_for(&watch, &limits, 2, &expired);
    assert_false(expired);
    ci_watch_begin(CI_WATCH_IDLE, 0);
    look_for(&watch, &limits, 8, &expired);
    assert_false(expired);
    ci_watch_by(NULL);
}

static void test_watch_takes_beats_for_life(void **state) {
    (void)state;
    const struct ci_watch_limits limits = {.step = 0.35, .build = 5};
    struct ci_watch watch = {0};
    bool expired;
    ci_watch_beat(); /* nobody watches */
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_STEP, 0);
    for (int i = 0; i < 8; i++) {
        ci_watch_beat();
        look_for(&watch, &limits, 1, &expired);
        assert_false(expired);
    }
    look_for(&watch, &limits, 8, &expired);
    assert_true(expired);
    ci_watch_by(NULL);
}

static void test_watch_adds_up_what_is_queued(void **state) {
    (void)state;
    struct ci_watch watch = {0};
    struct ci_watch_run runs[3], none = ci_watch_run();
    ci_watch_begin_behind(1); /* nobody watches */
    ci_watch_done(&none);
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_IDLE, 5);
    for (int i = 0; i < 3; i++) {
        ci_watch_begin_behind(1 << i);
        runs[i] = ci_watch_run();
    }
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    assert_true(atomic_load(&watch.estimate) == 7);
    ci_watch_done(&runs[1]); /* nobody waited for the first, which came before it */
    assert_true(atomic_load(&watch.estimate) == 4);
    ci_watch_done(&runs[0]);
    assert_true(atomic_load(&watch.estimate) == 4);
    ci_watch_done(&runs[2]);
    assert_true(atomic_load(&watch.estimate) == 0);
    ci_watch_begin_behind(1);
    ci_watch_begin_alone(2); /* it goes on with what is behind a wait of its own */
    assert_true(atomic_load(&watch.estimate) == 2);
    ci_watch_by(NULL);
}

/* Who waits for what another thread has begun still knows what is queued by itself. */
static void test_watch_knows_its_own_runs(void **state) {
    (void)state;
    struct ci_watch other = {0}, watch = {0};
    ci_watch_by(&other);
    for (int i = 0; i < 5; i++) ci_watch_begin_behind(1);
    struct ci_watch_run foreign = ci_watch_run();
    ci_watch_by(&watch);
    ci_watch_done(&foreign);
    ci_watch_begin_behind(2);
    ci_watch_build_queued();
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    assert_true(atomic_load(&watch.estimate) == 2);
    ci_watch_by(NULL);
}

/* A kernel that is compiled in the queue, as PoCL does, takes the time of building; loading before a run is over. */
static void test_watch_tells_steps_from_building(void **state) {
    (void)state;
    struct ci_watch watch = {0};
    struct ci_watch_run runs[3];
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_BUILD, 0);
    ci_watch_begin_behind(1);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    runs[0] = ci_watch_run();
    ci_watch_begin_behind(1);
    ci_watch_build_queued();
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    assert_true(atomic_load(&watch.estimate) == 2);
    runs[1] = ci_watch_run();
    ci_watch_done(&runs[0]);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    struct ci_watch_pause pause = ci_watch_pause();
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_IDLE);
    ci_watch_resume(&pause);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    ci_watch_begin_behind(1);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    runs[2] = ci_watch_run();
    ci_watch_done(&runs[1]);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    ci_watch_done(&runs[2]);
    ci_watch_build_queued(); /* of no run, such as a proof */
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    ci_watch_begin_alone(1);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    ci_watch_by(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence_is_a_hang_unless_nobody_looked),
        cmocka_unit_test(test_watch_takes_beats_for_life),
        cmocka_unit_test(test_watch_adds_up_what_is_queued),
        cmocka_unit_test(test_watch_knows_its_own_runs),
        cmocka_unit_test(test_watch_tells_steps_from_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
