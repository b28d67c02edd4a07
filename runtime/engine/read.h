/* read.h: a model file, read as far as that goes without a device. Loading and `clinfer inspect` both call this, so
 * that they cannot say different things about a file. Chat templates are not part of it: a model runs without. */
#ifndef CI_ENGINE_READ_H
#define CI_ENGINE_READ_H

#include "base/stages.h"
#include "base/threads.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* All but the tokenizer. What the file gives, or the usual numbers, goes into the sampling part of `info`. On failure
 * the model is closed or the caller's to close, as with success. `stages` may be NULL. */
enum clinfer_status ci_read_model(const struct ci_gguf *gguf, struct ci_threads *threads, struct ci_stages *stages,
                                  struct ci_model *model, struct clinfer_engine_info *info);

/* The tokenizer, which the model has to have room for. On failure it is NULL or the caller's to destroy. */
enum clinfer_status ci_read_vocabulary(const struct ci_gguf *gguf, const struct ci_model *model,
                                       struct ci_tokenizer **tokenizer);

/* Its tokenizer: of the file, else, where it has none, of the first place of hub/tokenizer_chain.h on this machine,
 * which is said. */
enum clinfer_status ci_read_tokenizer(const struct ci_gguf *gguf, struct ci_tokenizer **tokenizer);

/* general.sampling.sequence, where all samplers of it are known: info->samplers, in the arena. Others are a warning. */
enum clinfer_status ci_read_samplers(const struct ci_gguf *gguf, struct ci_arena *arena,
                                     struct clinfer_engine_info *info);

/* models.c: whether the model of that path or name makes vectors as it is, since it writes no text; false where it
 * cannot be read. */
bool ci_model_file_encodes(const char *model);

#endif
