#define _GNU_SOURCE
#include "graph/packed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/pages.h"
#include "base/status.h"
#include "device/kernels.h"

enum {
    HEAD_BYTES = CI_PAGE_BYTES,
    FIRST_BYTES = CI_LARGE_PAGE_BYTES,
    MOST_WEIGHTS = 1 << 20,
    SUM_BYTES = 256 << 10,
    WORD = 8,
    LANES = 8
};

/* The first weight begins on a large page: 4 KB behind one, tokens of SmolLM2 took 8% longer.
 *
 * Less than this is packed before anybody sees it; what is kept has `part` of the free space at most, and a disk that
 * takes longer than `patience` and these bytes a second none of it. */
static const uint64_t least_bytes = 16 << 20, part = 4;
static const double patience = 2, least_rate = 100e6;

static const char folder_name[] = "packed", magic[8] = "clipack1";

/* Of all weights of the file; the newest that is whole. */
struct head {
    char magic[sizeof magic];
    uint64_t index_at, count, index_sum;
    uint64_t slow; /* 1: this disk is too slow, and the file has no weights */
    char model[HEAD_BYTES - sizeof magic - 4 * sizeof(uint64_t)];
};
_Static_assert(sizeof(struct head) == HEAD_BYTES, "one page");

struct entry {
    uint64_t what; /* which weight, in which layout */
    uint64_t at, bytes, sum;
};

struct ci_packed {
    struct ci_threads *threads;
    char *path;
    int descriptor;
    bool writes; /* the lock is ours */
    uint8_t *map;
    size_t mapped; /* addresses: what is behind the end of the file may not be touched */
    struct head head;
    struct entry *entries;
    size_t count, room, old; /* entries; the first `old` are in the file's index */
    uint64_t size, end;      /* of the file as it was, and where the next weight goes */
    double started, seconds; /* of writing */
    atomic_bool failed;      /* nothing more is written */
    bool slow;               /* since it takes too long */
};

/* ---- sums ---- */

/* Every word goes through one of LANES chains, each step of which can be undone: no change of one word is missed, and
 * memory is slower than this. */
static uint64_t sum_of(const uint8_t *bytes, size_t count, uint64_t start) {
    static const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lanes[LANES], word;
    for (int i = 0; i < LANES; i++) lanes[i] = start + (uint64_t)i + 1;
    size_t at = 0;
    for (; at + LANES * WORD <= count; at += LANES * WORD)
        for (int i = 0; i < LANES; i++) {
            memcpy(&word, bytes + at + (size_t)i * WORD, WORD);
            lanes[i] = (lanes[i] ^ word) * odd;
        }
    for (int i = 0; at < count; at += WORD, i++) {
        word = 0;
        memcpy(&word, bytes + at, count - at < WORD ? count - at : WORD);
        lanes[i] = (lanes[i] ^ word) * odd;
    }
    uint64_t sum = count;
    for (int i = 0; i < LANES; i++) sum = (sum ^ (lanes[i] >> 32) ^ lanes[i]) * odd;
    return sum;
}

struct summing {
    const uint8_t *bytes;
    size_t count;
    _Atomic uint64_t sum;
};

static void sum_share(void *argument, int thread, int threads) {
    struct summing *summing = argument;
    int64_t first, last, pieces = (int64_t)((summing->count + SUM_BYTES - 1) / SUM_BYTES);
    uint64_t sum = 0;
    ci_share(pieces, 1, thread, threads, &first, &last);
    for (; first < last; first++) {
        size_t at = (size_t)first * SUM_BYTES, left = summing->count - at;
        sum += sum_of(summing->bytes + at, left < SUM_BYTES ? left : SUM_BYTES, (uint64_t)first);
    }
    atomic_fetch_add(&summing->sum, sum);
}

static uint64_t sum_by_all(const struct ci_packed *packed, const struct entry *entry) {
    struct summing summing = {.bytes = packed->map + entry->at, .count = (size_t)entry->bytes};
    ci_threads_run(packed->threads, sum_share, &summing);
    return summing.sum;
}

/* ---- the folder ---- */

static bool is_name(const char *name) { return strlen(name) == 16 && strspn(name, "0123456789abcdef") == 16; }

static bool read_head(int descriptor, struct head *head) {
    return pread(descriptor, head, sizeof *head, 0) == (ssize_t)sizeof *head &&
           memcmp(head->magic, magic, sizeof magic) == 0 && memchr(head->model, '\0', sizeof head->model) &&
           head->count <= MOST_WEIGHTS;
}

enum clinfer_status ci_packed_list(ci_packed_callback *callback, void *user) {
    char *folder = ci_cache_path(folder_name), path[4096];
    if (!folder) return ci_file_no_xdg("CACHE", "packed weights");
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct head head;
        struct stat info;
        if (!is_name(entry->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        int descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (descriptor < 0) continue;
        if (fstat(descriptor, &info) == 0) {
            bool ours = read_head(descriptor, &head);
            const struct ci_packed_file file = {.path = path,
                                                .model = ours ? head.model : "",
                                                .bytes = (uint64_t)info.st_blocks * 512,
                                                .used = info.st_mtime,
                                                .model_is_there = ours && access(head.model, F_OK) == 0,
                                                .slow = ours && head.slow,
                                                .weights = ours ? ci_narrowed((int64_t)head.count) : 0};
            callback(user, &file);
        }
        close(descriptor);
    }
    if (directory) closedir(directory);
    free(folder);
    return CLINFER_OK;
}

struct survey {
    const char *model, *own; /* own: the path that this model's file has now */
    uint64_t bytes;
    char *oldest;
    int64_t used;
};

/* What nobody can use any more goes; of the rest the one not used for longest is found. */
static void look_at(void *user, const struct ci_packed_file *file) {
    struct survey *survey = user;
    bool own = strcmp(file->path, survey->own) == 0;
    if (!own && *file->model && (!file->model_is_there || strcmp(file->model, survey->model) == 0)) {
        unlink(file->path);
        return;
    }
    survey->bytes += file->bytes;
    if (own || (survey->oldest && survey->used <= file->used)) return;
    free(survey->oldest);
    survey->oldest = strdup(file->path);
    survey->used = file->used;
}

/* Whether there is space for `bytes` more, which others' weights may have to go for. Beyond `ulimit -f` a write would
 * end the process. */
static bool make_space(const char *model, const char *own, uint64_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur < FIRST_BYTES + bytes) return false;
    for (;;) {
        struct statvfs volume;
        struct survey survey = {.model = model, .own = own};
        bool known = ci_packed_list(look_at, &survey) == CLINFER_OK && statvfs(own, &volume) == 0;
        uint64_t free_bytes = known ? (uint64_t)volume.f_bavail * volume.f_frsize : 0;
        uint64_t most = (free_bytes + survey.bytes) / part;
        bool fits = survey.bytes + bytes <= most, more = !fits && bytes <= most && survey.oldest;
        if (more) more = unlink(survey.oldest) == 0;
        free(survey.oldest);
        if (fits || !more) return fits;
    }
}

/* ---- one file ---- */

static bool read_index(struct ci_packed *packed, uint64_t size) {
    const struct head *head = &packed->head;
    size_t bytes = (size_t)head->count * sizeof *packed->entries;
    if (head->index_at > size || bytes > size - head->index_at) return false;
    packed->entries = malloc(bytes + sizeof *packed->entries);
    if (!packed->entries || pread(packed->descriptor, packed->entries, bytes, (off_t)head->index_at) != (ssize_t)bytes)
        return false;
    if (sum_of((const uint8_t *)packed->entries, bytes, 0) != head->index_sum) return false;
    for (size_t i = 0; i < head->count; i++) {
        const struct entry *entry = &packed->entries[i];
        if (entry->at % CI_PAGE_BYTES || entry->at > size || entry->bytes > size - entry->at) return false;
    }
    packed->count = packed->room = packed->old = (size_t)head->count;
    return true;
}

static bool lock(int descriptor) {
    struct stat info;
    return flock(descriptor, LOCK_EX | LOCK_NB) == 0 && fstat(descriptor, &info) == 0 && info.st_nlink > 0;
}

static uint64_t in_pages(uint64_t bytes) { return (bytes + CI_PAGE_BYTES - 1) / CI_PAGE_BYTES * CI_PAGE_BYTES; }

/* The head and the index, or a file without either that nobody else writes to. */
static bool take(struct ci_packed *packed, const char *model, uint64_t bytes) {
    struct stat info;
    packed->descriptor = open(packed->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (packed->descriptor < 0) return false;
    packed->writes = lock(packed->descriptor);
    if (fstat(packed->descriptor, &info) != 0) return false;
    uint64_t size = (uint64_t)info.st_size;
    if (!read_head(packed->descriptor, &packed->head)) {
        if (!packed->writes) return false; /* somebody is at it */
        packed->head = (struct head){.count = 0};
        memcpy(packed->head.magic, magic, sizeof magic);
        snprintf(packed->head.model, sizeof packed->head.model, "%s", model);
        size = 0;
    } else if (packed->head.slow || !read_index(packed, size)) {
        /* One with a broken index goes, for the next start to make it anew. */
        if (!packed->head.slow && packed->writes) unlink(packed->path);
        return false;
    }
    if (packed->old == 0 && !make_space(model, packed->path, bytes + bytes / 16)) {
        ci_log(CLINFER_LOG_INFO,
               "packed weights are not kept: they are to take a quarter of the free space of %s at most", packed->path);
        unlink(packed->path);
        return false;
    }
    packed->size = size;
    packed->end = in_pages(size > FIRST_BYTES ? size : FIRST_BYTES);
    packed->mapped = (size_t)(packed->end + (packed->writes ? bytes + bytes / 4 : 0));
    packed->map = mmap(NULL, packed->mapped, PROT_READ, MAP_SHARED, packed->descriptor, 0);
    if (packed->map == MAP_FAILED) packed->map = NULL;
    /* A hint: some systems then read such files into large pages. */
    if (packed->map) madvise(packed->map, packed->mapped, MADV_HUGEPAGE);
    futimens(packed->descriptor, NULL); /* used now */
    return packed->map;
}

/* A folder that nobody else can write to, and a file in it that is ours or not there yet. */
static bool is_safe(char *path) {
    ci_file_make_parents(path);
    enum clinfer_status status = ci_file_check_own(path, "clinfer");
    if (status == CLINFER_NOT_FOUND) {
        char *slash = strrchr(path, '/');
        *slash = '\0';
        status = ci_file_check_own(path, "clinfer");
        *slash = '/';
    }
    return status == CLINFER_OK;
}

struct ci_packed *ci_packed_open(const char *model, uint64_t identity, uint64_t bytes, struct ci_threads *threads) {
    char name[64], *whole = NULL;
    if (bytes < least_bytes || bytes > SIZE_MAX / 4) return NULL;
    struct ci_packed *packed = calloc(1, sizeof *packed);
    uint64_t key =
        ci_hash(ci_hash(CI_HASH_START, &identity, sizeof identity), &ci_cpu_sources_hash, sizeof ci_cpu_sources_hash);
    snprintf(name, sizeof name, "%s/%016" PRIx64, folder_name, key);
    if (packed) {
        *packed = (struct ci_packed){.threads = threads, .descriptor = -1, .path = ci_cache_path(name)};
        whole = realpath(model, NULL);
    }
    bool taken = whole && packed->path && strlen(whole) < sizeof packed->head.model && is_safe(packed->path) &&
                 take(packed, whole, bytes);
    free(whole);
    if (taken) return packed;
    ci_packed_close(packed);
    return NULL;
}

static uint64_t what_of(const struct ci_tensor *weight, const struct ci_layout *layout) {
    const struct ci_view *view = &weight->view;
    uint64_t hash = ci_hash(CI_HASH_START, weight->name, strlen(weight->name) + 1);
    hash = ci_hash(hash, layout->name, strlen(layout->name) + 1);
    hash = ci_hash(hash, view->type->name, strlen(view->type->name) + 1);
    return ci_hash(ci_hash(hash, &view->rows, sizeof view->rows), &view->cols, sizeof view->cols);
}

static struct entry *entry_of(const struct ci_packed *packed, uint64_t what) {
    for (size_t i = 0; i < packed->count; i++)
        if (packed->entries[i].what == what) return &packed->entries[i];
    return NULL;
}

/* Removed as a whole: what damaged one weight may have damaged more than its sum tells. */
static void discard(struct ci_packed *packed, const char *weight) {
    ci_log(CLINFER_LOG_WARNING, "%s: the packed weights of %s are damaged, in %s; they are packed again from the model",
           packed->path, packed->head.model, weight);
    unlink(packed->path);
    packed->count = packed->old = 0;
    packed->writes = false;
}

const void *ci_packed_find(struct ci_packed *packed, const struct ci_tensor *weight, const struct ci_layout *layout) {
    const struct ci_view *view = &weight->view;
    struct entry *entry = packed ? entry_of(packed, what_of(weight, layout)) : NULL;
    if (!entry) return NULL;
    if (entry->bytes == ci_layout_bytes(layout, view->type, view->rows, view->cols) &&
        sum_by_all(packed, entry) == entry->sum)
        return packed->map + entry->at;
    discard(packed, weight->name);
    return NULL;
}

static bool grow(struct ci_packed *packed) {
    if (packed->count < packed->room) return true;
    size_t room = packed->room ? 2 * packed->room : 64;
    struct entry *grown = realloc(packed->entries, (room + 1) * sizeof *grown);
    if (!grown) return false;
    packed->entries = grown;
    packed->room = room;
    return true;
}

const void *ci_packed_add(struct ci_packed *packed, const struct ci_tensor *weight, const struct ci_layout *layout,
                          uint64_t *at) {
    const struct ci_view *view = &weight->view;
    if (!packed || !packed->writes || packed->failed) return NULL;
    uint64_t what = what_of(weight, layout), bytes = ci_layout_bytes(layout, view->type, view->rows, view->cols);
    if (bytes > packed->mapped - packed->end || entry_of(packed, what) || !grow(packed)) return NULL;
    packed->entries[packed->count++] = (struct entry){.what = what, .at = packed->end, .bytes = bytes};
    *at = packed->end;
    packed->end += in_pages(bytes);
    packed->started = ci_now();
    return packed->map + *at;
}

void ci_packed_put(struct ci_packed *packed, uint64_t at, const void *bytes, size_t count) {
    if (!bytes) packed->failed = true;
    for (const uint8_t *from = bytes; count > 0 && !packed->failed;) {
        ssize_t written = pwrite(packed->descriptor, from, count, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) packed->failed = true;
        if (written <= 0) break;
        from += written;
        at += (uint64_t)written;
        count -= (size_t)written;
    }
}

bool ci_packed_added(struct ci_packed *packed) {
    struct entry *entry = &packed->entries[packed->count - 1];
    if (packed->failed) {
        packed->count--;
        return false;
    }
    entry->sum = sum_by_all(packed, entry);
    packed->seconds += ci_now() - packed->started;
    double written = (double)(packed->end - packed->entries[packed->old].at);
    packed->slow = packed->seconds > patience + written / least_rate;
    if (packed->slow) packed->failed = true; /* this one can be used all the same */
    return true;
}

/* The index, and then the head that names it. */
static bool write_index(struct ci_packed *packed) {
    struct head *head = &packed->head;
    size_t bytes = packed->count * sizeof *packed->entries;
    head->index_at = packed->end;
    head->count = packed->count;
    head->index_sum = sum_of((const uint8_t *)packed->entries, bytes, 0);
    ci_packed_put(packed, head->index_at, packed->entries, bytes);
    ci_packed_put(packed, 0, head, sizeof *head);
    return !packed->failed;
}

void ci_packed_finish(struct ci_packed *packed) {
    if (!packed || !packed->writes) return;
    if (packed->count > packed->old && write_index(packed)) {
        ci_log(CLINFER_LOG_INFO, "%.0f MB of packed weights are kept in %s: later starts find them there",
               1e-6 * (double)(packed->end - packed->entries[packed->old].at), packed->path);
        packed->old = packed->count;
    }
    if (packed->failed)
        ci_log(CLINFER_LOG_INFO, "packed weights are not kept: the disk of %s is %s", packed->path,
               packed->slow ? "slow" : "full");
    if (packed->old < packed->count) return; /* ci_packed_close() takes it back */
    flock(packed->descriptor, LOCK_UN);
    packed->writes = false;
}

/* What no index names goes; where that is all, the file. Whoever else has mapped it knows nothing of what goes. */
static void take_back(struct ci_packed *packed) {
    if (packed->old > 0 && ftruncate(packed->descriptor, (off_t)packed->size) == 0) return;
    unlink(packed->path);
    if (!packed->slow) return;
    packed->head.slow = 1;
    ci_cache_write(packed->path, &packed->head, sizeof packed->head);
}

void ci_packed_close(struct ci_packed *packed) {
    if (!packed) return;
    if (packed->map) munmap(packed->map, packed->mapped);
    if (packed->writes && (packed->old == 0 || packed->old < packed->count)) take_back(packed);
    if (packed->descriptor >= 0) close(packed->descriptor);
    free(packed->entries);
    free(packed->path);
    free(packed);
}
