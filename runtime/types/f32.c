/* f32: IEEE single precision, the type of activations between ops. */
#include <string.h>

#include "types/block.h"

static void copy_in(const void *source, float *out, int64_t blocks) {
    memcpy(out, source, (size_t)blocks * sizeof *out);
}

static void copy_out(const float *source, void *out, int64_t blocks) {
    memcpy(out, source, (size_t)blocks * sizeof *source);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_plain(source, blocks, 4, 0x7f8000007f800000u);
}

const struct ci_type ci_type_f32 = {.name = "f32",
                                    .gguf_id = 0,
                                    .block_cols = 1,
                                    .block_bytes = 4,
                                    .dequantise = copy_in,
                                    .quantise = copy_out,
                                    .find_not_finite = find_not_finite};
