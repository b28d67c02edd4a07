/* Chat templates: what Jinja itself renders (tests/data/templates.json, recorded by scripts/reference_templates.py),
 * the bounds that a hostile template runs into, and the messages of failures.
 *
 * `test_template --render TEMPLATE CONTEXT.json [SECONDS]` renders one file instead: the door for comparing with Jinja
 * on any other template. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/template.h"

/* Of this process, as the machine may be busy. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Text, or NULL with the status. */
static char *render_status(const char *source, size_t length, const json_t *context, time_t now,
                           enum clinfer_status *status) {
    struct ci_template *template;
    struct ci_template_limits limits = {.now = now};
    struct ci_rendered rendered;
    *status = ci_template_create(source, length, &template);
    if (*status != CLINFER_OK) return NULL;
    *status = ci_template_render(template, context, &limits, &rendered);
    ci_template_destroy(template);
    free(rendered.runs);
    return rendered.text;
}

static json_t *parse(const char *text) {
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (!json) fail_msg("the test's own JSON: %s", error.text);
    return json;
}

static void expect_text(const char *source, const char *context_text, const char *expected) {
    enum clinfer_status status;
    json_t *context = parse(context_text);
    char *text = render_status(source, strlen(source), context, 0, &status);
    if (!text) fail_msg("%s: %s", source, clinfer_error());
    if (strcmp(text, expected)) fail_msg("%s: '%s', not '%s'", source, text, expected);
    free(text);
    json_decref(context);
}

/* Fails with this status and a message that has `part`, within two seconds (of a machine that may be busy). */
static void expect_failure(const char *source, const char *context_text, enum clinfer_status expected,
                           const char *part) {
    enum clinfer_status status;
    json_t *context = parse(context_text);
    double start = seconds();
    char *text = render_status(source, strlen(source), context, 0, &status);
    double taken = seconds() - start;
    if (text) fail_msg("%.200s: rendered to '%.200s', should fail", source, text);
    if (status != expected) fail_msg("%.200s: status %d, not %d: %s", source, status, expected, clinfer_error());
    if (!strstr(clinfer_error(), part)) fail_msg("%.200s: '%s' lacks '%s'", source, clinfer_error(), part);
    if (taken > 20) fail_msg("%.200s: took %.1f s to fail", source, taken);
    json_decref(context);
}

/* ---- the recorded cases ---- */

static size_t check_case(const json_t *record, const json_t *one) {
    const char *name = json_string_value(json_object_get(one, "template"));
    const json_t *source_json = json_object_get(one, "source"), *expected = json_object_get(one, "text");
    const char *conversation = json_string_value(json_object_get(one, "conversation"));
    const json_t *context = json_object_get(json_object_get(record, "conversations"), conversation);
    struct ci_file file = {0};
    const char *source = json_string_value(source_json);
    size_t length = json_string_length(source_json);
    char path[256];
    if (name) {
        snprintf(path, sizeof path, "tests/data/templates/%s", name);
        if (ci_file_map(path, &file) != CLINFER_OK) fail_msg("%s", clinfer_error());
        source = (const char *)file.data;
        length = file.size;
    }
    enum clinfer_status status;
    time_t now = (time_t)json_integer_value(json_object_get(record, "now"));
    char *text = render_status(source, length, context, now, &status);
    size_t wrong = 1;
    if (!text && !json_is_null(expected))
        print_error("%s on '%s': %s; jinja2 gives '%s'\n", name ? name : source, conversation, clinfer_error(),
                    json_string_value(expected));
    else if (text && json_is_null(expected))
        print_error("%s on '%s': rendered to '%s'; jinja2 refuses: %s\n", name ? name : source, conversation, text,
                    json_string_value(json_object_get(one, "reason")));
    else if (text && strcmp(text, json_string_value(expected)))
        print_error("%s on '%s':\n--- is\n%s\n--- jinja2\n%s\n---\n", name ? name : source, conversation, text,
                    json_string_value(expected));
    else
        wrong = 0;
    free(text);
    ci_file_unmap(&file);
    return wrong;
}

static void test_recorded_cases_equal_jinja(void **state) {
    (void)state;
    json_error_t error;
    json_t *record = json_load_file("tests/data/templates.json", 0, &error);
    if (!record) fail_msg("tests/data/templates.json: %s; run from the top of the repository", error.text);
    const json_t *cases = json_object_get(record, "cases");
    size_t count = json_array_size(cases), wrong = 0;
    if (count < 140) fail_msg("only %zu cases recorded", count);
    for (size_t i = 0; i < count; i++) wrong += check_case(record, json_array_get(cases, i));
    json_decref(record);
    if (wrong) fail_msg("%zu of %zu cases differ", wrong, count);
}

/* ---- bounds ---- */

static void test_loops_without_end_run_out_of_steps(void **state) {
    (void)state;
    expect_failure("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{}",
                   CLINFER_BAD_FILE, "the template takes");
    expect_failure("{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}", "{}",
                   CLINFER_BAD_FILE, "the template takes");
    expect_failure("{% for a in range(99999) %}{{ range(99999)|sum }}{% endfor %}", "{}", CLINFER_BAD_FILE,
                   "the template takes");
    expect_failure("{% set x = 'a' * 1000000 %}{% for a in range(99999) %}{% if 'ab' in x %}{% endif %}{% endfor %}",
                   "{}", CLINFER_BAD_FILE, "too many steps");
    expect_failure(
        "{% set x = 'a' * 1000000 %}{% for a in range(99999) %}{% if x.rfind('b' ~ x) %}{% endif %}{% endfor %}", "{}",
        CLINFER_BAD_FILE, "the template takes");
}

static void test_text_without_end_runs_out_of_memory(void **state) {
    (void)state;
    expect_failure("{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
                   "{}", CLINFER_BAD_FILE, "MiB of memory");
    expect_failure("{{ 'ab' * 1000000000 }}", "{}", CLINFER_BAD_FILE, "the template takes");
    expect_failure("{{ [1] * 9000000000000000000 }}", "{}", CLINFER_BAD_FILE, "the template takes");
    expect_failure("{{ 'ab'|indent(1000000000) }}{{ 'a\\nb'|indent(1000000000) }}", "{}", CLINFER_BAD_FILE,
                   "the template takes");
    expect_failure("{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}", "{}", CLINFER_BAD_FILE,
                   "the template takes");
    expect_failure("{{ range(1000000000) }}", "{}", CLINFER_BAD_FILE, "at most 100000");
    expect_failure("{{ range(0, 9000000000000000000, 1) }}", "{}", CLINFER_BAD_FILE, "at most 100000");
}

static void test_recursion_is_bounded(void **state) {
    (void)state;
    expect_failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{}", CLINFER_BAD_FILE, "calling itself");
    expect_failure("{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}", "{}", CLINFER_BAD_FILE, "calling itself");
    expect_failure("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}", "{}",
                   CLINFER_BAD_FILE, "calling itself");
    const char *deep = "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    static const char *const uses[] = {"{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x == [ns.x] }}",
                                       "{{ [ns.x, [ns.x]]|sort }}", "{{ ns.x ~ '' }}"};
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        char source[512];
        snprintf(source, sizeof source, "%s%s", deep, uses[i]);
        expect_failure(source, "{}", CLINFER_BAD_FILE, "levels");
    }
}

/* `count` times `open`, `middle`, `count` times `close`; for the caller to free. */
static char *nested(const char *before, const char *open, const char *middle, const char *close, const char *after,
                    size_t count) {
    size_t length = strlen(before) + strlen(middle) + strlen(after) + count * (strlen(open) + strlen(close)) + 1;
    char *source = malloc(length), *end = stpcpy(source, before);
    for (size_t i = 0; i < count; i++) end = stpcpy(end, open);
    end = stpcpy(end, middle);
    for (size_t i = 0; i < count; i++) end = stpcpy(end, close);
    stpcpy(end, after);
    return source;
}

static void test_nested_source_is_bounded(void **state) {
    (void)state;
    static const struct {
        const char *before, *open, *middle, *close, *after;
    } shapes[] = {
        {"{{ ", "(", "1", ")", " }}"},
        {"{{ ", "[", "1", "]", " }}"},
        {"{{ ", "{1: ", "1", "}", " }}"},
        {"{{ ", "not ", "1", "", " }}"},
        {"{{ ", "- ", "1", "", " }}"},
        {"{{ ", "f(", "1", ")", " }}"},
        {"{{ x", "[0", "", "]", " }}"},
        {"{{ ", "1 if 1 else ", "1", "", " }}"},
        {"{{ x is eq", "(y is eq", "(1)", ")", " }}"},
        {"{{ 1", " + 1", "", "", " }}"},
        {"{{ 1", " ~ 1", "", "", " }}"},
        {"{{ ''", "|trim", "", "", " }}"},
        {"{{ x", ".a", "", "", " }}"},
        {"{{ 1", " and 1", "", "", " }}"},
        {"", "{% if true %}", "x", "{% endif %}", ""},
        {"", "{% for i in [1] %}", "x", "{% endfor %}", ""},
        {"", "{% filter trim %}", "x", "{% endfilter %}", ""},
        {"", "{% set x %}", "x", "{% endset %}", ""},
        {"", "{% macro m() %}", "x", "{% endmacro %}", ""},
        {"{% for ", "(", "a", ")", " in [] %}{% endfor %}"},
        {"{% set x", "|trim", "", "", " %}{% endset %}"},
    };
    json_t *context = json_object();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t count = 256; count <= 16384; count *= 8) {
            char *source =
                nested(shapes[i].before, shapes[i].open, shapes[i].middle, shapes[i].close, shapes[i].after, count);
            enum clinfer_status status;
            double start = seconds();
            char *text = render_status(source, strlen(source), context, 0, &status);
            /* Some shapes are legal at 256; none may crash or hang, and the deep ones have to be refused. */
            if (seconds() - start > 20) fail_msg("%zu times '%s' took too long", count, shapes[i].open);
            if (count > 2048 && text && strcmp(shapes[i].open, " and 1"))
                fail_msg("%zu times '%s' was not refused", count, shapes[i].open);
            free(text);
            free(source);
        }
    json_decref(context);
}

static void test_deep_input_is_refused(void **state) {
    (void)state;
    json_t *deep = json_integer(1), *context = json_object();
    for (int i = 0; i < 1000; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, deep);
        deep = outer;
    }
    json_object_set_new(context, "x", deep);
    enum clinfer_status status;
    char *text = render_status("{{ x }}", 7, context, 0, &status);
    assert_null(text);
    assert_int_equal(status, CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "nested deeper"));
    json_decref(context);
}

static void test_source_too_long_is_refused(void **state) {
    (void)state;
    size_t length = 1 << 20;
    char *source = malloc(length);
    memset(source, 'x', length);
    struct ci_template *template;
    assert_int_equal(ci_template_create(source, length, &template), CLINFER_BAD_FILE);
    assert_null(template);
    free(source);
}

/* A template that collects its output piece by piece copies nothing twice: 40 MB of text in a bound of 128. */
static void test_collecting_text_is_linear(void **state) {
    (void)state;
    json_t *context = json_object();
    char *chunk = malloc(10001);
    memset(chunk, 'y', 10000);
    chunk[10000] = 0;
    json_object_set_new(context, "chunk", json_string(chunk));
    free(chunk);
    const char *source = "{% set ns = namespace(t='') %}{% for i in range(1000) %}{% set ns.t = ns.t ~ chunk %}"
                         "{% endfor %}{{ ns.t|length }} {{ ns.t[:3] }}";
    enum clinfer_status status;
    char *text = render_status(source, strlen(source), context, 0, &status);
    if (!text) fail_msg("%s", clinfer_error());
    assert_string_equal(text, "10000000 yyy");
    free(text);
    json_decref(context);
}

/* ---- messages and statuses ---- */

static void test_failures_name_line_and_reason(void **state) {
    (void)state;
    expect_failure("a\nb{{ 1 + }}", "{}", CLINFER_BAD_FILE, "line 2: expected an expression");
    expect_failure("{% if x %}\n\n", "{}", CLINFER_BAD_FILE, "line 1");
    expect_failure("\n{{ raise_exception('only two roles') }}", "{}", CLINFER_INVALID_ARGUMENT,
                   "line 2: the template refuses this conversation: only two roles");
    expect_failure("\n\n{{ messages[0].content + 'x' }}", "{\"messages\": [{\"content\": null}]}",
                   CLINFER_INVALID_ARGUMENT, "line 3: none + string");
    expect_failure("{{ a.b.c }}", "{\"a\": {}}", CLINFER_INVALID_ARGUMENT, "'b' is undefined");
    expect_failure("{{ x|urlize }}", "{}", CLINFER_UNSUPPORTED, "filter 'urlize'");
    expect_failure("{{ x is foo }}", "{}", CLINFER_UNSUPPORTED, "test 'foo'");
    expect_failure("{% include 'x' %}", "{}", CLINFER_UNSUPPORTED, "'include'");
    expect_failure("{% for x in y recursive %}{% endfor %}", "{}", CLINFER_UNSUPPORTED, "recursive");
    expect_failure("{{ f(*x) }}", "{}", CLINFER_UNSUPPORTED, "'*'");
    expect_failure("{{ [].append(1) }}", "{}", CLINFER_INVALID_ARGUMENT, "cannot be changed");
    expect_failure("x", "[]", CLINFER_INVALID_ARGUMENT, "not a JSON object");
    expect_failure("{{ 9223372036854775807 + 1 }}", "{}", CLINFER_INVALID_ARGUMENT, "64 bits");
    expect_failure("{{ -9223372036854775807 - 2 }}", "{}", CLINFER_INVALID_ARGUMENT, "64 bits");
    expect_failure("{{ 99999999999999999999 }}", "{}", CLINFER_BAD_FILE, "too large");
}

static void test_context_overrides_functions(void **state) {
    (void)state;
    expect_text("{{ range }}{{ dict is callable }}", "{\"range\": 5}", "5True");
}

static void test_zero_bytes_pass_through(void **state) {
    (void)state;
    struct ci_template *template;
    json_t *context = json_object();
    json_object_set_new(context, "x", json_stringn("a\0b", 3));
    assert_int_equal(ci_template_create("\0{{ x }}\0", 9, &template), CLINFER_OK);
    struct ci_rendered rendered;
    if (ci_template_render(template, context, NULL, &rendered) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(rendered.length, 5);
    assert_memory_equal(rendered.text, "\0a\0b\0", 6);
    ci_rendered_free(&rendered);
    ci_template_destroy(template);
    json_decref(context);
}

static void test_limits_of_the_caller_hold(void **state) {
    (void)state;
    struct ci_template *template;
    json_t *context = json_object();
    const char *source = "{% for i in range(1000) %}{{ i }}{% endfor %}";
    assert_int_equal(ci_template_create(source, strlen(source), &template), CLINFER_OK);
    struct ci_template_limits few_steps = {.steps = 1000}, little_memory = {.memory = 10000};
    struct ci_rendered rendered;
    assert_int_equal(ci_template_render(template, context, &few_steps, &rendered), CLINFER_BAD_FILE);
    assert_non_null(strstr(clinfer_error(), "steps"));
    assert_int_equal(ci_template_render(template, context, &little_memory, &rendered), CLINFER_BAD_FILE);
    assert_non_null(strstr(clinfer_error(), "memory"));
    /* The same object still renders. */
    assert_int_equal(ci_template_render(template, context, NULL, &rendered), CLINFER_OK);
    assert_int_equal(strlen(rendered.text), 2890);
    ci_rendered_free(&rendered);
    ci_template_destroy(template);
    json_decref(context);
}

static int render_one(int count, char **arguments) {
    struct ci_file file;
    json_error_t error;
    if (ci_file_map(arguments[2], &file) != CLINFER_OK) return fprintf(stderr, "%s\n", clinfer_error()), 2;
    json_t *context = json_load_file(arguments[3], 0, &error);
    if (!context) return fprintf(stderr, "%s: %s\n", arguments[3], error.text), 2;
    enum clinfer_status status;
    time_t now = count > 4 ? (time_t)atoll(arguments[4]) : 0;
    char *text = render_status((const char *)file.data, file.size, context, now, &status);
    if (text)
        fputs(text, stdout);
    else
        fprintf(stderr, "%s\n", clinfer_error());
    int result = text == NULL;
    free(text);
    json_decref(context);
    ci_file_unmap(&file);
    return result;
}

int main(int count, char **arguments) {
    setenv("TZ", "UTC", 1); /* the recorded dates */
    if (count >= 4 && !strcmp(arguments[1], "--render")) return render_one(count, arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_cases_equal_jinja),
        cmocka_unit_test(test_loops_without_end_run_out_of_steps),
        cmocka_unit_test(test_text_without_end_runs_out_of_memory),
        cmocka_unit_test(test_recursion_is_bounded),
        cmocka_unit_test(test_nested_source_is_bounded),
        cmocka_unit_test(test_deep_input_is_refused),
        cmocka_unit_test(test_source_too_long_is_refused),
        cmocka_unit_test(test_collecting_text_is_linear),
        cmocka_unit_test(test_failures_name_line_and_reason),
        cmocka_unit_test(test_context_overrides_functions),
        cmocka_unit_test(test_zero_bytes_pass_through),
        cmocka_unit_test(test_limits_of_the_caller_hold),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
