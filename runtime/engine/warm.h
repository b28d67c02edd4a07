/* warm.h: the first start on a device compiles and proves every kernel that the model needs, which other processes do,
 * one for each processor. Drivers whose compilers have one lock for all threads (PoCL) would do that on one processor;
 * and a compiler takes time and memory of its own in each process (PoCL 0.4 s for the library of built-in functions),
 * so this process does without. A worker is the tool itself as `clinfer kernel_worker`: it opens the model as far as
 * its kernels are known, and proves those of the next program that nobody has begun. What they leave are the proofs and
 * the driver's own cache (or ours), where this process finds them.
 *
 * A worker that fails, dies or hangs costs time and nothing else: what it has not proven is proven here, as without it.
 * No worker tells anything; what is wrong with a kernel this process finds out by itself. Only that the compiler came
 * through, with a kernel whose answer was right, is known from then on, so that it need not be tried aside. */
#ifndef CI_ENGINE_WARM_H
#define CI_ENGINE_WARM_H

#include <clinfer.h>

#include "base/child.h"
#include "engine/devices.h"
#include "graph/choices.h"

struct ci_warm; /* the workers of one engine that is being opened */

/* Called by the tool once, before any engine: only it can be its own worker. Without this call there are none. */
void ci_warm_allow(void);
bool ci_warm_is_allowed(void);

/* Starts workers where this model was never opened on this device by this version: engine->warm, else NULL. Before the
 * devices are open, which takes a compiler. Nothing is started where there is no clinfer-probe, or CLINFER_PROBE
 * forbids processes, or OPENCL_LAYERS puts something between us and the driver, or what is proven cannot be kept. */
void ci_warm_begin(struct clinfer_engine *engine, const struct ci_engine_devices *devices);

/* Waits for the workers, and reads what they have proven. Before the devices are opened. */
void ci_warm_finish(struct clinfer_engine *engine);

/* Ends the workers of an engine that is not opened after all. */
void ci_warm_abandon(struct clinfer_engine *engine);

/* Whether no process may be started for an engine: there is no clinfer-probe, or CLINFER_PROBE forbids it. */
bool ci_warm_is_forbidden(void);

/* Starts a worker with the options that kernels depend on, on this device of the list. `first` < 0: one of those above;
 * else the one of aside.h. */
bool ci_warm_start(const struct clinfer_engine_options *options, int device, int memory, int first,
                   struct ci_child *worker);

/* What the proof of this choice for this node is known by; `call` is that of the node, with weights as packed. */
enum clinfer_status ci_warm_key(const struct clinfer_engine *engine, const struct ci_node *node,
                                const struct ci_choice *choice, struct ci_call *call, uint64_t *key);

/* In a worker. `memory`: the descriptor of what all processes share. */
enum clinfer_status ci_warm_work(const struct clinfer_engine_options *options, int memory);

#endif
