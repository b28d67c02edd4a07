/* reference.h: recorded truth (scripts/reference.py, which explains file and estimates) against logits of ours.
 *
 *     struct reference reference;
 *     reference_open("tests/data/smollm2_reference.bin", &reference);
 *     struct reference_sum sum = reference_begin(&reference);
 *     for each position: reference_add(&sum, position, logits of our model after tokens[0..position]);
 *     struct reference_figures figures = reference_finish(&sum);
 *
 * Row by row, so that no test has to hold all logits. What is asked of the figures then has to be written as
 * `figures.nmse <= limit`: logits that are not finite make the figures infinite. */
#ifndef TESTS_SUPPORT_REFERENCE_H
#define TESTS_SUPPORT_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"

/* How far logits are from the truth. */
struct reference_figures {
    size_t positions; /* added */
    double nmse;      /* squared error over squared truth, estimated over the uniform ids */
    double kl_mean;   /* KL(truth || ours) in nats, mean over positions */
    double kl_max;
    double top1;        /* share of positions whose likeliest token is the truth's */
    double lost_margin; /* the truth's largest top-two margin among positions where it is not; -1 when there is none */
    size_t lost_position; /* where that was */
};

/* Everything borrowed from the mapped file. */
struct reference {
    struct ci_file file;
    size_t positions, vocabulary, top, sampled, uniform;
    const uint32_t *tokens;      /* [positions] */
    const uint16_t *uniform_ids; /* [uniform] */
    const double *log_sum_exp;   /* [positions] */
    const uint16_t *top_ids;     /* [positions, top] */
    const float *top_logits;     /* [positions, top] */
    const uint16_t *sampled_ids; /* [positions, sampled] */
    const float *sampled_logits; /* [positions, sampled] */
    const float *uniform_logits; /* [positions, uniform] */
    size_t n_prompt, n_greedy;
    const uint32_t *prompt; /* [n_prompt] */
    const uint32_t *greedy; /* [n_greedy] what the truth says after the prompt */
    const float *margins;   /* [n_greedy] the top-two margin of each */
    bool has_peer;
    struct reference_figures peer; /* llama.cpp's figures on the same file and tokens (no margins) */
};

struct reference_sum {
    const struct reference *reference;
    struct reference_figures figures;
    double error, truth, kl;
    size_t agreed;
};

/* Ends the process with a message when the file is absent or does not have the recorded layout. */
void reference_open(const char *path, struct reference *reference);
void reference_close(struct reference *reference);

/* The truth's top-two margin at a position. */
double reference_margin(const struct reference *reference, size_t position);

struct reference_sum reference_begin(const struct reference *reference);
void reference_add(struct reference_sum *sum, size_t position, const float *logits /* [vocabulary] */);
struct reference_figures reference_finish(const struct reference_sum *sum);

/* All at once: logits [positions, vocabulary]. */
struct reference_figures reference_measure(const struct reference *reference, const float *logits);

/* "NMSE 4.2e-04, KL mean 3.4e-03 max 6.2e-02, top-1 95.25%, lost margin 0.31 at 17" into `text`, which it returns. */
enum { REFERENCE_TEXT = 160 };
const char *reference_text(const struct reference_figures *figures, char text[REFERENCE_TEXT]);

#endif
