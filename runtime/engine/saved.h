/* saved.h: what an engine keeps of a prompt, its tokens with their rows of the KV caches, as a file that the same model
 * takes up again: after a restart, or for another conversation.
 *
 * A file says of which model it is, and in which form; what does not fit, is cut or was changed is refused, whatever it
 * holds: numbers are checked before they are used, and token ids before they index anything. Rows are numbers that
 * attention reads: wrong ones would make a wrong text, and a checksum finds those that a disk made. */
#ifndef CI_ENGINE_SAVED_H
#define CI_ENGINE_SAVED_H

#include <clinfer.h>

struct ci_saved {
    size_t tokens;
    uint64_t bytes; /* of the file */
};

/* Of these tokens the longest beginning that is kept; written beside `path` and renamed. CLINFER_NOT_FOUND: nothing of
 * them is kept; CLINFER_UNSUPPORTED: the engine keeps nothing; CLINFER_IO.
 * From any thread, between two steps. */
enum clinfer_status ci_engine_save(clinfer_engine *engine, const int32_t *tokens, size_t count, const char *path,
                                   struct ci_saved *saved);

/* From now on the file's tokens are kept, as if they had been computed here; *tokens [restored->tokens] is for free().
 * CLINFER_NOT_FOUND, CLINFER_IO, CLINFER_BAD_FILE with what is wrong; CLINFER_CONTEXT_FULL: it has more tokens than the
 * context. */
enum clinfer_status ci_engine_restore(clinfer_engine *engine, const char *path, int32_t **tokens,
                                      struct ci_saved *restored);

/* What is kept of these tokens, and of beginnings of them, is let go of. How many tokens that were at most. */
size_t ci_engine_drop_saved(clinfer_engine *engine, const int32_t *tokens, size_t count);

#endif
