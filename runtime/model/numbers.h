/* numbers.h: whether a file's weights are numbers. One scale that is not finite, of a download that went wrong or of a
 * bad quantisation, makes an answer of nothing, and good kernels look wrong: so it is found before anything is
 * computed. */
#ifndef CI_MODEL_NUMBERS_H
#define CI_MODEL_NUMBERS_H

#include "base/threads.h"
#include "model/model.h"

/* Looks at all tensors that the model has taken, with all threads, once for each file: that it passed is remembered in
 * the cache folder as long as device, inode, size and times of the file are the same. CLINFER_BAD_FILE names file,
 * tensor and position of the first number that is not finite. */
enum clinfer_status ci_model_check_numbers(const struct ci_model *model, struct ci_threads *threads);

#endif
