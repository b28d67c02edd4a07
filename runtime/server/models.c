/* models.c: models are fetched, deleted, loaded and let go of by hand, as llama-server's router has it; and what
 * happens to them is told to who follows it. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "server/dialect.h"
#include "server/downloads.h"
#include "server/events.h"
#include "server/model_delete.h"
#include "server/pool.h"
#include "server/server.h"

/* ---- loading ---- */

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
    struct ci_server *server = ci_exchange_server(exchange);
    if (!name) return;
    bool fetched = ci_downloads_cancel(ci_server_downloads(server), name);
    answer(exchange, fetched ? CLINFER_OK : ci_pool_unload(ci_server_pool(server), name));
}

/* ---- what there is ---- */

static void follow(struct ci_exchange *exchange) {
    ci_events_follow(ci_server_events(ci_exchange_server(exchange)), exchange);
}

/* Answers when fetching has begun; events say how it went. */
static void fetch(struct ci_exchange *exchange) {
    struct ci_server *server = ci_exchange_server(exchange);
    struct ci_pool_info *info = NULL;
    const char *name = read_name(exchange);
    if (!name) return;
    enum clinfer_status status = ci_pool_find(ci_server_pool(server), name, &info);
    bool known = status == CLINFER_OK && strcmp(info->name, name) == 0;
    free(info);
    if (known)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s: this model is here already", name);
    else
        status = ci_downloads_begin(ci_server_downloads(server), name, ci_server_get_options(server)->offline);
    answer(exchange, status);
}

static void delete (struct ci_exchange *exchange) {
    const char *name = ci_exchange_query(exchange, "model");
    struct ci_pool_info *info = NULL;
    if (!name || !*name) {
        ci_exchange_refuse(exchange, "model", "which one: ?model=NAME");
        return;
    }
    enum clinfer_status status = ci_pool_find(ci_server_pool(ci_exchange_server(exchange)), name, &info);
    if (status == CLINFER_OK) status = ci_model_delete(exchange, name, info);
    free(info);
    answer(exchange, status);
}

/* ---- the dialect ---- */

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    (void)failure; /* events end with the server */
    ci_stream_end(exchange, false);
}

static const struct ci_route routes[] = {
    {"GET", "/models/sse", 0, follow, NULL},
    {"POST", "/models", CI_ROUTE_CHANGES, fetch, "model"},
    {"DELETE", "/models", CI_ROUTE_CHANGES, delete, NULL},
    {"POST", "/models/load", CI_ROUTE_CHANGES, load, "model"},
    {"POST", "/models/unload", CI_ROUTE_CHANGES, unload, "model"},
};

const struct ci_server_dialect ci_server_dialect_models = {
    .name = "models", .routes = routes, .count = sizeof routes / sizeof *routes, .fail = fail, .break_off = break_off};
