/* find.h: which model a word means, of those that are on this machine. Nothing is asked of the net.
 *
 * In this order: an existing path; the own models folder, by a path from there or the name alone, with or without
 * ".gguf", or by a folder that holds one model; then by what kind of a name it is: an alias or a name or link of the
 * Hub in all caches of the Hub's layout (LLAMA_CACHE's first) and in the stores of others that know repos,
 * "ollama:NAME" in Ollama's store, and a bare file name anywhere. What the Hub would have in addition is never asked
 * for: `clinfer pull` does that. */
#ifndef CI_HUB_FIND_H
#define CI_HUB_FIND_H

#include "hub/name.h"
#include "hub/settings.h"

struct ci_hub_found {
    char *path;        /* what is opened */
    char *name;        /* as one types it: a path, or the name in its store */
    const char *store; /* "models", "hub", "ollama", ...; NULL: a path */
};

/* Free `found` in any case. CLINFER_NOT_FOUND: the message names near names and what to do; where `clinfer pull` could
 * fetch it, `missing` says what (its `repo` or `url` is not empty). CLINFER_INVALID_ARGUMENT: several that differ, or
 * no name at all; CLINFER_UNSUPPORTED, CLINFER_IO: what is there cannot be a model (format/kind.h). */
enum clinfer_status ci_hub_find(const struct ci_hub_settings *settings, const char *wanted, struct ci_hub_found *found,
                                struct ci_hub_name *missing);

/* The same of what is a name for sure, never a path: as `-hf` gives it. */
enum clinfer_status ci_hub_find_name(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                     struct ci_hub_found *found);
void ci_hub_found_free(struct ci_hub_found *found);

/* A file, whatever is in it, or a folder with SafeTensors. */
bool ci_hub_is_model(const char *path);

#endif
