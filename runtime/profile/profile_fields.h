/* profile_fields.h: what the files of this folder share, and whoever has pieces of a profile as JSON. */
#ifndef CI_PROFILE_PROFILE_FIELDS_H
#define CI_PROFILE_PROFILE_FIELDS_H

#include "profile/fields.h"
#include "profile/profile.h"
#include "profile/quarantine.h"

/* "tunables": an object of names and whole numbers, [CI_PROFILE_TUNABLES]. */
enum clinfer_status ci_profile_read_tunables(const struct ci_field_place *place, const json_t *object,
                                             struct ci_profile_tunable *tunables, int *count);
enum clinfer_status ci_profile_write_tunables(const struct ci_field_place *place,
                                              const struct ci_profile_tunable *tunables, int count, json_t *object);

/* The member "settings" of `object`, which may be missing, and is written where they say anything. */
enum clinfer_status ci_profile_settings_read(const struct ci_field_place *place, const json_t *object,
                                             struct ci_profile_settings *settings);
enum clinfer_status ci_profile_settings_write(const struct ci_field_place *place,
                                              const struct ci_profile_settings *settings, json_t *object);

/* The same with the member "steps". */
enum clinfer_status ci_profile_steps_read(const struct ci_field_place *place, const json_t *object,
                                          struct ci_profile_steps *steps);
enum clinfer_status ci_profile_steps_write(const struct ci_field_place *place, const struct ci_profile_steps *steps,
                                           json_t *object);

/* The key of a profile's text, of which nothing else is read. false: it is not found so, which says nothing. */
bool ci_profile_peek_key(const char *text, size_t length, struct ci_profile_key *key);

/* CLBlast's parameters: whether the values fit each other; CLINFER_BAD_FILE names the first that does not. */
enum clinfer_status ci_profile_clblast_check(const struct ci_field_place *place, const struct ci_profile_clblast *set);

/* An object with a member for each kernel that has any; both check. */
enum clinfer_status ci_profile_clblast_read(const struct ci_field_place *place, const json_t *object,
                                            struct ci_profile_clblast *set);
enum clinfer_status ci_profile_clblast_write(const struct ci_field_place *place, const struct ci_profile_clblast *set,
                                             json_t *object);

/* Any text as the list; `name` is for messages. CLINFER_BAD_FILE. */
enum clinfer_status ci_quarantine_parse(const char *name, const char *text, size_t length,
                                        struct ci_quarantine *quarantine);

/* One item of the quarantine, which is what a mark of a trial holds, too. */
enum clinfer_status ci_quarantine_read_item(const struct ci_field_place *place, const json_t *object,
                                            struct ci_quarantined *item);
enum clinfer_status ci_quarantine_write_item(const struct ci_field_place *place, const struct ci_quarantined *item,
                                             json_t *object);

/* Whether both have the same tunables with the same values, in whatever order. */
bool ci_profile_same_tunables(const struct ci_profile_tunable *a, int a_count, const struct ci_profile_tunable *b,
                              int b_count);

#endif
