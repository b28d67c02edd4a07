/* clblast.h: a profile's parameters for CLBlast and a device. */
#ifndef CI_OPS_CLBLAST_H
#define CI_OPS_CLBLAST_H

#include "device/device.h"
#include "profile/clblast.h"

/* Whether CLBlast can have the set on such a device: CLINFER_BAD_FILE names values that do not fit each other,
 * CLINFER_UNSUPPORTED the limit of the device. */
enum clinfer_status ci_clblast_check(const struct ci_device_caps *caps, const struct ci_profile_clblast *set);

/* Checks, and lets CLBlast have it on this device when the first product is prepared; a process that prepares none does
 * not touch CLBlast. */
enum clinfer_status ci_clblast_use(struct ci_device *device, const struct ci_profile_clblast *set);

#endif
