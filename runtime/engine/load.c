/* load.c: from options to an engine: the file, the device, the tokenizer, the plans. */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/engine_private.h"

double ci_engine_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void clinfer_engine_options_default(struct clinfer_engine_options *options) {
    *options = (struct clinfer_engine_options){.device = "auto"};
}

/* ---- the device ---- */

static bool is_number(const char *text, long *number) {
    char *end;
    *number = strtol(text, &end, 10);
    return *text && !*end;
}

static bool mentions(const struct ci_device_caps *caps, const char *name) {
    return strcasestr(caps->name, name) || strcasestr(caps->platform, name);
}

static enum clinfer_status no_device(const struct ci_device_list *list, const char *wanted) {
    char known[768] = "";
    for (int i = 0; i < list->count; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%d \"%s\" (%s)", i ? ", " : "", i,
                 list->caps[i].name, list->caps[i].platform);
    return ci_fail(CLINFER_NO_DEVICE,
                   "no OpenCL device \"%s\"; there is: %s; \"cpu\" needs none, `clinfer devices` tells more", wanted,
                   *known ? known : "none");
}

static enum clinfer_status pick_device(const struct ci_device_list *list, const char *wanted, int *index) {
    long number;
    *index = -1;
    if (is_number(wanted, &number)) {
        if (number < 0 || number >= list->count) return no_device(list, wanted);
        *index = (int)number;
        return CLINFER_OK;
    }
    for (int i = 0; i < list->count && *index < 0; i++)
        if (mentions(&list->caps[i], wanted)) *index = i;
    return *index < 0 ? no_device(list, wanted) : CLINFER_OK;
}

/* ---- the file ---- */

static char *copy_string(const struct ci_gguf *gguf, const char *key, const char *otherwise) {
    struct ci_gguf_string value = {otherwise, strlen(otherwise)};
    if (ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &value) != CLINFER_OK) value.length = 0;
    return strndup(value.text, value.length);
}

static enum clinfer_status read_sampling(struct clinfer_engine *engine) {
    struct clinfer_engine_info *info = &engine->info;
    info->temperature = 0.8f;
    info->top_p = 0.95f;
    info->min_p = 0.05f;
    info->repeat_penalty = 1;
    int64_t top_k = 40;
    const struct {
        const char *key;
        float *value, most;
    } keys[] = {{"general.sampling.temp", &info->temperature, 1000},
                {"general.sampling.top_p", &info->top_p, 1},
                {"general.sampling.min_p", &info->min_p, 1},
                {"general.sampling.penalty_repeat", &info->repeat_penalty, 1000}};
    enum clinfer_status status = ci_gguf_get_i64(engine->gguf, "general.sampling.top_k", CI_GGUF_OPTIONAL, &top_k);
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == CLINFER_OK; i++) {
        status = ci_gguf_get_f32(engine->gguf, keys[i].key, CI_GGUF_OPTIONAL, keys[i].value);
        if (status == CLINFER_OK && !(*keys[i].value >= 0 && *keys[i].value <= keys[i].most))
            status = ci_fail(CLINFER_BAD_FILE, "%s: %s: %g, must be 0 to %g", engine->options.model, keys[i].key,
                             (double)*keys[i].value, (double)keys[i].most);
    }
    info->top_k = top_k > 0 && top_k < INT32_MAX ? (int)top_k : 0;
    return status;
}

static enum clinfer_status read_file(struct clinfer_engine *engine) {
    struct ci_gguf_string text = {NULL, 0};
    enum clinfer_status status = ci_gguf_open(engine->options.model, &engine->gguf);
    if (status == CLINFER_OK) status = ci_model_open(engine->gguf, &engine->model);
    if (status == CLINFER_OK) status = ci_tokenizer_create_gguf(engine->gguf, &engine->tokenizer);
    if (status == CLINFER_OK && ci_tokenizer_size(engine->tokenizer) > (size_t)engine->model.hyper.vocabulary)
        status = ci_fail(CLINFER_BAD_FILE, "%s: tokenizer.ggml.tokens: %zu tokens, but token_embd.weight has %d rows",
                         engine->options.model, ci_tokenizer_size(engine->tokenizer), engine->model.hyper.vocabulary);
    if (status == CLINFER_OK)
        status = ci_gguf_get_string(engine->gguf, "tokenizer.chat_template", CI_GGUF_OPTIONAL, &text);
    /* Who never asks for a chat prompt does not need the template: its failure waits until somebody does. */
    if (status == CLINFER_OK && text.length) {
        engine->chat_template_status = ci_template_create(text.text, text.length, &engine->chat_template);
        if (engine->chat_template_status != CLINFER_OK) engine->chat_template_message = strdup(ci_status_message());
    }
    if (status == CLINFER_OK) status = read_sampling(engine);
    if (status != CLINFER_OK) return status;
    engine->model_name = copy_string(engine->gguf, "general.name", "");
    engine->architecture = copy_string(engine->gguf, "general.architecture", "");
    return engine->model_name && engine->architecture ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
}

/* ---- plans ---- */

/* Decode, a few rows (several sessions), a short prompt, a long one. Rows are exact at run time; a bucket only decides
 * which kernels are chosen and how much memory is set aside. */
static void make_buckets(struct clinfer_engine *engine) {
    static const int64_t sizes[CI_BUCKETS - 1] = {1, 8, 64};
    int64_t batch = engine->options.batch > 0 ? engine->options.batch : CI_DEFAULT_BATCH;
    for (int i = 0; i < CI_BUCKETS; i++) {
        int64_t rows = i < CI_BUCKETS - 1 && sizes[i] < batch ? sizes[i] : batch;
        int64_t sequences = rows < CI_MAX_SEQUENCES ? rows : CI_MAX_SEQUENCES;
        struct ci_bucket *bucket = &engine->buckets[engine->bucket_count++];
        bucket->rows[CI_EXTENT_ROWS] = rows;
        bucket->rows[CI_EXTENT_WANTED] = engine->options.all_logits ? rows : sequences;
        bucket->rows[CI_EXTENT_TILES] = rows / CI_TILE_ROWS + sequences;
        if (rows == batch) break;
    }
}

/* Nothing falls back in silence: which ops, how many, and why the first of them. Once per engine. */
static void tell_fallbacks(struct clinfer_engine *engine, const struct ci_plan *plan) {
    char names[256] = "", reason[512] = "";
    if (engine->stats.fallbacks || ci_plan_fallbacks(plan) == 0) return;
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(plan, i, &step);
        if (!step.fallback) continue;
        if (!*reason) snprintf(reason, sizeof reason, "%s", step.reason);
        if (!strstr(names, step.op))
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "", step.op);
    }
    ci_log(CLINFER_LOG_WARNING, "%d ops (%s) run on the CPU, not on \"%s\": %s; --fallback none makes this an error",
           ci_plan_fallbacks(plan), names, ci_device_caps(engine->device)->name, reason);
}

enum clinfer_status ci_engine_bucket(struct clinfer_engine *engine, int64_t rows, struct ci_bucket **found) {
    int i = 0;
    while (engine->buckets[i].rows[CI_EXTENT_ROWS] < rows) i++;
    struct ci_bucket *bucket = &engine->buckets[i];
    *found = bucket;
    if (bucket->plan) return CLINFER_OK;
    int64_t most = bucket->rows[CI_EXTENT_ROWS];
    int64_t sequences = most < CI_MAX_SEQUENCES ? most : CI_MAX_SEQUENCES;
    struct ci_graph graph;
    enum clinfer_status status =
        ci_model_build(&engine->model, bucket->rows, sequences, engine->pages_per_sequence, &graph, &bucket->run);
    if (status != CLINFER_OK) return status;
    struct ci_plan_options options = {.activations = (enum ci_activations)engine->options.activations,
                                      .no_fallback = engine->options.fallback == CLINFER_FALLBACK_NONE};
    status = ci_plan_create(&engine->store, &graph, &options, &bucket->plan);
    if (status != CLINFER_OK) return status;
    engine->stats.activation_bytes += ci_plan_activation_bytes(bucket->plan);
    tell_fallbacks(engine, bucket->plan);
    int fallbacks = ci_plan_fallbacks(bucket->plan);
    if (fallbacks > engine->stats.fallbacks) engine->stats.fallbacks = fallbacks;
    return CLINFER_OK;
}

static enum clinfer_status make_plans(struct clinfer_engine *engine) {
    const struct clinfer_engine_options *options = &engine->options;
    const struct ci_type *const types[] = {[CLINFER_CACHE_F16] = &ci_type_f16, [CLINFER_CACHE_F32] = &ci_type_f32};
    size_t bytes;
    const void *file = ci_gguf_bytes(engine->gguf, &bytes);
    enum clinfer_status status = ci_store_init(&engine->store, engine->device, engine->threads, file, bytes);
    make_buckets(engine);
    int64_t wanted = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_WANTED];
    engine->page_capacity = engine->pages_per_sequence < CI_FIRST_PAGES ? engine->pages_per_sequence : CI_FIRST_PAGES;
    if (status == CLINFER_OK)
        status = ci_model_make_states(&engine->model, types[options->key_type], types[options->value_type],
                                      (int64_t)engine->page_capacity * CI_PAGE_ROWS, wanted);
    engine->free_pages = malloc(sizeof *engine->free_pages * (size_t)engine->page_capacity);
    if (status == CLINFER_OK && !engine->free_pages) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    if (status != CLINFER_OK) return status;
    for (int page = engine->page_capacity - 1; page >= 0; page--) engine->free_pages[engine->free_count++] = page;

    /* The plan for one row comes first: it decides the layouts of the weights, since decoding is what takes the time.
     */
    struct ci_bucket *decode;
    status = ci_engine_bucket(engine, 1, &decode);
    engine->pipelined = status == CLINFER_OK && engine->device && ci_plan_waits(decode->plan) == 1;
    return status;
}

static void describe(struct clinfer_engine *engine) {
    struct clinfer_engine_info *info = &engine->info;
    info->model_name = engine->model_name;
    info->architecture = engine->architecture;
    info->device = engine->device ? ci_device_caps(engine->device)->name : "cpu";
    info->opencl = engine->device != NULL;
    info->parameters = engine->model.parameters;
    for (int i = 0; i < engine->store.place_count; i++) info->weight_bytes += engine->store.weight_bytes[i];
    info->layers = engine->model.hyper.layers;
    info->vocabulary = engine->model.hyper.vocabulary;
    info->context = engine->context;
}

static enum clinfer_status open_device(struct clinfer_engine *engine, int index) {
    if (index < 0) return CLINFER_OK;
    char *cache = ci_file_xdg("CACHE", "programs");
    enum clinfer_status status = ci_device_open(index, cache, &engine->device);
    free(cache);
    return status;
}

static void take_context(struct clinfer_engine *engine) {
    int wanted = engine->options.context, most = engine->model.hyper.context;
    engine->context = wanted > 0 && wanted < most ? wanted : most;
    engine->pages_per_sequence = (engine->context + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS;
    if (wanted > most)
        ci_log(CLINFER_LOG_WARNING, "the context is %d tokens, not %d: the model was made for no more", most, wanted);
}

/* On one device (an index of the list, -1: the CPU backend). *of_device: the failure lies with the device, not with the
 * model. */
static enum clinfer_status open_on(const struct clinfer_engine_options *options, int index, struct clinfer_engine **out,
                                   bool *of_device) {
    double start = ci_engine_now();
    *out = NULL;
    *of_device = false;
    struct clinfer_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    engine->options = *options;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->changed, NULL);
    enum clinfer_status status = ci_threads_create(options->threads, &engine->threads);
    if (status == CLINFER_OK) status = read_file(engine);
    if (status == CLINFER_OK) {
        *of_device = index >= 0;
        take_context(engine);
        status = open_device(engine, index);
    }
    if (status == CLINFER_OK) status = make_plans(engine);
    if (status == CLINFER_OK) describe(engine);
    if (status == CLINFER_OK) status = ci_engine_first_run(engine);
    if (status != CLINFER_OK) {
        clinfer_engine_close(engine);
        return status;
    }
    engine->info.load_seconds = ci_engine_now() - start;
    *out = engine;
    return CLINFER_OK;
}

/* The first device on which everything works and the model's first tokens are right; the CPU when there is none. */
static enum clinfer_status open_auto(const struct clinfer_engine_options *options, const struct ci_device_list *list,
                                     struct clinfer_engine **out) {
    bool of_device;
    for (int i = 0; i < list->count; i++) {
        enum clinfer_status status = open_on(options, i, out, &of_device);
        if (status == CLINFER_OK || !of_device) return status;
        ci_log(CLINFER_LOG_WARNING, "device %d, \"%s\", is left out: %s", i, list->caps[i].name, ci_status_message());
    }
    if (options->fallback == CLINFER_FALLBACK_NONE)
        return ci_fail(CLINFER_NO_DEVICE,
                       "no usable OpenCL device, and --fallback none; --device cpu asks for the CPU");
    ci_log(CLINFER_LOG_WARNING,
           "no usable OpenCL device: everything runs on the CPU backend (a driver for this processor: "
           "apt install pocl-opencl-icd)");
    return open_on(options, -1, out, &of_device);
}

enum clinfer_status clinfer_engine_open(const struct clinfer_engine_options *options, clinfer_engine **out) {
    *out = NULL;
    if (!options->model) return ci_fail(CLINFER_INVALID_ARGUMENT, "no model: options.model is NULL");
    const char *wanted = options->device ? options->device : "auto";
    bool of_device;
    if (strcasecmp(wanted, "cpu") == 0) return open_on(options, -1, out, &of_device);
    struct ci_device_list list = {0};
    enum clinfer_status status = ci_device_list(&list);
    if (status == CLINFER_OK && strcasecmp(wanted, "auto") == 0) {
        status = open_auto(options, &list, out);
    } else if (status == CLINFER_OK) {
        int index;
        status = pick_device(&list, wanted, &index);
        if (status == CLINFER_OK) status = open_on(options, index, out, &of_device);
    }
    ci_device_list_free(&list);
    return status;
}

void clinfer_engine_close(clinfer_engine *engine) {
    if (!engine) return;
    if (engine->device) ci_device_save_programs(engine->device);
    for (int i = 0; i < engine->bucket_count; i++) ci_plan_destroy(engine->buckets[i].plan);
    ci_store_destroy(&engine->store);
    ci_device_close(engine->device);
    ci_template_destroy(engine->chat_template);
    ci_tokenizer_destroy(engine->tokenizer);
    ci_model_close(&engine->model);
    ci_gguf_close(engine->gguf);
    ci_threads_destroy(engine->threads);
    free(engine->free_pages);
    free(engine->host_logits);
    free(engine->candidates);
    free(engine->chat_template_message);
    free(engine->model_name);
    free(engine->architecture);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

void clinfer_engine_get_info(const clinfer_engine *engine, struct clinfer_engine_info *info) { *info = engine->info; }

void clinfer_engine_get_stats(clinfer_engine *engine, struct clinfer_engine_stats *stats) {
    struct ci_device_counts counts = {0};
    if (engine->device) ci_device_counts(engine->device, &counts);
    *stats = engine->stats;
    for (int i = 0; i < engine->bucket_count; i++)
        if (engine->buckets[i].plan) stats->cpu_seconds += ci_plan_cpu_seconds(engine->buckets[i].plan);
    stats->device_seconds = engine->device ? stats->device_seconds - stats->cpu_seconds : 0;
    stats->enqueues = counts.enqueues;
    stats->waits = counts.waits;
    stats->builds = counts.builds;
    stats->objects = counts.objects;
    for (int i = 0; i < engine->store.place_count; i++) {
        stats->weight_bytes += engine->store.weight_bytes[i];
        stats->cache_bytes += engine->store.state_bytes[i];
    }
}

enum clinfer_status ci_engine_explain(struct clinfer_engine *engine, int rows, clinfer_plan_callback *callback,
                                      void *user, int *waits) {
    int64_t most = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    if (rows < 1 || rows > most)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "rows: %d, must be 1..%lld", rows, (long long)most);
    struct ci_bucket *bucket;
    enum clinfer_status status = ci_engine_bucket(engine, rows, &bucket);
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < ci_plan_steps(bucket->plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(bucket->plan, i, &step);
        struct clinfer_plan_step out = {step.label,  step.op,       step.variant, step.place,
                                        step.reason, step.fallback, step.bytes,   step.operations};
        callback(user, &out);
    }
    if (waits) *waits = ci_plan_waits(bucket->plan);
    return CLINFER_OK;
}
