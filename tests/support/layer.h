/* layer.h: the OpenCL layer of tests/fault/fake_layer.c, which breaks calls. */
#ifndef TESTS_SUPPORT_LAYER_H
#define TESTS_SUPPORT_LAYER_H

#include <stdbool.h>

/* Loads it from beside this program; before the first OpenCL call of the process. false: said on standard error. */
bool layer_load(void);

/* From now on these faults (fake_layer.c tells how they are written) and no others; counts start anew. What is no list
 * of faults ends the process. */
__attribute__((format(printf, 1, 2))) void layer_arm(const char *format, ...);
void layer_disarm(void);

/* The entry points that it knows; NULL behind the last. */
extern const char *(*layer_name)(int call);

/* The kernels that were launched since it was armed, each once; NULL behind the last. */
extern const char *(*layer_kernel)(int kernel);

/* Calls of that name since it was armed, "*": all but releases; objects that are alive. */
extern long (*layer_calls)(const char *name);
extern int (*layer_alive)(void);

/* Calls that broke since it was armed; the last of them, or NULL; when the first one did (CLOCK_MONOTONIC). */
extern long (*layer_strikes)(void);
extern const char *(*layer_struck)(void);
extern double (*layer_struck_at)(void);

#endif
