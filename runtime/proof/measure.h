/* measure.h: what a device does at best: the limits that a kernel's speed is held against, and what it costs to talk to
 * it. The best of some passes counts, since everything else that the machine does only makes it slower.
 *
 * `device` NULL measures the CPU backend with `threads` (else not used; may be NULL). A driver that is not known to be
 * good should be measured in a process aside (tuner/worker.h, ci_worker_measure). */
#ifndef CI_PROOF_MEASURE_H
#define CI_PROOF_MEASURE_H

#include "base/threads.h"
#include "ops/op.h"
#include "profile/profile.h"

/* All of it, in one or two seconds. `bytes` is what is read, more than the caches hold; less is taken where the device
 * has less. */
enum clinfer_status ci_measure(struct ci_device *device, struct ci_threads *threads, uint64_t bytes,
                               struct ci_profile_device *measured);

enum clinfer_status ci_measure_read(struct ci_device *device, struct ci_threads *threads, uint64_t bytes,
                                    double *bytes_per_second);

/* Multiply-adds count as two. DOT8: products of bytes, summed in 32 bits, in the best way that kernels have on the
 * device. CLINFER_UNSUPPORTED: the device has no such numbers (F16), or this backend cannot say. */
enum ci_measure_kind { CI_MEASURE_F32, CI_MEASURE_F16, CI_MEASURE_I32, CI_MEASURE_DOT8 };
enum clinfer_status ci_measure_arithmetic(struct ci_device *device, struct ci_threads *threads,
                                          enum ci_measure_kind kind, double *operations_per_second);

#endif
