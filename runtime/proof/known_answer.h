/* known_answer.h: before a variant is used on a device for the first time, it computes cases of its op whose answer the
 * reference knows. What passed is remembered (by device, driver and program text) in the cache folder. */
#ifndef CI_PROOF_KNOWN_ANSWER_H
#define CI_PROOF_KNOWN_ANSWER_H

#include "ops/op.h"

/* Proves `variant` with these tunables (NULL: the defaults) for the types and layouts of `call` on `device` (NULL: the
 * CPU). CLINFER_WRONG_RESULT tells op, variant and the first wrong number. */
enum clinfer_status ci_proof_known_answer(struct ci_device *device, const struct ci_caps *caps,
                                          const struct ci_variant *variant, const int *tunables,
                                          const struct ci_call *call);

/* The same without believing or saying anything: the proof is done now, and remembered if it passed. */
enum clinfer_status ci_proof_again(struct ci_device *device, const struct ci_caps *caps,
                                   const struct ci_variant *variant, const int *tunables, const struct ci_call *call);

/* The signature of a case, weights as stored; false when the case is none of this op (a type it refuses). */
bool ci_proof_signature(const struct ci_op *op, const struct ci_case *shape, struct ci_call *call);

/* What has been proven on a device (its caps' key; 0: the CPU), by a hash of all that the proof depends on. A memory
 * that cannot be read or written only means that the proof is done again. */
bool ci_proof_is_known(uint64_t device_key, uint64_t proof);
void ci_proof_remember(uint64_t device_key, uint64_t proof);

/* Says, once a process and device, that kernels are built and proven for it now. */
void ci_proof_say_first(uint64_t device_key, const char *name);

/* Whether another process would find what is remembered now: a key is written to see that. */
bool ci_proof_is_kept(uint64_t device_key);

/* What of it lies on disk is read again: another process has proven something. */
void ci_proof_forget_file(uint64_t device_key);

/* What ci_proof_known_answer() knows the proof of this variant by, with these tunables. */
enum clinfer_status ci_proof_key(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                 const struct ci_call *call, uint64_t *key);

#endif
