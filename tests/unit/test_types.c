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

#include "base/hash.h"
#include "base/random.h"
#include "types/layout.h"

/* What the tests know of each type that files have. */
static const struct weight {
    const struct ci_type *type;
    const char *name;
    uint32_t id;
    int recorded;    /* blocks in tests/data/types.bin */
    int scales[2];   /* where halves that scale lie in a block, -1 for none; plain numbers: their own */
    float step;      /* of the codes over [-1, 1], the widest; half of it is the largest error */
    bool is_cut_off; /* the side with one step less, or what is far out where the sum of errors is less then */
} weights[] = {
    {&ci_type_f32, "f32", 0, 0, {0, -1}, 0, false},
    {&ci_type_f16, "f16", 1, 256, {0, -1}, 0x1p-10f, false},
    {&ci_type_bf16, "bf16", 30, 256, {0, -1}, 0x1p-7f, false},
    {&ci_type_q4_0, "q4_0", 2, 8, {0, -1}, 2 / 15.0f, true},
    {&ci_type_q4_1, "q4_1", 3, 8, {0, 2}, 2 / 15.0f, false},
    {&ci_type_q5_0, "q5_0", 6, 8, {0, -1}, 2 / 31.0f, true},
    {&ci_type_q5_1, "q5_1", 7, 8, {0, 2}, 2 / 31.0f, false},
    {&ci_type_q8_0, "q8_0", 8, 8, {0, -1}, 2 / 254.0f, false},
    {&ci_type_q6_k, "q6_k", 14, 3, {208, -1}, 2 / 62.0f, true},
    {&ci_type_q4_k, "q4_k", 12, 3, {0, 2}, 2 / 15.0f, true},
    {&ci_type_q5_k, "q5_k", 13, 3, {0, 2}, 2 / 31.0f, true},
    {&ci_type_q3_k, "q3_k", 11, 3, {108, -1}, 2 / 7.0f, true},
    {&ci_type_q2_k, "q2_k", 10, 3, {80, 82}, 2 / 3.0f, true},
    {&ci_type_iq4_nl, "iq4_nl", 20, 4, {0, -1}, 24 / 127.0f, true},
    {&ci_type_iq4_xs, "iq4_xs", 23, 1, {0, -1}, 24 / 127.0f, true},
    {&ci_type_mxfp4, "mxfp4", 39, 4, {0, -1}, 0.25f, true},
    {&ci_type_nvfp4, "nvfp4", 40, 2, {-1, -1}, 0.4f, false},
    {&ci_type_tq1_0, "tq1_0", 34, 1, {52, -1}, 1, false},
    {&ci_type_tq2_0, "tq2_0", 35, 1, {64, -1}, 1, false},
    {&ci_type_iq1_s, "iq1_s", 19, 1, {0, -1}, 0, false},
    {&ci_type_iq1_m, "iq1_m", 29, 1, {54, -1}, 0, false}, /* the uppermost bits of it */
    {&ci_type_iq2_xxs, "iq2_xxs", 16, 1, {0, -1}, 0, false},
    {&ci_type_iq2_xs, "iq2_xs", 17, 1, {0, -1}, 0, false},
    {&ci_type_iq2_s, "iq2_s", 22, 1, {0, -1}, 0, false},
    {&ci_type_iq3_xxs, "iq3_xxs", 18, 1, {0, -1}, 0, false},
    {&ci_type_iq3_s, "iq3_s", 21, 1, {0, -1}, 0, false},
};
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

/* Blocks of numbers in [-1, 1], or of about that size. */
static void fill(const struct ci_type *type, const float *values, uint8_t *blocks, int64_t count) {
    if (type->quantise) {
        type->quantise(values, blocks, count);
        return;
    }
    uint64_t state = 1;
    for (int64_t b = 0; b < count; b++, blocks += type->block_bytes) {
        for (int i = 0; i < type->block_bytes; i++) blocks[i] = (uint8_t)(ci_random(&state) >> 56);
        type->set_size(blocks, values[b * type->block_cols]);
    }
}

static void test_names_and_numbers_find_their_types(void **state) {
    (void)state;
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = ci_type_from_gguf(weights[t].id);
        if (type != weights[t].type || strcmp(type->name, weights[t].name) != 0)
            fail_msg("type %u is %s, not %s", weights[t].id, type ? type->name : "unknown", weights[t].name);
        assert_ptr_equal(ci_type_from_name(weights[t].name), type);
        assert_true(!type->quantise == (type->set_size != NULL));
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
    assert_int_equal(ci_type_row_bytes(&ci_type_q8, 576), 832);
    assert_false(ci_type_fits_cols(&ci_type_q4_0, 48));
    assert_false(ci_type_fits_cols(&ci_type_q4_0, 0));
    assert_true(ci_layout_fits(&ci_layout_r16, &ci_type_q6_k, 256));
    assert_false(ci_layout_fits(&ci_layout_r16, &ci_type_q6_k, 128));
    assert_false(ci_layout_fits(&ci_layout_r16, &ci_type_f16, 128));
    assert_int_equal(ci_layout_bytes(&ci_layout_r16, &ci_type_q4_0, 17, 64), 32 * 36);
    assert_int_equal(ci_layout_bytes(&ci_layout_stored, &ci_type_q4_0, 17, 64), 17 * 36);
}

/* Blocks as scripts/types_reference.py makes them: random bytes whose scales are finite. */
static uint8_t *recorded_blocks(const struct weight *weight, int64_t count) {
    const struct ci_type *type = weight->type;
    size_t bytes = (size_t)type->block_bytes;
    uint64_t state = weight->id;
    uint8_t *blocks = malloc((size_t)count * bytes);
    assert_non_null(blocks);
    for (size_t i = 0; i < (size_t)count * bytes; i++) blocks[i] = (uint8_t)(ci_random(&state) >> 56);
    for (uint8_t *block = blocks; block < blocks + (size_t)count * bytes; block += bytes)
        for (int s = 0; s < 2 && weight->scales[s] >= 0; s++)
            block[weight->scales[s] + (type != &ci_type_mxfp4)] &= 0xbf;
    return blocks;
}

/* To the bit: a few blocks number by number, and the hash of so many that every pattern of every grid is among them. */
static void test_dequantise_equals_recorded_numbers(void **state) {
    (void)state;
    enum { HASHED = 600 };
    FILE *file = fopen("tests/data/types.bin", "rb");
    if (!file) fail_msg("tests/data/types.bin: cannot be opened; run from the top of the repository");
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t].type;
        uint8_t blocks[2048];
        float expected[1024], actual[1024];
        size_t bytes = (size_t)weights[t].recorded * (size_t)type->block_bytes,
               count = (size_t)weights[t].recorded * (size_t)type->block_cols;
        if (!weights[t].recorded) continue;
        assert_int_equal(fread(blocks, 1, bytes, file), bytes);
        assert_int_equal(fread(expected, sizeof *expected, count, file), count);
        type->dequantise(blocks, actual, weights[t].recorded);
        for (size_t i = 0; i < count; i++)
            if (memcmp(&actual[i], &expected[i], sizeof *actual) != 0 && !(isnan(actual[i]) && isnan(expected[i])))
                fail_msg("%s: number %zu is %.9g, recorded is %.9g", type->name, i, (double)actual[i],
                         (double)expected[i]);
        if (!type->quantised) continue;
        uint64_t recorded, hash = CI_HASH_START;
        uint8_t *many = recorded_blocks(&weights[t], HASHED);
        assert_int_equal(fread(&recorded, sizeof recorded, 1, file), 1);
        for (int b = 0; b < HASHED; b++) {
            type->dequantise(many + (size_t)b * (size_t)type->block_bytes, actual, 1);
            hash = ci_hash(hash, actual, sizeof *actual * (size_t)type->block_cols);
        }
        if (hash != recorded) fail_msg("%s: of %d blocks some number is another than was recorded", type->name, HASHED);
        free(many);
    }
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
}

/* Half a step is the largest error, plus what rounding the scale to half costs. */
static void test_quantise_is_within_half_a_step(void **state) {
    (void)state;
    enum { COUNT = 4096 };
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t].type;
        if (!type->quantise) continue;
        float *values = random_floats(COUNT, 7), *back = malloc(COUNT * sizeof *back);
        void *blocks = malloc(ci_type_row_bytes(type, COUNT));
        assert_true(back && blocks);
        type->quantise(values, blocks, COUNT / type->block_cols);
        type->dequantise(blocks, back, COUNT / type->block_cols);
        float bound = weights[t].step * 0.5f * 1.1f;
        if (weights[t].is_cut_off) bound *= 2;
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

/* What nothing is quantised to: random blocks become finite, of the size that was asked for. */
static void test_random_blocks_have_the_size_they_are_given(void **state) {
    (void)state;
    enum { BLOCKS = 64 };
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t].type;
        if (!type->set_size) continue;
        size_t bytes = (size_t)type->block_bytes, count = BLOCKS * (size_t)type->block_cols;
        uint8_t *blocks = random_bytes(BLOCKS * bytes, 3);
        float *values = malloc(count * sizeof *values);
        double sum = 0;
        assert_non_null(values);
        for (size_t b = 0; b < BLOCKS; b++) type->set_size(blocks + b * bytes, 0.5f);
        assert_int_equal(type->find_not_finite(blocks, BLOCKS), BLOCKS);
        type->dequantise(blocks, values, BLOCKS);
        for (size_t i = 0; i < count; i++) sum += (double)(values[i] * values[i]);
        double deviation = sqrt(sum / (double)count);
        if (!(deviation > 0.3 && deviation < 1)) fail_msg("%s: numbers of size %g", type->name, deviation);
        free(values);
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
    int8_t row[192];
    memset(row, 0x55, sizeof row);
    for (int i = 32; i < 64; i++) values[i] = 0;
    values[70] = -4.0f;
    assert_int_equal(ci_type_row_bytes(&ci_type_q8, COLS), sizeof row);
    ci_q8_from_floats(values, COLS, row);
    ci_codes_to_floats(row, 1, 0, COLS, back, COLS);
    assert_int_equal(row[70], -127);
    for (int g = 0; g < COLS / 32; g++) {
        float scale = ci_q8_scales(row, COLS)[g], sum = 0, half_sum = 0;
        for (int i = 32 * g; i < 32 * g + 32; i++) {
            sum += (float)row[i];
            if (i < 32 * g + 16) half_sum += (float)row[i];
            if (!(fabsf(back[i] - values[i]) <= scale * 0.5001f))
                fail_msg("column %d: %g becomes %g", i, (double)values[i], (double)back[i]);
        }
        assert_true(ci_q8_sums(row, COLS)[g] == scale * sum);
        assert_true(ci_q8_half_sums(row, COLS)[g] == scale * half_sum);
    }
    for (size_t i = COLS + 36; i < sizeof row; i++) assert_int_equal(row[i], 0);
    ci_codes_to_floats(row, 1, 64, 32, back, COLS);
    assert_true(back[6] == row[70] * ci_q8_scales(row, COLS)[2]);
    values[3] = NAN;
    values[40] = INFINITY;
    ci_q8_from_floats(values, COLS, row);
    assert_true(isnan(ci_q8_scales(row, COLS)[0]) && isnan(ci_q8_scales(row, COLS)[1]));
    free(values);
}

static void test_q16_rows_hold_two_planes(void **state) {
    (void)state;
    enum { COLS = 96, GROUPS = COLS / 32 };
    float *values = random_floats(COLS, 3), back[COLS];
    int8_t row[256], q8[192];
    memset(row, 0x55, sizeof row);
    for (int i = 32; i < 64; i++) values[i] = 0;
    values[70] = -4.0f;
    values[71] = -4.0f * (1 + 127.7f / 256) / 127; /* what is left of it is next to 128 */
    assert_int_equal(ci_type_row_bytes(&ci_type_q16, COLS), sizeof row);
    ci_codes_from_floats(values, COLS, 2, row);
    ci_q8_from_floats(values, COLS, q8);
    ci_codes_to_floats(row, 2, 0, COLS, back, COLS);
    const float *scales = ci_codes_scales(row, 2, COLS), *sums = scales + GROUPS;
    for (int g = 0; g < GROUPS; g++) {
        int sum = 0, half_sum = 0;
        assert_memory_equal(row + 64 * g, q8 + 32 * g, 32);
        assert_true(scales[g] == ci_q8_scales(q8, COLS)[g] / 256);
        for (int i = 0; i < 32; i++) {
            const int8_t *high = row + 64 * g + i, *low = high + 32;
            int code = 256 * *high + *low;
            sum += code;
            if (i < 16) half_sum += code;
            assert_true(*low >= -127);
            if (!(fabsf(back[32 * g + i] - values[32 * g + i]) <= scales[g] * 1.01f))
                fail_msg("column %d: %g becomes %g", 32 * g + i, (double)values[32 * g + i], (double)back[32 * g + i]);
        }
        assert_true(sums[g] == scales[g] * (float)sum && sums[g + GROUPS] == scales[g] * (float)half_sum);
    }
    for (size_t i = 2 * COLS + 36; i < sizeof row; i++) assert_int_equal(row[i], 0);
    ci_codes_to_floats(row, 2, 64, 32, back, COLS);
    assert_true(back[6] == 256 * row[128 + 6] * scales[2] && back[6] == -4.0f);
    free(values);
}

static void test_r16_gives_back_every_byte(void **state) {
    (void)state;
    static const int64_t row_counts[] = {1, 15, 16, 17, 37};
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t].type;
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
        const struct ci_type *type = weights[t].type;
        enum { ROWS = 19 };
        int64_t cols = 4 * type->block_cols;
        float *values = random_floats((size_t)(ROWS * cols), 11), *expected = malloc((size_t)cols * sizeof *expected);
        float *actual = malloc((size_t)cols * sizeof *actual);
        size_t row_bytes = ci_type_row_bytes(type, cols);
        uint8_t *stored = malloc(ROWS * row_bytes);
        assert_true(expected && actual && stored);
        fill(type, values, stored, ROWS * 4);
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

/* In the block, at the place of the scale; a byte of exponent has no more than a code that is too large. */
static void put_not_finite(const struct ci_type *type, uint8_t *block, int offset, int kind) {
    static const uint16_t halves[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff};
    static const uint16_t brains[] = {0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffff};
    static const uint32_t floats[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff};
    if (type == &ci_type_f32)
        memcpy(block, &floats[kind], 4);
    else if (type == &ci_type_mxfp4)
        block[0] = 255;
    else if (type->set_size)
        type->set_size(block, ci_half_to_float(halves[kind]));
    else
        memcpy(block + offset, type == &ci_type_bf16 ? &brains[kind] : &halves[kind], 2);
}

/* In every place of a row, with numbers around it of every kind that is finite: zeros, denormals, the largest. */
static void test_numbers_that_are_not_finite_are_found(void **state) {
    (void)state;
    enum { BLOCKS = 300, KINDS = 5 };
    for (int t = 0; t < WEIGHTS; t++) {
        const struct ci_type *type = weights[t].type;
        size_t bytes = (size_t)type->block_bytes;
        float *numbers = random_floats(BLOCKS * (size_t)type->block_cols, 9);
        uint8_t *data = malloc(BLOCKS * bytes + 8), *row = data + 1; /* in files at any address */
        float *read = malloc(sizeof *read * (size_t)type->block_cols);
        assert_true(data && read);
        for (int i = 0; i < BLOCKS * type->block_cols; i++)
            numbers[i] *= i % 7 == 0 ? 65000 : i % 5 == 0 ? 0 : i % 3 == 0 ? 1e-7f : 1;
        fill(type, numbers, row, BLOCKS);
        assert_int_equal(type->find_not_finite(row, BLOCKS), BLOCKS);
        assert_int_equal(type->find_not_finite(row, 0), 0);
        for (int block = 0; block < BLOCKS; block++)
            for (int s = 0; s < 2 && weights[t].scales[s] >= 0; s++) {
                uint8_t kept[256], *at = row + (size_t)block * bytes;
                int kind = block % KINDS;
                memcpy(kept, at, bytes);
                put_not_finite(type, at, weights[t].scales[s], kind);
                if (type->find_not_finite(row, BLOCKS) != block || type->find_not_finite(row, block) != block)
                    fail_msg("%s: kind %d in scale %d of block %d is not found", type->name, kind, s, block);
                type->dequantise(at, read, 1);
                bool finite = true;
                for (int i = 0; i < type->block_cols; i++) finite = finite && isfinite(read[i]);
                if (finite) fail_msg("%s: block %d with kind %d is finite", type->name, block, kind);
                memcpy(at, kept, bytes);
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
        cmocka_unit_test(test_random_blocks_have_the_size_they_are_given),
        cmocka_unit_test(test_q4_0_has_known_bytes),
        cmocka_unit_test(test_half_conversion_is_exact_and_rounds_to_even),
        cmocka_unit_test(test_bf16_rounds_to_even),
        cmocka_unit_test(test_q8_rows_hold_codes_scales_and_sums),
        cmocka_unit_test(test_q16_rows_hold_two_planes),
        cmocka_unit_test(test_r16_gives_back_every_byte),
        cmocka_unit_test(test_r16_planes_lie_as_documented),
        cmocka_unit_test(test_views_give_rows_whatever_the_layout),
    };
    return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
