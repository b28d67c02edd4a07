#include "support/reference.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 2048, ARRAY_ALIGNMENT = 8 };

static void die(const char *path, const char *what) {
    fprintf(stderr, "%s: %s\n", path, what);
    exit(EXIT_FAILURE);
}

/* The value of "key value" in the head; `absent` when the key is not there. */
static double head_value(const char *head, const char *key, double absent) {
    size_t length = strlen(key);
    for (const char *line = head; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') return strtod(line + length, NULL);
    }
    return absent;
}

static size_t head_count(const char *path, const char *head, const char *key, size_t maximum) {
    double value = head_value(head, key, -1);
    if (!(value >= 0 && value <= (double)maximum)) die(path, key);
    return (size_t)value;
}

/* The next array of the file. */
static const void *next_array(const char *path, const struct ci_file *file, size_t *at, size_t count, size_t size) {
    const void *result = file->data + *at;
    *at += (count * size + ARRAY_ALIGNMENT - 1) / ARRAY_ALIGNMENT * ARRAY_ALIGNMENT;
    if (*at > file->size) die(path, "is shorter than its head says: record it again");
    return result;
}

static void read_head(const char *path, struct reference *reference) {
    char head[HEAD_BYTES + 1] = {0};
    if (reference->file.size < HEAD_BYTES) die(path, "has no head");
    memcpy(head, reference->file.data, HEAD_BYTES);
    if (head_value(head, "reference", 0) != 1) die(path, "is not a record of scripts/reference.py");
    reference->vocabulary = head_count(path, head, "vocabulary", 65536);
    reference->positions = head_count(path, head, "positions", 1 << 20);
    reference->top = head_count(path, head, "top", reference->vocabulary);
    reference->sampled = head_count(path, head, "sampled", 65536);
    reference->uniform = head_count(path, head, "uniform", reference->vocabulary);
    reference->n_prompt = head_count(path, head, "prompt", 1 << 20);
    reference->n_greedy = head_count(path, head, "greedy", 1 << 20);
    if (reference->top < 2) die(path, "top is less than 2");
    reference->has_peer = head_value(head, "peer_nmse", -1) >= 0;
    reference->peer = (struct reference_figures){
        .positions = reference->positions,
        .nmse = head_value(head, "peer_nmse", NAN),
        .kl_mean = head_value(head, "peer_kl_mean", NAN),
        .kl_max = head_value(head, "peer_kl_max", NAN),
        .top1 = head_value(head, "peer_top1", NAN),
        .lost_margin = NAN,
    };
}

static void check_ids(const char *path, const struct reference *reference, const uint16_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= reference->vocabulary) die(path, "holds a token id outside the vocabulary");
}

void reference_open(const char *path, struct reference *reference) {
    *reference = (struct reference){0};
    if (ci_file_map(path, &reference->file) != CLINFER_OK) die(path, clinfer_error());
    read_head(path, reference);
    const struct ci_file *file = &reference->file;
    size_t at = HEAD_BYTES, rows = reference->positions;
    reference->tokens = next_array(path, file, &at, rows, sizeof(uint32_t));
    reference->uniform_ids = next_array(path, file, &at, reference->uniform, sizeof(uint16_t));
    reference->log_sum_exp = next_array(path, file, &at, rows, sizeof(double));
    reference->top_ids = next_array(path, file, &at, rows * reference->top, sizeof(uint16_t));
    reference->top_logits = next_array(path, file, &at, rows * reference->top, sizeof(float));
    reference->sampled_ids = next_array(path, file, &at, rows * reference->sampled, sizeof(uint16_t));
    reference->sampled_logits = next_array(path, file, &at, rows * reference->sampled, sizeof(float));
    reference->uniform_logits = next_array(path, file, &at, rows * reference->uniform, sizeof(float));
    reference->prompt = next_array(path, file, &at, reference->n_prompt, sizeof(uint32_t));
    reference->greedy = next_array(path, file, &at, reference->n_greedy, sizeof(uint32_t));
    reference->margins = next_array(path, file, &at, reference->n_greedy, sizeof(float));
    if (at != file->size) die(path, "is longer than its head says: record it again");
    check_ids(path, reference, reference->uniform_ids, reference->uniform);
    check_ids(path, reference, reference->top_ids, rows * reference->top);
    check_ids(path, reference, reference->sampled_ids, rows * reference->sampled);
}

void reference_close(struct reference *reference) {
    ci_file_unmap(&reference->file);
    *reference = (struct reference){0};
}

double reference_margin(const struct reference *reference, size_t position) {
    const float *top = reference->top_logits + position * reference->top;
    return (double)top[0] - (double)top[1];
}

struct reference_sum reference_begin(const struct reference *reference) {
    return (struct reference_sum){.reference = reference, .figures = {.lost_margin = -1}};
}

/* KL(truth || ours) at one position; our probabilities are exp(logits - log_sum_exp). */
static double divergence(const struct reference *reference, size_t position, const float *logits, double log_sum_exp) {
    const uint16_t *top_ids = reference->top_ids + position * reference->top;
    const float *top = reference->top_logits + position * reference->top;
    const uint16_t *sampled_ids = reference->sampled_ids + position * reference->sampled;
    const float *sampled = reference->sampled_logits + position * reference->sampled;
    double truth_lse = reference->log_sum_exp[position], kl = 0, truth_tail = 1, our_tail = 1, tail = 0;
    for (size_t i = 0; i < reference->top; i++) {
        double log_p = (double)top[i] - truth_lse, log_q = (double)logits[top_ids[i]] - log_sum_exp;
        kl += exp(log_p) * (log_p - log_q);
        truth_tail -= exp(log_p);
        our_tail -= exp(log_q);
    }
    for (size_t i = 0; i < reference->sampled; i++) {
        double log_ratio = ((double)logits[sampled_ids[i]] - log_sum_exp) - ((double)sampled[i] - truth_lse);
        tail += expm1(log_ratio) - log_ratio;
    }
    if (reference->sampled) kl += truth_tail * tail / (double)reference->sampled;
    return kl + truth_tail - our_tail;
}

void reference_add(struct reference_sum *sum, size_t position, const float *logits) {
    const struct reference *reference = sum->reference;
    assert(position < reference->positions);
    size_t best = 0;
    bool finite = true;
    for (size_t i = 0; i < reference->vocabulary; i++) {
        finite = finite && isfinite(logits[i]);
        if (logits[i] > logits[best]) best = i;
    }
    double total = 0, log_sum_exp;
    for (size_t i = 0; i < reference->vocabulary; i++) total += exp((double)logits[i] - (double)logits[best]);
    log_sum_exp = (double)logits[best] + log(total);
    for (size_t i = 0; i < reference->uniform; i++) {
        double truth = (double)reference->uniform_logits[position * reference->uniform + i];
        double error = truth - (double)logits[reference->uniform_ids[i]];
        sum->error += finite ? error * error : INFINITY;
        sum->truth += truth * truth;
    }
    double kl = finite ? divergence(reference, position, logits, log_sum_exp) : INFINITY;
    struct reference_figures *figures = &sum->figures;
    sum->kl += kl;
    figures->positions++;
    if (kl > figures->kl_max) figures->kl_max = kl;
    if (finite && best == reference->top_ids[position * reference->top]) {
        sum->agreed++;
    } else if (reference_margin(reference, position) > figures->lost_margin) {
        figures->lost_margin = reference_margin(reference, position);
        figures->lost_position = position;
    }
}

struct reference_figures reference_finish(const struct reference_sum *sum) {
    struct reference_figures figures = sum->figures;
    assert(figures.positions > 0);
    figures.nmse = sum->error / sum->truth;
    figures.kl_mean = sum->kl / (double)figures.positions;
    figures.top1 = (double)sum->agreed / (double)figures.positions;
    return figures;
}

struct reference_figures reference_measure(const struct reference *reference, const float *logits) {
    struct reference_sum sum = reference_begin(reference);
    for (size_t i = 0; i < reference->positions; i++) reference_add(&sum, i, logits + i * reference->vocabulary);
    return reference_finish(&sum);
}

const char *reference_text(const struct reference_figures *figures, char text[REFERENCE_TEXT]) {
    int length = snprintf(text, REFERENCE_TEXT, "NMSE %.2e, KL mean %.2e max %.2e, top-1 %.2f%%", figures->nmse,
                          figures->kl_mean, figures->kl_max, figures->top1 * 100);
    if (figures->lost_margin >= 0)
        snprintf(text + length, (size_t)(REFERENCE_TEXT - length), ", lost margin %.3g at %zu", figures->lost_margin,
                 figures->lost_position);
    return text;
}
