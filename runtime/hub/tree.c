#define _GNU_SOURCE
#include "hub/hub.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/names.h"
#include "base/status.h"
#include "hub/answer.h"
#include "hub/name.h"

enum { MOST_FILES = 500000 };

enum clinfer_status ci_hub_no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "the Hub's answer: out of memory"); }

/* ---- JSON ---- */

static bool is_html(const char *text, size_t length) {
    while (length && isspace((unsigned char)*text)) text++, length--;
    return length && *text == '<';
}

enum clinfer_status ci_hub_json(const char *text, size_t length, json_t **top) {
    json_error_t error;
    *top = json_loadb(text, length, 0, &error);
    if (*top) return CLINFER_OK;
    if (json_error_code(&error) == json_error_out_of_memory) return ci_hub_no_memory();
    if (is_html(text, length))
        return ci_fail(CLINFER_REMOTE_FAILED, "a web page came where the Hub answers in JSON; %s", CI_HUB_NO_HUB);
    return ci_fail(CLINFER_REMOTE_FAILED, "what came is not the JSON that the Hub answers in (line %d); %s", error.line,
                   CI_HUB_NO_HUB);
}

enum clinfer_status ci_hub_malformed(const char *where) {
    return ci_fail(CLINFER_REMOTE_FAILED, "the answer has no %s as the Hub's have; %s", where, CI_HUB_NO_HUB);
}

bool ci_hub_take_digits(const char *text, size_t digits, char *taken) {
    if (!text || strlen(text) != digits) return false;
    for (size_t i = 0; i <= digits; i++) {
        if (text[i] && !isxdigit((unsigned char)text[i])) return false;
        taken[i] = (char)tolower((unsigned char)text[i]);
    }
    return true;
}

/* ---- refs ---- */

/* Whether the list has it; else its names, for people. */
static bool find_ref(const json_t *list, const char *revision, char commit[41], char *names, size_t size) {
    size_t index;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)list, index, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *ref = json_string_value(json_object_get(entry, "ref"));
        const char *target = json_string_value(json_object_get(entry, "targetCommit"));
        bool same = (name && strcmp(name, revision) == 0) || (ref && strcmp(ref, revision) == 0);
        if (same && ci_hub_take_digits(target, 40, commit)) return true;
        char shown[64];
        if (name && strlen(name) < sizeof shown) {
            snprintf(shown, sizeof shown, "%s", name);
            for (char *c = shown; *c; c++)
                if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f) *c = '?';
            ci_names_add(names, size, shown);
        }
    }
    return false;
}

enum clinfer_status ci_hub_refs_parse(const char *text, size_t length, const char *revision, char commit[41]) {
    static const char *const lists[] = {"branches", "tags", "converts", "pullRequests"};
    json_t *top;
    char names[300] = "";
    *commit = 0;
    enum clinfer_status status = ci_hub_json(text, length, &top);
    if (status != CLINFER_OK) return status;
    bool found = false, known = json_is_array(json_object_get(top, "branches"));
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !found; i++)
        found = find_ref(json_object_get(top, lists[i]), revision, commit, names, sizeof names);
    json_decref(top);
    if (found) return CLINFER_OK;
    *commit = 0;
    if (!known) return ci_hub_malformed("branches");
    return ci_fail(CLINFER_NOT_FOUND, "there is no revision %.100s; there are %s", revision, *names ? names : "none");
}

/* ---- trees ---- */

void ci_hub_tree_free(struct ci_hub_tree *tree) {
    for (size_t i = 0; i < tree->count; i++) free(tree->files[i].path);
    free(tree->files);
    *tree = (struct ci_hub_tree){0};
}

static void leave_out(struct ci_hub_tree *tree, const char *path) {
    if (!tree->left_out++) {
        snprintf(tree->first_left_out, sizeof tree->first_left_out, "%s", path);
        for (char *c = tree->first_left_out; *c; c++)
            if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f) *c = '?';
    }
}

static uint64_t size_of(const json_t *number) {
    return json_is_integer(number) && json_integer_value(number) >= 0 ? (uint64_t)json_integer_value(number)
                                                                      : UINT64_MAX;
}

/* Room for one more; doubled when `count` is a power of two. */
static bool room(struct ci_hub_tree *tree) {
    if (tree->count & (tree->count - 1)) return true;
    struct ci_hub_file *grown = realloc(tree->files, 2 * (tree->count ? tree->count : 1) * sizeof *grown);
    if (grown) tree->files = grown;
    return grown != NULL;
}

/* Where an entry has what: of a tree, and of a revision with its blobs. */
struct fields {
    const char *path, *oid;
};
static const struct fields of_tree = {"path", "oid"}, of_siblings = {"rfilename", "blobId"};

static enum clinfer_status add_file(const json_t *entry, const struct fields *fields, const char *path,
                                    struct ci_hub_tree *tree) {
    const json_t *lfs = json_object_get(entry, "lfs");
    struct ci_hub_file file = {.size = size_of(json_object_get(entry, "size"))};
    if (tree->count >= MOST_FILES)
        return ci_fail(CLINFER_REMOTE_FAILED, "there are more than %d files in the repo; %s", MOST_FILES,
                       CI_HUB_NO_HUB);
    if (json_is_object(lfs)) {
        const char *oid = json_string_value(json_object_get(lfs, "oid"));
        if (!oid) oid = json_string_value(json_object_get(lfs, "sha256"));
        if (oid && strncmp(oid, "sha256:", 7) == 0) oid += 7;
        if (!ci_hub_take_digits(oid, 64, file.digest)) file.digest[0] = 0;
        uint64_t size = size_of(json_object_get(lfs, "size"));
        if (size != UINT64_MAX) file.size = size;
    } else if (!ci_hub_take_digits(json_string_value(json_object_get(entry, fields->oid)), 40, file.digest)) {
        file.digest[0] = 0;
    }
    if (!room(tree) || !(file.path = strdup(path))) return ci_hub_no_memory();
    tree->files[tree->count++] = file;
    return CLINFER_OK;
}

static enum clinfer_status add_files(const json_t *list, const struct fields *fields, struct ci_hub_tree *tree) {
    enum clinfer_status status = json_is_array(list) ? CLINFER_OK : ci_hub_malformed("list of files");
    size_t index;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)list, index, entry) {
        const char *path = json_string_value(json_object_get(entry, fields->path));
        const char *type = fields == &of_tree ? json_string_value(json_object_get(entry, "type")) : "file";
        if (status != CLINFER_OK) break;
        if (!path || !type)
            status = ci_hub_malformed("files");
        else if (strcmp(type, "file") != 0)
            continue;
        else if (ci_hub_path_rule(path))
            leave_out(tree, path);
        else
            status = add_file(entry, fields, path, tree);
    }
    return status;
}

enum clinfer_status ci_hub_tree_parse(const char *text, size_t length, struct ci_hub_tree *tree) {
    json_t *top;
    enum clinfer_status status = ci_hub_json(text, length, &top);
    if (status == CLINFER_OK) status = add_files(top, &of_tree, tree);
    json_decref(top);
    return status;
}

enum clinfer_status ci_hub_revision_parse(const char *text, size_t length, bool files, struct ci_hub_tree *tree) {
    json_t *top;
    enum clinfer_status status = ci_hub_json(text, length, &top);
    if (status == CLINFER_OK && !ci_hub_take_digits(json_string_value(json_object_get(top, "sha")), 40, tree->commit))
        status = ci_hub_malformed("sha");
    if (status == CLINFER_OK && files) status = add_files(json_object_get(top, "siblings"), &of_siblings, tree);
    json_decref(top);
    return status;
}

static int by_path(const void *one, const void *other) {
    return strcmp(((const struct ci_hub_file *)one)->path, ((const struct ci_hub_file *)other)->path);
}

void ci_hub_tree_sort(struct ci_hub_tree *tree) {
    size_t kept = 0;
    if (tree->count) qsort(tree->files, tree->count, sizeof *tree->files, by_path);
    for (size_t i = 0; i < tree->count; i++) {
        if (kept && strcmp(tree->files[kept - 1].path, tree->files[i].path) == 0)
            free(tree->files[i].path);
        else
            tree->files[kept++] = tree->files[i];
    }
    tree->count = kept;
}

/* RFC 8288: <target>; parameter; ..., <target>; ... */
enum clinfer_status ci_hub_next_link(const char *link, char **next) {
    *next = NULL;
    for (const char *at = strchr(link, '<'); at; at = strchr(at, '<')) {
        const char *end = strchr(at, '>');
        if (!end) break;
        size_t parameters = strcspn(end, "<");
        const char *relation = strcasestr(end, "rel=");
        if (relation && relation < end + parameters) {
            relation += 4 + (relation[4] == '"');
            if (strncasecmp(relation, "next", 4) == 0 && strchr("\"; ,", relation[4])) {
                *next = strndup(at + 1, (size_t)(end - at - 1));
                return *next ? CLINFER_OK : ci_hub_no_memory();
            }
        }
        at = end + parameters;
    }
    return CLINFER_OK;
}
