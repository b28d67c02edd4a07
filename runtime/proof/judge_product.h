/* judge_product.h: a large product judged whole by Freivalds' method (1977): y v = x (w^T v) + b v for a random vector
 * v of +-1, in double, with a bound for each sum. For matmul, matmul_add and matmul_experts; of the last each row of x
 * with each of its experts is a product of its own, and only experts that some row goes to are read. Part of judge.h.
 */
#ifndef CI_PROOF_JUDGE_PRODUCT_H
#define CI_PROOF_JUDGE_PRODUCT_H

#include "proof/gate.h"

struct ci_judge_product;

/* Keeps nothing of the sample. CLINFER_OUT_OF_MEMORY is the only failure. */
enum clinfer_status ci_judge_product_create(const struct ci_sample_call *sample, struct ci_judge_product **product);
void ci_judge_product_destroy(struct ci_judge_product *product);

/* Adds to *verdict what is wrong with `out`, of the sample's shape. */
void ci_judge_product_check(const struct ci_judge_product *product, const struct ci_view *out,
                            struct ci_gate_result *verdict);

#endif
