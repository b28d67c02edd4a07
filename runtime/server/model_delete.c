/* model_delete.c: a model is deleted by name, within the limits of `clinfer rm`: what another program or somebody by
 * hand placed stays, and so does what is in use, by whatever name it is to go. */
#include "server/model_delete.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/status.h"
#include "hub/remove.h"
#include "hub/stores.h"
#include "server/events.h"
#include "server/pool.h"
#include "server/server.h"

static struct ci_pool *pool_of(struct ci_exchange *exchange) { return ci_server_pool(ci_exchange_server(exchange)); }

/* The one that is opened by this path, of all stores; NULL: it is in none of them. */
static const struct ci_stored *stored_at(const struct ci_stored *models, size_t count, const char *path) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(models[i].path, path) == 0) return &models[i];
    return NULL;
}

/* A repo's name without a quant answers with the best of several, and deletes none of them. */
static enum clinfer_status check_single(struct ci_exchange *exchange, const char *wanted, const char *found) {
    struct ci_pool_info *list = NULL;
    size_t count = 0, length = strlen(wanted), several = 0;
    if (strcasecmp(wanted, found) == 0) return CLINFER_OK;
    enum clinfer_status status = ci_pool_list(pool_of(exchange), &list, &count);
    for (size_t i = 0; i < count; i++)
        several += strncasecmp(list[i].name, wanted, length) == 0 && list[i].name[length] == ':';
    free(list);
    if (status != CLINFER_OK || several < 2) return status;
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: there are %zu models of that name; say which, such as %s", wanted,
                   several, found);
}

static bool is_same_file(const char *one, const char *other) {
    struct stat first, second;
    if (strcmp(one, other) == 0) return true;
    /* A link that goes takes nothing with it. */
    return lstat(one, &first) == 0 && stat(other, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static enum clinfer_status refuse_used(struct ci_exchange *exchange, const struct ci_pool_info *model,
                                       const char *name) {
    if (strcmp(model->name, ci_server_model(ci_exchange_server(exchange))) == 0)
        return ci_fail(CLINFER_REFUSED, "%s: this server was started with that model, and does not delete it", name);
    if (model->users || model->waiting)
        return ci_fail(CLINFER_REFUSED, "%s: requests use that model; delete it when they are done", name);
    if (model->state == CI_POOL_LOADED || model->state == CI_POOL_LOADING || model->state == CI_POOL_UNLOADING)
        return ci_fail(CLINFER_REFUSED, "%s: that model is loaded; unload it first, and then delete it", name);
    return CLINFER_OK;
}

/* What is in use stays, by whatever name it is to go. */
static enum clinfer_status check_unused(struct ci_exchange *exchange, const struct ci_removal *removal,
                                        const char *name, const char *path) {
    struct ci_pool_info *list = NULL;
    size_t count = 0;
    enum clinfer_status status = ci_pool_list(pool_of(exchange), &list, &count);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        bool same = strcmp(list[i].path, path) == 0;
        for (size_t k = 0; removal && k < removal->count && !same; k++)
            same = removal->steps[k].kind != CI_REMOVAL_RELINK && is_same_file(removal->steps[k].path, list[i].path);
        if (same) status = refuse_used(exchange, &list[i], name);
    }
    free(list);
    return status;
}

/* The words of `clinfer rm` name files and flags, which are none of a client's. */
static enum clinfer_status refuse_removal(enum clinfer_status status, const char *name) {
    if (status != CLINFER_REFUSED) return ci_fail(status, "%s: cannot be deleted", name);
    return ci_fail(status,
                   "%s: was put in its place by hand or by another program; only who uses the server's machine can "
                   "delete it",
                   name);
}

static enum clinfer_status remove_stored(struct ci_exchange *exchange, const char *name, const char *path) {
    struct ci_hub_settings settings;
    struct ci_stored *models = NULL;
    struct ci_removal removal = {0};
    size_t count = 0;
    uint64_t freed;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_stores_scan(&settings, NULL, &models, &count);
    const struct ci_stored *stored = status == CLINFER_OK ? stored_at(models, count, path) : NULL;
    if (status == CLINFER_OK) status = check_unused(exchange, NULL, name, path);
    if (status == CLINFER_OK && !stored)
        status = ci_fail(CLINFER_REFUSED, "%s: lies in no folder of clinfer's own; remove it by hand", name);
    if (status == CLINFER_OK) {
        status = ci_removal_of(&settings, stored, false, &removal);
        if (status != CLINFER_OK) status = refuse_removal(status, name);
    }
    if (status == CLINFER_OK) status = check_unused(exchange, &removal, name, path);
    if (status == CLINFER_OK) {
        status = ci_removal_do(&removal, &freed);
        if (status != CLINFER_OK) status = refuse_removal(status, name);
    }
    ci_removal_free(&removal);
    ci_stores_free(models, count);
    ci_hub_settings_free(&settings);
    return status;
}

enum clinfer_status ci_model_delete(struct ci_exchange *exchange, const char *wanted, const struct ci_pool_info *info) {
    struct ci_server *server = ci_exchange_server(exchange);
    enum clinfer_status status = check_single(exchange, wanted, info->name);
    if (status == CLINFER_OK) status = remove_stored(exchange, info->name, info->path);
    if (status == CLINFER_OK) ci_pool_unload(ci_server_pool(server), info->name);
    if (status == CLINFER_OK) ci_events_tell(ci_server_events(server), info->name, "model_remove", NULL);
    return status;
}
