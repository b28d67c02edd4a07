/* Requests to a Hub that misbehaves, below its protocol: where redirects lead and to whom the token goes, what is no
 * HTTP, what is silent, whose certificate it is. Each case is a repo of tests/support/hub_server.py. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/fetch.h"
#include "support/hub_server.h"

enum { MOST_BYTES = 1 << 20, MOST_REDIRECTS = 10 };

static const char model[] = "tiny-Q4_K_M.gguf";
static struct ci_fetcher *fetcher;
static struct ci_fetch *fetch;
static char *body;

struct fetch_case {
    const char *name, *repo;
    enum ci_fetch_end end;
    long status;        /* of the answer, where one came */
    size_t requests;    /* 0: not counted */
    const char *host;   /* that was asked last ("localhost", ...), or NULL */
    const char *says;   /* in the problem */
    const char *server; /* NULL: "http" */
    const char *file;   /* NULL: the model */
};

static const struct fetch_case cases[] = {
    {.name = "absolute", .repo = "user/tiny", .status = 200, .requests = 2, .host = "localhost"},
    {.name = "small file",
     .repo = "user/tiny",
     .status = 200,
     .requests = 2,
     .host = "127.0.0.1",
     .file = "config.json"},
    {.name = "relative", .repo = "x.redirect_relative/tiny", .status = 200, .requests = 2, .host = "127.0.0.1"},
    {.name = "path only", .repo = "x.redirect_path/tiny", .status = 200, .requests = 2, .host = "127.0.0.1"},
    {.name = "protocol-relative",
     .repo = "x.redirect_protocol/tiny",
     .status = 200,
     .requests = 2,
     .host = "localhost"},
    {.name = "a third host", .repo = "x.redirect_third/tiny", .status = 200, .requests = 2, .host = "127.0.0.2"},
    {.name = "another port", .repo = "x.redirect_port/tiny", .status = 200, .requests = 2, .host = "127.0.0.1"},
    {.name = "dots in the path", .repo = "x.redirect_dots/tiny", .status = 200, .requests = 2, .host = "localhost"},
    {.name = "a fragment", .repo = "x.redirect_fragment/tiny", .status = 200, .requests = 2, .host = "localhost"},
    {.name = "a space in it", .repo = "x.redirect_unencoded/tiny", .status = 200, .requests = 2, .host = "localhost"},
    {.name = "ten hops", .repo = "x.redirect_hops_10/tiny", .status = 200, .requests = 11},
    {.name = "eleven hops",
     .repo = "x.redirect_hops_11/tiny",
     .end = CI_FETCH_REDIRECTS,
     .requests = 11,
     .says = "redirect"},
    {.name = "to itself", .repo = "x.redirect_loop/tiny", .end = CI_FETCH_REDIRECTS, .requests = 1, .says = "redirect"},
    {.name = "in a circle",
     .repo = "x.redirect_twoloop/tiny",
     .end = CI_FETCH_REDIRECTS,
     .requests = 3,
     .says = "redirect"},
    {.name = "to a file", .repo = "x.redirect_file/tiny", .end = CI_FETCH_REDIRECTS, .requests = 1},
    {.name = "to ftp", .repo = "x.redirect_ftp/tiny", .end = CI_FETCH_REDIRECTS, .requests = 1},
    {.name = "without a place", .repo = "x.redirect_nowhere/tiny", .status = 302, .requests = 1},
    {.name = "where nobody listens", .repo = "x.redirect_closed/tiny", .end = CI_FETCH_UNCONNECTED, .requests = 1},
    {.name = "renamed, 307", .repo = "x.renamed_307/tiny", .status = 200, .requests = 3, .host = "localhost"},
    {.name = "renamed, 308, absolute", .repo = "x.renamed-absolute_308/tiny", .status = 200, .requests = 3},
    {.name = "renamed to itself", .repo = "x.renamed-loop_307/tiny", .end = CI_FETCH_REDIRECTS, .requests = 1},
    {.name = "length of the redirect", .repo = "x.redirect-length_36/tiny", .status = 200, .requests = 2},
    {.name = "https", .repo = "user/tiny", .status = 200, .requests = 2, .host = "localhost", .server = "https"},
    {.name = "https to http",
     .repo = "x.redirect_downgrade/tiny",
     .end = CI_FETCH_REDIRECTS,
     .requests = 1,
     .server = "https"},
    {.name = "an unknown authority",
     .repo = "user/tiny",
     .end = CI_FETCH_UNTRUSTED,
     .server = "untrusted",
     .says = "certificate"},
    {.name = "nobody there", .repo = "user/tiny", .end = CI_FETCH_UNCONNECTED, .server = "closed"},
    {.name = "silent from the start", .repo = "x.resolve-silent/tiny", .end = CI_FETCH_SILENT, .requests = 1},
    {.name = "silent in the middle", .repo = "x.silent-after_5000/tiny", .end = CI_FETCH_SILENT, .status = 200},
    {.name = "reset at once", .repo = "x.resolve-reset/tiny", .end = CI_FETCH_BROKEN},
    {.name = "reset in the middle", .repo = "x.reset-after_5000/tiny", .end = CI_FETCH_BROKEN, .status = 200},
    {.name = "closed at once", .repo = "x.resolve-close/tiny", .end = CI_FETCH_BROKEN},
    {.name = "cut", .repo = "x.cut_5000/tiny", .end = CI_FETCH_BROKEN, .status = 200},
    {.name = "cut chunks", .repo = "x.chunked.cut_5000/tiny", .end = CI_FETCH_BROKEN, .status = 200},
    {.name = "chunks", .repo = "x.chunked/tiny", .status = 200},
    {.name = "no HTTP", .repo = "x.resolve-not-http/tiny", .end = CI_FETCH_UNUSABLE},
    {.name = "a header without end", .repo = "x.resolve-endless/tiny", .end = CI_FETCH_UNUSABLE},
    {.name = "an error page", .repo = "x.cdn-status_503/tiny", .status = 503},
    {.name = "not found", .repo = "x.resolve-status_404.code_EntryNotFound/tiny", .status = 404, .requests = 1},
};

static const char *hub_of(const struct fetch_case *now) { return hub_server_url(now->server ? now->server : "http"); }

static void check_body(const struct fetch_case *now, size_t length) {
    json_t *files = hub_server_files(strchr(now->repo, '/') + 1, 1);
    const json_t *file = json_object_get(json_object_get(files, "files"), now->file ? now->file : model);
    assert_int_equal(length, json_integer_value(json_object_get(file, "size")));
    assert_int_equal(!now->file, !memcmp(body, "GGUF", 4));
    json_decref(files);
}

static void check_log(const struct fetch_case *now) {
    json_t *log = hub_server_log();
    hub_server_check_token(log, hub_of(now));
    if (now->requests) assert_int_equal(json_array_size(log), now->requests);
    if (now->host) {
        const char *host = json_string_value(json_object_get(json_array_get(log, json_array_size(log) - 1), "host"));
        assert_memory_equal(host, now->host, strlen(now->host));
    }
    json_decref(log);
}

static void run_case(void **state) {
    const struct fetch_case *now = *state;
    char url[512];
    snprintf(url, sizeof url, "%s/%s/resolve/main/%s", hub_of(now), now->repo, now->file ? now->file : model);
    const struct ci_fetch_request request = {.url = url,
                                             .authorization = "Bearer " HUB_TOKEN,
                                             .max_redirects = MOST_REDIRECTS,
                                             .connect_seconds = 5,
                                             .silence_seconds = 0.3};
    size_t length = 0;
    json_decref(hub_server_log());
    double start = ci_now();
    assert_int_equal(ci_fetch_text(fetcher, &request, MOST_BYTES, &fetch, &body, &length), CLINFER_OK);
    enum ci_fetch_end end = now->end == CI_FETCH_RUNNING ? CI_FETCH_DONE : now->end;
    const char *problem = ci_fetch_problem(fetch);
    if (ci_fetch_end(fetch) != end) fail_msg("it ended with %d: %s", (int)ci_fetch_end(fetch), problem);
    assert_int_equal(ci_fetch_status(fetch), now->status ? now->status : ci_fetch_status(fetch));
    assert_int_equal(!*problem, end == CI_FETCH_DONE);
    if (now->says && !strstr(problem, now->says)) fail_msg("\"%s\" is not in: %s", now->says, problem);
    hub_assert_no_token(problem);
    assert_null(strstr(problem, "Signature="));
    if (end == CI_FETCH_DONE && now->status == 200) check_body(now, length);
    assert_true(ci_now() - start < 5);
    check_log(now);
}

static int end_case(void **state) {
    (void)state;
    ci_fetch_free(fetch);
    free(body);
    fetch = NULL;
    body = NULL;
    return 0;
}

static int start_all(void **state) {
    hub_server_start(state);
    return ci_fetcher_create(&fetcher) == CLINFER_OK ? 0 : -1;
}

static int stop_all(void **state) {
    ci_fetcher_destroy(fetcher);
    return hub_server_stop(state);
}

int main(void) {
    enum { COUNT = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = run_case,
                                       .teardown_func = end_case,
                                       .initial_state = (void *)(size_t)&cases[i]};
    return cmocka_run_group_tests_name("fetch", tests, start_all, stop_all);
}
