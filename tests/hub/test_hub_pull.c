/* Pulls from a Hub that misbehaves: each case is a repo of tests/support/hub_server.py, and says how it ends. What is
 * true of all of them is in tests/support/hub_run.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/hub_run.h"

struct pull_case {
    const char *name, *wanted;
    enum clinfer_status status;
    const char *says;   /* in the message; where it went well, in what was said */
    const char *file;   /* of the repo; NULL: "<repo>-Q4_K_M.gguf" */
    size_t models;      /* to be listed; 0: one */
    uint64_t most_sent; /* bytes that the server may have sent; 0: any */
    size_t cdn;         /* GETs of the model at the CDN; 0: not counted */
    const char *token;  /* NULL: the good one */
    const char *server; /* NULL: "http" */
    bool ranges;        /* several connections */
    bool none_sent;     /* no byte of a model */
    bool moves;         /* main is another commit the next time */
    bool no_part;       /* nothing that could be gone on with */
};

enum { TINY = 203936, LARGE = 4193440 };

static const struct pull_case cases[] = {
    {.name = "as it should be", .wanted = "user/tiny", .cdn = 1, .most_sent = TINY},
    {.name = "with a quant", .wanted = "user/tiny:Q4_K_M", .cdn = 1},
    {.name = "with a quant in small letters", .wanted = "user/tiny:q4_k_m", .cdn = 1},
    {.name = "by its file", .wanted = "user/tiny/tiny-Q4_K_M.gguf", .cdn = 1},
    {.name = "by https", .wanted = "user/tiny", .server = "https"},
    {.name = "in several ranges", .wanted = "user/large", .ranges = true, .most_sent = LARGE},
    {.name = "several, slowly", .wanted = "x.rate-each_8000000/large", .ranges = true, .most_sent = LARGE},

    /* Redirects. */
    {.name = "relative redirect", .wanted = "x.redirect_relative/tiny"},
    {.name = "path-only redirect", .wanted = "x.redirect_path/tiny"},
    {.name = "protocol-relative redirect", .wanted = "x.redirect_protocol/tiny"},
    {.name = "redirect to a third host", .wanted = "x.redirect_third/tiny"},
    {.name = "redirect to another port", .wanted = "x.redirect_port/tiny"},
    {.name = "looping redirect", .wanted = "x.redirect_loop/tiny", .status = CLINFER_REMOTE_FAILED, .says = "redirect"},
    {.name = "eleven hops", .wanted = "x.redirect_hops_11/tiny", .status = CLINFER_REMOTE_FAILED, .says = "redirect"},
    {.name = "redirect to a file", .wanted = "x.redirect_file/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "redirect without a place", .wanted = "x.redirect_nowhere/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "redirect from https to http",
     .wanted = "x.redirect_downgrade/tiny",
     .server = "https",
     .status = CLINFER_REMOTE_FAILED},
    {.name = "renamed repo, 307", .wanted = "x.renamed_307/tiny"},
    {.name = "renamed repo, 308, absolute", .wanted = "x.renamed-absolute_308/tiny"},
    {.name = "repo renamed to itself",
     .wanted = "x.renamed-loop_307/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "redirect"},
    {.name = "length of the redirect", .wanted = "x.redirect-length_36/tiny", .most_sent = TINY},

    /* Headers and what the tree says. */
    {.name = "no ETag", .wanted = "x.no-etag/tiny"},
    {.name = "weak ETag", .wanted = "x.weak-etag/tiny"},
    {.name = "ETag that is no hex", .wanted = "x.odd-etag/tiny"},
    {.name = "ETag with dots", .wanted = "x.dots-etag/tiny"},
    {.name = "wrong X-Linked-Size", .wanted = "x.linked-size_17/tiny"},
    {.name = "wrong size in the tree", .wanted = "x.wrong-size_5/tiny", .status = CLINFER_BAD_FILE},
    {.name = "too small a size in the tree", .wanted = "x.wrong-size_-5/tiny", .status = CLINFER_BAD_FILE},
    {.name = "no size in the tree", .wanted = "x.no-size/tiny"},
    {.name = "wrong digest in the tree", .wanted = "x.wrong-oid/tiny", .status = CLINFER_BAD_FILE, .no_part = true},
    {.name = "no digest in the tree", .wanted = "x.no-lfs/tiny", .status = CLINFER_BAD_FILE},
    {.name = "a mirror without refs", .wanted = "x.no-refs/tiny"},
    {.name = "a mirror without trees", .wanted = "x.no-tree/tiny"},
    {.name = "tree in pages", .wanted = "x.pages_1/tiny"},
    {.name = "tree in pages, relative", .wanted = "x.pages-relative_1/tiny"},
    {.name = "tree that never ends", .wanted = "x.pages-loop_1/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "tree that goes on elsewhere",
     .wanted = "x.pages-third_1/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "another server"},
    {.name = "commit that changes meanwhile", .wanted = "x.moving/tiny", .moves = true},
    {.name = "warning of the Hub", .wanted = "x.warning/tiny"},
    {.name = "Xet behind it", .wanted = "x.xet/tiny"},
    {.name = "garbage for refs", .wanted = "x.refs-garbage/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "garbage for the tree", .wanted = "x.tree-garbage/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "JSON that ends early", .wanted = "x.tree-broken-json/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "JSON without bottom", .wanted = "x.tree-deep/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "a portal before the Hub", .wanted = "x.any-html/tiny", .status = CLINFER_REMOTE_FAILED},

    /* Bodies. */
    {.name = "another range", .wanted = "x.range-other.cut_50000_once/tiny"},
    {.name = "ranges ignored", .wanted = "x.range-ignored.cut_50000_once/tiny"},
    {.name = "ranges ignored, several asked for", .wanted = "x.range-ignored/large", .ranges = true},
    {.name = "416 to all ranges", .wanted = "x.range-416.cut_50000_once/tiny", .most_sent = TINY + 51000},
    {.name = "no Accept-Ranges", .wanted = "x.range-none/large", .ranges = true, .most_sent = LARGE, .cdn = 1},
    {.name = "no Accept-Ranges, cut once", .wanted = "x.range-none.cut_50000_once/tiny", .most_sent = TINY + 50000},
    {.name = "shorter ranges", .wanted = "x.range-short.cut_50000_once/tiny", .most_sent = TINY + 1000},
    {.name = "ranges without a total", .wanted = "x.range-no-total.cut_50000_once/tiny"},
    {.name = "ranges of another total",
     .wanted = "x.range-total.cut_50000_once/tiny",
     .status = CLINFER_BAD_FILE,
     .says = "203943"},
    {.name = "another ETag each time", .wanted = "x.changing-etag.cut_50000_once/tiny"},
    {.name = "packed", .wanted = "x.gzip/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "chunks", .wanted = "x.chunked/tiny"},
    {.name = "chunks, cut", .wanted = "x.chunked.cut_50000_once/tiny", .most_sent = TINY + 1000},
    {.name = "bytes too many", .wanted = "x.extra_7/tiny", .status = CLINFER_BAD_FILE},
    {.name = "a flipped bit", .wanted = "x.flip_100000/tiny", .status = CLINFER_BAD_FILE, .no_part = true},
    {.name = "a flipped bit at the start", .wanted = "x.flip_0/tiny", .status = CLINFER_BAD_FILE, .no_part = true},
    {.name = "a page with 200", .wanted = "x.html/tiny", .status = CLINFER_BAD_FILE, .no_part = true},
    {.name = "a page in the repo", .wanted = "user/page", .status = CLINFER_BAD_FILE, .no_part = true},
    {.name = "an empty file", .wanted = "user/empty", .status = CLINFER_BAD_FILE, .no_part = true},

    /* Statuses. */
    {.name = "no such repo", .wanted = "other/tin", .status = CLINFER_NOT_FOUND, .says = "user/tiny"},
    {.name = "no such repo, no token", .wanted = "user/nobody", .status = CLINFER_NOT_FOUND, .token = ""},
    {.name = "RepoNotFound", .wanted = "x.status_404.code_RepoNotFound/tiny", .status = CLINFER_NOT_FOUND},
    {.name = "RevisionNotFound", .wanted = "user/tiny@nowhere", .status = CLINFER_NOT_FOUND, .says = "nowhere"},
    {.name = "EntryNotFound", .wanted = "x.resolve-status_404.code_EntryNotFound/tiny", .status = CLINFER_NOT_FOUND},
    {.name = "no such file", .wanted = "user/tiny/other.gguf", .status = CLINFER_NOT_FOUND, .says = "Q4_K_M"},
    {.name = "no such quant", .wanted = "user/tiny:Q8_0", .status = CLINFER_NOT_FOUND, .says = "Q4_K_M"},
    {.name = "gated, no token",
     .wanted = "x.gated_manual/tiny",
     .status = CLINFER_REFUSED,
     .token = "",
     .says = "HF_TOKEN"},
    {.name = "gated, not accepted",
     .wanted = "x.gated_auto/tiny",
     .status = CLINFER_REFUSED,
     .says = "x.gated_auto/tiny is gated"},
    {.name = "gated, accepted", .wanted = "x.token/tiny"},
    {.name = "private, no token",
     .wanted = "x.private/tiny",
     .status = CLINFER_NOT_FOUND,
     .token = "",
     .says = "HF_TOKEN"},
    {.name = "private, with it", .wanted = "x.private/tiny"},
    {.name = "a token that is not good",
     .wanted = "user/tiny",
     .status = CLINFER_REFUSED,
     .token = "hf_wrong",
     .says = "HF_TOKEN"},
    {.name = "disabled", .wanted = "x.disabled/tiny", .status = CLINFER_REFUSED, .says = "disabled"},
    {.name = "408 once", .wanted = "x.cdn-status_408_once/tiny"},
    {.name = "429 with RateLimit", .wanted = "x.resolve-status_429_once.ratelimit_0/tiny"},
    {.name = "429 with Retry-After", .wanted = "x.tree-status_429_once.retry-after_0/tiny"},
    {.name = "429 for an hour",
     .wanted = "x.resolve-status_429.retry-after_3600/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "3600"},
    {.name = "500 once", .wanted = "x.cdn-status_500_once/tiny"},
    {.name = "502 once, everywhere", .wanted = "x.any-status_502_once/tiny"},
    {.name = "503 twice", .wanted = "x.cdn-status_503_2times/tiny"},
    {.name = "504 once", .wanted = "x.refs-status_504_once/tiny"},
    {.name = "503 for ever",
     .wanted = "x.cdn-status_503/tiny",
     .status = CLINFER_REMOTE_FAILED,
     .says = "503",
     .none_sent = true},
    {.name = "500 for ever, refs", .wanted = "x.refs-status_500/tiny", .status = CLINFER_REMOTE_FAILED, .says = "500"},
    {.name = "401 of the CDN", .wanted = "x.cdn-status_401/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "400 of the Hub", .wanted = "x.refs-status_400/tiny", .status = CLINFER_REMOTE_FAILED, .says = "400"},
    {.name = "451", .wanted = "x.resolve-status_451/tiny", .status = CLINFER_REFUSED, .says = "legal reasons"},
    {.name = "expired address", .wanted = "x.expired/tiny"},
    {.name = "addresses that expire", .wanted = "x.expires_1.cut_50000/tiny", .most_sent = TINY + 1000},

    /* Connections. */
    {.name = "nobody there", .wanted = "user/tiny", .server = "closed", .status = CLINFER_REMOTE_FAILED},
    {.name = "an unknown authority",
     .wanted = "user/tiny",
     .server = "untrusted",
     .status = CLINFER_REMOTE_FAILED,
     .says = "certificate"},
    {.name = "silent once", .wanted = "x.silent_once/tiny"},
    {.name = "silent in the middle, once", .wanted = "x.silent-after_50000_once/tiny", .most_sent = TINY + 1000},
    {.name = "silent for ever", .wanted = "x.silent/tiny", .status = CLINFER_REMOTE_FAILED, .none_sent = true},
    {.name = "reset once", .wanted = "x.reset_once/tiny"},
    {.name = "reset in the middle, once", .wanted = "x.reset-after_50000_once/tiny"},
    {.name = "reset for ever", .wanted = "x.reset/tiny", .status = CLINFER_REMOTE_FAILED, .none_sent = true},
    {.name = "closed once", .wanted = "x.close_once/tiny"},
    {.name = "cut again and again, but on it goes", .wanted = "x.cut_20000/tiny", .most_sent = TINY + 1000},
    {.name = "cut again and again, in ranges",
     .wanted = "x.cut_200000/large",
     .ranges = true,
     .most_sent = LARGE + 4000},
    {.name = "cut before the first byte for ever", .wanted = "x.cut_0/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "one slow range", .wanted = "x.first-slow/large", .ranges = true},
    {.name = "no HTTP", .wanted = "x.resolve-not-http/tiny", .status = CLINFER_REMOTE_FAILED},
    {.name = "a header without end", .wanted = "x.tree-endless/tiny", .status = CLINFER_REMOTE_FAILED},

    /* Paths and files. */
    {.name = "a path with dots", .wanted = "user/evil-dotdot", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with dots inside", .wanted = "user/evil-inner-dotdot", .file = "good-Q4_K_M.gguf"},
    {.name = "an absolute path", .wanted = "user/evil-absolute", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with an empty part", .wanted = "user/evil-empty-part", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with a backslash", .wanted = "user/evil-backslash", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with a newline", .wanted = "user/evil-control", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with an escape", .wanted = "user/evil-escape", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with a zero", .wanted = "user/evil-zero", .status = CLINFER_REMOTE_FAILED},
    {.name = "a path that is too long", .wanted = "user/evil-long", .file = "good-Q4_K_M.gguf"},
    {.name = "a path that ends in dots", .wanted = "user/evil-last-dotdot", .file = "good-Q4_K_M.gguf"},
    {.name = "a path with half a character", .wanted = "user/evil-surrogate", .status = CLINFER_REMOTE_FAILED},
    {.name = "only the evil file is asked for", .wanted = "user/evil-dotdot:Q8_0", .status = CLINFER_NOT_FOUND},
    {.name = "spaces in the path", .wanted = "user/names:Q4_K_M", .file = "a folder/with spaces Q4_K_M.gguf"},
    {.name = "Unicode in the path",
     .wanted = "user/names:Q8_0",
     .file = "\xC3\xBCml\xC3\xA4ut/\xE6\xA8\xA1\xE5\x9E\x8B-Q8_0.gguf"},
    {.name = "% + # ? & in the path", .wanted = "user/names:Q5_K_M", .file = "per%cent+plus#hash?query&Q5_K_M.gguf"},
    {.name = "deep folders", .wanted = "user/names:Q6_K", .file = "deep/er/and/deeper/x-Q6_K.gguf"},
    {.name = "three parts", .wanted = "user/split", .file = "split-Q4_K_M-00001-of-00003.gguf", .cdn = 3},
    {.name = "three parts in a folder",
     .wanted = "user/folders:Q8_0",
     .file = "Q8_0/model-Q8_0-00001-of-00003.gguf",
     .cdn = 3},
    {.name = "a part is missing", .wanted = "user/split-short", .status = CLINFER_NOT_FOUND, .none_sent = true},
    {.name = "the best of many", .wanted = "user/quants", .most_sent = 120000, .cdn = 1},
    {.name = "pickles only", .wanted = "user/pickles", .status = CLINFER_UNSUPPORTED, .none_sent = true},
    {.name = "a pickle by its file",
     .wanted = "user/pickles/pytorch_model.bin",
     .status = CLINFER_UNSUPPORTED,
     .none_sent = true},
    {.name = "no model in it", .wanted = "user/words", .status = CLINFER_NOT_FOUND, .none_sent = true},
    {.name = "nothing in it", .wanted = "user/nothing", .status = CLINFER_NOT_FOUND},
    {.name = "more than the disk has", .wanted = "user/vast:Q4_K_M", .status = CLINFER_IO, .none_sent = true},
};

static void check_counts(const struct pull_case *now, const struct hub_run *run) {
    if (now->most_sent && hub_run_sent(run) > now->most_sent)
        fail_msg("%llu bytes came, %llu would do", (unsigned long long)hub_run_sent(run),
                 (unsigned long long)now->most_sent);
    if (now->none_sent) assert_int_equal(hub_run_sent(run), 0);
    if (now->cdn) assert_int_equal(hub_server_count(run->log, "cdn", "GET"), now->cdn);
}

static struct hub_run run;

static void run_case(void **state) {
    const struct pull_case *now = *state;
    const struct hub_run_options options = {.server = now->server, .token = now->token, .ranges = now->ranges};
    hub_run_open(&run, &options);
    if (strstr(now->wanted, "silent")) run.settings.silence_seconds = 0.4;
    hub_run_pull(&run, now->wanted);
    check_counts(now, &run);
    if (now->status != CLINFER_OK) {
        hub_run_check_bad(&run, now->status, now->says);
        if (now->no_part && *hub_run_find(&run, ".incomplete"))
            fail_msg("%s was kept", hub_run_find(&run, ".incomplete"));
        if (now->no_part) assert_int_equal(hub_run_repos(&run), 0);
        return;
    }
    char content[64], file[128];
    snprintf(content, sizeof content, "%.*s", (int)strcspn(strchr(now->wanted, '/') + 1, ":/@"),
             strchr(now->wanted, '/') + 1);
    snprintf(file, sizeof file, "%s-Q4_K_M.gguf", content);
    hub_run_check_good(&run, content, 1, now->file ? now->file : file, now->models ? now->models : 1);
    if (now->says && !strcasestr(run.said, now->says)) fail_msg("\"%s\" is not in: %s", now->says, run.said);
    const char *warning = strstr(run.said, "left out");
    if (warning && strstr(warning + 1, "left out")) fail_msg("said twice: %s", run.said);
    if (now->moves) return;
    /* Once more: nothing is fetched. */
    assert_int_equal(hub_run_pull(&run, now->wanted), CLINFER_OK);
    assert_int_equal(hub_run_sent(&run), 0);
}

static int end_case(void **state) {
    (void)state;
    hub_run_close(&run);
    return 0;
}

int main(void) {
    enum { COUNT = sizeof cases / sizeof *cases };
    static struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = run_case,
                                       .teardown_func = end_case,
                                       .initial_state = (void *)(size_t)&cases[i]};
    return cmocka_run_group_tests_name("pull", tests, hub_server_start, hub_server_stop);
}
