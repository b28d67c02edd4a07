/* What goes wrong on this side of a pull: disks that are full or may not be written, caches without links, processes
 * that are killed, locks that are held, clocks that jump, parts and records that are damaged. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/part.h"
#include "hub/part_state.h"
#include "support/hub_run.h"
#include "support/process.h"

enum { TINY = 203936, LARGE = 4193440, SLACK = 200000, KILLS = 16 };

static const char large[] = "large-Q4_K_M.gguf", tiny[] = "tiny-Q4_K_M.gguf";
static const struct ci_hub_pull_options no_options;
static bool may_mount;
static struct hub_run run;

/* Mounts of a namespace of our own, which end with this process. */
static bool prepare_mounts(void) {
    char map[64];
    unsigned user = getuid();
    if (unshare(CLONE_NEWNS | (user ? CLONE_NEWUSER : 0)) != 0) return false;
    if (user) {
        FILE *file = fopen("/proc/self/uid_map", "we");
        snprintf(map, sizeof map, "0 %u 1\n", user);
        if (!file || fputs(map, file) < 0 || fclose(file) != 0) return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static int start_all(void **state) {
    may_mount = prepare_mounts();
    signal(SIGXFSZ, SIG_IGN);
    return hub_server_start(state);
}

static int open_run(void **state) {
    const struct hub_run_options options = {0};
    (void)state;
    hub_run_open(&run, &options);
    return 0;
}

static int close_run(void **state) {
    (void)state;
    char cache[600];
    snprintf(cache, sizeof cache, "%s", run.cache);
    hub_run_close(&run);
    umount2(cache, MNT_DETACH);
    return 0;
}

/* A disk of so many bytes as the cache. */
static void mount_disk(const char *bytes) {
    char options[64];
    if (!may_mount) {
        print_message("skip: this user may not mount a small disk\n");
        skip();
    }
    snprintf(options, sizeof options, "size=%s", bytes);
    assert_int_equal(mount("none", run.cache, "tmpfs", 0, options), 0);
}

static void pull_good(const char *wanted, const char *content, const char *file) {
    hub_run_pull(&run, wanted);
    hub_run_check_good(&run, content, 1, file, 1);
}

/* Stops a pull of a large file after a quarter; what the server sent of it. */
static void stop_midway(const char *wanted) {
    run.cancel_at = LARGE / 4;
    hub_run_pull(&run, wanted);
    hub_run_check_bad(&run, CLINFER_CANCELLED, NULL);
    run.cancel_at = 0;
    if (!*hub_run_find(&run, ".clinfer.incomplete")) fail_msg("no part was kept");
}

#define SLOW_LARGE "x.rate_20000000/large"

/* ---- disks ---- */

static void test_a_file_that_does_not_fit_is_not_begun(void **state) {
    (void)state;
    mount_disk("2m");
    hub_run_pull(&run, "user/large");
    hub_run_check_bad(&run, CLINFER_IO, "4.19 MB");
    assert_int_equal(hub_run_sent(&run), 0);
}

static char *filler;

static void fill_the_disk(struct hub_run *now, uint64_t completed) {
    if (completed < LARGE / 8 || filler) return;
    filler = strdup(hub_run_path(now, "CACHEDIR.TAG"));
    int file = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    static const char block[65536];
    while (write(file, block, sizeof block) > 0) continue;
    close(file);
}

static void test_a_disk_that_fills_up_keeps_the_part(void **state) {
    (void)state;
    mount_disk("6m");
    run.on_progress = fill_the_disk;
    hub_run_pull(&run, SLOW_LARGE);
    run.on_progress = NULL;
    assert_non_null(filler);
    unlink(filler);
    free(filler);
    hub_run_check_bad(&run, CLINFER_IO, "space");
    if (!*hub_run_find(&run, ".clinfer.incomplete")) fail_msg("no part was kept");
    pull_good(SLOW_LARGE, "large", large);
    assert_true(hub_run_sent(&run) < LARGE);
}

static void test_a_limit_of_file_size_is_told(void **state) {
    (void)state;
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &small);
    hub_run_pull(&run, "user/large");
    setrlimit(RLIMIT_FSIZE, &before);
    hub_run_check_bad(&run, CLINFER_IO, NULL);
    pull_good("user/large", "large", large);
}

static void test_a_read_only_cache_is_read(void **state) {
    (void)state;
    mount_disk("6m");
    pull_good("user/tiny", "tiny", tiny);
    assert_int_equal(mount("none", run.cache, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    pull_good("user/tiny", "tiny", tiny);
    assert_int_equal(hub_run_sent(&run), 0);
    assert_int_equal(hub_run_pull(&run, "user/large"), CLINFER_IO);
    if (!strstr(run.message, run.cache)) fail_msg("it does not say where: %s", run.message);
    if (!strstr(run.message, "Read-only file system")) fail_msg("it does not say why: %s", run.message);
    assert_non_null(strstr(run.message, "; "));
    assert_int_equal(hub_run_listed(&run), 1);
}

/* ---- links ---- */

static void test_without_symlinks_the_file_lies_in_the_snapshot(void **state) {
    (void)state;
    struct stat status;
    run.settings.no_symlinks = true;
    pull_good("user/tiny", "tiny", tiny);
    assert_int_equal(lstat(run.pulled.path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    pull_good("user/tiny", "tiny", tiny);
    assert_int_equal(hub_run_sent(&run), 0);
}

static void test_a_dangling_link_is_a_file_that_is_not_there(void **state) {
    (void)state;
    char *blob;
    pull_good("user/tiny", "tiny", tiny);
    blob = realpath(run.pulled.path, NULL);
    assert_int_equal(unlink(blob), 0);
    free(blob);
    assert_int_equal(hub_run_listed(&run), 0);
    pull_good("user/tiny", "tiny", tiny);
    assert_true(hub_run_sent(&run) >= TINY);
}

static void test_absolute_and_chained_links_are_followed(void **state) {
    (void)state;
    char *path, *blob, other[700];
    pull_good("user/tiny", "tiny", tiny);
    path = strdup(run.pulled.path);
    blob = realpath(path, NULL);
    snprintf(other, sizeof other, "%s/elsewhere", run.home);
    assert_int_equal(symlink(blob, other), 0);
    assert_int_equal(unlink(path) + symlink(other, path), 0);
    pull_good("user/tiny", "tiny", tiny);
    assert_int_equal(hub_run_sent(&run), 0);
    free(path);
    free(blob);
}

static void test_a_part_that_is_a_link_is_not_written_through(void **state) {
    (void)state;
    char victim[700], text[16] = "";
    snprintf(victim, sizeof victim, "%s/victim", run.home);
    json_t *files = hub_server_files("tiny", 1);
    const char *digest =
        json_string_value(json_object_get(json_object_get(json_object_get(files, "files"), tiny), "sha256"));
    FILE *file = fopen(victim, "we");
    assert_true(file && fputs("precious", file) >= 0 && fclose(file) == 0);
    mkdir(hub_run_path(&run, "models--user--tiny"), 0755);
    mkdir(hub_run_path(&run, "models--user--tiny/blobs"), 0755);
    assert_int_equal(symlink(victim, hub_run_path(&run, "models--user--tiny/blobs/%s.clinfer.incomplete", digest)), 0);
    json_decref(files);
    hub_run_pull(&run, "user/tiny");
    hub_run_check_bad(&run, CLINFER_IO, "link");
    file = fopen(victim, "re");
    assert_true(file && fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "precious");
}

static void test_a_folder_in_the_way_is_told(void **state) {
    (void)state;
    mkdir(hub_run_path(&run, "models--user--tiny"), 0755);
    FILE *file = fopen(hub_run_path(&run, "models--user--tiny/blobs"), "we");
    assert_true(file && fclose(file) == 0);
    struct ci_hub_name name;
    assert_int_equal(ci_hub_name_parse("user/tiny", run.settings.endpoint, &name), CLINFER_OK);
    assert_int_equal(ci_hub_pull(&run.hub, &name, &no_options, &run.pulled), CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), "blobs"));
    assert_int_equal(hub_run_listed(&run), 0);
}

/* ---- stopped, killed, two at once ---- */

static void test_a_pull_goes_on_where_it_was_cancelled(void **state) {
    (void)state;
    stop_midway(SLOW_LARGE);
    uint64_t before = hub_run_sent(&run);
    pull_good(SLOW_LARGE, "large", large);
    assert_true(hub_run_sent(&run) < LARGE);
    assert_true(before + hub_run_sent(&run) < LARGE + 4 * SLACK);
}

/* A pull in a process of its own, since only that can be killed. */
static pid_t pull_aside(const char *wanted) {
    pid_t process = fork();
    assert_true(process >= 0);
    if (process) return process;
    signal(SIGSEGV, SIG_DFL); /* which cmocka has */
    struct ci_hub hub = {.settings = &run.settings};
    struct ci_hub_name name;
    struct ci_hub_pulled pulled = {0};
    if (ci_fetcher_create(&hub.fetcher) != CLINFER_OK) _exit(100);
    if (ci_hub_name_parse(wanted, run.settings.endpoint, &name) != CLINFER_OK) _exit(101);
    _exit((int)ci_hub_pull(&hub, &name, &no_options, &pulled));
}

static int end_of(pid_t process) {
    int status;
    assert_int_equal(waitpid(process, &status, 0), process);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void wait_milliseconds(long milliseconds) {
    nanosleep(&(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000}, NULL);
}

/* Bytes that the record of the part claims; 0 where there is none. */
static uint64_t kept_bytes(void) {
    struct ci_part_state state;
    const char *path = hub_run_find(&run, CI_PART_STATE_SUFFIX);
    int file = *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool recorded = file >= 0 && ci_part_state_read(file, &state);
    if (file >= 0) close(file);
    return recorded ? ci_ranges_bytes(&state.written) : 0;
}

/* How much comes between two kills depends on how busy the machine is; that it stays does not. */
static void test_kill_9_costs_no_finished_byte(void **state) {
    (void)state;
    uint64_t kept = 0;
    bool whole = false;
    for (int i = 0; (i < KILLS || (kept == 0 && i < 10 * KILLS)) && !whole; i++) {
        pid_t process = pull_aside(SLOW_LARGE);
        wait_milliseconds(10 + i * 37 % 60 + i / KILLS * 100);
        kill(process, SIGKILL);
        bool ended = end_of(process) == 0;
        uint64_t now = kept_bytes();
        /* The record goes when all bytes are there: a kill may come then, before the process has ended. */
        whole = ended || (kept > 0 && now == 0 && !*hub_run_find(&run, CI_PART_STATE_SUFFIX));
        if (!whole) assert_true(now >= kept);
        kept = now;
    }
    assert_true(whole || kept > 0);
    json_decref(hub_server_log());
    pull_good(SLOW_LARGE, "large", large);
    /* A request of one who was killed may be answered only now, until the server sees that nobody reads. */
    assert_true(hub_run_sent(&run) <= (whole ? 0 : LARGE - kept) + 3 * SLACK);
}

static void test_two_pulls_at_once_are_one_download(void **state) {
    (void)state;
    pid_t one = pull_aside(SLOW_LARGE), other = pull_aside(SLOW_LARGE);
    assert_int_equal(end_of(one), 0);
    assert_int_equal(end_of(other), 0);
    run.log = hub_server_log();
    assert_true(hub_run_sent(&run) < LARGE + SLACK);
    pull_good(SLOW_LARGE, "large", large);
    assert_int_equal(hub_run_sent(&run), 0);
}

/* Locks the model's lock file, as huggingface_hub does, for so long. */
static pid_t hold_lock(long milliseconds) {
    json_t *files = hub_server_files("tiny", 1);
    const json_t *file = json_object_get(json_object_get(files, "files"), tiny);
    const char *path =
        hub_run_path(&run, ".locks/models--user--tiny/%s.lock", json_string_value(json_object_get(file, "sha256")));
    mkdir(hub_run_path(&run, ".locks"), 0755);
    mkdir(hub_run_path(&run, ".locks/models--user--tiny"), 0755);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
    json_decref(files);
    pid_t process = fork();
    if (process == 0) {
        wait_milliseconds(milliseconds);
        _exit(0);
    }
    close(lock);
    return process;
}

static void test_a_lock_that_is_let_go_is_waited_for(void **state) {
    (void)state;
    pid_t process = hold_lock(300);
    pull_good("user/tiny", "tiny", tiny);
    assert_true(run.seconds > 0.2);
    assert_int_equal(end_of(process), 0);
}

static void test_a_lock_that_is_held_for_ever_is_told(void **state) {
    (void)state;
    run.settings.lock_seconds = 0.2;
    pid_t process = hold_lock(60000);
    hub_run_pull(&run, "user/tiny");
    kill(process, SIGKILL);
    end_of(process);
    hub_run_check_bad(&run, CLINFER_IO, NULL);
    assert_true(run.seconds < 5);
    pull_good("user/tiny", "tiny", tiny);
}

/* ---- clocks, records, parts ---- */

static time_t new_time;

static int set_time(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)kind, (void)walk;
    const struct timespec times[2] = {{.tv_sec = new_time}, {.tv_sec = new_time}};
    return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static void go_on_at(time_t time) {
    stop_midway(SLOW_LARGE);
    new_time = time;
    assert_int_equal(nftw(run.cache, set_time, 16, FTW_PHYS), 0);
    pull_good(SLOW_LARGE, "large", large);
    assert_true(hub_run_sent(&run) < LARGE);
}

static void test_a_clock_that_jumps_ahead_changes_nothing(void **state) {
    (void)state;
    go_on_at(1);
}

static void test_a_clock_that_jumps_back_changes_nothing(void **state) {
    (void)state;
    go_on_at((time_t)4102444800);
}

static void overwrite(const char *ending, off_t at, const void *bytes, size_t size) {
    const char *path = hub_run_find(&run, ending);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) fail_msg("there is no %s", ending);
    assert_int_equal(pwrite(file, bytes, size, at), size);
    close(file);
}

/* The part itself. */
static const char *part_path(void) {
    static char path[4096];
    const char *record = hub_run_find(&run, ".clinfer.state.incomplete");
    size_t length = strlen(record) - strlen(".state.incomplete");
    snprintf(path, sizeof path, "%.*s.incomplete", (int)length, record);
    return path;
}

static void test_a_damaged_record_is_not_believed(void **state) {
    (void)state;
    static char noise[8192];
    memset(noise, 0x5a, sizeof noise);
    stop_midway(SLOW_LARGE);
    overwrite(".clinfer.state.incomplete", 0, noise, sizeof noise);
    pull_good(SLOW_LARGE, "large", large);
}

static void test_a_record_that_was_cut_off_is_not_believed(void **state) {
    (void)state;
    stop_midway(SLOW_LARGE);
    assert_int_equal(truncate(hub_run_find(&run, ".clinfer.state.incomplete"), 100), 0);
    pull_good(SLOW_LARGE, "large", large);
}

static void test_a_record_without_its_part_is_not_believed(void **state) {
    (void)state;
    stop_midway(SLOW_LARGE);
    assert_int_equal(unlink(part_path()), 0);
    pull_good(SLOW_LARGE, "large", large);
}

static void test_a_part_that_was_cut_short_is_not_believed(void **state) {
    (void)state;
    stop_midway(SLOW_LARGE);
    assert_int_equal(truncate(part_path(), 1000), 0);
    hub_run_pull(&run, SLOW_LARGE);
    if (run.status == CLINFER_OK) {
        hub_run_check_good(&run, "large", 1, large, 1);
    } else {
        hub_run_check_bad(&run, CLINFER_BAD_FILE, NULL);
        pull_good(SLOW_LARGE, "large", large);
    }
}

static void test_a_damaged_part_is_found_by_its_digest(void **state) {
    (void)state;
    static const char zero[512];
    stop_midway(SLOW_LARGE);
    int file = open(part_path(), O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(file, zero, sizeof zero, 50000), sizeof zero);
    close(file);
    hub_run_pull(&run, SLOW_LARGE);
    hub_run_check_bad(&run, CLINFER_BAD_FILE, NULL);
    if (*hub_run_find(&run, ".incomplete")) fail_msg("the damaged part was kept");
    pull_good(SLOW_LARGE, "large", large);
}

static void test_parts_of_others_are_left_alone(void **state) {
    (void)state;
    pull_good("user/tiny", "tiny", tiny);
    char *blob = realpath(run.pulled.path, NULL), other[4200];
    snprintf(other, sizeof other, "%s.0a1b2c3d.incomplete", blob);
    FILE *file = fopen(other, "we");
    assert_true(file && fputs("of huggingface_hub", file) >= 0 && fclose(file) == 0);
    unlink(blob);
    hub_run_pull(&run, "user/tiny");
    assert_int_equal(run.status, CLINFER_OK);
    assert_int_equal(access(other, F_OK), 0);
    free(blob);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, open_run, close_run)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_a_file_that_does_not_fit_is_not_begun),
        CASE(test_a_disk_that_fills_up_keeps_the_part),
        CASE(test_a_limit_of_file_size_is_told),
        CASE(test_a_read_only_cache_is_read),
        CASE(test_without_symlinks_the_file_lies_in_the_snapshot),
        CASE(test_a_dangling_link_is_a_file_that_is_not_there),
        CASE(test_absolute_and_chained_links_are_followed),
        CASE(test_a_part_that_is_a_link_is_not_written_through),
        CASE(test_a_folder_in_the_way_is_told),
        CASE(test_a_pull_goes_on_where_it_was_cancelled),
        CASE(test_kill_9_costs_no_finished_byte),
        CASE(test_two_pulls_at_once_are_one_download),
        CASE(test_a_lock_that_is_let_go_is_waited_for),
        CASE(test_a_lock_that_is_held_for_ever_is_told),
        CASE(test_a_clock_that_jumps_ahead_changes_nothing),
        CASE(test_a_clock_that_jumps_back_changes_nothing),
        CASE(test_a_damaged_record_is_not_believed),
        CASE(test_a_record_that_was_cut_off_is_not_believed),
        CASE(test_a_record_without_its_part_is_not_believed),
        CASE(test_a_part_that_was_cut_short_is_not_believed),
        CASE(test_a_damaged_part_is_found_by_its_digest),
        CASE(test_parts_of_others_are_left_alone),
    };
    return cmocka_run_group_tests_name("local", tests, start_all, hub_server_stop);
}
