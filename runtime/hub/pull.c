/* pull.c: see pull.h. */
#define _GNU_SOURCE
#include "hub/pull.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/kind.h"
#include "hub/bring.h"
#include "hub/cache.h"
#include "hub/find.h"
#include "hub/pull_private.h"
#include "hub/tokenizer_chain.h"

enum { SHOWN_NAME = CI_HUB_URL_BYTES + 16, MAX_PARTS = 1000 };

void ci_hub_pulled_free(struct ci_hub_pulled *pulled) {
    free(pulled->path);
    free(pulled->name);
    *pulled = (struct ci_hub_pulled){0};
}

enum clinfer_status ci_hub_pulled_set(struct ci_hub_pulled *pulled, const char *name, const char *path) {
    char *copies[] = {strdup(name), strdup(path)};
    free(pulled->name);
    free(pulled->path);
    pulled->name = copies[0];
    pulled->path = copies[1];
    return copies[0] && copies[1] ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
}

enum clinfer_status ci_hub_pull_offline(struct ci_hub *hub, const struct ci_hub_name *name,
                                        struct ci_hub_pulled *pulled) {
    struct ci_hub_found found = {0};
    enum clinfer_status status = ci_hub_find_name(hub->settings, name, &found);
    if (status == CLINFER_OK)
        status = ci_hub_pulled_set(pulled, found.name, found.path);
    else if (status == CLINFER_NOT_FOUND && hub->settings->offline)
        status = ci_fail(status, "%s, but not offline (%s)", ci_status_message(), hub->settings->offline_from);
    ci_hub_found_free(&found);
    return status;
}

/* ---- a repo of the Hub ---- */

/* What the user types to have these files again. */
static void name_of(const struct ci_hub_name *name, const struct ci_hub_choice *choice, char text[SHOWN_NAME]) {
    struct ci_hub_name shown = *name;
    shown.alias = NULL;
    if (!shown.file[0]) snprintf(shown.tag, sizeof shown.tag, "%s", choice->quant);
    ci_hub_name_text(&shown, text, SHOWN_NAME);
}

static enum clinfer_status set_result(const struct ci_hub *hub, const struct ci_hub_name *name,
                                      const struct ci_hub_tree *tree, const struct ci_hub_choice *choice,
                                      struct ci_hub_pulled *pulled) {
    const char *cache = hub->settings->cache;
    char *path = NULL, text[SHOWN_NAME];
    enum clinfer_status status = CLINFER_OK;
    if (choice->folder)
        path = ci_hub_cache_snapshot(cache, name->repo, tree->commit);
    else
        status = ci_hub_cache_find(cache, name->repo, tree->commit, tree->files[choice->files[0]].path, &path);
    name_of(name, choice, text);
    if (status == CLINFER_OK)
        status = path ? ci_hub_pulled_set(pulled, text, path)
                      : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name->repo);
    free(path);
    return status;
}

/* A GGUF file without a vocabulary answers nothing, which is better said now than at the first run. */
static void judge_tokenizer(struct ci_hub *hub, const struct ci_hub_name *name, const struct ci_hub_pulled *pulled) {
    char base[CI_HUB_REPO_BYTES];
    if (ci_hub_tokenizer_in(pulled->path, base) == CLINFER_NOT_FOUND)
        ci_hub_say(hub, true, "%s holds no tokenizer; `clinfer pull %s --tokenizer` looks for one in other places",
                   pulled->name, name->repo);
}

static enum clinfer_status pull_tree(struct ci_hub *hub, const struct ci_hub_name *name,
                                     const struct ci_hub_pull_options *options, const struct ci_hub_tree *tree,
                                     struct ci_hub_pulled *pulled) {
    uint64_t memory = options->memory_bytes ? options->memory_bytes : ci_memory_limit();
    const struct ci_hub_wish wish = {
        .tag = name->tag, .file = name->file, .memory = memory == UINT64_MAX ? 0 : memory, .runs = options->runs};
    struct ci_hub_choice choice;
    if (strcmp(tree->repo, name->repo) != 0) ci_hub_say(hub, true, "%s is called %s today", name->repo, tree->repo);
    enum clinfer_status status = ci_hub_choose(tree, &wish, &choice);
    if (status == CLINFER_OK) {
        const struct ci_hub_bringing bringing = {name->repo, name->revision, tree, &choice};
        if (choice.reason[0]) ci_hub_say(hub, false, "%s: %s", name->repo, choice.reason);
        if (choice.warning[0]) ci_hub_say(hub, true, "%s", choice.warning);
        status = ci_hub_bring(hub, &bringing, pulled);
    }
    if (status == CLINFER_OK) status = set_result(hub, name, tree, &choice, pulled);
    if (status == CLINFER_OK && ci_hub_is_model_file(pulled->path)) judge_tokenizer(hub, name, pulled);
    ci_hub_choice_free(&choice);
    return status;
}

/* Nobody answers: what is here from before is as good as ever, and that it may be old is said. */
static enum clinfer_status use_cached(struct ci_hub *hub, const struct ci_hub_name *name, enum clinfer_status failure,
                                      struct ci_hub_pulled *pulled) {
    char *reason = strdup(ci_status_message());
    enum clinfer_status status = ci_hub_pull_offline(hub, name, pulled);
    if (status == CLINFER_OK)
        ci_hub_say(hub, true, "%s; what is here from before is used: %s", reason ? reason : "the Hub cannot be asked",
                   pulled->name);
    else
        status = ci_fail(failure, "%s", reason ? reason : "the Hub cannot be asked: out of memory");
    free(reason);
    return status;
}

/* A file that is named, and all parts of it, without the list of the repo. */
static enum clinfer_status name_files(struct ci_hub *hub, const struct ci_hub_name *name, struct ci_hub_tree *tree) {
    int number = 1, count = 1;
    char path[CI_HUB_FILE_BYTES + 32];
    size_t stem = ci_kind_split_name(name->file, &number, &count);
    if (!stem || count > MAX_PARTS) return ci_hub_tree_add(hub, name->repo, name->revision, name->file, tree);
    enum clinfer_status status = CLINFER_OK;
    for (int part = 1; part <= count && status == CLINFER_OK; part++) {
        snprintf(path, sizeof path, "%.*s-%05d-of-%05d.gguf", ci_narrowed((int64_t)stem), name->file, part, count);
        status = ci_hub_tree_add(hub, name->repo, name->revision, path, tree);
    }
    return status;
}

/* The tree could not be had: *failure and its message say why. */
static enum clinfer_status pull_named(struct ci_hub *hub, const struct ci_hub_name *name,
                                      const struct ci_hub_pull_options *options, enum clinfer_status failure,
                                      struct ci_hub_pulled *pulled) {
    struct ci_hub_tree tree = {0};
    char *reason = strdup(ci_status_message());
    enum clinfer_status status = name_files(hub, name, &tree);
    if (status == CLINFER_OK)
        status = pull_tree(hub, name, options, &tree, pulled);
    else if (status != CLINFER_CANCELLED)
        status = ci_fail(failure, "%s", reason ? reason : "the Hub cannot be asked: out of memory");
    free(reason);
    ci_hub_tree_free(&tree);
    return status;
}

static enum clinfer_status pull_repo(struct ci_hub *hub, const struct ci_hub_name *name,
                                     const struct ci_hub_pull_options *options, struct ci_hub_pulled *pulled) {
    struct ci_hub_tree tree = {0};
    enum clinfer_status status = ci_hub_tree_get(hub, name->repo, name->revision, &tree);
    if (status == CLINFER_OK)
        status = pull_tree(hub, name, options, &tree, pulled);
    else if (name->file[0] && (status == CLINFER_REMOTE_FAILED || status == CLINFER_NOT_FOUND))
        status = pull_named(hub, name, options, status, pulled);
    if (status == CLINFER_REMOTE_FAILED && !tree.count) status = use_cached(hub, name, status, pulled);
    ci_hub_tree_free(&tree);
    return status;
}

enum clinfer_status ci_hub_pull(struct ci_hub *hub, const struct ci_hub_name *name,
                                const struct ci_hub_pull_options *options, struct ci_hub_pulled *pulled) {
    *pulled = (struct ci_hub_pulled){0};
    if (options->tokenizer_only && name->kind != CI_HUB_REPO)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a tokenizer alone is fetched from a repo of the Hub: user/repo");
    if (options->tokenizer_only) return ci_hub_tokenizer_get(hub, name, pulled);
    if (hub->settings->offline) return ci_hub_pull_offline(hub, name, pulled);
    switch (name->kind) {
    case CI_HUB_REPO: return pull_repo(hub, name, options, pulled);
    case CI_HUB_OLLAMA: return ci_hub_pull_ollama(hub, name, pulled);
    case CI_HUB_URL: return ci_hub_pull_url(hub, name, pulled);
    }
    return ci_fail(CLINFER_INVALID_ARGUMENT, "no name of a model");
}
