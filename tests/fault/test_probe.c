/* Drivers that crash, hang, quit or quarrel while the loader lists their devices: the good driver beside them must
 * still be found, the bad one named, and the next start must know without trying again.
 *
 * Each listing happens in a process of its own (this program with --list), since a process loads its drivers once. The
 * good driver is this machine's PoCL, the bad ones are copies of fake_icd.so. How often clinfer-probe was started is
 * counted by a script in its place. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/file.h"
#include "device/device.h"
#include "support/process.h"

static char build[512];            /* build/<config> */
static char folder[64], self[512]; /* scratch of one test, and this program */

#define assert_contains(text, word)                                                                                    \
    do {                                                                                                               \
        if (!strstr(text, word)) fail_msg("\"%s\" is not in: %s", word, text);                                         \
    } while (0)

static void write_text(const char *name, const char *text, mode_t mode) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(ci_file_write(path, text, strlen(text)), CLINFER_OK);
    assert_int_equal(chmod(path, mode), 0);
}

static void copy_file(const char *from, const char *name) {
    struct ci_file file;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (ci_file_map(from, &file) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(ci_file_write(path, file.data, file.size), CLINFER_OK);
    ci_file_unmap(&file);
}

/* vendors/<name>.icd and the library behind it. */
static void add_fake(const char *name, const char *library) {
    char source[600], text[256], target[128];
    snprintf(source, sizeof source, "%s/tests/fault/fake_icd.so", build);
    snprintf(target, sizeof target, "lib%s.so", library);
    copy_file(source, target);
    snprintf(text, sizeof text, "%s/%s\n", folder, target);
    snprintf(target, sizeof target, "vendors/%s.icd", name);
    write_text(target, text, 0600);
}

static int setup(void **state) {
    char script[1024];
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/clinfer-test-probe-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    copy_file("/etc/OpenCL/vendors/pocl.icd", "vendors/pocl.icd");
    snprintf(script, sizeof script, "#!/bin/sh\necho >>%s/starts\nexec %s/clinfer-probe\n", folder, build);
    write_text("probe.sh", script, 0700);
    return 0;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* How often clinfer-probe was started since the last question. */
static int starts(void) {
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/starts", folder);
    int count = stat(path, &info) == 0 ? (int)info.st_size : 0;
    unlink(path);
    return count;
}

/* A listing in a fresh process; `change` goes to its environment as well. The output is "N devices", preceded by the
 * log. */
static void list_with(const char *change, struct ci_child *child) {
    static char vendors[128], cache[128], program[128];
    snprintf(vendors, sizeof vendors, "OCL_ICD_VENDORS=%s/vendors", folder);
    snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/cache", folder);
    snprintf(program, sizeof program, "CLINFER_PROBE=%s/probe.sh", folder);
    const char *const arguments[] = {"test_probe", "--list", NULL};
    const char *const changes[] = {vendors, cache, program, "CLINFER_PROBE_SECONDS=3", "POCL_CACHE_DIR", change, NULL};
    const char *const no_home[] = {vendors, program, "XDG_CACHE_HOME", "HOME", NULL};
    bool homeless = change && strcmp(change, "HOME") == 0;
    if (ci_child_start(self, arguments, homeless ? no_home : changes, child) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    ci_child_wait(child, 1, 60);
}

static void list(struct ci_child *child) { list_with(NULL, child); }

/* PoCL's device is found; `word` is on the log, unless NULL: then the log is empty. */
static void assert_found(const struct ci_child *child, const char *word) {
    if (child->exit_status != 0) fail_msg("status %d, signal %d: %s", child->exit_status, child->signal, child->output);
    assert_contains(child->output, "1 devices");
    if (word)
        assert_contains(child->output, word);
    else
        assert_string_equal(child->output, "1 devices\n");
}

static void test_good_drivers_are_tried_once(void **state) {
    struct ci_child child;
    (void)state;
    add_fake("idle", "idle");
    list(&child);
    assert_found(&child, NULL);
    assert_int_equal(starts(), 1);
    list(&child);
    assert_found(&child, NULL);
    assert_int_equal(starts(), 0);
}

static void test_changed_driver_is_tried_again(void **state) {
    struct ci_child child;
    char path[128];
    (void)state;
    list(&child);
    assert_int_equal(starts(), 1);
    add_fake("idle", "idle");
    list(&child);
    assert_int_equal(starts(), 1);
    snprintf(path, sizeof path, "%s/libidle.so", folder);
    assert_int_equal(truncate(path, 0), 0); /* a library that cannot be loaded does no harm */
    list(&child);
    assert_found(&child, NULL);
    assert_int_equal(starts(), 1);
    list_with("RUSTICL_ENABLE=nothing", &child);
    assert_int_equal(starts(), 1);
    list(&child);
    assert_int_equal(starts(), 0);
}

/* One bad driver: found, named, left out, and known at the second start. */
static void check_bad(const char *name, const char *library, const char *reason, int trials) {
    struct ci_child child;
    char path[128];
    add_fake(name, library);
    snprintf(path, sizeof path, "vendors/%s.icd is left out", name);
    for (int round = 0; round < 2; round++) {
        list(&child);
        assert_found(&child, path);
        assert_contains(child.output, reason);
        assert_contains(child.output, "/cache/clinfer/platforms.json to try it again");
        assert_int_equal(starts(), round == 0 ? trials : 0);
    }
}

static void test_crashing_driver_is_left_out(void **state) {
    (void)state;
    check_bad("bad", "crash", "it crashed (Aborted)", 1 + 2 + 1);
}

static void test_hanging_driver_is_left_out(void **state) {
    (void)state;
    check_bad("bad", "hang", "it did not answer within 3 seconds", 1 + 2 + 1);
}

static void test_driver_that_hangs_while_loaded_is_left_out(void **state) {
    (void)state;
    check_bad("bad", "stuck", "it did not answer within 3 seconds", 1 + 2 + 1);
}

static void test_driver_that_ends_the_process_is_left_out(void **state) {
    (void)state;
    check_bad("bad", "quit", "it ended the process with status 3", 1 + 2 + 1);
}

static void test_drivers_that_quarrel_are_parted(void **state) {
    (void)state;
    check_bad("zgrudge", "grudge", "it crashed (Aborted) beside the other drivers", 1 + 2 + 1 + 2);
}

static void test_only_bad_drivers_leave_no_device(void **state) {
    struct ci_child child;
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/vendors/pocl.icd", folder);
    assert_int_equal(unlink(path), 0);
    add_fake("bad", "crash");
    list(&child);
    assert_int_equal(child.exit_status, 0);
    assert_contains(child.output, "0 devices");
    assert_contains(child.output, "bad.icd is left out");
}

/* Links to drivers, which are loaded: those of a folder that others may write to are not followed. */
static void test_planted_links_are_not_followed(void **state) {
    struct ci_child child;
    char command[512];
    (void)state;
    add_fake("bad", "crash");
    list(&child);
    assert_found(&child, "bad.icd is left out");
    snprintf(command, sizeof command,
             "cd %s/cache/clinfer/vendors-* && rm *.icd && ln -s %s/vendors/bad.icd . && chmod 777 .", folder, folder);
    assert_int_equal(system(command), 0);
    setenv("TMPDIR", folder, 1);
    list(&child);
    unsetenv("TMPDIR");
    assert_found(&child, "bad.icd is left out");
    assert_int_equal(starts(), 1 + 2 + 1);
    snprintf(command, sizeof command, "%s/clinfer-drivers-%u", folder, (unsigned)geteuid());
    assert_int_equal(access(command, X_OK), 0);
}

static void test_planted_verdicts_are_not_believed(void **state) {
    struct ci_child child;
    char path[128];
    (void)state;
    list(&child);
    assert_int_equal(starts(), 1);
    snprintf(path, sizeof path, "%s/cache/clinfer/platforms.json", folder);
    assert_int_equal(chmod(path, 0666), 0);
    list(&child);
    assert_found(&child, "others may write to it (mode 0666)");
    assert_int_equal(starts(), 1);
    list(&child); /* it was made anew */
    assert_found(&child, NULL);
    assert_int_equal(starts(), 0);
}

/* The tool answers on the good device. */
static void test_an_answer_comes_beside_bad_drivers(void **state) {
    struct process_result result;
    char vendors[128], program[128], tool[600];
    (void)state;
    add_fake("bad", "crash");
    add_fake("worse", "hang");
    snprintf(vendors, sizeof vendors, "OCL_ICD_VENDORS=%s/vendors", folder);
    snprintf(program, sizeof program, "CLINFER_PROBE=%s/probe.sh", folder);
    snprintf(tool, sizeof tool, "%s/clinfer", build);
    const char *const environment[] = {vendors, program, "CLINFER_PROBE_SECONDS=3", NULL};
    const struct process_options options = {.environment = environment};
    process_run(&result, &options, tool, "run", "-m", "tests/data/llama_tiny.gguf", "--temp", "0", "-n", "4", "-p",
                "Why", NULL);
    process_assert_status(&result, 0);
    assert_true(result.out_length > 0);
    assert_contains(result.err, "(OpenCL)");
    assert_contains(result.err, "bad.icd is left out");
    assert_contains(result.err, "worse.icd is left out");
    process_free(&result);
}

static void test_death_while_loading_brings_the_trial_back(void **state) {
    struct ci_child child;
    char path[128];
    (void)state;
    add_fake("moody", "moody");
    list(&child);
    assert_found(&child, NULL);
    assert_int_equal(starts(), 1);
    write_text("libmoody.so.angry", "", 0600); /* changes nothing that the verdict depends on */
    list(&child);
    assert_int_equal(child.signal, SIGABRT);
    assert_int_equal(starts(), 0);
    list(&child);
    assert_found(&child, "moody.icd is left out");
    assert_int_equal(starts(), 1 + 2 + 1);
    list(&child);
    assert_found(&child, "moody.icd is left out");
    assert_int_equal(starts(), 0);
    snprintf(path, sizeof path, "%s/libmoody.so.angry", folder);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/cache/clinfer/platforms.json", folder);
    assert_int_equal(unlink(path), 0); /* what the message says */
    list(&child);
    assert_found(&child, NULL);
}

static void test_damaged_verdicts_are_made_again(void **state) {
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"format\": 1}",
                                        "{\"format\": 2, \"sets\": []}",
                                        "{\"format\": 1, \"sets\": {}}",
                                        "{\"format\": 1, \"sets\": [1, null, {\"key\": 5}, {\"left_out\": 7}]}"};
    struct ci_child child;
    (void)state;
    add_fake("bad", "crash");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_text("cache/clinfer/platforms.json", texts[i], 0600);
        list(&child);
        assert_found(&child, "bad.icd is left out");
        assert_int_equal(starts(), 1 + 2 + 1);
        list(&child);
        assert_found(&child, "bad.icd is left out");
        assert_int_equal(starts(), 0);
    }
}

static void test_without_probe_or_cache_drivers_are_loaded_as_they_are(void **state) {
    struct ci_child child;
    (void)state;
    list_with("CLINFER_PROBE=/nonexistent", &child);
    assert_found(&child, NULL);
    list_with("CLINFER_PROBE=", &child);
    assert_found(&child, NULL);
    list_with("CLINFER_PROBE=/dev/null", &child);
    assert_found(&child, NULL);
    list_with("HOME", &child);
    assert_found(&child, NULL);
    assert_int_equal(starts(), 0);
}

/* As under a service manager that gives a program no home to write to: PoCL alone would have no device. */
static void test_pocl_gets_a_folder_when_its_own_is_of_no_use(void **state) {
    struct ci_child child;
    char change[128], path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/private", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    setenv("TMPDIR", path, 1);
    list_with("XDG_CACHE_HOME=/dev/null/nowhere", &child);
    unsetenv("TMPDIR");
    assert_found(&child, NULL);
    snprintf(path, sizeof path, "%s/private/clinfer-pocl-%u", folder, (unsigned)getuid());
    assert_int_equal(access(path, W_OK), 0);
    snprintf(change, sizeof change, "POCL_CACHE_DIR=%s/libs.txt/below-a-file", folder);
    write_text("libs.txt", "", 0600);
    list_with(change, &child);
    assert_contains(child.output, "POCL_CACHE_DIR: ");
    assert_contains(child.output, "0 devices");
}

static void print(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    if (level <= CLINFER_LOG_WARNING) printf("%s\n", message);
}

static int list_here(void) {
    struct ci_device_list devices;
    clinfer_log_to(print, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (ci_device_list(&devices) != CLINFER_OK) return 1;
    printf("%d devices\n", devices.count);
    ci_device_list_free(&devices);
    fflush(stdout);
    _exit(0); /* a driver that was truncated may mind being unloaded */
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good_drivers_are_tried_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed_driver_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crashing_driver_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hanging_driver_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_driver_that_hangs_while_loaded_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_driver_that_ends_the_process_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drivers_that_quarrel_are_parted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_bad_drivers_leave_no_device, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planted_links_are_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planted_verdicts_are_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_answer_comes_beside_bad_drivers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_while_loading_brings_the_trial_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_verdicts_are_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pocl_gets_a_folder_when_its_own_is_of_no_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_probe_or_cache_drivers_are_loaded_as_they_are, setup, teardown),
    };
    if (argc > 1 && strcmp(argv[1], "--list") == 0) return list_here();
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = '\0';
    snprintf(build, sizeof build, "%s", self);
    for (int i = 0; i < 3; i++) { /* tests/fault/test_probe */
        char *slash = strrchr(build, '/');
        if (slash) *slash = '\0';
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
