/* schema_object.c: objects: the properties that are named, in the schema's order, then others.
 *
 * A rule for each property and number of properties before it, as far as that matters: whether a comma is needed,
 * minProperties, maxProperties. Each ends with the call of the next, so they take no stack. The names of others are one
 * automaton, which tells which patternProperties they match and keeps the known names out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/regex.h"
#include "grammar/schema_private.h"

enum { MOST_PATTERNS = CI_REGEX_MOST_BITS - 2 };

struct property {
    const char *key;
    bool required, nothing; /* nothing: it has no possible value */
    ci_grammar_node member; /* "key": value */
};

struct pattern {
    uint32_t place; /* of the schema that has it */
    uint32_t value; /* its subschema */
};

struct object {
    struct ci_schema_compiler *compiler;
    const struct ci_schema_set *set;
    struct property *properties;
    size_t count, capacity, number;
    json_t *index; /* of properties by their keys */
    struct pattern patterns[MOST_PATTERNS];
    unsigned pattern_count;
    struct ci_regex *regex; /* of the patterns, by their bits; NULL: there are none */
    struct ci_schema_nodes others;
    uint32_t least, most, least_place;
    bool named, told; /* some schema names properties; some has additionalProperties */
    size_t saturated; /* numbers of properties from here on are the same */
};

/* ---- what is said ---- */

static void add_property(struct object *object, const char *key, bool required) {
    struct ci_schema_compiler *compiler = object->compiler;
    json_t *known = json_object_get(object->index, key);
    if (!ci_schema_step(compiler, 1)) return;
    if (known && object->properties) {
        struct property *property = &object->properties[json_integer_value(known)];
        property->required = property->required || required;
        return;
    }
    if (!ci_array_reserve(&object->properties, &object->capacity, object->count) ||
        json_object_set_new(object->index, key, json_integer((json_int_t)object->count)) != 0) {
        ci_schema_no_memory(compiler);
        return;
    }
    object->properties[object->count++] = (struct property){.key = key, .required = required};
}

static void add_pattern(struct object *object, uint32_t place, const char *pattern) {
    struct ci_schema_compiler *compiler = object->compiler;
    enum clinfer_status status = CLINFER_OK;
    uint32_t patterns = ci_schema_child(compiler, place, "patternProperties");
    if (object->pattern_count == MOST_PATTERNS) {
        ci_schema_fail(compiler, patterns, NULL, CLINFER_UNSUPPORTED, "more than %d patterns at once", MOST_PATTERNS);
        return;
    }
    if (!object->regex) status = ci_regex_create(&object->regex);
    if (status == CLINFER_OK) status = ci_regex_add(object->regex, pattern, strlen(pattern), object->pattern_count);
    if (status != CLINFER_OK) ci_schema_fail(compiler, patterns, pattern, status, "%s", clinfer_error());
    object->patterns[object->pattern_count++] = (struct pattern){place, ci_schema_child(compiler, patterns, pattern)};
}

static void gather(struct object *object) {
    struct ci_schema_compiler *compiler = object->compiler;
    size_t at = 0;
    uint32_t place, bound;
    const json_t *schema;
    while (ci_schema_next(compiler, object->set, &at, &place, &schema) && compiler->status == CLINFER_OK) {
        json_t *properties = json_object_get(schema, "properties");
        json_t *patterns = json_object_get(schema, "patternProperties");
        object->named = object->named || properties || patterns;
        object->told = object->told || json_object_get(schema, "additionalProperties");
        for (void *i = json_object_iter(properties); i; i = json_object_iter_next(properties, i))
            add_property(object, json_object_iter_key(i), false);
        for (void *i = json_object_iter(patterns); i; i = json_object_iter_next(patterns, i))
            add_pattern(object, place, json_object_iter_key(i));
        if (ci_schema_count(compiler, place, "minProperties", &bound) && bound > object->least) {
            object->least = bound;
            object->least_place = place;
        }
        if (ci_schema_count(compiler, place, "maxProperties", &bound) && bound < object->most) object->most = bound;
    }
    at = 0;
    while (ci_schema_next(compiler, object->set, &at, &place, &schema)) {
        const json_t *required = json_object_get(schema, "required");
        for (size_t i = 0; i < json_array_size(required); i++)
            add_property(object, json_string_value(json_array_get(required, i)), true);
    }
}

/* ---- values of properties ---- */

/* What the value of a property must be: `named` by its key, and by the patterns that the key matches; where a schema
 * has neither, by its additionalProperties. */
static struct ci_schema_set make_set(struct object *object, const char *key, uint64_t bits) {
    struct ci_schema_compiler *compiler = object->compiler;
    struct ci_schema_set set = {0};
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, object->set, &at, &place, &schema) && ci_schema_step(compiler, 1)) {
        bool spoken = false;
        if (key && json_object_get(json_object_get(schema, "properties"), key)) {
            void *iterator = json_object_iter_at(json_object_get(schema, "properties"), key);
            ci_schema_add(compiler, &set,
                          ci_schema_child(compiler, ci_schema_child(compiler, place, "properties"),
                                          json_object_iter_key(iterator)));
            spoken = true;
        }
        for (unsigned i = 0; i < object->pattern_count; i++) {
            if (object->patterns[i].place != place || !(bits >> i & 1)) continue;
            ci_schema_add(compiler, &set, object->patterns[i].value);
            spoken = true;
        }
        if (!spoken && json_object_get(schema, "additionalProperties"))
            ci_schema_add(compiler, &set, ci_schema_child(compiler, place, "additionalProperties"));
    }
    return set;
}

static ci_grammar_node make_member(struct object *object, ci_grammar_node key, struct ci_schema_set *set) {
    struct ci_schema_compiler *compiler = object->compiler;
    ci_grammar_node colon = ci_schema_colon(compiler), value = ci_schema_value(compiler, set);
    return ci_grammar_sequence(compiler->maker, (const ci_grammar_node[]){key, colon, value, ci_schema_space(compiler)},
                               4);
}

static void make_known(struct object *object) {
    struct ci_schema_compiler *compiler = object->compiler;
    for (size_t i = 0; i < object->count && compiler->status == CLINFER_OK; i++) {
        struct property *property = &object->properties[i];
        uint64_t bits = 0;
        size_t before = CI_SCHEMA_MOST_STEPS - compiler->steps, budget = before;
        if (object->regex &&
            ci_regex_match(object->regex, property->key, strlen(property->key), &budget, &bits) != CLINFER_OK)
            ci_schema_step(compiler, before + 1);
        if (!ci_schema_step(compiler, before - budget)) break;
        struct ci_schema_set set = make_set(object, property->key, bits);
        property->nothing = set.nothing;
        if (set.nothing && property->required) ci_schema_contradicts(compiler, object->set);
        json_t *key = json_string(property->key);
        if (!key) ci_schema_no_memory(compiler);
        property->member = make_member(object, key ? ci_schema_literal(compiler, key) : CI_GRAMMAR_NONE, &set);
        json_decref(key);
    }
}

/* ---- other properties ---- */

static void put_others(struct object *object, const struct ci_automaton *automaton, uint64_t mask, uint64_t bits) {
    struct ci_schema_compiler *compiler = object->compiler;
    struct ci_schema_set set = make_set(object, NULL, bits);
    if (set.nothing || compiler->status != CLINFER_OK) {
        free(set.items);
        return;
    }
    ci_grammar_node key =
        automaton ? ci_schema_automaton(compiler, automaton, mask, bits) : ci_schema_any_string(compiler);
    ci_schema_put(compiler, &object->others, make_member(object, key, &set));
}

static int by_bits(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* For each set of patterns that a name can match at once its members; names of known properties are left out. */
static void put_matching(struct object *object, const struct ci_automaton *automaton, bool open) {
    unsigned names = object->pattern_count;
    uint64_t mask = (UINT64_C(1) << (names + 1)) - 1, *bits = malloc((automaton->state_count + 1) * sizeof *bits);
    size_t count = 0;
    if (!bits) {
        ci_schema_no_memory(object->compiler);
        return;
    }
    for (size_t i = 0; i < automaton->state_count; i++) bits[count++] = automaton->states[i].bits & mask;
    qsort(bits, count, sizeof *bits, by_bits);
    for (size_t i = 0; i < count; i++) {
        if ((i > 0 && bits[i] == bits[i - 1]) || bits[i] >> names & 1) continue;
        if (bits[i] != 0 || open) put_others(object, automaton, mask, bits[i]);
    }
    free(bits);
}

/* Without an automaton where every name is possible. */
static void make_others(struct object *object) {
    struct ci_schema_compiler *compiler = object->compiler;
    struct ci_automaton *automaton = NULL;
    bool open = object->told || !object->named;
    enum clinfer_status status = CLINFER_OK;
    if (compiler->status != CLINFER_OK || (!open && object->pattern_count == 0)) return;
    if (open && object->pattern_count == 0) {
        struct ci_schema_set set = make_set(object, NULL, 0);
        bool nothing = set.nothing;
        free(set.items);
        if (nothing) return;
    }
    if (object->count == 0 && object->pattern_count == 0) {
        put_others(object, NULL, 0, 0);
        return;
    }
    size_t before = CI_SCHEMA_MOST_STEPS - compiler->steps, budget = before;
    if (!object->regex) status = ci_regex_create(&object->regex);
    for (size_t i = 0; i < object->count && status == CLINFER_OK; i++) {
        const char *key = object->properties[i].key;
        status = ci_regex_add_text(object->regex, key, strlen(key), object->pattern_count);
    }
    if (status == CLINFER_OK)
        status = ci_regex_add_length(object->regex, 0, CI_REGEX_NO_END, object->pattern_count + 1);
    if (status == CLINFER_OK) status = ci_regex_determine(object->regex, &budget, &automaton);
    if (status != CLINFER_OK)
        ci_schema_fail(compiler, object->set->items[0] / 4, NULL, status, "the names of its properties: %s",
                       clinfer_error());
    if (ci_schema_step(compiler, before - budget) && automaton) put_matching(object, automaton, open);
    ci_automaton_destroy(automaton);
}

/* ---- members in order ---- */

static int rule_of(struct object *object, size_t property, size_t count) {
    char name[64];
    if (count > object->saturated) count = object->saturated;
    int length = snprintf(name, sizeof name, "{%zu.%zu.%zu", object->number, property, count);
    return ci_grammar_rule(object->compiler->maker, name, (size_t)length);
}

static ci_grammar_node call(struct object *object, size_t property, size_t count) {
    return ci_grammar_call(object->compiler->maker, rule_of(object, property, count));
}

static ci_grammar_node with_comma(struct object *object, size_t count, ci_grammar_node member) {
    struct ci_grammar_maker *maker = object->compiler->maker;
    if (count == 0) return member;
    return ci_grammar_sequence(maker, (const ci_grammar_node[]){ci_schema_comma(object->compiler), member}, 2);
}

/* Behind `count` properties that were named. Names that come twice count once, so others count as one at most. */
static ci_grammar_node make_end(struct object *object, size_t count) {
    struct ci_schema_compiler *compiler = object->compiler;
    struct ci_grammar_maker *maker = compiler->maker;
    if (object->others.count == 0 || count >= object->most)
        return count >= object->least ? ci_grammar_sequence(maker, NULL, 0) : ci_grammar_choice(maker, NULL, 0);
    if (count + 1 < object->least) return ci_grammar_choice(maker, NULL, 0);
    bool bounded = object->most != CI_GRAMMAR_NO_END;
    uint32_t most = bounded ? object->most - ci_narrowed_unsigned(count) : CI_GRAMMAR_NO_END;
    ci_grammar_node other = ci_grammar_choice(maker, object->others.items, object->others.count);
    ci_grammar_node first = with_comma(object, count, other), next = with_comma(object, 1, other);
    ci_grammar_node rest = ci_grammar_repeat(maker, next, 0, bounded ? most - 1 : most);
    ci_grammar_node all = ci_grammar_sequence(maker, (const ci_grammar_node[]){first, rest}, 2);
    return count < object->least ? all : ci_grammar_repeat(maker, all, 0, 1);
}

static ci_grammar_node make_from(struct object *object, size_t index, size_t count) {
    struct ci_grammar_maker *maker = object->compiler->maker;
    const struct property *property = &object->properties[index];
    ci_grammar_node ways[2];
    size_t way_count = 0;
    if (count < object->most && !property->nothing) {
        ci_grammar_node member = with_comma(object, count, property->member);
        ways[way_count++] =
            ci_grammar_sequence(maker, (const ci_grammar_node[]){member, call(object, index + 1, count + 1)}, 2);
    }
    if (!property->required) ways[way_count++] = call(object, index + 1, count);
    return ci_grammar_choice(maker, ways, way_count);
}

static ci_grammar_node make_members(struct object *object) {
    struct ci_schema_compiler *compiler = object->compiler;
    size_t required = 0;
    for (size_t i = 0; i < object->count; i++) required += object->properties[i].required;
    if (object->least <= required) object->least = 0;
    if (object->others.count == 0 && object->most >= object->count) object->most = CI_GRAMMAR_NO_END;
    if (object->others.count > 0 && object->least > object->count + 1)
        ci_schema_fail(compiler, object->least_place, "minProperties", CLINFER_UNSUPPORTED,
                       "a grammar cannot count properties that are not named");
    object->saturated = object->most != CI_GRAMMAR_NO_END ? object->most : object->least > 1 ? object->least : 1;
    if (object->saturated > object->count + 1) object->saturated = object->count + 1;
    for (size_t i = 0; i <= object->count; i++)
        for (size_t count = 0; count <= i && count <= object->saturated && ci_schema_step(compiler, 10); count++)
            ci_grammar_define(compiler->maker, rule_of(object, i, count),
                              i < object->count ? make_from(object, i, count) : make_end(object, count));
    return call(object, 0, 0);
}

ci_grammar_node ci_schema_object(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    struct object object = {.compiler = compiler, .set = set, .most = CI_GRAMMAR_NO_END, .index = json_object()};
    struct ci_schema_nodes nodes = {0};
    object.number = compiler->automata++;
    if (!object.index) ci_schema_no_memory(compiler);
    gather(&object);
    make_known(&object);
    make_others(&object);
    ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "{"));
    ci_schema_put(compiler, &nodes, ci_schema_space(compiler));
    if (compiler->status == CLINFER_OK) ci_schema_put(compiler, &nodes, make_members(&object));
    ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "}"));
    free(object.properties);
    free(object.others.items);
    ci_regex_destroy(object.regex);
    json_decref(object.index);
    return ci_schema_end_sequence(compiler, &nodes);
}
