/* tuner/problems.h and search.h: what is tuned, in which order candidates are tried, who wins. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/op_list.h"
#include "ops/signature.h"
#include "support/asserts.h"
#include "support/imagined_gpu.h"
#include "tensor/op_params.h"
#include "tuner/search.h"

static const char model_path[] = "tests/data/llama_tiny.gguf";

/* ---- problems ---- */

static void test_problems_are_those_of_the_model_each_once(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    assert_int_equal(problems.model_count, 1);
    for (int i = 0; i < problems.count; i++)
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(&problems.items[i].signature, &problems.items[k].signature,
                                    sizeof problems.items[i].signature);
    for (int run = 0; run < CI_TUNE_RUNS; run++) {
        assert_non_null(find_problem(&problems, "matmul", ci_tune_rows[run], "q8"));
        assert_non_null(find_problem(&problems, "matmul", ci_tune_rows[run], "f32"));
        assert_non_null(find_problem(&problems, "attention", ci_tune_rows[run], "f32"));
    }
    /* A fused op comes with its parts, which stand before it. */
    const struct ci_tune_problem *fused = find_problem(&problems, "matmul_add", 1, "q8");
    assert_non_null(fused);
    assert_true(fused->first >= 0 && fused->first < fused - problems.items);
    assert_string_equal(problems.items[fused->first].signature.op, "matmul");
    assert_string_equal(problems.items[fused->second].signature.op, "add");
    assert_int_equal(problems.items[fused->second].signature.n, fused->signature.n);
    /* The output matrix: of a prompt, as of a token, one row is wanted; of several sessions one of each. */
    int64_t vocabulary = 0, rows[CI_TUNE_RUNS] = {0};
    for (int i = 0; i < problems.count; i++)
        if (problems.items[i].signature.n > vocabulary) vocabulary = problems.items[i].signature.n;
    for (int i = 0; i < problems.use_count; i++) {
        const struct ci_profile_signature *signature = &problems.items[problems.uses[i].problem].signature;
        if (signature->n == vocabulary && strcmp(signature->op, "matmul") == 0)
            rows[problems.uses[i].run] = signature->rows;
    }
    for (int run = 0; run < CI_TUNE_RUNS; run++) assert_int_equal(rows[run], run == CI_TUNE_FEW ? 8 : 1);
    ci_problems_free(&problems);
}

/* Decoding behind pages full of others, a prompt from its start: each row sees the rows before it. */
static void test_work_of_attention_is_what_its_rows_see(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    for (int run = 0; run < CI_TUNE_RUNS; run++) {
        const struct ci_tune_problem *item = find_problem(&problems, "attention", ci_tune_rows[run], "f32");
        assert_non_null(item);
        double rows = (double)ci_tune_rows[run], before = (double)item->problem.context;
        double seen = rows * before + rows * (rows + 1) / 2;
        const int32_t *params = item->call.params.i;
        double products = (double)params[CI_ATTENTION_I_HEADS] * params[CI_ATTENTION_I_HEAD_DIM];
        assert_true(item->operations == 4 * seen * products);
        /* Keys and values in f16, of each tile of rows what its last row sees. */
        double tiles = ceil(rows / CI_TILE_ROWS);
        double keys = tiles * before + fmin(rows, CI_TILE_ROWS) * tiles * (tiles + 1) / 2;
        double cache = 4 * keys * params[CI_ATTENTION_I_KV_HEADS] * params[CI_ATTENTION_I_HEAD_DIM];
        assert_true(item->bytes >= cache && item->bytes < cache + 64 * 1024 + rows * products * 16);
    }
    ci_problems_free(&problems);
}

static void test_a_folder_is_a_model_too(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, "tests/data/folders/llama"));
    assert_int_equal(problems.model_count, 1);
    assert_string_equal(problems.models[0].name, "llama");
    assert_non_null(find_problem(&problems, "matmul", 1, "f32"));
    ci_problems_free(&problems);
}

static void test_another_copy_of_a_model_adds_no_problem(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    int count = problems.count;
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    assert_int_equal(problems.count, count);
    assert_int_equal(problems.models[0].fingerprint, problems.models[1].fingerprint);
    assert_int_equal(ci_problems_add_file(&problems, &caps, "/nonexistent.gguf"), CLINFER_NOT_FOUND);
    assert_int_equal(problems.model_count, 2);
    ci_problems_free(&problems);
}

static void test_standard_models_need_no_file(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_standard(&problems, &caps, 99));
    assert_true(problems.model_count >= 5);
    const struct ci_tune_problem *smol = NULL, *qwen = NULL;
    for (int i = 0; i < problems.count; i++) {
        const struct ci_profile_signature *signature = &problems.items[i].signature;
        if (signature->rows == 1 && signature->k == 576 && signature->n == 49152) smol = &problems.items[i];
        if (signature->rows == 1 && signature->k == 8960 && signature->n == 1536) qwen = &problems.items[i];
    }
    assert_non_null(smol);
    assert_non_null(qwen);
    ci_problems_free(&problems);
}

static unsigned kinds_of(const struct ci_problems *problems, int problem, int run) {
    unsigned kinds = 0;
    for (int i = 0; i < problems->use_count; i++)
        if (problems->uses[i].problem == problem && problems->uses[i].run == run) kinds |= 1u << problems->uses[i].kind;
    return kinds;
}

static void test_weights_follow_the_share_of_time(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_problems problems = {0};
    assert_ok(ci_problems_add_file(&problems, &caps, model_path));
    double *seconds = calloc((size_t)problems.count, sizeof *seconds),
           *weights = calloc((size_t)problems.count, sizeof *weights);
    bool *tuned = calloc((size_t)problems.count, sizeof *tuned);
    int heavy = (int)(find_problem(&problems, "matmul", 1, "q8") - problems.items);
    int f32 = -1; /* of a decode that rounds nothing, and of no other */
    for (int i = 0; i < problems.count && f32 < 0; i++)
        if (kinds_of(&problems, i, CI_TUNE_DECODE) == 1u << CI_TUNE_F32) f32 = i;
    assert_true(f32 >= 0 && kinds_of(&problems, heavy, CI_TUNE_DECODE) == 1u << CI_TUNE_Q8);
    for (int i = 0; i < problems.count; i++) seconds[i] = 1e-6;
    seconds[heavy] = 1e-3;
    ci_problems_weigh(&problems, seconds, weights);
    /* With activations in 8 bits it takes all the time, so nobody would choose them: its chance is small. */
    assert_true(weights[heavy] < weights[f32]);
    seconds[f32] = 1e-1;
    ci_problems_weigh(&problems, seconds, weights);
    assert_true(weights[heavy] > weights[f32]);
    double covered, all = ci_problems_run(&problems, seconds, 0, CI_TUNE_DECODE, NULL, NULL);
    tuned[heavy] = true;
    assert_true(ci_problems_run(&problems, seconds, 0, CI_TUNE_DECODE, tuned, &covered) == all);
    assert_true(covered > 0.9 && covered < 1);
    free(seconds);
    free(weights);
    free(tuned);
    ci_problems_free(&problems);
}

/* ---- the search ---- */

struct hunt {
    struct ci_problems problems;
    struct ci_caps caps;
    struct ci_search search;
    const struct ci_tune_problem *problem;
    uint64_t random_state;
};

static void hunt_start(struct hunt *hunt, const char *op, int64_t rows, const char *types) {
    *hunt = (struct hunt){.caps = imagined_gpu_caps(), .random_state = 7};
    assert_ok(ci_problems_add_file(&hunt->problems, &hunt->caps, model_path));
    hunt->problem = find_problem(&hunt->problems, op, rows, types);
    assert_non_null(hunt->problem);
    ci_search_init(&hunt->search, &hunt->caps, hunt->problem);
}

static void hunt_end(struct hunt *hunt) {
    ci_search_free(&hunt->search);
    ci_problems_free(&hunt->problems);
}

/* Asks to the end of this depth; returns how many. */
static int hunt_run(struct hunt *hunt, enum ci_search_depth depth) {
    struct ci_tuner_candidate candidate;
    int count = 0;
    while (ci_search_ask(&hunt->search, depth, &hunt->random_state, &candidate)) {
        struct ci_trial trial = {.outcome = CI_TRIAL_PASSED,
                                 .seconds = seconds_by_tunables(&hunt->problem->problem, &candidate)};
        assert_int_equal(ci_search_find(&hunt->search, &candidate), -1);
        assert_ok(ci_search_tell(&hunt->search, &candidate, &trial, trial.seconds));
        assert_true(++count < 2000);
    }
    return count;
}

static void test_search_begins_with_what_would_run_anyway(void **state) {
    (void)state;
    struct hunt hunt;
    struct ci_tuner_candidate candidate;
    hunt_start(&hunt, "matmul", 1, "q8");
    int first = 0;
    struct ci_call call = hunt.problem->call;
    while (ci_variants[first]->op != &ci_op_matmul || !ci_variant_fits(ci_variants[first], &hunt.caps, &call)) first++;
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_SEEDS, &hunt.random_state, &candidate));
    assert_ptr_equal(candidate.variant, ci_variants[first]);
    assert_true(has_defaults(&candidate));
    hunt_end(&hunt);
}

static void test_search_takes_seeds_before_other_variants(void **state) {
    (void)state;
    struct hunt hunt;
    struct ci_tuner_candidate candidate, seed;
    hunt_start(&hunt, "matmul", 1, "q8");
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_SEEDS, &hunt.random_state, &seed));
    seed.tunables[0] = 4;
    assert_ok(ci_search_seed(&hunt.search, &seed));
    /* A variant of another op does not fit and is forgotten. */
    struct ci_tuner_candidate stranger = seed;
    stranger.variant = ci_variant_find(&ci_op_add, CI_BACKEND_OPENCL, "portable");
    assert_non_null(stranger.variant);
    assert_ok(ci_search_seed(&hunt.search, &stranger));
    assert_int_equal(hunt_run(&hunt, CI_SEARCH_SEEDS), 2);
    assert_true(ci_candidates_equal(&hunt.search.points[1].candidate, &seed));
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_VARIANTS, &hunt.random_state, &candidate));
    hunt_end(&hunt);
}

static void test_search_tries_every_variant_in_every_layout(void **state) {
    (void)state;
    struct hunt hunt;
    hunt_start(&hunt, "matmul", 1, "q8");
    hunt_run(&hunt, CI_SEARCH_VARIANTS);
    for (int i = 0; ci_variants[i]; i++)
        for (int k = 0; ci_layouts[k]; k++) {
            struct ci_call call = hunt.problem->call;
            for (int w = 1; w <= 3; w++)
                if (call.in[w].type) call.in[w].layout = ci_layouts[k];
            bool own = !ci_variants[i]->weight_layout || ci_variants[i]->weight_layout == ci_layouts[k];
            if (ci_variants[i]->op != &ci_op_matmul || !own || !ci_variant_fits(ci_variants[i], &hunt.caps, &call))
                continue;
            bool found = false;
            for (int p = 0; p < hunt.search.count; p++)
                found = found || (hunt.search.points[p].candidate.variant == ci_variants[i] &&
                                  hunt.search.points[p].candidate.layout == ci_layouts[k]);
            if (!found) fail_msg("%s in layout %s was not tried", ci_variants[i]->name, ci_layouts[k]->name);
        }
    hunt_end(&hunt);
}

static void test_descent_finds_the_best_of_a_slope(void **state) {
    (void)state;
    struct hunt hunt;
    hunt_start(&hunt, "matmul", 512, "f32");
    int before = hunt_run(&hunt, CI_SEARCH_VARIANTS);
    int descent = hunt_run(&hunt, CI_SEARCH_DESCENT);
    assert_true(before > 0 && descent > 0);
    double best = INFINITY;
    for (int i = 0; i < hunt.search.count; i++) best = fmin(best, hunt.search.points[i].seconds);
    /* Whatever is left: none is faster. */
    hunt_run(&hunt, CI_SEARCH_RANDOM);
    for (int i = 0; i < hunt.search.count; i++)
        if (hunt.search.points[i].seconds < 0.999 * best)
            fail_msg("%s was missed: %g, found %g", hunt.search.points[i].candidate.variant->name,
                     hunt.search.points[i].seconds, best);
    hunt_end(&hunt);
}

static void test_ops_without_weights_have_no_layout(void **state) {
    (void)state;
    struct hunt hunt;
    hunt_start(&hunt, "attention", 1, "f32");
    assert_true(hunt_run(&hunt, CI_SEARCH_RANDOM) > 1);
    for (int i = 0; i < hunt.search.count; i++) assert_null(hunt.search.points[i].candidate.layout);
    assert_true(ci_search_best(&hunt.search, NULL) >= 0);
    assert_int_equal(ci_search_best(&hunt.search, &ci_layout_stored), -1);
    hunt_end(&hunt);
}

static void test_a_default_that_fails_has_a_successor(void **state) {
    (void)state;
    struct hunt hunt;
    struct ci_tuner_candidate candidate;
    hunt_start(&hunt, "matmul", 1, "q8");
    assert_true(ci_search_ask(&hunt.search, CI_SEARCH_VARIANTS, &hunt.random_state, &candidate));
    struct ci_trial trial = {.outcome = CI_TRIAL_CRASHED};
    assert_ok(ci_search_tell(&hunt.search, &candidate, &trial, 1));
    assert_int_equal(ci_search_overall_default(&hunt.search), -1);
    hunt_run(&hunt, CI_SEARCH_VARIANTS);
    int index = ci_search_overall_default(&hunt.search);
    assert_int_equal(index, 1);
    assert_int_equal(hunt.search.crashed, 1);
    assert_false(ci_candidates_equal(&hunt.search.points[index].candidate, &candidate));
    hunt_end(&hunt);
}

static void test_a_winner_needs_three_percent(void **state) {
    (void)state;
    /* default, old, fastest */
    assert_int_equal(ci_search_winner((double[]){1.00, INFINITY, 0.98}, 0, -1, 2, CI_SEARCH_GAIN), 0);
    assert_int_equal(ci_search_winner((double[]){1.00, INFINITY, 0.96}, 0, -1, 2, CI_SEARCH_GAIN), 2);
    /* ... over the old profile's too */
    assert_int_equal(ci_search_winner((double[]){1.00, 0.80, 0.79}, 0, 1, 2, CI_SEARCH_GAIN), 1);
    assert_int_equal(ci_search_winner((double[]){1.00, 0.80, 0.77}, 0, 1, 2, CI_SEARCH_GAIN), 2);
    /* The old one stays as long as the default is not clearly faster. */
    assert_int_equal(ci_search_winner((double[]){0.99, 1.00, 0.99}, 0, 1, 2, CI_SEARCH_GAIN), 1);
    assert_int_equal(ci_search_winner((double[]){0.80, 1.00, 0.80}, 0, 1, 2, CI_SEARCH_GAIN), 0);
    /* Without either, whoever passed. */
    assert_int_equal(ci_search_winner((double[]){INFINITY, INFINITY, 5}, -1, -1, 2, CI_SEARCH_GAIN), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems_are_those_of_the_model_each_once),
        cmocka_unit_test(test_work_of_attention_is_what_its_rows_see),
        cmocka_unit_test(test_a_folder_is_a_model_too),
        cmocka_unit_test(test_another_copy_of_a_model_adds_no_problem),
        cmocka_unit_test(test_standard_models_need_no_file),
        cmocka_unit_test(test_weights_follow_the_share_of_time),
        cmocka_unit_test(test_search_begins_with_what_would_run_anyway),
        cmocka_unit_test(test_search_takes_seeds_before_other_variants),
        cmocka_unit_test(test_search_tries_every_variant_in_every_layout),
        cmocka_unit_test(test_descent_finds_the_best_of_a_slope),
        cmocka_unit_test(test_ops_without_weights_have_no_layout),
        cmocka_unit_test(test_a_default_that_fails_has_a_successor),
        cmocka_unit_test(test_a_winner_needs_three_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
