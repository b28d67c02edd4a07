/* Any bytes as what a server sends to a POST, head and body, over a connection of this machine: the end is told, within
 * the time that was given, and what is kept of the head is bounded. What answers do with a body is fuzz_remote's. */
#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "remote/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The server: one connection, one answer, then the end. */
static struct {
    int listener;
    char url[64];
    const uint8_t *data;
    size_t size;
} server = {.listener = -1};

static void start(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    server.listener = socket(AF_INET, SOCK_STREAM, 0);
    if (server.listener < 0 || bind(server.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server.listener, 4) != 0 || getsockname(server.listener, (struct sockaddr *)&address, &length) != 0)
        abort();
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d/v1", ntohs(address.sin_port));
}

static void *serve(void *unused) {
    char request[4096];
    (void)unused;
    int connection = accept(server.listener, NULL, NULL);
    if (connection < 0) return NULL;
    if (recv(connection, request, sizeof request, 0) > 0)
        for (size_t sent = 0; sent < server.size;) {
            ssize_t count = send(connection, server.data + sent, server.size - sent, MSG_NOSIGNAL);
            if (count <= 0) break;
            sent += (size_t)count;
        }
    shutdown(connection, SHUT_WR);
    while (recv(connection, request, sizeof request, 0) > 0) continue;
    close(connection);
    return NULL;
}

static enum ci_http_wish receive(void *user, const struct ci_http_answer *head, const char *bytes, size_t length) {
    uint64_t *sum = user;
    if (head->status < 100) abort();
    for (size_t i = 0; i < length; i++) *sum += (unsigned char)bytes[i]; /* each is there to be read */
    return CI_HTTP_MORE;
}

static void check_text(const char *text) {
    if (!memchr(text, 0, CI_HTTP_TEXT_BYTES)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const headers[] = {"content-type: application/json", NULL};
    struct ci_http_answer answer;
    struct ci_http *http;
    pthread_t thread;
    uint64_t sum = 0;
    if (server.listener < 0) start();
    server.data = data;
    server.size = size;
    double began = ci_now();
    const struct ci_http_request request = {.url = server.url,
                                            .headers = headers,
                                            .body = "{}",
                                            .body_bytes = 2,
                                            .loopback = true,
                                            .connect_seconds = 5,
                                            .first_byte_seconds = 5,
                                            .idle_seconds = 5,
                                            .until = began + 5,
                                            .receiver = receive,
                                            .user = &sum};
    if (ci_http_take(&http) != CLINFER_OK || pthread_create(&thread, NULL, serve, NULL) != 0) abort();
    ci_http_post(http, &request, &answer);
    ci_http_give_back(http, false);
    pthread_join(thread, NULL);
    if (answer.end > CI_HTTP_NO_MEMORY || ci_now() - began > 8) abort();
    if (!isfinite(answer.retry_after) || answer.retry_after < 0) abort();
    check_text(answer.content_type);
    check_text(answer.location);
    check_text(answer.problem);
    check_text(answer.peer);
    return 0;
}
