/* cache.h: the Hub's layout on disk, as huggingface_hub and llama.cpp write it, read and written:
 *
 *     models--user--repo/blobs/<digest>             the bytes; SHA-256, or git's SHA-1 for small files
 *     models--user--repo/snapshots/<commit>/<path>  a link to them, or they themselves where links do not work
 *     models--user--repo/refs/<branch or tag>       the commit, exactly 40 bytes
 *     .locks/models--user--repo/<digest>.lock       flock(2) while a blob is fetched
 *
 * Everything is resolved by stat(2) and never by what a link says, so absolute links, links through links and blobs
 * that lie elsewhere are as good as the usual ones, and a link that leads nowhere is absent. Names come from the net:
 * each is checked before it becomes a path. Other programs write here at the same time; what is made appears by
 * rename(2). */
#ifndef CI_HUB_CACHE_H
#define CI_HUB_CACHE_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/settings.h"

enum { CI_HUB_COMMIT_BYTES = 41 };

/* Paths; the caller frees. `cache` is settings->cache or one of settings->caches. NULL: out of memory, or the names are
 * none that may become a path (ci_hub_cache_is_repo, ci_hub_cache_is_path). */
char *ci_hub_cache_folder(const char *cache, const char *repo);                   /* models--user--repo */
char *ci_hub_cache_blob(const char *cache, const char *repo, const char *digest); /* its blobs/<digest> */
char *ci_hub_cache_lock(const char *cache, const char *repo, const char *digest); /* .locks/.../<digest>.lock */
char *ci_hub_cache_snapshot(const char *cache, const char *repo, const char *commit);

/* "user/repo" or "repo": no more '/', no ".." and no '/' at an end. Laxer than the Hub's rule, for caches of others. */
bool ci_hub_cache_is_repo(const char *repo);
/* Relative, without "." and ".." and empty parts and control characters: it cannot leave the folder. */
bool ci_hub_cache_is_path(const char *path);
bool ci_hub_cache_is_commit(const char *text); /* 40 hexadecimal digits */

/* "user/repo" of "models--user--repo": false for what is no folder of a model. */
bool ci_hub_cache_repo_of(const char *folder, char *repo, size_t size);

/* The commit of a revision: of refs/, or itself, or the only snapshot that begins with these hexadecimal digits (at
 * least seven). "main" without refs/main is the newest snapshot. CLINFER_NOT_FOUND; there may be no snapshot of it. */
enum clinfer_status ci_hub_cache_commit(const char *cache, const char *repo, const char *revision,
                                        char commit[CI_HUB_COMMIT_BYTES]);

/* A file of a snapshot; the caller frees *path. CLINFER_NOT_FOUND: absent, also by a link that leads nowhere. */
enum clinfer_status ci_hub_cache_find(const char *cache, const char *repo, const char *commit, const char *file,
                                      char **path);

/* Makes the folders above a path in a cache, as the umask wants them: caches are shared by users. 0 or an errno; `path`
 * is as before when it returns. */
int ci_hub_cache_make_parents(char *path);

/* Whether .no_exist says that the commit has no such file. */
bool ci_hub_cache_is_absent(const char *cache, const char *repo, const char *commit, const char *file);

/* snapshots/<commit>/<file> becomes a relative link to blobs/<digest>, which must be there; where links do not work or
 * are not wanted (HF_HUB_DISABLE_SYMLINKS) the blob itself moves there, or a copy if another snapshot needs it. What
 * was there is replaced. CLINFER_IO; CLINFER_BAD_FILE: a name that is none of a file. */
enum clinfer_status ci_hub_cache_link(const char *cache, const char *repo, const char *commit, const char *file,
                                      const char *digest, bool no_symlinks);

/* refs/<revision>, which is then seen by all: written last. The snapshot has to be there. Nothing is written where it
 * says so already, or where the revision is the commit. CLINFER_IO. */
enum clinfer_status ci_hub_cache_set_ref(const char *cache, const char *repo, const char *revision, const char *commit);

/* A whole file of this digest and size in any repo of any cache, or in Ollama's store; the caller frees it. NULL: there
 * is none. Its name says what is in it: nothing is read. */
char *ci_hub_find_digest(const struct ci_hub_settings *settings, const char *digest, uint64_t size);

#endif
