#define _GNU_SOURCE
#include "cli/profile_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/status.h"
#include "base/threads.h"
#include "cpu/cpu.h"
#include "device/device.h"
#include "ops/signature.h"
#include "profile/shipped.h"

static enum clinfer_status no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "profiles: out of memory"); }

/* ---- devices ---- */

static enum clinfer_status list_devices(struct ci_profile_store *store) {
    struct ci_device_list list;
    enum clinfer_status status = ci_device_list(&list);
    if (status != CLINFER_OK) return status;
    store->devices = calloc((size_t)list.count + 1, sizeof *store->devices);
    if (!store->devices) status = no_memory();
    for (int i = 0; i <= list.count && status == CLINFER_OK; i++) {
        const struct ci_caps caps = {ci_cpu_features(), i < list.count ? &list.caps[i] : NULL, ci_threads_default()};
        struct ci_store_device *device = &store->devices[store->device_count++];
        ci_signature_key(&caps, &device->key);
        snprintf(device->label, sizeof device->label, i < list.count ? "%d" : "cpu", i);
    }
    ci_device_list_free(&list);
    return status;
}

void ci_profile_store_devices(const struct ci_profile_store *store, char *text, size_t size) {
    text[0] = '\0';
    for (int i = 0; i < store->device_count; i++) {
        size_t used = strlen(text);
        const struct ci_profile_key *key = &store->devices[i].key;
        snprintf(text + used, size - used, "%s%s \"%.60s\" (%.40s)", used ? ", " : "", store->devices[i].label,
                 key->device, key->platform);
    }
}

/* ---- profiles ---- */

static enum clinfer_status keep(struct ci_store_profile *known, enum clinfer_status status) {
    if (status == CLINFER_OUT_OF_MEMORY) return status;
    if (status != CLINFER_OK && !(known->error = strdup(clinfer_error()))) return no_memory();
    return known->name ? CLINFER_OK : no_memory();
}

static enum clinfer_status add_file(struct ci_store_profile *known, const char *path) {
    const char *slash = strrchr(path, '/'), *stem = slash ? slash + 1 : path;
    known->name = strndup(stem, strlen(stem) - strlen(".json"));
    known->path = strdup(path);
    return known->path ? keep(known, ci_profile_read_own(path, &known->profile)) : no_memory();
}

static enum clinfer_status add_shipped(struct ci_store_profile *known, const struct ci_profile_shipped *file) {
    if (asprintf(&known->name, "shipped/%s", file->name) < 0) known->name = NULL;
    return keep(known, ci_profile_parse(file->name, file->text, file->length, &known->profile));
}

static enum clinfer_status list_profiles(struct ci_profile_store *store) {
    struct ci_profile_files files;
    size_t shipped = 0;
    enum clinfer_status status = ci_profile_files(&files);
    if (status != CLINFER_OK) return status;
    while (ci_profiles_shipped[shipped].name) shipped++;
    store->profiles = calloc((size_t)files.count + shipped + 1, sizeof *store->profiles);
    if (!store->profiles) status = no_memory();
    for (int i = 0; i < files.count && status == CLINFER_OK; i++)
        status = add_file(&store->profiles[store->profile_count++], files.paths[i]);
    for (size_t i = 0; i < shipped && status == CLINFER_OK; i++)
        status = add_shipped(&store->profiles[store->profile_count++], &ci_profiles_shipped[i]);
    ci_profile_files_free(&files);
    return status;
}

/* ---- which is used ---- */

/* By the path that look-up gives. */
static const struct ci_store_profile *by_path(const struct ci_profile_store *store, const char *path) {
    for (int i = 0; i < store->profile_count; i++) {
        const struct ci_store_profile *known = &store->profiles[i];
        const char *name = known->path ? known->path : known->name;
        if (name && strcmp(name, path) == 0) return known;
    }
    return NULL;
}

static enum clinfer_status mark_used(struct ci_profile_store *store) {
    for (int i = 0; i < store->device_count; i++) {
        struct ci_store_device *device = &store->devices[i];
        struct ci_profile profile;
        enum ci_profile_origin origin;
        char *path;
        enum clinfer_status status = ci_profile_lookup(&device->key, &profile, &origin, &path);
        if (status != CLINFER_OK) return status;
        device->used = path ? by_path(store, path) : NULL;
        ci_profile_free(&profile);
        free(path);
    }
    return CLINFER_OK;
}

bool ci_profile_store_fits(const struct ci_store_device *device, const struct ci_store_profile *profile) {
    return device->used == profile || (!profile->error && ci_profile_same_device(&device->key, &profile->profile.key));
}

enum clinfer_status ci_profile_store_open(struct ci_profile_store *store) {
    *store = (struct ci_profile_store){0};
    enum clinfer_status status = list_devices(store);
    if (status == CLINFER_OK) status = list_profiles(store);
    if (status == CLINFER_OK) status = mark_used(store);
    if (status != CLINFER_OK) ci_profile_store_close(store);
    return status;
}

void ci_profile_store_close(struct ci_profile_store *store) {
    for (int i = 0; i < store->profile_count; i++) {
        ci_profile_free(&store->profiles[i].profile);
        free(store->profiles[i].name);
        free(store->profiles[i].path);
        free(store->profiles[i].error);
    }
    free(store->profiles);
    free(store->devices);
    *store = (struct ci_profile_store){0};
}

/* ---- by name ---- */

static enum clinfer_status not_found(const struct ci_profile_store *store, const char *name, const char *problem) {
    char known[512] = "";
    for (int i = 0; i < store->profile_count; i++) ci_names_add(known, sizeof known, store->profiles[i].name);
    return ci_fail(CLINFER_NOT_FOUND, "%s: %s; there %s %s. `clinfer profile list` tells more", name, problem,
                   store->profile_count == 1 ? "is" : "are", *known ? known : "none: `clinfer tune` makes one");
}

static bool is_number(const char *text, long *number) {
    char *end;
    *number = strtol(text, &end, 10);
    return *text && !*end;
}

static bool mentions(const struct ci_profile_key *key, const char *word) {
    return strcasestr(key->device, word) || strcasestr(key->platform, word);
}

enum clinfer_status ci_profile_store_find(const struct ci_profile_store *store, const char *name,
                                          const struct ci_store_profile **profile) {
    long number;
    *profile = NULL;
    for (int i = 0; !name && i < store->device_count && !*profile; i++) *profile = store->devices[i].used;
    if (*profile) return CLINFER_OK;
    if (!name) return not_found(store, "profile", "none is used here");
    if (is_number(name, &number) && number >= 0 && number < store->profile_count) {
        *profile = &store->profiles[number];
        return CLINFER_OK;
    }
    int matches = 0;
    for (int i = 0; i < store->profile_count; i++) {
        const struct ci_store_profile *known = &store->profiles[i];
        if (strcmp(known->name, name) == 0) {
            *profile = known;
            return CLINFER_OK;
        }
        if (!*name || (!strcasestr(known->name, name) && !mentions(&known->profile.key, name))) continue;
        *profile = known;
        matches++;
    }
    if (matches == 1) return CLINFER_OK;
    *profile = NULL;
    return not_found(store, name, matches ? "several profiles have this in their names" : "no such profile");
}

enum clinfer_status ci_profile_store_of_device(const struct ci_profile_store *store, const char *device,
                                               const struct ci_store_profile **profile) {
    const struct ci_store_device *found = NULL;
    *profile = NULL;
    for (int i = 0; i < store->device_count && !found; i++)
        if (strcmp(store->devices[i].label, device) == 0) found = &store->devices[i];
    long number;
    for (int i = 0; i < store->device_count && !found && *device && !is_number(device, &number); i++)
        if (mentions(&store->devices[i].key, device)) found = &store->devices[i];
    if (!found) {
        char here[768];
        ci_profile_store_devices(store, here, sizeof here);
        return ci_fail(CLINFER_NO_DEVICE, "--device %s: no such device; there is %s", device, here);
    }
    *profile = found->used;
    if (found->used) return CLINFER_OK;
    return ci_fail(CLINFER_NOT_FOUND, "there is no profile for \"%s\": `clinfer tune --device %s` makes one",
                   found->key.device, found->label);
}
