/* part.h: the part of a file that has come so far, and the record of what of it is there.
 *
 * Two files lie beside the target: <target>.clinfer.incomplete, which has the bytes at their places and is locked by
 * whoever writes them, and <target>.clinfer.state.incomplete, the record: which file it is (size, digest, what the
 * server calls this version of it) and two lists of ranges. `synced` is what fdatasync(2) has brought to the disk
 * before the record was written; it counts always, after a power cut, too. `written` is what write(2) has taken: it
 * counts while the machine has not been started again, which the kernel's boot id tells; so kill -9 costs nothing
 * either.
 *
 * The record is written to two places in turn, each a page with its own check sum, and the newer good one counts: one
 * that was cut off in writing leaves the one before. It never claims bytes that are not there, since it is written
 * after them, and before they go. The part's length says nothing, with one exception: a part without a record that is
 * exactly as long as the file was verified already, and its pull killed between removing the record and renaming. */
#ifndef CI_HUB_PART_H
#define CI_HUB_PART_H

#include "hub/lock.h"
#include "hub/ranges.h"

/* What follows the target's name; `prune` knows them. */
#define CI_PART_SUFFIX ".clinfer.incomplete"
#define CI_PART_STATE_SUFFIX ".clinfer.state.incomplete"

enum { CI_PART_VERSION_BYTES = 200 };

struct ci_part;

/* The part of a file with this digest ("": not known), made or gone on with, and locked: the only one who works at it.
 * What was there and belongs to another version is forgotten. Where the file system has no locks, it is one of this
 * process alone, which goes when it is closed.
 * CLINFER_IO: the folder cannot be written; no space. CLINFER_CANCELLED, and as of ci_hub_lock. */
enum clinfer_status ci_part_open(struct ci_hub *hub, const struct ci_hub_wanted *wanted, const char *digest,
                                 struct ci_part **part);

/* What is there. Borrowed; changes with every write. */
const struct ci_ranges *ci_part_done(const struct ci_part *part);
int ci_part_descriptor(const struct ci_part *part);
const char *ci_part_path(const struct ci_part *part);

/* Whether all that it says to have is only concluded from its length. */
bool ci_part_is_guess(const struct ci_part *part);

/* ETag or date of the version that the bytes are of, "" if none was told; and the size, once it is known. */
const char *ci_part_version(const struct ci_part *part);
void ci_part_set_version(struct ci_part *part, const char *version);
void ci_part_set_size(struct ci_part *part, uint64_t size);

/* Bytes to [at, at + length). CLINFER_IO: no space (what is missing, and that the part stays), or what else is wrong.
 */
enum clinfer_status ci_part_write(struct ci_part *part, uint64_t at, const void *bytes, size_t length);

/* Forgets all of it. */
enum clinfer_status ci_part_restart(struct ci_part *part);

/* To disk, and into place; closes it. CLINFER_IO: it stays as a part. */
enum clinfer_status ci_part_finish(struct ci_part *part);

/* Closes it; what is there stays for the next pull, unless that is nothing or `remove`. May be NULL. */
void ci_part_close(struct ci_part *part, bool remove);

/* Removes part and record of `target` if nobody works at them. */
void ci_part_clean(const char *target);

#endif
