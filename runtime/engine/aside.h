/* aside.h: a process that lives long does not compile. Compilers keep what they have used for ever (PoCL's LLVM: 16 to
 * 130 MiB), and a step waits for them. So where the tool serves, a child of its own, `clinfer kernel_worker --plans`,
 * opens the same model on the same device, runs every plan once, makes the one launch of a token (chain.h), and saves
 * all programs; the server takes them from the cache. It is started before the first plan is made here, or when an
 * engine has nothing to do and another plan was never built.
 *
 * What a plan's programs are is known beforehand (ci_plan_predict): its stamp is the hash of them all, and a stamp that
 * is remembered among the proofs says that the cache has them. So a start that finds all stamps starts nothing.
 *
 * A child that fails, dies or hangs costs time and nothing else: what it has not built is built here. None is started
 * for devices with a memory of their own, which may not hold the weights twice, nor where there is not enough memory
 * for that, nor where nothing can be saved, nor where CLINFER_PROBE forbids processes or OPENCL_LAYERS puts something
 * between us and the driver. */
#ifndef CI_ENGINE_ASIDE_H
#define CI_ENGINE_ASIDE_H

#include <clinfer.h>

#include "engine/devices.h"

struct ci_bucket;
struct ci_aside; /* of one engine */

/* Called by `clinfer serve` once, before any engine. */
void ci_aside_allow(void);

/* While an engine is being opened, before its devices are: engine->aside, or NULL. Then there are no workers (warm.h):
 * the child has them. */
void ci_aside_begin(struct clinfer_engine *engine, const struct ci_engine_devices *devices);

/* Before the plan of this bucket is made: returns when its programs are in the cache, or nobody but this process is
 * going to build them. By the leader. */
void ci_aside_wait(struct clinfer_engine *engine, struct ci_bucket *bucket);

/* When nobody waits for text: sees to it that the other plans' programs will be there, and takes the one launch of a
 * token when it is. By the leader. */
void ci_aside_go_on(struct clinfer_engine *engine);

/* Whether another process builds, and saves, what this engine needs: then this one saves nothing, as drivers compile
 * for that, too. */
bool ci_aside_builds(const struct clinfer_engine *engine);

/* The plans are made again, without a kernel that failed, or with other caches: with the weights packed as they are,
 * which an engine that a child opens would pack as its own kernels want them. What comes is built here. */
void ci_aside_give_up(struct clinfer_engine *engine);

/* Ends the child. */
void ci_aside_end(struct clinfer_engine *engine);

/* In the child: `first` is the plan that is waited for. */
enum clinfer_status ci_aside_work(const struct clinfer_engine_options *options, int first);

#endif
