/* One file from a Hub that fails in every way that hub_switches.py has, into a folder; what lies there afterwards. */
#define _GNU_SOURCE
#include "support/downloading.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        DOWNLOAD_TEST(test_file_comes_whole_and_once),
        DOWNLOAD_TEST(test_small_file_is_checked_by_git_s_digest),
        DOWNLOAD_TEST(test_progress_comes_ten_times_a_second),
        DOWNLOAD_TEST(test_several_connections_where_they_help),
        DOWNLOAD_TEST(test_what_passes_is_tried_again),
        DOWNLOAD_TEST(test_cut_anywhere_costs_no_byte_twice),
        DOWNLOAD_TEST(test_count_of_tries_begins_again_when_bytes_come),
        DOWNLOAD_TEST(test_server_without_ranges_starts_anew),
        DOWNLOAD_TEST(test_expired_address_is_asked_again_and_bytes_are_kept),
        DOWNLOAD_TEST(test_stalled_range_is_asked_again),
        DOWNLOAD_TEST(test_failures_leave_nothing),
        DOWNLOAD_TEST(test_wrong_digest_tells_both),
        DOWNLOAD_TEST(test_other_length_is_told_at_once),
        DOWNLOAD_TEST(test_more_than_announced_without_a_digest),
        DOWNLOAD_TEST(test_half_a_model_without_a_digest),
        DOWNLOAD_TEST(test_without_size_and_digest),
    };
    return cmocka_run_group_tests(tests, hub_server_start, hub_server_stop);
}
