/* support/sampling.h: what is taken of a matrix depends on the seed and the set's name alone, is never nothing, and is
 * everything in the end. */
#include <stdio.h>
#include <stdlib.h>

#include "support/asserts.h"
#include "support/sampling.h"

enum { COUNT = 20, ONE_IN = 3, SEEDS = 50 };

static void set_seed(int seed) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    setenv("CLINFER_TEST_SEED", text, 1);
}

static int set_up(void **state) {
    (void)state;
    unsetenv("CLINFER_TEST_ALL");
    set_seed(1);
    return 0;
}

static unsigned taken(const char *set, int count) {
    unsigned mask = 0;
    for (int i = 0; i < count; i++) mask |= (unsigned)sampling_takes(set, i, count, ONE_IN) << i;
    return mask;
}

static void test_every_set_has_its_share(void **state) {
    (void)state;
    for (int seed = 1; seed <= SEEDS; seed++) {
        set_seed(seed);
        for (int count = 1; count <= COUNT; count++)
            assert_in_range(__builtin_popcount(taken("a", count)), count < ONE_IN ? 1 : count / ONE_IN,
                            count < ONE_IN ? 1 : (count + ONE_IN - 1) / ONE_IN);
    }
}

static void test_a_seed_takes_the_same_again(void **state) {
    (void)state;
    unsigned first = taken("a", COUNT);
    set_seed(2);
    taken("b", COUNT);
    set_seed(1);
    assert_int_equal(taken("a", COUNT), first);
}

static void test_seeds_and_sets_differ_and_leave_nothing_out(void **state) {
    (void)state;
    unsigned by_seed = 0, by_set = 0;
    for (int i = 1; i <= SEEDS; i++) {
        char name[16];
        set_seed(i);
        by_seed |= taken("a", COUNT);
        set_seed(1);
        snprintf(name, sizeof name, "set %d", i);
        by_set |= taken(name, COUNT);
    }
    assert_int_equal(by_seed, (1u << COUNT) - 1);
    assert_int_equal(by_set, (1u << COUNT) - 1);
}

static void test_all_are_taken_on_request(void **state) {
    (void)state;
    setenv("CLINFER_TEST_ALL", "1", 1);
    assert_int_equal(taken("a", COUNT), (1u << COUNT) - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_set_has_its_share, set_up),
        cmocka_unit_test_setup(test_a_seed_takes_the_same_again, set_up),
        cmocka_unit_test_setup(test_seeds_and_sets_differ_and_leave_nothing_out, set_up),
        cmocka_unit_test_setup(test_all_are_taken_on_request, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
