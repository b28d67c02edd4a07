/* tensor.h: views of matrices and calls of ops, the vocabulary between the layers.
 *
 * Everything that an op reads or writes is a matrix [rows, cols], row by row; a vector is one row. A view says how the
 * bytes are to be read (type, layout, shape) and where they are. On the host that is a pointer; on an OpenCL device it
 * is (buffer, byte offset), because weights lie inside a mapped file at alignments that sub-buffers cannot have. */
#ifndef CI_TENSOR_TENSOR_H
#define CI_TENSOR_TENSOR_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct ci_type;   /* types/type.h */
struct ci_layout; /* types/layout.h */
struct ci_buffer; /* device/device.h */

/* What the number of rows of a tensor follows. All but FIXED change from run to run within one plan. */
enum ci_extent {
    CI_EXTENT_FIXED,
    CI_EXTENT_ROWS,   /* rows (tokens) of this run */
    CI_EXTENT_WANTED, /* rows whose logits are wanted */
    CI_EXTENT_TILES,  /* attention tiles, see ops/attention.c */
    CI_EXTENT_COUNT
};

struct ci_view {
    const struct ci_type *type; /* NULL: an optional input that is absent */
    const struct ci_layout *layout;
    enum ci_extent extent;
    int64_t rows; /* in this run */
    int64_t cols;
    void *data;               /* host bytes; NULL when they lie on a device */
    struct ci_buffer *buffer; /* device bytes; NULL when they lie on the host */
    uint64_t offset;          /* bytes into `buffer` */
};

enum { CI_MAX_INPUTS = 8, CI_MAX_OUTPUTS = 4, CI_MAX_PARAMS = 8 };

/* Each op names its parameters with an enum of indices in tensor/op_params.h. */
struct ci_params {
    int32_t i[CI_MAX_PARAMS];
    float f[CI_MAX_PARAMS];
};

/* One op with everything bound. `scratch` is working memory of the size that the variant asked for, shared by all
 * threads. `taken` counts what threads have taken of the work so far, 0 when they begin; NULL: each does an equal
 * share. */
struct ci_call {
    struct ci_view in[CI_MAX_INPUTS];
    struct ci_view out[CI_MAX_OUTPUTS];
    struct ci_params params;
    struct ci_view scratch;
    atomic_int *taken;
};

/* A kernel of the CPU backend: called by every thread with the same call, each does its share. No barrier inside. */
typedef void ci_cpu_function(const struct ci_call *call, int thread, int threads);

/* The share of `thread` of `count` items, in units of `unit`: items [*first, *last). */
static inline void ci_share(int64_t count, int64_t unit, int thread, int threads, int64_t *first, int64_t *last) {
    int64_t units = (count + unit - 1) / unit;
    *first = units * thread / threads * unit;
    *last = units * (thread + 1) / threads * unit;
    if (*last > count) *last = count;
    if (*first > count) *first = count;
}

#endif
