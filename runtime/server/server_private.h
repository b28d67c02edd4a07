/* server_private.h: what the server's own files share. */
#ifndef CI_SERVER_SERVER_PRIVATE_H
#define CI_SERVER_SERVER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/exchange_private.h"
#include "server/metrics.h"
#include "server/server.h"

enum { CI_SERVER_ADDRESSES = 32 };

/* An open connection: when it has to have shown a whole header. */
struct ci_link {
    struct ci_link *next, *previous;
    int fd;
    double idle_since; /* 0: a request of it is under way */
};

struct ci_server {
    struct ci_server_options options;
    double opened;
    int64_t started;
    struct MHD_Daemon *daemons[CI_SERVER_ADDRESSES];
    char *urls[CI_SERVER_ADDRESSES];
    char *paths[CI_SERVER_ADDRESSES]; /* of unix sockets, which go with the server */
    int daemon_count;
    bool loopback; /* all of its addresses */
    struct ci_workers *workers;
    struct ci_metrics metrics;
    struct ci_events *events;
    struct ci_downloads *downloads;
    struct ci_slots *slots;
    char *certificate, *certificate_key;
    int log_fd;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* an exchange ended, the state changed */
    struct ci_exchange *exchanges;
    int exchange_count;
    struct ci_link *links;
    int link_count;
    uint64_t serial;
    bool draining;
    char **keys, **key_names; /* [key_count] */
    size_t key_count;
    struct ci_pool *pool;
    const char *model;          /* borrowed */
    struct ci_running *running; /* job.c's: what runs and waits */
    int running_count, waiting_count;

    pthread_t watcher;
    bool watching;
    int epoll, wake;
};

/* network.c */
enum clinfer_status ci_network_start(struct ci_server *server);
void ci_network_quiesce(struct ci_server *server);
void ci_network_stop(struct ci_server *server);

/* listen.c: a socket that listens at the address, and how it is written in a URL. */
struct ci_listener {
    int fd;
    char *url, *path; /* path: of a unix socket, else NULL */
    bool loopback;
};
enum clinfer_status ci_listen(const struct ci_server_options *options, struct ci_listener *listeners, int most,
                              int *count);

/* watcher.c */
enum clinfer_status ci_watcher_start(struct ci_server *server);
void ci_watcher_stop(struct ci_server *server);
void ci_watcher_add(struct ci_server *server, struct ci_exchange *exchange);
void ci_watcher_remove(struct ci_server *server, const struct ci_exchange *exchange);

/* workers.c: threads that run handlers, made as they are needed. */
enum clinfer_status ci_workers_create(int most, struct ci_workers **workers);
bool ci_workers_submit(struct ci_workers *workers, struct ci_exchange *exchange); /* false: all are busy */
/* Whether all have ended, `seconds` later at most; then they are freed. */
bool ci_workers_destroy(struct ci_workers *workers, double seconds);

/* request_log.c: the line of a request that has ended. */
void ci_request_log(struct ci_server *server, const struct ci_exchange *exchange, bool whole);

#endif
