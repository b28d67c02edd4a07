/* schema_exclude.c: whether the branches of a oneOf exclude each other.
 *
 * A grammar makes a value of one branch; that no other branch allows it must be known beforehand. So for each two
 * branches: no value that the grammar of the one makes (where objects are closed) is allowed by the other as the
 * standard has it (where they are open). They are kept apart by types, by const and enum, by numbers' bounds, by
 * strings' lengths and patterns, by the length of arrays, and objects by a property: one that the first always has and
 * whose values exclude each other, or one that the second requires and the first never has. */
#include <stdlib.h>
#include <string.h>

#include "grammar/schema_private.h"
#include "grammar/validate.h"

enum { MOST_DEPTH = 8, MOST_BRANCHES = 100 };

static bool exclude(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                    const struct ci_schema_set *allowed, int depth);

/* ---- values that are told one by one ---- */

static bool allows_all(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, const json_t *value) {
    size_t at = 0, before = CI_SCHEMA_MOST_STEPS - compiler->steps, budget = before;
    uint32_t place;
    const json_t *schema;
    bool allowed = true;
    while (allowed && ci_schema_next(compiler, set, &at, &place, &schema))
        if (ci_schema_judge(compiler->document, schema, NULL, value, &budget, &allowed) != CLINFER_OK) allowed = true;
    return !ci_schema_step(compiler, before - budget) || allowed;
}

/* The values of `told`, which has an enum or a const, that it allows itself, are none that `other` allows; *known:
 * there is an enum or a const. */
static bool exclude_values(struct ci_schema_compiler *compiler, const struct ci_schema_set *told,
                           const struct ci_schema_set *other, bool *known) {
    const json_t *values, *only;
    *known = ci_schema_find_values(compiler, told, &values, &only);
    size_t count = only ? 1 : json_array_size(values);
    for (size_t i = 0; *known && i < count; i++) {
        const json_t *value = only ? only : json_array_get(values, i);
        if (allows_all(compiler, other, value) && allows_all(compiler, told, value)) return false;
    }
    return *known;
}

/* ---- by type ---- */

/* The tightest bounds of both sets. */
static bool exclude_numbers(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                            const struct ci_schema_set *allowed) {
    static const char *const keywords[] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"};
    double bounds[4] = {0};
    bool found[4] = {false};
    for (int side = 0; side < 2; side++) {
        size_t at = 0;
        uint32_t place;
        const json_t *schema;
        while (ci_schema_next(compiler, side ? allowed : made, &at, &place, &schema)) {
            for (int i = 0; i < 4; i++) {
                const json_t *bound = json_object_get(schema, keywords[i]);
                double value = json_number_value(bound);
                if (!bound || (found[i] && (i < 2 ? value <= bounds[i] : value >= bounds[i]))) continue;
                bounds[i] = value;
                found[i] = true;
            }
        }
    }
    for (int low = 0; low < 2; low++)
        for (int high = 2; high < 4; high++)
            if (found[low] && found[high] &&
                (bounds[low] > bounds[high] || (bounds[low] == bounds[high] && (low == 1 || high == 3))))
                return true;
    return false;
}

static bool exclude_arrays(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                           const struct ci_schema_set *allowed) {
    uint32_t least = 0, most = UINT32_MAX, bound;
    for (int side = 0; side < 2; side++) {
        size_t at = 0;
        uint32_t place;
        const json_t *schema;
        while (ci_schema_next(compiler, side ? allowed : made, &at, &place, &schema)) {
            if (ci_schema_count(compiler, place, "minItems", &bound) && bound > least) least = bound;
            if (ci_schema_count(compiler, place, "maxItems", &bound) && bound < most) most = bound;
        }
    }
    return least > most;
}

/* ---- objects ---- */

static bool requires(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, const char *key) {
    size_t at = 0;
    uint32_t place;
    const json_t *schema, *name;
    while (ci_schema_next(compiler, set, &at, &place, &schema)) {
        size_t i;
        json_array_foreach(json_object_get(schema, "required"), i, name) {
            if (ci_schema_step(compiler, 1) && strcmp(json_string_value(name), key) == 0) return true;
        }
    }
    return false;
}

/* What a property must be; without what patterns say of it, which is more than what is possible. *never: the grammar
 * makes no such property. */
static struct ci_schema_set property(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                     const char *key, bool *never) {
    struct ci_schema_set values = {0};
    bool named = false, open = false, spoken = false;
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema)) {
        json_t *properties = json_object_get(schema, "properties");
        const json_t *patterns = json_object_get(schema, "patternProperties");
        const json_t *additional = json_object_get(schema, "additionalProperties");
        void *iterator = properties ? json_object_iter_at(properties, key) : NULL;
        named = named || properties || patterns;
        open = open || additional || patterns;
        spoken = spoken || iterator;
        if (iterator)
            ci_schema_add(compiler, &values,
                          ci_schema_child(compiler, ci_schema_child(compiler, place, "properties"),
                                          json_object_iter_key(iterator)));
        else if (additional && !patterns)
            ci_schema_add(compiler, &values, ci_schema_child(compiler, place, "additionalProperties"));
    }
    *never = values.nothing || (named && !open && !spoken && !requires(compiler, set, key));
    return values;
}

static bool exclude_by(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                       const struct ci_schema_set *allowed, const char *key, int depth) {
    bool never, never_allowed;
    struct ci_schema_set ours = property(compiler, made, key, &never);
    struct ci_schema_set theirs = property(compiler, allowed, key, &never_allowed);
    bool excluded = requires(compiler, made, key) && exclude(compiler, &ours, &theirs, depth + 1);
    if (!excluded) excluded = never && requires(compiler, allowed, key);
    free(ours.items);
    free(theirs.items);
    return excluded;
}

static bool exclude_objects(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                            const struct ci_schema_set *allowed, int depth) {
    for (int side = 0; side < 2; side++) {
        size_t at = 0, i;
        uint32_t place;
        const json_t *schema, *name;
        while (ci_schema_next(compiler, side ? allowed : made, &at, &place, &schema)) {
            json_array_foreach(json_object_get(schema, "required"), i, name) {
                if (!ci_schema_step(compiler, 1)) return false;
                if (exclude_by(compiler, made, allowed, json_string_value(name), depth)) return true;
            }
        }
    }
    return false;
}

/* ---- sets ---- */

static unsigned told_types(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    unsigned types = CI_SCHEMA_ALL;
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema)) types &= ci_schema_types(schema);
    return types;
}

static bool exclude_types(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                          const struct ci_schema_set *allowed, int depth) {
    unsigned common = ci_schema_set_types(compiler, made) & told_types(compiler, allowed);
    if (common & (CI_SCHEMA_NULL | CI_SCHEMA_BOOLEAN)) return false;
    if ((common & (CI_SCHEMA_INTEGER | CI_SCHEMA_FRACTION)) && !exclude_numbers(compiler, made, allowed)) return false;
    if ((common & CI_SCHEMA_ARRAY) && !exclude_arrays(compiler, made, allowed)) return false;
    if ((common & CI_SCHEMA_OBJECT) && !exclude_objects(compiler, made, allowed, depth)) return false;
    return !(common & CI_SCHEMA_STRING) || ci_schema_strings_exclude(compiler, made, allowed);
}

/* Every branch of the alternatives of one side; *known: there are any. */
static bool exclude_branches(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                             const struct ci_schema_set *allowed, bool ours, int depth, bool *known) {
    const struct ci_schema_set *divided = ours ? made : allowed;
    struct ci_schema_branches branches;
    bool excluded = true;
    *known = ci_schema_find_branches(compiler, divided, &branches);
    for (size_t i = 0; *known && excluded && i < branches.count; i++) {
        struct ci_schema_set branch = ci_schema_branch(compiler, divided, &branches, i);
        excluded = exclude(compiler, ours ? &branch : made, ours ? allowed : &branch, depth + 1);
        free(branch.items);
    }
    return *known && excluded;
}

static bool exclude(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                    const struct ci_schema_set *allowed, int depth) {
    bool known;
    if (made->nothing || allowed->nothing) return true;
    if (!ci_schema_step(compiler, 1 + made->count + allowed->count) || depth > MOST_DEPTH) return false;
    if (exclude_values(compiler, made, allowed, &known)) return true;
    if (known) return false;
    if (exclude_values(compiler, allowed, made, &known)) return true;
    if (known) return false;
    if (exclude_types(compiler, made, allowed, depth)) return true;
    if (exclude_branches(compiler, made, allowed, true, depth, &known)) return true;
    if (known) return false;
    return exclude_branches(compiler, made, allowed, false, depth, &known);
}

void ci_schema_check_one_of(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                            const struct ci_schema_branches *branches) {
    uint32_t list = ci_schema_child(compiler, branches->place, "oneOf");
    if (branches->count > MOST_BRANCHES)
        ci_schema_fail(compiler, list, NULL, CLINFER_UNSUPPORTED, "more than %d branches", MOST_BRANCHES);
    for (size_t i = 0; i < branches->count && compiler->status == CLINFER_OK; i++) {
        struct ci_schema_set made = ci_schema_branch(compiler, set, branches, i);
        for (size_t k = 0; k < branches->count && compiler->status == CLINFER_OK; k++) {
            struct ci_schema_set allowed = {0};
            if (k == i) continue;
            ci_schema_add(compiler, &allowed, ci_schema_element(compiler, list, k));
            if (!exclude(compiler, &made, &allowed, 0))
                ci_schema_fail(compiler, list, NULL, CLINFER_UNSUPPORTED,
                               "branches [%zu] and [%zu] are not known to exclude each other; tell them apart by type, "
                               "by a required property with const, or use anyOf",
                               i < k ? i : k, i < k ? k : i);
            free(allowed.items);
        }
        free(made.items);
    }
}
