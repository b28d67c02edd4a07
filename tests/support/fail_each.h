/* fail_each.h: runs something once for each of its allocations, which fails; in programs linked with WRAPPED. */
#ifndef TESTS_SUPPORT_FAIL_EACH_H
#define TESTS_SUPPORT_FAIL_EACH_H

#include <stdbool.h>

#include <clinfer.h>

enum { FAIL_EACH_TEXT = 4096 };

/* One way through the library, from nothing to nothing: what it told is added to `text`. */
typedef enum clinfer_status fail_each_run(char text[FAIL_EACH_TEXT]);

/* Each allocation fails once, and with all after it; not more than about `most` of them without CLINFER_TEST_FULL. What
 * is wrong then is printed, how much was survived as well. */
void fail_each(const char *name, fail_each_run *run, int most);

/* At the end of a test, so that all it runs is told of: fails it if anything was wrong. */
void fail_each_end(void);

/* The scenario is about something that is open; OpenCL objects (of the layer, if it is loaded) come and go in it. */
extern bool fail_each_keeps_objects;

#endif
