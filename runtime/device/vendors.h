/* vendors.h: the .icd files that the OpenCL loader will read: one driver each. */
#ifndef CI_DEVICE_VENDORS_H
#define CI_DEVICE_VENDORS_H

#include <stdbool.h>
#include <stdint.h>

#include <clinfer.h>

enum { CI_MAX_VENDORS = 32 };

struct ci_vendor {
    char *path;       /* of the .icd file */
    bool bad;         /* left out */
    char reason[128]; /* why */
};

struct ci_vendors {
    char *folder; /* or the single file */
    struct ci_vendor list[CI_MAX_VENDORS];
    int count;
    uint64_t key;   /* changes when a driver, the boot or what steers drivers changes */
    bool no_memory; /* why they were not read */
};

/* As the loader does: OCL_ICD_VENDORS (a folder or one .icd file), else /etc/OpenCL/vendors; sorted. False when the
 * environment picks drivers in another way, when there are none, or more than we keep: then nothing is probed. */
bool ci_vendors_read(struct ci_vendors *vendors);
void ci_vendors_free(struct ci_vendors *vendors);

/* Makes `folder` with links to the vendors whose bit is set in `chosen`; it appears whole or not at all. An existing
 * one is left as it is. CLINFER_REFUSED: that one is not ours (ci_file_check_own). */
enum clinfer_status ci_vendors_link(const struct ci_vendors *vendors, uint32_t chosen, const char *folder);
void ci_vendors_unlink(const char *folder);

#endif
