/* embeddings.c: vectors and scores over HTTP: OpenAI's /v1/embeddings, llama-server's own /embeddings, and /rerank in
 * the shapes of Jina and of Hugging Face's TEI. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/narrow.h"
#include "server/dialect.h"
#include "server/tokens.h"
#include "server/vectors.h"

static const char *model_of(const json_t *body) { return json_string_value(json_object_get(body, "model")); }

/* ---- what is to be embedded ---- */

/* {"prompt_string": TEXT} or {"content": [{"type": "text", "text": TEXT}, ...]} as one text in the arena; NULL: it has
 * been refused. */
static const char *text_of_object(struct ci_exchange *exchange, const json_t *object, const char *param,
                                  size_t *length) {
    const json_t *prompt = json_object_get(object, "prompt_string"), *content = json_object_get(object, "content");
    if (json_is_string(prompt)) {
        *length = json_string_length(prompt);
        return json_string_value(prompt);
    }
    size_t index;
    json_t *part;
    *length = 0;
    bool understood = json_is_array(content) && json_array_size(content) > 0;
    json_array_foreach(content, index, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        understood = understood && type && strcmp(type, "text") == 0 && json_is_string(json_object_get(part, "text"));
        *length += json_string_length(json_object_get(part, "text"));
    }
    if (!understood) {
        ci_exchange_refuse(exchange, param,
                           "%s: an object of it must have prompt_string, a text, or content, a list of parts of type "
                           "text; images and sound are not supported",
                           param);
        return NULL;
    }
    char *text = ci_arena_alloc(ci_exchange_arena(exchange), *length + 1), *at = text;
    if (!text) {
        ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "out of memory"});
        return NULL;
    }
    json_array_foreach(content, index, part) {
        const json_t *piece = json_object_get(part, "text");
        memcpy(at, json_string_value(piece), json_string_length(piece));
        at += json_string_length(piece);
    }
    return text;
}

/* A text, an object that holds one, or ids with texts between. */
static bool add_one(struct ci_vectors *vectors, const json_t *value, const char *param) {
    if (json_is_string(value))
        return ci_vectors_add(vectors, param, json_string_value(value), json_string_length(value));
    if (json_is_object(value)) {
        size_t length;
        const char *text = text_of_object(vectors->exchange, value, param, &length);
        return text && ci_vectors_add(vectors, param, text, length);
    }
    int32_t *tokens;
    size_t count;
    if (!ci_tokens_read(vectors->exchange, vectors->engine, value, param, false, true, &tokens, &count)) return false;
    bool added = ci_vectors_add_tokens(vectors, param, tokens, count);
    clinfer_free(tokens);
    return added;
}

/* Many texts: a list in which no number stands. */
static bool is_many(const json_t *input) {
    size_t index;
    json_t *item;
    if (!json_is_array(input)) return false;
    json_array_foreach(input, index, item) if (json_is_integer(item)) return false;
    return true;
}

static bool add_input(struct ci_vectors *vectors, const json_t *input, const char *param) {
    size_t index;
    json_t *item;
    if (!is_many(input)) return add_one(vectors, input, param);
    if (!json_array_size(input)) {
        ci_exchange_refuse(vectors->exchange, param, "%s: an empty list: there is nothing to make a vector of", param);
        return false;
    }
    json_array_foreach(input, index, item) if (!add_one(vectors, item, param)) return false;
    return true;
}

/* ---- what comes out ---- */

/* Little-endian float32, as OpenAI's clients want it. */
static json_t *base64(const float *numbers, size_t count) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bytes = count * sizeof *numbers;
    uint8_t *raw = malloc(bytes + 3);
    char *text = malloc((bytes + 2) / 3 * 4 + 1), *at = text;
    for (size_t i = 0; raw && i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        for (int k = 0; k < 4; k++) raw[4 * i + (size_t)k] = (uint8_t)(bits >> 8 * k);
    }
    for (size_t i = 0; raw && text && i < bytes; i += 3) {
        uint32_t left = (uint32_t)(bytes - i > 3 ? 3 : bytes - i);
        uint32_t group =
            (uint32_t)raw[i] << 16 | (left > 1 ? (uint32_t)raw[i + 1] << 8 : 0) | (left > 2 ? raw[i + 2] : 0);
        for (uint32_t k = 0; k < 4; k++) *at++ = k <= left ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    json_t *value = raw && text ? json_stringn_nocheck(text, (size_t)(at - text)) : NULL;
    free(raw);
    free(text);
    return value;
}

static json_t *list(const float *numbers, size_t count) {
    json_t *value = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(value, json_real(isfinite(numbers[i]) ? (double)numbers[i] : 0.0));
    return value;
}

static json_t *usage(const struct ci_vectors *vectors) {
    return json_pack("{s:I, s:I}", "prompt_tokens", (json_int_t)vectors->tokens, "total_tokens",
                     (json_int_t)vectors->tokens);
}

/* How the client wants it. */
struct form {
    bool base64;
    int norm;
    size_t dimensions; /* 0: all */
};

static bool read_form(struct ci_exchange *exchange, const json_t *body, struct form *form) {
    const json_t *format = json_object_get(body, "encoding_format"), *norm = json_object_get(body, "embd_normalize"),
                 *dimensions = json_object_get(body, "dimensions");
    const char *name = format && !json_is_null(format) ? json_string_value(format) : "float";
    *form = (struct form){.norm = 2};
    if (!name || (strcmp(name, "float") != 0 && strcmp(name, "base64") != 0)) {
        ci_exchange_refuse(exchange, "encoding_format", "encoding_format: must be \"float\" or \"base64\"");
        return false;
    }
    form->base64 = strcmp(name, "base64") == 0;
    json_int_t number = norm && !json_is_null(norm) ? json_integer_value(norm) : 2;
    if ((norm && !json_is_null(norm) && !json_is_integer(norm)) || number > 64) {
        ci_exchange_refuse(exchange, "embd_normalize", "embd_normalize: must be a whole number, 64 at most");
        return false;
    }
    form->norm = number < 0 ? -1 : (int)number;
    if (!dimensions || json_is_null(dimensions)) return true;
    if (!json_is_integer(dimensions) || json_integer_value(dimensions) < 1) {
        ci_exchange_refuse(exchange, "dimensions", "dimensions: must be a whole number, 1 or more");
        return false;
    }
    form->dimensions = (size_t)json_integer_value(dimensions);
    return true;
}

/* Of models that were made for it the first numbers are a vector, too. */
static bool check_dimensions(struct ci_vectors *vectors, struct form *form) {
    size_t width = (size_t)vectors->info.outputs;
    if (!form->dimensions) form->dimensions = width;
    if (form->dimensions <= width) return true;
    ci_exchange_refuse(vectors->exchange, "dimensions", "dimensions: %zu, but this model's vectors have %zu numbers",
                       form->dimensions, width);
    return false;
}

static json_t *vector_json(const struct ci_vectors *vectors, size_t row, const struct form *form) {
    float *vector = vectors->numbers + row * vectors->width;
    size_t width = form->dimensions < vectors->width ? form->dimensions : vectors->width;
    if (vectors->pooling < CLINFER_POOLING_RANK) ci_vectors_normalise(vector, width, form->norm);
    return form->base64 ? base64(vector, width) : list(vector, width);
}

static void answer_openai(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange), *data = json_array();
    struct ci_vectors vectors = {0};
    struct form form;
    bool made =
        body && read_form(exchange, body, &form) && ci_vectors_take(exchange, model_of(body), (double)NAN, &vectors);
    if (made && ci_vectors_pooling(&vectors) == CLINFER_POOLING_NONE) {
        ci_exchange_refuse(
            exchange, NULL,
            "Pooling type 'none' is not OAI compatible: ask /embeddings, or start with another --pooling");
        made = false;
    }
    const char *param = json_object_get(body, "input") ? "input" : "content";
    made = made && check_dimensions(&vectors, &form);
    if (made && !json_object_get(body, param)) {
        ci_exchange_refuse(exchange, "input", "\"input\" must be provided: a text, or a list of texts");
        made = false;
    }
    made = made && add_input(&vectors, json_object_get(body, param), param) &&
           ci_vectors_make(&vectors, ci_vectors_pooling(&vectors));
    for (size_t i = 0; made && i < vectors.count; i++) {
        json_t *item = json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i, "embedding",
                                 vector_json(&vectors, i, &form));
        if (form.base64) json_object_set_new(item, "encoding_format", json_string("base64"));
        json_array_append_new(data, item);
    }
    if (made)
        ci_reply_json(exchange, 200,
                      json_pack("{s:s, s:O, s:s, s:o}", "object", "list", "data", data, "model", vectors.name, "usage",
                                usage(&vectors)));
    json_decref(data);
    ci_vectors_give_back(&vectors);
}

/* llama-server's own: a list of rows for each text. */
static void answer_native(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange), *answer = json_array();
    struct ci_vectors vectors = {0};
    struct form form;
    size_t row = 0;
    const char *param = json_object_get(body, "input") ? "input" : "content";
    bool made = body && read_form(exchange, body, &form);
    if (made && !json_object_get(body, param)) {
        ci_exchange_refuse(exchange, "input", "\"input\" or \"content\" must be provided");
        made = false;
    }
    made = made && ci_vectors_take(exchange, model_of(body), (double)NAN, &vectors) &&
           check_dimensions(&vectors, &form) && add_input(&vectors, json_object_get(body, param), param) &&
           ci_vectors_make(&vectors, ci_vectors_pooling(&vectors));
    for (size_t i = 0; made && i < vectors.count; i++) {
        size_t rows = vectors.pooling == CLINFER_POOLING_NONE ? vectors.texts[i].count : 1;
        json_t *lists = json_array();
        for (size_t k = 0; k < rows; k++) json_array_append_new(lists, vector_json(&vectors, row++, &form));
        json_array_append_new(answer, json_pack("{s:I, s:o}", "index", (json_int_t)i, "embedding", lists));
    }
    if (made) ci_reply_json(exchange, 200, json_incref(answer));
    json_decref(answer);
    ci_vectors_give_back(&vectors);
}

/* ---- scores ---- */

struct scored {
    size_t index;
    double score;
};

/* The best first; of equals the one that was named first. */
static int compare(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* A document: a text, or an object with "text". */
static const json_t *document_text(const json_t *document) {
    return json_is_object(document) ? json_object_get(document, "text") : document;
}

/* false: it has been refused. */
static bool check_rerank(struct ci_exchange *exchange, const json_t *body, const json_t *documents, const char *param) {
    const json_t *query = json_object_get(body, "query"), *top = json_object_get(body, "top_n");
    size_t index;
    json_t *document;
    bool texts = json_is_array(documents) && json_array_size(documents) > 0;
    json_array_foreach(documents, index, document) texts = texts && json_is_string(document_text(document));
    if (!json_is_string(query))
        ci_exchange_refuse(exchange, "query", "\"query\" must be %s", query ? "a string" : "provided");
    else if (!texts)
        ci_exchange_refuse(exchange, param, "\"%s\" must be a non-empty string array", param);
    else if (top && !json_is_null(top) && (!json_is_integer(top) || json_integer_value(top) < 0))
        ci_exchange_refuse(exchange, "top_n", "top_n: must be a whole number, 0 or more");
    else
        return true;
    return false;
}

static bool add_documents(struct ci_vectors *vectors, const json_t *query, const json_t *documents, const char *param) {
    size_t index;
    json_t *document;
    if (!vectors->info.scores) {
        ci_exchange_fail(vectors->exchange,
                         &(struct ci_failure){.kind = CI_FAIL_UNSUPPORTED,
                                              .message = "this model does not support reranking: it has no head that "
                                                         "scores texts; load one that has (bge-reranker, ...)"});
        return false;
    }
    json_array_foreach(documents, index, document) {
        const json_t *text = document_text(document);
        const struct clinfer_pair pair = {json_string_value(query), json_string_value(text), json_string_length(query),
                                          json_string_length(text)};
        if (!ci_vectors_add_pair(vectors, param, &pair)) return false;
    }
    return true;
}

static json_t *score_json(const struct scored *scored, bool tei, bool with_text, const json_t *documents) {
    json_t *item =
        json_pack("{s:I, s:f}", "index", (json_int_t)scored->index, tei ? "score" : "relevance_score", scored->score);
    json_t *document = json_array_get(documents, scored->index);
    if (with_text && tei) json_object_set(item, "text", (json_t *)(uintptr_t)document_text(document));
    if (with_text && !tei) json_object_set_new(item, "document", json_pack("{s:O}", "text", document_text(document)));
    return item;
}

static json_t *ranked(const struct ci_vectors *vectors, const json_t *body, bool tei, const json_t *documents) {
    size_t count = vectors->count;
    const json_t *top = json_object_get(body, "top_n");
    size_t most =
        json_is_integer(top) && (size_t)json_integer_value(top) < count ? (size_t)json_integer_value(top) : count;
    bool with_text = json_is_true(json_object_get(body, tei ? "return_text" : "return_documents"));
    struct scored *scored = calloc(count + 1, sizeof *scored);
    json_t *results = scored ? json_array() : NULL;
    for (size_t i = 0; scored && i < count; i++)
        scored[i] = (struct scored){i, (double)vectors->numbers[i * vectors->width]};
    if (scored) qsort(scored, count, sizeof *scored, compare);
    for (size_t i = 0; results && i < most; i++)
        json_array_append_new(results, score_json(&scored[i], tei, with_text, documents));
    free(scored);
    return results;
}

static void answer_rerank(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange);
    struct ci_vectors vectors = {0};
    bool tei = json_object_get(body, "texts") != NULL;
    const char *param = tei ? "texts" : "documents";
    const json_t *documents = json_object_get(body, param);
    bool made = body && check_rerank(exchange, body, documents, param) &&
                ci_vectors_take(exchange, model_of(body), (double)NAN, &vectors) &&
                add_documents(&vectors, json_object_get(body, "query"), documents, param) &&
                ci_vectors_make(&vectors, CLINFER_POOLING_RANK);
    json_t *results = made ? ranked(&vectors, body, tei, documents) : NULL;
    if (made && tei)
        ci_reply_json(exchange, 200, results);
    else if (made)
        ci_reply_json(exchange, 200,
                      json_pack("{s:s, s:s, s:o, s:o}", "object", "list", "model", vectors.name, "usage",
                                usage(&vectors), "results", results));
    ci_vectors_give_back(&vectors);
}

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    (void)failure; /* nothing here is a stream */
    ci_stream_end(exchange, false);
}

#define FIELDS "model input content encoding_format embd_normalize dimensions"
#define RANK_FIELDS "model query documents texts top_n return_text return_documents"
static const struct ci_route routes[] = {
    {"POST", "/v1/embeddings", 0, answer_openai, FIELDS},
    {"POST", "/embeddings", 0, answer_native, FIELDS},
    {"POST", "/embedding", 0, answer_native, FIELDS},
    {"POST", "/v1/rerank", CI_ROUTE_WITHOUT_V1, answer_rerank, RANK_FIELDS},
    {"POST", "/v1/reranking", CI_ROUTE_WITHOUT_V1, answer_rerank, RANK_FIELDS},
};

const struct ci_server_dialect ci_server_dialect_embeddings = {.name = "embeddings",
                                                               .routes = routes,
                                                               .count = sizeof routes / sizeof *routes,
                                                               .fail = fail,
                                                               .break_off = break_off};
