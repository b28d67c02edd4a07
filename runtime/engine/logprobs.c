#include "engine/logprobs.h"

#include <math.h>
#include <stdlib.h>

#include "base/status.h"
#include "engine/engine_private.h"

enum { FIRST_ROWS = 512 };

void ci_logprobs_begin(struct ci_logprobs *logprobs, int likeliest) {
    size_t width = likeliest > 0 ? (size_t)likeliest + 1 : 0;
    if (width != logprobs->width) ci_logprobs_free(logprobs);
    logprobs->width = width;
    logprobs->count = 0;
}

static bool make_room(struct ci_logprobs *logprobs, size_t rows) {
    if (rows <= logprobs->capacity) return true;
    size_t capacity = rows > FIRST_ROWS ? 2 * rows : FIRST_ROWS;
    struct clinfer_logprob *grown = realloc(logprobs->rows, capacity * logprobs->width * sizeof *grown);
    if (!grown) return false;
    logprobs->rows = grown;
    logprobs->capacity = capacity;
    return true;
}

/* Rows of tokens that nobody computed; there is room for them. */
static void make_up(struct ci_logprobs *logprobs, const int32_t *output, size_t generated) {
    for (; logprobs->count < generated; logprobs->count++) {
        struct clinfer_logprob *row = logprobs->rows + logprobs->count * logprobs->width;
        row[0] = (struct clinfer_logprob){output[logprobs->count], NAN};
        for (size_t i = 1; i < logprobs->width; i++) row[i] = (struct clinfer_logprob){-1, NAN};
    }
}

/* The largest logits go into row[1..width), in falling order, the lowest id first among equals. */
static void find_likeliest(const float *logits, int vocabulary, struct clinfer_logprob *row, size_t width) {
    size_t found = 1;
    for (int id = 0; id < vocabulary; id++) {
        if (found == width && !(logits[id] > row[width - 1].logprob)) continue;
        size_t place = found < width ? found++ : width - 1;
        for (; place > 1 && logits[id] > row[place - 1].logprob; place--) row[place] = row[place - 1];
        row[place] = (struct clinfer_logprob){id, logits[id]};
    }
    for (; found < width; found++) row[found] = (struct clinfer_logprob){-1, NAN};
}

enum clinfer_status ci_logprobs_look(struct ci_logprobs *logprobs, struct clinfer_engine *engine, const int32_t *output,
                                     size_t generated) {
    const float *logits = engine->host_logits;
    int vocabulary = engine->model.hyper.vocabulary;
    double sum = 0;
    if (!logprobs->width) return CLINFER_OK;
    if (!make_room(logprobs, generated + 1))
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the probabilities of %zu tokens", generated);
    make_up(logprobs, output, generated);
    struct clinfer_logprob *row = logprobs->rows + generated * logprobs->width;
    find_likeliest(logits, vocabulary, row, logprobs->width);
    float top = row[1].logprob;
    for (int id = 0; id < vocabulary; id++) sum += (double)expf(logits[id] - top);
    logprobs->log_sum = (double)top + log(sum);
    for (size_t i = 1; i < logprobs->width && row[i].token >= 0; i++)
        row[i].logprob = (float)((double)row[i].logprob - logprobs->log_sum);
    return CLINFER_OK;
}

void ci_logprobs_take(struct ci_logprobs *logprobs, const float *logits, int32_t token) {
    if (!logprobs->width) return;
    struct clinfer_logprob *row = logprobs->rows + logprobs->count++ * logprobs->width;
    row[0] = (struct clinfer_logprob){token, (float)((double)logits[token] - logprobs->log_sum)};
}

const struct clinfer_logprob *ci_logprobs_row(struct ci_logprobs *logprobs, const int32_t *output, size_t index) {
    if (!logprobs->width || !make_room(logprobs, index + 1)) return NULL;
    make_up(logprobs, output, index + 1);
    return logprobs->rows + index * logprobs->width;
}

const struct clinfer_logprob *ci_logprobs_end(struct ci_logprobs *logprobs, const int32_t *output, size_t generated) {
    if (!logprobs->width || !make_room(logprobs, generated)) return NULL;
    make_up(logprobs, output, generated);
    return logprobs->rows;
}

void ci_logprobs_free(struct ci_logprobs *logprobs) {
    free(logprobs->rows);
    *logprobs = (struct ci_logprobs){.rows = NULL};
}
