/* chain.h: launches that follow one another, as one launch, for CPU devices. There a launch costs the driver some 15 us
 * (PoCL: its queue, two wake-ups, events), and a token of a small model has 280 of them, each of which computes 5 us.
 *
 * The kernels are the same text, compiled with the same options, but as functions; a kernel of ours
 * (clkernels/chain.cl) calls one after the other as a script in a buffer says, and its work-items wait for each other
 * in between. What a chain computes are the same bits as those of its launches.
 *
 * Rejected: command buffers (cl_khr_command_buffer), which PoCL takes apart into launches; kernels fused by hand, of
 * which each pair is another kernel to write, and which leave five launches a layer. */
#ifndef CI_OPS_CHAIN_H
#define CI_OPS_CHAIN_H

#include "ops/bind.h"

/* A bound variant and what it was made of. */
struct ci_chain_link {
    const struct ci_bound *bound;
    const struct ci_variant *variant;
    const int *tunables;
    const struct ci_call *call;
};

struct ci_chain;

/* Whether the launches of this link can be part of one: single work-items that need no others. */
bool ci_chain_takes(const struct ci_device_caps *caps, const struct ci_chain_link *link);

/* A chain of links that are all taken, in order; `bound` must outlive it. At most so many processors compute it (0: all
 * of the device's). CLINFER_NOT_FOUND: it was never built here, and `build` is false. Building takes seconds. */
enum clinfer_status ci_chain_create(struct ci_device *device, const struct ci_chain_link *links, int count, int workers,
                                    bool build, struct ci_chain **chain);
void ci_chain_destroy(struct ci_chain *chain);

/* What the program of this chain is known by, on this device. */
uint64_t ci_chain_key(const struct ci_chain *chain);

/* To be called when links were updated (ci_bind_update). Enqueues at most one write for each of its launches. After a
 * failure the chain is not to be used before the next success. */
enum clinfer_status ci_chain_update(struct ci_chain *chain);

enum clinfer_status ci_chain_enqueue(struct ci_chain *chain);

#endif
