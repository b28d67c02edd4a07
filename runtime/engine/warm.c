#include "engine/warm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "base/watch.h"
#include "device/kernels.h"
#include "device/probe.h"
#include "engine/engine_private.h"
#include "ops/bind.h"
#include "proof/known_answer.h"

/* Each worker has a compiler of its own in memory, some 200 MiB. */
enum { MOST_SHARES = 4, MOST_ITEMS = 256, WORD_BYTES = 24, MOST_ROWS = 64 };
static const double patience = 120, slice = 0.1;

struct ci_warm {
    struct ci_child workers[MOST_SHARES - 1];
    int shares;
    uint64_t device_key, stamp;
};

static bool allowed;

void ci_warm_allow(void) { allowed = true; }

/* ---- the work ---- */

struct proving {
    struct clinfer_engine *engine;
    int share, shares, count;
    uint64_t keys[MOST_ITEMS]; /* what was met so far, in the same order in all processes */
};

/* The program of this very call, which may have other constants than that of the proof. */
static void build(struct ci_device *device, const struct ci_choice *choice, const struct ci_call *call) {
    const char *sources[CI_BIND_SOURCES];
    char options[CI_BIND_OPTIONS_BYTES];
    int count = 0;
    if (ci_bind_options(choice->variant, choice->tunables, call, sources, &count, options) != CLINFER_OK) return;
    for (int i = 0; i < choice->variant->launch_count; i++) {
        struct ci_kernel *kernel = NULL;
        if (ci_kernel_create(device, sources, count, options, choice->variant->launches[i].kernel, &kernel) ==
            CLINFER_OK)
            ci_kernel_destroy(kernel);
    }
}

static void take_choice(void *user, const struct ci_node *node, const struct ci_choice *choice) {
    struct proving *proving = user;
    const struct ci_place *place = &proving->engine->store.places[node->place];
    struct ci_call call;
    uint64_t key;
    if (!choice || !place->device) return;
    const struct ci_variant *variant = choice->variant;
    ci_node_call(node, &call);
    for (int i = 0; i < node->op->inputs; i++)
        if (call.in[i].type && (node->op->weight_inputs >> i & 1) && variant->weight_layout)
            call.in[i].layout = variant->weight_layout;
    if (ci_proof_key(place->device, variant, choice->tunables, &call, &key) != CLINFER_OK) return;
    for (int i = 0; i < proving->count; i++)
        if (proving->keys[i] == key) return;
    if (proving->count == MOST_ITEMS) return;
    proving->keys[proving->count] = key;
    if (proving->count++ % proving->shares != proving->share) return;
    ci_watch_begin(CI_WATCH_BUILD, 0);
    if (ci_proof_known_answer(place->device, &place->caps, variant, choice->tunables, &call) == CLINFER_OK)
        build(place->device, choice, &call);
}

/* Of the plans that a first answer takes: its tokens, and prompts of a few and of some dozens. */
static enum clinfer_status prove_share(struct clinfer_engine *engine, int share, int shares) {
    struct proving proving = {.engine = engine, .share = share, .shares = shares};
    const struct ci_plan_options options = {.activations = (enum ci_activations)engine->options.activations,
                                            .place_of_unit = engine->place_of_unit};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < engine->bucket_count && status == CLINFER_OK; i++) {
        struct ci_bucket *bucket = &engine->buckets[i];
        struct ci_plan_bytes bytes;
        struct ci_graph graph;
        if (bucket->rows[CI_EXTENT_ROWS] > MOST_ROWS || bucket->rows[CI_EXTENT_WANTED] > 1) continue;
        status = ci_engine_graph(engine, bucket, &graph);
        if (status == CLINFER_OK)
            status = ci_plan_predict(&engine->store, &graph, &options, take_choice, &proving, &bytes);
    }
    return status;
}

/* Taking a binary makes PoCL compile each kernel once more, and what it has compiled it keeps by itself. */
static bool saving_compiles(const struct ci_device *device) {
    return strstr(ci_device_caps(device)->platform, "Portable Computing Language") != NULL;
}

enum clinfer_status ci_warm_work(const struct clinfer_engine_options *options, int share, int shares) {
    clinfer_engine *engine = NULL;
    const struct rlimit no_core = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core); /* of a compiler that ends the process */
    ci_device_trust_compilers();      /* that they come through is what the process that started this one finds out */
    enum clinfer_status status = ci_engine_open(options, CI_ENGINE_PLACED, &engine);
    if (status == CLINFER_OK) status = prove_share(engine, share, shares);
    for (int i = 0; engine && i < engine->device_count; i++)
        if (!saving_compiles(engine->devices[i])) ci_device_save_programs(engine->devices[i]);
    return status; /* the process ends without closing what would save programs */
}

/* ---- the workers ---- */

struct words {
    const char *items[40 + 2 * 64];
    char text[8][WORD_BYTES];
    int count, numbers;
};

static void add(struct words *words, const char *flag, const char *value) {
    words->items[words->count++] = flag;
    words->items[words->count++] = value;
}

static void add_number(struct words *words, const char *flag, long long value) {
    char *text = words->text[words->numbers++];
    snprintf(text, WORD_BYTES, "%lld", value);
    add(words, flag, text);
}

/* What kernels depend on. false: there is no room. */
static bool make_words(const struct clinfer_engine_options *options, int device, int share, int shares,
                       struct words *words) {
    static const char *const activations[] = {"auto", "f32", "q8"}, *const types[] = {"f16", "f32", "q8_0", "q4_0"};
    *words = (struct words){.items = {"clinfer", "kernel_worker"}, .count = 2};
    if (options->op_count > 64) return false;
    add_number(words, "--share", share);
    add_number(words, "--shares", shares);
    add(words, "-m", options->model);
    add_number(words, "--device", device);
    add(words, "--activations", activations[options->activations]);
    add(words, "-ctk", types[options->key_type]);
    add(words, "-ctv", types[options->value_type]);
    if (options->weight_type) add(words, "--type", options->weight_type);
    if (options->tuning) add(words, "--tuning", options->tuning);
    if (options->threads > 0) add_number(words, "-t", options->threads);
    if (options->context > 0) add_number(words, "-c", options->context);
    if (options->batch > 0) add_number(words, "-b", options->batch);
    if (options->device_layers >= 0) add_number(words, "-ngl", options->device_layers);
    for (size_t i = 0; i < options->op_count; i++) add(words, "--op", options->ops[i]);
    return true;
}

/* "This model was opened there by this version", with the options that kernels depend on. */
static enum clinfer_status make_stamp(const struct clinfer_engine *engine, uint64_t device_key, uint64_t *stamp) {
    const struct clinfer_engine_options *options = &engine->options;
    static const char what[] = "kernels are ready " CLINFER_VERSION;
    const uint64_t numbers[] = {ci_gguf_identity(engine->gguf), device_key, options->activations, options->key_type,
                                options->value_type};
    *stamp = ci_hash(CI_HASH_START, what, sizeof what);
    *stamp = ci_hash(*stamp, numbers, sizeof numbers);
    enum clinfer_status status = numbers[0] ? CLINFER_OK : ci_fail(CLINFER_UNSUPPORTED, "a model without a file");
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name && status == CLINFER_OK; source++)
        status = ci_kernel_source_hash(source->name, stamp);
    return status;
}

static bool processes_are_forbidden(void) {
    char *program = NULL;
    bool forbidden = getenv("OPENCL_LAYERS") || ci_probe_program(&program) != CLINFER_OK || !program;
    free(program);
    return forbidden;
}

static void start(const struct clinfer_engine *engine, int device, struct ci_warm *warm) {
    static const char begun[] = "workers were started " CLINFER_VERSION;
    struct words words;
    /* So that the file of proofs is there: what two processes create at the same time one of them loses. */
    ci_proof_remember(warm->device_key, ci_hash(CI_HASH_START, begun, sizeof begun));
    char *executable = realpath("/proc/self/exe", NULL);
    for (int i = 1; executable && i < warm->shares; i++)
        if (!make_words(&engine->options, device, i, warm->shares, &words) ||
            ci_child_start(executable, words.items, NULL, &warm->workers[i - 1]) != CLINFER_OK)
            break;
    free(executable);
}

void ci_warm_begin(struct clinfer_engine *engine, const struct ci_engine_devices *devices) {
    struct ci_device_list list = {0};
    uint64_t stamp, key;
    int shares = ci_threads_default();
    bool wanted = allowed && shares > 1 && devices->count == 1 && !engine->options.all_logits &&
                  !engine->options.embeddings && !processes_are_forbidden();
    if (!wanted || ci_device_list(&list) != CLINFER_OK) return;
    key = devices->indices[0] < list.count ? list.caps[devices->indices[0]].key : 0;
    ci_device_list_free(&list);
    if (!key || make_stamp(engine, key, &stamp) != CLINFER_OK || ci_proof_is_known(key, stamp)) return;
    engine->warm = calloc(1, sizeof *engine->warm);
    if (!engine->warm) return;
    *engine->warm =
        (struct ci_warm){.shares = shares < MOST_SHARES ? shares : MOST_SHARES, .device_key = key, .stamp = stamp};
    start(engine, devices->indices[0], engine->warm);
}

static void wait_for(struct ci_warm *warm, double seconds) {
    for (int i = 0; i < warm->shares - 1; i++) {
        struct ci_child *worker = &warm->workers[i];
        while (worker->process && seconds > 0 && !ci_child_ended(worker, slice)) {
            ci_watch_begin(CI_WATCH_BUILD, 0);
            seconds -= slice;
        }
    }
    ci_child_wait(warm->workers, warm->shares - 1, 0);
}

void ci_warm_finish(struct clinfer_engine *engine) {
    struct ci_warm *warm = engine->warm;
    if (!warm) return;
    double begun = ci_now();
    enum clinfer_status status = prove_share(engine, 0, warm->shares);
    double own = ci_now() - begun;
    if (status != CLINFER_OK) ci_log(CLINFER_LOG_DEBUG, "kernels: %s", ci_status_message());
    wait_for(warm, patience);
    ci_log(CLINFER_LOG_DEBUG, "kernels: a share of 1/%d in %.0f ms, the others after %.0f more", warm->shares,
           own * 1e3, (ci_now() - begun - own) * 1e3);
    ci_proof_forget_file(warm->device_key);
    if (status == CLINFER_OK) ci_proof_remember(warm->device_key, warm->stamp);
    free(warm);
    engine->warm = NULL;
}

void ci_warm_abandon(struct clinfer_engine *engine) {
    if (engine->warm) wait_for(engine->warm, 0);
    free(engine->warm);
    engine->warm = NULL;
}
