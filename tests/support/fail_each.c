#define _GNU_SOURCE
#include "support/fail_each.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/asserts.h"
#include "support/failing_malloc.h"
#include "support/layer.h"

enum { MOST_TOLD = 40 };

static char present[256]; /* what is being tried, for who dies of it */

static bool in_full(void) { return getenv("CLINFER_TEST_FULL") != NULL; }

static void tell_death(int number) {
    static const char died[] = " died of a signal\n";
    if (write(2, present, strlen(present)) > 0) (void)!write(2, died, sizeof died - 1);
    signal(number, SIG_DFL);
    raise(number);
}

#if defined(__SANITIZE_ADDRESS__)
void __sanitizer_set_death_callback(void (*callback)(void));
int __lsan_do_recoverable_leak_check(void);

static void tell_report(void) { dprintf(2, "%s; %s\n", present, failing_malloc_where()); }

static int sanitizer_leaks(void) { return __lsan_do_recoverable_leak_check(); }
#else
static int sanitizer_leaks(void) { return 0; }
#endif

bool fail_each_keeps_objects;

static int problems;

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (++problems <= MOST_TOLD) print_message("%s: %s\n", present, text);
}

static bool says_memory(const char *message) { return strstr(message, "memory") || strstr(message, "cannot start"); }

static void judge(enum clinfer_status status, const char *text, const char *right) {
    int alive = failing_malloc_alive(), objects = layer_alive && !fail_each_keeps_objects ? layer_alive() : 0;
    if (status != CLINFER_OK && failing_malloc_failed() == 0)
        complain("nothing failed, but: %s", clinfer_error());
    else if (status != CLINFER_OK && status != CLINFER_OUT_OF_MEMORY)
        complain("\"%s\" (%s) after %s", clinfer_error(), clinfer_status_text(status), failing_malloc_where());
    else if (status != CLINFER_OK && !says_memory(clinfer_error()))
        complain("the message is \"%s\" after %s", clinfer_error(), failing_malloc_where());
    else if (status == CLINFER_OK && strcmp(text, right) != 0)
        complain("\"%s\", not \"%s\", after %s", text, right, failing_malloc_where());
    if (alive) complain("%d blocks were not freed: %s; after %s", alive, failing_malloc_leak(), failing_malloc_where());
    if (objects) complain("%d OpenCL objects were not released after %s", objects, failing_malloc_where());
}

static enum clinfer_status try(fail_each_run *run, int number, bool for_ever, char text[FAIL_EACH_TEXT]) {
    text[0] = '\0';
    failing_malloc_arm(number, for_ever);
    enum clinfer_status status = run(text);
    failing_malloc_disarm();
    return status;
}

void fail_each(const char *name, fail_each_run *run, int most) {
    char right[FAIL_EACH_TEXT] = "", text[FAIL_EACH_TEXT] = "";
    signal(SIGABRT, tell_death);
#if !defined(__SANITIZE_ADDRESS__)
    signal(SIGSEGV, tell_death);
#else
    __sanitizer_set_death_callback(tell_report);
#endif
    snprintf(present, sizeof present, "%s, undisturbed", name);
    for (int i = 0; i < 2; i++) assert_ok(try(run, 0, false, right)); /* the first one fills caches */
    int count = failing_malloc_count(), tried = 0, lived_with = 0, before = problems;
    if (failing_malloc_alive()) complain("%s is not freed", failing_malloc_leak());
    int stride = in_full() || count <= most ? 1 : count / most;
    for (int i = 1; i <= count; i += stride)
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            snprintf(present, sizeof present, "%s, allocation %d%s of %d", name, i, for_ever ? " and all after it" : "",
                     count);
            enum clinfer_status status = try(run, i, for_ever, text);
            /* What is kept until the process ends is kept once. */
            if (failing_malloc_alive()) status = try(run, i, for_ever, text);
            judge(status, text, right);
            tried++;
            lived_with += status == CLINFER_OK;
        }
    snprintf(present, sizeof present, "%s, undisturbed again", name);
    text[0] = '\0';
    enum clinfer_status status = run(text);
    if (status != CLINFER_OK || strcmp(text, right) != 0)
        complain("status %d, \"%s\", not \"%s\"", (int)status, text, right);
    if (sanitizer_leaks()) complain("LeakSanitizer has found leaks");
    print_message("%s: %d of %d survived (%d allocations; %d errors, %d lived with)\n", name,
                  tried - (problems - before), tried, count, tried - lived_with, lived_with);
}

void fail_each_end(void) {
    int count = problems;
    problems = 0;
    if (count) fail_msg("%d problems, the first %d are above", count, count < MOST_TOLD ? count : MOST_TOLD);
}
