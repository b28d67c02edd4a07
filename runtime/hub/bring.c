/* bring.c: see bring.h. Nothing is linked before everything is here: a blob without a link is seen by nobody and is
 * what the next pull finds, so a pull that fails in the middle of ten files has neither shown a model nor wasted a
 * byte. */
#define _GNU_SOURCE
#include "hub/bring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "hub/cache.h"
#include "hub/download.h"
#include "hub/space.h"
#include "hub/twin.h"

/* Single files above it come through the Hub's chunk protocol only, as its own client says; most are split. */
static const uint64_t chunked_bytes = 50000000000;

struct wanted {
    struct ci_hub_file file; /* of the tree, with what a HEAD has added; `path` is borrowed */
    char *blob;
    bool linked;  /* by this snapshot */
    bool missing; /* to be fetched */
};

struct bring {
    struct ci_hub *hub;
    const struct ci_hub_bringing *what;
    struct wanted *files; /* [what->choice->count] */
    size_t missing, fetched;
    uint64_t missing_bytes, fetched_bytes; /* fetched: files before the one that comes */
};

static enum clinfer_status out_of_memory(const struct bring *bring) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", bring->what->repo);
}

bool ci_hub_bring_same(const char *source, const char *target) {
    char *real = realpath(source, NULL), *copy = strdup(target);
    int no_folder = copy ? ci_hub_cache_make_parents(copy) : ENOMEM;
    bool fine = real && !no_folder;
    free(copy);
    struct stat there;
    /* What leads nowhere, or is not whole, makes room. */
    if (fine && lstat(target, &there) == 0 && (S_ISLNK(there.st_mode) || S_ISREG(there.st_mode)))
        fine = unlink(target) == 0;
    fine = fine && (link(real, target) == 0 || symlink(real, target) == 0);
    int error = errno;
    free(real);
    errno = error;
    return fine;
}

/* ---- one file by its address ---- */

static enum clinfer_status add_file(const char *repo, const char *path, const struct ci_hub_facts *facts,
                                    struct ci_hub_tree *tree) {
    if (tree->count && strcmp(tree->commit, facts->commit) != 0)
        return ci_fail(CLINFER_REMOTE_FAILED, "%s: it changed while it was asked for its files; try again", repo);
    struct ci_hub_file *grown = realloc(tree->files, (tree->count + 1) * sizeof *grown);
    if (grown) tree->files = grown;
    char *copy = grown ? strdup(path) : NULL;
    if (!copy) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", repo);
    snprintf(tree->repo, sizeof tree->repo, "%s", repo);
    memcpy(tree->commit, facts->commit, sizeof tree->commit);
    struct ci_hub_file *file = &tree->files[tree->count++];
    *file = (struct ci_hub_file){.path = copy, .size = facts->size};
    memcpy(file->digest, facts->digest, sizeof file->digest);
    return CLINFER_OK;
}

enum clinfer_status ci_hub_tree_add(struct ci_hub *hub, const char *repo, const char *revision, const char *path,
                                    struct ci_hub_tree *tree) {
    struct ci_hub_facts facts;
    char *url = ci_hub_resolve_url(hub->settings, repo, revision, path);
    if (!url) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", repo);
    enum clinfer_status status = ci_hub_head(hub, url, &facts);
    free(url);
    return status == CLINFER_OK ? add_file(repo, path, &facts, tree) : status;
}

/* ---- what is there ---- */

static bool has_size(const char *path, uint64_t size) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
           (size == UINT64_MAX || (uint64_t)status.st_size == size);
}

/* Mirrors may leave the checksums out of their trees; a HEAD of the file has to have it then. */
static enum clinfer_status ask_digest(const struct bring *bring, struct ci_hub_file *file) {
    struct ci_hub_facts facts;
    const struct ci_hub_tree *tree = bring->what->tree;
    if (file->digest[0]) return CLINFER_OK;
    char *url = ci_hub_resolve_url(bring->hub->settings, tree->repo, tree->commit, file->path);
    if (!url) return out_of_memory(bring);
    enum clinfer_status status = ci_hub_head(bring->hub, url, &facts);
    free(url);
    if (status != CLINFER_OK) return status;
    if (!facts.digest[0])
        return ci_fail(
            CLINFER_REMOTE_FAILED,
            "%s/%s: the server tells no checksum of this file (its ETag is \"%.80s\"), so what comes could not "
            "be checked; if HF_ENDPOINT names a mirror, use another one",
            tree->repo, file->path, facts.etag);
    snprintf(file->digest, sizeof file->digest, "%s", facts.digest);
    if (file->size == UINT64_MAX) file->size = facts.size;
    return CLINFER_OK;
}

static enum clinfer_status look(struct bring *bring, struct wanted *wanted) {
    const struct ci_hub_bringing *what = bring->what;
    const struct ci_hub_settings *settings = bring->hub->settings;
    char *path = NULL;
    if (ci_hub_cache_find(settings->cache, what->repo, what->tree->commit, wanted->file.path, &path) == CLINFER_OK)
        wanted->linked = has_size(path, wanted->file.size);
    free(path);
    if (wanted->linked) return CLINFER_OK;
    enum clinfer_status status = ask_digest(bring, &wanted->file);
    if (status != CLINFER_OK) return status;
    wanted->blob = ci_hub_cache_blob(settings->cache, what->repo, wanted->file.digest);
    if (!wanted->blob) return out_of_memory(bring);
    if (has_size(wanted->blob, wanted->file.size)) return CLINFER_OK;
    char *same = ci_hub_find_twin(bring->hub, &wanted->file);
    if (same && ci_hub_bring_same(same, wanted->blob)) {
        ci_hub_say(bring->hub, false, "%s: the same file lies at %s already: linked, not fetched", wanted->file.path,
                   same);
    } else {
        wanted->missing = true;
        bring->missing++;
        if (wanted->file.size != UINT64_MAX) bring->missing_bytes += wanted->file.size;
    }
    free(same);
    return CLINFER_OK;
}

static void say_what_is_fetched(const struct bring *bring) {
    const struct ci_hub_choice *choice = bring->what->choice;
    char missing[CI_HUB_SIZE_BYTES], all[CI_HUB_SIZE_BYTES];
    ci_hub_size_text(bring->missing_bytes, missing, sizeof missing);
    ci_hub_size_text(choice->bytes, all, sizeof all);
    if (!bring->missing)
        ci_hub_say(bring->hub, false, "%s: all is here (%s), nothing is fetched", bring->what->repo, all);
    else if (bring->missing < choice->count)
        ci_hub_say(bring->hub, false, "%s: fetching %zu of %zu files, %s of %s; the others are here", bring->what->repo,
                   bring->missing, choice->count, missing, all);
    else if (choice->count > 1)
        ci_hub_say(bring->hub, false, "%s: fetching %zu files, %s", bring->what->repo, choice->count, missing);
    else
        ci_hub_say(bring->hub, false, "%s: fetching %s, %s", bring->what->repo,
                   bring->what->tree->files[choice->files[0]].path, missing);
    for (size_t i = 0; i < choice->count; i++)
        if (bring->files[i].missing && bring->files[i].file.size > chunked_bytes)
            ci_hub_say(
                bring->hub, true,
                "%s is larger than 50 GB: the Hub may hand such files out by its chunk protocol (Xet) alone, which "
                "clinfer does not speak; if it refuses, take a split version, or fetch it with `hf download`",
                bring->files[i].file.path);
}

/* All of them together, before the first one begins; what parts have taken already is theirs. */
static enum clinfer_status check_space(const struct bring *bring) {
    uint64_t needed = bring->missing_bytes;
    const char *target = NULL;
    for (size_t i = 0; i < bring->what->choice->count; i++) {
        const struct wanted *wanted = &bring->files[i];
        char *part = NULL;
        if (!wanted->missing) continue;
        target = wanted->blob;
        if (asprintf(&part, "%s.clinfer.incomplete", wanted->blob) < 0) return out_of_memory(bring);
        uint64_t taken = ci_hub_space_taken(part);
        needed -= taken < needed ? taken : needed;
        free(part);
    }
    return ci_hub_space_check(bring->what->repo, target, needed, bring->hub->settings->spare_bytes);
}

/* ---- the rest ---- */

/* Downloads know of one file each; who watches wants to know how long all of them take. */
static void watch(void *user, const struct ci_hub_event *event) {
    const struct bring *bring = user;
    struct ci_hub_event whole = *event;
    if (event->kind == CI_HUB_PROGRESS && bring->missing > 1) {
        whole.number = bring->fetched + 1;
        whole.count = bring->missing;
        whole.all_completed = bring->fetched_bytes + event->completed;
        whole.all_total = bring->missing_bytes;
    }
    bring->hub->watch(bring->hub->user, &whole);
}

static enum clinfer_status fetch(struct bring *bring, const struct wanted *wanted, struct ci_hub_pulled *pulled) {
    struct ci_hub hub = *bring->hub;
    hub.watch = hub.watch ? watch : NULL;
    hub.user = bring;
    const struct ci_hub_settings *settings = bring->hub->settings;
    const struct ci_hub_tree *tree = bring->what->tree;
    char secret[CI_HUB_AUTHORIZATION_BYTES];
    size_t length = strlen(wanted->file.path);
    struct ci_downloaded done = {0};
    char *url = ci_hub_resolve_url(settings, tree->repo, tree->commit, wanted->file.path);
    char *lock = ci_hub_cache_lock(settings->cache, bring->what->repo, wanted->file.digest);
    const struct ci_download download = {
        .url = url,
        .authorization = ci_hub_authorization(settings, secret),
        .trusted = ci_hub_trusted,
        .name = wanted->file.path,
        .digest = wanted->file.digest,
        .size = wanted->file.size,
        .target = wanted->blob,
        .lock = lock,
        .gguf = length > 5 && strcasecmp(wanted->file.path + length - 5, ".gguf") == 0,
    };
    enum clinfer_status status = url && lock ? ci_hub_download(&hub, &download, &done) : out_of_memory(bring);
    explicit_bzero(secret, sizeof secret);
    free(url);
    free(lock);
    memcpy(bring->hub->topics, hub.topics, sizeof hub.topics);
    bring->fetched++;
    if (wanted->file.size != UINT64_MAX) bring->fetched_bytes += wanted->file.size;
    pulled->fetched += done.fetched;
    pulled->fetched_files += done.fetched > 0;
    return status;
}

/* huggingface_hub calls a repo without snapshots/ damaged, and a part may lie in it for long. Where it cannot be made,
 * the download tells why. */
static void begin_repo(const struct bring *bring) {
    char *folder = ci_hub_cache_folder(bring->hub->settings->cache, bring->what->repo), *path = NULL;
    if (folder && asprintf(&path, "%s/snapshots/x", folder) < 0) path = NULL;
    if (path) ci_hub_cache_make_parents(path);
    free(path);
    free(folder);
}

/* What failed before a byte was kept leaves no repo behind. rmdir(2) takes only what is empty, so another pull's files
 * stay, and its snapshots/ with them. */
static void end_repo(const struct bring *bring) {
    static const char *const names[] = {"blobs", "snapshots", ""};
    char *folder = ci_hub_cache_folder(bring->hub->settings->cache, bring->what->repo), *path = NULL;
    bool empty = folder != NULL;
    for (size_t i = 0; empty && i < sizeof names / sizeof *names; i++) {
        if (asprintf(&path, "%s/%s", folder, names[i]) < 0) path = NULL;
        empty = path && (rmdir(path) == 0 || errno == ENOENT);
        free(path);
    }
    free(folder);
}

/* Weights last: a folder or a split model that lacks something is not seen as one. */
static enum clinfer_status link_all(const struct bring *bring) {
    const struct ci_hub_bringing *what = bring->what;
    const struct ci_hub_settings *settings = bring->hub->settings;
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = what->choice->count; i-- > 0 && status == CLINFER_OK;)
        if (!bring->files[i].linked)
            status = ci_hub_cache_link(settings->cache, what->repo, what->tree->commit, bring->files[i].file.path,
                                       bring->files[i].file.digest, settings->no_symlinks);
    if (status == CLINFER_OK)
        status = ci_hub_cache_set_ref(settings->cache, what->repo, what->revision, what->tree->commit);
    return status;
}

/* Other files that the new commit has as well and that were pulled before: their links cost nothing, and without them a
 * second quant would have to be asked for again. */
static void carry_over(const struct bring *bring, const char *before) {
    const struct ci_hub_bringing *what = bring->what;
    const struct ci_hub_settings *settings = bring->hub->settings;
    for (size_t i = 0; i < what->tree->count; i++) {
        const struct ci_hub_file *file = &what->tree->files[i];
        char *old = NULL, *new = NULL,
             *blob = file->digest[0] ? ci_hub_cache_blob(settings->cache, what->repo, file->digest) : NULL;
        bool was = ci_hub_cache_find(settings->cache, what->repo, before, file->path, &old) == CLINFER_OK;
        bool is = ci_hub_cache_find(settings->cache, what->repo, what->tree->commit, file->path, &new) == CLINFER_OK;
        /* A failure leaves it where it was, in the old snapshot. */
        if (was && !is && blob && has_size(blob, file->size))
            ci_hub_cache_link(settings->cache, what->repo, what->tree->commit, file->path, file->digest, false);
        free(old);
        free(new);
        free(blob);
    }
}

static enum clinfer_status bring_all(struct bring *bring, struct ci_hub_pulled *pulled) {
    const struct ci_hub_bringing *what = bring->what;
    const struct ci_hub_settings *settings = bring->hub->settings;
    enum clinfer_status status = CLINFER_OK;
    char before[CI_HUB_COMMIT_BYTES] = "";
    if (ci_hub_cache_commit(settings->cache, what->repo, what->revision, before) != CLINFER_OK) *before = 0;
    for (size_t i = 0; i < what->choice->count && status == CLINFER_OK; i++) {
        bring->files[i].file = what->tree->files[what->choice->files[i]];
        status = look(bring, &bring->files[i]);
        if (bring->files[i].file.size != UINT64_MAX) pulled->bytes += bring->files[i].file.size;
    }
    if (status != CLINFER_OK) return status;
    pulled->files += what->choice->count;
    say_what_is_fetched(bring);
    if (bring->missing) status = check_space(bring);
    if (bring->missing && status == CLINFER_OK) begin_repo(bring);
    for (size_t i = 0; i < what->choice->count && status == CLINFER_OK; i++)
        if (bring->files[i].missing) status = fetch(bring, &bring->files[i], pulled);
    if (status != CLINFER_OK) end_repo(bring);
    if (status == CLINFER_OK) status = link_all(bring);
    if (status == CLINFER_OK && *before && strcmp(before, what->tree->commit) != 0 && !settings->no_symlinks)
        carry_over(bring, before);
    return status;
}

enum clinfer_status ci_hub_bring(struct ci_hub *hub, const struct ci_hub_bringing *bringing,
                                 struct ci_hub_pulled *pulled) {
    struct bring bring = {
        .hub = hub, .what = bringing, .files = calloc(bringing->choice->count + 1, sizeof *bring.files)};
    if (!hub->settings->cache) {
        free(bring.files);
        return ci_fail(CLINFER_IO, "%s: there is no place for it: HOME is not set; set HF_HUB_CACHE to a folder",
                       bringing->repo);
    }
    enum clinfer_status status = bring.files ? bring_all(&bring, pulled) : out_of_memory(&bring);
    for (size_t i = 0; bring.files && i < bringing->choice->count; i++) free(bring.files[i].blob);
    free(bring.files);
    return status;
}
