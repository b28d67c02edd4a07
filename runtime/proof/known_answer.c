/* known_answer.c: a case that the op makes of this very call, or the cheapest of its cases that this variant would get
 * from a model like the present one: the same types, and the same parameters where there are such cases. What has
 * passed is remembered in this process and in one small file per device. */
#include "proof/known_answer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cache.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "device/kernels.h"
#include "ops/bind.h"
#include "proof/sample_run.h"
#include "tensor/op_params.h"

/* Cases beyond this many operations prove nothing that smaller ones do not, and the reference is slow. */
static const double MOST_OPERATIONS = 4e6;
enum { CASES = 2, SEED = 20, KEY_BYTES = 8, MOST_BYTES = 16 << 20 };

/* Keys of what has passed: all devices together in this process, one file each on disk. */
static struct {
    pthread_mutex_t lock;
    uint64_t *keys;
    size_t count, capacity;
    uint64_t loaded[8]; /* devices whose file was read */
    int loaded_count;
    uint64_t refused[64]; /* in this process; said once each */
    int refused_count;
} passed = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool remember(uint64_t key) {
    if (passed.count == passed.capacity) {
        size_t capacity = passed.capacity ? 2 * passed.capacity : 64;
        uint64_t *keys = realloc(passed.keys, capacity * sizeof *keys);
        if (!keys) return false;
        passed.keys = keys;
        passed.capacity = capacity;
    }
    passed.keys[passed.count++] = key;
    return true;
}

static bool known(uint64_t key) {
    for (size_t i = 0; i < passed.count; i++)
        if (passed.keys[i] == key) return true;
    return false;
}

static char *file_of(uint64_t device_key) {
    char name[64];
    snprintf(name, sizeof name, "proof/%016" PRIx64, device_key);
    return ci_cache_path(name);
}

static void load(uint64_t device_key) {
    for (int i = 0; i < passed.loaded_count; i++)
        if (passed.loaded[i] == device_key) return;
    if (passed.loaded_count < (int)(sizeof passed.loaded / sizeof *passed.loaded))
        passed.loaded[passed.loaded_count++] = device_key;
    char *path = file_of(device_key), *keys = NULL;
    size_t size = 0;
    if (path && ci_cache_read(path, MOST_BYTES, &keys, &size) == CLINFER_OK) {
        for (size_t at = 0; at + KEY_BYTES <= size; at += KEY_BYTES) {
            uint64_t key;
            memcpy(&key, keys + at, KEY_BYTES);
            if (!known(key)) remember(key);
        }
        /* Part of a key, of a machine that stopped: what is appended behind it would never be found. */
        if (size % KEY_BYTES) ci_cache_write(path, keys, size - size % KEY_BYTES);
    }
    free(keys);
    free(path);
}

void ci_proof_forget_file(uint64_t device_key) {
    pthread_mutex_lock(&passed.lock);
    for (int i = 0; i < passed.loaded_count; i++)
        if (passed.loaded[i] == device_key) passed.loaded[i] = passed.loaded[--passed.loaded_count];
    pthread_mutex_unlock(&passed.lock);
}

/* A file that cannot be written only means that the proof is done again. */
static bool store(uint64_t device_key, uint64_t key) {
    char *path = file_of(device_key);
    bool stored = path && ci_cache_append(path, &key, KEY_BYTES) == CLINFER_OK;
    free(path);
    return stored;
}

bool ci_proof_is_kept(uint64_t device_key) {
    static const char what[] = "what is remembered is kept";
    pthread_mutex_lock(&passed.lock);
    bool kept = store(device_key, ci_hash(CI_HASH_START, what, sizeof what));
    pthread_mutex_unlock(&passed.lock);
    return kept;
}

bool ci_proof_is_known(uint64_t device_key, uint64_t proof) {
    pthread_mutex_lock(&passed.lock);
    load(device_key);
    bool found = known(proof);
    pthread_mutex_unlock(&passed.lock);
    return found;
}

void ci_proof_remember(uint64_t device_key, uint64_t proof) {
    pthread_mutex_lock(&passed.lock);
    if (!known(proof) && remember(proof)) store(device_key, proof);
    pthread_mutex_unlock(&passed.lock);
}

/* Everything that the result depends on: the device's compiler, the program, its options; on the CPU the build of
 * clinfer. */
enum clinfer_status ci_proof_key(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                 const struct ci_call *call, uint64_t *key) {
    uint64_t hash = CI_HASH_START;
    const char *sources[CI_BIND_SOURCES];
    char options[CI_BIND_OPTIONS_BYTES];
    int count = 0;
    hash = ci_hash(hash, variant->op->name, strlen(variant->op->name) + 1);
    hash = ci_hash(hash, variant->name, strlen(variant->name) + 1);
    hash = ci_hash(hash, CLINFER_VERSION, sizeof CLINFER_VERSION);
    if (device) {
        hash = ci_hash(hash, &ci_device_caps(device)->key, sizeof(uint64_t));
        enum clinfer_status status = ci_bind_options(variant, tunables, call, sources, &count, options);
        if (status == CLINFER_OK) status = ci_kernel_builtins_hash(device, options, &hash);
        if (status != CLINFER_OK) return status;
        hash = ci_hash(hash, options, strlen(options) + 1);
    }
    for (int i = 0; i < count; i++) {
        enum clinfer_status status = ci_kernel_source_hash(sources[i], &hash);
        if (status != CLINFER_OK) return status;
    }
    for (int i = 0; i < variant->op->inputs; i++) {
        const char *name = call->in[i].type ? call->in[i].type->name : "";
        hash = ci_hash(hash, name, strlen(name) + 1);
        if (call->in[i].type) hash = ci_hash(hash, call->in[i].layout->name, strlen(call->in[i].layout->name) + 1);
    }
    for (int i = 0; i < variant->op->outputs; i++) {
        const char *name = call->out[i].type ? call->out[i].type->name : "";
        hash = ci_hash(hash, name, strlen(name) + 1);
    }
    hash = ci_hash(hash, &call->params, sizeof call->params);
    if (!device) hash = ci_hash(hash, &ci_cpu_sources_hash, sizeof ci_cpu_sources_hash);
    *key = hash;
    return CLINFER_OK;
}

static bool same_types(const struct ci_op *op, const struct ci_case *shape, const struct ci_call *call) {
    for (int i = 0; i < op->inputs; i++)
        if (shape->in[i].type && call->in[i].type && shape->in[i].type != call->in[i].type) return false;
    for (int i = 0; i < op->outputs; i++)
        if ((op->state_outputs >> i & 1) && shape->state[i].type != call->out[i].type) return false;
    return shape->in[0].type == call->in[0].type;
}

/* Whether the case has just the inputs that the call has: others would be another program. */
static bool same_inputs(const struct ci_op *op, const struct ci_case *shape, const struct ci_call *call) {
    for (int i = 0; i < op->inputs; i++)
        if (!shape->in[i].type != !call->in[i].type) return false;
    return true;
}

static double cost(const struct ci_op *op, const struct ci_case *shape) {
    double numbers = 0;
    for (int i = 0; i < op->inputs; i++) numbers += (double)shape->in[i].rows * (double)shape->in[i].cols;
    bool product = op->magnitude != NULL; /* every row of the input meets every weight */
    return product ? numbers * (double)shape->in[0].rows : numbers;
}

static enum clinfer_status prove_case(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                      const struct ci_case *shape, const struct ci_layout *layout) {
    struct ci_sample_call expected = {0}, actual = {0};
    struct ci_gate_result result;
    int output = 0;
    enum clinfer_status status = ci_sample_create(variant->op, shape, SEED, &expected);
    if (status == CLINFER_OK) status = ci_sample_copy(&expected, &actual);
    if (status == CLINFER_OK) status = ci_op_reference(variant->op, &expected.call);
    if (status == CLINFER_OK) status = ci_sample_run(device, variant, tunables, layout, &actual);
    if (status == CLINFER_OK) status = ci_gate_compare(variant->op, &expected.call, &actual.call, &result);
    if (status == CLINFER_OK && result.unjudged)
        status = ci_fail(CLINFER_UNSUPPORTED, "op %s (case \"%s\"): the reference is not finite: nothing proves it",
                         variant->op->name, shape->name);
    if (status == CLINFER_OK && !result.passed)
        status = ci_fail(CLINFER_WRONG_RESULT, "known answer of op %s (case \"%s\"): %s", variant->op->name,
                         shape->name, result.text);
    if (status == CLINFER_OK && !ci_sample_guards_hold(&actual, &output))
        status = ci_fail(CLINFER_WRONG_RESULT, "known answer of op %s (case \"%s\"): it writes beside output %d",
                         variant->op->name, shape->name, output);
    ci_sample_destroy(&expected);
    ci_sample_destroy(&actual);
    return status;
}

bool ci_proof_signature(const struct ci_op *op, const struct ci_case *shape, struct ci_call *call) {
    *call = (struct ci_call){.params = shape->params};
    for (int i = 0; i < op->inputs; i++)
        if (shape->in[i].type) ci_view_set(&call->in[i], shape->in[i].type, shape->in[i].rows, shape->in[i].cols);
    for (int i = 0; i < op->outputs; i++)
        if (op->state_outputs >> i & 1)
            ci_view_set(&call->out[i], shape->state[i].type, shape->state[i].rows, shape->state[i].cols);
    return ci_op_infer(op, call) == CLINFER_OK;
}

static bool fits_case(const struct ci_caps *caps, const struct ci_variant *variant, const struct ci_case *shape) {
    struct ci_call signature;
    return ci_proof_signature(variant->op, shape, &signature) && ci_variant_fits(variant, caps, &signature);
}

/* The cheapest cases that this variant fits, those with the call's own inputs and parameters first; or what the op
 * makes of the call. Any case serves codes of 8 and of 16 bits. */
static int pick_cases(const struct ci_caps *caps, const struct ci_variant *variant, const struct ci_call *call,
                      struct ci_case picked[CASES]) {
    const struct ci_op *op = variant->op;
    double costs[CASES];
    int count = 0;
    if (op->like) op->like(call, &picked[0]);
    if (op->like) return fits_case(caps, variant, &picked[0]);
    for (int c = 0; op->cases && op->cases[c].name; c++) {
        struct ci_case shape = op->cases[c];
        if (ci_op_rounds(op)) shape.params.i[CI_QUANTISE_I_16_BITS] = call->params.i[CI_QUANTISE_I_16_BITS];
        if (!same_types(op, &shape, call)) continue;
        double price =
            cost(op, &shape) + (memcmp(&shape.params, &call->params, sizeof shape.params) ? MOST_OPERATIONS : 0);
        if (price > 2 * MOST_OPERATIONS) continue;
        if (!same_inputs(op, &shape, call)) price += 2 * MOST_OPERATIONS;
        if (!fits_case(caps, variant, &shape)) continue;
        int place = count < CASES ? count : CASES;
        while (place > 0 && price < costs[place - 1]) place--;
        if (place == CASES) continue;
        for (int i = (count < CASES ? count : CASES - 1); i > place; i--) {
            costs[i] = costs[i - 1];
            picked[i] = picked[i - 1];
        }
        costs[place] = price;
        picked[place] = shape;
        if (count < CASES) count++;
    }
    return count;
}

static const struct ci_layout *weight_layout(const struct ci_variant *variant, const struct ci_call *call) {
    for (int i = 0; i < variant->op->inputs; i++)
        if (call->in[i].type && (variant->op->weight_inputs >> i & 1)) return call->in[i].layout;
    return NULL;
}

/* Once a process and device. */
static bool first_proof(uint64_t device_key) {
    static uint64_t last;
    pthread_mutex_lock(&passed.lock);
    bool first = last != device_key;
    last = device_key;
    pthread_mutex_unlock(&passed.lock);
    return first;
}

void ci_proof_say_first(uint64_t device_key, const char *name) {
    if (first_proof(device_key))
        ci_log(CLINFER_LOG_NOTICE,
               "\"%s\": kernels that this version has not used there yet are built and checked, once; this takes some "
               "seconds",
               name);
}

static bool first_refusal(uint64_t key) {
    bool first = true;
    pthread_mutex_lock(&passed.lock);
    for (int i = 0; i < passed.refused_count; i++) first = first && passed.refused[i] != key;
    if (first && passed.refused_count < (int)(sizeof passed.refused / sizeof *passed.refused))
        passed.refused[passed.refused_count++] = key;
    pthread_mutex_unlock(&passed.lock);
    return first;
}

static enum clinfer_status prove(struct ci_device *device, const struct ci_caps *caps, const struct ci_variant *variant,
                                 const int *tunables, const struct ci_call *call, uint64_t key) {
    struct ci_case picked[CASES];
    enum clinfer_status status = CLINFER_OK;
    int count = pick_cases(caps, variant, call, picked);
    if (count == 0)
        status =
            ci_fail(CLINFER_UNSUPPORTED, "op %s has no case with these types: nothing proves it", variant->op->name);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        status = prove_case(device, variant, tunables, &picked[i], weight_layout(variant, call));
        /* Neither a call that fails once nor bytes that were read wrongly once say anything about a kernel. */
        if (device && status != CLINFER_OK && status != CLINFER_UNSUPPORTED)
            status = prove_case(device, variant, tunables, &picked[i], weight_layout(variant, call));
    }
    if (status == CLINFER_OK) ci_proof_remember(device ? ci_device_caps(device)->key : 0, key);
    return status;
}

enum clinfer_status ci_proof_known_answer(struct ci_device *device, const struct ci_caps *caps,
                                          const struct ci_variant *variant, const int *tunables,
                                          const struct ci_call *call) {
    uint64_t key, device_key = device ? ci_device_caps(device)->key : 0;
    int values[CI_MAX_TUNABLES] = {0};
    if (!tunables) ci_bind_defaults(variant, values);
    if (!tunables) tunables = values;
    enum clinfer_status status = ci_proof_key(device, variant, tunables, call, &key);
    if (status != CLINFER_OK) return status;
    if (ci_proof_is_known(device_key, key)) return CLINFER_OK;

    if (device) ci_proof_say_first(device_key, caps->device->name);
    double begun = ci_now();
    status = prove(device, caps, variant, tunables, call, key);
    ci_log(CLINFER_LOG_DEBUG, "op %s, variant %s: built and proven in %.0f ms", variant->op->name, variant->name,
           (ci_now() - begun) * 1e3);
    if (status != CLINFER_OK && first_refusal(key)) {
        ci_log(CLINFER_LOG_WARNING, "op %s, variant %s on %s is not used: %s", variant->op->name, variant->name,
               device ? caps->device->name : "the cpu", ci_status_message());
    }
    return status;
}

enum clinfer_status ci_proof_again(struct ci_device *device, const struct ci_caps *caps,
                                   const struct ci_variant *variant, const int *tunables, const struct ci_call *call) {
    uint64_t key;
    int values[CI_MAX_TUNABLES] = {0};
    if (!tunables) ci_bind_defaults(variant, values);
    if (!tunables) tunables = values;
    enum clinfer_status status = ci_proof_key(device, variant, tunables, call, &key);
    return status == CLINFER_OK ? prove(device, caps, variant, tunables, call, key) : status;
}
