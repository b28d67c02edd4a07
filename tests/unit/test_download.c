/* One file from a Hub that fails in every way that hub_switches.py has, into a folder; what lies there afterwards. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "hub/download.h"
#include "hub/part.h"
#include "hub/part_state.h"
#include "support/hub_server.h"
#include "support/process.h"

#define LARGE "large-Q4_K_M.gguf"

/* What a pull saw and left. */
struct pulled {
    enum clinfer_status status;
    struct ci_downloaded done;
    char message[1024], said[4096], space[64]; /* `space`: what a thread's pull asks; "": one that is well */
    size_t events, waits, verified;            /* of progress: all, those of the phases */
    uint64_t completed, total;                 /* of the last one of "download" */
    atomic_bool cancel;
    uint64_t cancel_at; /* bytes at which it cancels; 0: never */
    double seconds;
};

static struct ci_hub_settings settings;
static char folder[4000], target[4400], lock_path[4400];
static int number;

static void watch(void *user, const struct ci_hub_event *event) {
    struct pulled *pulled = user;
    if (event->kind == CI_HUB_SAID) {
        size_t used = strlen(pulled->said);
        snprintf(pulled->said + used, sizeof pulled->said - used, "%s\n", event->text);
        return;
    }
    pulled->events++;
    pulled->waits += !strcmp(event->phase, "wait");
    pulled->verified += !strcmp(event->phase, "verify");
    if (strcmp(event->phase, "download") != 0) return;
    pulled->completed = event->completed;
    pulled->total = event->total;
    if (pulled->cancel_at && event->completed >= pulled->cancel_at) atomic_store(&pulled->cancel, true);
}

/* A folder for each test; times and sizes of hundredths. */
static int set_up(void **state) {
    (void)state;
    json_decref(hub_server_log());
    settings = (struct ci_hub_settings){.connect_seconds = 5,
                                        .silence_seconds = 0.3,
                                        .tries = 4,
                                        .first_pause = 0.01,
                                        .longest_wait = 5,
                                        .lock_seconds = 0.4,
                                        .parallel_bytes = UINT64_MAX,
                                        .probe_seconds = 0.05,
                                        .most_ranges = 8,
                                        .spare_bytes = 4096};
    settings.endpoint = strdup(hub_server_url("http"));
    snprintf(folder, sizeof folder, "%s/blobs%d", process_folder(), number++);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(settings.endpoint);
    return 0;
}

/* What the server says of a file: size and digest, which is valid until the next call. */
static const char *facts(const char *name, const char *file, uint64_t *size) {
    static char digest[CI_DIGEST_BYTES];
    json_t *files = hub_server_files(name, 1);
    const json_t *entry = json_object_get(json_object_get(files, "files"), file);
    assert_non_null(entry);
    *size = (uint64_t)json_integer_value(json_object_get(entry, "size"));
    snprintf(digest, sizeof digest, "%s", json_string_value(json_object_get(entry, "etag")));
    json_decref(files);
    return digest;
}

/* `download` has url, and what else is not as usual; *pulled may have cancel_at. */
static void download_as(struct ci_download download, struct pulled *pulled) {
    struct ci_hub hub = {.settings = &settings, .watch = watch, .user = pulled, .cancel = &pulled->cancel};
    assert_int_equal(ci_fetcher_create(&hub.fetcher), CLINFER_OK);
    double start = ci_now();
    pulled->status = ci_hub_download(&hub, &download, &pulled->done);
    pulled->seconds = ci_now() - start;
    snprintf(pulled->message, sizeof pulled->message, "%s", pulled->status == CLINFER_OK ? "" : clinfer_error());
    ci_fetcher_destroy(hub.fetcher);
}

static void download(const char *space, const char *file, struct pulled *pulled) {
    char url[1024], name[64];
    uint64_t size;
    snprintf(name, sizeof name, "%s", strcmp(file, LARGE) == 0 ? "large" : "tiny");
    const char *digest = facts(name, file, &size);
    snprintf(url, sizeof url, "%s/%s/%s/resolve/main/%s", settings.endpoint, space, name, file);
    snprintf(target, sizeof target, "%s/%s", folder, digest);
    snprintf(lock_path, sizeof lock_path, "%s/locks/%s.lock", folder, digest);
    download_as((struct ci_download){.url = url,
                                     .authorization = "Bearer " HUB_TOKEN,
                                     .name = file,
                                     .digest = digest,
                                     .size = size,
                                     .target = target,
                                     .lock = lock_path,
                                     .gguf = strstr(file, ".gguf") != NULL},
                pulled);
}

/* ---- what is there afterwards ---- */

static char *list(const char *path, char *names, size_t size) {
    DIR *open = opendir(path);
    *names = '\0';
    for (const struct dirent *entry; open && (entry = readdir(open));) {
        size_t used = strlen(names);
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "locks") != 0)
            snprintf(names + used, size - used, "%s ", entry->d_name);
    }
    if (open) closedir(open);
    return names;
}

static void assert_only_target(void) {
    char names[4096], wanted[128];
    snprintf(wanted, sizeof wanted, "%s ", strrchr(target, '/') + 1);
    assert_string_equal(list(folder, names, sizeof names), wanted);
}

static void assert_nothing(void) {
    char names[4096];
    assert_string_equal(list(folder, names, sizeof names), "");
}

static void assert_right(void) {
    size_t size;
    struct ci_digest *digest;
    char found[CI_DIGEST_BYTES], *data = process_read(target, &size);
    const char *wanted = strrchr(target, '/') + 1;
    assert_int_equal(ci_digest_create(wanted, size, &digest), CLINFER_OK);
    ci_digest_add(digest, data, size);
    ci_digest_end(digest, found);
    free(data);
    assert_string_equal(found, wanted);
    assert_only_target();
}

static void download_well(const char *space, const char *file, struct pulled *pulled) {
    download(space, file, pulled);
    if (pulled->status != CLINFER_OK) fail_msg("%s: %s\n%s", space, pulled->message, pulled->said);
    assert_right();
}

static void download_badly(const char *space, const char *file, enum clinfer_status status, const char *says) {
    struct pulled pulled = {0};
    download(space, file, &pulled);
    if (pulled.status != status) fail_msg("%s: %s: %s", space, clinfer_status_text(pulled.status), pulled.message);
    if (!strstr(pulled.message, says) || !strstr(pulled.message, "; "))
        fail_msg("%s: \"%s\" and what to do are not in: %s", space, says, pulled.message);
    hub_assert_no_token(pulled.message);
    assert_true(access(target, F_OK) != 0);
    assert_nothing();
}

/* Bytes that the CDN sent, and in how many answers. */
static uint64_t sent_bytes(const json_t *log, size_t *answers) {
    const json_t *entry;
    size_t index;
    uint64_t sum = 0;
    *answers = 0;
    json_array_foreach(log, index, entry) {
        const char *where = json_string_value(json_object_get(entry, "where"));
        if (!where || strcmp(where, "cdn") != 0) continue;
        sum += (uint64_t)json_integer_value(json_object_get(entry, "sent"));
        ++*answers;
    }
    return sum;
}

/* ---- the usual way ---- */

static void test_file_comes_whole_and_once(void **state) {
    struct pulled first = {0}, second = {0};
    size_t answers;
    (void)state;
    download_well("user", LARGE, &first);
    assert_int_equal(first.done.fetched, first.total);
    assert_int_equal(first.completed, first.total);
    json_t *log = hub_server_log();
    assert_int_equal(sent_bytes(log, &answers), first.total);
    assert_int_equal(answers, 1);
    hub_server_check_token(log, settings.endpoint);
    json_decref(log);
    download_well("user", LARGE, &second);
    assert_true(second.done.was_there);
    log = hub_server_log();
    assert_int_equal(json_array_size(log), 0);
    json_decref(log);
}

static void test_small_file_is_checked_by_git_s_digest(void **state) {
    struct pulled pulled = {0};
    (void)state;
    download_well("user", "config.json", &pulled);
    assert_true(pulled.verified > 0);
}

static void test_progress_comes_ten_times_a_second(void **state) {
    struct pulled pulled = {0};
    (void)state;
    download_well("x.rate_7000000", LARGE, &pulled);
    assert_true(pulled.seconds > 0.4);
    assert_in_range(pulled.events, 3, (uintmax_t)(pulled.seconds * 10) + 4);
}

static void test_several_connections_where_they_help(void **state) {
    struct pulled pulled = {0};
    size_t answers, index;
    const json_t *entry;
    char *seen;
    (void)state;
    settings.parallel_bytes = 512 * 1024;
    download_well("x.rate-each_2000000", LARGE, &pulled);
    json_t *log = hub_server_log();
    assert_int_equal(sent_bytes(log, &answers), pulled.total);
    assert_in_range(answers, 30, 35); /* pieces of 128 KiB */
    json_int_t connections[64] = {0}, used = 0;
    json_array_foreach(log, index, entry) {
        json_int_t connection = json_integer_value(json_object_get(entry, "connection"));
        bool known = false;
        for (json_int_t i = 0; i < used; i++) known |= connections[i] == connection;
        if (!known && used < 64) connections[used++] = connection;
    }
    /* Of the Hub one, of the CDN as many as helped, each used again and again. */
    assert_in_range(used, 4, 12);
    assert_true(pulled.seconds < 1.5); /* one alone takes 2.1 s */
    seen = calloc(1, pulled.total);
    json_array_foreach(log, index, entry) {
        unsigned long long from, to;
        const char *range = json_string_value(json_object_get(entry, "range"));
        if (strcmp(json_string_value(json_object_get(entry, "where")), "cdn") != 0) continue;
        assert_int_equal(sscanf(range, "bytes=%llu-%llu", &from, &to), 2);
        for (unsigned long long i = from; i <= to; i++) assert_int_equal(seen[i]++, 0);
    }
    free(seen);
    json_decref(log);
}

/* ---- what passes ---- */

static void test_what_passes_is_tried_again(void **state) {
    static const char *const spaces[] = {"x.cdn-status_503_once",
                                         "x.cdn-status_500_once",
                                         "x.cdn-status_502_2times",
                                         "x.cdn-status_504_once",
                                         "x.cdn-status_408_once",
                                         "x.cdn-status_429_once",
                                         "x.resolve-status_503_once",
                                         "x.reset_once",
                                         "x.cdn-close_once",
                                         "x.silent_once",
                                         "x.silent-after_100000_once",
                                         "x.reset-after_100000_once",
                                         "x.cut_0_once",
                                         "x.cut_1_once",
                                         "x.cut_100000_3times",
                                         "x.expired",
                                         "x.cdn-status_403_once",
                                         "x.redirect_path",
                                         "x.direct",
                                         "x.chunked",
                                         "x.chunked.cut_50000_once",
                                         "x.chunked.extra_7",
                                         "x.range-short.cut_4000_once",
                                         "x.range-no-total.cut_4000_once"};
    (void)state;
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        struct pulled pulled = {0};
        download_well(spaces[i], "tiny-Q4_K_M.gguf", &pulled);
        assert_int_equal(unlink(target), 0);
        settings.parallel_bytes = i % 2 ? UINT64_MAX : 128 * 1024;
    }
}

static void test_cut_anywhere_costs_no_byte_twice(void **state) {
    uint64_t size;
    size_t answers;
    (void)state;
    facts("tiny", "tiny-Q4_K_M.gguf", &size);
    for (unsigned i = 0; i < 20; i++) {
        struct pulled pulled = {0};
        char space[64];
        snprintf(space, sizeof space, "x.cut_%llu_once", (unsigned long long)(size * i / 20));
        json_decref(hub_server_log());
        download_well(space, "tiny-Q4_K_M.gguf", &pulled);
        json_t *log = hub_server_log();
        assert_int_equal(sent_bytes(log, &answers), size);
        assert_int_equal(answers, 2);
        json_decref(log);
        assert_int_equal(pulled.done.fetched, size);
        assert_int_equal(unlink(target), 0);
    }
}

static void test_count_of_tries_begins_again_when_bytes_come(void **state) {
    struct pulled pulled = {0};
    size_t answers;
    (void)state;
    settings.tries = 2;
    download_well("x.cut_20000", "tiny-Q4_K_M.gguf", &pulled);
    json_t *log = hub_server_log();
    sent_bytes(log, &answers);
    assert_in_range(answers, 10, 12);
    json_decref(log);
}

static void test_server_without_ranges_starts_anew(void **state) {
    static const char *const spaces[] = {"x.range-ignored.cut_50000_once", "x.range-other.cut_50000_once",
                                         "x.range-none.cut_50000_once", "x.range-416.cut_50000_once",
                                         "x.changing-etag.cut_50000_once"};
    (void)state;
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        struct pulled pulled = {0};
        download_well(spaces[i], "tiny-Q4_K_M.gguf", &pulled);
        assert_int_equal(unlink(target), 0);
    }
    settings.parallel_bytes = 256 * 1024;
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        struct pulled pulled = {0};
        download_well(spaces[i], LARGE, &pulled);
        assert_int_equal(unlink(target), 0);
    }
}

static void test_expired_address_is_asked_again_and_bytes_are_kept(void **state) {
    struct pulled pulled = {0};
    size_t answers;
    (void)state;
    settings.parallel_bytes = 512 * 1024;
    download_well("x.expires_5", LARGE, &pulled);
    json_t *log = hub_server_log();
    assert_int_equal(sent_bytes(log, &answers) >= pulled.total, 1);
    assert_true(hub_server_count(log, "resolve", NULL) >= 6);
    hub_server_check_token(log, settings.endpoint);
    json_decref(log);
    assert_int_equal(pulled.done.fetched, pulled.total);
}

static void test_stalled_range_is_asked_again(void **state) {
    struct pulled pulled = {0};
    (void)state;
    settings.parallel_bytes = 512 * 1024;
    download_well("x.silent-after_10000_3times", LARGE, &pulled);
    assert_int_equal(pulled.done.fetched, pulled.total);
}

/* ---- what does not ---- */

static void test_failures_leave_nothing(void **state) {
    static const struct {
        const char *space;
        enum clinfer_status status;
        const char *says;
    } cases[] = {
        {"x.html", CLINFER_BAD_FILE, "a web page came"}, {"x.flip_100000", CLINFER_BAD_FILE, "wrong checksum"},
        {"x.cdn-status_404", CLINFER_NOT_FOUND, ""},     {"x.cdn-status_503", CLINFER_REMOTE_FAILED, ""},
        {"x.silent", CLINFER_REMOTE_FAILED, ""},         {"x.gzip", CLINFER_REMOTE_FAILED, ""},
        {"x.redirect_loop", CLINFER_REMOTE_FAILED, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        download_badly(cases[i].space, "tiny-Q4_K_M.gguf", cases[i].status, cases[i].says);
    download_badly("x.html", "config.json", CLINFER_BAD_FILE, "a web page came");
    settings.parallel_bytes = 128 * 1024;
    download_badly("x.range-total", "tiny-Q4_K_M.gguf", CLINFER_BAD_FILE, "bytes were announced");
}

static void test_wrong_digest_tells_both(void **state) {
    struct pulled pulled = {0};
    (void)state;
    download("x.flip_100000", "tiny-Q4_K_M.gguf", &pulled);
    assert_int_equal(pulled.status, CLINFER_BAD_FILE);
    const char *announced = strstr(pulled.message, strrchr(target, '/') + 1);
    assert_non_null(announced);
    assert_int_equal(strspn(strstr(announced, "announced, ") + 11, "0123456789abcdef"), 64);
    assert_nothing();
}

static void test_other_length_is_told_at_once(void **state) {
    struct pulled pulled = {0};
    char url[512];
    uint64_t size;
    size_t answers;
    (void)state;
    const char *digest = facts("large", LARGE, &size);
    snprintf(url, sizeof url, "%s/user/large/resolve/main/%s", settings.endpoint, LARGE);
    snprintf(target, sizeof target, "%s/%s", folder, digest);
    download_as((struct ci_download){.url = url, .name = LARGE, .digest = digest, .size = size + 1, .target = target},
                &pulled);
    assert_int_equal(pulled.status, CLINFER_BAD_FILE);
    snprintf(url, sizeof url, "%llu bytes were announced, and the server's file has %llu", (unsigned long long)size + 1,
             (unsigned long long)size);
    assert_non_null(strstr(pulled.message, url));
    json_t *log = hub_server_log();
    assert_true(sent_bytes(log, &answers) < 2 * size);
    json_decref(log);
    assert_nothing();
}

static void test_more_than_announced_without_a_digest(void **state) {
    struct pulled pulled = {0};
    char url[512];
    uint64_t size;
    (void)state;
    facts("tiny", "tiny-Q4_K_M.gguf", &size);
    snprintf(url, sizeof url, "%s/x.chunked.extra_7/tiny/resolve/main/tiny-Q4_K_M.gguf", settings.endpoint);
    snprintf(target, sizeof target, "%s/x.gguf", folder);
    download_as((struct ci_download){.url = url, .name = "x", .digest = "", .size = size, .target = target}, &pulled);
    assert_int_equal(pulled.status, CLINFER_BAD_FILE);
    assert_non_null(strstr(pulled.message, "more than the"));
    assert_nothing();
}

static void test_half_a_model_without_a_digest(void **state) {
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct pulled pulled = {0};
        char url[512];
        size_t length;
        download_well("user", "tiny-Q4_K_M.gguf", &pulled);
        char *bytes = process_read(target, &length), name[32];
        unlink(target);
        snprintf(name, sizeof name, "half%d", half);
        const char *path = process_file(name, bytes, half ? length / 2 : length);
        hub_server_put(json_pack("{s:s, s:i, s:{s:{s:s, s:b}}}", "name", name, "version", 1, "files", "x.gguf", "file",
                                 path, "large", 1));
        free(bytes);
        snprintf(url, sizeof url, "%s/user/%s/resolve/main/x.gguf", settings.endpoint, name);
        snprintf(target, sizeof target, "%s/x.gguf", folder);
        pulled = (struct pulled){0};
        download_as(
            (struct ci_download){
                .url = url, .name = "x.gguf", .digest = "", .size = UINT64_MAX, .target = target, .gguf = true},
            &pulled);
        assert_int_equal(pulled.status, half ? CLINFER_BAD_FILE : CLINFER_OK);
        if (half) assert_non_null(strstr(pulled.message, "is damaged, and is removed"));
        unlink(target);
        assert_nothing();
    }
}

static void test_without_size_and_digest(void **state) {
    static const char *const spaces[] = {"user", "x.chunked", "x.cut_50000_once"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct pulled pulled = {0};
        char url[512];
        uint64_t size;
        facts("tiny", "tiny-Q4_K_M.gguf", &size);
        snprintf(url, sizeof url, "%s/%s/tiny/resolve/main/tiny-Q4_K_M.gguf", settings.endpoint, spaces[i]);
        snprintf(target, sizeof target, "%s/%zu.gguf", folder, i);
        download_as((struct ci_download){.url = url, .name = "x", .digest = "", .size = UINT64_MAX, .target = target},
                    &pulled);
        if (pulled.status != CLINFER_OK) fail_msg("%s: %s", spaces[i], pulled.message);
        struct stat info;
        assert_int_equal(stat(target, &info), 0);
        assert_int_equal(info.st_size, size);
        assert_only_target();
        unlink(target);
    }
}

/* ---- stopped, and gone on with ---- */

static void test_cancelled_pull_is_continued(void **state) {
    struct pulled first = {.cancel_at = 1500000}, second = {0};
    size_t answers;
    (void)state;
    for (int parallel = 0; parallel < 2; parallel++) {
        json_decref(hub_server_log());
        settings.parallel_bytes = parallel ? 512 * 1024 : UINT64_MAX;
        first = (struct pulled){.cancel_at = 1500000};
        second = (struct pulled){0};
        download("x.rate_5000000", LARGE, &first);
        assert_int_equal(first.status, CLINFER_CANCELLED);
        assert_true(access(target, F_OK) != 0);
        download_well("user", LARGE, &second);
        assert_true(second.done.resumed >= 1500000);
        assert_int_equal(second.done.resumed + second.done.fetched, second.total);
        assert_int_equal(first.done.fetched, second.done.resumed);
        assert_non_null(strstr(second.said, "going on"));
        json_t *log = hub_server_log();
        sent_bytes(log, &answers);
        json_decref(log);
        unlink(target);
    }
}

static void test_part_of_another_version_is_discarded(void **state) {
    struct pulled first = {.cancel_at = 1000000}, second = {0};
    (void)state;
    download("x.rate_5000000", LARGE, &first);
    assert_int_equal(first.status, CLINFER_CANCELLED);
    download_well("x.changing-etag", LARGE, &second);
    assert_int_equal(second.done.fetched, second.total);
    assert_int_equal(second.done.resumed, 0);
}

/* Writes part and record as an earlier pull may have left them. */
static void leave(const struct ci_part_state *state, const char *bytes, size_t length) {
    char path[4600], slot[CI_PART_SLOT];
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s" CI_PART_SUFFIX, target);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
    snprintf(path, sizeof path, "%s" CI_PART_STATE_SUFFIX, target);
    unlink(path);
    if (!state) return;
    ci_part_state_print(state, slot);
    file = fopen(path, "wb");
    assert_int_equal(fwrite(slot, 1, sizeof slot, file), sizeof slot);
    fclose(file);
}

static void test_after_a_power_cut_only_what_was_synced_counts(void **state) {
    struct pulled pulled = {0};
    size_t length;
    (void)state;
    download_well("user", LARGE, &pulled);
    char *bytes = process_read(target, &length);
    assert_int_equal(unlink(target), 0);
    struct ci_part_state record = {.sequence = 5, .size = length, .boot = "an earlier start"};
    snprintf(record.digest, sizeof record.digest, "%s", strrchr(target, '/') + 1);
    ci_ranges_add(&record.synced, 0, 1000000);
    ci_ranges_add(&record.written, 0, 3000000);
    leave(&record, bytes, 3000000);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_int_equal(pulled.done.resumed, 1000000);
    unlink(target);
    /* The same start: all that was written counts. */
    ci_part_boot(record.boot);
    leave(&record, bytes, 3000000);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_int_equal(pulled.done.resumed, 3000000);
    unlink(target);
    /* Holes; more than the file has. */
    ci_ranges_add(&record.written, 3500000, 4000000);
    leave(&record, bytes, 3600000);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_int_equal(pulled.done.resumed, 3100000);
    unlink(target);
    /* Of another size, or another digest: nothing. */
    record.size++;
    leave(&record, bytes, 3600000);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_int_equal(pulled.done.resumed, 0);
    free(bytes);
}

static void test_whole_part_without_a_record_is_verified(void **state) {
    struct pulled pulled = {0};
    size_t length;
    (void)state;
    download_well("user", LARGE, &pulled);
    char *bytes = process_read(target, &length);
    assert_int_equal(unlink(target), 0);
    json_decref(hub_server_log());
    leave(NULL, bytes, length);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_int_equal(pulled.done.fetched, 0);
    json_t *log = hub_server_log();
    assert_int_equal(hub_server_count(log, "cdn", NULL), 0);
    json_decref(log);
    assert_int_equal(unlink(target), 0);
    bytes[length / 2] ^= 1;
    leave(NULL, bytes, length);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_int_equal(pulled.done.fetched, length);
    free(bytes);
}

static void test_what_others_left_behind_goes(void **state) {
    struct pulled pulled = {0};
    size_t length;
    (void)state;
    download_well("user", LARGE, &pulled);
    char *bytes = process_read(target, &length);
    struct ci_part_state record = {.size = length};
    leave(&record, bytes, 100);
    free(bytes);
    download_well("user", LARGE, &pulled);
    assert_true(pulled.done.was_there);
}

/* ---- the disk ---- */

static void test_space_is_checked_before(void **state) {
    (void)state;
    settings.spare_bytes = UINT64_MAX / 4;
    download_badly("user", LARGE, CLINFER_IO, "are to come");
    json_t *log = hub_server_log();
    assert_int_equal(json_array_size(log), 0);
    json_decref(log);
}

static void test_full_disk_keeps_the_part(void **state) {
    struct pulled pulled = {0};
    struct rlimit before, small;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){2000000, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    download("user", LARGE, &pulled);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(pulled.status, CLINFER_IO);
    assert_non_null(strstr(pulled.message, "takes no file of that size"));
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
    assert_true(pulled.done.resumed > 1000000);
}

static void test_folder_that_cannot_be_written(void **state) {
    struct pulled pulled = {0};
    (void)state;
    process_file("in_the_way", "x", 1);
    snprintf(folder, sizeof folder, "%s/in_the_way", process_folder());
    download("user", LARGE, &pulled);
    assert_int_equal(pulled.status, CLINFER_IO);
    assert_non_null(strstr(pulled.message, "HF_HUB_CACHE"));
}

/* ---- two at once ---- */

static void *download_in_thread(void *user) {
    struct pulled *pulled = user;
    struct ci_hub hub = {.settings = &settings, .watch = watch, .user = pulled};
    char url[512];
    snprintf(url, sizeof url, "%s/%s/large/resolve/main/%s", settings.endpoint,
             *pulled->space ? pulled->space : "x.rate_8000000", LARGE);
    pulled->status = ci_fetcher_create(&hub.fetcher);
    const struct ci_download wanted = {.url = url,
                                       .name = LARGE,
                                       .digest = strrchr(target, '/') + 1,
                                       .size = pulled->total,
                                       .target = target,
                                       .lock = *lock_path ? lock_path : NULL};
    if (pulled->status == CLINFER_OK) pulled->status = ci_hub_download(&hub, &wanted, &pulled->done);
    snprintf(pulled->message, sizeof pulled->message, "%s", clinfer_error());
    ci_fetcher_destroy(hub.fetcher);
    return NULL;
}

static void test_second_pull_waits_and_finds_it(void **state) {
    (void)state;
    for (int with_lock = 0; with_lock < 2; with_lock++) {
        struct pulled pulls[3] = {0};
        pthread_t threads[3];
        uint64_t size;
        snprintf(target, sizeof target, "%s/%s", folder, facts("large", LARGE, &size));
        snprintf(lock_path, sizeof lock_path, "%s/locks/lock", folder);
        if (!with_lock) *lock_path = '\0';
        json_decref(hub_server_log());
        for (int i = 0; i < 3; i++) {
            pulls[i].total = size;
            assert_int_equal(pthread_create(&threads[i], NULL, download_in_thread, &pulls[i]), 0);
        }
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        size_t answers, found = 0, waits = 0;
        for (int i = 0; i < 3; i++) {
            if (pulls[i].status != CLINFER_OK) fail_msg("%s", pulls[i].message);
            found += pulls[i].done.was_there;
            waits += pulls[i].waits > 0 && strstr(pulls[i].said, "another process fetches it");
        }
        assert_int_equal(found, 2);
        assert_int_equal(waits, 2);
        json_t *log = hub_server_log();
        assert_int_equal(sent_bytes(log, &answers), size);
        json_decref(log);
        assert_right();
        unlink(target);
    }
}

static void test_second_pull_begins_anew_when_the_first_has_failed(void **state) {
    char part[4600];
    struct pulled pulls[2] = {{.space = "x.rate_8000000.flip_100000"}, {0}};
    pthread_t threads[2];
    uint64_t size;
    (void)state;
    snprintf(target, sizeof target, "%s/%s", folder, facts("large", LARGE, &size));
    snprintf(part, sizeof part, "%s" CI_PART_SUFFIX, target);
    *lock_path = '\0';
    for (int i = 0; i < 2; i++) {
        pulls[i].total = size;
        assert_int_equal(pthread_create(&threads[i], NULL, download_in_thread, &pulls[i]), 0);
        for (int wait = 0; i == 0 && access(part, F_OK) != 0 && wait < 500; wait++) usleep(10000);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_int_equal(pulls[0].status, CLINFER_BAD_FILE);
    if (pulls[1].status != CLINFER_OK) fail_msg("%s", pulls[1].message);
    assert_true(pulls[1].waits > 0);
    assert_right();
}

static void test_lock_of_one_that_does_not_move(void **state) {
    struct pulled pulled = {0};
    uint64_t size;
    (void)state;
    mkdir(folder, 0777);
    snprintf(lock_path, sizeof lock_path, "%s/locks", folder);
    mkdir(lock_path, 0777);
    snprintf(lock_path, sizeof lock_path, "%s/locks/%s.lock", folder, facts("large", LARGE, &size));
    int held = open(lock_path, O_RDWR | O_CREAT, 0666);
    assert_int_equal(flock(held, LOCK_EX), 0);
    download("user", LARGE, &pulled);
    assert_int_equal(pulled.status, CLINFER_IO);
    assert_non_null(strstr(pulled.message, "another process has locked"));
    assert_nothing();
    pulled = (struct pulled){0};
    atomic_store(&pulled.cancel, true);
    download("user", LARGE, &pulled);
    assert_int_equal(pulled.status, CLINFER_CANCELLED);
    close(held);
    pulled = (struct pulled){0};
    download_well("user", LARGE, &pulled);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_file_comes_whole_and_once),
        TEST(test_small_file_is_checked_by_git_s_digest),
        TEST(test_progress_comes_ten_times_a_second),
        TEST(test_several_connections_where_they_help),
        TEST(test_what_passes_is_tried_again),
        TEST(test_cut_anywhere_costs_no_byte_twice),
        TEST(test_count_of_tries_begins_again_when_bytes_come),
        TEST(test_server_without_ranges_starts_anew),
        TEST(test_expired_address_is_asked_again_and_bytes_are_kept),
        TEST(test_stalled_range_is_asked_again),
        TEST(test_failures_leave_nothing),
        TEST(test_wrong_digest_tells_both),
        TEST(test_other_length_is_told_at_once),
        TEST(test_more_than_announced_without_a_digest),
        TEST(test_half_a_model_without_a_digest),
        TEST(test_without_size_and_digest),
        TEST(test_cancelled_pull_is_continued),
        TEST(test_part_of_another_version_is_discarded),
        TEST(test_after_a_power_cut_only_what_was_synced_counts),
        TEST(test_whole_part_without_a_record_is_verified),
        TEST(test_what_others_left_behind_goes),
        TEST(test_space_is_checked_before),
        TEST(test_full_disk_keeps_the_part),
        TEST(test_folder_that_cannot_be_written),
        TEST(test_second_pull_waits_and_finds_it),
        TEST(test_second_pull_begins_anew_when_the_first_has_failed),
        TEST(test_lock_of_one_that_does_not_move),
    };
    return cmocka_run_group_tests(tests, hub_server_start, hub_server_stop);
}
