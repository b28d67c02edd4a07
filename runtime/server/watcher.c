/* watcher.c: sees clients that leave while their connection is suspended, which libmicrohttpd does not look at then:
 * generation for somebody who is gone, and its place in the queue, would go on to the end. And once a second it looks
 * for silent streams, slow readers and connections on which no request comes. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "server/server_private.h"

enum { EVENTS = 64, WAKE = 0 };

/* A connection without a whole header for so long is closed: it is idle, or its client sends a byte now and then. */
#define IDLE_SECONDS 90.0

void ci_watcher_add(struct ci_server *server, struct ci_exchange *exchange) {
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = exchange->serial};
    epoll_ctl(server->epoll, EPOLL_CTL_ADD, exchange->fd, &event);
}

void ci_watcher_remove(struct ci_server *server, const struct ci_exchange *exchange) {
    struct epoll_event event = {0};
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, exchange->fd, &event);
}

/* Held; NULL: it has ended. */
static struct ci_exchange *find(struct ci_server *server, uint64_t serial) {
    pthread_mutex_lock(&server->lock);
    struct ci_exchange *exchange = server->exchanges;
    while (exchange && exchange->serial != serial) exchange = exchange->next;
    if (exchange) ci_exchange_hold(exchange);
    pthread_mutex_unlock(&server->lock);
    return exchange;
}

/* Nothing more will come, and libmicrohttpd has read all that did: where the end came together with the last bytes it
 * has not seen it, and would wait on. */
static bool has_ended(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void tick(struct ci_server *server) {
    double now = ci_now();
    pthread_mutex_lock(&server->lock);
    for (struct ci_exchange *exchange = server->exchanges; exchange; exchange = exchange->next)
        ci_exchange_tick(exchange, now);
    /* What is shut down here libmicrohttpd finds closed and closes itself. */
    for (struct ci_link *link = server->links; link; link = link->next)
        if (link->idle_since > 0 && (now - link->idle_since > IDLE_SECONDS || has_ended(link->fd)))
            shutdown(link->fd, SHUT_RDWR);
    for (struct ci_exchange *exchange = server->exchanges; exchange; exchange = exchange->next) {
        double most = 60 + (double)exchange->body_length / (16 << 10);
        if (!exchange->dispatched && (now - exchange->arrived > most || has_ended(exchange->fd)))
            shutdown(exchange->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->lock);
}

static void *watch(void *user) {
    struct ci_server *server = user;
    struct epoll_event events[EVENTS];
    double ticked = ci_now();
    for (;;) {
        int count = epoll_wait(server->epoll, events, EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == WAKE) return NULL;
            struct ci_exchange *exchange = find(server, events[i].data.u64);
            if (exchange) ci_exchange_set_gone(exchange);
            if (exchange) ci_exchange_release(exchange);
        }
        if (ci_now() - ticked < 1) continue;
        ticked = ci_now();
        tick(server);
    }
}

enum clinfer_status ci_watcher_start(struct ci_server *server) {
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->wake = eventfd(0, EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE};
    if (server->epoll < 0 || server->wake < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->wake, &event) != 0)
        return ci_fail(CLINFER_IO, "the server cannot watch its connections: %s", strerror(errno));
    server->watching = pthread_create(&server->watcher, NULL, watch, server) == 0;
    return server->watching ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "no thread for a server");
}

void ci_watcher_stop(struct ci_server *server) {
    const uint64_t one = 1;
    if (server->watching && write(server->wake, &one, sizeof one) == sizeof one) pthread_join(server->watcher, NULL);
    server->watching = false;
    if (server->epoll >= 0) close(server->epoll);
    if (server->wake >= 0) close(server->wake);
}
