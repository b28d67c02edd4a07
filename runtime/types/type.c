/* The table of types, and sizes of rows. */
#include "types/type.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const struct ci_type *const ci_types[] = {
#define CI_TYPE(symbol) &ci_type_##symbol,
#include "types/type_list.inc"
#undef CI_TYPE
    NULL};

const struct ci_type *ci_type_from_gguf(uint32_t gguf_id) {
    for (int i = 0; ci_types[i]; i++)
        if (ci_types[i]->gguf_id != CI_TYPE_NOT_IN_FILES && (uint32_t)ci_types[i]->gguf_id == gguf_id)
            return ci_types[i];
    return NULL;
}

const struct ci_type *ci_type_from_name(const char *name) {
    for (int i = 0; ci_types[i]; i++)
        if (strcmp(ci_types[i]->name, name) == 0) return ci_types[i];
    return NULL;
}

size_t ci_type_row_bytes(const struct ci_type *type, int64_t cols) {
    assert(ci_type_fits_cols(type, cols));
    size_t bytes = (size_t)(cols / type->block_cols) * (size_t)type->block_bytes;
    if (ci_type_planes(type)) bytes = (bytes + CI_Q8_ALIGNMENT - 1) / CI_Q8_ALIGNMENT * CI_Q8_ALIGNMENT;
    return bytes;
}

/* A block of q8_0 or q4_0 begins with its scale, of f16. Where all numbers are next to zero, 1 / scale would be
 * infinite. */
static void block_to_cache(const struct ci_type *type, const float *source, uint8_t *block) {
    const float next_to_zero = 1e-30f;
    bool finite = true;
    float largest = 0;
    uint16_t scale;
    for (int i = 0; i < type->block_cols; i++) {
        finite = finite && isfinite(source[i]);
        largest = fmaxf(largest, fabsf(source[i]));
    }
    memset(block, 0, (size_t)type->block_bytes);
    if (finite && largest < next_to_zero) return;
    if (finite) type->quantise(source, block, 1);
    if (!finite) scale = 0x7c00;
    if (finite) memcpy(&scale, block, sizeof scale);
    scale = ci_half_without_infinity(scale);
    memcpy(block, &scale, sizeof scale);
}

void ci_type_to_cache(const struct ci_type *type, const float *source, int64_t cols, void *row) {
    uint8_t *out = row;
    assert(ci_type_fits_cols(type, cols));
    if (type == &ci_type_f32) memcpy(row, source, (size_t)cols * sizeof *source);
    if (type == &ci_type_f32) return;
    for (int64_t i = 0; i < cols; i += type->block_cols, out += type->block_bytes) {
        if (type != &ci_type_f16) {
            block_to_cache(type, source + i, out);
            continue;
        }
        uint16_t half = ci_half_without_infinity(ci_float_to_half(source[i]));
        memcpy(out, &half, sizeof half);
    }
}
