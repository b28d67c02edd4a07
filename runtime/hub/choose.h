/* choose.h: which files of a repo are the model that somebody named. Pure: a tree, a name and the memory of a machine
 * in, indices and a sentence for people out.
 *
 * Where nobody says which quant, it is the first in the order of quant.h that clinfer runs and that fits the memory;
 * what fits no memory is never fetched without being asked for. A repo without GGUF files is a folder of SafeTensors.
 * Pickles are never chosen. */
#ifndef CI_HUB_CHOOSE_H
#define CI_HUB_CHOOSE_H

#include <stddef.h>

#include "hub/hub.h"
#include "hub/quant.h"

struct ci_hub_wish {
    const char *tag;                 /* of "user/repo:TAG"; "" or NULL: the best */
    const char *file;                /* path in the repo; "" or NULL: none is said */
    uint64_t memory;                 /* bytes that a model may take; 0: not known, all fit */
    bool (*runs)(const char *quant); /* NULL: ci_hub_quant_runs */
};

struct ci_hub_choice {
    size_t *files; /* [count] indices in tree->files; the first is what -m takes, if it is no folder */
    size_t count;
    bool folder;                    /* of SafeTensors: what -m takes is the folder */
    char quant[CI_HUB_QUANT_BYTES]; /* "" where it has none */
    uint64_t bytes;                 /* of all of them */
    char reason[768];               /* why these, a clause; "" where nothing was to be chosen */
    char warning[768];              /* what may go wrong with them, or "" */
};

/* CLINFER_NOT_FOUND: no such quant or file, lists what there is with sizes; no model at all. CLINFER_UNSUPPORTED: a
 * quant that clinfer does not run; pickles; a file that is no model. CLINFER_OUT_OF_MEMORY: nothing fits the machine's
 * memory (it says how to take it nevertheless), or ours is out. Free the choice in any case. */
enum clinfer_status ci_hub_choose(const struct ci_hub_tree *tree, const struct ci_hub_wish *wish,
                                  struct ci_hub_choice *choice);
void ci_hub_choice_free(struct ci_hub_choice *choice);

/* Bytes of memory that a model of so many bytes takes at least: its weights, a cache and the activations of a short
 * context. An estimate by its size alone. */
uint64_t ci_hub_needed(uint64_t bytes);

enum { CI_HUB_SIZE_BYTES = 32 }; /* of ci_hub_size_text's texts */

/* Adds files of the tree that belong to a tokenizer and lie in `folder` of it ("" or "a/b/"): tokenizer.json,
 * tokenizer.model and what says how they are used. How many; 0: neither of the first two is there. */
size_t ci_hub_choose_tokenizer(const struct ci_hub_tree *tree, const char *folder, struct ci_hub_choice *choice);

#endif
