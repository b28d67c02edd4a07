/* show_remote.c: what `clinfer pull` would fetch for a name that is not on this machine: by the Hub's tree, which has
 * sizes and names of all files. Nothing is downloaded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "cli/output.h"
#include "cli/show.h"
#include "format/kind.h"
#include "hub/choose.h"
#include "hub/space.h"

enum { MOST_MODELS = 100, COMMAND_BYTES = CI_HUB_REPO_BYTES + CI_HUB_FILE_BYTES + CI_HUB_TAG_BYTES };

/* One that can be pulled. */
struct offered {
    const char *file; /* its first one */
    char quant[CI_HUB_QUANT_BYTES];
    uint64_t bytes;
    size_t files;
    bool runs, fits;
};

struct offer {
    struct ci_hub_tree tree;
    struct ci_hub_choice choice;
    struct ci_hub_name name; /* as one would type it */
    struct offered models[MOST_MODELS];
    size_t count;
};

static void tell(void *user, const struct ci_hub_event *event) {
    (void)user;
    if (event->kind == CI_HUB_SAID && event->warning) ci_warn("%s", event->text);
}

static enum clinfer_status get_tree(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                    struct ci_hub_tree *tree) {
    struct ci_hub hub = {.settings = settings, .watch = tell};
    enum clinfer_status status = ci_fetcher_create(&hub.fetcher);
    if (status == CLINFER_OK) status = ci_hub_tree_get(&hub, name->repo, name->revision, tree);
    ci_fetcher_destroy(hub.fetcher);
    return status;
}

static bool any_quant(const char *quant) {
    (void)quant;
    return true;
}

/* All models of the repo, whether they run here or not. */
static enum clinfer_status list_models(struct offer *offer) {
    const struct ci_hub_tree *tree = &offer->tree;
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < tree->count && offer->count < MOST_MODELS && status == CLINFER_OK; i++) {
        const char *path = tree->files[i].path, *slash = strrchr(path, '/');
        int part, parts;
        if (!ci_hub_is_model_file(path)) continue;
        if (ci_kind_split_name(slash ? slash + 1 : path, &part, &parts) && part > 1) continue;
        struct ci_hub_choice choice = {0};
        const struct ci_hub_wish wish = {.file = path, .runs = any_quant};
        enum clinfer_status chosen = ci_hub_choose(tree, &wish, &choice);
        if (chosen == CLINFER_OK) {
            struct offered *model = &offer->models[offer->count++];
            *model = (struct offered){.file = path, .bytes = choice.bytes, .files = choice.count};
            ci_hub_quant_of(path, model->quant);
            model->runs = ci_hub_quant_runs(model->quant);
            model->fits = ci_hub_needed(model->bytes) <= ci_memory_limit();
        } else if (chosen == CLINFER_OUT_OF_MEMORY) {
            status = chosen;
        }
        ci_hub_choice_free(&choice);
    }
    return status;
}

/* ---- for people ---- */

static void print_table(const struct offer *offer) {
    char size[CI_AMOUNT_BYTES];
    if (!offer->count) return;
    ci_printf("\n  %-12s %10s %6s  %-4s  %-4s  %s\n", "quant", "size", "files", "runs", "fits", "file");
    for (size_t i = 0; i < offer->count; i++) {
        const struct offered *model = &offer->models[i];
        ci_printf("  %-12s %10s %6zu  %-4s  %-4s  %s\n", *model->quant ? model->quant : "-",
                  ci_hub_size_text(model->bytes, size, sizeof size), model->files, model->runs ? "yes" : "no",
                  model->fits ? "yes" : "no", ci_one_line(model->file));
    }
}

static void print(const struct offer *offer) {
    const struct ci_hub_choice *choice = &offer->choice;
    char size[CI_AMOUNT_BYTES], command[COMMAND_BYTES];
    ci_hub_name_text(&offer->name, command, sizeof command);
    ci_printf("%s: not on this machine; `clinfer pull %s` fetches it\n", offer->tree.repo, command);
    ci_printf("  %-13s %s\n", "commit", offer->tree.commit);
    ci_printf("  %-13s %s in %zu file%s%s%s\n", "would fetch", ci_hub_size_text(choice->bytes, size, sizeof size),
              choice->count, choice->count == 1 ? "" : "s", *choice->reason ? ": " : "", ci_one_line(choice->reason));
    for (size_t i = 0; i < choice->count; i++) {
        const struct ci_hub_file *file = &offer->tree.files[choice->files[i]];
        ci_printf("  %-13s %10s  %s\n", "",
                  file->size == UINT64_MAX ? "?" : ci_hub_size_text(file->size, size, sizeof size),
                  ci_one_line(file->path));
    }
    if (*choice->warning) ci_printf("  %-13s %s\n", "beware", ci_one_line(choice->warning));
    print_table(offer);
}

/* ---- JSON ---- */

static json_t *text(const char *text) { return ci_json_text(text, strlen(text)); }

static int print_json(const struct offer *offer) {
    const struct ci_hub_choice *choice = &offer->choice;
    json_t *files = json_array(), *models = json_array();
    char command[COMMAND_BYTES];
    ci_hub_name_text(&offer->name, command, sizeof command);
    for (size_t i = 0; i < choice->count; i++) {
        const struct ci_hub_file *file = &offer->tree.files[choice->files[i]];
        json_array_append_new(files, json_pack("{s:o, s:I, s:s}", "file", text(file->path), "bytes",
                                               (json_int_t)(file->size == UINT64_MAX ? 0 : file->size), "digest",
                                               file->digest));
    }
    for (size_t i = 0; i < offer->count; i++) {
        const struct offered *model = &offer->models[i];
        json_array_append_new(models,
                              json_pack("{s:o, s:s, s:I, s:I, s:b, s:b}", "file", text(model->file), "quant",
                                        model->quant, "bytes", (json_int_t)model->bytes, "files",
                                        (json_int_t)model->files, "runs", (int)model->runs, "fits", (int)model->fits));
    }
    return ci_print_json(json_pack("{s:b, s:o, s:o, s:s, s:{s:I, s:o, s:o, s:o}, s:o}", "here", 0, "name",
                                   text(command), "repo", text(offer->tree.repo), "commit", offer->tree.commit,
                                   "would_fetch", "bytes", (json_int_t)choice->bytes, "reason", text(choice->reason),
                                   "warning", text(choice->warning), "files", files, "models", models));
}

int ci_show_remote(const struct ci_hub_settings *settings, const struct ci_hub_name *name, bool json) {
    struct offer *offer = calloc(1, sizeof *offer);
    int exit_status = 0;
    if (!offer) return ci_refuse(CLINFER_OUT_OF_MEMORY, "out of memory");
    const struct ci_hub_wish wish = {.tag = name->tag, .file = name->file, .memory = ci_memory_limit()};
    enum clinfer_status status = get_tree(settings, name, &offer->tree);
    if (status == CLINFER_OK) status = ci_hub_choose(&offer->tree, &wish, &offer->choice);
    if (status == CLINFER_OK) status = list_models(offer);
    offer->name = *name;
    offer->name.alias = NULL;
    if (!*name->file) snprintf(offer->name.tag, sizeof offer->name.tag, "%s", offer->choice.quant);
    if (status != CLINFER_OK)
        exit_status = ci_complain(status);
    else if (json)
        exit_status = print_json(offer);
    else
        print(offer);
    ci_hub_choice_free(&offer->choice);
    ci_hub_tree_free(&offer->tree);
    free(offer);
    return exit_status;
}
