/* signature.h: calls, variants and devices by name, as profiles (profile/profile.h) know them. */
#ifndef CI_OPS_SIGNATURE_H
#define CI_OPS_SIGNATURE_H

#include "ops/op.h"
#include "profile/profile.h"

/* By what a profile's entry for this call is found. Data and layouts of the call are ignored. */
void ci_signature_of(const struct ci_op *op, const struct ci_call *call, struct ci_profile_signature *signature);

/* The layout of the call's weights, "" when the op has none. */
const char *ci_signature_layout(const struct ci_op *op, const struct ci_call *call);

/* The place: caps.device NULL is the CPU backend. */
void ci_signature_key(const struct ci_caps *caps, struct ci_profile_key *key);

/* Hash of all that the variant's result and speed depend on beside device and shape: the sources and options of its
 * program for this call's types and layouts with these tunables; of a CPU variant the sources of the CPU kernels. */
enum clinfer_status ci_signature_source(const struct ci_variant *variant, const int *tunables,
                                        const struct ci_call *call, uint64_t *source);

/* Tunables by name, [CI_PROFILE_TUNABLES]; returns how many. */
int ci_signature_tunables(const struct ci_variant *variant, const int *values, struct ci_profile_tunable *tunables);

/* And back: values [CI_MAX_TUNABLES]; those that are not named get the default. CLINFER_INVALID_ARGUMENT names what is
 * unknown or not allowed, and what is. */
enum clinfer_status ci_signature_values(const struct ci_variant *variant, const struct ci_profile_tunable *tunables,
                                        int count, int *values);

/* Whether all that a profile names is known to this clinfer: ops, layouts, variants, tunables and their values.
 * CLINFER_BAD_FILE with `file`, field, value, and what there is. A profile made here may be older than a variant that
 * is gone: then its entry is passed over; one that comes from elsewhere is refused by this. */
enum clinfer_status ci_signature_check(const char *file, const struct ci_profile *profile);

/* NULL: no such variant of this op. Any backend but CI_BACKEND_CPU finds all that run on a device. */
const struct ci_variant *ci_variant_find(const struct ci_op *op, enum ci_backend backend, const char *name);

#endif
