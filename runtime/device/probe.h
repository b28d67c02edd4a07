/* probe.h: a driver that crashes or hangs while its devices are listed must not take this process with it.
 *
 * The OpenCL loader loads all drivers into one process at the first call. So before that, a set of drivers that is not
 * known to be good is tried by a small program of its own, clinfer-probe; a driver that fails there is left out by
 * pointing the loader (OCL_ICD_VENDORS) at a folder of links to the others. The verdict is kept in
 * $XDG_CACHE_HOME/clinfer/platforms.json, by the drivers' .icd files, their times, the boot and the variables that
 * matter; a start that finds it there costs no child. */
#ifndef CI_DEVICE_PROBE_H
#define CI_DEVICE_PROBE_H

/* Around the first OpenCL calls of the process; further calls do nothing. Neither can fail: where nothing can be probed
 * (no cache folder, no clinfer-probe), drivers are loaded as they are. A process that dies between the two brings the
 * probe back at the next start. */
void ci_probe_begin(void);
void ci_probe_end(void);

/* Gives PoCL a folder to compile in where its own is of no use; part of ci_probe_begin(). */
void ci_pocl_cache_prepare(void);

#endif
