/* devices.h: from what the user calls devices to devices. */
#ifndef CI_ENGINE_DEVICES_H
#define CI_ENGINE_DEVICES_H

#include <stdbool.h>

#include <clinfer.h>

#include "device/device.h"
#include "graph/graph.h"

/* What --device asked for: indices of ci_device_list, and the places in the order of the user (0: the CPU). */
struct ci_engine_devices {
    int indices[CI_MAX_PLACES - 1];
    int count;
    int order[CI_MAX_PLACES];
    int order_count;
    bool automatic; /* nobody asked for these: units may go where they were measured to be faster */
};

/* load.c: whether every option but the model is what the header allows. */
enum clinfer_status ci_engine_check_options(const struct clinfer_engine_options *options);

/* What `wanted` ("cpu", "0", "pocl", "0,cpu") means. CLINFER_NO_DEVICE lists what there is. */
enum clinfer_status ci_engine_pick_devices(const struct ci_device_list *list, const char *wanted,
                                           struct ci_engine_devices *devices);

/* The index in ci_device_list of what the user named as number `i` of order_count; -1: the CPU backend. */
int ci_engine_picked(const struct ci_engine_devices *devices, int i);

/* A place where the model may run, as options.device names it or as what is left when that fails. */
struct ci_engine_rung {
    struct ci_engine_devices devices;
    char name[256]; /* "0: NAME (PLATFORM)", several joined by " + "; "cpu" */
};

/* What options.device asks for first, then the other OpenCL devices and the CPU backend, in the order in which they
 * are to be tried; `cpu` stands alone. The caller frees *rungs. CLINFER_NO_DEVICE: options.device names none; *rungs
 * then has those that are left all the same. */
enum clinfer_status ci_engine_rungs(const struct clinfer_engine_options *options, struct ci_engine_rung **rungs,
                                    int *count);

/* How far an engine is opened: the file is read but for its vocabulary, the devices are open, each unit has its place,
 * and what does not fit into memory is refused (no weight is where it could be read); the same with the vocabulary;
 * plans are made and weights loaded; its first tokens are compared with the CPU backend's. */
enum ci_engine_depth { CI_ENGINE_WORDLESS, CI_ENGINE_PLACED, CI_ENGINE_PLANNED, CI_ENGINE_PROVEN };

/* load.c: clinfer_engine_open() to this depth; the options are checked. */
enum clinfer_status ci_engine_open(const struct clinfer_engine_options *options, enum ci_engine_depth depth,
                                   clinfer_engine **engine);

/* load.c: opens there and nowhere else. *of_device: the failure lies with a device, not with the model. */
enum clinfer_status ci_engine_open_on(const struct clinfer_engine_options *options,
                                      const struct ci_engine_devices *devices, enum ci_engine_depth depth,
                                      clinfer_engine **engine, bool *of_device);

/* The order in which `auto` tries devices: [list->count + 1] indices, -1 for the CPU backend. By rule that of the list;
 * where the first of them and others were measured by `clinfer tune`, with this model or with one of about its size,
 * the fastest first, if it is by CI_PROFILE_PLACE_GAIN. */
enum clinfer_status ci_engine_auto_order(const struct ci_device_list *list,
                                         const struct clinfer_engine_options *options, int *order);

#endif
