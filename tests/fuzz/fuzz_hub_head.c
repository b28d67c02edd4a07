/* Any lines as the header of an answer, as libcurl hands them over: whatever comes, values can be shown, the first one
 * of a name is found in any case, and where a Location leads is an address without control characters, user and
 * fragment. */
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/curl.h"
#include "net/headers.h"
#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shown(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) abort();
}

/* One line in memory of its own, so that AddressSanitizer sees its end. */
static enum ci_headers_result add(struct ci_headers *headers, const uint8_t *data, size_t size) {
    char *line = malloc(size + 1);
    if (!line) abort();
    memcpy(line, data, size);
    enum ci_headers_result result = ci_headers_add(headers, size ? line : "", size);
    free(line);
    return result;
}

static void check_lines(const struct ci_headers *headers) {
    for (size_t i = 0; i < headers->count; i++) {
        const struct ci_header_line *line = &headers->lines[i];
        char name[64];
        size_t length = strlen(line->name);
        check_shown(line->value);
        if (line->answer > headers->answer) abort();
        if (length >= sizeof name) continue;
        for (size_t j = 0; j <= length; j++) name[j] = (char)toupper((unsigned char)line->name[j]);
        if (!ci_headers_first(headers, name)) abort();
        if (line->answer == headers->answer && !ci_headers_get(headers, name)) abort();
    }
}

static void check_location(const char *base, const char *location) {
    const char *problem = NULL;
    char *url = ci_url_resolve(base, location, &problem), shown[256];
    check_shown(ci_url_shown(location, shown, sizeof shown));
    if (!url) {
        if (!problem || !*problem) abort();
        return;
    }
    struct ci_url_origin origin;
    check_shown(url);
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) abort();
    if (strchr(url, '#') || !ci_url_origin(url, &origin) || !*origin.host) abort();
    const char *authority = strstr(url, "://") + 3;
    if (memchr(authority, '@', strcspn(authority, "/?"))) abort();
    if (strpbrk(ci_url_shown(url, shown, sizeof shown), "?#")) abort();
    free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_headers headers = {0};
    if (ci_curl_load() != CLINFER_OK) return 0;
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = end ? (size_t)(end - (data + at)) + 1 : size - at;
        if (length == 1)
            ci_headers_next(&headers, at & 1);
        else if (add(&headers, data + at, length) == CI_HEADERS_TOO_LONG && headers.bytes <= CI_HEADERS_BYTES)
            abort();
        at += length;
    }
    check_lines(&headers);
    const char *location = ci_headers_first(&headers, "location"), *base = ci_headers_first(&headers, "base");
    struct ci_url_origin origin;
    if (!base || !ci_url_origin(base, &origin)) base = "http://127.0.0.1:8080/user/tiny/resolve/main/a/b.gguf?x=y";
    if (location) check_location(base, location);
    ci_headers_free(&headers);
    return 0;
}
