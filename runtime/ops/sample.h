/* sample.h: sampling with another search for the largest logits, which is what takes time. */
#ifndef CI_OPS_SAMPLE_H
#define CI_OPS_SAMPLE_H

#include "tensor/tensor.h"

/* Writes the ids of the k largest finite logits in falling order, of equals the lowest id first, and how many there
 * are; returns how many logits are not finite. `mask`, bits [count]: only those whose bit is set are looked for, though
 * all are counted; NULL: all are. */
typedef int32_t ci_sample_largest(const float *logits, int64_t count, const uint32_t *mask, int k, int32_t *ids,
                                  int *found);

/* This thread's share of the rows. */
void ci_sample_rows(const struct ci_call *call, ci_sample_largest *search, int thread, int threads);

#endif
