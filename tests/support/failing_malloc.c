#define _GNU_SOURCE
#include "support/failing_malloc.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

typedef int scandir_filter(const struct dirent *entry);
typedef int scandir_order(const struct dirent **a, const struct dirent **b);
typedef void *thread_function(void *argument);

/* Weak: only in a program that was linked with --wrap are these there. */
#define WRAP(result, name, ...)                                                                                        \
    __attribute__((weak)) result __real_##name(__VA_ARGS__);                                                           \
    result __wrap_##name(__VA_ARGS__);                                                                                 \
    result __wrap_##name(__VA_ARGS__)

enum { SLOTS = 1 << 16, FRAMES = 12, OURS = 2 /* frames of this file */ };

struct trace {
    void *frames[FRAMES];
    int count;
};

struct block {
    void *memory; /* NULL: free; `gone`: was in use */
    struct trace trace;
};

static struct {
    atomic_bool armed;
    atomic_int count, failed;
    int number;
    bool for_ever;
    struct trace first;
    pthread_mutex_t lock;
    struct block blocks[SLOTS];
    int alive;
    FILE *told; /* FAILING_MALLOC_COUNT */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static char gone;

/* ---- which blocks are alive ---- */

static struct block *slot_of(const void *memory) {
    struct block *free_slot = NULL;
    for (size_t i = (uintptr_t)memory / 16 * 2654435761u % SLOTS, tried = 0; tried < SLOTS;
         i = (i + 1) % SLOTS, tried++) {
        struct block *block = &state.blocks[i];
        if (block->memory == memory) return block;
        if (!free_slot && (!block->memory || block->memory == &gone)) free_slot = block;
        if (!block->memory) return free_slot;
    }
    return free_slot;
}

static void *born(void *memory) {
    if (!memory || !atomic_load(&state.armed)) return memory;
    struct trace trace;
    trace.count = backtrace(trace.frames, FRAMES);
    pthread_mutex_lock(&state.lock);
    struct block *block = slot_of(memory);
    if (block) {
        *block = (struct block){memory, trace};
        state.alive++;
    }
    pthread_mutex_unlock(&state.lock);
    return memory;
}

static void died(void *memory) {
    if (!memory) return;
    pthread_mutex_lock(&state.lock);
    struct block *block = state.alive ? slot_of(memory) : NULL;
    if (block && block->memory == memory) {
        block->memory = &gone;
        state.alive--;
    }
    pthread_mutex_unlock(&state.lock);
}

/* Of the program's own functions, from the innermost. */
static void write_offsets(const struct trace *trace, char *text, size_t size) {
    int used = 0;
    text[0] = '\0';
    for (int i = OURS; i < trace->count && (size_t)used < size; i++) {
        Dl_info info;
        char *address = trace->frames[i];
        if (!dladdr(address, &info) || !info.dli_fname || strstr(info.dli_fname, ".so")) continue;
        used += snprintf(text + used, size - (size_t)used, " %#zx", (size_t)(address - (char *)info.dli_fbase) - 1);
    }
}

/* ---- which one fails ---- */

/* The count, then where the first one failed. */
static void tell(int number) {
    char offsets[512] = "";
    if (atomic_load(&state.failed)) write_offsets(&state.first, offsets, sizeof offsets);
    rewind(state.told);
    fprintf(state.told, "%d\n%s\n", number, offsets);
    fflush(state.told);
}

static bool fails(void) {
    if (!atomic_load(&state.armed)) return false;
    int number = atomic_fetch_add(&state.count, 1) + 1;
    bool now = state.number && (number == state.number || (state.for_ever && number > state.number));
    if (now && atomic_fetch_add(&state.failed, 1) == 0) state.first.count = backtrace(state.first.frames, FRAMES);
    if (state.told) tell(number);
    if (!now) return false;
    errno = ENOMEM;
    return true;
}

WRAP(void *, malloc, size_t bytes) { return fails() ? NULL : born(__real_malloc(bytes)); }

WRAP(void *, calloc, size_t count, size_t bytes) { return fails() ? NULL : born(__real_calloc(count, bytes)); }

WRAP(void *, realloc, void *memory, size_t bytes) {
    if (fails()) return NULL;
    died(memory);
    void *grown = __real_realloc(memory, bytes);
    return born(grown);
}

WRAP(void *, aligned_alloc, size_t alignment, size_t bytes) {
    return fails() ? NULL : born(__real_aligned_alloc(alignment, bytes));
}

WRAP(void, free, void *memory) {
    died(memory);
    __real_free(memory);
}

WRAP(char *, strdup, const char *text) { return fails() ? NULL : born(__real_strdup(text)); }

WRAP(char *, strndup, const char *text, size_t length) { return fails() ? NULL : born(__real_strndup(text, length)); }

WRAP(int, vasprintf, char **text, const char *format, va_list arguments) {
    if (fails()) return -1;
    int length = __real_vasprintf(text, format, arguments);
    if (length >= 0) born(*text);
    return length;
}

int __wrap_asprintf(char **text, const char *format, ...);
int __wrap_asprintf(char **text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = __wrap_vasprintf(text, format, arguments);
    va_end(arguments);
    return length;
}

WRAP(char *, realpath, const char *path, char *resolved) {
    if (resolved) return __real_realpath(path, resolved);
    return fails() ? NULL : born(__real_realpath(path, NULL));
}

WRAP(int, scandir, const char *path, struct dirent ***entries, scandir_filter *filter, scandir_order *order) {
    return fails() ? -1 : __real_scandir(path, entries, filter, order);
}

WRAP(ssize_t, __getdelim, char **line, size_t *capacity, int end, FILE *file) {
    if (fails()) return -1;
    died(*line);
    ssize_t length = __real___getdelim(line, capacity, end, file);
    born(*line);
    return length;
}

/* An inline function of stdio.h, but not without optimisation. */
ssize_t __wrap_getline(char **line, size_t *capacity, FILE *file);
ssize_t __wrap_getline(char **line, size_t *capacity, FILE *file) {
    return __wrap___getdelim(line, capacity, '\n', file);
}

WRAP(FILE *, open_memstream, char **text, size_t *length) {
    return fails() ? NULL : __real_open_memstream(text, length);
}

WRAP(void *, mmap, void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap(address, bytes, protection, flags, file, offset);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, thread_function *function,
     void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, function, argument);
}

/* ---- what a test asks ---- */

void failing_malloc_arm(int number, bool for_ever) {
    struct trace trace;
    backtrace(trace.frames, FRAMES); /* allocates when it is first called */
    atomic_store(&state.armed, false);
    pthread_mutex_lock(&state.lock);
    memset(state.blocks, 0, sizeof state.blocks);
    state.alive = 0;
    state.number = number;
    state.for_ever = for_ever;
    atomic_store(&state.count, 0);
    atomic_store(&state.failed, 0);
    pthread_mutex_unlock(&state.lock);
    atomic_store(&state.armed, true);
}

void failing_malloc_disarm(void) { atomic_store(&state.armed, false); }

int failing_malloc_count(void) { return atomic_load(&state.count); }

int failing_malloc_failed(void) { return atomic_load(&state.failed); }

int failing_malloc_alive(void) {
    pthread_mutex_lock(&state.lock);
    int alive = state.alive;
    pthread_mutex_unlock(&state.lock);
    return alive;
}

const char *failing_malloc_functions(const char *program, const char *offsets) {
    static char text[1024];
    char command[2048], function[256], line[256];
    snprintf(command, sizeof command, "addr2line -f -s -e '%s' %s", program, offsets);
    FILE *pipe = popen(command, "r");
    text[0] = '\0';
    while (pipe && fgets(function, sizeof function, pipe) && fgets(line, sizeof line, pipe)) {
        size_t at = strlen(text);
        function[strcspn(function, "\n")] = line[strcspn(line, " \n")] = '\0';
        snprintf(text + at, sizeof text - at, "%s%s (%s)", at ? " < " : "", function, line);
    }
    if (pipe) pclose(pipe);
    return text;
}

static const char *describe(const struct trace *trace) {
    char program[512], offsets[512];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    write_offsets(trace, offsets, sizeof offsets);
    return failing_malloc_functions(program, offsets);
}

const char *failing_malloc_where(void) { return describe(&state.first); }

const char *failing_malloc_leak(void) {
    for (int i = 0; i < SLOTS; i++)
        if (state.blocks[i].memory && state.blocks[i].memory != &gone) return describe(&state.blocks[i].trace);
    return "nothing";
}

static void *watched_malloc(size_t bytes) { return born(__real_malloc(bytes)); }

void failing_malloc_watch_jansson(void) { json_set_alloc_funcs(watched_malloc, __wrap_free); }

/* ---- by the environment ---- */

__attribute__((constructor)) static void take_environment(void) {
    const char *count = getenv("FAILING_MALLOC_COUNT"), *which = getenv("FAILING_MALLOC");
    if (!which || !__real_malloc) return;
    if (count) state.told = fopen(count, "we");
    failing_malloc_arm(atoi(which), strchr(which, '+') != NULL);
    unsetenv("FAILING_MALLOC_COUNT"); /* children are others' business */
    unsetenv("FAILING_MALLOC");
}
