/* imagined_gpu.h: a GPU that nobody has, and how fast kernels would be on it, for tests of the tuner. */
#ifndef TESTS_SUPPORT_IMAGINED_GPU_H
#define TESTS_SUPPORT_IMAGINED_GPU_H

#include "tuner/problems.h"
#include "tuner/worker.h"

extern const struct ci_device_caps imagined_gpu;
struct ci_caps imagined_gpu_caps(void);

/* The further up the lists of allowed values, the faster; the variant's name decides the rest. */
double seconds_by_tunables(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);

/* All candidates alike. */
double seconds_by_size(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate);

/* Whether all tunables have their defaults. */
bool has_defaults(const struct ci_tuner_candidate *candidate);

/* The first problem of this op with so many rows whose types begin so; NULL: none. */
const struct ci_tune_problem *find_problem(const struct ci_problems *problems, const char *op, int64_t rows,
                                           const char *types);

#endif
