/* Weights that are converted while a folder is loaded, where they are too many to be made at each start: they are kept
 * in the cache, found there, made anew when what was kept is no longer right, and made in memory where nothing can be
 * kept. */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/threads.h"
#include "model/model.h"
#include "model/numbers.h"
#include "model/source.h"
#include "support/asserts.h"
#include "support/folder.h"
#include "types/type.h"

enum { VOCABULARY = 150000, WIDTH = 32, SHOWN = 300 };
static char *model, *cache;
static char kept[SHOWN]; /* the file that the cache has */

/* qwen2 of the tests with an embedding of more than 4 MiB when it is quantised; numbers that Q8_0 holds as they are. */
static void write_model(void) {
    static const char header[] = "{\"model.embed_tokens.weight\":{\"dtype\":\"F16\",\"shape\":[150000,32],"
                                 "\"data_offsets\":[0,9600000]}}";
    size_t length = sizeof header - 1, size = 8 + length + (size_t)VOCABULARY * WIDTH * 2;
    char *data = calloc(1, size);
    assert_non_null(data);
    data[0] = (char)length;
    memcpy(data + 8, header, length);
    for (size_t i = 0; i < (size_t)VOCABULARY * WIDTH; i++) {
        uint16_t half = ci_float_to_half((float)(i % 255) - 127);
        memcpy(data + 8 + length + 2 * i, &half, sizeof half);
    }
    folder_write(model, "model.safetensors", data, size);
    free(data);
    folder_patch(model, "config.json", "\"vocab_size\": 96", "\"vocab_size\": 150000");
}

static int set_up(void **state) {
    (void)state;
    model = folder_copy("tests/data/folders/qwen2");
    cache = folder_copy("tests/data/folders/qwen2");
    setenv("XDG_CACHE_HOME", cache, 1);
    write_model();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    chmod(cache, 0700);
    folder_remove(model);
    folder_remove(cache);
    return 0;
}

/* How many files are kept; `kept` is one of them. */
static int count_kept(void) {
    char path[200];
    snprintf(path, sizeof path, "%s/clinfer/weights", cache);
    DIR *folder = opendir(path);
    int count = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(kept, sizeof kept, "%.150s/%.100s", path, entry->d_name);
        count++;
    }
    if (folder) closedir(folder);
    return count;
}

/* Every number is what was stored; the number of mapped files. */
static size_t check(const char *type, double most) {
    struct ci_gguf *gguf;
    float row[WIDTH];
    assert_ok(ci_source_open(model, type, &gguf));
    const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(gguf, "token_embd.weight");
    assert_non_null(tensor);
    const struct ci_type *found = ci_type_from_gguf(tensor->type);
    assert_string_equal(found->name, type);
    for (size_t i = 0; i < VOCABULARY; i++) {
        found->dequantise((const uint8_t *)tensor->data + i * ci_type_row_bytes(found, WIDTH), row,
                          WIDTH / found->block_cols);
        for (size_t k = 0; k < WIDTH; k++) {
            double wanted = (double)((i * WIDTH + k) % 255) - 127;
            if (!((double)row[k] - wanted <= most && wanted - (double)row[k] <= most))
                fail_msg("number [%zu, %zu] is %g, not %g", i, k, (double)row[k], wanted);
        }
    }
    size_t files = ci_gguf_file_count(gguf);
    ci_gguf_close(gguf);
    return files;
}

static void test_what_is_large_is_kept(void **state) {
    (void)state;
    struct stat first, second;
    assert_int_equal(check("q8_0", 0.51), 2);
    assert_int_equal(count_kept(), 1);
    assert_int_equal(stat(kept, &first), 0);
    assert_int_equal(check("q8_0", 0.51), 2);
    assert_int_equal(stat(kept, &second), 0);
    assert_true(first.st_ino == second.st_ino);
    assert_int_equal(check("f32", 0), 2); /* another type is another file */
    assert_int_equal(count_kept(), 2);
}

static void test_what_is_damaged_is_made_anew(void **state) {
    (void)state;
    assert_int_equal(check("q8_0", 0.51), 2);
    assert_int_equal(count_kept(), 1);
    assert_int_equal(truncate(kept, 1000), 0);
    assert_int_equal(check("q8_0", 0.51), 2);
    struct stat info;
    assert_int_equal(stat(kept, &info), 0);
    assert_true(info.st_size > 1000000);
    FILE *file = fopen(kept, "r+b");
    assert_non_null(file);
    fputs("another head", file);
    fclose(file);
    assert_int_equal(check("q8_0", 0.51), 2);
}

/* Where the cache cannot be: a file is in the folder's place. */
static void test_what_cannot_be_kept_is_made_in_memory(void **state) {
    (void)state;
    folder_patch(cache, "clinfer", NULL, "no folder");
    assert_int_equal(check("q8_0", 0.51), 1);
}

static void test_numbers_that_are_not_finite_are_refused(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    size_t size;
    char *data = folder_read(model, "model.safetensors", &size);
    data[size - 1] = 0x7e; /* NaN */
    folder_write(model, "model.safetensors", data, size);
    free(data);
    assert_int_equal(ci_source_open(model, "q8_0", &gguf), CLINFER_BAD_FILE);
    assert_message("model.safetensors: tensor model.embed_tokens.weight: number [149999, 31]");
    assert_int_equal(count_kept(), 0);
}

/* The model is not to blame for what happened to the cache. */
static void test_kept_numbers_that_are_damaged_are_told_by_their_file(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    struct ci_threads *threads;
    struct ci_tensor used = {0}, *taken[] = {&used};
    assert_int_equal(check("q8_0", 0.51), 2);
    assert_int_equal(count_kept(), 1);
    FILE *file = fopen(kept, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 64 + 34, SEEK_SET), 0); /* the second block behind the head: its scale */
    fputs("\xff\x7f", file);
    fclose(file);
    assert_ok(ci_threads_create(1, &threads));
    assert_ok(ci_source_open(model, "q8_0", &gguf));
    assert_int_equal(ci_gguf_tensor_count(gguf), 1);
    const struct ci_model looked = {.gguf = gguf, .taken = taken};
    assert_int_equal(ci_model_check_numbers(&looked, threads), CLINFER_BAD_FILE);
    assert_message("/clinfer/weights/");
    assert_message("tensor model.embed_tokens.weight (q8_0): number [1, 0] is ");
    assert_message("remove this file");
    ci_gguf_close(gguf);
    ci_threads_destroy(threads);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_large_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_damaged_is_made_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_kept_is_made_in_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_numbers_that_are_not_finite_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_numbers_that_are_damaged_are_told_by_their_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
