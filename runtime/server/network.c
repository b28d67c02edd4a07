/* network.c: between libmicrohttpd and exchanges.
 *
 * One daemon, and so one thread with epoll, for each address. It reads a request, has it checked, hands it to a worker
 * and suspends the connection; whoever answers resumes it. Streams are read out of the exchange's buffer, and suspended
 * again whenever that is empty. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/append.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "server/gate.h"
#include "server/server_private.h"

enum {
    BLOCK_BYTES = 16 << 10,
    POOL_BYTES = 128 << 10, /* of a connection; pages that nobody touched cost nothing */
    SPARE_CONNECTIONS = 64, /* that are told 503 */
    DISCARD_BYTES = 1 << 20 /* of the body of a refused request: less is read, so that the client sees the answer */
};

/* ---- the answer ---- */

static ssize_t read_stream(void *user, uint64_t position, char *buffer, size_t most) {
    struct ci_exchange *exchange = user;
    (void)position;
    pthread_mutex_lock(&exchange->lock);
    size_t count = exchange->length - exchange->taken;
    ssize_t result = 0;
    if (exchange->gone || (exchange->ended && !exchange->whole && !count)) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (count) {
        if (count > most) count = most;
        memcpy(buffer, exchange->bytes + exchange->taken, count);
        exchange->taken += count;
        exchange->sent += count;
        if (exchange->length - exchange->taken <= CI_STREAM_SOFT_BYTES) exchange->full_since = 0;
        result = (ssize_t)count;
    } else if (exchange->ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        exchange->suspended = true;
        ci_mhd->suspend_connection(exchange->connection);
    }
    pthread_mutex_unlock(&exchange->lock);
    return result;
}

static void release_stream(void *user) { ci_exchange_release(user); }

/* With the exchange's lock held. */
static struct MHD_Response *make_response(struct ci_exchange *exchange) {
    struct MHD_Response *response;
    if (exchange->streaming && !exchange->head) {
        ci_exchange_hold(exchange);
        response =
            ci_mhd->create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, exchange, release_stream);
        if (!response) ci_exchange_release(exchange);
    } else {
        response = ci_mhd->create_response_from_buffer(exchange->length, exchange->bytes, MHD_RESPMEM_PERSISTENT);
        exchange->sent = exchange->length;
    }
    if (!response) return NULL;
    if (exchange->type) ci_mhd->add_response_header(response, "Content-Type", exchange->type);
    for (const struct ci_pair *pair = exchange->reply_headers; pair; pair = pair->next)
        ci_mhd->add_response_header(response, pair->name, pair->value);
    if (exchange->closes) ci_mhd->add_response_header(response, "Connection", "close");
    return response;
}

static enum MHD_Result queue_answer(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    struct MHD_Response *response = exchange->answered && !exchange->gone ? make_response(exchange) : NULL;
    unsigned status = (unsigned)exchange->status;
    pthread_mutex_unlock(&exchange->lock);
    if (!response) return MHD_NO;
    enum MHD_Result result = ci_mhd->queue_response(exchange->connection, status, response);
    ci_mhd->destroy_response(response);
    return result;
}

/* ---- a request begins ---- */

static void make_id(char id[25]) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned char bytes[24];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) memset(bytes, 7, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) id[i] = digits[bytes[i] % (sizeof digits - 1)];
    id[24] = 0;
}

static void enlist(struct ci_server *server, struct ci_exchange *exchange) {
    pthread_mutex_lock(&server->lock);
    exchange->serial = ++server->serial;
    exchange->next = server->exchanges;
    if (server->exchanges) server->exchanges->previous = exchange;
    server->exchanges = exchange;
    server->exchange_count++;
    pthread_mutex_unlock(&server->lock);
}

static void delist(struct ci_server *server, struct ci_exchange *exchange) {
    pthread_mutex_lock(&server->lock);
    if (exchange->next) exchange->next->previous = exchange->previous;
    if (exchange->previous)
        exchange->previous->next = exchange->next;
    else
        server->exchanges = exchange->next;
    server->exchange_count--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static struct ci_link *link_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = ci_mhd->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static struct ci_exchange *begin(struct ci_server *server, struct MHD_Connection *connection, const char *method,
                                 const char *target, const char *version) {
    struct ci_exchange *exchange = ci_exchange_create(server);
    const union MHD_ConnectionInfo *fd = ci_mhd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ci_link *link = link_of(connection);
    if (!exchange) return NULL;
    exchange->connection = connection;
    exchange->fd = fd ? fd->connect_fd : -1;
    make_id(exchange->id);
    enlist(server, exchange);
    pthread_mutex_lock(&server->lock);
    if (link) link->idle_since = 0;
    pthread_mutex_unlock(&server->lock);
    if (ci_gate_read(exchange, method, target, version)) ci_gate_check(exchange);
    return exchange;
}

/* ---- its body, and its handler ---- */

static void take_body(struct ci_exchange *exchange, const char *bytes, size_t count) {
    if (exchange->discards) return;
    if (count <= exchange->server->options.most_body - exchange->body_length &&
        ci_append(&exchange->body, &exchange->body_length, &exchange->body_capacity, bytes, count))
        return;
    exchange->discards = true;
    exchange->closes = true;
    ci_gate_too_large(exchange);
}

static enum MHD_Result dispatch(struct ci_exchange *exchange) {
    static const struct ci_failure busy = {
        .kind = CI_FAIL_BUSY, .message = "the server has too many requests; try again soon", .retry_after = 1};
    exchange->dispatched = true;
    if (exchange->route->flags & CI_ROUTE_QUICK) {
        ci_exchange_handle(exchange);
        return queue_answer(exchange);
    }
    ci_watcher_add(exchange->server, exchange);
    pthread_mutex_lock(&exchange->lock);
    exchange->suspended = true;
    ci_mhd->suspend_connection(exchange->connection);
    pthread_mutex_unlock(&exchange->lock);
    if (!ci_workers_submit(exchange->server->workers, exchange)) ci_exchange_fail(exchange, &busy);
    return MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *target, const char *method,
                                  const char *version, const char *bytes, size_t *count, void **state) {
    struct ci_exchange *exchange = *state;
    if (!exchange) {
        exchange = begin(user, connection, method, target, version);
        *state = exchange;
        if (!exchange) return MHD_NO;
        if (!exchange->answered) return MHD_YES;
        /* A small body is read all the same: closing with it unread would reset the connection, and the answer with
         * it. */
        const char *length = ci_exchange_header(exchange, "Content-Length");
        bool small = !exchange->closes && !ci_exchange_header(exchange, "Expect") &&
                     !ci_exchange_header(exchange, "Transfer-Encoding") &&
                     (!length || strtoull(length, NULL, 10) <= DISCARD_BYTES);
        exchange->discards = true;
        exchange->closes = exchange->closes || !small;
        return small ? MHD_YES : queue_answer(exchange);
    }
    if (*count) {
        take_body(exchange, bytes, *count);
        exchange->sent += exchange->discards ? *count : 0; /* of what nobody keeps there is an end, too */
        if (exchange->sent > exchange->server->options.most_body + DISCARD_BYTES) return MHD_NO;
        *count = 0;
        return MHD_YES;
    }
    pthread_mutex_lock(&exchange->lock);
    bool answered = exchange->answered, gone = exchange->gone;
    pthread_mutex_unlock(&exchange->lock);
    if (answered) return queue_answer(exchange);
    if (gone) return MHD_NO;
    if (exchange->dispatched) return MHD_YES;
    return dispatch(exchange);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how) {
    struct ci_server *server = user;
    struct ci_exchange *exchange = *state;
    struct ci_link *link = link_of(connection);
    *state = NULL;
    if (!exchange) return;
    ci_watcher_remove(server, exchange);
    pthread_mutex_lock(&exchange->lock);
    exchange->finished = true;
    exchange->suspended = false;
    pthread_mutex_unlock(&exchange->lock);
    bool whole = how == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    ci_request_log(server, exchange, whole);
    if (!whole) ci_exchange_set_gone(exchange);
    delist(server, exchange);
    pthread_mutex_lock(&server->lock);
    if (link) link->idle_since = ci_now();
    pthread_mutex_unlock(&server->lock);
    ci_exchange_release(exchange);
}

/* ---- connections ---- */

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct ci_server *server = user;
    struct ci_link *link = *context;
    pthread_mutex_lock(&server->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *fd = ci_mhd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = link = calloc(1, sizeof *link);
        if (link) {
            link->fd = fd ? fd->connect_fd : -1;
            link->idle_since = ci_now();
            link->next = server->links;
            if (server->links) server->links->previous = link;
            server->links = link;
            server->link_count++;
        }
    } else if (link) {
        if (link->next) link->next->previous = link->previous;
        if (link->previous)
            link->previous->next = link->next;
        else
            server->links = link->next;
        server->link_count--;
        *context = NULL;
        free(link);
    }
    pthread_mutex_unlock(&server->lock);
}

/* Percent signs are decoded by ci_gate_read(), which sees what they hide. */
static size_t keep_escapes(void *user, struct MHD_Connection *connection, char *text) {
    (void)user;
    (void)connection;
    return strlen(text);
}

static void log_problem(void *user, const char *format, va_list arguments) {
    char text[512];
    (void)user;
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    ci_log(CLINFER_LOG_DEBUG, "libmicrohttpd: %s", text);
}

static enum clinfer_status start_daemon(struct ci_server *server, int fd) {
    const struct ci_server_options *options = &server->options;
    bool tls = options->certificate != NULL;
    unsigned most = (unsigned)(options->most_connections + SPARE_CONNECTIONS), timeout = (unsigned)options->timeout;
    struct MHD_OptionItem items[] = {{MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_problem, server},
                                     {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
                                     {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)most, NULL},
                                     {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)timeout, NULL},
                                     {MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES, NULL},
                                     {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, server},
                                     {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, server},
                                     {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, server},
                                     {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
                                     {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, server->certificate},
                                     {tls ? MHD_OPTION_HTTPS_MEM_KEY : MHD_OPTION_END, 0, server->certificate_key},
                                     {MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG |
                     (tls ? MHD_USE_TLS : 0);
    struct MHD_Daemon *daemon =
        ci_mhd->start_daemon(flags, 0, NULL, NULL, on_request, server, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (!daemon && tls)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the TLS server does not start: certificate or key is not usable");
    if (!daemon) return ci_fail(CLINFER_IO, "libmicrohttpd cannot start a server (-v says more)");
    server->daemons[server->daemon_count++] = daemon;
    return CLINFER_OK;
}

enum clinfer_status ci_network_start(struct ci_server *server) {
    struct ci_listener listeners[CI_SERVER_ADDRESSES] = {{0}};
    int count = 0;
    if (server->options.certificate && ci_mhd->is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return ci_fail(CLINFER_UNSUPPORTED, "this libmicrohttpd knows no TLS");
    enum clinfer_status status = ci_listen(&server->options, listeners, CI_SERVER_ADDRESSES, &count);
    server->loopback = true; /* before the first request */
    for (int i = 0; i < count; i++) {
        server->urls[i] = listeners[i].url;
        server->paths[i] = listeners[i].path;
        server->loopback = server->loopback && listeners[i].loopback;
    }
    for (int i = 0; i < count; i++) {
        if (status == CLINFER_OK) status = start_daemon(server, listeners[i].fd);
        if (server->daemon_count <= i && listeners[i].fd >= 0) close(listeners[i].fd);
    }
    return status;
}

void ci_network_quiesce(struct ci_server *server) {
    for (int i = 0; i < server->daemon_count; i++) {
        int fd = ci_mhd->quiesce_daemon(server->daemons[i]);
        if (fd >= 0) close(fd);
        if (server->paths[i]) unlink(server->paths[i]);
    }
}

void ci_network_stop(struct ci_server *server) {
    for (int i = 0; i < server->daemon_count; i++) ci_mhd->stop_daemon(server->daemons[i]);
    server->daemon_count = 0;
}
