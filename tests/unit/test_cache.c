/* The cache and its files: what others may have written is not read, what cannot be written is said once, and what a
 * killed process has left goes after a day. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cache.h"
#include "base/file.h"
#include "base/temporary.h"
#include "proof/known_answer.h"
#include "support/process.h"

static char folder[256]; /* of one test: <folder>/clinfer is the cache */
static char messages[4096];

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    size_t used = strlen(messages);
    if (level == CLINFER_LOG_WARNING) snprintf(messages + used, sizeof messages - used, "%s\n", message);
}

static int setup(void **state) {
    static int number;
    (void)state;
    snprintf(folder, sizeof folder, "%s/cache%d", process_folder(), number++);
    messages[0] = '\0';
    clinfer_log_to(listen, NULL);
    setenv("TMPDIR", process_folder(), 1);
    return setenv("XDG_CACHE_HOME", folder, 1) + mkdir(folder, 0700);
}

static int teardown(void **state) {
    (void)state;
    clinfer_log_to(NULL, NULL);
    return 0;
}

/* <folder>/name, valid until the next but three. */
static const char *in(const char *name) {
    static char paths[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static void make(const char *name, const void *data, size_t size) {
    if (ci_file_write(in(name), data, size) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void make_folder(const char *name) { assert_int_equal(mkdir(in(name), 0700), 0); }

static void age(const char *name, int hours) {
    const struct timespec times[2] = {{.tv_sec = time(NULL) - 3600 * hours}, {.tv_sec = time(NULL) - 3600 * hours}};
    assert_int_equal(utimensat(AT_FDCWD, in(name), times, AT_SYMLINK_NOFOLLOW), 0);
}

static bool is_there(const char *name) {
    struct stat info;
    return lstat(in(name), &info) == 0;
}

static enum clinfer_status read_own(const char *name) {
    char *data;
    size_t size;
    enum clinfer_status status = ci_file_read_own(in(name), 100, &data, &size);
    if (status == CLINFER_OK) assert_string_equal(data, "content");
    free(data);
    return status;
}

/* ---- whose it is ---- */

static void refuses(const char *name, const char *what, const char *why) {
    assert_int_equal(read_own(name), CLINFER_REFUSED);
    if (!strstr(clinfer_error(), in(what)) || !strstr(clinfer_error(), why))
        fail_msg("neither %s nor \"%s\": %s", what, why, clinfer_error());
}

static void test_what_others_may_write_is_refused(void **state) {
    (void)state;
    static const char name[] = "clinfer/proof/key";
    make(name, "content", 7);
    assert_int_equal(read_own(name), CLINFER_OK);
    static const char *const parts[] = {name, "clinfer/proof", "clinfer"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        static const mode_t modes[] = {0720, 0702, 0777};
        for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
            char word[16];
            snprintf(word, sizeof word, "(mode %04o)", modes[k]);
            assert_int_equal(chmod(in(parts[i]), modes[k]), 0);
            refuses(name, parts[i], word);
        }
        assert_int_equal(chmod(in(parts[i]), 0755), 0);
        assert_int_equal(read_own(name), CLINFER_OK);
    }
    /* What lies above is the user's business. */
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(read_own(name), CLINFER_OK);
}

static void test_what_belongs_to_others_is_refused(void **state) {
    (void)state;
    static const char name[] = "clinfer/proof/key";
    make(name, "content", 7);
    if (geteuid() != 0) {
        print_message("skip: only root can give files away\n");
        skip();
    }
    static const char *const parts[] = {name, "clinfer/proof", "clinfer"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_int_equal(chown(in(parts[i]), 12345, (gid_t)-1), 0);
        refuses(name, parts[i], "belongs to user 12345");
        assert_int_equal(chown(in(parts[i]), 0, (gid_t)-1), 0);
        assert_int_equal(read_own(name), CLINFER_OK);
    }
}

static void test_links_are_refused(void **state) {
    (void)state;
    make("clinfer/proof/key", "content", 7);
    make("elsewhere/key", "content", 7);
    assert_int_equal(symlink(in("elsewhere/key"), in("clinfer/proof/link")), 0);
    refuses("clinfer/proof/link", "clinfer/proof/link", "is a link");
    assert_int_equal(symlink(in("elsewhere"), in("clinfer/programs")), 0);
    refuses("clinfer/programs/key", "clinfer/programs", "is a link");
    assert_int_equal(ci_file_check_own(in("clinfer/programs"), "clinfer"), CLINFER_REFUSED);
    assert_int_equal(ci_file_check_own(in("clinfer/proof"), "clinfer"), CLINFER_OK);
    /* The whole cache on another disk, by a link of the user's own. */
    assert_int_equal(rename(in("clinfer"), in("moved")), 0);
    assert_int_equal(symlink(in("moved"), in("clinfer")), 0);
    assert_int_equal(read_own("clinfer/proof/key"), CLINFER_OK);
}

static void test_what_is_not_there_is_not_refused(void **state) {
    (void)state;
    assert_int_equal(read_own("clinfer/proof/key"), CLINFER_NOT_FOUND);
    make("clinfer/file", "content", 7);
    assert_int_equal(read_own("clinfer/absent"), CLINFER_NOT_FOUND);
    assert_int_equal(read_own("clinfer/file/below"), CLINFER_NOT_FOUND);
    assert_int_equal(read_own("clinfer"), CLINFER_IO); /* a folder */
    assert_int_equal(mkfifo(in("clinfer/pipe"), 0600), 0);
    assert_int_equal(read_own("clinfer/pipe"), CLINFER_IO); /* at once */
}

/* ---- the cache ---- */

static void write_and_read(const char *name, bool kept) {
    char *path = ci_cache_path(name), *data;
    size_t size;
    assert_non_null(path);
    enum clinfer_status written = ci_cache_write(path, "content", 7);
    enum clinfer_status status = ci_cache_read(path, 100, &data, &size);
    assert_int_equal(written == CLINFER_OK, kept);
    assert_int_equal(status == CLINFER_OK, kept);
    free(data);
    free(path);
}

static int count_lines(const char *text) {
    int count = 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

static void test_folders_are_made_for_the_user_alone(void **state) {
    struct stat info;
    (void)state;
    write_and_read("proof/key", true);
    assert_int_equal(stat(in("clinfer/proof"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(stat(in("clinfer"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_string_equal(messages, "");
}

static void test_private_folder_takes_the_place_of_one_that_is_not_ours(void **state) {
    (void)state;
    make("clinfer/proof/key", "planted", 7);
    assert_int_equal(chmod(in("clinfer"), 0777), 0);
    write_and_read("proof/key", true);
    write_and_read("proof/key", true);
    char *path = ci_cache_path("proof/key"), wanted[512];
    snprintf(wanted, sizeof wanted, "%s/clinfer-cache-%u/proof/key", process_folder(), (unsigned)geteuid());
    assert_string_equal(path, wanted);
    free(path);
    if (count_lines(messages) != 1 || !strstr(messages, in("clinfer"))) fail_msg("not one message: %s", messages);
}

/* One warning for reading what was refused (above, in this process), one for what cannot be written. */
static void test_what_cannot_be_written_is_said_once(void **state) {
    (void)state;
    make("clinfer", "a file", 6);
    for (int i = 0; i < 3; i++) write_and_read("proof/key", false);
    char *path = ci_cache_path("proof/other");
    assert_int_equal(ci_cache_append(path, "12345678", 8), CLINFER_IO);
    free(path);
    if (count_lines(messages) != 1 || !strstr(messages, "XDG_CACHE_HOME")) fail_msg("not one message: %s", messages);
}

static void expect(const char *name, const void *data, size_t size) {
    size_t length;
    char *found = process_read(in(name), &length);
    assert_int_equal(length, size);
    assert_memory_equal(found, data, size);
    free(found);
}

static void test_records_are_appended_to_files_of_ours_alone(void **state) {
    (void)state;
    char *path = ci_cache_path("proof/key");
    assert_int_equal(ci_cache_append(path, "12345678", 8), CLINFER_OK);
    assert_int_equal(ci_cache_append(path, "abcdefgh", 8), CLINFER_OK);
    expect("clinfer/proof/key", "12345678abcdefgh", 16);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(ci_cache_append(path, "fresh123", 8), CLINFER_OK);
    expect("clinfer/proof/key", "fresh123", 8);
    make("elsewhere", "kept", 4);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(in("elsewhere"), path), 0);
    assert_int_equal(ci_cache_append(path, "12345678", 8), CLINFER_OK);
    expect("elsewhere", "kept", 4);
    expect("clinfer/proof/key", "12345678", 8);
    free(path);
}

static void test_proofs_heal_when_a_record_was_cut(void **state) {
    const uint64_t device = UINT64_C(0x1234567890abcdef), first = 7, second = 0x1122334455667788;
    uint8_t bytes[2 * sizeof first] = {0};
    (void)state;
    memcpy(bytes, &first, sizeof first);
    memset(bytes + sizeof first, 0xAA, 3);
    make("clinfer/proof/1234567890abcdef", bytes, sizeof first + 3);
    assert_true(ci_proof_is_known(device, first));
    assert_false(ci_proof_is_known(device, second));
    ci_proof_remember(device, second);
    memcpy(bytes + sizeof first, &second, sizeof second);
    expect("clinfer/proof/1234567890abcdef", bytes, sizeof bytes);
}

/* ---- what was left over ---- */

static void test_leftovers_go_when_a_day_old(void **state) {
    static const char *const left[] = {"clinfer/programs/0123456789abcdef.bin.Ab3xYz",
                                       "clinfer/proof/0123456789abcdef.aaaaaa",
                                       "clinfer/compilers/0123456789abcdef.json.000000",
                                       "clinfer/platforms.json.XXXXXX",
                                       "clinfer/doctor-4711",
                                       "clinfer/probe-123-0",
                                       "clinfer/probe-123-1.Ab3xYz",
                                       "clinfer/vendors-0123456789abcdef.Ab3xYz"};
    static const char *const kept[] = {"clinfer/programs/0123456789abcdef.bin",
                                       "clinfer/platforms.json",
                                       "clinfer/loading",
                                       "clinfer/vendors-0123456789abcdef",
                                       "clinfer/programs/stranger.longer-than-six",
                                       "clinfer/programs/short.Ab3x",
                                       "clinfer/strangers/0123456789abcdef.bin.Ab3xYz"};
    enum { LEFT = sizeof left / sizeof *left, KEPT = sizeof kept / sizeof *kept, FOLDERS = 3 };
    char link[128];
    (void)state;
    make("clinfer/programs/young.bin.Ab3xYz", "", 0);
    make("outside", "kept", 4);
    for (int i = 0; i < LEFT - FOLDERS; i++) make(left[i], "", 0);
    for (int i = LEFT - FOLDERS; i < LEFT; i++) {
        make_folder(left[i]);
        snprintf(link, sizeof link, "%s/driver.icd", left[i]);
        assert_int_equal(symlink(in("outside"), in(link)), 0);
    }
    for (int i = 0; i < KEPT; i++) make(kept[i], "", 0);
    for (int i = 0; i < LEFT; i++) age(left[i], 25);
    for (int i = 0; i < KEPT; i++) age(kept[i], 25);
    age("clinfer/programs/young.bin.Ab3xYz", 23);
    ci_cache_sweep(in("clinfer"));
    for (int i = 0; i < LEFT; i++)
        if (is_there(left[i])) fail_msg("%s is still there", left[i]);
    for (int i = 0; i < KEPT; i++)
        if (!is_there(kept[i])) fail_msg("%s is gone", kept[i]);
    assert_true(is_there("clinfer/programs/young.bin.Ab3xYz"));
    expect("outside", "kept", 4);
    /* Nothing is removed from a folder that is not ours. */
    make(left[0], "", 0);
    age(left[0], 25);
    assert_int_equal(chmod(in("clinfer/programs"), 0777), 0);
    ci_cache_sweep(in("clinfer"));
    assert_true(is_there(left[0]));
}

/* The history of the chat, the configuration: folders in which a person may keep something, too. */
static void test_leftovers_beside_a_file_go(void **state) {
    static const char *const left[] = {"clinfer/history.Ab3xYz", "clinfer/history.XXXXXX", "clinfer/history.00000a"};
    static const char *const kept[] = {"clinfer/history", "clinfer/history.backup", "clinfer/history.201231",
                                       "clinfer/other.Ab3xYz"};
    enum { LEFT = sizeof left / sizeof *left, KEPT = sizeof kept / sizeof *kept };
    (void)state;
    for (int i = 0; i < LEFT; i++) make(left[i], "", 0);
    for (int i = 0; i < KEPT; i++) make(kept[i], "", 0);
    for (int i = 0; i < LEFT; i++) age(left[i], 25);
    for (int i = 0; i < KEPT; i++) age(kept[i], 25);
    ci_temporary_sweep_beside(in("clinfer/history"));
    for (int i = 0; i < LEFT; i++)
        if (is_there(left[i])) fail_msg("%s is still there", left[i]);
    for (int i = 0; i < KEPT; i++)
        if (!is_there(kept[i])) fail_msg("%s is gone", kept[i]);
}

static void test_temporary_names_are_known_again(void **state) {
    char *name;
    (void)state;
    for (int i = 0; i < 50; i++) {
        int descriptor = ci_temporary_file(in("file"), &name);
        assert_true(descriptor >= 0);
        close(descriptor);
        assert_true(ci_temporary_is_suffix(name + strlen(in("file"))));
        assert_int_equal(unlink(name), 0);
        free(name);
    }
    name = ci_temporary_folder(in("folder"));
    assert_true(name && ci_temporary_is_suffix(name + strlen(in("folder"))));
    assert_int_equal(rmdir(name), 0);
    free(name);
    assert_int_equal(ci_temporary_file(in("no/such/folder/file"), &name), -1);
    assert_null(ci_temporary_folder(in("no/such/folder/folder")));
    assert_false(ci_temporary_is_suffix(".json"));
    assert_false(ci_temporary_is_suffix("Ab3xYz"));
    assert_false(ci_temporary_is_suffix(".Ab3-Yz"));
}

/* ---- the tool ---- */

static int count_words(const char *text, const char *word) {
    int count = 0;
    for (; (text = strstr(text, word)); text++) count++;
    return count;
}

static void run_on_cpu(const char *cache, const char *config, struct process_result *result) {
    char variables[2][600];
    snprintf(variables[0], sizeof variables[0], "XDG_CACHE_HOME=%s", cache);
    snprintf(variables[1], sizeof variables[1], "XDG_CONFIG_HOME=%s", config);
    const char *const environment[] = {variables[0], variables[1], NULL};
    const struct process_options options = {.environment = environment};
    process_run(result, &options, process_tool(), "run", "-m", "tests/data/llama_tiny.gguf", "--temp", "0", "-n", "4",
                "--device", "cpu", "-p", "Why", NULL);
}

/* Each proof that is not kept would be one more line. */
static void test_run_warns_once_of_a_cache_that_it_cannot_use(void **state) {
    struct process_result result;
    (void)state;
    make("file", "", 0);
    make_folder("foreign");
    make_folder("foreign/clinfer");
    assert_int_equal(chmod(in("foreign/clinfer"), 0777), 0);
    run_on_cpu(in("file/below"), folder, &result);
    process_assert_status(&result, 0);
    assert_int_equal(count_words(result.err, "warning: "), 1);
    assert_non_null(strstr(result.err, "Not a directory"));
    process_free(&result);
    run_on_cpu(in("foreign"), folder, &result);
    process_assert_status(&result, 0);
    assert_int_equal(count_words(result.err, "warning: "), 1);
    assert_non_null(strstr(result.err, "others may write to it (mode 0777)"));
    process_free(&result);
}

static void test_run_sweeps_cache_and_configuration(void **state) {
    struct process_result result;
    (void)state;
    static const char *const left[] = {"home/clinfer/programs/0123456789abcdef.bin.Ab3xYz",
                                       "clinfer/config.json.Ab3xYz"};
    static const char *const kept[] = {"clinfer/config.json.backup", "clinfer/config.json.201231",
                                       "clinfer/config.json"};
    enum { LEFT = sizeof left / sizeof *left, KEPT = sizeof kept / sizeof *kept };
    for (int i = 0; i < LEFT; i++) make(left[i], "{}", 2);
    for (int i = 0; i < KEPT; i++) make(kept[i], "{}", 2);
    for (int i = 0; i < LEFT; i++) age(left[i], 25);
    for (int i = 0; i < KEPT; i++) age(kept[i], 25);
    run_on_cpu(in("home"), folder, &result);
    process_assert_status(&result, 0);
    process_free(&result);
    for (int i = 0; i < LEFT; i++)
        if (is_there(left[i])) fail_msg("%s is still there", left[i]);
    for (int i = 0; i < KEPT; i++)
        if (!is_there(kept[i])) fail_msg("%s is gone", kept[i]);
}

static void test_configuration_below_a_file_is_absent(void **state) {
    struct process_result result;
    (void)state;
    make("file", "", 0);
    run_on_cpu(folder, in("file"), &result);
    process_assert_status(&result, 0);
    process_free(&result);
    assert_int_equal(symlink(in("loop"), in("loop")), 0);
    run_on_cpu(folder, in("loop"), &result);
    process_assert_status(&result, 4);
    assert_non_null(strstr(result.err, "XDG_CONFIG_HOME"));
    process_free(&result);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_others_may_write_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_belongs_to_others_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_links_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_there_is_not_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders_are_made_for_the_user_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_private_folder_takes_the_place_of_one_that_is_not_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_written_is_said_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_are_appended_to_files_of_ours_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_proofs_heal_when_a_record_was_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers_go_when_a_day_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers_beside_a_file_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_temporary_names_are_known_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_run_warns_once_of_a_cache_that_it_cannot_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_run_sweeps_cache_and_configuration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_configuration_below_a_file_is_absent, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
