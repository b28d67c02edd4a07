/* One router, many threads that ask for vectors, as of the CPU and as of a device, or for answers with guesses, forms
 * and forced bytes: what comes is what comes to one that is alone. Also under ThreadSanitizer (make tsan), for which
 * there is no driver: that a rung is a device is pretended, so that what waits for one is there. With a tiny model on
 * the CPU backend. Run from the top of the repository. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "remote/router.h"
#include "support/asserts.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

enum { THREADS = 8, ROUNDS = 6, TEXTS = 3, MOST_WIDTH = 512, TEXT = 4096 };

static atomic_int wrong;

static clinfer_router *open_router(bool embeddings, bool lookup) {
    const struct clinfer_router_options options = {.engine = {.model = TINY_MODEL,
                                                              .device = "cpu",
                                                              .device_layers = -1,
                                                              .activations = CLINFER_ACTIVATIONS_F32,
                                                              .batch = 15, /* more rows are added up otherwise */
                                                              .embeddings = embeddings,
                                                              .draft = {.lookup = lookup}}};
    clinfer_router *router;
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_router_start(router));
    return router;
}

/* ---- vectors ---- */

static const int32_t ids[] = {1, 84, 104, 101, 32, 99, 97, 116};
static const struct clinfer_tokens texts[TEXTS] = {{ids, 8}, {ids, 5}, {ids + 1, 3}};

struct embedder {
    pthread_t thread;
    clinfer_router *router;
    const float *expected; /* [TEXTS, width] */
    size_t width;
};

static bool never(void *user) {
    (void)user;
    return false;
}

static void *embed(void *user) {
    struct embedder *embedder = user;
    float vectors[TEXTS * MOST_WIDTH];
    for (int round = 0; round < ROUNDS; round++) {
        bool leaves = round % 3 == 2; /* whoever asked has left: it ends, or was through before that was seen */
        enum clinfer_status status = clinfer_router_embed(embedder->router, texts, TEXTS, CLINFER_POOLING_MEAN,
                                                          leaves ? never : NULL, NULL, vectors);
        if (status != CLINFER_OK && !(leaves && status == CLINFER_CANCELLED)) atomic_fetch_add(&wrong, 1);
        for (size_t i = 0; status == CLINFER_OK && i < TEXTS * embedder->width; i++)
            if (!(fabsf(vectors[i] - embedder->expected[i]) < 1e-4F)) atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void embed_from_threads(bool pretend) {
    clinfer_router *router = open_router(true, false);
    struct embedder embedders[THREADS];
    struct clinfer_engine_info info;
    float alone[TEXTS * MOST_WIDTH];
    clinfer_engine *engine = clinfer_router_take_engine(router);
    assert_non_null(engine);
    clinfer_engine_get_info(engine, &info);
    clinfer_router_give_back_engine(router, engine);
    assert_in_range(info.outputs, 1, MOST_WIDTH);
    assert_ok(clinfer_router_embed(router, texts, TEXTS, CLINFER_POOLING_MEAN, NULL, NULL, alone));
    if (pretend) router->rungs[0].kind = CLINFER_RUNG_DEVICE;
    for (int i = 0; i < THREADS; i++) {
        embedders[i] = (struct embedder){.router = router, .expected = alone, .width = (size_t)info.outputs};
        assert_int_equal(pthread_create(&embedders[i].thread, NULL, embed, &embedders[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(embedders[i].thread, NULL);
    assert_int_equal(atomic_exchange(&wrong, 0), 0);
    if (pretend) router->rungs[0].kind = CLINFER_RUNG_CPU;
    assert_false(router->rungs[0].out);
    clinfer_router_close(router);
}

static void test_vectors_are_made_for_many_threads(void **state) {
    (void)state;
    embed_from_threads(false);
}

static void test_vectors_of_a_device_are_waited_for_by_many_threads(void **state) {
    (void)state;
    embed_from_threads(true);
}

/* ---- guesses, forms, forced bytes ---- */

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"a_long_key_that_is_forced\":{\"type\":\"integer\",\"maximum\":9},"
    "\"another_long_key\":{\"type\":\"boolean\"}},\"required\":[\"a_long_key_that_is_forced\",\"another_long_key\"],"
    "\"additionalProperties\":false}";

struct heard {
    char text[TEXT];
    size_t length;
};

static bool hear(void *user, const char *text, size_t length) {
    struct heard *heard = user;
    if (heard->length + length >= TEXT) return false;
    memcpy(heard->text + heard->length, text, length);
    heard->length += length;
    heard->text[heard->length] = 0;
    return true;
}

/* Of three kinds by turns: free and long enough for guesses, a form, a form with forced bytes. */
static bool answer(clinfer_router *router, int kind, struct heard *heard) {
    const struct clinfer_message message = {.role = "user", .content = "a cat and a cat and a cat and a cat and a"};
    const struct clinfer_grammar grammar = {
        .kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = schema, .force_bytes = kind == 2};
    const struct clinfer_chat_request request = {.messages = &message,
                                                 .count = 1,
                                                 .raw = true,
                                                 .max_tokens = kind == 0 ? 48 : 120,
                                                 .ignore_end = kind == 0,
                                                 .grammar = kind == 0 ? NULL : &grammar,
                                                 .callback = hear,
                                                 .user = heard};
    struct clinfer_session_options sampling;
    clinfer_conversation *conversation;
    const struct clinfer_route *route;
    memset(heard, 0, sizeof *heard);
    clinfer_session_options_default(NULL, &sampling);
    sampling.temperature = 0;
    if (clinfer_conversation_create(router, &sampling, &conversation) != CLINFER_OK) return false;
    bool fine = clinfer_chat_submit(conversation, &request) == CLINFER_OK &&
                clinfer_chat_wait(conversation, &route) == CLINFER_OK;
    clinfer_conversation_destroy(conversation);
    return fine && heard->length;
}

struct asker {
    pthread_t thread;
    clinfer_router *router;
    const struct heard *alone; /* [3] */
    int first;
};

static void *ask(void *user) {
    struct asker *asker = user;
    struct heard *heard = calloc(1, sizeof *heard);
    for (int i = 0; heard && i < ROUNDS; i++) {
        int kind = (asker->first + i) % 3;
        if (!answer(asker->router, kind, heard) || strcmp(heard->text, asker->alone[kind].text) != 0)
            atomic_fetch_add(&wrong, 1);
    }
    free(heard);
    return NULL;
}

static void test_kinds_of_requests_do_not_disturb_each_other(void **state) {
    static struct heard alone[3];
    struct asker askers[THREADS];
    clinfer_router *router = open_router(false, true);
    (void)state;
    for (int kind = 0; kind < 3; kind++) assert_true(answer(router, kind, &alone[kind]));
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){.router = router, .alone = alone, .first = i};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(askers[i].thread, NULL);
    assert_int_equal(atomic_exchange(&wrong, 0), 0);
    clinfer_router_close(router);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_are_made_for_many_threads),
        cmocka_unit_test(test_vectors_of_a_device_are_waited_for_by_many_threads),
        cmocka_unit_test(test_kinds_of_requests_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
