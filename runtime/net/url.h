/* url.h: addresses taken apart and put together (RFC 3986, by libcurl): who one belongs to, and what a reference in an
 * answer means. ci_curl_load() has succeeded before. */
#ifndef CI_NET_URL_H
#define CI_NET_URL_H

#include <stdbool.h>
#include <stddef.h>

enum { CI_URL_HOST_BYTES = 256 };

/* The origin (RFC 6454) of an http or https address. */
struct ci_url_origin {
    bool https;
    char host[CI_URL_HOST_BYTES]; /* lower case; IPv6 in brackets */
    char port[8];                 /* the scheme's own where none stands there */
};

/* false: no http or https address. */
bool ci_url_origin(const char *url, struct ci_url_origin *origin);
bool ci_url_same_origin(const struct ci_url_origin *one, const struct ci_url_origin *other);

/* What `reference` (whole, "//host/path", "/path", "path", "?query") means in an answer to a request for `base`;
 * without its fragment. The caller frees; NULL: *problem says why, a clause ("has a control character in it"), or is
 * NULL: out of memory. `base` is an address that was asked. */
char *ci_url_resolve(const char *base, const char *reference, const char **problem);

/* Without user, query and fragment, in which secrets may stand, and cut to `size`: for messages. Returns `text`. */
const char *ci_url_shown(const char *url, char *text, size_t size);

#endif
