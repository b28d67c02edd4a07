/* The Hub's protocol against one that misbehaves: what becomes of refs, trees and facts, what its failures are called,
 * how often it is asked, and who gets the token. Each case is a repo of tests/support/hub_server.py. */
#define _GNU_SOURCE
#include <libgen.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "hub/download.h"
#include "hub/hub.h"
#include "support/hub_server.h"

static const char model[] = "tiny-Q4_K_M.gguf";
static struct ci_hub_settings settings;
static struct ci_hub hub;
static char said[4096];
static size_t warnings;

static void watch(void *user, const struct ci_hub_event *event) {
    (void)user;
    assert_int_equal(event->kind, CI_HUB_SAID);
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s\n", event->text);
    warnings += event->warning;
}

static void read_settings(const char *token, const char *endpoint) {
    if (token)
        setenv("HF_TOKEN", token, 1);
    else
        unsetenv("HF_TOKEN");
    setenv("HF_ENDPOINT", endpoint, 1);
    ci_hub_settings_free(&settings);
    if (ci_hub_settings_read(&settings) != CLINFER_OK) fail_msg("%s", clinfer_error());
    settings.first_pause = 0.01;
    settings.silence_seconds = 0.2;
    settings.connect_seconds = 5;
    memset(hub.topics, 0, sizeof hub.topics);
    *said = 0;
    warnings = 0;
}

static void says(const char *part) {
    if (!strstr(clinfer_error(), part)) fail_msg("\"%s\" is not in: %s", part, clinfer_error());
}

/* ---- trees ---- */

struct tree_case {
    const char *name, *repo, *revision; /* NULL: main */
    enum clinfer_status status;
    const char *says, *also; /* in the message, or NULL */
    size_t requests;         /* 0: not counted */
    const char *today;       /* NULL: as asked */
    const char *token, *server;
};

static const struct tree_case trees[] = {
    {.name = "a tree", .repo = "user/tiny", .requests = 2},
    {.name = "a tag", .repo = "user/tiny", .revision = "v1.0", .requests = 2},
    {.name = "a branch with a slash", .repo = "user/tiny", .revision = "feature/one", .requests = 3},
    {.name = "https", .repo = "user/tiny", .requests = 2, .server = "https"},
    {.name = "two pages", .repo = "x.pages_2/tiny", .requests = 3},
    {.name = "three pages, relative", .repo = "x.pages-relative_1/tiny", .requests = 4},
    {.name = "pages in a circle",
     .repo = "x.pages-loop_1/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "same page again",
     .requests = 3},
    {.name = "a page on another server",
     .repo = "x.pages-third_1/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "another server",
     .requests = 2,
     .token = HUB_TOKEN},
    {.name = "renamed", .repo = "x.renamed_307/tiny", .today = "new/tiny"},
    {.name = "renamed, absolute", .repo = "x.renamed-absolute_308/tiny", .today = "new/tiny"},
    {.name = "renamed to itself", .repo = "x.renamed-loop_307/tiny", .status = CLINFER_REMOTE_FAILED, .says = "loop"},
    {.name = "no refs: a mirror", .repo = "x.no-refs/tiny", .requests = 3},
    {.name = "no tree: a mirror", .repo = "x.no-tree/tiny", .requests = 3},
    {.name = "compressed", .repo = "x.tree-gzip/tiny", .requests = 2},
    {.name = "no such repo",
     .repo = "user/tin",
     .status = CLINFER_NOT_FOUND,
     .says = "near names: user/tiny",
     .also = "HF_TOKEN",
     .requests = 2},
    {.name = "no such repo, with a token",
     .repo = "user/tin",
     .status = CLINFER_NOT_FOUND,
     .says = "no such repo",
     .also = "near names: user/tiny",
     .token = HUB_TOKEN},
    {.name = "no such revision",
     .repo = "user/tiny",
     .revision = "nope",
     .status = CLINFER_NOT_FOUND,
     .says = "main, dev, v1.0",
     .also = "@REVISION",
     .requests = 2},
    {.name = "private", .repo = "x.private/tiny", .status = CLINFER_NOT_FOUND, .says = "private", .also = "HF_TOKEN"},
    {.name = "private, with the token", .repo = "x.private/tiny", .requests = 2, .token = HUB_TOKEN},
    {.name = "a bad token",
     .repo = "user/tiny",
     .status = CLINFER_REFUSED,
     .says = "does not accept the token",
     .also = "HF_TOKEN",
     .requests = 1,
     .token = "hf_SomebodyElses"},
    {.name = "disabled", .repo = "x.disabled/tiny", .status = CLINFER_REFUSED, .says = "disabled", .requests = 1},
    {.name = "503 once", .repo = "x.refs-status_503_once/tiny", .requests = 3},
    {.name = "500 four times", .repo = "x.refs-status_500_4times/tiny", .requests = 6},
    {.name = "504 for ever",
     .repo = "x.refs-status_504/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "HTTP 504",
     .also = "try again later",
     .requests = 5},
    {.name = "501, which does not pass",
     .repo = "x.refs-status_501/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .requests = 1},
    {.name = "408 once", .repo = "x.tree-status_408_once/tiny", .requests = 3},
    {.name = "429 once, RateLimit", .repo = "x.refs-status_429_once.ratelimit_0/tiny", .requests = 3},
    {.name = "429 that wants an hour",
     .repo = "x.refs-status_429.ratelimit_3600/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "3600 seconds",
     .requests = 1},
    {.name = "503 that wants an hour",
     .repo = "x.refs-status_503.retry-after_3601/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "3601 seconds",
     .requests = 1},
    {.name = "503 until a date in an hour",
     .repo = "x.refs-status_503.retry-date_3600/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "asks to wait 3",
     .requests = 1},
    {.name = "429 until a date that is over", .repo = "x.refs-status_429_once.retry-date_-60/tiny", .requests = 3},
    {.name = "reset once", .repo = "x.refs-reset_once/tiny", .requests = 3},
    {.name = "closed for ever", .repo = "x.refs-close/tiny", .status = CLINFER_REMOTE_FAILED, .says = "broke"},
    {.name = "silent once", .repo = "x.refs-silent_once/tiny", .requests = 3},
    {.name = "cut once", .repo = "x.tree-cut_20_once/tiny", .requests = 3},
    {.name = "a portal",
     .repo = "x.api-html/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "web page",
     .also = "HF_ENDPOINT",
     .requests = 1},
    {.name = "something else", .repo = "x.garbage/tiny", .status = CLINFER_REMOTE_FAILED, .says = "HF_ENDPOINT"},
    {.name = "half of it", .repo = "x.broken-json/tiny", .status = CLINFER_REMOTE_FAILED, .says = "JSON"},
    {.name = "brackets", .repo = "x.deep/tiny", .status = CLINFER_REMOTE_FAILED, .says = "JSON"},
    {.name = "no HTTP", .repo = "x.refs-not-http/tiny", .status = CLINFER_REMOTE_FAILED, .says = "web server"},
    {.name = "a header without end",
     .repo = "x.refs-endless/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "too long"},
    {.name = "nobody there",
     .repo = "user/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "cannot reach",
     .also = "-m PATH",
     .server = "closed"},
    {.name = "an unknown authority",
     .repo = "user/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "certificate",
     .also = "SSL_CERT_FILE",
     .server = "untrusted"},
};

static void check_tree(const struct tree_case *now, const struct ci_hub_tree *tree) {
    json_t *files = hub_server_files(strchr(now->repo, '/') + 1, 1), *file;
    const char *path;
    assert_string_equal(tree->repo, now->today ? now->today : now->repo);
    assert_string_equal(tree->commit, json_string_value(json_object_get(files, "commit")));
    assert_int_equal(tree->count, json_object_size(json_object_get(files, "files")));
    json_object_foreach(json_object_get(files, "files"), path, file) {
        size_t at = 0;
        while (at < tree->count && strcmp(tree->files[at].path, path) != 0) at++;
        assert_true(at < tree->count);
        bool large = json_is_true(json_object_get(file, "large"));
        assert_string_equal(tree->files[at].digest, json_string_value(json_object_get(file, large ? "sha256" : "oid")));
        assert_int_equal(tree->files[at].size, json_integer_value(json_object_get(file, "size")));
    }
    json_decref(files);
}

static void check_log(const struct tree_case *now) {
    json_t *log = hub_server_log();
    hub_server_check_token(log, settings.endpoint);
    if (now->requests) assert_int_equal(json_array_size(log), now->requests);
    json_decref(log);
    hub_assert_no_token(said);
    hub_assert_no_token(clinfer_error());
}

static void run_tree(void **state) {
    const struct tree_case *now = *state;
    struct ci_hub_tree tree;
    read_settings(now->token, hub_server_url(now->server ? now->server : "http"));
    json_decref(hub_server_log());
    double start = ci_now();
    enum clinfer_status status = ci_hub_tree_get(&hub, now->repo, now->revision ? now->revision : "main", &tree);
    if (status != now->status) fail_msg("status %d: %s", (int)status, status ? clinfer_error() : "");
    if (status == CLINFER_OK) check_tree(now, &tree);
    if (now->says) says(now->says);
    if (now->also) says(now->also);
    if (status != CLINFER_OK) says("; ");
    if (status != CLINFER_OK) assert_null(strchr(clinfer_error(), '\n'));
    assert_true(ci_now() - start < 4);
    check_log(now);
    ci_hub_tree_free(&tree);
}

/* ---- facts of a file ---- */

struct head_case {
    const char *name, *repo, *file; /* NULL: the model */
    enum clinfer_status status;
    const char *says, *token;
    int64_t size; /* 0: the file's; -1: not said */
    bool no_digest;
    size_t requests; /* 0: not counted */
};

static const struct head_case heads[] = {
    {.name = "a large file", .repo = "user/tiny", .requests = 1},
    {.name = "a small file", .repo = "user/tiny", .file = "config.json", .requests = 2},
    {.name = "length of the redirect", .repo = "x.redirect-length_777/tiny", .requests = 1},
    {.name = "X-Linked-Size", .repo = "x.linked-size_5/tiny", .size = 5, .requests = 1},
    {.name = "no X-Linked-Size", .repo = "x.no-linked-size.redirect-length_777/tiny", .size = -1, .requests = 1},
    {.name = "weak ETag", .repo = "x.weak-etag/tiny"},
    {.name = "an ETag that is no digest", .repo = "x.odd-etag/tiny", .no_digest = true},
    {.name = "an ETag that is a path", .repo = "x.dots-etag/tiny", .no_digest = true},
    {.name = "facts after a renaming", .repo = "x.renamed_307/tiny"},
    {.name = "no facts on the redirect", .repo = "x.no-linked.redirect-length_777/tiny", .no_digest = true},
    {.name = "no X-Repo-Commit",
     .repo = "x.no-commit/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "no X-Repo-Commit in the header"},
    {.name = "no such file",
     .repo = "user/tiny",
     .file = "tokenizer.json",
     .status = CLINFER_NOT_FOUND,
     .says = "no such file"},
    {.name = "gated, no token", .repo = "x.gated_auto/tiny", .status = CLINFER_REFUSED, .says = "set HF_TOKEN"},
    {.name = "gated, not accepted",
     .repo = "x.gated_manual/tiny",
     .status = CLINFER_REFUSED,
     .says = "x.gated_manual/tiny;",
     .token = HUB_TOKEN},
};

static void run_head(void **state) {
    const struct head_case *now = *state;
    struct ci_hub_facts facts;
    read_settings(now->token, hub_server_url("http"));
    json_t *files = hub_server_files("tiny", 1);
    const char *path = now->file ? now->file : model;
    const json_t *file = json_object_get(json_object_get(files, "files"), path);
    char *url = ci_hub_resolve_url(&settings, now->repo, "main", path);
    json_decref(hub_server_log());
    enum clinfer_status status = ci_hub_head(&hub, url, &facts);
    if (status != now->status) fail_msg("status %d: %s", (int)status, status ? clinfer_error() : "");
    if (now->says) says(now->says);
    if (status == CLINFER_OK) {
        int64_t size = now->size ? now->size : (int64_t)json_integer_value(json_object_get(file, "size"));
        assert_string_equal(facts.commit, json_string_value(json_object_get(files, "commit")));
        assert_int_equal(facts.size, size);
        assert_string_equal(facts.digest, now->no_digest ? "" : json_string_value(json_object_get(file, "etag")));
    }
    json_t *log = hub_server_log();
    hub_server_check_token(log, settings.endpoint);
    if (now->requests) assert_int_equal(json_array_size(log), now->requests);
    json_decref(log);
    json_decref(files);
    free(url);
}

/* ---- the rest ---- */

static void test_small_files_come_whole_or_not_at_all(void **state) {
    (void)state;
    char *text;
    size_t length;
    read_settings(HUB_TOKEN, hub_server_url("http"));
    char *url = ci_hub_resolve_url(&settings, "user/tiny", "main", "config.json");
    assert_int_equal(ci_hub_get(&hub, url, 1 << 20, &text, &length), CLINFER_OK);
    assert_true(length > 10 && text[0] == '{' && text[length] == 0);
    free(text);
    assert_int_equal(ci_hub_get(&hub, url, 10, &text, &length), CLINFER_REMOTE_FAILED);
    says("longer");
    assert_null(text);
    free(url);
}

static void test_what_comes_compressed_is_unpacked_or_refused(void **state) {
    (void)state;
    char *text;
    size_t length;
    struct ci_fetch *fetch;
    read_settings(NULL, hub_server_url("http"));
    char *url = ci_hub_resolve_url(&settings, "x.small-gzip/tiny", "main", "config.json");
    assert_int_equal(ci_hub_get(&hub, url, 1 << 20, &text, &length), CLINFER_OK);
    assert_true(length > 10 && text[0] == '{');
    free(text);
    const struct ci_fetch_request request = {
        .url = url, .max_redirects = 2, .connect_seconds = 5, .silence_seconds = 5};
    assert_int_equal(ci_fetch_wait(hub.fetcher, &request, &fetch), CLINFER_OK);
    assert_int_equal(ci_fetch_end(fetch), CI_FETCH_UNUSABLE);
    assert_non_null(strstr(ci_fetch_problem(fetch), "compressed"));
    ci_fetch_free(fetch);
    free(url);
}

static void test_a_warning_is_said_once_a_topic(void **state) {
    (void)state;
    struct ci_hub_facts facts;
    read_settings(NULL, hub_server_url("http"));
    char *url = ci_hub_resolve_url(&settings, "x.warning/tiny", "main", model);
    for (int i = 0; i < 3; i++) assert_int_equal(ci_hub_head(&hub, url, &facts), CLINFER_OK);
    assert_string_equal(said, "the Hub says: this repo is only played\n");
    assert_int_equal(warnings, 1);
    free(url);
}

static void test_offline_nobody_is_asked(void **state) {
    (void)state;
    static const char *const variables[] = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", NULL};
    for (size_t i = 0; i < 3; i++) {
        struct ci_hub_tree tree;
        struct ci_hub_facts facts;
        char *text;
        size_t length;
        if (variables[i]) setenv(variables[i], "1", 1);
        read_settings(HUB_TOKEN, hub_server_url("http"));
        if (variables[i])
            unsetenv(variables[i]);
        else
            ci_hub_settings_go_offline(&settings, "--offline");
        const char *from = variables[i] ? variables[i] : "--offline";
        struct ci_hub offline = {.settings = &settings}; /* no fetcher: to ask would be a crash */
        json_decref(hub_server_log());
        char *url = ci_hub_resolve_url(&settings, "user/tiny", "main", model);
        assert_int_equal(ci_hub_tree_get(&offline, "user/tiny", "main", &tree), CLINFER_NOT_FOUND);
        says(from);
        assert_int_equal(ci_hub_tree_get(&offline, "user/tiny", "0123456789012345678901234567890123456789", &tree),
                         CLINFER_NOT_FOUND);
        assert_int_equal(ci_hub_head(&offline, url, &facts), CLINFER_NOT_FOUND);
        assert_int_equal(ci_hub_get(&offline, url, 1000, &text, &length), CLINFER_NOT_FOUND);
        says(from);
        char target[300];
        struct ci_downloaded done;
        snprintf(target, sizeof target, "%s/offline/%s", getenv("HOME"), model);
        const struct ci_download download = {.url = url, .name = model, .digest = "", .size = 1, .target = target};
        assert_int_equal(ci_hub_download(&offline, &download, &done), CLINFER_NOT_FOUND);
        says(from);
        assert_int_not_equal(access(dirname(target), F_OK), 0);
        free(url);
        json_t *log = hub_server_log();
        assert_int_equal(json_array_size(log), 0);
        json_decref(log);
    }
}

static void test_an_address_of_somebody_else_gets_no_token(void **state) {
    (void)state;
    char url[300], *text;
    size_t length;
    read_settings(HUB_TOKEN, hub_server_url("http"));
    const char *port = strrchr(settings.endpoint, ':');
    snprintf(url, sizeof url, "http://127.0.0.2%s/user/tiny/resolve/main/config.json", port);
    json_decref(hub_server_log());
    assert_int_equal(ci_hub_get(&hub, url, 1 << 20, &text, &length), CLINFER_OK);
    free(text);
    json_t *log = hub_server_log();
    assert_true(json_array_size(log) > 0);
    hub_server_check_token(log, settings.endpoint);
    json_decref(log);
}

static void test_cancelled_it_ends_at_once(void **state) {
    (void)state;
    atomic_bool cancel = true;
    struct ci_hub_tree tree;
    read_settings(NULL, hub_server_url("http"));
    settings.first_pause = 30;
    hub.cancel = &cancel;
    double start = ci_now();
    enum clinfer_status status = ci_hub_tree_get(&hub, "user/tiny", "main", &tree);
    bool paused = ci_hub_pause(&hub, 0, -1);
    hub.cancel = NULL;
    assert_int_equal(status, CLINFER_CANCELLED);
    assert_false(paused);
    assert_true(ci_now() - start < 2);
}

static void test_pauses_double_or_are_what_the_server_wants(void **state) {
    (void)state;
    static const struct {
        int attempt;
        double after, seconds;
    } pauses[] = {{0, -1, 0.05}, {1, -1, 0.1}, {2, -1, 0.2}, {2, 0, 0.05}, {0, 0.1, 0.15}};
    read_settings(NULL, hub_server_url("http"));
    settings.first_pause = 0.05;
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        double start = ci_now();
        assert_true(ci_hub_pause(&hub, pauses[i].attempt, pauses[i].after));
        double seconds = ci_now() - start;
        assert_true(seconds >= pauses[i].seconds && seconds < pauses[i].seconds + 1);
    }
}

/* ---- proxies: the played Hub answers as one, too ---- */

static size_t count_asked(const char *name) {
    json_t *log = hub_server_log(), *entry;
    size_t index, count = 0;
    json_array_foreach(log, index, entry) {
        const char *host = json_string_value(json_object_get(entry, "host"));
        count += strncmp(host, name, strlen(name)) == 0;
    }
    json_decref(log);
    return count;
}

static void test_a_proxy_is_asked_where_one_is_set(void **state) {
    (void)state;
    struct ci_hub_tree tree;
    setenv("http_proxy", hub_server_url("http"), 1);
    read_settings(HUB_TOKEN, "http://hub.invalid");
    json_decref(hub_server_log());
    assert_int_equal(ci_hub_tree_get(&hub, "user/tiny", "main", &tree), CLINFER_OK);
    ci_hub_tree_free(&tree);
    assert_int_equal(count_asked("hub.invalid"), 2);
    if (!strstr(said, "without encryption")) fail_msg("the token went in the clear unsaid: %s", said);
    assert_int_equal(warnings, 1);
    setenv("no_proxy", "hub.invalid", 1);
    settings.tries = 1;
    assert_int_equal(ci_hub_tree_get(&hub, "user/tiny", "main", &tree), CLINFER_REMOTE_FAILED);
    says("cannot reach hub.invalid");
    says("http_proxy");
    assert_int_equal(count_asked(""), 0);
    unsetenv("no_proxy");
    unsetenv("http_proxy");
}

static void test_this_host_is_asked_without_a_proxy(void **state) {
    (void)state;
    struct ci_hub_tree tree;
    setenv("http_proxy", hub_server_url("closed"), 1);
    read_settings(NULL, hub_server_url("http"));
    enum clinfer_status status = ci_hub_tree_get(&hub, "user/tiny", "main", &tree);
    unsetenv("http_proxy");
    assert_int_equal(status, CLINFER_OK);
    ci_hub_tree_free(&tree);
}

/* A mirror below a path. */
static void test_an_endpoint_may_have_a_path(void **state) {
    (void)state;
    struct ci_hub_tree tree;
    char endpoint[200];
    snprintf(endpoint, sizeof endpoint, "%s/mirror/", hub_server_url("http"));
    read_settings(NULL, endpoint);
    json_decref(hub_server_log());
    assert_int_equal(ci_hub_tree_get(&hub, "user/tiny", "main", &tree), CLINFER_NOT_FOUND);
    json_t *log = hub_server_log();
    assert_string_equal(json_string_value(json_object_get(json_array_get(log, 0), "path")),
                        "/mirror/api/models/user/tiny/refs");
    json_decref(log);
}

static int start_all(void **state) {
    hub_server_start(state);
    hub = (struct ci_hub){.settings = &settings, .watch = watch};
    return ci_fetcher_create(&hub.fetcher) == CLINFER_OK ? 0 : -1;
}

static int stop_all(void **state) {
    ci_fetcher_destroy(hub.fetcher);
    ci_hub_settings_free(&settings);
    return hub_server_stop(state);
}

int main(void) {
    enum { TREES = sizeof trees / sizeof *trees, HEADS = sizeof heads / sizeof *heads };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(test_small_files_come_whole_or_not_at_all),
        cmocka_unit_test(test_what_comes_compressed_is_unpacked_or_refused),
        cmocka_unit_test(test_a_warning_is_said_once_a_topic),
        cmocka_unit_test(test_offline_nobody_is_asked),
        cmocka_unit_test(test_an_address_of_somebody_else_gets_no_token),
        cmocka_unit_test(test_cancelled_it_ends_at_once),
        cmocka_unit_test(test_pauses_double_or_are_what_the_server_wants),
        cmocka_unit_test(test_a_proxy_is_asked_where_one_is_set),
        cmocka_unit_test(test_this_host_is_asked_without_a_proxy),
        cmocka_unit_test(test_an_endpoint_may_have_a_path),
    };
    enum { OTHERS = sizeof others / sizeof *others };
    struct CMUnitTest tests[TREES + HEADS + OTHERS];
    for (size_t i = 0; i < TREES; i++)
        tests[i] = (struct CMUnitTest){
            .name = trees[i].name, .test_func = run_tree, .initial_state = (void *)(size_t)&trees[i]};
    for (size_t i = 0; i < HEADS; i++)
        tests[TREES + i] = (struct CMUnitTest){
            .name = heads[i].name, .test_func = run_head, .initial_state = (void *)(size_t)&heads[i]};
    memcpy(tests + TREES + HEADS, others, sizeof others);
    return cmocka_run_group_tests_name("protocol", tests, start_all, stop_all);
}
