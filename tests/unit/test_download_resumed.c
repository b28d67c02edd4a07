/* A file from a Hub whose download was stopped, or that another process fetches, or for which there is no room. */
#define _GNU_SOURCE
#include "support/downloading.h"

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
    const struct CMUnitTest tests[] = {
        DOWNLOAD_TEST(test_cancelled_pull_is_continued),
        DOWNLOAD_TEST(test_part_of_another_version_is_discarded),
        DOWNLOAD_TEST(test_after_a_power_cut_only_what_was_synced_counts),
        DOWNLOAD_TEST(test_whole_part_without_a_record_is_verified),
        DOWNLOAD_TEST(test_what_others_left_behind_goes),
        DOWNLOAD_TEST(test_space_is_checked_before),
        DOWNLOAD_TEST(test_full_disk_keeps_the_part),
        DOWNLOAD_TEST(test_folder_that_cannot_be_written),
        DOWNLOAD_TEST(test_second_pull_waits_and_finds_it),
        DOWNLOAD_TEST(test_second_pull_begins_anew_when_the_first_has_failed),
        DOWNLOAD_TEST(test_lock_of_one_that_does_not_move),
    };
    return cmocka_run_group_tests(tests, hub_server_start, hub_server_stop);
}
