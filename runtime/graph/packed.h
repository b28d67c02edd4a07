/* packed.h: weights in the layouts that kernels want, kept on disk for the next start, which maps them: without that it
 * reads all of the model's file and packs it into new memory, which takes longer than a small model's first answer.
 *
 * One file for each model file in $XDG_CACHE_HOME/clinfer/packed, named after what its bytes depend on: the model
 * file's identity and the code that packs. It is made by the first start, in place of memory, gets its name when it is
 * whole, and is never changed after that. Each weight has a sum, by which it is checked when it is taken: a power cut
 * may leave anything. What a later start wants beside is packed into memory; if that is most of it, the file is made
 * anew by the next one.
 *
 * Nothing of it is ever an error: what is not there is packed into memory. The folder takes no more than a quarter of
 * what its volume has free; the models not used for longest go first. Disks of other machines get none. */
#ifndef CI_GRAPH_PACKED_H
#define CI_GRAPH_PACKED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "graph/graph.h"
#include "types/layout.h"

struct ci_packed;

/* `model`: its path; `identity`: of its bytes (ci_file.identity of all its files); `bytes`: how many they are. All are
 * copied, `threads` stay the caller's. NULL: nothing is kept of this
 * model: it is small, or was written just now, or there is no cache. */
struct ci_packed *ci_packed_open(const char *model, uint64_t identity, uint64_t bytes, struct ci_threads *threads);

/* The weight's bytes in this layout, which stay until ci_packed_close(); NULL: it is not there, or damaged. */
const void *ci_packed_find(struct ci_packed *packed, const struct ci_tensor *weight, const struct ci_layout *layout);

/* Room for a weight that was not found: where its bytes will be seen, and at which offset of the file they go. NULL:
 * there is none. Then ci_packed_put() by any threads, for all of its bytes (NULL: there was no memory for them), and
 * ci_packed_added(); false: they could not all be written, and are not there. */
const void *ci_packed_add(struct ci_packed *packed, const struct ci_tensor *weight, const struct ci_layout *layout,
                          uint64_t *at);
void ci_packed_put(struct ci_packed *packed, uint64_t at, const void *bytes, size_t count);
bool ci_packed_added(struct ci_packed *packed);

/* What was added is there for the next start. Only once it is known that the model's file was whole while it was read.
 */
void ci_packed_finish(struct ci_packed *packed);

/* stays_mapped: a device that is lost may still read what was taken from here. */
void ci_packed_close(struct ci_packed *packed, bool stays_mapped);

/* ---- for people ---- */

struct ci_packed_file {
    const char *path, *model; /* model: "" where the file is none of ours, or not whole */
    uint64_t bytes;           /* on the disk */
    int64_t used;             /* seconds since 1970 */
    bool model_is_there;
    int weights;
};
typedef void ci_packed_callback(void *user, const struct ci_packed_file *file);

/* Every file of the folder, in no order. */
enum clinfer_status ci_packed_list(ci_packed_callback *callback, void *user);

/* Removes them all; *freed: bytes on the disk. */
enum clinfer_status ci_packed_clear(uint64_t *freed);

#endif
