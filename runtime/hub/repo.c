#define _GNU_SOURCE
#include "hub/digest.h"
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
#include "hub/answer.h"
#include "hub/name.h"
#include "net/url.h"

/* A page has a thousand files, of some hundred bytes each. */
enum { PAGE_BYTES = 8 << 20, MOST_PAGES = 1000, REFS_BYTES = 4 << 20, SEARCH_BYTES = 1 << 20 };

/* The address of the page after the one of `fetch`, the caller's; NULL without a failure: that was the last one. */
static enum clinfer_status next_page(const struct ci_fetch *fetch, const char *repo, char **next) {
    const char *link = ci_fetch_header(fetch, "Link"), *here = ci_fetch_url(fetch), *why = NULL;
    char *reference = NULL;
    struct ci_url_origin one, other;
    *next = NULL;
    enum clinfer_status status = link ? ci_hub_next_link(link, &reference) : CLINFER_OK;
    if (!reference) return status;
    char *url = ci_url_resolve(here, reference, &why);
    free(reference);
    if (!url && !why) return ci_hub_no_memory();
    if (url && !(ci_url_origin(here, &one) && ci_url_origin(url, &other) && ci_url_same_origin(&one, &other)))
        why = "lies on another server";
    else if (url && strcmp(url, here) == 0)
        why = "is the same page again";
    if (!why) {
        *next = url;
        return CLINFER_OK;
    }
    free(url);
    return ci_fail(CLINFER_REMOTE_FAILED, "%.150s: the next page of its files %s; %s", repo, why, CI_HUB_NO_HUB);
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

/* Of the API's page of a repo: "refs", "revision/" "v1" "?blobs=true". The caller frees; NULL: out of memory. */
static char *make_url(const struct ci_hub *hub, const struct ci_hub_tree *tree, const char *page, const char *argument,
                      const char *query) {
    char *repo = ci_hub_encode(tree->repo, false), *more = ci_hub_encode(argument, true), *url = NULL;
    if (!repo || !more ||
        asprintf(&url, "%s/api/models/%s/%s%s%s", hub->settings->endpoint, repo, page, more, query) < 0)
        url = NULL;
    free(repo);
    free(more);
    return url;
}

static enum clinfer_status ask_api(struct ci_hub *hub, const char *page, const char *argument, const char *query,
                                   struct ci_hub_tree *tree, struct ci_hub_reply *reply) {
    char *url = make_url(hub, tree, page, argument, query);
    *reply = (struct ci_hub_reply){0};
    const struct ci_hub_question question = {.url = url, .what = tree->repo, .token = true, .most = REFS_BYTES};
    enum clinfer_status status = url ? ci_hub_ask(hub, &question, reply) : ci_hub_no_memory();
    free(url);
    return status;
}

/* Whether the repo is what is missing; or only this page of the API, which not all mirrors have. */
static bool lacks_repo(enum clinfer_status status, const struct ci_hub_reply *reply) {
    const char *code = reply->fetch ? ci_fetch_header(reply->fetch, "X-Error-Code") : NULL;
    return status == CLINFER_NOT_FOUND && reply->fetch && (!code || strcmp(code, "RepoNotFound") == 0);
}

static bool lacks_page(enum clinfer_status status, const struct ci_hub_reply *reply) {
    return lacks_repo(status, reply) && ci_fetch_status(reply->fetch) == 404 &&
           !ci_fetch_header(reply->fetch, "X-Error-Code");
}

/* What refs and tree do not say: the commit of pull requests and of short commits; with `files` those, too. */
static enum clinfer_status get_revision(struct ci_hub *hub, const char *revision, bool files,
                                        struct ci_hub_tree *tree) {
    struct ci_hub_reply reply;
    enum clinfer_status status = ask_api(hub, "revision/", revision, files ? "?blobs=true" : "", tree, &reply);
    bool missing = lacks_repo(status, &reply);
    if (status == CLINFER_OK) {
        read_repo(reply.fetch, "/revision/", tree);
        status = ci_hub_revision_parse(reply.body, reply.length, files, tree);
        if (status != CLINFER_OK) status = ci_fail_prefix(status, "%.150s", tree->repo);
    }
    ci_hub_reply_free(&reply);
    if (missing) add_near_names(hub, tree->repo);
    return status;
}

static enum clinfer_status get_commit(struct ci_hub *hub, const char *revision, struct ci_hub_tree *tree) {
    struct ci_hub_reply reply;
    char message[600];
    if (ci_hub_take_digits(revision, 40, tree->commit)) return CLINFER_OK;
    enum clinfer_status status = ask_api(hub, "refs", "", "", tree, &reply);
    bool no_page = lacks_page(status, &reply), no_repo = lacks_repo(status, &reply), answered = status == CLINFER_OK;
    if (answered) {
        read_repo(reply.fetch, "/refs", tree);
        status = ci_hub_refs_parse(reply.body, reply.length, revision, tree->commit);
        if (status != CLINFER_OK) status = ci_fail_prefix(status, "%.150s", tree->repo);
    }
    ci_hub_reply_free(&reply);
    if (no_page) return get_revision(hub, revision, false, tree);
    if (no_repo) add_near_names(hub, tree->repo);
    if (!answered || status != CLINFER_NOT_FOUND) return status;
    snprintf(message, sizeof message, "%s", clinfer_error());
    status = get_revision(hub, revision, false, tree);
    return status == CLINFER_NOT_FOUND ? ci_fail(status, "%s; name one of these by @REVISION", message) : status;
}

/* ---- which files ---- */

/* One page: adds its files; *next is the address of the one behind it, the caller's. */
static enum clinfer_status get_page(struct ci_hub *hub, const char *url, struct ci_hub_tree *tree,
                                    struct ci_hub_reply *reply, char **next) {
    const struct ci_hub_question question = {.url = url, .what = tree->repo, .token = true, .most = PAGE_BYTES};
    enum clinfer_status status = ci_hub_ask(hub, &question, reply);
    *next = NULL;
    if (status != CLINFER_OK) return status;
    status = ci_hub_tree_parse(reply->body, reply->length, tree);
    if (status != CLINFER_OK) return ci_fail_prefix(status, "%.150s", tree->repo);
    return next_page(reply->fetch, tree->repo, next);
}

static enum clinfer_status get_files(struct ci_hub *hub, struct ci_hub_tree *tree) {
    bool no_page = false, no_repo = false;
    char *url = make_url(hub, tree, "tree/", tree->commit, "?recursive=true");
    enum clinfer_status status = url ? CLINFER_OK : ci_hub_no_memory();
    for (int page = 0; url && status == CLINFER_OK; page++) {
        struct ci_hub_reply reply = {0};
        char *next = NULL;
        if (page >= MOST_PAGES)
            status =
                ci_fail(CLINFER_REMOTE_FAILED, "%.150s: its list of files does not end; %s", tree->repo, CI_HUB_NO_HUB);
        if (status == CLINFER_OK) status = get_page(hub, url, tree, &reply, &next);
        if (page == 0 && status == CLINFER_OK) read_repo(reply.fetch, "/tree/", tree);
        if (page == 0) no_page = lacks_page(status, &reply), no_repo = lacks_repo(status, &reply);
        ci_hub_reply_free(&reply);
        free(url);
        url = next;
    }
    free(url);
    if (no_page) return get_revision(hub, tree->commit, true, tree);
    if (no_repo) add_near_names(hub, tree->repo);
    return status;
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
    if (status == CLINFER_OK) status = get_files(hub, tree);
    if (status != CLINFER_OK) {
        ci_hub_tree_free(tree);
        return status;
    }
    ci_hub_tree_sort(tree);
    if (tree->left_out)
        ci_hub_say(hub, true, "%s: %zu of its files are left out, since their names could lead out of the folder (%s)",
                   tree->repo, tree->left_out, tree->first_left_out);
    return CLINFER_OK;
}

/* ---- one file ---- */

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
    if (!ci_hub_take_digits(commit, 40, facts->commit) || (!linked && !etag))
        return ci_fail(CLINFER_REMOTE_FAILED, "%.150s: no Hub answered: there is no %s in the header; %s", what,
                       !linked && !etag ? "ETag" : "X-Repo-Commit", CI_HUB_NO_HUB);
    ci_hub_take_etag(linked ? linked : etag, facts->etag, sizeof facts->etag);
    if (!ci_hub_take_digits(facts->etag, 64, facts->digest) && !ci_hub_take_digits(facts->etag, 40, facts->digest))
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
