/* plans.c: from a model and devices to plans: which sizes they are made for, the store of weights and states behind
 * them, what they fall back on, and what was asked of them. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/names.h"
#include "base/status.h"
#include "base/watch.h"
#include "engine/aside.h"
#include "engine/engine_private.h"
#include "engine/warm.h"
#include "ops/clblast.h"

static void add_bucket(struct ci_bucket *buckets, int *count, int64_t rows, int64_t sequences, int64_t wanted) {
    assert(*count < CI_BUCKETS);
    buckets[(*count)++] = (struct ci_bucket){
        .rows = {
            [CI_EXTENT_ROWS] = rows, [CI_EXTENT_WANTED] = wanted, [CI_EXTENT_TILES] = rows / CI_TILE_ROWS + sequences}};
}

/* Decode, so few rows that `auto` rounds as for one (CI_16_BIT_ROWS), a few (several sessions), a short prompt, a long
 * one. Rows are exact at run time; a bucket only decides
 * which kernels are chosen and how much memory is set aside. A conversation wants the logits of one row: the kernel for
 * many would read the output matrix several times more slowly, and room for theirs is most of a short prompt's plan.
 * Where rows see what comes after them, a text is one step. */
int ci_engine_bucket_sizes(const struct clinfer_engine_options *options, const struct ci_model *model, int context,
                           struct ci_bucket buckets[CI_BUCKETS]) {
    static const int64_t sizes[] = {1, CI_16_BIT_ROWS, 8, 64, INT64_MAX};
    int64_t batch = options->batch > 0 ? options->batch : CI_DEFAULT_BATCH, rows = 0;
    int count = 0;
    if (!model->hyper.causal) batch = context;
    bool all_rows = options->all_logits || ci_model_makes_vectors(model);
    for (int i = 0; rows < batch; i++) {
        rows = sizes[i] < batch ? sizes[i] : batch;
        int64_t sequences = rows < CI_MAX_SEQUENCES ? rows : CI_MAX_SEQUENCES;
        if (rows > CI_16_BIT_ROWS && !all_rows) add_bucket(buckets, &count, rows, sequences, 1);
        add_bucket(buckets, &count, rows, sequences, all_rows ? rows : sequences);
    }
    return count;
}

/* Nothing falls back in silence: which ops, how many, and why the first of them. */
static void note_fallbacks(struct clinfer_engine *engine, const struct ci_plan *plan) {
    char names[256] = "", reason[512] = "", text[1400];
    if (ci_plan_fallbacks(plan) <= engine->stats.fallbacks) return;
    engine->stats.fallbacks = ci_plan_fallbacks(plan);
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(plan, i, &step);
        if (!step.fallback) continue;
        if (!*reason) snprintf(reason, sizeof reason, "%s", step.reason);
        ci_names_add(names, sizeof names, step.op);
    }
    snprintf(text, sizeof text, "%d ops (%s) run on the CPU, not on \"%s\": %s; --fallback none makes this an error",
             ci_plan_fallbacks(plan), names, engine->device_names, reason);
    ci_log(CLINFER_LOG_INFO, "%s", text);
    /* Another thread may hold the one before. */
    const char *kept = ci_arena_string(&engine->texts, text, strlen(text));
    engine->stats.fallback_text = kept ? kept : "some ops run on the CPU (out of memory for more)";
}

/* What products read: "q16", or of a model in several places "q16, q8". */
static void name_activations(const struct ci_plan *plan, char *text, size_t size) {
    *text = 0;
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(plan, i, &step);
        if (strncmp(step.op, "matmul", strlen("matmul")) != 0) continue;
        step.signature.types[strcspn(step.signature.types, ",")] = 0;
        ci_names_add(text, size, step.signature.types);
    }
}

/* Once per engine. */
static void tell_stale(struct clinfer_engine *engine, const struct ci_plan *plan) {
    if (engine->told_stale || ci_plan_stale(plan) == 0) return;
    engine->told_stale = true;
    ci_log(CLINFER_LOG_NOTICE,
           "%d ops are chosen by rule: their kernels have changed since the profile was measured; `clinfer tune` "
           "renews it",
           ci_plan_stale(plan));
}

enum clinfer_status ci_engine_graph(struct clinfer_engine *engine, struct ci_bucket *bucket, struct ci_graph *graph) {
    int64_t most = bucket->rows[CI_EXTENT_ROWS];
    int64_t sequences = most < CI_MAX_SEQUENCES ? most : CI_MAX_SEQUENCES;
    return ci_model_build(&engine->model, bucket->rows, sequences, engine->pages_per_sequence, graph, &bucket->run);
}

enum clinfer_status ci_engine_bucket(struct clinfer_engine *engine, int64_t rows, int64_t wanted,
                                     struct ci_bucket **found) {
    int i = 0;
    while (engine->buckets[i].rows[CI_EXTENT_ROWS] < rows || engine->buckets[i].rows[CI_EXTENT_WANTED] < wanted) i++;
    struct ci_bucket *bucket = &engine->buckets[i];
    *found = bucket;
    if (bucket->plan) return CLINFER_OK;
    ci_watch_begin(CI_WATCH_BUILD, 0);
    ci_aside_wait(engine, bucket);
    double begun = ci_now();
    struct ci_graph graph;
    enum clinfer_status status = ci_engine_graph(engine, bucket, &graph);
    if (status != CLINFER_OK) return status;
    struct ci_plan_options options = {.activations = (enum ci_activations)engine->options.activations,
                                      .no_fallback = engine->options.fallback == CLINFER_FALLBACK_NONE,
                                      .place_of_unit = engine->place_of_unit,
                                      .moved = engine->moved};
    status = ci_plan_create(&engine->store, &graph, &options, &bucket->plan);
    if (status != CLINFER_OK) return status;
    engine->stats.activation_bytes += ci_plan_activation_bytes(bucket->plan);
    bucket->steps = 0;
    char activations[64];
    name_activations(bucket->plan, activations, sizeof activations);
    ci_log(CLINFER_LOG_INFO, "a plan for %lld rows, %lld of them with logits, in %.1f ms; activations in %s",
           (long long)bucket->rows[CI_EXTENT_ROWS], (long long)bucket->rows[CI_EXTENT_WANTED], (ci_now() - begun) * 1e3,
           *activations ? activations : "f32");
    note_fallbacks(engine, bucket->plan);
    tell_stale(engine, bucket->plan);
    return CLINFER_OK;
}

/* The plan for one row comes first: it decides the layouts of the weights, since decoding is what takes the time. */
static enum clinfer_status make_decode_plan(struct clinfer_engine *engine) {
    struct ci_bucket *decode;
    enum clinfer_status status = ci_engine_bucket(engine, 1, 1, &decode);
    int place = engine->model.sampled->place;
    engine->pipelined = status == CLINFER_OK && place != CI_PLACE_CPU && ci_plan_waits(decode->plan) == 1 &&
                        !engine->store.places[place].caps.device->waits_for_all;
    return status;
}

enum clinfer_status ci_engine_rebuild(struct clinfer_engine *engine, bool keep_caches) {
    ci_aside_give_up(engine);
    for (int i = 0; i < engine->bucket_count; i++) {
        struct ci_plan *plan = engine->buckets[i].plan;
        if (!plan) continue;
        engine->stats.cpu_seconds += ci_plan_cpu_seconds(plan);
        engine->stats.activation_bytes -= ci_plan_activation_bytes(plan);
        ci_plan_destroy(plan);
        engine->buckets[i].plan = NULL;
    }
    engine->successor = false;
    for (int i = 0; i < CI_DRAFT_RANGES; i++) engine->draft.proofs[i] = CI_DRAFT_UNPROVEN;
    if (!keep_caches) ci_prefix_drop_all(engine);
    if (!keep_caches) ci_store_forget_states(&engine->store);
    pthread_mutex_lock(&engine->lock);
    for (struct clinfer_session *session = engine->sessions; session; session = session->next) {
        if (!keep_caches) session->computed = session->trusted = 0;
        session->care = CI_CARE_NONE;
    }
    pthread_mutex_unlock(&engine->lock);
    return make_decode_plan(engine);
}

enum clinfer_status ci_engine_widen_caches(struct clinfer_engine *engine) {
    engine->options.key_type = engine->options.value_type = CLINFER_CACHE_F32;
    ci_store_forget_states(&engine->store);
    for (struct ci_state *state = engine->model.states; state; state = state->next)
        if (ci_state_is_cache(state)) state->tensor->view.type = &ci_type_f32;
    return ci_engine_rebuild(engine, false);
}

enum clinfer_status ci_engine_move_caches(struct clinfer_engine *engine) {
    ci_log(CLINFER_LOG_WARNING, "%s; the KV caches move to the CPU", ci_status_message());
    engine->store.caches_must_move = false;
    engine->store.caches_on_host = true;
    return ci_engine_rebuild(engine, false);
}

static bool has_profile(const struct clinfer_engine *engine) {
    for (int i = 0; i < engine->store.place_count; i++)
        if (engine->choices.places[i].origin != CI_PROFILE_NONE) return true;
    return false;
}

/* What was found for CLBlast here, should any plan want a product of it. */
static enum clinfer_status give_clblast(struct clinfer_engine *engine, int place) {
    const struct ci_place_choices *at = &engine->choices.places[place];
    if (place == CI_PLACE_CPU || at->origin != CI_PROFILE_EXACT) return CLINFER_OK;
    enum clinfer_status status = ci_clblast_use(engine->devices[place - 1], &at->profile.clblast);
    if (status != CLINFER_UNSUPPORTED) return status;
    ci_log(CLINFER_LOG_WARNING, "%s: %s; CLBlast goes by its own parameters", at->path, ci_status_message());
    return CLINFER_OK;
}

static enum clinfer_status make_store(struct clinfer_engine *engine) {
    const struct clinfer_engine_options *options = &engine->options;
    enum clinfer_status status = CLINFER_OK;
    ci_store_init(&engine->store, engine->devices, engine->device_count, engine->threads);
    if (engine->lender) engine->store.lender = &engine->lender->store;
    for (size_t i = 0; i < ci_gguf_file_count(engine->gguf) && status == CLINFER_OK; i++) {
        const struct ci_file *file = ci_gguf_file_at(engine->gguf, i);
        status = ci_store_add_file(&engine->store, file->data, file->size);
        if (status == CLINFER_OK) ci_store_read_by(&engine->store, ci_gguf_descriptor_at(engine->gguf, i));
    }
    engine->store.packed = engine->packed;
    for (int i = 0; i < engine->store.place_count && status == CLINFER_OK; i++) {
        status = ci_choices_load(&engine->choices, i, &engine->store.places[i].caps, options->tuning);
        if (status == CLINFER_OK) status = give_clblast(engine, i);
    }
    if (status == CLINFER_OK && ci_choices_is_file(options->tuning) && !has_profile(engine))
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "--tuning %s: this profile is for none of the devices in use (%s)",
                         options->tuning, engine->device_names);
    for (size_t i = 0; i < options->op_count && status == CLINFER_OK; i++)
        status = ci_choices_force(&engine->choices, options->ops[i]);
    engine->store.choices = &engine->choices;
    engine->store.trace = engine->trace;
    return status;
}

static const struct ci_type *const cache_types[] = {[CLINFER_CACHE_F16] = &ci_type_f16,
                                                    [CLINFER_CACHE_F32] = &ci_type_f32,
                                                    [CLINFER_CACHE_Q8_0] = &ci_type_q8_0,
                                                    [CLINFER_CACHE_Q4_0] = &ci_type_q4_0};

/* Rows of a cache are whole blocks. */
static enum clinfer_status check_states(const struct clinfer_engine *engine) {
    for (const struct ci_state *state = engine->model.states; state; state = state->next) {
        const struct ci_view *view = &state->tensor->view;
        bool keys = state->kind == CI_STATE_KEYS;
        if (ci_type_fits_cols(view->type, view->cols)) continue;
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: -ct%s %s: the %s of layer %d are %lld numbers for each token, and %s takes multiples of %d; "
            "take f16",
            engine->options.model, keys ? "k" : "v", view->type->name, keys ? "keys" : "values", state->layer,
            (long long)view->cols, view->type->name, view->type->block_cols);
    }
    return CLINFER_OK;
}

static enum clinfer_status make_states(struct clinfer_engine *engine) {
    int64_t wanted = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_WANTED];
    int first = engine->pages_per_sequence < CI_FIRST_PAGES ? engine->pages_per_sequence : CI_FIRST_PAGES;
    ci_model_make_states(&engine->model, cache_types[engine->options.key_type], cache_types[engine->options.value_type],
                         (int64_t)first * CI_PAGE_ROWS, wanted);
    enum clinfer_status status = check_states(engine);
    engine->pools[CI_CACHE_WINDOW].window = ci_model_window(&engine->model);
    for (const struct ci_state *state = engine->model.states; state && status == CLINFER_OK; state = state->next) {
        struct ci_page_pool *pool = &engine->pools[ci_cache_group(state->window)];
        if (!ci_state_is_cache(state) || pool->capacity) continue;
        status = ci_pages_begin(pool, first);
    }
    return status;
}

static bool uses(const struct ci_plan *plan, const struct ci_forced *forced) {
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(plan, i, &step);
        if (strcmp(step.op, forced->op->name) != 0) continue;
        if (forced->kind != CI_FORCE_VARIANT || strcmp(step.variant, forced->variant->name) == 0) return true;
    }
    return false;
}

static enum clinfer_status refuse_forced(const struct ci_plan *decode, const struct ci_plan *prefill,
                                         const struct ci_forced *forced) {
    char possible[512] = "";
    ci_plan_possible(decode, forced->op, possible, sizeof possible);
    ci_plan_possible(prefill, forced->op, possible, sizeof possible);
    const char *wanted = forced->variant ? forced->variant->name : forced->kind == CI_FORCE_CPU ? "cpu" : "opencl";
    if (!*possible)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "--op %s=%s: no plan of this model has that op here (it may be part of a "
                       "fused one); `clinfer ops` lists those there are",
                       forced->op->name, wanted);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "--op %s=%s: cannot run this model's %s here; what can: %s",
                   forced->op->name, wanted, forced->op->name, possible);
}

/* A variant that the user asked for and that no plan can use is an error, which lists what there is. */
static enum clinfer_status check_forced(struct clinfer_engine *engine) {
    struct ci_bucket *decode, *prefill;
    if (engine->choices.forced_count == 0) return CLINFER_OK;
    enum clinfer_status status = ci_engine_bucket(engine, 1, 1, &decode);
    int64_t most = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, most, 1, &prefill);
    for (int i = 0; i < engine->choices.forced_count && status == CLINFER_OK; i++) {
        const struct ci_forced *forced = &engine->choices.forced[i];
        if (!uses(decode->plan, forced) && !uses(prefill->plan, forced))
            status = refuse_forced(decode->plan, prefill->plan, forced);
    }
    return status;
}

enum clinfer_status ci_engine_make_plans(struct clinfer_engine *engine, const struct ci_engine_devices *devices,
                                         enum ci_engine_depth depth) {
    enum clinfer_status status = make_store(engine);
    if (status == CLINFER_OK) status = ci_engine_take_settings(engine);
    engine->bucket_count = ci_engine_bucket_sizes(&engine->options, &engine->model, engine->context, engine->buckets);
    if (status == CLINFER_OK) status = make_states(engine);
    if (status == CLINFER_OK) status = ci_engine_place(engine, devices);
    if (status == CLINFER_OK) ci_prefix_set_bound(engine);
    if (status == CLINFER_OK) status = ci_engine_end_reading(engine);
    if (status != CLINFER_OK || depth < CI_ENGINE_PLANNED) return status;
    status = make_decode_plan(engine);
    return status == CLINFER_OK ? check_forced(engine) : status;
}

enum clinfer_status ci_engine_explain(struct clinfer_engine *engine, int rows, int wanted,
                                      clinfer_plan_callback *callback, void *user, int *waits) {
    const int64_t *most = engine->buckets[engine->bucket_count - 1].rows;
    if (rows < 1 || rows > most[CI_EXTENT_ROWS])
        return ci_fail(CLINFER_INVALID_ARGUMENT, "rows: %d, must be 1..%lld", rows, (long long)most[CI_EXTENT_ROWS]);
    if (wanted < 1 || wanted > most[CI_EXTENT_WANTED])
        return ci_fail(CLINFER_INVALID_ARGUMENT, "rows with logits: %d, must be 1..%lld", wanted,
                       (long long)most[CI_EXTENT_WANTED]);
    struct ci_bucket *bucket;
    enum clinfer_status status = ci_engine_bucket(engine, rows, wanted, &bucket);
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < ci_plan_steps(bucket->plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(bucket->plan, i, &step);
        char tunables[256], otherwise[512];
        ci_plan_tunables(bucket->plan, i, tunables, sizeof tunables);
        ci_plan_otherwise(bucket->plan, i, otherwise, sizeof otherwise);
        struct clinfer_plan_step out = {.label = step.label,
                                        .op = step.op,
                                        .variant = step.variant,
                                        .place = step.place,
                                        .reason = step.reason,
                                        .types = step.signature.types,
                                        .layout = step.layout,
                                        .tunables = tunables,
                                        .otherwise = otherwise,
                                        .rows = step.signature.rows,
                                        .k = step.signature.k,
                                        .n = step.signature.n,
                                        .fallback = step.fallback,
                                        .bytes = step.bytes,
                                        .operations = step.operations};
        callback(user, &out);
    }
    if (waits) *waits = ci_plan_waits(bucket->plan);
    return CLINFER_OK;
}
