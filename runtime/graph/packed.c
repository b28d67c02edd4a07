#define _GNU_SOURCE
#include "graph/packed.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/cache.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped.h"
#include "base/narrow.h"
#include "base/pages.h"
#include "base/status.h"
#include "base/temporary.h"
#include "device/kernels.h"

enum {
    HEAD_BYTES = CI_PAGE_BYTES,
    FIRST_BYTES = CI_LARGE_PAGE_BYTES,
    MOST_WEIGHTS = 1 << 20,
    SUM_BYTES = 256 << 10,
    MOST_CHECKERS = 7,
    WORD = 8,
    LANES = 8,
    SETTLED = 2 /* seconds: the coarsest clock that file systems have */
};

/* The first weight begins on a large page: 4 KB behind one, tokens of SmolLM2 took 8% longer.
 *
 * Less than this is packed before anybody sees it; what is kept has `part` of the free space at most. */
static const uint64_t least_bytes = 16 << 20, part = 4;

static const char folder_name[] = "packed", magic[8] = "clipack2";

struct head {
    char magic[sizeof magic];
    uint64_t identity, index_at, count, index_sum;
    char model[HEAD_BYTES - sizeof magic - 4 * sizeof(uint64_t)];
};
_Static_assert(sizeof(struct head) == HEAD_BYTES, "one page");

struct entry {
    uint64_t what; /* which weight, in which layout */
    uint64_t at, bytes, sum;
};

/* Either there is a whole file, `kept`, which is only read; or one is made, `descriptor` and `temporary`, from the
 * first weight on that is added. */
struct ci_packed {
    struct ci_threads *threads;
    char *path, *temporary;
    struct ci_mapped kept;
    int descriptor;
    const uint8_t *map; /* of either */
    size_t mapped;      /* addresses of the one that is made: what is behind its end may not be touched */
    uint64_t model_bytes;
    struct head head;
    struct entry *entries;
    size_t count, room;
    struct summing *sums;   /* of each entry that was kept; NULL: no weight was asked for yet */
    uint8_t *room_of_piece; /* of the caller's */
    pthread_t checkers[MOST_CHECKERS];
    int checker_count;
    atomic_bool stop;
    uint64_t end;           /* where the next weight goes */
    uint64_t found, missed; /* bytes that were asked for */
    atomic_int error;       /* of writing: nothing more is written */
};

/* ---- sums ---- */

static uint64_t turned(uint64_t word) { return word << 29 | word >> 35; }

/* Every word goes through one of LANES chains, each step of which can be undone: no change of one word is missed. The
 * turn takes upper bits down, so that changes of the same bit in several words do not cancel. */
static uint64_t sum_of(const uint8_t *bytes, size_t count, uint64_t start) {
    static const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lanes[LANES], word;
    for (int i = 0; i < LANES; i++) lanes[i] = start + (uint64_t)i + 1;
    size_t at = 0;
    for (; at + LANES * WORD <= count; at += LANES * WORD)
        for (int i = 0; i < LANES; i++) {
            memcpy(&word, bytes + at + (size_t)i * WORD, WORD);
            lanes[i] = turned(lanes[i] ^ word) * odd;
        }
    for (int i = 0; at < count; at += WORD, i++) {
        word = 0;
        memcpy(&word, bytes + at, count - at < WORD ? count - at : WORD);
        lanes[i] = turned(lanes[i] ^ word) * odd;
    }
    uint64_t sum = count;
    for (int i = 0; i < LANES; i++) sum = (sum ^ (lanes[i] >> 32) ^ lanes[i]) * odd;
    return sum;
}

/* The sum of a weight's bytes. Any threads add to it, a piece at a time. */
struct summing {
    int descriptor;
    const struct entry *entry;
    _Atomic uint64_t sum;
    atomic_size_t next, left; /* pieces that nobody has begun, in order, and those that are not yet in the sum */
    atomic_bool failed;
};

static size_t pieces_of(const struct entry *entry) { return (size_t)((entry->bytes + SUM_BYTES - 1) / SUM_BYTES); }

/* Read, not looked at where it is mapped: there what a disk cannot give ends the process. `room` is for a piece; NULL:
 * there was no memory for it. */
static void sum_pieces(struct summing *summing, uint8_t *room, const atomic_bool *stop) {
    const struct entry *entry = summing->entry;
    assert(entry);
    const size_t pieces = pieces_of(entry);
    while (!*stop) {
        size_t piece = atomic_fetch_add(&summing->next, 1);
        if (piece >= pieces) return;
        uint64_t at = (uint64_t)piece * SUM_BYTES, left = entry->bytes - at;
        size_t count = left < SUM_BYTES ? (size_t)left : SUM_BYTES;
        if (room && pread(summing->descriptor, room, count, (off_t)(entry->at + at)) == (ssize_t)count)
            atomic_fetch_add(&summing->sum, sum_of(room, count, piece));
        else
            summing->failed = true;
        atomic_fetch_sub(&summing->left, 1);
    }
}

static const atomic_bool never = false;

static void sum_share(void *argument, int thread, int threads) {
    uint8_t *room = malloc(SUM_BYTES);
    (void)thread;
    (void)threads;
    sum_pieces(argument, room, &never);
    free(room);
}

/* Of what was just written. */
static bool sum_by_all(const struct ci_packed *packed, struct entry *entry) {
    struct summing summing = {.descriptor = packed->descriptor, .entry = entry, .left = pieces_of(entry)};
    ci_threads_run(packed->threads, sum_share, &summing);
    entry->sum = summing.sum;
    return !summing.failed;
}

/* ---- checking what was kept ----
 *
 * From the first weight that is wanted on, by threads of its own, in the order in which another start wanted them:
 * meanwhile the caller loads and binds kernels. It helps with what it needs at once. */

static void *check_all(void *argument) {
    struct ci_packed *packed = argument;
    uint8_t *room = malloc(SUM_BYTES);
    for (size_t i = 0; i < packed->count; i++) sum_pieces(&packed->sums[i], room, &packed->stop);
    free(room);
    return NULL;
}

static bool begin_checking(struct ci_packed *packed) {
    if (packed->sums) return true;
    packed->room_of_piece = malloc(SUM_BYTES);
    packed->sums = calloc(packed->count, sizeof *packed->sums);
    if (!packed->sums) return false;
    for (size_t i = 0; i < packed->count; i++) {
        packed->sums[i].descriptor = packed->kept.descriptor;
        packed->sums[i].entry = &packed->entries[i];
        packed->sums[i].left = pieces_of(&packed->entries[i]);
    }
    const int wanted = ci_threads_count(packed->threads) - 1;
    while (packed->checker_count < wanted && packed->checker_count < MOST_CHECKERS &&
           ci_threads_start(&packed->checkers[packed->checker_count], check_all, packed) == 0)
        packed->checker_count++;
    return true;
}

/* What is wanted later is summed by who wants it. */
static void end_checking(struct ci_packed *packed) {
    packed->stop = true;
    while (packed->checker_count > 0) pthread_join(packed->checkers[--packed->checker_count], NULL);
}

static bool is_whole(struct ci_packed *packed, const struct entry *entry) {
    if (!packed->kept.file.data) return true; /* written here, and read again, a moment ago */
    if (!begin_checking(packed)) return false;
    struct summing *summing = &packed->sums[entry - packed->entries];
    sum_pieces(summing, packed->room_of_piece, &never);
    while (summing->left > 0) sched_yield(); /* others are at their last piece of it */
    return !summing->failed && summing->sum == entry->sum;
}

/* ---- the folder ---- */

static bool is_name(const char *name) { return strlen(name) == 16 && strspn(name, "0123456789abcdef") == 16; }

static bool read_head(int descriptor, struct head *head) {
    return pread(descriptor, head, sizeof *head, 0) == (ssize_t)sizeof *head &&
           memcmp(head->magic, magic, sizeof magic) == 0 && memchr(head->model, '\0', sizeof head->model) &&
           head->count <= MOST_WEIGHTS;
}

struct listed {
    const struct head *head; /* NULL: it has none */
    struct ci_packed_file file;
};

static enum clinfer_status list(void (*callback)(void *user, const struct listed *listed), void *user) {
    char *folder = ci_cache_path(folder_name), path[4096];
    if (!folder) return ci_file_no_xdg("CACHE", "packed weights");
    DIR *directory = ci_file_check_own(folder, "clinfer") == CLINFER_OK ? opendir(folder) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct head head;
        struct stat info;
        if (!is_name(entry->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        int descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (descriptor < 0) continue;
        if (fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode)) {
            bool ours = read_head(descriptor, &head);
            const struct listed listed = {ours ? &head : NULL,
                                          {.path = path,
                                           .model = ours ? head.model : "",
                                           .bytes = (uint64_t)info.st_blocks * 512,
                                           .used = info.st_mtime,
                                           .model_is_there = ours && access(head.model, F_OK) == 0,
                                           .weights = ours ? ci_narrowed((int64_t)head.count) : 0}};
            callback(user, &listed);
        }
        close(descriptor);
    }
    if (directory) closedir(directory);
    free(folder);
    return CLINFER_OK;
}

struct hearer {
    ci_packed_callback *callback;
    void *user;
};

static void tell(void *user, const struct listed *listed) {
    const struct hearer *hearer = user;
    hearer->callback(hearer->user, &listed->file);
}

enum clinfer_status ci_packed_list(ci_packed_callback *callback, void *user) {
    struct hearer hearer = {callback, user};
    return list(tell, &hearer);
}

static void remove_one(void *user, const struct ci_packed_file *file) {
    uint64_t *freed = user;
    if (unlink(file->path) == 0) *freed += file->bytes;
}

enum clinfer_status ci_packed_clear(uint64_t *freed) {
    *freed = 0;
    return ci_packed_list(remove_one, freed);
}

struct survey {
    const struct head *own;
    uint64_t bytes;
    char *oldest;
    int64_t used;
};

/* Of a model whose file has changed nobody can use it any more; of the rest the one not used for longest is found. */
static void look_at(void *user, const struct listed *listed) {
    struct survey *survey = user;
    const struct ci_packed_file *file = &listed->file;
    const struct head *head = listed->head;
    if (!head || (strcmp(head->model, survey->own->model) == 0 && head->identity != survey->own->identity)) {
        unlink(file->path);
        return;
    }
    survey->bytes += file->bytes;
    if (survey->oldest && survey->used <= file->used) return;
    free(survey->oldest);
    survey->oldest = strdup(file->path);
    survey->used = file->used;
}

/* Whether there is space for `bytes` more, which others' weights may have to go for. Beyond `ulimit -f` a write would
 * end the process. */
static bool make_space(const struct ci_packed *packed, uint64_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur < bytes) return false;
    for (;;) {
        struct statvfs volume;
        struct survey survey = {.own = &packed->head};
        bool known = list(look_at, &survey) == CLINFER_OK && fstatvfs(packed->descriptor, &volume) == 0;
        uint64_t free_bytes = known ? (uint64_t)volume.f_bavail * volume.f_frsize : 0;
        uint64_t most = (free_bytes + survey.bytes) / part;
        bool fits = survey.bytes + bytes <= most, more = !fits && bytes <= most && survey.oldest;
        if (more) more = unlink(survey.oldest) == 0;
        free(survey.oldest);
        if (fits || !more) return fits;
    }
}

/* What other machines may change or take away, or may lose behind a write that went well, is no memory. */
static bool is_local(int descriptor) {
    static const uint64_t others[] = {0x6969 /* NFS */,      0x517b /* SMB */,      0xff534d42 /* CIFS */,
                                      0xfe534d42 /* SMB2 */, 0x65735546 /* FUSE */, 0x01021997 /* 9P */};
    struct statfs system;
    if (fstatfs(descriptor, &system) != 0) return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (((uint64_t)system.f_type & UINT32_MAX) == others[i]) return false;
    return true;
}

/* ---- one file ---- */

static bool read_index(struct ci_packed *packed) {
    const struct head *head = &packed->head;
    const uint64_t size = packed->kept.file.size;
    size_t bytes = (size_t)head->count * sizeof *packed->entries;
    if (head->index_at > size || bytes > size - head->index_at) return false;
    packed->entries = malloc(bytes + sizeof *packed->entries);
    if (!packed->entries ||
        pread(packed->kept.descriptor, packed->entries, bytes, (off_t)head->index_at) != (ssize_t)bytes)
        return false;
    if (sum_of((const uint8_t *)packed->entries, bytes, 0) != head->index_sum) return false;
    for (size_t i = 0; i < head->count; i++) {
        const struct entry *entry = &packed->entries[i];
        if (entry->at % CI_PAGE_BYTES || entry->at > size || entry->bytes > size - entry->at) return false;
    }
    packed->count = (size_t)head->count;
    return true;
}

/* The file of an earlier start, if it is whole and nobody else can have written it. */
static bool take_kept(struct ci_packed *packed) {
    struct head head;
    if (ci_file_check_own(packed->path, "clinfer") != CLINFER_OK) return false;
    if (ci_mapped_open(packed->path, &packed->kept) != CLINFER_OK) return false;
    bool whole =
        packed->kept.file.data && read_head(packed->kept.descriptor, &head) && head.identity == packed->head.identity;
    if (whole) packed->head = head;
    if (!whole || !read_index(packed) || !is_local(packed->kept.descriptor)) {
        ci_mapped_close(&packed->kept);
        unlink(packed->path); /* made anew */
        return false;
    }
    packed->map = packed->kept.file.data;
    /* A hint: some systems then read such files into large pages. */
    madvise((void *)(uintptr_t)packed->map, packed->kept.file.size, MADV_HUGEPAGE);
    utimensat(AT_FDCWD, packed->path, NULL, 0); /* used now */
    return true;
}

struct ci_packed *ci_packed_open(const char *model, uint64_t identity, uint64_t bytes, struct ci_threads *threads) {
    char name[64], *whole;
    struct stat info;
    if (identity == 0 || bytes < least_bytes || bytes > SIZE_MAX / 4 || !(whole = realpath(model, NULL))) return NULL;
    struct ci_packed *packed = calloc(1, sizeof *packed);
    /* What is being written may change again in the same tick of its clock. */
    bool settled = stat(whole, &info) == 0 && time(NULL) >= info.st_mtime + SETTLED;
    if (packed && settled && strlen(whole) < sizeof packed->head.model) {
        uint64_t key = ci_hash(CI_HASH_START, CLINFER_VERSION, sizeof CLINFER_VERSION);
        key = ci_hash(ci_hash(key, &identity, sizeof identity), &ci_cpu_sources_hash, sizeof ci_cpu_sources_hash);
        snprintf(name, sizeof name, "%s/%016" PRIx64, folder_name, key);
        packed->threads = threads;
        packed->descriptor = packed->kept.descriptor = packed->kept.slot = -1;
        packed->model_bytes = bytes;
        packed->head.identity = identity;
        memcpy(packed->head.magic, magic, sizeof magic);
        snprintf(packed->head.model, sizeof packed->head.model, "%s", whole);
        packed->path = ci_cache_path(name);
    }
    free(whole);
    if (!packed || !packed->path) {
        free(packed);
        return NULL;
    }
    take_kept(packed);
    return packed;
}

/* A file to be made, and addresses for all that the model may become. */
static bool begin(struct ci_packed *packed) {
    const uint64_t most = FIRST_BYTES + packed->model_bytes + packed->model_bytes / 4;
    char *slash = strrchr(packed->path, '/');
    ci_file_make_parents(packed->path);
    *slash = '\0';
    bool safe = ci_file_check_own(packed->path, "clinfer") == CLINFER_OK;
    *slash = '/';
    packed->descriptor = safe ? ci_temporary_file(packed->path, &packed->temporary) : -1;
    if (packed->descriptor < 0) {
        packed->temporary = NULL;
        packed->error = safe ? errno : EPERM;
        return false;
    }
    void *map = MAP_FAILED;
    if (is_local(packed->descriptor) && make_space(packed, most)) {
        packed->mapped = (size_t)most;
        map = mmap(NULL, packed->mapped, PROT_READ, MAP_SHARED, packed->descriptor, 0);
    }
    if (map == MAP_FAILED) {
        packed->error = ENOSPC;
        return false;
    }
    madvise(map, packed->mapped, MADV_HUGEPAGE);
    packed->map = map;
    packed->end = FIRST_BYTES;
    return true;
}

static uint64_t in_pages(uint64_t bytes) { return (bytes + CI_PAGE_BYTES - 1) / CI_PAGE_BYTES * CI_PAGE_BYTES; }

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

/* Removed as a whole: what damaged one weight may have damaged more than its sum tells. What was taken stays mapped. */
static void discard(struct ci_packed *packed, const char *weight) {
    ci_log(CLINFER_LOG_WARNING, "%s: the packed weights of %s are damaged, in %s; they are packed again from the model",
           packed->path, packed->head.model, weight);
    unlink(packed->path);
    end_checking(packed);
    packed->count = 0;
}

const void *ci_packed_find(struct ci_packed *packed, const struct ci_tensor *weight, const struct ci_layout *layout) {
    const struct ci_view *view = &weight->view;
    uint64_t bytes = ci_layout_bytes(layout, view->type, view->rows, view->cols);
    struct entry *entry = packed ? entry_of(packed, what_of(weight, layout)) : NULL;
    if (packed && !entry) packed->missed += bytes;
    if (!entry) return NULL;
    if (entry->bytes == bytes && is_whole(packed, entry)) {
        packed->found += bytes;
        return packed->map + entry->at;
    }
    discard(packed, weight->name);
    return NULL;
}

static bool grow(struct ci_packed *packed) {
    if (packed->count < packed->room) return true;
    size_t room = packed->room ? 2 * packed->room : 64;
    struct entry *grown = realloc(packed->entries, room * sizeof *grown);
    if (!grown) return false;
    packed->entries = grown;
    packed->room = room;
    return true;
}

const void *ci_packed_add(struct ci_packed *packed, const struct ci_tensor *weight, const struct ci_layout *layout,
                          uint64_t *at) {
    const struct ci_view *view = &weight->view;
    if (!packed || packed->kept.file.data || packed->error) return NULL;
    if (!packed->temporary && !begin(packed)) return NULL;
    uint64_t what = what_of(weight, layout), bytes = ci_layout_bytes(layout, view->type, view->rows, view->cols);
    if (bytes > packed->mapped - packed->end || entry_of(packed, what) || !grow(packed)) return NULL;
    packed->entries[packed->count++] = (struct entry){.what = what, .at = packed->end, .bytes = bytes};
    *at = packed->end;
    packed->end = in_pages(packed->end + bytes);
    return packed->map + *at;
}

void ci_packed_put(struct ci_packed *packed, uint64_t at, const void *bytes, size_t count) {
    if (!bytes) packed->error = ENOMEM;
    for (const uint8_t *from = bytes; count > 0 && !packed->error;) {
        ssize_t written = pwrite(packed->descriptor, from, count, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            packed->error = written < 0 ? errno : EIO;
            return;
        }
        from += written;
        at += (uint64_t)written;
        count -= (size_t)written;
    }
}

bool ci_packed_added(struct ci_packed *packed) {
    struct entry *entry = &packed->entries[packed->count - 1];
    if (!packed->error && !sum_by_all(packed, entry)) packed->error = EIO;
    if (packed->error) packed->count--;
    return !packed->error;
}

/* The index and the head, and then its name. */
static bool complete(struct ci_packed *packed) {
    struct head *head = &packed->head;
    size_t bytes = packed->count * sizeof *packed->entries;
    head->index_at = packed->end;
    head->count = packed->count;
    head->index_sum = sum_of((const uint8_t *)packed->entries, bytes, 0);
    ci_packed_put(packed, head->index_at, packed->entries, bytes);
    ci_packed_put(packed, 0, head, sizeof *head);
    if (!packed->error && rename(packed->temporary, packed->path) != 0) packed->error = errno;
    return !packed->error;
}

/* What was taken from it stays mapped. */
static void drop(struct ci_packed *packed) {
    if (packed->temporary) unlink(packed->temporary);
    free(packed->temporary);
    packed->temporary = NULL;
}

void ci_packed_finish(struct ci_packed *packed) {
    if (!packed) return;
    end_checking(packed);
    /* It was made by a start that wanted less: the next one makes it anew. */
    if (packed->kept.file.data && packed->missed > packed->found) unlink(packed->path);
    if (packed->temporary && !packed->error && packed->count > 0 && complete(packed)) {
        ci_log(CLINFER_LOG_INFO, "%.0f MB of packed weights are kept in %s: later starts find them there",
               1e-6 * (double)(packed->end - FIRST_BYTES), packed->path);
        free(packed->temporary);
        packed->temporary = NULL;
    }
    if (packed->error)
        ci_log(CLINFER_LOG_INFO,
               "packed weights are not kept in %s: %s; they are to take a quarter of the free space at most, on a disk "
               "of this machine. --packed-cache off does not try, XDG_CACHE_HOME names another folder",
               packed->path, strerror(packed->error));
    drop(packed);
    packed->error = EALREADY; /* nothing is added any more */
}

void ci_packed_close(struct ci_packed *packed, bool stays_mapped) {
    if (!packed) return;
    end_checking(packed);
    drop(packed);
    if (!stays_mapped) {
        if (packed->mapped && packed->map) munmap((void *)(uintptr_t)packed->map, packed->mapped);
        if (packed->kept.file.data) ci_mapped_close(&packed->kept);
    }
    if (packed->descriptor >= 0) close(packed->descriptor);
    free(packed->sums);
    free(packed->room_of_piece);
    free(packed->entries);
    free(packed->path);
    free(packed);
}
