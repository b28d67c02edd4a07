/* bring.h: files of a repo's commit into the Hub's cache: what pull.h and tokenizer_chain.h have in common. */
#ifndef CI_HUB_BRING_H
#define CI_HUB_BRING_H

#include "hub/choose.h"
#include "hub/pull.h"

struct ci_hub_bringing {
    const char *repo;     /* what the user calls it: the name of the folder in the cache */
    const char *revision; /* its refs/ is written last */
    const struct ci_hub_tree *tree;
    const struct ci_hub_choice *choice;
};

/* All of choice->files, or none is linked. Files that are there already, in this cache, another one or Ollama's store,
 * are taken from there; only the others are fetched. Adds to the counts of *pulled; a failure leaves parts that the
 * next one goes on with. */
enum clinfer_status ci_hub_bring(struct ci_hub *hub, const struct ci_hub_bringing *bringing,
                                 struct ci_hub_pulled *pulled);

/* Adds one file of a repo to a tree that starts as zero, by a HEAD of the file alone: mirrors and proxies may hand out
 * files and no lists. CLINFER_NOT_FOUND: there is no such file. Free the tree in any case. */
enum clinfer_status ci_hub_tree_add(struct ci_hub *hub, const char *repo, const char *revision, const char *path,
                                    struct ci_hub_tree *tree);

/* `target` becomes the same file as `source` without a second copy of the bytes: by a hard link, else by a symbolic
 * one. Folders above it are made. false: it cannot be done here (errno). */
bool ci_hub_bring_same(const char *source, const char *target);

#endif
