/* temporary.h: files and folders that are to be renamed into place or to go again: how they are named, made, and
 * removed when the process that made them was killed. */
#ifndef CI_BASE_TEMPORARY_H
#define CI_BASE_TEMPORARY_H

#include <stdbool.h>

#include <clinfer.h>

/* Makes "PATH.XXXXXX", the letters being random; *name is the caller's to free. A descriptor, or -1 with errno. */
int ci_temporary_file(const char *path, char **name);

/* The same for a folder; NULL with errno. */
char *ci_temporary_folder(const char *path);

/* Whether `rest`, what stands behind a name, is what was added to it there. */
bool ci_temporary_is_suffix(const char *rest);

typedef bool ci_temporary_is_ours(const char *name, const char *user);

/* Removes from `folder` what `is_ours` says is a temporary one, with what a folder holds, if it is older than a day:
 * what is younger may still be in use. */
void ci_temporary_sweep(const char *folder, ci_temporary_is_ours *is_ours, const char *user);

/* The same with what writing this one file has left, where the folder is ours alone. What a person may call a copy
 * stays
 * ("config.json.backup", "config.json.201231"). */
void ci_temporary_sweep_beside(const char *path);

#endif
