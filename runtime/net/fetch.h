/* fetch.h: GET, HEAD and POST over libcurl's multi interface: any number of transfers at once, one thread, nothing
 * waited for that is not wanted.
 *
 * Redirects are followed by hand (RFC 3986, section 5: relative, path-only and protocol-relative ones as well, at most
 * max_redirects, loops are told), because credentials belong to the first origin and to trusted hosts only, and because
 * some servers put facts on the redirect itself. Certificates and proxies as everywhere (net/policy.h). HTTP/1.1: each
 * transfer has a connection of its own, which the next one goes on with.
 *
 * Silence is counted while transfers are moved; a callback that is busy for long (a slow disk) counts as a second at
 * most, so that no server is blamed for it. */
#ifndef CI_NET_FETCH_H
#define CI_NET_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

enum ci_fetch_end {
    CI_FETCH_RUNNING,
    CI_FETCH_DONE,    /* an answer came, whole, whatever its status is */
    CI_FETCH_STOPPED, /* by on_head or on_body; or a text that is longer than wanted */
    CI_FETCH_CANCELLED,
    CI_FETCH_UNCONNECTED, /* name, port, proxy, handshake */
    CI_FETCH_UNTRUSTED,   /* the certificate */
    CI_FETCH_SILENT,      /* no byte for silence_seconds, or no connection within connect_seconds */
    CI_FETCH_BROKEN,      /* reset, or ended before Content-Length */
    CI_FETCH_REDIRECTS,   /* too many, a loop, a Location that is no http(s) address, https to http */
    CI_FETCH_UNUSABLE,    /* not HTTP as it should be, a header without end, compressed although plain was asked for */
    CI_FETCH_NO_MEMORY
};

struct ci_fetch;   /* one transfer */
struct ci_fetcher; /* connections and transfers of one thread */

struct ci_fetch_request {
    const char *url;
    bool head;
    const char *body; /* or NULL; [body_bytes], borrowed until the fetch is freed: a POST, to the first address only */
    size_t body_bytes;
    const char *const *headers; /* "Name: value", NULL-terminated, or NULL; to every host */
    const char *authorization;  /* "Bearer ..." or NULL: to the origin of `url` and to trusted hosts only */
    const char *const *trusted; /* names of hosts, NULL-terminated, or NULL; by https at its own port alone */
    bool ranged;                /* bytes [from, to) are asked for; to = UINT64_MAX: until the end */
    uint64_t from, to;
    const char *if_range; /* or NULL */
    bool unpack;          /* what comes compressed although plain was asked for: unpack it, instead of UNUSABLE */
    int max_redirects;
    const char *fact; /* a redirect with a header of this name is the answer, and not followed; or NULL */
    double connect_seconds, silence_seconds;
    const atomic_bool *cancel; /* or NULL; looked at 20 times a second */
    /* When the head of the last answer (no redirect) is there; false stops. May be NULL. */
    bool (*on_head)(void *user, const struct ci_fetch *fetch);
    /* Bytes of its body; false stops. May be NULL: dropped. Not called for HEAD. */
    bool (*on_body)(void *user, const struct ci_fetch *fetch, const char *bytes, size_t length);
    void *user; /* these two neither start nor free transfers */
};

/* CLINFER_OUT_OF_MEMORY, CLINFER_UNSUPPORTED: no libcurl. */
enum clinfer_status ci_fetcher_create(struct ci_fetcher **fetcher);
void ci_fetcher_destroy(struct ci_fetcher *fetcher); /* all of its transfers are freed before; NULL is nothing */

/* Begins one; the request's texts are copied. The caller frees it at any time, which ends it; NULL is nothing.
 * CLINFER_INVALID_ARGUMENT: no http(s) address. CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_fetch_start(struct ci_fetcher *fetcher, const struct ci_fetch_request *request,
                                   struct ci_fetch **fetch);
void ci_fetch_free(struct ci_fetch *fetch);

/* Moves all of them for so long at most, or until one ends or something came. How many are still running. */
size_t ci_fetcher_run(struct ci_fetcher *fetcher, double seconds);

/* What is known of one; texts are borrowed. */
enum ci_fetch_end ci_fetch_end(const struct ci_fetch *fetch);
long ci_fetch_status(const struct ci_fetch *fetch);     /* of the last answer; 0: none */
const char *ci_fetch_url(const struct ci_fetch *fetch); /* the last one asked: its query may be a secret */
/* Of an end that is none of an answer: a clause for people, without secrets; else "". */
const char *ci_fetch_problem(const struct ci_fetch *fetch);
/* Of the last answer, or of the first of all answers that has it (redirects included); NULL: not there. Any case;
 * control characters are '?' there. */
const char *ci_fetch_header(const struct ci_fetch *fetch, const char *name);
const char *ci_fetch_first_header(const struct ci_fetch *fetch, const char *name);

/* One from start to end. */
enum clinfer_status ci_fetch_wait(struct ci_fetcher *fetcher, const struct ci_fetch_request *request,
                                  struct ci_fetch **fetch);
/* And its body as text, unpacked, at most so many bytes (more: CI_FETCH_STOPPED, and the first ones are there); *body
 * is the caller's, zero-ended. The request's on_body is not used, its on_head gets its user. */
enum clinfer_status ci_fetch_text(struct ci_fetcher *fetcher, const struct ci_fetch_request *request, size_t most,
                                  struct ci_fetch **fetch, char **body, size_t *length);

#endif
