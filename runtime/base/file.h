/* file.h: files mapped for reading, and small files written whole and atomically. */
#ifndef CI_BASE_FILE_H
#define CI_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

/* A file mapped read-only; `data` is page-aligned. An empty file has data = NULL, size = 0. */
struct ci_file {
    const uint8_t *data;
    size_t size;
    uint64_t identity; /* hash of device, inode, size and times: while it is the same, so are the bytes */
};

/* CLINFER_NOT_FOUND (also where it would lie below a file), CLINFER_IO (message names path and reason). A directory is
 * CLINFER_IO. */
enum clinfer_status ci_file_map(const char *path, struct ci_file *file);
void ci_file_unmap(struct ci_file *file);

/* The same; the file stays open, *descriptor is the caller's to close (-1 where it failed). */
enum clinfer_status ci_file_map_kept(const char *path, struct ci_file *file, int *descriptor);

/* A small file, in memory of the caller's to free, a zero byte behind it: unlike a mapping it stays as it is when
 * somebody changes the file. CLINFER_NOT_FOUND, CLINFER_IO; CLINFER_BAD_FILE: more than `most` bytes. */
enum clinfer_status ci_file_read(const char *path, size_t most, char **data, size_t *size);

/* As ci_file_read, for what is run or believed as it is found: only if it and the folders above it, up to the last one
 * named "clinfer" (else the one that it lies in), belong to this user or to root, nobody else may write to them, and
 * none of them is a link. CLINFER_REFUSED: what is wrong with which, and what to do. */
enum clinfer_status ci_file_read_own(const char *path, size_t most, char **data, size_t *size);

/* Whether ci_file_read_own would take it, be it a file or a folder; `ours`: the name of the first folder that counts.
 * NULL: only `path` itself counts, a folder. */
enum clinfer_status ci_file_check_own(const char *path, const char *ours);

/* A folder below $TMPDIR, made with mode 0700 if need be, "clinfer-NAME-UID", that nobody else can have prepared. The
 * caller frees it; NULL: there is none. */
char *ci_file_private_folder(const char *name);

/* Writes next to `path`, syncs and renames, so that a reader sees the old or the new content and never half of it, also
 * after a power cut. Missing directories above it are made with mode 0700. CLINFER_IO: the old file is whole. */
enum clinfer_status ci_file_write(const char *path, const void *data, size_t size);

/* The same for what is too large to be in memory at once: `writer` puts it there, piece by piece. */
typedef enum clinfer_status ci_file_writer(int descriptor, const char *path, void *user);
enum clinfer_status ci_file_write_by(const char *path, ci_file_writer *writer, void *user);

/* All of the bytes, to where the descriptor is. CLINFER_IO; `path` is for the message. */
enum clinfer_status ci_file_put(int descriptor, const char *path, const void *data, size_t size);

/* For whoever reads, changes and writes a file: one process at a time, by flock(2) on `path`.lock, which is made and
 * stays there. Waits so many seconds at most. Closing *descriptor (or the end of the process) lets go; -1 where it
 * failed. CLINFER_IO. */
enum clinfer_status ci_file_lock(const char *path, double seconds, int *descriptor);

/* Makes the directories above the last '/' that are missing, with mode 0700. 0, or the errno of the first that cannot
 * be made: the reason why a file is then "not found" (ENOENT) when it is created. `path` is as before when this
 * returns. */
int ci_file_make_parents(char *path);

/* The folder's names to disk: files made, renamed and removed in it. `path` is that of a file in it. */
enum clinfer_status ci_file_sync_folder(const char *path);

/* $XDG_<kind>_HOME/clinfer[/name] with the default of the XDG base directory specification below $HOME; kind is "DATA",
 * "CACHE", "CONFIG" or "STATE". The caller frees it. NULL when neither variable is set or memory is out. */
char *ci_file_xdg(const char *kind, const char *name);

/* The failure that a NULL of ci_file_xdg stands for: CLINFER_OUT_OF_MEMORY, or CLINFER_IO where neither variable is
 * set. `what` has no folder then: "profiles". */
enum clinfer_status ci_file_no_xdg(const char *kind, const char *what);

#endif
