/* serve_pages.c: what libmicrohttpd itself answers to what is no HTTP, or too large for it, is a page in HTML, which
 * clients of an API cannot read, and it has no setting for that. It makes these pages, and only these, by calling its
 * own MHD_create_response_from_buffer through the dynamic linker: the tool exports a function of that name (Makefile),
 * which the linker finds first, so that it is JSON. Where a libmicrohttpd calls it otherwise the page stays a page. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "server/mhd.h"

__attribute__((visibility("default"))) struct MHD_Response *
MHD_create_response_from_buffer(size_t size, void *buffer, enum MHD_ResponseMemoryMode mode) {
    static const char marker[] = "<title>";
    const char *page = buffer, *title = size ? memmem(page, size, marker, sizeof marker - 1) : NULL;
    const char *what = "the request is malformed";
    size_t length = strlen(what);
    char text[512];
    if (!title && size && page[0] != '<')
        return ci_mhd->create_response_from_buffer(size, buffer, mode);
    const char *end = title ? memchr(title + 1, '<', size - (size_t)(title + 1 - page)) : NULL;
    if (end) {
        what = title + sizeof marker - 1;
        length = (size_t)(end - what);
    }
    int count = snprintf(text, sizeof text,
                         "{\"error\":{\"message\":\"%.*s: this is no request that the server can read\",\"type\":"
                         "\"invalid_request_error\",\"param\":null,\"code\":400}}",
                         length < 200 ? (int)length : 200, what);
    struct MHD_Response *response =
        ci_mhd->create_response_from_buffer((size_t)count, text, MHD_RESPMEM_MUST_COPY);
    if (response) ci_mhd->add_response_header(response, "Content-Type", "application/json; charset=utf-8");
    return response;
}
