/* profile_store.h: the profiles that there are, and the devices that they are for, as `clinfer profile` shows them. */
#ifndef CI_CLI_PROFILE_STORE_H
#define CI_CLI_PROFILE_STORE_H

#include <stdbool.h>

#include "profile/profile.h"

/* A place of this machine where kernels run. */
struct ci_store_device {
    struct ci_profile_key key;
    char label[16];                      /* what --device calls it: "0", "cpu" */
    const struct ci_store_profile *used; /* the profile that look-up finds for it; NULL: none */
};

struct ci_store_profile {
    char *name;  /* the file without folder and ".json"; of a shipped one "shipped/NAME" */
    char *path;  /* NULL: shipped */
    char *error; /* why it cannot be read; the profile is empty then */
    struct ci_profile profile;
};

/* In the order in which `clinfer profile list` numbers them: those of the folder, then the shipped ones. */
struct ci_profile_store {
    struct ci_store_device *devices;
    int device_count;
    struct ci_store_profile *profiles;
    int profile_count;
};

enum clinfer_status ci_profile_store_open(struct ci_profile_store *store);
void ci_profile_store_close(struct ci_profile_store *store);

/* By number, by name, or by a part of the name or of the device's or platform's that only one has. NULL `name`: what
 * the first device uses, else the CPU. CLINFER_NOT_FOUND lists what there is. Borrowed. */
enum clinfer_status ci_profile_store_find(const struct ci_profile_store *store, const char *name,
                                          const struct ci_store_profile **profile);

/* What a device uses, by its index or a part of its name or its platform's, or "cpu". CLINFER_NO_DEVICE lists what
 * there is, CLINFER_NOT_FOUND: it was never tuned. Borrowed. */
enum clinfer_status ci_profile_store_of_device(const struct ci_profile_store *store, const char *device,
                                               const struct ci_store_profile **profile);

/* Whether it is for this device: made for it, or used by it. */
bool ci_profile_store_fits(const struct ci_store_device *device, const struct ci_store_profile *profile);

/* The devices here, for messages. */
void ci_profile_store_devices(const struct ci_profile_store *store, char *text, size_t size);

#endif
