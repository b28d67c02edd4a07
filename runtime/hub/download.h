/* download.h: one file from the net to its place, whole and right or not at all.
 *
 * Bytes go into a part beside the target (part.h), by one connection or several (transfer.h), and are hashed meanwhile
 * (hasher.h). Then fsync, rename, fsync of the folder. That nothing wrong is ever in place comes from the rename alone:
 * locks keep two pulls from doing the work twice. */
#ifndef CI_HUB_DOWNLOAD_H
#define CI_HUB_DOWNLOAD_H

#include "hub/hub.h"

struct ci_download {
    const char *url;            /* asked again whenever a signed one has expired */
    const char *authorization;  /* "Bearer ...", or NULL */
    const char *const *trusted; /* hosts besides that of `url` that may see it, NULL-terminated, or NULL */
    const char *name;           /* for messages and progress */
    const char *digest; /* 64 or 40 hexadecimal digits; "": not known: then only length and format are checked */
    uint64_t size;      /* UINT64_MAX: not known */
    const char *target; /* absolute path; folders above it are made */
    const char *lock;   /* path of a lock file, which stays; NULL: none but the part's own */
    bool gguf; /* it has to begin as GGUF does: an HTML page is told at once; without a digest all of it is looked at */
};

struct ci_downloaded {
    uint64_t fetched, resumed; /* bytes that came now; that were there from before */
    bool was_there;            /* the target itself was, or another process has made it meanwhile */
};

/* Statuses: CLINFER_IO: space (the numbers; what has come is kept), or target and part cannot be written.
 * CLINFER_BAD_FILE: digest (both values), length or format are not what was announced; nothing is kept.
 * CLINFER_CANCELLED: the part is kept. And those of ci_hub_failure_of, after which it is kept, too. */
enum clinfer_status ci_hub_download(struct ci_hub *hub, const struct ci_download *download, struct ci_downloaded *done);

#endif
