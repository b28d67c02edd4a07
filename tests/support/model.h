/* model.h: where tests find the default model, and which devices they run on. */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

/* $CLINFER_TEST_MODEL, else the default model in the models folder. Ends the process with a message when it is absent.
 */
const char *test_model_path(void);

/* "cpu" and the index of every OpenCL device, NULL-terminated; $CLINFER_TEST_DEVICE restricts to one. */
const char *const *test_devices(void);

#endif
