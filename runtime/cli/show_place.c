/* show_place.c: where a model lies, by all its names and paths, and under which licence: what its metadata say, else
 * the card beside it (README.md with a YAML header, as the Hub has it), else a file LICENSE. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/status.h"
#include "cli/output.h"
#include "cli/show.h"
#include "hub/cache.h"

enum { MOST_CARD_BYTES = 64 * 1024 };

/* ---- licence ---- */

static void take(char *target, size_t size, const char *text, size_t length) {
    while (length && strchr(" \t\r\n\"'", text[length - 1])) length--;
    while (length && strchr(" \t\"'", *text)) text++, length--;
    snprintf(target, size, "%.*s", (int)(length < size ? length : size - 1), text);
}

static void from_metadata(const struct ci_gguf *gguf, struct ci_show_place *place) {
    static const char *const keys[] = {"general.license", "general.license.name", "general.license.link"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !*place->licence; i++) {
        struct ci_gguf_string value = {"", 0};
        if (ci_gguf_get_string(gguf, keys[i], CI_GGUF_OPTIONAL, &value) != CLINFER_OK || !value.length) continue;
        take(place->licence, sizeof place->licence, value.text, value.length);
        snprintf(place->licence_from, sizeof place->licence_from, "%s", keys[i]);
    }
}

/* A file that lies with the model: of its snapshot in the Hub's cache, or of its folder. NULL: there is none. */
static enum clinfer_status find_beside(const struct ci_stored *stored, const char *path, const char *name,
                                       char **found) {
    struct stat status;
    *found = NULL;
    if (stored && strcmp(stored->store, "hub") == 0 && stored->repo && stored->revision) {
        enum clinfer_status lies = ci_hub_cache_find(stored->root, stored->repo, stored->revision, name, found);
        return lies == CLINFER_OUT_OF_MEMORY ? lies : CLINFER_OK;
    }
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) return CLINFER_OK;
    if (asprintf(found, "%s/%s", path, name) < 0) {
        *found = NULL;
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    if (stat(*found, &status) == 0 && S_ISREG(status.st_mode)) return CLINFER_OK;
    free(*found);
    *found = NULL;
    return CLINFER_OK;
}

/* "license: apache-2.0" between the first two lines "---". */
static void from_card(const char *path, struct ci_show_place *place) {
    char line[512];
    size_t read = 0;
    FILE *file = fopen(path, "re");
    if (!file) return;
    bool header = fgets(line, sizeof line, file) && strncmp(line, "---", 3) == 0;
    while (header && !*place->licence && read < MOST_CARD_BYTES && fgets(line, sizeof line, file)) {
        read += strlen(line);
        if (strncmp(line, "---", 3) == 0) break;
        if (strncmp(line, "license:", 8) == 0 || strncmp(line, "license_name:", 13) == 0) {
            const char *value = strchr(line, ':') + 1;
            take(place->licence, sizeof place->licence, value, strlen(value));
        }
    }
    fclose(file);
    if (*place->licence) snprintf(place->licence_from, sizeof place->licence_from, "README.md");
}

static enum clinfer_status find_licence(const char *path, const struct ci_gguf *gguf, struct ci_show_place *place) {
    static const char *const names[] = {"LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING"};
    if (gguf) from_metadata(gguf, place);
    char *card = NULL;
    enum clinfer_status status = CLINFER_OK;
    if (!*place->licence) status = find_beside(place->stored, path, "README.md", &card);
    if (card) from_card(card, place);
    free(card);
    for (size_t i = 0; i < sizeof names / sizeof *names && !place->licence_file && status == CLINFER_OK; i++)
        status = find_beside(place->stored, path, names[i], &place->licence_file);
    return status;
}

/* ---- place ---- */

enum clinfer_status ci_show_place_find(const struct ci_hub_settings *settings, const char *path,
                                       const struct ci_gguf *gguf, struct ci_show_place *place) {
    struct stat status;
    char commit[CI_HUB_COMMIT_BYTES];
    *place = (struct ci_show_place){0};
    enum clinfer_status listed = ci_stores_list(settings, &place->models, &place->count);
    if (listed != CLINFER_OK) return listed;
    bool there = stat(path, &status) == 0;
    for (size_t i = 0; there && i < place->count && !place->stored; i++)
        if (place->models[i].device == status.st_dev && place->models[i].number == status.st_ino)
            place->stored = &place->models[i];
    const struct ci_stored *stored = place->stored;
    if (stored && stored->repo && stored->revision)
        place->newest = ci_hub_cache_commit(stored->root, stored->repo, "main", commit) == CLINFER_OK &&
                        strcmp(commit, stored->revision) == 0;
    return find_licence(path, gguf, place);
}

void ci_show_place_free(struct ci_show_place *place) {
    ci_stores_free(place->models, place->count);
    free(place->licence_file);
    *place = (struct ci_show_place){0};
}

void ci_show_place_print(const struct ci_show_place *place) {
    const struct ci_stored *stored = place->stored;
    if (stored) {
        ci_printf("  %-13s %s, in %s\n", "name", ci_one_line(stored->name), ci_store_title(stored->store));
        for (size_t i = 0; i < stored->place_count; i++)
            ci_printf("  %-13s %s, in %s: %s\n", i ? "" : "also", ci_one_line(stored->places[i].name),
                      ci_store_title(stored->places[i].store), ci_one_line(stored->places[i].path));
        if (stored->repo && stored->revision)
            ci_printf("  %-13s %s of %s%s\n", "commit", stored->revision, ci_one_line(stored->repo),
                      place->newest ? " (main)" : "");
        if (*stored->digest)
            ci_printf("  %-13s %s\n", strlen(stored->digest) == 64 ? "sha256" : "git sha1", stored->digest);
    } else {
        ci_printf("  %-13s by its path only: it is in no store that clinfer knows\n", "name");
    }
    if (*place->licence) ci_printf("  %-13s %s (%s)\n", "licence", ci_one_line(place->licence), place->licence_from);
    if (place->licence_file)
        ci_printf("  %-13s %s\n", *place->licence ? "" : "licence", ci_one_line(place->licence_file));
    if (!*place->licence && !place->licence_file) ci_printf("  %-13s not said by the file\n", "licence");
}

static json_t *text_or_null(const char *text) { return text && *text ? ci_json_text(text, strlen(text)) : json_null(); }

void ci_show_place_add(const struct ci_show_place *place, json_t *object) {
    const struct ci_stored *stored = place->stored;
    json_t *places = json_array();
    for (size_t i = 0; stored && i < stored->place_count; i++)
        json_array_append_new(places,
                              json_pack("{s:o, s:o, s:s}", "name", text_or_null(stored->places[i].name), "path",
                                        text_or_null(stored->places[i].path), "store", stored->places[i].store));
    json_object_set_new(object, "name", text_or_null(stored ? stored->name : NULL));
    json_object_set_new(object, "store", text_or_null(stored ? stored->store : NULL));
    json_object_set_new(object, "places", places);
    json_object_set_new(object, "repo", text_or_null(stored ? stored->repo : NULL));
    json_object_set_new(object, "commit", text_or_null(stored ? stored->revision : NULL));
    json_object_set_new(object, "digest", text_or_null(stored ? stored->digest : NULL));
    json_object_set_new(object, "licence",
                        json_pack("{s:o, s:o, s:o}", "name", text_or_null(place->licence), "from",
                                  text_or_null(place->licence_from), "file", text_or_null(place->licence_file)));
}
