/* clinfer.h: run language models on any OpenCL device, or on the CPU. The one header to include;
 * what it consists of lies in clinfer/.
 *
 * An engine is a loaded model on a device. A session is one conversation: its tokens, its rows in the KV cache, its
 * sampler. Several sessions share one engine and are computed together in the same steps.
 *
 * Every fallible function returns a status; clinfer_error() has the text for a person, per thread. The library never
 * prints and never exits. `create`/`open` give an object that the caller must `destroy`/`close`; everything else is
 * borrowed.
 *
 * What is NULL or out of range where that is not allowed is CLINFER_INVALID_ARGUMENT with its name; closing and
 * cancelling NULL is nothing. An engine, its sessions, a router and its conversations are of the process that opened
 * them: a child that it forks gets CLINFER_INVALID_ARGUMENT, since it has none of their threads, and may open an engine
 * of its own, on the CPU if its parent used OpenCL.
 *
 * The calling thread computes with the others: kernels have tables of 0.75 MB on its stack, so that it needs 1 MiB.
 * With weights of 16 bits and AVX-512 VNNI, prompts give it tables of 2 to 4 MiB more, by the size of pages, which it
 * keeps until it ends. */
#ifndef CLINFER_H
#define CLINFER_H

#include "clinfer/base.h"    /* statuses, log, devices and models of this machine */
#include "clinfer/engine.h"  /* a loaded model */
#include "clinfer/router.h"  /* a request that something answers: devices, the CPU, remote APIs */
#include "clinfer/session.h" /* text, one conversation */

#endif
