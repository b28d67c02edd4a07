#define _GNU_SOURCE
#include "hub/place.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"
#include "hub/bring.h"
#include "hub/cache.h"
#include "hub/choose.h"
#include "hub/download.h"
#include "hub/space.h"
#include "hub/stores.h"

enum { MAX_NOTE = 65536 };

/* Paths that belong to one placing. */
struct place {
    const struct ci_hub_placing *what;
    char *note;  /* where it came from */
    char *newer; /* what takes the place of an older version, once it is whole */
};

static enum clinfer_status out_of_memory(const struct ci_hub_placing *what) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", what->name);
}

char *ci_hub_place_note(const char *target) {
    const char *slash = strrchr(target, '/');
    int folder = slash ? ci_narrowed(slash - target) + 1 : 0;
    char *note = NULL;
    return asprintf(&note, "%.*s.%s.source.json", folder, target, target + folder) < 0 ? NULL : note;
}

static bool name_files(struct place *place) {
    place->note = ci_hub_place_note(place->what->target);
    if (asprintf(&place->newer, "%s.new", place->what->target) < 0) place->newer = NULL;
    return place->note && place->newer;
}

static bool is_text(const json_t *object, const char *key, const char *text) {
    const char *there = json_string_value(json_object_get(object, key));
    return there && *text && strcmp(there, text) == 0;
}

bool ci_hub_place_is_other(const char *target, const char *source) {
    char *path = ci_hub_place_note(target);
    struct stat status;
    json_t *note = NULL;
    bool other = path && stat(target, &status) == 0 && ci_json_read(path, MAX_NOTE, &note) == CLINFER_OK &&
                 json_integer_value(json_object_get(note, "size")) == (json_int_t)status.st_size &&
                 json_object_get(note, "source") && !is_text(note, "source", source);
    json_decref(note);
    free(path);
    return other;
}

/* Whether the file that is there is the one that would come: by what its note says, else by its size alone. */
enum there { NOTHING, THE_SAME, OLDER, OF_ANOTHER_ADDRESS, ANOTHER };

static enum there judge(const struct place *place, uint64_t *size) {
    const struct ci_hub_placing *what = place->what;
    struct stat status;
    json_t *note = NULL;
    if (stat(what->target, &status) != 0) return NOTHING;
    *size = (uint64_t)status.st_size;
    bool same_size = what->size == UINT64_MAX || what->size == *size;
    if (ci_json_read(place->note, MAX_NOTE, &note) != CLINFER_OK) return same_size ? THE_SAME : ANOTHER;
    /* The note is of this very file, unless somebody has put another one in its place. */
    bool noted = json_integer_value(json_object_get(note, "size")) == (json_int_t)status.st_size;
    bool known = (*what->digest && json_object_get(note, "digest")) || (*what->etag && json_object_get(note, "etag"));
    bool same = is_text(note, "digest", what->digest) || is_text(note, "etag", what->etag) ||
                (!known && is_text(note, "source", what->source));
    json_decref(note);
    if (noted && same && same_size) return THE_SAME;
    if (ci_hub_place_is_other(what->target, what->source)) return OF_ANOTHER_ADDRESS;
    return noted ? OLDER : same_size && !known ? THE_SAME : ANOTHER;
}

static enum clinfer_status write_note(const struct place *place) {
    const struct ci_hub_placing *what = place->what;
    struct stat status;
    if (stat(what->target, &status) != 0)
        return ci_fail(CLINFER_IO, "%s: is not there any more: %s", what->target, strerror(errno));
    json_t *note = json_pack("{s:s, s:I}", "source", what->source, "size", (json_int_t)status.st_size);
    if (note && *what->digest) json_object_set_new(note, "digest", json_string(what->digest));
    if (note && *what->etag) json_object_set_new(note, "etag", json_string(what->etag));
    char *text = note ? json_dumps(note, JSON_INDENT(2)) : NULL;
    enum clinfer_status written = text ? ci_file_write(place->note, text, strlen(text)) : out_of_memory(what);
    free(text);
    json_decref(note);
    return written;
}

static enum clinfer_status fetch(struct ci_hub *hub, const struct place *place, const char *target,
                                 struct ci_hub_pulled *pulled) {
    const struct ci_hub_placing *what = place->what;
    struct ci_downloaded done = {0};
    char size[CI_HUB_SIZE_BYTES];
    const struct ci_download download = {.url = what->url,
                                         .authorization = what->authorization,
                                         .name = what->name,
                                         .digest = what->digest,
                                         .size = what->size,
                                         .target = target,
                                         .gguf = true};
    ci_hub_say(hub, false, "fetching %s, %s", what->name,
               what->size == UINT64_MAX ? "its size is not known" : ci_hub_size_text(what->size, size, sizeof size));
    enum clinfer_status status = ci_hub_download(hub, &download, &done);
    pulled->fetched += done.fetched;
    pulled->fetched_files += done.fetched > 0;
    return status;
}

static enum clinfer_status put(struct ci_hub *hub, const struct place *place, enum there there,
                               struct ci_hub_pulled *pulled) {
    const struct ci_hub_placing *what = place->what;
    const char *target = there == OLDER ? place->newer : what->target;
    char *same = *what->digest ? ci_hub_find_digest(hub->settings, what->digest, what->size) : NULL;
    enum clinfer_status status = CLINFER_OK;
    if (same && ci_hub_bring_same(same, target))
        ci_hub_say(hub, false, "%s: the same file lies at %s already: linked, not fetched", what->name, same);
    else {
        status = fetch(hub, place, target, pulled);
        /* Not at a link: the file is somebody else's, too. */
        if (status == CLINFER_OK) ci_store_mark(target, what->source);
    }
    free(same);
    if (status == CLINFER_OK && there == OLDER && rename(target, what->target) != 0)
        status = ci_fail(CLINFER_IO, "%s: cannot be renamed to %s: %s", target, what->target, strerror(errno));
    return status == CLINFER_OK ? write_note(place) : status;
}

enum clinfer_status ci_hub_place(struct ci_hub *hub, const struct ci_hub_placing *placing,
                                 struct ci_hub_pulled *pulled) {
    struct place place = {.what = placing};
    uint64_t size = 0;
    enum there there = ANOTHER;
    enum clinfer_status status = name_files(&place) ? CLINFER_OK : out_of_memory(placing);
    if (status == CLINFER_OK) there = judge(&place, &size);
    if (status == CLINFER_OK && there == ANOTHER)
        status =
            ci_fail(CLINFER_REFUSED,
                    "%s: a file is there that is not this one (%llu bytes, not %llu) and that no pull has brought; "
                    "rename it, or remove it with `clinfer rm --force`",
                    placing->target, (unsigned long long)size, (unsigned long long)placing->size);
    if (status == CLINFER_OK && there == OF_ANOTHER_ADDRESS)
        status = ci_fail(CLINFER_REFUSED,
                         "%s: a file of that name was pulled from another address before; rename it, or remove it with "
                         "`clinfer rm`, and pull again",
                         placing->target);
    if (status == CLINFER_OK && there == THE_SAME)
        ci_hub_say(hub, false, "%s is here, nothing is fetched", placing->name);
    if (status == CLINFER_OK && there == OLDER)
        ci_hub_say(hub, false, "%s has changed since it was pulled", placing->name);
    if (status == CLINFER_OK && there != THE_SAME) status = put(hub, &place, there, pulled);
    struct stat now;
    if (status == CLINFER_OK && stat(placing->target, &now) == 0) {
        pulled->files++;
        pulled->bytes += (uint64_t)now.st_size;
    }
    free(place.note);
    free(place.newer);
    return status;
}
