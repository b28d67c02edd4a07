/* Number formats and layouts. That the formats are read as others read them is held to what the Python package `gguf`
 * makes of random blocks (tests/data/types.bin, recorded by scripts/types_reference.py); all else is checked against
 * what the formats promise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "types/layout.h"

static const struct ci_type *const weights[] = {
    &ci_type_f32,  &ci_type_f16,  &ci_type_bf16, &ci_type_q4_0, &ci_type_q4_1, &ci_type_q5_0, &ci_type_q5_1,
    &ci_type_q8_0, &ci_type_q6_k, &ci_type_q4_k, &ci_type_q5_k, &ci_type_q3_k, &ci_type_q2_k};
enum { WEIGHTS = sizeof weights / sizeof *weights };

static float *random_floats(size_t count, uint64_t seed) {
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) values[i] = 2 * ci_random_float(&seed) - 1;
    return values;
}

static uint8_t *random_bytes(size_t count, uint64_t seed) {
    uint8_t *bytes = malloc(count);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)ci_random(&seed);
    return bytes;
}

static void test_names_and_numbers_find_their_types(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t id;
    } known[] = {{"f32", 0},   {"f16", 1},   {"q4_0", 2},  {"q4_1", 3},  {"q5_0", 6},  {"q5_1", 7}, {"q8_0", 8},
                 {"q2_k", 10}, {"q3_k", 11}, {"q4_k", 12}, {"q5_k", 13}, {"q6_k", 14}, {"bf16", 30}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct ci_type *type = ci_type_from_gguf(known[i].id);
        if (!type || strcmp(type->name, known[i].name) != 0)
            fail_msg("type %u is %s, not %s", known[i].id, type ? type->name : "unknown", known[i].name);
        assert_ptr_equal(ci_type_from_name(known[i].name), type);
    }
    assert_null(ci_type_from_gguf(9));  /* Q8_1 */
    assert_null(ci_type_from_gguf(26)); /* I32 holds no weights */
    assert_null(ci_type_from_gguf(UINT32_MAX));
    assert_null(ci_type_from_name("q8_1"));
    assert_ptr_equal(ci_type_from_name("q8"), &ci_type_q8);
    assert_ptr_equal(ci_type_from_name("i32"), &ci_type_i32);
}

static void test_row_bytes_follow_the_formats(void **state) {
    (void)state;
    assert_int_equal(ci_type_row_bytes(&ci_type_f32, 5), 20);
    assert_int_equal(ci_type_row_bytes(&ci_type_q4_1, 576), 360);
    assert_int_equal(ci_type_row_bytes(&ci_type_q6_k, 512), 420);
    assert_int_equal(ci_type_row_bytes(&ci_type_q8, 32), 64);
    assert_int_equal(ci_type_row_bytes(&ci_type_q8, 64), 128);
    assert_int_equal(ci_type_row_bytes(&ci_type_q8, 576), 768);
    assert_false(ci_type_fits_cols(&ci_type_q4_0, 48));
    assert_false(ci_type_fits_cols(&ci_type_q4_0, 0));
    assert_true(ci_layout_fits(&ci_layout_r16, &ci_type_q6_k, 256));
    assert_false(ci_layout_fits(&ci_layout_r16, &ci_type_q6_k, 128));
    assert_false(ci_layout_fits(&ci_layout_r16, &ci_type_f16, 128));
    assert_int_equal(ci_layout_bytes(&ci_layout_r16, &ci_type_q4_0, 17, 64), 32 * 36);
    assert_int_equal(ci_layout_bytes(&ci_layout_stored, &ci_type_q4_0, 17, 64), 17 * 36);
}

static void test_dequantise_equals_recorded_numbers(void **state) {
    (void)state;
    static const struct {
        const struct ci_type *type;
        int blocks;
    } parts[] = {{&ci_type_f16, 256}, {&ci_type_bf16, 256}, {&ci_type_q4_0, 8}, {&ci_type_q4_1, 8},
                 {&ci_type_q5_0, 8},  {&ci_type_q5_1, 8},   {&ci_type_q8_0, 8}, {&ci_type_q6_k, 3},
                 {&ci_type_q4_k, 3},  {&ci_type_q5_k, 3},   {&ci_type_q3_k, 3}, {&ci_type_q2_k, 3}};
    FILE *file = fopen("tests/data/types.bin", "rb");
    if (!file) fail_msg("tests/data/types.bin: cannot be opened; run from the top of the repository");
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        const struct ci_type *type = parts[p].type;
        uint8_t blocks[2048];
        float expected[1024], actual[1024];
        size_t bytes = (size_t)parts[p].blocks * (size_t)type->block_bytes,
               count = (size_t)parts[p].blocks * (size_t)type->block_cols;
        assert_int_equal(fread(blocks, 1, bytes, file), bytes);
        assert_int_equal(fread(expected, sizeof *expected, count, file), count);
        type->dequantise(blocks, actual, parts[p].blocks);
        for (size_t i = 0; i < count; i++)
            if (actual[i] != expected[i] && !(isnan(actual[i]) && isnan(expected[i])))
                fail_msg("%s: number %zu is %.9g, recorded is %.9g", type->name, i, (double)actual[i],
                         (double)expected[i]);
    }
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
}

/* Steps of the codes over [-1, 1]; half a step is the largest error, plus what rounding the scale to half costs. */
static void test_quantise_is_within_half_a_step(void **state) {
    (void)state;
    static const float steps[WEIGHTS] = {0,          0x1p-10f,  0x1p-7f,   2 / 15.0f, 2 / 15.0f, 2 / 31.0f, 2 / 31.0f,
                                         2 / 254.0f, 2 / 62.0f, 2 / 15.0f, 2 / 31.0f, 2 / 7.0f,  2 / 3.0f};
    enum { COUNT = 4096 };
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t];
        float *values = random_floats(COUNT, 7), *back = malloc(COUNT * sizeof *back);
        void *blocks = malloc(ci_type_row_bytes(type, COUNT));
        assert_true(back && blocks);
        type->quantise(values, blocks, COUNT / type->block_cols);
        type->dequantise(blocks, back, COUNT / type->block_cols);
        float bound = steps[t] * 0.5f * 1.1f;
        /* Of these the side with one step less is cut off, or what is far out where the sum of errors is less then. */
        if (type == &ci_type_q4_0 || type == &ci_type_q5_0 || type->block_cols == 256) bound *= 2;
        for (int i = 0; i < COUNT; i++)
            if (!(fabsf(back[i] - values[i]) <= bound))
                fail_msg("%s: %g becomes %g", type->name, (double)values[i], (double)back[i]);
        memset(values, 0, COUNT * sizeof *values);
        type->quantise(values, blocks, COUNT / type->block_cols);
        type->dequantise(blocks, back, COUNT / type->block_cols);
        for (int i = 0; i < COUNT; i++)
            if (back[i] != 0) fail_msg("%s: zero becomes %g", type->name, (double)back[i]);
        free(values);
        free(back);
        free(blocks);
    }
}

static void test_q4_0_has_known_bytes(void **state) {
    (void)state;
    float values[32];
    uint8_t block[18];
    for (int i = 0; i < 32; i++) values[i] = (float)(i % 16) - 8;
    ci_type_q4_0.quantise(values, block, 1);
    assert_int_equal(block[0] | block[1] << 8, 0x3c00); /* 1.0 */
    for (int i = 0; i < 16; i++) assert_int_equal(block[2 + i], i * 17);
}

static void test_half_conversion_is_exact_and_rounds_to_even(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        float value = ci_half_to_float((uint16_t)half);
        int exponent = (int)(half >> 10 & 31), mantissa = (int)(half & 1023);
        double expected = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        if (exponent == 31) expected = mantissa ? NAN : INFINITY;
        if (half & 0x8000) expected = -expected;
        if (isnan(expected)) {
            if (!isnan(value) || !isnan(ci_half_to_float(ci_float_to_half(value))))
                fail_msg("half %04x is no NaN but %g", half, (double)value);
            continue;
        }
        if ((double)value != expected) fail_msg("half %04x is %g, not %g", half, (double)value, expected);
        if (ci_float_to_half(value) != half) fail_msg("half %04x comes back as %04x", half, ci_float_to_half(value));
        if ((half & 0x7fff) >= 0x7bff) continue;
        float middle = (value + ci_half_to_float((uint16_t)(half + 1))) / 2;
        uint16_t even = (uint16_t)(half + (half & 1));
        if (ci_float_to_half(middle) != even)
            fail_msg("between %04x and the next: %04x", half, ci_float_to_half(middle));
        if (ci_float_to_half(nextafterf(middle, value)) != half) fail_msg("below the middle after %04x", half);
    }
    assert_int_equal(ci_float_to_half(65519.0f), 0x7bff);
    assert_int_equal(ci_float_to_half(65520.0f), 0x7c00);
    assert_int_equal(ci_float_to_half(-1e30f), 0xfc00);
    assert_int_equal(ci_float_to_half(1e-30f), 0);
}

static void test_bf16_rounds_to_even(void **state) {
    (void)state;
    assert_int_equal(ci_float_to_bf16(1.0f), 0x3f80);
    assert_int_equal(ci_float_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(ci_float_to_bf16(1.0f + 0x1.8p-7f), 0x3f82);
    assert_int_equal(ci_float_to_bf16(-INFINITY), 0xff80);
    assert_true(isnan(ci_bf16_to_float(ci_float_to_bf16(NAN))));
}

static void test_q8_rows_hold_codes_scales_and_sums(void **state) {
    (void)state;
    enum { COLS = 96 };
    float *values = random_floats(COLS, 3), back[COLS];
    int8_t row[128];
    memset(row, 0x55, sizeof row);
    for (int i = 32; i < 64; i++) values[i] = 0;
    values[70] = -4.0f;
    assert_int_equal(ci_type_row_bytes(&ci_type_q8, COLS), sizeof row);
    ci_q8_from_floats(values, COLS, row);
    ci_q8_to_floats(row, 0, COLS, back, COLS);
    assert_int_equal(row[70], -127);
    for (int g = 0; g < COLS / 32; g++) {
        float scale = ci_q8_scales(row, COLS)[g], sum = 0;
        for (int i = 32 * g; i < 32 * g + 32; i++) {
            sum += (float)row[i];
            if (!(fabsf(back[i] - values[i]) <= scale * 0.5001f))
                fail_msg("column %d: %g becomes %g", i, (double)values[i], (double)back[i]);
        }
        assert_true(ci_q8_sums(row, COLS)[g] == scale * sum);
    }
    for (size_t i = COLS + 24; i < sizeof row; i++) assert_int_equal(row[i], 0);
    ci_q8_to_floats(row, 64, 32, back, COLS);
    assert_true(back[6] == row[70] * ci_q8_scales(row, COLS)[2]);
    values[3] = NAN;
    values[40] = INFINITY;
    ci_q8_from_floats(values, COLS, row);
    assert_true(isnan(ci_q8_scales(row, COLS)[0]) && isnan(ci_q8_scales(row, COLS)[1]));
    free(values);
}

static void test_r16_gives_back_every_byte(void **state) {
    (void)state;
    static const int64_t row_counts[] = {1, 15, 16, 17, 37};
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t];
        int64_t cols = 3 * type->block_cols;
        if (!ci_layout_fits(&ci_layout_r16, type, cols)) continue;
        for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
            int64_t rows = row_counts[r];
            size_t row_bytes = ci_type_row_bytes(type, cols);
            uint8_t *stored = random_bytes((size_t)rows * row_bytes, 5), *back = malloc(row_bytes);
            uint8_t *packed = random_bytes(ci_layout_bytes(&ci_layout_r16, type, rows, cols), 6);
            assert_non_null(back);
            int64_t middle = rows > 16 ? 16 : 0; /* as two threads do it */
            ci_layout_pack(&ci_layout_r16, type, rows, cols, stored, packed, middle, rows);
            ci_layout_pack(&ci_layout_r16, type, rows, cols, stored, packed, 0, middle);
            for (int64_t row = 0; row < rows; row++) {
                ci_layout_unpack_row(&ci_layout_r16, type, cols, packed, row, back);
                if (memcmp(back, stored + (size_t)row * row_bytes, row_bytes) != 0)
                    fail_msg("%s, %d rows: row %d does not come back", type->name, (int)rows, (int)row);
            }
            for (int64_t row = rows; row < (rows + 15) / 16 * 16; row++) {
                ci_layout_unpack_row(&ci_layout_r16, type, cols, packed, row, back);
                for (size_t i = 0; i < row_bytes; i++)
                    if (back[i]) fail_msg("%s, %d rows: the padding is not zero", type->name, (int)rows);
            }
            free(stored);
            free(packed);
            free(back);
        }
    }
}

/* What layout.h says about where a code lies, for the type with most planes. */
static void test_r16_planes_lie_as_documented(void **state) {
    (void)state;
    uint8_t *stored = random_bytes(16 * 24, 9), packed[384];
    const uint8_t *rows[16];
    float values[32];
    for (int i = 0; i < 16; i++) {
        memcpy(stored + 24 * i, "\0\x3c\0", 4); /* d = 1, m = 0 */
        rows[i] = stored + 24 * i;
    }
    ci_type_q5_1.pack_r16(rows, packed);
    for (int row = 0; row < 16; row++) {
        ci_type_q5_1.dequantise(rows[row], values, 1);
        assert_int_equal(packed[2 * row + 1], 0x3c);
        for (int col = 0; col < 32; col++) {
            int quad = col / 4, at = 4 * row + (col & 3);
            int code = packed[64 + 64 * (quad % 4) + at] >> (quad / 4 * 4) & 15;
            code |= (packed[320 + at] >> quad & 1) << 4;
            if ((float)code != values[col])
                fail_msg("row %d column %d: %d, not %g", row, col, code, (double)values[col]);
        }
    }
    free(stored);
}

static void test_views_give_rows_whatever_the_layout(void **state) {
    (void)state;
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t];
        enum { ROWS = 19 };
        int64_t cols = 4 * type->block_cols;
        float *values = random_floats((size_t)(ROWS * cols), 11), *expected = malloc((size_t)cols * sizeof *expected);
        float *actual = malloc((size_t)cols * sizeof *actual);
        size_t row_bytes = ci_type_row_bytes(type, cols);
        uint8_t *stored = malloc(ROWS * row_bytes);
        assert_true(expected && actual && stored);
        type->quantise(values, stored, ROWS * 4);
        struct ci_view view;
        ci_view_set(&view, type, ROWS, cols);
        view.data = stored;
        for (int packed = 0; packed < 2; packed++) {
            if (packed && !ci_layout_fits(&ci_layout_r16, type, cols)) break;
            if (packed) {
                view.layout = &ci_layout_r16;
                view.data = malloc(ci_layout_bytes(view.layout, type, ROWS, cols));
                assert_non_null(view.data);
                ci_layout_pack(view.layout, type, ROWS, cols, stored, view.data, 0, ROWS);
            }
            for (int64_t row = 0; row < ROWS; row++) {
                type->dequantise(stored + (size_t)row * row_bytes, expected, 4);
                ci_view_row(&view, row, actual);
                assert_memory_equal(expected, actual, (size_t)cols * sizeof *actual);
                ci_view_part(&view, row, type->block_cols, 2 * type->block_cols, actual);
                assert_memory_equal(expected + type->block_cols, actual,
                                    (size_t)(2 * type->block_cols) * sizeof *actual);
            }
        }
        if (view.data != stored) free(view.data);
        free(stored);
        free(values);
        free(expected);
        free(actual);
    }
}

/* Where halves that scale lie in a block; plain numbers: their own. */
static const int scales_at[WEIGHTS][2] = {{0, -1}, {0, -1},   {0, -1}, {0, -1}, {0, 2},    {0, -1}, {0, 2},
                                          {0, -1}, {208, -1}, {0, 2},  {0, 2},  {108, -1}, {80, 82}};

static void put_not_finite(const struct ci_type *type, uint8_t *at, int kind) {
    static const uint16_t halves[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff};
    static const uint16_t brains[] = {0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffff};
    static const uint32_t floats[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff};
    if (type == &ci_type_f32)
        memcpy(at, &floats[kind], 4);
    else
        memcpy(at, type == &ci_type_bf16 ? &brains[kind] : &halves[kind], 2);
}

/* In every place of a row, with numbers around it of every kind that is finite: zeros, denormals, the largest. */
static void test_numbers_that_are_not_finite_are_found(void **state) {
    (void)state;
    enum { BLOCKS = 300, KINDS = 5 };
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t];
        size_t bytes = (size_t)type->block_bytes;
        float *numbers = random_floats(BLOCKS * (size_t)type->block_cols, 9);
        uint8_t *data = malloc(BLOCKS * bytes + 8), *row = data + 1; /* in files at any address */
        float *read = malloc(sizeof *read * (size_t)type->block_cols);
        assert_true(data && read);
        for (int i = 0; i < BLOCKS * type->block_cols; i++)
            numbers[i] *= i % 7 == 0 ? 65000 : i % 5 == 0 ? 0 : i % 3 == 0 ? 1e-7f : 1;
        type->quantise(numbers, row, BLOCKS);
        assert_int_equal(type->find_not_finite(row, BLOCKS), BLOCKS);
        assert_int_equal(type->find_not_finite(row, 0), 0);
        for (int block = 0; block < BLOCKS; block++)
            for (int s = 0; s < 2 && scales_at[t][s] >= 0; s++) {
                uint8_t kept[4], *at = row + (size_t)block * bytes + scales_at[t][s];
                int kind = block % KINDS;
                memcpy(kept, at, sizeof kept);
                put_not_finite(type, at, kind);
                if (type->find_not_finite(row, BLOCKS) != block || type->find_not_finite(row, block) != block)
                    fail_msg("%s: kind %d in scale %d of block %d is not found", type->name, kind, s, block);
                type->dequantise(row + (size_t)block * bytes, read, 1);
                bool finite = true;
                for (int i = 0; i < type->block_cols; i++) finite = finite && isfinite(read[i]);
                if (finite) fail_msg("%s: block %d with kind %d is finite", type->name, block, kind);
                memcpy(at, kept, sizeof kept);
            }
        free(read);
        free(data);
        free(numbers);
    }
    assert_null(ci_type_q8.find_not_finite);
    assert_null(ci_type_i32.find_not_finite);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_that_are_not_finite_are_found),
        cmocka_unit_test(test_names_and_numbers_find_their_types),
        cmocka_unit_test(test_row_bytes_follow_the_formats),
        cmocka_unit_test(test_dequantise_equals_recorded_numbers),
        cmocka_unit_test(test_quantise_is_within_half_a_step),
        cmocka_unit_test(test_q4_0_has_known_bytes),
        cmocka_unit_test(test_half_conversion_is_exact_and_rounds_to_even),
        cmocka_unit_test(test_bf16_rounds_to_even),
        cmocka_unit_test(test_q8_rows_hold_codes_scales_and_sums),
        cmocka_unit_test(test_r16_gives_back_every_byte),
        cmocka_unit_test(test_r16_planes_lie_as_documented),
        cmocka_unit_test(test_views_give_rows_whatever_the_layout),
    };
    return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
