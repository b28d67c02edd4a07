/* Any contents of a cache, of the models folder and of other programs' stores, a line of the input each: "path" is a
 * file, "path/" a folder, "path=text" a file of that text, "path>target" a link, "OUT" in a target what lies outside of
 * them all. Whatever stands there, the list ends; what is listed as whole is there; what a model's removal or prune
 * takes lies inside; and what lies outside stays. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "hub/cache.h"
#include "hub/remove.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES = 48, MOST_PATH = 512, MOST_INPUT = 4096 };

static char root[128], inside[160], outside[160], precious[200];

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)kind, (void)walk;
    return remove(path) && 0;
}

static void remove_all(const char *path) { nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }
static void remove_root(void) { remove_all(root); }

static void start(void) {
    snprintf(root, sizeof root, "%s/clinfer-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(root)) abort();
    atexit(remove_root);
    snprintf(inside, sizeof inside, "%s/home", root);
    snprintf(outside, sizeof outside, "%s/outside", root);
    snprintf(precious, sizeof precious, "%s/precious-Q8_0.gguf", outside);
    setenv("HOME", inside, 1);
    static const char *const names[] = {"XDG_DATA_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE", "HF_HOME"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    if (mkdir(outside, 0755) != 0) abort();
    FILE *file = fopen(precious, "we");
    if (!file || fputs("GGUF", file) < 0 || fclose(file) != 0) abort();
}

/* Only below `inside`: this target is no test of itself. */
static bool is_safe(const char *path) {
    if (!*path || *path == '/' || strlen(path) > 300) return false;
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strncmp(part, "..", 2) == 0) return false;
    return true;
}

/* No folder on the way may be a link that leads out. */
static bool make_parents(char *path) {
    struct stat status;
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        bool good = lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
        *slash = '/';
        if (!good) return false;
    }
    return true;
}

static void make_link(const char *path, const char *target) {
    char text[2 * MOST_PATH];
    const char *out = strstr(target, "OUT");
    if (out)
        snprintf(text, sizeof text, "%.*s%s%.300s", (int)(out - target), target, outside, out + 3);
    else
        snprintf(text, sizeof text, "%.500s", target);
    if (symlink(text, path) != 0) return;
}

static void make_entry(char *line) {
    char path[MOST_PATH + 64];
    size_t length = strcspn(line, ">=");
    char kind = line[length];
    line[length] = 0;
    if (!is_safe(line)) return;
    snprintf(path, sizeof path, "%s/%s", inside, line);
    if (!make_parents(path)) return;
    if (path[strlen(path) - 1] == '/') return;
    if (kind == '>') {
        make_link(path, line + length + 1);
        return;
    }
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0) return;
    const char *text = kind == '=' ? line + length + 1 : "GGUF";
    if (write(file, text, strlen(text)) < 0) abort();
    close(file);
}

static void make_all(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1), *rest = text;
    if (!text) abort();
    memcpy(text, data, size);
    text[size] = 0;
    mkdir(inside, 0755);
    for (int i = 0; i < LINES && rest; i++) make_entry(strsep(&rest, "\n"));
    free(text);
}

static void check_removal(const struct ci_removal *removal) {
    for (size_t i = 0; i < removal->count; i++) {
        const char *path = removal->steps[i].path;
        if (strncmp(path, inside, strlen(inside)) != 0 || path[strlen(inside)] != '/' || strstr(path, "/../")) abort();
    }
}

static void check_models(const struct ci_hub_settings *settings) {
    struct ci_stored *models = NULL;
    size_t count = 0;
    if (ci_stores_list(settings, &models, &count) != CLINFER_OK) abort();
    ci_stores_free(models, count);
    if (ci_stores_scan(settings, NULL, &models, &count) != CLINFER_OK) abort();
    for (size_t i = 0; i < count; i++) {
        struct ci_removal removal = {0};
        if (!models[i].name || !*models[i].name || !models[i].path) abort();
        if (models[i].whole && access(models[i].path, F_OK) != 0) abort();
        if (models[i].revision && !ci_hub_cache_is_commit(models[i].revision)) abort();
        if (ci_removal_of(settings, &models[i], true, &removal) == CLINFER_OK) check_removal(&removal);
        ci_removal_free(&removal);
    }
    ci_stores_free(models, count);
}

static void remove_and_prune(const struct ci_hub_settings *settings) {
    struct ci_removal removal = {0};
    struct ci_stored *models = NULL;
    size_t count = 0;
    uint64_t freed;
    if (ci_stores_scan(settings, NULL, &models, &count) == CLINFER_OK && count &&
        ci_removal_of(settings, &models[0], true, &removal) == CLINFER_OK)
        ci_removal_do(&removal, &freed);
    ci_removal_free(&removal);
    ci_stores_free(models, count);
    removal = (struct ci_removal){0};
    if (ci_removal_prune(settings, true, &removal) == CLINFER_OK) {
        check_removal(&removal);
        ci_removal_do(&removal, &freed);
    }
    ci_removal_free(&removal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > MOST_INPUT) return 0;
    if (!*root) start();
    char cache[200], models[200], *caches[] = {cache, NULL}, commit[CI_HUB_COMMIT_BYTES], *path = NULL;
    snprintf(cache, sizeof cache, "%s/hub", inside);
    snprintf(models, sizeof models, "%s/models", inside);
    struct ci_hub_settings settings = {
        .cache = cache, .cache_from = "HF_HUB_CACHE", .caches = caches, .models = models};
    make_all(data, size);
    check_models(&settings);
    if (ci_hub_cache_commit(cache, "user/repo", "main", commit) == CLINFER_OK) {
        if (!ci_hub_cache_is_commit(commit)) abort();
        if (ci_hub_cache_find(cache, "user/repo", commit, "repo-Q4_K_M.gguf", &path) == CLINFER_OK &&
            access(path, F_OK))
            abort();
        free(path);
    }
    free(ci_hub_find_digest(&settings, "30c4399138ab95a6a02fd3820761d4d1b4fe26b791185cddd519791cd195afed", 4));
    remove_and_prune(&settings);
    struct stat status;
    if (stat(precious, &status) != 0 || status.st_size != 4) abort();
    remove_all(inside);
    return 0;
}
