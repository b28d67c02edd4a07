/* checkpoint_text.c: what the files beside the weights say of texts: the chat template, and how whoever made the model
 * advises to sample. The vocabulary is read by text/ from the folder itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/status.h"
#include "base/text_file.h"
#include "format/json.h"
#include "model/checkpoint.h"

enum { MOST_TEMPLATE = 4 << 20, KEY_BYTES = 96 };

static void refuse(struct ci_checkpoint_reading *reading, const char *path, const char *field, const json_t *value,
                   const char *what) {
    char text[CI_JSON_SHOWN];
    if (reading->status == CLINFER_OK)
        reading->status = ci_fail(CLINFER_BAD_FILE, "%s: %s: %s: %s", path, field, ci_json_shown(value, text), what);
}

/* ---- templates ---- */

static void add_template(struct ci_checkpoint_reading *reading, const char *path, const char *field, const char *name,
                         const char *text) {
    char key[KEY_BYTES];
    bool usual = strcmp(name, "default") == 0;
    snprintf(key, sizeof key, "tokenizer.chat_template%s%.60s", usual ? "" : ".", usual ? "" : name);
    ci_gguf_make_from(reading->maker, path, field);
    ci_gguf_make_string(reading->maker, key, text);
}

/* A text, or a list of {"name", "template"}. */
static void add_templates(struct ci_checkpoint_reading *reading, const char *path, const json_t *value) {
    static const char field[] = "chat_template";
    if (json_is_string(value)) add_template(reading, path, field, "default", json_string_value(value));
    if (json_is_string(value)) return;
    if (!json_is_array(value)) refuse(reading, path, field, value, "must be a text or a list of templates");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *text = json_string_value(json_object_get(entry, "template"));
        if (!name || !text) refuse(reading, path, field, entry, "must have a name and a template");
        if (name && text) add_template(reading, path, field, name, text);
    }
}

/* A file of its own goes before what stands in tokenizer_config.json. */
static void read_templates(struct ci_checkpoint_reading *reading, const char *config_path, const json_t *config) {
    const char *path = ci_folder_path(reading->folder, "chat_template.jinja");
    char *text = NULL;
    size_t length;
    if (!path) return;
    enum clinfer_status status = ci_text_file_read(path, MOST_TEMPLATE, &text, &length);
    if (status == CLINFER_OK && strlen(text) != length)
        status = ci_fail(CLINFER_BAD_FILE, "%s: holds a zero byte: it is damaged", path);
    const json_t *value = json_object_get(config, "chat_template");
    if (status == CLINFER_OK)
        add_template(reading, path, "chat_template", "default", text);
    else if (status == CLINFER_NOT_FOUND && value && !json_is_null(value))
        add_templates(reading, config_path, value);
    if (status != CLINFER_OK && status != CLINFER_NOT_FOUND && reading->status == CLINFER_OK) reading->status = status;
    free(text);
}

/* ---- sampling ---- */

static void read_sampling(struct ci_checkpoint_reading *reading, const char *path, const json_t *config) {
    static const struct {
        const char *field, *key;
    } fields[] = {{"temperature", "general.sampling.temp"},
                  {"top_k", "general.sampling.top_k"},
                  {"top_p", "general.sampling.top_p"},
                  {"min_p", "general.sampling.min_p"},
                  {"repetition_penalty", "general.sampling.penalty_repeat"}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(config, fields[i].field);
        if (!value || json_is_null(value)) continue;
        if (!json_is_number(value)) refuse(reading, path, fields[i].field, value, "must be a number");
        ci_gguf_make_from(reading->maker, path, fields[i].field);
        ci_gguf_make_float(reading->maker, fields[i].key, json_number_value(value));
    }
}

static void read_file(struct ci_checkpoint_reading *reading, const char *name,
                      void (*read)(struct ci_checkpoint_reading *, const char *path, const json_t *object)) {
    const char *path;
    json_t *object;
    if (reading->status != CLINFER_OK) return;
    reading->status = ci_folder_json(reading->folder, name, &path, &object);
    if (reading->status == CLINFER_OK) read(reading, path, object);
    json_decref(object);
}

/* Without one a model takes token ids, as GGUF files of that kind say it. */
static void find_vocabulary(struct ci_checkpoint_reading *reading) {
    const char *path = ci_folder_path(reading->folder, "tokenizer.json");
    const char *sentencepiece = ci_folder_path(reading->folder, "tokenizer.model");
    if (!path || access(path, F_OK) == 0 || (sentencepiece && access(sentencepiece, F_OK) == 0)) return;
    ci_log(CLINFER_LOG_WARNING,
           "%s: is not there, nor a tokenizer.model: the model takes token ids and no text; "
           "fetch it, too (`clinfer pull NAME --tokenizer`)",
           path);
    ci_gguf_make_from(reading->maker, NULL, NULL);
    ci_gguf_make_string(reading->maker, "tokenizer.ggml.model", "none");
}

void ci_checkpoint_text(struct ci_checkpoint_reading *reading) {
    read_file(reading, "tokenizer_config.json", read_templates);
    read_file(reading, "generation_config.json", read_sampling);
    find_vocabulary(reading);
}
