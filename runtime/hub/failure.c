#define _GNU_SOURCE
#include "hub/hub.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <jansson.h>

#include "base/narrow.h"
#include "net/policy.h"
#include "net/url.h"

/* What the judges below share. */
struct case_at_hand {
    const struct ci_hub *hub;
    const struct ci_fetch *fetch;
    const char *what;
    char host[160];    /* as "127.0.0.1:8080": who was asked last */
    char repo[200];    /* which one it is about, where the address says it; else `what` */
    char message[300]; /* the server's own words, fit to be shown: `: "..."`; "" */
    bool elsewhere;    /* the host is not the endpoint's */
    struct ci_hub_failure *failure;
};

static void conclude(const struct case_at_hand *at, enum clinfer_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void advise(const struct case_at_hand *at, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void conclude(const struct case_at_hand *at, enum clinfer_status status, const char *format, ...) {
    va_list arguments;
    at->failure->status = status;
    va_start(arguments, format);
    vsnprintf(at->failure->cause, sizeof at->failure->cause, format, arguments);
    va_end(arguments);
}

static void advise(const struct case_at_hand *at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(at->failure->advice, sizeof at->failure->advice, format, arguments);
    va_end(arguments);
}

/* ---- what a server wants ---- */

/* Retry-After (RFC 9110, section 10.2.3): seconds or a date; -1: neither. */
static double read_retry_after(const char *text) {
    char *end;
    double seconds = strtod(text, &end);
    if (end != text && !*end && isfinite(seconds) && seconds >= 0) return seconds;
    struct tm date = {0};
    const char *rest = strptime(text, "%a, %d %b %Y %H:%M:%S", &date);
    if (!rest || strcmp(rest, " GMT") != 0) return -1;
    double left = difftime(timegm(&date), time(NULL));
    return left > 0 ? left : 0;
}

/* RateLimit: "api";r=0;t=55; -1: no such thing. */
static double read_rate_limit(const char *text) {
    for (const char *part = strchr(text, ';'); part; part = strchr(part + 1, ';')) {
        const char *name = part + 1 + strspn(part + 1, " ");
        if (strncmp(name, "t=", 2) == 0 && name[2] >= '0' && name[2] <= '9') return strtod(name + 2, NULL);
    }
    return -1;
}

static double seconds_wanted(const struct ci_fetch *fetch) {
    const char *after = ci_fetch_header(fetch, "Retry-After"), *limit = ci_fetch_header(fetch, "RateLimit");
    double one = after ? read_retry_after(after) : -1, other = limit ? read_rate_limit(limit) : -1;
    return one > other ? one : other;
}

/* ---- what it said ---- */

/* X-Error-Message, else the body's {"error": "..."}. */
static void read_message(struct case_at_hand *at, const char *body) {
    const char *header = ci_fetch_header(at->fetch, "X-Error-Message");
    json_t *top = !header && body && *body == '{' ? json_loads(body, 0, NULL) : NULL;
    const char *error = json_string_value(json_object_get(top, "error"));
    char shown[200];
    ci_hub_shown(at->hub->settings, header ? header : error ? error : "", shown, sizeof shown);
    *at->message = 0;
    if (*shown) snprintf(at->message, sizeof at->message, ": \"%s\"", shown);
    json_decref(top);
}

static void read_host(struct case_at_hand *at) {
    struct ci_url_origin now, endpoint;
    const char *url = ci_fetch_url(at->fetch);
    snprintf(at->host, sizeof at->host, "the server");
    at->elsewhere = true;
    if (!ci_url_origin(url, &now)) return;
    bool usual = strcmp(now.port, now.https ? "443" : "80") == 0;
    snprintf(at->host, sizeof at->host, "%.140s%s%s", now.host, usual ? "" : ":", usual ? "" : now.port);
    at->elsewhere = !ci_url_origin(at->hub->settings->endpoint, &endpoint) || !ci_url_same_origin(&now, &endpoint);
}

/* ENDPOINT/REPO/resolve/..., ENDPOINT/api/models/REPO/refs */
static void read_repo(struct case_at_hand *at) {
    static const char *const ends[] = {"/resolve/", "/refs", "/revision/", "/tree/"};
    static const char api[] = "/api/models";
    const char *url = ci_fetch_url(at->fetch), *endpoint = at->hub->settings->endpoint;
    size_t length = strlen(endpoint);
    snprintf(at->repo, sizeof at->repo, "%s", at->what);
    if (strncmp(url, endpoint, length) != 0 || url[length] != '/') return;
    url += length;
    if (strncmp(url, api, sizeof api - 1) == 0) url += sizeof api - 1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *end = strstr(url, ends[i]);
        if (!end || end <= url + 1 || (size_t)(end - url) > sizeof at->repo) continue;
        snprintf(at->repo, sizeof at->repo, "%.*s", ci_shown((size_t)(end - url - 1), sizeof at->repo), url + 1);
        return;
    }
}

/* ---- the network ---- */

static void judge_unconnected(const struct case_at_hand *at) {
    static const char *const proxies[] = {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"};
    const char *proxy = NULL;
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies && !proxy; i++)
        if (getenv(proxies[i]) && *getenv(proxies[i])) proxy = proxies[i];
    conclude(at, CLINFER_REMOTE_FAILED, "%.150s: cannot reach %s (%.200s)", at->what, at->host,
             ci_fetch_problem(at->fetch));
    if (proxy)
        advise(at,
               "check the connection, and the proxy that %s names; or bring the file here by other means and name "
               "it by -m PATH",
               proxy);
    else
        advise(at, "check the connection, or set https_proxy if there is a proxy; or bring the file here by other "
                   "means and name it by -m PATH");
    at->failure->may_pass = true;
}

static void judge_untrusted(const struct case_at_hand *at) {
    const char *variable = ci_net_certificate_variable();
    conclude(at, CLINFER_REMOTE_FAILED, "%.150s: the certificate of %s is not trusted (%.200s)", at->what, at->host,
             ci_fetch_problem(at->fetch));
    if (variable)
        advise(at, "check whether %s names the authority that signed it, and this machine's clock", variable);
    else
        advise(at, "check this machine's clock and its ca-certificates; the authority of a company's proxy is named by "
                   "SSL_CERT_FILE");
}

static const char no_hub[] = "check HF_ENDPOINT, and whether this network has a page to log in at first";

/* false: an answer came. */
static bool judge_end(const struct case_at_hand *at) {
    const char *problem = ci_fetch_problem(at->fetch);
    enum ci_fetch_end end = ci_fetch_end(at->fetch);
    if (end == CI_FETCH_DONE || (end == CI_FETCH_STOPPED && ci_fetch_status(at->fetch) >= 400)) return false;
    switch (end) {
    case CI_FETCH_UNCONNECTED: judge_unconnected(at); break;
    case CI_FETCH_UNTRUSTED: judge_untrusted(at); break;
    case CI_FETCH_CANCELLED:
        conclude(at, CLINFER_CANCELLED, "%.200s: cancelled", at->what);
        advise(at, "what came is kept, and the same command goes on with it");
        break;
    case CI_FETCH_SILENT:
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: %s does not answer (%.200s)", at->what, at->host, problem);
        advise(at, "check the connection and try again; HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT set how many "
                   "seconds are waited");
        at->failure->may_pass = true;
        break;
    case CI_FETCH_BROKEN:
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: the connection to %s broke (%.200s)", at->what, at->host, problem);
        advise(at, "check the connection and try again: what came is kept");
        at->failure->may_pass = true;
        break;
    case CI_FETCH_REDIRECTS:
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: %.300s", at->what, problem);
        advise(at, "%s", no_hub);
        break;
    case CI_FETCH_NO_MEMORY:
        conclude(at, CLINFER_OUT_OF_MEMORY, "%.150s: out of memory", at->what);
        advise(at, "close other programs");
        break;
    case CI_FETCH_STOPPED:
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: the answer of %s is longer than any of its kind", at->what,
                 at->host);
        advise(at, "%s", no_hub);
        break;
    default:
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: %s does not answer as a web server does (%.200s)", at->what,
                 at->host, *problem ? problem : "no answer");
        advise(at, "%s", no_hub);
    }
    return true;
}

/* ---- answers ---- */

static void advise_token(const struct case_at_hand *at, const char *why) {
    const struct ci_hub_settings *settings = at->hub->settings;
    if (settings->token)
        advise(at, "%s; the token is that of %s", why, settings->token_from);
    else if (settings->token_withheld)
        advise(at, "%s; there may be a token, but HF_HUB_DISABLE_IMPLICIT_TOKEN keeps it back", why);
    else
        advise(at, "%s: set HF_TOKEN to one of %.100s/settings/tokens", why, settings->endpoint);
}

static bool judge_code(const struct case_at_hand *at, const char *code) {
    const char *page = at->hub->settings->endpoint;
    char why[300];
    if (strcmp(code, "GatedRepo") == 0) {
        conclude(at, CLINFER_REFUSED, "%.150s is gated: its owner wants its terms accepted first%s", at->repo,
                 at->message);
        snprintf(why, sizeof why, "accept them on %.80s/%.150s%s", page, at->repo,
                 at->hub->settings->token ? "" : ", and give the token of that account");
        advise_token(at, why);
    } else if (strcmp(code, "RepoNotFound") == 0) {
        conclude(at, CLINFER_NOT_FOUND, "%.150s: %s has no such repo, or it is private", at->what, at->host);
        advise_token(at, "check the spelling; a private repo wants a token that may read it");
    } else if (strcmp(code, "RevisionNotFound") == 0) {
        conclude(at, CLINFER_NOT_FOUND, "%.150s has no such revision%s", at->what, at->message);
        advise(at, "see its branches and tags on %.100s/%.150s", page, at->repo);
    } else if (strcmp(code, "EntryNotFound") == 0) {
        conclude(at, CLINFER_NOT_FOUND, "%.150s: there is no such file%s", at->what, at->message);
        advise(at, "`clinfer pull` of the repo alone chooses from those that there are");
    } else {
        return false;
    }
    return true;
}

static void judge_refusal(const struct case_at_hand *at, long status) {
    const struct ci_hub_settings *settings = at->hub->settings;
    if (strcasestr(at->message, "disabled")) {
        conclude(at, CLINFER_REFUSED, "%.150s has been disabled on %s%s", at->what, at->host, at->message);
        advise(at, "its page may say why, %.100s/%.150s; take another model", settings->endpoint, at->repo);
    } else if (at->elsewhere) {
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: %s refuses it (HTTP %ld%s)", at->what, at->host, status,
                 at->message);
        advise(at, "the address may have expired, or this machine's clock be wrong: try again");
        at->failure->may_pass = true;
    } else if (settings->token && (status == 401 || strcasestr(at->message, "credentials"))) {
        conclude(at, CLINFER_REFUSED, "%.150s: %s does not accept the token (HTTP %ld%s)", at->what, at->host, status,
                 at->message);
        advise(at, "the token is that of %s: make a new one on %.100s/settings/tokens, or unset it for public models",
               settings->token_from, settings->endpoint);
    } else if (status == 401) {
        conclude(at, CLINFER_NOT_FOUND, "%.150s: %s has no such repo, or it is private%s", at->what, at->host,
                 at->message);
        advise_token(at, "check the spelling; a private repo wants a token that may read it");
    } else {
        conclude(at, CLINFER_REFUSED, "%.150s: %s refuses it (HTTP %ld%s)", at->what, at->host, status, at->message);
        advise_token(at, "a token with the right to read it is wanted");
    }
}

/* Statuses that pass. */
static bool judge_passing(const struct case_at_hand *at, long status) {
    static const struct {
        long status;
        const char *text;
    } passing[] = {{408, "the request took too long to get there"},
                   {429, "too many requests from here"},
                   {500, "it has a problem of its own"},
                   {502, "what it stands in front of does not answer"},
                   {503, "it is not ready"},
                   {504, "what it stands in front of is too slow"}};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        if (passing[i].status != status) continue;
        at->failure->may_pass = true;
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: %s: HTTP %ld, %s%s", at->what, at->host, status, passing[i].text,
                 at->message);
        advise(at, status == 429 && !at->hub->settings->token
                       ? "try again later; a token (HF_TOKEN) has limits of its own"
                       : "try again later: what came is kept");
        return true;
    }
    return false;
}

/* A server that wants to be left alone for long is not waited for. */
static void judge_wait(const struct case_at_hand *at) {
    struct ci_hub_failure *failure = at->failure;
    failure->after = seconds_wanted(at->fetch);
    if (!failure->may_pass || failure->after <= at->hub->settings->longest_wait) return;
    failure->may_pass = false;
    advise(at, "it asks to wait %.0f seconds: try again after that", failure->after);
}

static void judge_answer(const struct case_at_hand *at) {
    long status = ci_fetch_status(at->fetch);
    const char *code = ci_fetch_header(at->fetch, "X-Error-Code");
    bool bad_token = status == 401 && strcasestr(at->message, "Invalid credentials");
    if (!bad_token && code && judge_code(at, code)) return;
    if (status == 401 || status == 403)
        judge_refusal(at, status);
    else if (status == 404 || status == 410) {
        conclude(at, CLINFER_NOT_FOUND, "%.150s: %s has no such thing (HTTP %ld%s)", at->what, at->host, status,
                 at->message);
        advise(at, at->elsewhere ? "try again later" : "check the spelling, and HF_ENDPOINT if that is set");
    } else if (judge_passing(at, status))
        judge_wait(at);
    else if (status == 451) {
        conclude(at, CLINFER_REFUSED, "%.150s: %s may not hand it out, for legal reasons (HTTP 451%s)", at->repo,
                 at->host, at->message);
        advise(at, "take another model");
    } else if (status == 407) {
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: the proxy wants a name and a password (HTTP 407)", at->what);
        advise(at, "put them into https_proxy: http://NAME:PASSWORD@HOST:PORT");
    } else {
        conclude(at, CLINFER_REMOTE_FAILED, "%.150s: %s answers HTTP %ld%s", at->what, at->host, status, at->message);
        advise(at, "%s", no_hub);
    }
}

void ci_hub_failure_of(const struct ci_hub *hub, const struct ci_fetch *fetch, const char *body, const char *what,
                       struct ci_hub_failure *failure) {
    struct case_at_hand at = {.hub = hub, .fetch = fetch, .what = what, .failure = failure};
    *failure = (struct ci_hub_failure){.status = CLINFER_REMOTE_FAILED, .after = -1};
    read_host(&at);
    read_message(&at, body);
    read_repo(&at);
    if (!judge_end(&at)) judge_answer(&at);
}
