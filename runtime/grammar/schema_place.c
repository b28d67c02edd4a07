#include "grammar/schema_place.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"

enum { MOST_TEXT = 4 << 20, MOST_PATH = 200, MOST_POINTER = 1000 };

json_t *ci_schema_load(const char *text, size_t length, size_t flags, json_error_t *error) {
    flags |= JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *value = json_loadb(text, length, flags, error);
    if (!value && json_error_code(error) == json_error_numeric_overflow)
        value = json_loadb(text, length, flags | JSON_DECODE_INT_AS_REAL, error);
    if (value) return value;
    for (char *c = error->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    return NULL;
}

enum clinfer_status ci_schema_parse(const char *name, const char *text, size_t length, json_t **document) {
    json_error_t error;
    *document = NULL;
    if (length > MOST_TEXT)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: a schema has at most %d bytes; this one has %zu", name, MOST_TEXT,
                       length);
    json_t *top = ci_schema_load(text, length, 0, &error);
    if (!top && json_error_code(&error) == json_error_out_of_memory)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    if (!top)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: line %d, column %d: is not JSON: %s", name, error.line,
                       error.column, error.text);
    if (!json_is_object(top) && !json_is_boolean(top)) {
        json_decref(top);
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: a JSON schema is an object, true or false", name);
    }
    *document = top;
    return CLINFER_OK;
}

/* ---- failures ---- */

/* The end of the path where it is long. */
static void write_path(const struct ci_schema_compiler *compiler, uint32_t place, char path[MOST_PATH + 4]) {
    char part[MOST_PATH];
    size_t at = MOST_PATH + 3;
    path[at] = 0;
    while (place > 0 && place < compiler->place_count) {
        const struct ci_schema_place *here = &compiler->places[place];
        if (here->key)
            snprintf(part, sizeof part, "%s%.100s", here->parent ? "." : "", here->key);
        else
            snprintf(part, sizeof part, "[%zu]", here->index);
        size_t length = strlen(part);
        if (length + 3 > at) {
            memcpy(path + at - 3, "...", 3);
            at -= 3;
            break;
        }
        at -= length;
        memcpy(path + at, part, length);
        place = here->parent;
    }
    memmove(path, path + at, MOST_PATH + 4 - at);
    for (char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
}

void ci_schema_fail(struct ci_schema_compiler *compiler, uint32_t place, const char *keyword,
                    enum clinfer_status status, const char *format, ...) {
    char path[MOST_PATH + 4], what[512], shown[64];
    va_list arguments;
    if (compiler->status != CLINFER_OK) return;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    write_path(compiler, place, path);
    snprintf(shown, sizeof shown, "%.60s", keyword ? keyword : "");
    for (char *c = shown; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    compiler->status =
        ci_fail(status, "%s: %s%s%s%s%s", compiler->name, path, path[0] ? ": " : "", shown, shown[0] ? ": " : "", what);
}

void ci_schema_no_memory(struct ci_schema_compiler *compiler) {
    if (compiler->status == CLINFER_OK)
        compiler->status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", compiler->name);
}

bool ci_schema_step(struct ci_schema_compiler *compiler, size_t steps) {
    compiler->steps += steps;
    if (compiler->steps > CI_SCHEMA_MOST_STEPS && compiler->status == CLINFER_OK)
        compiler->status =
            ci_fail(CLINFER_UNSUPPORTED,
                    "%s: the schema is too large, or has too many alternatives at once, to be held", compiler->name);
    return compiler->status == CLINFER_OK;
}

/* ---- places ---- */

static uint32_t *find_place(const struct ci_schema_compiler *compiler, const json_t *schema) {
    size_t at =
        (size_t)(((uintptr_t)schema >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (compiler->table_capacity - 1);
    for (;; at = (at + 1) & (compiler->table_capacity - 1)) {
        uint32_t *entry = &compiler->table[at];
        if (*entry == 0 || compiler->places[*entry - 1].schema == schema) return entry;
    }
}

static bool make_room(struct ci_schema_compiler *compiler) {
    if (!ci_array_reserve(&compiler->places, &compiler->place_capacity, compiler->place_count)) return false;
    if ((compiler->place_count + 1) * 2 <= compiler->table_capacity) return true;
    size_t capacity = compiler->table_capacity ? compiler->table_capacity * 2 : 256;
    uint32_t *table = calloc(capacity, sizeof *table);
    if (!table) return false;
    free(compiler->table);
    compiler->table = table;
    compiler->table_capacity = capacity;
    for (uint32_t i = 0; i < compiler->place_count; i++) *find_place(compiler, compiler->places[i].schema) = i + 1;
    return true;
}

/* true, false and null are one value of jansson's each, so they are no places of their own. */
static uint32_t place_of(struct ci_schema_compiler *compiler, struct ci_schema_place place) {
    bool known = json_is_object(place.schema) || json_is_array(place.schema);
    if (!ci_schema_step(compiler, 1)) return 0;
    if (!make_room(compiler)) {
        ci_schema_no_memory(compiler);
        return 0;
    }
    uint32_t *entry = find_place(compiler, place.schema);
    if (known && *entry) return *entry - 1;
    compiler->places[compiler->place_count++] = place;
    *entry = ci_narrowed_unsigned(compiler->place_count);
    return *entry - 1;
}

uint32_t ci_schema_root(struct ci_schema_compiler *compiler) {
    return place_of(compiler, (struct ci_schema_place){.schema = compiler->document});
}

uint32_t ci_schema_child(struct ci_schema_compiler *compiler, uint32_t place, const char *key) {
    if (compiler->status != CLINFER_OK) return 0;
    const json_t *value = json_object_get(compiler->places[place].schema, key);
    return place_of(compiler, (struct ci_schema_place){.schema = value, .parent = place, .key = key});
}

uint32_t ci_schema_element(struct ci_schema_compiler *compiler, uint32_t place, size_t index) {
    if (compiler->status != CLINFER_OK) return 0;
    const json_t *value = json_array_get(compiler->places[place].schema, index);
    return place_of(compiler, (struct ci_schema_place){.schema = value, .parent = place, .index = index});
}

bool ci_schema_count(struct ci_schema_compiler *compiler, uint32_t place, const char *keyword, uint32_t *count) {
    const json_t *value = json_object_get(compiler->places[place].schema, keyword);
    if (!value) return false;
    double number = json_number_value(value);
    *count = number < 1e9 ? (uint32_t)number : 1000000000;
    return true;
}

/* ---- references ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One part of a pointer, %XX and ~0, ~1 read (RFC 6901, section 6); false: it is none. */
static bool read_part(const char **at, char part[MOST_POINTER]) {
    size_t length = 0;
    const char *c = *at;
    while (*c && *c != '/') {
        int code = (unsigned char)*c++;
        if (code == '%') {
            int high = hex_digit(c[0]), low = high < 0 ? -1 : hex_digit(c[1]);
            if (low < 0) return false;
            code = high * 16 + low;
            c += 2;
        }
        if (code == '~') {
            if (*c != '0' && *c != '1') return false;
            code = *c++ == '0' ? '~' : '/';
        }
        if (length + 1 >= MOST_POINTER || code == 0) return false;
        part[length++] = (char)code;
    }
    part[length] = 0;
    *at = c;
    return true;
}

const json_t *ci_schema_follow(const json_t *document, const char *pointer, ci_schema_pointer_step *step, void *user) {
    char part[MOST_POINTER];
    const json_t *here = document;
    if (*pointer++ != '#') return NULL;
    while (*pointer && here) {
        if (*pointer++ != '/' || !read_part(&pointer, part)) return NULL;
        if (json_is_object(here)) {
            json_t *next = json_object_get(here, part);
            if (step && next) {
                void *iterator = json_object_iter_at((json_t *)here, part);
                step(user, json_object_iter_key(iterator), 0);
            }
            here = next;
        } else {
            char *end;
            unsigned long index = strtoul(part, &end, 10);
            bool fine = part[0] >= '0' && part[0] <= '9' && *end == 0 && index < json_array_size(here);
            here = fine ? json_array_get(here, index) : NULL;
            if (step && here) step(user, NULL, index);
        }
    }
    return here;
}

struct walk {
    struct ci_schema_compiler *compiler;
    uint32_t place;
};

static void walk_on(void *user, const char *key, size_t index) {
    struct walk *walk = user;
    walk->place =
        key ? ci_schema_child(walk->compiler, walk->place, key) : ci_schema_element(walk->compiler, walk->place, index);
}

static uint32_t follow(struct ci_schema_compiler *compiler, uint32_t place, const char *pointer) {
    struct walk walk = {compiler, 0};
    if (pointer[0] != '#' || (pointer[1] && pointer[1] != '/')) {
        ci_schema_fail(compiler, place, "$ref", CLINFER_UNSUPPORTED,
                       "'%.80s' lies elsewhere; only pointers into the same schema are followed, such as #/$defs/name",
                       ci_json_is_printable(pointer) ? pointer : "?");
        return 0;
    }
    const json_t *target = ci_schema_follow(compiler->document, pointer, walk_on, &walk);
    if (!target)
        ci_schema_fail(compiler, place, "$ref", CLINFER_INVALID_ARGUMENT, "there is no '%.80s' in the schema",
                       ci_json_is_printable(pointer) ? pointer : "?");
    else if (!json_is_object(target) && !json_is_boolean(target))
        ci_schema_fail(compiler, place, "$ref", CLINFER_INVALID_ARGUMENT, "'%.80s' is no schema",
                       ci_json_is_printable(pointer) ? pointer : "?");
    return walk.place;
}

bool ci_schema_in_place(struct ci_schema_compiler *compiler, uint32_t place, size_t n, bool all, uint32_t *to) {
    static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
    const json_t *schema = compiler->places[place].schema;
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    if (compiler->status != CLINFER_OK || !json_is_object(schema)) return false;
    if (reference && n == 0) {
        *to = follow(compiler, place, reference);
        return compiler->status == CLINFER_OK;
    }
    n -= reference != NULL;
    for (size_t i = 0; i < (all ? 3 : 1); i++) {
        size_t count = json_array_size(json_object_get(schema, lists[i]));
        if (n < count) {
            *to = ci_schema_element(compiler, ci_schema_child(compiler, place, lists[i]), n);
            return compiler->status == CLINFER_OK;
        }
        n -= count;
    }
    return false;
}

struct way {
    uint32_t place;
    size_t next;
};

/* Depth first, with its own stack: chains of references may be long. */
void ci_schema_check_circle(struct ci_schema_compiler *compiler, uint32_t place) {
    struct way *ways = NULL;
    size_t count = 0, capacity = 0;
    if (compiler->places[place].visit != 0) return;
    uint32_t to = place;
    bool down = true;
    do {
        if (down) {
            if (!ci_array_reserve(&ways, &capacity, count)) {
                ci_schema_no_memory(compiler);
                break;
            }
            compiler->places[to].visit = 1;
            ways[count++] = (struct way){to, 0};
        }
        struct way *way = &ways[count - 1];
        down = false;
        if (!ci_schema_in_place(compiler, way->place, way->next, true, &to)) {
            compiler->places[way->place].visit = 2;
            count--;
            continue;
        }
        way->next++;
        if (compiler->places[to].visit == 1)
            ci_schema_fail(compiler, to, NULL, CLINFER_INVALID_ARGUMENT,
                           "it leads back to itself for the same value, so it says nothing");
        down = compiler->places[to].visit == 0;
    } while (count > 0 && compiler->status == CLINFER_OK);
    free(ways);
}
