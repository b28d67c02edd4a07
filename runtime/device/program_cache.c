/* Program binaries as files: the difference between a start in 20 ms and one in several seconds.
 *
 * A file is a header and the driver's bytes. Its name is the program's key, a hash of all that the binary depends on
 * (device and driver with versions, options, text), so an update of anything simply misses. Whatever is wrong with a
 * file, it is as good as absent: the program is built from source and the file written anew. The checksum guards
 * against damage, not against malice: that is for base/cache.h, which reads only what nobody else can have written. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "device/internal.h"

enum { DAY = 24 * 60 * 60, MOST_BYTES = 256 << 20 };

static const char magic[8] = {'c', 'i', 'b', 'i', 'n', 'a', 'r', '1'};

struct header {
    char magic[8];
    uint64_t key;
    uint64_t size;     /* of the binary behind the header */
    uint64_t checksum; /* of the binary and of the fields below */
    uint64_t launch_count;
    uint64_t launches[CI_PROGRAM_LAUNCHES];
};

static char *path_of(const char *folder, uint64_t key) {
    char *path = NULL;
    return asprintf(&path, "%s/%016" PRIx64 ".bin", folder, key) < 0 ? NULL : path;
}

/* Eight bytes a step: binaries are hundreds of kilobytes, and this is on the way to the first token. */
static uint64_t checksum(const struct header *header, const uint8_t *bytes, size_t size) {
    uint64_t sum = ci_hash(CI_HASH_START, &header->launch_count, sizeof header->launch_count);
    sum = ci_hash(sum, header->launches, sizeof header->launches);
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 32;
    }
    return ci_hash(sum, bytes + i, size - i);
}

/* NULL when the file is what it should be, else what is wrong. */
static const char *damage(const char *data, size_t size, uint64_t key, struct header *header) {
    if (size < sizeof *header) return "it is too short";
    memcpy(header, data, sizeof *header);
    if (memcmp(header->magic, magic, sizeof magic) != 0) return "it is no program binary of this version";
    if (header->key != key) return "it belongs to another program";
    if (header->size == 0 || header->size != size - sizeof *header) return "its length is wrong";
    if (header->launch_count > CI_PROGRAM_LAUNCHES) return "its header is damaged";
    if (header->checksum != checksum(header, (const uint8_t *)data + sizeof *header, (size_t)header->size))
        return "its checksum is wrong";
    return NULL;
}

/* The time of a file's last change says when it was last used, to the day; access times are off on many systems. */
static void mark_used(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && time(NULL) - info.st_mtime > DAY) utimensat(AT_FDCWD, path, NULL, 0);
}

bool ci_program_cache_load(const char *folder, uint64_t key, struct ci_cached_binary *binary) {
    *binary = (struct ci_cached_binary){0};
    struct header header;
    char *path = path_of(folder, key), *data = NULL;
    size_t size = 0;
    if (!path) return false;
    if (ci_cache_read(path, MOST_BYTES, &data, &size) == CLINFER_OK) {
        const char *wrong = damage(data, size, key, &header);
        if (wrong) {
            ci_log(CLINFER_LOG_INFO, "%s: %s; the program is built again", path, wrong);
        } else {
            binary->size = (size_t)header.size;
            binary->bytes = (uint8_t *)data;
            memmove(binary->bytes, data + sizeof header, binary->size);
            data = NULL;
            binary->launch_count = ci_narrowed(header.launch_count);
            memcpy(binary->launches, header.launches, sizeof binary->launches);
            mark_used(path);
        }
    }
    free(data);
    free(path);
    return binary->bytes != NULL;
}

void ci_program_cache_store(const char *folder, uint64_t key, const struct ci_cached_binary *binary) {
    char *path = path_of(folder, key);
    uint8_t *bytes = malloc(sizeof(struct header) + binary->size);
    if (path && bytes) {
        struct header header = {.key = key, .size = binary->size, .launch_count = (uint64_t)binary->launch_count};
        memcpy(header.magic, magic, sizeof magic);
        memcpy(header.launches, binary->launches, sizeof header.launches);
        header.checksum = checksum(&header, binary->bytes, binary->size);
        memcpy(bytes, &header, sizeof header);
        memcpy(bytes + sizeof header, binary->bytes, binary->size);
        ci_cache_write(path, bytes, sizeof header + binary->size);
    }
    free(bytes);
    free(path);
}

struct cached_file {
    char name[40];
    uint64_t bytes;
    struct timespec used;
};

static int newest_first(const void *left, const void *right) {
    const struct cached_file *a = left, *b = right;
    if (a->used.tv_sec != b->used.tv_sec) return a->used.tv_sec < b->used.tv_sec ? 1 : -1;
    return (a->used.tv_nsec < b->used.tv_nsec) - (a->used.tv_nsec > b->used.tv_nsec);
}

void ci_program_cache_trim(const char *folder, uint64_t limit) {
    struct cached_file *files = NULL;
    size_t count = 0, room = 0;
    uint64_t total = 0;
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat info;
        size_t length = strlen(entry->d_name);
        if (length < 4 || length >= sizeof files->name || strcmp(entry->d_name + length - 4, ".bin") != 0) continue;
        if (fstatat(dirfd(directory), entry->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode)) continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            struct cached_file *more = realloc(files, room * sizeof *files);
            if (!more) goto done;
            files = more;
        }
        files[count] = (struct cached_file){.bytes = (uint64_t)info.st_size, .used = info.st_mtim};
        memcpy(files[count++].name, entry->d_name, length + 1);
    }
    if (count > 0) qsort(files, count, sizeof *files, newest_first);
    for (size_t i = 0; i < count; i++) {
        total += files[i].bytes;
        if (total > limit) unlinkat(dirfd(directory), files[i].name, 0);
    }
done:
    free(files);
    closedir(directory);
}
