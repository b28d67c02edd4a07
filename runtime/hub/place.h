/* place.h: one file from any server to a place of its own in the models folder. Where it came from stands beside it, in
 * a hidden file, so that a newer version is told from a file that somebody has put there. */
#ifndef CI_HUB_PLACE_H
#define CI_HUB_PLACE_H

#include "hub/pull.h"

struct ci_hub_placing {
    const char *url, *authorization; /* as ci_download has them */
    const char *name;                /* for messages */
    const char *source;        /* what it is called there, whatever its bytes are: an address, "ollama:llama3.2:1b" */
    const char *digest, *etag; /* "": not known */
    uint64_t size;             /* UINT64_MAX: not known */
    const char *target;
};

/* Adds to the counts of *pulled. CLINFER_REFUSED: another file of that name lies there, which no pull has brought, or
 * one from another address; and those of ci_hub_download. */
enum clinfer_status ci_hub_place(struct ci_hub *hub, const struct ci_hub_placing *placing,
                                 struct ci_hub_pulled *pulled);

/* Whether a pull has put the file there from another source than this one. */
bool ci_hub_place_is_other(const char *target, const char *source);

/* The file beside `target` that says where it came from, "FOLDER/.NAME.source.json"; the caller frees it. NULL: out of
 * memory. */
char *ci_hub_place_note(const char *target);

#endif
