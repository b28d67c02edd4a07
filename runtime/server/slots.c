/* slots.c: see slots.h.
 *
 * Files lie in one folder, by names without a path; the engine refuses those that are not of its model, cut or changed
 * (engine/saved.h). */
#define _GNU_SOURCE
#include "server/slots.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/saved.h"
#include "server/pool.h"
#include "server/server.h"

struct slot {
    int32_t *tokens; /* [count] */
    size_t count;
};

struct ci_slots {
    pthread_mutex_t lock;
    int count;
    struct slot list[];
};

struct ci_slots *ci_slots_create(int count) {
    struct ci_slots *slots = calloc(1, sizeof *slots + (size_t)count * sizeof *slots->list);
    if (!slots) return NULL;
    pthread_mutex_init(&slots->lock, NULL);
    slots->count = count;
    return slots;
}

void ci_slots_destroy(struct ci_slots *slots) {
    if (!slots) return;
    for (int i = 0; i < slots->count; i++) free(slots->list[i].tokens);
    pthread_mutex_destroy(&slots->lock);
    free(slots);
}

/* Takes the tokens. */
static void set(struct ci_slots *slots, int index, int32_t *tokens, size_t count) {
    pthread_mutex_lock(&slots->lock);
    free(slots->list[index].tokens);
    slots->list[index] = (struct slot){tokens, count};
    pthread_mutex_unlock(&slots->lock);
}

void ci_slots_note(struct ci_exchange *exchange, const struct ci_job *job, int slot,
                   const struct ci_job_result *result) {
    struct ci_slots *slots = ci_server_slots(ci_exchange_server(exchange));
    clinfer_router *router = ci_job_router(exchange, job);
    int32_t *tokens = NULL;
    size_t count = 0;
    if (!slots || slot < 0 || slot >= slots->count || !result->count || !router) return;
    const struct clinfer_result *answer = &result->choices[0].result;
    size_t made = answer->tokens ? answer->generated_tokens : 0;
    if (clinfer_router_prompt(router, &job->request, NULL, NULL, &tokens, &count) != CLINFER_OK) return;
    int32_t *all = malloc((count + made) * sizeof *all + 1);
    if (all && count) memcpy(all, tokens, count * sizeof *all);
    if (all && made) memcpy(all + count, answer->tokens, made * sizeof *all);
    clinfer_free(tokens);
    if (all) set(slots, slot, all, count + made);
}

/* ---- changes ---- */

/* What one request works on. */
struct change {
    struct ci_exchange *exchange;
    struct ci_slots *slots;
    int index;
    struct ci_job job; /* whose model is taken */
    clinfer_engine *engine;
    const char *name; /* of the file */
    char *path;       /* NULL: none is needed */
    int32_t *tokens;  /* a copy of the slot's */
    size_t count;
};

static bool refused(struct change *change, enum clinfer_status status) {
    if (status == CLINFER_OK) return false;
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    if (status == CLINFER_BAD_FILE || status == CLINFER_CONTEXT_FULL) failure.kind = CI_FAIL_INVALID;
    ci_exchange_fail(change->exchange, &failure);
    return true;
}

/* A name and no path: not of another folder, nor a hidden file. */
static bool is_file_name(const char *name) {
    enum { LONGEST = 200 };
    size_t length = strlen(name);
    if (!length || length > LONGEST || *name == '.' || strchr(name, '/') || strchr(name, '\\')) return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 127) return false;
    return true;
}

static bool read_file_name(struct change *change) {
    const json_t *body = ci_exchange_json(change->exchange);
    const json_t *named = json_object_get(body, "filename");
    const char *folder = ci_server_get_options(ci_exchange_server(change->exchange))->slot_save_path;
    if (!body) return false;
    change->name = json_string_value(named);
    if (!change->name || strlen(change->name) != json_string_length(named) || !is_file_name(change->name)) {
        ci_exchange_refuse(change->exchange, "filename", "filename: must be the name of a file, without a folder");
        return false;
    }
    return asprintf(&change->path, "%s/%s", folder, change->name) >= 0 ||
           !refused(change, ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory"));
}

static bool read_index(struct change *change) {
    const char *text = ci_exchange_parameter(change->exchange);
    char *end;
    long number = strtol(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && number < change->slots->count) {
        change->index = (int)number;
        return true;
    }
    ci_exchange_refuse(change->exchange, "id_slot", "there is no slot %.20s: they are 0 to %d", text,
                       change->slots->count - 1);
    return false;
}

static bool take(struct change *change) {
    const json_t *body = NULL;
    size_t length = 0;
    const char *query = ci_exchange_query(change->exchange, "model");
    ci_exchange_body(change->exchange, &length);
    if (length && !(body = ci_exchange_json(change->exchange))) return false;
    const char *said = json_string_value(json_object_get(body, "model"));
    change->job.model = said ? said : query;
    if (!ci_job_take(change->exchange, &change->job)) return false;
    change->engine = clinfer_router_take_engine(ci_job_router(change->exchange, &change->job));
    return change->engine || !refused(change, ci_fail(CLINFER_UNSUPPORTED,
                                                      "the model runs elsewhere, and so nothing of it is kept here"));
}

static bool copy_tokens(struct change *change) {
    const struct slot *slot = &change->slots->list[change->index];
    pthread_mutex_lock(&change->slots->lock);
    change->tokens = malloc(slot->count * sizeof *slot->tokens + 1);
    if (change->tokens && slot->count) memcpy(change->tokens, slot->tokens, slot->count * sizeof *slot->tokens);
    change->count = slot->count;
    pthread_mutex_unlock(&change->slots->lock);
    return change->tokens || !refused(change, ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory"));
}

/* The folder is the server's own matter: messages have the file's name alone. */
static enum clinfer_status without_folder(const struct change *change, enum clinfer_status status) {
    const char *said = ci_status_message(), *at = strstr(said, change->path);
    if (status == CLINFER_OK || !at) return status;
    size_t folder = strlen(change->path) - strlen(change->name);
    return ci_fail(status, "%.*s%s", ci_narrowed(at - said), said, at + folder);
}

static void save(struct change *change) {
    struct ci_saved saved;
    double begun = ci_now();
    enum clinfer_status status =
        change->count
            ? ci_engine_save(change->engine, change->tokens, change->count, change->path, &saved)
            : ci_fail(CLINFER_INVALID_ARGUMENT, "slot %d is empty: no request with \"id_slot\": %d was answered",
                      change->index, change->index);
    if (refused(change, without_folder(change, status))) return;
    ci_reply_json(change->exchange, 200,
                  json_pack("{s:i, s:s, s:I, s:I, s:{s:f}}", "id_slot", change->index, "filename", change->name,
                            "n_saved", (json_int_t)saved.tokens, "n_written", (json_int_t)saved.bytes, "timings",
                            "save_ms", 1e3 * (ci_now() - begun)));
}

static enum clinfer_status restore_file(struct change *change, int32_t **tokens, struct ci_saved *restored) {
    enum clinfer_status status = ci_engine_restore(change->engine, change->path, tokens, restored);
    if (status == CLINFER_NOT_FOUND) return ci_fail(status, "there is no file \"%s\"", change->name);
    if (status == CLINFER_OK || strstr(ci_status_message(), change->path)) return without_folder(change, status);
    return ci_fail_prefix(status, "%s", change->name);
}

static void restore(struct change *change) {
    struct ci_saved restored;
    int32_t *tokens = NULL;
    double begun = ci_now();
    if (refused(change, restore_file(change, &tokens, &restored))) return;
    set(change->slots, change->index, tokens, restored.tokens);
    ci_reply_json(change->exchange, 200,
                  json_pack("{s:i, s:s, s:I, s:I, s:{s:f}}", "id_slot", change->index, "filename", change->name,
                            "n_restored", (json_int_t)restored.tokens, "n_read", (json_int_t)restored.bytes, "timings",
                            "restore_ms", 1e3 * (ci_now() - begun)));
}

static void erase(struct change *change) {
    size_t erased = ci_engine_drop_saved(change->engine, change->tokens, change->count);
    set(change->slots, change->index, NULL, 0);
    ci_reply_json(change->exchange, 200,
                  json_pack("{s:i, s:I}", "id_slot", change->index, "n_erased", (json_int_t)erased));
}

void ci_slots_change(struct ci_exchange *exchange) {
    static const struct {
        const char *name;
        void (*run)(struct change *change);
        bool file;
    } actions[] = {{"save", save, true}, {"restore", restore, true}, {"erase", erase, false}};
    static const struct ci_failure off = {.kind = CI_FAIL_UNSUPPORTED,
                                          .message = "This server does not save, restore or erase slots. Start it with "
                                                     "`--slot-save-path`"};
    struct change change = {.exchange = exchange, .slots = ci_server_slots(ci_exchange_server(exchange))};
    const char *action = ci_exchange_query(exchange, "action");
    size_t i = 0, count = sizeof actions / sizeof *actions;
    ci_job_init(&change.job);
    if (!change.slots) {
        ci_exchange_fail(exchange, &off);
        return;
    }
    while (i < count && strcmp(action ? action : "", actions[i].name) != 0) i++;
    if (i == count) {
        ci_exchange_refuse(exchange, "action", "?action= must be save, restore or erase");
        return;
    }
    if (read_index(&change) && (!actions[i].file || read_file_name(&change)) && take(&change) && copy_tokens(&change))
        actions[i].run(&change);
    if (change.engine) clinfer_router_give_back_engine(ci_job_router(exchange, &change.job), change.engine);
    ci_job_give_back(exchange, &change.job);
    free(change.path);
    free(change.tokens);
}
