/* twin.h: the same file elsewhere on this machine. Blobs of the Hub's caches and of Ollama are called by their digest;
 * other stores, and caches without links, have files by their names. One of the same name and size is probably the
 * same: its digest, a second for a gigabyte or two, is cheaper than a download. */
#ifndef CI_HUB_TWIN_H
#define CI_HUB_TWIN_H

#include "hub/hub.h"

/* The path of a file with file->digest, the caller's; NULL: there is none, or the pull was cancelled. */
char *ci_hub_find_twin(struct ci_hub *hub, const struct ci_hub_file *file);

#endif
