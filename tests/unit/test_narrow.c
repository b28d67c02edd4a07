/* 64-bit numbers of files: each is refused by name where it is taken, and never becomes the small number that its lower
 * bits are. Files of many gigabytes are memory that nobody touches. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/narrow.h"
#include "format/gguf.h"
#include "model/model.h"
#include "support/gguf_writer.h"
#include "text/tokenizer.h"

static void test_narrow_takes_what_fits(void **state) {
    (void)state;
    int integer = 7;
    uint32_t unsigned32 = 7;
    int16_t small = 7;
    assert_true(ci_narrow(INT64_C(-2147483648), &integer) && integer == INT32_MIN);
    assert_true(ci_narrow(UINT64_C(2147483647), &integer) && integer == INT32_MAX);
    assert_false(ci_narrow(INT64_C(2147483648), &integer));
    assert_false(ci_narrow(UINT64_C(4294967570), &integer));
    assert_false(ci_narrow(INT64_MIN, &integer));
    assert_false(ci_narrow(UINT64_MAX, &integer));
    assert_true(ci_narrow(UINT64_C(4294967295), &unsigned32) && unsigned32 == UINT32_MAX);
    assert_false(ci_narrow(INT64_C(-1), &unsigned32));
    assert_false(ci_narrow(UINT64_C(4294967296), &unsigned32));
    assert_false(ci_narrow(32768, &small));
    assert_int_equal(ci_shown(SIZE_MAX, 40), 40);
    assert_int_equal(ci_shown(39, 40), 39);
}

/* ---- shapes ---- */

/* The embedding lies at the end: its rows can be as many as anybody likes. */
static struct gguf_writer *tiny_model(void) {
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_one_layer(writer);
    gguf_writer_random(writer, "token_embd.weight", 0, 2, 274, 1);
    return writer;
}

/* The file with `rows` of one tensor, which lies at the end; *data is for munmap(). */
static enum clinfer_status open_with_rows(const char *tensor, uint64_t rows, void **data, size_t *size,
                                          struct ci_model *model, struct ci_gguf **gguf) {
    struct gguf_writer *writer = tiny_model();
    size_t small;
    const uint8_t *bytes = gguf_writer_bytes(writer, &small);
    *size = small + (size_t)rows * 8;
    *data = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*data == MAP_FAILED) fail_msg("%zu bytes of address space are not to be had", *size);
    memcpy(*data, bytes, small);
    uint8_t *at = memmem(*data, small, tensor, strlen(tensor));
    assert_non_null(at);
    memcpy(at + strlen(tensor) + 4 + 8, &rows, 8);
    gguf_writer_destroy(writer);
    enum clinfer_status status = ci_gguf_open_memory(*data, *size, "rows.gguf", gguf);
    if (status == CLINFER_OK) status = ci_model_open(*gguf, model);
    return status;
}

static void test_rows_beyond_int_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *tensor;
        uint64_t rows;
        enum clinfer_status status;
    } cases[] = {{"token_embd.weight", 274, CLINFER_OK},
                 {"token_embd.weight", (UINT64_C(1) << 31) - 1, CLINFER_OK},
                 {"token_embd.weight", (UINT64_C(1) << 31) + 5, CLINFER_UNSUPPORTED},
                 {"token_embd.weight", (UINT64_C(1) << 32) + 274, CLINFER_UNSUPPORTED},
                 {"blk.0.attn_q.weight", (UINT64_C(1) << 32) + 2, CLINFER_BAD_FILE},
                 {"blk.0.ffn_down.weight", (UINT64_C(1) << 33) + 2, CLINFER_BAD_FILE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_gguf *gguf;
        struct ci_model model;
        void *data;
        size_t size;
        char number[32];
        enum clinfer_status status = open_with_rows(cases[i].tensor, cases[i].rows, &data, &size, &model, &gguf);
        snprintf(number, sizeof number, "%llu", (unsigned long long)cases[i].rows);
        if (status != cases[i].status)
            fail_msg("%s rows: status %d, %s", number, (int)status, status == CLINFER_OK ? "taken" : clinfer_error());
        if (status == CLINFER_OK) {
            assert_int_equal(model.hyper.vocabulary, cases[i].rows);
            ci_model_close(&model);
        } else if (!strstr(clinfer_error(), cases[i].tensor) || !strstr(clinfer_error(), number)) {
            fail_msg("\"%s\" lacks the tensor or %s", clinfer_error(), number);
        }
        ci_gguf_close(gguf);
        munmap(data, size);
    }
}

/* ---- metadata ---- */

/* Numbers whose lower 32 bits would be fine. */
static void test_hyper_parameters_beyond_32_bits_are_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"llama.attention.head_count_kv", "llama.attention.key_length",
                                       "llama.attention.value_length", "llama.rope.dimension_count"};
    static const uint64_t wide[] = {(UINT64_C(1) << 32) + 1, (UINT64_C(1) << 63) + 1, UINT64_MAX - 1};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof wide / sizeof *wide; k++) {
            struct gguf_writer *writer = tiny_model();
            gguf_writer_value(writer, keys[i], CI_GGUF_UINT64, &wide[k]);
            size_t size;
            const uint8_t *bytes = gguf_writer_bytes(writer, &size);
            struct ci_gguf *gguf;
            struct ci_model model;
            assert_int_equal(ci_gguf_open_memory(bytes, size, "x.gguf", &gguf), CLINFER_OK);
            enum clinfer_status status = ci_model_open(gguf, &model);
            if (status != CLINFER_BAD_FILE || !strstr(clinfer_error(), keys[i]))
                fail_msg("%s: status %d, %s", keys[i], (int)status, clinfer_error());
            ci_gguf_close(gguf);
            gguf_writer_destroy(writer);
        }
}

static void test_token_numbers_beyond_32_bits_are_refused(void **state) {
    (void)state;
    static const char *const tokens[] = {"a", "b"}, *const named[] = {"tokenizer.ggml.eos_token_id",
                                                                      "tokenizer.ggml.token_type"};
    const int64_t id = (INT64_C(1) << 32) + 1, types[] = {(INT64_C(1) << 32) + 1, 1};
    for (int i = 0; i < 2; i++) {
        struct gguf_writer *writer = gguf_writer_create();
        gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
        gguf_writer_string(writer, "tokenizer.ggml.pre", "gpt-2");
        gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 2);
        gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
        if (i == 0) gguf_writer_value(writer, "tokenizer.ggml.eos_token_id", CI_GGUF_INT64, &id);
        if (i == 1) gguf_writer_array(writer, "tokenizer.ggml.token_type", CI_GGUF_INT64, types, 2);
        size_t size;
        const uint8_t *bytes = gguf_writer_bytes(writer, &size);
        struct ci_gguf *gguf;
        struct ci_tokenizer *tokenizer;
        assert_int_equal(ci_gguf_open_memory(bytes, size, "x.gguf", &gguf), CLINFER_OK);
        enum clinfer_status status = ci_tokenizer_create_gguf(gguf, &tokenizer);
        if (status != CLINFER_BAD_FILE || !strstr(clinfer_error(), named[i]))
            fail_msg("%s: status %d, %s", named[i], (int)status, clinfer_error());
        ci_gguf_close(gguf);
        gguf_writer_destroy(writer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_narrow_takes_what_fits),
        cmocka_unit_test(test_rows_beyond_int_are_refused_by_name),
        cmocka_unit_test(test_hyper_parameters_beyond_32_bits_are_refused),
        cmocka_unit_test(test_token_numbers_beyond_32_bits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
