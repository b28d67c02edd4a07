/* test_server_fields.c: what clients may write into the fields that say how an answer is made, and what is refused. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "server/fields.h"

struct given {
    struct ci_arena arena;
    json_t *body;
    struct clinfer_session_options sampling;
    struct clinfer_chat_request request;
    char *json;
    const char *param;
};

/* Reads everything, in the order in which dialects do. */
static enum clinfer_status read_all(struct given *given, const char *text) {
    memset(given, 0, sizeof *given);
    clinfer_session_options_default(NULL, &given->sampling);
    given->body = json_loads(text, 0, NULL);
    assert_non_null(given->body);
    enum clinfer_status status = ci_sampling_read(given->body, &given->arena, &given->sampling, &given->param);
    if (status == CLINFER_OK) status = ci_bias_read(given->body, NULL, &given->arena, &given->sampling, &given->param);
    if (status == CLINFER_OK) status = ci_stop_read(given->body, "stop", &given->arena, &given->request, &given->param);
    if (status == CLINFER_OK) status = ci_limits_read(given->body, &given->request, &given->param);
    if (status == CLINFER_OK)
        status = ci_form_read(given->body, &given->arena, &given->request, &given->json, &given->param);
    return status;
}

static void let_go(struct given *given) {
    json_decref(given->body);
    free(given->json);
    ci_arena_destroy(&given->arena);
}

static void test_fields_reach_the_sampling(void **state) {
    (void)state;
    struct given given;
    assert_int_equal(read_all(&given, "{\"temperature\": 0.5, \"top_k\": 7.0, \"top_p\": null, \"seed\": 42, "
                                      "\"repeat_last_n\": -1, \"unknown\": {\"any\": [1]}, \"mirostat\": 2, "
                                      "\"dry_sequence_breakers\": [\"a\", \"\"], \"samplers\": [\"top_k\", \"temp\"]}"),
                     CLINFER_OK);
    assert_true(given.sampling.temperature == 0.5F);
    assert_int_equal(given.sampling.top_k, 7);
    assert_true(isnan(given.sampling.top_p)); /* the model's own */
    assert_int_equal(given.sampling.seed, 42);
    assert_int_equal(given.sampling.repeat_last_n, INT_MAX);
    assert_int_equal(given.sampling.mirostat, 2);
    assert_int_equal(given.sampling.dry_breaker_count, 1);
    assert_string_equal(given.sampling.samplers, "top_k;temperature");
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"samplers\": \"kt\", \"top_k\": -1, \"repeat_penalty\": 0}"), CLINFER_OK);
    assert_string_equal(given.sampling.samplers, "top_k;temperature");
    assert_int_equal(given.sampling.top_k, 0);
    assert_true(given.sampling.repeat_penalty == 1);
    let_go(&given);
}

static void test_seeds_are_whole_and_minus_one_is_any(void **state) {
    (void)state;
    struct given given;
    uint64_t first;
    assert_int_equal(read_all(&given, "{\"seed\": -1}"), CLINFER_OK);
    first = given.sampling.seed;
    assert_true(first <= UINT32_MAX);
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"seed\": -1}"), CLINFER_OK);
    assert_true(given.sampling.seed != first); /* once in 2^32 it is */
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"seed\": 1.5}"), CLINFER_INVALID_ARGUMENT);
    assert_string_equal(given.param, "seed");
    let_go(&given);
}

static void test_limits_have_three_names(void **state) {
    (void)state;
    struct given given;
    assert_int_equal(read_all(&given, "{\"n_predict\": 9, \"max_tokens\": 5, \"ignore_eos\": true}"), CLINFER_OK);
    assert_int_equal(given.request.max_tokens, 5);
    assert_true(given.request.ignore_end);
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"max_tokens\": 5, \"max_completion_tokens\": 6}"), CLINFER_OK);
    assert_int_equal(given.request.max_tokens, 6);
    let_go(&given);
}

static void test_stop_is_a_text_or_a_list(void **state) {
    (void)state;
    struct given given;
    assert_int_equal(read_all(&given, "{\"stop\": \"END\"}"), CLINFER_OK);
    assert_int_equal(given.request.stop_count, 1);
    assert_string_equal(given.request.stop[0], "END");
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"stop\": [\"a\", \"\", \"b\"]}"), CLINFER_OK);
    assert_int_equal(given.request.stop_count, 2);
    assert_string_equal(given.request.stop[1], "b");
    let_go(&given);
}

static void test_bias_is_a_map_or_pairs(void **state) {
    (void)state;
    struct given given;
    assert_int_equal(read_all(&given, "{\"logit_bias\": {\"15\": -100, \"7\": 2.5}}"), CLINFER_OK);
    assert_int_equal(given.sampling.logit_bias_count, 2);
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"logit_bias\": [[3, -1], [4, false]]}"), CLINFER_OK);
    assert_int_equal(given.sampling.logit_bias_count, 2);
    assert_int_equal(given.sampling.logit_bias[1].token, 4);
    assert_true(isinf(given.sampling.logit_bias[1].bias));
    assert_false(ci_bias_has_texts(given.body));
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"logit_bias\": {\" the\": 1}}"), CLINFER_INVALID_ARGUMENT); /* no engine */
    assert_true(ci_bias_has_texts(given.body));
    let_go(&given);
}

static void test_forms_become_grammars(void **state) {
    (void)state;
    struct given given;
    static const char *const schemas[] = {
        "{\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"x\", \"schema\": {}}}}",
        "{\"response_format\": {\"type\": \"json_object\"}}",
        "{\"response_format\": {\"type\": \"json_object\", \"schema\": {\"const\": 1}}}",
        "{\"json_schema\": {\"type\": \"array\"}, \"response_format\": null}",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        assert_int_equal(read_all(&given, schemas[i]), CLINFER_OK);
        assert_int_equal(given.request.grammar->kind, CLINFER_GRAMMAR_JSON_SCHEMA);
        assert_non_null(given.json);
        let_go(&given);
    }
    assert_int_equal(read_all(&given, "{\"grammar\": \"root ::= \\\"a\\\"\"}"), CLINFER_OK);
    assert_int_equal(given.request.grammar->kind, CLINFER_GRAMMAR_GBNF);
    assert_false(given.request.grammar->force_bytes);
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"json_schema\": {\"type\": \"array\"}, \"force_bytes\": true}"), CLINFER_OK);
    assert_int_equal(given.request.grammar->kind, CLINFER_GRAMMAR_JSON_SCHEMA);
    assert_true(given.request.grammar->force_bytes);
    assert_string_equal(given.param, "json_schema");
    let_go(&given);
    assert_int_equal(read_all(&given, "{\"response_format\": {\"type\": \"text\"}}"), CLINFER_OK);
    assert_null(given.request.grammar);
    let_go(&given);
}

static void test_wrong_fields_are_named(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } cases[] = {
        {"{\"temperature\": \"hot\"}", "temperature"},
        {"{\"temperature\": -1}", "temperature"},
        {"{\"top_k\": 1.5}", "top_k"},
        {"{\"top_k\": 1e300}", "top_k"},
        {"{\"top_k\": [1]}", "top_k"},
        {"{\"top_p\": 1.5}", "top_p"},
        {"{\"seed\": \"1\"}", "seed"},
        {"{\"seed\": 1e300}", "seed"},
        {"{\"mirostat\": 3}", "mirostat"},
        {"{\"samplers\": 3}", "samplers"},
        {"{\"samplers\": [3]}", "samplers"},
        {"{\"max_tokens\": \"8\"}", "max_tokens"},
        {"{\"max_tokens\": -2}", "max_tokens"},
        {"{\"ignore_eos\": 1}", "ignore_eos"},
        {"{\"stop\": 3}", "stop"},
        {"{\"stop\": [\"a\", 3]}", "stop"},
        {"{\"logit_bias\": 3}", "logit_bias"},
        {"{\"logit_bias\": {\"1\": \"x\"}}", "logit_bias"},
        {"{\"logit_bias\": [[1]]}", "logit_bias"},
        {"{\"logit_bias\": [[-1, 3]]}", "logit_bias"},
        {"{\"grammar\": {}}", "grammar"},
        {"{\"grammar\": \"root ::= [a]\", \"force_bytes\": 1}", "force_bytes"},
        {"{\"json_schema\": 3}", "json_schema"},
        {"{\"response_format\": \"json\"}", "response_format"},
        {"{\"response_format\": {\"type\": \"sound\"}}", "response_format.type"},
        {"{\"response_format\": {\"type\": \"json_object\", \"schema\": 123}}", "response_format.schema"},
        {"{\"response_format\": {\"type\": \"json_schema\"}}", "response_format.json_schema.schema"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct given given;
        assert_int_equal(read_all(&given, cases[i].body), CLINFER_INVALID_ARGUMENT);
        assert_string_equal(given.param, cases[i].param);
        assert_non_null(strstr(clinfer_error(), cases[i].param));
        let_go(&given);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_reach_the_sampling), cmocka_unit_test(test_seeds_are_whole_and_minus_one_is_any),
        cmocka_unit_test(test_limits_have_three_names),   cmocka_unit_test(test_stop_is_a_text_or_a_list),
        cmocka_unit_test(test_bias_is_a_map_or_pairs),    cmocka_unit_test(test_forms_become_grammars),
        cmocka_unit_test(test_wrong_fields_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
