/* Depth of chat templates: whatever nests, in the source, in calls or in data, ends in an error before the stack does,
 * on any thread.
 *
 * `test_template_depth --deep` renders what is nested deeply and ends; the test runs itself so with a small stack. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "support/template_text.h"

/* Whatever nests, as deep as it goes: each ends in a text or in an error. */
static void *render_deep(void *unused) {
    (void)unused;
    static const char *const shapes[][3] = {
        {"{{ ", "(", "1"},
        {"{{ ", "[", "1"},
        {"{{ ", "{1: ", "1"},
        {"{{ ", "not ", "1 }}"},
        {"{{ ", "- ", "1 }}"},
        {"{{ ", "f(", "1"},
        {"{{ ", "x[", "1"},
        {"{{ 1", " + 1", " }}"},
        {"{{ ''", "|trim", " }}"},
        {"{{ 1", " if 1", " }}"},
        {"{{ x", ".a", " }}"},
        {"{{ ", "1 if 1 else ", "1 }}"},
        {"", "{% if 1 %}", "x"},
        {"", "{% filter trim %}", "x"},
        {"{% for ", "(", "x"},
        {"{{ 1", "is eq(1)", " }}"},
        {"{% set x", "|trim", "%}{% endset %}"},
        {"", "{% for i in [1] %}", ""},
    };
    static const char *const loops[] = {
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ [f([x])]|map('upper')|list }}{% endmacro %}{{ f(1) }}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% set x %}{% filter upper %}{{ f() }}{% endfilter %}{% endset %}{% endmacro %}{{ f() }}",
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = {'a': n.x} %}{% endfor %}{{ n.x|tojson }}",
        "{% set n = namespace(x=(1,)) %}{% for i in range(9999) %}{% set n.x = (n.x, n.x) %}{% endfor %}{{ {n.x: 1} }}",
        "{% set n=namespace(x=1,y=1) %}{% for i in range(900) %}{% set n.x,n.y=[n.x],[n.y] %}{% endfor %}{{n.x==n.y}}",
        "{% macro f() %}{{ f() }}{{ list }}{{ dict }}{% endmacro %}{{ list }}{{ dict }}{{ f() }}",
        "{% macro f(n) %}{{ f(n - 1) if n else list }}{% endmacro %}{% for i in range(99) %}{{ f(i) }}{% endfor %}",
        "{{ ('[' * 9000 ~ ']' * 9000)|from_json }}",
        "{{ ('[' * 190 ~ ']' * 190)|from_json }}",
        "{{ ('{\"a\":' * 9000)|from_json }}",
    };
    json_t *list = json_array(), *dict = json_object(), *context;
    for (int i = 0; i < 190; i++) {
        list = json_pack("[o]", list);
        dict = json_pack("{s:o}", "a", dict);
    }
    context = json_pack("{s:o, s:o}", "list", list, "dict", dict);
    struct ci_rendered rendered;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t count = 50; count <= 12800; count *= 2) {
            char *middle = template_repeated(shapes[i][1], count * strlen(shapes[i][1]));
            char *source = malloc(strlen(middle) + 100);
            stpcpy(stpcpy(stpcpy(source, shapes[i][0]), middle), shapes[i][2]);
            template_render(source, context, NULL, &rendered);
            ci_rendered_free(&rendered);
            free(source);
            free(middle);
        }
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        template_render(loops[i], context, NULL, &rendered);
        ci_rendered_free(&rendered);
    }
    /* The tags, closed; a target that is unpacked level by level. */
    for (size_t count = 50; count <= 800; count *= 2) {
        char *open = template_repeated("{% if 1 %}", count * 10), *close = template_repeated("{% endif %}", count * 11);
        char *source = malloc(strlen(open) + strlen(close) + 1);
        stpcpy(stpcpy(source, open), close);
        template_render(source, context, NULL, &rendered);
        ci_rendered_free(&rendered);
        free(source);
        free(close);
        free(open);
    }
    for (size_t count = 10; count <= 90; count += 10) {
        char *open = template_repeated("(", count), *close = template_repeated(",)", 2 * count), source[1000];
        snprintf(source, sizeof source, "{%% for %sa%s in [%s1%s] %%}{{ a }}{%% endfor %%}", open, close, open, close);
        template_render(source, context, NULL, &rendered);
        ci_rendered_free(&rendered);
        free(close);
        free(open);
    }
    json_decref(context);
    return NULL;
}

static void test_depth_ends_before_the_stack_of_a_thread(void **state) {
    (void)state;
    static const size_t stacks[] = {64 << 10, 128 << 10, 160 << 10, 256 << 10, 1 << 20, 8 << 20};
    for (size_t i = 0; i < sizeof stacks / sizeof stacks[0]; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        assert_int_equal(pthread_attr_init(&attributes), 0);
        assert_int_equal(pthread_attr_setstacksize(&attributes, stacks[i]), 0);
        assert_int_equal(pthread_create(&thread, &attributes, render_deep, NULL), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attributes);
    }
}

static char self[4096];

static void test_depth_ends_before_a_small_stack_of_the_process(void **state) {
    (void)state;
    char command[5000];
    static const int kilobytes[] = {160, 256, 8192};
    for (size_t i = 0; i < sizeof kilobytes / sizeof kilobytes[0]; i++) {
        snprintf(command, sizeof command, "ulimit -s %d && exec '%s' --deep", kilobytes[i], self);
        int result = system(command);
        if (!WIFEXITED(result) || WEXITSTATUS(result) != 0) fail_msg("ulimit -s %d: %#x", kilobytes[i], result);
    }
}

/* Where there is room, the bound is the same on every machine. */
static void test_depth_on_a_usual_stack_is_that_of_the_language(void **state) {
    (void)state;
    json_t *context = json_object();
    struct ci_rendered rendered;
    assert_int_equal(template_render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", context, NULL, &rendered),
                     CLINFER_BAD_FILE);
    assert_non_null(strstr(clinfer_error(), "more than 800 levels"));
    json_decref(context);
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "--deep") == 0) return render_deep(NULL), 0;
    if (!realpath(arguments[0], self)) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_ends_before_the_stack_of_a_thread),
        cmocka_unit_test(test_depth_ends_before_a_small_stack_of_the_process),
        cmocka_unit_test(test_depth_on_a_usual_stack_is_that_of_the_language),
    };
    return cmocka_run_group_tests_name("template depth", tests, NULL, NULL);
}
