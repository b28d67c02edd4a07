/* cache.c: see cache.h. */
#define _GNU_SOURCE
#include "hub/cache.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/narrow.h"
#include "base/status.h"
#include "hub/cache_private.h"
#include "net/digest.h"

static const char prefix[] = "models--";

enum { REF_BYTES = 64, SHORTEST_COMMIT = 7 };

/* ---- names ---- */

bool ci_hub_cache_is_path(const char *path) {
    if (!*path) return false;
    for (const char *part = path;; part++) {
        size_t length = strcspn(part, "/");
        if (!length || length > NAME_MAX || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        for (size_t i = 0; i < length; i++)
            if ((unsigned char)part[i] < 32 || part[i] == 127) return false;
        part += length;
        if (!*part) return true;
    }
}

bool ci_hub_cache_is_repo(const char *repo) {
    const char *slash = strchr(repo, '/');
    return ci_hub_cache_is_path(repo) && repo[0] != '.' && !(slash && strchr(slash + 1, '/')) && !strstr(repo, "--");
}

bool ci_hub_cache_is_commit(const char *text) {
    return strlen(text) == CI_HUB_COMMIT_BYTES - 1 && ci_hub_cache_is_hex(text);
}

bool ci_hub_cache_is_hex(const char *text) { return text[strspn(text, "0123456789abcdef")] == 0; }

bool ci_hub_cache_repo_of(const char *folder, char *repo, size_t size) {
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0) return false;
    const char *name = folder + sizeof prefix - 1, *mark = strstr(name, "--");
    size_t first = mark ? (size_t)(mark - name) : strlen(name);
    int length =
        snprintf(repo, size, "%.*s%s%s", ci_shown(first, NAME_MAX), name, mark ? "/" : "", mark ? mark + 2 : "");
    return length > 0 && (size_t)length < size && ci_hub_cache_is_path(repo);
}

/* ---- paths ---- */

/* One '/' at most. */
static bool is_repo_path(const char *repo) {
    const char *slash = strchr(repo, '/');
    return ci_hub_cache_is_path(repo) && !(slash && strchr(slash + 1, '/'));
}

/* models--user--repo */
static char *folder_name(const char *repo) {
    char *name = NULL;
    if (!is_repo_path(repo)) return NULL;
    const char *slash = strchr(repo, '/');
    int length =
        slash ? asprintf(&name, "%s%.*s--%s", prefix, ci_shown((size_t)(slash - repo), NAME_MAX), repo, slash + 1)
              : asprintf(&name, "%s%s", prefix, repo);
    return length < 0 ? NULL : name;
}

/* CACHE[/below]/models--user--repo[/inner][/name][ending], the name being a path that was checked. */
static char *path_of(const char *cache, const char *below, const char *repo, const char *inner, const char *name,
                     const char *ending) {
    char *path = NULL, *folder = folder_name(repo);
    bool fine = folder && (!*name || ci_hub_cache_is_path(name));
    if (fine && asprintf(&path, "%s%s/%s%s%s%s%s", cache, below, folder, inner, *name ? "/" : "", name, ending) < 0)
        path = NULL;
    free(folder);
    return path;
}

char *ci_hub_cache_folder(const char *cache, const char *repo) { return path_of(cache, "", repo, "", "", ""); }

char *ci_hub_cache_blob(const char *cache, const char *repo, const char *digest) {
    return strchr(digest, '/') ? NULL : path_of(cache, "", repo, "/blobs", digest, "");
}

char *ci_hub_cache_lock(const char *cache, const char *repo, const char *digest) {
    return strchr(digest, '/') ? NULL : path_of(cache, "/.locks", repo, "", digest, ".lock");
}

char *ci_hub_cache_snapshot(const char *cache, const char *repo, const char *commit) {
    return strchr(commit, '/') ? NULL : path_of(cache, "", repo, "/snapshots", commit, "");
}

/* The folder named by `inner`, a commit and a file in it. */
char *ci_hub_cache_file(const char *cache, const char *repo, const char *inner, const char *commit, const char *file) {
    char *name = NULL, *path = NULL;
    if (strchr(commit, '/') || !ci_hub_cache_is_path(file)) return NULL;
    if (asprintf(&name, "%s/%s", commit, file) < 0) return NULL;
    path = path_of(cache, "", repo, inner, name, "");
    free(name);
    return path;
}

/* ---- which commit ---- */

static enum clinfer_status no_revision(const char *cache, const char *repo, const char *revision) {
    return ci_fail(CLINFER_NOT_FOUND, "%s@%s: not in the cache (%s)", repo, revision, cache);
}

static enum clinfer_status out_of_memory(const char *repo) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", repo);
}

/* Whether a ref's file says a commit. Some write a line break behind it. */
static enum clinfer_status read_ref(const char *path, char commit[CI_HUB_COMMIT_BYTES]) {
    char *text = NULL;
    size_t length = 0;
    enum clinfer_status status = ci_file_read(path, REF_BYTES, &text, &length);
    if (status != CLINFER_OK) return status == CLINFER_OUT_OF_MEMORY ? status : CLINFER_NOT_FOUND;
    char *begin = text, *end = text + strlen(text);
    while (isspace((unsigned char)*begin)) begin++;
    while (end > begin && isspace((unsigned char)end[-1])) *--end = 0;
    bool fine = ci_hub_cache_is_commit(begin);
    if (fine) memcpy(commit, begin, CI_HUB_COMMIT_BYTES);
    free(text);
    return fine ? CLINFER_OK : CLINFER_NOT_FOUND;
}

/* The newest snapshot that begins as `begin` does; *count of them there are. */
static void newest(const char *snapshots, const char *begin, char commit[CI_HUB_COMMIT_BYTES], int *count) {
    DIR *stream = opendir(snapshots);
    struct timespec latest = {0};
    *count = 0;
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
        struct stat info;
        if (!ci_hub_cache_is_commit(entry->d_name) || strncmp(entry->d_name, begin, strlen(begin)) != 0 ||
            fstatat(dirfd(stream), entry->d_name, &info, 0) != 0 || !S_ISDIR(info.st_mode))
            continue;
        bool later = info.st_mtim.tv_sec > latest.tv_sec ||
                     (info.st_mtim.tv_sec == latest.tv_sec && info.st_mtim.tv_nsec > latest.tv_nsec);
        if ((*count)++ && !later) continue;
        latest = info.st_mtim;
        memcpy(commit, entry->d_name, CI_HUB_COMMIT_BYTES);
    }
    if (stream) closedir(stream);
}

enum clinfer_status ci_hub_cache_commit(const char *cache, const char *repo, const char *revision,
                                        char commit[CI_HUB_COMMIT_BYTES]) {
    if (ci_hub_cache_is_commit(revision)) {
        memcpy(commit, revision, CI_HUB_COMMIT_BYTES);
        return CLINFER_OK;
    }
    if (!is_repo_path(repo) || !ci_hub_cache_is_path(revision)) return no_revision(cache, repo, revision);
    char *ref = path_of(cache, "", repo, "/refs", revision, "");
    char *snapshots = path_of(cache, "", repo, "/snapshots", "", "");
    enum clinfer_status status = ref && snapshots ? read_ref(ref, commit) : out_of_memory(repo);
    bool is_main = strcmp(revision, "main") == 0;
    bool is_short = strlen(revision) >= SHORTEST_COMMIT && ci_hub_cache_is_hex(revision);
    if (status == CLINFER_NOT_FOUND && (is_main || is_short)) {
        int count;
        newest(snapshots, is_main ? "" : revision, commit, &count);
        if (is_main ? count > 0 : count == 1) status = CLINFER_OK;
    }
    free(ref);
    free(snapshots);
    return status == CLINFER_NOT_FOUND ? no_revision(cache, repo, revision) : status;
}

/* ---- files ---- */

enum clinfer_status ci_hub_cache_find(const char *cache, const char *repo, const char *commit, const char *file,
                                      char **path) {
    struct stat info;
    *path = ci_hub_cache_file(cache, repo, "/snapshots", commit, file);
    if (*path && stat(*path, &info) == 0 && S_ISREG(info.st_mode)) return CLINFER_OK;
    free(*path);
    *path = NULL;
    return ci_fail(CLINFER_NOT_FOUND, "%s/%s: not in the cache (%s)", repo, file, cache);
}

bool ci_hub_cache_is_absent(const char *cache, const char *repo, const char *commit, const char *file) {
    struct stat info;
    char *path = ci_hub_cache_file(cache, repo, "/.no_exist", commit, file);
    bool absent = path && stat(path, &info) == 0;
    free(path);
    return absent;
}
