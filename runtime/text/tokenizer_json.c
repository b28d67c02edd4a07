/* tokenizer_json.c: see tokenizer_json.h. The parts of the file: tokenizer_json_model.c, tokenizer_json_steps.c. */
#define _GNU_SOURCE
#include "text/tokenizer_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer_json_private.h"

/* Those of vocabularies of 262,144 tokens have 33 MB. */
enum { MOST_BYTES = 512 << 20 };

/* ---- reading members ---- */

static enum clinfer_status fail_at(enum clinfer_status status, const struct ci_json_reader *reader, const char *path,
                                   const char *format, va_list arguments) {
    char text[512];
    vsnprintf(text, sizeof text, format, arguments);
    return ci_fail(status, "%s: %s: %s", reader->file, path, text);
}

enum clinfer_status ci_json_bad(const struct ci_json_reader *reader, const char *path, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    enum clinfer_status status = fail_at(CLINFER_BAD_FILE, reader, path, format, arguments);
    va_end(arguments);
    return status;
}

enum clinfer_status ci_json_unknown(const struct ci_json_reader *reader, const char *path, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    enum clinfer_status status = fail_at(CLINFER_UNSUPPORTED, reader, path, format, arguments);
    va_end(arguments);
    return status;
}

static const char *name_of(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",     [JSON_NULL] = "null"};
    return value ? names[json_typeof(value)] : "absent";
}

enum clinfer_status ci_json_string(const struct ci_json_reader *reader, json_t *object, const char *path,
                                   const char *key, bool required, struct ci_text_span *value) {
    json_t *member = json_object_get(object, key);
    char inner[CI_JSON_PATH];
    if (json_is_string(member)) {
        *value = (struct ci_text_span){json_string_value(member), json_string_length(member)};
        return CLINFER_OK;
    }
    if (!required && (!member || json_is_null(member))) return CLINFER_OK;
    snprintf(inner, sizeof inner, "%.120s.%.30s", path, key);
    return ci_json_bad(reader, inner, "a string is needed; it is %s", name_of(member));
}

enum clinfer_status ci_json_flag(const struct ci_json_reader *reader, json_t *object, const char *path, const char *key,
                                 bool *value) {
    json_t *member = json_object_get(object, key);
    char inner[CI_JSON_PATH];
    if (!member || json_is_null(member)) return CLINFER_OK;
    if (json_is_boolean(member)) {
        *value = json_is_true(member);
        return CLINFER_OK;
    }
    snprintf(inner, sizeof inner, "%.120s.%.30s", path, key);
    return ci_json_bad(reader, inner, "true or false is needed; it is %s", name_of(member));
}

enum clinfer_status ci_json_type(const struct ci_json_reader *reader, json_t *object, const char *path,
                                 struct ci_text_span *type) {
    if (!json_is_object(object)) return ci_json_bad(reader, path, "an object is needed; it is %s", name_of(object));
    return ci_json_string(reader, object, path, "type", true, type);
}

enum clinfer_status ci_json_check_keys(const struct ci_json_reader *reader, json_t *object, const char *path,
                                       const char *known) {
    const char *key;
    json_t *value;
    char inner[CI_JSON_PATH];
    if (!json_is_object(object)) return ci_json_bad(reader, path, "an object is needed; it is %s", name_of(object));
    json_object_foreach(object, key, value) {
        bool found = false;
        for (const char *at = known; *at && !found; at += strspn(at, " ")) {
            size_t length = strcspn(at, " ");
            found = strlen(key) == length && memcmp(at, key, length) == 0;
            at += length;
        }
        if (found) continue;
        snprintf(inner, sizeof inner, "%.100s%s%.50s", path, *path ? "." : "", key);
        return ci_json_unknown(reader, inner, "is not known");
    }
    return CLINFER_OK;
}

/* ---- tokenizer_config.json ---- */

/* "<s>", or {"content": "<s>", ...}; a token that the vocabulary lacks is none. */
static enum clinfer_status read_named(const struct ci_json_reader *config, const struct ci_json_reader *reader,
                                      const char *key, int64_t *id) {
    json_t *member = json_object_get(config->root, key);
    struct ci_text_span text = {"", 0};
    if (json_is_object(member)) member = json_object_get(member, "content");
    if (!member || json_is_null(member)) return CLINFER_OK;
    if (!json_is_string(member)) return ci_json_bad(config, key, "a token is needed; it is %s", name_of(member));
    text = (struct ci_text_span){json_string_value(member), json_string_length(member)};
    int64_t found = ci_json_find_token(reader, &text);
    if (found >= 0) *id = found;
    return CLINFER_OK;
}

static enum clinfer_status read_config(const struct ci_json_reader *config, struct ci_json_reader *reader) {
    struct ci_tokenizer_source *source = &reader->source;
    const struct {
        const char *key;
        int64_t *id;
    } ids[] = {{"bos_token", &source->bos_id},
               {"eos_token", &source->eos_id},
               {"pad_token", &source->padding_id},
               {"cls_token", &source->classifier_id},
               {"sep_token", &source->separator_id}};
    enum clinfer_status status = CLINFER_OK;
    if (!json_is_object(config->root)) return ci_json_bad(config, "(top)", "is no object");
    for (size_t i = 0; i < sizeof ids / sizeof *ids && status == CLINFER_OK; i++)
        status = read_named(config, reader, ids[i].key, ids[i].id);
    /* Where it says, the post-processor is made anew from it. */
    for (int behind = 0; behind < 2 && status == CLINFER_OK; behind++) {
        const char *key = behind ? "add_eos_token" : "add_bos_token";
        int64_t id = behind ? source->eos_id : source->bos_id;
        bool said = json_is_boolean(json_object_get(config->root, key)), add = false;
        status = ci_json_flag(config, config->root, "(top)", key, &add);
        if (said && status == CLINFER_OK) *(behind ? &source->add_eos : &source->add_bos) = add && id >= 0;
    }
    return status;
}

/* ---- generation_config.json ---- */

/* "eos_token_id": 2, or [1, 106]. */
static enum clinfer_status read_generation(const struct ci_json_reader *generation, struct ci_json_reader *reader) {
    json_t *ids = json_object_get(generation->root, "eos_token_id");
    size_t count = json_is_array(ids) ? json_array_size(ids) : 1;
    if (!json_is_object(generation->root)) return ci_json_bad(generation, "(top)", "is no object");
    if (!ids || json_is_null(ids)) return CLINFER_OK;
    int64_t *ends = ci_arena_array(&reader->arena, count + 1, sizeof *ends);
    if (ends == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "eos_token_id: out of memory");
    for (size_t i = 0; i < count; i++) {
        json_t *id = json_is_array(ids) ? json_array_get(ids, i) : ids;
        char path[CI_JSON_PATH];
        snprintf(path, sizeof path, json_is_array(ids) ? "eos_token_id[%zu]" : "eos_token_id", i);
        if (!json_is_integer(id)) return ci_json_bad(generation, path, "a number is needed; it is %s", name_of(id));
        ends[i] = json_integer_value(id);
        if (ends[i] < 0 || ends[i] >= (int64_t)reader->source.token_count)
            return ci_json_bad(generation, path, "%lld is outside the vocabulary of %zu tokens", (long long)ends[i],
                               reader->source.token_count);
    }
    reader->source.end_ids = ends;
    reader->source.end_count = count;
    return CLINFER_OK;
}

/* ---- the whole ---- */

static enum clinfer_status parse(const struct ci_tokenizer_json_file *file, struct ci_json_reader *reader) {
    json_error_t error;
    reader->file = file->name;
    if (file->text == NULL) return CLINFER_OK;
    reader->root = json_loadb(file->text, file->length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (reader->root) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: line %d: %s; the file is damaged", file->name, error.line, error.text);
}

static enum clinfer_status read_parts(struct ci_json_reader *reader) {
    enum clinfer_status status = ci_json_check_keys(
        reader, reader->root, "",
        "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model");
    if (status == CLINFER_OK) status = ci_json_read_model(reader);
    if (status == CLINFER_OK) status = ci_json_read_normalizer(reader);
    if (status == CLINFER_OK) status = ci_json_read_pretokenizer(reader);
    return status == CLINFER_OK ? ci_json_read_postprocessor(reader) : status;
}

static void start_source(struct ci_tokenizer_source *source) {
    static const struct ci_tokenizer_keys keys = {.tokens = "model.vocab",
                                                  .types = "added_tokens",
                                                  .scores = "model.vocab",
                                                  .merges = "model.merges",
                                                  .charsmap = "normalizer.precompiled_charsmap"};
    *source = (struct ci_tokenizer_source){.keys = &keys, .types_are_right = true};
    source->bos_id = source->eos_id = source->eot_id = source->eom_id = -1;
    source->unknown_id = source->padding_id = source->classifier_id = source->separator_id = -1;
    source->lowercase = source->strip_accents = -1;
}

enum clinfer_status ci_tokenizer_create_json(const struct ci_tokenizer_json *files, struct ci_tokenizer **tokenizer) {
    struct ci_json_reader reader = {0}, config = {0}, generation = {0}, added = {0};
    bool sentencepiece = !files->tokenizer.text && files->sentencepiece.text;
    *tokenizer = NULL;
    start_source(&reader.source);
    enum clinfer_status status = parse(&files->tokenizer, &reader);
    if (status == CLINFER_OK) status = parse(&files->config, &config);
    if (status == CLINFER_OK) status = parse(&files->generation, &generation);
    if (status == CLINFER_OK && sentencepiece) status = parse(&files->added, &added);
    if (status == CLINFER_OK)
        status = sentencepiece ? ci_json_read_sentencepiece(&reader, &files->sentencepiece, &config, &added)
                               : read_parts(&reader);
    if (status == CLINFER_OK && config.root) status = read_config(&config, &reader);
    if (status == CLINFER_OK && generation.root) status = read_generation(&generation, &reader);
    if (status == CLINFER_OK) {
        status = ci_tokenizer_create(&reader.source, tokenizer);
        if (status != CLINFER_OK) ci_fail_prefix(status, "%s", reader.file);
    }
    json_decref(reader.root);
    json_decref(reader.added);
    json_decref(config.root);
    json_decref(generation.root);
    json_decref(added.root);
    ci_arena_destroy(&reader.arena);
    return status;
}

/* ---- a folder ---- */

/* file->text is NULL where the folder has no such file; name and text are for free_file(). */
static enum clinfer_status read_file(const char *folder, const char *name, struct ci_tokenizer_json_file *file) {
    char *path = NULL, *text = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    file->name = path;
    if (access(path, F_OK) != 0) return CLINFER_OK;
    enum clinfer_status status = ci_file_read(path, MOST_BYTES, &text, &file->length);
    file->text = text;
    return status;
}

static void free_file(struct ci_tokenizer_json_file *file) {
    free((char *)(uintptr_t)file->name);
    free((char *)(uintptr_t)file->text);
}

enum clinfer_status ci_tokenizer_create_folder(const char *folder, struct ci_tokenizer **tokenizer) {
    struct ci_tokenizer_json files = {0};
    const struct {
        const char *name;
        struct ci_tokenizer_json_file *file;
    } parts[] = {{"tokenizer.json", &files.tokenizer},
                 {"tokenizer_config.json", &files.config},
                 {"generation_config.json", &files.generation},
                 {"tokenizer.model", &files.sentencepiece},
                 {"added_tokens.json", &files.added}};
    enum { PARTS = sizeof parts / sizeof *parts };
    enum clinfer_status status = CLINFER_OK;
    *tokenizer = NULL;
    for (size_t i = 0; i < PARTS && status == CLINFER_OK; i++)
        if (i < 3 || !files.tokenizer.text) status = read_file(folder, parts[i].name, parts[i].file);
    if (status == CLINFER_OK && !files.tokenizer.text && !files.sentencepiece.text)
        status = ci_fail(CLINFER_NOT_FOUND, "%s/tokenizer.json: there is none, and no tokenizer.model", folder);
    if (status == CLINFER_OK) status = ci_tokenizer_create_json(&files, tokenizer);
    for (size_t i = 0; i < PARTS; i++) free_file(parts[i].file);
    return status;
}
