#define _GNU_SOURCE
#include "remote/http.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "net/curl.h"
#include "net/pipe_signal.h"
#include "net/policy.h"

enum { KEPT = 4, LOOK_MILLISECONDS = 20, HEADER_BYTES = 256 * 1024 };

/* How long a server may take to end an answer of which nothing is missing. */
static const double ending_seconds = 0.5;

struct ci_http {
    CURLM *multi;
    CURL *easy;
    char error[CURL_ERROR_SIZE];

    /* Of the transfer at work. */
    const struct ci_http_request *request;
    struct ci_http_answer *answer;
    size_t header_bytes;
    double sent_at, last_byte, enough_at; /* in the clock of ci_now(); 0: not yet */
    bool stopped, oversized, no_status;
};

/* ---- handles ---- */

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ci_http *kept[KEPT];

static void destroy(struct ci_http *http) {
    if (!http) return;
    ci_curl->easy_cleanup(http->easy);
    ci_curl->multi_cleanup(http->multi);
    free(http);
}

enum clinfer_status ci_http_take(struct ci_http **http) {
    *http = NULL;
    enum clinfer_status status = ci_curl_load();
    if (status != CLINFER_OK) return status;
    pthread_mutex_lock(&kept_lock);
    for (int i = 0; i < KEPT && !*http; i++) {
        *http = kept[i];
        kept[i] = NULL;
    }
    pthread_mutex_unlock(&kept_lock);
    if (*http) return CLINFER_OK;
    struct ci_http *made = calloc(1, sizeof *made);
    if (made) {
        made->multi = ci_curl->multi_init();
        made->easy = ci_curl->easy_init();
    }
    if (!made || !made->multi || !made->easy) {
        destroy(made);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "libcurl cannot start: out of memory");
    }
    *http = made;
    return CLINFER_OK;
}

void ci_http_give_back(struct ci_http *http, bool keep) {
    pthread_mutex_lock(&kept_lock);
    for (int i = 0; i < KEPT && keep && http; i++) {
        if (kept[i]) continue;
        kept[i] = http;
        http = NULL;
    }
    pthread_mutex_unlock(&kept_lock);
    destroy(http);
}

/* ---- what libcurl calls ---- */

static void read_head(struct ci_http *http) {
    struct ci_http_answer *answer = http->answer;
    const char *text = NULL;
    curl_off_t retry_after = 0;
    ci_curl->easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    ci_curl->easy_getinfo(http->easy, CURLINFO_CONTENT_TYPE, &text);
    snprintf(answer->content_type, sizeof answer->content_type, "%s", text ? text : "");
    ci_curl->easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &text);
    snprintf(answer->location, sizeof answer->location, "%s", text ? text : "");
    ci_curl->easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &retry_after);
    answer->retry_after = retry_after > 0 ? (double)retry_after : 0;
}

static int on_request(void *user, char *peer, char *own, int peer_port, int own_port) {
    struct ci_http *http = user;
    (void)own, (void)own_port;
    snprintf(http->answer->peer, sizeof http->answer->peer, "%s port %d", peer, peer_port);
    http->sent_at = ci_now();
    http->answer->sent = true;
    return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *user) {
    struct ci_http *http = user;
    (void)bytes;
    http->header_bytes += size * count;
    http->oversized = http->header_bytes > HEADER_BYTES;
    return http->oversized ? 0 : size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    struct ci_http *http = user;
    if (!http->last_byte) read_head(http);
    http->no_status = http->answer->status < 100; /* "HTTP/200": libcurl takes it for an answer without a status */
    if (http->no_status) return 0;
    enum ci_http_wish wish = http->request->receiver(http->request->user, http->answer, bytes, size * count);
    /* After the receiver, which may have waited for its own reader: that is not the server's time. */
    http->last_byte = ci_now();
    if (wish == CI_HTTP_ENOUGH && !http->enough_at) http->enough_at = http->last_byte;
    http->stopped = wish == CI_HTTP_STOP;
    return http->stopped ? 0 : size * count;
}

/* ---- one transfer ---- */

/* The header lines are wiped when they are freed: one of them holds the key. */
static void free_headers(struct curl_slist *headers) {
    for (struct curl_slist *line = headers; line; line = line->next) explicit_bzero(line->data, strlen(line->data));
    ci_curl->slist_free_all(headers);
}

static struct curl_slist *make_headers(const char *const *lines) {
    /* Without this, a server that does not know it costs a second. */
    struct curl_slist *headers = ci_curl->slist_append(NULL, "Expect:");
    for (; headers && *lines; lines++) {
        struct curl_slist *longer = ci_curl->slist_append(headers, *lines);
        if (!longer) {
            free_headers(headers);
            return NULL;
        }
        headers = longer;
    }
    return headers;
}

static bool set_up(struct ci_http *http, struct curl_slist *headers) {
    const struct ci_http_request *request = http->request;
    CURL *easy = http->easy;
    ci_curl->easy_reset(easy); /* options only: connections stay */
    bool good = ci_net_set_policy(easy, request->loopback) &&
                ci_curl->easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_POSTFIELDS, request->body) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_bytes) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_USERAGENT, "clinfer/" CLINFER_VERSION) == CURLE_OK;
    if (!good) return false;
    /* Plain answers are asked for (compressed ones come late), compressed ones understood. */
    ci_curl->easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "identity");
    ci_curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(request->connect_seconds * 1e3) + 1);
    ci_curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A name server that does not answer holds nobody up who has cancelled. */
    ci_curl->easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    ci_curl->easy_setopt(easy, CURLOPT_CERTINFO, request->want_certificate ? 1L : 0L);
    ci_curl->easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->want_certificate ? 1L : 0L);
    ci_curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, http->error);
    ci_curl->easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    ci_curl->easy_setopt(easy, CURLOPT_PREREQDATA, http);
    ci_curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    ci_curl->easy_setopt(easy, CURLOPT_HEADERDATA, http);
    ci_curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    ci_curl->easy_setopt(easy, CURLOPT_WRITEDATA, http);
    return true;
}

static enum ci_http_end end_of_code(const struct ci_http *http, CURLcode code) {
    if (http->stopped) return CI_HTTP_STOPPED;
    if (http->oversized) return CI_HTTP_UNUSABLE;
    switch (code) {
    case CURLE_OK: return CI_HTTP_DONE;
    /* Also said of a line of a header beyond libcurl's own limit. */
    case CURLE_OUT_OF_MEMORY: return http->answer->sent ? CI_HTTP_UNUSABLE : CI_HTTP_NO_MEMORY;
    case CURLE_OPERATION_TIMEDOUT: return CI_HTTP_SLOW_CONNECT; /* the only limit that libcurl itself has */
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS: return CI_HTTP_UNTRUSTED;
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* "HTTP/0.9": what came is no HTTP */
    case CURLE_WRITE_ERROR: return CI_HTTP_UNUSABLE;
    default: return http->answer->sent ? CI_HTTP_BROKEN : CI_HTTP_UNCONNECTED;
    }
}

/* Why the transfer must end now; CI_HTTP_DONE: it need not. */
static enum ci_http_end look(const struct ci_http *http) {
    const struct ci_http_request *request = http->request;
    double now = ci_now();
    if (request->cancel && atomic_load(request->cancel)) return CI_HTTP_CANCELLED;
    if (now >= request->until) return CI_HTTP_OUT_OF_TIME;
    if (http->last_byte) return now > http->last_byte + request->idle_seconds ? CI_HTTP_IDLE : CI_HTTP_DONE;
    return http->sent_at && now > http->sent_at + request->first_byte_seconds ? CI_HTTP_SLOW_START : CI_HTTP_DONE;
}

/* Until the transfer ends; how. */
static enum ci_http_end run(struct ci_http *http) {
    for (;;) {
        int running = 0, left;
        if (ci_curl->multi_perform(http->multi, &running) != CURLM_OK) return CI_HTTP_NO_MEMORY;
        const CURLMsg *message = ci_curl->multi_info_read(http->multi, &left);
        if (message && message->msg == CURLMSG_DONE) {
            enum ci_http_end end = end_of_code(http, message->data.result);
            if (end != CI_HTTP_DONE && end != CI_HTTP_STOPPED && end != CI_HTTP_NO_MEMORY)
                snprintf(http->answer->problem, sizeof http->answer->problem, "%s",
                         http->oversized   ? "its header is too long"
                         : http->no_status ? "its first line has no status"
                         : *http->error    ? http->error
                                           : ci_curl->easy_strerror(message->data.result));
            http->answer->through_proxy_failed = message->data.result == CURLE_COULDNT_RESOLVE_PROXY;
            http->answer->in_handshake = end == CI_HTTP_UNTRUSTED || message->data.result == CURLE_SSL_CONNECT_ERROR;
            return end;
        }
        enum ci_http_end end = look(http);
        if (end != CI_HTTP_DONE) return end;
        if (http->enough_at && ci_now() > http->enough_at + ending_seconds) return CI_HTTP_DONE;
        ci_curl->multi_poll(http->multi, NULL, 0, LOOK_MILLISECONDS, NULL);
    }
}

static double seconds_of(CURL *easy, CURLINFO info) {
    curl_off_t microseconds = 0;
    ci_curl->easy_getinfo(easy, info, &microseconds);
    return 1e-6 * (double)microseconds;
}

/* "CN = example.org, until Nov 20 17:12:34 2026 GMT" */
static void read_certificate(struct ci_http *http) {
    struct curl_certinfo *chain = NULL;
    const char *subject = "", *end = "";
    if (ci_curl->easy_getinfo(http->easy, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain || chain->num_of_certs < 1)
        return;
    for (const struct curl_slist *line = chain->certinfo[0]; line; line = line->next) {
        if (strncmp(line->data, "Subject:", 8) == 0) subject = line->data + 8;
        if (strncmp(line->data, "Expire date:", 12) == 0) end = line->data + 12;
    }
    snprintf(http->answer->certificate, sizeof http->answer->certificate, "%.150s, until %.60s", subject, end);
}

void ci_http_post(struct ci_http *http, const struct ci_http_request *request, struct ci_http_answer *answer) {
    assert(!http->request);
    *answer = (struct ci_http_answer){.end = CI_HTTP_NO_MEMORY};
    http->request = request;
    http->answer = answer;
    http->header_bytes = 0;
    http->sent_at = http->last_byte = http->enough_at = 0;
    http->stopped = http->oversized = http->no_status = false;
    http->error[0] = 0;
    sigset_t before;
    ci_pipe_signal_hold(&before);
    struct curl_slist *headers = make_headers(request->headers);
    if (headers && set_up(http, headers) && ci_curl->multi_add_handle(http->multi, http->easy) == CURLM_OK) {
        answer->end = run(http);
        long connections = 1;
        ci_curl->easy_getinfo(http->easy, CURLINFO_NUM_CONNECTS, &connections);
        answer->reused = answer->sent && connections == 0;
        if (answer->sent) read_head(http); /* again: where a redirect leads is known at the end only */
        answer->resolved = seconds_of(http->easy, CURLINFO_NAMELOOKUP_TIME_T);
        answer->connected = seconds_of(http->easy, CURLINFO_CONNECT_TIME_T);
        answer->secured = seconds_of(http->easy, CURLINFO_APPCONNECT_TIME_T);
        if (request->want_certificate) read_certificate(http);
        ci_curl->multi_remove_handle(http->multi, http->easy);
    }
    ci_curl->easy_reset(http->easy); /* nothing of the request stays in it */
    free_headers(headers);
    ci_pipe_signal_release(&before);
    http->request = NULL;
    http->answer = NULL;
}
