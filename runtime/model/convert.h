/* convert.h: tensors whose bytes cannot be used as a folder stores them: norms become F32, some are transposed, experts
 * are put together, and what the user wants quantised is. All of it is made row by row, one tensor at a time, so that
 * no more than a piece of a tensor is in memory beside the result. */
#ifndef CI_MODEL_CONVERT_H
#define CI_MODEL_CONVERT_H

#include "format/folder.h"
#include "types/type.h"

/* What one tensor is made of. Its row r is that of source r / rows_each; within it rows first, first + step, ... */
struct ci_conversion {
    size_t tensor; /* index in the maker, whose `data` is filled in */
    const struct ci_type *type;
    const struct ci_safetensors_tensor **sources; /* [source_count]: one, or one per expert */
    size_t source_count;
    const struct ci_safetensors_tensor *scales; /* not NULL: the source is codes of MXFP4, these are its exponents */
    int64_t rows, cols;                         /* of all */
    int64_t rows_each;                          /* that come from one source, or from one expert of it */
    int64_t own_rows;                           /* rows of the source for these */
    int64_t first, step;
    bool transposed; /* the source's matrices are [cols, own_rows] */
    float add;
    struct ci_conversion *next;
};

/* Makes all of them: in memory where they are few bytes, else in a file of the cache, which later starts map. */
enum clinfer_status ci_convert(struct ci_gguf_maker *maker, struct ci_conversion *list);

#endif
