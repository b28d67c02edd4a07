/* schema.c: sets of subschemas become rules; see schema_private.h. */
#include "grammar/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/schema_place.h"
#include "grammar/schema_private.h"
#include "grammar/validate.h"

enum { CHOSE_ANY = 1, CHOSE_ONE = 2, KINDS = 4, MOST_VALUES = 10000 };

/* ---- sets ---- */

static bool contains(const struct ci_schema_set *set, uint32_t item) {
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i] == item) return true;
    return false;
}

static void insert(struct ci_schema_compiler *compiler, struct ci_schema_set *set, uint32_t item) {
    if (!ci_schema_step(compiler, set->count + 1) || contains(set, item)) return;
    if (!ci_array_reserve(&set->items, &set->capacity, set->count))
        ci_schema_no_memory(compiler);
    else
        set->items[set->count++] = item;
}

/* The subschema itself; true and an empty one change nothing. */
static void insert_place(struct ci_schema_compiler *compiler, struct ci_schema_set *set, uint32_t place) {
    const json_t *schema = compiler->places[place].schema;
    if (json_is_false(schema)) {
        const char *key = compiler->places[place].key;
        bool closes = key && (strcmp(key, "additionalProperties") == 0 || strcmp(key, "items") == 0);
        set->nothing = true;
        if (!compiler->contradiction && !closes) compiler->contradiction = place + 1;
    }
    if (!json_is_object(schema) || json_object_size(schema) == 0) return;
    if (!compiler->places[place].checked) {
        compiler->places[place].checked = true;
        ci_schema_check_keywords(compiler, place);
        ci_schema_check_circle(compiler, place);
    }
    insert(compiler, set, place * KINDS);
}

void ci_schema_add(struct ci_schema_compiler *compiler, struct ci_schema_set *set, uint32_t place) {
    size_t i = set->count;
    insert_place(compiler, set, place);
    for (; i < set->count && compiler->status == CLINFER_OK; i++) {
        uint32_t from = set->items[i] / KINDS, to;
        if (set->items[i] % KINDS != 0) continue;
        for (size_t n = 0; ci_schema_in_place(compiler, from, n, false, &to); n++) insert_place(compiler, set, to);
    }
}

bool ci_schema_copy(struct ci_schema_compiler *compiler, const struct ci_schema_set *from, struct ci_schema_set *to) {
    *to = (struct ci_schema_set){.nothing = from->nothing};
    for (size_t i = 0; i < from->count; i++) {
        if (!ci_array_reserve(&to->items, &to->capacity, to->count)) {
            ci_schema_no_memory(compiler);
            return false;
        }
        to->items[to->count++] = from->items[i];
    }
    return ci_schema_step(compiler, from->count);
}

bool ci_schema_next(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set, size_t *at,
                    uint32_t *place, const json_t **schema) {
    while (*at < set->count && set->items[*at] % KINDS != 0) (*at)++;
    if (*at == set->count) return false;
    *place = set->items[(*at)++] / KINDS;
    *schema = compiler->places[*place].schema;
    return true;
}

static int by_number(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The rule has the set as its name. */
static int rule_of(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, bool *known) {
    char *name = NULL, number[16];
    size_t length = 0, capacity = 0;
    int rule = -1;
    bool fine = ci_append(&name, &length, &capacity, "=", 1);
    for (size_t i = 0; i < set->count && fine; i++) {
        int digits = snprintf(number, sizeof number, " %u", set->items[i]);
        fine = ci_append(&name, &length, &capacity, number, (size_t)digits);
    }
    if (fine)
        rule = ci_grammar_rule(compiler->maker, name, length);
    else
        ci_schema_no_memory(compiler);
    free(name);
    *known = false;
    if (rule >= 0 && (size_t)rule < compiler->queued_capacity) *known = compiler->queued[rule];
    return rule;
}

static bool mark_queued(struct ci_schema_compiler *compiler, int rule) {
    size_t index = (size_t)rule;
    if (index >= compiler->queued_capacity) {
        size_t capacity = index * 2 + 64;
        bool *queued = realloc(compiler->queued, capacity);
        if (!queued) return false;
        memset(queued + compiler->queued_capacity, 0, capacity - compiler->queued_capacity);
        compiler->queued = queued;
        compiler->queued_capacity = capacity;
    }
    compiler->queued[index] = true;
    return true;
}

ci_grammar_node ci_schema_value(struct ci_schema_compiler *compiler, struct ci_schema_set *set) {
    ci_grammar_node node = CI_GRAMMAR_NONE;
    bool known = true;
    if (compiler->status != CLINFER_OK || set->nothing || set->count == 0) {
        if (compiler->status == CLINFER_OK)
            node = set->nothing ? ci_grammar_choice(compiler->maker, NULL, 0) : ci_schema_any_value(compiler);
        free(set->items);
        *set = (struct ci_schema_set){0};
        return node;
    }
    qsort(set->items, set->count, sizeof *set->items, by_number);
    int rule = rule_of(compiler, set, &known);
    if (rule >= 0 && !known && compiler->work_count >= CI_SCHEMA_MOST_SETS)
        ci_schema_fail(compiler, set->items[0] / KINDS, NULL, CLINFER_UNSUPPORTED,
                       "the schema has more than %d different values: too many alternatives at once",
                       CI_SCHEMA_MOST_SETS);
    else if (rule >= 0 && !known) {
        if (!mark_queued(compiler, rule) ||
            !ci_array_reserve(&compiler->works, &compiler->work_capacity, compiler->work_count)) {
            ci_schema_no_memory(compiler);
        } else {
            compiler->works[compiler->work_count++] = (struct ci_schema_work){*set, rule};
            *set = (struct ci_schema_set){0};
        }
    }
    if (rule >= 0) node = ci_grammar_call(compiler->maker, rule);
    free(set->items);
    *set = (struct ci_schema_set){0};
    return node;
}

ci_grammar_node ci_schema_contradicts(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    if (!compiler->contradiction && set->count > 0) compiler->contradiction = set->items[0] / KINDS + 1;
    return ci_grammar_choice(compiler->maker, NULL, 0);
}

/* ---- a set's values ---- */

/* The values of the first enum or const that all others of the set allow. */
static ci_grammar_node make_enum(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                 const json_t *values, const json_t *only) {
    struct ci_schema_nodes nodes = {0};
    size_t count = only ? 1 : json_array_size(values), budget = CI_SCHEMA_MOST_STEPS - compiler->steps;
    if (count > MOST_VALUES)
        ci_schema_fail(compiler, set->items[0] / KINDS, "enum", CLINFER_UNSUPPORTED, "more than %d values",
                       MOST_VALUES);
    for (size_t i = 0; i < count && compiler->status == CLINFER_OK; i++) {
        const json_t *value = only ? only : json_array_get(values, i), *schema;
        size_t at = 0;
        uint32_t place = 0;
        bool allowed = true;
        while (allowed && ci_schema_next(compiler, set, &at, &place, &schema)) {
            enum clinfer_status status =
                ci_schema_judge(compiler->document, schema, only ? NULL : values, value, &budget, &allowed);
            if (status != CLINFER_OK)
                ci_schema_fail(compiler, place, NULL, status, "a value of an enum cannot be checked: %s",
                               clinfer_error());
        }
        if (allowed) ci_schema_put(compiler, &nodes, ci_schema_literal(compiler, value));
    }
    if (nodes.count == 0) return ci_schema_contradicts(compiler, set);
    return ci_schema_end_choice(compiler, &nodes);
}

bool ci_schema_find_values(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                           const json_t **values, const json_t **only) {
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema)) {
        *only = json_object_get(schema, "const");
        *values = *only ? NULL : json_object_get(schema, "enum");
        if (*only || *values) return true;
    }
    return false;
}

bool ci_schema_find_branches(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                             struct ci_schema_branches *branches) {
    static const char *const keywords[] = {"anyOf", "oneOf"};
    size_t at = 0;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &branches->place, &schema)) {
        for (uint32_t i = 0; i < 2; i++) {
            branches->keyword = keywords[i];
            branches->chosen = branches->place * KINDS + CHOSE_ANY + i;
            branches->count = json_array_size(json_object_get(schema, keywords[i]));
            branches->one = i == 1;
            if (branches->count > 0 && !contains(set, branches->chosen)) return true;
        }
    }
    return false;
}

struct ci_schema_set ci_schema_branch(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                      const struct ci_schema_branches *branches, size_t index) {
    struct ci_schema_set branch = {0};
    if (!ci_schema_copy(compiler, set, &branch)) return branch;
    insert(compiler, &branch, branches->chosen);
    ci_schema_add(compiler, &branch,
                  ci_schema_element(compiler, ci_schema_child(compiler, branches->place, branches->keyword), index));
    return branch;
}

/* The set with each branch in turn. */
static ci_grammar_node make_branches(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                     const struct ci_schema_branches *branches) {
    struct ci_schema_nodes nodes = {0};
    if (branches->one) ci_schema_check_one_of(compiler, set, branches);
    for (size_t i = 0; i < branches->count && compiler->status == CLINFER_OK; i++) {
        struct ci_schema_set branch = ci_schema_branch(compiler, set, branches, i);
        ci_schema_put(compiler, &nodes, ci_schema_value(compiler, &branch));
    }
    return ci_schema_end_choice(compiler, &nodes);
}

static ci_grammar_node make_types(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    struct ci_schema_nodes nodes = {0};
    unsigned types = ci_schema_set_types(compiler, set);
    ci_schema_check_held(compiler, set);
    if (types & CI_SCHEMA_OBJECT) ci_schema_put(compiler, &nodes, ci_schema_object(compiler, set));
    if (types & CI_SCHEMA_ARRAY) ci_schema_put(compiler, &nodes, ci_schema_array(compiler, set));
    if (types & CI_SCHEMA_STRING) ci_schema_put(compiler, &nodes, ci_schema_string(compiler, set));
    if (types & CI_SCHEMA_FRACTION)
        ci_schema_put(compiler, &nodes, ci_schema_number(compiler, set, false));
    else if (types & CI_SCHEMA_INTEGER)
        ci_schema_put(compiler, &nodes, ci_schema_number(compiler, set, true));
    if (types & CI_SCHEMA_BOOLEAN) {
        ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "true"));
        ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "false"));
    }
    if (types & CI_SCHEMA_NULL) ci_schema_put(compiler, &nodes, ci_schema_text(compiler, "null"));
    if (nodes.count == 0) return ci_schema_contradicts(compiler, set);
    return ci_schema_end_choice(compiler, &nodes);
}

static ci_grammar_node make_value(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    const json_t *values, *only;
    struct ci_schema_branches branches;
    if (ci_schema_find_values(compiler, set, &values, &only)) return make_enum(compiler, set, values, only);
    if (ci_schema_find_branches(compiler, set, &branches)) return make_branches(compiler, set, &branches);
    return make_types(compiler, set);
}

/* ---- all ---- */

static bool begin(struct ci_schema_compiler *compiler) {
    compiler->space = compiler->string = compiler->character = compiler->number = compiler->integer = -1;
    for (int i = 0; i <= CI_SCHEMA_MOST_LEVELS; i++) compiler->any[i] = -1;
    compiler->maker = ci_grammar_maker_create();
    if (!compiler->maker) ci_schema_no_memory(compiler);
    return compiler->status == CLINFER_OK;
}

static enum clinfer_status finish(struct ci_schema_compiler *compiler, int root, struct ci_grammar **grammar) {
    if (compiler->status == CLINFER_OK) {
        compiler->status = ci_grammar_finish(compiler->maker, root, grammar);
        if (compiler->status == CLINFER_INVALID_ARGUMENT && compiler->contradiction) {
            compiler->status = CLINFER_OK;
            ci_schema_fail(compiler, compiler->contradiction - 1, NULL, CLINFER_INVALID_ARGUMENT,
                           "no value is possible here, so the schema allows nothing");
        } else if (compiler->status != CLINFER_OK) {
            ci_fail_prefix(compiler->status, "%s", compiler->name);
        }
    }
    ci_grammar_maker_destroy(compiler->maker);
    return compiler->status;
}

static void compile_document(struct ci_schema_compiler *compiler, ci_schema_root_maker *make, const void *user,
                             struct ci_grammar **grammar) {
    int root = ci_grammar_rule(compiler->maker, "root", 4);
    ci_grammar_define(compiler->maker, root, make(compiler, user));
    while (compiler->work_done < compiler->work_count && compiler->status == CLINFER_OK) {
        struct ci_schema_work work = compiler->works[compiler->work_done++];
        ci_grammar_node node = make_value(compiler, &work.set);
        ci_grammar_define(compiler->maker, work.rule, node);
        if (compiler->status == CLINFER_OK && ci_grammar_maker_status(compiler->maker) != CLINFER_OK) {
            compiler->status = ci_grammar_maker_status(compiler->maker);
            ci_fail_prefix(compiler->status, "%s", compiler->name);
        }
    }
    finish(compiler, root, grammar);
}

enum clinfer_status ci_schema_compile_root(const char *name, const char *text, size_t length,
                                           ci_schema_root_maker *make, const void *user, struct ci_grammar **grammar) {
    struct ci_schema_compiler compiler = {.name = name};
    json_t *document = NULL;
    *grammar = NULL;
    enum clinfer_status status = ci_schema_parse(name, text, length, &document);
    if (status != CLINFER_OK) return status;
    compiler.document = document;
    if (begin(&compiler)) compile_document(&compiler, make, user, grammar);
    for (size_t i = 0; i < compiler.work_count; i++) free(compiler.works[i].set.items);
    free(compiler.works);
    free(compiler.queued);
    free(compiler.places);
    free(compiler.table);
    json_decref(document);
    return compiler.status;
}

static ci_grammar_node make_whole(struct ci_schema_compiler *compiler, const void *user) {
    struct ci_schema_set set = {0};
    (void)user;
    ci_schema_add(compiler, &set, ci_schema_root(compiler));
    return ci_schema_value(compiler, &set);
}

enum clinfer_status ci_schema_compile(const char *name, const char *text, size_t length, struct ci_grammar **grammar) {
    return ci_schema_compile_root(name, text, length, make_whole, NULL, grammar);
}
