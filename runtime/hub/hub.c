#define _GNU_SOURCE
#include "hub/hub.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/narrow.h"
#include "base/status.h"
#include "net/policy.h"
#include "net/url.h"

const char *const ci_hub_trusted[] = {"huggingface.co", "hf.co", NULL};

/* Whoever has no network is not kept for 15 seconds. */
enum { MOST_REDIRECTS = 10, MOST_UNCONNECTED = 2, TOKEN_PART = 8 };

/* Steps of a pause, within which a Ctrl-C is seen. */
static const double step_seconds = 0.05;

void ci_hub_say(const struct ci_hub *hub, bool warning, const char *format, ...) {
    char text[1024];
    va_list arguments;
    if (!hub->watch) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const struct ci_hub_event event = {.kind = CI_HUB_SAID, .warning = warning, .text = text};
    hub->watch(hub->user, &event);
}

/* ---- credentials ---- */

const char *ci_hub_authorization(const struct ci_hub_settings *settings, char text[CI_HUB_AUTHORIZATION_BYTES]) {
    *text = 0;
    if (!settings->token) return NULL;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    snprintf(text, CI_HUB_AUTHORIZATION_BYTES, "Bearer %s", settings->token);
    return text;
}

/* Whether eight bytes of the token on end, or all of a shorter one, stand in the text in whatever case. */
static bool holds_token(const char *token, const char *text) {
    size_t length = strlen(token), part = length < TOKEN_PART ? length : TOKEN_PART;
    for (size_t from = 0; from + part <= length; from++) {
        char piece[TOKEN_PART + 1];
        memcpy(piece, token + from, part);
        piece[part] = 0;
        if (strcasestr(text, piece)) return true;
    }
    return false;
}

/* Bytes of a well-formed character of UTF-8 beyond ASCII, without the controls U+0080 to U+009F; 0: none. */
static size_t wide_character(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    size_t length = *c >= 0xf0 && *c < 0xf5 ? 4 : *c >= 0xe0 && *c < 0xf0 ? 3 : *c >= 0xc2 && *c < 0xe0 ? 2 : 0;
    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return *c == 0xc2 && c[1] < 0xa0 ? 0 : length;
}

const char *ci_hub_shown(const struct ci_hub_settings *settings, const char *text, char *shown, size_t size) {
    size_t used = 0;
    if (settings->token && holds_token(settings->token, text)) text = "";
    while (*text) {
        size_t wide = wide_character(text), bytes = wide ? wide : 1;
        bool space = !wide && (*text <= ' ' || *text == 0x7f); /* and bytes that are no UTF-8, where char is signed */
        if ((unsigned char)*text >= 0x80 && !wide) space = true;
        if (space && (!used || shown[used - 1] == ' ')) {
            text += bytes;
            continue;
        }
        if (used + bytes >= size) break;
        memcpy(shown + used, space ? " " : text, bytes);
        used += bytes;
        text += bytes;
    }
    while (used && shown[used - 1] == ' ') used--;
    shown[used] = 0;
    return shown;
}

/* ---- requests ---- */

enum clinfer_status ci_hub_check_online(const struct ci_hub_settings *settings, const char *what) {
    if (!settings->offline)
        return *settings->problem ? ci_fail(CLINFER_INVALID_ARGUMENT, "%s", settings->problem) : CLINFER_OK;
    const char *from = settings->offline_from ? settings->offline_from : "offline";
    bool flag = *from == '-';
    return ci_fail(CLINFER_NOT_FOUND, "%.200s is not on this machine, and %s%s keeps clinfer from asking the Hub; %s",
                   what, from, flag ? "" : "=1",
                   flag ? "leave that flag out to fetch it" : "unset it to fetch the model");
}

bool ci_hub_pause(struct ci_hub *hub, int attempt, double after) {
    double seconds = hub->settings->first_pause;
    if (after >= 0)
        seconds += after;
    else
        for (int i = 0; i < attempt && i < 10; i++) seconds *= 2;
    for (double until = ci_now() + seconds, left; (left = until - ci_now()) > 0;) {
        if (hub->cancel && atomic_load(hub->cancel)) return false;
        double step = left < step_seconds ? left : step_seconds;
        const struct timespec time = {.tv_nsec = (long)(step * 1e9)};
        nanosleep(&time, NULL);
    }
    return !(hub->cancel && atomic_load(hub->cancel));
}

/* Whether nothing was said about it yet, as far as there is room to remember. */
static bool is_new(struct ci_hub *hub, const char topic[CI_HUB_TOPIC_BYTES]) {
    for (size_t i = 0; i < CI_HUB_TOPICS; i++) {
        if (strcmp(hub->topics[i], topic) == 0) return false;
        if (*hub->topics[i]) continue;
        memcpy(hub->topics[i], topic, CI_HUB_TOPIC_BYTES);
        return true;
    }
    return false;
}

void ci_hub_warn(struct ci_hub *hub, const struct ci_fetch *fetch) {
    char topic[CI_HUB_TOPIC_BYTES] = "", text[400];
    const char *warning = ci_fetch_first_header(fetch, "X-HF-Warning");
    if (!warning) return;
    size_t length = strcspn(warning, ";");
    snprintf(topic, sizeof topic, "%.*s", ci_shown(length, sizeof topic), *warning == ';' ? "-" : warning);
    ci_hub_shown(hub->settings, warning[length] ? warning + length + 1 : warning, text, sizeof text);
    if (*text && is_new(hub, topic)) ci_hub_say(hub, true, "the Hub says: %s", text);
}

void ci_hub_reply_free(struct ci_hub_reply *reply) {
    ci_fetch_free(reply->fetch);
    free(reply->body);
    *reply = (struct ci_hub_reply){0};
}

/* Whether the token may be sent there at all, whoever asks. */
static bool is_the_hubs(const struct ci_hub_settings *settings, const char *url) {
    struct ci_url_origin origin, endpoint;
    if (!ci_url_origin(url, &origin)) return false;
    for (size_t i = 0; ci_hub_trusted[i]; i++)
        if (origin.https && strcmp(origin.host, ci_hub_trusted[i]) == 0) return true;
    return ci_url_origin(settings->endpoint, &endpoint) && ci_url_same_origin(&origin, &endpoint);
}

/* Everybody on the way can read it then. */
static void warn_of_plain(struct ci_hub *hub) {
    static const char topic[CI_HUB_TOPIC_BYTES] = "plain http";
    struct ci_url_origin endpoint;
    if (ci_url_origin(hub->settings->endpoint, &endpoint) && !endpoint.https && !ci_net_is_loopback(endpoint.host) &&
        is_new(hub, topic))
        ci_hub_say(hub, true, "the token of %s goes to %s without encryption; set HF_ENDPOINT to an https address",
                   hub->settings->token_from, endpoint.host);
}

/* Once. */
static enum clinfer_status ask_once(struct ci_hub *hub, const struct ci_hub_question *question,
                                    struct ci_hub_reply *reply) {
    char authorization[CI_HUB_AUTHORIZATION_BYTES] = "";
    bool token = question->token && is_the_hubs(hub->settings, question->url);
    if (token && hub->settings->token) warn_of_plain(hub);
    const struct ci_fetch_request request = {.url = question->url,
                                             .head = question->head,
                                             .headers = question->headers,
                                             .authorization = token ? ci_hub_authorization(hub->settings, authorization)
                                                                    : question->authorization,
                                             .trusted = token ? ci_hub_trusted : NULL,
                                             .fact = question->fact,
                                             .max_redirects = MOST_REDIRECTS,
                                             .connect_seconds = hub->settings->connect_seconds,
                                             .silence_seconds = hub->settings->silence_seconds,
                                             .cancel = hub->cancel};
    enum clinfer_status status =
        ci_fetch_text(hub->fetcher, &request, question->most, &reply->fetch, &reply->body, &reply->length);
    explicit_bzero(authorization, sizeof authorization);
    return status;
}

static bool is_good(const struct ci_fetch *fetch, const char *fact) {
    long status = ci_fetch_status(fetch);
    if (ci_fetch_end(fetch) == CI_FETCH_DONE && status < 400 && fact && ci_fetch_header(fetch, fact)) return true;
    return ci_fetch_end(fetch) == CI_FETCH_DONE && status >= 200 && status < 300;
}

enum clinfer_status ci_hub_ask(struct ci_hub *hub, const struct ci_hub_question *question, struct ci_hub_reply *reply) {
    struct ci_hub_failure failure;
    *reply = (struct ci_hub_reply){0};
    enum clinfer_status status = ci_hub_check_online(hub->settings, question->what);
    if (status != CLINFER_OK) return status;
    assert(hub->fetcher);
    for (int attempt = 0;; attempt++) {
        status = ask_once(hub, question, reply);
        if (status != CLINFER_OK) return status;
        ci_hub_warn(hub, reply->fetch);
        if (is_good(reply->fetch, question->fact)) return CLINFER_OK;
        ci_hub_failure_of(hub, reply->fetch, reply->body, question->what, &failure);
        int tries = hub->settings->tries;
        if (ci_fetch_end(reply->fetch) == CI_FETCH_UNCONNECTED && tries > MOST_UNCONNECTED) tries = MOST_UNCONNECTED;
        if (!failure.may_pass || attempt + 1 >= tries)
            return ci_fail(failure.status, "%s; %s", failure.cause, failure.advice);
        ci_hub_say(hub, true, "%s; trying again (%d of %d)", failure.cause, attempt + 2, tries);
        ci_hub_reply_free(reply);
        if (!ci_hub_pause(hub, attempt, failure.after))
            return ci_fail(CLINFER_CANCELLED, "%.200s: cancelled", question->what);
    }
}

enum clinfer_status ci_hub_get(struct ci_hub *hub, const char *url, size_t most, char **text, size_t *length) {
    char what[200];
    struct ci_hub_reply reply;
    const char *name = strstr(url, "/resolve/");
    *text = NULL;
    *length = 0;
    name = name ? strchr(name + 9, '/') : strrchr(url, '/');
    snprintf(what, sizeof what, "%.150s", name ? name + 1 : url);
    const struct ci_hub_question question = {.url = url, .what = what, .token = true, .most = most};
    enum clinfer_status status = ci_hub_ask(hub, &question, &reply);
    if (status == CLINFER_OK) {
        *text = reply.body;
        *length = reply.length;
        reply.body = NULL;
    }
    ci_hub_reply_free(&reply);
    return status;
}

/* ---- addresses ---- */

static bool is_plain(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.' || c == '~';
}

char *ci_hub_encode(const char *text, bool slash) {
    char *encoded = malloc(3 * strlen(text) + 1), *end = encoded;
    for (; encoded && *text; text++)
        if (is_plain(*text) || (*text == '/' && !slash))
            *end++ = *text;
        else
            end += sprintf(end, "%%%02X", (unsigned char)*text);
    if (encoded) *end = 0;
    return encoded;
}

char *ci_hub_resolve_url(const struct ci_hub_settings *settings, const char *repo, const char *revision,
                         const char *path) {
    char *encoded_repo = ci_hub_encode(repo, false), *encoded_revision = ci_hub_encode(revision, true);
    char *encoded_path = ci_hub_encode(path, false), *url = NULL;
    if (encoded_repo && encoded_revision && encoded_path &&
        asprintf(&url, "%s/%s/resolve/%s/%s", settings->endpoint, encoded_repo, encoded_revision, encoded_path) < 0)
        url = NULL;
    free(encoded_repo);
    free(encoded_revision);
    free(encoded_path);
    return url;
}
