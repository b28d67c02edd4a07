/* http.h: one POST over libcurl, watched all the time: whoever cancels, or a clock that runs out, ends it within some
 * tens of milliseconds.
 *
 * libcurl's multi interface, with one transfer: in the easy one nobody is asked for up to a second. Handles are kept
 * and with them their connections, so that the next request needs no new handshake. Certificates are always verified
 * (against $SSL_CERT_FILE, $CURL_CA_BUNDLE or $SSL_CERT_DIR if set, as curl does), redirects are never followed,
 * cookies and .netrc not used, and this host is never asked through a proxy. */
#ifndef CI_REMOTE_HTTP_H
#define CI_REMOTE_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

/* What the receiver of an answer's bytes wants. */
enum ci_http_wish {
    CI_HTTP_MORE,
    CI_HTTP_ENOUGH, /* all is there; the server may take a moment to end well */
    CI_HTTP_STOP
};

enum ci_http_end {
    CI_HTTP_DONE,
    CI_HTTP_STOPPED, /* by the receiver */
    CI_HTTP_CANCELLED,
    CI_HTTP_OUT_OF_TIME, /* `until` */
    CI_HTTP_UNCONNECTED, /* could not be reached: name, port, handshake */
    CI_HTTP_SLOW_CONNECT,
    CI_HTTP_UNTRUSTED,  /* the certificate */
    CI_HTTP_SLOW_START, /* no first byte in time */
    CI_HTTP_IDLE,
    CI_HTTP_BROKEN,   /* the connection, half-way */
    CI_HTTP_UNUSABLE, /* what came is not HTTP as it should be */
    CI_HTTP_NO_MEMORY
};

enum { CI_HTTP_TEXT_BYTES = 256 };

struct ci_http_answer {
    enum ci_http_end end;
    long status;                           /* of HTTP; 0: none came */
    char content_type[CI_HTTP_TEXT_BYTES]; /* "" if there is none; of the server, as `location` */
    char location[CI_HTTP_TEXT_BYTES];     /* where a redirect leads */
    char problem[CI_HTTP_TEXT_BYTES];      /* what libcurl says of an end that is none of ours */
    double retry_after;                    /* seconds; 0: not said */
    bool sent;                             /* the request, or a part of it */
    bool reused;                           /* over a connection that had served another request */
    bool through_proxy_failed;             /* it was the proxy's name that was not found */
    bool in_handshake;                     /* it ended while TLS was set up */
    double resolved, connected, secured;   /* seconds from the start; 0: not reached, or not needed */
    char peer[CI_HTTP_TEXT_BYTES];         /* "192.0.2.1 port 443"; "": not connected */
    char certificate[CI_HTTP_TEXT_BYTES];  /* of the server, when it was asked for */
};

/* The body's next bytes, on this thread; head->status and head->content_type are known. */
typedef enum ci_http_wish ci_http_receiver(void *user, const struct ci_http_answer *head, const char *bytes,
                                           size_t length);

struct ci_http_request {
    const char *url;
    const char *const *headers; /* "name: value", NULL-terminated; they go to the server only, not to a proxy */
    const char *body;
    size_t body_bytes;
    bool loopback;                                            /* no proxy */
    bool want_certificate;                                    /* its text, in the answer: over a new connection */
    double connect_seconds, first_byte_seconds, idle_seconds; /* of the body; INFINITY: no limit */
    double until;                                             /* in the clock of ci_now() */
    const atomic_bool *cancel;                                /* or NULL */
    ci_http_receiver *receiver;
    void *user;
};

struct ci_http;

/* One that is free, or a new one. CLINFER_OUT_OF_MEMORY, CLINFER_UNSUPPORTED: no libcurl. */
enum clinfer_status ci_http_take(struct ci_http **http);

/* `keep` false: its connections are closed, since what a failed answer left in them is not known. NULL is nothing. */
void ci_http_give_back(struct ci_http *http, bool keep);

void ci_http_post(struct ci_http *http, const struct ci_http_request *request, struct ci_http_answer *answer);

#endif
