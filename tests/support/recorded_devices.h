/* recorded_devices.h: the capabilities of 31 devices that are not here, as public reports give them
 * (tests/data/devices.json).
 *
 * Where a report does not show a value, the least that OpenCL promises stands for it; local memory of 32 KiB, and work-
 * groups of a single item. */
#ifndef TESTS_SUPPORT_RECORDED_DEVICES_H
#define TESTS_SUPPORT_RECORDED_DEVICES_H

#include "device/device.h"

enum { RECORDED_DEVICES = 31 };

struct recorded_device {
    char id[64];
    struct ci_device_caps caps;
    bool usable; /* OpenCL 1.2 at least: discovery leaves out what is older */
};

/* Reads all of them; 0, or -1 after a word on stderr. */
int read_recorded_devices(struct recorded_device devices[RECORDED_DEVICES]);

#endif
