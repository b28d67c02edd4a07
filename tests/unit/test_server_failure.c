/* What clients are told of the library's failures. */
#include <string.h>

#include "server/exchange.h"
#include "support/asserts.h"

static void check_words(const char *message, const char *wanted) {
    char text[256];
    assert_string_equal(ci_failure_words(message, text, sizeof text), wanted);
}

static void test_flags_of_the_command_line_are_left_out(void **state) {
    char text[8];
    (void)state;
    check_words("there is room for 1; raise -n, or let the answer be cut (--no-complete)",
                "there is room for 1; raise max_tokens");
    check_words("cpu: see to its name (--remote-model) and the dialect (--remote-dialect); b: it hangs (--watchdog)",
                "cpu: see to its name and the dialect; b: it hangs");
    check_words("it starts afresh (--remote-continue lets it go on)", "it starts afresh");
    check_words("KV cache for 9 tokens; use a smaller -c: out of memory", "KV cache for 9 tokens: out of memory");
    check_words("a (b) -- c (--d", "a (b) -- c (--d");
    check_words("", "");
    assert_string_equal(ci_failure_words("123456789", text, sizeof text), "1234567");
}

static void test_what_cannot_be_held_is_the_fault_of_its_field(void **state) {
    static const struct {
        enum clinfer_status status;
        const char *message;
        enum ci_failure_kind kind;
        const char *param;
    } cases[] = {
        {CLINFER_UNSUPPORTED, "json_schema: not: a grammar cannot hold this", CI_FAIL_INVALID, "json_schema"},
        {CLINFER_UNSUPPORTED, "tools: too many states", CI_FAIL_INVALID, "tools"},
        {CLINFER_UNSUPPORTED, "the model has no tokenizer", CI_FAIL_UNSUPPORTED, NULL},
        {CLINFER_INVALID_ARGUMENT, "tool choice \"x\": is none", CI_FAIL_INVALID, "tool_choice"},
        {CLINFER_INVALID_ARGUMENT, "token 0 is 9, the vocabulary has 0..7", CI_FAIL_INVALID, "prompt"},
        {CLINFER_INVALID_ARGUMENT, "schemas are none", CI_FAIL_INVALID, NULL},
        {CLINFER_DEVICE_ERROR, "tools: the device is gone", CI_FAIL_UNAVAILABLE, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_failure failure = ci_failure_of_status(cases[i].status, cases[i].message);
        assert_int_equal(failure.kind, cases[i].kind);
        assert_int_equal(failure.param != NULL, cases[i].param != NULL);
        if (failure.param) assert_string_equal(failure.param, cases[i].param);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_of_the_command_line_are_left_out),
        cmocka_unit_test(test_what_cannot_be_held_is_the_fault_of_its_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
