/* store.h: the places where a model may run, and the memory that outlives a run there: weights and states.
 *
 * A weight has exactly one copy in memory: as stored in the file when the kernels that were chosen read that, borrowed
 * from the mapped file where the device shares memory; else packed into the layout that they want, once (packed.h),
 * after which the file's pages are let go again. */
#ifndef CI_GRAPH_STORE_H
#define CI_GRAPH_STORE_H

#include "base/threads.h"
#include "device/device.h"
#include "graph/choices.h"
#include "graph/packed.h"
#include "trace/trace.h"

enum { CI_PLACE_CPU = 0 };

/* A mapped file: page-aligned, borrowed. */
struct ci_store_file {
    const uint8_t *data;
    size_t bytes;
    int descriptor;                    /* -1: it can only be read where it is mapped */
    size_t first_piece[CI_MAX_PLACES]; /* of ci_place.file */
};

struct ci_place {
    struct ci_device *device; /* NULL: the CPU backend */
    struct ci_caps caps;
    struct ci_buffer **file; /* the mapped files in pieces of `file_piece` bytes, where the device shares memory */
    size_t file_count, file_piece;
};

struct ci_store {
    struct ci_place places[CI_MAX_PLACES];
    int place_count;
    int preferred;              /* the place that was asked for; of several devices the first */
    struct ci_choices *choices; /* borrowed; NULL: the order of the table of variants decides */
    struct ci_threads *threads;
    struct ci_trace *trace; /* borrowed; NULL: nothing is recorded */
    struct ci_store_file *files;
    size_t file_count, file_bytes;  /* bytes of all */
    struct ci_store_memory *memory; /* what ci_store_destroy frees */
    const struct ci_store *lender;  /* borrowed, or NULL: what it has packed of this model is not again */
    struct ci_packed *packed;       /* borrowed, or NULL: packed weights of an earlier start, and for the next one */
    uint8_t *chunk;                 /* packed weights go here next */
    size_t chunk_left;
    struct ci_store_copy *copies;                                     /* of weights that are read at two places */
    uint64_t weight_bytes[CI_MAX_PLACES], state_bytes[CI_MAX_PLACES]; /* for reports */
    bool caches_on_host;                                              /* no KV cache is given to a device */
    bool caches_must_move; /* a plan could not be made: what touches a KV cache cannot run on the device where it is */
    bool ran;              /* a plan has run to its end: the weights have been read once */
    unsigned generation;   /* changes whenever a tensor's bytes have moved: plans compare it */
};

/* Places 1.. are the devices in this order (none: the CPU is the only place); they stay the caller's, as do `threads`.
 */
void ci_store_init(struct ci_store *store, struct ci_device *const *devices, int device_count,
                   struct ci_threads *threads);

/* A mapped file in which weights lie: page-aligned, borrowed. */
enum clinfer_status ci_store_add_file(struct ci_store *store, const void *data, size_t bytes);

/* The file that was added last is open too: weights that are packed are read by this descriptor, borrowed, which is
 * faster than mapping each page of them for one look. */
void ci_store_read_by(struct ci_store *store, int descriptor);
void ci_store_destroy(struct ci_store *store);

/* Before that, where a device cannot be waited for: what it may still read or write of the host's memory is given up.
 */
void ci_store_abandon_host_memory(struct ci_store *store);

/* Gives the weight its bytes at `place` in `layout`. Nothing if it has a place already. */
enum clinfer_status ci_store_weight(struct ci_store *store, struct ci_tensor *weight, int place,
                                    const struct ci_layout *layout);

/* The weight as it is found at `place`: one that has its copy elsewhere (a tied output matrix whose two readers run at
 * two places) gets another there in the same layout, once for all plans. */
enum clinfer_status ci_store_weight_at(struct ci_store *store, struct ci_tensor *weight, int place,
                                       struct ci_tensor **found);

/* What is known at a place, for choices.h. */
struct ci_chooser ci_store_chooser(const struct ci_store *store, int place);

/* Gives the state view.rows rows at `place`; what they hold is undefined. */
enum clinfer_status ci_store_state(struct ci_store *store, struct ci_tensor *state, int place);

/* Takes all states their memory, and what they hold with it: plans that know them must be gone. */
void ci_store_forget_states(struct ci_store *store);

/* Makes the state `rows` long and keeps what it holds. */
enum clinfer_status ci_store_state_grow(struct ci_store *store, struct ci_tensor *state, int64_t rows);

/* Copies `rows` rows of the state from row `from` on to row `to` on, which is elsewhere; behind what is enqueued. */
enum clinfer_status ci_store_state_copy(const struct ci_store *store, const struct ci_tensor *state, int64_t from,
                                        int64_t to, int64_t rows);

#endif
