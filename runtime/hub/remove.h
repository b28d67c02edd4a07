/* remove.h: what goes when a model is removed, and when unfinished and unused things are: first a plan, which can be
 * shown and asked about, then the doing.
 *
 * Only what lies in our own folders goes: a link that leads out of them is removed, never what it leads to, and where a
 * folder on the way is such a link, nothing is. A blob stays while another snapshot, repo or name needs it. What
 * another process is fetching stays: its lock is looked at (flock(2), as huggingface_hub and clinfer take it). */
#ifndef CI_HUB_REMOVE_H
#define CI_HUB_REMOVE_H

#include "hub/stores.h"

enum ci_removal_kind {
    CI_REMOVAL_FILE,   /* of the model; a blob of it */
    CI_REMOVAL_LINK,   /* to it; in prune: one that leads nowhere */
    CI_REMOVAL_PART,   /* of an unfinished download of ours; goes only if nobody works at it */
    CI_REMOVAL_UNUSED, /* a blob without any link */
    CI_REMOVAL_RELINK  /* a link to a link that goes: it leads to the blob itself now */
};

struct ci_removal_step {
    enum ci_removal_kind kind;
    char *root; /* which is not left */
    char *path;
    uint64_t bytes; /* on disk, that nobody else holds */
};

/* A snapshot of which something goes. */
struct ci_removal_snapshot {
    char *cache, *repo, *commit;
};

struct ci_removal {
    struct ci_removal_step *steps; /* [count] */
    size_t count, capacity;
    struct ci_removal_snapshot *snapshots; /* [snapshot_count] */
    size_t snapshot_count;
    char *notes; /* lines for people: what stays and why; NULL: none */
};

/* A model of ci_stores_scan. `force`: files placed by hand, too. CLINFER_REFUSED: it is another program's, or placed by
 * hand, or the way to it leads out of the store; the message says what to do. CLINFER_IO: another process is fetching
 * something of its repo. Free in any case. */
enum clinfer_status ci_removal_of(const struct ci_hub_settings *settings, const struct ci_stored *model, bool force,
                                  struct ci_removal *removal);

/* Unfinished downloads of ours, and links into the caches that lead nowhere. `all`: also blobs without any link, and
 * links that lead nowhere outside of the cache, whose volume may only be away. Repos that another process is working at
 * are left alone. */
enum clinfer_status ci_removal_prune(const struct ci_hub_settings *settings, bool all, struct ci_removal *removal);

/* What it would free; those of one kind. */
uint64_t ci_removal_bytes(const struct ci_removal *removal, const enum ci_removal_kind *kind);

/* Does it; folders, refs and lists of files that have become empty go, too. *freed: bytes, also when it failed.
 * CLINFER_IO: what cannot be removed, and why; what came before it is gone. */
enum clinfer_status ci_removal_do(const struct ci_removal *removal, uint64_t *freed);

void ci_removal_free(struct ci_removal *removal);

#endif
