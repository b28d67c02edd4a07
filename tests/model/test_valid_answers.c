/* Answers under JSON schemas of a model with random weights, which would say anything, are valid: each schema of
 * tests/data/schemas.json that is held, at several seeds and with several bounds of the length, judged by our own
 * validator. scripts/judge_schemas.py has another judge for many more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <clinfer.h>

#include "grammar/validate.h"
#include "support/asserts.h"

enum { ROOM = 1 << 14, ANSWERS = 3 };

struct answer {
    char text[ROOM];
    size_t length;
};

static bool collect(void *user, const char *text, size_t length) {
    struct answer *answer = user;
    assert_true(answer->length + length < ROOM);
    memcpy(answer->text + answer->length, text, length);
    answer->length += length;
    return true;
}

static clinfer_engine *open_engine(void) {
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    clinfer_engine_options_default(&options);
    options.model = "tests/data/llama_tiny.gguf";
    options.device = "cpu";
    options.context = 512;
    options.threads = 1;
    assert_ok(clinfer_engine_open(&options, &engine));
    return engine;
}

/* Room is doubled until the shortest answer fits. */
static void ask(clinfer_engine *engine, const char *schema, uint64_t seed, int most, struct answer *answer) {
    static const int32_t prompt[] = {5, 9, 17, 4, 60};
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = schema, .name = "schema"};
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = 1.5f;
    options.top_k = 0;
    options.top_p = 1;
    options.min_p = 0;
    options.seed = seed;
    assert_ok(clinfer_session_create(engine, &options, &session));
    struct clinfer_request request = {.tokens = prompt,
                                      .count = sizeof prompt / sizeof *prompt,
                                      .max_tokens = most,
                                      .callback = collect,
                                      .user = answer,
                                      .grammar = &grammar};
    struct clinfer_result result;
    answer->length = 0;
    while (clinfer_submit(session, &request) != CLINFER_OK) {
        if (!strstr(clinfer_error(), "shortest answer") || request.max_tokens > 400)
            fail_msg("%s: %s", schema, clinfer_error());
        request.max_tokens *= 2;
    }
    assert_ok(clinfer_wait(session, &result));
    clinfer_session_destroy(session);
}

static void test_answers_under_schemas_are_valid(void **state) {
    (void)state;
    static struct answer answer;
    clinfer_engine *engine = open_engine();
    json_t *facts = json_load_file("tests/data/schemas.json", 0, NULL);
    const json_t *fact;
    size_t i, judged = 0;
    json_array_foreach(json_object_get(facts, "held"), i, fact) {
        const json_t *given = json_object_get(fact, "schema"); /* some stand there as texts */
        char *schema = json_is_string(given) ? strdup(json_string_value(given)) : json_dumps(given, JSON_ENCODE_ANY);
        for (int k = 0; k < ANSWERS; k++) {
            ask(engine, schema, i * ANSWERS + (size_t)k, 8 + (int)((i * 7 + (size_t)k * 31) % 113), &answer);
            enum clinfer_status status =
                ci_schema_validate("schema", schema, strlen(schema), answer.text, answer.length);
            if (status != CLINFER_OK)
                fail_msg("%s: %.*s: %s", schema, (int)answer.length, answer.text, clinfer_error());
            judged++;
        }
        free(schema);
    }
    assert_true(judged > 200);
    json_decref(facts);
    clinfer_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers_under_schemas_are_valid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
