#include "base/mapped.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"

/* Read by signal handlers: a slot is filled before its address appears. */
enum { SLOTS = 64, NAME_BYTES = 512 };

static struct slot {
    _Atomic(const uint8_t *) data; /* NULL: free */
    size_t size;
    char name[NAME_BYTES];
} slots[SLOTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

const char *clinfer_file_at(const void *address) {
    for (int i = 0; i < SLOTS; i++) {
        const uint8_t *data = atomic_load(&slots[i].data);
        if (data && (uintptr_t)address - (uintptr_t)data < slots[i].size) return slots[i].name;
    }
    return NULL;
}

static int list(const char *path, const struct ci_file *file) {
    int slot = 0;
    pthread_mutex_lock(&mutex);
    while (slot < SLOTS && atomic_load(&slots[slot].data)) slot++;
    if (slot < SLOTS) {
        slots[slot].size = file->size;
        snprintf(slots[slot].name, sizeof slots[slot].name, "%s", path);
        atomic_store(&slots[slot].data, file->data);
    }
    pthread_mutex_unlock(&mutex);
    return slot < SLOTS ? slot : -1;
}

enum clinfer_status ci_mapped_open(const char *path, struct ci_mapped *mapped) {
    *mapped = (struct ci_mapped){.descriptor = -1, .slot = -1};
    enum clinfer_status status = ci_file_map_kept(path, &mapped->file, &mapped->descriptor);
    if (status == CLINFER_OK && mapped->file.data) mapped->slot = list(path, &mapped->file);
    return status;
}

void ci_mapped_close(struct ci_mapped *mapped) {
    if (mapped->slot >= 0) atomic_store(&slots[mapped->slot].data, NULL);
    ci_file_unmap(&mapped->file);
    if (mapped->descriptor >= 0) close(mapped->descriptor);
    *mapped = (struct ci_mapped){.descriptor = -1, .slot = -1};
}

enum clinfer_status ci_mapped_check(const struct ci_mapped *mapped, const char *path) {
    struct stat info;
    if (mapped->descriptor < 0 || fstat(mapped->descriptor, &info) != 0) return CLINFER_OK;
    if ((uintmax_t)info.st_size >= mapped->file.size) return CLINFER_OK;
    return ci_fail(CLINFER_IO,
                   "%s: was cut from %zu to %lld bytes while it was in use: fetch or copy it again, under another name "
                   "until it is whole, and load it anew",
                   path, mapped->file.size, (long long)info.st_size);
}
