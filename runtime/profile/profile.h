/* profile.h: what `clinfer tune` has learned about one device, as data: which variant of each op was fastest and right,
 * how fast, and what else was tried. JSON on disk, see docs/profile-format.md.
 *
 * This folder knows no op and no device, only their names: whether an entry may be used here is decided in
 * graph/choices.h. Files come from anywhere (import, shipped, a disk that was full), so everything in them is checked:
 * a bad one is refused with file, field and value. */
#ifndef CI_PROFILE_PROFILE_H
#define CI_PROFILE_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

#include "profile/clblast.h"
#include "profile/settings.h"

/* The variant of an entry for a fused op whose two parts are faster on their own. */
#define CI_PROFILE_UNFUSED "unfused"

enum { CI_PROFILE_VERSION = 1, CI_PROFILE_TUNABLES = 12, CI_PROFILE_NAME_BYTES = 48, CI_PROFILE_TEXT_BYTES = 128 };

/* Everything a choice depends on, by name. `rows` are those of the activations, `k` the columns of the first input, `n`
 * the columns of output 0. */
struct ci_profile_signature {
    char op[CI_PROFILE_NAME_BYTES];
    char types[CI_PROFILE_TEXT_BYTES];  /* of the inputs, state outputs and codes of 16 bits: "q8,q4_1,-,..." */
    char params[CI_PROFILE_TEXT_BYTES]; /* integer parameters "9,3,64", trailing zeros cut; "" for none */
    int64_t rows, k, n;
};

struct ci_profile_tunable {
    char name[CI_PROFILE_NAME_BYTES];
    int value;
};

/* The best admitted variant for a signature, per layout of the weights. */
struct ci_profile_entry {
    struct ci_profile_signature signature;
    char layout[16];                     /* of the weights: "stored", "r16"; "" for ops without weights */
    char variant[CI_PROFILE_NAME_BYTES]; /* or CI_PROFILE_UNFUSED */
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    int tunable_count;
    uint64_t source; /* hash of the kernel's source and options (of the CPU kernels: of their sources) */
    double seconds,
        default_seconds;      /* medians; of the winner, and of what would run without a profile (0: nothing would) */
    double bytes, operations; /* of one call */
    double nmse;
    int tried, refused, crashed; /* tried 0: taken over from a profile of elsewhere, and not measured here */
};

/* Which device a profile is for. Texts as the driver gives them. The CPU backend: platform "cpu", kind "cpu". */
struct ci_profile_key {
    char kind[CI_PROFILE_NAME_BYTES]; /* "gpu", "accelerator", "cpu" */
    char platform[CI_PROFILE_TEXT_BYTES], platform_version[CI_PROFILE_TEXT_BYTES];
    char device[CI_PROFILE_TEXT_BYTES], driver[CI_PROFILE_TEXT_BYTES];
    unsigned compute_units;
    int threads;                     /* of the CPU backend; else 0 */
    char cpu[CI_PROFILE_TEXT_BYTES]; /* features of the host's processor: "avx2,avx512vnni" */
};

/* What was measured about the device as a whole; 0: not measured. */
struct ci_profile_device {
    double read_bytes_per_second;      /* plain read of more than the caches hold */
    double operations_per_second;      /* f32 multiply-add, two operations each */
    double dot8_operations_per_second; /* dot products of bytes, summed in 32 bits; as above */
    double launch_seconds;             /* one more kernel in the queue */
    double wait_seconds;               /* enqueue, finish: a round trip */
    double crossing_seconds;           /* a small copy to the host or from it, waited for */
    double crossing_bytes_per_second;  /* of large ones */
};

/* What is faster by so much is put in front of what is usual. */
#define CI_PROFILE_PLACE_GAIN 1.02

/* A whole model, before (without this profile) and after. */
struct ci_profile_model {
    char name[CI_PROFILE_TEXT_BYTES];
    uint64_t fingerprint;                                              /* of the model's shapes and types */
    double decode_before, decode_after, prefill_before, prefill_after; /* tokens per second; 0: not measured */
    double covered;   /* share of the model's time that tuned ops have, 0..1 */
    double bytes;     /* of weights that a token reads; 0: not known */
    double cpu_speed; /* the CPU backend's with this model beside this device's, timed in turn; 0: not measured */
    struct ci_profile_steps steps;
    struct ci_profile_settings settings; /* that were measured to be faster than what a run does by itself */
    bool outdated; /* settings, steps and cpu_speed were measured with kernels that have changed: to be measured anew */
};

/* What comes of cpu_speed: "it comes first", ... */
const char *ci_profile_place_text(const struct ci_profile_model *model);

struct ci_profile {
    struct ci_profile_key key;
    char clinfer[CI_PROFILE_NAME_BYTES]; /* the version that wrote it */
    char created[CI_PROFILE_NAME_BYTES]; /* "2026-11-21T10:00:00Z" */
    double tune_seconds;
    bool imported; /* by `clinfer profile import`: nothing in it was seen to be right on this machine */
    struct ci_profile_device measured;
    struct ci_profile_clblast clblast; /* for CLBlast's products on this device */
    struct ci_profile_entry *entries;
    int entry_count;
    struct ci_profile_model *models;
    int model_count;
};

/* "STREAMS=4,TASKS=1", as --op takes them; cut where there is no room. */
void ci_profile_tunables_text(const struct ci_profile_tunable *tunables, int count, char *text, size_t size);

void ci_profile_free(struct ci_profile *profile); /* the arrays; not `profile` itself */

/* Same op, types, params, layout, and shape: replaced; else appended. CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_profile_set(struct ci_profile *profile, const struct ci_profile_entry *entry);

/* The entry with the same op, types, params and layout and the same bucket of rows (ci_profile_bucket) whose shape is
 * nearest (logarithms of k and n); NULL: none. */
const struct ci_profile_entry *ci_profile_find(const struct ci_profile *profile,
                                               const struct ci_profile_signature *signature, const char *layout);

/* 0: one row, 1: 2..8, 2: 9..64, 3: more. */
int ci_profile_bucket(int64_t rows);

/* Operations per second that no kernel for this signature exceeds: with inputs in q8 kernels may compute with bytes or
 * with floats, else with floats only. 0: not measured. */
double ci_profile_peak(const struct ci_profile_device *measured, const struct ci_profile_signature *signature);

/* Whether its times are of this device; those of elsewhere compare with each other only. */
static inline bool ci_profile_measured_here(const struct ci_profile_entry *entry) {
    return entry->tried > 0 && entry->seconds > 0;
}

/* What an entry's calls reach: bytes or operations per second, whichever takes more of what the device can do (bytes
 * where neither limit was measured), and the share of that. Zeros: the entry was not measured. */
struct ci_profile_rate {
    bool by_bytes;
    double per_second, share;
};
struct ci_profile_rate ci_profile_rate(const struct ci_profile_entry *entry, const struct ci_profile_device *measured);

/* ---- on disk ---- */

/* No more is read from a file. */
enum { CI_PROFILE_FILE_BYTES = 8 << 20, CI_PROFILE_ENTRIES = 4096, CI_PROFILE_MODELS = 256 };

/* Parses `length` bytes; `name` is for messages. CLINFER_BAD_FILE names the field and its value; *profile is empty
 * then. */
enum clinfer_status ci_profile_parse(const char *name, const char *text, size_t length, struct ci_profile *profile);
enum clinfer_status ci_profile_read(const char *path, struct ci_profile *profile);

/* For those that are found and not named by the user. CLINFER_REFUSED: others may have written it (ci_file_read_own).
 */
enum clinfer_status ci_profile_read_own(const char *path, struct ci_profile *profile);

/* The text of the file, zero-terminated; the caller frees it. What could not be read again (a number that is not
 * finite, a name with a space) is refused with CLINFER_BAD_FILE. Texts of the key are cleaned, not refused. */
enum clinfer_status ci_profile_print(const char *name, const struct ci_profile *profile, char **text);

/* Atomically: a reader sees the old file or the new one, whole. */
enum clinfer_status ci_profile_write(const char *path, const struct ci_profile *profile);

/* $XDG_DATA_HOME/clinfer/profiles, and the file of a key in it; the caller frees. NULL: out of memory or no home. */
char *ci_profile_folder(void);
char *ci_profile_path(const struct ci_profile_key *key);

/* The profiles in that folder: paths in the order of the alphabet, at most CI_PROFILE_FILES. No folder is no file. */
enum { CI_PROFILE_FILES = 256 };
struct ci_profile_files {
    char **paths;
    int count;
};
enum clinfer_status ci_profile_files(struct ci_profile_files *files);
void ci_profile_files_free(struct ci_profile_files *files);

/* Texts of drivers as profiles have them: what JSON cannot hold is replaced. */
void ci_profile_clean_key(struct ci_profile_key *key);

/* Every text and number. */
bool ci_profile_same_key(const struct ci_profile_key *a, const struct ci_profile_key *b);

/* The same device whatever its driver, compiler and threads: platform, name and kind. */
bool ci_profile_same_device(const struct ci_profile_key *a, const struct ci_profile_key *b);

enum ci_profile_origin {
    CI_PROFILE_NONE,
    CI_PROFILE_EXACT,  /* tuned here, with this driver */
    CI_PROFILE_DRIVER, /* the same device with another driver, compiler, threads, or imported: to be verified before use
                        */
    CI_PROFILE_SHIPPED /* comes with clinfer, for such a device: to be verified before use */
};

/* Look-up: exact key, same device with another driver, shipped, nothing. A file that is bad is said on the log and
 * passed over. *origin tells which; NONE leaves *profile empty. `path` (may be NULL) gets where from, a path or
 * "shipped/NAME"; freed by the caller. */
enum clinfer_status ci_profile_lookup(const struct ci_profile_key *key, struct ci_profile *profile,
                                      enum ci_profile_origin *origin, char **path);

/* Only the shipped ones. */
enum clinfer_status ci_profile_lookup_shipped(const struct ci_profile_key *key, struct ci_profile *profile,
                                              enum ci_profile_origin *origin, char **path);

/* Behind the path of a profile: one that a tune tries out, while it holds the lock. */
#define CI_PROFILE_TRIAL ".trial"
/* A second one beside it, with the suffix of a temporary file. */
#define CI_PROFILE_OTHER_TRIAL CI_PROFILE_TRIAL ".second"

/* One process at a time changes the profiles of a key (flock beside the file; released by close or death). Waits up to
 * `seconds`; CLINFER_IO says who is in the way and what to do. What processes that died while writing or trying
 * left behind is removed. */
struct ci_profile_lock {
    int descriptor;
};
enum clinfer_status ci_profile_lock(const struct ci_profile_key *key, double seconds, struct ci_profile_lock *lock);
void ci_profile_unlock(struct ci_profile_lock *lock);

/* The same for any file. */
enum clinfer_status ci_profile_lock_file(const char *path, double seconds, struct ci_profile_lock *lock);

#endif
