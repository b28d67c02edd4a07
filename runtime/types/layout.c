/* Layouts: sizes, packing, and rows of any view as floats, the portable way in for code that knows no layout. */
#include "types/layout.h"

#include <assert.h>
#include <string.h>

enum { R16_ROWS = 16, MAX_BLOCK_BYTES = 512, MAX_BLOCK_COLS = 256, CACHE_LINE = 64 };

const struct ci_layout ci_layout_stored = {.name = "stored", .group_rows = 1};
const struct ci_layout ci_layout_r16 = {.name = "r16", .group_rows = R16_ROWS};
const struct ci_layout *const ci_layouts[] = {&ci_layout_stored, &ci_layout_r16, NULL};

const struct ci_layout *ci_layout_from_name(const char *name) {
    for (const struct ci_layout *const *layout = ci_layouts; *layout; layout++)
        if (strcmp((*layout)->name, name) == 0) return *layout;
    return NULL;
}

bool ci_layout_fits(const struct ci_layout *layout, const struct ci_type *type, int64_t cols) {
    if (!ci_type_fits_cols(type, cols)) return false;
    return layout == &ci_layout_stored || type->pack_r16;
}

size_t ci_layout_bytes(const struct ci_layout *layout, const struct ci_type *type, int64_t rows, int64_t cols) {
    int64_t padded = (rows + layout->group_rows - 1) / layout->group_rows * layout->group_rows;
    return (size_t)padded * ci_type_row_bytes(type, cols);
}

void ci_layout_pack(const struct ci_layout *layout, const struct ci_type *type, int64_t rows, int64_t cols,
                    const void *stored, void *packed, int64_t first, int64_t last) {
    assert(first % layout->group_rows == 0 && last <= rows);
    size_t row_bytes = ci_type_row_bytes(type, cols), block_bytes = (size_t)type->block_bytes;
    if (layout == &ci_layout_stored) {
        memcpy((uint8_t *)packed + (size_t)first * row_bytes, (const uint8_t *)stored + (size_t)first * row_bytes,
               (size_t)(last - first) * row_bytes);
        return;
    }
    static const uint8_t padding[MAX_BLOCK_BYTES];
    int64_t blocks = cols / type->block_cols;
    assert(type->block_bytes <= MAX_BLOCK_BYTES);
    for (int64_t row = first; row < last; row += R16_ROWS) {
        uint8_t *group = (uint8_t *)packed + (size_t)row * row_bytes;
        const uint8_t *next = (const uint8_t *)stored + (size_t)(row + R16_ROWS) * row_bytes;
        bool follows = row + 2 * R16_ROWS <= last;
        for (int64_t b = 0; b < blocks; b++, group += R16_ROWS * block_bytes) {
            /* Sixteen short streams are too many for the processor to foresee; the rows of the next group lie in one
             * piece. */
            for (size_t at = 0; follows && at < R16_ROWS * block_bytes; at += CACHE_LINE)
                __builtin_prefetch(next + (size_t)b * R16_ROWS * block_bytes + at);
            const uint8_t *of_rows[R16_ROWS];
            for (int i = 0; i < R16_ROWS; i++)
                of_rows[i] = row + i < rows
                                 ? (const uint8_t *)stored + (size_t)(row + i) * row_bytes + (size_t)b * block_bytes
                                 : padding;
            type->pack_r16(of_rows, group);
        }
    }
}

/* Where in layout r16 block `block` of the group of rows lies that holds `row`. */
static const uint8_t *r16_group(const struct ci_type *type, int64_t cols, const void *packed, int64_t row,
                                int64_t block) {
    size_t first_row = (size_t)(row / R16_ROWS * R16_ROWS);
    return (const uint8_t *)packed + first_row * ci_type_row_bytes(type, cols) +
           (size_t)block * R16_ROWS * (size_t)type->block_bytes;
}

void ci_layout_unpack_row(const struct ci_layout *layout, const struct ci_type *type, int64_t cols, const void *packed,
                          int64_t row, void *stored_row) {
    size_t row_bytes = ci_type_row_bytes(type, cols);
    if (layout == &ci_layout_stored) {
        memcpy(stored_row, (const uint8_t *)packed + (size_t)row * row_bytes, row_bytes);
        return;
    }
    for (int64_t b = 0; b < cols / type->block_cols; b++)
        type->unpack_r16(r16_group(type, cols, packed, row, b), (int)(row % R16_ROWS),
                         (uint8_t *)stored_row + (size_t)b * (size_t)type->block_bytes);
}

void ci_view_row(const struct ci_view *view, int64_t row, float *out) { ci_view_part(view, row, 0, view->cols, out); }

void ci_view_part(const struct ci_view *view, int64_t row, int64_t first, int64_t count, float *out) {
    const struct ci_type *type = view->type;
    assert(first % type->block_cols == 0 && count % type->block_cols == 0 && first + count <= view->cols);
    const uint8_t *stored = (const uint8_t *)view->data + (size_t)row * ci_type_row_bytes(type, view->cols);
    if (ci_type_planes(type)) {
        ci_codes_to_floats(stored, ci_type_planes(type), first, count, out, view->cols);
        return;
    }
    int64_t first_block = first / type->block_cols, blocks = count / type->block_cols;
    if (view->layout == &ci_layout_stored) {
        type->dequantise(stored + (size_t)first_block * (size_t)type->block_bytes, out, blocks);
        return;
    }
    uint8_t block[MAX_BLOCK_BYTES];
    assert(type->block_bytes <= MAX_BLOCK_BYTES);
    for (int64_t b = 0; b < blocks; b++, out += type->block_cols) {
        type->unpack_r16(r16_group(type, view->cols, view->data, row, first_block + b), (int)(row % R16_ROWS), block);
        type->dequantise(block, out, 1);
    }
}

void ci_view_columns(const struct ci_view *view, int64_t row, int64_t first, int64_t count, float *out) {
    int64_t unit = ci_type_planes(view->type) ? CI_Q8_GROUP : view->type->block_cols;
    float block[MAX_BLOCK_COLS];
    assert(unit <= MAX_BLOCK_COLS);
    while (count > 0) {
        int64_t skipped = first % unit, part = skipped || count < unit ? unit - skipped : count / unit * unit;
        if (part > count) part = count;
        if (skipped == 0 && part % unit == 0) {
            ci_view_part(view, row, first, part, out);
        } else {
            ci_view_part(view, row, first - skipped, unit, block);
            memcpy(out, block + skipped, (size_t)part * sizeof *out);
        }
        first += part;
        count -= part;
        out += part;
    }
}
