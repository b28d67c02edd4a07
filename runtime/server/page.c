/* page.c: the web page: its files, each with a policy by which the browser runs and shows nothing else. "/" is also
 * where clients of Ollama look whether it runs: they, and all that say nothing of what they accept, get its line. */
#include "server/page.h"

#include <string.h>

#include "server/dialect.h"
#include "server/server.h"

static const char policy[] =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

static void send_file(struct ci_exchange *exchange, const char *path) {
    const struct ci_page_file *file = ci_page_files;
    while (file->path && strcmp(file->path, path) != 0) file++;
    const char *known = ci_exchange_header(exchange, "If-None-Match");
    ci_reply_header(exchange, "ETag", file->tag);
    ci_reply_header(exchange, "Cache-Control", "no-cache"); /* kept, but asked for by its tag */
    ci_reply_header(exchange, "Content-Security-Policy", policy);
    ci_reply_header(exchange, "X-Content-Type-Options", "nosniff");
    ci_reply_header(exchange, "Referrer-Policy", "no-referrer");
    if (known && strstr(known, file->tag))
        ci_reply_bytes(exchange, 304, file->type, "", 0);
    else
        ci_reply_bytes(exchange, 200, file->type, file->bytes, file->length);
}

static bool is_off(struct ci_exchange *exchange) {
    static const struct ci_failure off = {.kind = CI_FAIL_NOT_FOUND,
                                          .message = "The web page is switched off (--no-ui)"};
    bool shown = ci_server_get_options(ci_exchange_server(exchange))->web_page;
    if (!shown) ci_exchange_fail(exchange, &off);
    return !shown;
}

static void page_file(struct ci_exchange *exchange) {
    if (!is_off(exchange)) send_file(exchange, ci_exchange_path(exchange));
}

static void icon(struct ci_exchange *exchange) {
    if (!is_off(exchange)) send_file(exchange, "/icon.svg");
}

static void index_file(struct ci_exchange *exchange) {
    static const char runs[] = "Ollama is running";
    const char *accepted = ci_exchange_header(exchange, "Accept"), *agent = ci_exchange_header(exchange, "User-Agent");
    bool html = accepted && (strstr(accepted, "text/html") || strstr(accepted, "*/*"));
    if (!html || (agent && strcasestr(agent, "ollama")))
        ci_reply_bytes(exchange, 200, "text/plain; charset=utf-8", runs, sizeof runs - 1);
    else if (!is_off(exchange))
        send_file(exchange, "/index.html");
}

static const struct ci_route routes[] = {
    {"GET", "/", CI_ROUTE_OPEN | CI_ROUTE_QUICK, index_file, NULL},
    {"GET", "/index.html", CI_ROUTE_OPEN | CI_ROUTE_QUICK, page_file, NULL},
    {"GET", "/page.js", CI_ROUTE_OPEN | CI_ROUTE_QUICK, page_file, NULL},
    {"GET", "/page.css", CI_ROUTE_OPEN | CI_ROUTE_QUICK, page_file, NULL},
    {"GET", "/icon.svg", CI_ROUTE_OPEN | CI_ROUTE_QUICK, page_file, NULL},
    {"GET", "/favicon.ico", CI_ROUTE_OPEN | CI_ROUTE_QUICK, icon, NULL},
};

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    (void)failure;
    ci_stream_end(exchange, false);
}

const struct ci_server_dialect ci_server_dialect_page = {
    .name = "page", .routes = routes, .count = sizeof routes / sizeof *routes, .fail = fail, .break_off = break_off};
