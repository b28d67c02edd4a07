#define _GNU_SOURCE
#include "net/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/curl.h"

/* Nobody's signed address is as long. */
enum { URL_BYTES = 16 * 1024 };

static bool get_part(CURLU *url, CURLUPart part, unsigned flags, char *text, size_t size) {
    char *found = NULL;
    if (ci_curl->url_get(url, part, &found, flags) != CURLUE_OK) return false;
    int length = snprintf(text, size, "%s", found);
    ci_curl->free(found);
    return length >= 0 && (size_t)length < size;
}

static bool get_origin(CURLU *url, struct ci_url_origin *origin) {
    char scheme[16];
    if (!get_part(url, CURLUPART_SCHEME, 0, scheme, sizeof scheme)) return false;
    origin->https = strcmp(scheme, "https") == 0;
    if (!origin->https && strcmp(scheme, "http") != 0) return false;
    if (!get_part(url, CURLUPART_HOST, 0, origin->host, sizeof origin->host) ||
        !get_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, origin->port, sizeof origin->port))
        return false;
    for (char *c = origin->host; *c; c++) *c = (char)tolower((unsigned char)*c);
    return true;
}

bool ci_url_origin(const char *url, struct ci_url_origin *origin) {
    CURLU *parsed = ci_curl->url();
    bool good = parsed && ci_curl->url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
                get_origin(parsed, origin);
    if (parsed) ci_curl->url_cleanup(parsed);
    return good;
}

bool ci_url_same_origin(const struct ci_url_origin *one, const struct ci_url_origin *other) {
    return one->https == other->https && strcmp(one->host, other->host) == 0 && strcmp(one->port, other->port) == 0;
}

static bool has_control(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) return true;
    return false;
}

static bool refuse(const char **problem, const char *why) {
    *problem = why;
    return false;
}

/* Against the base that `url` holds. */
static bool set_reference(CURLU *url, const char *reference, const char **problem) {
    struct ci_url_origin origin;
    switch (ci_curl->url_set(url, CURLUPART_URL, reference,
                             CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE | CURLU_DISALLOW_USER)) {
    case CURLUE_OK: break;
    case CURLUE_USER_NOT_ALLOWED: return refuse(problem, "has a user name in it");
    case CURLUE_OUT_OF_MEMORY: return refuse(problem, NULL);
    default: return refuse(problem, "is malformed");
    }
    if (!get_origin(url, &origin)) return refuse(problem, "is no http or https address");
    return ci_curl->url_set(url, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK || refuse(problem, NULL);
}

/* The whole; NULL as of ci_url_resolve. */
static char *get_whole(CURLU *url, const char **problem) {
    char *whole = NULL, *copy = NULL;
    *problem = NULL;
    if (ci_curl->url_get(url, CURLUPART_URL, &whole, 0) != CURLUE_OK) return NULL;
    if (strlen(whole) < URL_BYTES)
        copy = strdup(whole);
    else
        *problem = "is too long";
    ci_curl->free(whole);
    return copy;
}

char *ci_url_resolve(const char *base, const char *reference, const char **problem) {
    *problem = !*reference                      ? "is empty"
               : has_control(reference)         ? "has a control character in it"
               : strlen(reference) >= URL_BYTES ? "is too long"
                                                : NULL;
    if (*problem) return NULL;
    CURLU *url = ci_curl->url();
    if (!url) return NULL;
    char *whole = NULL;
    if (ci_curl->url_set(url, CURLUPART_URL, base, 0) == CURLUE_OK && set_reference(url, reference, problem))
        whole = get_whole(url, problem);
    ci_curl->url_cleanup(url);
    return whole;
}

const char *ci_url_shown(const char *url, char *text, size_t size) {
    const char *end = url + strcspn(url, "?#"), *scheme = strstr(url, "://"), *rest = url;
    size_t used = 0;
    if (scheme && scheme + 3 <= end) {
        rest = scheme + 3;
        const char *user = memchr(rest, '@', strcspn(rest, "/?#"));
        if (user) rest = user + 1;
    }
    for (const char *c = url; c < end && used + 1 < size; c++) {
        if (scheme && c == scheme + 3) c = rest;
        if (c >= end) break;
        text[used++] = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    }
    text[used] = 0;
    return text;
}
