/* cache_write.c: what appears in the Hub's layout. Everything is made beside and renamed into place, so that readers
 * see the old or the new; temporary names lie in the repo's folder, since huggingface_hub takes all that lies in refs/
 * and snapshots/ for one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "hub/cache_private.h"
#include "net/digest.h"

static enum clinfer_status cannot(const char *path, const char *what, int why) {
    return ci_fail(CLINFER_IO, "%s: cannot be %s: %s; make the folder writable, or name another by HF_HUB_CACHE", path,
                   what, strerror(why));
}

static enum clinfer_status out_of_memory(const char *repo) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory, or no name for a cache", repo);
}

int ci_hub_cache_make_parents(char *path) {
    int why = 0;
    struct stat info;
    char *last = strrchr(path, '/');
    if (!last || last == path) return 0;
    *last = 0;
    if (stat(path, &info) != 0) {
        why = ci_hub_cache_make_parents(path);
        if (!why && mkdir(path, 0777) != 0 && errno != EEXIST) why = errno;
    }
    *last = '/';
    return why;
}

/* Another process may remove the empty folder between the making and the use: then once more. */
enum { TRIES = 3 };

/* The same name for every process but this, and none for anybody else. */
static char *beside(const char *cache, const char *repo) {
    static _Atomic unsigned number;
    char *folder = ci_hub_cache_folder(cache, repo), *path = NULL;
    if (folder && asprintf(&path, "%s/.clinfer.%ld.%u.tmp", folder, (long)getpid(), number++) < 0) path = NULL;
    free(folder);
    return path;
}

/* ---- links ---- */

/* ../../blobs/<digest>, one ../ more for each folder of the file. */
static char *link_text(const char *file, const char *digest) {
    char up[PATH_MAX], *text = NULL;
    size_t length = 0;
    for (const char *at = file - 1; at; at = strchr(at + 1, '/')) {
        if (length + 7 > sizeof up) return NULL;
        memcpy(up + length, "../", 4);
        length += 3;
    }
    return asprintf(&text, "%s../blobs/%s", up, digest) < 0 ? NULL : text;
}

/* A link that is there already and says the same is left alone. */
static bool says(const char *path, const char *text) {
    char there[PATH_MAX];
    ssize_t length = readlink(path, there, sizeof there);
    return length >= 0 && (size_t)length == strlen(text) && memcmp(there, text, (size_t)length) == 0;
}

/* 0, or the errno. */
static int put_link(const char *text, const char *made, char *path) {
    for (int i = 0;; i++) {
        int why = ci_hub_cache_make_parents(path);
        if (!why && symlink(text, made) != 0) why = errno;
        if (!why && rename(made, path) == 0) return 0;
        if (!why) {
            why = errno;
            unlink(made);
        }
        if (why != ENOENT || i + 1 == TRIES) return why;
    }
}

static enum clinfer_status copy_bytes(int from, const char *source, int to, const char *path) {
    char bytes[1 << 16];
    for (;;) {
        ssize_t got = read(from, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return cannot(source, "read", errno);
        if (got == 0) return fsync(to) == 0 ? CLINFER_OK : cannot(path, "written", errno);
        enum clinfer_status status = ci_file_put(to, path, bytes, (size_t)got);
        if (status != CLINFER_OK) return status;
    }
}

static enum clinfer_status put_copy(const char *blob, const char *made, char *path) {
    int from = open(blob, O_RDONLY | O_CLOEXEC), to = -1;
    if (from < 0) return cannot(blob, "read", errno);
    int why = ci_hub_cache_make_parents(path);
    if (!why) to = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    enum clinfer_status status = to < 0 ? cannot(path, "written", why ? why : errno) : copy_bytes(from, blob, to, made);
    close(from);
    if (to >= 0 && close(to) != 0 && status == CLINFER_OK) status = cannot(path, "written", errno);
    if (status == CLINFER_OK && rename(made, path) != 0) status = cannot(path, "written", errno);
    if (status != CLINFER_OK && to >= 0) unlink(made);
    return status;
}

/* The bytes themselves at the place of the link: moved, unless they are needed where they are. */
static enum clinfer_status put_bytes(const char *cache, const char *repo, const char *blob, const char *made,
                                     char *path) {
    struct stat info, there;
    if (lstat(blob, &info) != 0) return cannot(blob, "found", errno);
    if (lstat(path, &there) == 0 && S_ISREG(there.st_mode) && there.st_size == info.st_size &&
        there.st_dev == info.st_dev && there.st_ino == info.st_ino)
        return CLINFER_OK;
    if (!S_ISREG(info.st_mode) || ci_hub_cache_is_linked(cache, repo, &info)) return put_copy(blob, made, path);
    int why = ci_hub_cache_make_parents(path);
    if (!why && rename(blob, path) != 0) why = errno;
    return why ? cannot(path, "written", why) : CLINFER_OK;
}

/* What a file system without links says of them. */
static bool has_no_links(int why) { return why == EPERM || why == EOPNOTSUPP || why == ENOSYS || why == EINVAL; }

enum clinfer_status ci_hub_cache_link(const char *cache, const char *repo, const char *commit, const char *file,
                                      const char *digest, bool no_symlinks) {
    if (!ci_hub_cache_is_commit(commit) || !ci_hub_cache_is_path(file) || !ci_hub_cache_is_path(digest) ||
        strchr(digest, '/') || !ci_hub_cache_is_repo(repo))
        return ci_fail(CLINFER_BAD_FILE, "%s@%s: %s (%s): no such name may become a file; nothing is written", repo,
                       commit, file, digest);
    char *path = ci_hub_cache_file(cache, repo, "/snapshots", commit, file), *text = link_text(file, digest);
    char *blob = ci_hub_cache_blob(cache, repo, digest), *made = beside(cache, repo);
    enum clinfer_status status = CLINFER_OK;
    struct stat info;
    int why = 0;
    if (!path || !text || !blob || !made) {
        status = out_of_memory(repo);
    } else if (stat(blob, &info) != 0) {
        status = cannot(blob, "linked to", errno);
    } else {
        bool linked = !no_symlinks && (says(path, text) || !(why = put_link(text, made, path)));
        if (!linked && (no_symlinks || has_no_links(why)))
            status = put_bytes(cache, repo, blob, made, path);
        else if (!linked)
            status = cannot(path, "written", why);
    }
    free(path);
    free(text);
    free(blob);
    free(made);
    return status;
}

/* ---- refs ---- */

static enum clinfer_status put_ref(const char *path, const char *made, const char *commit) {
    int to = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (to < 0) return cannot(path, "written", errno);
    enum clinfer_status status = ci_file_put(to, made, commit, CI_HUB_COMMIT_BYTES - 1);
    if (status == CLINFER_OK && fsync(to) != 0) status = cannot(path, "written", errno);
    if (close(to) != 0 && status == CLINFER_OK) status = cannot(path, "written", errno);
    if (status == CLINFER_OK && rename(made, path) != 0) status = cannot(path, "written", errno);
    if (status != CLINFER_OK) unlink(made);
    return status == CLINFER_OK ? ci_file_sync_folder(path) : status;
}

/* Exactly so: what has a line break behind it is written anew. */
static bool is_so(const char *path, const char *commit) {
    char *text = NULL;
    size_t length = 0;
    bool same = ci_file_read(path, CI_HUB_COMMIT_BYTES * 2, &text, &length) == CLINFER_OK &&
                length == CI_HUB_COMMIT_BYTES - 1 && memcmp(text, commit, length) == 0;
    free(text);
    return same;
}

enum clinfer_status ci_hub_cache_set_ref(const char *cache, const char *repo, const char *revision,
                                         const char *commit) {
    if (strcmp(revision, commit) == 0) return CLINFER_OK;
    char *path = ci_hub_cache_is_path(revision) ? ci_hub_cache_file(cache, repo, "", "refs", revision) : NULL;
    char *made = beside(cache, repo);
    enum clinfer_status status;
    if (!path || !made || !ci_hub_cache_is_commit(commit)) {
        status = out_of_memory(repo);
    } else if (is_so(path, commit)) {
        status = CLINFER_OK;
    } else {
        int why = ci_hub_cache_make_parents(path);
        status = why ? cannot(path, "written", why) : put_ref(path, made, commit);
    }
    free(path);
    free(made);
    return status;
}
