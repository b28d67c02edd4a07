#define _GNU_SOURCE
#include "remote/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "net/curl.h"
#include "net/policy.h"
#include "remote/redact.h"

/* Bytes of `path`, up to a '/', with which `base` of `length` bytes ends already. */
static size_t overlap(const char *base, size_t length, const char *path) {
    size_t longest = strlen(path);
    for (size_t count = longest < length ? longest : length; count > 1; count--)
        if ((path[count] == 0 || path[count] == '/') && memcmp(base + length - count, path, count) == 0) return count;
    return 0;
}

/* A part of the URL, empty where there is none. */
static enum clinfer_status get_part(CURLU *parsed, CURLUPart part, char *text, size_t size, const char *label) {
    char *found = NULL;
    CURLUcode error = ci_curl->url_get(parsed, part, &found, 0);
    if (error == CURLUE_OUT_OF_MEMORY) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", label);
    int needed = snprintf(text, size, "%s", found ? found : "");
    ci_curl->free(found);
    if (needed < 0 || (size_t)needed >= size)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: its URL is too long", label);
    return CLINFER_OK;
}

static enum clinfer_status refuse_extras(CURLU *parsed, const char *label) {
    static const struct {
        CURLUPart part;
        const char *name;
    } extras[] = {{CURLUPART_USER, "a user name"},
                  {CURLUPART_PASSWORD, "a password"},
                  {CURLUPART_QUERY, "a query (?...)"},
                  {CURLUPART_FRAGMENT, "a fragment (#...)"}};
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        char *found = NULL;
        bool there = ci_curl->url_get(parsed, extras[i].part, &found, 0) == CURLUE_OK;
        ci_curl->free(found);
        if (there)
            return ci_fail(CLINFER_INVALID_ARGUMENT,
                           "%s: its URL holds %s; leave that out. A key comes from a variable, a file or a command",
                           label, extras[i].name);
    }
    return CLINFER_OK;
}

static enum clinfer_status take_apart(CURLU *parsed, const char *path, struct ci_address *address) {
    char scheme[16], before[CI_ADDRESS_URL_BYTES];
    enum clinfer_status status = get_part(parsed, CURLUPART_SCHEME, scheme, sizeof scheme, address->label);
    if (status == CLINFER_OK)
        status = get_part(parsed, CURLUPART_HOST, address->host, sizeof address->host, address->label);
    if (status == CLINFER_OK) status = refuse_extras(parsed, address->label);
    if (status == CLINFER_OK) status = get_part(parsed, CURLUPART_URL, before, sizeof before, address->label);
    if (status != CLINFER_OK) return status;
    address->https = strcmp(scheme, "https") == 0;
    if (!address->https && strcmp(scheme, "http") != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "%s: its URL begins with %s://; only https:// and http:// are possible", address->label, scheme);
    address->loopback = ci_net_is_loopback(address->host);
    size_t length = strlen(before);
    while (length && before[length - 1] == '/') length--;
    length -= overlap(before, length, path);
    int needed = snprintf(address->url, sizeof address->url, "%.*s%s", (int)length, before, path);
    if (needed < 0 || (size_t)needed >= sizeof address->url)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: its URL is too long", address->label);
    return CLINFER_OK;
}

/* remote "lab" (api.example.org); before the host is known, and where the name says it: remote "lab". A name that is a
 * URL with a user or a query is none: there may be a key in it. */
static void make_label(const char *name, struct ci_address *address) {
    char clean[80];
    if (name && strstr(name, "://") && strpbrk(name, "@?#")) name = NULL;
    if (name) ci_redact(NULL, name, strlen(name), clean, sizeof clean);
    if (name && *address->host && !strstr(name, address->host))
        snprintf(address->label, sizeof address->label, "remote \"%s\" (%.120s)", clean, address->host);
    else if (name)
        snprintf(address->label, sizeof address->label, "remote \"%s\"", clean);
    else
        snprintf(address->label, sizeof address->label, "remote %.120s",
                 *address->host ? address->host : "without a name");
}

enum clinfer_status ci_address_parse(const struct clinfer_remote *remote, const char *path,
                                     struct ci_address *address) {
    *address = (struct ci_address){0};
    make_label(remote->name, address);
    if (!remote->url || !*remote->url)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: it has no URL, such as https://api.openai.com/v1",
                       address->label);
    enum clinfer_status status = ci_curl_load();
    if (status != CLINFER_OK) return ci_fail_prefix(status, "%s", address->label);
    CURLU *parsed = ci_curl->url();
    if (!parsed) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", address->label);
    CURLUcode error = ci_curl->url_set(parsed, CURLUPART_URL, remote->url, CURLU_NON_SUPPORT_SCHEME);
    if (error == CURLUE_OUT_OF_MEMORY)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", address->label);
    else if (error != CURLUE_OK)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s: its URL is malformed (%s); one is https://api.openai.com/v1",
                         address->label, ci_curl->url_strerror(error));
    else
        status = take_apart(parsed, path, address);
    ci_curl->url_cleanup(parsed);
    make_label(remote->name, address);
    return status;
}
