/* How large pieces of a prompt are beside answers, on machines that are made up: each step takes what the model of the
 * machine says, and no clock is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "engine/pace.h"

enum { PROMPT = 4096, MOST = 512, MOST_STEPS = 4096, WARM_STEPS = 50 };

/* Seconds of a step: reading the weights, each row, and each position that a row of the prompt looks at. Of `held_up`
 * steps one takes `longer` times as long. */
struct machine {
    double weights, row, position;
    int held_up;
    double longer;
};

static double step_seconds(const struct machine *machine, int64_t prompt, int64_t decoding, double depth,
                           uint64_t *random) {
    double seconds = machine->weights + machine->row * (double)(prompt + decoding);
    seconds += machine->position * (double)prompt * (depth + 0.5 * (double)prompt);
    bool held_up = machine->held_up && ci_random(random) % (uint64_t)machine->held_up == 0;
    return held_up ? seconds * machine->longer : seconds;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* A prompt beside so many who decode: no more than one step in a hundred is longer than a listener may notice. Returns
 * what the prompt took. */
static double run(const struct machine *machine, struct ci_pace *pace, int64_t decoding) {
    static double seconds[MOST_STEPS];
    uint64_t random = 1;
    double total = 0;
    int steps = 0;
    for (int i = 0; i < WARM_STEPS; i++) {
        const struct ci_pace_step step = {step_seconds(machine, 0, decoding, 0, &random), 0, decoding, false};
        ci_pace_take(pace, &step, MOST);
    }
    for (int64_t done = 0; done < PROMPT;) {
        int64_t piece = ci_pace_piece(pace), left = PROMPT - done, rows = piece < left ? piece : left;
        assert_true(piece >= 1 && piece <= MOST);
        struct ci_pace_step step = {step_seconds(machine, rows, decoding, (double)done, &random), rows, decoding,
                                    rows < left};
        ci_pace_take(pace, &step, MOST);
        assert_true(steps < MOST_STEPS);
        seconds[steps++] = step.seconds;
        total += step.seconds;
        done += rows;
    }
    double alone = machine->weights + machine->row * (double)decoding, allowed = 2 * alone > 0.15 ? 2 * alone : 0.15;
    qsort(seconds, (size_t)steps, sizeof *seconds, by_size);
    double p99 = seconds[(steps - 1) * 99 / 100];
    if (p99 > allowed)
        fail_msg("%d decode: of %d steps one in a hundred takes %.0f ms, %.0f allowed", (int)decoding, steps, 1e3 * p99,
                 1e3 * allowed);
    return total;
}

static const int64_t decoders[] = {1, 4, 16, 64};
enum { COUNTS = sizeof decoders / sizeof *decoders };

/* Each after what another machine has left, so that the first pieces are too large, or too small. */
static void test_nobody_waits_long(void **state) {
    (void)state;
    static const struct machine machines[] = {
        {0.018, 0.0025, 3e-7, 0, 0}, /* 1.5B on two cores */
        {0.002, 0.0002, 5e-8, 0, 0}, /* a small model */
        {0.080, 0.0080, 1e-6, 0, 0}, /* 7B */
        {0.018, 0.0025, 4e-6, 0, 0}, /* attention takes most of it in the end */
    };
    struct ci_pace pace = {0};
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++)
        for (int i = 0; i < COUNTS; i++) {
            pace.decode_seconds = 0;
            run(&machines[m], &pace, decoders[i]);
        }
}

/* And the prompt goes on: most of the time that steps may take is used. */
static void test_what_steps_may_take_is_used(void **state) {
    (void)state;
    const struct machine machine = {0.018, 0.0025, 0, 0, 0};
    struct ci_pace pace = {0};
    double seconds = run(&machine, &pace, 4), alone = machine.weights + 4 * machine.row;
    double rows = (ci_pace_seconds_allowed(&pace) - alone) / machine.row;
    double best = PROMPT / rows * ci_pace_seconds_allowed(&pace);
    if (seconds > 1.1 * best) fail_msg("the prompt takes %.2f s, %.2f are enough", seconds, best);
}

static void test_steps_that_are_held_up_by_others_stay_few(void **state) {
    (void)state;
    const struct machine machine = {0.018, 0.0025, 3e-7, 10, 1.5};
    for (int i = 0; decoders[i] <= 16; i++) { /* of more, decoding alone takes longer than a tenth of a second */
        struct ci_pace pace = {0};
        run(&machine, &pace, decoders[i]);
    }
}

static void test_one_short_step_makes_no_large_piece(void **state) {
    (void)state;
    struct ci_pace pace = {.decode_seconds = 0.02, .piece = 40};
    const struct ci_pace_step quick = {0.01, 40, 4, true}, slow = {0.36, 40, 4, true};
    ci_pace_take(&pace, &quick, MOST);
    assert_in_range(ci_pace_piece(&pace), 41, 60);
    pace.piece = 40;
    ci_pace_take(&pace, &slow, MOST);
    assert_int_equal(ci_pace_piece(&pace), 10);
}

/* Five steps that something else has held up twice as long allow hardly more; decoding that takes longer from now on
 * does, soon. */
static void test_some_long_steps_allow_no_longer_ones(void **state) {
    (void)state;
    struct ci_pace pace = {0};
    for (int i = 0; i < 50; i++) ci_pace_take(&pace, &(struct ci_pace_step){.seconds = 0.06, .decoding = 16}, MOST);
    const double before = ci_pace_seconds_allowed(&pace);
    for (int i = 0; i < 5; i++) ci_pace_take(&pace, &(struct ci_pace_step){.seconds = 0.12, .decoding = 16}, MOST);
    assert_true(ci_pace_seconds_allowed(&pace) < 1.15 * before);
    for (int i = 0; i < 40; i++) ci_pace_take(&pace, &(struct ci_pace_step){.seconds = 0.12, .decoding = 32}, MOST);
    assert_true(ci_pace_seconds_allowed(&pace) > 1.9 * before);
}

/* All of 16 answers begin beside a long prompt when there was one before: it need not go on by four rows a step. */
static void test_answers_that_come_with_a_prompt_do_not_starve_it(void **state) {
    (void)state;
    const struct machine machine = {0.4, 0.004, 1e-7, 0, 0};
    struct ci_pace pace = {.decode_seconds = 0.05, .piece = 32};
    uint64_t random = 1;
    int steps = 0;
    for (int64_t done = 0; done < PROMPT; steps++) {
        const int64_t rows = ci_pace_piece(&pace);
        const struct ci_pace_step step = {step_seconds(&machine, rows, 16, (double)done, &random), rows, 16, true};
        ci_pace_take(&pace, &step, MOST);
        assert_true(step.seconds < 2 * (machine.weights + 16 * machine.row)); /* nor does it hold them up */
        done += rows;
    }
    if (steps > 300) fail_msg("a prompt of %d rows takes %d steps", PROMPT, steps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_waits_long),
        cmocka_unit_test(test_what_steps_may_take_is_used),
        cmocka_unit_test(test_steps_that_are_held_up_by_others_stay_few),
        cmocka_unit_test(test_one_short_step_makes_no_large_piece),
        cmocka_unit_test(test_some_long_steps_allow_no_longer_ones),
        cmocka_unit_test(test_answers_that_come_with_a_prompt_do_not_starve_it),
    };
    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
