/* tokenizer_chain.c: see tokenizer_chain.h. Each place is a function that finds a tokenizer or leaves its reason in
 * ci_status_message(); the chain says that and goes on to the next. */
#define _GNU_SOURCE
#include "hub/tokenizer_chain.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "hub/bring.h"
#include "hub/cache.h"
#include "hub/find.h"
#include "hub/pull_private.h"

enum { MAX_CARD = 1 << 20, MAX_TRIED = 800, MAX_REASON = 70 };

static const char *const tokenizers[] = {"tokenizer.json", "tokenizer.model", NULL};

struct chain {
    struct ci_hub *hub;
    const struct ci_hub_name *name;
    struct ci_hub_pulled *pulled;
    struct ci_hub_found found;    /* the model, where it is here */
    char base[CI_HUB_REPO_BYTES]; /* the repo that it was made from, "" where nothing says so */
    int count;
    char tried[MAX_TRIED]; /* "1. in the GGUF file: ...; 2. ..." */
};

/* ---- what files say ---- */

static void copy_base(const char *text, size_t length, char base[CI_HUB_REPO_BYTES]) {
    char url[CI_HUB_URL_BYTES];
    struct ci_hub_name name;
    *base = 0;
    if (length >= sizeof url) return;
    memcpy(url, text, length);
    url[length] = 0;
    if (ci_hub_name_parse(url, NULL, &name) == CLINFER_OK && name.kind == CI_HUB_REPO && !name.alias)
        snprintf(base, CI_HUB_REPO_BYTES, "%s", name.repo);
}

enum clinfer_status ci_hub_tokenizer_in(const char *path, char base[CI_HUB_REPO_BYTES]) {
    struct ci_gguf *gguf;
    struct ci_gguf_string url = {0};
    *base = 0;
    enum clinfer_status status = ci_gguf_open(path, &gguf);
    if (status != CLINFER_OK) return status;
    if (ci_gguf_get_string(gguf, "general.base_model.0.repo_url", CI_GGUF_OPTIONAL, &url) == CLINFER_OK && url.length)
        copy_base(url.text, url.length, base);
    if (!ci_gguf_find(gguf, "tokenizer.ggml.model") || !ci_gguf_find(gguf, "tokenizer.ggml.tokens"))
        status = ci_fail(CLINFER_NOT_FOUND, "there is no vocabulary in %s", path);
    ci_gguf_close(gguf);
    return status;
}

/* "base_model: user/repo", or the first of a list on the lines below or in brackets. */
void ci_hub_card_base(const char *card, size_t length, char base[CI_HUB_REPO_BYTES]) {
    static const char key[] = "base_model:";
    const char *end = card + length;
    bool inside = false, below = false;
    *base = 0;
    for (const char *line = card, *next; line < end; line = next) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > line && stop[-1] == '\r') stop--;
        bool mark = stop - line == 3 && memcmp(line, "---", 3) == 0;
        if (mark && inside) return;
        if (!mark && !inside) return;
        inside = true;
        bool begins = (size_t)(stop - line) >= sizeof key - 1 && memcmp(line, key, sizeof key - 1) == 0;
        if (!begins && !below) continue;
        const char *from = begins ? line + sizeof key - 1 : line;
        while (from < stop && strchr(" \t-[\"'", *from)) from++;
        const char *to = from;
        while (to < stop && !strchr(" \t,]\"'", *to)) to++;
        if (to > from) {
            copy_base(from, (size_t)(to - from), base);
            return;
        }
        below = true;
    }
}

/* ---- steps ---- */

/* What a step had, in its own words, where the message of what failed is no clause for a list. */
static void note(struct chain *chain, const char *place) {
    size_t used = strlen(chain->tried);
    const char *reason = ci_status_message();
    chain->count++;
    snprintf(chain->tried + used, sizeof chain->tried - used, "%s%d. %s: %.*s%s", chain->count > 1 ? "; " : "",
             chain->count, place, MAX_REASON, reason, strlen(reason) > MAX_REASON ? "..." : "");
    ci_hub_say(chain->hub, false, "tokenizer, %d. %s: %s", chain->count, place, reason);
}

static enum clinfer_status done(struct chain *chain, const char *place, const char *name, const char *path) {
    ci_hub_say(chain->hub, false, "tokenizer, %d. %s: found, %s", chain->count + 1, place, path);
    return ci_hub_pulled_set(chain->pulled, name, path);
}

static enum clinfer_status in_the_file(struct chain *chain) {
    static const char place[] = "in the model's GGUF file";
    enum clinfer_status status = ci_hub_find_name(chain->hub->settings, chain->name, &chain->found);
    if (status != CLINFER_OK)
        ci_fail(status, "no model %s is on this machine", chain->name->repo);
    else if (ci_hub_is_model_file(chain->found.path))
        status = ci_hub_tokenizer_in(chain->found.path, chain->base);
    else
        status = ci_fail(CLINFER_NOT_FOUND, "it is no GGUF file");
    if (status == CLINFER_OK) return done(chain, place, chain->found.name, chain->found.path);
    note(chain, place);
    return CLINFER_NOT_FOUND;
}

/* The folder that a model lies in, or is. */
static char *folder_of(const char *path) {
    struct stat status;
    const char *slash = strrchr(path, '/');
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return strdup(path);
    return slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
}

static enum clinfer_status beside_the_weights(struct chain *chain) {
    static const char place[] = "beside the weights";
    if (!chain->found.path) return CLINFER_NOT_FOUND; /* there are none, as the step before has said */
    struct stat status;
    char *folder = folder_of(chain->found.path);
    if (!folder) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", chain->found.path);
    enum clinfer_status result = CLINFER_NOT_FOUND;
    for (int i = 0; tokenizers[i] && result == CLINFER_NOT_FOUND; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", folder, tokenizers[i]) < 0) break;
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) result = done(chain, place, tokenizers[i], path);
        free(path);
    }
    if (result == CLINFER_NOT_FOUND) {
        ci_fail(result, "no tokenizer.json or tokenizer.model in %s", folder);
        note(chain, place);
    }
    free(folder);
    return result;
}

/* ---- through the Hub ---- */

static enum clinfer_status bring(struct chain *chain, const char *repo, const struct ci_hub_tree *tree,
                                 const char *place) {
    struct ci_hub_choice choice = {0};
    char name[CI_HUB_REPO_BYTES + 32], *path = NULL;
    enum clinfer_status status = CLINFER_OK;
    if (!ci_hub_choose_tokenizer(tree, "", &choice))
        status = ci_fail(CLINFER_NOT_FOUND, "the repo has no tokenizer.json or tokenizer.model");
    const struct ci_hub_bringing bringing = {
        repo, strcmp(repo, chain->name->repo) == 0 ? chain->name->revision : "main", tree, &choice};
    if (status == CLINFER_OK) status = ci_hub_bring(chain->hub, &bringing, chain->pulled);
    const char *file = choice.count ? tree->files[choice.files[0]].path : "";
    if (status == CLINFER_OK) status = ci_hub_cache_find(chain->hub->settings->cache, repo, tree->commit, file, &path);
    snprintf(name, sizeof name, "%s/%s", repo, file);
    if (status == CLINFER_OK) status = done(chain, place, name, path);
    free(path);
    ci_hub_choice_free(&choice);
    return status;
}

static enum clinfer_status by_address(struct chain *chain, const char *repo, const char *place) {
    struct ci_hub_tree tree = {0};
    enum clinfer_status status = CLINFER_NOT_FOUND;
    const char *revision = strcmp(repo, chain->name->repo) == 0 ? chain->name->revision : "main";
    for (int i = 0; tokenizers[i] && status == CLINFER_NOT_FOUND; i++)
        status = ci_hub_tree_add(chain->hub, repo, revision, tokenizers[i], &tree);
    if (status == CLINFER_OK) status = bring(chain, repo, &tree, place);
    ci_hub_tree_free(&tree);
    return status;
}

/* The base repo that the model's card names, when nothing has named one yet. */
static void read_card(struct chain *chain, const char *repo, const struct ci_hub_tree *tree) {
    char *card = NULL;
    size_t length;
    bool there = false;
    for (size_t i = 0; i < tree->count; i++) there = there || strcmp(tree->files[i].path, "README.md") == 0;
    if (!there || chain->base[0]) return;
    char *url = ci_hub_resolve_url(chain->hub->settings, repo, tree->commit, "README.md");
    if (url && ci_hub_get(chain->hub, url, MAX_CARD, &card, &length) == CLINFER_OK)
        ci_hub_card_base(card, length, chain->base);
    free(card);
    free(url);
}

static enum clinfer_status through_the_hub(struct chain *chain, const char *repo, bool card) {
    char place[CI_HUB_REPO_BYTES + 64];
    struct ci_hub_tree tree = {0};
    snprintf(place, sizeof place, "in the repo %s on the Hub", repo);
    enum clinfer_status status =
        ci_hub_tree_get(chain->hub, repo, strcmp(repo, chain->name->repo) == 0 ? chain->name->revision : "main", &tree);
    bool listed = status == CLINFER_OK;
    if (listed) status = bring(chain, repo, &tree, place);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED) {
        note(chain, place);
        if (listed && card) read_card(chain, repo, &tree);
    }
    ci_hub_tree_free(&tree);
    if (listed || status != CLINFER_REMOTE_FAILED) return status;
    snprintf(place, sizeof place, "by the address of the file in %s", repo);
    status = by_address(chain, repo, place);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED) note(chain, place);
    return status;
}

/* ---- in caches, other repos ---- */

static enum clinfer_status in_caches(struct chain *chain, const char *repo) {
    char place[CI_HUB_REPO_BYTES + 64], commit[CI_HUB_COMMIT_BYTES], name[CI_HUB_REPO_BYTES + 32];
    const char *revision = strcmp(repo, chain->name->repo) == 0 ? chain->name->revision : "main";
    char **caches = chain->hub->settings->caches;
    snprintf(place, sizeof place, "in the cache of %s", repo);
    for (size_t i = 0; caches && caches[i]; i++) {
        if (ci_hub_cache_commit(caches[i], repo, revision, commit) != CLINFER_OK) continue;
        for (int j = 0; tokenizers[j]; j++) {
            char *path = NULL;
            if (ci_hub_cache_find(caches[i], repo, commit, tokenizers[j], &path) != CLINFER_OK) continue;
            snprintf(name, sizeof name, "%s/%s", repo, tokenizers[j]);
            enum clinfer_status status = done(chain, place, name, path);
            free(path);
            return status;
        }
    }
    ci_fail(CLINFER_NOT_FOUND, "no tokenizer.json or tokenizer.model there");
    note(chain, place);
    return CLINFER_NOT_FOUND;
}

static enum clinfer_status in_other_repo(struct chain *chain, const char *repo) {
    enum clinfer_status status = in_caches(chain, repo);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED) status = through_the_hub(chain, repo, false);
    return status;
}

/* A GGUF file of the repo beside, which is here already, has the vocabulary in it. */
static enum clinfer_status in_other_file(struct chain *chain, const char *repo) {
    char place[CI_HUB_REPO_BYTES + 64], base[CI_HUB_REPO_BYTES];
    struct ci_hub_name name = {.kind = CI_HUB_REPO, .revision = "main"};
    struct ci_hub_found found = {0};
    snprintf(name.repo, sizeof name.repo, "%s", repo);
    snprintf(place, sizeof place, "in a GGUF file of %s", repo);
    enum clinfer_status status = ci_hub_find_name(chain->hub->settings, &name, &found);
    if (status == CLINFER_OK) status = ci_hub_tokenizer_in(found.path, base);
    if (status == CLINFER_OK)
        status = done(chain, place, found.name, found.path);
    else {
        ci_fail(CLINFER_NOT_FOUND, "none is on this machine; where there is one, `clinfer pull %s` fetches it", repo);
        note(chain, place);
    }
    ci_hub_found_free(&found);
    return status;
}

/* user/model of user/model-GGUF, and the other way round. */
static bool name_twin(const char *repo, char twin[CI_HUB_REPO_BYTES]) {
    static const char end[] = "-GGUF";
    size_t length = strlen(repo), cut = sizeof end - 1;
    bool is_gguf = length > cut && strcasecmp(repo + length - cut, end) == 0;
    int wrote = is_gguf ? snprintf(twin, CI_HUB_REPO_BYTES, "%.*s", ci_shown(length - cut, CI_HUB_REPO_BYTES), repo)
                        : snprintf(twin, CI_HUB_REPO_BYTES, "%s%s", repo, end);
    return wrote > 0 && wrote < CI_HUB_REPO_BYTES;
}

static enum clinfer_status all_places(struct chain *chain) {
    const char *repo = chain->name->repo;
    char twin[CI_HUB_REPO_BYTES];
    enum clinfer_status status = in_the_file(chain);
    if (status != CLINFER_OK) status = beside_the_weights(chain);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED) status = through_the_hub(chain, repo, true);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED) status = in_caches(chain, repo);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED && chain->base[0] && strcmp(chain->base, repo) != 0)
        status = in_other_repo(chain, chain->base);
    if (status == CLINFER_OK || status == CLINFER_CANCELLED || !name_twin(repo, twin)) return status;
    if (strcmp(twin, chain->base) != 0) status = in_other_repo(chain, twin);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED) status = in_other_file(chain, twin);
    return status;
}

enum clinfer_status ci_hub_tokenizer_get(struct ci_hub *hub, const struct ci_hub_name *name,
                                         struct ci_hub_pulled *pulled) {
    struct chain chain = {.hub = hub, .name = name, .pulled = pulled};
    enum clinfer_status status = all_places(&chain);
    if (status != CLINFER_OK && status != CLINFER_CANCELLED)
        status =
            ci_fail(CLINFER_NOT_FOUND,
                    "%s: no tokenizer found; %s. Put a tokenizer.json beside the weights, or name a repo that has one",
                    name->repo, chain.tried);
    ci_hub_found_free(&chain.found);
    return status;
}

/* ---- without the net ---- */

/* "user/repo" of a path in a cache of the Hub's layout; "" for others. */
static void repo_of(const char *path, char repo[CI_HUB_REPO_BYTES]) {
    static const char start[] = "/models--";
    char folder[CI_HUB_REPO_BYTES + 16];
    const char *at = strstr(path, start);
    *repo = 0;
    if (!at) return;
    int wrote = snprintf(folder, sizeof folder, "%.*s", ci_shown(strcspn(at + 1, "/"), CI_HUB_REPO_BYTES + 16), at + 1);
    if (wrote < 0 || (size_t)wrote >= sizeof folder || !ci_hub_cache_repo_of(folder, repo, CI_HUB_REPO_BYTES))
        *repo = 0;
}

static enum clinfer_status near_places(struct chain *chain) {
    char twin[CI_HUB_REPO_BYTES];
    const char *repo = chain->name->repo;
    enum clinfer_status status = beside_the_weights(chain);
    if (status == CLINFER_NOT_FOUND && *repo) status = in_caches(chain, repo);
    if (status == CLINFER_NOT_FOUND && *chain->base) status = in_caches(chain, chain->base);
    if (status == CLINFER_NOT_FOUND && *repo && name_twin(repo, twin)) status = in_caches(chain, twin);
    return status;
}

enum clinfer_status ci_hub_tokenizer_near(const char *path, char **folder) {
    struct ci_hub_settings settings;
    struct ci_hub hub = {.settings = &settings};
    struct ci_hub_name name = {.kind = CI_HUB_REPO, .revision = "main"};
    struct ci_hub_pulled pulled = {0};
    struct chain chain = {.hub = &hub, .name = &name, .pulled = &pulled};
    *folder = NULL;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) {
        repo_of(path, name.repo);
        ci_hub_tokenizer_in(path, chain.base);
        chain.found.path = strdup(path);
        status = near_places(&chain);
    }
    if (status == CLINFER_OK && !(*folder = folder_of(pulled.path)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    ci_hub_pulled_free(&pulled);
    ci_hub_found_free(&chain.found);
    ci_hub_settings_free(&settings);
    return status;
}
