/* pull.h: a model by name onto this machine: which commit and which files it has, which of these are meant and why,
 * what is there already, the rest by download.h; then links, and refs last, so that what is not whole is never listed.
 *
 * A model of the Hub goes into the Hub's cache. One of Ollama's registry, or of any other address, goes into the own
 * models folder: Ollama's store is another program's and only read, so that its rules stay its own; where that store
 * has the blob already, the file in the models folder is a link to it. */
#ifndef CI_HUB_PULL_H
#define CI_HUB_PULL_H

#include "hub/hub.h"
#include "hub/name.h"

struct ci_hub_pull_options {
    bool tokenizer_only;             /* tokenizer_chain.h */
    uint64_t memory_bytes;           /* what a model may take here; 0: asked of the machine */
    bool (*runs)(const char *quant); /* whether clinfer runs a quant ("Q4_K_M"); NULL: ci_hub_quant_runs */
};

struct ci_hub_pulled {
    char *path;              /* what -m takes: a file, or a folder of SafeTensors; the tokenizer with tokenizer_only */
    char *name;              /* as one types it: "user/repo:Q4_K_M" */
    uint64_t bytes, fetched; /* of the files; that came over the net now */
    size_t files, fetched_files;
};

/* Free `pulled` in any case. Statuses: those of hub.h, choose.h and download.h; with settings->offline, and where the
 * Hub cannot be reached, what is cached is used, and that is said. */
enum clinfer_status ci_hub_pull(struct ci_hub *hub, const struct ci_hub_name *name,
                                const struct ci_hub_pull_options *options, struct ci_hub_pulled *pulled);
void ci_hub_pulled_free(struct ci_hub_pulled *pulled);

/* Where a model of Ollama's registry or of an address lies, or would lie, in the models folder; the caller frees it.
 * NULL: out of memory, no models folder, or the address names no .gguf file. */
char *ci_hub_pull_target(const struct ci_hub_settings *settings, const struct ci_hub_name *name);

/* Whether what lies there is a file of the same name that was pulled from another address. */
bool ci_hub_pull_is_other(const char *target, const struct ci_hub_name *name);

#endif
