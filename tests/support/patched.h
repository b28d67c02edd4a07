/* patched.h: copies of a model file with other numbers in it. */
#ifndef TESTS_SUPPORT_PATCHED_H
#define TESTS_SUPPORT_PATCHED_H

#include "format/gguf.h"

/* The file's bytes, to be changed at will; `gguf` borrows them and stays open until patched_end. */
struct patched {
    uint8_t *bytes;
    size_t size;
    struct ci_gguf *gguf;
};

void patched_begin(struct patched *file, const char *source);

/* The bytes of a tensor that must be there. */
uint8_t *patched_tensor(const struct patched *file, const char *name, size_t *bytes);

/* Every number of an F16 or F32 tensor times `factor`; what f16 does not hold becomes its largest. */
void patched_scale(const struct patched *file, const char *name, float factor);

/* Its name becomes one that no file has had, so nothing is remembered of it: a device's first run is compared. */
void patched_rename(const struct patched *file);

/* As a file of the test's folder (support/process.h), whose path it returns. */
const char *patched_end(struct patched *file, const char *name);

#endif
