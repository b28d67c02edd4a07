/* vectors.h: texts as vectors and as scores, for all dialects: they read what is wanted, and write what comes out.
 *
 *     struct ci_vectors vectors;
 *     if (!ci_vectors_take(exchange, model, NAN, &vectors)) return;
 *     if (ci_vectors_add(&vectors, text, length) && ... && ci_vectors_make(&vectors, pooling)) ... vectors.numbers
 *     ci_vectors_give_back(&vectors);
 *
 * Where a function says false the exchange has been answered, or its client has left. */
#ifndef CI_SERVER_VECTORS_H
#define CI_SERVER_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_exchange;
struct ci_pool_model;

struct ci_vectors {
    struct ci_exchange *exchange;
    struct ci_pool_model *model;
    clinfer_router *router;
    clinfer_engine *engine;
    struct clinfer_engine_info info;
    const char *name; /* the model's real one */
    double keep_alive;
    bool truncate; /* a text that is too long loses its end instead of being refused; set it before any is added */

    struct clinfer_tokens *texts; /* [count] */
    size_t count, capacity;
    size_t tokens; /* of all texts */

    enum clinfer_pooling pooling;
    float *numbers; /* [count, width]; of CLINFER_POOLING_NONE [tokens, width] */
    size_t width;
    double load_seconds, seconds; /* of loading, where that was for this request; of making them */
};

/* The model, loaded on demand, in a form that makes vectors: a model that writes text is opened once more for that.
 * keep_alive as of ci_pool_give_back(). */
bool ci_vectors_take(struct ci_exchange *exchange, const char *model, double keep_alive, struct ci_vectors *vectors);
void ci_vectors_give_back(struct ci_vectors *vectors);

/* What the server's --pooling says, else the file. */
enum clinfer_pooling ci_vectors_pooling(const struct ci_vectors *vectors);

/* One more text: whole; as ids, copied; as a question and a document. `param` is the field that is refused. */
bool ci_vectors_add(struct ci_vectors *vectors, const char *param, const char *text, size_t length);
bool ci_vectors_add_tokens(struct ci_vectors *vectors, const char *param, const int32_t *tokens, size_t count);
bool ci_vectors_add_pair(struct ci_vectors *vectors, const char *param, const struct clinfer_pair *pair);

/* As the model gives them. */
bool ci_vectors_make(struct ci_vectors *vectors, enum clinfer_pooling pooling);

/* Divided by its length: norm 2; by the sum of absolute values: 1; so that the largest is 32760: 0; any other norm
 * above 0 by that; below 0: not at all (llama-server's embd_normalize). */
void ci_vectors_normalise(float *vector, size_t width, int norm);

#endif
