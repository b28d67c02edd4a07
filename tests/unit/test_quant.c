#include "hub/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_names_say_their_quant(void **state) {
    (void)state;
    static const struct {
        const char *path, *quant;
    } cases[] = {
        {"qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", "Q4_K_M"},
        {"Llama-3.2-1B-Instruct.IQ3_XXS.gguf", "IQ3_XXS"},
        {"SmolLM2-135M-Instruct-f16.GGUF", "F16"},
        {"gemma-UD-Q4_K_XL.gguf", "Q4_K_XL"},
        {"gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"},
        {"m-q8_0-00001-of-00003.gguf", "Q8_0"},
        {"Q4_K_M/m-00002-of-00003.gguf", "Q4_K_M"},
        {"UD-Q2_K_XL/part-00001-of-00002.gguf", "UD-Q2_K_XL"},
        {"gguf/model-bf16/weights.gguf", "BF16"},
        {"model-Q4_0_4_8.gguf", "Q4_0_4_8"},
        {"model.gguf", ""},
        {"qwen2.5-7b.gguf", ""},
        {".gguf", ""},
        {"", ""},
        {"q4_k_m-abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz.gguf", ""},
    };
    char quant[CI_HUB_QUANT_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(ci_hub_quant_of(cases[i].path, quant), cases[i].quant);
}

static void test_what_is_no_model_is_known_by_its_name(void **state) {
    (void)state;
    static const char *const models[] = {"a.gguf", "x/B-q4_0.GGUF", "smtp-7b.gguf", "a-00002-of-00003.gguf"};
    static const char *const others[] = {"mmproj-a.gguf",   "a-mmproj-f16.gguf", "b.imatrix.gguf", "mtp-a.gguf",
                                         "a-mtp-q8_0.gguf", "eagle3-a.gguf",     "dflash-x.gguf",  "a.dspark-b.gguf",
                                         "a.gguf.part",     "README.md",         "gguf",           "x/mmproj.gguf"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (!ci_hub_is_model_file(models[i])) fail_msg("%s is a model", models[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ci_hub_is_model_file(others[i])) fail_msg("%s is no model", others[i]);
    assert_true(ci_hub_is_pickle("pytorch_model-00001-of-00002.bin"));
    assert_true(ci_hub_is_pickle("a/consolidated.00.PTH"));
    assert_false(ci_hub_is_pickle("model.safetensors"));
    assert_false(ci_hub_is_pickle("bin"));
}

static void test_quants_run_if_their_types_do(void **state) {
    (void)state;
    static const char *const run[] = {"Q4_K_M", "q4_k_xl",   "UD-Q8_K_XL", "IQ3_M",  "IQ2_XXS", "IQ1_M",
                                      "F16",    "fp16",      "BF16",       "Q6_K",   "Q5_1",    "IQ4_NL",
                                      "TQ1_0",  "MXFP4_MOE", "",           "Q2_K_S", "Q8_0",    "Q6_K_L"};
    static const char *const not [] = {"Q4_0_4_4", "Q8_K", "Q7_K_M", "F64", "IQ4_NL_4_4", "Q1_0_g128", "XYZ", "Q4_"};
    for (size_t i = 0; i < sizeof run / sizeof *run; i++)
        if (!ci_hub_quant_runs(run[i])) fail_msg("%s runs", run[i]);
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        if (ci_hub_quant_runs(not [i])) fail_msg("%s does not run", not [i]);
    assert_false(ci_hub_is_quant("latest"));
    assert_false(ci_hub_is_quant("main"));
    assert_false(ci_hub_is_quant("q"));
    assert_true(ci_hub_is_quant("ud-q4_k_xl"));
}

static void test_quants_are_preferred_in_order(void **state) {
    (void)state;
    static const char *const order[] = {"Q4_K_M", "q5_k_m", "Q6_K", "Q8_0", "Q4_0",
                                        "BF16",   "Q3_K_M", "F32",  "Q2_K", "IQ1_S"};
    for (size_t i = 1; i < sizeof order / sizeof *order; i++)
        assert_true(ci_hub_quant_rank(order[i - 1]) < ci_hub_quant_rank(order[i]));
    assert_int_equal(ci_hub_quant_rank("UD-Q4_K_XL"), ci_hub_quant_rank("Q4_K_XL"));
    assert_int_equal(ci_hub_quant_rank("MXFP4_MOE"), ci_hub_quant_rank("MXFP4"));
    assert_true(ci_hub_quant_rank("") > ci_hub_quant_rank("IQ1_S"));
    assert_true(ci_hub_quant_rank("Q4_K_M_X") == ci_hub_quant_rank(""));
}

static void test_tags_fit_in_any_case_where_a_mark_follows(void **state) {
    (void)state;
    static const struct {
        const char *path, *tag;
        int fits;
    } cases[] = {
        {"m-q4_k_m.gguf", "Q4_K_M", 3},
        {"m-Q4_K_M-00001-of-00002.gguf", "q4_k_m", 3},
        {"Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M", 3},
        {"m-q4_k_m.gguf", "Q4_K", 0},
        {"m-IQ4_XS.gguf", "Q4_XS", 1},
        {"m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", 2},
        {"m-UD-Q4_K_XL.gguf", "Q4_K_XL", 3},
        {"m-instruct-q8_0.gguf", "instruct", 2},
        {"m-q8_0.gguf", "m-q8_0", 3},
        {"m-q8_0.gguf", "m-q8_0.gguf", 3},
        {"m-q8_0.gguf", "", 0},
        {"m-q8_0.gguf", "gguf", 0},
        {"m-q8_0.gguf", "q9", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ci_hub_tag_fits(cases[i].path, cases[i].tag) != cases[i].fits)
            fail_msg("%s:%s fits %d, not %d", cases[i].path, cases[i].tag, ci_hub_tag_fits(cases[i].path, cases[i].tag),
                     cases[i].fits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_say_their_quant),
        cmocka_unit_test(test_what_is_no_model_is_known_by_its_name),
        cmocka_unit_test(test_quants_run_if_their_types_do),
        cmocka_unit_test(test_quants_are_preferred_in_order),
        cmocka_unit_test(test_tags_fit_in_any_case_where_a_mark_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
