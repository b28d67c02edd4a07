/* layer.h: the OpenCL layer of tests/fault/fake_layer.c, which makes calls fail. */
#ifndef TESTS_SUPPORT_LAYER_H
#define TESTS_SUPPORT_LAYER_H

#include <stdbool.h>

/* Loads it from beside this program; before the first OpenCL call of the process. false: said on standard error. */
bool layer_load(void);

/* Calls since it was armed; objects that are alive; the call that was made to fail, or NULL. */
extern int (*layer_calls)(void), (*layer_alive)(void);
extern const char *(*layer_failed)(void);

/* From now on call number `call` (from 1; 0: none, -1: all) returns `error`. */
extern void (*layer_arm)(int call, int error);

#endif
