/* profile.c: a profile in memory and as text. The tables say everything about the file: docs/profile-format.md is to be
 * changed with them, and CI_PROFILE_VERSION when an older clinfer could misread what is new. */
#include "profile/profile.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "profile/profile_fields.h"

/* ---- the file ---- */

/* Bounds of what a machine could measure; beyond them a number is a mistake or an attack. */
#define MOST_SECONDS 3600
#define MOST_RATE 1e18
#define MOST_WORK 1e21
#define MOST_SHAPE 1099511627776.0 /* 2^40 */
#define MOST_COUNT 1000000000

#define TEXT(type, member, least) CI_FIELD_TEXTS(CI_FIELD_TEXT, struct type, member, least)
#define NAME(type, member, least) CI_FIELD_TEXTS(CI_FIELD_NAME, struct type, member, least)
#define NUMBER(type, member, least, most) CI_FIELD_NUMBERS(CI_FIELD_NUMBER, struct type, member, least, most)
#define WHOLE(kind, type, member, least, most) CI_FIELD_NUMBERS(CI_FIELD_##kind, struct type, member, least, most)
#define END                                                                                                            \
    { 0 }

static const struct ci_field key_fields[] = {
    NAME(ci_profile_key, kind, 1),
    TEXT(ci_profile_key, platform, 1),
    TEXT(ci_profile_key, platform_version, 0),
    TEXT(ci_profile_key, device, 1),
    TEXT(ci_profile_key, driver, 0),
    WHOLE(UNSIGNED, ci_profile_key, compute_units, 0, 1000000),
    WHOLE(INT, ci_profile_key, threads, 0, 65536),
    NAME(ci_profile_key, cpu, 0),
    END,
};

/* The first files had no `dot8_operations_per_second`. */
static const struct ci_field device_fields[] = {
    NUMBER(ci_profile_device, read_bytes_per_second, 0, MOST_RATE),
    NUMBER(ci_profile_device, operations_per_second, 0, MOST_RATE),
    {"dot8_operations_per_second", CI_FIELD_NUMBER, offsetof(struct ci_profile_device, dot8_operations_per_second),
     sizeof(double), 0, MOST_RATE, true},
    NUMBER(ci_profile_device, launch_seconds, 0, MOST_SECONDS),
    NUMBER(ci_profile_device, wait_seconds, 0, MOST_SECONDS),
    NUMBER(ci_profile_device, crossing_seconds, 0, MOST_SECONDS),
    NUMBER(ci_profile_device, crossing_bytes_per_second, 0, MOST_RATE),
    END,
};

static const struct ci_field signature_fields[] = {
    NAME(ci_profile_signature, op, 1),
    NAME(ci_profile_signature, types, 0),
    NAME(ci_profile_signature, params, 0),
    WHOLE(INT64, ci_profile_signature, rows, 1, INT_MAX),
    WHOLE(INT64, ci_profile_signature, k, 0, MOST_SHAPE),
    WHOLE(INT64, ci_profile_signature, n, 0, MOST_SHAPE),
    END,
};

static const struct ci_field entry_fields[] = {
    CI_FIELD_CALLERS("signature", false),
    NAME(ci_profile_entry, layout, 0),
    NAME(ci_profile_entry, variant, 1),
    CI_FIELD_CALLERS("tunables", false),
    WHOLE(HASH, ci_profile_entry, source, 0, 0),
    NUMBER(ci_profile_entry, seconds, 0, MOST_SECONDS),
    NUMBER(ci_profile_entry, default_seconds, 0, MOST_SECONDS),
    NUMBER(ci_profile_entry, bytes, 0, MOST_WORK),
    NUMBER(ci_profile_entry, operations, 0, MOST_WORK),
    NUMBER(ci_profile_entry, nmse, 0, 1),
    WHOLE(INT, ci_profile_entry, tried, 0, MOST_COUNT),
    WHOLE(INT, ci_profile_entry, refused, 0, MOST_COUNT),
    WHOLE(INT, ci_profile_entry, crashed, 0, MOST_COUNT),
    END,
};

static const struct ci_field model_fields[] = {
    TEXT(ci_profile_model, name, 0),
    WHOLE(HASH, ci_profile_model, fingerprint, 0, 0),
    NUMBER(ci_profile_model, decode_before, 0, MOST_RATE),
    NUMBER(ci_profile_model, decode_after, 0, MOST_RATE),
    NUMBER(ci_profile_model, prefill_before, 0, MOST_RATE),
    NUMBER(ci_profile_model, prefill_after, 0, MOST_RATE),
    NUMBER(ci_profile_model, covered, 0, 1),
    {"bytes", CI_FIELD_NUMBER, offsetof(struct ci_profile_model, bytes), sizeof(double), 0, MOST_WORK, true},
    {"cpu_speed", CI_FIELD_NUMBER, offsetof(struct ci_profile_model, cpu_speed), sizeof(double), 0, 1e6, true},
    {"outdated", CI_FIELD_BOOL, offsetof(struct ci_profile_model, outdated), sizeof(bool), 0, 0, true},
    CI_FIELD_CALLERS("steps", true),
    CI_FIELD_CALLERS("settings", true),
    END,
};

/* `imported` may be missing: so it is from the tuner. So may `clblast`: most tunes look for none. */
static const struct ci_field profile_fields[] = {
    CI_FIELD_CALLERS("schema", false),
    CI_FIELD_CALLERS("version", false),
    NAME(ci_profile, clinfer, 0),
    NAME(ci_profile, created, 0),
    NUMBER(ci_profile, tune_seconds, 0, 1e9),
    {"imported", CI_FIELD_BOOL, offsetof(struct ci_profile, imported), sizeof(bool), 0, 0, true},
    CI_FIELD_CALLERS("key", false),
    CI_FIELD_CALLERS("measured", false),
    CI_FIELD_CALLERS("clblast", true),
    CI_FIELD_CALLERS("models", false),
    CI_FIELD_CALLERS("entries", false),
    END,
};

static const char schema[] = "clinfer-profile";

/* ---- tunables ---- */

void ci_profile_tunables_text(const struct ci_profile_tunable *tunables, int count, char *text, size_t size) {
    text[0] = 0;
    for (int i = 0; i < count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s=%d", used ? "," : "", tunables[i].name, tunables[i].value);
    }
}

static struct ci_field tunable_field(const char *name) {
    return (struct ci_field){name, CI_FIELD_INT, 0, sizeof(int), INT_MIN, INT_MAX, false};
}

/* Names are keys of JSON, not values; checked as such all the same. */
static enum clinfer_status check_tunable_name(const struct ci_field_place *place, const char *name) {
    const struct ci_field field = {"", CI_FIELD_NAME, 0, 0, 1, CI_PROFILE_NAME_BYTES - 1, false};
    char checked[CI_PROFILE_NAME_BYTES];
    json_t *text = json_string(name);
    if (!text) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    enum clinfer_status status = ci_field_read_one(place, &field, text, checked);
    json_decref(text);
    return status;
}

enum clinfer_status ci_profile_read_tunables(const struct ci_field_place *place, const json_t *object,
                                             struct ci_profile_tunable *tunables, int *count) {
    struct ci_field_place below = ci_field_below(place, "tunables", -1);
    json_t *map = json_object_get(object, "tunables"), *value;
    const char *name;
    *count = 0;
    if (!json_is_object(map)) return ci_field_refuse(&below, "", map, "must be an object");
    if (json_object_size(map) > CI_PROFILE_TUNABLES)
        return ci_field_refuse(&below, "", map, "has %zu members: at most %d are read", json_object_size(map),
                               CI_PROFILE_TUNABLES);
    json_object_foreach(map, name, value) {
        const struct ci_field field = tunable_field(name);
        struct ci_profile_tunable *tunable = &tunables[(*count)++];
        enum clinfer_status status = check_tunable_name(&below, name);
        if (status == CLINFER_OK) status = ci_field_read_one(&below, &field, value, &tunable->value);
        if (status != CLINFER_OK) return status;
        memcpy(tunable->name, name, strlen(name) + 1);
    }
    return CLINFER_OK;
}

enum clinfer_status ci_profile_write_tunables(const struct ci_field_place *place,
                                              const struct ci_profile_tunable *tunables, int count, json_t *object) {
    struct ci_field_place below = ci_field_below(place, "tunables", -1);
    json_t *map = json_object();
    enum clinfer_status status = CLINFER_OK;
    assert(count >= 0 && count <= CI_PROFILE_TUNABLES);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        status = check_tunable_name(&below, tunables[i].name);
        if (status == CLINFER_OK && json_object_set_new(map, tunables[i].name, json_integer(tunables[i].value)) != 0)
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    }
    if (json_object_set_new(object, "tunables", map) != 0 && status == CLINFER_OK)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    return status;
}

bool ci_profile_same_tunables(const struct ci_profile_tunable *a, int a_count, const struct ci_profile_tunable *b,
                              int b_count) {
    if (a_count != b_count) return false;
    for (int i = 0; i < a_count; i++) {
        int other = 0;
        while (other < b_count && strcmp(a[i].name, b[other].name) != 0) other++;
        if (other == b_count || a[i].value != b[other].value) return false;
    }
    return true;
}

/* ---- reading ---- */

static enum clinfer_status read_entry(const struct ci_field_place *place, const json_t *object,
                                      struct ci_profile_entry *entry) {
    struct ci_field_place below = ci_field_below(place, "signature", -1);
    enum clinfer_status status = ci_field_read(place, entry_fields, object, entry);
    if (status == CLINFER_OK)
        status = ci_field_read(&below, signature_fields, json_object_get(object, "signature"), &entry->signature);
    if (status == CLINFER_OK) status = ci_profile_read_tunables(place, object, entry->tunables, &entry->tunable_count);
    return status;
}

static bool same_choice(const struct ci_profile_entry *a, const struct ci_profile_entry *b) {
    const struct ci_profile_signature *x = &a->signature, *y = &b->signature;
    return x->rows == y->rows && x->k == y->k && x->n == y->n && strcmp(x->op, y->op) == 0 &&
           strcmp(x->types, y->types) == 0 && strcmp(x->params, y->params) == 0 && strcmp(a->layout, b->layout) == 0;
}

static enum clinfer_status read_entries(const struct ci_field_place *place, const json_t *array,
                                        struct ci_profile *profile) {
    size_t count = json_array_size(array);
    if (!count) return CLINFER_OK;
    profile->entries = calloc(count, sizeof *profile->entries);
    if (!profile->entries) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    for (size_t i = 0; i < count; i++) {
        struct ci_field_place below = ci_field_below(place, "entries", (long)i);
        const json_t *item = json_array_get(array, i);
        enum clinfer_status status = read_entry(&below, item, &profile->entries[i]);
        if (status != CLINFER_OK) return status;
        for (int other = 0; other < profile->entry_count; other++)
            if (same_choice(&profile->entries[other], &profile->entries[i]))
                return ci_field_refuse(&below, "", item, "is for the same op, types, layout and shape as entries[%d]",
                                       other);
        profile->entry_count++;
    }
    return CLINFER_OK;
}

static enum clinfer_status read_models(const struct ci_field_place *place, const json_t *array,
                                       struct ci_profile *profile) {
    size_t count = json_array_size(array);
    if (!count) return CLINFER_OK;
    profile->models = calloc(count, sizeof *profile->models);
    if (!profile->models) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    for (size_t i = 0; i < count; i++) {
        struct ci_field_place below = ci_field_below(place, "models", (long)i);
        const json_t *item = json_array_get(array, i);
        enum clinfer_status status = ci_field_read(&below, model_fields, item, &profile->models[i]);
        if (status == CLINFER_OK) status = ci_profile_steps_read(&below, item, &profile->models[i].steps);
        if (status == CLINFER_OK) status = ci_profile_settings_read(&below, item, &profile->models[i].settings);
        if (status != CLINFER_OK) return status;
        profile->model_count++;
    }
    return CLINFER_OK;
}

static enum clinfer_status read_profile(const struct ci_field_place *place, const json_t *object,
                                        struct ci_profile *profile) {
    struct ci_field_place key = ci_field_below(place, "key", -1), measured = ci_field_below(place, "measured", -1);
    struct ci_field_place clblast = ci_field_below(place, "clblast", -1);
    const json_t *entries = NULL, *models = NULL, *parameters = json_object_get(object, "clblast");
    enum clinfer_status status = ci_field_check_schema(place, object, schema, CI_PROFILE_VERSION);
    if (status == CLINFER_OK) status = ci_field_read(place, profile_fields, object, profile);
    if (status == CLINFER_OK) status = ci_field_read(&key, key_fields, json_object_get(object, "key"), &profile->key);
    if (status == CLINFER_OK)
        status = ci_field_read(&measured, device_fields, json_object_get(object, "measured"), &profile->measured);
    if (status == CLINFER_OK && parameters) status = ci_profile_clblast_read(&clblast, parameters, &profile->clblast);
    if (status == CLINFER_OK) status = ci_field_array(place, object, "models", CI_PROFILE_MODELS, &models);
    if (status == CLINFER_OK) status = ci_field_array(place, object, "entries", CI_PROFILE_ENTRIES, &entries);
    if (status == CLINFER_OK) status = read_models(place, models, profile);
    if (status == CLINFER_OK) status = read_entries(place, entries, profile);
    return status;
}

enum clinfer_status ci_profile_parse(const char *name, const char *text, size_t length, struct ci_profile *profile) {
    const struct ci_field_place place = {.file = name};
    json_t *object;
    *profile = (struct ci_profile){0};
    enum clinfer_status status = ci_field_parse(name, text, length, CI_PROFILE_FILE_BYTES, &object);
    if (status != CLINFER_OK) return status;
    status = read_profile(&place, object, profile);
    json_decref(object);
    if (status != CLINFER_OK) ci_profile_free(profile);
    return status;
}

bool ci_profile_peek_key(const char *text, size_t length, struct ci_profile_key *key) {
    static const char name[] = "\"key\":";
    const struct ci_field_place place = {.file = "key"};
    const char *found = memmem(text, length, name, sizeof name - 1), *at = found ? found + sizeof name - 1 : NULL;
    json_t *object = at ? json_loadb(at, (size_t)(text + length - at), JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    *key = (struct ci_profile_key){0};
    bool known = object && ci_field_read(&place, key_fields, object, key) == CLINFER_OK;
    json_decref(object);
    return known;
}

static enum clinfer_status parse_and_free(const char *path, enum clinfer_status status, char *text, size_t length,
                                          struct ci_profile *profile) {
    *profile = (struct ci_profile){0};
    if (status == CLINFER_OK) status = ci_profile_parse(path, text, length, profile);
    free(text);
    return status;
}

enum clinfer_status ci_profile_read(const char *path, struct ci_profile *profile) {
    char *text;
    size_t length;
    enum clinfer_status status = ci_file_read(path, CI_PROFILE_FILE_BYTES, &text, &length);
    return parse_and_free(path, status, text, length, profile);
}

enum clinfer_status ci_profile_read_own(const char *path, struct ci_profile *profile) {
    char *text;
    size_t length;
    enum clinfer_status status = ci_file_read_own(path, CI_PROFILE_FILE_BYTES, &text, &length);
    return parse_and_free(path, status, text, length, profile);
}

/* ---- writing ---- */

/* A new object under `name`, borrowed; NULL: out of memory. */
static json_t *add_object(json_t *object, const char *name) {
    json_t *member = json_object();
    return json_object_set_new(object, name, member) == 0 ? member : NULL;
}

static json_t *append_object(json_t *array) {
    json_t *item = json_object();
    return json_array_append_new(array, item) == 0 ? item : NULL;
}

static enum clinfer_status write_entry(const struct ci_field_place *place, const struct ci_profile_entry *entry,
                                       json_t *object) {
    struct ci_field_place below = ci_field_below(place, "signature", -1);
    json_t *signature = object ? add_object(object, "signature") : NULL;
    if (!signature) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    enum clinfer_status status = ci_field_write(&below, signature_fields, &entry->signature, signature);
    if (status == CLINFER_OK) status = ci_field_write(place, entry_fields, entry, object);
    if (status == CLINFER_OK) status = ci_profile_write_tunables(place, entry->tunables, entry->tunable_count, object);
    return status;
}

static enum clinfer_status write_lists(const struct ci_field_place *place, const struct ci_profile *profile,
                                       json_t *models, json_t *entries) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < profile->model_count && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, "models", i);
        json_t *item = append_object(models);
        status = item ? ci_field_write(&below, model_fields, &profile->models[i], item)
                      : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
        if (status == CLINFER_OK) status = ci_profile_steps_write(&below, &profile->models[i].steps, item);
        if (status == CLINFER_OK) status = ci_profile_settings_write(&below, &profile->models[i].settings, item);
    }
    for (int i = 0; i < profile->entry_count && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, "entries", i);
        status = write_entry(&below, &profile->entries[i], append_object(entries));
    }
    return status;
}

static enum clinfer_status write_profile(const struct ci_field_place *place, const struct ci_profile *profile,
                                         json_t *object) {
    struct ci_field_place below = ci_field_below(place, "key", -1);
    struct ci_profile_key key = profile->key;
    ci_profile_clean_key(&key);
    json_t *models = json_array(), *entries = json_array(), *member;
    enum clinfer_status status = CLINFER_OK;
    if (json_object_set_new(object, "schema", json_string(schema)) != 0 ||
        json_object_set_new(object, "version", json_integer(CI_PROFILE_VERSION)) != 0)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    if (status == CLINFER_OK) status = ci_field_write(place, profile_fields, profile, object);
    if (status == CLINFER_OK)
        status = (member = add_object(object, "key"))
                     ? ci_field_write(&below, key_fields, &key, member)
                     : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    below = ci_field_below(place, "measured", -1);
    if (status == CLINFER_OK)
        status = (member = add_object(object, "measured"))
                     ? ci_field_write(&below, device_fields, &profile->measured, member)
                     : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    below = ci_field_below(place, "clblast", -1);
    if (status == CLINFER_OK && profile->clblast.kernels)
        status = (member = add_object(object, "clblast"))
                     ? ci_profile_clblast_write(&below, &profile->clblast, member)
                     : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    if (status == CLINFER_OK) status = write_lists(place, profile, models, entries);
    /* Also when something failed: the references go to the object. */
    if ((json_object_set_new(object, "models", models) | json_object_set_new(object, "entries", entries)) != 0 &&
        status == CLINFER_OK)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    return status;
}

enum clinfer_status ci_profile_print(const char *name, const struct ci_profile *profile, char **text) {
    const struct ci_field_place place = {.file = name};
    *text = NULL;
    if (profile->entry_count > CI_PROFILE_ENTRIES || profile->model_count > CI_PROFILE_MODELS)
        return ci_fail(CLINFER_BAD_FILE, "%s: %d entries and %d models: there may be %d and %d", name,
                       profile->entry_count, profile->model_count, CI_PROFILE_ENTRIES, CI_PROFILE_MODELS);
    json_t *object = json_object();
    enum clinfer_status status =
        object ? write_profile(&place, profile, object) : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    if (status == CLINFER_OK && !(*text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(9))))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    json_decref(object);
    return status;
}

enum clinfer_status ci_profile_write(const char *path, const struct ci_profile *profile) {
    char *text;
    enum clinfer_status status = ci_profile_print(path, profile, &text);
    if (status == CLINFER_OK) status = ci_file_write(path, text, strlen(text));
    free(text);
    return status;
}

/* ---- in memory ---- */

const char *ci_profile_place_text(const struct ci_profile_model *model) {
    return model->cpu_speed >= CI_PROFILE_PLACE_GAIN       ? "it comes before this device"
           : model->cpu_speed * CI_PROFILE_PLACE_GAIN <= 1 ? "this device comes before it"
                                                           : "the usual one comes first";
}

void ci_profile_free(struct ci_profile *profile) {
    free(profile->entries);
    free(profile->models);
    *profile = (struct ci_profile){0};
}

enum clinfer_status ci_profile_set(struct ci_profile *profile, const struct ci_profile_entry *entry) {
    for (int i = 0; i < profile->entry_count; i++) {
        if (same_choice(&profile->entries[i], entry)) {
            profile->entries[i] = *entry;
            return CLINFER_OK;
        }
    }
    struct ci_profile_entry *more =
        realloc(profile->entries, ((size_t)profile->entry_count + 1) * sizeof *profile->entries);
    if (!more) return ci_fail(CLINFER_OUT_OF_MEMORY, "profile: out of memory");
    profile->entries = more;
    more[profile->entry_count++] = *entry;
    return CLINFER_OK;
}

int ci_profile_bucket(int64_t rows) { return rows <= 1 ? 0 : rows <= 8 ? 1 : rows <= 64 ? 2 : 3; }

double ci_profile_peak(const struct ci_profile_device *measured, const struct ci_profile_signature *signature) {
    size_t length = strcspn(signature->types, ",");
    bool bytes = length == 2 && strncmp(signature->types, "q8", 2) == 0;
    bool pairs = length == 3 && strncmp(signature->types, "q16", 3) == 0; /* two products of bytes each */
    if (!bytes && !pairs) return measured->operations_per_second;
    double dot8 = measured->dot8_operations_per_second / (pairs ? 2 : 1);
    return dot8 > 0 ? fmax(dot8, measured->operations_per_second) : 0;
}

struct ci_profile_rate ci_profile_rate(const struct ci_profile_entry *entry, const struct ci_profile_device *measured) {
    struct ci_profile_rate rate = {.by_bytes = true};
    double bandwidth = measured->read_bytes_per_second, peak = ci_profile_peak(measured, &entry->signature);
    if (!ci_profile_measured_here(entry)) return rate;
    double by_bytes = bandwidth > 0 ? entry->bytes / bandwidth : 0,
           by_operations = peak > 0 ? entry->operations / peak : 0;
    rate.by_bytes = by_bytes >= by_operations;
    rate.per_second = (rate.by_bytes ? entry->bytes : entry->operations) / entry->seconds;
    rate.share = fmax(by_bytes, by_operations) / entry->seconds;
    return rate;
}

static double apart(int64_t a, int64_t b) { return fabs(log2((double)(a > 1 ? a : 1) / (double)(b > 1 ? b : 1))); }

const struct ci_profile_entry *ci_profile_find(const struct ci_profile *profile,
                                               const struct ci_profile_signature *signature, const char *layout) {
    const struct ci_profile_entry *nearest = NULL;
    double least = 0, least_rows = 0;
    for (int i = 0; i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        const struct ci_profile_signature *other = &entry->signature;
        if (strcmp(other->op, signature->op) != 0 || strcmp(other->types, signature->types) != 0 ||
            strcmp(other->params, signature->params) != 0 || strcmp(entry->layout, layout) != 0 ||
            ci_profile_bucket(other->rows) != ci_profile_bucket(signature->rows))
            continue;
        double distance = apart(other->k, signature->k) + apart(other->n, signature->n);
        double rows = apart(other->rows, signature->rows);
        if (nearest && (distance > least || (distance >= least && rows >= least_rows))) continue;
        nearest = entry;
        least = distance;
        least_rows = rows;
    }
    return nearest;
}
