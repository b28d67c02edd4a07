/* quarantine.c: the list on disk. Whoever changes it holds the lock from reading to writing. */
#define _GNU_SOURCE
#include "profile/quarantine.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "profile/profile_fields.h"
#include "trace/probes.h"

enum { QUARANTINE_VERSION = 1, QUARANTINE_FILE_BYTES = 8 << 20, LOCK_SECONDS = 10 };

static const char schema[] = "clinfer-quarantine";

#define TEXT(member, least) CI_FIELD_TEXTS(CI_FIELD_TEXT, struct ci_quarantined, member, least)
#define NAME(member, least) CI_FIELD_TEXTS(CI_FIELD_NAME, struct ci_quarantined, member, least)
#define HASH(member) CI_FIELD_NUMBERS(CI_FIELD_HASH, struct ci_quarantined, member, 0, 0)

static const struct ci_field item_fields[] = {
    HASH(device),
    TEXT(device_name, 0),
    NAME(op, 1),
    NAME(variant, 1),
    CI_FIELD_CALLERS("tunables", false),
    NAME(types, 0),
    HASH(source),
    TEXT(reason, 0),
    NAME(date, 0),
    {.name = "clinfer",
     .kind = CI_FIELD_NAME,
     .offset = offsetof(struct ci_quarantined, clinfer),
     .size = CI_PROFILE_NAME_BYTES,
     .maximum = CI_PROFILE_NAME_BYTES - 1,
     .optional = true},
    {0},
};

static const struct ci_field file_fields[] = {
    CI_FIELD_CALLERS("schema", false),
    CI_FIELD_CALLERS("version", false),
    CI_FIELD_CALLERS("items", false),
    {0},
};

/* ---- the file ---- */

char *ci_quarantine_path(void) {
    char *folder = ci_profile_folder(), *path = NULL;
    if (folder && asprintf(&path, "%s/quarantine.json", folder) < 0) path = NULL;
    free(folder);
    return path;
}

enum clinfer_status ci_quarantine_read_item(const struct ci_field_place *place, const json_t *object,
                                            struct ci_quarantined *item) {
    enum clinfer_status status = ci_field_read(place, item_fields, object, item);
    if (status == CLINFER_OK) status = ci_profile_read_tunables(place, object, item->tunables, &item->tunable_count);
    return status;
}

enum clinfer_status ci_quarantine_write_item(const struct ci_field_place *place, const struct ci_quarantined *item,
                                             json_t *object) {
    struct ci_quarantined clean = *item;
    ci_field_clean(clean.device_name);
    ci_field_clean(clean.reason);
    enum clinfer_status status = ci_field_write(place, item_fields, &clean, object);
    if (status == CLINFER_OK) status = ci_profile_write_tunables(place, clean.tunables, clean.tunable_count, object);
    return status;
}

static enum clinfer_status read_items(const struct ci_field_place *place, const json_t *object,
                                      struct ci_quarantine *quarantine) {
    const json_t *array = NULL;
    enum clinfer_status status = ci_field_check_schema(place, object, schema, QUARANTINE_VERSION);
    if (status == CLINFER_OK) status = ci_field_read(place, file_fields, object, quarantine);
    if (status == CLINFER_OK) status = ci_field_array(place, object, "items", CI_QUARANTINE_ITEMS, &array);
    size_t count = status == CLINFER_OK ? json_array_size(array) : 0;
    if (count && !(quarantine->items = calloc(count, sizeof *quarantine->items)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, "items", (long)i);
        status = ci_quarantine_read_item(&below, json_array_get(array, i), &quarantine->items[i]);
        if (status == CLINFER_OK) quarantine->count++;
    }
    return status;
}

enum clinfer_status ci_quarantine_parse(const char *name, const char *text, size_t length,
                                        struct ci_quarantine *quarantine) {
    const struct ci_field_place place = {.file = name};
    json_t *object;
    *quarantine = (struct ci_quarantine){0};
    enum clinfer_status status = ci_field_parse(name, text, length, QUARANTINE_FILE_BYTES, &object);
    if (status == CLINFER_OK) status = read_items(&place, object, quarantine);
    json_decref(object);
    if (status != CLINFER_OK) ci_quarantine_free(quarantine);
    return status;
}

/* CLINFER_BAD_FILE and CLINFER_IO are left to the caller; a file that is not there, or that others may have written, is
 * an empty list. */
static enum clinfer_status read_file(const char *path, struct ci_quarantine *quarantine) {
    char *text;
    size_t length;
    *quarantine = (struct ci_quarantine){0};
    enum clinfer_status status = ci_file_read_own(path, QUARANTINE_FILE_BYTES, &text, &length);
    if (status == CLINFER_NOT_FOUND) return CLINFER_OK;
    if (status == CLINFER_REFUSED) {
        static atomic_flag told = ATOMIC_FLAG_INIT;
        ci_log(atomic_flag_test_and_set(&told) ? CLINFER_LOG_DEBUG : CLINFER_LOG_WARNING,
               "%s; the quarantine list starts empty", ci_status_message());
        return CLINFER_OK;
    }
    if (status == CLINFER_OK) status = ci_quarantine_parse(path, text, length, quarantine);
    free(text);
    return status;
}

static enum clinfer_status write_file(const char *path, const struct ci_quarantine *quarantine) {
    const struct ci_field_place place = {.file = path};
    json_t *array = json_array();
    json_t *object = json_pack("{s:s, s:i, s:o}", "schema", schema, "version", (int)QUARANTINE_VERSION, "items", array);
    enum clinfer_status status = object ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    for (int i = 0; i < quarantine->count && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(&place, "items", i);
        json_t *item = json_object();
        status = json_array_append_new(array, item) == 0 ? ci_quarantine_write_item(&below, &quarantine->items[i], item)
                                                         : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    char *text = status == CLINFER_OK ? json_dumps(object, JSON_INDENT(1)) : NULL;
    json_decref(object);
    if (status == CLINFER_OK)
        status =
            text ? ci_file_write(path, text, strlen(text)) : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    free(text);
    return status;
}

/* The lock is held. What a person may want to look at stays, under another name. */
static enum clinfer_status put_aside(const char *path, enum clinfer_status status) {
    char *aside = NULL;
    if (status != CLINFER_BAD_FILE) return status;
    if (asprintf(&aside, "%s.bad", path) < 0) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    bool moved = rename(path, aside) == 0;
    ci_log(CLINFER_LOG_WARNING, "%s; the quarantine list starts empty%s%s", ci_status_message(),
           moved ? ", the old one is now " : "", moved ? aside : "");
    free(aside);
    return CLINFER_OK;
}

enum clinfer_status ci_quarantine_read(struct ci_quarantine *quarantine) {
    *quarantine = (struct ci_quarantine){0};
    char *path = ci_quarantine_path();
    /* Without a home nothing was ever written. */
    enum clinfer_status status = path ? CLINFER_OK : ci_file_no_xdg("DATA", "quarantine");
    if (!path) return status == CLINFER_IO ? CLINFER_OK : status;
    status = read_file(path, quarantine);
    struct ci_profile_lock lock;
    /* Read again under the lock: it may have been replaced meanwhile. */
    if (status == CLINFER_BAD_FILE && ci_profile_lock_file(path, LOCK_SECONDS, &lock) == CLINFER_OK) {
        status = put_aside(path, read_file(path, quarantine));
        ci_profile_unlock(&lock);
    }
    if (status == CLINFER_BAD_FILE || status == CLINFER_IO) {
        ci_log(CLINFER_LOG_WARNING, "%s; the quarantine list counts as empty", ci_status_message());
        status = CLINFER_OK;
    }
    free(path);
    return status;
}

void ci_quarantine_free(struct ci_quarantine *quarantine) {
    free(quarantine->items);
    *quarantine = (struct ci_quarantine){0};
}

/* ---- one item ---- */

uint64_t ci_quarantine_device(const struct ci_profile_key *wanted) {
    struct ci_profile_key key = *wanted;
    ci_profile_clean_key(&key);
    const char *texts[] = {key.kind, key.platform, key.platform_version, key.device, key.driver, key.cpu};
    uint64_t hash = CI_HASH_START;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) hash = ci_hash(hash, texts[i], strlen(texts[i]) + 1);
    return ci_hash(hash, &key.compute_units, sizeof key.compute_units);
}

static bool names_agree(const struct ci_quarantined *item, const struct ci_profile_tunable *tunables, int count) {
    for (int i = 0; i < item->tunable_count; i++) {
        int other = 0;
        while (other < count && strcmp(item->tunables[i].name, tunables[other].name) != 0) other++;
        if (other == count || item->tunables[i].value != tunables[other].value) return false;
    }
    return true;
}

const struct ci_quarantined *ci_quarantine_find(const struct ci_quarantine *quarantine, uint64_t device, const char *op,
                                                const char *variant, const struct ci_profile_tunable *tunables,
                                                int tunable_count, const char *types, uint64_t source) {
    for (int i = 0; i < quarantine->count; i++) {
        const struct ci_quarantined *item = &quarantine->items[i];
        if (item->device == device && item->source == source && strcmp(item->op, op) == 0 &&
            strcmp(item->variant, variant) == 0 && (!*item->types || strcmp(item->types, types) == 0) &&
            names_agree(item, tunables, tunable_count))
            return item;
    }
    return NULL;
}

bool ci_quarantined_by_another(const struct ci_quarantined *item) {
    return strcmp(item->clinfer, CLINFER_VERSION) != 0;
}

static bool begins(const struct ci_quarantined *item, const char *word) {
    return strncmp(item->reason, word, strlen(word)) == 0;
}

bool ci_quarantined_is_fatal(const struct ci_quarantined *item) {
    return begins(item, CI_QUARANTINED_CRASHED) || begins(item, CI_QUARANTINED_TIMED_OUT) ||
           begins(item, CI_QUARANTINED_STOPPED);
}

bool ci_quarantined_by_tune(const struct ci_quarantined *item) {
    return ci_quarantined_is_fatal(item) || begins(item, CI_QUARANTINED_WRONG) ||
           begins(item, CI_QUARANTINED_OUT_OF_MEMORY);
}

static int index_of(const struct ci_quarantine *quarantine, const struct ci_quarantined *wanted) {
    for (int i = 0; i < quarantine->count; i++) {
        const struct ci_quarantined *item = &quarantine->items[i];
        if (item->device == wanted->device && item->source == wanted->source && strcmp(item->op, wanted->op) == 0 &&
            strcmp(item->variant, wanted->variant) == 0 && strcmp(item->types, wanted->types) == 0 &&
            ci_profile_same_tunables(item->tunables, item->tunable_count, wanted->tunables, wanted->tunable_count))
            return i;
    }
    return -1;
}

/* ---- changing ---- */

static void drop(struct ci_quarantine *quarantine, int index) {
    assert(quarantine->items && index < quarantine->count);
    quarantine->count--;
    memmove(&quarantine->items[index], &quarantine->items[index + 1],
            (size_t)(quarantine->count - index) * sizeof *quarantine->items);
}

/* At the end, as the newest. */
static enum clinfer_status append(struct ci_quarantine *quarantine, const struct ci_quarantined *item) {
    if (quarantine->count == CI_QUARANTINE_ITEMS) drop(quarantine, 0);
    struct ci_quarantined *more =
        realloc(quarantine->items, ((size_t)quarantine->count + 1) * sizeof *quarantine->items);
    if (!more) return ci_fail(CLINFER_OUT_OF_MEMORY, "quarantine: out of memory");
    quarantine->items = more;
    struct ci_quarantined *last = &more[quarantine->count++];
    *last = *item;
    snprintf(last->clinfer, sizeof last->clinfer, "%s", CLINFER_VERSION);
    time_t now = time(NULL);
    struct tm utc;
    if (!*last->date && gmtime_r(&now, &utc)) strftime(last->date, sizeof last->date, "%Y-%m-%d", &utc);
    return CLINFER_OK;
}

/* Of `item` (NULL: all), then the new one if there is one. */
static enum clinfer_status change(const struct ci_quarantined *removed, const struct ci_quarantined *added,
                                  int *count) {
    char *path = ci_quarantine_path();
    if (!path) return ci_file_no_xdg("DATA", "quarantine");
    struct ci_profile_lock lock;
    struct ci_quarantine quarantine = {0};
    enum clinfer_status status = ci_profile_lock_file(path, LOCK_SECONDS, &lock);
    if (status == CLINFER_OK) status = put_aside(path, read_file(path, &quarantine));
    int before = quarantine.count, found = removed ? index_of(&quarantine, removed) : -1;
    if (count) *count = before;
    if (status == CLINFER_OK) {
        if (!removed) quarantine.count = 0;
        if (found >= 0) drop(&quarantine, found);
        if (added) status = append(&quarantine, added);
        if (status == CLINFER_OK && (added || quarantine.count != before)) status = write_file(path, &quarantine);
    }
    ci_quarantine_free(&quarantine);
    ci_profile_unlock(&lock);
    free(path);
    return status;
}

enum clinfer_status ci_quarantine_add(const struct ci_quarantined *item) {
    CI_PROBE(quarantine, item->op, item->variant, item->types, item->reason);
    return change(item, item, NULL);
}

enum clinfer_status ci_quarantine_remove(const struct ci_quarantined *item) { return change(item, NULL, NULL); }

enum clinfer_status ci_quarantine_clear(int *count) { return change(NULL, NULL, count); }
