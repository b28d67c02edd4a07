/* listen.c: sockets that listen: at addresses, at names, at paths, or those that systemd has opened. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/status.h"
#include "server/server_private.h"

enum { BACKLOG = 1024 };

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_UNIX) return true;
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* What is known of a socket that listens. */
static enum clinfer_status describe(int fd, const struct ci_server_options *options, struct ci_listener *listener) {
    struct sockaddr_storage address = {0};
    struct sockaddr *any = (struct sockaddr *)&address;
    socklen_t size = sizeof address;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    int length = -1;
    *listener = (struct ci_listener){.fd = fd};
    if (getsockname(fd, any, &size) != 0)
        return ci_fail(CLINFER_IO, "file descriptor %d is no socket: %s", fd, strerror(errno));
    listener->loopback = is_loopback(any);
    const char *prefix = options->prefix ? options->prefix : "", *scheme = options->certificate ? "https" : "http";
    if (address.ss_family == AF_UNIX)
        length = asprintf(&listener->url, "unix:%s", ((const struct sockaddr_un *)(const void *)any)->sun_path);
    else if (getnameinfo(any, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        length = asprintf(&listener->url, address.ss_family == AF_INET6 ? "%s://[%s]:%s%s" : "%s://%s:%s%s", scheme,
                          host, port, prefix);
    if (length >= 0) return CLINFER_OK;
    listener->url = NULL;
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an address");
}

static enum clinfer_status fail_to_listen(int fd, const char *host, const char *port) {
    int problem = errno;
    if (fd >= 0) close(fd);
    return ci_fail(CLINFER_IO, "cannot listen at %s%s%s: %s%s", host, *port ? " port " : "", port, strerror(problem),
                   problem == EADDRINUSE ? "; another server is there, --port N takes another port" : "");
}

static enum clinfer_status listen_at_path(const char *path, const struct ci_server_options *options,
                                          struct ci_listener *listener) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat found;
    if (strlen(path) >= sizeof address.sun_path)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--host %s: a socket's path has %zu bytes at most", path,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* What an earlier server left there; one that lives answers. */
    if (fd >= 0 && lstat(path, &found) == 0 && S_ISSOCK(found.st_mode) &&
        connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 && errno == ECONNREFUSED)
        unlink(path);
    mode_t mask = umask(0077);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    int problem = errno;
    umask(mask);
    errno = problem;
    if (!bound || listen(fd, BACKLOG) != 0) return fail_to_listen(fd, path, "");
    enum clinfer_status status = describe(fd, options, listener);
    if (status == CLINFER_OK && !(listener->path = strdup(path)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an address");
    return status;
}

static int port_of(int fd) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) return 0;
    memcpy(&four, &address, sizeof four);
    memcpy(&six, &address, sizeof six);
    return ntohs(address.ss_family == AF_INET ? four.sin_port : six.sin6_port);
}

static int open_socket(const struct addrinfo *address) {
    const int on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int problem = errno;
    close(fd);
    errno = problem;
    return -1;
}

/* At all addresses of a name; one of them is enough. */
static enum clinfer_status listen_at_host(const char *host, int *port, const struct ci_server_options *options,
                                          struct ci_listener *listeners, int most, int *count) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char service[16], bare[256];
    size_t length = strlen(host);
    bool bracketed = host[0] == '[' && length > 2 && host[length - 1] == ']';
    snprintf(bare, sizeof bare, "%.*s", (int)(bracketed ? length - 2 : length), host + bracketed);
    snprintf(service, sizeof service, "%d", *port);
    int problem = getaddrinfo(bare, service, &hints, &found);
    if (problem)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--host %s: no such address: %s", host, gai_strerror(problem));
    enum clinfer_status status = CLINFER_OK;
    int before = *count, failed = 0;
    for (struct addrinfo *address = found; address && *count < most && status == CLINFER_OK;
         address = address->ai_next) {
        if (*port && address->ai_family == AF_INET)
            ((struct sockaddr_in *)(void *)address->ai_addr)->sin_port = htons((uint16_t)*port);
        if (*port && address->ai_family == AF_INET6)
            ((struct sockaddr_in6 *)(void *)address->ai_addr)->sin6_port = htons((uint16_t)*port);
        int fd = open_socket(address);
        if (fd < 0) failed = errno;
        if (fd < 0) continue;
        if (!*port) *port = port_of(fd);
        status = describe(fd, options, &listeners[*count]);
        ++*count;
    }
    freeaddrinfo(found);
    errno = failed;
    snprintf(service, sizeof service, "%d", *port);
    return status == CLINFER_OK && *count == before ? fail_to_listen(-1, host, service) : status;
}

static bool is_path(const char *host) {
    size_t length = strlen(host);
    return length > 5 && strcmp(host + length - 5, ".sock") == 0;
}

enum clinfer_status ci_listen(const struct ci_server_options *options, struct ci_listener *listeners, int most,
                              int *count) {
    static const char *const here[] = {"127.0.0.1"};
    const char *const *hosts = options->host_count ? options->hosts : here;
    size_t host_count = options->host_count ? options->host_count : 1;
    enum clinfer_status status = CLINFER_OK;
    int port = options->port;
    *count = 0;
    for (size_t i = 0; i < options->socket_count && status == CLINFER_OK && *count < most; i++) {
        status = describe(options->sockets[i], options, &listeners[*count]);
        ++*count;
    }
    for (size_t i = 0; !options->socket_count && i < host_count && status == CLINFER_OK && *count < most; i++) {
        if (is_path(hosts[i])) {
            status = listen_at_path(hosts[i], options, &listeners[*count]);
            *count += status == CLINFER_OK;
        } else {
            status = listen_at_host(hosts[i], &port, options, listeners, most, count);
        }
    }
    for (int i = 0; status == CLINFER_OK && i < *count; i++)
        if (!listeners[i].loopback && !options->key_count)
            status = ci_fail(CLINFER_INVALID_ARGUMENT,
                             "%s can be reached from other machines, so it needs a key: --api-key-file FILE (or "
                             "--api-key KEY); without one the server listens at 127.0.0.1 only",
                             listeners[i].url);
    return status;
}
