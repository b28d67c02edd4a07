/* core.c: whether the server lives, whether it can answer, what it has counted.
 *
 * /health and /ready run on the network's thread and only look at what others have written: they answer while a device
 * hangs, and then /ready says that it does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/job.h"
#include "server/pool.h"
#include "server/server_private.h"

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    json_t *event = ci_failure_openai(failure);
    ci_stream_json(exchange, NULL, event);
    json_decref(event);
    ci_stream_end(exchange, false);
}

static void refuse_not_ready(struct ci_exchange *exchange, const char *why) {
    const struct ci_failure failure = {.kind = CI_FAIL_UNAVAILABLE, .message = why};
    ci_exchange_fail(exchange, &failure);
}

/* As llama-server's: 503 while it loads. Once it has loaded it is alive for good. */
static void health(struct ci_exchange *exchange) {
    const char *why = ci_server_loading(ci_exchange_server(exchange));
    if (why)
        refuse_not_ready(exchange, why);
    else
        ci_reply_json(exchange, 200, json_pack("{s:s}", "status", "ok"));
}

static void ready(struct ci_exchange *exchange) {
    struct ci_server_condition condition;
    ci_server_look(ci_exchange_server(exchange), &condition);
    if (!condition.ready) {
        refuse_not_ready(exchange, condition.why);
        return;
    }
    bool degraded = condition.degraded > 0 && condition.degraded == condition.answering;
    json_t *answer = json_pack("{s:s, s:s}", "status", degraded ? "degraded" : "ready", "route", condition.rung);
    char words[sizeof condition.why];
    if (answer && *condition.why)
        json_object_set_new(answer, "message", json_string(ci_failure_words(condition.why, words, sizeof words)));
    ci_reply_json(exchange, 200, answer);
}

static void add_stats(void *user, const char *name, clinfer_router *router) {
    struct ci_metrics_now *now = user;
    struct clinfer_router_stats stats;
    (void)name;
    clinfer_router_get_stats(router, &stats);
    now->steps += stats.steps;
    now->step_rows += stats.rows;
    double used = stats.cache_tokens ? (double)stats.cache_tokens_used / (double)stats.cache_tokens : 0;
    if (used > now->cache_used) now->cache_used = used;
}

static void add_rung(void *user, const struct clinfer_rung *rung) {
    ci_metrics_now_rung(user, rung->name, rung->status == CLINFER_OK);
}

static void metrics(struct ci_exchange *exchange) {
    struct ci_server *server = ci_exchange_server(exchange);
    struct ci_metrics_now now = {0};
    char started[32];
    size_t length = 0;
    static const struct ci_failure off = {.kind = CI_FAIL_UNSUPPORTED,
                                          .message =
                                              "This server does not support metrics endpoint. Start it with --metrics"};
    if (!ci_server_get_options(server)->metrics) {
        ci_exchange_fail(exchange, &off);
        return;
    }
    ci_server_load(server, &now.running, &now.waiting);
    now.model = ci_server_model(server);
    if (ci_server_pool(server)) {
        ci_pool_each(ci_server_pool(server), add_stats, &now);
        ci_pool_each_rung(ci_server_pool(server), add_rung, &now);
    }
    struct ci_server_condition condition;
    ci_server_look(server, &condition);
    now.ready = condition.ready;
    now.degraded = condition.degraded > 0;
    char *text = ci_metrics_text(ci_server_metrics(server), &now, &length);
    snprintf(started, sizeof started, "%lld", (long long)ci_server_started(server));
    ci_reply_header(exchange, "Process-Start-Time-Unix", started);
    ci_reply_bytes(exchange, text ? 200 : 500, "text/plain; version=0.0.4", text ? text : "", length);
    free(text);
}

static const struct ci_route routes[] = {
    {"GET", "/health", CI_ROUTE_OPEN | CI_ROUTE_QUICK, health, NULL},
    {"GET", "/v1/health", CI_ROUTE_OPEN | CI_ROUTE_QUICK, health, NULL},
    {"GET", "/ready", CI_ROUTE_OPEN | CI_ROUTE_QUICK, ready, NULL},
    {"GET", "/metrics", CI_ROUTE_QUICK, metrics, NULL},
};

const struct ci_server_dialect ci_server_dialect_core = {
    .name = "core",
    .routes = routes,
    .count = sizeof routes / sizeof *routes,
    .fail = fail,
    .break_off = break_off,
};
