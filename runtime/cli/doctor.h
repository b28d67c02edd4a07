/* doctor.h: what the files of `clinfer doctor` share: the list of checks, each with a verdict and what to do next.
 *
 * Everything goes into one JSON object, which --json prints: it is meant to be attached to a bug report, so no user's
 * name and no path of a home folder stays in it. Without --json each check is a line, printed as soon as it is known.
 */
#ifndef CI_CLI_DOCTOR_H
#define CI_CLI_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* WARN: clinfer works, though slower or with less than could be. FAIL: something that ought to work here does not. */
enum ci_verdict { CI_VERDICT_OK, CI_VERDICT_WARN, CI_VERDICT_FAIL };

struct ci_doctor {
    json_t *root, *checks; /* checks: borrowed from root */
    int counts[3];         /* by verdict */
    bool print;            /* lines on standard output */
    bool progress;         /* what is being tried on standard error, a terminal */
    bool thorough;
    char section[320]; /* of the last line that was printed */
};

/* Adds a check. `section` groups them: "folders", "device 0: ...". `todo` may be NULL; it is shown with a warning or a
 * failure. */
void ci_doctor_check(struct ci_doctor *doctor, const char *section, const char *name, enum ci_verdict verdict,
                     const char *todo, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* What is going on, where that is shown; NULL: nothing any more. */
void ci_doctor_progress(struct ci_doctor *doctor, const char *text);

/* The text with home folders as "~" and the user's name as "$USER"; the caller frees it. NULL: out of memory. */
char *ci_doctor_redact(const char *text);

/* doctor_system.c: processor, memory, device nodes, folders, models, quarantine. */
void ci_doctor_system(struct ci_doctor *doctor);
void ci_doctor_folders(struct ci_doctor *doctor);

/* doctor_devices.c: drivers and devices, each in a process of its own. `wanted` as for --device, NULL: all. Returns an
 * exit status: 0, or that of a device that does not exist, which is named on standard error. */
int ci_doctor_devices(struct ci_doctor *doctor, const char *wanted);

#endif
