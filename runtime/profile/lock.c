/* lock.c: one writer of a profile at a time, and what a writer that was killed has left over. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "base/temporary.h"
#include "profile/profile.h"

/* `rest` is what stands behind the profile's name: CI_PROFILE_TRIAL, or what ci_file_write adds to either. */
static bool is_temporary(const char *rest) {
    size_t trial = strlen(CI_PROFILE_TRIAL);
    if (strncmp(rest, CI_PROFILE_TRIAL, trial) == 0 && (rest[trial] == '.' || !rest[trial])) rest += trial;
    return !*rest || ci_temporary_is_suffix(rest);
}

/* Only whoever holds the lock writes temporary files, so those that are there are left over. */
static void remove_leftovers(const char *path) {
    char *folder = strdup(path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) *slash = '\0';
    DIR *directory = slash ? opendir(folder) : NULL;
    const char *name = slash ? slash + 1 : "";
    size_t length = strlen(name);
    for (const struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
        if (strncmp(entry->d_name, name, length) == 0 && entry->d_name[length] && is_temporary(entry->d_name + length))
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory) closedir(directory);
    free(folder);
}

enum clinfer_status ci_profile_lock_file(const char *path, double seconds, struct ci_profile_lock *lock) {
    enum clinfer_status status = ci_file_lock(path, seconds, &lock->descriptor);
    if (status == CLINFER_OK) remove_leftovers(path);
    return status;
}

enum clinfer_status ci_profile_lock(const struct ci_profile_key *key, double seconds, struct ci_profile_lock *lock) {
    *lock = (struct ci_profile_lock){-1};
    char *path = ci_profile_path(key);
    if (!path) return ci_file_no_xdg("DATA", "profiles");
    enum clinfer_status status = ci_profile_lock_file(path, seconds, lock);
    free(path);
    return status;
}

/* Closing releases; the file stays: removing it would let two processes lock two files of one name. */
void ci_profile_unlock(struct ci_profile_lock *lock) {
    if (lock->descriptor >= 0) close(lock->descriptor);
    *lock = (struct ci_profile_lock){-1};
}
