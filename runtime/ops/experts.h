/* experts.h: what the ops of a mixture of experts share: test data that looks like what `route` gives. */
#ifndef CI_OPS_EXPERTS_H
#define CI_OPS_EXPERTS_H

#include "tensor/tensor.h"

/* From ids [R, used] of `experts`: the pairs row * used + j by expert, then by pair, and where each expert's begin
 * (tensor/op_params.h). Ids that name no expert count as expert 0. */
void ci_experts_sort(const int32_t *ids, int64_t pairs, int64_t experts, int32_t *order, int32_t *starts);

#endif
