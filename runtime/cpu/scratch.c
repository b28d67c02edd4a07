#include "cpu/scratch.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/pages.h"

static pthread_key_t key;
static bool has_key;
static _Thread_local size_t had;

static void make_key(void) { has_key = pthread_key_create(&key, free) == 0; }

void *ci_cpu_scratch(size_t bytes) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    if (!has_key) return NULL;
    void *before = pthread_getspecific(key);
    if (before && bytes <= had) return before;
    void *memory = ci_pages_alloc(bytes);
    if (!memory || pthread_setspecific(key, memory) != 0) {
        free(memory);
        return NULL;
    }
    free(before);
    had = bytes;
    return memory;
}
