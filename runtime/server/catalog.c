/* catalog.c: see catalog.h. */
#define _GNU_SOURCE
#include "server/catalog.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "base/text_file.h"
#include "hub/find.h"

enum { MOST_ENTRIES = 4096, MOST_FILE = 1 << 20 };

struct list {
    const struct ci_catalog *catalog;
    struct ci_pool_entry *entries;
    size_t count, capacity;
};

/* What an entry owns. */
struct owner {
    struct ci_arena arena;
};

static void release(void *user) {
    struct owner *owner = user;
    struct ci_arena arena = owner->arena;
    ci_arena_destroy(&arena);
}

static enum clinfer_status no_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of models");
}

static struct ci_arena *arena_of(struct ci_pool_entry *entry) { return &((struct owner *)entry->owner)->arena; }

static const char *keep(struct ci_pool_entry *entry, const char *text, size_t length) {
    return ci_arena_string(arena_of(entry), text, length);
}

static struct ci_pool_entry *room(struct list *list) {
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 8;
        struct ci_pool_entry *grown =
            capacity <= MOST_ENTRIES ? realloc(list->entries, capacity * sizeof *grown) : NULL;
        if (!grown) return NULL;
        list->entries = grown;
        list->capacity = capacity;
    }
    return &list->entries[list->count];
}

/* A new one of that name, as those of the list begin; NULL: out of memory. */
static struct ci_pool_entry *add(struct list *list, const char *name, size_t length) {
    struct ci_pool_entry *entry = room(list);
    struct ci_arena arena = {0};
    struct owner *owner = entry ? ci_arena_alloc(&arena, sizeof *owner) : NULL;
    if (!owner) return NULL;
    owner->arena = arena;
    *entry = (struct ci_pool_entry){
        .router = *list->catalog->router, .keep_alive = (double)NAN, .release = release, .owner = owner};
    entry->name = keep(entry, name, length);
    if (!entry->name) {
        release(owner);
        return NULL;
    }
    list->count++;
    return entry;
}

static bool is_named(const struct list *list, const char *name, size_t length) {
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->entries[i].name) == length && strncmp(list->entries[i].name, name, length) == 0) return true;
    return false;
}

/* ---- a folder ---- */

static bool is_gguf(const char *name, size_t *stem) {
    size_t length = strlen(name);
    *stem = length > 5 ? length - 5 : 0;
    return *stem && strcasecmp(name + *stem, ".gguf") == 0;
}

/* Of a split model the first part stands for all; projectors are no models. */
static bool is_model_file(const char *name, size_t *stem) {
    const char *part = strcasestr(name, "-of-");
    return is_gguf(name, stem) && strncasecmp(name, "mmproj", 6) != 0 &&
           (!part || (part - name > 6 && strncmp(part - 6, "-00001", 6) == 0));
}

/* The model file of a folder that has one; "": none. */
static void find_below(const char *folder, char path[4096]) {
    DIR *files = opendir(folder);
    struct dirent *item;
    size_t stem;
    *path = '\0';
    while (files && (item = readdir(files))) {
        if (!is_model_file(item->d_name, &stem)) continue;
        char found[4096];
        int length = snprintf(found, sizeof found, "%s/%s", folder, item->d_name);
        bool first = !*path || strcmp(found, path) < 0;
        if (length > 0 && (size_t)length < sizeof found && first) strcpy(path, found);
    }
    if (files) closedir(files);
}

static enum clinfer_status add_of_folder(struct list *list, const char *folder, const char *name) {
    char path[4096], below[4096];
    size_t stem = 0;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path || *name == '.') return CLINFER_OK;
    bool file = is_model_file(name, &stem), model = ci_hub_is_model(path);
    if (!file) {
        stem = strlen(name);
        if (!model) {
            find_below(path, below);
            if (!*below) return CLINFER_OK;
            strcpy(path, below);
        } else if (is_gguf(name, &stem) || strchr(name, '.')) {
            return CLINFER_OK; /* a file of another kind */
        }
    }
    if (is_named(list, name, stem)) return CLINFER_OK;
    struct ci_pool_entry *entry = add(list, name, stem);
    if (!entry) return no_memory();
    entry->router.engine.model = keep(entry, path, strlen(path));
    entry->version = ci_hash(CI_HASH_START, path, strlen(path));
    return entry->router.engine.model ? CLINFER_OK : no_memory();
}

static enum clinfer_status read_folder(struct list *list) {
    const char *folder = list->catalog->folder;
    struct dirent **items;
    int count = scandir(folder, &items, NULL, alphasort);
    enum clinfer_status status = CLINFER_OK;
    if (count < 0) return ci_fail(CLINFER_IO, "--models-dir %s: %s", folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        if (status == CLINFER_OK) status = add_of_folder(list, folder, items[i]->d_name);
        free(items[i]);
    }
    free(items);
    return status;
}

/* ---- presets ---- */

struct setting {
    const char *names[5]; /* of the command line, without dashes */
    enum { MODEL, FILE_OF_REPO, DRAFT, HIDES, ALIAS, TAGS, TEXT, WHOLE, FLAG, KEEP_ALIVE, IGNORED } kind;
    size_t offset; /* TEXT, WHOLE, FLAG: in struct clinfer_engine_options */
};

#define ENGINE(field) offsetof(struct clinfer_engine_options, field)

static const struct setting settings[] = {
    {{"model", "m", "hf-repo", "hf", "hfr"}, MODEL, 0},
    {{"hf-file", "hff"}, FILE_OF_REPO, 0},
    {{"alias", "a"}, ALIAS, 0},
    {{"tags"}, TAGS, 0},
    {{"keep-alive"}, KEEP_ALIVE, 0},
    {{"device", "dev"}, TEXT, ENGINE(device)},
    {{"chat-template"}, TEXT, ENGINE(chat_template)},
    {{"chat-template-kwargs"}, TEXT, ENGINE(chat_template_variables)},
    {{"tuning"}, TEXT, ENGINE(tuning)},
    {{"ctx-size", "c"}, WHOLE, ENGINE(context)},
    {{"batch-size", "b"}, WHOLE, ENGINE(batch)},
    {{"threads", "t"}, WHOLE, ENGINE(threads)},
    {{"n-gpu-layers", "ngl", "gpu-layers"}, WHOLE, ENGINE(device_layers)},
    {{"embedding", "embeddings", "reranking", "rerank"}, FLAG, ENGINE(embeddings)},
    {{"spec-draft-hf", "hf-repo-draft", "hfrd"}, DRAFT, 0},
    {{"dedup-cache-models"}, HIDES, 0},
    {{"jinja", "load-on-startup", "stop-timeout"}, IGNORED, 0},
};

struct line {
    const char *key, *value;
    size_t key_length, value_length;
};

static const struct setting *find_setting(const struct line *line) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (size_t k = 0; k < 5 && settings[i].names[k]; k++)
            if (strlen(settings[i].names[k]) == line->key_length &&
                strncmp(settings[i].names[k], line->key, line->key_length) == 0)
                return &settings[i];
    return NULL;
}

/* One text of a list with commas, or all of them. */
static bool split(struct ci_pool_entry *entry, const char *text, const char *const **list, size_t *count) {
    size_t most = 1;
    for (const char *at = text; *at; at++) most += *at == ',';
    const char **parts = ci_arena_array(arena_of(entry), most, sizeof *parts);
    *list = parts;
    *count = 0;
    while (parts && *text) {
        size_t length = strcspn(text, ",");
        if (length && !(parts[(*count)++] = keep(entry, text, length))) return false;
        text += length + (text[length] == ',');
    }
    return parts != NULL;
}

static bool read_number(const char *text, double *number) {
    char *end;
    *number = strtod(text, &end);
    return end != text && !*end && isfinite(*number);
}

/* "repo" and "file" as one name; either may come first. */
static const char *join(struct ci_pool_entry *entry, const char *repo, const char *file) {
    size_t length = strlen(repo) + strlen(file) + 1;
    char *name = ci_arena_alloc(arena_of(entry), length + 1);
    if (name) snprintf(name, length + 1, "%s/%s", repo, file);
    return name;
}

/* What the lines of an entry say of each other. */
struct said {
    const char *file, *draft;
    bool hides;
};

static bool is_true(const char *text) {
    return !*text || strcmp(text, "1") == 0 || strcasecmp(text, "true") == 0 || strcasecmp(text, "on") == 0;
}

static enum clinfer_status apply(struct ci_pool_entry *entry, const struct setting *setting, const struct line *line,
                                 struct said *said) {
    struct clinfer_engine_options *engine = &entry->router.engine;
    const char *text = keep(entry, line->value, line->value_length);
    double number = 0;
    bool made = text != NULL;
    if (!made) return no_memory();
    if ((setting->kind == WHOLE || setting->kind == KEEP_ALIVE) &&
        (!read_number(text, &number) || fabs(number) > 1 << 30))
        return ci_fail(CLINFER_BAD_FILE, "[%s]: %.*s: '%s' is no number", entry->name, (int)line->key_length, line->key,
                       text);
    switch (setting->kind) {
    case MODEL: engine->model = text; break;
    case FILE_OF_REPO: said->file = text; break;
    case DRAFT: said->draft = text; break;
    case HIDES: said->hides = is_true(text); break;
    case ALIAS: made = split(entry, text, &entry->aliases, &entry->alias_count); break;
    case TAGS: made = split(entry, text, &entry->tags, &entry->tag_count); break;
    case TEXT: memcpy((char *)engine + setting->offset, &text, sizeof text); break;
    case WHOLE: *(int *)(void *)((char *)engine + setting->offset) = (int)number; break;
    case FLAG: *((bool *)engine + setting->offset) = is_true(text); break;
    case KEEP_ALIVE: entry->keep_alive = number; break;
    case IGNORED: break;
    }
    return made ? CLINFER_OK : no_memory();
}

/* A line without white space around key and value; false: none, a comment or nothing. */
static bool read_line(const char *text, size_t length, struct line *line) {
    static const char white[] = " \t\r";
    while (length && strchr(white, *text)) text++, length--;
    while (length && strchr(white, text[length - 1])) length--;
    if (!length || *text == '#' || *text == ';') return false;
    const char *equals = memchr(text, '=', length);
    size_t key = equals ? (size_t)(equals - text) : length;
    *line = (struct line){.key = text, .value = text + length};
    if (equals) line->value = equals + 1, line->value_length = length - key - 1;
    while (key && strchr(white, text[key - 1])) key--;
    while (key && *line->key == '-') line->key++, key--; /* "--ctx-size" is taken, too */
    line->key_length = key;
    while (line->value_length && strchr(white, *line->value)) line->value++, line->value_length--;
    return true;
}

/* The lines of a section, which begin at `text`; to its end. */
static size_t section_length(const char *text, size_t length) {
    size_t used = 0;
    while (used < length) {
        size_t skipped = used;
        while (skipped < length && strchr(" \t\r", text[skipped]) && text[skipped]) skipped++;
        if (skipped < length && text[skipped] == '[') return used;
        const char *end = memchr(text + used, '\n', length - used);
        used = end ? (size_t)(end - text) + 1 : length;
    }
    return used;
}

static enum clinfer_status apply_lines(struct ci_pool_entry *entry, const char *text, size_t length, bool tell,
                                       struct said *said) {
    enum clinfer_status status = CLINFER_OK;
    entry->version = ci_hash(entry->version ? entry->version : CI_HASH_START, text, length);
    while (length && status == CLINFER_OK) {
        size_t used = strcspn(text, "\n");
        if (used > length) used = length;
        struct line line;
        if (read_line(text, used, &line)) {
            const struct setting *setting = find_setting(&line);
            if (setting)
                status = apply(entry, setting, &line, said);
            else if (tell)
                ci_log(CLINFER_LOG_WARNING, "[%s]: %.*s: not followed in presets", entry->name, (int)line.key_length,
                       line.key);
        }
        used += used < length;
        text += used;
        length -= used;
    }
    return status;
}

static enum clinfer_status complete(struct ci_pool_entry *entry, const struct said *said) {
    const char **hides = ci_arena_array(arena_of(entry), 2, sizeof *hides);
    const char *repo = entry->router.engine.model;
    if (!hides) return no_memory();
    if (!repo) entry->router.engine.model = entry->name; /* its name says which model it is */
    if (said->hides && repo) hides[entry->hide_count++] = repo;
    if (said->hides && said->draft) hides[entry->hide_count++] = said->draft;
    entry->hides = hides;
    if (said->file && repo && !(entry->router.engine.model = join(entry, repo, said->file))) return no_memory();
    return CLINFER_OK;
}

/* Sections by sections; what holds for all first. */
static enum clinfer_status read_sections(struct list *list, const char *text, size_t length) {
    const char *common = "";
    size_t common_length = 0, used = section_length(text, length);
    enum clinfer_status status = CLINFER_OK;
    while (used < length && status == CLINFER_OK) {
        const char *name = strchr(text + used, '[') + 1, *end = memchr(name, ']', length - (size_t)(name - text));
        const char *line = memchr(name, '\n', length - (size_t)(name - text));
        if (!end || (line && end > line) || end == name)
            return ci_fail(CLINFER_BAD_FILE, "'%.*s': a section is \"[name]\"", (int)strcspn(name - 1, "\r\n"),
                           name - 1);
        size_t name_length = (size_t)(end - name), begin = line ? (size_t)(line - text) + 1 : length;
        size_t lines = section_length(text + begin, length - begin);
        used = begin + lines;
        if (name_length == 1 && *name == '*') {
            common = text + begin;
            common_length = lines;
            continue;
        }
        if (is_named(list, name, name_length)) continue;
        struct ci_pool_entry *entry = add(list, name, name_length);
        if (!entry) return no_memory();
        struct said said = {0};
        status = apply_lines(entry, common, common_length, false, &said);
        if (status == CLINFER_OK) status = apply_lines(entry, text + begin, lines, true, &said);
        if (status == CLINFER_OK) status = complete(entry, &said);
    }
    return status;
}

static enum clinfer_status read_presets(struct list *list) {
    char *text;
    size_t length;
    enum clinfer_status status = ci_text_file_read(list->catalog->presets, MOST_FILE, &text, &length);
    if (status != CLINFER_OK) return ci_fail_prefix(status, "--models-preset");
    status = read_sections(list, text, length);
    free(text);
    return status == CLINFER_OK ? status : ci_fail_prefix(status, "%s", list->catalog->presets);
}

enum clinfer_status ci_catalog_read(void *user, struct ci_pool_entry **entries, size_t *count) {
    const struct ci_catalog *catalog = user;
    struct list list = {.catalog = catalog};
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < catalog->named_count && status == CLINFER_OK; i++) {
        struct ci_pool_entry *entry = room(&list);
        if (!entry) status = no_memory();
        if (entry) *entry = catalog->named[i], list.count++;
    }
    if (status == CLINFER_OK && catalog->presets) status = read_presets(&list);
    if (status == CLINFER_OK && catalog->folder) status = read_folder(&list);
    if (status != CLINFER_OK) {
        for (size_t i = 0; i < list.count; i++)
            if (list.entries[i].release) list.entries[i].release(list.entries[i].owner);
        free(list.entries);
        list = (struct list){0};
    }
    *entries = list.entries;
    *count = list.count;
    return status;
}
