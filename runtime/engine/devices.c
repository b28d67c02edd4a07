#define _GNU_SOURCE
#include "engine/devices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "graph/places.h"
#include "model/model.h"
#include "model/source.h"
#include "ops/signature.h"

static bool is_number(const char *text, long *number) {
    char *end;
    *number = strtol(text, &end, 10);
    return *text && !*end;
}

static bool mentions(const struct ci_device_caps *caps, const char *name) {
    return strcasestr(caps->name, name) || strcasestr(caps->platform, name);
}

static enum clinfer_status no_device(const struct ci_device_list *list, const char *wanted) {
    char known[768] = "";
    for (int i = 0; i < list->count; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%d \"%s\" (%s)", i ? ", " : "", i,
                 list->caps[i].name, list->caps[i].platform);
    return ci_fail(CLINFER_NO_DEVICE,
                   "no OpenCL device \"%s\"; there is: %s; \"cpu\" needs none, `clinfer devices` tells more", wanted,
                   *known ? known : "none");
}

static enum clinfer_status pick_device(const struct ci_device_list *list, const char *wanted, int *index) {
    long number;
    *index = -1;
    if (is_number(wanted, &number)) {
        if (number < 0 || number >= list->count) return no_device(list, wanted);
        *index = ci_narrowed(number);
        return CLINFER_OK;
    }
    for (int i = 0; i < list->count && *index < 0; i++)
        if (mentions(&list->caps[i], wanted)) *index = i;
    return *index < 0 ? no_device(list, wanted) : CLINFER_OK;
}

static enum clinfer_status add_device(const struct ci_device_list *list, const char *name,
                                      struct ci_engine_devices *devices) {
    int index, place = CI_PLACE_CPU;
    if (strcasecmp(name, "cpu") != 0) {
        enum clinfer_status status = pick_device(list, name, &index);
        if (status != CLINFER_OK) return status;
        if (devices->count == CI_MAX_PLACES - 1)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "--device: more than %d OpenCL devices", CI_MAX_PLACES - 1);
        for (int i = 0; i < devices->count; i++)
            if (devices->indices[i] == index)
                return ci_fail(CLINFER_INVALID_ARGUMENT, "--device: \"%s\" is named twice", list->caps[index].name);
        devices->indices[devices->count++] = index;
        place = devices->count;
    }
    for (int i = 0; i < devices->order_count; i++)
        if (devices->order[i] == place) return ci_fail(CLINFER_INVALID_ARGUMENT, "--device: \"cpu\" is named twice");
    devices->order[devices->order_count++] = place;
    return CLINFER_OK;
}

enum clinfer_status ci_engine_pick_devices(const struct ci_device_list *list, const char *wanted,
                                           struct ci_engine_devices *devices) {
    *devices = (struct ci_engine_devices){0};
    char *names = strdup(wanted), *rest = names;
    if (!names) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    enum clinfer_status status = CLINFER_OK;
    for (char *name = strtok_r(names, ",", &rest); name && status == CLINFER_OK; name = strtok_r(NULL, ",", &rest))
        status = add_device(list, name, devices);
    if (status == CLINFER_OK && devices->order_count == 0) status = no_device(list, wanted);
    free(names);
    return status;
}

static void name_rung(const struct ci_device_list *list, struct ci_engine_rung *rung) {
    for (int i = 0; i < rung->devices.order_count; i++) {
        int index = ci_engine_picked(&rung->devices, i);
        size_t used = strlen(rung->name);
        if (index < 0)
            snprintf(rung->name + used, sizeof rung->name - used, "%scpu", used ? " + " : "");
        else
            snprintf(rung->name + used, sizeof rung->name - used, "%s%d: %s (%s)", used ? " + " : "", index,
                     list->caps[index].name, list->caps[index].platform);
    }
}

static void add_rung(const struct ci_device_list *list, int index, bool automatic, struct ci_engine_rung *rungs,
                     int *count) {
    struct ci_engine_rung *rung = &rungs[(*count)++];
    rung->devices = (struct ci_engine_devices){.order = {CI_PLACE_CPU}, .order_count = 1};
    if (index >= 0)
        rung->devices = (struct ci_engine_devices){
            .count = 1, .indices = {index}, .order = {1}, .order_count = 1, .automatic = automatic};
    name_rung(list, rung);
}

static bool is_among(const struct ci_engine_devices *devices, int index) {
    for (int i = 0; i < devices->count; i++)
        if (devices->indices[i] == index) return true;
    return false;
}

/* What the user named, and behind it what is left. */
static enum clinfer_status named_rungs(const struct ci_device_list *list, const char *wanted,
                                       struct ci_engine_rung *rungs, int *count) {
    enum clinfer_status status = ci_engine_pick_devices(list, wanted, &rungs[0].devices);
    if (status != CLINFER_OK && status != CLINFER_NO_DEVICE) return status;
    struct ci_engine_devices first = {0};
    if (status == CLINFER_OK) {
        first = rungs[0].devices;
        name_rung(list, &rungs[(*count)++]);
    }
    for (int i = 0; i < list->count; i++)
        if (!is_among(&first, i)) add_rung(list, i, false, rungs, count);
    add_rung(list, -1, false, rungs, count);
    return status;
}

static enum clinfer_status automatic_rungs(const struct ci_device_list *list,
                                           const struct clinfer_engine_options *options, struct ci_engine_rung *rungs,
                                           int *count) {
    int *order = calloc((size_t)list->count + 1, sizeof *order);
    if (!order) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    enum clinfer_status status = CLINFER_OK;
    /* A model that cannot be read is said when it is opened. */
    if (ci_engine_auto_order(list, options, order) != CLINFER_OK)
        ci_log(CLINFER_LOG_DEBUG, "the order of the devices is that of the list: %s", ci_status_message());
    if (list->count == 0 && options->fallback == CLINFER_FALLBACK_NONE)
        status =
            ci_fail(CLINFER_NO_DEVICE, "no usable OpenCL device, and --fallback none; --device cpu asks for the CPU");
    else if (list->count == 0)
        ci_log(CLINFER_LOG_WARNING, "no usable OpenCL device: everything runs on the CPU backend (a driver for this "
                                    "processor: apt install pocl-opencl-icd)");
    for (int i = 0; i <= list->count; i++) add_rung(list, order[i], true, rungs, count);
    free(order);
    return status;
}

enum clinfer_status ci_engine_rungs(const struct clinfer_engine_options *options, struct ci_engine_rung **rungs,
                                    int *count) {
    const char *wanted = options->device ? options->device : "auto";
    struct ci_device_list list = {0};
    bool needs_none = strcasecmp(wanted, "cpu") == 0;
    *rungs = NULL;
    *count = 0;
    double begun = ci_now();
    enum clinfer_status status = needs_none ? CLINFER_OK : ci_device_list(&list);
    if (status != CLINFER_OK) return status;
    if (!needs_none) ci_log(CLINFER_LOG_INFO, "drivers and devices in %.1f ms", (ci_now() - begun) * 1e3);
    *rungs = calloc((size_t)list.count + 2, sizeof **rungs);
    if (!*rungs)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    else if (needs_none)
        add_rung(&list, -1, false, *rungs, count);
    else if (strcasecmp(wanted, "auto") == 0)
        status = automatic_rungs(&list, options, *rungs, count);
    else
        status = named_rungs(&list, wanted, *rungs, count);
    ci_device_list_free(&list);
    return status;
}

int ci_engine_picked(const struct ci_engine_devices *devices, int i) {
    int place = devices->order[i];
    return place == CI_PLACE_CPU ? -1 : devices->indices[place - 1];
}

/* Whether there is a file at all: a start on a machine that was never tuned need not read anything for this. */
static bool was_tuned_here(const struct ci_profile_key *key) {
    char *path = ci_profile_path(key);
    bool there = path && access(path, R_OK) == 0;
    free(path);
    return there;
}

/* What `clinfer tune` measured of a model here; 0: it did not. */
struct speed {
    double seconds;   /* for a prompt of 512 tokens and an answer of 256 */
    double cpu_speed; /* the CPU backend's beside it, timed in turn */
};

/* What is known of the model to be opened. */
struct known {
    uint64_t fingerprint;
    double bytes; /* of weights that a token reads */
};

/* Of a model nearly as large, at most four times, where the answer is clear; NULL: there is none. Whether a device is
 * faster than the processor is a matter of size: small models wait for launches, large ones for the memory. */
static const struct ci_profile_model *like(const struct ci_profile *profile, double bytes) {
    const double most = 2, clear = 1.1; /* in powers of two */
    const struct ci_profile_model *nearest = NULL;
    double distance = most;
    for (int i = 0; i < profile->model_count && bytes > 0; i++) {
        const struct ci_profile_model *model = &profile->models[i];
        if (!(model->bytes > 0) || !(model->cpu_speed > 0) || fabs(log2(model->bytes / bytes)) > distance) continue;
        nearest = model;
        distance = fabs(log2(model->bytes / bytes));
    }
    bool is_clear = nearest && (nearest->cpu_speed >= clear || nearest->cpu_speed * clear <= 1);
    return is_clear ? nearest : NULL;
}

static struct speed measured_speed(const struct ci_caps *caps, const struct known *known) {
    struct ci_profile_key key;
    struct ci_profile profile;
    enum ci_profile_origin origin;
    const struct ci_profile_model *found = NULL;
    struct speed speed = {0};
    ci_signature_key(caps, &key);
    if (!was_tuned_here(&key)) return speed;
    if (ci_profile_lookup(&key, &profile, &origin, NULL) != CLINFER_OK) return speed;
    for (int i = 0; i < profile.model_count && origin == CI_PROFILE_EXACT; i++)
        if (profile.models[i].fingerprint == known->fingerprint) found = &profile.models[i];
    if (found && found->decode_after > 0 && found->prefill_after > 0)
        speed.seconds = 512 / found->prefill_after + 256 / found->decode_after;
    if (!found && origin == CI_PROFILE_EXACT) found = like(&profile, known->bytes);
    if (found) speed.cpu_speed = found->cpu_speed;
    ci_profile_free(&profile);
    return speed;
}

static enum clinfer_status look_at_model(const struct clinfer_engine_options *options, struct known *known) {
    struct ci_gguf *gguf;
    struct ci_model model;
    enum clinfer_status status = ci_source_open(options->model, options->weight_type, &gguf);
    if (status != CLINFER_OK) return status;
    status = ci_model_open(gguf, &model);
    if (status == CLINFER_OK) {
        *known = (struct known){ci_model_fingerprint(&model), (double)ci_model_token_bytes(&model)};
        ci_model_close(&model);
    }
    ci_gguf_close(gguf);
    return status;
}

/* Whether anything but the CPU backend was tuned. */
static bool any_was_tuned_here(const struct ci_device_list *list, int threads) {
    struct ci_profile_key key;
    bool any = false;
    for (int i = 0; i < list->count && !any; i++) {
        ci_signature_key(&(struct ci_caps){ci_cpu_features(), &list->caps[i], threads}, &key);
        any = was_tuned_here(&key);
    }
    return any;
}

/* times [list->count + 1]: how long each takes for the model beside the others, the CPU backend last; 0: not known.
 * What was timed in turn with the CPU backend goes before what two tunes have seen at different times. */
static enum clinfer_status compare_places(const struct ci_device_list *list, const struct known *known, int threads,
                                          double *times) {
    struct speed *speeds = calloc((size_t)list->count + 1, sizeof *speeds);
    bool in_turn = false;
    if (!speeds) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i <= list->count; i++) {
        struct ci_caps caps = {ci_cpu_features(), i < list->count ? &list->caps[i] : NULL, threads};
        speeds[i] = measured_speed(&caps, known);
        if (threads != ci_threads_default()) speeds[i].cpu_speed = 0;
        in_turn = in_turn || speeds[i].cpu_speed > 0;
    }
    double cpu = speeds[list->count].seconds;
    for (int i = 0; i < list->count; i++)
        times[i] = speeds[i].cpu_speed > 0 ? speeds[i].cpu_speed
                   : cpu > 0               ? speeds[i].seconds / cpu
                   : in_turn               ? 0
                                           : speeds[i].seconds;
    times[list->count] = in_turn || cpu > 0;
    free(speeds);
    return CLINFER_OK;
}

/* The fastest comes first, where what would come first was measured too and is slower by more than what chance does. */
static void put_fastest_first(const struct ci_device_list *list, const double *times, int *order) {
    int fastest = 0;
    for (int i = 0; i <= list->count; i++) {
        double now = times[order[fastest] < 0 ? list->count : order[fastest]];
        double time = times[order[i] < 0 ? list->count : order[i]];
        if (time > 0 && now > 0 && time < now) fastest = i;
    }
    int found = order[fastest], usual = order[0];
    double gain = times[usual < 0 ? list->count : usual] / times[found < 0 ? list->count : found];
    if (fastest == 0 || gain < CI_PROFILE_PLACE_GAIN) return;
    memmove(order + 1, order, (size_t)fastest * sizeof *order);
    order[0] = found;
    ci_log(CLINFER_LOG_INFO, "measured fastest with this model, %.2f times as fast as %s: %s", gain,
           usual < 0 ? "the CPU backend" : list->caps[usual].name,
           found < 0 ? "the CPU backend" : list->caps[found].name);
}

enum clinfer_status ci_engine_auto_order(const struct ci_device_list *list,
                                         const struct clinfer_engine_options *options, int *order) {
    struct known known;
    for (int i = 0; i < list->count; i++) order[i] = i;
    order[list->count] = -1;
    int threads = options->threads > 0 ? options->threads : ci_threads_default();
    if (options->tuning && strcmp(options->tuning, "auto") != 0) return CLINFER_OK;
    if (!any_was_tuned_here(list, threads)) return CLINFER_OK;
    enum clinfer_status status = look_at_model(options, &known);
    double *times = calloc((size_t)list->count + 1, sizeof *times);
    if (!times && status == CLINFER_OK) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    if (status == CLINFER_OK) status = compare_places(list, &known, threads, times);
    if (status == CLINFER_OK) put_fastest_first(list, times, order);
    free(times);
    return status;
}
