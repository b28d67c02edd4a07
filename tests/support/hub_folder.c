#define _GNU_SOURCE
#include "support/hub_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char hub_home[64];
struct ci_hub_settings hub_settings;

static char cache[128], models[128], *caches[] = {cache, NULL};

static void must(bool fine, const char *what) {
    if (fine) return;
    perror(what);
    exit(1);
}

const char *hub_path(const char *path) {
    static char texts[8][1024];
    static int next;
    char *text = texts[next++ % 8];
    snprintf(text, sizeof texts[0], "%s/%s", hub_home, path);
    return text;
}

static void make_parents(const char *path) {
    char whole[1024];
    snprintf(whole, sizeof whole, "%s", hub_path(path));
    for (char *at = whole + strlen(hub_home) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        must(mkdir(whole, 0755) == 0 || errno == EEXIST, whole);
        *at = '/';
    }
}

void hub_put_bytes(const char *path, size_t size) {
    make_parents(path);
    char *zeros = calloc(1, size + 1);
    FILE *file = fopen(hub_path(path), "wb");
    must(zeros && file && fwrite(zeros, 1, size, file) == size && fclose(file) == 0, path);
    free(zeros);
}

void hub_put(const char *path, const char *text) {
    make_parents(path);
    FILE *file = fopen(hub_path(path), "wb");
    must(file && fwrite(text, 1, strlen(text), file) == strlen(text) && fclose(file) == 0, path);
}

void hub_link(const char *path, const char *target) {
    make_parents(path);
    must(symlink(target, hub_path(path)) == 0, path);
}

void hub_folder(const char *path) {
    make_parents(path);
    must(mkdir(hub_path(path), 0755) == 0 || errno == EEXIST, path);
}

void hub_remove(const char *path) { must(unlink(hub_path(path)) == 0, path); }

bool hub_is(const char *path) {
    struct stat info;
    return lstat(hub_path(path), &info) == 0;
}

static size_t counted;

static int count_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)path, (void)info, (void)where;
    counted += kind != FTW_D && kind != FTW_DP;
    return 0;
}

size_t hub_count(const char *path) {
    counted = 0;
    nftw(hub_path(path), count_one, 16, FTW_PHYS);
    return counted;
}

void hub_age(const char *path, int seconds) {
    struct stat info;
    must(stat(hub_path(path), &info) == 0, path);
    struct timespec times[] = {info.st_atim, info.st_mtim};
    times[0].tv_sec -= seconds;
    times[1].tv_sec -= seconds;
    must(utimensat(AT_FDCWD, hub_path(path), times, 0) == 0, path);
}

void hub_blob(const char *repo, const char *commit, const char *file, const char *digest, size_t size) {
    char path[512], target[512] = "../../";
    snprintf(path, sizeof path, "hub/models--%s/blobs/%s", repo, digest);
    hub_put_bytes(path, size);
    snprintf(path, sizeof path, "hub/models--%s/snapshots/%s/%s", repo, commit, file);
    for (const char *at = file; (at = strchr(at, '/')); at++) strcat(target, "../");
    strcat(strcat(target, "blobs/"), digest);
    hub_link(path, target);
}

void hub_ref(const char *repo, const char *ref, const char *commit) {
    char path[512];
    snprintf(path, sizeof path, "hub/models--%s/refs/%s", repo, ref);
    hub_put(path, commit);
}

int hub_folder_set(void **state) {
    static const char *const variables[] = {"XDG_DATA_HOME", "XDG_CACHE_HOME", "LLAMA_CACHE",           "HF_HOME",
                                            "HF_HUB_CACHE",  "OLLAMA_MODELS",  "HUGGINGFACE_HUB_CACHE", NULL};
    (void)state;
    strcpy(hub_home, "/tmp/clinfer-hub-XXXXXX");
    must(mkdtemp(hub_home) != NULL, hub_home);
    for (const char *const *variable = variables; *variable; variable++) unsetenv(*variable);
    setenv("HOME", hub_home, 1);
    snprintf(cache, sizeof cache, "%s/hub", hub_home);
    snprintf(models, sizeof models, "%s/models", hub_home);
    hub_settings = (struct ci_hub_settings){.cache = cache, .caches = caches, .models = models};
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

int hub_folder_unset(void **state) {
    (void)state;
    return nftw(hub_home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
