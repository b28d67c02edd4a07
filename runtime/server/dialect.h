/* dialect.h: a dialect is one file: a table of routes and how its failures look. dialect_list.inc has a line for each,
 * CI_SERVER_DIALECT(name) for `const struct ci_server_dialect ci_server_dialect_<name>`. The first one whose route
 * matches answers; what matches none fails as the dialect does that shares the longest beginning with the path. */
#ifndef CI_SERVER_DIALECT_H
#define CI_SERVER_DIALECT_H

#include "server/exchange.h"

enum ci_route_flags {
    CI_ROUTE_OPEN = 1,      /* no key needed */
    CI_ROUTE_CHANGES = 2,   /* needs a key or --allow-model-changes */
    CI_ROUTE_QUICK = 4,     /* on the network's thread, see exchange.h */
    CI_ROUTE_WITHOUT_V1 = 8 /* the same below "/" as below "/v1" */
};

struct ci_route {
    const char *method; /* "GET" answers HEAD too */
    const char *path;   /* "/v1/models/{id}": the rest of the path, not empty, is the parameter */
    unsigned flags;
    void (*handle)(struct ci_exchange *exchange);
    const char *fields; /* of its body, see ignored.h; NULL: nobody says which are not read */
};

struct ci_server_dialect {
    const char *name;
    const struct ci_route *routes;
    size_t count;
    void (*fail)(struct ci_exchange *exchange, const struct ci_failure *failure); /* replies */
    /* In a stream that has begun: its error event, then ci_stream_end(), whole false where the dialect's clients need
     * that. */
    void (*break_off)(struct ci_exchange *exchange, const struct ci_failure *failure);
};

#define CI_SERVER_DIALECT(name) extern const struct ci_server_dialect ci_server_dialect_##name;
#include "server/dialect_list.inc"
#undef CI_SERVER_DIALECT

/* What a path leads to. */
struct ci_route_match {
    const struct ci_route *route;            /* NULL: none, by this method or at all */
    const struct ci_server_dialect *dialect; /* never NULL */
    const char *parameter;                   /* in `path`; "" */
    char allow[64];                          /* "GET, POST": the methods that the path has; "": no such path */
};
void ci_route_find(const char *method, const char *path, struct ci_route_match *match);

#endif
