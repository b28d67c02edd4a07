/* Layers with a window keep only what it needs: the same logits and answers as of a cache that has everything, in less
 * memory, also after a conversation went back to where the window's keys are gone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/model.h"
#include "support/tiny_model.h"

/* A third of its layers sees everything. */
static const struct tiny_model half = {"half", "gemma3",
                                       "block_count=6 attention.sliding_window=140 attention.sliding_window_pattern=3 "
                                       "rope.freq_base=1000000.0 context_length=4096",
                                       NULL, NULL};
static const struct tiny_model all = {"all", "gemma3",
                                      "attention.sliding_window=140 attention.sliding_window_pattern=[true,true] "
                                      "rope.freq_base=1000000.0 context_length=4096",
                                      NULL, NULL};

enum { CONTEXT = 2048, TOKENS = 1700, BATCH = 64, NEW = 6 };

static char folder[] = "/tmp/clinfer_windows_XXXXXX";

static const char *path_of(const struct tiny_model *model) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s.gguf", folder, model->name);
    return path;
}

static int32_t token_at(int index) { return (index * index * 7 + index * 3 + 5) % 31 % TINY_VOCABULARY; }

static clinfer_engine *open_with(const struct tiny_model *model, const char *device, int batch) {
    struct clinfer_engine_options options = test_engine_options(path_of(model), device);
    options.batch = batch;
    options.context = CONTEXT;
    options.key_type = options.value_type = CLINFER_CACHE_F32;
    return test_engine_open(&options);
}

static clinfer_session *begin(clinfer_engine *engine) {
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    if (clinfer_session_create(engine, &options, &session) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return session;
}

static uint64_t cache_bytes(clinfer_engine *engine) {
    struct clinfer_engine_stats stats;
    clinfer_engine_get_stats(engine, &stats);
    return stats.cache_bytes;
}

/* In one step nothing leaves the cache before all is computed. */
static void check_logits(const struct tiny_model *model, const char *device, double most_memory) {
    static const int batches[] = {CONTEXT, BATCH};
    float logits[2][TINY_VOCABULARY];
    uint64_t bytes[2];
    int32_t tokens[TOKENS];
    double error = 0, square = 0;
    for (int i = 0; i < TOKENS; i++) tokens[i] = token_at(i);
    for (int i = 0; i < 2; i++) {
        clinfer_engine *engine = open_with(model, device, batches[i]);
        clinfer_session *session = begin(engine);
        if (clinfer_logits(session, tokens, TOKENS, false, logits[i]) != CLINFER_OK) fail_msg("%s", clinfer_error());
        bytes[i] = cache_bytes(engine);
        clinfer_session_destroy(session);
        clinfer_engine_close(engine);
    }
    for (int i = 0; i < TINY_VOCABULARY; i++) {
        double difference = (double)logits[0][i] - (double)logits[1][i];
        error += difference * difference;
        square += (double)logits[0][i] * (double)logits[0][i];
    }
    if (!(error <= 1e-9 * square))
        fail_msg("%s on %s: NMSE %.3g between steps of %d and one step", model->name, device, error / square, BATCH);
    if ((double)bytes[1] > most_memory * (double)bytes[0])
        fail_msg("%s on %s: caches of %llu bytes, of %llu with everything in them", model->name, device,
                 (unsigned long long)bytes[1], (unsigned long long)bytes[0]);
}

/* 16 pages of everything; of the window 4, since pages come by doubling: 2 of 6 layers have 16, 4 have 4. */
static void test_a_cache_keeps_what_the_window_needs(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) check_logits(&half, *device, 0.51);
    check_logits(&all, "cpu", 0.26);
}

static void answer(clinfer_session *session, const int32_t *tokens, size_t count, int32_t said[NEW], size_t *cached) {
    const struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = NEW, .ignore_end = true};
    struct clinfer_result result;
    if (clinfer_generate(session, &request, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, NEW);
    memcpy(said, result.tokens, NEW * sizeof *said);
    *cached = result.cached_tokens;
}

/* A conversation goes on, then back by a few tokens, then back to where the window is gone. */
static void test_going_back_gives_the_answers_of_a_new_conversation(void **state) {
    (void)state;
    static const struct {
        size_t kept, count; /* of the turn before, and tokens altogether */
        bool begins_anew;
    } turns[] = {{0, 900, true}, {900, 1000, false}, {990, 1010, false}, {300, 700, true}, {300, 320, true}};
    clinfer_engine *engine = open_with(&half, "cpu", BATCH);
    clinfer_session *session = begin(engine);
    int32_t tokens[TOKENS];
    for (size_t t = 0; t < sizeof turns / sizeof *turns; t++) {
        int32_t said[NEW], expected[NEW];
        size_t cached, none;
        for (size_t i = turns[t].kept; i < turns[t].count; i++) tokens[i] = token_at((int)(i + 17 * t));
        answer(session, tokens, turns[t].count, said, &cached);
        clinfer_session *fresh = begin(engine);
        answer(fresh, tokens, turns[t].count, expected, &none);
        clinfer_session_destroy(fresh);
        if ((cached == 0) != turns[t].begins_anew) fail_msg("turn %zu: %zu tokens were kept", t, cached);
        assert_memory_equal(said, expected, sizeof said);
    }
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* Pages that one conversation gives back are another's: none may read or write the other's. */
static void test_conversations_share_what_windows_give_back(void **state) {
    (void)state;
    enum { SESSIONS = 3, COUNT = 500 };
    clinfer_engine *engine = open_with(&half, "cpu", BATCH);
    int32_t tokens[SESSIONS][COUNT], alone[SESSIONS][NEW];
    clinfer_session *sessions[SESSIONS];
    size_t cached;
    for (int s = 0; s < SESSIONS; s++) {
        for (int i = 0; i < COUNT; i++) tokens[s][i] = token_at(i + 100 * s);
        sessions[s] = begin(engine);
        answer(sessions[s], tokens[s], COUNT, alone[s], &cached);
        clinfer_session_destroy(sessions[s]);
    }
    uint64_t one = cache_bytes(engine);
    for (int s = 0; s < SESSIONS; s++) {
        const struct clinfer_request request = {
            .tokens = tokens[s], .count = COUNT, .max_tokens = NEW, .ignore_end = true};
        sessions[s] = begin(engine);
        if (clinfer_submit(sessions[s], &request) != CLINFER_OK) fail_msg("%s", clinfer_error());
    }
    for (int s = 0; s < SESSIONS; s++) {
        struct clinfer_result result;
        if (clinfer_wait(sessions[s], &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
        assert_int_equal(result.generated_tokens, NEW);
        assert_memory_equal(result.tokens, alone[s], sizeof alone[s]);
    }
    assert_true(cache_bytes(engine) > one);
    for (int s = 0; s < SESSIONS; s++) clinfer_session_destroy(sessions[s]);
    clinfer_engine_close(engine);
}

/* A context that is shifted goes on from its first token, which the window has lost. */
static void test_a_context_with_a_window_can_be_shifted(void **state) {
    (void)state;
    enum { SMALL = 512, MANY = 700 };
    struct clinfer_engine_options options = test_engine_options(path_of(&half), "cpu");
    options.context = SMALL;
    options.batch = BATCH;
    clinfer_engine *engine = test_engine_open(&options);
    struct clinfer_session_options shifting;
    clinfer_session *session;
    int32_t tokens[BATCH];
    for (int i = 0; i < BATCH; i++) tokens[i] = token_at(i);
    clinfer_session_options_default(engine, &shifting);
    shifting.shift = true;
    shifting.temperature = 0;
    assert_int_equal(clinfer_session_create(engine, &shifting, &session), CLINFER_OK);
    const struct clinfer_request request = {.tokens = tokens, .count = BATCH, .max_tokens = MANY, .ignore_end = true};
    struct clinfer_result result;
    if (clinfer_generate(session, &request, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, MANY);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

static int write_files(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    tiny_model_write(&half, path_of(&half));
    tiny_model_write(&all, path_of(&all));
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    unlink(path_of(&half));
    unlink(path_of(&all));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cache_keeps_what_the_window_needs),
        cmocka_unit_test(test_going_back_gives_the_answers_of_a_new_conversation),
        cmocka_unit_test(test_conversations_share_what_windows_give_back),
        cmocka_unit_test(test_a_context_with_a_window_can_be_shifted),
    };
    return cmocka_run_group_tests_name("windows", tests, write_files, remove_files);
}
