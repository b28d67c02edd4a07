/* server.h: what listens, and what all requests share. `clinfer serve` makes one. */
#ifndef CI_SERVER_SERVER_H
#define CI_SERVER_SERVER_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ci_downloads;
struct ci_events;
struct ci_pool;
struct ci_slots;
struct ci_server;
struct ci_metrics;

struct ci_server_key {
    const char *name; /* for the log: "key 2" */
    const char *text;
};

/* Texts and arrays are borrowed as long as the server lives. */
struct ci_server_options {
    /* the network */
    const char *const *hosts; /* addresses, names, or a path that ends in .sock; none: 127.0.0.1 */
    size_t host_count;
    int port;           /* 0: any free one */
    const int *sockets; /* already listening ones (systemd's), in place of hosts */
    size_t socket_count;
    const char *certificate, *certificate_key; /* PEM texts; NULL: plain HTTP */
    const char *prefix;                        /* "/api": all paths lie below it; NULL: none */
    const char *const *names;                  /* that Host may have besides this machine's */
    size_t name_count;
    const char *origins;              /* "localhost" (NULL), "*", or a list with commas */
    const struct ci_server_key *keys; /* copied */
    size_t key_count;
    bool model_changes;                       /* routes that change models need no key */
    int most_connections, most_header, queue; /* 0: 1024; 16 KiB; 512 */
    size_t most_body;                         /* 0: 64 MiB */
    double timeout;                           /* seconds that a client may be silent; 0: 600 */
    double ping;          /* seconds of silence before a comment line in a stream of events; 0: 15; below: none */
    const char *log_path; /* a line of JSON for each request; NULL: none */

    /* what dialects want to know of the command line */
    int parallel; /* requests that are computed at the same time; 0: 4 */
    int context;  /* -c */
    int predict;  /* -n; -1: no limit */
    int batch;    /* tokens of a step */
    const char *model_path, *alias, *tags, *slot_save_path, *chat_template;
    const char *media_path;
    bool slots, metrics, props, verbose, web_page, embeddings, reranking, shift, jinja;
    bool offline;                 /* no request makes it fetch a model */
    const char *reasoning_format; /* "auto", "deepseek", "none" */
    const char *reasoning;        /* "on", "off", "auto" */
    const char *pooling;
    struct clinfer_session_options sampling; /* what requests that say nothing get; NAN and -1: the model's own */
};

/* Listens at once; /health says "Loading model" until ci_server_serve(). CLINFER_UNSUPPORTED: there is no
 * libmicrohttpd. CLINFER_INVALID_ARGUMENT: an address that needs a key. CLINFER_IO: it cannot be had. */
enum clinfer_status ci_server_open(const struct ci_server_options *options, struct ci_server **server);

/* From now on requests are answered from this pool; the caller destroys it after the server. `name`: of the model that
 * the server was started with, or has had in its place since; borrowed until the server is closed. */
void ci_server_serve(struct ci_server *server, struct ci_pool *pool, const char *name);

/* Takes no new connections; waits until all requests are answered, `seconds` at most. Whether they are. */
bool ci_server_drain(struct ci_server *server, double seconds);
/* Other keys from now on, copied; at least one where there was one. */
enum clinfer_status ci_server_set_keys(struct ci_server *server, const struct ci_server_key *keys, size_t count);
/* Opens --log-jsonl again, which may have been renamed. */
void ci_server_reopen_log(struct ci_server *server);
/* A line of --log-jsonl: what has become of the server. Takes `fields`, an object. */
void ci_server_log(struct ci_server *server, enum clinfer_log_level level, const char *message, json_t *fields);
/* Ends what is left. */
void ci_server_close(struct ci_server *server);

/* "http://127.0.0.1:8080", of the index-th address; NULL: there are no more. */
const char *ci_server_url(const struct ci_server *server, size_t index);

const struct ci_server_options *ci_server_get_options(const struct ci_server *server);
/* Never NULL in handlers: requests wait until it is there, or are told that it is not. */
struct ci_pool *ci_server_pool(struct ci_server *server);
struct ci_metrics *ci_server_metrics(struct ci_server *server);
struct ci_events *ci_server_events(struct ci_server *server);
struct ci_downloads *ci_server_downloads(struct ci_server *server);
struct ci_slots *ci_server_slots(struct ci_server *server); /* NULL: none are saved */
/* Requests that are computed, and that wait. */
void ci_server_load(struct ci_server *server, int *running, int *waiting);
/* NULL: it has a model; else "Loading model", or why there is none. */
const char *ci_server_loading(struct ci_server *server);
/* Whether requests would be answered, by what is known: neither a device that hangs nor a load holds it up. */
struct ci_server_condition {
    bool ready;
    int answering, degraded; /* loaded models that answer; of these by remotes only */
    char rung[128];          /* of the first of them, where its next request begins; "" */
    char why[768];           /* not, or not all of them; "" */
};
void ci_server_look(struct ci_server *server, struct ci_server_condition *condition);
const char *ci_server_model(struct ci_server *server);     /* its real name; "": none yet */
int64_t ci_server_started(const struct ci_server *server); /* seconds since 1970 */

#endif
