/* rank.c: see rank.h. */
#include "engine/rank.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "types/type.h"

/* <architecture>.classifier.pooling_type, as llama.cpp numbers them. */
enum { OF_MEAN = 1, OF_FIRST = 2 };

enum { MOST_NUMBERS = 1 << 28 };

static bool is_family(const struct ci_model *model, const char *name) {
    return strcmp(model->family->architecture, name) == 0;
}

/* The numbers of a tensor, in F32; *numbers NULL: the file has none of that name. cols -1: any. */
static enum clinfer_status read_tensor(const struct ci_gguf *gguf, const char *name, int64_t cols, float **numbers,
                                       int *rows) {
    const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(gguf, name);
    *numbers = NULL;
    *rows = 0;
    if (!tensor) return CLINFER_OK;
    const struct ci_type *type = ci_type_from_gguf(tensor->type);
    int64_t width = (int64_t)tensor->dims[0], height = tensor->n_dims > 1 ? (int64_t)tensor->dims[1] : 1;
    if (!type || !type->dequantise || !ci_type_fits_cols(type, width))
        return ci_fail(CLINFER_UNSUPPORTED, "%s: %s: its type %u is not supported", CI_TENSOR_AT(gguf, name),
                       tensor->type);
    if (tensor->n_dims > 2 || (cols >= 0 && width != cols) || height < 1 || width * height > MOST_NUMBERS ||
        tensor->dims[0] > MOST_NUMBERS || (tensor->n_dims > 1 && tensor->dims[1] > MOST_NUMBERS))
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: [%lld, %lld], must have %lld columns", CI_TENSOR_AT(gguf, name),
                       (long long)height, (long long)width, (long long)cols);
    *numbers = malloc((size_t)(width * height) * sizeof **numbers);
    if (!*numbers) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %s", name);
    type->dequantise(tensor->data, *numbers, width * height / type->block_cols);
    *rows = ci_narrowed(height);
    return CLINFER_OK;
}

static enum clinfer_status read_vector(const struct ci_gguf *gguf, const char *name, int size, float **numbers) {
    int rows;
    return read_tensor(gguf, name, size, numbers, &rows);
}

static enum clinfer_status read_layer(const struct ci_gguf *gguf, const char *stem, int cols,
                                      struct ci_rank_layer *layer) {
    char name[64];
    snprintf(name, sizeof name, "%s.weight", stem);
    enum clinfer_status status = read_tensor(gguf, name, cols, &layer->weight, &layer->rows);
    layer->cols = cols;
    snprintf(name, sizeof name, "%s.bias", stem);
    if (status == CLINFER_OK && layer->weight) status = read_vector(gguf, name, layer->rows, &layer->bias);
    return status;
}

static enum clinfer_status read_pooling(const struct ci_gguf *gguf, const struct ci_model *model,
                                        struct ci_rank *rank) {
    char key[128];
    bool modern = is_family(model, "modern-bert");
    int64_t said = modern ? OF_MEAN : -1;
    snprintf(key, sizeof key, "%s.classifier.pooling_type", model->family->architecture);
    enum clinfer_status status = ci_gguf_get_i64(gguf, key, CI_GGUF_OPTIONAL, &said);
    rank->pooling = ci_model_encodes(model) ? CLINFER_POOLING_CLS : CLINFER_POOLING_LAST;
    if (said == OF_MEAN) rank->pooling = CLINFER_POOLING_MEAN;
    return status;
}

enum clinfer_status ci_rank_read(const struct ci_gguf *gguf, const struct ci_model *model, struct ci_rank *rank) {
    *rank = (struct ci_rank){.width = model->outputs, .eps = (double)model->hyper.eps};
    rank->gelu = is_family(model, "modern-bert");
    rank->softmax = is_family(model, "qwen3") || is_family(model, "qwen3vl");
    enum clinfer_status status = read_pooling(gguf, model, rank);
    if (status == CLINFER_OK) status = read_layer(gguf, "cls", rank->width, &rank->dense);
    if (status == CLINFER_OK && rank->dense.weight)
        status = read_vector(gguf, "cls.norm.weight", rank->dense.rows, &rank->norm);
    if (status == CLINFER_OK)
        status = read_layer(gguf, "cls.output", rank->dense.weight ? rank->dense.rows : rank->width, &rank->out);
    rank->scores = rank->out.weight ? rank->out.rows : rank->dense.rows;
    if (status == CLINFER_OK && !rank->scores)
        status = ci_fail(CLINFER_BAD_FILE,
                         "%s: its pooling is rank, but it has neither cls.weight nor cls.output.weight, which score; "
                         "convert it anew",
                         ci_gguf_path(gguf));
    if (status != CLINFER_OK) ci_rank_free(rank);
    return status;
}

void ci_rank_free(struct ci_rank *rank) {
    free(rank->dense.weight);
    free(rank->dense.bias);
    free(rank->norm);
    free(rank->out.weight);
    free(rank->out.bias);
    *rank = (struct ci_rank){0};
}

static void apply_layer(const struct ci_rank_layer *layer, const double *x, double *y) {
    for (int row = 0; row < layer->rows; row++) {
        const float *weight = layer->weight + (size_t)row * (size_t)layer->cols;
        double sum = layer->bias ? (double)layer->bias[row] : 0;
        for (int i = 0; i < layer->cols; i++) sum += x[i] * (double)weight[i];
        y[row] = sum;
    }
}

static double gelu(double x) {
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * x * (1 + 0.044715 * x * x))); /* sqrt(2 / pi) */
}

static void normalise(double *x, const float *weight, int count, double eps) {
    double mean = 0, square = 0;
    for (int i = 0; i < count; i++) mean += x[i] / count;
    for (int i = 0; i < count; i++) square += (x[i] - mean) * (x[i] - mean) / count;
    for (int i = 0; i < count; i++) x[i] = (x[i] - mean) / sqrt(square + eps) * (double)weight[i];
}

static void softmax(double *x, int count) {
    double largest = x[0], sum = 0;
    for (int i = 1; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    for (int i = 0; i < count; i++) sum += x[i] = exp(x[i] - largest);
    for (int i = 0; i < count; i++) x[i] /= sum;
}

enum clinfer_status ci_rank_apply(const struct ci_rank *rank, const float *row, float *scores) {
    size_t room = (size_t)rank->width + (size_t)rank->dense.rows + (size_t)rank->out.rows;
    double *numbers = calloc(room, sizeof *numbers), *x = numbers;
    if (!numbers) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu numbers", room);
    for (int i = 0; i < rank->width; i++) x[i] = (double)row[i];
    if (rank->dense.weight) {
        double *y = x + rank->width;
        apply_layer(&rank->dense, x, y);
        for (int i = 0; i < rank->dense.rows; i++) y[i] = rank->gelu ? gelu(y[i]) : tanh(y[i]);
        if (rank->norm) normalise(y, rank->norm, rank->dense.rows, rank->eps);
        x = y;
    }
    if (rank->out.weight) {
        double *y = x + rank->out.cols;
        apply_layer(&rank->out, x, y);
        x = y;
    }
    if (rank->softmax) softmax(x, rank->scores);
    for (int i = 0; i < rank->scores; i++) scores[i] = (float)x[i];
    free(numbers);
    return CLINFER_OK;
}
