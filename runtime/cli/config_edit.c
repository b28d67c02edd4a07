#define _GNU_SOURCE
#include "cli/config_edit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "profile/fields.h"

enum { LOCK_SECONDS = 10, WRITTEN_DIGITS = 15 };

static const char remotes_prefix[] = "remotes.";

/* ---- keys ---- */

/* "remotes.lan.url" is the member "url" of the remote "lan", "remotes.lan" that remote (*member NULL), all else a
 * member of the top (`remote` empty). false: the name of the remote is too long for one. */
static bool split(const char *text, char remote[CI_REMOTE_NAME_BYTES + 1], const char **member) {
    size_t prefix = strlen(remotes_prefix);
    *remote = '\0';
    *member = text;
    if (strncmp(text, remotes_prefix, prefix) != 0) return true;
    size_t length = strcspn(text + prefix, ".");
    if (!length || length > CI_REMOTE_NAME_BYTES) return false;
    snprintf(remote, CI_REMOTE_NAME_BYTES + 1, "%.*s", (int)length, text + prefix);
    *member = text[prefix + length] ? text + prefix + length + 1 : NULL;
    return true;
}

enum clinfer_status ci_config_name(const char *text, struct ci_config_name *name) {
    const char *member;
    if (!split(text, name->remote, &member))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: a remote's name has 1 to %d bytes, as in remotes.lan.url", text,
                       CI_REMOTE_NAME_BYTES);
    const struct ci_config_key *keys = *name->remote ? ci_config_remote_keys : ci_config_keys;
    name->key = NULL;
    if (!member) return CLINFER_OK;
    for (const struct ci_config_key *key = keys; key->name && !name->key; key++)
        if (strcmp(key->name, member) == 0) name->key = key;
    if (name->key) return CLINFER_OK;
    const char *no_key = ci_config_no_key(member), *nearest = ci_config_nearest_key(keys, member);
    if (no_key) return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %s", text, no_key);
    int before = (int)(member - text);
    if (nearest)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: no such key; did you mean %.*s%s?", text, before, text, nearest);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: no such key; clinfer config --help lists all", text);
}

json_t *ci_config_find_remote(const json_t *file, const char *name) {
    const json_t *array = json_object_get(file, "remotes");
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *remote = json_array_get(array, i);
        const char *found = json_string_value(json_object_get(remote, "name"));
        if (found && strcmp(found, name) == 0) return remote;
    }
    return NULL;
}

json_t *ci_config_value(const struct ci_config_key *key, const char *const *words, size_t count) {
    json_t *value;
    switch (key->kind) {
    case CI_OPTION_TEXTS:
        value = json_array();
        for (size_t i = 0; value && i < count; i++) {
            if (json_array_append_new(value, json_string(words[i])) == 0) continue;
            json_decref(value);
            value = NULL;
        }
        return value;
    case CI_OPTION_INTEGER:
    case CI_OPTION_NUMBER:
        value = json_loads(words[0], JSON_DECODE_ANY, NULL);
        if (json_is_number(value)) return value;
        json_decref(value);
        break;
    case CI_OPTION_FLAG:
        if (strcmp(words[0], "true") == 0 || strcmp(words[0], "false") == 0) return json_boolean(*words[0] == 't');
        break;
    case CI_OPTION_TEXT:
    case CI_OPTION_CHOICE:
    case CI_OPTION_OFF:
    case CI_OPTION_COUNT:
    case CI_OPTION_SECTION: break;
    }
    return json_string(words[0]);
}

/* ---- the file ---- */

/* A change of `root`, which is what the file holds. */
struct change {
    const char *key, *const *words; /* no words: the key is taken out */
    size_t count;
    bool found;
};

static enum clinfer_status out_of_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "config.json: out of memory"); }

/* The object that holds the remote's members, made where there is none. */
static json_t *take_remote(json_t *root, const char *name) {
    json_t *remote = ci_config_find_remote(root, name);
    if (remote) return remote;
    if (!json_object_get(root, "remotes")) json_object_set_new(root, "remotes", json_array());
    remote = json_pack("{s:s}", "name", name);
    return json_array_append_new(json_object_get(root, "remotes"), remote) == 0 ? remote : NULL;
}

static enum clinfer_status set(json_t *root, const struct change *change) {
    struct ci_config_name name;
    enum clinfer_status status = ci_config_name(change->key, &name);
    if (status != CLINFER_OK) return status;
    if (!name.key || name.key->members)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: its members are set one by one, as in remotes.%s.url",
                       change->key, name.key ? "lan" : name.remote);
    if (change->count != 1 && name.key->kind != CI_OPTION_TEXTS)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: takes one value, not %zu", change->key, change->count);
    json_t *target = *name.remote ? take_remote(root, name.remote) : root;
    json_t *value = ci_config_value(name.key, change->words, change->count);
    if (!value) return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: the value is no UTF-8 text", change->key);
    return json_object_set_new(target, name.key->name, value) == 0 ? CLINFER_OK : out_of_memory();
}

static void drop_remote(json_t *root, const json_t *remote) {
    json_t *array = json_object_get(root, "remotes");
    for (size_t i = 0; i < json_array_size(array); i++)
        if (json_array_get(array, i) == remote) json_array_remove(array, i);
    if (!json_array_size(array)) json_object_del(root, "remotes");
}

static enum clinfer_status unset(json_t *root, struct change *change) {
    char remote_name[CI_REMOTE_NAME_BYTES + 1];
    const char *member;
    struct ci_config_name name;
    if (!split(change->key, remote_name, &member)) return ci_config_name(change->key, &name);
    json_t *remote = *remote_name ? ci_config_find_remote(root, remote_name) : NULL;
    json_t *target = *remote_name ? remote : root;
    change->found = target && (!member || json_object_get(target, member));
    if (!change->found) return ci_config_name(change->key, &name);
    if (member)
        json_object_del(target, member);
    else
        drop_remote(root, remote);
    return CLINFER_OK;
}

static enum clinfer_status read_root(const char *path, json_t **root, bool *was_right) {
    char *text = NULL;
    size_t length;
    struct ci_config config = {0};
    *root = NULL;
    *was_right = true;
    enum clinfer_status status = ci_file_read(path, CI_CONFIG_BYTES, &text, &length);
    if (status == CLINFER_NOT_FOUND) return (*root = json_object()) ? CLINFER_OK : out_of_memory();
    if (status == CLINFER_OK) *was_right = ci_config_parse(path, text, length, &config) == CLINFER_OK;
    ci_config_free(&config);
    if (status == CLINFER_OK) status = ci_field_parse(path, text, length, CI_CONFIG_BYTES, root);
    free(text);
    return status;
}

/* Nothing is written that the next start would refuse. */
static enum clinfer_status write_root(const char *path, const json_t *root, bool was_right) {
    struct ci_config config;
    char *text = NULL, *dump = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(WRITTEN_DIGITS));
    int length = dump ? asprintf(&text, "%s\n", dump) : -1;
    free(dump);
    if (length < 0) return out_of_memory();
    enum clinfer_status status = ci_config_parse(path, text, (size_t)length, &config);
    ci_config_free(&config);
    if (status == CLINFER_BAD_FILE)
        status = ci_fail_prefix(was_right ? CLINFER_INVALID_ARGUMENT : CLINFER_BAD_FILE,
                                was_right ? "not changed" : "not changed, for it was wrong before");
    if (status == CLINFER_OK) status = ci_file_write(path, text, (size_t)length);
    free(text);
    return status;
}

static enum clinfer_status apply(const char *path, struct change *change) {
    json_t *root;
    bool was_right;
    enum clinfer_status status = read_root(path, &root, &was_right);
    if (status == CLINFER_OK) status = change->count ? set(root, change) : unset(root, change);
    if (status == CLINFER_OK && (change->count || change->found)) status = write_root(path, root, was_right);
    json_decref(root);
    return status == CLINFER_IO ? ci_config_unreachable() : status;
}

static enum clinfer_status edit(struct change *change) {
    char *path = ci_config_path();
    if (!path) return ci_file_no_xdg("CONFIG", "config.json");
    /* Where a link leads to, which is not to become a file. */
    char *real = realpath(path, NULL);
    if (!real && errno == ENOMEM) {
        free(path);
        return out_of_memory();
    }
    int lock;
    enum clinfer_status status = ci_file_lock(real ? real : path, LOCK_SECONDS, &lock);
    if (status == CLINFER_OK) status = apply(real ? real : path, change);
    if (lock >= 0) close(lock);
    free(real);
    free(path);
    return status;
}

enum clinfer_status ci_config_set(const char *key, const char *const *words, size_t count) {
    struct change change = {.key = key, .words = words, .count = count};
    return edit(&change);
}

enum clinfer_status ci_config_unset(const char *key, bool *found) {
    struct change change = {.key = key};
    enum clinfer_status status = edit(&change);
    *found = change.found;
    return status;
}
