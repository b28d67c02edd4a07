/* plan.h: how a graph is computed here. A plan is made once for a number of rows (a bucket) and run many times:
 * variants chosen, weights placed, memory shared out by lifetime, arguments bound. A run then allocates nothing, looks
 * up nothing and waits only where a section ends on another device.
 *
 * The rows of a run are exact, at most those of the bucket: nothing is padded. What depends on them (grids, row
 * arguments) is set when they differ from those of the run before. */
#ifndef CI_GRAPH_PLAN_H
#define CI_GRAPH_PLAN_H

#include "base/watch.h"
#include "graph/passes.h"
#include "graph/store.h"

struct ci_plan;
struct ci_bound;

struct ci_plan_options {
    enum ci_activations activations;
    bool no_fallback;            /* an op that cannot run where it is wanted is an error */
    const int8_t *place_of_unit; /* where each unit (places.h) is wanted; NULL: all at the preferred place */
    const char *moved;           /* why units are wanted on the CPU that the user wanted on a device; or "" */
};

/* Takes the graph over (destroyed with the plan, and on failure). The store outlives the plan. */
enum clinfer_status ci_plan_create(struct ci_store *store, struct ci_graph *graph,
                                   const struct ci_plan_options *options, struct ci_plan **plan);
void ci_plan_destroy(struct ci_plan *plan);

/* What ci_plan_create() would take for weights that have no memory yet, and for activations. Takes the graph over. */
struct ci_plan_bytes {
    uint64_t weights[CI_MAX_PLACES], activations[CI_MAX_PLACES];
};
/* Hears of every step what would be chosen first; choice NULL: the reference. */
typedef void ci_plan_chosen(void *user, const struct ci_node *node, const struct ci_choice *choice);
enum clinfer_status ci_plan_predict(struct ci_store *store, struct ci_graph *graph,
                                    const struct ci_plan_options *options, ci_plan_chosen *chosen /* or NULL */,
                                    void *user, struct ci_plan_bytes *bytes);

/* Sets the rows of each extent for the next run; 1 <= rows <= those of the bucket, but TILES and WANTED may be 0. */
enum clinfer_status ci_plan_set_rows(struct ci_plan *plan, const int64_t rows[CI_EXTENT_COUNT]);

/* Computes. The inputs lie in the host bytes of the graph's input tensors, which may be overwritten when this returns.
 * On return everything is enqueued, not necessarily done. */
enum clinfer_status ci_plan_run(struct ci_plan *plan);

/* Rows [first, first + rows) of a state, for the next run; `data` may be overwritten when this returns. */
enum clinfer_status ci_plan_write(struct ci_plan *plan, const struct ci_tensor *state, int64_t first, int64_t rows,
                                  const void *data);

/* Rows [first, first + rows) of a tensor that a run wrote, waiting for it. */
enum clinfer_status ci_plan_read(struct ci_plan *plan, const struct ci_tensor *tensor, int64_t first, int64_t rows,
                                 void *out);

/* The first `rows` rows, in two halves, so that the next run may be enqueued between them; slot as in device.h. */
enum clinfer_status ci_plan_read_start(struct ci_plan *plan, const struct ci_tensor *tensor, int64_t rows, void *out,
                                       int slot);
enum clinfer_status ci_plan_read_wait(struct ci_plan *plan, const struct ci_tensor *tensor, int slot);

/* Whoever watches is told that this run of the plan, as ci_watch_run() had it behind ci_plan_run(), is done. */
void ci_plan_waited(struct ci_plan *plan, const struct ci_watch_run *run);

/* What was decided, for --explain, --json and the tests. */
struct ci_plan_step {
    const char *label, *op;
    const char *variant; /* "reference" for scalar C, "copy" for a crossing */
    const char *place;   /* device name or "cpu" */
    const char *reason;  /* why not something before it in the table; "" for the first choice */
    bool fallback;       /* could not run at the place that was asked for */
    double bytes, operations;
    struct ci_profile_signature signature; /* types "" for a crossing */
    const char *layout;                    /* of the weights, "" without */
};
int ci_plan_steps(const struct ci_plan *plan);
void ci_plan_step(const struct ci_plan *plan, int index, struct ci_plan_step *step);
/* Adds to `text` the names of all variants that fit a node of this op where it runs, and "cpu", "opencl" as they apply.
 */
void ci_plan_possible(const struct ci_plan *plan, const struct ci_op *op, char *text, size_t size);
/* The tunables of a step, "A=1,B=2"; and what would take over if it failed, "gemm_vec, cpu". */
void ci_plan_tunables(const struct ci_plan *plan, int index, char *text, size_t size);
void ci_plan_otherwise(const struct ci_plan *plan, int index, char *text, size_t size);
int ci_plan_waits(const struct ci_plan *plan); /* per run, the read of its result included where that is on a device */
int ci_plan_fallbacks(const struct ci_plan *plan);
int ci_plan_stale(const struct ci_plan *plan); /* steps whose entry of the profile is older than their kernel */
size_t ci_plan_activation_bytes(const struct ci_plan *plan);

/* Consecutive steps on a device become one launch each (ops/chain.h), where they can; *program is what the programs of
 * these are known by. Without `build` they have to be in the cache. CLINFER_NOT_FOUND: they are not, or there are no
 * such steps. After a failure there may be some. While a trace tells of single steps these are launched as before. Only
 * after ci_plan_set_rows(): when caches have grown since, the arguments of before are buffers that are gone. */
enum clinfer_status ci_plan_chain(struct ci_plan *plan, bool build, uint64_t *program);
void ci_plan_unchain(struct ci_plan *plan);
bool ci_plan_is_chained(const struct ci_plan *plan);

/* Runs from now on launch single steps though there are chains, or chains again. */
void ci_plan_take_apart(struct ci_plan *plan, bool apart);

/* Gives the trace the times of what devices have done since the last call; they are the plan's store's, of any plan. */
void ci_plan_collect(struct ci_plan *plan);

/* Seconds spent in CPU sections since the plan was made. */
double ci_plan_cpu_seconds(const struct ci_plan *plan);

#endif
