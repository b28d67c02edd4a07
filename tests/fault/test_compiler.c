/* Drivers whose compiler ends the process: clinfer must find that out aside, say so once, remember it, go on without
 * the device, and try again when there is reason to.
 *
 * The driver is this machine's PoCL. It aborts by itself where it finds no linker (PATH=/none), and in other ways
 * behind fake_layer.so. A device is opened and used in a process of its own (this program with --use). How often
 * clinfer-probe compiled is counted by a script in its place. */
#define _GNU_SOURCE
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cache.h"
#include "base/child.h"
#include "base/file.h"
#include "device/device.h"
#include "support/process.h"

static char build[512], self[512]; /* build/<config>, and this program */
static char folder[64];            /* scratch of one test */

#define assert_contains(text, word)                                                                                    \
    do {                                                                                                               \
        if (!strstr(text, word)) fail_msg("\"%s\" is not in: %s", word, text);                                         \
    } while (0)

static int setup(void **state) {
    char path[128], script[2048];
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/clinfer-test-compiler-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/pocl", folder);
    if (mkdir(path, 0700) != 0) return -1;
    snprintf(path, sizeof path, "%s/probe.sh", folder);
    snprintf(script, sizeof script,
             "#!/bin/sh\n[ \"$1\" != compile ] || echo >>%s/compiles\nexec %s/clinfer-probe \"$@\"\n", folder, build);
    if (ci_file_write(path, script, strlen(script)) != CLINFER_OK) return -1;
    return chmod(path, 0700);
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* How often a compiler was tried since the last question. */
static int trials(void) {
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/compiles", folder);
    int count = stat(path, &info) == 0 ? (int)info.st_size : 0;
    unlink(path);
    return count;
}

/* Uses the device in a fresh process, with these changes to its environment; `how` goes to --use. */
static void use_with(const char *how, const char *first, const char *second, struct ci_child *child) {
    static char cache[128], pocl[128], program[128];
    snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/cache", folder);
    snprintf(pocl, sizeof pocl, "POCL_CACHE_DIR=%s/pocl", folder);
    snprintf(program, sizeof program, "CLINFER_PROBE=%s/probe.sh", folder);
    const char *const arguments[] = {"test_compiler", "--use", how, NULL};
    const char *const changes[] = {cache, pocl, program, first ? first : "CLINFER_NOTHING", second, NULL};
    if (ci_child_start(self, arguments, changes, child) != CLINFER_OK) fail_msg("%s", clinfer_error());
    ci_child_wait(child, 1, 120);
    if (child->exit_status != 0) fail_msg("status %d, signal %d: %s", child->exit_status, child->signal, child->output);
}

static void use(const char *first, struct ci_child *child) { use_with("", first, NULL, child); }

/* The one file of verdicts; its text, to be freed. */
static char *verdict(char path[256]) {
    glob_t found;
    char pattern[128];
    size_t size;
    snprintf(pattern, sizeof pattern, "%s/cache/clinfer/compilers/*.json", folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    snprintf(path, 256, "%s", found.gl_pathv[0]);
    globfree(&found);
    return process_read(path, &size);
}

static void test_compiler_that_works_is_tried_once(void **state) {
    struct ci_child child;
    (void)state;
    for (int round = 0; round < 3; round++) {
        use_with(round < 2 ? "" : "nocache", NULL, NULL, &child); /* the last has to build, and knows */
        assert_string_equal(child.output, "works\n");
        assert_int_equal(trials(), round == 0);
    }
}

/* As `clinfer doctor` and a repaired machine need it: remembered, and forgotten with reason. */
static void test_compiler_without_linker_is_left_alone(void **state) {
    struct ci_child child;
    (void)state;
    for (int round = 0; round < 2; round++) {
        use("PATH=/none", &child);
        assert_contains(child.output, "no such device: ");
        assert_contains(child.output, "crashed (Aborted), ");
        assert_contains(child.output, "binutils");
        assert_int_equal(trials(), round == 0);
    }
    use_with("forget", "PATH=/none", NULL, &child);
    assert_contains(child.output, "crashed (Aborted), ");
    assert_int_equal(trials(), 1);
    use(NULL, &child);
    assert_string_equal(child.output, "works\n");
    assert_int_equal(trials(), 1);
}

/* What the cache has needs no compiler; what it has not got fails, and the process lives. */
static void test_cached_programs_run_without_compiler(void **state) {
    struct ci_child child;
    (void)state;
    use(NULL, &child);
    assert_string_equal(child.output, "works\n");
    assert_int_equal(trials(), 1);
    use("PATH=/none", &child);
    assert_string_equal(child.output, "works\n");
    assert_int_equal(trials(), 0);
    use_with("more", "PATH=/none", NULL, &child);
    assert_contains(child.output, "works\nno such device: ");
    assert_int_equal(trials(), 1);
}

static void test_failure_is_tried_again_after_a_day_or_a_change(void **state) {
    struct ci_child child;
    char path[256], tools[128], change[160], text[64];
    (void)state;
    snprintf(tools, sizeof tools, "%s/tools", folder);
    snprintf(change, sizeof change, "PATH=%s", tools);
    assert_int_equal(mkdir(tools, 0700), 0);
    use(change, &child);
    assert_int_equal(trials(), 1);
    use(change, &child);
    assert_int_equal(trials(), 0);
    char *before = verdict(path), *time_at = strstr(before, "\"time\": ");
    assert_non_null(time_at);
    snprintf(text, sizeof text, "%lld", (long long)time(NULL) - 25 * 60 * 60);
    memcpy(time_at + strlen("\"time\": "), text, strlen(text));
    assert_int_equal(ci_file_write(path, before, strlen(before)), CLINFER_OK);
    free(before);
    use(change, &child);
    assert_contains(child.output, "crashed (Aborted), ");
    assert_int_equal(trials(), 1);
    snprintf(path, sizeof path, "%s/ld", tools); /* it is installed */
    if (symlink("/usr/bin/ld", path) != 0) fail_msg("%s: cannot be made", path);
    use(change, &child);
    assert_string_equal(child.output, "works\n");
    assert_int_equal(trials(), 1);
}

static void test_damaged_verdicts_are_made_again(void **state) {
    static const char *const texts[] = {"", "{", "[]", "{\"key\": 5}", "{\"key\": \"0\", \"failure\": \"\"}"};
    struct ci_child child;
    char path[256];
    (void)state;
    use("PATH=/none", &child);
    assert_int_equal(trials(), 1);
    free(verdict(path));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(ci_file_write(path, texts[i], strlen(texts[i])), CLINFER_OK);
        use("PATH=/none", &child);
        assert_contains(child.output, "crashed (Aborted), ");
        assert_int_equal(trials(), 1);
    }
}

/* Any driver: the layer breaks the call in the child, which the parent never makes. */
static void test_other_deaths_are_told(void **state) {
    static const struct {
        const char *fault, *word;
    } cases[] = {{"FAKE_LAYER=clBuildProgram@1:kill", "its compiler crashed (Killed)"},
                 {"FAKE_LAYER=clEnqueueNDRangeKernel@1:kill", "its compiler crashed (Killed)"},
                 {"FAKE_LAYER=clBuildProgram@1:hang", "its compiler did not end within 2 seconds"}};
    struct ci_child child;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char layers[600];
        snprintf(layers, sizeof layers, "OPENCL_LAYERS=%s/tests/fault/fake_layer.so", build);
        if (strstr(cases[i].word, "2 seconds")) setenv("CLINFER_PROBE_SECONDS", "2", 1);
        use_with("forget", layers, cases[i].fault, &child);
        unsetenv("CLINFER_PROBE_SECONDS");
        assert_contains(child.output, cases[i].word);
        assert_int_equal(trials(), 1);
    }
}

/* What returns an error can be met in the process itself. */
static void test_errors_are_no_reason_against_a_compiler(void **state) {
    struct ci_child child;
    char layers[600], path[256];
    (void)state;
    snprintf(layers, sizeof layers, "OPENCL_LAYERS=%s/tests/fault/fake_layer.so", build);
    use_with("", layers, "FAKE_LAYER=clBuildProgram@1:-5", &child);
    assert_string_equal(child.output, "works\n"); /* at the second attempt */
    char *text = verdict(path);
    assert_contains(text, "\"failure\": \"\"");
    free(text);
}

static void test_without_probe_the_compiler_is_used_untried(void **state) {
    struct ci_child child;
    (void)state;
    use("CLINFER_PROBE=", &child);
    assert_string_equal(child.output, "works\n");
    assert_int_equal(trials(), 0);
}

/* The whole of it: the answer comes from the CPU, twice, and each time the reason is said once. */
static void test_tool_answers_on_the_cpu(void **state) {
    struct process_result result, expected;
    char cache[128], pocl[128], program[128], tool[600];
    (void)state;
    snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/cache", folder);
    snprintf(pocl, sizeof pocl, "POCL_CACHE_DIR=%s/pocl", folder);
    snprintf(program, sizeof program, "CLINFER_PROBE=%s/probe.sh", folder);
    snprintf(tool, sizeof tool, "%s/clinfer", build);
    const char *const environment[] = {cache, pocl, program, "PATH=/none", NULL};
    const struct process_options options = {.environment = environment};
    process_run(&expected, &options, tool, "run", "-m", "tests/data/llama_tiny.gguf", "--temp", "0", "-n", "4",
                "--device", "cpu", "-p", "Why", NULL);
    process_assert_status(&expected, 0);
    for (int round = 0; round < 2; round++) {
        process_run(&result, &options, tool, "run", "-m", "tests/data/llama_tiny.gguf", "--temp", "0", "-n", "4",
                    "--device", round ? "auto" : "0", "-p", "Why", NULL);
        process_assert_status(&result, 0);
        assert_string_equal(result.out, expected.out);
        char *said = strstr(result.err, "its compiler crashed (Aborted)");
        if (!said) fail_msg("%s", result.err);
        assert_null(strstr(said + 1, "its compiler crashed (Aborted)"));
        assert_int_equal(trials(), round == 0);
        process_free(&result);
    }
    process_free(&expected);
}

/* ---- the other process ---- */

static void print(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    if (level <= CLINFER_LOG_WARNING) printf("%s\n", message);
}

/* "forget": what is known about the compiler; "nocache": all programs are built; "more": one more program is. */
static enum clinfer_status use_here(const char *how) {
    static const char *const sources[] = {"elementwise.cl"};
    struct ci_device_list list;
    struct ci_device *device = NULL;
    struct ci_kernel *kernel = NULL;
    char *cache = strcmp(how, "nocache") ? ci_cache_path("programs") : NULL;
    enum clinfer_status status = ci_device_list(&list);
    if (status == CLINFER_OK && list.count == 0) return CLINFER_NO_DEVICE;
    if (status == CLINFER_OK && strcmp(how, "forget") == 0) ci_device_forget_compiler(&list.caps[0]);
    if (status == CLINFER_OK) ci_device_list_free(&list);
    if (status == CLINFER_OK) status = ci_device_open(0, cache, &device);
    if (status == CLINFER_OK) status = ci_device_works(device);
    if (status == CLINFER_OK) ci_device_save_programs(device);
    if (status == CLINFER_OK) printf("works\n");
    if (status == CLINFER_OK && strcmp(how, "more") == 0)
        status = ci_kernel_create(device, sources, 1, "-D MORE", "add", &kernel);
    free(cache);
    return status;
}

static int use_and_tell(const char *how) {
    clinfer_log_to(print, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    enum clinfer_status status = use_here(how);
    if (status != CLINFER_OK) printf("%s: %s\n", clinfer_status_text(status), clinfer_error());
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_compiler_that_works_is_tried_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compiler_without_linker_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cached_programs_run_without_compiler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_is_tried_again_after_a_day_or_a_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_verdicts_are_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_deaths_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_are_no_reason_against_a_compiler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_probe_the_compiler_is_used_untried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tool_answers_on_the_cpu, setup, teardown),
    };
    if (argc > 2 && strcmp(argv[1], "--use") == 0) return use_and_tell(argv[2]);
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = '\0';
    snprintf(build, sizeof build, "%s", self);
    for (int i = 0; i < 3; i++) { /* tests/fault/test_compiler */
        char *slash = strrchr(build, '/');
        if (slash) *slash = '\0';
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
