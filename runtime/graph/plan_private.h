/* plan_private.h: shared by choose.c (what runs where), memory.c (activations), plan.c (running) and verify.c. */
#ifndef CI_GRAPH_PLAN_PRIVATE_H
#define CI_GRAPH_PLAN_PRIVATE_H

#include "graph/plan.h"
#include "ops/bind.h"

struct step {
    struct ci_node *node;             /* NULL: a copy of `source` to `target` */
    const struct ci_variant *variant; /* NULL: the reference */
    int tunables[CI_MAX_TUNABLES];
    int place; /* of a copy: where it goes */
    bool fallback;
    const char *reason;
    struct ci_tensor *source, *target;
    struct ci_tensor *in[CI_MAX_INPUTS]; /* the node's inputs and outputs, or their stand-ins at this place */
    struct ci_tensor *out[CI_MAX_OUTPUTS];
    struct ci_tensor *scratch; /* working memory, or NULL */
    ci_cpu_function *function;
    struct ci_call call;
    atomic_int taken; /* for the call */
    struct ci_bound *bound;
    int32_t traced;          /* its number in the trace */
    float bytes, operations; /* of the present rows; only with a trace */
    double started, ended;   /* in the run that is under way, on the CPU; only with a trace */
};

/* Consecutive steps of one kind: one fan-out to the CPU's threads, or one run of enqueues. */
struct section {
    int place; /* -1: a copy */
    int first, count;
};

/* Consecutive steps of one device that are one launch. */
struct plan_chain {
    int first, count;
    struct ci_chain *chain;
};

/* A tensor's copy at another place than its own, made by this plan. */
struct stand_in {
    struct stand_in *next;
    const struct ci_tensor *original;
    struct ci_tensor tensor;
};

struct ci_plan {
    struct ci_store *store;
    struct ci_graph graph;
    struct ci_plan_options options;
    struct step *steps;
    int step_count, step_capacity;
    struct section *sections;
    int section_count;
    struct plan_chain *chains; /* [chain_count]; not while a trace tells of single steps */
    int chain_count;
    bool apart; /* its chains are not used for now */
    int fallbacks, stale;
    struct stand_in *stand_ins; /* in the graph's arena */
    void *host_memory;          /* activations of the CPU place */
    void *staging;              /* for copies from device to device; or NULL */
    struct ci_buffer *device_memory[CI_MAX_PLACES];
    size_t activation_bytes;
    uint8_t *input_host; /* all inputs of a run, in one block; the same block on each device that reads one */
    struct ci_buffer *input_device[CI_MAX_PLACES];
    struct ci_buffer *placeholder[CI_MAX_PLACES]; /* what arguments are bound to until memory is shared out */
    size_t input_bytes;
    int64_t rows[CI_EXTENT_COUNT];
    enum clinfer_status broken; /* the device does nothing (any more): there is no plan */
    bool ready;                 /* all steps have the arguments of `rows` */
    unsigned generation;        /* of the store, when views were last taken */
    double cpu_seconds;
    double estimate; /* seconds between two waits of a run, rather too many; for whoever watches */
    int suspect;     /* the step that verify.h compares next; -1: none */
};

/* Decides place, variant and layout of every node; builds kernels; gives weights and states their memory; inserts
 * copies. */
enum clinfer_status ci_plan_choose(struct ci_plan *plan);

/* Gives the inputs their block on the host; before anything is chosen, as it fixes their place. */
enum clinfer_status ci_plan_inputs(struct ci_plan *plan);

/* Shares out memory for activations by lifetime, and for the inputs on devices that read them. */
enum clinfer_status ci_plan_memory(struct ci_plan *plan);

/* How much that will be at each place. */
enum clinfer_status ci_plan_activation_sizes(struct ci_plan *plan, size_t bytes[CI_MAX_PLACES]);

/* Notes in which layout each weight is wanted, of those that have no place yet. */
void ci_plan_want_layouts(struct ci_plan *plan);

/* A step more, all zeros; NULL without memory. */
struct step *ci_plan_append_step(struct ci_plan *plan);

/* The two halves of a run: what is new to the devices, and the steps of one section. */
enum clinfer_status ci_plan_send_inputs(struct ci_plan *plan);
enum clinfer_status ci_plan_run_section(struct ci_plan *plan, const struct section *section);

/* Their launches get the arguments that their steps have now; without chains if that fails. */
void ci_plan_update_chains(struct ci_plan *plan);

/* The chain that begins with this step and ends before `end`, or NULL. */
struct plan_chain *ci_plan_chain_at(const struct ci_plan *plan, int step, int end);

/* What proved wrong at a place (`call` tells types and layouts) is not chosen again by this engine, nor, with `keep`
 * and until driver or kernel change, by any other. */
void ci_plan_ban(struct ci_plan *plan, int place, const struct ci_variant *variant, const int *tunables,
                 const struct ci_call *call, const char *reason, bool keep);

/* The call of a step for the plan's present rows. */
void ci_plan_call(const struct ci_plan *plan, const struct step *step, struct ci_call *call);

#endif
