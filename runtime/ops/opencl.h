/* opencl.h: what the tables of OpenCL variants share: shorthands for binds, and grids. */
#ifndef CI_OPS_OPENCL_H
#define CI_OPS_OPENCL_H

#include "ops/op.h"

/* Arguments, as they stand in a kernel's parameter list. */
#define IN(i)                                                                                                          \
    { CI_BIND_IN, i }
#define OUT(i)                                                                                                         \
    { CI_BIND_OUT, i }
#define SCRATCH                                                                                                        \
    { CI_BIND_SCRATCH, 0 }
#define IN_ROWS(i)                                                                                                     \
    { CI_BIND_IN_ROWS, i }
#define IN_COLS(i)                                                                                                     \
    { CI_BIND_IN_COLS, i }
#define OUT_COLS(i)                                                                                                    \
    { CI_BIND_OUT_COLS, i }
#define I(i)                                                                                                           \
    { CI_BIND_I, i }
#define F(i)                                                                                                           \
    { CI_BIND_F, i }
#define END                                                                                                            \
    { CI_BIND_END, 0 }

static inline size_t ci_ceil_div(int64_t count, int64_t unit) { return (size_t)((count + unit - 1) / unit); }

/* CPU devices: a work-item is a thread's work, so few of them, each alone in its work-group (PoCL compiles per local
 * size). */
static inline bool ci_is_cpu(const struct ci_device_caps *caps) { return caps->kind == CI_DEVICE_CPU; }

/* `items` work-items, each alone in its work-group. */
static inline void ci_grid_1d(struct ci_grid *grid, size_t items) {
    grid->dimensions = 1;
    grid->global[0] = items;
    grid->local[0] = 1;
}

/* Work-items (part, row) for kernels whose parts walk a row together. `group` is the work-group's size; 0: one part on
 * a CPU device, as many parts as there are pieces on others, in work-groups of 64. */
static inline void ci_grid_rows(struct ci_grid *grid, const struct ci_device_caps *caps, int64_t rows, int64_t pieces,
                                int group) {
    enum { GROUP = 64, MOST_PARTS = 1024 };
    grid->dimensions = 2;
    grid->global[0] = grid->local[0] = grid->local[1] = 1;
    grid->global[1] = (size_t)rows;
    if (group == 1 || (group == 0 && ci_is_cpu(caps))) return;
    size_t most = group ? (size_t)group : GROUP;
    if (pieces > MOST_PARTS) pieces = MOST_PARTS;
    while (grid->local[0] < (size_t)pieces && grid->local[0] * 2 <= most && grid->local[0] * 2 <= caps->max_work_group)
        grid->local[0] *= 2;
    grid->global[0] = ci_ceil_div(pieces, (int64_t)grid->local[0]) * grid->local[0];
}

/* The tunable of such kernels. */
#define CI_GROUP_TUNABLE                                                                                               \
    {                                                                                                                  \
        "GROUP", 0, { 1, 64 }                                                                                          \
    }

#endif
