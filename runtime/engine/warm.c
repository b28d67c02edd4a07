#define _GNU_SOURCE
#include "engine/warm.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "base/watch.h"
#include "device/kernels.h"
#include "device/probe.h"
#include "engine/engine_private.h"
#include "ops/signature.h"
#include "proof/known_answer.h"
#include "proof/prepare.h"

/* Each worker has a compiler of its own in memory, some 200 MiB. */
enum { MOST_PROCESSES = 4, MOST_ITEMS = 256, WORD_BYTES = 24, MOST_ROWS = 64 };
static const double patience = 120, slice = 0.1;

struct ci_warm {
    struct ci_child workers[MOST_PROCESSES];
    int processes;
    int memory; /* descriptor of what `taken` lies in, which workers inherit */
    atomic_int *taken;
    uint64_t device_key, stamp;
};

static bool allowed;

void ci_warm_allow(void) { allowed = true; }

bool ci_warm_is_allowed(void) { return allowed; }

/* ---- the work ---- */

struct item {
    int place;
    struct ci_choice choice;
    struct ci_call call;
    uint64_t key, program; /* proof; text and options of its program but for constants */
};

struct work {
    struct clinfer_engine *engine;
    int count;
    struct item items[MOST_ITEMS]; /* in the same order in all processes */
};

enum clinfer_status ci_warm_key(const struct clinfer_engine *engine, const struct ci_node *node,
                                const struct ci_choice *choice, struct ci_call *call, uint64_t *key) {
    ci_node_call(node, call);
    for (int i = 0; i < node->op->inputs; i++)
        if (call->in[i].type && (node->op->weight_inputs >> i & 1) && choice->variant->weight_layout)
            call->in[i].layout = choice->variant->weight_layout;
    return ci_proof_key(engine->store.places[node->place].device, choice->variant, choice->tunables, call, key);
}

static void add_item(void *user, const struct ci_node *node, const struct ci_choice *choice) {
    struct work *work = user;
    if (!choice || !work->engine->store.places[node->place].device || work->count == MOST_ITEMS) return;
    struct item *item = &work->items[work->count];
    *item = (struct item){.place = node->place, .choice = *choice};
    if (ci_warm_key(work->engine, node, choice, &item->call, &item->key) != CLINFER_OK) return;
    for (int i = 0; i < work->count; i++)
        if (work->items[i].key == item->key) return;
    if (ci_signature_source(choice->variant, choice->tunables, &item->call, &item->program) != CLINFER_OK) return;
    work->count++;
}

/* Of the plans that a first answer takes: its tokens, and prompts of a few and of some dozens. */
static enum clinfer_status collect(struct work *work) {
    struct clinfer_engine *engine = work->engine;
    const struct ci_plan_options options = {.activations = (enum ci_activations)engine->options.activations,
                                            .place_of_unit = engine->place_of_unit};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < engine->bucket_count && status == CLINFER_OK; i++) {
        struct ci_bucket *bucket = &engine->buckets[i];
        struct ci_plan_bytes bytes;
        struct ci_graph graph;
        if (bucket->rows[CI_EXTENT_ROWS] > MOST_ROWS || bucket->rows[CI_EXTENT_WANTED] > 1) continue;
        status = ci_engine_graph(engine, bucket, &graph);
        if (status == CLINFER_OK) status = ci_plan_predict(&engine->store, &graph, &options, add_item, work, &bytes);
    }
    return status;
}

static void prove(const struct clinfer_engine *engine, const struct item *item) {
    const struct ci_place *place = &engine->store.places[item->place];
    assert(item->choice.variant);
    ci_proof_prepare(place->device, &place->caps, item->choice.variant, item->choice.tunables, &item->call, true);
    if (ci_proof_is_known(ci_device_caps(place->device)->key, item->key)) ci_device_vouch_for_compiler(place->device);
}

static bool has_program(const struct item *items, int count, uint64_t program) {
    for (int i = 0; i < count; i++)
        if (items[i].program == program) return true;
    return false;
}

/* `taken`, shared by all processes, counts the items that somebody has begun. From the end of the list: kernels for
 * many rows take longest to compile, and what comes last decides how long the others wait. Who takes the first item of
 * a program takes all of them: two processes that begin the same one both compile it. */
static enum clinfer_status prove_some(struct clinfer_engine *engine, atomic_int *taken) {
    struct work *work = calloc(1, sizeof *work);
    if (!work) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a list of kernels");
    work->engine = engine;
    enum clinfer_status status = collect(work);
    for (int i; status == CLINFER_OK && (i = work->count - 1 - atomic_fetch_add(taken, 1)) >= 0;) {
        uint64_t program = work->items[i].program;
        if (has_program(&work->items[i + 1], work->count - 1 - i, program)) continue;
        for (int k = i; k >= 0; k--)
            if (work->items[k].program == program) prove(engine, &work->items[k]);
    }
    free(work);
    return status;
}

static atomic_int *map(int memory) {
    void *mapped = mmap(NULL, sizeof(atomic_int), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

enum clinfer_status ci_warm_work(const struct clinfer_engine_options *options, int memory) {
    clinfer_engine *engine = NULL;
    const struct rlimit no_core = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core); /* of a compiler that ends the process */
    ci_device_trust_compilers();      /* that they come through is what the process that started this one finds out */
    struct stat info;
    atomic_int *taken = fstat(memory, &info) == 0 && info.st_size == sizeof *taken ? map(memory) : NULL;
    if (!taken) return ci_fail(CLINFER_INVALID_ARGUMENT, "--memory %d is no memory to share", memory);
    enum clinfer_status status = ci_engine_open(options, CI_ENGINE_WORDLESS, &engine);
    if (status == CLINFER_OK) status = prove_some(engine, taken);
    for (int i = 0; engine && i < engine->device_count; i++) ci_proof_prepared(engine->devices[i]);
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
static bool make_words(const struct clinfer_engine_options *options, int device, int memory, struct words *words) {
    static const char *const activations[] = {"auto", "f32", "q8", "q16"};
    static const char *const types[] = {"f16", "f32", "q8_0", "q4_0"};
    *words = (struct words){.items = {"clinfer", "kernel_worker"}, .count = 2};
    if (options->op_count > 64) return false;
    add_number(words, "--memory", memory);
    add(words, "-m", options->model);
    add_number(words, "--device", device);
    add(words, "--activations", activations[options->activations]);
    add(words, "-ctk", types[options->key_type]);
    add(words, "-ctv", types[options->value_type]);
    add(words, "--packed-cache", "off"); /* who it works for keeps them */
    if (options->weight_type) add(words, "--type", options->weight_type);
    if (options->tuning) add(words, "--tuning", options->tuning);
    if (options->embeddings) words->items[words->count++] = "--vectors";
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

bool ci_warm_is_forbidden(void) {
    char *program = NULL;
    bool forbidden = ci_probe_program(&program) != CLINFER_OK || !program;
    free(program);
    return forbidden;
}

bool ci_warm_start(const struct clinfer_engine_options *options, int device, int memory, int first,
                   struct ci_child *worker) {
    struct words words;
    char *executable = realpath("/proc/self/exe", NULL);
    bool made = executable && make_words(options, device, memory, &words);
    if (made && first >= 0) add_number(&words, "--plans", first);
    bool started = made && ci_child_start(executable, words.items, NULL, worker) == CLINFER_OK;
    free(executable);
    return started;
}

static void start(const struct clinfer_engine *engine, int device, const char *name, struct ci_warm *warm) {
    ci_proof_say_first(warm->device_key, name);
    for (int i = 0; i < warm->processes; i++)
        if (!ci_warm_start(&engine->options, device, warm->memory, -1, &warm->workers[i])) break;
}

static void destroy(struct ci_warm *warm) {
    if (warm->taken) munmap(warm->taken, sizeof *warm->taken);
    if (warm->memory >= 0) close(warm->memory);
    free(warm);
}

static struct ci_warm *create(int processes, uint64_t device_key, uint64_t stamp) {
    struct ci_warm *warm = calloc(1, sizeof *warm);
    if (!warm) return NULL;
    *warm = (struct ci_warm){.processes = processes < MOST_PROCESSES ? processes : MOST_PROCESSES,
                             .memory = memfd_create("clinfer kernels", 0), /* inherited */
                             .device_key = device_key,
                             .stamp = stamp};
    if (warm->memory >= 0 && ftruncate(warm->memory, sizeof *warm->taken) == 0) warm->taken = map(warm->memory);
    if (warm->taken) return warm;
    destroy(warm);
    return NULL;
}

void ci_warm_begin(struct clinfer_engine *engine, const struct ci_engine_devices *devices) {
    struct ci_device_list list = {0};
    uint64_t stamp, key = 0;
    int processes = ci_threads_default();
    bool wanted = allowed && processes > 1 && devices->count == 1 && !engine->options.all_logits &&
                  !engine->options.embeddings && !getenv("OPENCL_LAYERS") && !ci_warm_is_forbidden();
    if (!wanted || ci_device_list(&list) != CLINFER_OK) return;
    const struct ci_device_caps *caps = devices->indices[0] < list.count ? &list.caps[devices->indices[0]] : NULL;
    if (caps) key = caps->key;
    bool first = caps && make_stamp(engine, key, &stamp) == CLINFER_OK && !ci_proof_is_known(key, stamp);
    /* Proofs that cannot be kept would be made in vain, at every start. Where they can, the file of them is there from
     * now on: what two processes create at the same time one of them loses. */
    if (first && ci_proof_is_kept(key)) engine->warm = create(processes, key, stamp);
    if (engine->warm) start(engine, devices->indices[0], caps->name, engine->warm);
    ci_device_list_free(&list);
}

static void wait_for(struct ci_warm *warm, double seconds) {
    for (int i = 0; i < warm->processes; i++) {
        struct ci_child *worker = &warm->workers[i];
        while (worker->process && seconds > 0 && !ci_child_ended(worker, slice)) {
            ci_watch_begin(CI_WATCH_BUILD, 0);
            seconds -= slice;
        }
    }
    ci_child_wait(warm->workers, warm->processes, 0);
}

void ci_warm_finish(struct clinfer_engine *engine) {
    struct ci_warm *warm = engine->warm;
    if (!warm) return;
    double begun = ci_now();
    wait_for(warm, patience);
    ci_log(CLINFER_LOG_DEBUG, "kernels: by %d processes, %.0f ms", warm->processes, (ci_now() - begun) * 1e3);
    ci_proof_forget_file(warm->device_key);
    ci_proof_remember(warm->device_key, warm->stamp);
    destroy(warm);
    engine->warm = NULL;
}

void ci_warm_abandon(struct clinfer_engine *engine) {
    if (!engine->warm) return;
    wait_for(engine->warm, 0);
    destroy(engine->warm);
    engine->warm = NULL;
}
