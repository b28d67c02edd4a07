/* lock.h: one pull of a file at a time, by flock(2), as huggingface_hub does it.
 *
 * Locks are advisory, and some file systems have none: they save work, and nothing depends on them. */
#ifndef CI_HUB_LOCK_H
#define CI_HUB_LOCK_H

#include "hub/hub.h"

struct ci_hub_wanted {
    const char *name;   /* for messages */
    const char *target; /* what the holder makes: files beside it that begin with its name show that it moves */
    uint64_t size;      /* UINT64_MAX: not known */
};

/* Opens `path`, made with `mode` where it is not there (the folders above it too), and locks it; `writes`: to write to
 * it, too. *descriptor is the caller's to close, which lets go; -1 where the file cannot be opened or its file system
 * has no locks, with *why the errno, which is no failure. While another process has it, that is said once, and waited
 * as long as something moves, and settings->lock_seconds more: CLINFER_IO then. CLINFER_CANCELLED,
 * CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_hub_lock(struct ci_hub *hub, const char *path, unsigned mode, bool writes,
                                const struct ci_hub_wanted *wanted, int *descriptor, int *why);

#endif
