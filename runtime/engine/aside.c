#define _GNU_SOURCE
#include "engine/aside.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/narrow.h"
#include "base/status.h"
#include "base/watch.h"
#include "engine/engine_private.h"
#include "engine/take_up.h"
#include "engine/warm.h"
#include "graph/plan.h"
#include "proof/known_answer.h"

/* Beside weights and caches: a compiler, and what is there for others. */
static const uint64_t spare = UINT64_C(768) << 20;

/* For one plan's programs, of a compiler on a busy machine; and for a child that does nothing at all: less than who
 * watches this process takes for a hanging device (half of 60 s, keeper.c). */
static const double patience = 300, most_silent = 20, slice = 0.05;

enum { NICE = 5 }; /* once the plan is there that somebody waits for */

struct ci_aside {
    struct ci_child child;
    uint64_t device_key;
    int device;  /* of ci_device_list */
    bool failed; /* this process builds by itself, and saves that */
    bool looked; /* whether other plans than those that were made are ready: once an engine, or a child is at it */
    bool done;   /* nothing is left to do when nobody waits for text */
};

static bool allowed, working;

void ci_aside_allow(void) { allowed = true; }

/* ---- which programs a plan has ---- */

struct stamp {
    struct clinfer_engine *engine;
    uint64_t hash;
};

static void add_step(void *user, const struct ci_node *node, const struct ci_choice *choice) {
    struct stamp *stamp = user;
    struct ci_call call;
    uint64_t key = 0;
    if (choice && stamp->engine->store.places[node->place].device)
        ci_warm_key(stamp->engine, node, choice, &call, &key);
    stamp->hash = ci_hash(stamp->hash, &key, sizeof key);
}

/* 0: it is not known. The bucket has no plan. */
static uint64_t stamp_of(struct clinfer_engine *engine, struct ci_bucket *bucket) {
    static const char what[] = "a plan's programs";
    const struct ci_plan_options options = {.activations = (enum ci_activations)engine->options.activations,
                                            .place_of_unit = engine->place_of_unit};
    struct stamp stamp = {.engine = engine, .hash = ci_hash(CI_HASH_START, what, sizeof what)};
    struct ci_plan_bytes bytes;
    struct ci_graph graph;
    stamp.hash = ci_hash(stamp.hash, bucket->rows, sizeof bucket->rows);
    if (ci_engine_graph(engine, bucket, &graph) != CLINFER_OK ||
        ci_plan_predict(&engine->store, &graph, &options, add_step, &stamp, &bytes) != CLINFER_OK)
        return 0;
    return stamp.hash;
}

/* That a child has come to its end with all plans and the chain: of those that the stamps of the plans name. */
static uint64_t stamp_of_all(const struct clinfer_engine *engine) {
    static const char what[] = "all plans' programs, and the launch of a token";
    uint64_t hash = ci_hash(CI_HASH_START, what, sizeof what);
    for (int i = 0; i < engine->bucket_count; i++)
        hash = ci_hash(hash, &engine->buckets[i].stamp, sizeof engine->buckets[i].stamp);
    return hash;
}

/* That the cache has what devices are tried with when they are opened, and when something has failed. */
static uint64_t stamp_of_trials(void) {
    static const char what[] = "kernels that devices are tried with " CLINFER_VERSION;
    return ci_hash(CI_HASH_START, what, sizeof what);
}

/* ---- the child ---- */

/* Rows of as many texts as the plan has logits for, in one step. */
static enum clinfer_status run(struct clinfer_engine *engine, struct ci_bucket *bucket,
                               struct clinfer_session **sessions, int count, int64_t rows) {
    const bool all_rows = ci_model_makes_vectors(&engine->model);
    struct ci_batch batch = {.count = 0};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        struct clinfer_session *session = sessions[i];
        session->tokens = calloc((size_t)rows, sizeof *session->tokens);
        if (!session->tokens) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for tokens");
        session->known = (size_t)rows;
        ci_engine_check_window(engine, session);
        status = ci_engine_take_pages(engine, session, session->known);
        ci_batch_add(&batch, session, rows, true);
    }
    if (status == CLINFER_OK)
        status = ci_engine_bucket(engine, bucket->rows[CI_EXTENT_ROWS], bucket->rows[CI_EXTENT_WANTED], &bucket);
    if (status != CLINFER_OK) return status;
    ci_batch_fill_inputs(&batch, &bucket->run);
    int32_t *wanted = bucket->run.wanted->view.data;
    for (int64_t i = 0; i < batch.rows && all_rows; i++) wanted[i] = ci_narrowed(i);
    const int64_t extents[CI_EXTENT_COUNT] = {0, batch.rows, all_rows ? batch.rows : batch.wanted, batch.tiles};
    status = ci_plan_set_rows(bucket->plan, extents);
    if (status == CLINFER_OK) status = ci_plan_run(bucket->plan);
    for (int i = 0; i < engine->device_count && status == CLINFER_OK; i++)
        status = ci_device_finish(engine->devices[i]);
    return status;
}

static enum clinfer_status build(struct clinfer_engine *engine, struct ci_bucket *bucket) {
    struct clinfer_session *sessions[CI_MAX_SEQUENCES] = {NULL};
    struct clinfer_session_options options;
    const int64_t most = bucket->rows[CI_EXTENT_ROWS], wanted = bucket->rows[CI_EXTENT_WANTED];
    const int count = ci_narrowed(wanted < CI_MAX_SEQUENCES ? wanted : CI_MAX_SEQUENCES);
    int64_t rows = most / count;
    if (rows > engine->context) rows = engine->context;
    enum clinfer_status status = CLINFER_OK;
    clinfer_session_options_default(engine, &options);
    for (int i = 0; i < count && status == CLINFER_OK; i++)
        status = clinfer_session_create(engine, &options, &sessions[i]);
    if (status == CLINFER_OK) status = run(engine, bucket, sessions, count, rows);
    for (int i = 0; i < count; i++) clinfer_session_destroy(sessions[i]);
    for (int i = 0; i < engine->device_count; i++) ci_device_save_programs(engine->devices[i]);
    return status;
}

/* A plan that fails when it runs is built all the same: who it is for finds out why. */
static void build_all(struct clinfer_engine *engine, int first) {
    const uint64_t key = ci_device_caps(engine->device)->key;
    bool all = ci_device_works(engine->device) == CLINFER_OK;
    ci_device_save_programs(engine->device);
    if (all) ci_proof_remember(key, stamp_of_trials());
    for (int n = -1; n < engine->bucket_count; n++) {
        struct ci_bucket *bucket = &engine->buckets[n < 0 ? first : n];
        if (n == first) continue;
        bool built = build(engine, bucket) == CLINFER_OK;
        if (built && bucket->stamp) ci_proof_remember(key, bucket->stamp);
        all = all && built;
        if (n < 0) setpriority(PRIO_PROCESS, 0, NICE);
    }
    ci_engine_make_chain(engine, 0);
    ci_device_save_programs(engine->device);
    if (all) ci_proof_remember(key, stamp_of_all(engine));
}

/* Where memory runs out after all, as in a control group, it is not the server that is killed, see proc(5). */
static void end_first(void) {
    FILE *file = fopen("/proc/self/oom_score_adj", "we");
    if (!file) return;
    fputs("1000", file);
    fclose(file);
}

enum clinfer_status ci_aside_work(const struct clinfer_engine_options *options, int first) {
    const struct rlimit no_core = {0, 0};
    clinfer_engine *engine = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core); /* of a compiler that ends the process */
    end_first();
    ci_device_trust_compilers(); /* that they come through is what the process that started this one finds out */
    working = true;
    enum clinfer_status status = ci_engine_open(options, CI_ENGINE_PROVEN, &engine);
    if (status == CLINFER_OK && (!engine->device || first >= engine->bucket_count))
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "--plans %d: there is no such plan", first);
    if (status == CLINFER_OK) build_all(engine, first);
    return status;
}

/* ---- who waits for it ---- */

/* What a layer does between us and the driver it may do to the child as well: only where a program to try drivers with
 * is named all the same. */
static bool is_forbidden(void) {
    const char *probe = getenv("CLINFER_PROBE");
    return ci_warm_is_forbidden() || (getenv("OPENCL_LAYERS") && !(probe && *probe));
}

static bool is_running(const struct ci_aside *aside) { return aside->child.process != 0; }

/* Whether the weights may be there once more. */
static bool has_room(const struct clinfer_engine *engine) {
    const struct ci_host_bytes *host = &engine->predicted;
    uint64_t needed = host->weights + host->activations + host->cache;
    for (size_t i = 0; !host->weights && i < ci_gguf_file_count(engine->gguf); i++) /* not predicted yet */
        needed += ci_gguf_file_at(engine->gguf, i)->size;
    const uint64_t free_bytes = ci_proc_bytes("/proc/meminfo", "MemAvailable:");
    const int times = engine->buckets[0].plan ? 1 : 2;
    return free_bytes > (uint64_t)times * needed + spare && ci_memory_limit() > 2 * needed + spare;
}

static void start(struct clinfer_engine *engine, const struct ci_bucket *bucket) {
    struct ci_aside *aside = engine->aside;
    const int first = ci_narrowed(bucket - engine->buckets);
    /* Where nothing can be saved, a child builds for nobody. */
    if (has_room(engine) && ci_proof_is_kept(aside->device_key) &&
        ci_warm_start(&engine->options, aside->device, 0, first, &aside->child))
        ci_log(CLINFER_LOG_INFO, "kernels are built by process %d", (int)aside->child.process);
    aside->failed = !is_running(aside);
    aside->looked = true;
}

static void reap(struct ci_aside *aside) {
    ci_child_wait(&aside->child, 1, 0);
    aside->child.process = 0;
    aside->failed = aside->child.exit_status != 0;
    ci_proof_forget_file(aside->device_key);
}

/* Clock ticks of the processor so far, proc_pid_stat(5). */
static unsigned long long work_of(const struct ci_aside *aside) {
    char path[64], text[1024] = "";
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)aside->child.process);
    FILE *file = fopen(path, "re");
    if (file && fgets(text, sizeof text, file)) {
        const char *state = strrchr(text, ')');
        if (state) sscanf(state + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system);
    }
    if (file) fclose(file);
    return user + system;
}

static void wait_for(struct clinfer_engine *engine, const struct ci_bucket *bucket, uint64_t stamp) {
    struct ci_aside *aside = engine->aside;
    if (aside->failed || !stamp || ci_proof_is_known(aside->device_key, stamp)) return;
    const double begun = ci_now();
    double worked = begun;
    if (!is_running(aside)) start(engine, bucket);
    for (unsigned long long work = 0, now; is_running(aside); work = now) {
        now = work_of(aside);
        if (now != work) {
            worked = ci_now();
            ci_watch_begin(CI_WATCH_BUILD, 0);
        }
        const bool ended = ci_child_ended(&aside->child, slice);
        ci_proof_forget_file(aside->device_key);
        if (ci_proof_is_known(aside->device_key, stamp)) break;
        if (ended || ci_now() - begun > patience || ci_now() - worked > most_silent) {
            reap(aside);
            aside->failed = aside->failed || !ci_proof_is_kept(aside->device_key);
            /* It has built all it could. */
            if (!aside->failed) ci_proof_remember(aside->device_key, stamp);
        }
    }
    ci_log(CLINFER_LOG_DEBUG, "kernels: %.0f ms until another process had built them%s", (ci_now() - begun) * 1e3,
           aside->failed ? ", in vain" : "");
}

void ci_aside_begin(struct clinfer_engine *engine, const struct ci_engine_devices *devices) {
    const struct clinfer_engine_options *options = &engine->options;
    struct clinfer_engine_options usual;
    struct ci_device_list list = {0};
    clinfer_engine_options_default(&usual);
    if (!allowed || devices->count != 1 || devices->order_count != 1 || options->all_logits || options->record ||
        memcmp(&options->rope, &usual.rope, sizeof usual.rope) != 0 || is_forbidden() ||
        ci_device_list(&list) != CLINFER_OK)
        return;
    const int index = devices->indices[0];
    struct ci_aside *aside = NULL;
    if (index < list.count && list.caps[index].kind == CI_DEVICE_CPU) aside = calloc(1, sizeof *aside);
    if (aside) *aside = (struct ci_aside){.device_key = list.caps[index].key, .device = index};
    ci_device_list_free(&list);
    engine->aside = aside;
    if (aside) wait_for(engine, &engine->buckets[0], stamp_of_trials());
}

void ci_aside_wait(struct clinfer_engine *engine, struct ci_bucket *bucket) {
    if (!engine->device || (!engine->aside && !working)) return;
    bucket->stamp = stamp_of(engine, bucket);
    if (engine->aside) wait_for(engine, bucket, bucket->stamp);
}

/* Of all plans that were not made here. */
static bool all_are_ready(struct clinfer_engine *engine) {
    for (int i = 0; i < engine->bucket_count; i++)
        if (!engine->buckets[i].plan) engine->buckets[i].stamp = stamp_of(engine, &engine->buckets[i]);
    return ci_proof_is_known(engine->aside->device_key, stamp_of_all(engine));
}

/* What the stamps tell of is no longer in the cache: it was too full, or somebody has emptied it. */
static bool has_built_here(const struct clinfer_engine *engine) {
    struct ci_device_counts counts = {.builds = 0};
    if (engine->device) ci_device_counts(engine->device, &counts);
    return counts.builds > 0;
}

void ci_aside_go_on(struct clinfer_engine *engine) {
    struct ci_aside *aside = engine->aside;
    struct ci_bucket *decode = &engine->buckets[0];
    if (!aside || aside->failed || aside->done) return;
    if (is_running(aside)) {
        if (!ci_child_ended(&aside->child, 0)) return;
        reap(aside);
        if (!aside->failed && !all_are_ready(engine)) ci_proof_remember(aside->device_key, stamp_of_all(engine));
    } else if (!aside->looked) {
        aside->looked = true;
        if (!all_are_ready(engine)) start(engine, decode);
        if (is_running(aside)) return;
    }
    if (has_built_here(engine)) aside->failed = true; /* then it saves that, too, or each start would build it */
    if (!decode->plan || decode->steps < CI_CHAIN_STEP) return;
    if (!atomic_load(&engine->chain_tried)) ci_engine_take_chain(engine, decode);
    aside->done = true;
}

bool ci_engine_is_built_aside(const clinfer_engine *engine) { return engine->aside && is_running(engine->aside); }

bool ci_aside_builds(const struct clinfer_engine *engine) { return engine->aside && !engine->aside->failed; }

void ci_aside_give_up(struct clinfer_engine *engine) {
    if (!engine->aside) return;
    if (is_running(engine->aside)) reap(engine->aside);
    engine->aside->failed = true;
}

void ci_aside_end(struct clinfer_engine *engine) {
    if (!engine->aside) return;
    if (is_running(engine->aside)) reap(engine->aside);
    free(engine->aside);
    engine->aside = NULL;
}
