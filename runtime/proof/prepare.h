/* prepare.h: programs that one process builds for another, which finds them in the caches. */
#ifndef CI_PROOF_PREPARE_H
#define CI_PROOF_PREPARE_H

#include "ops/op.h"

/* Builds what the variant runs for this call. `runs`: its known answer is computed first, as where some drivers compile
 * no earlier than when a kernel runs; what is wrong then is nobody's business here. */
void ci_proof_prepare(struct ci_device *device, const struct ci_caps *caps, const struct ci_variant *variant,
                      const int *tunables, const struct ci_call *call, bool runs);

/* Puts what was built where others find it, unless the driver does so by itself. */
void ci_proof_prepared(struct ci_device *device);

#endif
