/* Which files of a repo are taken: trees as the Hub tells them, by name and size alone. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "hub/choose.h"

#define MIB ((uint64_t)1000000)

enum { MOST = 32 };

/* A tree of "path" or "path:MB", ended by NULL. */
struct sample {
    struct ci_hub_file files[MOST];
    char paths[MOST][128];
    struct ci_hub_tree tree;
};

static const struct ci_hub_tree *make(struct sample *sample, const char *const *names) {
    memset(sample, 0, sizeof *sample);
    for (size_t i = 0; names[i]; i++) {
        unsigned size = 1;
        assert_true(sscanf(names[i], "%127[^:]:%u", sample->paths[i], &size) >= 1);
        sample->files[i] = (struct ci_hub_file){.path = sample->paths[i], .size = size * MIB};
        sample->tree.count++;
    }
    sample->tree.files = sample->files;
    strcpy(sample->tree.repo, "user/model");
    return &sample->tree;
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What is taken, one after the other: "a.gguf b.gguf". */
static void expect(const char *const *names, struct ci_hub_wish wish, const char *taken) {
    struct sample sample;
    struct ci_hub_choice choice;
    char list[1024] = "";
    if (ci_hub_choose(make(&sample, names), &wish, &choice) != CLINFER_OK) fail_msg("%s", ci_status_message());
    uint64_t bytes = 0;
    for (size_t i = 0; i < choice.count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? " " : "", sample.paths[choice.files[i]]);
        bytes += sample.files[choice.files[i]].size;
    }
    assert_string_equal(list, taken);
    assert_int_equal(bytes, choice.bytes);
    ci_hub_choice_free(&choice);
}

/* Every text of `said`, ended by NULL, is in the message. */
static void refuse(const char *const *names, struct ci_hub_wish wish, enum clinfer_status status,
                   const char *const *said) {
    struct sample sample;
    struct ci_hub_choice choice;
    assert_int_equal(ci_hub_choose(make(&sample, names), &wish, &choice), status);
    for (; *said; said++)
        if (!strstr(ci_status_message(), *said)) fail_msg("\"%s\" is not in: %s", *said, ci_status_message());
    ci_hub_choice_free(&choice);
}

static const char *const quants[] = {
    "README.md",       "m-IQ2_XXS.gguf:300", "m-Q4_0_4_8.gguf:480",  "m-Q4_K_M.gguf:500", "m-Q8_0.gguf:900",
    "m-f16.gguf:1800", "m-q2_k.gguf:350",    "mmproj-m-f16.gguf:50", "preset.ini",        NULL};

static void test_without_a_tag_the_best_that_fits_is_taken(void **state) {
    (void)state;
    expect(quants, (struct ci_hub_wish){.memory = 0}, "m-Q4_K_M.gguf");
    expect(quants, (struct ci_hub_wish){.memory = 4096 * MIB}, "m-Q4_K_M.gguf");
    expect(quants, (struct ci_hub_wish){.memory = 700 * MIB}, "m-q2_k.gguf");
    expect(quants, (struct ci_hub_wish){.memory = 600 * MIB}, "m-IQ2_XXS.gguf");
    expect(NAMES("a-q4_0.gguf", "a-q8_0.gguf"), (struct ci_hub_wish){0}, "a-q8_0.gguf");
    expect(NAMES("only.gguf"), (struct ci_hub_wish){0}, "only.gguf");
    expect(NAMES("b-XY.gguf", "b-Q4_0.gguf"), (struct ci_hub_wish){0}, "b-Q4_0.gguf");
}

static void test_the_reason_says_what_was_passed_over(void **state) {
    (void)state;
    struct sample sample;
    struct ci_hub_choice choice;
    assert_int_equal(ci_hub_choose(make(&sample, quants), &(struct ci_hub_wish){.memory = 700 * MIB}, &choice),
                     CLINFER_OK);
    assert_non_null(strstr(choice.reason, "Q2_K (350 MB)"));
    assert_non_null(strstr(choice.reason, "Q4_K_M (500 MB) does not fit the memory of this machine (700 MB)"));
    assert_string_equal(choice.quant, "Q2_K");
    assert_string_equal(choice.warning, "");
    ci_hub_choice_free(&choice);
    assert_int_equal(ci_hub_choose(make(&sample, quants), &(struct ci_hub_wish){.memory = 4096 * MIB}, &choice),
                     CLINFER_OK);
    assert_non_null(strstr(choice.reason, "fits the memory of this machine (4.10 GB)"));
    ci_hub_choice_free(&choice);
}

static void test_what_fits_no_memory_is_refused_unless_it_is_named(void **state) {
    (void)state;
    refuse(quants, (struct ci_hub_wish){.memory = 400 * MIB}, CLINFER_OUT_OF_MEMORY,
           NAMES("IQ2_XXS", "598 MB", "400 MB", "user/model:IQ2_XXS"));
    expect(quants, (struct ci_hub_wish){.memory = 400 * MIB, .tag = "f16"}, "m-f16.gguf");
    struct sample sample;
    struct ci_hub_choice choice;
    assert_int_equal(
        ci_hub_choose(make(&sample, quants), &(struct ci_hub_wish){.memory = 400 * MIB, .tag = "F16"}, &choice),
        CLINFER_OK);
    assert_non_null(strstr(choice.warning, "400 MB"));
    ci_hub_choice_free(&choice);
}

static void test_tags_mean_files(void **state) {
    (void)state;
    expect(quants, (struct ci_hub_wish){.tag = "q8_0"}, "m-Q8_0.gguf");
    expect(quants, (struct ci_hub_wish){.tag = "m-q2_k.gguf"}, "m-q2_k.gguf");
    expect(NAMES("xchat-Q4_K_M.gguf", "chat-Q8_0.gguf"), (struct ci_hub_wish){.tag = "chat"}, "chat-Q8_0.gguf");
    expect(NAMES("chat-Q8_0.gguf", "chat-Q4_K_M.gguf", "base-Q4_K_M.gguf"), (struct ci_hub_wish){.tag = "chat"},
           "chat-Q4_K_M.gguf");
    refuse(quants, (struct ci_hub_wish){.tag = "Q9_X"}, CLINFER_NOT_FOUND,
           NAMES("no file of quant Q9_X", "IQ2_XXS (300 MB)", "Q4_K_M (500 MB)", "F16 (1.80 GB)"));
    refuse(quants, (struct ci_hub_wish){.tag = "Q4_0_4_8"}, CLINFER_UNSUPPORTED, NAMES("Q4_0_4_8", "Q4_K_M (500 MB)"));
    refuse(NAMES("a-Q4_0_8_8.gguf"), (struct ci_hub_wish){0}, CLINFER_UNSUPPORTED, NAMES("Q4_0_8_8"));
}

static void test_all_parts_of_a_split_model_are_taken_the_first_first(void **state) {
    (void)state;
    const char *const *names =
        NAMES("Q4_K_M/m-Q4_K_M-00002-of-00002.gguf:100", "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf:400",
              "Q8_0/m-Q8_0-00001-of-00003.gguf:800", "Q8_0/m-Q8_0-00003-of-00003.gguf:900");
    const char *both = "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf Q4_K_M/m-Q4_K_M-00002-of-00002.gguf";
    expect(names, (struct ci_hub_wish){0}, both);
    expect(names, (struct ci_hub_wish){.tag = "q4_k_m"}, both);
    expect(names, (struct ci_hub_wish){.file = "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf"}, both);
    expect(names, (struct ci_hub_wish){.file = "m-q4_k_m-00001-of-00002.gguf"}, both);
    refuse(names, (struct ci_hub_wish){.tag = "Q8_0"}, CLINFER_NOT_FOUND, NAMES("2 of its 3 parts"));
    refuse(names, (struct ci_hub_wish){.memory = 500 * MIB}, CLINFER_OUT_OF_MEMORY, NAMES("user/model:Q4_K_M"));
}

static void test_files_are_found_by_name(void **state) {
    (void)state;
    expect(quants, (struct ci_hub_wish){.file = "m-Q8_0.gguf"}, "m-Q8_0.gguf");
    expect(quants, (struct ci_hub_wish){.file = "M-q8_0.gguf"}, "m-Q8_0.gguf");
    expect(quants, (struct ci_hub_wish){.file = "README.md"}, "README.md");
    refuse(quants, (struct ci_hub_wish){.file = "x.gguf"}, CLINFER_NOT_FOUND, NAMES("x.gguf", "Q8_0 (900 MB)"));
    refuse(quants, (struct ci_hub_wish){.file = "mmproj-m-f16.gguf"}, CLINFER_UNSUPPORTED, NAMES("mmproj-m-f16.gguf"));
}

static void test_pickles_are_never_taken(void **state) {
    (void)state;
    const char *const *names = NAMES("pytorch_model.bin:500", "config.json", "tokenizer.json");
    refuse(names, (struct ci_hub_wish){0}, CLINFER_UNSUPPORTED, NAMES("pytorch_model.bin", "pickle", "never fetches"));
    refuse(names, (struct ci_hub_wish){.file = "pytorch_model.bin"}, CLINFER_UNSUPPORTED, NAMES("pickle"));
    refuse(names, (struct ci_hub_wish){.tag = "Q4_K_M"}, CLINFER_UNSUPPORTED, NAMES("pickle"));
    refuse(NAMES("README.md"), (struct ci_hub_wish){0}, CLINFER_NOT_FOUND, NAMES("no model", "user/model-GGUF"));
    expect(NAMES("pytorch_model.bin", "config.json", "model.safetensors"), (struct ci_hub_wish){0},
           "model.safetensors config.json");
}

static void test_a_folder_is_weights_and_what_lies_beside_them(void **state) {
    (void)state;
    expect(NAMES("README.md", "config.json", "consolidated.safetensors:900", "generation_config.json",
                 "model-00001-of-00002.safetensors:500", "model-00002-of-00002.safetensors:400",
                 "model.safetensors.index.json", "onnx/model.safetensors", "pytorch_model.bin", "tokenizer.json",
                 "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer.model"),
           (struct ci_hub_wish){0},
           "model-00001-of-00002.safetensors model-00002-of-00002.safetensors config.json generation_config.json "
           "model.safetensors.index.json tokenizer.json tokenizer_config.json chat_template.jinja "
           "special_tokens_map.json tokenizer.model");
    expect(NAMES("config.json", "model-bf16.safetensors", "model.safetensors"), (struct ci_hub_wish){0},
           "model.safetensors config.json");
    expect(NAMES("config.json", "weights.safetensors"), (struct ci_hub_wish){0}, "weights.safetensors config.json");
    refuse(NAMES("config.json", "model.safetensors"), (struct ci_hub_wish){.tag = "Q4_K_M"}, CLINFER_NOT_FOUND,
           NAMES("SafeTensors", "user/model-GGUF", "leave \":Q4_K_M\" away"));
    refuse(NAMES("model.safetensors"), (struct ci_hub_wish){0}, CLINFER_UNSUPPORTED, NAMES("config.json"));
    struct sample sample;
    struct ci_hub_choice choice;
    const struct ci_hub_tree *tree = make(&sample, NAMES("config.json", "model.safetensors:2000"));
    assert_int_equal(ci_hub_choose(tree, &(struct ci_hub_wish){.memory = 1024 * MIB}, &choice), CLINFER_OK);
    assert_true(choice.folder);
    assert_non_null(strstr(choice.warning, "--type q4_k"));
    ci_hub_choice_free(&choice);
}

static void test_a_tokenizer_is_its_files(void **state) {
    (void)state;
    struct sample sample;
    struct ci_hub_choice choice = {0};
    const struct ci_hub_tree *tree =
        make(&sample, NAMES("a/tokenizer.json", "config.json", "tokenizer_config.json", "x-tokenizer.json"));
    assert_int_equal(ci_hub_choose_tokenizer(tree, "", &choice), 0);
    assert_int_equal(ci_hub_choose_tokenizer(tree, "a/", &choice), 1);
    assert_int_equal(choice.files[0], 0);
    ci_hub_choice_free(&choice);
    tree = make(&sample, NAMES("tokenizer_config.json", "tokenizer.model", "tokenizer.json"));
    assert_int_equal(ci_hub_choose_tokenizer(tree, "", &choice), 3);
    assert_int_equal(choice.files[0], 2);
    ci_hub_choice_free(&choice);
}

static void test_sizes_that_add_up_to_too_much_fit_nowhere(void **state) {
    (void)state;
    struct sample sample;
    struct ci_hub_choice choice;
    const struct ci_hub_tree *tree = make(&sample, NAMES("a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"));
    sample.files[0].size = sample.files[1].size = UINT64_MAX - 5;
    assert_int_equal(ci_hub_choose(tree, &(struct ci_hub_wish){.memory = 1024 * MIB}, &choice), CLINFER_OUT_OF_MEMORY);
    ci_hub_choice_free(&choice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_tag_the_best_that_fits_is_taken),
        cmocka_unit_test(test_the_reason_says_what_was_passed_over),
        cmocka_unit_test(test_what_fits_no_memory_is_refused_unless_it_is_named),
        cmocka_unit_test(test_tags_mean_files),
        cmocka_unit_test(test_all_parts_of_a_split_model_are_taken_the_first_first),
        cmocka_unit_test(test_files_are_found_by_name),
        cmocka_unit_test(test_pickles_are_never_taken),
        cmocka_unit_test(test_a_folder_is_weights_and_what_lies_beside_them),
        cmocka_unit_test(test_a_tokenizer_is_its_files),
        cmocka_unit_test(test_sizes_that_add_up_to_too_much_fit_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
