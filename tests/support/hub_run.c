#define _GNU_SOURCE
#include "support/hub_run.h"

#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "hub/stores.h"
#include "support/process.h"

enum { PATHS = 8, PATH_BYTES = 4096, MOST_MESSAGE = 1024 };

/* ---- one pull ---- */

static void watch(void *user, const struct ci_hub_event *event) {
    struct hub_run *run = user;
    size_t used = strlen(run->said);
    if (event->kind == CI_HUB_SAID) {
        snprintf(run->said + used, sizeof run->said - used, "%s%s\n", event->warning ? "warning: " : "", event->text);
        return;
    }
    assert_true(event->completed <= event->total || event->total == UINT64_MAX);
    if (run->cancel_at && event->completed >= run->cancel_at && !strcmp(event->phase, "download"))
        atomic_store(&run->cancel, true);
    if (run->on_progress) run->on_progress(run, event->completed);
}

static void set_environment(const struct hub_run *run, const char *token) {
    setenv("HF_ENDPOINT", run->server, 1);
    setenv("HOME", run->home, 1);
    setenv("HF_HUB_CACHE", run->cache, 1);
    if (*token)
        setenv("HF_TOKEN", token, 1);
    else
        unsetenv("HF_TOKEN");
}

/* Longer than any honest pause on a busy machine, short enough for a hundred cases. */
static void shorten(struct ci_hub_settings *settings, bool ranges) {
    settings->connect_seconds = 5;
    settings->silence_seconds = 2;
    settings->tries = 3;
    settings->first_pause = 0.01;
    settings->longest_wait = 5;
    settings->lock_seconds = 2;
    settings->spare_bytes = 0;
    settings->probe_seconds = 0.02;
    if (ranges) settings->parallel_bytes = 256 << 10;
    free(settings->registry);
    settings->registry = strdup(settings->endpoint);
}

void hub_run_open(struct hub_run *run, const struct hub_run_options *options) {
    static int count;
    memset(run, 0, sizeof *run);
    run->server = hub_server_url(options->server ? options->server : "http");
    if (options->home)
        snprintf(run->home, sizeof run->home, "%s", options->home);
    else
        snprintf(run->home, sizeof run->home, "%s/%d", process_folder(), ++count);
    snprintf(run->cache, sizeof run->cache, "%s/hub", run->home);
    mkdir(run->home, 0755);
    mkdir(run->cache, 0755); /* or settings, read once for several pulls, would not know it */
    set_environment(run, options->token ? options->token : HUB_TOKEN);
    if (ci_hub_settings_read(&run->settings) != CLINFER_OK) fail_msg("%s", clinfer_error());
    shorten(&run->settings, options->ranges);
    run->hub = (struct ci_hub){.settings = &run->settings, .watch = watch, .user = run, .cancel = &run->cancel};
    assert_int_equal(ci_fetcher_create(&run->hub.fetcher), CLINFER_OK);
    json_decref(hub_server_log());
}

void hub_run_close(struct hub_run *run) {
    ci_fetcher_destroy(run->hub.fetcher);
    ci_hub_settings_free(&run->settings);
    ci_hub_pulled_free(&run->pulled);
    json_decref(run->log);
    memset(run, 0, sizeof *run);
}

enum clinfer_status hub_run_pull(struct hub_run *run, const char *text) {
    static const struct ci_hub_pull_options options = {.memory_bytes = UINT64_C(1) << 40};
    struct ci_hub_name name;
    ci_hub_pulled_free(&run->pulled);
    run->pulled = (struct ci_hub_pulled){0};
    run->message[0] = run->said[0] = 0;
    atomic_store(&run->cancel, false);
    double start = ci_now();
    run->status = ci_hub_name_parse(text, run->settings.endpoint, &name);
    if (run->status == CLINFER_OK) run->status = ci_hub_pull(&run->hub, &name, &options, &run->pulled);
    if (run->status != CLINFER_OK) snprintf(run->message, sizeof run->message, "%s", clinfer_error());
    run->seconds = ci_now() - start;
    json_decref(run->log);
    run->log = hub_server_log();
    hub_run_check(run);
    return run->status;
}

/* ---- what is on the disk ---- */

const char *hub_run_path(const struct hub_run *run, const char *format, ...) {
    static char paths[PATHS][PATH_BYTES];
    static int next;
    char *path = paths[next++ % PATHS];
    int length = snprintf(path, PATH_BYTES, "%s/", run->cache);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + length, (size_t)(PATH_BYTES - length), format, arguments);
    va_end(arguments);
    return path;
}

/* nftw() has no place for what its callback wants to know. */
static const char *walk_root, *walk_ending;
static char walk_found[PATH_BYTES];
static bool walk_strict;

static bool is_hex(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!isxdigit((unsigned char)text[i])) return false;
    return true;
}

/* models--user--repo/{blobs/<digest>, snapshots/<commit>/..., refs/...}; parts only where a pull failed. */
static bool belongs(const char *path) {
    const char *inner = strchr(path, '/');
    if (!strncmp(path, ".locks/", 7) || !strcmp(path, "CACHEDIR.TAG")) return true;
    if (strncmp(path, "models--", 8) != 0 || !inner) return false;
    inner++;
    if (!strncmp(inner, "snapshots/", 10)) return strlen(inner) > 51 && is_hex(inner + 10, 40) && inner[50] == '/';
    if (!strncmp(inner, "refs/", 5)) return inner[5] != 0;
    if (strncmp(inner, "blobs/", 6) != 0) return false;
    size_t digits = strspn(inner + 6, "0123456789abcdef");
    if (digits != 64 && digits != 40) return false;
    return !inner[6 + digits] || (!walk_strict && strstr(inner, ".incomplete"));
}

static int check_place(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)walk;
    const char *inner = path + strlen(walk_root) + 1;
    if (kind == FTW_D || strncmp(path, walk_root, strlen(walk_root)) != 0) return 0;
    if (!belongs(inner)) fail_msg("%s has no place in a cache%s", inner, walk_strict ? " after a good pull" : "");
    return 0;
}

static int find_ending(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)walk;
    size_t length = strlen(path), wanted = strlen(walk_ending);
    if (kind == FTW_D || length < wanted || strcmp(path + length - wanted, walk_ending) != 0) return 0;
    snprintf(walk_found, sizeof walk_found, "%s", path);
    return 1;
}

const char *hub_run_find(const struct hub_run *run, const char *ending) {
    walk_ending = ending;
    walk_found[0] = 0;
    nftw(run->cache, find_ending, 16, FTW_PHYS);
    return walk_found;
}

static void check_places(const struct hub_run *run, bool strict) {
    walk_root = run->cache;
    walk_strict = strict;
    nftw(run->cache, check_place, 16, FTW_PHYS);
}

void hub_run_digest(const char *path, char text[CI_DIGEST_BYTES]) {
    static const char sha256[] = "0000000000000000000000000000000000000000000000000000000000000000";
    struct ci_digest *digest;
    size_t size;
    char *bytes = process_read(path, &size);
    assert_int_equal(ci_digest_create(sha256, size, &digest), CLINFER_OK);
    ci_digest_add(digest, bytes, size);
    ci_digest_end(digest, text);
    free(bytes);
}

size_t hub_run_listed(const struct hub_run *run) {
    struct ci_stored *models = NULL;
    size_t count = 0, whole = 0;
    assert_int_equal(ci_stores_list(&run->settings, &models, &count), CLINFER_OK);
    for (size_t i = 0; i < count; i++) whole += models[i].whole;
    ci_stores_free(models, count);
    return whole;
}

uint64_t hub_run_sent(const struct hub_run *run) {
    const json_t *entry;
    size_t index;
    uint64_t sent = 0;
    json_array_foreach(run->log, index, entry) {
        const char *where = json_string_value(json_object_get(entry, "where"));
        json_int_t status = json_integer_value(json_object_get(entry, "status"));
        if (status != 200 && status != 206) continue;
        if (where && (!strcmp(where, "cdn") || !strcmp(where, "plain") || !strcmp(where, "blob")))
            sent += (uint64_t)json_integer_value(json_object_get(entry, "sent"));
    }
    return sent;
}

/* ---- what must be true ---- */

static void check_texts(const struct hub_run *run) {
    hub_assert_no_token(run->message);
    hub_assert_no_token(run->said);
    assert_null(strstr(run->message, "Signature="));
    assert_null(strstr(run->said, "Signature="));
    for (const char *at = run->message; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) fail_msg("a control character in: %s", run->message);
    for (const char *at = run->said; *at; at++)
        if (((unsigned char)*at < 0x20 && *at != '\n') || *at == 0x7f)
            fail_msg("a control character in: %s", run->said);
}

void hub_run_check(const struct hub_run *run) {
    hub_server_check_token(run->log, run->server);
    check_texts(run);
    check_places(run, false);
}

static void check_ref(const struct hub_run *run, const json_t *files) {
    const char *path = hub_run_find(run, "/refs/main");
    size_t size;
    if (!*path) fail_msg("there is no refs/main");
    char *text = process_read(path, &size);
    assert_int_equal(size, 40);
    assert_string_equal(text, json_string_value(json_object_get(files, "commit")));
    free(text);
}

void hub_run_check_good(const struct hub_run *run, const char *content, int version, const char *file, size_t models) {
    if (run->status != CLINFER_OK) fail_msg("status %d: %s", (int)run->status, run->message);
    json_t *files = hub_server_files(content, version);
    const json_t *truth = json_object_get(json_object_get(files, "files"), file);
    assert_non_null(truth);
    char digest[CI_DIGEST_BYTES];
    hub_run_digest(run->pulled.path, digest);
    assert_string_equal(digest, json_string_value(json_object_get(truth, "sha256")));
    const char *place = strstr(run->pulled.path, "/snapshots/");
    assert_memory_equal(run->pulled.path, run->cache, strlen(run->cache));
    if (!place) fail_msg("%s is in no snapshot", run->pulled.path);
    assert_memory_equal(place + 11, json_string_value(json_object_get(files, "commit")), 40);
    assert_string_equal(place + 52, file);
    check_ref(run, files);
    check_places(run, true);
    assert_int_equal(hub_run_listed(run), models);
    json_decref(files);
}

size_t hub_run_repos(const struct hub_run *run) {
    char pattern[700];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/models--*", run->cache);
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    for (size_t i = 0; i < count; i++) {
        char snapshots[700];
        snprintf(snapshots, sizeof snapshots, "%s/snapshots", found.gl_pathv[i]);
        if (access(snapshots, F_OK) != 0) fail_msg("huggingface_hub wants %s", snapshots);
    }
    if (count) globfree(&found);
    return count;
}

void hub_run_check_bad(const struct hub_run *run, enum clinfer_status status, const char *says) {
    if (run->status != status)
        fail_msg("status %d, not %d: %s%s", (int)run->status, (int)status, run->message, run->said);
    if (says && !strcasestr(run->message, says)) fail_msg("\"%s\" is not in: %s", says, run->message);
    const char *advice = strstr(run->message, "; ");
    if (status != CLINFER_CANCELLED && (!advice || strlen(advice) < 10)) fail_msg("no advice in: %s", run->message);
    assert_true(strlen(run->message) < MOST_MESSAGE);
    assert_null(run->pulled.path);
    assert_int_equal(hub_run_listed(run), 0);
    hub_run_repos(run);
    if (*hub_run_find(run, "/refs/main")) fail_msg("there is a refs/main of a pull that failed");
}
