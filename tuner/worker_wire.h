/* worker_wire.h: what the tuner and its worker (worker.h) say to each other, to JSON and back. */
#ifndef CI_TUNER_WORKER_WIRE_H
#define CI_TUNER_WORKER_WIRE_H

#include <jansson.h>

#include "tuner/worker.h"

/* The note of a worker that makes a problem's data and has not come to the candidate yet. */
#define CI_WIRE_PREPARING "preparing the problem"

/* New references; NULL without memory. Numbers that JSON does not know (NaN, infinity) become DBL_MAX. */
json_t *ci_wire_problem(const struct ci_problem *problem);
json_t *ci_wire_candidate(const struct ci_tuner_candidate *candidate);
json_t *ci_wire_trial(const struct ci_trial *trial);
json_t *ci_wire_number(double number);
json_t *ci_wire_clblast(const struct ci_profile_clblast *set); /* NULL for an empty one, too */

/* Rounds of a comparison or of a run of the model: more take longer than any tune. */
enum { CI_WIRE_MOST_ROUNDS = 1 << 20 };

/* `count` numbers of an array; a number of rounds. false: it is shorter, something else, or no such number. */
bool ci_wire_read_numbers(const json_t *array, double *numbers, size_t count);
bool ci_wire_read_rounds(const json_t *number, int *rounds);

/* CLINFER_INVALID_ARGUMENT names what is missing, unknown or out of range. */
enum clinfer_status ci_wire_read_problem(const json_t *json, struct ci_problem *problem);
enum clinfer_status ci_wire_read_candidate(const json_t *json, const struct ci_op *op,
                                           struct ci_tuner_candidate *candidate);
enum clinfer_status ci_wire_read_trial(const json_t *json, struct ci_trial *trial);
enum clinfer_status ci_wire_read_clblast(const json_t *json, struct ci_profile_clblast *set); /* NULL: an empty one */

#endif
