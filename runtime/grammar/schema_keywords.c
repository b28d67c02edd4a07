/* schema_keywords.c: the keywords of draft 2020-12, which values they speak of, and which of them a grammar holds. */
#include <math.h>
#include <string.h>

#include "grammar/schema_private.h"

enum kind {
    ANY,
    BOOLEAN,
    TEXT,
    TEXTS,
    COUNT,
    NUMBER,
    POSITIVE,
    SCHEMA,
    SCHEMAS,
    SCHEMA_MAP,
    SCHEMA_OR_LIST,
    LIST,
    TYPE
};
enum held { HELD, NOTE, NOT_HELD };

struct keyword {
    const char *name;
    enum kind kind;
    enum held held;
    unsigned types; /* that it speaks of; 0: any */
};

enum { A_STRING = CI_SCHEMA_STRING, AN_ARRAY = CI_SCHEMA_ARRAY, AN_OBJECT = CI_SCHEMA_OBJECT };
enum { A_NUMBER = CI_SCHEMA_INTEGER | CI_SCHEMA_FRACTION };

static const struct keyword keywords[] = {
    {"type", TYPE, HELD, 0},
    {"enum", LIST, HELD, 0},
    {"const", ANY, HELD, 0},
    {"$ref", TEXT, HELD, 0},
    {"allOf", SCHEMAS, HELD, 0},
    {"anyOf", SCHEMAS, HELD, 0},
    {"oneOf", SCHEMAS, HELD, 0},
    {"properties", SCHEMA_MAP, HELD, AN_OBJECT},
    {"patternProperties", SCHEMA_MAP, HELD, AN_OBJECT},
    {"additionalProperties", SCHEMA, HELD, AN_OBJECT},
    {"required", TEXTS, HELD, AN_OBJECT},
    {"minProperties", COUNT, HELD, AN_OBJECT},
    {"maxProperties", COUNT, HELD, AN_OBJECT},
    {"items", SCHEMA_OR_LIST, HELD, AN_ARRAY},
    {"prefixItems", SCHEMAS, HELD, AN_ARRAY},
    {"minItems", COUNT, HELD, AN_ARRAY},
    {"maxItems", COUNT, HELD, AN_ARRAY},
    {"uniqueItems", BOOLEAN, HELD, AN_ARRAY},
    {"minLength", COUNT, HELD, A_STRING},
    {"maxLength", COUNT, HELD, A_STRING},
    {"pattern", TEXT, HELD, A_STRING},
    {"format", TEXT, HELD, A_STRING},
    {"minimum", NUMBER, HELD, A_NUMBER},
    {"maximum", NUMBER, HELD, A_NUMBER},
    {"exclusiveMinimum", NUMBER, HELD, A_NUMBER},
    {"exclusiveMaximum", NUMBER, HELD, A_NUMBER},
    {"multipleOf", POSITIVE, HELD, A_NUMBER},
    {"title", ANY, NOTE, 0},
    {"description", ANY, NOTE, 0},
    {"default", ANY, NOTE, 0},
    {"examples", ANY, NOTE, 0},
    {"deprecated", ANY, NOTE, 0},
    {"readOnly", ANY, NOTE, 0},
    {"writeOnly", ANY, NOTE, 0},
    {"$schema", ANY, NOTE, 0},
    {"$comment", ANY, NOTE, 0},
    {"$id", ANY, NOTE, 0},
    {"$anchor", ANY, NOTE, 0},
    {"$vocabulary", ANY, NOTE, 0},
    {"$defs", ANY, NOTE, 0},
    {"definitions", ANY, NOTE, 0},
    {"contentEncoding", ANY, NOTE, 0},
    {"contentMediaType", ANY, NOTE, 0},
    {"contentSchema", ANY, NOTE, 0},
    {"not", SCHEMA, NOT_HELD, 0},
    {"if", SCHEMA, NOT_HELD, 0},
    {"then", SCHEMA, NOT_HELD, 0},
    {"else", SCHEMA, NOT_HELD, 0},
    {"contains", SCHEMA, NOT_HELD, AN_ARRAY},
    {"minContains", COUNT, NOT_HELD, AN_ARRAY},
    {"maxContains", COUNT, NOT_HELD, AN_ARRAY},
    {"unevaluatedItems", SCHEMA, NOT_HELD, AN_ARRAY},
    {"propertyNames", SCHEMA, NOT_HELD, AN_OBJECT},
    {"dependentRequired", ANY, NOT_HELD, AN_OBJECT},
    {"dependentSchemas", SCHEMA_MAP, NOT_HELD, AN_OBJECT},
    {"unevaluatedProperties", SCHEMA, NOT_HELD, AN_OBJECT},
};

static const struct keyword *find_keyword(const char *name) {
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, name) == 0) return &keywords[i];
    return NULL;
}

const char *ci_schema_unknown_keyword(const json_t *schema) {
    void *iterator = json_object_iter((json_t *)schema);
    for (; iterator; iterator = json_object_iter_next((json_t *)schema, iterator)) {
        const char *name = json_object_iter_key(iterator);
        if (!find_keyword(name) || strncmp(name, "unevaluated", 11) == 0) return name;
    }
    return NULL;
}

/* ---- keywords that are none ---- */

static void drop_in_list(json_t *list) {
    json_t *schema;
    size_t i;
    json_array_foreach(list, i, schema) { ci_schema_drop_unknown(schema); }
}

static void drop_in_map(json_t *map) {
    const char *name;
    json_t *schema;
    json_object_foreach(map, name, schema) { ci_schema_drop_unknown(schema); }
}

static bool holds_definitions(const char *name) {
    return strcmp(name, "$defs") == 0 || strcmp(name, "definitions") == 0;
}

void ci_schema_drop_unknown(json_t *schema) {
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(schema, next, name, value) {
        const struct keyword *keyword = find_keyword(name);
        if (!keyword)
            json_object_del(schema, name);
        else if (keyword->kind == SCHEMA_MAP || holds_definitions(name))
            drop_in_map(value);
        else if (keyword->kind == SCHEMAS || (keyword->kind == SCHEMA_OR_LIST && json_is_array(value)))
            drop_in_list(value);
        else if (keyword->kind == SCHEMA || keyword->kind == SCHEMA_OR_LIST)
            ci_schema_drop_unknown(value);
    }
}

/* ---- types ---- */

static unsigned type_of(const json_t *name) {
    static const struct {
        const char *name;
        unsigned type;
    } types[] = {{"null", CI_SCHEMA_NULL},    {"boolean", CI_SCHEMA_BOOLEAN}, {"integer", CI_SCHEMA_INTEGER},
                 {"number", A_NUMBER},        {"string", CI_SCHEMA_STRING},   {"array", CI_SCHEMA_ARRAY},
                 {"object", CI_SCHEMA_OBJECT}};
    for (size_t i = 0; json_is_string(name) && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, json_string_value(name)) == 0) return types[i].type;
    return 0;
}

unsigned ci_schema_types(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type");
    unsigned types = 0;
    if (!type) return CI_SCHEMA_ALL;
    if (json_is_string(type)) return type_of(type);
    for (size_t i = 0; i < json_array_size(type); i++) types |= type_of(json_array_get(type, i));
    return types;
}

unsigned ci_schema_set_types(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    unsigned types = CI_SCHEMA_ALL, meant = 0;
    bool told = false;
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema)) {
        void *iterator = json_object_iter((json_t *)schema);
        for (; iterator; iterator = json_object_iter_next((json_t *)schema, iterator)) {
            const struct keyword *keyword = find_keyword(json_object_iter_key(iterator));
            if (keyword) meant |= keyword->types;
        }
        types &= ci_schema_types(schema);
        told = told || json_object_get(schema, "type");
    }
    return !told && meant ? types & meant : types;
}

/* ---- checks ---- */

static bool all(const json_t *list, bool (*is)(const json_t *)) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!is(json_array_get(list, i))) return false;
    return json_is_array(list);
}

static bool is_text(const json_t *value) { return json_is_string(value); }
static bool is_schema(const json_t *value) { return json_is_object(value) || json_is_boolean(value); }
static bool is_type(const json_t *value) { return type_of(value) != 0; }

static bool all_members(const json_t *object) {
    void *iterator = json_object_iter((json_t *)object);
    for (; iterator; iterator = json_object_iter_next((json_t *)object, iterator))
        if (!is_schema(json_object_iter_value(iterator))) return false;
    return json_is_object(object);
}

/* What is wrong with a keyword's value; NULL: nothing. */
static const char *find_fault(enum kind kind, const json_t *value) {
    switch (kind) {
    case ANY: return NULL;
    case BOOLEAN: return json_is_boolean(value) ? NULL : "must be true or false";
    case TEXT: return json_is_string(value) ? NULL : "must be a string";
    case TEXTS: return all(value, is_text) ? NULL : "must be an array of strings";
    case COUNT: {
        double number = json_number_value(value);
        return json_is_number(value) && number >= 0 && floor(number) == number ? NULL
                                                                               : "must be a whole number, at "
                                                                                 "least 0";
    }
    case NUMBER: return json_is_number(value) ? NULL : "must be a number";
    case POSITIVE: return json_is_number(value) && json_number_value(value) > 0 ? NULL : "must be a number above 0";
    case SCHEMA: return is_schema(value) ? NULL : "must be a schema: an object, true or false";
    case SCHEMAS:
        return all(value, is_schema) && json_array_size(value) > 0 ? NULL : "must be an array of schemas, not empty";
    case SCHEMA_MAP: return all_members(value) ? NULL : "must be an object of schemas";
    case SCHEMA_OR_LIST: return is_schema(value) || all(value, is_schema) ? NULL : "must be a schema";
    case LIST: return json_array_size(value) > 0 ? NULL : "must be an array, not empty";
    case TYPE:
        return type_of(value) || (json_array_size(value) > 0 && all(value, is_type))
                   ? NULL
                   : "must be null, boolean, integer, number, string, array or object, or an array of those";
    }
    return NULL;
}

void ci_schema_check_keywords(struct ci_schema_compiler *compiler, uint32_t place) {
    json_t *schema = (json_t *)compiler->places[place].schema;
    void *iterator = json_object_iter(schema);
    for (; iterator && ci_schema_step(compiler, 1); iterator = json_object_iter_next(schema, iterator)) {
        const char *name = json_object_iter_key(iterator);
        const struct keyword *keyword = find_keyword(name);
        const char *fault = keyword ? find_fault(keyword->kind, json_object_iter_value(iterator)) : NULL;
        if (!keyword) ci_schema_fail(compiler, place, name, CLINFER_UNSUPPORTED, "this keyword is not known");
        if (fault) ci_schema_fail(compiler, place, name, CLINFER_INVALID_ARGUMENT, "%s", fault);
    }
}

void ci_schema_check_held(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema)) {
        void *iterator = json_object_iter((json_t *)schema);
        for (; iterator; iterator = json_object_iter_next((json_t *)schema, iterator)) {
            const struct keyword *keyword = find_keyword(json_object_iter_key(iterator));
            if (keyword && keyword->held == NOT_HELD)
                ci_schema_fail(compiler, place, keyword->name, CLINFER_UNSUPPORTED,
                               "a grammar cannot hold this keyword; leave it out, and check the answer yourself");
        }
    }
}
