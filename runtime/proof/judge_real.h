/* judge_real.h: judges what a step of a running model gave, as judge.h judges what a candidate gave on made-up data.
 * Real data may hold numbers that are not finite, of which nothing right can come, and caches of which most rows are
 * not written by this step. */
#ifndef CI_PROOF_JUDGE_REAL_H
#define CI_PROOF_JUDGE_REAL_H

#include "proof/gate.h"

/* `sample` holds the inputs on the host and state outputs as they were before the step; `result` is a copy of it with
 * what the step gave. Both are changed: rows that nothing can be said about are blanked. Of a row for which the
 * reference is not finite either nothing is said. CLINFER_OUT_OF_MEMORY is the only failure. */
enum clinfer_status ci_judge_real(struct ci_sample_call *sample, struct ci_sample_call *result,
                                  struct ci_gate_result *verdict);

/* Whether something that the call reads (weights apart; of caches what its rows see) is not finite. */
bool ci_sample_reads_not_finite(const struct ci_sample_call *sample);

/* Numbers of a view, or of one of its rows, that are not finite; 0 for integers. */
int64_t ci_view_not_finite(const struct ci_view *view);
int64_t ci_row_not_finite(const struct ci_view *view, int64_t row);

#endif
