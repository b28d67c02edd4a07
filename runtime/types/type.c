/* The table of types, and sizes of rows. */
#include "types/type.h"

#include <assert.h>
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
    if (type == &ci_type_q8) bytes = (bytes + CI_Q8_ALIGNMENT - 1) / CI_Q8_ALIGNMENT * CI_Q8_ALIGNMENT;
    return bytes;
}
