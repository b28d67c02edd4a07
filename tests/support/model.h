/* model.h: where tests find the default model, which devices they run on, and how they open an engine. */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

#include <clinfer.h>

/* $CLINFER_TEST_MODEL, else the default model in the models folder. Ends the process with a message when it is absent.
 */
const char *test_model_path(void);

/* "cpu" and the index of every OpenCL device, NULL-terminated; $CLINFER_TEST_DEVICE restricts to one. */
const char *const *test_devices(void);

/* The usual options for this model on this device, with f32 activations: answers of two such engines can be compared.
 * Both strings are borrowed. */
struct clinfer_engine_options test_engine_options(const char *model, const char *device);

/* Where it cannot be opened, the test fails with what the library says. The caller closes it. */
clinfer_engine *test_engine_open(const struct clinfer_engine_options *options);

/* By how much the likeliest of these tokens leads. Logits [vocabulary]. */
float test_margin(const float *logits, int vocabulary);

#endif
