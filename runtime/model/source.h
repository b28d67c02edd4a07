/* source.h: whatever -m names, by one function: a GGUF file, or a folder as the Hub has it (checkpoint.h). */
#ifndef CI_MODEL_SOURCE_H
#define CI_MODEL_SOURCE_H

#include "format/gguf.h"

/* `type`: what the matrices of a folder are quantised to, "q4_0"; NULL: they stay as they are.
 * CLINFER_INVALID_ARGUMENT: no such type, or the model is a GGUF file, whose types are its own. */
enum clinfer_status ci_source_open(const char *path, const char *type, struct ci_gguf **gguf);

#endif
