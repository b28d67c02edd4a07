#include "cli/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "base/status.h"
#include "profile/fields.h"

enum { CONFIG_BYTES = 1 << 20, CONFIG_OPS = 256 };

const struct ci_config_key ci_config_keys[] = {
    {"model", CI_OPTION_TEXT, offsetof(struct ci_config, model), NULL, 0, 0, "as -m"},
    {"device", CI_OPTION_TEXT, offsetof(struct ci_config, device), NULL, 0, 0, "as --device"},
    {"fallback", CI_OPTION_CHOICE, offsetof(struct ci_config, fallback), "cpu|none", 0, 0, "as --fallback"},
    {"activations", CI_OPTION_CHOICE, offsetof(struct ci_config, activations), "auto|f32|q8", 0, 0, "as --activations"},
    {"threads", CI_OPTION_INTEGER, offsetof(struct ci_config, threads), NULL, 0, 1024, "as --threads"},
    {"ops", CI_OPTION_TEXTS, offsetof(struct ci_config, ops), NULL, 0, 0, "a list of texts, each as --op"},
    {0},
};

char *ci_config_path(void) { return ci_file_xdg("CONFIG", "config.json"); }

static const struct ci_config_key *find_key(const char *name) {
    const struct ci_config_key *key = ci_config_keys;
    while (key->name && strcmp(key->name, name) != 0) key++;
    return key->name ? key : NULL;
}

static enum clinfer_status refuse_key(const struct ci_field_place *place, const char *name, const json_t *value) {
    const char *names[sizeof ci_config_keys / sizeof *ci_config_keys];
    char all[256] = "";
    size_t count = 0;
    for (const struct ci_config_key *key = ci_config_keys; key->name; key++) {
        names[count++] = key->name;
        ci_names_add(all, sizeof all, key->name);
    }
    names[count] = NULL;
    const char *nearest = ci_options_nearest(name, names);
    if (nearest) return ci_field_refuse(place, name, value, "unknown; did you mean \"%s\"?", nearest);
    return ci_field_refuse(place, name, value, "unknown; there are %s", all);
}

static enum clinfer_status read_choice(const struct ci_field_place *place, const struct ci_config_key *key,
                                       const json_t *value, int *target) {
    const char *word = key->choices, *text = json_is_string(value) ? json_string_value(value) : "";
    for (int index = 0; *word; index++) {
        size_t length = strcspn(word, "|");
        if (strlen(text) == length && strncmp(text, word, length) == 0) {
            *target = index;
            return CLINFER_OK;
        }
        word += length + (word[length] == '|');
    }
    return ci_field_refuse(place, key->name, value, "must be one of %s", key->choices);
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
    if (!texts->items) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
    for (size_t i = 0; i < json_array_size(array) && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, name, (long)i);
        status = read_text(&below, "", json_array_get(array, i), &texts->items[i]);
        if (status == CLINFER_OK) texts->count++;
    }
    return status;
}

static enum clinfer_status read_key(const struct ci_field_place *place, const struct ci_config_key *key,
                                    struct ci_config *config) {
    const json_t *value = json_object_get(config->file, key->name);
    void *target = (char *)config + key->offset;
    switch (key->kind) {
    case CI_OPTION_TEXT: return read_text(place, key->name, value, target);
    case CI_OPTION_TEXTS: return read_texts(place, key->name, config->file, target);
    case CI_OPTION_CHOICE: return read_choice(place, key, value, target);
    case CI_OPTION_INTEGER:
        if (!json_is_integer(value) || (double)json_integer_value(value) < key->minimum ||
            (double)json_integer_value(value) > key->maximum)
            return ci_field_refuse(place, key->name, value, "must be a whole number from %g to %g", key->minimum,
                                   key->maximum);
        *(long long *)target = json_integer_value(value);
        return CLINFER_OK;
    case CI_OPTION_NUMBER:
    case CI_OPTION_FLAG:
    case CI_OPTION_COUNT:
    case CI_OPTION_SECTION: break; /* no key has this kind */
    }
    return CLINFER_OK;
}

static enum clinfer_status read_keys(const char *path, struct ci_config *config) {
    const struct ci_field_place place = {.file = path};
    const char *name;
    json_t *value;
    enum clinfer_status status = CLINFER_OK;
    json_object_foreach(config->file, name, value) {
        const struct ci_config_key *key = find_key(name);
        status = key ? read_key(&place, key, config) : refuse_key(&place, name, value);
        if (status != CLINFER_OK) break;
    }
    return status;
}

enum clinfer_status ci_config_read(struct ci_config *config) {
    char *path = ci_config_path(), *text = NULL;
    size_t length;
    *config = (struct ci_config){.fallback = -1, .activations = -1, .threads = -1};
    if (!path) return CLINFER_OK;
    enum clinfer_status status = ci_file_read(path, CONFIG_BYTES, &text, &length);
    if (status == CLINFER_OK) status = ci_field_parse(path, text, length, CONFIG_BYTES, &config->file);
    if (status == CLINFER_OK) status = read_keys(path, config);
    free(text);
    free(path);
    return status == CLINFER_NOT_FOUND ? CLINFER_OK : status;
}

void ci_config_free(struct ci_config *config) {
    ci_texts_free(&config->ops);
    json_decref(config->file);
    *config = (struct ci_config){0};
}
