/* gate.h: whether a request may come in: framing, limits, Host, Origin, method and path, key.
 *
 * Browsers are what makes a server on a loopback address reachable for strangers: any page may post to it (a text/plain
 * body needs no preflight), and one whose name was rebound to 127.0.0.1 may read the answers. So a foreign Origin and a
 * foreign Host are refused on every route, whatever the method is, before anything is looked at. */
#ifndef CI_SERVER_GATE_H
#define CI_SERVER_GATE_H

#include "server/exchange_private.h"

/* Copies method, path, headers and query out of the connection. `target` is what stood in front of '?', with percent
 * signs. false: it has been answered. */
bool ci_gate_read(struct ci_exchange *exchange, const char *method, const char *target, const char *version);

/* Finds the route. false: it has been answered. */
bool ci_gate_check(struct ci_exchange *exchange);

void ci_gate_too_large(struct ci_exchange *exchange);

/* The pure parts, also for tests. */
/* Whether an Origin ("http://localhost:8080") may ask, by a list as --cors-origins takes it; `host`: the request's. */
bool ci_gate_origin_allowed(const char *origin, const char *allowed, const char *host);
/* Whether a Host header names this machine: loopback, `own` (an address of it), one of the names. */
bool ci_gate_host_allowed(const char *host, const char *own, const char *const *names, size_t count);
/* Decodes percent signs in place. false: a sign that is none, or a zero byte. */
bool ci_gate_unescape(char *text);
/* Takes a time that depends on `given` alone. */
bool ci_gate_same_key(const char *given, const char *key);

#endif
