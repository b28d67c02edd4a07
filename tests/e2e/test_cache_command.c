/* `clinfer cache`, and what it shows: starts that map packed weights answer as those do that pack, also when what is
 * there is damaged. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "support/asserts.h"
#include "support/process.h"

static char home[256];

static int setup(void **state) {
    static int number;
    (void)state;
    snprintf(home, sizeof home, "XDG_CACHE_HOME=%s/cache%d", process_folder(), number++);
    return 0;
}

static void tool(struct process_result *result, const char *const words[12]) {
    const char *const environment[] = {home, NULL};
    const struct process_options options = {.environment = environment};
    process_run(result, &options, process_tool(), words[0], words[1], words[2], words[3], words[4], words[5], words[6],
                words[7], words[8], words[9], words[10], words[11], NULL);
}
#define TOOL(result, ...) tool(result, (const char *const[12]){__VA_ARGS__})

static json_t *list(void) {
    struct process_result result;
    TOOL(&result, "cache", "--json");
    process_assert_status(&result, 0);
    json_t *value = process_json(&result);
    process_free(&result);
    return value;
}

/* Greedy; what the answer says on standard error has to hold `told`, and with `never` nothing of it. */
static char *answer(const char *flag, const char *told, const char *never) {
    struct process_result result;
    TOOL(&result, "run", "-v", "--device", "cpu", "-n", "12", "--temp", "0", "Why is the sky blue?",
         flag ? "--packed-cache" : NULL, flag);
    process_assert_status(&result, 0);
    assert_contains(result.err, told);
    if (never && strstr(result.err, never)) fail_msg("%s", result.err);
    char *text = strdup(result.out);
    process_free(&result);
    return text;
}

static void test_starts_answer_alike_with_packed_weights_and_without(void **state) {
    (void)state;
    static const char made[] = "packed weights are kept in", damaged[] = "are damaged, in ";
    char *without = answer("off", "", made), *text = answer(NULL, made, damaged);
    json_t *all = list(), *packed = json_array_get(json_object_get(all, "packed"), 0);
    assert_string_equal(text, without);
    assert_int_equal(json_array_size(json_object_get(all, "packed")), 1);
    assert_string_equal(strrchr(json_string_value(json_object_get(packed, "model")), '/'),
                        strrchr(process_model(), '/'));
    assert_true(json_integer_value(json_object_get(packed, "weights")) > 200);
    assert_true(json_integer_value(json_object_get(packed, "bytes")) > 80 << 20);
    free(text);

    text = answer(NULL, "", made); /* maps them */
    assert_string_equal(text, without);
    free(text);

    const char *path = json_string_value(json_object_get(packed, "path"));
    struct stat info;
    int descriptor = open(path, O_RDWR);
    assert_int_equal(fstat(descriptor, &info), 0);
    assert_int_equal(pwrite(descriptor, "damage", 6, info.st_size / 2), 6);
    close(descriptor);
    text = answer(NULL, damaged, made);
    assert_string_equal(text, without);
    assert_int_not_equal(access(path, F_OK), 0);
    free(text);
    text = answer(NULL, made, damaged);
    assert_string_equal(text, without);
    free(text);
    free(without);
    json_decref(all);
}

/* The first start would wait for the disk. */
static void test_models_beyond_an_eighth_of_the_memory_are_kept_when_asked_for(void **state) {
    (void)state;
    static const struct {
        const char *flag;
        int kilobytes;
        bool kept;
    } cases[] = {{"auto", 760000, false}, {"auto", 820000, true}, {"on", 760000, true}};
#ifdef __SANITIZE_ADDRESS__
    print_message("skip: AddressSanitizer needs more addresses than it uses\n");
    skip();
#endif
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const environment[] = {home, NULL};
        const struct process_options options = {.environment = environment};
        struct process_result result;
        char command[8192];
        snprintf(command, sizeof command,
                 "ulimit -d %d; '%s' cache clear 2>/dev/null; exec '%s' run -m '%s' --device cpu -c 512 -n 1 hello "
                 "--packed-cache %s",
                 cases[i].kilobytes, process_tool(), process_tool(), process_model(), cases[i].flag);
        process_run(&result, &options, "/bin/sh", "-c", command, NULL);
        process_assert_status(&result, 0);
        process_free(&result);
        json_t *all = list();
        assert_int_equal(json_array_size(json_object_get(all, "packed")), cases[i].kept);
        json_decref(all);
    }
}

static void test_clear_removes_what_list_shows(void **state) {
    (void)state;
    struct process_result result;
    free(answer(NULL, "packed weights are kept in", NULL));
    TOOL(&result, "cache");
    process_assert_status(&result, 0);
    assert_contains(result.out, strrchr(process_model(), '/'));
    assert_contains(result.out, "MB");
    process_free(&result);
    TOOL(&result, "cache", "clear");
    process_assert_status(&result, 0);
    assert_contains(result.out, " MB freed\n");
    process_free(&result);
    json_t *all = list();
    assert_int_equal(json_array_size(json_object_get(all, "packed")), 0);
    json_decref(all);
    TOOL(&result, "cache", "clear", "--all");
    process_assert_status(&result, 0);
    process_free(&result);
}

static void test_words_that_it_does_not_know_are_named(void **state) {
    (void)state;
    static const char *const wrong[][3] = {{"empty", NULL, "empty"},
                                           {"list", "clear", "clear"},
                                           {"--all", NULL, "clinfer cache clear"},
                                           {"clear", "--json", "clinfer cache list"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct process_result result;
        TOOL(&result, "cache", wrong[i][0], wrong[i][1]);
        process_assert_status(&result, 2);
        assert_contains(result.err, wrong[i][2]);
        assert_string_equal(result.out, "");
        process_free(&result);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, setup)
    static const struct CMUnitTest tests[] = {
        TEST(test_starts_answer_alike_with_packed_weights_and_without),
        TEST(test_models_beyond_an_eighth_of_the_memory_are_kept_when_asked_for),
        TEST(test_clear_removes_what_list_shows),
        TEST(test_words_that_it_does_not_know_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
