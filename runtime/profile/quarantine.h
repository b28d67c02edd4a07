/* quarantine.h: what has failed on a device and is not chosen there again:
 * $XDG_DATA_HOME/clinfer/profiles/quarantine.json for all devices, and the mark "trying X", on disk before X starts,
 * that becomes an entry when the machine did not survive X. An entry names the driver and the hash of the kernel's
 * source: another driver or another kernel is tried afresh. It also names the version of clinfer that found the kernel
 * wrong: to another version it proves itself again before it is passed over. */
#ifndef CI_PROFILE_QUARANTINE_H
#define CI_PROFILE_QUARANTINE_H

#include "profile/profile.h"

struct ci_quarantined {
    uint64_t device;                         /* hash of the key without threads (ci_quarantine_device) */
    char device_name[CI_PROFILE_TEXT_BYTES]; /* for people */
    char op[CI_PROFILE_NAME_BYTES], variant[CI_PROFILE_NAME_BYTES];
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES]; /* none: whatever they are */
    int tunable_count;
    char types[CI_PROFILE_TEXT_BYTES]; /* "": whatever they are */
    uint64_t source;
    char reason[256]; /* "error 0.3", "crashed", "no answer within 10 s", "clinfer died while trying it" */
    char date[CI_PROFILE_NAME_BYTES]; /* "2026-11-21" */
    char
        clinfer[CI_PROFILE_NAME_BYTES]; /* the version that found it wrong; "": one that did not say, 0.1.0 or before */
};

struct ci_quarantine {
    struct ci_quarantined *items;
    int count;
};

/* Of all that a kernel's result may depend on: platform, device, their versions, compute units, CPU features. */
uint64_t ci_quarantine_device(const struct ci_profile_key *key);

/* The file; the caller frees. NULL: out of memory or no home. */
char *ci_quarantine_path(void);

/* A file that is missing is an empty list; a bad one is said on the log, kept aside as .bad, and counts as empty; so
 * does one that cannot be read, but it stays. */
enum clinfer_status ci_quarantine_read(struct ci_quarantine *quarantine);
void ci_quarantine_free(struct ci_quarantine *quarantine);

/* The first item that stands for this candidate; tunables that an item names must agree, so do `types` if it has some.
 * NULL: none. */
const struct ci_quarantined *ci_quarantine_find(const struct ci_quarantine *quarantine, uint64_t device, const char *op,
                                                const char *variant, const struct ci_profile_tunable *tunables,
                                                int tunable_count, const char *types, uint64_t source);

/* Whether this version is to let the kernel prove itself again. */
bool ci_quarantined_by_another(const struct ci_quarantined *item);

/* Whether a tune found it wrong while it tried combinations of tunables. */
bool ci_quarantined_by_tune(const struct ci_quarantined *item);
#define CI_QUARANTINED_WRONG "wrong result"
#define CI_QUARANTINED_OUT_OF_MEMORY "out of memory"

/* Whether it may not be tried in a process that is to live: it crashed, hung, or took the machine down. */
bool ci_quarantined_is_fatal(const struct ci_quarantined *item);
#define CI_QUARANTINED_CRASHED "crashed"
#define CI_QUARANTINED_TIMED_OUT "no answer in time"
#define CI_QUARANTINED_STOPPED "clinfer or the machine stopped while trying it"

/* Read, change, write, under a lock; safe from several processes. `date` "" becomes today, and `clinfer` this version.
 * Adding what is there already renews reason, date and version; a list of CI_QUARANTINE_ITEMS loses its oldest one.
 * Removing what is not there is no error. device_name and reason are cleaned of what a file may not have. */
enum { CI_QUARANTINE_ITEMS = 4096 };
enum clinfer_status ci_quarantine_add(const struct ci_quarantined *item);
enum clinfer_status ci_quarantine_remove(const struct ci_quarantined *item);

/* Removes all; *count (may be NULL) gets how many there were. */
enum clinfer_status ci_quarantine_clear(int *count);

/* "Trying X": written and synced before a candidate starts, removed when it has ended, however it ended, by a process
 * that still lives. One per process: `begin` ends the one before. ci_trial_recover turns marks of processes that are
 * gone into items of the quarantine (reason "clinfer or the machine stopped while trying it") and returns how many;
 * whether a process is gone is told by a lock it holds, not by its number, which comes again. */
enum clinfer_status ci_trial_begin(const struct ci_quarantined *candidate);
void ci_trial_end(void);
int ci_trial_recover(void);

#endif
