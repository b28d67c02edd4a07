/* bind.h: a variant of an OpenCL backend and a call become kernels with all their arguments set, ready to be enqueued
 * as often as one likes. What may change between two enqueues (rows, params that are arguments, buffers, offsets) is
 * compared with what was set last, and only the difference goes to the driver. */
#ifndef CI_OPS_BIND_H
#define CI_OPS_BIND_H

#include "ops/op.h"

struct ci_bound_launch {
    struct ci_kernel *kernel;
    struct ci_grid grid;
    bool empty; /* no rows in this run: nothing to enqueue */
};

/* A product by CLBlast, after all launches. */
struct ci_bound_product {
    struct ci_gemm gemm;
    bool empty;
};

struct ci_bound; /* one variant with one set of arguments */

/* The defaults of the variant's tunables; values [CI_MAX_TUNABLES]. */
void ci_bind_defaults(const struct ci_variant *variant, int *values);

/* Builds (or finds built) the program and sets the arguments from `call`, whose views lie in buffers of `device`; those
 * of rows 0 too. `tunables` has a value for each of the variant's (NULL: the defaults). CLINFER_UNSUPPORTED: a
 * work-group or its local memory is larger than this device can do; CLINFER_DEVICE_ERROR: the program does not build.
 */
enum clinfer_status ci_bind_create(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                   const struct ci_call *call, struct ci_bound **bound);
void ci_bind_destroy(struct ci_bound *bound);

/* Sets what differs in `call` from the last time. Types, layouts, and constants (op.h) must be the same as at creation.
 * Makes no OpenCL object and allocates nothing. */
enum clinfer_status ci_bind_update(struct ci_bound *bound, const struct ci_call *call);

/* What was set last counts for nothing: the next update sets everything. For buffers that may have been freed since,
 * whose addresses say nothing. */
void ci_bind_forget(struct ci_bound *bound);

/* Enqueues all launches and products, in order. */
enum clinfer_status ci_bind_enqueue(struct ci_bound *bound);

/* What the arguments of a launch are set to, in order. A tensor is one: its buffer, and its offset; of other arguments
 * `word` has the bits. Returns how many there are; the first `most` are stored. */
struct ci_bind_value {
    struct ci_buffer *buffer; /* NULL: a number */
    uint64_t word;
};
int ci_bind_values(const struct ci_bound *bound, int launch, struct ci_bind_value *values, int most);

int ci_bind_launches(const struct ci_bound *bound, const struct ci_bound_launch **launches);
int ci_bind_products(const struct ci_bound *bound, const struct ci_bound_product **products);

/* The names of the sources and the compiler options that the program of this call has: what a profile's hash is taken
 * of. sources [CI_BIND_SOURCES], borrowed; options [CI_BIND_OPTIONS_BYTES]. */
enum { CI_BIND_SOURCES = 7, CI_BIND_OPTIONS_BYTES = 2048 };
enum clinfer_status ci_bind_options(const struct ci_variant *variant, const int *tunables, const struct ci_call *call,
                                    const char **sources, int *source_count, char *options);

#endif
