#define _GNU_SOURCE
#include "hub/hub.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "hub/name.h"
#include "net/url.h"

/* The largest repos have some ten thousand files, of about 400 bytes each in a page of a thousand. */
enum { PAGE_BYTES = 32 << 20, MOST_PAGES = 1000, MOST_FILES = 500000, REFS_BYTES = 16 << 20, SEARCH_BYTES = 1 << 20 };

static const char no_hub[] = "see to HF_ENDPOINT, or whether this network has a page to log in at first";

static enum clinfer_status no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "the Hub's answer: out of memory"); }

/* ---- JSON ---- */

static bool is_html(const char *text, size_t length) {
    while (length && isspace((unsigned char)*text)) text++, length--;
    return length && *text == '<';
}

/* The caller's. */
static enum clinfer_status parse(const char *text, size_t length, json_t **top) {
    json_error_t error;
    *top = json_loadb(text, length, 0, &error);
    if (*top) return CLINFER_OK;
    if (json_error_code(&error) == json_error_out_of_memory) return no_memory();
    if (is_html(text, length))
        return ci_fail(CLINFER_REMOTE_FAILED, "a web page came where the Hub answers in JSON; %s", no_hub);
    return ci_fail(CLINFER_REMOTE_FAILED, "what came is not the JSON that the Hub answers in (line %d); %s", error.line,
                   no_hub);
}

static enum clinfer_status malformed(const char *where) {
    return ci_fail(CLINFER_REMOTE_FAILED, "the answer has no %s as the Hub's have; %s", where, no_hub);
}

/* `digits` hexadecimal ones, in lower case then. */
static bool take_digits(const char *text, size_t digits, char *taken) {
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
        if (same && take_digits(target, 40, commit)) return true;
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
    enum clinfer_status status = parse(text, length, &top);
    if (status != CLINFER_OK) return status;
    bool found = false, known = json_is_array(json_object_get(top, "branches"));
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !found; i++)
        found = find_ref(json_object_get(top, lists[i]), revision, commit, names, sizeof names);
    json_decref(top);
    if (found) return CLINFER_OK;
    *commit = 0;
    if (!known) return malformed("branches");
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

static enum clinfer_status add_file(const json_t *entry, const char *path, struct ci_hub_tree *tree) {
    const json_t *lfs = json_object_get(entry, "lfs");
    struct ci_hub_file file = {.size = size_of(json_object_get(entry, "size"))};
    if (tree->count >= MOST_FILES)
        return ci_fail(CLINFER_REMOTE_FAILED, "there are more than %d files in the repo; %s", MOST_FILES, no_hub);
    if (json_is_object(lfs)) {
        const char *oid = json_string_value(json_object_get(lfs, "oid"));
        if (oid && strncmp(oid, "sha256:", 7) == 0) oid += 7;
        if (!take_digits(oid, 64, file.digest)) file.digest[0] = 0;
        uint64_t size = size_of(json_object_get(lfs, "size"));
        if (size != UINT64_MAX) file.size = size;
    } else if (!take_digits(json_string_value(json_object_get(entry, "oid")), 40, file.digest)) {
        file.digest[0] = 0;
    }
    if (!room(tree) || !(file.path = strdup(path))) return no_memory();
    tree->files[tree->count++] = file;
    return CLINFER_OK;
}

enum clinfer_status ci_hub_tree_parse(const char *text, size_t length, struct ci_hub_tree *tree) {
    json_t *top, *entry;
    size_t index;
    enum clinfer_status status = parse(text, length, &top);
    if (status != CLINFER_OK) return status;
    if (!json_is_array(top)) status = malformed("list of files");
    json_array_foreach(top, index, entry) {
        const json_t *path = json_object_get(entry, "path");
        const char *type = json_string_value(json_object_get(entry, "type"));
        if (status != CLINFER_OK) break;
        if (!json_is_string(path) || !type)
            status = malformed("files");
        else if (strcmp(type, "file") != 0)
            continue;
        else if (ci_hub_path_rule(json_string_value(path)))
            leave_out(tree, json_string_value(path));
        else
            status = add_file(entry, json_string_value(path), tree);
    }
    json_decref(top);
    return status;
}

static int by_path(const void *one, const void *other) {
    return strcmp(((const struct ci_hub_file *)one)->path, ((const struct ci_hub_file *)other)->path);
}

static void sort(struct ci_hub_tree *tree) {
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
char *ci_hub_next_link(const char *link) {
    for (const char *at = strchr(link, '<'); at; at = strchr(at, '<')) {
        const char *end = strchr(at, '>');
        if (!end) return NULL;
        size_t parameters = strcspn(end, "<");
        const char *relation = strcasestr(end, "rel=");
        if (relation && relation < end + parameters) {
            relation += 4 + (relation[4] == '"');
            if (strncasecmp(relation, "next", 4) == 0 && strchr("\"; ,", relation[4]))
                return strndup(at + 1, (size_t)(end - at - 1));
        }
        at = end + parameters;
    }
    return NULL;
}

/* The address of the page after the one of `fetch`; NULL without a failure: that was the last one. */
static enum clinfer_status next_page(const struct ci_fetch *fetch, const char *repo, char **next) {
    const char *link = ci_fetch_header(fetch, "Link"), *problem = "";
    char *reference = link ? ci_hub_next_link(link) : NULL;
    struct ci_url_origin here, there;
    *next = NULL;
    if (!reference) return CLINFER_OK;
    char *url = ci_url_resolve(ci_fetch_url(fetch), reference, &problem);
    bool same = url && ci_url_origin(ci_fetch_url(fetch), &here) && ci_url_origin(url, &there) &&
                ci_url_same_origin(&here, &there);
    free(reference);
    if (same && strcmp(url, ci_fetch_url(fetch)) != 0) {
        *next = url;
        return CLINFER_OK;
    }
    const char *why = !url ? problem : same ? "is the same page again" : "lies on another server";
    enum clinfer_status status =
        ci_fail(CLINFER_REMOTE_FAILED, "%.150s: the next page of its files %s; %s", repo, why, no_hub);
    free(url);
    return status;
}

static enum clinfer_status get_pages(struct ci_hub *hub, struct ci_hub_tree *tree) {
    char *repo = ci_hub_encode(tree->repo, false), *url = NULL;
    if (!repo ||
        asprintf(&url, "%s/api/models/%s/tree/%s?recursive=true", hub->settings->endpoint, repo, tree->commit) < 0)
        url = NULL;
    free(repo);
    enum clinfer_status status = url ? CLINFER_OK : no_memory();
    for (int page = 0; url && status == CLINFER_OK; page++) {
        const struct ci_hub_question question = {.url = url, .what = tree->repo, .token = true, .most = PAGE_BYTES};
        struct ci_hub_reply reply = {0};
        char *next = NULL;
        if (page >= MOST_PAGES)
            status = ci_fail(CLINFER_REMOTE_FAILED, "%.150s: its list of files does not end; %s", tree->repo, no_hub);
        if (status == CLINFER_OK) status = ci_hub_ask(hub, &question, &reply);
        if (status == CLINFER_OK) {
            status = ci_hub_tree_parse(reply.body, reply.length, tree);
            if (status != CLINFER_OK) status = ci_fail_prefix(status, "%.150s", tree->repo);
        }
        if (status == CLINFER_OK) status = next_page(reply.fetch, tree->repo, &next);
        ci_hub_reply_free(&reply);
        free(url);
        url = next;
    }
    free(url);
    return status;
}

/* ---- which repo, which commit ---- */

/* What is called like it, of the Hub's search: one request, and none of its failures counts. */
static void add_near_names(struct ci_hub *hub, const char *repo) {
    const char *name = strrchr(repo, '/') ? strrchr(repo, '/') + 1 : repo;
    char *message = strdup(clinfer_error()), *word = ci_hub_encode(name, true), *url = NULL, names[300] = "";
    size_t length = strlen(name), index;
    struct ci_hub_reply reply = {0};
    json_t *entry, *list = NULL;
    if (word && length > 5 && strcasecmp(name + length - 5, "-GGUF") == 0) word[strlen(word) - 5] = 0;
    if (word && asprintf(&url, "%s/api/models?search=%s&limit=5", hub->settings->endpoint, word) < 0) url = NULL;
    struct ci_hub_settings once = *hub->settings;
    struct ci_hub own = *hub;
    once.tries = 1;
    own.settings = &once;
    const struct ci_hub_question question = {.url = url, .what = repo, .token = true, .most = SEARCH_BYTES};
    if (url && ci_hub_ask(&own, &question, &reply) == CLINFER_OK) list = json_loadb(reply.body, reply.length, 0, NULL);
    json_array_foreach(list, index, entry) {
        const char *id = json_string_value(json_object_get(entry, "id"));
        if (id && strcmp(id, repo) != 0 && strlen(id) < 200 && !ci_hub_repo_rule(id) && index < 5)
            ci_names_add(names, sizeof names, id);
    }
    if (message && *names)
        ci_fail(CLINFER_NOT_FOUND, "%s; near names: %s", message, names);
    else if (message)
        ci_fail(CLINFER_NOT_FOUND, "%s", message);
    json_decref(list);
    ci_hub_reply_free(&reply);
    free(message);
    free(word);
    free(url);
}

/* After redirects: what the repo is called today, .../api/models/NAME/refs. */
static void read_repo(const struct ci_fetch *fetch, const char *ending, struct ci_hub_tree *tree) {
    static const char start[] = "/api/models/";
    const char *url = ci_fetch_url(fetch), *name = NULL, *end;
    char found[sizeof tree->repo];
    for (const char *at = url; (at = strstr(at, start)); at++) name = at + sizeof start - 1;
    if (!name || !(end = strstr(name, ending)) || (size_t)(end - name) >= sizeof found) return;
    memcpy(found, name, (size_t)(end - name));
    found[end - name] = 0;
    if (!ci_hub_repo_rule(found)) memcpy(tree->repo, found, sizeof found);
}

/* The API's page of a repo: "refs", "revision/v1". */
static enum clinfer_status ask_api(struct ci_hub *hub, const char *page, const char *argument, struct ci_hub_tree *tree,
                                   struct ci_hub_reply *reply) {
    char *repo = ci_hub_encode(tree->repo, false), *more = ci_hub_encode(argument, true), *url = NULL;
    *reply = (struct ci_hub_reply){0};
    if (!repo || !more || asprintf(&url, "%s/api/models/%s/%s%s", hub->settings->endpoint, repo, page, more) < 0)
        url = NULL;
    const struct ci_hub_question question = {.url = url, .what = tree->repo, .token = true, .most = REFS_BYTES};
    enum clinfer_status status = url ? ci_hub_ask(hub, &question, reply) : no_memory();
    free(repo);
    free(more);
    free(url);
    return status;
}

/* What refs do not list: pull requests, short commits. */
static enum clinfer_status get_revision(struct ci_hub *hub, const char *revision, struct ci_hub_tree *tree) {
    struct ci_hub_reply reply;
    json_t *top = NULL;
    enum clinfer_status status = ask_api(hub, "revision/", revision, tree, &reply);
    if (status == CLINFER_OK) status = parse(reply.body, reply.length, &top);
    if (status == CLINFER_OK && !take_digits(json_string_value(json_object_get(top, "sha")), 40, tree->commit))
        status = malformed("sha");
    json_decref(top);
    ci_hub_reply_free(&reply);
    return status;
}

static enum clinfer_status get_commit(struct ci_hub *hub, const char *revision, struct ci_hub_tree *tree) {
    struct ci_hub_reply reply;
    if (take_digits(revision, 40, tree->commit)) return CLINFER_OK;
    enum clinfer_status status = ask_api(hub, "refs", "", tree, &reply);
    bool missing = status == CLINFER_NOT_FOUND && reply.fetch;
    if (status == CLINFER_OK) {
        read_repo(reply.fetch, "/refs", tree);
        status = ci_hub_refs_parse(reply.body, reply.length, revision, tree->commit);
        if (status != CLINFER_OK) status = ci_fail_prefix(status, "%.150s", tree->repo);
    }
    bool elsewhere = !missing && status == CLINFER_NOT_FOUND && reply.fetch;
    ci_hub_reply_free(&reply);
    if (missing) add_near_names(hub, tree->repo);
    if (!elsewhere) return status;
    char message[600];
    snprintf(message, sizeof message, "%s", clinfer_error());
    status = get_revision(hub, revision, tree);
    return status == CLINFER_NOT_FOUND ? ci_fail(status, "%s; name one of these by @REVISION", message) : status;
}

enum clinfer_status ci_hub_tree_get(struct ci_hub *hub, const char *repo, const char *revision,
                                    struct ci_hub_tree *tree) {
    *tree = (struct ci_hub_tree){0};
    const char *rule = ci_hub_repo_rule(repo);
    if (rule) return ci_fail(CLINFER_INVALID_ARGUMENT, "%.200s: this name %s", repo, rule);
    if (strlen(repo) >= sizeof tree->repo)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%.200s: this name is too long", repo);
    memcpy(tree->repo, repo, strlen(repo) + 1);
    enum clinfer_status status = ci_hub_check_online(hub->settings, repo);
    if (status == CLINFER_OK) status = get_commit(hub, revision, tree);
    if (status == CLINFER_OK) status = get_pages(hub, tree);
    if (status != CLINFER_OK) {
        ci_hub_tree_free(tree);
        return status;
    }
    sort(tree);
    if (tree->left_out)
        ci_hub_say(hub, true, "%s: %zu of its files are left out, since their names could lead out of the folder (%s)",
                   tree->repo, tree->left_out, tree->first_left_out);
    return CLINFER_OK;
}

/* ---- one file ---- */

/* W/"abc" -> abc */
static void take_etag(const char *text, char etag[256]) {
    if (text[0] == 'W' && text[1] == '/') text += 2;
    size_t length = strlen(text);
    if (length >= 2 && text[0] == '"' && text[length - 1] == '"') text++, length -= 2;
    snprintf(etag, 256, "%.*s", ci_shown(length, 255), text);
}

static uint64_t take_size(const char *text) {
    char *end;
    if (!text || !isdigit((unsigned char)*text)) return UINT64_MAX;
    unsigned long long size = strtoull(text, &end, 10);
    return *end ? UINT64_MAX : size;
}

static enum clinfer_status read_facts(const struct ci_fetch *fetch, const char *what, struct ci_hub_facts *facts) {
    const char *commit = ci_fetch_first_header(fetch, "X-Repo-Commit");
    const char *linked = ci_fetch_first_header(fetch, "X-Linked-Etag"), *etag = ci_fetch_header(fetch, "ETag");
    const char *size = ci_fetch_first_header(fetch, "X-Linked-Size");
    const char *encoding = ci_fetch_header(fetch, "Content-Encoding");
    if (!take_digits(commit, 40, facts->commit) || (!linked && !etag))
        return ci_fail(CLINFER_REMOTE_FAILED, "%.150s: no Hub answered: there is no %s in the header; %s", what,
                       !linked && !etag ? "ETag" : "X-Repo-Commit", no_hub);
    take_etag(linked ? linked : etag, facts->etag);
    if (!take_digits(facts->etag, 64, facts->digest) && !take_digits(facts->etag, 40, facts->digest))
        facts->digest[0] = 0;
    /* Never the length of a redirect's text. */
    if (!size && ci_fetch_status(fetch) < 300 && (!encoding || strcasecmp(encoding, "identity") == 0))
        size = ci_fetch_header(fetch, "Content-Length");
    facts->size = take_size(size);
    return CLINFER_OK;
}

enum clinfer_status ci_hub_head(struct ci_hub *hub, const char *url, struct ci_hub_facts *facts) {
    char what[200];
    struct ci_hub_reply reply;
    *facts = (struct ci_hub_facts){.size = UINT64_MAX};
    const char *name = strstr(url, "/resolve/");
    name = name ? strchr(name + 9, '/') : strrchr(url, '/');
    snprintf(what, sizeof what, "%.150s", name ? name + 1 : url);
    const struct ci_hub_question question = {
        .url = url, .what = what, .head = true, .token = true, .fact = "X-Linked-Etag", .most = 65536};
    enum clinfer_status status = ci_hub_ask(hub, &question, &reply);
    if (status == CLINFER_OK) status = read_facts(reply.fetch, what, facts);
    ci_hub_reply_free(&reply);
    return status;
}
