/* profile/: which file is whose, those that are shipped, the lock, and a disk that does not take what is written. */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "profile/profile.h"
#include "profile/shipped.h"
#include "support/asserts.h"
#include "support/data_home.h"
#include "support/process.h"
#include "support/profile_sample.h"

/* ---- look-up ---- */

/* Writes an empty profile for this key, made at `created`; its place. */
static void store(const struct ci_profile_key *key, const char *created, bool imported, const char *name) {
    struct ci_profile profile = {.key = *key, .imported = imported};
    char *path = ci_profile_path(key), *other = NULL;
    assert_non_null(path);
    snprintf(profile.created, sizeof profile.created, "%s", created);
    if (name) {
        char *folder = ci_profile_folder();
        assert_true(asprintf(&other, "%s/%s", folder, name) > 0);
        free(folder);
    }
    assert_ok(ci_profile_write(other ? other : path, &profile));
    free(path);
    free(other);
}

static void expect_lookup(const struct ci_profile_key *key, enum ci_profile_origin wanted, const char *created) {
    struct ci_profile profile;
    enum ci_profile_origin origin;
    char *path;
    assert_ok(ci_profile_lookup(key, &profile, &origin, &path));
    if (origin != wanted || strcmp(profile.created, created) != 0)
        fail_msg("origin %d, made \"%s\" (%s); wanted %d, \"%s\"", origin, profile.created, path ? path : "no path",
                 wanted, created);
    assert_true((origin == CI_PROFILE_NONE) == (path == NULL));
    free(path);
    ci_profile_free(&profile);
    assert_ok(ci_profile_lookup(key, &profile, &origin, NULL));
    ci_profile_free(&profile);
}

static void test_lookup_prefers_exact_then_nearest_key(void **state) {
    struct ci_profile_key key = profile_sample_key(), other = profile_sample_key();
    (void)state;
    expect_lookup(&key, CI_PROFILE_NONE, "");
    snprintf(other.device, sizeof other.device, "Another thing");
    store(&other, "2026-01-01T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_NONE, "");
    other = key;
    snprintf(other.driver, sizeof other.driver, "534");
    snprintf(other.platform_version, sizeof other.platform_version, "OpenCL 3.0 v0");
    store(&other, "2026-02-02T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2026-02-02T00:00:00Z");
    other = key;
    other.threads = 2;
    store(&other, "2026-01-03T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2026-01-03T00:00:00Z");
    /* Equally near: the later one. */
    other = key;
    snprintf(other.cpu, sizeof other.cpu, "avx2");
    store(&other, "2026-01-02T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2026-01-03T00:00:00Z");
    store(&key, "2020-01-01T00:00:00Z", true, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2020-01-01T00:00:00Z");
    store(&key, "2020-01-02T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_EXACT, "2020-01-02T00:00:00Z");
    assert_string_equal(data_home_messages, "");
}

static void test_lookup_goes_by_content_and_passes_over_bad_files(void **state) {
    struct ci_profile_key key = profile_sample_key();
    char *folder = ci_profile_folder(), path[512];
    (void)state;
    store(&key, "2026-01-01T00:00:00Z", false, "copied by hand.json");
    expect_lookup(&key, CI_PROFILE_EXACT, "2026-01-01T00:00:00Z");
    snprintf(path, sizeof path, "%s/aaa.json", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"schema\": \"clinfer-profile\", \"version\": 7}", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/folder.json", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_lookup(&key, CI_PROFILE_EXACT, "2026-01-01T00:00:00Z");
    if (!strstr(data_home_messages, "aaa.json: field \"version\": value 7") ||
        !strstr(data_home_messages, "clinfer tune"))
        fail_msg("the log: %s", data_home_messages);
    /* Once, although there were two look-ups. */
    assert_null(strstr(strstr(data_home_messages, "aaa.json") + 1, "aaa.json"));
    snprintf(path, sizeof path, "%s/\x1b[31m.json", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    struct ci_profile_files files;
    assert_ok(ci_profile_files(&files));
    assert_int_equal(files.count, 3);
    ci_profile_files_free(&files);
    free(folder);
}

static void test_path_is_for_people_and_unique(void **state) {
    struct ci_profile_key key = profile_sample_key();
    char *path = ci_profile_path(&key), *same = ci_profile_path(&key);
    (void)state;
    assert_string_equal(path, same);
    assert_non_null(strstr(path, "/clinfer/profiles/thing-9000-tm-"));
    struct ci_profile_key others[8];
    for (int i = 0; i < 8; i++) others[i] = key;
    others[0].kind[0] = 'x';
    others[1].platform[0] = 'x';
    others[2].platform_version[0] = 'x';
    others[3].device[0] = 'x';
    others[4].driver[0] = 'x';
    others[5].compute_units++;
    others[6].threads++;
    others[7].cpu[0] = 'x';
    for (int i = 0; i < 8; i++) {
        char *different = ci_profile_path(&others[i]);
        assert_string_not_equal(path, different);
        assert_false(ci_profile_same_key(&key, &others[i]));
        assert_int_equal(ci_profile_same_device(&key, &others[i]), i != 0 && i != 1 && i != 3);
        free(different);
    }
    assert_true(ci_profile_same_key(&key, &key));
    free(path);
    free(same);
    memset(key.device, '/', sizeof key.device - 1);
    path = ci_profile_path(&key);
    assert_non_null(strstr(path, "/profiles/device-"));
    free(path);
}

static void test_shipped_profiles_are_good_and_found(void **state) {
    (void)state;
    for (const struct ci_profile_shipped *file = ci_profiles_shipped; file->name; file++) {
        struct ci_profile profile, found;
        enum ci_profile_origin origin;
        assert_int_equal(strlen(file->text), file->length);
        assert_ok(ci_profile_parse(file->name, file->text, file->length, &profile));
        assert_false(profile.imported);
        assert_true(profile.entry_count > 0);
        assert_ok(ci_profile_lookup(&profile.key, &found, &origin, NULL));
        assert_int_equal(origin, CI_PROFILE_SHIPPED);
        assert_true(ci_profile_same_key(&found.key, &profile.key));
        ci_profile_free(&found);
        struct ci_profile_key stranger = profile.key;
        snprintf(stranger.platform, sizeof stranger.platform, "no such platform");
        assert_ok(ci_profile_lookup_shipped(&stranger, &found, &origin, NULL));
        assert_int_equal(origin, CI_PROFILE_NONE);
        ci_profile_free(&profile);
    }
}

static void test_shipped_cpus_are_matched_by_their_vectors(void **state) {
    static const struct {
        const char *cpu, *device;
        unsigned units;
    } shipped[] = {{"avx2", "Xeon", 8},
                   {"avx2", "EPYC", 64},
                   {"avx2,avx512vnni", "EPYC 9", 16},
                   {"avx2,avx512vnni,avx512bf16", "EPYC 9", 16},
                   {"neon,neondot", "Graviton", 16},
                   {"", "Old", 1}};
    static const struct {
        const char *cpu, *device;
        unsigned units;
        int wanted;
    } devices[] = {{"avx2", "Ryzen", 6, 0},
                   {"avx2", "Ryzen", 128, 1},
                   {"avx2", "EPYC", 2, 1}, /* the very same name */
                   {"avx2,avx512vnni", "Xeon", 2, 2},
                   {"avx2,avx512vnni,avx512bf16", "Xeon", 2, 3},
                   {"neon", "Pi", 4, 4},
                   {"", "486", 1, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        struct ci_profile_key key = {.kind = "cpu", .platform = "Portable Computing Language"}, other = key;
        double best = -1;
        int nearest = -1;
        snprintf(key.cpu, sizeof key.cpu, "%s", devices[i].cpu);
        snprintf(key.device, sizeof key.device, "%s", devices[i].device);
        key.compute_units = devices[i].units;
        for (size_t k = 0; k < sizeof shipped / sizeof *shipped; k++) {
            snprintf(other.cpu, sizeof other.cpu, "%s", shipped[k].cpu);
            snprintf(other.device, sizeof other.device, "%s", shipped[k].device);
            other.compute_units = shipped[k].units;
            double score = ci_profile_shipped_score(&other, &key);
            if (score > best) nearest = (int)k;
            if (score > best) best = score;
        }
        if (nearest != devices[i].wanted)
            fail_msg("%s with %u units takes %d, not %d", devices[i].cpu, devices[i].units, nearest, devices[i].wanted);
        snprintf(other.cpu, sizeof other.cpu, "%s", devices[i].cpu);
        snprintf(other.platform, sizeof other.platform, "Intel(R) OpenCL");
        assert_true(ci_profile_shipped_score(&other, &key) < 0);
    }
}

static void test_shipped_gpus_are_matched_by_name_and_platform(void **state) {
    struct ci_profile_key key = profile_sample_key(), other = profile_sample_key();
    (void)state;
    double same = ci_profile_shipped_score(&other, &key);
    snprintf(other.driver, sizeof other.driver, "another");
    snprintf(other.cpu, sizeof other.cpu, "neon");
    double nearly = ci_profile_shipped_score(&other, &key);
    assert_true(same > nearly && nearly >= 0);
    snprintf(other.device, sizeof other.device, "Thing 8000");
    assert_true(ci_profile_shipped_score(&other, &key) < 0);
    other = key;
    snprintf(other.platform, sizeof other.platform, "rusticl");
    assert_true(ci_profile_shipped_score(&other, &key) < 0);
    other = key;
    snprintf(other.kind, sizeof other.kind, "cpu");
    assert_true(ci_profile_shipped_score(&other, &key) < 0);
}

/* ---- several processes, and none that survives ---- */

static void test_lock_keeps_a_second_process_out_and_names_it(void **state) {
    struct ci_profile_key key = profile_sample_key(), other = profile_sample_key();
    struct ci_profile_lock lock, second;
    int ready[2];
    char byte;
    (void)state;
    other.threads++;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ci_profile_lock held;
        if (ci_profile_lock(&key, 5, &held) != CLINFER_OK || write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    char who[64];
    snprintf(who, sizeof who, "process %d ", (int)child);
    assert_int_equal(ci_profile_lock(&key, 0.1, &lock), CLINFER_IO);
    assert_message(who);
    assert_message("wait for it to end");
    assert_ok(ci_profile_lock(&other, 0, &second));
    ci_profile_unlock(&second);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_ok(ci_profile_lock(&key, 2, &lock));
    ci_profile_unlock(&lock);
    ci_profile_unlock(&lock);
    close(ready[0]);
    close(ready[1]);
}

static void write_for_ever(const struct ci_profile_key *key, const char *path) {
    for (int i = 0;; i++) {
        struct ci_profile profile;
        struct ci_profile_lock lock;
        profile_sample(&profile);
        profile.key = *key;
        profile.tune_seconds = i;
        for (int n = 0; n < 40 + i % 40; n++) {
            struct ci_profile_entry entry = profile_sample_entry("matmul", 1, 1000 + n, 576);
            if (ci_profile_set(&profile, &entry) != CLINFER_OK) _exit(1);
        }
        if (ci_profile_lock(key, 5, &lock) != CLINFER_OK || ci_profile_write(path, &profile) != CLINFER_OK) _exit(1);
        ci_profile_unlock(&lock);
        ci_profile_free(&profile);
    }
}

static void test_kill_while_writing_leaves_a_whole_file(void **state) {
    struct ci_profile_key key = profile_sample_key();
    struct ci_profile_lock lock;
    char *path = ci_profile_path(&key);
    (void)state;
    store(&key, "2026-01-01T00:00:00Z", false, NULL);
    srand(7);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0) write_for_ever(&key, path);
        nanosleep(&(struct timespec){.tv_nsec = 1000000L * (1 + rand() % 40)}, NULL);
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        struct ci_profile profile;
        assert_ok(ci_profile_read(path, &profile));
        ci_profile_free(&profile);
    }
    assert_ok(ci_profile_lock(&key, 2, &lock));
    assert_int_equal(data_home_count(""), 2); /* the profile and its lock, nothing left over */
    ci_profile_unlock(&lock);
    free(path);
}

/* Runs `body` in a child, which tells by its exit status what the write said; then the old file must be whole. */
static void expect_failed_write(bool (*prepare)(const char *folder), const char *part) {
    struct ci_profile_key key = profile_sample_key();
    char *path = ci_profile_path(&key), *folder = ci_profile_folder();
    store(&key, "2026-01-01T00:00:00Z", false, NULL);
    pid_t child = fork();
    if (child == 0) {
        struct ci_profile profile;
        profile_sample(&profile);
        for (int n = 0; n < 2000; n++) {
            struct ci_profile_entry entry = profile_sample_entry("matmul", 1, 1000 + n, 576);
            if (ci_profile_set(&profile, &entry) != CLINFER_OK) _exit(1);
        }
        if (!prepare(folder)) _exit(77);
        if (ci_profile_write(path, &profile) != CLINFER_IO) _exit(2);
        _exit(strstr(clinfer_error(), part) ? 0 : 3);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 77) {
        assert_int_equal(WEXITSTATUS(status), 0);
        expect_lookup(&key, CI_PROFILE_EXACT, "2026-01-01T00:00:00Z");
        assert_int_equal(data_home_count(""), 1);
    }
    free(path);
    free(folder);
    if (WEXITSTATUS(status) == 77) {
        print_message("skip: this machine lets us make no such folder\n");
        skip();
    }
}

static bool small_files_only(const char *folder) {
    (void)folder;
    signal(SIGXFSZ, SIG_IGN);
    return setrlimit(RLIMIT_FSIZE, &(struct rlimit){10000, 10000}) == 0;
}

static void test_file_size_limit_leaves_the_old_file(void **state) {
    (void)state;
    expect_failed_write(small_files_only, "cannot write: File too large");
}

/* A file system of the child's own over the folder, where the machine lets us. */
static bool full_disk(const char *folder) {
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=64k") == 0;
}

static void test_full_disk_is_said(void **state) {
    (void)state;
    expect_failed_write(full_disk, "cannot write: No space left on device");
}

static bool folder_is_closed(const char *folder) {
    if (chmod(folder, 0500) != 0) return false;
    return geteuid() != 0 || seteuid(65534) == 0;
}

static void test_unwritable_folder_is_said(void **state) {
    (void)state;
    expect_failed_write(folder_is_closed, "cannot create: Permission denied");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lookup_prefers_exact_then_nearest_key, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_lookup_goes_by_content_and_passes_over_bad_files, data_home_set,
                                        data_home_unset),
        cmocka_unit_test_setup_teardown(test_path_is_for_people_and_unique, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_shipped_profiles_are_good_and_found, data_home_set, data_home_unset),
        cmocka_unit_test(test_shipped_cpus_are_matched_by_their_vectors),
        cmocka_unit_test(test_shipped_gpus_are_matched_by_name_and_platform),
        cmocka_unit_test_setup_teardown(test_lock_keeps_a_second_process_out_and_names_it, data_home_set,
                                        data_home_unset),
        cmocka_unit_test_setup_teardown(test_kill_while_writing_leaves_a_whole_file, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_file_size_limit_leaves_the_old_file, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_full_disk_is_said, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_unwritable_folder_is_said, data_home_set, data_home_unset),
    };
    return cmocka_run_group_tests_name("profile look-up", tests, NULL, NULL);
}
