/* sample_run.h: a variant computes a sample call (proof/gate.h), on a device or on the CPU, and is judged. */
#ifndef CI_PROOF_SAMPLE_RUN_H
#define CI_PROOF_SAMPLE_RUN_H

#include "proof/gate.h"

/* Into the outputs of `result`, a copy of the sample; weights in `layout` where it is not NULL. `device` NULL: the CPU;
 * `tunables` NULL: the defaults. */
enum clinfer_status ci_sample_run(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                  const struct ci_layout *layout, struct ci_sample_call *result);

/* Runs it and judges what it gives (proof/judge.h). A failure is one of memory or of the device. */
enum clinfer_status ci_sample_prove(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                    const struct ci_layout *layout, const struct ci_sample_call *sample,
                                    struct ci_gate_result *verdict);

#endif
