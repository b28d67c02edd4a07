#define _GNU_SOURCE
#include "cli/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "base/status.h"
#include "base/temporary.h"
#include "cli/remotes.h"
#include "profile/fields.h"
#include "remote/remote.h"

enum { CONFIG_OPS = 256, CONFIG_REMOTES = 64, CONFIG_SECONDS = 86400 };

#define IN_CONFIG(member) offsetof(struct ci_config, member)
#define IN_REMOTE(member) offsetof(struct ci_config_remote, member)

const struct ci_config_key ci_config_keys[] = {
    {"model", CI_OPTION_TEXT, IN_CONFIG(model), .help = "as -m"},
    {"device", CI_OPTION_TEXT, IN_CONFIG(device), .otherwise = "auto", .help = "as --device"},
    {"fallback", CI_OPTION_CHOICE, IN_CONFIG(fallback), CI_FALLBACK_CHOICES, .otherwise = "cpu",
     .help = "as --fallback"},
    {"activations", CI_OPTION_CHOICE, IN_CONFIG(activations), "auto|f32|q8|q16", .otherwise = "auto",
     .help = "as --activations"},
    {"threads", CI_OPTION_INTEGER, IN_CONFIG(threads), .maximum = 1024, .otherwise = "0", .help = "as --threads"},
    {"chat_template", CI_OPTION_TEXT, IN_CONFIG(chat_template), .help = "as --chat-template"},
    {"chat_template_file", CI_OPTION_TEXT, IN_CONFIG(chat_template_file), .help = "as --chat-template-file"},
    {"ops", CI_OPTION_TEXTS, IN_CONFIG(ops), .help = "a list of texts, each as --op"},
    {"remote", CI_OPTION_CHOICE, IN_CONFIG(remote), "never|allowed", .otherwise = "allowed",
     .help = "never: no prompt leaves this machine, whatever flags say"},
    {"remotes", CI_OPTION_TEXTS, IN_CONFIG(remotes), .members = ci_config_remote_keys,
     .help = "remote APIs, in the order in which they are asked"},
    {0},
};

const struct ci_config_key ci_config_remote_keys[] = {
    {"name", CI_OPTION_TEXT, IN_REMOTE(remote.name), .help = "letters, digits, - and _: what --remote takes"},
    {"url", CI_OPTION_TEXT, IN_REMOTE(remote.url), .help = "up to and with /v1: https://api.openai.com/v1"},
    {"dialect", CI_OPTION_TEXT, IN_REMOTE(remote.dialect), CI_REMOTE_DIALECTS, .otherwise = "openai",
     .help = "openai: chat completions; anthropic: messages"},
    {"model", CI_OPTION_TEXT, IN_REMOTE(remote.model), .help = "the model's name there"},
    {"key_variable", CI_OPTION_TEXT, IN_REMOTE(remote.key_variable), .help = "the variable that holds the key"},
    {"key_file", CI_OPTION_TEXT, IN_REMOTE(remote.key_file),
     .help = "the file that holds the key, with mode 0600; begins with / or ~/"},
    {"key_command", CI_OPTION_TEXT, IN_REMOTE(remote.key_command), .help = "a command for sh that prints the key"},
    {"plain_http", CI_OPTION_FLAG, IN_REMOTE(remote.plain_http), .otherwise = "false",
     .help = "true: http:// is allowed to a host other than this one; never with a key"},
    {"allow", CI_OPTION_FLAG, IN_REMOTE(allow),
     .help = "true: asked when this machine cannot answer; false: only when --remote names it"},
    {"connect_timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.connect_seconds), .maximum = CONFIG_SECONDS,
     .otherwise = "10", .help = "seconds until it is connected"},
    {"first_byte_timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.first_byte_seconds), .maximum = CONFIG_SECONDS,
     .otherwise = "60", .help = "seconds to the first byte of an answer"},
    {"idle_timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.idle_seconds), .maximum = CONFIG_SECONDS, .otherwise = "30",
     .help = "seconds between two bytes"},
    {"timeout", CI_OPTION_NUMBER, IN_REMOTE(remote.total_seconds), .maximum = CONFIG_SECONDS, .otherwise = "600",
     .help = "seconds in all"},
    {0},
};

enum clinfer_status ci_config_unreachable(void) {
    const char *folder = getenv("XDG_CONFIG_HOME");
    return ci_fail(CLINFER_IO, "%s; XDG_CONFIG_HOME names the folder for clinfer/config.json (now %s)",
                   ci_status_message(), folder ? folder : "~/.config, since it is not set");
}

char *ci_config_path(void) { return ci_file_xdg("CONFIG", "config.json"); }

static enum clinfer_status out_of_memory(const struct ci_field_place *place) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
}

/* ---- unknown members: their values may be secrets, whatever they are called ---- */

const char *ci_config_no_key(const char *name) {
    static const char *const names[] = {"key",   "api_key", "apikey",   "api-key",       "secret",
                                        "token", "bearer",  "password", "authorization", NULL};
    for (const char *const *known = names; *known; known++)
        if (strcmp(name, *known) == 0)
            return "no key stands in this file, which is shown and copied: put it into a variable and name that "
                   "(\"key_variable\": \"LAN_KEY\"), into a file that only you can read (\"key_file\": \"~/.lan_key\", "
                   "chmod 600), or let a command print it (\"key_command\": \"pass show lan\")";
    return NULL;
}

const char *ci_config_nearest_key(const struct ci_config_key *keys, const char *name) {
    enum { MOST_KEYS = 32 };
    const char *names[MOST_KEYS + 1] = {NULL};
    for (size_t count = 0; keys[count].name && count < MOST_KEYS; count++) names[count] = keys[count].name;
    return ci_options_nearest(name, names);
}

static enum clinfer_status refuse_member(const struct ci_field_place *place, const struct ci_config_key *keys,
                                         const char *name) {
    const char *no_key = ci_config_no_key(name), *nearest = ci_config_nearest_key(keys, name);
    char all[256] = "";
    if (no_key) return ci_field_refuse_unseen(place, name, "%s", no_key);
    if (nearest) return ci_field_refuse_unseen(place, name, "unknown; did you mean \"%s\"?", nearest);
    for (; keys->name; keys++) ci_names_add(all, sizeof all, keys->name);
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
    case CI_OPTION_OFF:
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
    if (strlen(remote->name) > CI_REMOTE_NAME_BYTES || remote->name[strspn(remote->name, CI_REMOTE_NAME_CHARACTERS)])
        return ci_field_refuse_unseen(place, "name", "must have at most %d letters, digits, - and _",
                                      CI_REMOTE_NAME_BYTES);
    for (const struct ci_config_remote *other = config->remotes; other < entry; other++)
        if (strcmp(other->remote.name, remote->name) == 0)
            return ci_field_refuse_unseen(place, "name", "there are two remotes \"%s\"", remote->name);
    if (!remote->url && !ci_remotes_built_in(remote->name))
        return ci_field_refuse(place, "url", NULL, "every remote has one, such as https://api.openai.com/v1");
    enum clinfer_status status = check_key(place, entry);
    if (status != CLINFER_OK || !remote->url) return status;
    status = ci_remote_check(remote);
    /* What is refused is left out of runs, see ci_remotes_resolve; here it may be about to be mended. */
    if (status == CLINFER_OK || status == CLINFER_REFUSED) return CLINFER_OK;
    return ci_fail_prefix(status == CLINFER_INVALID_ARGUMENT ? CLINFER_BAD_FILE : status, "%s: field \"%s.url\"",
                          place->file, place->where);
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
    if (status == CLINFER_OK) status = ci_config_refuse_secrets(&place, "", config->file);
    return status == CLINFER_OK ? read_object(&place, ci_config_keys, config->file, config) : status;
}

enum clinfer_status ci_config_read(struct ci_config *config) {
    char *path = ci_config_path(), *text = NULL;
    size_t length = 0;
    if (path) ci_temporary_sweep_beside(path);
    enum clinfer_status status =
        path ? ci_file_read(path, CI_CONFIG_BYTES, &text, &length) : ci_file_no_xdg("CONFIG", "config.json");
    bool absent = status == CLINFER_NOT_FOUND || (!path && status == CLINFER_IO);
    if (status == CLINFER_OK)
        status = ci_config_parse(path, text, length, config);
    else if (absent)
        status = ci_config_parse("", "{}", 2, config);
    else
        *config = (struct ci_config){0};
    if (status == CLINFER_IO) status = ci_config_unreachable();
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
