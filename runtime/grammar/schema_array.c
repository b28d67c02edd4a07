/* schema_array.c: arrays: the elements of prefixItems, then those of items. */
#include <stdlib.h>

#include "base/narrow.h"
#include "grammar/schema_private.h"

struct array {
    uint32_t least, most;
    uint32_t prefix; /* how many elements have schemas of their own */
    bool told, open; /* minItems is there; elements behind the prefix are spoken of */
};

static const json_t *prefix_of(const json_t *schema) {
    const json_t *items = json_object_get(schema, "items");
    return json_is_array(items) ? items : json_object_get(schema, "prefixItems");
}

static void gather(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, struct array *array) {
    size_t at = 0;
    uint32_t place, bound;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema) && compiler->status == CLINFER_OK) {
        const json_t *items = json_object_get(schema, "items");
        size_t prefix = json_array_size(prefix_of(schema));
        if (prefix > array->prefix) array->prefix = ci_narrowed_unsigned(prefix < 1000000 ? prefix : 1000000);
        if (items && !json_is_array(items)) array->open = true;
        if (json_is_array(items) && json_object_get(schema, "prefixItems"))
            ci_schema_fail(compiler, place, "items", CLINFER_INVALID_ARGUMENT,
                           "it must be one schema where prefixItems is given");
        if (ci_schema_count(compiler, place, "minItems", &bound)) {
            array->told = true;
            if (bound > array->least) array->least = bound;
        }
        if (ci_schema_count(compiler, place, "maxItems", &bound) && bound < array->most) array->most = bound;
    }
    if (array->prefix == 0) array->open = true;
    if (!array->open && array->most > array->prefix) array->most = array->prefix;
    if (!array->told) array->least = array->prefix < array->most ? array->prefix : array->most;
}

/* What the element at `index` must be, and space behind it. */
static ci_grammar_node make_element(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                    uint32_t index) {
    struct ci_schema_set element = {0};
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema) && compiler->status == CLINFER_OK) {
        const json_t *items = json_object_get(schema, "items"), *prefix = prefix_of(schema);
        const char *list = prefix == items ? "items" : "prefixItems";
        if (index < json_array_size(prefix))
            ci_schema_add(compiler, &element,
                          ci_schema_element(compiler, ci_schema_child(compiler, place, list), index));
        else if (items && prefix != items)
            ci_schema_add(compiler, &element, ci_schema_child(compiler, place, "items"));
    }
    ci_grammar_node value = ci_schema_value(compiler, &element);
    return ci_grammar_sequence(compiler->maker, (const ci_grammar_node[]){value, ci_schema_space(compiler)}, 2);
}

static void check_unique(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, uint32_t most) {
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema))
        if (json_is_true(json_object_get(schema, "uniqueItems")) && most > 1)
            ci_schema_fail(compiler, place, "uniqueItems", CLINFER_UNSUPPORTED,
                           "a grammar cannot hold elements apart; leave it out, and check the answer yourself");
}

/* All elements: element (, element (, ...)?)? */
static ci_grammar_node make_elements(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                     const struct array *array) {
    struct ci_grammar_maker *maker = compiler->maker;
    struct ci_schema_nodes nodes = {0};
    ci_grammar_node rest = ci_grammar_sequence(maker, NULL, 0);
    uint32_t prefix = array->prefix < array->most ? array->prefix : array->most;
    if (array->open && array->most > prefix) {
        uint32_t least = array->least > prefix ? array->least - prefix : 0;
        uint32_t most = array->most == CI_GRAMMAR_NO_END ? CI_GRAMMAR_NO_END : array->most - prefix;
        ci_grammar_node item = make_element(compiler, set, prefix);
        ci_grammar_node next =
            ci_grammar_sequence(maker, (const ci_grammar_node[]){ci_schema_comma(compiler), item}, 2);
        if (prefix > 0) {
            rest = ci_grammar_repeat(maker, next, least, most);
        } else {
            ci_grammar_node others =
                ci_grammar_repeat(maker, next, least ? least - 1 : 0, most == CI_GRAMMAR_NO_END ? most : most - 1);
            rest = ci_grammar_sequence(maker, (const ci_grammar_node[]){item, others}, 2);
            if (least == 0) rest = ci_grammar_repeat(maker, rest, 0, 1);
        }
    }
    for (uint32_t i = prefix; i > 0 && ci_schema_step(compiler, 1); i--) {
        if (i > 1) ci_schema_put(compiler, &nodes, ci_schema_comma(compiler));
        ci_schema_put(compiler, &nodes, make_element(compiler, set, i - 1));
        ci_schema_put(compiler, &nodes, rest);
        rest = ci_schema_end_sequence(compiler, &nodes);
        if (i > array->least) rest = ci_grammar_repeat(maker, rest, 0, 1);
    }
    return rest;
}

ci_grammar_node ci_schema_array(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    struct array array = {.most = CI_GRAMMAR_NO_END};
    gather(compiler, set, &array);
    if (compiler->status != CLINFER_OK) return CI_GRAMMAR_NONE;
    if (array.least > array.most) return ci_schema_contradicts(compiler, set);
    check_unique(compiler, set, array.most);
    struct ci_schema_nodes nodes = {0};
    ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "["));
    ci_schema_put(compiler, &nodes, ci_schema_space(compiler));
    ci_schema_put(compiler, &nodes, make_elements(compiler, set, &array));
    ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "]"));
    return ci_schema_end_sequence(compiler, &nodes);
}
