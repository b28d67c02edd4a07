/* The base layer: status, log, arena, files, threads, hash. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/append.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pages.h"
#include "base/status.h"
#include "base/threads.h"
#include "base/watch.h"

/* ---- text that grows ---- */

static void test_append_keeps_every_byte_and_ends_with_zero(void **state) {
    char *text = NULL, piece[300];
    size_t length = 0, capacity = 0, moved = 0;
    (void)state;
    assert_true(ci_append(&text, &length, &capacity, NULL, 0));
    assert_string_equal(text, "");
    for (size_t i = 0; i < sizeof piece; i++) piece[i] = (char)i;
    for (size_t count = 0; count <= sizeof piece; count++) {
        size_t before = capacity;
        assert_true(ci_append(&text, &length, &capacity, piece, count));
        assert_true(length < capacity);
        assert_int_equal(text[length], 0);
        moved += before != capacity;
    }
    assert_int_equal(length, sizeof piece * (sizeof piece + 1) / 2);
    assert_true(moved < 12); /* not each time */
    for (size_t count = 0, at = 0; count <= sizeof piece; at += count, count++)
        assert_memory_equal(text + at, piece, count);
    size_t kept = length;
    assert_false(ci_append(&text, &length, &capacity, piece, SIZE_MAX - 10));
    assert_int_equal(length, kept);
    free(text);
}

/* ---- status ---- */

static void test_status_has_a_text_for_every_code(void **state) {
    (void)state;
#define CHECK_TEXT(code, exit_status, text) assert_string_equal(clinfer_status_text(code), text);
    CLINFER_STATUS_LIST(CHECK_TEXT)
#undef CHECK_TEXT
    assert_string_equal(clinfer_status_text((enum clinfer_status)9999), "unknown status");
}

static void test_fail_keeps_message_and_returns_status(void **state) {
    (void)state;
    assert_int_equal(ci_fail(CLINFER_IO, "%s: %d", "file", 7), CLINFER_IO);
    assert_string_equal(ci_status_message(), "file: 7");
    assert_string_equal(clinfer_error(), "file: 7");
    assert_int_equal(ci_fail_prefix(CLINFER_BAD_FILE, "model %d", 3), CLINFER_BAD_FILE);
    assert_string_equal(ci_status_message(), "model 3: file: 7");
    ci_fail(CLINFER_IO, "again: %s", ci_status_message());
    assert_string_equal(ci_status_message(), "again: model 3: file: 7");
}

static void test_fail_cuts_long_messages(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ci_fail(CLINFER_IO, "start %s", text);
    assert_memory_equal(ci_status_message(), "start xxx", 9);
    assert_in_range(strlen(ci_status_message()), 500, 4999);
    ci_fail_prefix(CLINFER_IO, "%s", text);
    ci_fail_prefix(CLINFER_IO, "first");
    assert_memory_equal(ci_status_message(), "first: xxx", 10);
}

static void *fail_elsewhere(void *argument) {
    (void)argument;
    const bool clean = ci_status_message()[0] == '\0';
    ci_fail(CLINFER_IO, "other thread");
    return clean ? (void *)1 : NULL;
}

static void test_messages_belong_to_their_thread(void **state) {
    (void)state;
    pthread_t thread;
    void *clean = NULL;
    ci_fail(CLINFER_IO, "this thread");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, &clean);
    assert_non_null(clean);
    assert_string_equal(ci_status_message(), "this thread");
}

/* ---- log ---- */

struct heard {
    enum clinfer_log_level level;
    int count;
    char text[64];
};

static void hear(void *user, enum clinfer_log_level level, const char *message) {
    struct heard *heard = user;
    heard->level = level;
    heard->count++;
    snprintf(heard->text, sizeof heard->text, "%s", message);
}

static void test_log_reaches_the_receiver_only(void **state) {
    (void)state;
    struct heard heard = {0};
    ci_log(CLINFER_LOG_ERROR, "to nobody");
    clinfer_log_to(hear, &heard);
    ci_log(CLINFER_LOG_WARNING, "%d of %s", 2, "two");
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.level, CLINFER_LOG_WARNING);
    assert_string_equal(heard.text, "2 of two");
    clinfer_log_to(NULL, NULL);
    ci_log(CLINFER_LOG_ERROR, "to nobody");
    assert_int_equal(heard.count, 1);
}

/* ---- arena ---- */

static void test_arena_gives_zeroed_aligned_memory_that_stays(void **state) {
    (void)state;
    enum { BLOCKS = 500 };
    struct ci_arena arena = {0};
    unsigned char *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = (size_t)(i * 37 % 3000); /* some 750 KB: a dozen chunks */
        blocks[i] = ci_arena_alloc(&arena, size);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t b = 0; b < size; b++) assert_int_equal(blocks[i][b], 0);
        memset(blocks[i], i & 0xff, size);
    }
    for (int i = 0; i < BLOCKS; i++)
        for (size_t b = 0; b < (size_t)(i * 37 % 3000); b++) assert_int_equal(blocks[i][b], i & 0xff);
    unsigned char *large = ci_arena_alloc(&arena, 1 << 20);
    assert_non_null(large);
    assert_int_equal(large[(1 << 20) - 1], 0);
    ci_arena_destroy(&arena);
    assert_null(arena.chunks);
    assert_non_null(ci_arena_alloc(&arena, 8));
    ci_arena_destroy(&arena);
}

static void test_arena_refuses_sizes_that_overflow(void **state) {
    (void)state;
    struct ci_arena arena = {0};
    assert_null(ci_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(ci_arena_array(&arena, SIZE_MAX, SIZE_MAX));
    assert_null(ci_arena_alloc(&arena, SIZE_MAX));
    assert_non_null(ci_arena_array(&arena, 0, SIZE_MAX));
    assert_non_null(ci_arena_array(&arena, SIZE_MAX, 0));
    ci_arena_destroy(&arena);
}

static void test_arena_string_is_terminated(void **state) {
    (void)state;
    struct ci_arena arena = {0};
    assert_string_equal(ci_arena_string(&arena, "prefix and more", 6), "prefix");
    assert_string_equal(ci_arena_string(&arena, "", 0), "");
    ci_arena_destroy(&arena);
}

/* ---- file ---- */

/* A fresh directory; each test removes what it made in it. */
static int make_directory(void **state) {
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/clinfer-test-base-XXXXXX", base ? base : "/tmp") < 0) return -1;
    *state = path;
    return mkdtemp(path) ? 0 : -1;
}

static int remove_directory(void **state) {
    int result = rmdir(*state);
    free(*state);
    return result;
}

/* The caller frees it. */
static char *join(const char *directory, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0) fail_msg("out of memory");
    return path;
}

static int entries_in(const char *path) {
    DIR *directory = opendir(path);
    int count = 0;
    while (directory && readdir(directory)) count++;
    if (directory) closedir(directory);
    return count - 2;
}

static void expect_content(const char *path, const void *data, size_t size) {
    struct ci_file file;
    assert_int_equal(ci_file_map(path, &file), CLINFER_OK);
    assert_int_equal(file.size, size);
    if (size) assert_memory_equal(file.data, data, size);
    assert_int_equal((uintptr_t)file.data % 4096, 0);
    ci_file_unmap(&file);
    assert_null(file.data);
}

static void test_write_makes_parents_and_replaces_whole_files(void **state) {
    char *above = join(*state, "a"), *path = join(above, "b/file");
    assert_int_equal(ci_file_write(path, "first content", 13), CLINFER_OK);
    expect_content(path, "first content", 13);
    struct ci_file old;
    assert_int_equal(ci_file_map(path, &old), CLINFER_OK);
    assert_int_equal(ci_file_write(path, "new", 3), CLINFER_OK);
    expect_content(path, "new", 3);
    assert_memory_equal(old.data, "first content", 13); /* a reader keeps what it opened */
    ci_file_unmap(&old);
    assert_int_equal(ci_file_write(path, "", 0), CLINFER_OK);
    expect_content(path, "", 0);
    struct stat info;
    assert_int_equal(stat(above, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(unlink(path), 0);
    path[strlen(above) + strlen("/b")] = '\0';
    assert_int_equal(entries_in(path), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(above), 0);
    free(path);
    free(above);
}

static void test_failed_write_leaves_nothing_behind(void **state) {
    char *blocker = join(*state, "file"), *below = join(blocker, "x/y"), *directory = join(*state, "full");
    assert_int_equal(ci_file_write(blocker, "kept", 4), CLINFER_OK);
    assert_int_equal(ci_file_write(below, "lost", 4), CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), below));
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(ci_file_write(directory, "lost", 4), CLINFER_IO); /* cannot take a directory's place */
    assert_non_null(strstr(clinfer_error(), directory));
    expect_content(blocker, "kept", 4);
    assert_int_equal(entries_in(*state), 2);
    assert_int_equal(unlink(blocker), 0);
    assert_int_equal(rmdir(directory), 0);
    free(blocker);
    free(below);
    free(directory);
}

static void test_map_names_what_it_cannot_open(void **state) {
    struct ci_file file = {.data = (const uint8_t *)"", .size = 1};
    assert_int_equal(ci_file_map("/nonexistent/model.gguf", &file), CLINFER_NOT_FOUND);
    assert_non_null(strstr(clinfer_error(), "/nonexistent/model.gguf"));
    assert_null(file.data);
    assert_int_equal(ci_file_map(*state, &file), CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), *state));
    ci_file_unmap(&file); /* of nothing: allowed */
}

static void expect_xdg(const char *kind, const char *name, const char *expected) {
    char *path = ci_file_xdg(kind, name);
    if (!expected) {
        assert_null(path);
        return;
    }
    assert_non_null(path);
    assert_string_equal(path, expected);
    free(path);
}

static void test_xdg_follows_the_specification(void **state) {
    (void)state;
    static const char *const kinds[] = {"DATA", "CACHE", "CONFIG", "STATE"};
    char *saved_home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    char *saved_data = getenv("XDG_DATA_HOME") ? strdup(getenv("XDG_DATA_HOME")) : NULL;
    setenv("HOME", "/home/user", 1);
    setenv("XDG_DATA_HOME", "/data", 1);
    expect_xdg("DATA", "models", "/data/clinfer/models");
    expect_xdg("DATA", NULL, "/data/clinfer");
    setenv("XDG_DATA_HOME", "relative/is/ignored", 1);
    expect_xdg("DATA", "models", "/home/user/.local/share/clinfer/models");
    for (int i = 0; i < 4; i++) {
        static const char *const defaults[] = {"/home/user/.local/share/clinfer/n", "/home/user/.cache/clinfer/n",
                                               "/home/user/.config/clinfer/n", "/home/user/.local/state/clinfer/n"};
        char variable[32];
        snprintf(variable, sizeof variable, "XDG_%s_HOME", kinds[i]);
        unsetenv(variable);
        expect_xdg(kinds[i], "n", defaults[i]);
    }
    unsetenv("HOME");
    expect_xdg("CACHE", "n", NULL);
    if (saved_home) setenv("HOME", saved_home, 1);
    if (saved_data) setenv("XDG_DATA_HOME", saved_data, 1);
    free(saved_home);
    free(saved_data);
}

/* ---- threads ---- */

enum { MAX_THREADS = 8, STEPS = 200 };

struct work {
    struct ci_threads *threads;
    atomic_int seen[MAX_THREADS]; /* calls per thread index */
    int wrong_count;
    int ring[2][MAX_THREADS]; /* written in one step, read by the neighbour in the next */
    atomic_int out_of_order;
};

static void count_calls(void *argument, int thread, int threads) {
    struct work *work = argument;
    if (thread < 0 || thread >= threads || threads != ci_threads_count(work->threads)) work->wrong_count = 1;
    atomic_fetch_add(&work->seen[thread], 1);
}

/* Plain memory: only the barrier keeps a neighbour's value from being the one before or the one after. */
static void pass_around(void *argument, int thread, int threads) {
    struct work *work = argument;
    for (int step = 0; step < STEPS; step++) {
        work->ring[step % 2][thread] = step * threads + thread;
        ci_threads_barrier(work->threads);
        int neighbour = (thread + 1) % threads;
        if (work->ring[step % 2][neighbour] != step * threads + neighbour) atomic_fetch_add(&work->out_of_order, 1);
    }
}

static void test_threads_run_every_index_once(void **state) {
    (void)state;
    for (int count = 1; count <= MAX_THREADS; count++) {
        struct work work = {0};
        assert_int_equal(ci_threads_create(count, &work.threads), CLINFER_OK);
        assert_int_equal(ci_threads_count(work.threads), count);
        for (int run = 1; run <= 50; run++) {
            ci_threads_run(work.threads, count_calls, &work);
            for (int i = 0; i < count; i++) assert_int_equal(atomic_load(&work.seen[i]), run);
        }
        assert_int_equal(work.wrong_count, 0);
        ci_threads_destroy(work.threads);
    }
}

static void test_barrier_separates_steps(void **state) {
    (void)state;
    for (int count = 1; count <= MAX_THREADS; count++) {
        struct work work = {0};
        assert_int_equal(ci_threads_create(count, &work.threads), CLINFER_OK);
        for (int run = 0; run < 3; run++) ci_threads_run(work.threads, pass_around, &work);
        if (atomic_load(&work.out_of_order))
            fail_msg("%d threads: %d values out of order", count, atomic_load(&work.out_of_order));
        ci_threads_destroy(work.threads);
    }
}

/* As the largest kernel takes, with what else a thread needs. */
static void fill_stack(void *argument, int thread, int threads) {
    enum { BYTES = 3 << 19, PAGE = 4096 };
    atomic_int *filled = argument;
    (void)threads;
    if (thread == 0) return; /* the caller's */
    volatile char room[BYTES];
    for (int i = BYTES - 1; i >= 0; i -= PAGE) room[i] = 1;
    atomic_fetch_add(filled, room[PAGE - 1]);
}

static void test_threads_have_stack_for_kernels(void **state) {
    pthread_attr_t usual, small;
    struct ci_threads *threads;
    atomic_int filled = 0;
    (void)state;
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_attr_init(&small), 0);
    assert_int_equal(pthread_attr_setstacksize(&small, 256 << 10), 0);
    assert_int_equal(pthread_setattr_default_np(&small), 0); /* as `ulimit -s 256` does */
    assert_int_equal(ci_threads_create(3, &threads), CLINFER_OK);
    ci_threads_run(threads, fill_stack, &filled);
    assert_int_equal(atomic_load(&filled), 2);
    ci_threads_destroy(threads);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    pthread_attr_destroy(&small);
    pthread_attr_destroy(&usual);
}

static void test_threads_default_to_the_processors_allowed(void **state) {
    (void)state;
    struct ci_threads *threads;
    assert_int_equal(ci_threads_create(0, &threads), CLINFER_OK);
    assert_in_range(ci_threads_count(threads), 1, sysconf(_SC_NPROCESSORS_CONF));
    ci_threads_destroy(threads); /* without a run */
    ci_threads_destroy(NULL);
}

/* ---- hash ---- */

/* Vectors from http://www.isthe.com/chongo/src/fnv/test_fnv.c */
static void test_pages_are_aligned(void **state) {
    (void)state;
    const size_t sizes[] = {1, CI_PAGE_BYTES + 1, CI_LARGE_PAGE_BYTES - 1, CI_LARGE_PAGE_BYTES,
                            3 * CI_LARGE_PAGE_BYTES + 5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t page = sizes[i] < CI_LARGE_PAGE_BYTES ? CI_PAGE_BYTES : CI_LARGE_PAGE_BYTES;
        uint8_t *memory = ci_pages_alloc(sizes[i]);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % page, 0);
        memset(memory, 1, sizes[i]);
        free(memory);
    }
    assert_null(ci_pages_alloc(SIZE_MAX)); /* no size that wraps around */
}

static void test_hash_is_fnv_1a(void **state) {
    (void)state;
    assert_true(ci_hash(CI_HASH_START, "", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(ci_hash(CI_HASH_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(ci_hash(CI_HASH_START, "foobar", 6) == UINT64_C(0x85944171f73967e8));
    assert_true(ci_hash(ci_hash(CI_HASH_START, "foo", 3), "bar", 3) == UINT64_C(0x85944171f73967e8));
}

/* ---- watch ---- */

static void look_for(struct ci_watch *watch, const struct ci_watch_limits *limits, int looks, bool *expired) {
    double silent;
    *expired = false;
    for (int i = 0; i < looks && !*expired; i++) {
        usleep(100000);
        *expired = ci_watch_expired(watch, limits, &silent);
    }
}

static void test_silence_is_a_hang_unless_nobody_looked(void **state) {
    (void)state;
    const struct ci_watch_limits limits = {.step = 0.5, .build = 5};
    struct ci_watch watch = {0};
    bool expired;
    double silent;
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_STEP, 0);
    assert_false(ci_watch_expired(&watch, &limits, &silent));
    usleep(1200000); /* as if the whole process had been stopped */
    assert_false(ci_watch_expired(&watch, &limits, &silent));
    look_for(&watch, &limits, 20, &expired);
    assert_true(expired);
    ci_watch_begin(CI_WATCH_STEP, 0);
    look_for(&watch, &limits, 2, &expired);
    assert_false(expired);
    ci_watch_begin(CI_WATCH_IDLE, 0);
    look_for(&watch, &limits, 8, &expired);
    assert_false(expired);
    ci_watch_by(NULL);
}

static void test_watch_takes_beats_for_life(void **state) {
    (void)state;
    const struct ci_watch_limits limits = {.step = 0.35, .build = 5};
    struct ci_watch watch = {0};
    bool expired;
    ci_watch_beat(); /* nobody watches */
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_STEP, 0);
    for (int i = 0; i < 8; i++) {
        ci_watch_beat();
        look_for(&watch, &limits, 1, &expired);
        assert_false(expired);
    }
    look_for(&watch, &limits, 8, &expired);
    assert_true(expired);
    ci_watch_by(NULL);
}

static void test_watch_adds_up_what_is_queued(void **state) {
    (void)state;
    struct ci_watch watch = {0};
    struct ci_watch_run runs[3], none = ci_watch_run();
    ci_watch_begin_behind(1); /* nobody watches */
    ci_watch_done(&none);
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_IDLE, 5);
    for (int i = 0; i < 3; i++) {
        ci_watch_begin_behind(1 << i);
        runs[i] = ci_watch_run();
    }
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    assert_true(atomic_load(&watch.estimate) == 7);
    ci_watch_done(&runs[1]); /* nobody waited for the first, which came before it */
    assert_true(atomic_load(&watch.estimate) == 4);
    ci_watch_done(&runs[0]);
    assert_true(atomic_load(&watch.estimate) == 4);
    ci_watch_done(&runs[2]);
    assert_true(atomic_load(&watch.estimate) == 0);
    ci_watch_begin_behind(1);
    ci_watch_begin_alone(2); /* it goes on with what is behind a wait of its own */
    assert_true(atomic_load(&watch.estimate) == 2);
    ci_watch_by(NULL);
}

/* Who waits for what another thread has begun still knows what is queued by itself. */
static void test_watch_knows_its_own_runs(void **state) {
    (void)state;
    struct ci_watch other = {0}, watch = {0};
    ci_watch_by(&other);
    for (int i = 0; i < 5; i++) ci_watch_begin_behind(1);
    struct ci_watch_run foreign = ci_watch_run();
    ci_watch_by(&watch);
    ci_watch_done(&foreign);
    ci_watch_begin_behind(2);
    ci_watch_build_queued();
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    assert_true(atomic_load(&watch.estimate) == 2);
    ci_watch_by(NULL);
}

/* A kernel that is compiled in the queue, as PoCL does, takes the time of building; loading before a run is over. */
static void test_watch_tells_steps_from_building(void **state) {
    (void)state;
    struct ci_watch watch = {0};
    struct ci_watch_run runs[3];
    ci_watch_by(&watch);
    ci_watch_begin(CI_WATCH_BUILD, 0);
    ci_watch_begin_behind(1);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    runs[0] = ci_watch_run();
    ci_watch_begin_behind(1);
    ci_watch_build_queued();
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    assert_true(atomic_load(&watch.estimate) == 2);
    runs[1] = ci_watch_run();
    ci_watch_done(&runs[0]);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    struct ci_watch_pause pause = ci_watch_pause();
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_IDLE);
    ci_watch_resume(&pause);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    ci_watch_begin_behind(1);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    runs[2] = ci_watch_run();
    ci_watch_done(&runs[1]);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    ci_watch_done(&runs[2]);
    ci_watch_build_queued(); /* of no run, such as a proof */
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_BUILD);
    ci_watch_begin_alone(1);
    assert_int_equal(atomic_load(&watch.kind), CI_WATCH_STEP);
    ci_watch_by(NULL);
}

/* /sys takes no folders from anybody: that is the reason, not that what lies in one is missing. */
static void test_a_folder_that_cannot_be_made_is_the_reason(void **state) {
    (void)state;
    int descriptor;
    assert_int_equal(ci_file_write("/sys/clinfer-test/folder/file", "x", 1), CLINFER_IO);
    assert_non_null(strstr(ci_status_message(), "/sys/clinfer-test/folder/file: cannot create: "));
    assert_null(strstr(ci_status_message(), strerror(ENOENT)));
    assert_int_equal(ci_file_lock("/sys/clinfer-test/folder/file", 0, &descriptor), CLINFER_IO);
    assert_non_null(strstr(ci_status_message(), "cannot create: "));
    assert_null(strstr(ci_status_message(), strerror(ENOENT)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_that_cannot_be_made_is_the_reason),
        cmocka_unit_test(test_append_keeps_every_byte_and_ends_with_zero),
        cmocka_unit_test(test_status_has_a_text_for_every_code),
        cmocka_unit_test(test_fail_keeps_message_and_returns_status),
        cmocka_unit_test(test_fail_cuts_long_messages),
        cmocka_unit_test(test_messages_belong_to_their_thread),
        cmocka_unit_test(test_log_reaches_the_receiver_only),
        cmocka_unit_test(test_arena_gives_zeroed_aligned_memory_that_stays),
        cmocka_unit_test(test_arena_refuses_sizes_that_overflow),
        cmocka_unit_test(test_arena_string_is_terminated),
        cmocka_unit_test_setup_teardown(test_write_makes_parents_and_replaces_whole_files, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_failed_write_leaves_nothing_behind, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_map_names_what_it_cannot_open, make_directory, remove_directory),
        cmocka_unit_test(test_xdg_follows_the_specification),
        cmocka_unit_test(test_threads_run_every_index_once),
        cmocka_unit_test(test_threads_have_stack_for_kernels),
        cmocka_unit_test(test_barrier_separates_steps),
        cmocka_unit_test(test_threads_default_to_the_processors_allowed),
        cmocka_unit_test(test_pages_are_aligned),
        cmocka_unit_test(test_hash_is_fnv_1a),
        cmocka_unit_test(test_silence_is_a_hang_unless_nobody_looked),
        cmocka_unit_test(test_watch_takes_beats_for_life),
        cmocka_unit_test(test_watch_adds_up_what_is_queued),
        cmocka_unit_test(test_watch_knows_its_own_runs),
        cmocka_unit_test(test_watch_tells_steps_from_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
