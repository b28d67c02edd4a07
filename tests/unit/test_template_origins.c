/* Where each byte of a rendered chat template came from: what the template wrote against what came in. Every function
 * that makes text is tried by example, and in random nestings with marked characters: those of the input are the
 * input's wherever they end up, those of the template the template's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/template.h"

static json_t *parse(const char *text) {
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (!json) fail_msg("the test's own JSON: %s", error.text);
    return json;
}

/* The text, and for each byte whether it is the input's: both for ci_rendered_free() and free(). */
static bool *render(const char *source, const json_t *context, struct ci_rendered *rendered) {
    struct ci_template *template;
    if (ci_template_create(source, strlen(source), &template) != CLINFER_OK)
        fail_msg("%s: %s", source, clinfer_error());
    if (ci_template_render(template, context, NULL, rendered) != CLINFER_OK)
        fail_msg("%s: %s", source, clinfer_error());
    ci_template_destroy(template);
    bool *input = calloc(rendered->length + 1, sizeof *input);
    size_t at = 0;
    for (size_t i = 0; i < rendered->run_count; i++) {
        const struct ci_rendered_run *run = &rendered->runs[i];
        if (run->length == 0) fail_msg("%s: run %zu is empty", source, i);
        if (i && run->input == run[-1].input) fail_msg("%s: runs %zu and %zu are of one origin", source, i - 1, i);
        if (run->length > rendered->length - at) fail_msg("%s: the runs are longer than the text", source);
        for (size_t j = 0; j < run->length; j++) input[at++] = run->input;
    }
    if (at != rendered->length) fail_msg("%s: runs of %zu bytes for %zu", source, at, rendered->length);
    return input;
}

/* ---- one by one ---- */

/* `origins`: i for a byte of the input, t for one of the template. */
static void expect(const char *source, const char *context_text, const char *text, const char *origins) {
    json_t *context = parse(context_text);
    struct ci_rendered rendered;
    bool *input = render(source, context, &rendered);
    if (strcmp(rendered.text, text)) fail_msg("%s: '%s', not '%s'", source, rendered.text, text);
    assert_int_equal(strlen(origins), rendered.length);
    for (size_t i = 0; i < rendered.length; i++)
        if (input[i] != (origins[i] == 'i'))
            fail_msg("%s: byte %zu of '%s' is the %s's", source, i, text, input[i] ? "input" : "template");
    free(input);
    ci_rendered_free(&rendered);
    json_decref(context);
}

static void test_each_function_keeps_origins(void **state) {
    (void)state;
    static const struct {
        const char *source, *text, *origins;
    } cases[] = {
        {"<{{ x }}>", "<abc def>", "tiiiiiiit"},
        {"", "", ""},
        {"{{ x[:0] }}", "", ""},
        {"{{ bos_token }}{{ '<s>' }}{{ x[0] }}", "[B]<s>a", "tttttti"},
        {"{{ m[0].role ~ '\\n' + m[0]['content'] }}", "user\nhi",
         "ttttt"
         "ii"},
        {"{{ ('-' ~ x)[0:3] }}{{ ('-' ~ x)[-3:] }}{{ ('-' ~ x)[::4] }}", "-abdef- ", "tiiiiiti"},
        {"{{ ('-' ~ x)[1] }}{{ ('-' ~ x)[0] }}{{ ('-' ~ x)|first }}{{ ('-' ~ x)|last }}", "a--f", "itti"},
        {"{{ (' ' ~ x ~ ' ').strip() }}{{ ('-' ~ x)|trim('-') }}{{ ('-' ~ x).rstrip('f') }}", "abc defabc def-abc de",
         "iiiiiiiiiiiiiitiiiiii"},
        {"{{ ('-' ~ x)|replace('a', 'z') }}{{ '-b'.replace('b', x) }}", "-zbc def-abc def", "ttiiiiiitiiiiiii"},
        {"{{ 'ab'|replace('', x[0]) }}", "aaaba", "ititi"},
        {"{{ ('-' ~ x).split('b')|join('+') }}{{ ('- ' ~ x).split()[0] }}", "-a+c def-", "titiiiiit"},
        {"{{ ('-,' ~ x).rsplit(',', 1)|join('/') }}{{ ('-\n' ~ x).splitlines()|join('/') }}", "-/abc def-/abc def",
         "ttiiiiiiittiiiiiii"},
        {"{{ ','.join([x[0], '-', x[1]]) }}{{ x[0].join(['-', '-']) }}", "a,-,b-a-", "itttitit"},
        {"{{ ('z' ~ x)|upper }}{{ ('Z' ~ x).lower() }}{{ ('z' ~ x)|capitalize }}", "ZABC DEFzabc defZabc def",
         "tiiiiiiitiiiiiiitiiiiiii"},
        {"{{ ('z ' ~ x)|title }}{{ ('z ' ~ x).title() }}", "Z Abc DefZ Abc Def", "ttiiiiiiittiiiiiii"},
        {"{{ '%s-%d%%' % (x[0], 5) }}{{ '%s'|format(x[0]) }}{{ (x[0] ~ '%s') % '-' }}", "a-5%aa-", "itttiit"},
        {"{{ '{}-{n}{{'.format(x[0], n=x[1]) }}", "a-b{", "itit"},
        {"{{ [x[0], '-']|tojson }}{{ {x[0]: 1, 'k': none}|tojson }}", "[\"a\", \"-\"]{\"a\": 1, \"k\": null}",
         "ttitttttttttitttttttttttttttt"},
        {"{{ q|tojson }}{{ q|tojson(ensure_ascii=true) }}", "\"\\\"\\n\xc3\xa9\"\"\\\"\\n\\u00e9\"",
         "tiiiiiittiiiiiiiiiit"},
        {"{{ [q] }}{{ {x[0]: '-'} }}", "['\"\\n\xc3\xa9']{'a': '-'}", "ttiiiiittttittttttt"},
        {"{{ x|list|join('-') }}{{ x[:3]|reverse }}{{ ('-' ~ x[0])|reverse }}", "a-b-c- -d-e-fcbaa-",
         "itititititi"
         "ti"
         "iii"
         "it"},
        {"{{ ('-\n' ~ x[0])|indent(1) }}{{ ('-' ~ x[0])|indent(x[1], true) }}", "-\n ab-a",
         "ttti"
         "iti"},
        {"{{ '<' ~ l|escape }}{{ ('-' ~ l)|e }}", "<&lt;-&lt;", "tiiiitiiii"},
        {"{{ ('<'|safe) + l }}{{ '<' + (l|safe) }}", "<&lt;&lt;<", "tiiiitttti"},
        {"{{ x[0] * 2 ~ '-' * 2 ~ ('-' ~ x[0]) * 2 }}", "aa---a-a",
         "iittt"
         "iti"},
        {"{{ n }}{{ x|length }}{{ n > 1 }}{{ x[0] }}{{ none }}", "57TrueaNone", "ttttttitttt"},
        {"{% set y %}<{{ x[0] }}>{% endset %}{{ y }}{{ y|string }}", "<a><a>", "tittit"},
        {"{% filter upper %}<{{ x[0] }}>{% endfilter %}", "<A>", "tit"},
        {"{% macro f(a) %}<{{ a }}>{% endmacro %}{{ f(x[0]) }}{{ f('-') }}", "<a><->", "titttt"},
        {"{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}-{{ x[0] }}{% endcall %}", "<-a>", "ttit"},
        {"{% for c in x[:2] %}{{ c }}-{{ loop.previtem or '.' }}{% endfor %}", "a-.b-a",
         "itt"
         "iti"},
        {"{% set ns = namespace(t='') %}{% for c in x[:3] %}{% set ns.t = ns.t ~ c ~ '-' %}{% endfor %}{{ ns.t }}",
         "a-b-c-", "ititit"},
        {"{% for k, v in d|dictsort %}{{ k }}={{ v }}{% endfor %}", "k=v", "iti"},
        {"{% for k in d %}{{ k }}{% endfor %}{{ d.keys()|list }}{{ d.values()|first }}", "k['k']v", "ittitti"},
        {"{{ [x[1], '-', x[0]]|sort|join }}{{ [x[0], '-']|map('upper')|join }}{{ ['-', x[0]]|max }}", "-abA-a",
         "tiiiti"},
        {"{{ [x[0], '-', x[0]]|unique|join }}{{ [x[0], '']|select|join }}{{ m|map(attribute='role')|join }}", "a-auser",
         "ititttt"},
        {"{% for k, v in d|items %}{{ k }}={{ v }}{% endfor %}{{ m|selectattr('role')|map(attribute='content')|join }}",
         "k=vhi", "itiii"},
        {"{{ [x[0], '-', '']|reject('eq', '')|join }}{{ [{'a': x[0]}]|rejectattr('b')|map('attr', 'a')|join }}", "a-",
         "it"},
        {"{{ y|default('-') }}{{ x[0]|default('-') }}{{ '-' if x else x }}{{ x[0] if x else '-' }}", "-a-a", "titi"},
        {"{{ x.removeprefix('a') }}{{ ('-' ~ x).removesuffix(' def') }}{{ x.get }}", "bc def-abc", "iiiiiitiii"},
        {"{{ '[\"k\"]'|from_json|join }}{{ ('[\"' ~ x ~ '\"]')|from_json|join }}", "kabc def", "tiiiiiii"},
        {"{{ strftime_now('-')}}{{ strftime_now(x[0]) }}", "-a", "ti"},
        {"{{ ['-', x[0]]|sum(start='') }}{{ ('-' ~ x[0])|string ~ ('-' ~ x[0]) }}", "-a-a-a", "tititi"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(cases[i].source,
               "{\"x\": \"abc def\", \"q\": \"\\\"\\n\xc3\xa9\", \"l\": \"<\", \"n\": 5, \"d\": {\"k\": \"v\"}, "
               "\"bos_token\": \"[B]\", \"m\": [{\"role\": \"user\", \"content\": \"hi\"}]}",
               cases[i].text, cases[i].origins);
}

/* What the same concatenation is extended by later does not change what was taken of it before. */
static void test_text_extended_in_place_keeps_its_origins(void **state) {
    (void)state;
    expect("{% set a = '(' ~ '-' %}{% set b = a ~ x %}{% set c = b ~ ')' %}{{ a }}{{ b }}{{ c }}{{ a ~ '+' }}",
           "{\"x\": \"abc\"}", "(-(-abc(-abc)(-+", "ttttiiittiiitttt");
    expect("{% set a = x ~ x %}{% set b = a ~ '-' %}{{ a }}{{ b }}{{ a ~ x }}", "{\"x\": \"a\"}", "aaaa-aaa",
           "iiiitiii");
}

/* ---- random nestings ---- */

/* E stands for another one, X for the input, T for a text of the template. */
static const char *const forms[] = {
    "X",
    "T",
    "E + E",
    "E ~ E",
    "E|trim",
    "E.strip(T)",
    "E.lstrip(X)",
    "E[1:]",
    "E[:-1]",
    "E[::-2]",
    "(E ~ T)[0]",
    "(E ~ X)|last",
    "E|replace('b', E)",
    "E.replace('', E, 3)",
    "E.split('b')|join(E)",
    "E.rsplit(' ', 1)|join(T)",
    "E.split()|join(E)",
    "E.splitlines()|join('-')",
    "E|upper",
    "E|title",
    "E.title()",
    "E|capitalize",
    "'%s b %s' % (E, E)",
    "'{} b {}'.format(E, E)",
    "E|replace('%', '')|format",
    "[E, E]|tojson",
    "{T: E}|tojson(indent=1)",
    "{E: E, X: T}|tojson(ensure_ascii=true)",
    "[E, {E: E}]|string",
    "(E, E)|join",
    "E|list|join('-')",
    "E|reverse",
    "E|indent(2, true)",
    "E|indent(X)",
    "E|escape",
    "(E|safe) + E",
    "f(E)",
    "f(x=E)|upper",
    "(E if E else E)",
    "[E, E, E]|sort|join('-')",
    "[E, E]|unique|join",
    "[E, E]|map('trim')|join(E)",
    "[E, E]|select|join",
    "[E, E]|min",
    "{'k': E}.k",
    "E|default(T)",
    "E * 2",
    "E|string",
    "E.removeprefix(T)",
    "[E, E]|sum(start=E)",
};

/* Of a linear congruence, so that a failure comes again. */
static uint32_t next(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

static size_t generate(uint32_t *seed, int depth, char *out, size_t at, size_t size) {
    const char *form = forms[next(seed, depth > 0 ? sizeof forms / sizeof forms[0] : 2)];
    bool alone = form[1] == 0;
    if (!alone) at += (size_t)snprintf(out + at, size - at, "(");
    for (; *form; form++) {
        bool name = form[1] == 0 || !strchr("abcdefghijklmnopqrstuvwxyz", form[1]);
        if (name && *form == 'E')
            at = generate(seed, depth - 1, out, at, size);
        else if (name && *form == 'T')
            at += (size_t)snprintf(out + at, size - at, "' b\xe2\x98\x86\\n<'");
        else if (name && *form == 'X')
            at += (size_t)snprintf(out + at, size - at, "X");
        else
            at += (size_t)snprintf(out + at, size - at, "%c", *form);
        assert_true(at + 1 < size);
    }
    if (!alone) at += (size_t)snprintf(out + at, size - at, ")");
    return at;
}

/* The input has U+6F22, the template U+2606: each of them is found again as what it was, and the text is the same when
 * the input's text stands in the template. */
static void check_random(uint32_t seed) {
    static const char *const frames[] = {
        "{{ %s }}", "{%% set y %%}-{{ %s }}{%% endset %%}{{ y ~ y }}", "{%% filter trim %%}{{ %s }}-{%% endfilter %%}",
        "{%% set y = namespace(t='') %%}{%% for c in %s %%}{%% set y.t = y.t ~ c %%}{%% endfor %%}{{ y.t }}"};
    static char expression[1 << 17], source[(1 << 17) + 400], literal[(1 << 17) + 800];
    static const char macro[] = "{% macro f(x) %}[{{ x }}]{% endmacro %}";
    json_t *context = parse("{\"X\": \"a b\xe6\xbc\xa2\\n&\"}"), *nothing = json_object();
    uint32_t random = seed;
    expression[generate(&random, 4, expression, 0, sizeof expression)] = 0;
    int length = snprintf(source, sizeof source, "%s", macro);
    snprintf(source + length, sizeof source - (size_t)length, frames[next(&random, 4)], expression);
    snprintf(literal, sizeof literal, "{%% set X = 'a b\xe6\xbc\xa2\\n&' %%}%.*s", (1 << 17) + 400, source);
    struct ci_rendered rendered, same;
    bool *input = render(source, context, &rendered), *none = render(literal, nothing, &same);
    if (rendered.length != same.length || memcmp(rendered.text, same.text, same.length))
        fail_msg("seed %u: %s: '%s', but '%s' from the literal", seed, source, rendered.text, same.text);
    if (same.run_count > 1 || (same.run_count && same.runs[0].input)) fail_msg("seed %u: %s: input?", seed, literal);
    for (size_t i = 0; i < rendered.length; i++) {
        unsigned char byte = (unsigned char)rendered.text[i];
        bool mark = byte == 0xe6 || byte == 0xe2; /* and the two behind it */
        if (!mark) continue;
        for (size_t j = i; j < i + 3; j++)
            if (input[j] != (byte == 0xe6)) fail_msg("seed %u: %s: byte %zu of '%s'", seed, source, j, rendered.text);
    }
    free(input);
    free(none);
    ci_rendered_free(&rendered);
    ci_rendered_free(&same);
    json_decref(context);
    json_decref(nothing);
}

static void test_marked_text_is_found_again(void **state) {
    (void)state;
    for (uint32_t seed = 0; seed < 3000; seed++) check_random(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_function_keeps_origins),
        cmocka_unit_test(test_text_extended_in_place_keeps_its_origins),
        cmocka_unit_test(test_marked_text_is_found_again),
    };
    return cmocka_run_group_tests_name("template origins", tests, NULL, NULL);
}
