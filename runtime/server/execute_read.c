/* execute_read.c: unlike the other dialects, this one says all that is wrong with a body at once. */
#define _GNU_SOURCE
#include "server/execute_read.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/translate.h"

enum { MOST_ID_BYTES = 256, MOST_PROMPT = 32768, MOST_TOKENS = 2048, MOST_STOPS = 4, MOST_STOP_BYTES = 1024 };

struct reading {
    const json_t *body;
    json_t *errors;
};

static void wrong(struct reading *reading, const char *field, const char *constraint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void wrong(struct reading *reading, const char *field, const char *constraint, const char *format, ...) {
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    json_array_append_new(reading->errors,
                          json_pack("{s:s, s:s, s:s}", "field", field, "constraint", constraint, "message", message));
}

static const json_t *member(const struct reading *reading, const char *name) {
    const json_t *value = json_object_get(reading->body, name);
    return json_is_null(value) ? NULL : value;
}

/* A text without zero bytes, where the library's end; NULL: it is none, which has been said. */
static const char *text_of(struct reading *reading, const char *field, const json_t *value) {
    const char *text = json_string_value(value);
    if (!text)
        wrong(reading, field, "type", "%s must be a text", field);
    else if (strlen(text) != json_string_length(value))
        wrong(reading, field, "characters", "%s must not have the character U+0000 in it", field);
    else
        return text;
    return NULL;
}

static const char *needed_text(struct reading *reading, const char *field) {
    const json_t *value = member(reading, field);
    if (value) return text_of(reading, field, value);
    wrong(reading, field, "required", "%s is missing", field);
    return NULL;
}

static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

static void read_number(struct reading *reading, const char *field, double least, double most, bool whole,
                        double *value) {
    const json_t *found = member(reading, field);
    double number = json_number_value(found);
    if (!found) return;
    if (!json_is_number(found) || (whole && number != floor(number)))
        wrong(reading, field, "type", "%s must be a %snumber", field, whole ? "whole " : "");
    else if (!(number >= least && number <= most))
        wrong(reading, field, "range", "%s must be from %.10g to %.10g", field, least, most);
    else
        *value = number;
}

static void read_stop(struct reading *reading, struct ci_arena *arena, struct clinfer_chat_request *request) {
    const json_t *found = member(reading, "stop"), *item;
    size_t i, kept = 0, count = json_array_size(found);
    if (!found) return;
    if (!json_is_array(found)) {
        wrong(reading, "stop", "type", "stop must be a list of texts");
        return;
    }
    if (count > MOST_STOPS) {
        wrong(reading, "stop", "count", "stop must have at most %d texts", MOST_STOPS);
        return;
    }
    const char **texts = ci_arena_array(arena, MOST_STOPS, sizeof *texts);
    if (!texts) return;
    json_array_foreach(found, i, item) {
        const char *text = text_of(reading, "stop", item);
        if (text && (!*text || strlen(text) > MOST_STOP_BYTES))
            wrong(reading, "stop", "length", "a text of stop must have 1 to %d bytes", MOST_STOP_BYTES);
        else if (text)
            texts[kept++] = text;
    }
    request->stop = texts;
    request->stop_count = kept;
}

/* All 64 bits: those that jansson's whole numbers have not come as real ones, of which the largest is rounded to 2^64.
 */
static void read_seed(struct reading *reading, struct clinfer_session_options *sampling) {
    const json_t *found = member(reading, "seed");
    double number = json_number_value(found);
    if (!found) {
        ci_translate_default_seed(sampling);
    } else if (!json_is_number(found) || number != floor(number)) {
        wrong(reading, "seed", "type", "seed must be a whole number");
    } else if (!(number >= 0 && number <= 0x1p64)) {
        wrong(reading, "seed", "range", "seed must be from 0 to 2^64 - 1");
    } else {
        sampling->seed = json_is_integer(found) ? (uint64_t)json_integer_value(found)
                         : number < 0x1p64      ? (uint64_t)number
                                                : UINT64_MAX;
    }
}

static void read_prompt(struct reading *reading, struct ci_arena *arena, struct clinfer_chat_request *request) {
    const char *prompt = needed_text(reading, "prompt");
    struct clinfer_message *message = ci_arena_alloc(arena, sizeof *message);
    size_t count = prompt ? characters(prompt) : 0;
    if (prompt && (!count || count > MOST_PROMPT))
        wrong(reading, "prompt", "length", "prompt must have 1 to %d characters, and has %zu", MOST_PROMPT, count);
    if (!prompt || !message) return;
    *message = (struct clinfer_message){.role = "user", .content = prompt};
    request->messages = message;
    request->count = 1;
    request->raw = true;
}

const char *ci_execute_id(const json_t *body) {
    const json_t *value = json_object_get(body, "job_id");
    const char *id = json_string_value(value);
    bool fine = id && *id && strlen(id) == json_string_length(value) && strlen(id) <= MOST_ID_BYTES;
    return fine ? id : NULL;
}

bool ci_execute_read(const json_t *body, const struct clinfer_session_options *defaults, struct ci_arena *arena,
                     struct ci_job *job, json_t **errors) {
    struct reading reading = {.body = body, .errors = json_array()};
    struct clinfer_session_options *sampling = &job->sampling;
    *errors = reading.errors;
    ci_job_init(job);
    if (defaults)
        *sampling = *defaults;
    else
        sampling->seed = UINT64_MAX;
    double most = MOST_TOKENS, temperature = (double)sampling->temperature, top_p = (double)sampling->top_p,
           top_k = sampling->top_k, penalty = (double)sampling->repeat_penalty;
    job->name = ci_execute_id(body);
    const char *id = needed_text(&reading, "job_id");
    if (id && !job->name) wrong(&reading, "job_id", "length", "job_id must have 1 to %d bytes", MOST_ID_BYTES);
    read_prompt(&reading, arena, &job->request);
    if (!member(&reading, "max_tokens")) wrong(&reading, "max_tokens", "required", "max_tokens is missing");
    read_number(&reading, "max_tokens", 1, MOST_TOKENS, true, &most);
    read_number(&reading, "temperature", 0, 2, false, &temperature);
    read_number(&reading, "top_p", 0, 1, false, &top_p);
    read_number(&reading, "top_k", 0, INT32_MAX, true, &top_k);
    read_number(&reading, "repetition_penalty", 0.001, 1000, false, &penalty);
    read_stop(&reading, arena, &job->request);
    read_seed(&reading, sampling);
    job->request.max_tokens = (int)most;
    sampling->temperature = (float)temperature;
    sampling->top_p = (float)top_p;
    sampling->top_k = (int)top_k;
    sampling->repeat_penalty = (float)penalty;
    return reading.errors && !json_array_size(reading.errors) && job->request.count &&
           (job->request.stop || !member(&reading, "stop"));
}
