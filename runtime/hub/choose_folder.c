/* choose_folder.c: the files of a SafeTensors model, by their names alone: which of them the index lists is known only
 * when it is here. What format/folder.h takes from a folder has to be there, and nothing twice: repos also hold the
 * same weights in other layouts (consolidated.safetensors), in subfolders, and adapters. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"
#include "hub/choose_private.h"
#include "hub/space.h"

/* The first two are a tokenizer. */
static const char *const tokenizer_files[] = {"tokenizer.json",          "tokenizer.model",   "tokenizer_config.json",
                                              "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"};
static const char *const model_files[] = {"config.json", "model.safetensors.index.json", "generation_config.json",
                                          "1_Pooling/config.json", "2_Dense/config.json"};

static bool is_one_of(const char *path, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(path, names[i]) == 0) return true;
    return false;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

size_t ci_hub_choose_tokenizer(const struct ci_hub_tree *tree, const char *folder, struct ci_hub_choice *choice) {
    size_t length = strlen(folder), before = choice->count;
    bool usable = false;
    for (size_t i = 0; i < COUNT(tokenizer_files); i++)
        for (size_t j = 0; j < tree->count; j++) {
            const char *path = tree->files[j].path;
            if (strncmp(path, folder, length) != 0 || strcmp(path + length, tokenizer_files[i]) != 0) continue;
            usable = usable || i < 2;
            if (usable && !ci_hub_choice_add(tree, choice, j)) return 0;
        }
    return choice->count - before;
}

/* ---- weights ---- */

static bool is_weights(const char *path) {
    size_t length = strlen(path), end = strlen(".safetensors");
    return !strchr(path, '/') && length > end && strcmp(path + length - end, ".safetensors") == 0;
}

/* model-00001-of-00002.safetensors, model.safetensors-00001-of-... is not in use. */
static bool is_usual(const char *path) {
    return strcmp(path, "model.safetensors") == 0 || strncmp(path, "model-", 6) == 0;
}

static bool is_other(const char *path) {
    return strncmp(path, "consolidated", 12) == 0 || strncmp(path, "adapter_", 8) == 0;
}

/* The usual names, if there are any; else all that is not known to be something else. */
static bool add_weights(const struct ci_hub_tree *tree, struct ci_hub_choice *choice) {
    bool usual = false, indexed = false;
    for (size_t i = 0; i < tree->count; i++) {
        usual = usual || (is_weights(tree->files[i].path) && is_usual(tree->files[i].path));
        indexed = indexed || strcmp(tree->files[i].path, "model.safetensors.index.json") == 0;
    }
    for (size_t i = 0; i < tree->count; i++) {
        const char *path = tree->files[i].path;
        if (!is_weights(path) || is_other(path) || (usual && !is_usual(path))) continue;
        if (usual && !indexed && strcmp(path, "model.safetensors") != 0) continue;
        if (!ci_hub_choice_add(tree, choice, i)) return false;
    }
    return true;
}

enum clinfer_status ci_hub_choose_folder(const struct ci_hub_tree *tree, const struct ci_hub_wish *wish,
                                         struct ci_hub_choice *choice) {
    bool fine = add_weights(tree, choice);
    if (fine && !choice->count) return CLINFER_NOT_FOUND;
    uint64_t weights = choice->bytes;
    bool config = false;
    for (size_t i = 0; i < tree->count && fine; i++) {
        if (!is_one_of(tree->files[i].path, model_files, COUNT(model_files)) &&
            !is_one_of(tree->files[i].path, tokenizer_files, COUNT(tokenizer_files)))
            continue;
        config = config || strcmp(tree->files[i].path, "config.json") == 0;
        fine = ci_hub_choice_add(tree, choice, i);
    }
    if (!fine) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", tree->repo);
    if (!config)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "%s: there are SafeTensors, but no config.json says what they are; look for a repo of the same "
                       "model that has one, or for one with GGUF files",
                       tree->repo);
    choice->folder = true;
    snprintf(choice->reason, sizeof choice->reason, "SafeTensors, as the model was published");
    char need[CI_HUB_SIZE_BYTES], have[CI_HUB_SIZE_BYTES];
    if (wish->memory && ci_hub_needed(weights) > wish->memory)
        snprintf(
            choice->warning, sizeof choice->warning,
            "as they are these weights take %s of memory, and this machine has %s: run them with --type q4_k, or look "
            "for a repo with GGUF files",
            ci_hub_size_text(ci_hub_needed(weights), need, sizeof need),
            ci_hub_size_text(wish->memory, have, sizeof have));
    return CLINFER_OK;
}
