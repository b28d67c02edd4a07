/* key.h: the key of a remote: read when it is needed, wiped when it was used, shown to nobody.
 *
 * A command that prints one may ask its user to unlock something, or take seconds: what it printed is kept as long as
 * the process lives, in memory that is not swapped out where the system allows that, and nowhere else.
 *
 * A process that has read one leaves no core (PR_SET_DUMPABLE). What libcurl and the environment themselves hold of it
 * is beyond reach. */
#ifndef CI_REMOTE_KEY_H
#define CI_REMOTE_KEY_H

#include <stdatomic.h>
#include <stdbool.h>

#include <clinfer.h>

/* Fewer bytes than what is kept of a command's output: one that was cut is no key. */
enum { CI_KEY_BYTES = 4000, CI_KEY_SOURCE_BYTES = 320 };

struct ci_key {
    char text[CI_KEY_BYTES]; /* "": the remote has none */
    bool kept;               /* key_command did not run for it: it did before */
};

/* CLINFER_REFUSED: a file that others may read; CLINFER_REMOTE_FAILED: there is none where one should be, or what is
 * there cannot be one; CLINFER_CANCELLED: while key_command ran. `until`: in the clock of ci_now(). */
enum clinfer_status ci_key_read(const char *label, const struct clinfer_remote *remote, const atomic_bool *cancel,
                                double until, struct ci_key *key);

void ci_key_wipe(struct ci_key *key);

/* The remote did not accept what key_command printed: the next ci_key_read runs it again. */
void ci_key_forget(const struct clinfer_remote *remote);

/* Whether a source of a key is configured, and which, for people: "$OPENAI_API_KEY". */
bool ci_key_configured(const struct clinfer_remote *remote);
void ci_key_source(const struct clinfer_remote *remote, char source[CI_KEY_SOURCE_BYTES]);

#endif
