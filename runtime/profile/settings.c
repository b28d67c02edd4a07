/* settings.c: settings as JSON; docs/profile-format.md is this table in words. */
#include "profile/settings.h"

#include <string.h>

#include "base/status.h"
#include "profile/profile_fields.h"

#define WHOLE(kind, type, member, least, most)                                                                         \
    { #member, CI_FIELD_##kind, offsetof(struct type, member), sizeof(int), least, most, true }
#define NAME(type, member, least)                                                                                      \
    {                                                                                                                  \
#member, CI_FIELD_NAME, offsetof(struct type, member), CI_SETTING_WORD_BYTES, least,                           \
            CI_SETTING_WORD_BYTES - 1, true                                                                            \
    }

static const struct ci_field fields[] = {
    WHOLE(INT, ci_profile_settings, threads, 0, 1024),
    WHOLE(INT, ci_profile_settings, batch, 0, 65536),
    NAME(ci_profile_settings, activations, 0),
    NAME(ci_profile_settings, pages, 0),
    {0},
};

#define STEP(rows, index, most)                                                                                        \
    { "rows_" #rows, CI_FIELD_NUMBER, offsetof(struct ci_profile_steps, seconds[index]), sizeof(double), 0, most, true }

static const struct ci_field step_fields[] = {STEP(1, 0, 3600), STEP(2, 1, 3600),  STEP(4, 2, 3600),
                                              STEP(8, 3, 3600), STEP(16, 4, 3600), {0}};

bool ci_profile_settings_say(const struct ci_profile_settings *settings) {
    static const struct ci_profile_settings nothing;
    return memcmp(settings, &nothing, sizeof nothing) != 0;
}

enum clinfer_status ci_profile_settings_read(const struct ci_field_place *place, const json_t *object,
                                             struct ci_profile_settings *settings) {
    struct ci_field_place below = ci_field_below(place, "settings", -1);
    const json_t *member = json_object_get(object, "settings");
    *settings = (struct ci_profile_settings){0};
    return member ? ci_field_read(&below, fields, member, settings) : CLINFER_OK;
}

enum clinfer_status ci_profile_settings_write(const struct ci_field_place *place,
                                              const struct ci_profile_settings *settings, json_t *object) {
    struct ci_field_place below = ci_field_below(place, "settings", -1);
    if (!ci_profile_settings_say(settings)) return CLINFER_OK;
    json_t *member = json_object();
    if (json_object_set_new(object, "settings", member) != 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    return ci_field_write(&below, fields, settings, member);
}

enum clinfer_status ci_profile_steps_read(const struct ci_field_place *place, const json_t *object,
                                          struct ci_profile_steps *steps) {
    struct ci_field_place below = ci_field_below(place, "steps", -1);
    const json_t *member = json_object_get(object, "steps");
    *steps = (struct ci_profile_steps){0};
    return member ? ci_field_read(&below, step_fields, member, steps) : CLINFER_OK;
}

enum clinfer_status ci_profile_steps_write(const struct ci_field_place *place, const struct ci_profile_steps *steps,
                                           json_t *object) {
    struct ci_field_place below = ci_field_below(place, "steps", -1);
    if (!(steps->seconds[0] > 0)) return CLINFER_OK;
    json_t *member = json_object();
    if (json_object_set_new(object, "steps", member) != 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    return ci_field_write(&below, step_fields, steps, member);
}
