/* ollama_embed.c: texts as vectors: /api/embed, and the older /api/embeddings of one text. */
#define _GNU_SOURCE
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "server/ollama.h"
#include "server/ollama_read.h"
#include "server/vectors.h"

enum { MOST_TEXTS = 100000 };

static bool add_text(struct ci_vectors *vectors, const char *param, const json_t *text) {
    if (json_is_string(text)) return ci_vectors_add(vectors, param, json_string_value(text), json_string_length(text));
    ci_exchange_refuse(vectors->exchange, param, "%s: must be a text, or a list of texts", param);
    return false;
}

static bool add_input(struct ci_vectors *vectors, const json_t *input) {
    size_t count = json_array_size(input);
    if (!json_is_array(input)) return add_text(vectors, "input", input);
    if (count > MOST_TEXTS) {
        ci_exchange_refuse(vectors->exchange, "input", "input: has %zu texts; %d is the most", count, MOST_TEXTS);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if (!add_text(vectors, "input", json_array_get(input, i))) return false;
    return true;
}

static json_t *vector_json(const struct ci_vectors *vectors, size_t row, size_t width) {
    json_t *list = json_array();
    for (size_t i = 0; i < width; i++)
        json_array_append_new(list, json_real((double)vectors->numbers[row * vectors->width + i]));
    return list;
}

/* The first so many numbers of each, which models that are made for that still mean something by. */
static bool read_width(struct ci_vectors *vectors, const json_t *body, size_t *width) {
    const json_t *wanted = json_object_get(body, "dimensions");
    json_int_t number = json_integer_value(wanted);
    *width = vectors->width;
    if (!wanted || json_is_null(wanted)) return true;
    if (!json_is_integer(wanted) || number < 1 || (size_t)number > vectors->width) {
        ci_exchange_refuse(vectors->exchange, "dimensions", "dimensions: must be from 1 to %zu", vectors->width);
        return false;
    }
    *width = (size_t)number;
    return true;
}

static void reply(struct ci_vectors *vectors, const json_t *body, const char *name) {
    size_t width;
    if (!read_width(vectors, body, &width)) return;
    json_t *rows = json_array();
    for (size_t i = 0; i < vectors->count; i++) {
        ci_vectors_normalise(vectors->numbers + i * vectors->width, width, 2);
        json_array_append_new(rows, vector_json(vectors, i, width));
    }
    ci_reply_json(vectors->exchange, 200,
                  json_pack("{s:o, s:o, s:o, s:o, s:I}", "model", ci_ollama_text(name), "embeddings", rows,
                            "total_duration", ci_ollama_nanoseconds(ci_now() - ci_exchange_arrived(vectors->exchange)),
                            "load_duration", ci_ollama_nanoseconds(vectors->load_seconds), "prompt_eval_count",
                            (json_int_t)vectors->tokens));
}

/* *vectors has been taken where it is true. */
static bool take(struct ci_exchange *exchange, const char *name, struct ci_vectors *vectors) {
    const json_t *keep_alive = json_object_get(ci_exchange_json(exchange), "keep_alive");
    double seconds = NAN;
    if (keep_alive && !json_is_null(keep_alive) && !ci_ollama_duration(keep_alive, &seconds)) {
        ci_exchange_refuse(exchange, "keep_alive", "keep_alive: must be seconds, or a text such as \"5m\"");
        return false;
    }
    return ci_vectors_take(exchange, ci_ollama_real_name(exchange, name), seconds, vectors);
}

void ci_ollama_embed(struct ci_exchange *exchange) {
    struct ci_vectors vectors;
    const char *name = ci_ollama_named(exchange);
    if (!name || !take(exchange, name, &vectors)) return;
    const json_t *body = ci_exchange_json(exchange), *input = json_object_get(body, "input");
    vectors.truncate = !json_is_false(json_object_get(body, "truncate")); /* as Ollama has it */
    bool added = !input || add_input(&vectors, input);                    /* without one it is only loaded */
    if (added && (!vectors.count || ci_vectors_make(&vectors, ci_vectors_pooling(&vectors))))
        reply(&vectors, body, name);
    ci_vectors_give_back(&vectors);
}

void ci_ollama_embeddings(struct ci_exchange *exchange) {
    struct ci_vectors vectors;
    const char *name = ci_ollama_named(exchange);
    if (!name || !take(exchange, name, &vectors)) return;
    vectors.truncate = true;
    if (add_text(&vectors, "prompt", json_object_get(ci_exchange_json(exchange), "prompt")) &&
        ci_vectors_make(&vectors, ci_vectors_pooling(&vectors)))
        ci_reply_json(exchange, 200, json_pack("{s:o}", "embedding", vector_json(&vectors, 0, vectors.width)));
    ci_vectors_give_back(&vectors);
}
