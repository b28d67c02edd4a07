#define _GNU_SOURCE
#include "server/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_SOCKET = 3 };

void ci_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    if (length < 2 || length >= sizeof address.sun_path || (*path != '/' && *path != '@')) return;
    memcpy(address.sun_path, path, length);
    if (*path == '@') address.sun_path[0] = 0; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(fd);
}

/* Whether the variable names this process, or nobody in particular. */
static int is_for_us(const char *variable, int without) {
    const char *text = getenv(variable);
    return text ? atol(text) == (long)getpid() : without;
}

double ci_notify_watchdog(void) {
    const char *text = getenv("WATCHDOG_USEC");
    double microseconds = text ? atof(text) : 0;
    return microseconds > 0 && is_for_us("WATCHDOG_PID", 1) ? microseconds * 0.5e-6 : 0;
}

int ci_notify_sockets(int *sockets, int most) {
    const char *text = getenv("LISTEN_FDS");
    int count = text && is_for_us("LISTEN_PID", 0) ? atoi(text) : 0;
    if (count > most) count = most;
    for (int i = 0; i < count; i++) {
        sockets[i] = FIRST_SOCKET + i;
        fcntl(sockets[i], F_SETFD, FD_CLOEXEC);
        fcntl(sockets[i], F_SETFL, fcntl(sockets[i], F_GETFL) | O_NONBLOCK);
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return count > 0 ? count : 0;
}
