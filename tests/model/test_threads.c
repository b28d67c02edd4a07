/* One engine, used from several threads at once: sessions that come and go, answers, logits, tokens, a thread that
 * cancels whatever it meets and one that asks for counters all the time. Run under ThreadSanitizer by `make tsan`. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/model.h"

enum { WORKERS = 4, ROUNDS = 4, REQUESTS = 3, MOST_TOKENS = 40, USED = 256 };

struct shared {
    clinfer_engine *engine;
    int vocabulary;
    atomic_int failed, done;
    pthread_mutex_t lock; /* of `sessions`: one that is in it is not destroyed meanwhile */
    clinfer_session *sessions[WORKERS];
};

struct worker {
    struct shared *shared;
    int index;
};

static bool count_bytes(void *user, const char *text, size_t length) {
    (void)text;
    *(size_t *)user += length;
    return true;
}

static void check(struct shared *shared, enum clinfer_status status) {
    if (status != CLINFER_OK) atomic_fetch_add(&shared->failed, 1);
}

static void show(struct shared *shared, int index, clinfer_session *session) {
    pthread_mutex_lock(&shared->lock);
    shared->sessions[index] = session;
    pthread_mutex_unlock(&shared->lock);
}

static void ask(struct shared *shared, clinfer_session *session, unsigned *seed) {
    int32_t tokens[MOST_TOKENS], *ids;
    size_t bytes = 0, count = 1 + (size_t)rand_r(seed) % MOST_TOKENS, id_count;
    for (size_t i = 0; i < count; i++) tokens[i] = rand_r(seed) % USED;
    struct clinfer_request request = {.tokens = tokens,
                                      .count = count,
                                      .max_tokens = 1 + rand_r(seed) % 20,
                                      .callback = count_bytes,
                                      .user = &bytes,
                                      .ignore_end = true};
    check(shared, clinfer_generate(session, &request, NULL));
    check(shared, clinfer_tokenize(shared->engine, "hello world", 11, true, true, &ids, &id_count));
    clinfer_free(ids);
    if (rand_r(seed) % 3) return;
    float *logits = malloc(sizeof *logits * (size_t)shared->vocabulary);
    check(shared, clinfer_logits(session, tokens, count, false, logits));
    free(logits);
}

static void *work(void *argument) {
    struct worker *worker = argument;
    struct shared *shared = worker->shared;
    unsigned seed = (unsigned)worker->index;
    for (int round = 0; round < ROUNDS; round++) {
        struct clinfer_session_options options;
        clinfer_session *session;
        clinfer_session_options_default(shared->engine, &options);
        options.temperature = round % 2 ? 0 : 0.8f;
        options.seed = seed;
        options.shift = round % 3 == 0;
        check(shared, clinfer_session_create(shared->engine, &options, &session));
        if (!session) break;
        show(shared, worker->index, session);
        for (int i = 0; i < REQUESTS; i++) ask(shared, session, &seed);
        show(shared, worker->index, NULL);
        clinfer_session_destroy(session);
    }
    atomic_fetch_add(&shared->done, 1);
    return NULL;
}

static void *cancel(void *argument) {
    struct shared *shared = argument;
    for (unsigned seed = 99; atomic_load(&shared->done) < WORKERS; usleep(300)) {
        struct clinfer_engine_info info;
        pthread_mutex_lock(&shared->lock);
        clinfer_cancel(shared->sessions[rand_r(&seed) % WORKERS]);
        pthread_mutex_unlock(&shared->lock);
        clinfer_engine_get_info(shared->engine, &info);
    }
    return NULL;
}

/* Counters never go back. */
static void *count(void *argument) {
    struct shared *shared = argument;
    struct clinfer_engine_stats before = {0}, now;
    while (atomic_load(&shared->done) < WORKERS) {
        clinfer_engine_get_stats(shared->engine, &now);
        if (now.rows < before.rows || now.steps < before.steps || *now.fallback_text)
            atomic_fetch_add(&shared->failed, 1);
        before = now;
        usleep(200);
    }
    return NULL;
}

static void use_from_threads(const char *device) {
    struct clinfer_engine_options options = test_engine_options("tests/data/llama_tiny.gguf", device);
    struct clinfer_engine_info info;
    struct shared shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS + 2];
    options.threads = 2;
    shared.engine = test_engine_open(&options);
    clinfer_engine_get_info(shared.engine, &info);
    shared.vocabulary = info.vocabulary;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){&shared, i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[WORKERS], NULL, cancel, &shared), 0);
    assert_int_equal(pthread_create(&threads[WORKERS + 1], NULL, count, &shared), 0);
    for (int i = 0; i < WORKERS + 2; i++) pthread_join(threads[i], NULL);
    clinfer_engine_close(shared.engine);
    assert_int_equal(atomic_load(&shared.failed), 0);
}

static void test_an_engine_on_the_cpu_is_used_from_several_threads(void **state) {
    (void)state;
    use_from_threads("cpu");
}

#ifndef __SANITIZE_THREAD__ /* drivers are not built for it: all that they do would look like a race */
static void test_an_engine_on_a_device_is_used_from_several_threads(void **state) {
    (void)state;
    use_from_threads("0");
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_engine_on_the_cpu_is_used_from_several_threads),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(test_an_engine_on_a_device_is_used_from_several_threads),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
