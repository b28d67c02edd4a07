/* safetensors.h: one .safetensors file as names, shapes and borrowed bytes.
 * Source: https://github.com/huggingface/safetensors, README.md, "Format".
 *
 *     u64 n, char header[n] (JSON), bytes of the tensors
 *     {"NAME": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]}, ..., "__metadata__": {"format": "pt"}}
 *
 * All of the header is checked before anything is given out: every tensor lies inside the file, has the bytes that its
 * shape and dtype need, and all of them together cover what follows the header without a hole and without an overlap,
 * as the format demands. Which tensors a model needs is not asked here. */
#ifndef CI_FORMAT_SAFETENSORS_H
#define CI_FORMAT_SAFETENSORS_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ci_arena;

enum { CI_SAFETENSORS_DIMS = 8, CI_SAFETENSORS_NO_GGUF = -1 };

struct ci_safetensors_dtype {
    const char *name; /* "BF16" */
    uint32_t bytes;   /* of a number */
    int32_t gguf_id;  /* the tensor type of GGUF that has the same bytes, or CI_SAFETENSORS_NO_GGUF */
};

/* One tensor; dims[0] is the outermost, the last one the length of a row. */
struct ci_safetensors_tensor {
    const char *name; /* zero-terminated, printable */
    const struct ci_safetensors_dtype *dtype;
    uint32_t n_dims; /* 0: a single number */
    uint64_t dims[CI_SAFETENSORS_DIMS];
    const uint8_t *data;
    size_t bytes;
    size_t file; /* the caller's number of the file it is in */
};

struct ci_safetensors {
    struct ci_safetensors_tensor *tensors; /* [count], in the order of their bytes */
    size_t count;
};

/* Reads the header of the `size` bytes at `data`; memory comes from `arena`, names and tensors live as long as it.
 * `path` is for messages, which name the tensor and the field. CLINFER_BAD_FILE, CLINFER_UNSUPPORTED for dtypes that
 * are not known, CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_safetensors_read(const char *path, const uint8_t *data, size_t size, struct ci_arena *arena,
                                        struct ci_safetensors *found);

/* Whether a file begins as one does. */
bool ci_safetensors_is(const uint8_t *data, size_t size);

#endif
