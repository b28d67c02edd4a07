/* cache.h: what can be made anew: compiled programs, proofs, verdicts about drivers, converted
 * weights.
 *
 * All of it lies in $XDG_CACHE_HOME/clinfer, and some of it is run: so it is read only where nobody else can have
 * written it (ci_file_read_own), and where the whole folder is somebody else's, a private one below $TMPDIR takes its
 * place. None of it is ever an error. Each of the two things that can go wrong, "it is not used" and "it cannot be
 * written", is one warning per process, whatever it happens to first. */
#ifndef CI_BASE_CACHE_H
#define CI_BASE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

#include "base/file.h"

/* The folder of the cache, or a path in it; the caller frees it. The first call of a process removes what killed ones
 * have left there. NULL as of ci_file_xdg("CACHE", name). */
char *ci_cache_path(const char *name);

/* As ci_file_read_own; CLINFER_REFUSED is said. */
enum clinfer_status ci_cache_read(const char *path, size_t most, char **data, size_t *size);

/* As ci_file_write, or at its end, one record at a time: no reader sees a part of one unless the machine stops. Nothing
 * is written where it would not be read again. */
enum clinfer_status ci_cache_write(const char *path, const void *data, size_t size);
enum clinfer_status ci_cache_write_by(const char *path, ci_file_writer *writer, void *user);
enum clinfer_status ci_cache_append(const char *path, const void *record, size_t size);

/* Leftovers of the cache that are older than a day; part of ci_cache_path(). */
void ci_cache_sweep(const char *folder);

#endif
