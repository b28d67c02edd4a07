/* Out of memory while kernels are tuned, with a worker that measures nothing: each allocation fails in turn. Nothing is
 * quarantined for it, and the next tune is as the undisturbed one. */
#define _GNU_SOURCE
#include "support/fail_each.h"
#include "support/failing_malloc.h"
#include "unit/fake_tuner.h"

/* On a machine that was never tuned. */
static enum clinfer_status tune_once(char text[FAIL_EACH_TEXT]) {
    struct ci_tune_result result;
    nftw(data_folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    enum clinfer_status status = tune(&usual, &result);
    snprintf(text, FAIL_EACH_TEXT, "%d lines, %d tried, %d kept", result.line_count, result.tried, result.kept);
    ci_tune_free(&result);
    return status;
}

static void test_tuning(void **state) {
    (void)state;
    fail_each("tune", tune_once, 20);
    fail_each_end();
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_tuning, set_up)};
    failing_malloc_watch_jansson();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
