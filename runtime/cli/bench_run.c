/* bench_run.c: one test on one engine.
 *
 * Everything goes through sessions, as a user's text would, so what is measured is what users get: sampling and the
 * host's part are in it. Tokens are random, generation is greedy and goes on behind the end of an answer.
 *
 * What the caches hold before a test (its depth) is computed once for all repetitions: a session keeps what its next
 * request has in common with the last one. The depth is the same tokens for all tests, even numbers; what comes behind
 * it begins with an odd one, another each time, so that exactly the depth is in common. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/interrupt.h"
#include "engine/engine_private.h"

static int32_t draw(uint64_t *random_state, int vocabulary) {
    return (int32_t)(ci_random(random_state) % (uint64_t)vocabulary);
}

static void note_place(void *user, const struct clinfer_plan_step *step) {
    struct ci_bench_target *target = user;
    bool cpu = strcmp(step->place, "cpu") == 0;
    target->on_cpu = target->on_cpu || cpu;
    target->on_device = target->on_device || !cpu;
}

enum clinfer_status ci_bench_target_open(struct ci_engine_flags *flags, struct ci_bench_target *target) {
    *target = (struct ci_bench_target){.random_state = 1};
    enum clinfer_status status = ci_engine_flags_open(flags, CI_LOGITS_OF_LAST, &target->choice, &target->engine);
    if (status == CLINFER_INVALID_ARGUMENT && flags->context > 0) {
        /* A test may want more than the model was made for: that test fails, and the others are measured. */
        flags->context = 0;
        ci_models_free(&target->choice);
        status = ci_engine_flags_open(flags, CI_LOGITS_OF_LAST, &target->choice, &target->engine);
    }
    if (status == CLINFER_OK) status = clinfer_engine_explain(target->engine, 1, note_place, target, NULL);
    if (status != CLINFER_OK) return status;
    clinfer_engine_get_info(target->engine, &target->info);
    target->depth = calloc((size_t)target->info.context + 1, sizeof *target->depth);
    target->tokens = calloc((size_t)target->info.context + 1, sizeof *target->tokens);
    if (!target->depth || !target->tokens)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d tokens", target->info.context);
    for (int i = 0; i < target->info.context; i++)
        target->depth[i] = draw(&target->random_state, target->info.vocabulary) & ~1;
    return CLINFER_OK;
}

void ci_bench_target_close(struct ci_bench_target *target) {
    for (int i = 0; i < CI_BENCH_SEQUENCES; i++) {
        if (!target->sessions[i]) continue;
        ci_interrupt_unwatch(target->sessions[i]);
        clinfer_session_destroy(target->sessions[i]);
    }
    if (target->engine) clinfer_engine_close(target->engine);
    ci_models_free(&target->choice);
    free(target->depth);
    free(target->tokens);
    *target = (struct ci_bench_target){0};
}

static void cancel_session(void *session) { clinfer_cancel(session); }

static enum clinfer_status make_session(struct ci_bench_target *target, int index) {
    struct clinfer_session_options options;
    if (target->sessions[index]) return CLINFER_OK;
    clinfer_session_options_default(target->engine, &options);
    options.temperature = 0;
    options.repeat_penalty = 1;
    enum clinfer_status status = clinfer_session_create(target->engine, &options, &target->sessions[index]);
    if (status == CLINFER_OK) ci_interrupt_watch(target->sessions[index], cancel_session);
    return status;
}

/* Waits for all that were submitted, whatever becomes of them; the first failure counts. */
static enum clinfer_status wait_for(struct ci_bench_target *target, const bool *submitted, int count,
                                    struct clinfer_result *results) {
    enum clinfer_status first = CLINFER_OK;
    char message[512] = "";
    for (int i = 0; i < count; i++) {
        if (!submitted[i]) continue;
        enum clinfer_status status = clinfer_wait(target->sessions[i], &results[i]);
        if (status == CLINFER_OK && results[i].finish == CLINFER_FINISH_CANCELLED)
            status = ci_fail(CLINFER_CANCELLED, "cancelled");
        if (status == CLINFER_OK) continue;
        target->filled[i] = 0;
        if (first == CLINFER_OK) {
            first = status;
            strncpy(message, clinfer_error(), sizeof message - 1);
        }
    }
    return first == CLINFER_OK ? first : ci_fail(first, "%s", message);
}

long long ci_bench_needs(const struct ci_bench_test *test) {
    return (long long)test->depth + test->prompt + test->generated + (test->generated > 0);
}

/* The first session computes the depth; the others get pages of their own with the same numbers, so that a step reads
 * as much as if each had computed them. */
enum clinfer_status ci_bench_fill(struct ci_bench_target *target, const struct ci_bench_test *test) {
    long long needed = ci_bench_needs(test);
    if (needed > target->info.context)
        return ci_fail(CLINFER_CONTEXT_FULL, "%lld tokens (depth, prompt and generated) are more than the model's %d",
                       needed, target->info.context);
    const bool first[CI_BENCH_SEQUENCES] = {true};
    struct clinfer_result results[CI_BENCH_SEQUENCES];
    const struct clinfer_request request = {
        .tokens = target->depth, .count = (size_t)test->depth, .max_tokens = 1, .ignore_end = true};
    enum clinfer_status status = make_session(target, 0);
    if (status == CLINFER_OK && target->filled[0] < test->depth) {
        status = clinfer_submit(target->sessions[0], &request);
        if (status == CLINFER_OK) status = wait_for(target, first, 1, results);
    }
    for (int i = 1; i < test->sequences && status == CLINFER_OK; i++) {
        status = make_session(target, i);
        if (status == CLINFER_OK && target->filled[i] < test->depth)
            status = ci_session_copy(target->sessions[i], target->sessions[0]);
    }
    for (int i = 0; i < test->sequences && status == CLINFER_OK; i++) target->filled[i] = test->depth;
    return status;
}

/* The depth, and behind it the prompt, or the one token that generation starts from; how many that is. */
static size_t draw_tokens(struct ci_bench_target *target, const struct ci_bench_test *test) {
    int count = test->prompt > 0 ? test->prompt : 1;
    int32_t *tail = target->tokens + test->depth, odd = target->info.vocabulary / 2;
    assert(odd > 0);
    memcpy(target->tokens, target->depth, sizeof *target->tokens * (size_t)test->depth);
    for (int i = 0; i < count; i++) tail[i] = draw(&target->random_state, target->info.vocabulary);
    tail[0] = 2 * (target->turn++ % odd) + 1;
    return (size_t)(test->depth + count);
}

enum clinfer_status ci_bench_run(struct ci_bench_target *target, const struct ci_bench_test *test, int64_t *ns,
                                 int64_t *first_ns) {
    bool submitted[CI_BENCH_SEQUENCES] = {false};
    struct clinfer_result results[CI_BENCH_SEQUENCES];
    /* The first of the generated comes out of the prompt's last token; one more makes as many steps as tokens. */
    int generated = test->prompt > 0 ? test->generated + 1 : test->generated;
    const struct clinfer_request request = {
        .tokens = target->tokens, .count = draw_tokens(target, test), .max_tokens = generated, .ignore_end = true};
    enum clinfer_status status = CLINFER_OK;
    double begun[CI_BENCH_SEQUENCES], start = ci_now(), first = 0, end = 0;
    for (int i = 0; i < test->sequences && status == CLINFER_OK; i++) {
        begun[i] = ci_now();
        status = clinfer_submit(target->sessions[i], &request);
        submitted[i] = status == CLINFER_OK;
    }
    enum clinfer_status waited = wait_for(target, submitted, test->sequences, results);
    if (status == CLINFER_OK) status = waited;
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < test->sequences; i++) {
        assert(results[i].cached_tokens == (size_t)test->depth);
        assert(results[i].generated_tokens == (size_t)generated);
        /* By the session's clock: kernels that were just built may be saved before a wait returns. */
        double first_token = begun[i] + results[i].prompt_seconds,
               last_token = first_token + results[i].generate_seconds;
        first = fmax(first, first_token - start);
        end = fmax(end, last_token - start);
    }
    *ns = (int64_t)(end * 1e9);
    *first_ns = (int64_t)(first * 1e9);
    return CLINFER_OK;
}
