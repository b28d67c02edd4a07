/* rm.c: `clinfer rm`: models by the names that `clinfer list` shows. All are looked up and planned before anything is
 * asked or removed. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/names.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/options.h"
#include "cli/output.h"
#include "hub/name.h"
#include "hub/near.h"
#include "hub/quant.h"
#include "hub/remove.h"
#include "hub/space.h"

enum { LIST_BYTES = 512 };

struct rm {
    struct ci_hub_settings settings;
    struct ci_stored *models; /* [count], each place by itself */
    size_t count;
    bool yes, force;
};

/* ---- which one is meant ---- */

/* How well a word means a model, the more the better; 0: not. */
enum fit { NO_FIT, FITS_FILE, FITS_REPO, FITS_TAG, FITS_NAME_LOOSELY, FITS_NAME };

static bool is_without_ending(const char *name, const char *word) {
    size_t length = strlen(word);
    return strncasecmp(name, word, length) == 0 && strcasecmp(name + length, ".gguf") == 0;
}

static bool is_path(const char *word, const char *path) {
    char *one = strchr(word, '/') ? realpath(word, NULL) : NULL, *other = one ? realpath(path, NULL) : NULL;
    bool same = one && other && strcmp(one, other) == 0;
    free(one);
    free(other);
    return same;
}

static enum fit fit_of_hub_name(const struct ci_stored *model, const struct ci_hub_name *name) {
    if (name->kind != CI_HUB_REPO || !model->repo || strcasecmp(model->repo, name->repo) != 0) return NO_FIT;
    bool revised = strcmp(name->revision, "main") != 0;
    if (revised && (!model->revision || strncmp(model->revision, name->revision, strlen(name->revision)) != 0))
        return NO_FIT;
    if (name->file[0]) return strcmp(model->file, name->file) == 0 ? FITS_NAME_LOOSELY : NO_FIT;
    if (!name->tag[0]) return FITS_REPO;
    return ci_hub_tag_fits(model->file, name->tag) == 3 ? FITS_TAG : NO_FIT;
}

static enum fit fit_of(const struct ci_stored *model, const char *word, const struct ci_hub_name *name) {
    const char *slash = strrchr(model->name, '/'), *base = slash ? slash + 1 : model->name;
    if (strcmp(model->name, word) == 0) return FITS_NAME;
    /* "x" is of "x.gguf" and of "folder/x.gguf" alike, and `run` may take the one or the other. */
    bool below = strchr(word, '/') && is_without_ending(model->name, word);
    if (strcasecmp(model->name, word) == 0 || below || is_path(word, model->path)) return FITS_NAME_LOOSELY;
    if (name && fit_of_hub_name(model, name)) return fit_of_hub_name(model, name);
    return strcasecmp(base, word) == 0 || is_without_ending(base, word) ? FITS_FILE : NO_FIT;
}

static enum clinfer_status none_fits(const struct rm *rm, const char *word) {
    char near[LIST_BYTES];
    ci_hub_near_names(word, rm->models, rm->count, near, sizeof near);
    return ci_fail(CLINFER_NOT_FOUND, "%s: no such model here%s%s%s; `clinfer list` shows what there is", word,
                   *near ? " (is it " : "", near, *near ? "?)" : "");
}

/* Of those that fit best: one of our stores goes before those of other programs, whose name it may have. */
static enum clinfer_status choose(const struct rm *rm, const char *word, const struct ci_stored **chosen) {
    struct ci_hub_name parsed, *name = &parsed;
    if (ci_hub_name_parse(word, rm->settings.endpoint, name) != CLINFER_OK) name = NULL;
    enum fit best = NO_FIT;
    size_t fitting = 0;
    bool removable = false;
    char list[LIST_BYTES] = "";
    *chosen = NULL;
    for (size_t i = 0; i < rm->count; i++) {
        const struct ci_stored *model = &rm->models[i];
        enum fit fit = fit_of(model, word, name);
        if (!fit || fit < best || (fit == best && removable && !model->removable)) continue;
        if (fit > best || (model->removable && !removable)) {
            fitting = 0;
            list[0] = 0;
        }
        best = fit;
        removable = model->removable;
        if (!fitting++) *chosen = model;
        ci_names_add(list, sizeof list, model->name);
    }
    if (!fitting) return none_fits(rm, word);
    if (fitting > 1 && best != FITS_NAME)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: that may be any of: %s; give one of these names", word, list);
    return CLINFER_OK;
}

/* ---- removing ---- */

/* What the disk keeps although the model goes from here. */
static void tell_others(const struct rm *rm, const struct ci_stored *model) {
    for (size_t i = 0; i < rm->count; i++) {
        const struct ci_stored *other = &rm->models[i];
        if (other == model || other->number != model->number || other->device != model->device) continue;
        if (model->revision && other->revision && strcmp(model->repo, other->repo) == 0) continue;
        ci_say("%s (%s) is the same file", other->name, other->path);
    }
}

static enum clinfer_status ask(const struct rm *rm, const struct ci_stored *model, const struct ci_removal *removal) {
    char question[LIST_BYTES], size[CI_AMOUNT_BYTES];
    snprintf(question, sizeof question, "Remove %s (%s, %zu file%s and links in %s)?", ci_one_line(model->name),
             ci_hub_size_text(ci_removal_bytes(removal, NULL), size, sizeof size), removal->count,
             removal->count == 1 ? "" : "s", ci_one_line(model->root));
    return ci_confirm(rm->yes, question);
}

static enum clinfer_status remove_one(const struct rm *rm, const struct ci_stored *model) {
    struct ci_removal removal;
    char size[CI_AMOUNT_BYTES];
    uint64_t freed = 0;
    enum clinfer_status status = ci_removal_of(&rm->settings, model, rm->force, &removal);
    if (status == CLINFER_OK) {
        ci_say_lines(removal.notes);
        tell_others(rm, model);
        status = ask(rm, model, &removal);
    }
    if (status == CLINFER_OK) {
        status = ci_removal_do(&removal, &freed);
        if (status == CLINFER_OK || freed)
            ci_printf("%s: %s, %s freed\n", ci_one_line(model->name),
                      status == CLINFER_OK ? "removed" : "removed in part", ci_hub_size_text(freed, size, sizeof size));
    }
    ci_removal_free(&removal);
    return status;
}

static enum clinfer_status remove_all(struct rm *rm, const struct ci_texts *words) {
    enum clinfer_status status = ci_hub_settings_read(&rm->settings);
    if (status == CLINFER_OK) status = ci_stores_scan(&rm->settings, NULL, &rm->models, &rm->count);
    const struct ci_stored **chosen = calloc(words->count + 1, sizeof *chosen);
    if (status == CLINFER_OK && !chosen) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the names");
    for (size_t i = 0; i < words->count && status == CLINFER_OK; i++) status = choose(rm, words->items[i], &chosen[i]);
    for (size_t i = 0; i < words->count && status == CLINFER_OK; i++) status = remove_one(rm, chosen[i]);
    free(chosen);
    return status;
}

int ci_command_rm(int argc, char **argv) {
    struct rm rm = {0};
    struct ci_log_flags log = {0};
    struct ci_texts words = {0};
    const struct ci_option options[] = {
        CI_SECTION("Removing"),
        CI_FLAG("-y --yes", &rm.yes, "do not ask; needed where standard input is no terminal"),
        CI_FLAG("--force", &rm.force,
                "also a file that was put there by hand, which nobody may be able to fetch again"),
        CI_SECTION("Output"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "rm",
        .synopsis = "[-y] [--force] NAME...",
        .about = "Removes models by the names that `clinfer list` shows, and says how much of the disk is free again.\n"
                 "Of the Hub's cache only the files of this model go: other quants, other versions, and what another\n"
                 "repository shares stay. Stores of other programs are never changed.",
        .examples = "  clinfer rm user/repo:Q4_K_M\n  clinfer rm -y user/repo:Q4_K_M user/other",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "MODEL",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&log);
        if (status == CLINFER_OK && !words.count)
            exit_status = ci_refuse(CLINFER_INVALID_ARGUMENT, "rm: which model? `clinfer list` shows what there is");
        else if (status == CLINFER_OK) {
            status = remove_all(&rm, &words);
            exit_status = status == CLINFER_OK ? 0 : ci_complain(status);
        } else {
            exit_status = ci_exit_status(status);
        }
        ci_stores_free(rm.models, rm.count);
        ci_hub_settings_free(&rm.settings);
        ci_log_end();
    }
    ci_texts_free(&words);
    return exit_status;
}
