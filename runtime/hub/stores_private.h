/* stores_private.h: what the stores' files share: the list that they fill, and the walk through folders that people and
 * programs keep models in. */
#ifndef CI_HUB_STORES_PRIVATE_H
#define CI_HUB_STORES_PRIVATE_H

#include <jansson.h>

#include "hub/stores.h"

struct ci_store_list {
    const struct ci_hub_settings *settings;
    const char *store; /* whose turn it is */
    struct ci_stored *items;
    size_t count, capacity;
};

/* Adds one and takes its texts over, whatever is returned; `store` is filled in. Names and paths may not be NULL, which
 * is what an asprintf that failed leaves. false: out of memory. */
bool ci_store_add(struct ci_store_list *list, struct ci_stored *model);

/* asprintf, but NULL where memory is out. */
char *ci_store_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* *path: $VARIABLE/rest, or $HOME/otherwise/rest where that is not set or not absolute; NULL: neither is. The caller
 * frees it. false: out of memory. */
bool ci_store_home(const char *variable, const char *otherwise, const char *rest, char **path);

/* Whether two paths, NULL or not, are of the same folder or file. */
bool ci_store_is_same(const char *left, const char *right);

/* The digest that a path or one of the links behind it leads to: the name of a blob of the Hub's or of Ollama's; "" if
 * there is none. */
void ci_store_digest_of(const char *path, char digest[CI_DIGEST_BYTES]);

/* Whether text[0..length) are hexadecimal digits. */
bool ci_store_is_hex(const char *text, size_t length);

/* A file of JSON that a store keeps, at most 1 MiB; *object is the caller's, NULL: there is none, or it is damaged (no
 * failure: it is another program's). false: out of memory. */
bool ci_store_json(const char *path, json_t **object);

/* Ollama's folders that are there, NULL behind the last; the caller frees them and the list. NULL: out of memory. */
char **ci_store_ollama_roots(void);

/* Whether llama.cpp fetched this file into its older cache: there is a .json or an .etag beside it. */
bool ci_store_is_old_llama_cpp(const char *path);

/* NAME-00002-of-00003.EXTENSION, which the name ends with: the length of NAME, and how many there are; 0: not split. */
size_t ci_store_split(const char *name, const char *extension, size_t *count);

/* Whether a .gguf is `first` or one of the same split model, by their paths. */
bool ci_store_is_part(const char *first, const char *path);

/* A model that a walk has found. */
struct ci_store_found {
    const char *path;  /* of the file, the first part that is there, or the folder */
    const char *below; /* the same from the root of the walk; "" is the root */
    bool folder;       /* SafeTensors */
    size_t parts, missing;
    bool whole;
    uint64_t bytes;
    int64_t modified;
    dev_t device;
    ino_t number;
};

/* A walk through a folder: *.gguf in whatever case, where they may be models (hub/quant.h), split ones as one, and
 * folders with *.safetensors; first what lies in a folder, then what lies below it, by names. Links are followed, but a
 * folder is looked into once, by whatever ways one gets there; what is hidden is not there, and neither is what a link
 * that leads nowhere is called. */
struct ci_store_walk {
    const char *root;
    bool root_counts; /* it may be a folder of SafeTensors itself */
    int depth;        /* how many folders below the root; 0: CI_STORE_DEPTH */
    /* Whether a folder is not to be looked into; `below` is its path from the root. May be NULL. */
    bool (*skips)(void *user, const char *below);
    /* false ends the walk: memory is out. */
    bool (*found)(void *user, const struct ci_store_found *found);
    void *user;
};
/* What is beyond them is not found, with a warning: links may lead to anything. */
enum { CI_STORE_DEPTH = 8, CI_STORE_FOLDERS = 4096, CI_STORE_ENTRIES = 1 << 16 };

/* false: out of memory. A root that is not there has nothing in it; one that cannot be read is a warning. */
bool ci_store_walk(const struct ci_store_walk *walk);

/* What a walk has found, as a model without names yet: all but `name`, `repo`, `revision` and `file`. */
struct ci_stored ci_store_from(const char *root, const struct ci_store_found *found);

#define CI_STORE(id, name, title, ours) bool ci_store_scan_##id(struct ci_store_list *list);
#include "hub/store_list.inc"
#undef CI_STORE

#endif
