/* first_run.c: kernels that pass on their own can still be wrong together. So the first time that a model's plan runs
 * on a device, the logits after five tokens of prompt and after each of two more are compared with the CPU backend's;
 * what agreed is remembered. Costs a fraction of a second for a small model, once. Where they differ, the kernel that
 * is wrong is looked for, and replaced. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "device/kernels.h"
#include "engine/engine_private.h"
#include "engine/verify.h"
#include "proof/known_answer.h"

enum { PROMPT = 5, DECODE = 2, CHECKED = 1 + DECODE, EDGE_BYTES = 64 * 1024 };

/* With f32 activations two right backends differ by rounding alone. Rounded to 8 bits, llama.cpp's own results are 4e-4
 * to 2e-2 away from the truth, by weight type. */
static const double most_f32 = 1e-4, most_q8 = 5e-2;

static bool rounds_activations(const struct ci_plan *plan, uint64_t *hash) {
    bool rounds = false;
    char tunables[256];
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        struct ci_plan_step step;
        ci_plan_step(plan, i, &step);
        *hash = ci_hash(*hash, step.op, strlen(step.op) + 1);
        *hash = ci_hash(*hash, step.variant, strlen(step.variant) + 1);
        *hash = ci_hash(*hash, step.place, strlen(step.place) + 1);
        ci_plan_tunables(plan, i, tunables, sizeof tunables);
        *hash = ci_hash(*hash, tunables, strlen(tunables) + 1);
        rounds = rounds || strstr(step.op, "quantise");
    }
    return rounds;
}

/* The files, by their sizes and both ends: names, shapes and metadata are in the first. */
static uint64_t hash_files(const struct ci_gguf *gguf, uint64_t hash) {
    for (size_t i = 0; i < ci_gguf_file_count(gguf); i++) {
        const struct ci_file *file = ci_gguf_file_at(gguf, i);
        size_t edge = file->size < EDGE_BYTES ? file->size : EDGE_BYTES;
        hash = ci_hash(hash, &file->size, sizeof file->size);
        hash = ci_hash(hash, file->data, edge);
        hash = ci_hash(hash, file->data + file->size - edge, edge);
    }
    return hash;
}

static void test_tokens(const struct clinfer_engine *engine, int32_t tokens[PROMPT + DECODE]) {
    for (int i = 0; i < PROMPT + DECODE; i++)
        tokens[i] = ci_narrowed((i * 7919LL + 13) % engine->model.hyper.vocabulary);
}

/* logits [CHECKED, outputs] */
static enum clinfer_status compute(struct clinfer_engine *engine, float *logits) {
    struct clinfer_session_options options;
    clinfer_session *session;
    int32_t tokens[PROMPT + DECODE];
    size_t outputs = (size_t)engine->model.outputs;
    test_tokens(engine, tokens);
    clinfer_session_options_default(engine, &options);
    enum clinfer_status status = clinfer_session_create(engine, &options, &session);
    if (status != CLINFER_OK) return status;
    session->tokens = malloc(sizeof tokens);
    if (!session->tokens) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    if (session->tokens) memcpy(session->tokens, tokens, sizeof tokens);
    for (int i = 0; i < CHECKED && status == CLINFER_OK; i++) {
        session->known = (size_t)(PROMPT + i);
        status = ci_engine_logits(engine, session, false, logits + (size_t)i * outputs);
    }
    clinfer_session_destroy(session);
    return status;
}

/* All numbers are finite. */
static enum clinfer_status compare(const struct clinfer_engine *engine, const float *ours, const float *truth,
                                   bool rounds) {
    size_t count = (size_t)CHECKED * (size_t)engine->model.outputs;
    double error = 0, square = 0, most = rounds ? most_q8 : most_f32;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)ours[i] - (double)truth[i];
        error += difference * difference;
        square += (double)truth[i] * (double)truth[i];
    }
    /* All zeros, as a model of zeros gives them, have nothing to normalise with. */
    double nmse = square > 0 ? error / square : error / (double)count;
    if (nmse <= most) return CLINFER_OK;
    return ci_fail(
        CLINFER_WRONG_RESULT,
        "the first tokens on \"%s\" differ from the CPU backend's: NMSE %.3g, allowed %.3g; --device cpu computes "
        "there",
        engine->info.device, nmse, most);
}

/* truth[CHECKED, outputs]. *finite: they are numbers. Keys and values that only f32 holds are in f32 on the device as
 * well from here on: it would find that out a second time, and say so twice. */
static enum clinfer_status compute_on_cpu(struct clinfer_engine *engine, bool rounds, float *truth, bool *finite) {
    struct clinfer_engine_options options = engine->options;
    options.device_layers = -1;
    options.tuning = "none";
    options.op_count = 0;
    options.batch = PROMPT + DECODE;
    options.all_logits = options.record = false;
    options.draft = (struct clinfer_draft_options){.lookup = false};
    options.activations = rounds ? CLINFER_ACTIVATIONS_Q8 : CLINFER_ACTIVATIONS_F32;
    clinfer_engine *cpu = NULL;
    enum clinfer_status status = ci_engine_open_beside(engine, &options, &cpu);
    if (status == CLINFER_OK) status = compute(cpu, truth);
    bool not_finite = cpu && status == CLINFER_WRONG_RESULT;
    bool widened = cpu && (cpu->options.key_type != options.key_type || cpu->options.value_type != options.value_type);
    clinfer_engine_close(cpu);
    *finite = status == CLINFER_OK;
    if (not_finite) status = CLINFER_OK;
    return status == CLINFER_OK && widened ? ci_engine_widen_caches(engine) : status;
}

/* *judged: there were numbers to compare. Where the model's own are not finite, nobody is to blame for them, and
 * whoever asks for such an answer is told then. The CPU backend computes first: it may read the very weights that the
 * device does, and a kernel that damages them shall not damage both results. */
static enum clinfer_status check(struct clinfer_engine *engine, bool rounds, bool *judged) {
    size_t count = (size_t)CHECKED * (size_t)engine->model.outputs;
    float *ours = malloc(2 * count * sizeof *ours);
    *judged = false;
    if (!ours) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the first run's check");
    enum clinfer_status status = compute_on_cpu(engine, rounds, ours + count, judged);
    if (status == CLINFER_OK) {
        status = compute(engine, ours);
        bool own = status == CLINFER_WRONG_RESULT && *engine->own_numbers;
        *judged = *judged && status == CLINFER_OK;
        if (*judged) status = compare(engine, ours, ours + count, rounds);
        if (own) status = CLINFER_OK;
    }
    free(ours);
    return status;
}

/* All that the logits depend on. */
static enum clinfer_status proof_of(struct clinfer_engine *engine, bool *rounds, uint64_t *proof) {
    struct ci_bucket *decode;
    enum clinfer_status status = ci_engine_bucket(engine, 1, 1, &decode);
    if (status != CLINFER_OK) return status;
    uint64_t device_key = ci_device_caps(engine->device)->key;
    *proof = ci_hash(CI_HASH_START, CLINFER_VERSION, sizeof CLINFER_VERSION);
    *proof = ci_hash(*proof, &ci_cpu_sources_hash, sizeof ci_cpu_sources_hash);
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name && status == CLINFER_OK; source++)
        status = ci_kernel_source_hash(source->name, proof);
    if (status != CLINFER_OK) return status;
    *rounds = rounds_activations(decode->plan, proof);
    *proof = hash_files(engine->gguf, *proof);
    *proof = ci_hash(*proof, &engine->options.key_type, sizeof engine->options.key_type);
    *proof = ci_hash(*proof, &engine->options.value_type, sizeof engine->options.value_type);
    *proof = ci_hash(*proof, &device_key, sizeof device_key);
    return CLINFER_OK;
}

static bool until_wrong(void *user, const struct ci_verify_step *step) {
    (void)user;
    return step->passed;
}

/* Finds the kernel that is wrong and replaces it. Where there is none, it may have been an accident: *again is asked
 * for once, then the failure stays as it is. */
static enum clinfer_status repair(struct clinfer_engine *engine, enum clinfer_status failure, bool *again) {
    char message[512];
    struct ci_wrong_step wrong;
    int32_t tokens[PROMPT + DECODE];
    snprintf(message, sizeof message, "%s", ci_status_message());
    ci_log(CLINFER_LOG_NOTICE, "%s; each kernel is checked", message);
    test_tokens(engine, tokens);
    enum clinfer_status status = ci_engine_verify(engine, tokens, PROMPT + DECODE, until_wrong, NULL, &wrong);
    if (status == CLINFER_OK && !wrong.found && !*again) {
        *again = true;
        ci_log(CLINFER_LOG_NOTICE, "no kernel is wrong: the comparison is tried again");
        return CLINFER_OK;
    }
    if (status == CLINFER_OK && !wrong.found) return ci_fail(failure, "%s", message);
    bool quarantined;
    return status == CLINFER_OK ? ci_engine_verify_replace(engine, &wrong, &quarantined) : status;
}

enum clinfer_status ci_engine_first_run(struct clinfer_engine *engine) {
    if (!engine->device || engine->context < PROMPT + DECODE) return CLINFER_OK;
    enum clinfer_status status;
    bool again = false;
    do {
        uint64_t device_key = ci_device_caps(engine->device)->key, proof;
        bool rounds;
        status = proof_of(engine, &rounds, &proof);
        if (status != CLINFER_OK || ci_proof_is_known(device_key, proof)) return status;
        ci_log(CLINFER_LOG_INFO, "first run of this model on \"%s\": compared with the CPU backend",
               engine->info.device);
        bool judged;
        status = check(engine, rounds, &judged);
        if (status == CLINFER_OK && judged) ci_proof_remember(device_key, proof);
        if (status != CLINFER_WRONG_RESULT && status != CLINFER_DEVICE_ERROR) return status;
        status = repair(engine, status, &again); /* each time another one, or it fails */
    } while (status == CLINFER_OK);
    return status;
}
