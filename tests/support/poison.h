/* poison.h: kernels that pass their proof and go wrong later, in a folder for CLINFER_KERNELS. */
#ifndef TESTS_SUPPORT_POISON_H
#define TESTS_SUPPORT_POISON_H

/* Copies the OpenCL source `name` with every `from` (there must be one) replaced by `to` into the test's folder (see
 * process_folder) and points CLINFER_KERNELS there. */
void poison(const char *name, const char *from, const char *to);

/* Back to the kernels of the program; the folder's are removed. */
void poison_end(void);

/* From now on the quarantine and profiles are those of a new, empty folder. The model's path must be known by then. */
void poison_fresh_data(void);

#endif
