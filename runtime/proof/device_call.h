/* device_call.h: a sample call (proof/gate.h) brought to a device, and its outputs brought back, guards included. */
#ifndef CI_PROOF_DEVICE_CALL_H
#define CI_PROOF_DEVICE_CALL_H

#include "ops/bind.h"
#include "proof/gate.h"

/* Every tensor lies in a buffer of its own, at an offset that is a multiple of 32 but not of 64: no kernel may count on
 * more. */
enum { CI_DEVICE_CALL_OFFSET = CI_GUARD_BYTES + 32 };

struct ci_device_call {
    struct ci_device *device;
    const struct ci_op *op;
    struct ci_call call; /* views of buffers */
    struct ci_buffer *buffers[CI_MAX_INPUTS + CI_MAX_OUTPUTS + 1];
};

/* Uploads; weights in `layout` where it is not NULL. */
enum clinfer_status ci_device_call_create(struct ci_device *device, const struct ci_sample_call *sample,
                                          const struct ci_layout *layout, struct ci_device_call *result);

/* The same, but inputs whose view in `given` has a buffer are there already, and stay their owner's. */
enum clinfer_status ci_device_call_create_with(struct ci_device *device, const struct ci_sample_call *sample,
                                               const struct ci_layout *layout,
                                               const struct ci_view given[CI_MAX_INPUTS],
                                               struct ci_device_call *result);
void ci_device_call_destroy(struct ci_device_call *call);

/* Binds the variant, with scratch and fresh outputs (those of `result`, which are overwritten), runs it once, waits. */
enum clinfer_status ci_device_call_run(struct ci_device_call *call, const struct ci_variant *variant,
                                       const int *tunables, struct ci_sample_call *result);

/* The same in pieces, for who looks at the clock between them. bind: fresh outputs (those of `outputs`), scratch, the
 * kernels with their arguments; *bound is the caller's. fetch: waits for the outputs, guards included. */
enum clinfer_status ci_device_call_bind(struct ci_device_call *call, const struct ci_variant *variant,
                                        const int *tunables, const struct ci_sample_call *outputs,
                                        struct ci_bound **bound);
enum clinfer_status ci_device_call_fetch(struct ci_device_call *call, struct ci_sample_call *result);

#endif
