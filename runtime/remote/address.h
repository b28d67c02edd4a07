/* address.h: the URL of a remote, taken apart: what may be sent there, and where exactly it goes. */
#ifndef CI_REMOTE_ADDRESS_H
#define CI_REMOTE_ADDRESS_H

#include <stdbool.h>

#include <clinfer.h>

enum { CI_ADDRESS_URL_BYTES = 2048, CI_ADDRESS_HOST_BYTES = 256, CI_ADDRESS_LABEL_BYTES = 256 };

struct ci_address {
    char url[CI_ADDRESS_URL_BYTES];     /* the whole, with the dialect's path */
    char host[CI_ADDRESS_HOST_BYTES];   /* without port, as libcurl understands it: "127.0.0.1" for "127.1" */
    char label[CI_ADDRESS_LABEL_BYTES]; /* how messages call the remote: remote "lab" (api.example.org) */
    bool https, loopback;               /* loopback: this host, whatever a name server says */
};

/* `path` is the dialect's, "/v1/messages"; what the URL's end and the path's start have in common is taken once, so
 * that ".../v1" and the whole URL mean the same. CLINFER_INVALID_ARGUMENT: no URL, not http or https, a user, password,
 * query or fragment (keys would stand in it, and it stands in messages). */
enum clinfer_status ci_address_parse(const struct clinfer_remote *remote, const char *path, struct ci_address *address);

#endif
