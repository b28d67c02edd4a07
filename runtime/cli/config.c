#define _GNU_SOURCE
#include "cli/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "base/status.h"
#include "cli/remotes.h"
#include "profile/fields.h"

enum { CONFIG_OPS = 256, CONFIG_REMOTES = 64, REMOTE_NAME_BYTES = 32, CONFIG_SECONDS = 86400 };

#define IN_CONFIG(member) offsetof(struct ci_config, member)
#define IN_REMOTE(member) offsetof(struct ci_config_remote, member)

const struct ci_config_key ci_config_keys[] = {
    {"model", CI_OPTION_TEXT, IN_CONFIG(model), NULL, 0, 0, "as -m", NULL},
    {"device", CI_OPTION_TEXT, IN_CONFIG(device), NULL, 0, 0, "as --device", NULL},
    {"fallback", CI_OPTION_CHOICE, IN_CONFIG(fallback), CI_FALLBACK_CHOICES, 0, 0, "as --fallback", NULL},
    {"activations", CI_OPTION_CHOICE, IN_CONFIG(activations), "auto|f32|q8", 0, 0, "as --activations", NULL},
    {"threads", CI_OPTION_INTEGER, IN_CONFIG(threads), NULL, 0, 1024, "as --threads", NULL},
    {"ops", CI_OPTION_TEXTS, IN_CONFIG(ops), NULL, 0, 0, "a list of texts, each as --op", NULL},
    {"remote", CI_OPTION_CHOICE, IN_CONFIG(remote), "never|allowed", 0, 0,
     "never: no prompt leaves this machine, whatever flags say", NULL},
    {"remotes", CI_OPTION_TEXTS, IN_CONFIG(remotes), NULL, 0, 0, "remote APIs, in the order in which they are asked",
     ci_config_remote_keys},
    {0},
};

const struct ci_config_key ci_config_remote_keys[] = {
    {"name", CI_OPTION_TEXT, IN_REMOTE(remote.name), NULL, 0, 0, "letters, digits, - and _; what --remote takes", NULL},
    {"url", CI_OPTION_TEXT, IN_REMOTE(remote.url), NULL, 0, 0, "such as https://api.openai.com/v1", NULL},
    {"dialect", CI_OPTION_TEXT, IN_REMOTE(remote.dialect), CI_REMOTE_DIALECTS, 0, 0,
     "openai (default): chat completions; anthropic: messages", NULL},
    {"model", CI_OPTION_TEXT, IN_REMOTE(remote.model), NULL, 0, 0, "the model's name there", NULL},
    {"key_variable", CI_OPTION_TEXT, IN_REMOTE(remote.key_variable), NULL, 0, 0, "the variable that holds the key",
     NULL},
    {"key_file", CI_OPTION_TEXT, IN_REMOTE(remote.key_file), NULL, 0, 0,
     "the file that holds the key, with mode 0600: / or ~/ and so on", NULL},
    {"key_command", CI_OPTION_TEXT, IN_REMOTE(remote.key_command), NULL, 0, 0, "a command for sh that prints the key",
     NULL},
    {"plain_http", CI_OPTION_FLAG, IN_REMOTE(remote.plain_http), NULL, 0, 0,
     "true: http:// is allowed to a host other than this one; never with a key", NULL},
    {"allow", CI_OPTION_FLAG, IN_REMOTE(allow), NULL, 0, 0,
     "true: asked when this machine cannot answer; false: only when --remote names it", NULL},
    {"connect_timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.connect_seconds), NULL, 0, CONFIG_SECONDS,
     "seconds until it is connected (0: 10)", NULL},
    {"first_byte_timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.first_byte_seconds), NULL, 0, CONFIG_SECONDS,
     "seconds to the first byte of an answer (0: 60)", NULL},
    {"idle_timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.idle_seconds), NULL, 0, CONFIG_SECONDS,
     "seconds between two bytes (0: 30)", NULL},
    {"timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.total_seconds), NULL, 0, CONFIG_SECONDS, "seconds in all (0: 600)",
     NULL},
    {0},
};

char *ci_config_path(void) { return ci_file_xdg("CONFIG", "config.json"); }

static enum clinfer_status out_of_memory(const struct ci_field_place *place) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
}

/* ---- unknown members: their values may be secrets, whatever they are called ---- */

static bool is_literal_key(const char *name) {
    static const char *const names[] = {"key",   "api_key", "apikey",   "api-key",       "secret",
                                        "token", "bearer",  "password", "authorization", NULL};
    for (const char *const *known = names; *known; known++)
        if (strcmp(name, *known) == 0) return true;
    return false;
}

static enum clinfer_status refuse_member(const struct ci_field_place *place, const struct ci_config_key *keys,
                                         const char *name) {
    enum { MOST_KEYS = 32 };
    const char *names[MOST_KEYS + 1] = {NULL};
    char all[256] = "";
    size_t count = 0;
    if (is_literal_key(name))
        return ci_field_refuse_unseen(
            place, name,
            "no key stands in this file, which is shown and copied: put it into a variable and name that "
            "(\"key_variable\": \"LAN_KEY\"), into a file that only you can read (\"key_file\": \"~/.lan_key\", "
            "chmod 600), or let a command print it (\"key_command\": \"pass show lan\")");
    for (const struct ci_config_key *key = keys; key->name && count < MOST_KEYS; key++) {
        names[count++] = key->name;
        ci_names_add(all, sizeof all, key->name);
    }
    const char *nearest = ci_options_nearest(name, names);
    if (nearest) return ci_field_refuse_unseen(place, name, "unknown; did you mean \"%s\"?", nearest);
    return ci_field_refuse_unseen(place, name, "unknown; there are %s", all);
}

/* ---- values ---- */

/* The number of the word in "a|b|c", -1: it is none of them. */
static int find_choice(const char *choices, const char *text) {
    for (int index = 0; *choices; index++) {
        size_t length = strcspn(choices, "|");
        if (strlen(text) == length && strncmp(text, choices, length) == 0) return index;
        choices += length + (choices[length] == '|');
    }
    return -1;
}

static enum clinfer_status read_choice(const struct ci_field_place *place, const struct ci_config_key *key,
                                       const json_t *value, int *target) {
    *target = find_choice(key->choices, json_is_string(value) ? json_string_value(value) : "");
    if (*target < 0) return ci_field_refuse(place, key->name, value, "must be one of %s", key->choices);
    return CLINFER_OK;
}

static enum clinfer_status read_text(const struct ci_field_place *place, const char *name, const json_t *value,
                                     const char **target) {
    if (!json_is_string(value) || !json_string_length(value))
        return ci_field_refuse(place, name, value, "must be a text that is not empty");
    *target = json_string_value(value);
    return CLINFER_OK;
}

static enum clinfer_status read_texts(const struct ci_field_place *place, const char *name, const json_t *object,
                                      struct ci_texts *texts) {
    const json_t *array;
    enum clinfer_status status = ci_field_array(place, object, name, CONFIG_OPS, &array);
    if (status != CLINFER_OK || !json_array_size(array)) return status;
    texts->items = calloc(json_array_size(array), sizeof *texts->items);
    if (!texts->items) return out_of_memory(place);
    for (size_t i = 0; i < json_array_size(array) && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, name, (long)i);
        status = read_text(&below, "", json_array_get(array, i), &texts->items[i]);
        if (status == CLINFER_OK) texts->count++;
    }
    return status;
}

static enum clinfer_status read_number(const struct ci_field_place *place, const struct ci_config_key *key,
                                       const json_t *value, void *target) {
    bool whole = key->kind == CI_OPTION_INTEGER;
    double number = json_number_value(value);
    if (!(whole ? json_is_integer(value) : json_is_number(value)) ||
        !(number >= key->minimum && number <= key->maximum))
        return ci_field_refuse(place, key->name, value, "must be a %s from %g to %g", whole ? "whole number" : "number",
                               key->minimum, key->maximum);
    if (whole)
        *(long long *)target = json_integer_value(value);
    else
        *(double *)target = number;
    return CLINFER_OK;
}

/* One member of `object`, by its row. */
static enum clinfer_status read_value(const struct ci_field_place *place, const struct ci_config_key *key,
                                      const json_t *object, void *target) {
    const json_t *value = json_object_get(object, key->name);
    enum clinfer_status status = CLINFER_OK;
    switch (key->kind) {
    case CI_OPTION_TEXT:
        status = read_text(place, key->name, value, target);
        if (status == CLINFER_OK && key->choices && find_choice(key->choices, json_string_value(value)) < 0)
            status = ci_field_refuse(place, key->name, value, "must be one of %s", key->choices);
        return status;
    case CI_OPTION_TEXTS: return read_texts(place, key->name, object, target);
    case CI_OPTION_CHOICE: return read_choice(place, key, value, target);
    case CI_OPTION_INTEGER:
    case CI_OPTION_NUMBER: return read_number(place, key, value, target);
    case CI_OPTION_FLAG:
        if (!json_is_boolean(value)) return ci_field_refuse(place, key->name, value, "must be true or false");
        *(bool *)target = json_is_true(value);
        return CLINFER_OK;
    case CI_OPTION_COUNT:
    case CI_OPTION_SECTION: break; /* no key has this kind */
    }
    return CLINFER_OK;
}

static enum clinfer_status read_remotes(const struct ci_field_place *place, const struct ci_config_key *key,
                                        struct ci_config *config);

static enum clinfer_status read_object(const struct ci_field_place *place, const struct ci_config_key *keys,
                                       json_t *object, void *target) {
    const char *name;
    json_t *value;
    enum clinfer_status status = CLINFER_OK;
    json_object_foreach(object, name, value) {
        const struct ci_config_key *key = keys;
        while (key->name && strcmp(key->name, name) != 0) key++;
        if (!key->name)
            status = refuse_member(place, keys, name);
        else if (key->members)
            status = read_remotes(place, key, target);
        else
            status = read_value(place, key, object, (char *)target + key->offset);
        if (status != CLINFER_OK) break;
    }
    return status;
}

/* ---- remotes ---- */

/* What was written where a name of a variable or a path belongs may be the key itself. */
static enum clinfer_status check_key(const struct ci_field_place *place, struct ci_config_remote *entry) {
    struct clinfer_remote *remote = &entry->remote;
    const char *home = getenv("HOME");
    if (!!remote->key_variable + !!remote->key_file + !!remote->key_command > 1)
        return ci_field_refuse_unseen(place, "", "has more than one of key_variable, key_file, key_command");
    if (remote->key_variable && !ci_remotes_is_variable(remote->key_variable))
        return ci_field_refuse_unseen(place, "key_variable",
                                      "must be the name of a variable, of letters, digits and _; not the key");
    if (!remote->key_file || remote->key_file[0] == '/') return CLINFER_OK;
    if (strncmp(remote->key_file, "~/", 2) != 0)
        return ci_field_refuse_unseen(place, "key_file", "must be a path that begins with / or ~/; not the key");
    if (!home || home[0] != '/')
        return ci_field_refuse_unseen(place, "key_file", "begins with ~/, and HOME is not set");
    if (asprintf(&entry->key_path, "%s%s", home, remote->key_file + 1) < 0) {
        entry->key_path = NULL;
        return out_of_memory(place);
    }
    remote->key_file = entry->key_path;
    return CLINFER_OK;
}

static enum clinfer_status check_remote(const struct ci_field_place *place, const struct ci_config *config,
                                        struct ci_config_remote *entry) {
    const struct clinfer_remote *remote = &entry->remote;
    if (!remote->name) return ci_field_refuse(place, "name", NULL, "every remote has one");
    if (strlen(remote->name) > REMOTE_NAME_BYTES || remote->name[strspn(remote->name, CI_REMOTE_NAME_CHARACTERS)])
        return ci_field_refuse_unseen(place, "name", "must have at most %d letters, digits, - and _",
                                      REMOTE_NAME_BYTES);
    for (const struct ci_config_remote *other = config->remotes; other < entry; other++)
        if (strcmp(other->remote.name, remote->name) == 0)
            return ci_field_refuse_unseen(place, "name", "there are two remotes \"%s\"", remote->name);
    if (!remote->url && !ci_remotes_built_in(remote->name))
        return ci_field_refuse(place, "url", NULL, "every remote has one, such as https://api.openai.com/v1");
    const char *wrong = remote->url ? ci_remotes_wrong_url(remote->url) : NULL;
    if (wrong) return ci_field_refuse_unseen(place, "url", "%s", wrong);
    return check_key(place, entry);
}

static enum clinfer_status read_remotes(const struct ci_field_place *place, const struct ci_config_key *key,
                                        struct ci_config *config) {
    const json_t *array;
    enum clinfer_status status = ci_field_array(place, config->file, key->name, CONFIG_REMOTES, &array);
    if (status != CLINFER_OK || !json_array_size(array)) return status;
    config->remotes = calloc(json_array_size(array), sizeof *config->remotes);
    if (!config->remotes) return out_of_memory(place);
    for (size_t i = 0; i < json_array_size(array) && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, key->name, (long)i);
        struct ci_config_remote *entry = &config->remotes[config->remote_count++];
        json_t *object = json_array_get(array, i);
        if (!json_is_object(object)) return ci_field_refuse_unseen(&below, "", "must be an object");
        status = read_object(&below, key->members, object, entry);
        entry->forbid = json_is_false(json_object_get(object, "allow"));
        if (status == CLINFER_OK) status = check_remote(&below, config, entry);
    }
    return status;
}

/* ---- the file ---- */

enum clinfer_status ci_config_parse(const char *path, const char *text, size_t length, struct ci_config *config) {
    const struct ci_field_place place = {.file = path};
    *config = (struct ci_config){.fallback = -1, .activations = -1, .threads = -1, .remote = -1};
    enum clinfer_status status = ci_field_parse(path, text, length, CI_CONFIG_BYTES, &config->file);
    return status == CLINFER_OK ? read_object(&place, ci_config_keys, config->file, config) : status;
}

enum clinfer_status ci_config_read(struct ci_config *config) {
    char *path = ci_config_path(), *text = NULL;
    size_t length;
    enum clinfer_status status =
        path ? ci_file_read(path, CI_CONFIG_BYTES, &text, &length) : ci_file_no_xdg("CONFIG", "config.json");
    bool absent = status == CLINFER_NOT_FOUND || (!path && status == CLINFER_IO);
    if (status == CLINFER_OK)
        status = ci_config_parse(path, text, length, config);
    else if (absent)
        status = ci_config_parse("", "{}", 2, config);
    else
        *config = (struct ci_config){0};
    free(text);
    free(path);
    return status;
}

void ci_config_free(struct ci_config *config) {
    for (size_t i = 0; i < config->remote_count; i++) free(config->remotes[i].key_path);
    free(config->remotes);
    ci_texts_free(&config->ops);
    json_decref(config->file);
    *config = (struct ci_config){0};
}
