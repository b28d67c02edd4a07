/* verdicts.h: what trials of drivers and of their compilers have found, as it is remembered in files. Whatever is wrong
 * with such a text, it is as good as absent: the trial is made again. */
#ifndef CI_DEVICE_VERDICTS_H
#define CI_DEVICE_VERDICTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "device/vendors.h"

enum { CI_VERDICT_BYTES = 1 << 20, CI_VERDICT_FORMAT = 1 };

/* platforms.json: {"format": 1, "sets": [{"key": ..., "left_out": [{"driver": ..., "reason": ...}]}]}; a new reference.
 * NULL: out of memory. */
json_t *ci_verdicts_parse(const char *text, size_t length);

/* Marks the vendors that the set of this key leaves out; false: the set is not known. */
bool ci_verdicts_apply(const json_t *all, struct ci_vendors *vendors);

/* compilers/DEVICE.json: whether it has a verdict for `key` that counts at `now` (seconds since 1970); `reason` [size]
 * is "" where the compiler came through, and untouched where nothing is known. A failure counts for a day. */
bool ci_verdict_of_compiler(const char *text, size_t length, uint64_t key, int64_t now, char *reason, size_t size);

#endif
