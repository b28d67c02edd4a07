/* cache.c: `clinfer cache`: what is kept for faster starts, and what it takes. All of it is made anew when needed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "graph/packed.h"
#include "hub/space.h"

struct cache {
    bool all, json;
    json_t *list;      /* of packed weights, with --json */
    uint64_t packed;   /* bytes */
    uint64_t freed;    /* of what was removed */
    char failure[512]; /* the first file that could not be removed */
};

/* What is in the folder of the cache beside packed weights. */
static const struct {
    const char *folder, *what;
} others[] = {{"programs", "compiled kernels"},
              {"proof", "what was proven"},
              {"weights", "converted weights of SafeTensors folders"}};

static const char *date_of(int64_t seconds, char text[32]) {
    time_t time = (time_t)seconds;
    struct tm tm;
    if (!localtime_r(&time, &tm) || strftime(text, 32, "%Y-%m-%d", &tm) == 0) snprintf(text, 32, "?");
    return text;
}

static const char *state_of(const struct ci_packed_file *file) {
    return !*file->model ? "not whole" : !file->model_is_there ? "the model is gone" : "";
}

static void show(void *user, const struct ci_packed_file *file) {
    struct cache *cache = user;
    char size[CI_AMOUNT_BYTES], date[32];
    const char *state = state_of(file);
    cache->packed += file->bytes;
    if (cache->list) {
        json_array_append_new(cache->list, json_pack("{s:o, s:o, s:I, s:i, s:I, s:b}", "path",
                                                     ci_json_text(file->path, strlen(file->path)), "model",
                                                     ci_json_text(file->model, strlen(file->model)), "bytes",
                                                     (json_int_t)file->bytes, "weights", file->weights, "used",
                                                     (json_int_t)file->used, "model_is_there", file->model_is_there));
        return;
    }
    ci_printf("%10s  %s  %s%s%s%s\n", ci_hub_size_text(file->bytes, size, sizeof size), date_of(file->used, date),
              ci_one_line(*file->model ? file->model : file->path), *state ? " (" : "", state, *state ? ")" : "");
}

/* Bytes of the files of a folder of the cache, which `removes` removes. What a link leads to, or others own, is not
 * ours. */
static uint64_t take(struct cache *cache, const char *name, bool removes) {
    char *folder = ci_cache_path(name), *path = NULL;
    DIR *directory = folder && ci_file_check_own(folder, "clinfer") == CLINFER_OK ? opendir(folder) : NULL;
    uint64_t bytes = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct stat info;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) break;
        if (lstat(path, &info) == 0 && S_ISREG(info.st_mode)) {
            bytes += (uint64_t)info.st_blocks * 512;
            bool gone = removes && unlink(path) == 0;
            if (gone) cache->freed += (uint64_t)info.st_blocks * 512;
            if (removes && !gone && !*cache->failure)
                snprintf(cache->failure, sizeof cache->failure, "%s: cannot remove: %s", path, strerror(errno));
        }
        free(path);
    }
    if (directory) closedir(directory);
    free(folder);
    return bytes;
}

static enum clinfer_status clear(struct cache *cache) {
    char size[CI_AMOUNT_BYTES];
    enum clinfer_status status = ci_packed_clear(&cache->freed);
    if (status != CLINFER_OK) return status;
    for (size_t i = 0; cache->all && i < sizeof others / sizeof *others; i++) take(cache, others[i].folder, true);
    ci_printf("%s freed\n", ci_hub_size_text(cache->freed, size, sizeof size));
    return *cache->failure ? ci_fail(CLINFER_IO, "%s", cache->failure) : CLINFER_OK;
}

static int list(struct cache *cache) {
    char size[CI_AMOUNT_BYTES];
    char *folder = ci_cache_path(NULL);
    if (!folder) return ci_complain(ci_file_no_xdg("CACHE", "the cache"));
    if (cache->json) cache->list = json_array();
    enum clinfer_status status = ci_packed_list(show, cache);
    json_t *object = cache->json ? json_object() : NULL, *bytes = cache->json ? json_object() : NULL;
    if (object) {
        json_object_set_new(object, "folder", ci_json_text(folder, strlen(folder)));
        json_object_set_new(object, "packed", cache->list);
        json_object_set_new(bytes, "packed", json_integer((json_int_t)cache->packed));
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            json_object_set_new(bytes, others[i].folder,
                                json_integer((json_int_t)take(cache, others[i].folder, false)));
        json_object_set_new(object, "bytes", bytes);
    } else {
        ci_printf("%10s  packed weights, in all\n", ci_hub_size_text(cache->packed, size, sizeof size));
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            ci_printf("%10s  %s\n", ci_hub_size_text(take(cache, others[i].folder, false), size, sizeof size),
                      others[i].what);
        ci_say("in %s; `clinfer cache clear` removes packed weights, with --all all of these", folder);
    }
    free(folder);
    if (status != CLINFER_OK) return ci_complain(status);
    return cache->json ? ci_print_json(object) : 0;
}

int ci_command_cache(int argc, char **argv) {
    struct cache cache = {0};
    struct ci_log_flags log = {0};
    struct ci_texts words = {0};
    const struct ci_option options[] = {
        CI_SECTION("Removing"),
        CI_FLAG("--all", &cache.all,
                "with clear: also compiled kernels, proofs and converted weights; the next start of each model is a "
                "first one"),
        CI_SECTION("Output"),
        CI_FLAG("--json", &cache.json, "the list as JSON"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "cache",
        .synopsis = "[list | clear [--all]]",
        .about =
            "Shows what clinfer keeps on disk so that starts are fast, and removes it. Weights that kernels want in\n"
            "another layout are packed once and mapped by later starts (--packed-cache of other commands): all\n"
            "models together take a quarter of the free space at most, and those not used for longest go first.\n"
            "Nothing of it is needed: it is made anew.",
        .examples = "  clinfer cache\n  clinfer cache clear\n  clinfer run --packed-cache off \"prompt\"",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "list|clear",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &words);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_log_start(&log);
    const char *word = words.count ? words.items[0] : "list";
    bool clears = strcmp(word, "clear") == 0;
    if (status == CLINFER_OK && (words.count > 1 || (!clears && strcmp(word, "list") != 0)))
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s: list or clear is possible", words.items[words.count - 1]);
    if (status == CLINFER_OK && cache.all && !clears)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "--all is for `clinfer cache clear`");
    if (status == CLINFER_OK && cache.json && clears)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "--json is for `clinfer cache list`");
    if (status == CLINFER_OK && clears) status = clear(&cache);
    exit_status = status != CLINFER_OK ? ci_complain(status) : clears ? 0 : list(&cache);
    ci_texts_free(&words);
    ci_log_end();
    return exit_status;
}
