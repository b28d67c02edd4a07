/* Models in folders as the Hub has them compute what their twins in GGUF do: logits.bin of each was recorded with
 * llama.cpp on a twin in F32 that was made from the same numbers (scripts/make_folder.py; its build as
 * scripts/peer.sh --exact makes it, whose GELU reads no table of 16-bit floats). */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/asserts.h"
#include "support/folder.h"

static const char root[] = "tests/data/folders";
enum { TOKENS = 12 };

/* [TOKENS, vocabulary] of the tokens that the recorded logits belong to. */
static float *compute(const char *path, const char *type, int *vocabulary) {
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    clinfer_session *session;
    struct clinfer_session_options session_options;
    int32_t tokens[TOKENS];
    struct clinfer_engine_info info;
    clinfer_engine_options_default(&options);
    options.model = path;
    options.weight_type = type;
    options.device = "cpu";
    options.activations = CLINFER_ACTIVATIONS_F32;
    options.key_type = options.value_type = CLINFER_CACHE_F32;
    options.all_logits = true;
    assert_ok(clinfer_engine_open(&options, &engine));
    clinfer_engine_get_info(engine, &info);
    *vocabulary = info.vocabulary;
    for (int i = 0; i < TOKENS; i++) tokens[i] = (int32_t)((i * 7919LL + 13) % *vocabulary);
    float *logits = malloc((size_t)TOKENS * (size_t)*vocabulary * sizeof *logits);
    assert_non_null(logits);
    clinfer_session_options_default(engine, &session_options);
    assert_ok(clinfer_session_create(engine, &session_options, &session));
    assert_ok(clinfer_logits(session, tokens, TOKENS, true, logits));
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
    return logits;
}

/* Of `ours` from the recorded ones of a folder. */
static double nmse(const char *folder, const float *ours, int vocabulary) {
    size_t size, count = (size_t)TOKENS * (size_t)vocabulary;
    char *bytes = folder_read(folder, "logits.bin", &size);
    double error = 0, square = 0;
    assert_int_equal(size, count * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        float truth;
        memcpy(&truth, bytes + i * sizeof truth, sizeof truth);
        error += ((double)ours[i] - (double)truth) * ((double)ours[i] - (double)truth);
        square += (double)truth * (double)truth;
    }
    free(bytes);
    return error / square;
}

static void check(const char *folder, const char *type, double most) {
    int vocabulary;
    float *logits = compute(folder, type, &vocabulary);
    double found = nmse(folder, logits, vocabulary);
    print_message("%s%s%s: NMSE %.2e\n", folder, type ? " as " : "", type ? type : "", found);
    if (!(found <= most))
        fail_msg("%s%s%s: NMSE %.3e, allowed %.0e", folder, type ? " as " : "", type ? type : "", found, most);
    free(logits);
}

static void test_folders_compute_what_their_twins_do(void **state) {
    (void)state;
    DIR *folders = opendir(root);
    int count = 0;
    assert_non_null(folders);
    for (struct dirent *entry; (entry = readdir(folders));) {
        char path[300];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", root, entry->d_name);
        check(path, NULL, 1e-9);
        count++;
    }
    closedir(folders);
    assert_true(count >= 35);
}

/* With 8 and 4 bits it is the same model still; with another order of rows it would be none. */
static void test_quantised_folders_stay_the_same_model(void **state) {
    (void)state;
    check("tests/data/folders/llama", "f32", 1e-9);
    check("tests/data/folders/llama", "q8_0", 1e-3);
    check("tests/data/folders/llama", "q4_0", 3e-1);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders_compute_what_their_twins_do),
        cmocka_unit_test(test_quantised_folders_stay_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
