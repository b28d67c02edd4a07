/* probe.h: a driver that crashes or hangs while its devices are listed must not take this process with it.
 *
 * The OpenCL loader loads all drivers into one process at the first call. So before that, a set of drivers that is not
 * known to be good is tried by a small program of its own, clinfer-probe; a driver that fails there is left out by
 * pointing the loader (OCL_ICD_VENDORS) at a folder of links to the others. The verdict is kept in
 * $XDG_CACHE_HOME/clinfer/platforms.json, by the drivers' .icd files, their times, the boot and the variables that
 * matter; a start that finds it there costs no child. */
#ifndef CI_DEVICE_PROBE_H
#define CI_DEVICE_PROBE_H

#include <stdbool.h>

#include <clinfer.h>

#include "device/vendors.h"

/* Around the first OpenCL calls of the process; further calls do nothing. Where nothing can be probed (no cache folder,
 * no clinfer-probe), drivers are loaded as they are. CLINFER_OUT_OF_MEMORY: no OpenCL call may follow, since a driver
 * that is known to crash could not be left out; the next call tries again. A process that dies between the two brings
 * the probe back at the next start. */
enum clinfer_status ci_probe_begin(void);
void ci_probe_end(void);

/* The path of clinfer-probe, which the caller frees; NULL when it is not found, or CLINFER_PROBE forbids it.
 * CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_probe_program(char **path);

/* Gives PoCL a folder to compile in where its own is of no use; part of ci_probe_begin(). */
void ci_pocl_cache_prepare(void);

/* What one driver did when it was tried alone. */
struct ci_probe_driver {
    char icd[512];       /* path of its .icd file */
    char library[256];   /* what that names */
    bool bad;            /* it is left out */
    char reason[128];    /* why */
    char platforms[256]; /* their names, separated by commas; "" when it has none */
    int devices;
};

struct ci_probe_report {
    char folder[512];  /* of the .icd files, or the single one; "": none is known */
    char why_not[160]; /* nothing was tried: why; "" otherwise */
    struct ci_probe_driver drivers[CI_MAX_VENDORS];
    int count;
};

/* Tries each driver alone and then all good ones together, whatever was known about them; the verdict is kept for the
 * next start. Loads no driver into this process, so call it before the first OpenCL call or in a process without any.
 */
void ci_probe_examine(struct ci_probe_report *report);

#endif
