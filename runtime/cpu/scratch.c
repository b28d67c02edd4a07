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
    void *memory = pthread_getspecific(key);
    if (memory && bytes <= had) return memory;
    free(memory);
    memory = ci_pages_alloc(bytes);
    if (pthread_setspecific(key, memory) != 0) {
        free(memory);
        memory = NULL;
    }
    had = memory ? bytes : 0;
    return memory;
}
