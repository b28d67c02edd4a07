#define _GNU_SOURCE
#include "net/fetch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/status.h"
#include "net/curl.h"
#include "net/headers.h"
#include "net/pipe_signal.h"
#include "net/policy.h"
#include "net/url.h"

enum { LOOK_MILLISECONDS = 50, BUFFER_BYTES = 256 * 1024, PROBLEM_BYTES = 512, SHOWN_BYTES = 160 };

/* What a redirect says for people to read; one that says more than this is not listened to. */
enum { REDIRECT_BODY_BYTES = 64 * 1024 };

struct ci_fetcher {
    CURLM *multi;
    struct ci_fetch *first; /* of all that are not freed */
    double clock, seen;     /* seconds in which transfers were moved; when it was last looked at, as ci_now() */
    bool inside, came;
};

struct ci_fetch {
    struct ci_fetcher *fetcher;
    struct ci_fetch *next;
    struct ci_fetch_request request; /* texts are copies */
    char **headers;                  /* that request.headers and .trusted are */
    char **trusted;
    struct ci_url_origin origin; /* of request.url */

    CURL *easy;
    bool added; /* to the multi handle */
    struct curl_slist *lines;
    char error[CURL_ERROR_SIZE];

    char **visited; /* [hops + 1], the last one is asked now */
    int hops;
    struct ci_headers answers;
    long status;
    bool headed;      /* the last answer's head is whole */
    bool redirected;  /* that answer is a redirect, to be followed */
    bool sent;        /* the request, or a part of it */
    size_t body;      /* bytes of a redirect's */
    double last_byte; /* in the fetcher's clock */

    enum ci_fetch_end refused; /* why a callback ended it; CI_FETCH_RUNNING: none did */
    enum ci_fetch_end end;
    char problem[PROBLEM_BYTES];
};

/* ---- the request's texts ---- */

static void free_list(char **list) {
    for (char **text = list; text && *text; text++) free(*text);
    free(list);
}

/* NULL of NULL; *good: false where memory is out. */
static char **copy_list(const char *const *list, bool *good) {
    size_t count = 0;
    if (!list) return NULL;
    while (list[count]) count++;
    char **copy = calloc(count + 1, sizeof *copy);
    size_t copied = 0;
    while (copy && copied < count && (copy[copied] = strdup(list[copied]))) copied++;
    if (!copy || copied < count) *good = false;
    return copy;
}

static char *copy_text(const char *text, bool *good) {
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) *good = false;
    return copy;
}

static void wipe_text(const char *text) {
    if (!text) return;
    char *own = (char *)(uintptr_t)text;
    explicit_bzero(own, strlen(own));
    free(own);
}

static bool copy_request(struct ci_fetch *fetch, const struct ci_fetch_request *request) {
    bool good = true;
    fetch->request = *request;
    fetch->request.url = NULL;
    fetch->headers = copy_list(request->headers, &good);
    fetch->trusted = copy_list(request->trusted, &good);
    fetch->request.headers = (const char *const *)fetch->headers;
    fetch->request.trusted = (const char *const *)fetch->trusted;
    fetch->request.authorization = copy_text(request->authorization, &good);
    fetch->request.if_range = copy_text(request->if_range, &good);
    fetch->request.fact = copy_text(request->fact, &good);
    fetch->visited = calloc((size_t)request->max_redirects + 2, sizeof *fetch->visited);
    if (fetch->visited) fetch->visited[0] = copy_text(request->url, &good);
    return good && fetch->visited;
}

/* ---- what is sent ---- */

static void free_lines(struct curl_slist *lines) {
    for (struct curl_slist *line = lines; line; line = line->next) explicit_bzero(line->data, strlen(line->data));
    ci_curl->slist_free_all(lines);
}

static bool add_line(struct curl_slist **lines, const char *name, const char *value) {
    char *text = NULL;
    if (asprintf(&text, "%s%s", name, value) < 0) return false;
    struct curl_slist *longer = ci_curl->slist_append(*lines, text);
    wipe_text(text);
    if (longer) *lines = longer;
    return longer != NULL;
}

/* Whether credentials may go where the fetch is now. */
static bool is_trusted(const struct ci_fetch *fetch, const struct ci_url_origin *now) {
    if (ci_url_same_origin(now, &fetch->origin)) return true;
    if (!now->https || strcmp(now->port, "443") != 0) return false;
    for (char **host = fetch->trusted; host && *host; host++)
        if (strcasecmp(*host, now->host) == 0) return true;
    return false;
}

static bool make_lines(struct ci_fetch *fetch, const struct ci_url_origin *now, struct curl_slist **lines) {
    const struct ci_fetch_request *request = &fetch->request;
    char range[64];
    bool good = request->unpack || add_line(lines, "Accept-Encoding: identity", "");
    /* Without this, a server that does not know it costs a long request a second. */
    if (good && request->body) good = add_line(lines, "Expect:", "");
    for (char **header = fetch->headers; good && header && *header; header++) good = add_line(lines, *header, "");
    if (good && request->authorization && is_trusted(fetch, now))
        good = add_line(lines, "Authorization: ", request->authorization);
    if (request->ranged && request->to == UINT64_MAX)
        snprintf(range, sizeof range, "bytes=%" PRIu64 "-", request->from);
    else if (request->ranged)
        snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, request->from, request->to - 1);
    if (good && request->ranged) good = add_line(lines, "Range: ", range);
    if (good && request->ranged && request->if_range) good = add_line(lines, "If-Range: ", request->if_range);
    return good;
}

/* ---- what comes ---- */

static size_t refuse(struct ci_fetch *fetch, enum ci_fetch_end end, const char *problem) {
    fetch->refused = end;
    snprintf(fetch->problem, sizeof fetch->problem, "%s", problem);
    return 0;
}

static int on_request(void *user, char *peer, char *own, int peer_port, int own_port) {
    struct ci_fetch *fetch = user;
    (void)peer, (void)own, (void)peer_port, (void)own_port;
    fetch->sent = true;
    fetch->last_byte = fetch->fetcher->clock;
    return CURL_PREREQFUNC_OK;
}

static bool is_redirect(const struct ci_fetch *fetch) {
    long status = fetch->status;
    if (fetch->request.fact && ci_headers_get(&fetch->answers, fetch->request.fact)) return false;
    return (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) &&
           ci_headers_get(&fetch->answers, "Location");
}

/* The empty line: false ends the transfer. */
static bool end_head(struct ci_fetch *fetch) {
    ci_curl->easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &fetch->status);
    if (fetch->status >= 100 && fetch->status < 200) {
        ci_headers_next(&fetch->answers, true);
        return true;
    }
    fetch->headed = true;
    fetch->redirected = is_redirect(fetch);
    const char *encoding = ci_headers_get(&fetch->answers, "Content-Encoding");
    if (fetch->status < 100) return refuse(fetch, CI_FETCH_UNUSABLE, "its first line has no status");
    if (fetch->redirected) return true;
    if (!fetch->request.unpack && encoding && strcasecmp(encoding, "identity") != 0 && fetch->status < 300)
        return refuse(fetch, CI_FETCH_UNUSABLE, "its answer is compressed although plain bytes were asked for");
    if (fetch->request.on_head && !fetch->request.on_head(fetch->request.user, fetch))
        return refuse(fetch, CI_FETCH_STOPPED, "");
    return true;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *user) {
    struct ci_fetch *fetch = user;
    size_t length = size * count;
    fetch->last_byte = fetch->fetcher->clock;
    if (fetch->headed) return length; /* a trailer */
    switch (ci_headers_add(&fetch->answers, bytes, length)) {
    case CI_HEADERS_TOO_LONG: return refuse(fetch, CI_FETCH_UNUSABLE, "its header is too long");
    case CI_HEADERS_NO_MEMORY: return refuse(fetch, CI_FETCH_NO_MEMORY, "out of memory");
    case CI_HEADERS_GOOD: break;
    }
    bool empty = length && (*bytes == '\r' || *bytes == '\n');
    return !empty || end_head(fetch) ? length : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    struct ci_fetch *fetch = user;
    size_t length = size * count;
    fetch->last_byte = fetch->fetcher->clock;
    fetch->fetcher->came = true;
    /* "HTTP/200": libcurl takes it for an answer without a header. */
    if (!fetch->headed) return refuse(fetch, CI_FETCH_UNUSABLE, "its first line has no status");
    if (fetch->redirected) {
        fetch->body += length;
        return fetch->body <= REDIRECT_BODY_BYTES ? length : 0;
    }
    if (fetch->request.on_body && !fetch->request.on_body(fetch->request.user, fetch, bytes, length))
        return refuse(fetch, CI_FETCH_STOPPED, "");
    return length;
}

/* ---- one answer after the other ---- */

static bool set_up(struct ci_fetch *fetch, const char *url, const struct ci_url_origin *now) {
    CURL *easy = fetch->easy;
    ci_curl->easy_reset(easy);
    bool good = ci_net_set_policy(easy, ci_net_is_loopback(now->host)) &&
                ci_curl->easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->lines) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_USERAGENT, "clinfer/" CLINFER_VERSION) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_PRIVATE, fetch) == CURLE_OK;
    if (!good) return false;
    ci_curl->easy_setopt(easy, CURLOPT_NOBODY, fetch->request.head ? 1L : 0L);
    if (fetch->request.body) {
        ci_curl->easy_setopt(easy, CURLOPT_POSTFIELDS, fetch->request.body);
        ci_curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->request.body_bytes);
    }
    ci_curl->easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (fetch->request.unpack) ci_curl->easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "identity");
    ci_curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(fetch->request.connect_seconds * 1e3) + 1);
    ci_curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A name server that does not answer holds nobody up who has cancelled. */
    ci_curl->easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    ci_curl->easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->error);
    ci_curl->easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    ci_curl->easy_setopt(easy, CURLOPT_PREREQDATA, fetch);
    ci_curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    ci_curl->easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
    ci_curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    ci_curl->easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    return true;
}

static void take_out(struct ci_fetch *fetch) {
    if (fetch->added) ci_curl->multi_remove_handle(fetch->fetcher->multi, fetch->easy);
    fetch->added = false;
    if (fetch->easy) ci_curl->easy_reset(fetch->easy); /* nothing of the request stays in it */
    free_lines(fetch->lines);
    fetch->lines = NULL;
}

static void end_it(struct ci_fetch *fetch, enum ci_fetch_end end, const char *problem) {
    take_out(fetch);
    fetch->end = end;
    if (problem) snprintf(fetch->problem, sizeof fetch->problem, "%s", problem);
}

/* Asks visited[hops]. */
static bool ask(struct ci_fetch *fetch, const struct ci_url_origin *now) {
    take_out(fetch);
    fetch->headed = fetch->redirected = fetch->sent = false;
    fetch->body = 0;
    fetch->refused = CI_FETCH_RUNNING;
    *fetch->error = *fetch->problem = 0;
    fetch->last_byte = fetch->fetcher->clock;
    fetch->added = make_lines(fetch, now, &fetch->lines) && set_up(fetch, fetch->visited[fetch->hops], now) &&
                   ci_curl->multi_add_handle(fetch->fetcher->multi, fetch->easy) == CURLM_OK;
    return fetch->added;
}

static void end_redirects(struct ci_fetch *fetch, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void end_redirects(struct ci_fetch *fetch, const char *format, ...) {
    char problem[PROBLEM_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    end_it(fetch, CI_FETCH_REDIRECTS, problem);
}

static bool was_visited(const struct ci_fetch *fetch, const char *url) {
    for (int i = 0; i <= fetch->hops; i++)
        if (strcmp(fetch->visited[i], url) == 0) return true;
    return false;
}

static void follow(struct ci_fetch *fetch) {
    const char *url = fetch->visited[fetch->hops], *problem;
    const char *location = ci_headers_get(&fetch->answers, "Location");
    struct ci_url_origin before, now;
    char from[SHOWN_BYTES], to[SHOWN_BYTES];
    char *next = ci_url_resolve(url, location, &problem);
    ci_url_shown(url, from, sizeof from);
    ci_url_shown(next ? next : location, to, sizeof to);
    if (!next && problem)
        end_redirects(fetch, "%s redirects to \"%s\", which %s", from, to, problem);
    else if (!next || !ci_url_origin(url, &before) || !ci_url_origin(next, &now))
        end_it(fetch, CI_FETCH_NO_MEMORY, "out of memory");
    else if (before.https && !now.https)
        end_redirects(fetch, "%s redirects to %s, which is not encrypted", from, to);
    else if (was_visited(fetch, next))
        end_redirects(fetch, "%s redirects to %s, which was asked before: a loop", from, to);
    else if (fetch->request.body)
        end_redirects(fetch, "%s redirects to %s: what was posted is not sent on", from, to);
    else if (fetch->hops >= fetch->request.max_redirects)
        end_redirects(fetch, "more than %d redirects, the last one to %s", fetch->request.max_redirects, to);
    else {
        fetch->visited[++fetch->hops] = next;
        next = NULL;
        ci_headers_next(&fetch->answers, false);
        if (!ask(fetch, &now)) end_it(fetch, CI_FETCH_NO_MEMORY, "out of memory");
    }
    free(next);
}

static enum ci_fetch_end end_of_code(const struct ci_fetch *fetch, CURLcode code) {
    switch (code) {
    case CURLE_OK: return CI_FETCH_DONE;
    /* Also said of a line of a header beyond libcurl's own limit. */
    case CURLE_OUT_OF_MEMORY: return fetch->sent ? CI_FETCH_UNUSABLE : CI_FETCH_NO_MEMORY;
    case CURLE_OPERATION_TIMEDOUT: return CI_FETCH_SILENT; /* to connect: the only limit that libcurl itself has */
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS: return CI_FETCH_UNTRUSTED;
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* "HTTP/0.9": what came is no HTTP */
    case CURLE_WRITE_ERROR: return CI_FETCH_UNUSABLE;
    default: return fetch->sent ? CI_FETCH_BROKEN : CI_FETCH_UNCONNECTED;
    }
}

static void finish(struct ci_fetch *fetch, CURLcode code) {
    if (fetch->refused != CI_FETCH_RUNNING)
        end_it(fetch, fetch->refused, NULL);
    else if (fetch->headed && fetch->redirected)
        follow(fetch); /* whatever became of its body */
    else if (code == CURLE_OK && !fetch->headed)
        end_it(fetch, CI_FETCH_UNUSABLE, "its answer has no header");
    else
        end_it(fetch, end_of_code(fetch, code),
               code == CURLE_OK ? ""
               : *fetch->error  ? fetch->error
                                : ci_curl->easy_strerror(code));
}

/* ---- all of them ---- */

static void tick(struct ci_fetcher *fetcher) {
    double now = ci_now(), step = now - fetcher->seen;
    fetcher->clock += step < 1 ? step : 1;
    fetcher->seen = now;
}

/* Ends those that are cancelled or silent; whether there were any. */
static bool look(struct ci_fetcher *fetcher) {
    bool ended = false;
    char problem[80];
    for (struct ci_fetch *fetch = fetcher->first; fetch; fetch = fetch->next) {
        if (fetch->end != CI_FETCH_RUNNING) continue;
        const struct ci_fetch_request *request = &fetch->request;
        if (request->cancel && atomic_load(request->cancel))
            end_it(fetch, CI_FETCH_CANCELLED, "cancelled");
        else if (fetch->sent && fetcher->clock - fetch->last_byte > request->silence_seconds) {
            snprintf(problem, sizeof problem, "no byte came for %.3g seconds", request->silence_seconds);
            end_it(fetch, CI_FETCH_SILENT, problem);
        }
        ended = ended || fetch->end != CI_FETCH_RUNNING;
    }
    return ended;
}

/* Whether one of them ended. */
static bool collect(struct ci_fetcher *fetcher) {
    bool ended = false;
    int left;
    for (const CURLMsg *message; (message = ci_curl->multi_info_read(fetcher->multi, &left));) {
        if (message->msg != CURLMSG_DONE) continue;
        struct ci_fetch *fetch = NULL;
        CURLcode code = message->data.result;
        ci_curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
        finish(fetch, code);
        ended = ended || fetch->end != CI_FETCH_RUNNING;
    }
    return ended;
}

static size_t count_running(const struct ci_fetcher *fetcher) {
    size_t count = 0;
    for (const struct ci_fetch *fetch = fetcher->first; fetch; fetch = fetch->next)
        count += fetch->end == CI_FETCH_RUNNING;
    return count;
}

static void end_all(struct ci_fetcher *fetcher, const char *problem) {
    for (struct ci_fetch *fetch = fetcher->first; fetch; fetch = fetch->next)
        if (fetch->end == CI_FETCH_RUNNING) end_it(fetch, CI_FETCH_NO_MEMORY, problem);
}

size_t ci_fetcher_run(struct ci_fetcher *fetcher, double seconds) {
    assert(!fetcher->inside);
    double until = ci_now() + seconds;
    sigset_t before;
    ci_pipe_signal_hold(&before);
    fetcher->came = false;
    fetcher->inside = true;
    while (count_running(fetcher)) {
        int running = 0;
        tick(fetcher);
        if (look(fetcher)) break;
        if (ci_curl->multi_perform(fetcher->multi, &running) != CURLM_OK) end_all(fetcher, "libcurl cannot go on");
        if (collect(fetcher) || fetcher->came) break;
        double left = until - ci_now();
        if (left <= 0) break;
        int wait = left * 1e3 < LOOK_MILLISECONDS ? (int)(left * 1e3) + 1 : LOOK_MILLISECONDS;
        ci_curl->multi_poll(fetcher->multi, NULL, 0, wait, NULL);
    }
    fetcher->inside = false;
    ci_pipe_signal_release(&before);
    return count_running(fetcher);
}

enum clinfer_status ci_fetcher_create(struct ci_fetcher **fetcher) {
    *fetcher = NULL;
    enum clinfer_status status = ci_curl_load();
    if (status != CLINFER_OK) return status;
    struct ci_fetcher *made = calloc(1, sizeof *made);
    if (made) made->multi = ci_curl->multi_init();
    if (!made || !made->multi) {
        free(made);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "libcurl cannot start: out of memory");
    }
    made->seen = ci_now();
    *fetcher = made;
    return CLINFER_OK;
}

void ci_fetcher_destroy(struct ci_fetcher *fetcher) {
    if (!fetcher) return;
    assert(!fetcher->first);
    ci_curl->multi_cleanup(fetcher->multi);
    free(fetcher);
}

enum clinfer_status ci_fetch_start(struct ci_fetcher *fetcher, const struct ci_fetch_request *request,
                                   struct ci_fetch **fetch) {
    assert(!fetcher->inside && (!request->ranged || request->from < request->to));
    char shown[SHOWN_BYTES];
    *fetch = NULL;
    struct ci_fetch *made = calloc(1, sizeof *made);
    if (!made) return ci_fail(CLINFER_OUT_OF_MEMORY, "a request cannot be made: out of memory");
    made->fetcher = fetcher;
    made->next = fetcher->first;
    fetcher->first = made;
    enum clinfer_status status = CLINFER_OK;
    if (!ci_url_origin(request->url, &made->origin))
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "\"%s\" is no http or https address",
                         ci_url_shown(request->url, shown, sizeof shown));
    tick(fetcher);
    if (status == CLINFER_OK &&
        !(copy_request(made, request) && (made->easy = ci_curl->easy_init()) && ask(made, &made->origin)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "a request cannot be made: out of memory");
    if (status != CLINFER_OK)
        ci_fetch_free(made);
    else
        *fetch = made;
    return status;
}

void ci_fetch_free(struct ci_fetch *fetch) {
    if (!fetch) return;
    assert(!fetch->fetcher->inside);
    take_out(fetch);
    if (fetch->easy) ci_curl->easy_cleanup(fetch->easy);
    struct ci_fetch **link = &fetch->fetcher->first;
    while (*link != fetch) link = &(*link)->next;
    *link = fetch->next;
    free_list(fetch->headers);
    free_list(fetch->trusted);
    free_list(fetch->visited);
    wipe_text(fetch->request.authorization);
    wipe_text(fetch->request.if_range);
    wipe_text(fetch->request.fact);
    ci_headers_free(&fetch->answers);
    free(fetch);
}

enum ci_fetch_end ci_fetch_end(const struct ci_fetch *fetch) { return fetch->end; }
long ci_fetch_status(const struct ci_fetch *fetch) { return fetch->headed ? fetch->status : 0; }
const char *ci_fetch_url(const struct ci_fetch *fetch) { return fetch->visited[fetch->hops]; }
const char *ci_fetch_problem(const struct ci_fetch *fetch) { return fetch->problem; }

const char *ci_fetch_header(const struct ci_fetch *fetch, const char *name) {
    return ci_headers_get(&fetch->answers, name);
}

const char *ci_fetch_first_header(const struct ci_fetch *fetch, const char *name) {
    return ci_headers_first(&fetch->answers, name);
}

enum clinfer_status ci_fetch_wait(struct ci_fetcher *fetcher, const struct ci_fetch_request *request,
                                  struct ci_fetch **fetch) {
    enum clinfer_status status = ci_fetch_start(fetcher, request, fetch);
    while (status == CLINFER_OK && (*fetch)->end == CI_FETCH_RUNNING) ci_fetcher_run(fetcher, 1);
    return status;
}
