/* checkpoint.c: config.json as metadata: which family it is, and its fields by the family's lists. A field that no list
 * knows becomes a key that nobody knows, which judge.c tells of. */
#include "model/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"
#include "model/decoder.h"

enum { KEY_BYTES = 160, MOST_ELEMENTS = 4096 };

/* ---- for all who read ---- */

static const json_t *find_below(const json_t *value, const char *field) {
    char name[KEY_BYTES];
    while (value && *field) {
        size_t length = strcspn(field, ".");
        snprintf(name, sizeof name, "%.*s", ci_shown(length, KEY_BYTES - 1), field);
        value = json_object_get(value, name);
        field += length + (field[length] == '.');
    }
    return json_is_null(value) ? NULL : value;
}

const json_t *ci_checkpoint_find(const struct ci_checkpoint_reading *reading, const char *field) {
    const json_t *text = json_object_get(reading->folder->config, "text_config"), *value = find_below(text, field);
    return value ? value : find_below(reading->folder->config, field);
}

void ci_checkpoint_refuse(struct ci_checkpoint_reading *reading, enum clinfer_status status, const char *field,
                          const char *what) {
    char text[CI_JSON_SHOWN];
    if (reading->status != CLINFER_OK) return;
    reading->status = ci_fail(status, "%s: %s: %s: %s", reading->folder->config_path, field,
                              ci_json_shown(ci_checkpoint_find(reading, field), text), what);
}

static void full_key(const struct ci_checkpoint_reading *reading, const char *key, char text[KEY_BYTES]) {
    snprintf(text, KEY_BYTES, "%s.%s", reading->family->architecture, key);
}

/* Names in messages live as long as the file. */
static void from(struct ci_checkpoint_reading *reading, const char *field) {
    const char *kept = ci_gguf_make_text(reading->maker, field);
    if (kept) ci_gguf_make_from(reading->maker, reading->folder->config_path, kept);
}

void ci_checkpoint_integer(struct ci_checkpoint_reading *reading, const char *field, const char *key, int64_t number) {
    char name[KEY_BYTES];
    full_key(reading, key, name);
    from(reading, field);
    ci_gguf_make_integer(reading->maker, name, number);
}

void ci_checkpoint_number(struct ci_checkpoint_reading *reading, const char *field, const char *key, double number) {
    char name[KEY_BYTES];
    full_key(reading, key, name);
    from(reading, field);
    ci_gguf_make_float(reading->maker, name, number);
}

void ci_checkpoint_default(struct ci_checkpoint_reading *reading, const char *field, const char *key, int64_t number) {
    if (!ci_checkpoint_find(reading, field)) ci_checkpoint_integer(reading, field, key, number);
}

void ci_checkpoint_default_number(struct ci_checkpoint_reading *reading, const char *field, const char *key,
                                  double number) {
    if (!ci_checkpoint_find(reading, field)) ci_checkpoint_number(reading, field, key, number);
}

/* "sliding_attention" or "full_attention" of each. */
static void add_layer_types(struct ci_checkpoint_reading *reading, const json_t *types) {
    size_t count = json_array_size(types);
    bool *windowed = ci_gguf_make_array(reading->maker, count + 1, sizeof *windowed);
    char key[KEY_BYTES];
    for (size_t i = 0; windowed && i < count; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        windowed[i] = type && strcmp(type, "sliding_attention") == 0;
        if (!windowed[i] && (!type || strcmp(type, "full_attention") != 0))
            ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "layer_types",
                                 "only full_attention and sliding_attention are supported");
    }
    full_key(reading, "attention.sliding_window_pattern", key);
    from(reading, "layer_types");
    if (windowed) ci_gguf_make_bools(reading->maker, key, true, windowed, count);
}

void ci_checkpoint_windows(struct ci_checkpoint_reading *reading, const char *every) {
    const json_t *types = ci_checkpoint_find(reading, "layer_types"), *number = ci_checkpoint_find(reading, every);
    if (types && !json_is_array(types))
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, "layer_types", "must be a list");
    else if (types)
        add_layer_types(reading, types);
    else if (number && !json_is_integer(number))
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, every, "must be a whole number");
    else if (number)
        ci_checkpoint_integer(reading, every, "attention.sliding_window_pattern", json_integer_value(number));
}

/* Of families whose layers are alike. llama.cpp lets all of them see everything, too, where a file has windows. */
static void check_alike_layers(struct ci_checkpoint_reading *reading) {
    const json_t *types = ci_checkpoint_find(reading, "layer_types");
    size_t windowed = 0;
    if (reading->family->decoder && reading->family->decoder->windows) return;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, "sliding_attention") == 0)
            windowed++;
        else if (!type || strcmp(type, "full_attention") != 0)
            ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "layer_types",
                                 "only full_attention is supported in this family");
    }
    if (windowed)
        ci_log(CLINFER_LOG_WARNING,
               "%s: layer_types: %zu layers have a window, which this family is computed without: longer texts than "
               "the window are answered otherwise than the model was made for",
               reading->folder->config_path, windowed);
}

double ci_checkpoint_number_of(struct ci_checkpoint_reading *reading, const char *field, double otherwise) {
    const json_t *value = ci_checkpoint_find(reading, field);
    if (!value) return otherwise;
    if (!json_is_number(value)) ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, field, "must be a number");
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

float *ci_checkpoint_vector(struct ci_checkpoint_reading *reading, const char *field, const char *name, size_t count) {
    float *numbers = ci_gguf_make_array(reading->maker, count, sizeof *numbers);
    const char *kept = ci_gguf_make_text(reading->maker, field);
    if (!numbers || !kept) return NULL;
    const struct ci_gguf_tensor tensor = {
        .name = name, .n_dims = 1, .dims = {count, 1, 1, 1}, .bytes = count * sizeof *numbers, .data = numbers};
    ci_gguf_make_tensor(reading->maker, &tensor, reading->folder->config_path, kept);
    return numbers;
}

/* ---- fields ---- */

static const char *const wanted[] = {[CI_CHECKPOINT_INTEGER] = "must be a whole number, or a list of them",
                                     [CI_CHECKPOINT_NUMBER] = "must be a number, or a list of them",
                                     [CI_CHECKPOINT_FLAG] = "must be true or false, or a list of them"};

static bool fits(const json_t *value, enum ci_checkpoint_use use) {
    if (use == CI_CHECKPOINT_INTEGER) return json_is_integer(value);
    return use == CI_CHECKPOINT_NUMBER ? json_is_number(value) : json_is_boolean(value);
}

/* A scalar is a list of one here. */
static void add_values(struct ci_checkpoint_reading *reading, const struct ci_checkpoint_field *rule,
                       const json_t *value, const char *key) {
    bool array = json_is_array(value);
    size_t count = array ? json_array_size(value) : 1;
    int64_t *integers = ci_gguf_make_array(reading->maker, count + 1, sizeof *integers);
    double *numbers = ci_gguf_make_array(reading->maker, count + 1, sizeof *numbers);
    bool *flags = ci_gguf_make_array(reading->maker, count + 1, sizeof *flags);
    if (!integers || !numbers || !flags) return;
    for (size_t i = 0; i < count; i++) {
        const json_t *element = array ? json_array_get(value, i) : value;
        if (!fits(element, rule->use) || count > MOST_ELEMENTS) {
            ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, rule->field, wanted[rule->use]);
            return;
        }
        integers[i] = json_integer_value(element);
        numbers[i] = json_number_value(element);
        flags[i] = json_is_true(element);
    }
    if (rule->use == CI_CHECKPOINT_INTEGER) ci_gguf_make_integers(reading->maker, key, array, integers, count);
    if (rule->use == CI_CHECKPOINT_NUMBER) ci_gguf_make_floats(reading->maker, key, array, numbers, count);
    if (rule->use == CI_CHECKPOINT_FLAG) ci_gguf_make_bools(reading->maker, key, array, flags, count);
}

/* Whether the JSON of `value` is one of `texts`, which '|' separates. */
static bool is_one_of(const json_t *value, const char *texts) {
    char text[CI_JSON_SHOWN];
    size_t length = strlen(ci_json_shown(value, text));
    for (const char *at = texts; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (strcspn(at, "|") == length && memcmp(at, text, length) == 0) return true;
    }
    return false;
}

static void read_field(struct ci_checkpoint_reading *reading, const struct ci_checkpoint_field *rule) {
    const json_t *value = ci_checkpoint_find(reading, rule->field);
    char key[KEY_BYTES];
    if (rule->use == CI_CHECKPOINT_MUST_BE && value && !is_one_of(value, rule->text))
        ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, rule->field, rule->why);
    if (rule->use > CI_CHECKPOINT_FLAG) return;
    full_key(reading, rule->key, key);
    from(reading, rule->field);
    if (value)
        add_values(reading, rule, value, key);
    else
        ci_gguf_make_absent(reading->maker, key);
}

static bool knows(const struct ci_checkpoint_field *list, const char *field) {
    for (; list && list->field; list++)
        if (strcmp(list->field, field) == 0) return true;
    return false;
}

/* A path in a list knows its first part, too: what stands below it is its own affair. */
static bool knows_below(const struct ci_checkpoint_field *list, const char *field) {
    size_t length = strlen(field);
    for (; list && list->field; list++)
        if (strncmp(list->field, field, length) == 0 && (list->field[length] == 0 || list->field[length] == '.'))
            return true;
    return false;
}

void ci_checkpoint_unread(struct ci_checkpoint_reading *reading, const char *field) {
    if (knows(reading->family->checkpoint->fields, field) || knows(ci_checkpoint_common_fields, field)) return;
    from(reading, field);
    ci_gguf_make_string(reading->maker, field, "");
}

static void read_fields(struct ci_checkpoint_reading *reading) {
    const struct ci_checkpoint_field *own = reading->family->checkpoint->fields, *rule;
    for (rule = own; rule && rule->field; rule++) read_field(reading, rule);
    for (rule = ci_checkpoint_common_fields; rule->field; rule++)
        if (!knows(own, rule->field)) read_field(reading, rule);
    const char *field;
    json_t *value;
    json_object_foreach(reading->folder->config, field, value) {
        if (json_is_null(value) || knows_below(own, field) || knows_below(ci_checkpoint_common_fields, field)) continue;
        ci_checkpoint_unread(reading, field);
    }
}

/* ---- the family ---- */

static bool is_architecture(const struct ci_family *family, const char *name) {
    for (const char *const *known = family->checkpoint ? family->checkpoint->architectures : NULL; known && *known;
         known++)
        if (strcmp(*known, name) == 0) return true;
    return false;
}

static void find_family(struct ci_checkpoint_reading *reading) {
    const json_t *list = ci_checkpoint_find(reading, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    enum { NAMED = 24 }; /* a message has room for these */
    char what[1024], known[800] = "", more[64] = "";
    int count = 0;
    if (!name) {
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, "architectures",
                             "must be a list with the name of the model's class");
        return;
    }
    for (int i = 0; ci_families[i] && !reading->family; i++)
        if (is_architecture(ci_families[i], name)) reading->family = ci_families[i];
    if (reading->family) return;
    for (int i = 0; ci_families[i]; i++)
        if (ci_families[i]->checkpoint && count++ < NAMED)
            ci_names_add(known, sizeof known, ci_families[i]->checkpoint->architectures[0]);
    if (count > NAMED) snprintf(more, sizeof more, ", and %d more", count - NAMED);
    snprintf(what, sizeof what, "is not supported; supported are: %s%s", known, more);
    ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "architectures", what);
}

/* The folder's name is what people call the model by. */
static void name_model(struct ci_checkpoint_reading *reading) {
    const char *path = reading->folder->path, *slash = strrchr(path, '/');
    ci_gguf_make_from(reading->maker, reading->folder->config_path, "architectures");
    ci_gguf_make_string(reading->maker, "general.architecture", reading->family->architecture);
    ci_gguf_make_from(reading->maker, NULL, NULL);
    ci_gguf_make_string(reading->maker, "general.name", slash && slash[1] ? slash + 1 : path);
}

/* Rows of the embedding, which the metadata of GGUF has nowhere else. */
static void check_vocabulary(struct ci_checkpoint_reading *reading) {
    const json_t *size = ci_checkpoint_find(reading, "vocab_size");
    const struct ci_gguf *gguf = reading->maker->gguf;
    char what[320];
    for (size_t i = 0; i < gguf->n_tensors && size; i++) {
        const struct ci_gguf_tensor *tensor = &gguf->tensors[i];
        if (strcmp(tensor->name, "token_embd.weight") != 0) continue;
        if (json_is_integer(size) && (uint64_t)json_integer_value(size) == tensor->dims[1]) continue;
        snprintf(what, sizeof what, "tensor %s has %llu rows; the files do not belong together",
                 ci_gguf_tensor_place(gguf, tensor->name).name, (unsigned long long)tensor->dims[1]);
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, "vocab_size", what);
    }
}

enum clinfer_status ci_checkpoint_open(const char *path, const struct ci_type *type, struct ci_gguf **gguf) {
    struct ci_folder folder;
    *gguf = NULL;
    enum clinfer_status status = ci_folder_open(path, &folder);
    if (status != CLINFER_OK) return status;
    struct ci_checkpoint_reading reading = {.folder = &folder, .maker = folder.maker};
    find_family(&reading);
    if (reading.status == CLINFER_OK) name_model(&reading);
    if (reading.status == CLINFER_OK) read_fields(&reading);
    if (reading.status == CLINFER_OK) check_alike_layers(&reading);
    if (reading.status == CLINFER_OK) ci_checkpoint_rope(&reading);
    if (reading.status == CLINFER_OK && reading.family->checkpoint->derive)
        reading.family->checkpoint->derive(&reading);
    if (reading.status == CLINFER_OK) ci_checkpoint_text(&reading);
    if (reading.status == CLINFER_OK) ci_checkpoint_tensors(&reading, type);
    if (reading.status == CLINFER_OK) check_vocabulary(&reading);
    if (reading.status != CLINFER_OK) {
        ci_folder_close(&folder);
        return reading.status;
    }
    struct ci_gguf_maker *maker = folder.maker;
    ci_folder_end(&folder);
    return ci_gguf_make_finish(maker, gguf);
}
