/* downloading.h: one file from a Hub that fails as it is told (hub_server.h) into a folder of the test's own, and what
 * lies there afterwards. */
#ifndef TESTS_SUPPORT_DOWNLOADING_H
#define TESTS_SUPPORT_DOWNLOADING_H

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

static inline void watch(void *user, const struct ci_hub_event *event) {
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
static inline int set_up(void **state) {
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

static inline int tear_down(void **state) {
    (void)state;
    free(settings.endpoint);
    return 0;
}

/* What the server says of a file: size and digest, which is valid until the next call. */
static inline const char *facts(const char *name, const char *file, uint64_t *size) {
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
static inline void download_as(struct ci_download download, struct pulled *pulled) {
    struct ci_hub hub = {.settings = &settings, .watch = watch, .user = pulled, .cancel = &pulled->cancel};
    assert_int_equal(ci_fetcher_create(&hub.fetcher), CLINFER_OK);
    double start = ci_now();
    pulled->status = ci_hub_download(&hub, &download, &pulled->done);
    pulled->seconds = ci_now() - start;
    snprintf(pulled->message, sizeof pulled->message, "%s", pulled->status == CLINFER_OK ? "" : clinfer_error());
    ci_fetcher_destroy(hub.fetcher);
}

static inline void download(const char *space, const char *file, struct pulled *pulled) {
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

static inline char *list(const char *path, char *names, size_t size) {
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

static inline void assert_only_target(void) {
    char names[4096], wanted[128];
    snprintf(wanted, sizeof wanted, "%s ", strrchr(target, '/') + 1);
    assert_string_equal(list(folder, names, sizeof names), wanted);
}

static inline void assert_nothing(void) {
    char names[4096];
    assert_string_equal(list(folder, names, sizeof names), "");
}

static inline void assert_right(void) {
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

static inline void download_well(const char *space, const char *file, struct pulled *pulled) {
    download(space, file, pulled);
    if (pulled->status != CLINFER_OK) fail_msg("%s: %s\n%s", space, pulled->message, pulled->said);
    assert_right();
}

static inline void download_badly(const char *space, const char *file, enum clinfer_status status, const char *says) {
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
static inline uint64_t sent_bytes(const json_t *log, size_t *answers) {
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

/* A test with the folder, and its group. */
#define DOWNLOAD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
