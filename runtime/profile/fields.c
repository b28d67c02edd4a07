#include "profile/fields.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"

struct ci_field_place ci_field_below(const struct ci_field_place *place, const char *name, long index) {
    struct ci_field_place below = {.file = place->file};
    const char *dot = *place->where && *name ? "." : "";
    if (index < 0)
        snprintf(below.where, sizeof below.where, "%.60s%s%.30s", place->where, dot, name);
    else
        snprintf(below.where, sizeof below.where, "%.40s%s%.30s[%ld]", place->where, dot, name, index);
    return below;
}

/* ---- refusing ---- */

/* Hostile texts reach a terminal as escapes only, and cut. (Jansson escapes all that is not ASCII, but not DEL.) */
static void show(const json_t *value, char *text, size_t size) {
    if (json_is_object(value) || json_is_array(value)) {
        snprintf(text, size, "(%s)", json_is_object(value) ? "an object" : "an array");
        return;
    }
    char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    if (!dump)
        snprintf(text, size, "(unprintable)");
    else if (strlen(dump) < size)
        snprintf(text, size, "%s", dump);
    else
        snprintf(text, size, "%.*s... (%zu bytes)", ci_narrowed((int64_t)size - 32), dump, strlen(dump));
    free(dump);
}

/* Names of unknown fields come from the file, too. */
static void printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e) *text = '?';
}

/* `shown` is the value as people see it, ": " behind it; or "". */
static enum clinfer_status refuse(const struct ci_field_place *place, const char *name, char *shown, const char *format,
                                  va_list arguments) {
    char must[384];
    vsnprintf(must, sizeof must, format, arguments);
    struct ci_field_place field = ci_field_below(place, name, -1);
    printable(field.where);
    printable(shown);
    return ci_fail(CLINFER_BAD_FILE, "%s: field \"%s\": %s%s", place->file, *field.where ? field.where : "(all)", shown,
                   must);
}

enum clinfer_status ci_field_refuse(const struct ci_field_place *place, const char *name, const json_t *value,
                                    const char *format, ...) {
    char text[90], shown[108] = "missing: ";
    if (value) {
        show(value, text, sizeof text);
        snprintf(shown, sizeof shown, "value %s: ", text);
    }
    va_list arguments;
    va_start(arguments, format);
    enum clinfer_status status = refuse(place, name, shown, format, arguments);
    va_end(arguments);
    return status;
}

enum clinfer_status ci_field_refuse_unseen(const struct ci_field_place *place, const char *name, const char *format,
                                           ...) {
    va_list arguments;
    va_start(arguments, format);
    enum clinfer_status status = refuse(place, name, (char[]){""}, format, arguments);
    va_end(arguments);
    return status;
}

static enum clinfer_status unknown_field(const struct ci_field_place *place, const struct ci_field *fields,
                                         const char *name, const json_t *value) {
    char known[320] = "";
    for (; fields->name; fields++) ci_names_add(known, sizeof known, fields->name);
    return ci_field_refuse(place, name, value, "unknown; the fields here are %s", known);
}

/* ---- texts ---- */

/* Control characters would let a file write to the terminal of whoever lists it: C0, DEL, and C1 as UTF-8. */
static bool is_control(const char *at) {
    unsigned char byte = (unsigned char)at[0], next = (unsigned char)at[1];
    return byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next <= 0x9f);
}

static bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._,:+-", c));
}

void ci_field_clean(char *text) {
    json_t *utf8 = json_string(text); /* NULL: it is none */
    for (char *at = text; *at; at++) {
        bool control = is_control(at), two_bytes = (unsigned char)*at == 0xc2;
        if (control || (!utf8 && (unsigned char)*at >= 0x80)) *at = '?';
        if (control && two_bytes) *++at = '?';
    }
    json_decref(utf8);
}

static enum clinfer_status check_text(const struct ci_field_place *place, const struct ci_field *field,
                                      const json_t *value) {
    if (!json_is_string(value)) return ci_field_refuse(place, field->name, value, "must be a text");
    size_t length = json_string_length(value);
    if ((double)length < field->minimum || (double)length > field->maximum)
        return ci_field_refuse(place, field->name, value, "must have %.0f to %.0f bytes", field->minimum,
                               field->maximum);
    for (const char *at = json_string_value(value); *at; at++) {
        if (field->kind == CI_FIELD_TEXT && is_control(at))
            return ci_field_refuse(place, field->name, value, "must have no control characters");
        if (field->kind == CI_FIELD_NAME && !is_name_character(*at))
            return ci_field_refuse(place, field->name, value, "must have letters, digits and ._,:+- only");
    }
    return CLINFER_OK;
}

static bool read_hash(const char *text, uint64_t *hash) {
    *hash = 0;
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) return false;
    *hash = strtoull(text, NULL, 16);
    return true;
}

/* ---- one field ---- */

static enum clinfer_status check_range(const struct ci_field_place *place, const struct ci_field *field,
                                       const json_t *value) {
    bool whole = field->kind != CI_FIELD_NUMBER;
    const char *what = whole ? "whole number" : "number";
    bool right = whole ? json_is_integer(value) : json_is_number(value);
    double number = right ? json_number_value(value) : 0;
    if (right && isfinite(number) && number >= field->minimum && number <= field->maximum) return CLINFER_OK;
    return ci_field_refuse(place, field->name, value, "must be a %s from %.17g to %.17g", what, field->minimum,
                           field->maximum);
}

enum clinfer_status ci_field_read_one(const struct ci_field_place *place, const struct ci_field *field,
                                      const json_t *value, void *member) {
    enum clinfer_status status = CLINFER_OK;
    uint64_t hash;
    switch (field->kind) {
    case CI_FIELD_TEXT:
    case CI_FIELD_NAME:
        status = check_text(place, field, value);
        if (status == CLINFER_OK) memcpy(member, json_string_value(value), json_string_length(value) + 1);
        return status;
    case CI_FIELD_HASH:
        if (!json_is_string(value) || !read_hash(json_string_value(value), &hash))
            return ci_field_refuse(place, field->name, value, "must be a text of 16 hexadecimal digits");
        memcpy(member, &hash, sizeof hash);
        return CLINFER_OK;
    case CI_FIELD_BOOL:
        if (!json_is_boolean(value)) return ci_field_refuse(place, field->name, value, "must be true or false");
        memcpy(member, &(bool){json_is_true(value)}, sizeof(bool));
        return CLINFER_OK;
    case CI_FIELD_INT:
        status = check_range(place, field, value);
        if (status == CLINFER_OK) memcpy(member, &(int){ci_narrowed(json_integer_value(value))}, sizeof(int));
        return status;
    case CI_FIELD_UNSIGNED:
        status = check_range(place, field, value);
        if (status == CLINFER_OK)
            memcpy(member, &(unsigned){ci_narrowed_unsigned((uint64_t)json_integer_value(value))}, sizeof(unsigned));
        return status;
    case CI_FIELD_INT64:
        status = check_range(place, field, value);
        if (status == CLINFER_OK) memcpy(member, &(int64_t){json_integer_value(value)}, sizeof(int64_t));
        return status;
    case CI_FIELD_NUMBER:
        status = check_range(place, field, value);
        if (status == CLINFER_OK) memcpy(member, &(double){json_number_value(value)}, sizeof(double));
        return status;
    case CI_FIELD_OTHER: break;
    }
    return CLINFER_OK;
}

/* What is not a JSON value at all (a number that is not finite, a text that is no UTF-8) becomes null, which the check
 * of the caller refuses. */
static json_t *field_value(const struct ci_field *field, const void *member) {
    char hash[17];
    uint64_t bits;
    int integer;
    int64_t wide;
    unsigned natural;
    double number;
    bool truth;
    switch (field->kind) {
    case CI_FIELD_TEXT:
    case CI_FIELD_NAME: return json_string(member);
    case CI_FIELD_HASH:
        memcpy(&bits, member, sizeof bits);
        snprintf(hash, sizeof hash, "%016" PRIx64, bits);
        return json_string(hash);
    case CI_FIELD_INT: memcpy(&integer, member, sizeof integer); return json_integer(integer);
    case CI_FIELD_INT64: memcpy(&wide, member, sizeof wide); return json_integer(wide);
    case CI_FIELD_UNSIGNED: memcpy(&natural, member, sizeof natural); return json_integer(natural);
    case CI_FIELD_NUMBER: memcpy(&number, member, sizeof number); return json_real(number);
    case CI_FIELD_BOOL: memcpy(&truth, member, sizeof truth); return json_boolean(truth);
    case CI_FIELD_OTHER: break;
    }
    return NULL;
}

/* ---- objects ---- */

enum clinfer_status ci_field_parse(const char *file, const char *text, size_t length, size_t most, json_t **object) {
    *object = NULL;
    if (length > most) return ci_fail(CLINFER_BAD_FILE, "%s: has %zu bytes: at most %zu are read", file, length, most);
    return ci_json_parse(file, text, length, object);
}

enum clinfer_status ci_field_read(const struct ci_field_place *place, const struct ci_field *fields,
                                  const json_t *object, void *target) {
    if (!json_is_object(object)) return ci_field_refuse(place, "", object, "must be an object");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        const struct ci_field *field = fields;
        while (field->name && strcmp(field->name, name) != 0) field++;
        if (!field->name) return unknown_field(place, fields, name, value);
    }
    for (const struct ci_field *field = fields; field->name; field++) {
        const json_t *found = json_object_get(object, field->name);
        if (!found && field->optional) continue;
        if (!found) return ci_field_refuse(place, field->name, NULL, "every file of this version has it");
        enum clinfer_status status = ci_field_read_one(place, field, found, (char *)target + field->offset);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_field_write(const struct ci_field_place *place, const struct ci_field *fields,
                                   const void *source, json_t *object) {
    enum { LARGEST_MEMBER = 512 };
    char scratch[LARGEST_MEMBER];
    for (const struct ci_field *field = fields; field->name; field++) {
        if (field->kind == CI_FIELD_OTHER) continue;
        assert(field->size <= sizeof scratch);
        json_t *value = field_value(field, (const char *)source + field->offset);
        if (!value) value = json_null();
        enum clinfer_status status = ci_field_read_one(place, field, value, scratch);
        if (json_object_set_new(object, field->name, value) != 0 && status == CLINFER_OK)
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_field_array(const struct ci_field_place *place, const json_t *object, const char *name,
                                   size_t most, const json_t **array) {
    *array = json_object_get(object, name);
    if (!json_is_array(*array)) return ci_field_refuse(place, name, *array, "must be an array");
    if (json_array_size(*array) > most)
        return ci_field_refuse(place, name, *array, "has %zu items: at most %zu are read", json_array_size(*array),
                               most);
    return CLINFER_OK;
}

enum clinfer_status ci_field_check_schema(const struct ci_field_place *place, const json_t *object, const char *schema,
                                          int version) {
    const json_t *found = json_object_get(object, "schema"), *number = json_object_get(object, "version");
    if (!json_is_string(found) || strcmp(json_string_value(found), schema) != 0)
        return ci_field_refuse(place, "schema", found, "must be \"%s\"", schema);
    if (!json_is_integer(number) || json_integer_value(number) != version)
        return ci_field_refuse(place, "version", number, "this clinfer reads version %d only", version);
    return CLINFER_OK;
}
