#include "remote/logprobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ci_text_logprobs_clear(struct ci_text_logprobs *logprobs) {
    for (size_t i = 0; i < logprobs->count * logprobs->width; i++) free((char *)logprobs->items[i].text);
    logprobs->count = 0;
    logprobs->failed = false;
}

void ci_text_logprobs_free(struct ci_text_logprobs *logprobs) {
    ci_text_logprobs_clear(logprobs);
    free(logprobs->items);
    *logprobs = (struct ci_text_logprobs){0};
}

/* Its bytes, where they are told: a token may be a part of a character. */
static bool read_bytes(const json_t *bytes, char *text, size_t *length) {
    size_t i;
    json_t *byte;
    if (!json_array_size(bytes)) return false;
    json_array_foreach(bytes, i, byte) {
        json_int_t value = json_is_integer(byte) ? json_integer_value(byte) : -1;
        if (value < 0 || value > 255) return false;
        text[i] = (char)value;
    }
    *length = json_array_size(bytes);
    return true;
}

/* false: memory is out. */
static bool read_one(const json_t *entry, struct clinfer_text_logprob *out) {
    const json_t *token = json_object_get(entry, "token"), *logprob = json_object_get(entry, "logprob");
    const json_t *bytes = json_object_get(entry, "bytes");
    size_t length = json_string_length(token);
    *out = (struct clinfer_text_logprob){.logprob = json_is_number(logprob) ? (float)json_number_value(logprob) : NAN};
    if (!json_is_string(token)) return true;
    char *text = malloc((length > json_array_size(bytes) ? length : json_array_size(bytes)) + 1);
    if (!text) return false;
    if (!read_bytes(bytes, text, &length)) memcpy(text, json_string_value(token), length);
    text[length] = 0;
    out->text = text;
    out->length = length;
    return true;
}

static bool make_room(struct ci_text_logprobs *logprobs) {
    if (logprobs->count < logprobs->capacity) return true;
    size_t capacity = logprobs->capacity ? 2 * logprobs->capacity : 64;
    struct clinfer_text_logprob *items = realloc(logprobs->items, capacity * logprobs->width * sizeof *items);
    if (!items) return false;
    logprobs->items = items;
    logprobs->capacity = capacity;
    return true;
}

void ci_text_logprobs_add(struct ci_text_logprobs *logprobs, const json_t *entry) {
    const json_t *likeliest = json_object_get(entry, "top_logprobs");
    if (!json_is_string(json_object_get(entry, "token")) || logprobs->failed) return;
    if (!make_room(logprobs)) {
        logprobs->failed = true;
        return;
    }
    struct clinfer_text_logprob *row = logprobs->items + logprobs->count * logprobs->width;
    bool fine = true;
    for (size_t i = 0; i < logprobs->width; i++)
        fine = read_one(i ? json_array_get(likeliest, i - 1) : entry, &row[i]) && fine;
    logprobs->count++;
    if (!fine) logprobs->failed = true;
}
