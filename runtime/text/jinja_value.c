/* jinja_value.c: what values are: truth, equality, order, iteration, dictionaries, growing text. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"

struct ci_jinja_value ci_jinja_undefined(struct ci_jinja_string what) {
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_UNDEFINED, .string = what};
}

struct ci_jinja_value ci_jinja_none(void) {
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_NONE};
}

struct ci_jinja_value ci_jinja_boolean(bool value) {
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_BOOLEAN, .boolean = value};
}

struct ci_jinja_value ci_jinja_integer(int64_t value) {
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_INTEGER, .integer = value};
}

struct ci_jinja_value ci_jinja_float(double value) {
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_FLOAT, .number = value};
}

struct ci_jinja_value ci_jinja_text(struct ci_jinja_string string) {
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_STRING, .string = string};
}

struct ci_jinja_value ci_jinja_list(struct ci_jinja_run *run, enum ci_jinja_shape shape,
                                    const struct ci_jinja_value *items, size_t count) {
    struct ci_jinja_list *list = ci_jinja_alloc(&run->heap, 1, sizeof *list);
    *list = (struct ci_jinja_list){shape, count, items};
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_LIST, .list = list};
}

const char *ci_jinja_kind_name(struct ci_jinja_value value) {
    static const char *const names[] = {"undefined", "none",      "boolean", "integer", "float",    "string", "list",
                                        "dict",      "namespace", "loop",    "macro",   "function", "method"};
    return names[value.kind];
}

bool ci_jinja_string_equal(struct ci_jinja_string left, struct ci_jinja_string right) {
    return left.length == right.length && (left.length == 0 || memcmp(left.bytes, right.bytes, left.length) == 0);
}

bool ci_jinja_same(struct ci_jinja_heap *heap, struct ci_jinja_string left, struct ci_jinja_string right) {
    ci_jinja_spend(heap, 1);
    if (left.length != right.length || (left.length && left.bytes[0] != right.bytes[0])) return false;
    ci_jinja_spend_bytes(heap, left.length);
    return ci_jinja_string_equal(left, right);
}

bool ci_jinja_string_is(struct ci_jinja_string string, const char *text) {
    return ci_jinja_string_equal(string, ci_jinja_template_string(text, strlen(text)));
}

/* ---- from JSON ---- */

static struct ci_jinja_value convert(struct ci_jinja_run *run, const json_t *json, const char *origin, int depth);

/* A role that all templates know is a word of theirs: "<|" + role + "|>" writes a control token. */
static bool is_known_role(const char *key, const json_t *member) {
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function"};
    if (strcmp(key, "role") != 0 || !json_is_string(member)) return false;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(json_string_value(member), roles[i]) == 0) return true;
    return false;
}

static struct ci_jinja_value convert_object(struct ci_jinja_run *run, const json_t *json, const char *origin,
                                            int depth) {
    struct ci_jinja_dict *dict = ci_jinja_dict_create(run, json_object_size(json));
    const char *key;
    size_t length;
    ci_jinja_enter(&run->heap);
    json_t *member, *object = (json_t *)json; /* jansson iterates only what it may change; nothing is */
    json_object_keylen_foreach(object, key, length, member) {
        struct ci_jinja_value name = ci_jinja_text((struct ci_jinja_string){key, length, origin});
        const char *whose = is_known_role(key, member) ? CI_JINJA_OF_TEMPLATE : origin;
        /* Keys of an object are distinct. */
        dict->pairs[dict->count++] = (struct ci_jinja_pair){name, convert(run, member, whose, depth + 1)};
    }
    ci_jinja_leave(&run->heap);
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_DICT, .dict = dict};
}

/* Strings and keys stay where they are: the context outlives the run. */
static struct ci_jinja_value convert(struct ci_jinja_run *run, const json_t *json, const char *origin, int depth) {
    ci_jinja_spend(&run->heap, 1);
    if (depth > CI_JINJA_DATA_DEPTH)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the input is nested deeper than %d levels",
                      CI_JINJA_DATA_DEPTH);
    switch (json_typeof(json)) {
    case JSON_NULL: return ci_jinja_none();
    case JSON_TRUE: return ci_jinja_boolean(true);
    case JSON_FALSE: return ci_jinja_boolean(false);
    case JSON_INTEGER: return ci_jinja_integer(json_integer_value(json));
    case JSON_REAL: return ci_jinja_float(json_real_value(json));
    case JSON_STRING:
        return ci_jinja_text((struct ci_jinja_string){json_string_value(json), json_string_length(json), origin});
    case JSON_OBJECT: return convert_object(run, json, origin, depth);
    case JSON_ARRAY: break;
    }
    size_t count = json_array_size(json);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, count, sizeof *items);
    ci_jinja_enter(&run->heap);
    for (size_t i = 0; i < count; i++) items[i] = convert(run, json_array_get(json, i), origin, depth + 1);
    ci_jinja_leave(&run->heap);
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, items, count);
}

struct ci_jinja_value ci_jinja_from_json(struct ci_jinja_run *run, const json_t *json, const char *origin) {
    return convert(run, json, origin, 0);
}

/* ---- truth, equality, order: Python's ---- */

bool ci_jinja_is_number(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_BOOLEAN || value.kind == CI_JINJA_IS_INTEGER || value.kind == CI_JINJA_IS_FLOAT;
}

static int64_t as_integer(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_BOOLEAN ? value.boolean : value.integer;
}

double ci_jinja_as_float(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_FLOAT ? value.number : (double)as_integer(value);
}

bool ci_jinja_truth(struct ci_jinja_value value) {
    switch (value.kind) {
    case CI_JINJA_IS_UNDEFINED:
    case CI_JINJA_IS_NONE: return false;
    case CI_JINJA_IS_BOOLEAN: return value.boolean;
    case CI_JINJA_IS_INTEGER: return value.integer != 0;
    case CI_JINJA_IS_FLOAT: return value.number != 0;
    case CI_JINJA_IS_STRING: return value.string.length > 0;
    case CI_JINJA_IS_LIST: return value.list->shape == CI_JINJA_SHAPE_STREAM || value.list->count > 0;
    case CI_JINJA_IS_DICT: return value.dict->count > 0;
    default: return true;
    }
}

static bool equal_dicts(struct ci_jinja_run *run, const struct ci_jinja_dict *left, const struct ci_jinja_dict *right) {
    if (left->count != right->count) return false;
    for (size_t i = 0; i < left->count; i++) {
        const struct ci_jinja_value *other = ci_jinja_dict_find(run, right, left->pairs[i].key);
        if (other == NULL || !ci_jinja_equal(run, left->pairs[i].value, *other)) return false;
    }
    return true;
}

static bool equal_lists(struct ci_jinja_run *run, const struct ci_jinja_list *left, const struct ci_jinja_list *right) {
    if (left == right) return true;
    if (left->shape != right->shape || left->shape == CI_JINJA_SHAPE_STREAM || left->count != right->count)
        return false;
    for (size_t i = 0; i < left->count; i++)
        if (!ci_jinja_equal(run, left->items[i], right->items[i])) return false;
    return true;
}

bool ci_jinja_equal(struct ci_jinja_run *run, struct ci_jinja_value left, struct ci_jinja_value right) {
    ci_jinja_spend(&run->heap, 1);
    if (ci_jinja_is_number(left) && ci_jinja_is_number(right)) {
        if (left.kind == CI_JINJA_IS_FLOAT || right.kind == CI_JINJA_IS_FLOAT)
            return ci_jinja_as_float(left) == ci_jinja_as_float(right);
        return as_integer(left) == as_integer(right);
    }
    if (left.kind != right.kind) return false;
    if (left.kind == CI_JINJA_IS_STRING) return ci_jinja_same(&run->heap, left.string, right.string);
    bool equal = false;
    ci_jinja_enter(&run->heap);
    switch (left.kind) {
    case CI_JINJA_IS_UNDEFINED:
    case CI_JINJA_IS_NONE: equal = true; break;
    case CI_JINJA_IS_LIST: equal = equal_lists(run, left.list, right.list); break;
    case CI_JINJA_IS_DICT: equal = left.dict == right.dict || equal_dicts(run, left.dict, right.dict); break;
    case CI_JINJA_IS_NAMESPACE: equal = left.dict == right.dict; break;
    case CI_JINJA_IS_LOOP: equal = left.loop == right.loop; break;
    case CI_JINJA_IS_MACRO: equal = left.macro == right.macro; break;
    case CI_JINJA_IS_FUNCTION: equal = left.function == right.function; break;
    default: break;
    }
    ci_jinja_leave(&run->heap);
    return equal;
}

static int order_strings(struct ci_jinja_run *run, struct ci_jinja_string left, struct ci_jinja_string right) {
    size_t common = left.length < right.length ? left.length : right.length;
    ci_jinja_spend_bytes(&run->heap, common);
    /* The order of UTF-8 is that of its code points. */
    int order = common ? memcmp(left.bytes, right.bytes, common) : 0;
    return order ? order : (left.length > right.length) - (left.length < right.length);
}

int ci_jinja_order(struct ci_jinja_run *run, struct ci_jinja_value left, struct ci_jinja_value right) {
    ci_jinja_spend(&run->heap, 1);
    if (ci_jinja_is_number(left) && ci_jinja_is_number(right)) {
        if (left.kind == CI_JINJA_IS_FLOAT || right.kind == CI_JINJA_IS_FLOAT) {
            double a = ci_jinja_as_float(left), b = ci_jinja_as_float(right);
            return (a > b) - (a < b);
        }
        return (as_integer(left) > as_integer(right)) - (as_integer(left) < as_integer(right));
    }
    if (left.kind == CI_JINJA_IS_STRING && right.kind == CI_JINJA_IS_STRING)
        return order_strings(run, left.string, right.string);
    if (left.kind == CI_JINJA_IS_LIST && right.kind == CI_JINJA_IS_LIST && left.list->shape == right.list->shape) {
        int order = 0;
        ci_jinja_enter(&run->heap);
        for (size_t i = 0; order == 0 && i < left.list->count && i < right.list->count; i++)
            if (!ci_jinja_equal(run, left.list->items[i], right.list->items[i]))
                order = ci_jinja_order(run, left.list->items[i], right.list->items[i]);
        ci_jinja_leave(&run->heap);
        return order ? order : (left.list->count > right.list->count) - (left.list->count < right.list->count);
    }
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "%s and %s have no order", ci_jinja_kind_name(left),
                  ci_jinja_kind_name(right));
}

/* ---- going through a value ---- */

static const struct ci_jinja_list *characters(struct ci_jinja_run *run, struct ci_jinja_string string) {
    size_t count = ci_jinja_characters(&run->heap, string), at = 0;
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, count, sizeof *items);
    for (size_t i = 0; i < count; i++) {
        ci_jinja_spend(&run->heap, 1);
        size_t bytes = ci_jinja_character_bytes(string, at);
        items[i] = ci_jinja_text(ci_jinja_part(string, at, at + bytes));
        at += bytes;
    }
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, items, count).list;
}

const struct ci_jinja_list *ci_jinja_iterate(struct ci_jinja_run *run, struct ci_jinja_value value) {
    static const struct ci_jinja_list nothing = {CI_JINJA_SHAPE_LIST, 0, NULL};
    switch (value.kind) {
    case CI_JINJA_IS_UNDEFINED: return &nothing;
    case CI_JINJA_IS_LIST: return value.list;
    case CI_JINJA_IS_STRING: return characters(run, value.string);
    case CI_JINJA_IS_DICT: break;
    default:
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "cannot iterate over a value of type %s",
                      ci_jinja_kind_name(value));
    }
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, value.dict->count, sizeof *items);
    for (size_t i = 0; i < value.dict->count; i++) items[i] = value.dict->pairs[i].key;
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, items, value.dict->count).list;
}

size_t ci_jinja_length(struct ci_jinja_run *run, struct ci_jinja_value value) {
    switch (value.kind) {
    case CI_JINJA_IS_UNDEFINED: return 0;
    case CI_JINJA_IS_STRING: return ci_jinja_characters(&run->heap, value.string);
    case CI_JINJA_IS_DICT: return value.dict->count;
    case CI_JINJA_IS_LIST:
        if (value.list->shape != CI_JINJA_SHAPE_STREAM) return value.list->count;
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "what a filter streams has no length: use '|list' first");
    default:
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a value of type %s has no length",
                      ci_jinja_kind_name(value));
    }
}

/* ---- dictionaries: few keys in chat templates, so they are searched one by one, which the steps count ---- */

struct ci_jinja_dict *ci_jinja_dict_create(struct ci_jinja_run *run, size_t capacity) {
    struct ci_jinja_dict *dict = ci_jinja_alloc(&run->heap, 1, sizeof *dict);
    dict->capacity = capacity;
    dict->pairs = ci_jinja_alloc(&run->heap, capacity, sizeof *dict->pairs);
    return dict;
}

void ci_jinja_refuse_as_key(struct ci_jinja_run *run, struct ci_jinja_value key) {
    if (key.kind == CI_JINJA_IS_DICT || (key.kind == CI_JINJA_IS_LIST && key.list->shape == CI_JINJA_SHAPE_LIST))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a %s cannot be a key", ci_jinja_kind_name(key));
    for (size_t i = 0; key.kind == CI_JINJA_IS_LIST && i < key.list->count; i++) {
        ci_jinja_enter(&run->heap);
        ci_jinja_spend(&run->heap, 1);
        ci_jinja_refuse_as_key(run, key.list->items[i]);
        ci_jinja_leave(&run->heap);
    }
}

static struct ci_jinja_pair *find_pair(struct ci_jinja_run *run, const struct ci_jinja_dict *dict,
                                       struct ci_jinja_value key) {
    ci_jinja_refuse_as_key(run, key);
    for (size_t i = 0; i < dict->count; i++) {
        ci_jinja_spend(&run->heap, 1);
        if (ci_jinja_equal(run, key, dict->pairs[i].key)) return &dict->pairs[i];
    }
    return NULL;
}

const struct ci_jinja_value *ci_jinja_dict_find(struct ci_jinja_run *run, const struct ci_jinja_dict *dict,
                                                struct ci_jinja_value key) {
    const struct ci_jinja_pair *pair = find_pair(run, dict, key);
    return pair ? &pair->value : NULL;
}

void ci_jinja_dict_set(struct ci_jinja_run *run, struct ci_jinja_dict *dict, struct ci_jinja_value key,
                       struct ci_jinja_value value) {
    struct ci_jinja_pair *pair = find_pair(run, dict, key);
    if (pair) {
        pair->value = value;
        return;
    }
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity ? dict->capacity * 2 : 8;
        struct ci_jinja_pair *pairs = ci_jinja_alloc(&run->heap, capacity, sizeof *pairs);
        if (dict->count) memcpy(pairs, dict->pairs, dict->count * sizeof *pairs);
        dict->pairs = pairs;
        dict->capacity = capacity;
    }
    dict->pairs[dict->count++] = (struct ci_jinja_pair){key, value};
}

/* ---- growing text ---- */

const char ci_jinja_of_input[1] = {1};

static void *grow(struct ci_jinja_run *run, const char *old, size_t length, size_t capacity) {
    char *bytes = ci_jinja_alloc(&run->heap, capacity, 1);
    if (length) memcpy(bytes, old, length);
    return bytes;
}

static void reserve(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, size_t more) {
    if (more <= buffer->capacity - buffer->length) return;
    /* Sums cannot wrap: everything is below the limit on memory. */
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : 64;
    while (capacity < buffer->length + more) capacity *= 2;
    buffer->bytes = grow(run, buffer->bytes, buffer->length, capacity);
    if (buffer->origins) buffer->origins = grow(run, buffer->origins, buffer->length, capacity);
    buffer->capacity = capacity;
}

/* The last bytes of the buffer are of these origins. */
static void set_origins(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, size_t length, const char *origins) {
    bool mixed = ci_jinja_is_mixed(origins);
    size_t before = buffer->length - length;
    if (!buffer->origins && !mixed && (before == 0 || buffer->origin == origins)) {
        buffer->origin = origins;
        return;
    }
    if (!buffer->origins) {
        ci_jinja_spend_bytes(&run->heap, buffer->capacity);
        buffer->origins = ci_jinja_alloc(&run->heap, buffer->capacity, 1);
        memset(buffer->origins, buffer->origin == CI_JINJA_OF_INPUT, before);
    }
    if (mixed)
        memcpy(buffer->origins + before, origins, length);
    else
        memset(buffer->origins + before, origins == CI_JINJA_OF_INPUT, length);
}

void ci_jinja_append_string(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_string string) {
    if (string.length == 0) return;
    ci_jinja_spend_bytes(&run->heap, string.length);
    reserve(run, buffer, string.length);
    memcpy(buffer->bytes + buffer->length, string.bytes, string.length);
    buffer->length += string.length;
    set_origins(run, buffer, string.length, string.origins);
}

void ci_jinja_append_text(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const char *text) {
    ci_jinja_append_string(run, buffer, ci_jinja_template_string(text, strlen(text)));
}

void ci_jinja_append_like(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_string string,
                          size_t at, const char *bytes, size_t length) {
    bool of_input = ci_jinja_is_mixed(string.origins) ? string.origins[at] : string.origins == CI_JINJA_OF_INPUT;
    const char *origin = of_input ? CI_JINJA_OF_INPUT : CI_JINJA_OF_TEMPLATE;
    ci_jinja_append_string(run, buffer, (struct ci_jinja_string){bytes, length, origin});
}

struct ci_jinja_value ci_jinja_buffer_text(const struct ci_jinja_buffer *buffer) {
    const char *origins = buffer->origins ? buffer->origins : buffer->origin;
    return ci_jinja_text((struct ci_jinja_string){buffer->bytes ? buffer->bytes : "", buffer->length, origins});
}

/* A template that collects its text piece by piece would copy it each time. If the left part is what the last
 * concatenation made, the right one goes behind it in place: nobody else has those bytes. */
struct ci_jinja_string ci_jinja_concat(struct ci_jinja_run *run, struct ci_jinja_string left,
                                       struct ci_jinja_string right) {
    if (right.length == 0) return left;
    if (left.length == 0) return right;
    struct ci_jinja_buffer *tail = &run->tail;
    if (tail->length == 0 || left.bytes != tail->bytes || left.length != tail->length) {
        *tail = (struct ci_jinja_buffer){0};
        ci_jinja_append_string(run, tail, left);
    }
    ci_jinja_append_string(run, tail, right);
    return ci_jinja_buffer_text(tail).string;
}
