/* schema_base.c: the parts of JSON (RFC 8259) that are the same in every grammar. White space is bounded as in
 * llama.cpp's json.gbnf: nothing, a space, or one or two line feeds and at most 20 blanks; there is none before and
 * behind the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/status.h"
#include "grammar/schema_private.h"

void ci_schema_put(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes, ci_grammar_node node) {
    if (compiler->status != CLINFER_OK) return;
    if (!ci_array_reserve(&nodes->items, &nodes->capacity, nodes->count))
        ci_schema_no_memory(compiler);
    else
        nodes->items[nodes->count++] = node;
}

ci_grammar_node ci_schema_end_sequence(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes) {
    ci_grammar_node node = ci_grammar_sequence(compiler->maker, nodes->items, nodes->count);
    free(nodes->items);
    *nodes = (struct ci_schema_nodes){0};
    return node;
}

ci_grammar_node ci_schema_end_choice(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes) {
    ci_grammar_node node = ci_grammar_choice(compiler->maker, nodes->items, nodes->count);
    free(nodes->items);
    *nodes = (struct ci_schema_nodes){0};
    return node;
}

ci_grammar_node ci_schema_text(struct ci_schema_compiler *compiler, const char *text) {
    return ci_grammar_text(compiler->maker, text, strlen(text));
}

/* A call of a rule that is made when it is first needed; *known: whether it was there. */
static ci_grammar_node shared(struct ci_schema_compiler *compiler, const char *name, int *rule, bool *known) {
    *known = *rule >= 0;
    if (!*known) *rule = ci_grammar_rule(compiler->maker, name, strlen(name));
    return ci_grammar_call(compiler->maker, *rule);
}

#define SEQUENCE(compiler, ...)                                                                                        \
    ci_grammar_sequence((compiler)->maker, (const ci_grammar_node[]){__VA_ARGS__},                                     \
                        sizeof(const ci_grammar_node[]){__VA_ARGS__} / sizeof(ci_grammar_node))
#define CHOICE(compiler, ...)                                                                                          \
    ci_grammar_choice((compiler)->maker, (const ci_grammar_node[]){__VA_ARGS__},                                       \
                      sizeof(const ci_grammar_node[]){__VA_ARGS__} / sizeof(ci_grammar_node))

static ci_grammar_node range(struct ci_schema_compiler *compiler, uint32_t first, uint32_t last) {
    return ci_grammar_set(compiler->maker, &(struct ci_grammar_range){first, last}, 1, false);
}

static ci_grammar_node optional(struct ci_schema_compiler *compiler, ci_grammar_node node) {
    return ci_grammar_repeat(compiler->maker, node, 0, 1);
}

ci_grammar_node ci_schema_space(struct ci_schema_compiler *compiler) {
    static const struct ci_grammar_range blanks[] = {{' ', ' '}, {'\t', '\t'}};
    bool known;
    ci_grammar_node call = shared(compiler, "space", &compiler->space, &known);
    if (!known)
        ci_grammar_define(
            compiler->maker, compiler->space,
            optional(compiler,
                     CHOICE(compiler, ci_schema_text(compiler, " "),
                            SEQUENCE(compiler, ci_grammar_repeat(compiler->maker, ci_schema_text(compiler, "\n"), 1, 2),
                                     ci_grammar_repeat(compiler->maker,
                                                       ci_grammar_set(compiler->maker, blanks, 2, false), 0, 20)))));
    return call;
}

ci_grammar_node ci_schema_comma(struct ci_schema_compiler *compiler) {
    return SEQUENCE(compiler, ci_schema_text(compiler, ","), ci_schema_space(compiler));
}

ci_grammar_node ci_schema_colon(struct ci_schema_compiler *compiler) {
    return SEQUENCE(compiler, ci_schema_space(compiler), ci_schema_text(compiler, ":"), ci_schema_space(compiler));
}

/* ---- strings ---- */

static ci_grammar_node hex(struct ci_schema_compiler *compiler, uint32_t count) {
    static const struct ci_grammar_range digits[] = {{'0', '9'}, {'a', 'f'}, {'A', 'F'}};
    return ci_grammar_repeat(compiler->maker, ci_grammar_set(compiler->maker, digits, 3, false), count, count);
}

static ci_grammar_node one_of(struct ci_schema_compiler *compiler, const char *characters) {
    struct ci_grammar_range ranges[32];
    size_t count = 0;
    for (; characters[count]; count++)
        ranges[count] = (struct ci_grammar_range){(unsigned char)characters[count], (unsigned char)characters[count]};
    return ci_grammar_set(compiler->maker, ranges, count, false);
}

/* \uXXXX of a character, or a pair of surrogates of one: a lone one is no character, and zero is none that C's strings
 * hold. */
static ci_grammar_node unicode_escape(struct ci_schema_compiler *compiler) {
    ci_grammar_node d = one_of(compiler, "dD"),
                    low = SEQUENCE(compiler, d, range(compiler, '0', '7'), hex(compiler, 2));
    ci_grammar_node zero = ci_schema_text(compiler, "0"), plain = hex(compiler, 1);
    ci_grammar_node not_zero = one_of(compiler, "123456789abcdefABCDEF");
    ci_grammar_node pair = SEQUENCE(compiler, d, one_of(compiler, "89abAB"), hex(compiler, 2),
                                    ci_schema_text(compiler, "\\u"), d, one_of(compiler, "cdefCDEF"), hex(compiler, 2));
    ci_grammar_node zeros =
        CHOICE(compiler, SEQUENCE(compiler, zero, not_zero, hex(compiler, 2)),
               SEQUENCE(compiler, zero, zero, not_zero, plain), SEQUENCE(compiler, zero, zero, zero, not_zero));
    ci_grammar_node others = SEQUENCE(compiler, one_of(compiler, "123456789abcefABCEF"), hex(compiler, 3));
    return SEQUENCE(compiler, ci_schema_text(compiler, "u"), CHOICE(compiler, others, zeros, low, pair));
}

ci_grammar_node ci_schema_character(struct ci_schema_compiler *compiler) {
    static const struct ci_grammar_range others[] = {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}, {0x7f, 0x7f}};
    bool known;
    ci_grammar_node call = shared(compiler, "character", &compiler->character, &known);
    if (!known)
        ci_grammar_define(compiler->maker, compiler->character,
                          CHOICE(compiler, ci_grammar_set(compiler->maker, others, 4, true),
                                 SEQUENCE(compiler, ci_schema_text(compiler, "\\"),
                                          CHOICE(compiler, one_of(compiler, "\"\\bfnrt"), unicode_escape(compiler)))));
    return call;
}

ci_grammar_node ci_schema_any_string(struct ci_schema_compiler *compiler) {
    bool known;
    ci_grammar_node call = shared(compiler, "string", &compiler->string, &known), quote;
    if (!known) {
        quote = ci_schema_text(compiler, "\"");
        ci_grammar_define(
            compiler->maker, compiler->string,
            SEQUENCE(compiler, quote,
                     ci_grammar_repeat(compiler->maker, ci_schema_character(compiler), 0, CI_GRAMMAR_NO_END), quote));
    }
    return call;
}

/* ---- numbers ---- */

/* Exponents of at most two digits: no double overflows. */
ci_grammar_node ci_schema_any_number(struct ci_schema_compiler *compiler, bool integer) {
    struct ci_grammar_maker *maker = compiler->maker;
    bool known;
    ci_grammar_node call = integer ? shared(compiler, "integer", &compiler->integer, &known)
                                   : shared(compiler, "number", &compiler->number, &known);
    if (known) return call;
    ci_grammar_node digit = range(compiler, '0', '9'), zero = ci_schema_text(compiler, "0");
    ci_grammar_node first = range(compiler, '1', '9');
    ci_grammar_node whole =
        CHOICE(compiler, zero, SEQUENCE(compiler, first, ci_grammar_repeat(maker, digit, 0, CI_SCHEMA_DIGITS - 1)));
    ci_grammar_node exponent = CHOICE(compiler, zero, SEQUENCE(compiler, first, optional(compiler, digit)));
    ci_grammar_node sign = optional(compiler, ci_schema_text(compiler, "-"));
    ci_grammar_node fraction =
        SEQUENCE(compiler, ci_schema_text(compiler, "."), ci_grammar_repeat(maker, digit, 1, CI_SCHEMA_DIGITS));
    ci_grammar_node power =
        SEQUENCE(compiler, one_of(compiler, "eE"), optional(compiler, one_of(compiler, "-+")), exponent);
    ci_grammar_define(maker, integer ? compiler->integer : compiler->number,
                      integer
                          ? SEQUENCE(compiler, sign, whole)
                          : SEQUENCE(compiler, sign, whole, optional(compiler, fraction), optional(compiler, power)));
    return call;
}

/* ---- any value, level by level ---- */

static ci_grammar_node list(struct ci_schema_compiler *compiler, const char *open, ci_grammar_node item,
                            const char *close) {
    item = SEQUENCE(compiler, item, ci_schema_space(compiler));
    ci_grammar_node rest = SEQUENCE(compiler, ci_schema_comma(compiler), item);
    ci_grammar_node items = SEQUENCE(compiler, item, ci_grammar_repeat(compiler->maker, rest, 0, CI_GRAMMAR_NO_END));
    return SEQUENCE(compiler, ci_schema_text(compiler, open), ci_schema_space(compiler), optional(compiler, items),
                    ci_schema_text(compiler, close));
}

static ci_grammar_node any_at(struct ci_schema_compiler *compiler, int level);

static ci_grammar_node object_at(struct ci_schema_compiler *compiler, int level) {
    return list(compiler, "{",
                SEQUENCE(compiler, ci_schema_any_string(compiler), ci_schema_colon(compiler), any_at(compiler, level)),
                "}");
}

static ci_grammar_node array_at(struct ci_schema_compiler *compiler, int level) {
    return list(compiler, "[", any_at(compiler, level), "]");
}

static ci_grammar_node any_at(struct ci_schema_compiler *compiler, int level) {
    char name[24];
    bool known;
    snprintf(name, sizeof name, "any%d", level);
    ci_grammar_node call = shared(compiler, name, &compiler->any[level], &known);
    if (known) return call;
    ci_grammar_node scalar =
        CHOICE(compiler, ci_schema_any_string(compiler), ci_schema_any_number(compiler, false),
               ci_schema_text(compiler, "true"), ci_schema_text(compiler, "false"), ci_schema_text(compiler, "null"));
    ci_grammar_define(
        compiler->maker, compiler->any[level],
        level == 0 ? scalar : CHOICE(compiler, object_at(compiler, level - 1), array_at(compiler, level - 1), scalar));
    return call;
}

ci_grammar_node ci_schema_any_value(struct ci_schema_compiler *compiler) {
    return any_at(compiler, CI_SCHEMA_MOST_LEVELS);
}

/* ---- one value ---- */

/* The shortest decimal that is read back as the same number. */
static ci_grammar_node real(struct ci_schema_compiler *compiler, double value) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return ci_schema_text(compiler, text);
}

static ci_grammar_node scalar(struct ci_schema_compiler *compiler, const json_t *value) {
    if (json_is_real(value)) return real(compiler, json_real_value(value));
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    ci_grammar_node node = text ? ci_schema_text(compiler, text) : CI_GRAMMAR_NONE;
    if (!text) ci_schema_no_memory(compiler);
    free(text);
    return node;
}

/* Values nest no deeper than jansson reads; white space may stand in them as elsewhere. */
ci_grammar_node ci_schema_literal(struct ci_schema_compiler *compiler, const json_t *value) {
    struct ci_schema_nodes nodes = {0};
    bool object = json_is_object(value);
    if (!object && !json_is_array(value)) return scalar(compiler, value);
    void *iterator = object ? json_object_iter((json_t *)value) : NULL;
    size_t count = object ? json_object_size(value) : json_array_size(value);
    ci_schema_put(compiler, &nodes, ci_schema_text(compiler, object ? "{" : "["));
    ci_schema_put(compiler, &nodes, ci_schema_space(compiler));
    for (size_t i = 0; i < count && ci_schema_step(compiler, 1); i++) {
        if (i > 0) ci_schema_put(compiler, &nodes, ci_schema_comma(compiler));
        if (object) {
            json_t *key = json_string(json_object_iter_key(iterator));
            ci_schema_put(compiler, &nodes, scalar(compiler, key));
            ci_schema_put(compiler, &nodes, ci_schema_colon(compiler));
            json_decref(key);
        }
        ci_schema_put(
            compiler, &nodes,
            ci_schema_literal(compiler, object ? json_object_iter_value(iterator) : json_array_get(value, i)));
        ci_schema_put(compiler, &nodes, ci_schema_space(compiler));
        if (object) iterator = json_object_iter_next((json_t *)value, iterator);
    }
    ci_schema_put(compiler, &nodes, ci_schema_text(compiler, object ? "}" : "]"));
    return ci_schema_end_sequence(compiler, &nodes);
}
