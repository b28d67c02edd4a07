/* stores.h: every model that is already on this machine: our own folder, the Hub's cache, llama.cpp's older one,
 * Ollama's, LM Studio's, GPT4All's, Jan's. One file store_<name>.c and one line in store_list.inc each.
 *
 * They are found by existence, and listed by what the file system says: names, sizes and links. No model file is
 * opened, so that a list of hundreds takes milliseconds; whether one runs is asked of it by name. All but our own
 * folder and the Hub's cache belong to other programs and are only read. */
#ifndef CI_HUB_STORES_H
#define CI_HUB_STORES_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hub/settings.h"
#include "net/digest.h"

/* The same bytes somewhere else. */
struct ci_stored_place {
    const char *store;
    char *name, *path;
};

struct ci_stored {
    char *name;        /* as one types it: "user/repo:Q4_K_M", "ollama:llama3.2:1b", "smollm2.gguf" */
    char *path;        /* what is opened: a .gguf (of split ones the first part that is there), a SafeTensors folder */
    const char *store; /* "models", "hub", "llama.cpp", "ollama", "lm-studio", "gpt4all", "jan" */
    char *root;        /* the store's folder that it is in */
    char *repo;        /* "user/repo" where the store tells it, or NULL */
    char *revision;    /* the Hub's commit, or NULL */
    char *file;        /* path in the repo, "" for a folder of SafeTensors; NULL without a repo */
    char digest[CI_DIGEST_BYTES]; /* of the file at `path`, where the name of the blob tells it, else "" */
    uint64_t bytes;               /* of all parts that are there */
    int64_t modified;             /* the newest of them; seconds since 1970 */
    size_t parts, missing;        /* files of weights that belong to it; how many of them are not there */
    bool whole;                   /* false: something is missing; never to be offered as available */
    bool folder;                  /* SafeTensors */
    bool removable;               /* the Hub's layout, or pulled: what is removed can be fetched again */
    bool placed;                  /* by hand, in a folder of ours */
    dev_t device;                 /* with `number`: which file `path` is, by whatever name */
    ino_t number;
    struct ci_stored_place *places; /* [place_count] */
    size_t place_count;
};

/* All of them, one for the same bytes in several stores (or twice in one): the first in the order of store_list.inc has
 * the others among its places. Free in any case. CLINFER_OUT_OF_MEMORY. A store that cannot be read is a warning. */
enum clinfer_status ci_stores_list(const struct ci_hub_settings *settings, struct ci_stored **models, size_t *count);

/* Each place by itself, in the order in which they are found; of one store only, NULL: of all. */
enum clinfer_status ci_stores_scan(const struct ci_hub_settings *settings, const char *store, struct ci_stored **models,
                                   size_t *count);

void ci_stores_free(struct ci_stored *models, size_t count);

/* Notes at a file of the models folder that clinfer fetched it: `rm` then removes it without --force. `from` is shown
 * to nobody but holds no secrets either. Where the file system keeps no such notes, it is as if placed by hand. */
void ci_store_mark(const char *path, const char *from);

/* What a store is called in sentences: "Ollama", "the Hub's cache"; and whether clinfer may remove from it at all. */
const char *ci_store_title(const char *store);
bool ci_store_is_ours(const char *store);

#endif
