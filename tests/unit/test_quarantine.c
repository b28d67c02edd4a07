/* profile/quarantine.h: the list, as several processes change it, and the mark of what is being tried. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/data_home.h"
#include "support/process.h"

static struct ci_quarantined sample(void) {
    return (struct ci_quarantined){.device = UINT64_C(0xffffffff00000001),
                                   .device_name = "Thing \x1b[31m 9000",
                                   .op = "matmul",
                                   .variant = "gemm_vec",
                                   .tunables = {{"STREAMS", 4}, {"TILE", 8}},
                                   .tunable_count = 2,
                                   .types = "q8,q4_1,-",
                                   .source = 42,
                                   .reason = "error 0.3",
                                   .date = "2020-02-20"};
}

static struct ci_quarantine read_list(int count) {
    struct ci_quarantine list;
    assert_ok(ci_quarantine_read(&list));
    if (list.count != count) fail_msg("%d items, not %d; log: %s", list.count, count, data_home_messages);
    return list;
}

static void expect_count(int count) {
    struct ci_quarantine list = read_list(count);
    ci_quarantine_free(&list);
}

/* Puts `text` where the list is. */
static char *spoil(const char *text) {
    char *path = ci_quarantine_path();
    assert_ok(ci_file_write(path, text, strlen(text)));
    return path;
}

/* ---- the list ---- */

static void test_item_comes_back_renewed_and_goes(void **state) {
    struct ci_quarantined item = sample(), other = sample();
    (void)state;
    expect_count(0);
    assert_ok(ci_quarantine_remove(&item));
    assert_ok(ci_quarantine_add(&item));
    other.tunables[1].value = 16;
    assert_ok(ci_quarantine_add(&other));
    /* The same, with its tunables in another order: renewed. */
    item.tunables[0] = sample().tunables[1];
    item.tunables[1] = sample().tunables[0];
    item.date[0] = '\0';
    snprintf(item.reason, sizeof item.reason, "crashed");
    assert_ok(ci_quarantine_add(&item));
    struct ci_quarantine list = read_list(2);
    assert_int_equal(list.items[0].tunables[1].value, 16);
    assert_string_equal(list.items[1].reason, "crashed");
    assert_string_equal(list.items[1].device_name, "Thing ?[31m 9000");
    assert_true(list.items[1].device == item.device && list.items[1].source == 42);
    assert_int_equal(strlen(list.items[1].date), 10);
    assert_string_not_equal(list.items[1].date, "2020-02-20");
    ci_quarantine_free(&list);
    assert_ok(ci_quarantine_remove(&other));
    list = read_list(1);
    assert_string_equal(list.items[0].reason, "crashed");
    ci_quarantine_free(&list);
    int count;
    assert_ok(ci_quarantine_clear(&count));
    assert_int_equal(count, 1);
    expect_count(0);
    assert_string_equal(data_home_messages, "");
}

static void test_the_version_that_found_it_stands_in_it(void **state) {
    static const char *const fatal[] = {"crashed", "crashed: signal 11", "no answer in time",
                                        "clinfer or the machine stopped while trying it"};
    static const char *const harmless[] = {"wrong result: NMSE 3", "out of memory", "output 0 [0, 0] is nan"};
    struct ci_quarantined item = sample();
    (void)state;
    snprintf(item.clinfer, sizeof item.clinfer, "0.0.9");
    assert_true(ci_quarantined_by_another(&item));
    assert_ok(ci_quarantine_add(&item));
    struct ci_quarantine list = read_list(1);
    assert_string_equal(list.items[0].clinfer, CLINFER_VERSION);
    assert_false(ci_quarantined_by_another(&list.items[0]));
    ci_quarantine_free(&list);
    free(spoil("{\"schema\": \"clinfer-quarantine\", \"version\": 1, \"items\": [{\"device\": \"0000000000000001\", "
               "\"device_name\": \"D\", \"op\": \"add\", \"variant\": \"v\", \"tunables\": {}, \"types\": \"f32\", "
               "\"source\": \"0000000000000002\", \"reason\": \"crashed\", \"date\": \"2026-11-01\"}]}"));
    list = read_list(1); /* of 0.1.0 */
    assert_string_equal(list.items[0].clinfer, "");
    assert_true(ci_quarantined_by_another(&list.items[0]));
    ci_quarantine_free(&list);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        snprintf(item.reason, sizeof item.reason, "%s", fatal[i]);
        assert_true(ci_quarantined_is_fatal(&item));
    }
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        snprintf(item.reason, sizeof item.reason, "%s", harmless[i]);
        assert_false(ci_quarantined_is_fatal(&item));
        assert_int_equal(ci_quarantined_by_tune(&item), i < 2);
    }
    assert_ok(ci_quarantine_clear(NULL));
}

static void test_find_wants_what_the_item_names(void **state) {
    struct ci_quarantined item = sample();
    struct ci_quarantine list = {&item, 1};
    struct ci_profile_tunable here[] = {{"OTHER", 1}, {"TILE", 8}, {"STREAMS", 4}};
    (void)state;
#define FIND(device, op, variant, count, types, source)                                                                \
    ci_quarantine_find(&list, device, op, variant, here, count, types, source)
    uint64_t device = item.device;
    assert_ptr_equal(FIND(device, "matmul", "gemm_vec", 3, "q8,q4_1,-", 42), &item);
    assert_null(FIND(device, "matmul", "gemm_vec", 2, "q8,q4_1,-", 42));
    assert_null(FIND(device + 1, "matmul", "gemm_vec", 3, "q8,q4_1,-", 42));
    assert_null(FIND(device, "matmul_add", "gemm_vec", 3, "q8,q4_1,-", 42));
    assert_null(FIND(device, "matmul", "gemv_vec", 3, "q8,q4_1,-", 42));
    assert_null(FIND(device, "matmul", "gemm_vec", 3, "f32,q4_1,-", 42));
    assert_null(FIND(device, "matmul", "gemm_vec", 3, "q8,q4_1,-", 43));
    here[1].value = 9;
    assert_null(FIND(device, "matmul", "gemm_vec", 3, "q8,q4_1,-", 42));
    item.tunable_count = 0;
    item.types[0] = '\0';
    assert_ptr_equal(FIND(device, "matmul", "gemm_vec", 0, "f32,q4_1,-", 42), &item);
#undef FIND
}

static void test_device_is_all_of_the_key_but_threads(void **state) {
    struct ci_profile_key key = {"gpu", "P", "1", "D", "2", 3, 4, "avx2"}, keys[8];
    (void)state;
    for (int i = 0; i < 8; i++) keys[i] = key;
    keys[0].kind[0] = keys[1].platform[0] = keys[2].platform_version[0] = keys[3].device[0] = keys[4].driver[0] =
        keys[5].cpu[0] = 'x';
    keys[6].compute_units++;
    for (int i = 0; i < 7; i++) assert_true(ci_quarantine_device(&key) != ci_quarantine_device(&keys[i]));
    keys[7].threads++;
    assert_true(ci_quarantine_device(&key) == ci_quarantine_device(&keys[7]));
}

static void test_bad_list_is_kept_aside_and_said(void **state) {
    struct ci_quarantined item = sample();
    (void)state;
    free(spoil("{\"schema\": \"clinfer-quarantine\", \"version\": 1, \"items\": [{\"device\": 7}]}"));
    expect_count(0);
    if (!strstr(data_home_messages, "field \"items[0].device\": value 7") ||
        !strstr(data_home_messages, "quarantine.json.bad"))
        fail_msg("the log: %s", data_home_messages);
    data_home_messages[0] = '\0';
    expect_count(0);
    assert_string_equal(data_home_messages, "");
    /* Adding to a bad one starts a new one. */
    char *path = spoil("{\"schema\": ");
    assert_ok(ci_quarantine_add(&item));
    assert_non_null(strstr(data_home_messages, "is not JSON"));
    expect_count(1);
    /* What cannot be read at all stays, and nothing is written over it. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    data_home_messages[0] = '\0';
    expect_count(0);
    assert_non_null(strstr(data_home_messages, "counts as empty"));
    assert_int_equal(ci_quarantine_add(&item), CLINFER_IO);
    free(path);
}

static void test_full_list_loses_its_oldest(void **state) {
    struct ci_quarantined item = sample();
    char *text = NULL;
    size_t size;
    (void)state;
    FILE *out = open_memstream(&text, &size);
    fprintf(out, "{\"schema\": \"clinfer-quarantine\", \"version\": 1, \"items\": [");
    for (int i = 0; i < CI_QUARANTINE_ITEMS; i++)
        fprintf(out,
                "%s{\"device\": \"%016x\", \"device_name\": \"\", \"op\": \"o\", \"variant\": \"v\", "
                "\"tunables\": {}, \"types\": \"\", \"source\": \"0000000000000000\", \"reason\": \"\", "
                "\"date\": \"\"}",
                i ? ", " : "", i);
    fprintf(out, "]}");
    fclose(out);
    free(spoil(text));
    free(text);
    assert_ok(ci_quarantine_add(&item));
    struct ci_quarantine list = read_list(CI_QUARANTINE_ITEMS);
    assert_true(list.items[0].device == 1);
    assert_true(list.items[CI_QUARANTINE_ITEMS - 1].device == item.device);
    ci_quarantine_free(&list);
}

static void test_several_processes_add_at_once(void **state) {
    enum { PROCESSES = 4, EACH = 8 };
    pid_t children[PROCESSES];
    (void)state;
    for (int p = 0; p < PROCESSES; p++) {
        if ((children[p] = fork()) != 0) continue;
        for (int i = 0; i < EACH; i++) {
            struct ci_quarantined item = sample();
            item.source = (uint64_t)(p * EACH + i);
            if (ci_quarantine_add(&item) != CLINFER_OK) _exit(1);
        }
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(children[p], &status, 0), children[p]);
        assert_int_equal(status, 0);
    }
    expect_count(PROCESSES * EACH);
}

/* ---- trials ---- */

/* A process that begins to try `item` and stays in it; its number. */
static pid_t start_trying(const struct ci_quarantined *item) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (ci_trial_begin(item) != CLINFER_OK || write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void test_what_killed_the_process_is_quarantined(void **state) {
    struct ci_quarantined item = sample();
    (void)state;
    assert_int_equal(ci_trial_recover(), 0);
    pid_t child = start_trying(&item);
    assert_int_equal(ci_trial_recover(), 0); /* it lives */
    assert_int_equal(data_home_count("trying"), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(ci_trial_recover(), 1);
    assert_int_equal(ci_trial_recover(), 0);
    assert_int_equal(data_home_count("trying"), 0);
    struct ci_quarantine list = read_list(1);
    assert_string_equal(list.items[0].reason, "clinfer or the machine stopped while trying it");
    assert_ptr_equal(ci_quarantine_find(&list, item.device, "matmul", "gemm_vec", item.tunables, 2, "q8,q4_1,-", 42),
                     &list.items[0]);
    ci_quarantine_free(&list);
    assert_non_null(strstr(data_home_messages, "matmul gemm_vec is quarantined on Thing"));
}

static void test_a_trial_that_ended_leaves_nothing(void **state) {
    struct ci_quarantined item = sample();
    (void)state;
    ci_trial_end();
    for (int i = 0; i < 3; i++) {
        assert_ok(ci_trial_begin(&item));
        assert_int_equal(data_home_count("trying"), 1);
        assert_int_equal(ci_trial_recover(), 0);
    }
    ci_trial_end();
    assert_int_equal(data_home_count("trying"), 0);
    assert_int_equal(ci_trial_recover(), 0);
    expect_count(0);
}

static void test_damaged_marks_go_without_harm(void **state) {
    char *folder = ci_profile_folder(), path[512];
    static const char *const texts[] = {"", "{\"device\": \"00", "[]", "{}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        snprintf(path, sizeof path, "%s/trying/mark%zu.json", folder, i);
        assert_ok(ci_file_write(path, texts[i], strlen(texts[i])));
    }
    assert_int_equal(ci_trial_recover(), 0);
    assert_int_equal(data_home_count("trying"), 0);
    expect_count(0);
    free(folder);
}

static void test_marks_of_two_dead_processes_are_recovered_once_by_two(void **state) {
    struct ci_quarantined first = sample(), second = sample();
    int total = 0;
    (void)state;
    second.source = 43;
    pid_t a = start_trying(&first), b = start_trying(&second);
    kill(a, SIGKILL);
    kill(b, SIGKILL);
    waitpid(a, NULL, 0);
    waitpid(b, NULL, 0);
    pid_t other = fork();
    if (other == 0) _exit(ci_trial_recover());
    total = ci_trial_recover();
    int status;
    waitpid(other, &status, 0);
    assert_int_equal(total + WEXITSTATUS(status), 2);
    expect_count(2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_item_comes_back_renewed_and_goes, data_home_set, data_home_unset),
        cmocka_unit_test(test_the_version_that_found_it_stands_in_it),
        cmocka_unit_test(test_find_wants_what_the_item_names),
        cmocka_unit_test(test_device_is_all_of_the_key_but_threads),
        cmocka_unit_test_setup_teardown(test_bad_list_is_kept_aside_and_said, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_full_list_loses_its_oldest, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_several_processes_add_at_once, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_what_killed_the_process_is_quarantined, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_a_trial_that_ended_leaves_nothing, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_damaged_marks_go_without_harm, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_marks_of_two_dead_processes_are_recovered_once_by_two, data_home_set,
                                        data_home_unset),
    };
    return cmocka_run_group_tests_name("quarantine", tests, NULL, NULL);
}
