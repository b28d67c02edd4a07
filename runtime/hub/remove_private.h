/* remove_private.h: what the files of remove.h share. */
#ifndef CI_HUB_REMOVE_PRIVATE_H
#define CI_HUB_REMOVE_PRIVATE_H

#include "hub/cache_private.h"
#include "hub/remove.h"

/* All of these are false when memory is out. Texts are copied. */
bool ci_removal_add(struct ci_removal *removal, enum ci_removal_kind kind, const char *root, const char *path,
                    uint64_t bytes);
bool ci_removal_touch(struct ci_removal *removal, const char *cache, const char *repo, const char *commit);
bool ci_removal_note(struct ci_removal *removal, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What goes of the disk with a file: holes and what has other names too are nothing. */
uint64_t ci_removal_size(const struct stat *own);

/* A model of the Hub's layout (remove_repo.c). */
enum clinfer_status ci_removal_of_repo(const struct ci_hub_settings *settings, const struct ci_stored *model,
                                       struct ci_removal *removal);

/* Whether the folder that a path lies in is, links resolved, `root` or below it. */
bool ci_removal_is_inside(const char *root, const char *path);

/* The locks of a repo, held until ci_repo_unlock. `path` NULL: free; else the lock that another process holds, or the
 * part that it writes; the caller frees it. */
enum { CI_REPO_LOCKS = 64 };
struct ci_repo_locks {
    int descriptors[CI_REPO_LOCKS];
    size_t count;
    char *busy;
};
void ci_repo_lock(const char *cache, const char *repo, struct ci_repo_locks *locks);
void ci_repo_unlock(struct ci_repo_locks *locks);

/* What has become empty goes: the snapshots `commits` of the removal, their refs, and the repo's folder. */
void ci_repo_tidy(const struct ci_removal *removal, const char *cache, const char *repo);

/* A snapshot's files and links, of all snapshots of a repo. */
struct ci_repo_entry {
    char *path;
    char commit[CI_HUB_COMMIT_BYTES];
    const char *file; /* in `path` */
    struct stat own, info;
    bool there, goes;
    int why;
};
struct ci_repo_entries {
    struct ci_repo_entry *items;
    size_t count, capacity;
    size_t prefix; /* of paths: length of CACHE/models--user--repo/snapshots/ */
};
/* false: out of memory. Free in any case. */
bool ci_repo_read(const char *cache, const char *repo, struct ci_repo_entries *entries);
void ci_repo_free(struct ci_repo_entries *entries);

/* Ends with one of ours: an unfinished download, or its record (hub/part.h). */
bool ci_removal_is_part(const char *name);

/* What stands beside a model's weights and is of no use without them: config.json, tokenizers, README.md. */
bool ci_removal_is_companion(const char *name);

#endif
