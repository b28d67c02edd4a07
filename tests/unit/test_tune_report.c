/* What a tune says it has gained: the last line, in its branches. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/tune.h"

static void expect_of(const struct ci_tune_device *device, const char *said) {
    static char text[8192];
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int terminal = dup(STDOUT_FILENO);
    assert_true(terminal >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    ci_tune_print(device, false);
    fflush(stdout);
    assert_true(dup2(terminal, STDOUT_FILENO) >= 0);
    close(terminal);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    if (!strstr(text, said)) fail_msg("\"%s\" is not in\n%s", said, text);
}

/* Of a model that decoded 100 tokens per second and decodes `after` now; `gain` is what kernels gave of it. */
static void expect(double after, struct ci_tune_gain gain, const char *said) {
    char path[] = "nowhere.json";
    struct ci_profile_model model = {
        .name = "m", .decode_before = 100, .decode_after = after, .prefill_before = 1000, .prefill_after = 1000};
    struct ci_tune_gain gains[1][2] = {{gain, {.ratio = 0}}};
    const struct ci_tune_device device = {
        .name = "d", .platform = "p", .result = {.path = path, .models = &model, .gains = gains, .model_count = 1}};
    expect_of(&device, said);
}

static void test_what_was_gained_and_by_what(void **state) {
    const struct ci_tune_gain kernels = {.ratio = 1.1, .low = 1.05, .high = 1.15, .worst = -1},
                              nothing = {.ratio = 1, .low = 1, .high = 1, .worst = -1};
    (void)state;
    expect(110, kernels, "m: decode 1.10x (19 times in 20 1.05x to 1.15x); prompts 1.00x (as an earlier tune found)\n");
    expect(100, nothing, "m: decode 1.00x (nothing was surely faster);");
    /* What settings gave is not between the bounds of what kernels gave. */
    expect(132, kernels,
           "m: decode 1.32x (with the settings above; kernels 1.10x, 19 times in 20 1.05x to 1.15x); prompts");
    expect(120, nothing, "m: decode 1.20x (by the settings above); prompts");
}

/* The next tune measures what is outdated, without being told to. */
static void test_what_the_next_tune_does(void **state) {
    char path[] = "nowhere.json";
    struct ci_profile_model model = {.name = "m", .fingerprint = 1}, stored = model;
    struct ci_tune_model file = {.path = NULL};
    struct ci_tune_gain gains[1][2] = {{{.ratio = 0}, {.ratio = 0}}};
    struct ci_tune_device device = {.name = "d",
                                    .platform = "p",
                                    .result = {.problems = {.models = &file, .model_count = 1},
                                               .profile = {.models = &stored, .model_count = 1},
                                               .path = path,
                                               .models = &model,
                                               .gains = gains,
                                               .model_count = 1,
                                               .interrupted = true}};
    (void)state;
    expect_of(&device, "`clinfer tune --again` measures all anew\n");
    stored.outdated = true;
    expect_of(&device, "the next `clinfer tune` goes on from here\n");
    device.result.profile.model_count = 0;
    expect_of(&device, "the next `clinfer tune` goes on from here\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_was_gained_and_by_what),
                                       cmocka_unit_test(test_what_the_next_tune_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
