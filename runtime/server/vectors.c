/* vectors.c: see vectors.h. */
#include "server/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "server/exchange.h"
#include "server/metrics.h"
#include "server/pool.h"
#include "server/server.h"

static bool fail(struct ci_exchange *exchange, enum clinfer_status status) {
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    ci_exchange_fail(exchange, &failure);
    return false;
}

static bool is_gone(void *exchange) { return ci_exchange_gone(exchange); }

bool ci_vectors_take(struct ci_exchange *exchange, const char *model, double keep_alive, struct ci_vectors *vectors) {
    struct ci_pool *pool = ci_server_pool(ci_exchange_server(exchange));
    *vectors = (struct ci_vectors){.exchange = exchange, .keep_alive = keep_alive};
    double start = ci_now();
    enum clinfer_status status = ci_pool_take_vectors(pool, model, is_gone, exchange, &vectors->model);
    if (status != CLINFER_OK) return fail(exchange, status);
    if (ci_now() - start > 1e-3) vectors->load_seconds = ci_now() - start;
    vectors->name = ci_pool_name(vectors->model);
    vectors->router = ci_pool_router(vectors->model);
    vectors->engine = clinfer_router_take_engine(vectors->router);
    /* The device was lost a moment ago, and nobody has gone on to the next one. */
    if (!vectors->engine) status = clinfer_router_start(vectors->router);
    if (!vectors->engine && status == CLINFER_OK) vectors->engine = clinfer_router_take_engine(vectors->router);
    if (vectors->engine) {
        clinfer_engine_get_info(vectors->engine, &vectors->info);
        return true;
    }
    if (status == CLINFER_OK)
        status = ci_fail(CLINFER_UNSUPPORTED, "%s: it does not run on this machine, and only here are vectors made",
                         vectors->name);
    ci_vectors_give_back(vectors);
    return fail(exchange, status);
}

void ci_vectors_give_back(struct ci_vectors *vectors) {
    if (!vectors->model) return;
    for (size_t i = 0; i < vectors->count; i++) clinfer_free((int32_t *)(uintptr_t)vectors->texts[i].tokens);
    free(vectors->texts);
    free(vectors->numbers);
    clinfer_router_give_back_engine(vectors->router, vectors->engine);
    ci_pool_give_back(ci_server_pool(ci_exchange_server(vectors->exchange)), vectors->model, vectors->keep_alive);
    *vectors = (struct ci_vectors){0};
}

enum clinfer_pooling ci_vectors_pooling(const struct ci_vectors *vectors) {
    static const char *const names[] = {"mean", "cls", "last", "rank", "none"}; /* by enum clinfer_pooling */
    const char *said = ci_server_get_options(ci_exchange_server(vectors->exchange))->pooling;
    for (unsigned i = 0; said && i < sizeof names / sizeof *names; i++)
        if (strcmp(said, names[i]) == 0) return (enum clinfer_pooling)i;
    return vectors->info.pooling;
}

/* ---- texts ---- */

/* Takes the tokens. */
static bool add(struct ci_vectors *vectors, const char *param, int32_t *tokens, size_t count) {
    size_t context = (size_t)vectors->info.context;
    if (count > context && vectors->truncate) {
        /* What the model wants behind a text stays there. */
        if (vectors->info.encoder) tokens[context - 1] = tokens[count - 1];
        count = context;
    }
    if (!count || count > context) {
        clinfer_free(tokens);
        if (!count) {
            ci_exchange_refuse(vectors->exchange, param, "%s: text %zu is empty: there is nothing to make a vector of",
                               param, vectors->count);
            return false;
        }
        ci_fail(CLINFER_CONTEXT_FULL,
                "%s: text %zu is too large: it has %zu tokens, and the context %zu; make it shorter", param,
                vectors->count, count, context);
        struct ci_failure failure = ci_failure_of_status(CLINFER_CONTEXT_FULL, clinfer_error());
        failure.param = param;
        failure.prompt_tokens = (int64_t)count;
        failure.context = (int64_t)context;
        ci_exchange_fail(vectors->exchange, &failure);
        return false;
    }
    if (vectors->count == vectors->capacity) {
        size_t capacity = 2 * vectors->capacity + 8;
        struct clinfer_tokens *grown = realloc(vectors->texts, capacity * sizeof *grown);
        if (!grown) {
            clinfer_free(tokens);
            return fail(vectors->exchange, ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu texts", capacity));
        }
        vectors->texts = grown;
        vectors->capacity = capacity;
    }
    vectors->texts[vectors->count++] = (struct clinfer_tokens){tokens, count};
    vectors->tokens += count;
    return true;
}

bool ci_vectors_add(struct ci_vectors *vectors, const char *param, const char *text, size_t length) {
    int32_t *tokens;
    size_t count;
    enum clinfer_status status = clinfer_tokenize_whole(vectors->engine, text, length, &tokens, &count);
    return status == CLINFER_OK ? add(vectors, param, tokens, count) : fail(vectors->exchange, status);
}

bool ci_vectors_add_tokens(struct ci_vectors *vectors, const char *param, const int32_t *tokens, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= vectors->info.vocabulary) {
            ci_exchange_refuse(vectors->exchange, param,
                               "%s: token %zu is %d, and this model's vocabulary has 0..%d: ids of another model's "
                               "vocabulary mean nothing here; send the text",
                               param, i, (int)tokens[i], vectors->info.vocabulary - 1);
            return false;
        }
    int32_t *copy = calloc(count + 1, sizeof *copy);
    if (!copy) return fail(vectors->exchange, ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", count));
    memcpy(copy, tokens, count * sizeof *copy);
    return add(vectors, param, copy, count);
}

bool ci_vectors_add_pair(struct ci_vectors *vectors, const char *param, const struct clinfer_pair *pair) {
    int32_t *tokens;
    size_t count;
    enum clinfer_status status = clinfer_tokenize_pair(vectors->engine, pair, &tokens, &count);
    return status == CLINFER_OK ? add(vectors, param, tokens, count) : fail(vectors->exchange, status);
}

/* ---- vectors ---- */

static bool goes_on(void *exchange) { return !ci_exchange_gone(exchange); }

bool ci_vectors_make(struct ci_vectors *vectors, enum clinfer_pooling pooling) {
    bool rows = pooling == CLINFER_POOLING_NONE;
    double start = ci_now();
    vectors->pooling = pooling;
    vectors->width = (size_t)(pooling == CLINFER_POOLING_RANK ? vectors->info.scores : vectors->info.outputs);
    vectors->numbers =
        calloc((rows ? vectors->tokens : vectors->count) + 1, (vectors->width + 1) * sizeof *vectors->numbers);
    if (!vectors->numbers)
        return fail(vectors->exchange, ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu vectors", vectors->count));
    enum clinfer_status status = clinfer_router_embed(vectors->router, vectors->texts, vectors->count, pooling, goes_on,
                                                      vectors->exchange, vectors->numbers);
    vectors->seconds = ci_now() - start;
    if (status == CLINFER_OK)
        ci_metrics_prompt(ci_server_metrics(ci_exchange_server(vectors->exchange)), vectors->tokens, vectors->seconds);
    return status == CLINFER_OK ? true : fail(vectors->exchange, status);
}

void ci_vectors_normalise(float *vector, size_t width, int norm) {
    double sum = 0;
    if (norm < 0) return;
    for (size_t i = 0; i < width; i++) {
        double size = fabs((double)vector[i]);
        if (norm == 0)
            sum = size > sum ? size : sum;
        else
            sum += norm == 2 ? size * size : pow(size, norm);
    }
    if (norm == 0) sum /= 32760;
    if (norm > 1) sum = norm == 2 ? sqrt(sum) : pow(sum, 1.0 / norm);
    for (size_t i = 0; i < width && sum > 0; i++) vector[i] = (float)((double)vector[i] / sum);
}
