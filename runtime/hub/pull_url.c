/* pull_url.c: a .gguf of any web server. Nobody tells its checksum, except servers that answer as the Hub does; what is
 * known is its length and its ETag, and that it begins as GGUF does. No token goes there. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "format/kind.h"
#include "hub/digest.h"
#include "hub/place.h"
#include "hub/pull_private.h"

/* ---- where things lie ---- */

/* models/ollama/[namespace/]model:tag.gguf; those of another registry below its name. */
static char *ollama_target(const char *models, const struct ci_hub_name *name) {
    static const char usual[] = "library/";
    const char *repo = name->repo;
    char *path = NULL;
    if (!name->host[0] && strncmp(repo, usual, sizeof usual - 1) == 0) repo += sizeof usual - 1;
    if (asprintf(&path, "%s/ollama/%s%s%s:%s.gguf", models, name->host, name->host[0] ? "/" : "", repo, name->tag) < 0)
        return NULL;
    return path;
}

char *ci_hub_pull_target(const struct ci_hub_settings *settings, const struct ci_hub_name *name) {
    char file[CI_HUB_FILE_BYTES], *path = NULL;
    if (!settings->models) return NULL;
    if (name->kind == CI_HUB_OLLAMA) return ollama_target(settings->models, name);
    ci_hub_url_file(name->url, file, sizeof file);
    return *file && asprintf(&path, "%s/%s", settings->models, file) >= 0 ? path : NULL;
}

/* ---- the file ---- */

/* What a HEAD tells; that a server refuses those (signed addresses are for GET alone) is no failure. */
struct facts {
    char etag[256], digest[CI_DIGEST_BYTES];
    uint64_t size;
};

static uint64_t number_of(const char *header) {
    char *end;
    if (!header || *header < '0' || *header > '9') return UINT64_MAX;
    errno = 0;
    unsigned long long number = strtoull(header, &end, 10);
    return *end || errno ? UINT64_MAX : number;
}

static enum clinfer_status ask(struct ci_hub *hub, const char *url, const char *what, struct facts *facts) {
    *facts = (struct facts){.size = UINT64_MAX};
    struct ci_hub_reply reply = {0};
    const struct ci_hub_question question = {.url = url, .what = what, .head = true, .fact = "X-Linked-Etag"};
    enum clinfer_status status = ci_hub_ask(hub, &question, &reply);
    long answer = reply.fetch ? ci_fetch_status(reply.fetch) : 0;
    if (status == CLINFER_OK) {
        const char *etag = ci_fetch_header(reply.fetch, "ETag");
        const char *linked = ci_fetch_first_header(reply.fetch, "X-Linked-Etag");
        if (etag && !linked) ci_hub_take_etag(etag, facts->etag, sizeof facts->etag);
        if (linked) ci_hub_take_etag(linked, facts->digest, sizeof facts->digest);
        if (!ci_hub_is_digest(facts->digest)) facts->digest[0] = 0;
        for (char *at = facts->digest; *at; at++) *at = (char)tolower((unsigned char)*at);
        /* Of a redirect the length is that of its text. */
        facts->size = number_of(linked ? ci_fetch_first_header(reply.fetch, "X-Linked-Size")
                                       : ci_fetch_header(reply.fetch, "Content-Length"));
    } else if (answer == 400 || answer == 403 || answer == 405 || answer == 501) {
        status = CLINFER_OK;
    }
    ci_hub_reply_free(&reply);
    return status;
}

/* Without what may be a secret: the query, and a name and password before the host. */
static void source_of(const char *url, char source[CI_HUB_URL_BYTES]) {
    const char *host = strstr(url, "://");
    int scheme = host ? ci_narrowed(host - url) + 3 : 0;
    size_t authority = strcspn(url + scheme, "/?#");
    const char *at = memrchr(url + scheme, '@', authority), *rest = at ? at + 1 : url + scheme;
    snprintf(source, CI_HUB_URL_BYTES, "%.*s%.*s", scheme, url, ci_shown(strcspn(rest, "?#"), CI_HUB_URL_BYTES), rest);
}

bool ci_hub_pull_is_other(const char *target, const struct ci_hub_name *name) {
    char source[CI_HUB_URL_BYTES];
    source_of(name->url, source);
    return name->kind == CI_HUB_URL && ci_hub_place_is_other(target, source);
}

static enum clinfer_status pull_one(struct ci_hub *hub, const char *url, const char *target,
                                    struct ci_hub_pulled *pulled) {
    struct facts facts;
    char source[CI_HUB_URL_BYTES];
    const char *slash = strrchr(target, '/');
    source_of(url, source);
    enum clinfer_status status = ask(hub, url, slash + 1, &facts);
    if (status != CLINFER_OK) return status;
    const struct ci_hub_placing placing = {.url = url,
                                           .name = slash + 1,
                                           .source = source,
                                           .digest = facts.digest,
                                           .etag = facts.etag,
                                           .size = facts.size,
                                           .target = target};
    return ci_hub_place(hub, &placing, pulled);
}

/* "-00001-of-00003" in a text becomes that of another part; false: it is not there. */
static bool renumber(char *text, int number, int count) {
    char wanted[32], put[32];
    for (int from = 1; from <= count; from++) {
        snprintf(wanted, sizeof wanted, "-%05d-of-%05d.gguf", from, count);
        snprintf(put, sizeof put, "-%05d-of-%05d.gguf", number, count);
        char *at = NULL;
        for (char *next = strstr(text, wanted); next; next = strstr(next + 1, wanted)) at = next;
        if (!at) continue;
        memcpy(at, put, strlen(put));
        return true;
    }
    return false;
}

static enum clinfer_status pull_parts(struct ci_hub *hub, const struct ci_hub_name *name, char *target,
                                      struct ci_hub_pulled *pulled) {
    int number, count;
    char url[CI_HUB_URL_BYTES];
    snprintf(url, sizeof url, "%s", name->url);
    if (!ci_kind_split_name(target, &number, &count) || !renumber(url, 1, count))
        return pull_one(hub, url, target, pulled);
    enum clinfer_status status = CLINFER_OK;
    /* The first one last: without it nobody takes the others for a model. */
    for (int part = count; part > 0 && status == CLINFER_OK; part--) {
        renumber(url, part, count);
        renumber(target, part, count);
        status = pull_one(hub, url, target, pulled);
    }
    return status;
}

enum clinfer_status ci_hub_pull_url(struct ci_hub *hub, const struct ci_hub_name *name, struct ci_hub_pulled *pulled) {
    char *target = ci_hub_pull_target(hub->settings, name);
    if (!target && !hub->settings->models)
        return ci_fail(CLINFER_IO, "%s: there is no models folder: neither XDG_DATA_HOME nor HOME is set", name->url);
    if (!target)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: the address of a model ends with the name of a .gguf file",
                       name->url);
    enum clinfer_status status = pull_parts(hub, name, target, pulled);
    if (status == CLINFER_OK) status = ci_hub_pulled_set(pulled, strrchr(target, '/') + 1, target);
    free(target);
    return status;
}
