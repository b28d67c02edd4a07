/* The bounds of chat templates: whatever a template does is paid for before it is done, so that steps bound the time;
 * a rendering can be stopped from outside. Depth is in test_template_depth.c. */
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
#include "tests/support/slowness.h"
#include "tests/support/template_text.h"

/* A step may take 20 ns: five times that here, as the machine may be slow or busy. */
#define STEP_SECONDS (100e-9 * SLOWNESS)

/* Of this process. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- every operation ---- */

/* A short and a long text of ASCII, one that is not, one to be escaped, numbers, nested lists, two dictionaries. */
static json_t *make_context(size_t size) {
    static const char *const units[][2] = {
        {"S", "a"},         {"Z", "a"},       {"V", "a\xc3\xa9\xe6\xbc\xa2<\xd0\x96"},
        {"W", "\n\"\x01<"}, {"A", "a "},      {"B", "a\n"},
        {"P", "%s"},        {"F", "{}"},      {"J", "{},"},
        {"K", "[1.5,"},     {"U", "\xc3\xa9"}};
    json_t *context = json_object(), *list = json_array(), *same = json_array(), *dict = json_object();
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        char *text = template_repeated(units[i][1], size < 8 ? 8 : size);
        json_object_set_new(context, units[i][0], json_string(text));
        free(text);
    }
    for (size_t i = 0; i < size; i++) {
        char key[32];
        snprintf(key, sizeof key, "key%08zu", i);
        json_array_append_new(list, json_integer((json_int_t)i));
        json_array_append_new(same, json_integer((json_int_t)i));
        if (i < 5000) json_object_set_new(dict, key, json_integer((json_int_t)i));
    }
    json_object_set_new(context, "L", list);
    json_object_set_new(context, "M", same);
    json_object_set_new(context, "D", dict);
    json_object_set_new(context, "E", json_deep_copy(dict));
    return context;
}

static const char *const operations[] = {
    "S.strip(Z)",
    "S.strip(U)",
    "U.strip(V)",
    "A|trim('a ')",
    "(' ' * 999).strip()",
    "S|upper",
    "V|upper",
    "V|lower",
    "V|title",
    "S.title()",
    "S|capitalize",
    "S.startswith(Z)",
    "S.endswith((Z, S))",
    "S == Z",
    "S < Z",
    "S in Z",
    "S.find('b')",
    "S.find(Z ~ 'b')",
    "S.rfind('b')",
    "S.rfind('b' ~ Z[1:])",
    "S.count('a')",
    "S.count('aa')",
    "S.replace('a', 'b')",
    "S.replace('', 'b')",
    "S.replace('b', '')",
    "S.split('a')",
    "A.split()",
    "S.rsplit('a')",
    "B.splitlines()",
    "S.join(L|map('string')|list)",
    "','.join(S)",
    "F.format(1)",
    "F.format(a=1, b=2)",
    "V.isalpha()",
    "V.isupper()",
    "V is lower",
    "V|length",
    "V[1:]",
    "V[-1]",
    "V[::-1]",
    "V|list",
    "V|reverse",
    "B|indent(3)",
    "S|indent(S)",
    "W|escape",
    "P|format(1)",
    "'%f' % 1e308",
    "'%d' % 123456789012345",
    "V|wordcount",
    "K|replace('1.5,', '')|from_json",
    "('[' ~ J ~ '1]')|from_json",
    "('[' ~ L|join(',') ~ ']')|from_json",
    "'1.5e300'|float",
    "S|int",
    "1.23456789012|round(300)",
    "1e308|round(-300)",
    "5e-324|string",
    "1.7976931348623157e308|string",
    "123456789|string",
    "1e308 % 1e-308",
    "1e308 // 5e-324",
    "1.5 ** 2.5",
    "3 ** 39",
    "L|sum",
    "L|sort",
    "L|sort(reverse=true)",
    "L|max",
    "L|unique",
    "L|map('string')",
    "L|map('default', a=1, b=2)",
    "L|select('odd')",
    "L|select('in', [1])",
    "L|join(S)",
    "L|reverse",
    "L + M",
    "L * 2",
    "L == M",
    "L < M",
    "-1 in L",
    "L.index(-1) if L.count(-1) else 0",
    "L[::-1]",
    "L|tojson",
    "L|tojson(indent=100)",
    "L|string",
    "V|tojson",
    "W|tojson",
    "V|tojson(ensure_ascii=true)",
    "[W, V]|string",
    "D.x",
    "D['keyx']",
    "D.get(S)",
    "D|items",
    "D.keys()",
    "D|dictsort",
    "D|dictsort(by='value')",
    "D|tojson(sort_keys=true)",
    "D == E",
    "dict(D, a=1)",
    "D|string",
    "m(S)",
    "m(b=2, a=1)",
    "range(9999)",
    "strftime_now('%c' * 60)",
    "namespace(a=1).a",
    "S is filter",
    "S ~ Z",
    "(S|safe) + W",
    "S * 3",
    "1",
    "x",
    "loop.nextitem",
    "[1, 2, 3]",
    "{'a': 1, 'b': 2}",
    "1 + 1",
    "1 if 0 else 2",
    "S|attr('upper')",
    "S.removeprefix(Z)",
    "L|map(attribute=S)|list",
    "L|map(attribute='a.b')|list",
    "[L, D]|map('tojson')|list",
    "L|min",
    "L|first",
    "S|first",
    "S|last",
    "[D]|selectattr('x')|list",
    "[D, D]|rejectattr('x', 'eq', S)|list",
    "L|reject('even')|list",
    "S|select('ne', 'a')|list",
    "S.lstrip(Z)",
    "S.rstrip(Z)",
    "S.removesuffix(Z)",
    "D.values()",
    "D.copy()",
    "S.isdigit()",
    "S.isalnum()",
    "A.isspace()",
    "S is sameas(Z)",
    "S is lt Z",
    "L is ge M",
    "L is sequence",
    "S is test",
    "x is defined",
    "99 is divisibleby 3",
    "-5|abs",
    "S[1:].islower()",
    "L is in [M]",

};

static bool never(void *user) {
    ++*(size_t *)user;
    return false;
}

/* In a loop without end, which gives way to an error; a thousand steps for each look from outside. */
static void test_every_operation_is_paid_for(void **state) {
    (void)state;
    enum { STEPS = 400000 };
    static const size_t sizes[] = {1, 300, 30000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        json_t *context = make_context(sizes[i]);
        for (size_t j = 0; j < sizeof operations / sizeof operations[0]; j++) {
            char source[1000];
            snprintf(source, sizeof source,
                     "{%% macro m(a, b=1) %%}{{ a }}{%% endmacro %%}{%% for i in range(99999) %%}"
                     "{%% for j in range(99999) %%}{%% if (%s) %%}{%% endif %%}{%% endfor %%}{%% endfor %%}",
                     operations[j]);
            size_t looks = 0;
            const struct ci_template_limits limits = {.steps = STEPS, .stop = never, .user = &looks};
            struct ci_rendered rendered;
            double start = seconds();
            enum clinfer_status status = template_render(source, context, &limits, &rendered);
            double taken = seconds() - start;
            if (status == CLINFER_OK) fail_msg("'%s' of %zu does not end in an error", operations[j], sizes[i]);
            if (taken > STEPS * STEP_SECONDS + 0.02 * SLOWNESS)
                fail_msg("'%s' of %zu: %.0f ms, %s", operations[j], sizes[i], taken * 1e3, clinfer_error());
            if (looks == 0) fail_msg("'%s' of %zu: no look: %s", operations[j], sizes[i], clinfer_error());
        }
        json_decref(context);
    }
}

static void test_what_is_linear_is_done(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{{ (' ' * 1000000).strip('x' * 1000000)|length }}", "1000000"},
        {"{{ ('x' * 1000000).strip('yx' * 500000)|length }}", "0"},
        {"{{ ('a,' * 200000).split(',')|length }}", "200001"},
        {"{{ ('a' * 1000000).count('aa') }}", "500000"},
        {"{{ (('ab' * 300000) ~ 'c').find('bc') }}", "599999"},
        {"{{ ('a' * 1000000).replace('a', 'b').count('b') }}", "1000000"},
    };
    json_t *context = json_object();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ci_rendered rendered;
        double start = seconds();
        if (template_render(cases[i][0], context, NULL, &rendered) != CLINFER_OK)
            fail_msg("%s: %s", cases[i][0], clinfer_error());
        assert_string_equal(rendered.text, cases[i][1]);
        if (seconds() - start > 1.0 * SLOWNESS) fail_msg("%s: %.1f s", cases[i][0], seconds() - start);
        ci_rendered_free(&rendered);
    }
    json_decref(context);
}

/* ---- sources ---- */

/* `before`, as much of `unit` as fits in the longest source, `after`. */
static char *longest(const char *before, const char *unit, const char *after) {
    size_t fixed = strlen(before) + strlen(after);
    char *middle = template_repeated(unit, 512 * 1024 - fixed), *source = malloc(strlen(middle) + fixed + 1);
    stpcpy(stpcpy(stpcpy(source, before), middle), after);
    free(middle);
    return source;
}

static void test_any_source_is_read_and_rendered_within_a_second(void **state) {
    (void)state;
    static const char *const shapes[][3] = {
        {"{{ 1", "+1", " }}"},
        {"{{ 1", "~1", " }}"},
        {"{{ 1", "<1", " }}"},
        {"{{ 1", " and 1", " }}"},
        {"{{ x", "|d", " }}"},
        {"{{ x", ".a", " }}"},
        {"{{ 1", " if 1", " }}"},
        {"{{ 1", " is eq 1", " }}"},
        {"{{ [", "1,", "] }}"},
        {"{{ ", "1,", " }}"},
        {"{{ {", "1:1,", "} }}"},
        {"{{ ", "''", " }}"},
        {"", "{{1}}", ""},
        {"", "{%if 1%}{%endif%}", ""},
        {"{%if 0%}", "{%elif 0%}", "{%endif%}"},
        {"", "{%set a=1%}", ""},
        {"{#", "-", ""},
        {"{#", " ", "#}"},
        {"{%raw%}", "{% ", ""},
        {"{%raw%}", "{%  -", "{%endraw%}"},
        {"", " ", ""},
        {"", " {%-if 1-%} {%-endif-%} ", ""},
        {"", "\n {% if 1 %}\n{% endif %}", ""},
        {"", "\r", ""},
        {"{{ ", "1", " }}"},
        {"{{ ", "a", " }}"},
        {"{{ '", "a", "' }}"},
        {"{{ '", "\\n", "' }}"},
        {"", "{", ""},
        {"{{ '", "\xff", "'|upper|title|tojson|string|escape }}"},
        {"{{ f(", "a,", ") }}"},
        {"{%macro f(a)%}{%endmacro%}{{ f(", "a=1,", ") }}"},
        {"{{ ", "(", " }}"},
    };
    json_t *context = json_object();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char *source = longest(shapes[i][0], shapes[i][1], shapes[i][2]);
        struct ci_rendered rendered;
        double start = seconds();
        template_render(source, context, NULL, &rendered);
        if (seconds() - start > 1.0 * SLOWNESS)
            fail_msg("%s%s%s: %.1f s", shapes[i][0], shapes[i][1], shapes[i][2], seconds() - start);
        ci_rendered_free(&rendered);
        free(source);
    }
    json_decref(context);
}

/* Names that fall into one place of the parser's table, and arguments that nobody asks for. */
static void test_many_names_are_paid_for(void **state) {
    (void)state;
    static const char *const ends[][2] = {
        {"{{ range(9999)|map('default', ", ")|list }}"},
        {"{{ ('{zz}' * 9999).format(", ") }}"},
        {"{{ dict(", ")|length }}"},
        {"{% macro f() %}{% endmacro %}{{ f(", ") }}"},
        {"{% for i in range(1) %}{% set x = namespace(", ") %}{% endfor %}"},
    };
    json_t *context = json_object();
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char *source = malloc(512 * 1024), *end = stpcpy(source, ends[i][0]);
        for (int name = 0; name < 30000; name++) end += sprintf(end, "a%x=1, ", (unsigned)name);
        strcpy(end, ends[i][1]);
        struct ci_rendered rendered;
        double start = seconds();
        template_render(source, context, NULL, &rendered);
        if (seconds() - start > 1.0 * SLOWNESS) fail_msg("%s: %.1f s", ends[i][0], seconds() - start);
        ci_rendered_free(&rendered);
        free(source);
    }
    json_decref(context);
}

/* What real templates take is a small part: the default budget is for conversations of any length. */
static void test_real_templates_take_little(void **state) {
    (void)state;
    static const char *const names[] = {"chat_tools.jinja", "smollm2.jinja"};
    json_t *context = json_pack("{s:[], s:b, s:s, s:s, s:n, s:n}", "messages", "add_generation_prompt", 1, "bos_token",
                                "<s>", "eos_token", "</s>", "tools", "documents");
    char *text = template_repeated("Why is the sky blue? ", 2000);
    for (int i = 0; i < 200; i++)
        json_array_append_new(json_object_get(context, "messages"),
                              json_pack("{s:s, s:s}", "role", i % 2 ? "assistant" : "user", "content", text));
    free(text);
    const struct ci_template_limits limits = {.steps = CI_TEMPLATE_STEPS / 20};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256], *source;
        size_t size;
        snprintf(path, sizeof path, "tests/data/templates/%s", names[i]);
        assert_int_equal(ci_file_read(path, 1 << 20, &source, &size), CLINFER_OK);
        struct ci_rendered rendered;
        if (template_render(source, context, &limits, &rendered) != CLINFER_OK)
            fail_msg("%s: %s", path, clinfer_error());
        assert_true(rendered.length > 400000);
        ci_rendered_free(&rendered);
        free(source);
    }
    json_decref(context);
}

/* ---- from outside ---- */

struct caller {
    size_t looks, until;
    double last, longest;
};

static bool look(void *user) {
    struct caller *caller = user;
    double now = seconds();
    if (caller->looks++ && now - caller->last > caller->longest) caller->longest = now - caller->last;
    caller->last = now;
    return caller->looks > caller->until;
}

static void test_rendering_stops_when_told_to(void **state) {
    (void)state;
    const char *source = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
    json_t *context = json_object();
    for (size_t until = 0; until < 3; until++) {
        struct caller caller = {.until = until};
        const struct ci_template_limits limits = {.stop = look, .user = &caller};
        struct ci_rendered rendered;
        assert_int_equal(template_render(source, context, &limits, &rendered), CLINFER_CANCELLED);
        assert_null(rendered.text);
        assert_int_equal(caller.looks, until + 1);
    }
    json_decref(context);
}

/* No piece of work is so large that a caller would wait for it: 20 ms where 50 are promised. */
static void test_looks_are_not_far_between(void **state) {
    (void)state;
    static const char *const sources[] = {
        "{{ (' ' * 1000000).strip('x' * 1000000) }}",
        "{{ ('a' * 2000000)|upper|title|reverse|list|length }}",
        "{{ ('a' * 9000000)|replace('b', 'c')|length }}",
        "{{ ([1] * 900000)|sort|unique|length }}",
        "{{ ('[' ~ ('[],' * 150000) ~ '1]')|from_json|length }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ [1] * 3000000 == [1] * 300000 }}",
        "{{ range(99999)|list|tojson|from_json|tojson|length }}",
    };
    json_t *context = json_object();
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct caller caller = {.until = SIZE_MAX};
        const struct ci_template_limits limits = {.stop = look, .user = &caller};
        struct ci_rendered rendered;
        template_render(sources[i], context, &limits, &rendered);
        if (caller.longest > 0.05 * SLOWNESS) fail_msg("%s: %.0f ms without a look", sources[i], caller.longest * 1e3);
        ci_rendered_free(&rendered);
    }
    json_decref(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation_is_paid_for),
        cmocka_unit_test(test_what_is_linear_is_done),
        cmocka_unit_test(test_any_source_is_read_and_rendered_within_a_second),
        cmocka_unit_test(test_many_names_are_paid_for),
        cmocka_unit_test(test_real_templates_take_little),
        cmocka_unit_test(test_rendering_stops_when_told_to),
        cmocka_unit_test(test_looks_are_not_far_between),
    };
    return cmocka_run_group_tests_name("template limits", tests, NULL, NULL);
}
