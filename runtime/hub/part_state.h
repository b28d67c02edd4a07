/* part_state.h: the record of a part (part.h) as text, and back. Pure, but for the two places in the file. */
#ifndef CI_HUB_PART_STATE_H
#define CI_HUB_PART_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "hub/part.h"
#include "hub/ranges.h"
#include "net/digest.h"

enum { CI_PART_BOOT_BYTES = 40, CI_PART_SLOT = 4096 };

struct ci_part_state {
    uint64_t sequence; /* the greater one is newer */
    uint64_t size;     /* UINT64_MAX: not known */
    char digest[CI_DIGEST_BYTES];
    char version[CI_PART_VERSION_BYTES];
    char boot[CI_PART_BOOT_BYTES];
    struct ci_ranges synced, written; /* the second includes the first */
};

/* Into a slot of CI_PART_SLOT bytes, the rest of it zero; and out of one. false: it is none, or damaged. */
void ci_part_state_print(const struct ci_part_state *state, char slot[CI_PART_SLOT]);
bool ci_part_state_parse(const char slot[CI_PART_SLOT], struct ci_part_state *state);

/* The newer good one of the file's two. false: there is none. */
bool ci_part_state_read(int descriptor, struct ci_part_state *state);

/* To the older one's place, with the next number. false: it could not be written. */
bool ci_part_state_write(int descriptor, struct ci_part_state *state);

/* What this start of the machine is called, "" if that cannot be known. */
void ci_part_boot(char boot[CI_PART_BOOT_BYTES]);

#endif
