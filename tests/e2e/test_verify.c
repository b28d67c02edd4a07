/* `clinfer verify`: finds a kernel that went wrong after it had passed its proof, names it, and replaces it; and a run
 * that meets one on its first tokens answers all the same. Run from the top of the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "support/model.h"
#include "support/poison.h"
#include "support/process.h"

enum { WRONG_RESULT = 11 };

#define TABLE "rope_table.cl"
#define TABLE_FROM "position * DATA(const float, frequencies)[i]"
#define TABLE_WRONG(position_) "(position == " position_ " ? 1.0f : 1.0f * " TABLE_FROM ")"

static const char model[] = "tests/data/llama_tiny.gguf";

static bool is_opencl(const char *device) { return strcmp(device, "cpu") != 0; }

static json_t *verify_json(const char *device, int exit_status) {
    struct process_result result;
    json_error_t error;
    process_run(&result, NULL, process_tool(), "verify", "-m", model, "--device", device, "--json", NULL);
    process_assert_status(&result, exit_status);
    json_t *json = json_loads(result.out, 0, &error);
    if (!json) fail_msg("%s: %s", error.text, result.out);
    process_free(&result);
    return json;
}

static int count(const char *text, const char *word) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, word)); at++) found++;
    return found;
}

static void test_all_is_right_on_every_device(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        json_t *json = verify_json(*device, 0);
        assert_true(json_is_null(json_object_get(json, "wrong")));
        json_t *ops = json_object_get(json, "ops");
        assert_true(json_array_size(ops) >= 10);
        for (size_t i = 0; i < json_array_size(ops); i++) {
            json_t *op = json_array_get(ops, i);
            assert_int_equal(json_integer_value(json_object_get(op, "wrong")), 0);
            assert_true(json_real_value(json_object_get(op, "nmse")) <
                        1e-4 + json_real_value(json_object_get(op, "nmse_allowed")));
        }
        json_decref(json);
    }
}

static void check_fix(const char *device) {
    struct process_result result;
    poison_fresh_data();
    poison(TABLE, TABLE_FROM, TABLE_WRONG("78"));
    json_t *json = verify_json(device, WRONG_RESULT), *wrong = json_object_get(json, "wrong");
    assert_string_equal(json_string_value(json_object_get(wrong, "op")), "rope_table");
    assert_non_null(strstr(json_string_value(json_object_get(wrong, "error")), "expected"));
    json_decref(json);
    process_run(&result, NULL, process_tool(), "verify", "-m", model, "--device", device, "--fix", NULL);
    process_assert_status(&result, 0);
    assert_int_equal(count(result.err, "quarantined; op rope_table, variant"), 1);
    assert_int_equal(count(result.out, "WRONG"), 0);
    process_free(&result);
    json_decref(verify_json(device, 0)); /* for good, not only in that process */
    poison_end();
}

static void test_what_is_wrong_is_named_and_fixed(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++)
        if (is_opencl(*device)) check_fix(*device);
}

static void test_a_run_whose_first_tokens_are_wrong_answers_right(void **state) {
    (void)state;
    static const char *const words[] = {"--temp", "0", "-n", "16", "-p", "Name the planets."};
    for (const char *const *device = test_devices(); *device; device++) {
        if (!is_opencl(*device)) continue;
        struct process_result right, result;
        poison_fresh_data();
        process_run(&right, NULL, process_tool(), "run", "-m", model, "--device", *device, "--activations", "f32",
                    words[0], words[1], words[2], words[3], words[4], words[5], NULL);
        process_assert_status(&right, 0);
        poison(TABLE, TABLE_FROM, TABLE_WRONG("3"));
        process_run(&result, NULL, process_tool(), "run", "-m", model, "--device", *device, "--activations", "f32",
                    words[0], words[1], words[2], words[3], words[4], words[5], NULL);
        poison_end();
        process_assert_status(&result, 0);
        assert_string_equal(result.out, right.out);
        assert_int_equal(count(result.err, "quarantined; op rope_table, variant"), 1);
        process_free(&right);
        process_free(&result);
    }
}

/* Its layers compute all the same. */
static void test_a_model_without_a_tokenizer_is_verified_with_made_up_tokens(void **state) {
    (void)state;
    struct process_result result;
    process_run(&result, NULL, process_tool(), "verify", "-m", "tests/data/folders/llama", "--device", "cpu", NULL);
    process_assert_status(&result, 0);
    assert_non_null(strstr(result.err, "made-up tokens"));
    assert_non_null(strstr(result.err, "kernels compared, all right"));
    process_free(&result);
    process_run(&result, NULL, process_tool(), "verify", "-m", "tests/data/folders/llama", "--device", "cpu", "-p",
                "a text", NULL);
    process_assert_status(&result, 6);
    assert_non_null(strstr(result.err, "has no tokenizer"));
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_right_on_every_device),
        cmocka_unit_test(test_what_is_wrong_is_named_and_fixed),
        cmocka_unit_test(test_a_model_without_a_tokenizer_is_verified_with_made_up_tokens),
        cmocka_unit_test(test_a_run_whose_first_tokens_are_wrong_answers_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
