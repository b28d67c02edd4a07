/* stack.c: see stack.h. */
#define _GNU_SOURCE
#include "base/stack.h"

#include <pthread.h>

/* What to assume where the C library does not know, or on a stack that it did not make: less than any system gives. */
enum { UNKNOWN_BYTES = 64 * 1024 };

/* The end of the stack that `here` lies in. For the first thread the C library reads /proc/self/maps, so it is kept. */
static uintptr_t end_of_stack(uintptr_t here) {
    static _Thread_local uintptr_t end, top;
    pthread_attr_t attributes;
    void *lowest = NULL;
    size_t size = 0;
    if (top == 0 && pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &lowest, &size) == 0) {
            end = (uintptr_t)lowest;
            top = end + size;
        }
        pthread_attr_destroy(&attributes);
    }
    return here > end && here < top ? end : here - UNKNOWN_BYTES;
}

uintptr_t ci_stack_floor(size_t reserve, size_t most) {
    uintptr_t here = CI_STACK_HERE(), end = end_of_stack(here);
    size_t left = here - end > reserve ? here - end - reserve : 0;
    return here - (left < most ? left : most);
}
