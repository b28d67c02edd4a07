#include "grammar/validate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"
#include "grammar/formats.h"
#include "grammar/regex.h"
#include "grammar/schema_place.h"
#include "grammar/schema_private.h"
#include "text/utf8.h"

enum { MOST_DEPTH = 200, MOST_STEPS = 20000000, MOST_WHERE = 160 };

struct judge {
    const json_t *document, *within, *value; /* `value` is in the enum `within` */
    size_t budget;
    int depth;
    enum clinfer_status status;
    char where[MOST_WHERE], why[200]; /* of the first that was not allowed */
    size_t where_length;
};

static bool allows(struct judge *judge, const json_t *schema, const json_t *value);

static bool spend(struct judge *judge, size_t steps) {
    if (judge->status == CLINFER_OK && judge->budget < steps)
        judge->status = ci_fail(CLINFER_UNSUPPORTED, "it takes too long to check the value");
    if (judge->status != CLINFER_OK) return false;
    judge->budget -= steps;
    return true;
}

/* The first reason is kept. */
static bool refuse(struct judge *judge, const char *keyword, const char *what) {
    if (!judge->why[0]) snprintf(judge->why, sizeof judge->why, "%s: %s", keyword, what);
    return false;
}

/* A part of the value, with its name on the path for as long as it is judged. */
static bool allows_part(struct judge *judge, const json_t *schema, const json_t *value, const char *key, size_t index) {
    size_t before = judge->where_length, room = sizeof judge->where - before;
    int length = key ? snprintf(judge->where + before, room, "%s%.40s", before ? "." : "", key)
                     : snprintf(judge->where + before, room, "[%zu]", index);
    if (length > 0 && (size_t)length < room) judge->where_length += (size_t)length;
    bool allowed = allows(judge, schema, value);
    if (allowed || !judge->why[0]) judge->where[before] = 0;
    judge->where_length = before;
    return allowed;
}

/* ---- values ---- */

static bool same_number(const json_t *a, const json_t *b) {
    if (json_is_integer(a) && json_is_integer(b)) return json_integer_value(a) == json_integer_value(b);
    return json_number_value(a) == json_number_value(b);
}

/* As JSON schema has it: 1 is 1.0. */
static bool same(struct judge *judge, const json_t *a, const json_t *b) {
    if (!spend(judge, 1)) return false;
    if (json_is_number(a) && json_is_number(b)) return same_number(a, b);
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        bool equal = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; equal && i < json_array_size(a); i++)
            equal = same(judge, json_array_get(a, i), json_array_get(b, i));
        return equal;
    }
    if (json_is_object(a)) {
        bool equal = json_object_size(a) == json_object_size(b);
        void *iterator = json_object_iter((json_t *)a);
        for (; equal && iterator; iterator = json_object_iter_next((json_t *)a, iterator)) {
            const json_t *other = json_object_get(b, json_object_iter_key(iterator));
            equal = other && same(judge, json_object_iter_value(iterator), other);
        }
        return equal;
    }
    return json_equal(a, b);
}

static unsigned type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return CI_SCHEMA_OBJECT;
    case JSON_ARRAY: return CI_SCHEMA_ARRAY;
    case JSON_STRING: return CI_SCHEMA_STRING;
    case JSON_INTEGER: return CI_SCHEMA_INTEGER;
    case JSON_REAL: {
        double number = json_real_value(value);
        return number == floor(number) ? CI_SCHEMA_INTEGER : CI_SCHEMA_FRACTION;
    }
    case JSON_NULL: return CI_SCHEMA_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return CI_SCHEMA_BOOLEAN;
    }
    return 0;
}

static bool within_enum(struct judge *judge, const json_t *values, const json_t *value) {
    if (values == judge->within && value == judge->value) return true;
    for (size_t i = 0; i < json_array_size(values); i++)
        if (same(judge, json_array_get(values, i), value)) return true;
    return false;
}

/* ---- numbers, strings ---- */

static bool is_multiple(double value, double of) {
    double quotient = value / of, rounded = nearbyint(quotient);
    return isfinite(quotient) && fabs(quotient - rounded) <= fabs(rounded) * 4e-16; /* 0.07 is a multiple of 0.01 */
}

static bool allows_number(struct judge *judge, const json_t *schema, const json_t *value) {
    const json_t *bound;
    double number = json_number_value(value);
    if ((bound = json_object_get(schema, "minimum")) && number < json_number_value(bound))
        return refuse(judge, "minimum", "the number is too small");
    if ((bound = json_object_get(schema, "maximum")) && number > json_number_value(bound))
        return refuse(judge, "maximum", "the number is too large");
    if ((bound = json_object_get(schema, "exclusiveMinimum")) && number <= json_number_value(bound))
        return refuse(judge, "exclusiveMinimum", "the number is too small");
    if ((bound = json_object_get(schema, "exclusiveMaximum")) && number >= json_number_value(bound))
        return refuse(judge, "exclusiveMaximum", "the number is too large");
    if ((bound = json_object_get(schema, "multipleOf")) && !is_multiple(number, json_number_value(bound)))
        return refuse(judge, "multipleOf", "the number is no multiple");
    return true;
}

static bool out_of_bounds(const json_t *schema, const char *least, const char *most, size_t count) {
    const json_t *low = json_object_get(schema, least), *high = json_object_get(schema, most);
    return (low && (double)count < json_number_value(low)) || (high && (double)count > json_number_value(high));
}

static bool matches(struct judge *judge, const char *pattern, const char *text, size_t length) {
    struct ci_regex *regex;
    uint64_t bits = 0;
    if (!spend(judge, length + strlen(pattern))) return false;
    enum clinfer_status status = ci_regex_create(&regex);
    if (status == CLINFER_OK) status = ci_regex_add(regex, pattern, strlen(pattern), 0);
    if (status == CLINFER_OK) status = ci_regex_match(regex, text, length, &judge->budget, &bits);
    if (status != CLINFER_OK)
        judge->status = ci_fail_prefix(status, "the pattern '%.60s'", ci_json_is_printable(pattern) ? pattern : "?");
    ci_regex_destroy(regex);
    return bits != 0;
}

static bool allows_string(struct judge *judge, const json_t *schema, const json_t *value) {
    const char *text = json_string_value(value), *pattern = json_string_value(json_object_get(schema, "pattern"));
    const char *format = json_string_value(json_object_get(schema, "format"));
    size_t length = json_string_length(value), count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
    if (out_of_bounds(schema, "minLength", "maxLength", count))
        return refuse(judge, "minLength, maxLength", "the string has not the right length");
    if (pattern && !matches(judge, pattern, text, length)) return refuse(judge, "pattern", "the string does not match");
    if (format && (format = ci_format_pattern(format)) && !matches(judge, format, text, length))
        return refuse(judge, "format", "the string has not this format");
    return true;
}

/* ---- arrays ---- */

static bool allows_contained(struct judge *judge, const json_t *schema, const json_t *value) {
    const json_t *contained = json_object_get(schema, "contains"), *bound;
    size_t count = 0;
    double least = 1;
    if (!contained) return true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        count += allows(judge, contained, json_array_get(value, i));
        judge->why[0] = 0;
    }
    if ((bound = json_object_get(schema, "minContains"))) least = json_number_value(bound);
    bound = json_object_get(schema, "maxContains");
    if ((double)count < least || (bound && (double)count > json_number_value(bound)))
        return refuse(judge, "contains", "not the right number of such elements");
    return true;
}

static bool are_unique(struct judge *judge, const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++)
        for (size_t k = 0; k < i; k++)
            if (same(judge, json_array_get(value, i), json_array_get(value, k))) return false;
    return true;
}

static bool allows_array(struct judge *judge, const json_t *schema, const json_t *value) {
    const json_t *prefix = json_object_get(schema, "prefixItems"), *items = json_object_get(schema, "items");
    size_t count = json_array_size(value);
    if (json_is_array(items)) { /* as it was before 2020-12 */
        prefix = items;
        items = NULL;
    }
    if (out_of_bounds(schema, "minItems", "maxItems", count))
        return refuse(judge, "minItems, maxItems", "the array has not the right length");
    for (size_t i = 0; i < count; i++) {
        const json_t *part = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (part && !allows_part(judge, part, json_array_get(value, i), NULL, i)) return false;
    }
    if (json_is_true(json_object_get(schema, "uniqueItems")) && !are_unique(judge, value))
        return refuse(judge, "uniqueItems", "two elements are the same");
    return allows_contained(judge, schema, value);
}

/* ---- objects ---- */

static bool allows_member(struct judge *judge, const json_t *schema, const char *key, const json_t *value) {
    const json_t *named = json_object_get(json_object_get(schema, "properties"), key);
    const json_t *additional = json_object_get(schema, "additionalProperties");
    json_t *patterns = json_object_get(schema, "patternProperties");
    bool known = named != NULL;
    if (named && !allows_part(judge, named, value, key, 0)) return false;
    void *iterator = json_object_iter(patterns);
    for (; iterator; iterator = json_object_iter_next(patterns, iterator)) {
        if (!matches(judge, json_object_iter_key(iterator), key, strlen(key))) continue;
        known = true;
        if (!allows_part(judge, json_object_iter_value(iterator), value, key, 0)) return false;
    }
    return known || !additional || allows_part(judge, additional, value, key, 0);
}

static bool has_all(struct judge *judge, const json_t *names, const json_t *value, const char *keyword) {
    char what[80];
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name || json_object_get(value, name)) continue;
        snprintf(what, sizeof what, "'%.60s' is missing", name);
        return refuse(judge, keyword, what);
    }
    return true;
}

static bool allows_dependents(struct judge *judge, const json_t *schema, const json_t *value) {
    json_t *required = json_object_get(schema, "dependentRequired"), *schemas;
    for (void *i = json_object_iter(required); i; i = json_object_iter_next(required, i))
        if (json_object_get(value, json_object_iter_key(i)) &&
            !has_all(judge, json_object_iter_value(i), value, "dependentRequired"))
            return false;
    schemas = json_object_get(schema, "dependentSchemas");
    for (void *i = json_object_iter(schemas); i; i = json_object_iter_next(schemas, i))
        if (json_object_get(value, json_object_iter_key(i)) && !allows(judge, json_object_iter_value(i), value))
            return false;
    return true;
}

static bool allows_object(struct judge *judge, const json_t *schema, json_t *value) {
    const json_t *names = json_object_get(schema, "propertyNames");
    if (out_of_bounds(schema, "minProperties", "maxProperties", json_object_size(value)))
        return refuse(judge, "minProperties, maxProperties", "not the right number of properties");
    if (!has_all(judge, json_object_get(schema, "required"), value, "required")) return false;
    for (void *i = json_object_iter(value); i; i = json_object_iter_next(value, i)) {
        if (names) {
            json_t *key = json_string(json_object_iter_key(i));
            bool allowed = key && allows(judge, names, key);
            json_decref(key);
            if (!allowed) return false;
        }
        if (!allows_member(judge, schema, json_object_iter_key(i), json_object_iter_value(i))) return false;
    }
    return allows_dependents(judge, schema, value);
}

/* ---- schemas ---- */

static size_t count_allowed(struct judge *judge, const json_t *list, const json_t *value) {
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) count += allows(judge, json_array_get(list, i), value);
    return count;
}

static bool allows_combined(struct judge *judge, const json_t *schema, const json_t *value) {
    const json_t *part;
    if ((part = json_object_get(schema, "allOf")))
        for (size_t i = 0; i < json_array_size(part); i++)
            if (!allows(judge, json_array_get(part, i), value)) return false;
    if ((part = json_object_get(schema, "anyOf")) && count_allowed(judge, part, value) == 0) return false;
    if ((part = json_object_get(schema, "oneOf"))) {
        size_t count = count_allowed(judge, part, value);
        if (count != 1) return count ? refuse(judge, "oneOf", "more than one of them allows it") : false;
    }
    judge->why[0] = 0; /* of branches that were not needed */
    if ((part = json_object_get(schema, "not"))) {
        bool allowed = allows(judge, part, value);
        judge->why[0] = 0;
        if (allowed) return refuse(judge, "not", "that is what it must not be");
    }
    if ((part = json_object_get(schema, "if"))) {
        const json_t *next = json_object_get(schema, allows(judge, part, value) ? "then" : "else");
        judge->why[0] = 0;
        if (next && !allows(judge, next, value)) return false;
    }
    return true;
}

static bool allows_reference(struct judge *judge, const json_t *schema, const json_t *value) {
    const char *pointer = json_string_value(json_object_get(schema, "$ref"));
    if (!pointer) return true;
    const json_t *target = ci_schema_follow(judge->document, pointer, NULL, NULL);
    if (!target && judge->status == CLINFER_OK)
        judge->status = ci_fail(CLINFER_UNSUPPORTED, "$ref: there is no '%.80s' in the schema",
                                ci_json_is_printable(pointer) ? pointer : "?");
    return target && allows(judge, target, value);
}

static bool allows_type(struct judge *judge, const json_t *schema, const json_t *value) {
    const json_t *only = json_object_get(schema, "const"), *values = json_object_get(schema, "enum");
    unsigned type = type_of(value);
    if (!(ci_schema_types(schema) & type)) return refuse(judge, "type", "the value has another type");
    if (only && !same(judge, only, value)) return refuse(judge, "const", "it is another value");
    if (values && !within_enum(judge, values, value)) return refuse(judge, "enum", "the value is none of these");
    switch (type) {
    case CI_SCHEMA_INTEGER:
    case CI_SCHEMA_FRACTION: return allows_number(judge, schema, value);
    case CI_SCHEMA_STRING: return allows_string(judge, schema, value);
    case CI_SCHEMA_ARRAY: return allows_array(judge, schema, value);
    case CI_SCHEMA_OBJECT: return allows_object(judge, schema, (json_t *)value);
    default: return true;
    }
}

static bool allows(struct judge *judge, const json_t *schema, const json_t *value) {
    if (!spend(judge, 1 + json_object_size(schema))) return false;
    if (json_is_boolean(schema)) return json_is_true(schema) || refuse(judge, "false", "nothing is allowed here");
    const char *unknown = json_is_object(schema) ? ci_schema_unknown_keyword(schema) : "a schema";
    if (unknown || judge->depth >= MOST_DEPTH) {
        judge->status = unknown ? ci_fail(CLINFER_UNSUPPORTED, "the keyword '%.60s' is not known",
                                          ci_json_is_printable(unknown) ? unknown : "?")
                                : ci_fail(CLINFER_UNSUPPORTED, "more than %d subschemas in each other", MOST_DEPTH);
        return false;
    }
    judge->depth++;
    bool allowed = allows_type(judge, schema, value) && allows_reference(judge, schema, value) &&
                   allows_combined(judge, schema, value);
    judge->depth--;
    return allowed && judge->status == CLINFER_OK;
}

enum clinfer_status ci_schema_judge(const json_t *document, const json_t *schema, const json_t *within,
                                    const json_t *value, size_t *budget, bool *allowed) {
    struct judge judge = {.document = document, .within = within, .value = value, .budget = *budget};
    *allowed = allows(&judge, schema, value);
    *budget = judge.budget;
    return judge.status;
}

/* Names come from the answer. */
static void show(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

enum clinfer_status ci_schema_validate(const char *name, const char *schema, size_t schema_length, const char *answer,
                                       size_t answer_length) {
    struct judge judge = {.budget = MOST_STEPS};
    json_error_t error;
    json_t *document, *value;
    enum clinfer_status status = ci_schema_parse(name, schema, schema_length, &document);
    if (status != CLINFER_OK) return status;
    judge.document = document;
    value = ci_schema_load(answer, answer_length, JSON_ALLOW_NUL, &error);
    if (!value) {
        status = ci_fail(CLINFER_REMOTE_FAILED, "the answer is not JSON: line %d, column %d: %s", error.line,
                         error.column, error.text);
    } else if (!allows(&judge, document, value)) {
        show(judge.where);
        show(judge.why);
        status = judge.status != CLINFER_OK ? ci_fail_prefix(judge.status, "%s", name)
                                            : ci_fail(CLINFER_REMOTE_FAILED,
                                                      "the answer is not what the schema %s "
                                                      "allows: %s%s%s",
                                                      name, judge.where, judge.where[0] ? ": " : "", judge.why);
    }
    json_decref(value);
    json_decref(document);
    return status;
}
