/* gate.c: see gate.h. */
#define _GNU_SOURCE
#include "server/gate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/server_private.h"

/* ---- the pure parts ---- */

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ci_gate_unescape(char *text) {
    char *to = text;
    for (; *text; text++, to++) {
        *to = *text;
        if (*text != '%') continue;
        int high = digit_of(text[1]), low = high < 0 ? -1 : digit_of(text[2]);
        if (high < 0 || low < 0 || (high | low) == 0) return false;
        *to = (char)(high << 4 | low);
        text += 2;
    }
    *to = 0;
    return true;
}

bool ci_gate_same_key(const char *given, const char *key) {
    size_t length = strlen(given), expected = strlen(key);
    unsigned different = length != expected || !expected;
    for (size_t i = 0; i < length; i++)
        different |= (unsigned char)given[i] ^ (unsigned char)key[expected ? i % expected : 0];
    return !different;
}

/* The name in "name:port" or "[v6]:port", without a dot at its end. false: it is none. */
static bool bare_host(const char *host, char name[256]) {
    size_t length = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
    const char *rest = host + length;
    if (host[0] == '[') {
        if (*rest != ']') return false;
        host++;
        length--;
        rest++;
    }
    if (*rest == ':') rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest || !length || length > 255) return false;
    snprintf(name, 256, "%.*s", (int)length, host);
    if (name[length - 1] == '.') name[length - 1] = 0;
    return *name != 0;
}

static bool is_loopback(const char *name) {
    struct in_addr four;
    struct in6_addr six;
    size_t length = strlen(name);
    if (inet_pton(AF_INET, name, &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, name, &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
    return strcasecmp(name, "localhost") == 0 || (length > 10 && strcasecmp(name + length - 10, ".localhost") == 0);
}

bool ci_gate_host_allowed(const char *host, const char *own, const char *const *names, size_t count) {
    char name[256], machine[256] = "";
    if (!bare_host(host, name)) return false;
    if (is_loopback(name) || (own && strcasecmp(name, own) == 0)) return true;
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(name, names[i]) == 0) return true;
    gethostname(machine, sizeof machine - 1);
    size_t length = strlen(machine);
    return length && strncasecmp(name, machine, length) == 0 &&
           (!name[length] || strcasecmp(name + length, ".local") == 0);
}

bool ci_gate_origin_allowed(const char *origin, const char *allowed, const char *host) {
    const char *rest = strstr(origin, "://"), *place = rest ? rest + 3 : NULL;
    char name[256];
    if (!allowed) allowed = "localhost";
    /* A page of this server itself. Its Host has been looked at. */
    if (place && host && strcasecmp(place, host) == 0 && strncmp(origin, "http", 4) == 0) return true;
    while (*allowed) {
        size_t length = strcspn(allowed, ",");
        const char *end = allowed + length;
        while (length && *allowed == ' ') allowed++, length--;
        while (length && allowed[length - 1] == ' ') length--;
        if (length == 1 && *allowed == '*') return true;
        bool local = length == 9 && strncmp(allowed, "localhost", 9) == 0;
        if (local && place && strncmp(origin, "http", 4) == 0 && bare_host(place, name) && is_loopback(name))
            return true;
        if (!local && length && strlen(origin) == length && strncasecmp(origin, allowed, length) == 0) return true;
        allowed = end + (*end == ',');
    }
    return false;
}

/* ---- reading ---- */

static void fail(struct ci_exchange *exchange, enum ci_failure_kind kind, const char *message) {
    const struct ci_failure failure = {.kind = kind, .message = message};
    ci_exchange_fail(exchange, &failure);
}

/* What may hide a second request from who stands between client and server: the connection ends with it. */
static bool refuse_framing(struct ci_exchange *exchange, const char *message) {
    exchange->closes = true;
    fail(exchange, CI_FAIL_INVALID, message);
    return false;
}

struct reading {
    struct ci_exchange *exchange;
    struct ci_pair **end;
    size_t bytes;
    int lengths, encodings, hosts;
    bool no_memory, broken, bad_escape;
    const char *last; /* value, in libmicrohttpd's buffer */
    size_t last_length;
};

static bool add_pair(struct reading *reading, const char *name, size_t name_length, const char *value, size_t length) {
    struct ci_arena *arena = &reading->exchange->arena;
    struct ci_pair *pair = ci_arena_alloc(arena, sizeof *pair);
    if (!pair || !(pair->name = ci_arena_string(arena, name, name_length)) ||
        !(pair->value = ci_arena_string(arena, value, length))) {
        reading->no_memory = true;
        return false;
    }
    *reading->end = pair;
    reading->end = &pair->next;
    return true;
}

/* libmicrohttpd leaves lines where they were read and writes zeros over their ends, CR and LF, but over a single LF,
 * too. So two zeros stand between a value and the next header's name, and four behind the last one; otherwise a line
 * ended improperly, had a zero in it, or was folded. */
static bool is_next_line(const struct reading *reading, const char *name) {
    if (!reading->last) return true;
    return (uintptr_t)name - (uintptr_t)(reading->last + reading->last_length) == 2 && !name[-1] && !name[-2];
}

static bool ends_header(const struct reading *reading) {
    const char *end = reading->last ? reading->last + reading->last_length : NULL;
    return !end || (!end[0] && !end[1] && !end[2] && !end[3]);
}

static enum MHD_Result on_header(void *user, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                 const char *value, size_t length) {
    struct reading *reading = user;
    (void)kind;
    if (!value) value = "";
    reading->bytes += name_length + length + 4;
    if (!is_next_line(reading, name) || strlen(name) != name_length || strlen(value) != length) reading->broken = true;
    reading->last = value;
    reading->last_length = length;
    for (size_t i = 0; i < name_length; i++)
        if (!isgraph((unsigned char)name[i])) reading->broken = true;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)value[i] < 32 && value[i] != '\t') reading->broken = true;
    if (strcasecmp(name, "Content-Length") == 0) {
        reading->lengths++;
        if (!length || strspn(value, "0123456789") != length) reading->broken = true;
    }
    if (strcasecmp(name, "Host") == 0) reading->hosts++;
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        reading->encodings++;
        if (strcasecmp(value, "chunked") != 0) reading->broken = true;
    }
    return add_pair(reading, name, name_length, value, length) ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_query(void *user, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                const char *value, size_t length) {
    struct reading *reading = user;
    (void)kind;
    reading->bytes += name_length + length + 2;
    struct ci_pair **place = reading->end;
    if (!add_pair(reading, name, name_length, value ? value : "", value ? length : 0)) return MHD_NO;
    if (!ci_gate_unescape((char *)(uintptr_t)(*place)->name) || !ci_gate_unescape((char *)(uintptr_t)(*place)->value))
        reading->bad_escape = true;
    return MHD_YES;
}

/* A zero byte in the path ends it for libmicrohttpd, which then goes on to the version. */
static bool is_cut(const struct reading *queries, const char *target, const char *version) {
    uintptr_t gap = (uintptr_t)version - (uintptr_t)(target + strlen(target));
    return queries->end == &queries->exchange->queries && gap != 1 && gap != 2;
}

bool ci_gate_read(struct ci_exchange *exchange, const char *method, const char *target, const char *version) {
    struct ci_route_match match;
    struct reading headers = {.exchange = exchange, .end = &exchange->headers};
    struct reading queries = {.exchange = exchange, .end = &exchange->queries};
    size_t length = strlen(target);
    char *path = ci_arena_string(&exchange->arena, target, length);
    exchange->head = strcmp(method, "HEAD") == 0;
    exchange->method = exchange->head ? "GET" : ci_arena_string(&exchange->arena, method, strlen(method));
    /* Failures look as the path's dialect has them, whatever they are. */
    ci_route_find("", "/", &match);
    exchange->dialect = match.dialect;
    ci_mhd->get_connection_values_n(exchange->connection, MHD_HEADER_KIND, on_header, &headers);
    ci_mhd->get_connection_values_n(exchange->connection, MHD_GET_ARGUMENT_KIND, on_query, &queries);
    if (!path || !exchange->method || headers.no_memory || queries.no_memory) {
        exchange->method = "";
        exchange->closes = true;
        fail(exchange, CI_FAIL_UNAVAILABLE, "out of memory");
        return false;
    }
    bool decoded = ci_gate_unescape(path);
    if (decoded) exchange->path = path;
    bool one = strcmp(version, "HTTP/1.1") == 0;
    if (!one && strcmp(version, "HTTP/1.0") != 0)
        return refuse_framing(exchange, "the request is none of HTTP/1.1 or HTTP/1.0");
    if (headers.lengths > 1) return refuse_framing(exchange, "the request has two Content-Length headers");
    if (headers.lengths && headers.encodings)
        return refuse_framing(exchange, "the request has both Content-Length and Transfer-Encoding");
    if (headers.encodings > 1 || (headers.encodings && !one) || headers.broken || !ends_header(&headers) ||
        version[9] || is_cut(&queries, target, version))
        return refuse_framing(exchange, "the request's header is malformed: lines must end with CR and LF, "
                                        "Content-Length is a number, Transfer-Encoding \"chunked\", no byte is zero");
    if (headers.hosts != 1 && (one || headers.hosts))
        return refuse_framing(exchange, "the request must have one Host header");
    if (headers.bytes + queries.bytes + length > (size_t)exchange->server->options.most_header) {
        exchange->closes = true;
        fail(exchange, CI_FAIL_HEADER, "the request's header is too large");
        return false;
    }
    if (!decoded || queries.bad_escape || path[0] != '/')
        return refuse_framing(exchange, "the address is malformed: it must begin with / and % begin two hexadecimal "
                                        "digits other than 00");
    return true;
}

/* ---- checking ---- */

static bool check_host(struct ci_exchange *exchange) {
    const struct ci_server *server = exchange->server;
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char own[NI_MAXHOST] = "", message[512];
    const char *host = ci_exchange_header(exchange, "Host");
    /* Who may ask from other machines has a key, and calls this one by names that it need not know. */
    if (!server->loopback || !host) return true;
    if (getsockname(exchange->fd, (struct sockaddr *)&address, &size) == 0 && address.ss_family != AF_UNIX)
        getnameinfo((struct sockaddr *)&address, size, own, sizeof own, NULL, 0, NI_NUMERICHOST);
    if (address.ss_family == AF_UNIX) return true;
    if (ci_gate_host_allowed(host, own, server->options.names, server->options.name_count)) return true;
    snprintf(message, sizeof message,
             "the Host %.200s is none of this server, which only this machine may reach; --allowed-host NAME adds one",
             host);
    fail(exchange, CI_FAIL_PERMISSION, message);
    return false;
}

/* An answer that its page may read. */
static void allow_origin(struct ci_exchange *exchange, const char *origin) {
    ci_reply_header(exchange, "Vary", "Origin");
    ci_reply_header(exchange, "Access-Control-Allow-Origin", origin);
    ci_reply_header(exchange, "Access-Control-Expose-Headers",
                    "X-Clinfer-Route, X-Clinfer-Ignored, Retry-After, request-id");
}

/* What a browser asks before it asks. It carries no key and runs nothing, so it is answered in any case; a foreign page
 * gets an answer that allows it nothing. */
static void answer_preflight(struct ci_exchange *exchange, const char *origin, bool allowed) {
    const char *allow = exchange->server->options.origins;
    const char *wanted = ci_exchange_header(exchange, "Access-Control-Request-Headers");
    bool any = allow && strcmp(allow, "*") == 0;
    if (origin && allowed) {
        ci_reply_header(exchange, "Access-Control-Allow-Credentials", "true");
        ci_reply_header(exchange, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
        ci_reply_header(exchange, "Access-Control-Allow-Headers", any || !wanted ? "*" : wanted);
        ci_reply_header(exchange, "Access-Control-Max-Age", "600");
    }
    ci_reply_header(exchange, "Allow", "GET, HEAD, POST, DELETE, OPTIONS");
    ci_reply_bytes(exchange, 200, "text/plain; charset=utf-8", "", 0);
}

/* false: answered. */
static bool check_origin(struct ci_exchange *exchange) {
    const char *origin = ci_exchange_header(exchange, "Origin");
    bool allowed = !origin || ci_gate_origin_allowed(origin, exchange->server->options.origins,
                                                     ci_exchange_header(exchange, "Host"));
    if (origin && allowed) allow_origin(exchange, origin);
    if (strcmp(exchange->method, "OPTIONS") == 0) {
        answer_preflight(exchange, origin, allowed);
        return false;
    }
    if (allowed) return true;
    char message[512];
    snprintf(message, sizeof message, "pages of %.200s may not use this server; --cors-origins lets them", origin);
    fail(exchange, CI_FAIL_PERMISSION, message);
    return false;
}

/* The name of the key that came along; NULL: none that is known. All are compared, whichever it is. */
static const char *find_key(struct ci_exchange *exchange, bool *wanted) {
    struct ci_server *server = exchange->server;
    const char *given[] = {ci_exchange_header(exchange, "Authorization"), ci_exchange_header(exchange, "X-Api-Key")};
    const char *name = NULL;
    if (given[0] && strncasecmp(given[0], "Bearer ", 7) == 0)
        given[0] += 7;
    else
        given[0] = NULL;
    pthread_mutex_lock(&server->lock);
    *wanted = server->key_count > 0;
    for (size_t i = 0; i < server->key_count; i++)
        for (int j = 0; j < 2; j++)
            if (given[j] && ci_gate_same_key(given[j], server->keys[i])) name = server->key_names[i];
    if (name) name = ci_arena_string(&exchange->arena, name, strlen(name));
    pthread_mutex_unlock(&server->lock);
    return name;
}

static bool check_key(struct ci_exchange *exchange, const struct ci_route_match *match) {
    unsigned flags = match->route ? match->route->flags : 0;
    bool wanted;
    const char *name = find_key(exchange, &wanted);
    if (!wanted) {
        if (!(flags & CI_ROUTE_CHANGES) || exchange->server->options.model_changes) return true;
        fail(exchange, CI_FAIL_PERMISSION,
             "this route changes the models of this machine: start the server with --allow-model-changes, or with a "
             "key (--api-key-file), to use it");
        return false;
    }
    if (name) exchange->key = name;
    if (name || (flags & CI_ROUTE_OPEN)) return true;
    fail(exchange, CI_FAIL_KEY,
         "Invalid API Key: this server needs one, as Authorization: Bearer KEY or X-Api-Key: KEY");
    return false;
}

void ci_gate_too_large(struct ci_exchange *exchange) {
    char message[128];
    snprintf(message, sizeof message, "the body has more than %zu bytes, the most that this server takes",
             exchange->server->options.most_body);
    fail(exchange, CI_FAIL_TOO_LARGE, message);
}

/* Where the server lies below a prefix, the path behind it. false: it does not begin so. */
static bool strip_prefix(struct ci_exchange *exchange) {
    const char *prefix = exchange->server->options.prefix;
    size_t length = prefix ? strlen(prefix) : 0;
    if (!length) return true;
    const char *rest = exchange->path + length;
    if (strncmp(exchange->path, prefix, length) != 0 || (*rest && *rest != '/')) return false;
    exchange->path = *rest ? rest : "/";
    return true;
}

static bool check_room(struct ci_exchange *exchange) {
    struct ci_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    bool full = server->link_count > server->options.most_connections, draining = server->draining;
    pthread_mutex_unlock(&server->lock);
    if (!full && !draining) return true;
    const struct ci_failure failure = {.kind = CI_FAIL_UNAVAILABLE,
                                       .message = draining ? "the server is ending"
                                                           : "the server has too many connections; try again soon",
                                       .retry_after = 1};
    exchange->closes = true;
    ci_exchange_fail(exchange, &failure);
    return false;
}

/* Before there are models only what needs none is answered. */
static bool check_loaded(struct ci_exchange *exchange) {
    const char *why = exchange->route->flags & CI_ROUTE_QUICK ? NULL : ci_server_loading(exchange->server);
    const struct ci_failure failure = {.kind = CI_FAIL_UNAVAILABLE, .message = why, .retry_after = 2};
    if (why) ci_exchange_fail(exchange, &failure);
    return !why;
}

/* A prefix without its slash: the page there would look for its files beside itself. Relative, since a proxy in front
 * may have a name of its own for it. */
static void send_below(struct ci_exchange *exchange) {
    char place[256];
    snprintf(place, sizeof place, "%s/", strrchr(exchange->server->options.prefix, '/') + 1);
    ci_reply_header(exchange, "Location", place);
    ci_reply_bytes(exchange, 308, "text/plain; charset=utf-8", "", 0);
}

bool ci_gate_check(struct ci_exchange *exchange) {
    struct ci_route_match match;
    char message[320];
    const char *prefix = exchange->server->options.prefix;
    const bool bare = prefix && *prefix && strcmp(exchange->path, prefix) == 0;
    bool below = strip_prefix(exchange);
    ci_route_find(exchange->method, below ? exchange->path : "/-", &match);
    exchange->route = match.route;
    exchange->dialect = match.dialect;
    exchange->parameter = match.parameter;
    if (!check_room(exchange) || !check_host(exchange) || !check_origin(exchange) || !check_key(exchange, &match))
        return false;
    if (!match.route) {
        if (*match.allow) ci_reply_header(exchange, "Allow", match.allow);
        if (*match.allow)
            snprintf(message, sizeof message, "%.200s takes %s", exchange->path, match.allow);
        else
            snprintf(message, sizeof message, "there is no %.200s here", exchange->path);
        fail(exchange, *match.allow ? CI_FAIL_METHOD : CI_FAIL_NOT_FOUND, message);
        return false;
    }
    if (bare) {
        send_below(exchange);
        return false;
    }
    if (!check_loaded(exchange)) return false;
    const char *length = ci_exchange_header(exchange, "Content-Length");
    if (!length || strtoull(length, NULL, 10) <= exchange->server->options.most_body) return true;
    exchange->closes = true;
    ci_gate_too_large(exchange);
    return false;
}
