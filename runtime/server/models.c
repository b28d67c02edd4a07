/* models.c: models are loaded and let go of by hand, as llama-server's router has it. */
#include <string.h>

#include "server/dialect.h"
#include "server/pool.h"
#include "server/server.h"

static const char *read_name(struct ci_exchange *exchange) {
    const json_t *body = ci_exchange_json(exchange);
    const char *name = json_string_value(json_object_get(body, "model"));
    if (body && !name) ci_exchange_refuse(exchange, "model", "\"model\" must be provided: the name of a model");
    return body ? name : NULL;
}

static void answer(struct ci_exchange *exchange, enum clinfer_status status) {
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    if (status == CLINFER_OK)
        ci_reply_json(exchange, 200, json_pack("{s:b}", "success", 1));
    else
        ci_exchange_fail(exchange, &failure);
}

/* Answers when loading has begun; GET /models says how it went. */
static void load(struct ci_exchange *exchange) {
    const char *name = read_name(exchange);
    if (name) answer(exchange, ci_pool_load(ci_server_pool(ci_exchange_server(exchange)), name));
}

static void unload(struct ci_exchange *exchange) {
    const char *name = read_name(exchange);
    if (name) answer(exchange, ci_pool_unload(ci_server_pool(ci_exchange_server(exchange)), name));
}

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    (void)failure; /* nothing here is a stream */
    ci_stream_end(exchange, false);
}

static const struct ci_route routes[] = {
    {"POST", "/models/load", CI_ROUTE_CHANGES, load},
    {"POST", "/models/unload", CI_ROUTE_CHANGES, unload},
};

const struct ci_server_dialect ci_server_dialect_models = {
    .name = "models", .routes = routes, .count = sizeof routes / sizeof *routes, .fail = fail, .break_off = break_off};
