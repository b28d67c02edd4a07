/* device_fixture.h: an open OpenCL device, a folder of kernel sources and one for program binaries, for the tests of
 * device/. Every test group runs on every OpenCL device of the machine, or on CLINFER_TEST_DEVICE=<index> alone. */
#ifndef TESTS_SUPPORT_DEVICE_FIXTURE_H
#define TESTS_SUPPORT_DEVICE_FIXTURE_H

#include "device/device.h"
#include "support/asserts.h"

extern int fixture_index;                /* of the device under test */
extern struct ci_device *fixture_device; /* open between fixture_open and fixture_close */
extern char fixture_scratch[64], fixture_kernels[64], fixture_cache[64];

/* Kernels `scale` (local memory, FACTOR) and `slow`. Beside them in fixture_kernels: broken.cl, with a build error. */
extern const char fixture_scale_text[];
extern const char *const fixture_sources[2];

/* Setup and teardown of a test: a device with an empty cache. */
int fixture_open(void **state);
int fixture_close(void **state);
void fixture_reopen(void);

struct ci_buffer *fixture_buffer(size_t bytes);
struct ci_kernel *fixture_kernel(const char *options, const char *name);
struct ci_device_counts fixture_counts(void);

/* Runs `scale` on 64 numbers and looks at the result. */
void fixture_run_scale(const char *options, int factor, size_t local);

void fixture_write(const char *folder, const char *name, const char *text);
void fixture_remove_files(const char *folder);

/* Makes the folders, runs the group on all devices, removes the folders; the exit status of the program. */
int fixture_run(const struct CMUnitTest *tests, size_t count);

#endif
