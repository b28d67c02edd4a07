/* embed.c: texts as vectors on the ladder: what a device cannot finish the next rung of this machine begins anew.
 * Nothing of it goes to remotes. */
#include "base/log.h"
#include "base/require.h"
#include "remote/router.h"

/* Whose fault a failure is: the same texts may do on another device. */
static bool is_of_device(enum clinfer_status status) {
    return status == CLINFER_DEVICE_ERROR || status == CLINFER_NO_DEVICE || status == CLINFER_WRONG_RESULT;
}

/* The rung on which it failed is out of use, unless a request has seen to that already. */
static void retire(struct clinfer_router *router, const clinfer_engine *engine, enum clinfer_status status) {
    pthread_mutex_lock(&router->lock);
    for (int i = 0; i < router->local_count; i++) {
        struct ci_rung *rung = &router->rungs[i];
        if (!rung->runner || rung->out || !ci_runner_is_held(rung->runner, engine)) continue;
        ci_log(CLINFER_LOG_WARNING, "%s: %s; texts go on elsewhere", rung->name, ci_status_message());
        ci_rungs_retire(router, i, status, true);
        rung->told = true;
        rung->failed++;
        break;
    }
    pthread_mutex_unlock(&router->lock);
}

enum clinfer_status clinfer_router_embed(clinfer_router *router, const struct clinfer_tokens *texts, size_t count,
                                         enum clinfer_pooling pooling, bool (*goes_on)(void *), void *user,
                                         float *vectors) {
    enum clinfer_status status = CLINFER_OK;
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    for (int attempt = 0; attempt <= router->local_count; attempt++) {
        clinfer_engine *engine = clinfer_router_take_engine(router);
        if (!engine) {
            status = clinfer_router_start(router);
            engine = status == CLINFER_OK ? clinfer_router_take_engine(router) : NULL;
        }
        if (!engine)
            return status == CLINFER_OK
                       ? ci_fail(CLINFER_UNSUPPORTED, "no model runs on this machine, and remotes make no vectors here")
                       : status;
        status = clinfer_embed_all(engine, texts, count, pooling, goes_on, user, vectors);
        if (is_of_device(status)) retire(router, engine, status);
        clinfer_router_give_back_engine(router, engine);
        if (!is_of_device(status)) break;
    }
    return status;
}
