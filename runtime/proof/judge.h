/* judge.h: what is kept of a sample call (proof/gate.h) to judge results of it, many of them, at any size. The gate's
 * full reference is scalar C and too slow for the products of a long prompt, so what is large is judged otherwise:
 *
 *   products    (matmul, matmul_add, matmul_experts) whole by Freivalds' method (judge_product.h), and in full for some
 *               256 outputs, of experts 16 of each in 16 rows, that include every edge of tiles
 *   attention   in full for some rows, edges of tiles among them; all numbers must be finite and none larger than the
 *               largest value, whose average they are
 *   gated       (matmul_glu_quantise) in full for 128 groups of 32 numbers in up to 16 rows, edges of tiles among them;
 *               all rows must be finite, and zero throughout only where those groups are by the reference
 *   others      cost no more than their outputs: always in full
 *
 * A result that passes here is right with the same certainty as in the gate for what a kernel gets wrong in practice (a
 * tile, a row, an edge, a scale); a single wrong number among millions may pass if it is nearly right. */
#ifndef CI_PROOF_JUDGE_H
#define CI_PROOF_JUDGE_H

#include "proof/gate.h"

struct ci_judge;

/* Borrows the sample, whose outputs are as create made them (state outputs must stay so). */
enum clinfer_status ci_judge_create(const struct ci_sample_call *sample, struct ci_judge **judge);
void ci_judge_destroy(struct ci_judge *judge);

/* Outputs of `result` (a copy of the sample) and the guards around them. CLINFER_OUT_OF_MEMORY is the only failure;
 * everything else stands in *verdict. */
enum clinfer_status ci_judge_compare(struct ci_judge *judge, const struct ci_sample_call *result,
                                     struct ci_gate_result *verdict);

#endif
