#include "text/tool_reading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"

bool ci_reading_is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

void ci_tool_reading_begin(struct ci_tool_reading *reading, const struct ci_tool_tags *tags, const char *open,
                           const char *close, const json_t *tools) {
    *reading = (struct ci_tool_reading){.tags = tags, .close = close, .tools = tools};
    /* Where the mark itself begins a call, its name or id comes next. */
    if (tags->call ? open && strcmp(open, tags->call) == 0 : !tags->list) reading->state = CI_READING_BEGUN;
}

void ci_reading_next(struct ci_tool_reading *reading) {
    free(reading->name);
    free(reading->id);
    reading->name = reading->id = NULL;
    reading->length = reading->held_length = reading->count = 0;
    reading->properties = reading->property = NULL;
    reading->scan = (struct ci_json_scan){0};
    reading->state = CI_READING_BETWEEN;
}

bool ci_tool_reading_is_between(const struct ci_tool_reading *reading) { return reading->state == CI_READING_BETWEEN; }

void ci_tool_reading_end(struct ci_tool_reading *reading) {
    ci_reading_next(reading);
    free(reading->json);
    free(reading->held);
    *reading = (struct ci_tool_reading){0};
}

/* ---- what is held ---- */

void ci_reading_hold(struct ci_tool_reading *reading, char byte) {
    if (!ci_append(&reading->held, &reading->held_length, &reading->held_capacity, &byte, 1))
        reading->out_of_memory = true;
}

bool ci_reading_ends_with(const struct ci_tool_reading *reading, const char *mark) {
    size_t length = mark ? strlen(mark) : 0;
    return length && reading->held_length >= length &&
           memcmp(reading->held + reading->held_length - length, mark, length) == 0;
}

int ci_reading_match(const struct ci_tool_reading *reading, const char *const *texts, int count) {
    int found = -2;
    for (int i = 0; i < count; i++) {
        size_t length = texts[i] ? strlen(texts[i]) : 0;
        if (!length || reading->held_length > length || memcmp(texts[i], reading->held, reading->held_length) != 0)
            continue;
        if (reading->held_length == length) return i;
        found = -1;
    }
    return found;
}

char *ci_reading_take_trimmed(struct ci_tool_reading *reading, size_t behind) {
    size_t begin = 0, end = reading->held_length - behind;
    while (begin < end && ci_reading_is_space(reading->held[begin])) begin++;
    while (end > begin && ci_reading_is_space(reading->held[end - 1])) end--;
    char *text = strndup(reading->held ? reading->held + begin : "", end - begin);
    if (!text) reading->out_of_memory = true;
    reading->held_length = 0;
    return text;
}

void ci_reading_set_name(struct ci_tool_reading *reading, char *name) {
    size_t i;
    const json_t *tool;
    reading->name = name;
    json_array_foreach(reading->tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const char *known = json_string_value(json_object_get(function, "name"));
        if (known && name && strcmp(known, name) == 0)
            reading->properties = json_object_get(json_object_get(function, "parameters"), "properties");
    }
}

/* ---- JSON ---- */

void ci_reading_add(struct ci_tool_reading *reading, const char *json, size_t length) {
    if (!ci_append(&reading->json, &reading->length, &reading->capacity, json, length)) reading->out_of_memory = true;
}

void ci_reading_add_text(struct ci_tool_reading *reading, const char *text, size_t length) {
    static const char signs[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    char escaped[8];
    for (size_t i = 0; i < length; i++) {
        const char *sign = text[i] ? strchr(signs, text[i]) : NULL;
        if (sign)
            snprintf(escaped, sizeof escaped, "\\%c", names[sign - signs]);
        else if ((unsigned char)text[i] < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)text[i]);
        else
            snprintf(escaped, sizeof escaped, "%c", text[i]);
        ci_reading_add(reading, escaped, strlen(escaped));
    }
}

static void add_string(struct ci_tool_reading *reading, const char *text, size_t length) {
    ci_reading_add(reading, "\"", 1);
    ci_reading_add_text(reading, text, length);
    ci_reading_add(reading, "\"", 1);
}

void ci_reading_add_key(struct ci_tool_reading *reading, const char *key) {
    ci_reading_add(reading, reading->count ? ", " : "{", reading->count ? 2 : 1);
    add_string(reading, key, strlen(key));
    ci_reading_add(reading, ": ", 2);
    reading->count++;
    reading->property = json_object_get(reading->properties, key);
}

void ci_reading_add_end(struct ci_tool_reading *reading) {
    ci_reading_add(reading, reading->count ? "}" : "{}", reading->count ? 1 : 2);
}

/* ---- values ---- */

static const char *type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "object";
    case JSON_ARRAY: return "array";
    case JSON_STRING: return "string";
    case JSON_INTEGER: return "integer";
    case JSON_REAL: return "number";
    case JSON_TRUE:
    case JSON_FALSE: return "boolean";
    case JSON_NULL: return "null";
    }
    return "";
}

static bool names_type(const json_t *type, const char *wanted) {
    return json_is_string(type) && (strcmp(json_string_value(type), wanted) == 0 ||
                                    (strcmp(wanted, "integer") == 0 && strcmp(json_string_value(type), "number") == 0));
}

/* Whether the schema has values of a type, as far as its own `type`, `enum` and `const` and those of its alternatives
 * tell; `unsaid`: what holds where they tell nothing. */
static bool allows(const json_t *schema, const char *wanted, bool unsaid, int depth) {
    static const char *const alternatives[] = {"anyOf", "oneOf"};
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum"), *item;
    const json_t *only = json_object_get(schema, "const");
    size_t i;
    if (json_is_string(type)) return names_type(type, wanted);
    if (json_is_array(type)) {
        json_array_foreach(type, i, item) if (names_type(item, wanted)) return true;
        return false;
    }
    if (only) return strcmp(type_of(only), wanted) == 0;
    if (json_is_array(values)) {
        json_array_foreach(values, i, item) if (strcmp(type_of(item), wanted) == 0) return true;
        return false;
    }
    for (int k = 0; k < 2 && depth < 8; k++) {
        const json_t *branches = json_object_get(schema, alternatives[k]);
        if (!json_is_array(branches)) continue;
        json_array_foreach(branches, i, item) if (allows(item, wanted, unsaid, depth + 1)) return true;
        return false;
    }
    return unsaid;
}

bool ci_tool_schema_is_text(const json_t *schema) {
    static const char *const others[] = {"object", "array", "integer", "number", "boolean", "null"};
    if (!schema || !allows(schema, "string", false, 0)) return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (allows(schema, others[i], false, 0)) return false;
    return true;
}

/* JSON's word for a Python one; NULL: it is none. */
static const char *word_of(const char *text, size_t length) {
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (length == strlen(words[i][0]) && memcmp(text, words[i][0], length) == 0) return words[i][1];
    return NULL;
}

void ci_reading_add_value(struct ci_tool_reading *reading, const char *text, size_t length) {
    size_t begin = 0, end = length;
    while (begin < end && ci_reading_is_space(text[begin])) begin++;
    while (end > begin && ci_reading_is_space(text[end - 1])) end--;
    bool may_be_text = reading->property && allows(reading->property, "string", false, 0);
    const char *word = may_be_text ? NULL : word_of(text + begin, end - begin);
    json_t *value = json_loadb(text + begin, end - begin, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    bool takes =
        value && (!may_be_text || (!json_is_string(value) && allows(reading->property, type_of(value), false, 0)));
    if (word)
        ci_reading_add(reading, word, strlen(word));
    else if (takes)
        ci_reading_add(reading, text + begin, end - begin);
    else
        add_string(reading, text, length);
    json_decref(value);
}
