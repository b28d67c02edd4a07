/* The GGUF reader: what it finds in good files, and some 100 ways to damage one. Each damage is a patch of a good file
 * built in memory; the reader must refuse it with the right status and a message that names file and field. The real
 * model, when it is there, is the proof that the writer of these tests and the reader do not share a misunderstanding.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "format/gguf.h"
#include "support/gguf_writer.h"

enum { F32 = 0, Q4_0 = 2, Q8_0 = 8, Q4_K = 12 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Entries of every type, four tensors. Names are chosen so that each occurs once in the file: patches look for them. */
static struct gguf_writer *good_file(void) {
    struct gguf_writer *writer = gguf_writer_create();
    const char *const texts[] = {"one", "", "three"};
    const int32_t numbers[] = {-1, 2, 2147483647};
    const float floats[] = {0.5f, -2.0f};
    const uint64_t wide = UINT64_MAX;
    const int64_t narrow = -5;
    const double half = 0.5;
    const int16_t small = -300;
    const uint8_t flags[] = {1, 0, 1};
    gguf_writer_alignment(writer, 64);
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "k.u32", 4000000000u);
    gguf_writer_f32(writer, "k.f32", 1.5f);
    gguf_writer_bool(writer, "k.bool", true);
    gguf_writer_value(writer, "k.wide", CI_GGUF_UINT64, &wide);
    gguf_writer_value(writer, "k.i64", CI_GGUF_INT64, &narrow);
    gguf_writer_value(writer, "k.f64", CI_GGUF_FLOAT64, &half);
    gguf_writer_value(writer, "k.i16", CI_GGUF_INT16, &small);
    gguf_writer_value(writer, "k.u16", CI_GGUF_UINT16, &small);
    gguf_writer_value(writer, "k.i8", CI_GGUF_INT8, &small);
    gguf_writer_value(writer, "k.u8", CI_GGUF_UINT8, &small);
    gguf_writer_strings(writer, "k.texts", texts, 3);
    gguf_writer_array(writer, "k.numbers", CI_GGUF_INT32, numbers, 3);
    gguf_writer_array(writer, "k.floats", CI_GGUF_FLOAT32, floats, 2);
    gguf_writer_array(writer, "k.flags", CI_GGUF_BOOL, flags, 3);
    gguf_writer_array(writer, "k.empty", CI_GGUF_INT32, NULL, 0);
    gguf_writer_random(writer, "t.first", F32, 3, 5, 1.0f);
    gguf_writer_random(writer, "t.quant", Q4_0, 64, 3, 1.0f);
    gguf_writer_tensor(writer, "t.cube", Q8_0, 3, (const uint64_t[]){32, 3, 2}, NULL);
    gguf_writer_tensor(writer, "t.final", Q4_K, 1, (const uint64_t[]){256}, NULL);
    return writer;
}

static struct ci_gguf *open_good(struct gguf_writer *writer) {
    size_t size;
    const uint8_t *data = gguf_writer_bytes(writer, &size);
    struct ci_gguf *gguf;
    enum clinfer_status status = ci_gguf_open_memory(data, size, "good.gguf", &gguf);
    if (status != CLINFER_OK) fail_msg("a good file is refused: %s", clinfer_error());
    return gguf;
}

static void test_open_finds_all_metadata(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    struct ci_gguf *gguf = open_good(writer);
    assert_int_equal(ci_gguf_version(gguf), 3);
    assert_int_equal(ci_gguf_alignment(gguf), 64);
    assert_int_equal(ci_gguf_value_count(gguf), 17);
    assert_string_equal(ci_gguf_value_at(gguf, 1)->key, "general.architecture");
    struct ci_gguf_string text = ci_gguf_string_at(ci_gguf_find(gguf, "general.architecture"), 0);
    assert_int_equal(text.length, 5);
    assert_memory_equal(text.text, "llama", 5);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.u32"), 0), 4000000000u);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.wide"), 0), INT64_MAX);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.i64"), 0), -5);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.i16"), 0), -300);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.u16"), 0), 65236);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.i8"), 0), -44);
    assert_int_equal(ci_gguf_integer_at(ci_gguf_find(gguf, "k.u8"), 0), 212);
    assert_true(ci_gguf_float_at(ci_gguf_find(gguf, "k.f32"), 0) == 1.5);
    assert_true(ci_gguf_float_at(ci_gguf_find(gguf, "k.f64"), 0) == 0.5);
    assert_true(ci_gguf_bool_at(ci_gguf_find(gguf, "k.bool"), 0));
    assert_null(ci_gguf_find(gguf, "k.absent"));
    assert_null(ci_gguf_find(gguf, ""));
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
}

static void test_arrays_are_read_by_index(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    struct ci_gguf *gguf = open_good(writer);
    const struct ci_gguf_value *value = NULL;
    assert_int_equal(ci_gguf_get_strings(gguf, "k.texts", CI_GGUF_REQUIRED, &value), CLINFER_OK);
    assert_int_equal(value->count, 3);
    assert_memory_equal(ci_gguf_string_at(value, 0).text, "one", 3);
    assert_int_equal(ci_gguf_string_at(value, 1).length, 0);
    assert_memory_equal(ci_gguf_string_at(value, 2).text, "three", 5);
    assert_int_equal(ci_gguf_get_integers(gguf, "k.numbers", CI_GGUF_REQUIRED, &value), CLINFER_OK);
    assert_int_equal(ci_gguf_integer_at(value, 0), -1);
    assert_int_equal(ci_gguf_integer_at(value, 2), 2147483647);
    assert_int_equal(ci_gguf_get_floats(gguf, "k.floats", CI_GGUF_REQUIRED, &value), CLINFER_OK);
    assert_true(ci_gguf_float_at(value, 1) == -2.0);
    assert_int_equal(ci_gguf_get_integers(gguf, "k.empty", CI_GGUF_REQUIRED, &value), CLINFER_OK);
    assert_int_equal(value->count, 0);
    value = ci_gguf_find(gguf, "k.flags");
    assert_false(ci_gguf_bool_at(value, 1));
    assert_true(ci_gguf_bool_at(value, 2));
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
}

static void test_open_finds_all_tensors(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    struct ci_gguf *gguf = open_good(writer);
    assert_int_equal(ci_gguf_file_count(gguf), 1);
    const uint8_t *bytes = ci_gguf_file_at(gguf, 0)->data;
    assert_int_equal(ci_gguf_tensor_count(gguf), 4);
    static const struct {
        const char *name, *type;
        uint64_t dims[4];
        size_t bytes;
    } expected[] = {{"t.first", "F32", {3, 5, 1, 1}, 60},
                    {"t.quant", "Q4_0", {64, 3, 1, 1}, 108},
                    {"t.cube", "Q8_0", {32, 3, 2, 1}, 204},
                    {"t.final", "Q4_K", {256, 1, 1, 1}, 144}};
    for (size_t i = 0; i < 4; i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(gguf, expected[i].name);
        assert_ptr_equal(tensor, ci_gguf_tensor_at(gguf, i));
        assert_string_equal(ci_gguf_tensor_type(tensor->type)->name, expected[i].type);
        assert_memory_equal(tensor->dims, expected[i].dims, sizeof tensor->dims);
        assert_int_equal(tensor->bytes, expected[i].bytes);
        assert_int_equal(tensor->offset % 64, 0);
        assert_ptr_equal(tensor->data, bytes + tensor->offset);
        assert_true(tensor->offset + tensor->bytes <= ci_gguf_file_at(gguf, 0)->size);
    }
    assert_null(ci_gguf_find_tensor(gguf, "t.absent"));
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
}

static void test_version_2_and_no_tensors_are_accepted(void **state) {
    (void)state;
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_version(writer, 2);
    struct ci_gguf *gguf = open_good(writer);
    assert_int_equal(ci_gguf_version(gguf), 2);
    assert_int_equal(ci_gguf_value_count(gguf), 0);
    assert_null(ci_gguf_find(gguf, "a"));
    assert_null(ci_gguf_find_tensor(gguf, "a"));
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
}

/* Getters: defaults, widths, ranges and messages. */

static void expect_failure(enum clinfer_status status, const char *key, const char *text) {
    if (status != CLINFER_BAD_FILE) fail_msg("%s: status %d instead of bad file", key, status);
    const char *const parts[] = {"good.gguf", key, text};
    for (int i = 0; i < 3; i++)
        if (!strstr(clinfer_error(), parts[i])) fail_msg("\"%s\" does not name \"%s\"", clinfer_error(), parts[i]);
}

static void test_getters_check_type_and_range(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    const double huge = 1e300;
    gguf_writer_value(writer, "k.huge", CI_GGUF_FLOAT64, &huge);
    gguf_writer_f32(writer, "k.nan", __builtin_nanf(""));
    struct ci_gguf *gguf = open_good(writer);
    uint32_t number = 7;
    int64_t wide = 7;
    float real = 7.0f;
    bool flag = true;
    struct ci_gguf_string text = {"kept", 4};
    const struct ci_gguf_value *array = NULL;
    const enum ci_gguf_need required = CI_GGUF_REQUIRED;
    assert_int_equal(ci_gguf_get_u32(gguf, "k.absent", CI_GGUF_OPTIONAL, &number), CLINFER_OK);
    assert_int_equal(ci_gguf_get_string(gguf, "k.absent", CI_GGUF_OPTIONAL, &text), CLINFER_OK);
    expect_failure(ci_gguf_get_u32(gguf, "k.absent", required, &number), "k.absent", "missing");
    expect_failure(ci_gguf_get_u32(gguf, "k.i64", required, &number), "k.i64", "-5");
    expect_failure(ci_gguf_get_u32(gguf, "k.wide", required, &number), "k.wide", "18446744073709551615");
    expect_failure(ci_gguf_get_i64(gguf, "k.wide", required, &wide), "k.wide", "18446744073709551615");
    expect_failure(ci_gguf_get_u32(gguf, "k.f32", required, &number), "k.f32", "float32");
    expect_failure(ci_gguf_get_u32(gguf, "k.numbers", required, &number), "k.numbers", "array of int32");
    expect_failure(ci_gguf_get_u32_range(gguf, "k.u8", required, 1, 211, &number), "k.u8", "between 1 and 211");
    expect_failure(ci_gguf_get_u32_range(gguf, "k.u8", required, 213, 300, &number), "k.u8", "212");
    expect_failure(ci_gguf_get_f32(gguf, "k.u8", required, &real), "k.u8", "uint8");
    expect_failure(ci_gguf_get_f32(gguf, "k.huge", required, &real), "k.huge", "finite");
    expect_failure(ci_gguf_get_f32(gguf, "k.nan", required, &real), "k.nan", "nan");
    expect_failure(ci_gguf_get_bool(gguf, "k.u8", required, &flag), "k.u8", "uint8");
    expect_failure(ci_gguf_get_string(gguf, "k.u8", required, &text), "k.u8", "a string");
    expect_failure(ci_gguf_get_string(gguf, "k.texts", required, &text), "k.texts", "array of string");
    expect_failure(ci_gguf_get_strings(gguf, "k.numbers", required, &array), "k.numbers", "int32");
    expect_failure(ci_gguf_get_integers(gguf, "k.floats", required, &array), "k.floats", "float32");
    expect_failure(ci_gguf_get_floats(gguf, "k.f32", required, &array), "k.f32", "an array of floats");
    assert_true(number == 7 && wide == 7 && real == 7.0f && flag && text.length == 4 && !array);
    assert_int_equal(ci_gguf_get_u32(gguf, "k.u32", required, &number), CLINFER_OK);
    assert_int_equal(number, 4000000000u);
    assert_int_equal(ci_gguf_get_u32_range(gguf, "k.u8", required, 212, 212, &number), CLINFER_OK);
    assert_int_equal(number, 212);
    assert_int_equal(ci_gguf_get_i64(gguf, "k.i16", required, &wide), CLINFER_OK);
    assert_int_equal(wide, -300);
    assert_int_equal(ci_gguf_get_f32(gguf, "k.f64", required, &real), CLINFER_OK);
    assert_true(real == 0.5f);
    assert_int_equal(ci_gguf_get_bool(gguf, "k.bool", required, &flag), CLINFER_OK);
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
}

/* Damage. `anchor` is a key or tensor name in the good file, NULL for the start of the file; `at` counts from the
 * anchor's end, but -8, its length field, from its start; `size` bytes there become `value`. */
struct damage {
    const char *what, *anchor;
    int at, size;
    uint64_t value;
    enum clinfer_status status;
    const char *named, *also;
};

enum { KEY_LENGTH = -8, VALUE_TYPE = 0, VALUE = 4, ELEMENTS = 4, COUNT = 8 };
enum { FIRST_ELEMENT = 16, NAME_LENGTH = -8, N_DIMS = 0, DIM0 = 4, DIM1 = 12, TYPE = 20, OFFSET = 24 };
#define BAD CLINFER_BAD_FILE
#define UNS CLINFER_UNSUPPORTED
#define MAX64 UINT64_MAX
#define TWO60 (UINT64_C(1) << 60)

/* Tensors of two dimensions are patched at the offsets above; t.cube has its type at 28. */
static const struct damage damages[] = {
    {"bad magic", NULL, 0, 4, 0x46554748, BAD, "magic", "0x46554748"},
    {"magic of the old GGML", NULL, 0, 4, 0x67676d6c, UNS, "GGML", "not a GGUF file"},
    {"version 0", NULL, 4, 4, 0, UNS, "version", "0"},
    {"version 1", NULL, 4, 4, 1, UNS, "version", "1"},
    {"version 4", NULL, 4, 4, 4, UNS, "version", "4"},
    {"version 2^32-1", NULL, 4, 4, UINT32_MAX, UNS, "version", "4294967295"},
    {"big endian", NULL, 4, 4, 0x03000000, UNS, "version", "big-endian"},
    {"tensor count 2^64-1", NULL, 8, 8, MAX64, BAD, "tensor count", "18446744073709551615"},
    {"tensor count 2^60", NULL, 8, 8, TWO60, BAD, "tensor count", "1152921504606846976"},
    {"tensor count 2^63", NULL, 8, 8, UINT64_C(1) << 63, BAD, "tensor count", "9223372036854775808"},
    {"one tensor too many", NULL, 8, 8, 5, BAD, "tensor 4", "name length"},
    {"metadata count 2^64-1", NULL, 16, 8, MAX64, BAD, "metadata count", "18446744073709551615"},
    {"metadata count 2^60", NULL, 16, 8, TWO60, BAD, "metadata count", "1152921504606846976"},
    {"one entry too many", NULL, 16, 8, 18, BAD, "tensor 0", "name length"},
    {"one entry too few", NULL, 16, 8, 16, BAD, "k.empty", "n_dims"},
    {"key length 0", "k.u32", KEY_LENGTH, 8, 0, BAD, "metadata entry 2", "key length"},
    {"key length 2^64-1", "k.u32", KEY_LENGTH, 8, MAX64, BAD, "metadata entry 2", "18446744073709551615"},
    {"key length that wraps", "k.u32", KEY_LENGTH, 8, MAX64 - 7, BAD, "metadata entry 2", "18446744073709551608"},
    {"key length past the end", "k.u32", KEY_LENGTH, 8, 60000, BAD, "metadata entry 2", "60000"},
    {"key length 65536", "k.u32", KEY_LENGTH, 8, 65536, BAD, "metadata entry 2", "65536"},
    {"zero byte in a key", "k.u32", -5, 1, 0, BAD, "metadata entry 2", "0x00"},
    {"escape in a key", "k.u32", -5, 1, 0x1b, BAD, "metadata entry 2", "0x1b"},
    {"duplicate key", "k.i8", -2, 1, 'u', BAD, "key", "twice"},
    {"value type 13", "k.u32", VALUE_TYPE, 4, 13, BAD, "k.u32", "13"},
    {"value type 2^32-1", "k.u32", VALUE_TYPE, 4, UINT32_MAX, BAD, "k.u32", "4294967295"},
    {"bool that is 2", "k.bool", VALUE, 1, 2, BAD, "k.bool", "2"},
    {"bool that is 255", "k.bool", VALUE, 1, 255, BAD, "k.bool", "255"},
    {"bool in an array that is 7", "k.flags", FIRST_ELEMENT + 1, 1, 7, BAD, "k.flags", "7"},
    {"string longer than the file", "general.architecture", VALUE, 8, 100000, BAD, "general.architecture", "100000"},
    {"string length 2^64-1", "general.architecture", VALUE, 8, MAX64, BAD, "general.architecture",
     "18446744073709551615"},
    {"string length that wraps", "general.architecture", VALUE, 8, MAX64 - 100, BAD, "general.architecture",
     "string length"},
    {"string length 2^63", "general.architecture", VALUE, 8, UINT64_C(1) << 63, BAD, "general.architecture",
     "string length"},
    {"element type 13", "k.numbers", ELEMENTS, 4, 13, BAD, "k.numbers", "element type"},
    {"element type 2^32-1", "k.numbers", ELEMENTS, 4, UINT32_MAX, BAD, "k.numbers", "element type"},
    {"array of arrays", "k.numbers", ELEMENTS, 4, CI_GGUF_ARRAY, UNS, "k.numbers", "arrays of arrays"},
    {"array count 2^64-1", "k.numbers", COUNT, 8, MAX64, BAD, "k.numbers", "element count"},
    {"array count 2^60", "k.numbers", COUNT, 8, TWO60, BAD, "k.numbers", "1152921504606846976"},
    {"array size that wraps to 0", "k.numbers", COUNT, 8, UINT64_C(1) << 62, BAD, "k.numbers", "4611686018427387904"},
    {"array size that wraps to 12", "k.numbers", COUNT, 8, (UINT64_C(1) << 62) + 3, BAD, "k.numbers", "element count"},
    {"array past the end", "k.numbers", COUNT, 8, 100000, BAD, "k.numbers", "100000"},
    {"string array count 2^60", "k.texts", COUNT, 8, TWO60, BAD, "k.texts", "element count"},
    {"string array count 2^64-1", "k.texts", COUNT, 8, MAX64, BAD, "k.texts", "element count"},
    {"string array of one too many", "k.texts", COUNT, 8, 40, BAD, "k.texts", "string length"},
    {"string in an array too long", "k.texts", FIRST_ELEMENT, 8, 99999, BAD, "k.texts", "99999"},
    {"string in an array that wraps", "k.texts", FIRST_ELEMENT, 8, MAX64 - 8, BAD, "k.texts", "string 0"},
    {"alignment 0", "general.alignment", VALUE, 4, 0, BAD, "general.alignment", "0"},
    {"alignment 13", "general.alignment", VALUE, 4, 13, BAD, "general.alignment", "13"},
    {"alignment 4", "general.alignment", VALUE, 4, 4, BAD, "general.alignment", "4"},
    {"alignment 24", "general.alignment", VALUE, 4, 24, BAD, "general.alignment", "24"},
    {"alignment 2^31", "general.alignment", VALUE, 4, UINT64_C(1) << 31, BAD, "t.quant", "alignment"},
    {"alignment 2^32-1", "general.alignment", VALUE, 4, UINT32_MAX, BAD, "general.alignment", "4294967295"},
    {"alignment of type int32", "general.alignment", VALUE_TYPE, 4, CI_GGUF_INT32, BAD, "general.alignment", "int32"},
    {"alignment of type float32", "general.alignment", VALUE_TYPE, 4, CI_GGUF_FLOAT32, BAD, "general.alignment",
     "float32"},
    {"tensor name length 0", "t.quant", NAME_LENGTH, 8, 0, BAD, "tensor 1", "name length"},
    {"tensor name length 2^64-1", "t.quant", NAME_LENGTH, 8, MAX64, BAD, "tensor 1", "18446744073709551615"},
    {"tensor name past the end", "t.quant", NAME_LENGTH, 8, 50000, BAD, "tensor 1", "50000"},
    {"newline in a tensor name", "t.quant", -6, 1, '\n', BAD, "tensor 1", "0x0a"},
    {"n_dims 0", "t.quant", N_DIMS, 4, 0, BAD, "tensor t.quant", "n_dims: 0"},
    {"n_dims 5", "t.quant", N_DIMS, 4, 5, BAD, "tensor t.quant", "n_dims: 5"},
    {"n_dims 2^32-1", "t.quant", N_DIMS, 4, UINT32_MAX, BAD, "tensor t.quant", "n_dims: 4294967295"},
    {"dimension 0", "t.quant", DIM1, 8, 0, BAD, "tensor t.quant", "dims[1]: 0"},
    {"row of 0", "t.quant", DIM0, 8, 0, BAD, "tensor t.quant", "dims[0]: 0"},
    {"negative row", "t.quant", DIM0, 8, MAX64 - 31, BAD, "tensor t.quant", "dims[0]: -32"},
    {"negative dimension", "t.quant", DIM1, 8, MAX64, BAD, "tensor t.quant", "dims[1]: -1"},
    {"rows times columns overflow", "t.quant", DIM1, 8, UINT64_C(1) << 58, BAD, "tensor t.quant", "overflows"},
    {"size wraps to a small one", "t.first", DIM1, 8, (UINT64_C(1) << 62) + 1, BAD, "tensor t.first", "overflows"},
    {"elements fit, bytes overflow", "t.first", DIM0, 8, UINT64_C(1) << 61, BAD, "tensor t.first", "overflows"},
    {"third dimension overflows", "t.cube", DIM0 + 16, 8, UINT64_C(1) << 61, BAD, "tensor t.cube", "overflows"},
    {"row no multiple of the block", "t.quant", DIM0, 8, 63, BAD, "tensor t.quant", "dims[0]: 63"},
    {"row shorter than a block", "t.final", DIM0, 8, 32, BAD, "tensor t.final", "multiple of 256"},
    {"rows past the end", "t.quant", DIM1, 8, 1000, BAD, "tensor t.quant", "do not fit"},
    {"unknown tensor type", "t.quant", TYPE, 4, 43, UNS, "tensor t.quant", "type: 43"},
    {"withdrawn tensor type", "t.quant", TYPE, 4, 4, UNS, "tensor t.quant", "type: 4"},
    {"tensor type 2^32-1", "t.quant", TYPE, 4, UINT32_MAX, UNS, "tensor t.quant", "type: 4294967295"},
    {"larger tensor type", "t.final", DIM0 + 8, 4, F32, BAD, "tensor t.final", "do not fit"},
    {"offset misaligned", "t.quant", OFFSET, 8, 32, BAD, "tensor t.quant", "offset: 32"},
    {"offset odd", "t.quant", OFFSET, 8, 1, BAD, "tensor t.quant", "offset: 1"},
    {"offset past the end", "t.quant", OFFSET, 8, 1 << 20, BAD, "tensor t.quant", "offset: 1048576"},
    {"offset 2^60", "t.quant", OFFSET, 8, TWO60, BAD, "tensor t.quant", "offset: 1152921504606846976"},
    {"offset that wraps", "t.quant", OFFSET, 8, MAX64 - 63, BAD, "tensor t.quant", "offset: 18446744073709551552"},
    {"offset of the last a step too far", "t.final", DIM0 + 12, 8, 512 + 64, BAD, "tensor t.final", "offset: 576"},
};

/* The file's own bytes in memory of exactly its size, so that ASan sees a read past the end. */
static uint8_t *copy_of(struct gguf_writer *writer, size_t *size) {
    const uint8_t *data = gguf_writer_bytes(writer, size);
    uint8_t *copy = malloc(*size);
    assert_non_null(copy);
    memcpy(copy, data, *size);
    return copy;
}

static void expect_refused(const uint8_t *data, size_t size, const struct damage *damage) {
    struct ci_gguf *gguf = (void *)&size; /* must become NULL */
    double start = seconds();
    enum clinfer_status status = ci_gguf_open_memory(data, size, "damaged.gguf", &gguf);
    double took = seconds() - start;
    if (status != damage->status)
        fail_msg("%s: status \"%s\" instead of \"%s\" (%s)", damage->what, clinfer_status_text(status),
                 clinfer_status_text(damage->status), clinfer_error());
    assert_null(gguf);
    if (took > 1.0) fail_msg("%s: took %.1f s", damage->what, took);
    const char *const parts[] = {"damaged.gguf: ", damage->named, damage->also};
    for (int i = 0; i < 3; i++)
        if (!strstr(clinfer_error(), parts[i]))
            fail_msg("%s: \"%s\" does not name \"%s\"", damage->what, clinfer_error(), parts[i]);
}

static void test_damaged_fields_are_refused_by_name(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *damage = &damages[i];
        size_t size;
        uint8_t *data = copy_of(writer, &size), *at = data;
        if (damage->anchor) {
            size_t length = strlen(damage->anchor);
            while (at + length <= data + size && memcmp(at, damage->anchor, length) != 0) at++;
            if (at + length > data + size) fail_msg("%s: no %s in the file", damage->what, damage->anchor);
            if (damage->at > -8) at += length;
        }
        at += damage->at;
        for (int b = 0; b < damage->size; b++) at[b] = (uint8_t)(damage->value >> (8 * b));
        expect_refused(data, size, damage);
        free(data);
    }
    gguf_writer_destroy(writer);
}

static void test_truncation_at_every_byte_is_refused(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    size_t size;
    gguf_writer_bytes(writer, &size);
    for (size_t keep = 0; keep < size; keep++) {
        uint8_t *data = copy_of(writer, &size);
        uint8_t *shorter = malloc(keep ? keep : 1);
        assert_non_null(shorter);
        memcpy(shorter, data, keep);
        char what[64];
        snprintf(what, sizeof what, "truncated to %zu of %zu bytes", keep, size);
        const struct damage damage = {.what = what, .status = BAD, .named = "", .also = "trunca"};
        expect_refused(shorter, keep, &damage);
        free(shorter);
        free(data);
    }
    gguf_writer_destroy(writer);
}

static void test_duplicate_names_are_refused(void **state) {
    (void)state;
    struct gguf_writer *writer = good_file();
    gguf_writer_u32(writer, "general.architecture", 1);
    size_t size;
    const uint8_t *data = gguf_writer_bytes(writer, &size);
    expect_refused(data, size, &(struct damage){"duplicate key", 0, 0, 0, 0, BAD, "general.architecture", "twice"});
    gguf_writer_destroy(writer);
    writer = good_file();
    gguf_writer_random(writer, "t.quant", F32, 8, 0, 1.0f);
    data = gguf_writer_bytes(writer, &size);
    expect_refused(data, size, &(struct damage){"duplicate tensor", 0, 0, 0, 0, BAD, "tensor name", "t.quant: stands"});
    gguf_writer_destroy(writer);
}

/* Millions of tiny entries: what the reader keeps per entry may exceed what the file spends on it. */
static void test_swarms_of_entries_stay_in_the_budget(void **state) {
    (void)state;
    enum { STRINGS = 20 * 1000 * 1000 };
    size_t size = 24 + 8 + 1 + 4 + 4 + 8 + (size_t)STRINGS * 8;
    uint8_t *data = calloc(1, size);
    assert_non_null(data);
    memcpy(data, "GGUF\3", 5);
    data[16] = 1;                               /* one entry: */
    data[24] = 1;                               /* key length */
    data[32] = 'k';                             /* key */
    data[33] = CI_GGUF_ARRAY;                   /* type */
    data[37] = CI_GGUF_STRING;                  /* element type */
    memcpy(data + 41, &(uint64_t){STRINGS}, 8); /* count, then empty strings */
    expect_refused(data, size, &(struct damage){"20 million strings", 0, 0, 0, 0, UNS, "element count", "20000000"});
    memset(data + 8, 0, size - 8);
    memcpy(data + 16, &(uint64_t){size / 16}, 8);
    expect_refused(data, size, &(struct damage){"10 million entries", 0, 0, 0, 0, UNS, "metadata count", "MiB"});
    free(data);
}

/* Keys that share all but their last bytes are the worst case of sorting. */
static void test_long_similar_keys_are_sorted_in_time(void **state) {
    (void)state;
    enum { KEYS = 400, LENGTH = 60000 };
    struct gguf_writer *writer = gguf_writer_create();
    char *key = malloc(LENGTH + 1);
    assert_non_null(key);
    memset(key, 'x', LENGTH);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key + LENGTH - 8, 9, "%08d", (i * 7919) % KEYS);
        gguf_writer_bool(writer, key, true);
    }
    double start = seconds();
    struct ci_gguf *gguf = open_good(writer);
    assert_true(seconds() - start < 1.0);
    assert_non_null(ci_gguf_find(gguf, key));
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
    free(key);
}

static void test_open_reads_a_written_file(void **state) {
    (void)state;
    const char *directory = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof path, "%s/clinfer-test-gguf-%ld", directory ? directory : "/tmp", (long)getpid());
    struct gguf_writer *writer = good_file();
    gguf_writer_save(writer, path);
    struct ci_gguf *gguf;
    assert_int_equal(ci_gguf_open(path, &gguf), CLINFER_OK);
    assert_string_equal(ci_gguf_path(gguf), path);
    assert_int_equal((uintptr_t)ci_gguf_find_tensor(gguf, "t.quant")->data % 64, 0);
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
    remove(path);
    assert_int_equal(ci_gguf_open(path, &gguf), CLINFER_NOT_FOUND);
    assert_non_null(strstr(clinfer_error(), path));
    assert_null(gguf);
}

static void test_real_model_is_read_in_milliseconds(void **state) {
    (void)state;
    char *models = ci_file_xdg("DATA", "models/smollm2-135m-instruct-q4_1.gguf");
    const char *path = getenv("CLINFER_TEST_MODEL");
    if (!path) path = models;
    if (!path) fail_msg("neither CLINFER_TEST_MODEL nor HOME is set");
    struct ci_gguf *gguf;
    double start = seconds();
    enum clinfer_status status = ci_gguf_open(path, &gguf);
    double took = seconds() - start;
    if (status != CLINFER_OK) fail_msg("%s (scripts/fetch_model.sh gets the default model)", clinfer_error());
    if (took > 0.25) fail_msg("opening took %.0f ms", took * 1e3);
    assert_int_equal(ci_gguf_tensor_count(gguf), 272);
    assert_int_equal(ci_gguf_value_count(gguf), 33);
    uint32_t number = 0;
    assert_int_equal(ci_gguf_get_u32(gguf, "llama.block_count", CI_GGUF_REQUIRED, &number), CLINFER_OK);
    assert_int_equal(number, 30);
    float base = 0;
    assert_int_equal(ci_gguf_get_f32(gguf, "llama.rope.freq_base", CI_GGUF_REQUIRED, &base), CLINFER_OK);
    assert_true(base == 100000.0f);
    const struct ci_gguf_value *tokens = NULL;
    assert_int_equal(ci_gguf_get_strings(gguf, "tokenizer.ggml.tokens", CI_GGUF_REQUIRED, &tokens), CLINFER_OK);
    assert_int_equal(tokens->count, 49152);
    struct ci_gguf_string token = ci_gguf_string_at(tokens, 1);
    assert_int_equal(token.length, strlen("<|im_start|>"));
    assert_memory_equal(token.text, "<|im_start|>", token.length);
    const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(gguf, "blk.29.ffn_down.weight");
    assert_non_null(tensor);
    assert_string_equal(ci_gguf_tensor_type(tensor->type)->name, "Q4_1");
    assert_int_equal(tensor->dims[0], 1536);
    assert_int_equal(tensor->dims[1], 576);
    ci_gguf_close(gguf);
    free(models);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_finds_all_metadata),
        cmocka_unit_test(test_arrays_are_read_by_index),
        cmocka_unit_test(test_open_finds_all_tensors),
        cmocka_unit_test(test_version_2_and_no_tensors_are_accepted),
        cmocka_unit_test(test_getters_check_type_and_range),
        cmocka_unit_test(test_damaged_fields_are_refused_by_name),
        cmocka_unit_test(test_truncation_at_every_byte_is_refused),
        cmocka_unit_test(test_duplicate_names_are_refused),
        cmocka_unit_test(test_swarms_of_entries_stay_in_the_budget),
        cmocka_unit_test(test_long_similar_keys_are_sorted_in_time),
        cmocka_unit_test(test_open_reads_a_written_file),
        cmocka_unit_test(test_real_model_is_read_in_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
