#define _GNU_SOURCE
#include "device/vendors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/temporary.h"

static const char default_folder[] = "/etc/OpenCL/vendors";

/* Variables that change which drivers are loaded or what they do while their devices are listed. */
static const char *const steering[] = {"LD_LIBRARY_PATH", "LD_PRELOAD",   "OPENCL_LAYERS",
                                       "RUSTICL_ENABLE",  "POCL_DEVICES", "CUDA_VISIBLE_DEVICES"};

static bool is_icd(const char *name) {
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".icd") == 0;
}

static bool add(struct ci_vendors *vendors, char *path) {
    vendors->no_memory = vendors->no_memory || !path;
    if (!path || vendors->count == CI_MAX_VENDORS) {
        free(path);
        return false;
    }
    vendors->list[vendors->count++] = (struct ci_vendor){.path = path};
    return true;
}

static bool read_folder(struct ci_vendors *vendors) {
    DIR *directory = opendir(vendors->folder);
    if (!directory) return false;
    bool fine = true;
    for (struct dirent *entry; fine && (entry = readdir(directory));) {
        char *path = NULL;
        if (!is_icd(entry->d_name)) continue;
        if (asprintf(&path, "%s/%s", vendors->folder, entry->d_name) < 0) path = NULL;
        fine = add(vendors, path);
    }
    closedir(directory);
    return fine;
}

static int by_path(const void *left, const void *right) {
    const struct ci_vendor *a = left, *b = right;
    return strcmp(a->path, b->path);
}

static uint64_t hash_times(uint64_t hash, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return ci_hash(hash, "absent", 6);
    char facts[160];
    int length = snprintf(facts, sizeof facts, "%lld %lld.%09ld %lld.%09ld", (long long)info.st_size,
                          (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec, (long long)info.st_ctim.tv_sec,
                          info.st_ctim.tv_nsec);
    return ci_hash(hash, facts, (size_t)length);
}

/* A few bytes of a small file; 0 when it cannot be read. */
static size_t read_start(const char *path, char *bytes, size_t size) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return 0;
    ssize_t got = read(descriptor, bytes, size - 1);
    close(descriptor);
    bytes[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

/* The .icd file, what it says, and the library where that is a path; the loader alone knows where it finds others, but
 * a package that brings a new library brings its .icd file anew as well. */
static uint64_t hash_vendor(uint64_t hash, const char *path) {
    char library[1024] = "";
    hash = ci_hash(hash, path, strlen(path) + 1);
    hash = hash_times(hash, path);
    size_t length = read_start(path, library, sizeof library);
    hash = ci_hash(hash, library, length);
    library[strcspn(library, "\r\n")] = '\0';
    return strchr(library, '/') ? hash_times(hash, library) : hash;
}

bool ci_vendors_read(struct ci_vendors *vendors) {
    *vendors = (struct ci_vendors){0};
    const char *chosen = getenv("OCL_ICD_VENDORS"), *files = getenv("OCL_ICD_FILENAMES");
    const char *old = getenv("OPENCL_VENDOR_PATH");
    char boot[64] = "";
    struct stat info;
    if ((files && *files) || (old && *old)) return false;
    vendors->folder = strdup(chosen && *chosen ? chosen : default_folder);
    vendors->no_memory = !vendors->folder;
    bool fine = vendors->folder && vendors->folder[0] == '/' && stat(vendors->folder, &info) == 0;
    if (fine && S_ISDIR(info.st_mode))
        fine = read_folder(vendors);
    else if (fine)
        fine = is_icd(vendors->folder) && add(vendors, strdup(vendors->folder));
    if (!fine || vendors->count == 0) {
        bool no_memory = vendors->no_memory;
        ci_vendors_free(vendors);
        vendors->no_memory = no_memory;
        return false;
    }
    qsort(vendors->list, (size_t)vendors->count, sizeof *vendors->list, by_path);
    uint64_t key = ci_hash(CI_HASH_START, vendors->folder, strlen(vendors->folder) + 1);
    key = ci_hash(key, boot, read_start("/proc/sys/kernel/random/boot_id", boot, sizeof boot));
    for (int i = 0; i < vendors->count; i++) key = hash_vendor(key, vendors->list[i].path);
    for (size_t i = 0; i < sizeof steering / sizeof *steering; i++) {
        const char *value = getenv(steering[i]);
        key = ci_hash(key, value ? value : "-", strlen(value ? value : "-") + 1);
    }
    vendors->key = key;
    return true;
}

void ci_vendors_free(struct ci_vendors *vendors) {
    for (int i = 0; i < vendors->count; i++) free(vendors->list[i].path);
    free(vendors->folder);
    *vendors = (struct ci_vendors){0};
}

enum clinfer_status ci_vendors_link(const struct ci_vendors *vendors, uint32_t chosen, const char *folder) {
    char *link = NULL;
    if (access(folder, F_OK) == 0) return ci_file_check_own(folder, "clinfer");
    char *temporary = ci_temporary_folder(folder);
    bool fine = temporary != NULL, no_memory = !fine && errno == ENOMEM;
    if (!fine) goto done;
    for (int i = 0; fine && i < vendors->count; i++) {
        if (!(chosen >> i & 1)) continue;
        const char *name = strrchr(vendors->list[i].path, '/');
        no_memory = asprintf(&link, "%s%s", temporary, name) < 0;
        fine = !no_memory && symlink(vendors->list[i].path, link) == 0;
        if (!no_memory) free(link);
    }
    /* Another process may have been faster: then its folder is as good. */
    if (fine && rename(temporary, folder) != 0) fine = ci_file_check_own(folder, "clinfer") == CLINFER_OK;
    ci_vendors_unlink(temporary);
done:
    free(temporary);
    if (no_memory) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", folder);
    return fine ? CLINFER_OK : ci_fail(CLINFER_IO, "%s: cannot be made", folder);
}

void ci_vendors_unlink(const char *folder) {
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (is_icd(entry->d_name)) unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(folder);
}
