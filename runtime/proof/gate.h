/* gate.h: is a variant's result right? The normalised mean squared error against the reference, a bound for every
 * single number (one wrong row of thousands passes a mean), and guard bytes around the outputs.
 *
 * Who is not sure judges nobody: a number for which the reference itself is not finite says nothing about a kernel, and
 * is counted as not judged. Where the reference has only zeros there is no mean to normalise with: each number is held
 * to its own bound. A denormal counts as the zero that many devices make of it. */
#ifndef CI_PROOF_GATE_H
#define CI_PROOF_GATE_H

#include "ops/op.h"

struct ci_gate_result {
    bool passed;
    double nmse;      /* of the worst output */
    double allowed;   /* what that NMSE was held to: the gate's, or what judge.h and judge_real.h put in its place */
    double worst;     /* largest |error| / (bound * magnitude); above 1 is refused */
    int64_t unjudged; /* numbers for which what is expected is not finite */
    char text[256];   /* why it was refused, with output, row, column and both values */
};

/* Compares the outputs of two calls on host data. Sizes and types are those of `expected`. */
enum clinfer_status ci_gate_compare(const struct ci_op *op, const struct ci_call *expected,
                                    const struct ci_call *actual, struct ci_gate_result *result);

/* The same in two halves, for who compares often: `sizes` (of ci_gate_sizes; NULL where the op has no magnitude) is
 * what errors of output 0 are measured against, the caller's to free. */
enum clinfer_status ci_gate_sizes(const struct ci_op *op, const struct ci_call *expected, float **sizes);
enum clinfer_status ci_gate_compare_sizes(const struct ci_op *op, const struct ci_call *expected, const float *sizes,
                                          const struct ci_call *actual, struct ci_gate_result *result);

/* A case brought to life on the host: inputs filled with numbers that have outliers, zeros and denormals (the same for
 * the same seed), weights in the stored layout, outputs between guard bytes. */
struct ci_sample_call {
    const struct ci_op *op;
    struct ci_call call;
    void *memory[CI_MAX_INPUTS + CI_MAX_OUTPUTS];
};

enum { CI_GUARD_BYTES = 256, CI_GUARD_VALUE = 0xa5 };

/* CLINFER_UNSUPPORTED when the case is none of this op (a type it refuses). */
enum clinfer_status ci_sample_create(const struct ci_op *op, const struct ci_case *shape, uint64_t seed,
                                     struct ci_sample_call *sample);
void ci_sample_destroy(struct ci_sample_call *sample);

/* The same inputs with outputs of its own (state outputs as they were made by create), for a second result. */
enum clinfer_status ci_sample_copy(const struct ci_sample_call *source, struct ci_sample_call *copy);

/* Puts numbers of our own, as create draws them, in the place of the inputs that are named by a bit, and of all state
 * outputs; integers stay, since they say where things are. */
enum clinfer_status ci_sample_renumber(struct ci_sample_call *sample, unsigned inputs, uint64_t seed);

/* Whether the bytes before and after every output are untouched; else the output's number goes to *output. */
bool ci_sample_guards_hold(const struct ci_sample_call *sample, int *output);

/* Bytes of an output or input. */
size_t ci_view_bytes(const struct ci_view *view);

#endif
