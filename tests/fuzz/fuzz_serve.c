/* Any bytes as an HTTP request, through everything that lies behind libmicrohttpd: the first line "METHOD PATH?QUERY",
 * lines "Name: value", an empty line, the body. The handler answers it, with a tiny model where it wants one. Whatever
 * came, there is one answer with a sensible status; what says that it is JSON is JSON, and each event of a stream is.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/downloads.h"
#include "server/events.h"
#include "server/gate.h"
#include "server/pool.h"
#include "server/server_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ci_server server;

static void start(void) {
    static struct ci_pool_entry entry;
    static char home[] = "/tmp/clinfer-fuzz-XXXXXX";
    if (!mkdtemp(home)) abort();
    /* Routes look at what lies on the machine: nothing of its user's. */
    static const char *const folders[] = {"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) setenv(folders[i], home, 1);
    entry.name = "tiny";
    entry.keep_alive = -1;
    clinfer_engine_options_default(&entry.router.engine);
    entry.router.engine.model = "tests/data/llama_tiny.gguf";
    entry.router.engine.device = "cpu";
    entry.router.engine.threads = 1;
    entry.router.engine.context = 64;
    entry.router.engine.fallback = CLINFER_FALLBACK_NONE;
    const struct ci_pool_options options = {.entries = &entry, .count = 1, .load_on_demand = true, .keep_alive = -1};
    pthread_mutex_init(&server.lock, NULL);
    pthread_cond_init(&server.changed, NULL);
    ci_metrics_init(&server.metrics);
    server.log_fd = server.epoll = server.wake = -1;
    server.loopback = true;
    server.options.most_connections = server.options.queue = server.options.parallel = 8;
    server.options.most_body = 1 << 20;
    server.options.most_header = 1 << 14;
    server.options.predict = -1;
    server.options.slots = server.options.metrics = true;
    server.options.reasoning_format = server.options.reasoning = "auto";
    clinfer_session_options_default(NULL, &server.options.sampling);
    server.events = ci_events_create();
    server.downloads = server.events ? ci_downloads_create(server.events) : NULL;
    struct ci_pool *pool;
    if (!server.downloads || ci_pool_create(&options, &pool) != CLINFER_OK) abort();
    ci_server_serve(&server, pool, "tiny");
}

/* The text up to `end`, which is taken out of [*data, *data + *size). */
static char *take_until(struct ci_exchange *exchange, const uint8_t **data, size_t *size, char end) {
    const uint8_t *found = memchr(*data, end, *size);
    size_t length = found ? (size_t)(found - *data) : *size;
    char *text = ci_arena_string(&exchange->arena, (const char *)*data, length);
    if (!text) abort();
    *data += length + (found != NULL);
    *size -= length + (found != NULL);
    return text;
}

static void add(struct ci_exchange *exchange, struct ci_pair **list, char *name, char *value) {
    struct ci_pair *pair = ci_arena_alloc(&exchange->arena, sizeof *pair);
    if (!pair) abort();
    *pair = (struct ci_pair){name, value, *list};
    *list = pair;
}

static void add_queries(struct ci_exchange *exchange, char *rest) {
    for (char *part; (part = strsep(&rest, "&"));) {
        char *value = strchr(part, '=');
        if (value) *value++ = 0;
        if (!value) value = part + strlen(part);
        if (ci_gate_unescape(part) && ci_gate_unescape(value)) add(exchange, &exchange->queries, part, value);
    }
}

/* What libmicrohttpd and ci_gate_read() make of it. false: they would have refused it. */
static bool read_request(struct ci_exchange *exchange, const uint8_t *data, size_t size) {
    char *line = take_until(exchange, &data, &size, '\n'), *method = strsep(&line, " ");
    if (!line) return false;
    char *query = strchr(line, '?');
    if (query) *query++ = 0;
    exchange->head = strcmp(method, "HEAD") == 0;
    exchange->method = exchange->head ? "GET" : method;
    if (!ci_gate_unescape(line) || line[0] != '/') return false;
    exchange->path = line;
    if (query) add_queries(exchange, query);
    for (char *header; (header = take_until(exchange, &data, &size, '\n')) && *header;) {
        char *value = strchr(header, ':');
        if (!value) return false;
        *value++ = 0;
        value += strspn(value, " ");
        add(exchange, &exchange->headers, header, value);
    }
    exchange->body = malloc(size + 1);
    if (!exchange->body) abort();
    memcpy(exchange->body, data, size);
    exchange->body[size] = 0;
    exchange->body_length = size;
    return true;
}

static void check_json(const char *text, size_t length) {
    json_t *json = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!json) abort();
    json_decref(json);
}

static void check_events(const char *text, size_t length) {
    const char *end = text + length;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) abort();
        if (strncmp(text, "data: {", 7) == 0) check_json(text + 6, (size_t)(stop - text - 6));
        text = stop + 1;
    }
}

static void check_answer(const struct ci_exchange *exchange) {
    if (!exchange->answered || exchange->status < 200 || exchange->status > 599) abort();
    const char *type = exchange->type ? exchange->type : "";
    if (exchange->streaming && !exchange->ended) abort();
    if (strncmp(type, "application/json", 16) == 0 && exchange->length) check_json(exchange->bytes, exchange->length);
    if (exchange->is_events) check_events(exchange->bytes, exchange->length);
    for (const struct ci_pair *pair = exchange->reply_headers; pair; pair = pair->next)
        if (strpbrk(pair->name, "\r\n") || strpbrk(pair->value, "\r\n")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool started;
    if (!started) start();
    started = true;
    struct ci_exchange *exchange = ci_exchange_create(&server);
    if (!exchange) abort();
    memcpy(exchange->id, "0123456789abcdefghijklmn", 25);
    if (read_request(exchange, data, size)) {
        bool in = ci_gate_check(exchange);
        if (in == exchange->answered) abort();
        /* What deletes and fetches is for no fuzzer. */
        if (in && !(exchange->route->flags & CI_ROUTE_CHANGES)) {
            exchange->dispatched = true;
            ci_exchange_handle(exchange);
        }
        if (!in || exchange->dispatched) check_answer(exchange);
    }
    ci_exchange_release(exchange);
    return 0;
}
