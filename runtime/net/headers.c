#define _GNU_SOURCE
#include "net/headers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* "name: value" into one piece; NULL: out of memory. */
static char *copy_line(const char *name, size_t name_length, const char *value, size_t value_length) {
    char *text = malloc(name_length + value_length + 2);
    if (!text) return NULL;
    memcpy(text, name, name_length);
    text[name_length] = 0;
    memcpy(text + name_length + 1, value, value_length);
    text[name_length + 1 + value_length] = 0;
    for (char *c = text; c < text + name_length + 1 + value_length; c++)
        if (c != text + name_length && ((unsigned char)*c < 0x20 || *c == 0x7f)) *c = *c == '\t' ? ' ' : '?';
    return text;
}

static bool room(struct ci_headers *headers) {
    if (headers->count < headers->capacity) return true;
    size_t capacity = headers->capacity ? 2 * headers->capacity : 32;
    struct ci_header_line *grown = realloc(headers->lines, capacity * sizeof *grown);
    if (!grown) return false;
    headers->lines = grown;
    headers->capacity = capacity;
    return true;
}

/* RFC 9112, section 5.2: obsolete, and still seen. */
static enum ci_headers_result go_on(struct ci_headers *headers, const char *more, size_t length) {
    if (!headers->count || headers->lines[headers->count - 1].answer != headers->answer) return CI_HEADERS_GOOD;
    struct ci_header_line *last = &headers->lines[headers->count - 1];
    size_t name_length = strlen(last->name), value_length = strlen(last->value);
    char *value = malloc(value_length + 1 + length);
    if (!value) return CI_HEADERS_NO_MEMORY;
    memcpy(value, last->value, value_length);
    value[value_length] = ' ';
    memcpy(value + value_length + 1, more, length);
    char *text = copy_line(last->name, name_length, value, value_length + 1 + length);
    free(value);
    if (!text) return CI_HEADERS_NO_MEMORY;
    free(last->name);
    last->name = text;
    last->value = text + name_length + 1;
    return CI_HEADERS_GOOD;
}

enum ci_headers_result ci_headers_add(struct ci_headers *headers, const char *line, size_t length) {
    headers->bytes += length;
    if (headers->bytes > CI_HEADERS_BYTES) return CI_HEADERS_TOO_LONG;
    while (length && is_space(line[length - 1])) length--;
    if (!length) return CI_HEADERS_GOOD;
    bool goes_on = is_space(*line);
    while (is_space(*line)) line++, length--;
    if (goes_on) return go_on(headers, line, length);
    const char *colon = memchr(line, ':', length);
    if (!colon) return CI_HEADERS_GOOD;
    const char *value = colon + 1, *end = line + length;
    while (value < end && is_space(*value)) value++;
    if (!room(headers)) return CI_HEADERS_NO_MEMORY;
    size_t name_length = (size_t)(colon - line);
    char *text = copy_line(line, name_length, value, (size_t)(end - value));
    if (!text) return CI_HEADERS_NO_MEMORY;
    headers->lines[headers->count++] = (struct ci_header_line){text, text + name_length + 1, headers->answer};
    return CI_HEADERS_GOOD;
}

void ci_headers_next(struct ci_headers *headers, bool instead) {
    while (instead && headers->count && headers->lines[headers->count - 1].answer == headers->answer)
        free(headers->lines[--headers->count].name);
    if (!instead) headers->answer++;
    headers->bytes = 0;
}

const char *ci_headers_get(const struct ci_headers *headers, const char *name) {
    for (size_t i = 0; i < headers->count; i++)
        if (headers->lines[i].answer == headers->answer && strcasecmp(headers->lines[i].name, name) == 0)
            return headers->lines[i].value;
    return NULL;
}

const char *ci_headers_first(const struct ci_headers *headers, const char *name) {
    for (size_t i = 0; i < headers->count; i++)
        if (strcasecmp(headers->lines[i].name, name) == 0) return headers->lines[i].value;
    return NULL;
}

void ci_headers_free(struct ci_headers *headers) {
    for (size_t i = 0; i < headers->count; i++) free(headers->lines[i].name);
    free(headers->lines);
    *headers = (struct ci_headers){0};
}
