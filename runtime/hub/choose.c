/* choose.c: see choose.h. Files become candidates (one GGUF file, or all parts of a split one), candidates that a tag
 * or a file name does not mean fall out, and of the rest the best is taken. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"
#include "format/kind.h"
#include "hub/choose_private.h"
#include "hub/space.h"

enum { MAX_LIST = 560, MIN_GGUF = 24 /* bytes of its header */ };

struct candidate {
    size_t first; /* the file that -m takes */
    int parts, found;
    size_t stem; /* bytes of the path before the parts' numbers; 0: one file */
    uint64_t bytes;
    char quant[CI_HUB_QUANT_BYTES];
    int fits; /* the tag */
};

struct choosing {
    const struct ci_hub_tree *tree;
    const struct ci_hub_wish *wish;
    struct candidate *candidates;
    size_t count;
};

/* A tenth for caches and activations, and what the program and its kernels take. */
uint64_t ci_hub_needed(uint64_t bytes) {
    uint64_t beside = bytes / 10 + ((uint64_t)256 << 20);
    return bytes < UINT64_MAX - beside ? bytes + beside : UINT64_MAX;
}

/* What the Hub did not say counts as nothing; a tree that adds up to more than 64 bits is not to look small. */
static uint64_t add(uint64_t bytes, uint64_t size) {
    if (size == UINT64_MAX) return bytes;
    return __builtin_add_overflow(bytes, size, &bytes) ? UINT64_MAX : bytes;
}

bool ci_hub_choice_add(const struct ci_hub_tree *tree, struct ci_hub_choice *choice, size_t file) {
    for (size_t i = 0; i < choice->count; i++)
        if (choice->files[i] == file) return true;
    size_t *grown = realloc(choice->files, (choice->count + 1) * sizeof *grown);
    if (!grown) return false;
    choice->files = grown;
    choice->files[choice->count++] = file;
    choice->bytes = add(choice->bytes, tree->files[file].size);
    return true;
}

void ci_hub_choice_free(struct ci_hub_choice *choice) {
    free(choice->files);
    *choice = (struct ci_hub_choice){0};
}

static enum clinfer_status out_of_memory(const struct choosing *choosing) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", choosing->tree->repo);
}

static const char *path_of(const struct choosing *choosing, const struct candidate *candidate) {
    return choosing->tree->files[candidate->first].path;
}

/* ---- candidates ---- */

/* The candidate of a first part, or of a part whose first one is missing. */
static struct candidate *candidate_of(struct choosing *choosing, const char *path, size_t stem, int count) {
    for (size_t i = 0; i < choosing->count && stem; i++) {
        struct candidate *known = &choosing->candidates[i];
        if (known->stem == stem && known->parts == count && memcmp(path_of(choosing, known), path, stem) == 0)
            return known;
    }
    return NULL;
}

static void add_file(struct choosing *choosing, size_t index) {
    const struct ci_hub_file *file = &choosing->tree->files[index];
    int number = 1, count = 1;
    size_t stem = ci_kind_split_name(file->path, &number, &count);
    if (!stem) number = count = 1;
    struct candidate *candidate = candidate_of(choosing, file->path, stem, count);
    if (!candidate) {
        candidate = &choosing->candidates[choosing->count++];
        *candidate = (struct candidate){.first = index, .parts = count, .stem = stem};
        ci_hub_quant_of(file->path, candidate->quant);
        const char *tag = choosing->wish->tag;
        candidate->fits = tag && *tag ? ci_hub_tag_fits(file->path, tag) : 1;
    }
    if (number == 1) candidate->first = index;
    candidate->found++;
    candidate->bytes = add(candidate->bytes, file->size);
}

static enum clinfer_status collect(struct choosing *choosing) {
    choosing->candidates = calloc(choosing->tree->count + 1, sizeof *choosing->candidates);
    if (!choosing->candidates) return out_of_memory(choosing);
    for (size_t i = 0; i < choosing->tree->count; i++)
        if (ci_hub_is_model_file(choosing->tree->files[i].path)) add_file(choosing, i);
    return CLINFER_OK;
}

/* "Q4_K_M (1.1 GiB), Q8_0 (1.8 GiB)", by file names where quants do not tell them apart. */
static void list_candidates(const struct choosing *choosing, char list[MAX_LIST]) {
    char amount[CI_HUB_SIZE_BYTES];
    size_t used = 0;
    *list = 0;
    for (size_t i = 0; i < choosing->count; i++) {
        const struct candidate *candidate = &choosing->candidates[i];
        bool unique = candidate->quant[0] != 0;
        for (size_t j = 0; j < choosing->count && unique; j++)
            unique = i == j || strcmp(choosing->candidates[j].quant, candidate->quant) != 0;
        int wrote = snprintf(list + used, MAX_LIST - used, "%s%s (%s)", i ? ", " : "",
                             unique ? candidate->quant : path_of(choosing, candidate),
                             ci_hub_size_text(candidate->bytes, amount, sizeof amount));
        if (wrote < 0 || (size_t)wrote >= MAX_LIST - used - 8) {
            snprintf(list + used, MAX_LIST - used, ", ...");
            return;
        }
        used += (size_t)wrote;
    }
}

/* ---- one of them ---- */

static bool runs(const struct choosing *choosing, const struct candidate *candidate) {
    bool (*asked)(const char *) = choosing->wish->runs ? choosing->wish->runs : ci_hub_quant_runs;
    return asked(candidate->quant);
}

static bool fits_memory(const struct choosing *choosing, const struct candidate *candidate) {
    return !choosing->wish->memory || ci_hub_needed(candidate->bytes) <= choosing->wish->memory;
}

static bool is_whole(const struct candidate *candidate) { return candidate->found == candidate->parts; }

static enum clinfer_status take(const struct choosing *choosing, const struct candidate *candidate,
                                struct ci_hub_choice *choice) {
    const struct ci_hub_tree *tree = choosing->tree;
    if (!is_whole(candidate))
        return ci_fail(CLINFER_NOT_FOUND,
                       "%s: %s: the repo has %d of its %d parts; ask its owner for the others, or take another quant",
                       tree->repo, path_of(choosing, candidate), candidate->found, candidate->parts);
    if (tree->files[candidate->first].size < MIN_GGUF)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s has %" PRIu64 " bytes, which is no model; tell the owner of the repo",
                       tree->repo, path_of(choosing, candidate), tree->files[candidate->first].size);
    bool fine = ci_hub_choice_add(tree, choice, candidate->first);
    for (size_t i = 0; i < tree->count && candidate->stem && fine; i++) {
        int number, count;
        const char *path = tree->files[i].path;
        if (ci_kind_split_name(path, &number, &count) != candidate->stem || count != candidate->parts) continue;
        if (memcmp(path, path_of(choosing, candidate), candidate->stem) == 0) fine = ci_hub_choice_add(tree, choice, i);
    }
    snprintf(choice->quant, sizeof choice->quant, "%s", candidate->quant);
    if (!fine) return out_of_memory(choosing);
    char need[CI_HUB_SIZE_BYTES], have[CI_HUB_SIZE_BYTES];
    if (!fits_memory(choosing, candidate))
        snprintf(choice->warning, sizeof choice->warning, "%s will take about %s of memory, and this machine has %s",
                 path_of(choosing, candidate), ci_hub_size_text(ci_hub_needed(candidate->bytes), need, sizeof need),
                 ci_hub_size_text(choosing->wish->memory, have, sizeof have));
    return CLINFER_OK;
}

static enum clinfer_status does_not_run(const struct choosing *choosing, const struct candidate *candidate) {
    char list[MAX_LIST];
    list_candidates(choosing, list);
    return ci_fail(CLINFER_UNSUPPORTED,
                   "%s: clinfer does not run weights of type %s; take another of what there is: %s",
                   choosing->tree->repo, candidate->quant, list);
}

static enum clinfer_status nothing_fits(const struct choosing *choosing, const struct candidate *smallest) {
    char need[CI_HUB_SIZE_BYTES], have[CI_HUB_SIZE_BYTES];
    return ci_fail(CLINFER_OUT_OF_MEMORY,
                   "%s: the smallest that clinfer runs, %s, needs about %s of memory, and this machine has %s; take a "
                   "smaller model, or name the quant to fetch it nevertheless: %s:%s",
                   choosing->tree->repo, smallest->quant[0] ? smallest->quant : path_of(choosing, smallest),
                   ci_hub_size_text(ci_hub_needed(smallest->bytes), need, sizeof need),
                   ci_hub_size_text(choosing->wish->memory, have, sizeof have), choosing->tree->repo,
                   smallest->quant[0] ? smallest->quant : path_of(choosing, smallest));
}

/* Why the best is the best: what would have been preferred, and why it was not taken. */
static void give_reason(const struct choosing *choosing, const struct candidate *best, const struct candidate *passed,
                        struct ci_hub_choice *choice) {
    char size[CI_HUB_SIZE_BYTES], other[CI_HUB_SIZE_BYTES], have[CI_HUB_SIZE_BYTES] = "unknown";
    const char *name = best->quant[0] ? best->quant : path_of(choosing, best);
    if (choosing->wish->memory) ci_hub_size_text(choosing->wish->memory, have, sizeof have);
    ci_hub_size_text(best->bytes, size, sizeof size);
    if (passed)
        snprintf(choice->reason, sizeof choice->reason, "%s (%s): the best here, since %s (%s) %s%s%s", name, size,
                 passed->quant[0] ? passed->quant : path_of(choosing, passed),
                 ci_hub_size_text(passed->bytes, other, sizeof other),
                 runs(choosing, passed) ? "does not fit the memory of this machine ("
                                        : "is of a type that clinfer does not run",
                 runs(choosing, passed) ? have : "", runs(choosing, passed) ? ")" : "");
    else
        snprintf(choice->reason, sizeof choice->reason,
                 "%s (%s): of %zu in the repo the one with most quality for its size, and it fits the memory of this "
                 "machine (%s)",
                 name, size, choosing->count, have);
}

/* Of those that fit the tag as well as any: the preferred one that runs and fits the memory. */
static enum clinfer_status take_best(const struct choosing *choosing, struct ci_hub_choice *choice) {
    const struct candidate *best = NULL, *smallest = NULL, *passed = NULL, *any = NULL;
    for (size_t i = 0; i < choosing->count; i++) {
        const struct candidate *candidate = &choosing->candidates[i];
        if (!candidate->fits) continue;
        int rank = ci_hub_quant_rank(candidate->quant);
        any = any ? any : candidate;
        if (runs(choosing, candidate) && is_whole(candidate)) {
            if (!smallest || candidate->bytes < smallest->bytes) smallest = candidate;
            bool better = !best || rank < ci_hub_quant_rank(best->quant);
            if (fits_memory(choosing, candidate) && better) best = candidate;
        }
    }
    if (!smallest && any && is_whole(any)) return does_not_run(choosing, any);
    if (!smallest) return take(choosing, any, choice);
    if (!best) return nothing_fits(choosing, smallest);
    for (size_t i = 0; i < choosing->count; i++) {
        const struct candidate *candidate = &choosing->candidates[i];
        bool preferred = ci_hub_quant_rank(candidate->quant) < ci_hub_quant_rank(best->quant);
        if (candidate->fits && preferred && is_whole(candidate) &&
            (!passed || ci_hub_quant_rank(candidate->quant) < ci_hub_quant_rank(passed->quant)))
            passed = candidate;
    }
    if (choosing->count > 1) give_reason(choosing, best, passed, choice);
    return take(choosing, best, choice);
}

/* Others that a tag means as well. */
static void tell_others(const struct choosing *choosing, struct ci_hub_choice *choice) {
    for (size_t i = 0; i < choosing->count && !choice->warning[0]; i++) {
        const struct candidate *candidate = &choosing->candidates[i];
        bool same = strcmp(candidate->quant, choice->quant) == 0 && candidate->quant[0];
        if (!candidate->fits || !same || candidate->first == choice->files[0]) continue;
        snprintf(choice->warning, sizeof choice->warning,
                 "%s has several of this quant; to have the other one, name it: %s/%s", choosing->tree->repo,
                 choosing->tree->repo, path_of(choosing, candidate));
    }
}

static enum clinfer_status no_such_tag(const struct choosing *choosing) {
    char list[MAX_LIST];
    list_candidates(choosing, list);
    return ci_fail(CLINFER_NOT_FOUND, "%s: no file of quant %s; there %s: %s", choosing->tree->repo,
                   choosing->wish->tag, choosing->count == 1 ? "is" : "are", list);
}

static enum clinfer_status choose_tagged(struct choosing *choosing, struct ci_hub_choice *choice) {
    int most = 0;
    for (size_t i = 0; i < choosing->count; i++)
        if (choosing->candidates[i].fits > most) most = choosing->candidates[i].fits;
    if (!most) return no_such_tag(choosing);
    const struct candidate *only = NULL;
    size_t count = 0;
    for (size_t i = 0; i < choosing->count; i++) {
        if (choosing->candidates[i].fits < most) choosing->candidates[i].fits = 0;
        if (!choosing->candidates[i].fits) continue;
        bool other = only && strcmp(only->quant, choosing->candidates[i].quant) != 0;
        if (!only) only = &choosing->candidates[i];
        count += !count || other;
    }
    /* Who names a quant gets it, whatever the memory is; who names something else leaves the choice to us. */
    enum clinfer_status status = count > 1              ? take_best(choosing, choice)
                                 : runs(choosing, only) ? take(choosing, only, choice)
                                                        : does_not_run(choosing, only);
    if (status == CLINFER_OK) tell_others(choosing, choice);
    return status;
}

/* ---- by file name ---- */

static bool is_file(const char *path, const char *wanted, int how) {
    const char *slash = strrchr(path, '/');
    return how == 0   ? strcmp(path, wanted) == 0
           : how == 1 ? strcasecmp(path, wanted) == 0
                      : strcasecmp(slash ? slash + 1 : path, wanted) == 0;
}

static const struct ci_hub_file *find_file(const struct ci_hub_tree *tree, const char *wanted, size_t *index) {
    for (int how = 0; how < 3; how++)
        for (size_t i = 0; i < tree->count; i++)
            if (is_file(tree->files[i].path, wanted, how)) return *index = i, &tree->files[i];
    return NULL;
}

static bool ends(const char *path, const char *end) {
    size_t length = strlen(path), wanted = strlen(end);
    return length > wanted && strcasecmp(path + length - wanted, end) == 0;
}

static enum clinfer_status refuse_pickle(const struct ci_hub_tree *tree, const char *path) {
    return ci_fail(
        CLINFER_UNSUPPORTED,
        "%s: %s is a pickle, which can run any program when it is opened: clinfer never fetches those; look for "
        "a repo of the same model with GGUF files or SafeTensors",
        tree->repo, path);
}

static enum clinfer_status no_such_file(const struct choosing *choosing) {
    char list[MAX_LIST];
    list_candidates(choosing, list);
    return ci_fail(CLINFER_NOT_FOUND, "%s: no file %s in the repo; the models there: %s", choosing->tree->repo,
                   choosing->wish->file, choosing->count ? list : "none");
}

static enum clinfer_status choose_file(const struct choosing *choosing, struct ci_hub_choice *choice) {
    const struct ci_hub_tree *tree = choosing->tree;
    size_t index;
    const struct ci_hub_file *file = find_file(tree, choosing->wish->file, &index);
    if (!file) return no_such_file(choosing);
    if (ci_hub_is_pickle(file->path)) return refuse_pickle(tree, file->path);
    if (ends(file->path, ".safetensors") || strcmp(file->path, "config.json") == 0) {
        enum clinfer_status status = ci_hub_choose_folder(tree, choosing->wish, choice);
        return status == CLINFER_NOT_FOUND ? no_such_file(choosing) : status;
    }
    if (ends(file->path, ".gguf") && !ci_hub_is_model_file(file->path))
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: %s is no model by its name (a projector, an importance matrix or a draft model); name the file "
            "of the model itself",
            tree->repo, file->path);
    for (size_t i = 0; i < choosing->count; i++) {
        const struct candidate *candidate = &choosing->candidates[i];
        int number, count;
        bool part = candidate->stem && ci_kind_split_name(file->path, &number, &count) == candidate->stem &&
                    memcmp(file->path, path_of(choosing, candidate), candidate->stem) == 0 && count == candidate->parts;
        if (candidate->first != index && !part) continue;
        return runs(choosing, candidate) ? take(choosing, candidate, choice) : does_not_run(choosing, candidate);
    }
    return ci_hub_choice_add(tree, choice, index) ? CLINFER_OK : out_of_memory(choosing);
}

/* ---- without GGUF files ---- */

static enum clinfer_status no_model(const struct choosing *choosing) {
    const struct ci_hub_tree *tree = choosing->tree;
    for (size_t i = 0; i < tree->count; i++)
        if (ci_hub_is_pickle(tree->files[i].path)) return refuse_pickle(tree, tree->files[i].path);
    return ci_fail(
        CLINFER_NOT_FOUND,
        "%s: the repo holds no model that clinfer can run (%zu files, none is GGUF or SafeTensors); look for one "
        "with GGUF files, most are called %s-GGUF",
        tree->repo, tree->count, tree->repo);
}

static enum clinfer_status choose_other(struct choosing *choosing, struct ci_hub_choice *choice) {
    const char *tag = choosing->wish->tag;
    enum clinfer_status status = ci_hub_choose_folder(choosing->tree, choosing->wish, choice);
    if (status == CLINFER_NOT_FOUND) return no_model(choosing);
    if (status != CLINFER_OK || !tag || !*tag) return status;
    return ci_fail(
        CLINFER_NOT_FOUND,
        "%s: no file of quant %s: the repo holds SafeTensors, no GGUF files; leave \":%s\" away to fetch those "
        "(run them with --type q4_k to quantise), or look for a repo called %s-GGUF",
        choosing->tree->repo, tag, tag, choosing->tree->repo);
}

enum clinfer_status ci_hub_choose(const struct ci_hub_tree *tree, const struct ci_hub_wish *wish,
                                  struct ci_hub_choice *choice) {
    struct choosing choosing = {.tree = tree, .wish = wish};
    *choice = (struct ci_hub_choice){0};
    enum clinfer_status status = collect(&choosing);
    if (status == CLINFER_OK) {
        if (wish->file && *wish->file)
            status = choose_file(&choosing, choice);
        else if (!choosing.count)
            status = choose_other(&choosing, choice);
        else if (wish->tag && *wish->tag)
            status = choose_tagged(&choosing, choice);
        else {
            status = take_best(&choosing, choice);
            if (status == CLINFER_OK) tell_others(&choosing, choice);
        }
    }
    free(choosing.candidates);
    return status;
}
