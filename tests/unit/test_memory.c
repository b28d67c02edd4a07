/* What a process gave back is the system's again. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

enum { BLOCKS = 4096, BYTES = 8192 };

/* RssAnon of proc(5), MiB. */
static long resident(void) {
    char line[128];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "re");
    assert_non_null(status);
    while (kib < 0 && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %ld", &kib) != 1) kib = -1;
    fclose(status);
    return kib / 1024;
}

/* In an arena of another thread, with something behind it that stays: the top of the arena cannot just be cut off. */
static void *allocate_and_free(void *stays) {
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BYTES);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, BYTES);
    }
    *(void **)stays = malloc(1);
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    return NULL;
}

static void test_what_was_freed_is_given_back(void **state) {
    void *stays = NULL;
    pthread_t thread;
    (void)state;
    long before = resident();
    assert_int_equal(pthread_create(&thread, NULL, allocate_and_free, &stays), 0);
    pthread_join(thread, NULL);
    if (resident() < before + 16) skip(); /* another C library, or a sanitizer's */
    ci_memory_give_back();
    assert_true(resident() < before + 4);
    free(stays);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_was_freed_is_given_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
