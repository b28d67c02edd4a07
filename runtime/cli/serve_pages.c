/* serve_pages.c: what libmicrohttpd itself answers to what is no HTTP, or too large for it, is a page in HTML, which
 * clients of an API cannot read, and it has no setting for that. It makes these pages, and only these, by calling its
 * own MHD_create_response_from_buffer and MHD_queue_response through the dynamic linker: the tool exports functions of
 * these names (Makefile), which the linker finds first, so that the page is JSON. Where a libmicrohttpd calls them
 * otherwise the page stays a page.
 *
 * 0.9.75 sends the header of such an answer twice where a field of the request's header is wrong, and the body behind
 * that. So the answer is sent here, and libmicrohttpd closes the connection; with TLS only it can send. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <jansson.h>

#include "server/mhd.h"

enum { MOST_UNREAD = 1 << 18 };

/* What the page says that this thread has made, until it is queued; "": there is none. */
static _Thread_local char said[256];

static void decode(char *text) {
    static const char *const entities[][2] = {
        {"&quot;", "\""}, {"&#39;", "'"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}};
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
        for (char *at = text; (at = strstr(at, entities[i][0])) != NULL; at++) {
            size_t length = strlen(entities[i][0]);
            *at = *entities[i][1];
            memmove(at + 1, at + length, strlen(at + length) + 1);
        }
}

/* For free(); NULL: out of memory. */
static char *make_body(unsigned status) {
    json_t *error = json_pack("{s:{s:o?, s:s, s:n, s:i}}", "error", "message",
                              json_sprintf("%s: this is no request that the server can read", said), "type",
                              "invalid_request_error", "param", "code", (int)status);
    char *body = json_dumps(error, JSON_COMPACT);
    json_decref(error);
    return body;
}

__attribute__((visibility("default"))) struct MHD_Response *
MHD_create_response_from_buffer(size_t size, void *buffer, enum MHD_ResponseMemoryMode mode) {
    static const char marker[] = "<title>";
    const char *page = buffer, *title = size ? memmem(page, size, marker, sizeof marker - 1) : NULL;
    if (!title && size && page[0] != '<') return ci_mhd->create_response_from_buffer(size, buffer, mode);
    const char *end = title ? memchr(title + 1, '<', size - (size_t)(title + 1 - page)) : NULL;
    snprintf(said, sizeof said, "the request is malformed");
    if (end) {
        title += sizeof marker - 1;
        snprintf(said, sizeof said, "%.*s", (int)(end - title < 200 ? end - title : 200), title);
        decode(said);
    }
    return ci_mhd->create_response_from_buffer(size, buffer, mode);
}

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned status, const char *body) {
    struct MHD_Response *response =
        ci_mhd->create_response_from_buffer(strlen(body), (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    if (!response) return MHD_NO;
    ci_mhd->add_response_header(response, "Content-Type", "application/json; charset=utf-8");
    enum MHD_Result result = ci_mhd->queue_response(connection, status, response);
    ci_mhd->destroy_response(response);
    return result;
}

/* What the client has sent is read, as far as it is there: closing with it unread would take the answer back. */
static void send_answer(int fd, unsigned status, const char *body) {
    char head[512], date[64] = "", unread[4096];
    struct tm utc;
    time_t now = time(NULL);
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %u %s\r\n%sConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n"
                          "Content-Length: %zu\r\n\r\n",
                          status, ci_mhd->get_reason_phrase_for(status), date, strlen(body));
    if (send(fd, head, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) != length) return;
    send(fd, body, strlen(body), MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < MOST_UNREAD / (int)sizeof unread; i++)
        if (recv(fd, unread, sizeof unread, MSG_DONTWAIT) <= 0) return;
}

__attribute__((visibility("default"))) enum MHD_Result
MHD_queue_response(struct MHD_Connection *connection, unsigned int status, struct MHD_Response *response) {
    const union MHD_ConnectionInfo *fd = ci_mhd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *tls = ci_mhd->get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    char *body = *said ? make_body(status) : NULL;
    enum MHD_Result result = MHD_NO; /* which closes the connection */
    *said = 0;
    if (!body) return ci_mhd->queue_response(connection, status, response);
    /* Of what is too long more may be on the way, and its header is sent once. */
    bool once = status == MHD_HTTP_URI_TOO_LONG || status == MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
    if (once || !fd || (tls && tls->tls_session))
        result = queue(connection, status, body);
    else
        send_answer(fd->connect_fd, status, body);
    free(body);
    return result;
}
