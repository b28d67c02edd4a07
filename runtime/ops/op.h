/* op.h: what an op is and what a variant of it is.
 *
 * There is no enum of ops and no switch over them: a graph node points to a struct ci_op. Adding an op is one file
 * here, one line in op_list.inc and, for OpenCL, one file in clkernels/ with a line in variant_list.inc.
 *
 * A signature (everything a choice may depend on) is a struct ci_call whose data pointers are ignored. */
#ifndef CI_OPS_OP_H
#define CI_OPS_OP_H

#include <stdbool.h>

#include <clinfer.h>

#include "cpu/cpu.h"
#include "device/device.h"
#include "tensor/tensor.h"
#include "types/layout.h"

/* A test case: shapes and types of the inputs (type NULL: absent), parameters. Also used for known-answer checks. */
struct ci_case_shape {
    const struct ci_type *type;
    int64_t rows, cols;
};

struct ci_case {
    const char *name;
    struct ci_case_shape in[CI_MAX_INPUTS];
    struct ci_case_shape state[CI_MAX_OUTPUTS]; /* shapes of state outputs, by output index */
    struct ci_params params;
};

/* How exact a variant must be, see proof/gate.h. */
struct ci_gate {
    double nmse;  /* normalised mean squared error over all outputs */
    double bound; /* |error| <= bound * magnitude, for every single output */
};

/* Outputs rounded to codes: two right kernels may differ by one step where a number lies between two codes. With errors
 * of 1e-6 before rounding that is one number in some thousand; what rounds wrongly throughout has 1e-4. */
#define CI_GATE_Q8                                                                                                     \
    { 1e-6, 1.02 }

struct ci_op {
    const char *name;
    int inputs, outputs;       /* how many; optional inputs included */
    unsigned weight_inputs;    /* bit i: input i is a weight, whose layout a variant may choose */
    unsigned looked_up_inputs; /* bit i: only rows of input i that are named are read */
    unsigned state_outputs;    /* bit i: output i is persistent state that the op changes in place (KV cache) */

    /* Checks the inputs of `call` and sets type, extent, rows, cols of its outputs (state outputs are given). Errors
     * name the op and the value. */
    enum clinfer_status (*infer)(struct ci_call *call);

    /* Plain scalar C on host data: the oracle of every test and the last fallback. */
    void (*reference)(const struct ci_call *call);

    /* A fused op is `first`, whose output 0 is input `second_input` of `second`. The fused op's inputs are those of
     * `first`, then those of `second` without that one; its parameters are those of both, whose indices must not
     * collide; its outputs are those of `second`, with output 0 of `first` before them when somebody else reads that
     * too (keeps_first). */
    const struct ci_op *first, *second;
    int second_input;
    bool keeps_first;

    /* Fills integer inputs with meaningful values (ids, slots, tiles); NULL where all inputs are numbers. */
    void (*fill)(struct ci_call *call, uint64_t *random_state);

    /* The size that the error of each number of output 0 is measured against, out[rows * cols]. NULL: |output| + its
     * RMS; for an output of codes its scale, that is one step (of q16: eight). */
    void (*magnitude)(const struct ci_call *call, float *out);

    struct ci_gate gate;
    struct ci_gate (*gate_of)(const struct ci_call *call); /* where it depends on the call; NULL: `gate` */
    const struct ci_case *cases;                           /* ends with name = NULL */

    /* A small case of the types and the parameters of this call, for known answers; NULL: those of `cases` that come
     * near will do. */
    void (*like)(const struct ci_call *call, struct ci_case *shape);

    /* Bytes read beside the inputs that are read whole: rows looked up, the part of a KV cache; NULL: none. */
    double (*extra_bytes)(const struct ci_call *call);

    /* Arithmetic operations; NULL: one per output. */
    double (*operations)(const struct ci_call *call);
};

/* Everything a variant may ask about the place where it would run. */
struct ci_caps {
    const struct ci_cpu_features *cpu;
    const struct ci_device_caps *device; /* NULL for the CPU backend */
    int threads;
};

/* CLBLAST: kernels of ours around matrix products of CLBlast, on an OpenCL device. */
enum ci_backend { CI_BACKEND_CPU, CI_BACKEND_OPENCL, CI_BACKEND_CLBLAST };

/* How one argument of a kernel is bound. A tensor takes two arguments, (__global buffer, ulong byte offset). */
enum ci_bind_kind {
    CI_BIND_END,
    CI_BIND_IN,      /* tensor in[index] */
    CI_BIND_OUT,     /* tensor out[index] */
    CI_BIND_SCRATCH, /* tensor scratch */
    CI_BIND_IN_ROWS, /* int: rows of in[index] in this run */
    CI_BIND_IN_COLS, /* int: cols of in[index] */
    CI_BIND_OUT_COLS,
    CI_BIND_I, /* int: params.i[index] */
    CI_BIND_F  /* float: params.f[index] */
};

struct ci_bind {
    uint8_t kind, index;
};

/* A number of the signature that the kernel's compiler is to know, as a macro: CI_BIND_IN_COLS, _OUT_COLS or _I. */
struct ci_constant {
    const char *macro; /* NULL ends the list */
    struct ci_bind value;
};

enum { CI_MAX_TUNABLES = 12 };

struct ci_tunable {
    const char *name; /* also the macro that the kernel sees; NULL ends the list */
    int value;        /* default */
    int allowed[12];  /* ends with 0 */
};

struct ci_grid {
    int dimensions;
    size_t global[3], local[3]; /* local[0] = 0: the driver chooses */
};

/* One kernel launch, as data. */
struct ci_launch {
    const char *kernel;         /* the kernel's name in the source */
    const struct ci_bind *bind; /* ends with CI_BIND_END */
    void (*grid)(const struct ci_call *call, const int *tunables, const struct ci_device_caps *caps,
                 struct ci_grid *grid);
};

/* One product by CLBlast; it leaves m or n at 0 where there is nothing to do. */
typedef void ci_product(const struct ci_call *call, struct ci_gemm *gemm);

/* What the second plane of codes in q16 adds to the time of an op that waits for its weights (docs/benchmarks.md). */
enum ci_second_plane {
    CI_SECOND_PLANE_NOT_MEASURED,
    CI_SECOND_PLANE_COSTS /* a sixth or so */,
    CI_SECOND_PLANE_HIDDEN
};

struct ci_variant {
    const struct ci_op *op;
    const char *name;
    enum ci_backend backend;
    const char *for_whom; /* where it wins, or the class of device that it is made for, in a phrase */

    /* The layout of the op's weight inputs; NULL: any, through load_block. */
    const struct ci_layout *weight_layout;

    /* Types, shapes and capabilities that it can do; NULL: all. */
    bool (*fits)(const struct ci_caps *caps, const struct ci_call *call);

    enum ci_second_plane second_plane;

    /* CPU: the function for this signature, NULL when there is none. Looked up once, when the plan is made. */
    ci_cpu_function *(*cpu)(const struct ci_call *call);

    /* OpenCL: sources relative to clkernels/. The program is common/common.clh, the header types/<type>.clh of the
     * weight input `type_input` (if >= 0), `header`, `second_header` and `source`; macros as described in
     * clkernels/common/common.clh. */
    const char *header, *second_header; /* what several sources share; may be NULL */
    const char *source;
    int type_input;
    unsigned untold_inputs;            /* bit i: no macro tells of input i, an argument does whether it is there; f32 */
    const char *opencl_c;              /* language version; "newest": 3.0 where there is; NULL: "1.2" */
    const struct ci_tunable *tunables; /* at most CI_MAX_TUNABLES; may be NULL */
    unsigned grid_tunables; /* bit i: tunable i only shapes the grid; the kernel does not see it, so that another value
                             * is not another program to build and to load */
    const struct ci_constant *constants; /* may be NULL */
    const struct ci_launch *launches;
    int launch_count;
    ci_product *const *products; /* enqueued after the launches; ends with NULL; only with CI_BACKEND_CLBLAST */

    size_t (*scratch)(const struct ci_call *call, const int *tunables);     /* bytes; NULL: none */
    size_t (*local_bytes)(const struct ci_call *call, const int *tunables); /* of one work-group; NULL: none */
};

extern const struct ci_op *const ci_ops[];           /* ends with NULL */
extern const struct ci_variant *const ci_variants[]; /* in order of preference; ends with NULL */

const struct ci_op *ci_op_find(const char *name);

/* Whether the variant can do this call here, with its defaults within the limits of the device; does not build
 * anything. */
bool ci_variant_fits(const struct ci_variant *variant, const struct ci_caps *caps, const struct ci_call *call);

/* Whether the op's output is codes, of 8 or of 16 bits by its parameter CI_QUANTISE_I_16_BITS. */
bool ci_op_rounds(const struct ci_op *op);

/* infer and reference of any op, fused ones by way of their parts. The reference of a fused op allocates what lies
 * between; CLINFER_OUT_OF_MEMORY is its only failure. */
enum clinfer_status ci_op_infer(const struct ci_op *op, struct ci_call *call);

/* How exact a variant must be for this call. */
struct ci_gate ci_op_gate(const struct ci_op *op, const struct ci_call *call);
enum clinfer_status ci_op_reference(const struct ci_op *op, const struct ci_call *call);

/* What one call reads and writes, in bytes (of a table only the rows that are looked up, of a cache what the op says),
 * and the arithmetic operations that it takes. Only the op's own functions look at data. */
double ci_op_bytes(const struct ci_op *op, const struct ci_call *call);
double ci_op_operations(const struct ci_op *op, const struct ci_call *call);

/* The calls of the two parts of a fused op; the view between them (output 0 of first) has no data yet. */
enum clinfer_status ci_op_split(const struct ci_op *op, const struct ci_call *call, struct ci_call *first,
                                struct ci_call *second);

#endif
