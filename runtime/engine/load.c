/* load.c: from options to an engine: the file, the device, the tokenizer, the plans. */
#define _GNU_SOURCE
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cache.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/names.h"
#include "base/require.h"
#include "base/stages.h"
#include "base/status.h"
#include "base/watch.h"
#include "engine/aside.h"
#include "engine/engine_private.h"
#include "engine/read.h"
#include "engine/verify.h"
#include "engine/warm.h"
#include "model/source.h"
#include "proof/known_answer.h"

void clinfer_engine_options_default(struct clinfer_engine_options *options) {
    if (options)
        *options =
            (struct clinfer_engine_options){.device = "auto", .device_layers = -1, .rope = {.yarn_extrapolation = -1}};
}

/* ---- the file ---- */

static char *copy_string(const struct ci_gguf *gguf, const char *key, const char *otherwise) {
    struct ci_gguf_string value = {otherwise, strlen(otherwise)};
    if (ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &value) != CLINFER_OK) value.length = 0;
    return strndup(value.text, value.length);
}

/* What the file has and the graph does without: unknown keys loudly, since they may mean something. */
static void tell_findings(const struct clinfer_engine *engine) {
    enum { NAMED = 8 };
    char names[1024] = "", more[64] = "";
    int unknown = 0, left_out = 0;
    for (const struct ci_finding *finding = engine->model.findings; finding; finding = finding->next) {
        left_out += finding->kind == CI_FINDING_LEFT_OUT;
        if (finding->kind == CI_FINDING_UNKNOWN && unknown++ < NAMED) ci_names_add(names, sizeof names, finding->name);
    }
    if (unknown > NAMED) snprintf(more, sizeof more, " and %d more, which `clinfer inspect` lists", unknown - NAMED);
    if (unknown)
        ci_log(CLINFER_LOG_WARNING, "%s: metadata that nobody knows and that is not used: %s%s", engine->options.model,
               names, more);
    if (left_out)
        ci_log(CLINFER_LOG_INFO, "%s: %d tensors are left out; `clinfer inspect` says which and why",
               engine->options.model, left_out);
}

static enum clinfer_status read_file(struct clinfer_engine *engine, bool wordless, struct ci_stages *stages) {
    enum clinfer_status status = ci_engine_find_model(engine);
    if (status == CLINFER_OK)
        status = ci_source_open(engine->options.model, engine->options.weight_type, &engine->gguf);
    ci_stages_end(stages, "file");
    if (status == CLINFER_OK)
        status = ci_read_model(engine->gguf, engine->threads, stages, &engine->model, &engine->info);
    if (status == CLINFER_OK) status = ci_read_samplers(engine->gguf, &engine->texts, &engine->info);
    engine->model.embeds = engine->options.embeddings;
    if (status == CLINFER_OK) status = ci_engine_read_pooling(engine);
    if (status != CLINFER_OK) return status;
    tell_findings(engine);
    if (!wordless) ci_engine_begin_reading(engine);
    engine->model_name = copy_string(engine->gguf, "general.name", "");
    engine->architecture = copy_string(engine->gguf, "general.architecture", "");
    return engine->model_name && engine->architecture ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
}

/* Of the place that was asked for. */
static const char *tuning_text(const struct clinfer_engine *engine) {
    switch (engine->choices.places[engine->store.preferred].origin) {
    case CI_PROFILE_EXACT: return "tuned here";
    case CI_PROFILE_DRIVER: return "tuned elsewhere or with another driver";
    case CI_PROFILE_SHIPPED: return "shipped for such a device";
    case CI_PROFILE_NONE: break;
    }
    return "none, the order of the table of variants";
}

/* Of what the first plans would have had; what is set aside later is said then. */
static void tell_quarantine(const struct clinfer_engine *engine) {
    char names[256] = "";
    int count = ci_choices_passed_over(&engine->choices, names, sizeof names);
    if (count)
        ci_log(CLINFER_LOG_NOTICE,
               "%d kernel%s in quarantine on %s %s passed over (%s), which may be slower; `clinfer doctor` says why",
               count, count == 1 ? "" : "s", engine->device_names, count == 1 ? "is" : "are", names);
}

/* Once per device and version. */
static void tell_tune(const struct clinfer_engine *engine) {
    const struct ci_choices *choices = &engine->choices;
    bool automatic = !engine->options.tuning || strcmp(engine->options.tuning, "auto") == 0;
    if (!engine->device || !automatic || choices->places[engine->store.preferred].origin == CI_PROFILE_EXACT) return;
    uint64_t device_key = ci_device_caps(engine->device)->key;
    static const char hint[] = "tune " CLINFER_VERSION;
    uint64_t told = ci_hash(CI_HASH_START, hint, sizeof hint);
    if (ci_proof_is_known(device_key, told)) return;
    ci_log(CLINFER_LOG_NOTICE, "`clinfer tune` finds the fastest kernels of \"%s\", once; until then: %s",
           ci_device_caps(engine->device)->name, tuning_text(engine));
    ci_proof_remember(device_key, told);
}

static void describe(struct clinfer_engine *engine) {
    struct clinfer_engine_info *info = &engine->info;
    info->model_path = engine->options.model;
    info->model_name = engine->model_name;
    info->architecture = engine->architecture;
    info->device = engine->device_names;
    info->tuning = tuning_text(engine);
    info->opencl = engine->device != NULL;
    info->parameters = engine->model.parameters;
    for (int i = 0; i < engine->store.place_count; i++) info->weight_bytes += engine->store.weight_bytes[i];
    info->layers = engine->model.hyper.layers;
    info->vocabulary = engine->model.hyper.vocabulary;
    info->embedding = engine->model.hyper.embedding;
    info->outputs = engine->model.outputs;
    info->encoder = ci_model_encodes(&engine->model);
    info->context = engine->context;
    info->model_context = engine->model.hyper.context;
}

static enum clinfer_status open_devices(struct clinfer_engine *engine, const struct ci_engine_devices *devices) {
    char *cache = ci_cache_path("programs");
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < devices->count && status == CLINFER_OK; i++) {
        status = ci_device_open(devices->indices[i], cache, &engine->devices[i]);
        if (status == CLINFER_OK) engine->device_count++;
    }
    free(cache);
    engine->device = engine->devices[0];
    for (int i = 0; i < devices->order_count && status == CLINFER_OK; i++) {
        int place = devices->order[i];
        size_t used = strlen(engine->device_names);
        snprintf(engine->device_names + used, sizeof engine->device_names - used, "%s%s", used ? " + " : "",
                 place ? ci_device_caps(engine->devices[place - 1])->name : "cpu");
    }
    return status;
}

enum clinfer_status ci_engine_take_context(struct clinfer_engine *engine, int wanted) {
    enum clinfer_status status = ci_model_set_context(&engine->model, wanted, &engine->options.rope, &engine->context);
    engine->pages_per_sequence = (engine->context + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS;
    return status;
}

/* What the first start writes waits in memory for the disk: a program that writes more than a fifth of what is free
 * waits for it, too (vm.dirty_ratio of Linux). */
static void open_packed(struct clinfer_engine *engine) {
    const uint64_t bytes = ci_gguf_file_bytes(engine->gguf);
    enum clinfer_packed_cache wanted = engine->options.packed_cache;
    if (wanted == CLINFER_PACKED_ON || (wanted == CLINFER_PACKED_AUTO && bytes <= ci_memory_limit() / 8))
        engine->packed =
            ci_packed_open(ci_gguf_path(engine->gguf), ci_gguf_identity(engine->gguf), bytes, engine->threads);
}

static enum clinfer_status open_once(const struct clinfer_engine_options *options,
                                     const struct ci_engine_devices *devices, enum ci_engine_depth depth,
                                     const struct clinfer_engine *lender, struct clinfer_engine **out,
                                     bool *of_device) {
    ci_watch_begin(CI_WATCH_BUILD, 0);
    struct ci_stages stages;
    ci_stages_begin(&stages);
    *out = NULL;
    *of_device = false;
    struct clinfer_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    engine->process = getpid();
    engine->options = *options;
    engine->lender = lender;
    engine->stats.fallback_text = "";
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->grammars, NULL);
    pthread_cond_init(&engine->grammars_changed, NULL);
    pthread_cond_init(&engine->changed, NULL);
    enum clinfer_status status = ci_threads_create(options->threads, &engine->threads);
    if (status == CLINFER_OK && options->record) status = ci_trace_create(&engine->trace);
    if (status == CLINFER_OK) status = read_file(engine, lender || depth == CI_ENGINE_WORDLESS, &stages);
    if (status == CLINFER_OK) status = ci_engine_take_context(engine, options->context);
    if (status == CLINFER_OK) {
        *of_device = devices->count > 0;
        if (depth == CI_ENGINE_PROVEN) ci_aside_begin(engine, devices);
        if (depth == CI_ENGINE_PROVEN && !engine->aside) ci_warm_begin(engine, devices);
        ci_warm_finish(engine);
        status = open_devices(engine, devices);
    }
    ci_stages_end(&stages, "devices");
    if (status == CLINFER_OK && !lender && depth >= CI_ENGINE_PLANNED) open_packed(engine);
    if (status == CLINFER_OK) status = ci_engine_make_plans(engine, devices, depth);
    if (status == CLINFER_OK) status = ci_gguf_check_whole(engine->gguf); /* what was packed may be zeros */
    if (status == CLINFER_OK) ci_packed_finish(engine->packed);
    if (status == CLINFER_OK) describe(engine);
    if (status == CLINFER_OK) tell_quarantine(engine);
    ci_stages_end(&stages, "weights and the first plan");
    if (status == CLINFER_OK && depth == CI_ENGINE_PROVEN) status = ci_engine_first_run(engine);
    ci_stages_end(&stages, "proof");
    if (status == CLINFER_OK && depth >= CI_ENGINE_PLANNED) tell_tune(engine);
    if (status == CLINFER_OK && depth >= CI_ENGINE_PLANNED) {
        status = ci_draft_open(engine);
        *of_device = *of_device && status == CLINFER_OK; /* with another device that one would be no better */
    }
    if (status == CLINFER_OK && options->record) status = ci_engine_record_start(engine);
    if (status != CLINFER_OK) {
        char message[1024];
        snprintf(message, sizeof message, "%s", ci_status_message());
        if (ci_engine_await_reading(engine) != CLINFER_OK) { /* then it is the file's fault, whatever failed beside */
            status = engine->reader.status;
            snprintf(message, sizeof message, "%s", ci_status_message());
            *of_device = false;
        }
        clinfer_engine_close(engine); /* a device that fails does so once more */
        return ci_fail(status, "%s", message);
    }
    engine->info.load_seconds = stages.last - stages.begun;
    ci_stages_tell(&stages, "loaded");
    ci_engine_count(engine, &engine->told);
    *out = engine;
    return CLINFER_OK;
}

/* What fails once may be an accident: then it is the same device with the same kernels all the same. */
enum clinfer_status ci_engine_open_on(const struct clinfer_engine_options *options,
                                      const struct ci_engine_devices *devices, enum ci_engine_depth depth,
                                      clinfer_engine **out, bool *of_device) {
    char message[1024];
    enum clinfer_status first = open_once(options, devices, depth, NULL, out, of_device);
    if (!*of_device || (first != CLINFER_DEVICE_ERROR && first != CLINFER_OUT_OF_MEMORY)) return first;
    snprintf(message, sizeof message, "%s", ci_status_message());
    ci_log(CLINFER_LOG_NOTICE, "%s; loading is tried again", message);
    enum clinfer_status second = open_once(options, devices, depth, NULL, out, of_device);
    return second == CLINFER_NO_DEVICE ? ci_fail(first, "%s", message) : second; /* it was lost, there was one */
}

/* The first rung on which everything works and the model's first tokens are right. */
static enum clinfer_status open_first(const struct clinfer_engine_options *options, const struct ci_engine_rung *rungs,
                                      int count, enum ci_engine_depth depth, clinfer_engine **out) {
    for (int i = 0; i < count; i++) {
        bool of_device, last_resort = i > 0 && rungs[i].devices.count == 0;
        if (last_resort && options->fallback == CLINFER_FALLBACK_NONE)
            return ci_fail(CLINFER_NO_DEVICE, "%s, and --fallback none; --device cpu asks for the CPU",
                           ci_status_message());
        enum clinfer_status status = ci_engine_open_on(options, &rungs[i].devices, depth, out, &of_device);
        if (status == CLINFER_OK || status == CLINFER_INVALID_ARGUMENT || !of_device) return status;
        ci_log(CLINFER_LOG_WARNING, "device %s is left out: %s", rungs[i].name, ci_status_message());
    }
    return ci_fail(CLINFER_NO_DEVICE, "no device is left");
}

enum clinfer_status ci_engine_check_options(const struct clinfer_engine_options *options) {
    const struct {
        const char *name;
        int value, least, most;
    } ranges[] = {{"device_layers", options->device_layers, -1, INT_MAX},
                  {"threads", options->threads, 0, CI_MOST_THREADS},
                  {"context", options->context, 0, INT_MAX},
                  {"batch", options->batch, 0, INT_MAX},
                  {"draft.most", options->draft.most, 0, INT_MAX},
                  {"draft.least", options->draft.least, 0, INT_MAX},
                  {"activations", (int)options->activations, CLINFER_ACTIVATIONS_AUTO, CLINFER_ACTIVATIONS_Q16},
                  {"key_type", (int)options->key_type, CLINFER_CACHE_F16, CLINFER_CACHE_Q4_0},
                  {"value_type", (int)options->value_type, CLINFER_CACHE_F16, CLINFER_CACHE_Q4_0},
                  {"packed_cache", (int)options->packed_cache, CLINFER_PACKED_AUTO, CLINFER_PACKED_OFF},
                  {"rope.scaling", (int)options->rope.scaling, CLINFER_ROPE_OF_MODEL, CLINFER_ROPE_YARN},
                  {"rope.original_context", options->rope.original_context, 0, INT_MAX},
                  {"fallback", (int)options->fallback, CLINFER_FALLBACK_CPU, CLINFER_FALLBACK_REMOTE}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "engine options: %s: %d, must be %d to %d", ranges[i].name,
                           ranges[i].value, ranges[i].least, ranges[i].most);
    const struct clinfer_rope_options *rope = &options->rope;
    const float numbers[] = {rope->factor,         rope->freq_base,      rope->yarn_extrapolation,
                             rope->yarn_magnitude, rope->yarn_beta_fast, rope->yarn_beta_slow};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isfinite(numbers[i]))
            return ci_fail(CLINFER_INVALID_ARGUMENT, "engine options: rope: %g is no number", (double)numbers[i]);
    if (options->op_count && !options->ops)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "engine options: ops is NULL, op_count %zu", options->op_count);
    for (size_t i = 0; i < options->op_count; i++)
        if (!options->ops[i]) return ci_fail(CLINFER_INVALID_ARGUMENT, "engine options: ops[%zu] is NULL", i);
    /* Before any device is tried: it is not to blame for a profile that cannot be read. */
    return ci_choices_check_tuning(options->tuning);
}

enum clinfer_status ci_engine_open(const struct clinfer_engine_options *options, enum ci_engine_depth depth,
                                   clinfer_engine **out) {
    struct ci_engine_rung *rungs = NULL;
    int count;
    bool of_device;
    *out = NULL;
    if (!options->model) return ci_fail(CLINFER_INVALID_ARGUMENT, "no model: options.model is NULL");
    enum clinfer_status status = ci_engine_check_options(options);
    if (status == CLINFER_OK) status = ci_engine_rungs(options, &rungs, &count);
    if (status != CLINFER_OK) {
        free(rungs);
        return status;
    }
    if (!options->device || strcasecmp(options->device, "auto") == 0)
        status = open_first(options, rungs, count, depth, out);
    else
        status = ci_engine_open_on(options, &rungs[0].devices, depth, out, &of_device);
    free(rungs);
    return status;
}

enum clinfer_status clinfer_engine_open(const struct clinfer_engine_options *options, clinfer_engine **out) {
    CI_REQUIRE(out, "engine");
    *out = NULL;
    CI_REQUIRE(options, "options");
    return ci_engine_open(options, CI_ENGINE_PROVEN, out);
}

enum clinfer_status ci_engine_open_unproven(const struct clinfer_engine_options *options, clinfer_engine **out) {
    return ci_engine_open(options, CI_ENGINE_PLANNED, out);
}

enum clinfer_status ci_engine_open_beside(const struct clinfer_engine *lender,
                                          const struct clinfer_engine_options *options, clinfer_engine **out) {
    static const struct ci_engine_devices cpu = {.order = {CI_PLACE_CPU}, .order_count = 1};
    bool of_device;
    return open_once(options, &cpu, CI_ENGINE_PLANNED, lender, out, &of_device);
}

/* Whether sessions are left, who then close it: they point to it. */
static bool leave_to_sessions(struct clinfer_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    engine->closing = engine->sessions != NULL;
    bool left = engine->closing;
    pthread_mutex_unlock(&engine->lock);
    if (left)
        ci_log(CLINFER_LOG_ERROR,
               "clinfer_engine_close: sessions of the engine are left; the last one closes it when it "
               "is destroyed");
    return left;
}

void clinfer_engine_close(clinfer_engine *engine) {
    if (!engine || !ci_process_owns(engine->process) || leave_to_sessions(engine)) return;
    bool lost = false;
    ci_engine_await_reading(engine);
    ci_warm_abandon(engine);
    ci_draft_close(engine);
    for (int i = 0; i < engine->device_count; i++) {
        /* A step that nobody waits for any more may still read weights that lie in our memory. */
        bool finished = ci_device_finish(engine->devices[i]) == CLINFER_OK;
        if (finished && !engine->saves_nothing && !ci_aside_builds(engine)) ci_device_save_programs(engine->devices[i]);
        lost = lost || !finished;
    }
    ci_aside_end(engine);
    if (lost) ci_store_abandon_host_memory(&engine->store);
    for (int i = 0; i < engine->bucket_count; i++) ci_plan_destroy(engine->buckets[i].plan);
    ci_prefix_drop_all(engine);
    ci_store_destroy(&engine->store);
    ci_engine_record_end(engine);
    for (int i = 0; i < engine->device_count; i++) ci_device_close(engine->devices[i]);
    ci_choices_free(&engine->choices);
    ci_chat_destroy(engine->chat);
    ci_rank_free(&engine->rank);
    ci_tokenizer_destroy(engine->tokenizer);
    ci_model_close(&engine->model);
    ci_packed_close(engine->packed, lost);
    if (lost)
        ci_device_abandon(engine->gguf);
    else
        ci_gguf_close(engine->gguf);
    ci_threads_destroy(engine->threads);
    ci_arena_destroy(&engine->texts);
    for (int i = 0; i < CI_CACHE_GROUPS; i++) {
        free(engine->pools[i].free);
        free(engine->pools[i].pages);
    }
    free(engine->place_of_unit);
    ci_constraints_free(engine);
    free(engine->host_logits);
    free(engine->room.candidates);
    free(engine->room.others);
    free(engine->room.marks);
    free(engine->room.repeats);
    free(engine->model_name);
    free(engine->architecture);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->lock);
    pthread_cond_destroy(&engine->grammars_changed);
    pthread_mutex_destroy(&engine->grammars);
    if (lost)
        ci_device_abandon(engine); /* sampled ids are read into it */
    else
        free(engine);
}

void clinfer_engine_get_info(const clinfer_engine *engine, struct clinfer_engine_info *info) {
    if (info) *info = engine ? engine->info : (struct clinfer_engine_info){0};
}

void ci_engine_count(const struct clinfer_engine *engine, struct clinfer_engine_stats *stats) {
    *stats = engine->stats;
    for (int i = 0; i < engine->device_count; i++) {
        struct ci_device_counts counts;
        ci_device_counts(engine->devices[i], &counts);
        stats->enqueues += counts.enqueues;
        stats->waits += counts.waits;
        stats->builds += counts.builds;
        stats->objects += counts.objects;
    }
    for (int i = 0; i < engine->bucket_count; i++)
        if (engine->buckets[i].plan) stats->cpu_seconds += ci_plan_cpu_seconds(engine->buckets[i].plan);
    stats->device_seconds = engine->device ? stats->device_seconds - stats->cpu_seconds : 0;
    const struct ci_page_pool *pool =
        &engine->pools[engine->pools[CI_CACHE_WHOLE].capacity ? CI_CACHE_WHOLE : CI_CACHE_WINDOW];
    stats->cache_tokens = (uint64_t)pool->capacity * CI_PAGE_ROWS;
    int64_t held = pool->capacity - pool->free_count, needed = 0;
    for (const struct clinfer_session *s = engine->queue; s && needed < held; s = s->next_in_queue) {
        const struct ci_page_list *list = &s->lists[pool->window ? CI_CACHE_WINDOW : CI_CACHE_WHOLE];
        needed += list->count - list->first; /* shared ones more than once */
    }
    stats->cache_tokens_used = (uint64_t)(needed < held ? needed : held) * CI_PAGE_ROWS;
    for (int i = 0; i < engine->store.place_count; i++) {
        stats->weight_bytes += engine->store.weight_bytes[i];
        stats->cache_bytes += engine->store.state_bytes[i];
    }
}
