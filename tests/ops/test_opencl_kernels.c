/* Every OpenCL variant, on every OpenCL device, on cases of its op: through the gate, guards included.
 *
 * A variant that a device would not choose by itself (those for GPUs on a CPU device) is forced, by asking whether it
 * fits for each kind of device. All cases, layouts and values of tunables of all variants are some thousand programs,
 * of half a second each on PoCL: a part of them is drawn (support/sampling.h), in which every variant runs.
 * Environment: CLINFER_TEST_DEVICE=<index> only that device; CLINFER_TEST_VARIANT=<text> only variants whose "op/name"
 * contains it; CLINFER_TEST_SMALL=1 only the cheapest cases, for Oclgrind; CLINFER_TEST_CACHE=<folder> keeps the built
 * programs. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"
#include "device/kernels.h"
#include "ops/op_list.h"
#include "proof/device_call.h"
#include "proof/known_answer.h"
#include "support/cache_overflow.h"
#include "support/sampling.h"
#include "tensor/op_params.h"

static struct ci_device *device;
static int runs, refused;
static bool small_only;
static const char *only;

/* Arithmetic of a case, to leave out what a simulator cannot do in time. */
static double work_of(const struct ci_sample_call *sample) {
    const struct ci_view *out = &sample->call.out[0];
    return sample->op->operations ? sample->op->operations(&sample->call) : (double)out->rows * (double)out->cols;
}
enum { MOST_SMALL_WORK = 300000 };

/* Whether the variant can run here, preference by kind of device aside. */
static bool can_run(const struct ci_variant *variant, const struct ci_call *call) {
    struct ci_device_caps caps = *ci_device_caps(device);
    struct ci_caps all = {.cpu = ci_cpu_features(), .device = &caps, .threads = 1};
    if (ci_variant_fits(variant, &all, call)) return true;
    caps.dot4 = true; /* spelled out where the compiler has it not */
    for (int kind = CI_DEVICE_GPU; kind <= CI_DEVICE_CPU; kind++) {
        caps.kind = (enum ci_device_kind)kind;
        if (ci_variant_fits(variant, &all, call)) return true;
    }
    return false;
}

static void describe(const struct ci_variant *variant, const char *shape, const struct ci_layout *layout,
                     const int *tunables, const char *what) {
    print_error("%s: %s/%s, case \"%s\"%s%s", ci_device_caps(device)->name, variant->op->name, variant->name, shape,
                layout ? ", layout " : "", layout ? layout->name : "");
    for (int i = 0; variant->tunables && variant->tunables[i].name; i++)
        print_error(" %s=%d", variant->tunables[i].name, tunables[i]);
    print_error(": %s\n", what);
}

/* One run through the gate; true when it passes. State outputs begin as in `start`, all others as NaN. A work-group
 * that the device cannot do is no failure. */
static bool passes(const struct ci_variant *variant, const char *shape, struct ci_device_call *call,
                   const struct ci_sample_call *start, const struct ci_sample_call *expected,
                   const struct ci_layout *layout, const int *tunables, bool quiet) {
    struct ci_sample_call actual;
    struct ci_gate_result result = {0};
    int output;
    char what[400] = "";
    assert_int_equal(ci_sample_copy(start, &actual), CLINFER_OK);
    for (int i = 0; i < expected->op->outputs; i++)
        if (!(expected->op->state_outputs >> i & 1))
            memset(actual.call.out[i].data, 0xff, ci_view_bytes(&actual.call.out[i]));
    enum clinfer_status status = ci_device_call_run(call, variant, tunables, &actual);
    bool passed = status == CLINFER_OK;
    if (status == CLINFER_UNSUPPORTED) {
        passed = true;
    } else if (!passed) {
        snprintf(what, sizeof what, "%s", clinfer_error());
    } else if (!ci_sample_guards_hold(&actual, &output)) {
        snprintf(what, sizeof what, "wrote outside output %d", output);
        passed = false;
    } else {
        assert_int_equal(ci_gate_compare(expected->op, &expected->call, &actual.call, &result), CLINFER_OK);
        passed = result.passed;
        snprintf(what, sizeof what, "NMSE %.3g, worst %.3g of the bound: %s", result.nmse, result.worst, result.text);
    }
    if (!passed && !quiet) describe(variant, shape, layout, tunables, what);
    runs++;
    ci_sample_destroy(&actual);
    return passed;
}

/* The defaults, then allowed values of each tunable with the others at their default: none, a third of the ends of its
 * range, a third of all, or all. */
enum tunables_tried { TUNABLES_DEFAULT, TUNABLES_ENDS, TUNABLES_SOME, TUNABLES_ALL };
enum { ONE_VALUE_IN = 3 };

static void run_values(const struct ci_variant *variant, const char *shape, struct ci_device_call *call,
                       const struct ci_sample_call *start, const struct ci_sample_call *expected,
                       const struct ci_layout *layout, enum tunables_tried tried) {
    int values[CI_MAX_TUNABLES] = {0};
    ci_bind_defaults(variant, values);
    if (!passes(variant, shape, call, start, expected, layout, values, false)) refused++;
    for (int i = 0; tried != TUNABLES_DEFAULT && variant->tunables && variant->tunables[i].name; i++) {
        const struct ci_tunable *tunable = &variant->tunables[i];
        int others[12], count = 0;
        char set[160];
        for (int k = 0; k < 12 && tunable->allowed[k]; k++) {
            bool end = k == 0 || tunable->allowed[k + 1] == 0;
            if (tunable->allowed[k] != tunable->value && (tried != TUNABLES_ENDS || end))
                others[count++] = tunable->allowed[k];
        }
        snprintf(set, sizeof set, "%s/%s %s", variant->op->name, variant->name, tunable->name);
        for (int k = 0; k < count; k++) {
            if (!sampling_takes(set, k, count, tried == TUNABLES_ALL || small_only ? 1 : ONE_VALUE_IN)) continue;
            values[i] = others[k];
            if (!passes(variant, shape, call, start, expected, layout, values, false)) refused++;
        }
        values[i] = tunable->value;
    }
}

static bool wanted(const struct ci_variant *variant) {
    char name[128];
    snprintf(name, sizeof name, "%s/%s", variant->op->name, variant->name);
    return variant->backend != CI_BACKEND_CPU && (!only || strstr(name, only));
}

/* Building is what costs time, and cases that share a program cost little: so programs are drawn, and each one that was
 * drawn does all its cases. A program is known by the type and the layout of its weights, where there are none by its
 * case. */
enum { MOST_VARIANTS = 256, PROGRAMS = 64 };
static uint64_t programs[MOST_VARIANTS]; /* that can run here, a bit each */
static int cases_done[MOST_VARIANTS];

static int type_index(const struct ci_type *type) {
    int index = 0;
    while (ci_types[index] != type) index++;
    return index;
}

static bool is_own_choice(const struct ci_variant *variant, const struct ci_call *call) {
    struct ci_caps caps = {.cpu = ci_cpu_features(), .device = ci_device_caps(device), .threads = 1};
    return ci_variant_fits(variant, &caps, call);
}

static int program_of(const struct ci_view *weight, int case_index) {
    int program = weight ? 2 * type_index(weight->type) + (weight->layout == &ci_layout_r16) : case_index;
    assert_true(program < PROGRAMS);
    return program;
}

/* Whether this program of the variant is drawn: more of them where the device would choose the variant by itself, one
 * of matmul_add, which is matmul with one term more; of those with weights five or three, however many types there are.
 * Neighbours among the variants take different types. One variant shows that load_words, the other way to read weights
 * than load_block, is right, for a third of the types. */
static bool is_drawn(int v, const struct ci_call *call, const struct ci_view *weight, int program) {
    const struct ci_variant *variant = ci_variants[v];
    bool own = is_own_choice(variant, call);
    if (small_only) return true;
    if (weight && strcmp(variant->source, "matmul_gemm_dot.cl") == 0 && variant->op != &ci_op_matmul_add) {
        bool both_layouts = (programs[v] >> (program & ~1) & 3) == 3;
        return sampling_takes("load_words", program / 2, PROGRAMS / 2, 3) &&
               (!both_layouts || sampling_takes("layouts of load_words", program / 2 + program % 2, 2, 2));
    }
    assert_true(programs[v] >> program & 1);
    int count = __builtin_popcountll(programs[v]),
        rank = __builtin_popcountll(programs[v] & ((UINT64_C(1) << program) - 1));
    int one_in = own ? 1 : variant->op->first ? 8 : 3;
    if (weight) one_in = variant->op == &ci_op_matmul_add ? PROGRAMS : (count + (own ? 4 : 2)) / (own ? 5 : 3);
    return sampling_takes(variant->op->name, (rank + v) % count, count, one_in);
}

/* A variant with the weights in one layout. */
static void run_variant(int v, const char *shape, struct ci_device_call *call, const struct ci_sample_call *sample,
                        const struct ci_sample_call *expected, const struct ci_layout *layout) {
    const struct ci_variant *variant = ci_variants[v];
    bool own = is_own_choice(variant, &call->call), first = cases_done[v]++ == 0;
    enum tunables_tried tried = TUNABLES_DEFAULT;
    if (first && variant->op != &ci_op_matmul_add && (own || !variant->op->first))
        tried = own ? TUNABLES_SOME : TUNABLES_ENDS;
    if (sampling_all()) tried = TUNABLES_ALL;
    run_values(variant, shape, call, sample, expected, layout, tried);
}

/* The case with its weights in this layout, without data; *weight NULL where it has none. false: there is no such case.
 */
static bool look_at_case(const struct ci_op *op, const struct ci_case *shape, const struct ci_layout *layout,
                         struct ci_call *call, const struct ci_view **weight) {
    *weight = NULL;
    if (!ci_proof_signature(op, shape, call)) return false;
    for (int i = op->inputs - 1; i >= 0; i--) {
        if (!(op->weight_inputs >> i & 1) || !call->in[i].type) continue;
        if (layout != &ci_layout_stored) call->in[i].layout = layout;
        *weight = &call->in[i];
    }
    return *weight ? ci_layout_fits(layout, (*weight)->type, (*weight)->cols) : layout == &ci_layout_stored;
}

static bool is_candidate(int v, const struct ci_op *op, const struct ci_layout *layout, const struct ci_call *call) {
    const struct ci_variant *variant = ci_variants[v];
    return variant->op == op && wanted(variant) && (!variant->weight_layout || variant->weight_layout == layout) &&
           can_run(variant, call);
}

static void note_programs(const struct ci_op *op, const struct ci_case *shape, int case_index,
                          const struct ci_layout *layout) {
    struct ci_call call;
    const struct ci_view *weight;
    if (!look_at_case(op, shape, layout, &call, &weight)) return;
    for (int v = 0; ci_variants[v]; v++) {
        assert_true(v < MOST_VARIANTS);
        if (is_candidate(v, op, layout, &call)) programs[v] |= UINT64_C(1) << program_of(weight, case_index);
    }
}

/* Variants of one op on one case, those whose program is drawn. Its data are made where there is one. */
static void run_case(const struct ci_op *op, const struct ci_case *shape, int case_index,
                     const struct ci_layout *layout) {
    struct ci_call look;
    const struct ci_view *weight;
    struct ci_sample_call sample, expected;
    struct ci_device_call call;
    bool drawn[MOST_VARIANTS] = {false}, any = false;
    if (!look_at_case(op, shape, layout, &look, &weight)) return;
    for (int v = 0; ci_variants[v]; v++)
        if (is_candidate(v, op, layout, &look))
            any |= drawn[v] = is_drawn(v, &look, weight, program_of(weight, case_index));
    if (!any) return;
    if (ci_sample_create(op, shape, 42, &sample) != CLINFER_OK)
        fail_msg("%s, case \"%s\": %s", op->name, shape->name, clinfer_error());
    if (!small_only || work_of(&sample) <= MOST_SMALL_WORK) {
        assert_int_equal(ci_sample_copy(&sample, &expected), CLINFER_OK);
        assert_int_equal(ci_op_reference(op, &expected.call), CLINFER_OK);
        assert_int_equal(ci_device_call_create(device, &sample, layout, &call), CLINFER_OK);
        for (int v = 0; ci_variants[v]; v++)
            if (drawn[v]) run_variant(v, shape->name, &call, &sample, &expected, layout);
        ci_device_call_destroy(&call);
        ci_sample_destroy(&expected);
    }
    ci_sample_destroy(&sample);
}

static const struct ci_op *current_op;

/* Case `index` of the op; of ops that make codes each is there twice, the second time for codes of 16 bits. NULL: there
 * are no more. */
static const struct ci_case *case_at(const struct ci_op *op, int index, struct ci_case *own) {
    int widths = ci_op_rounds(op) ? 2 : 1;
    *own = op->cases[index / widths];
    if (index % widths) own->params.i[CI_QUANTISE_I_16_BITS] = 1;
    return own->name ? own : NULL;
}

static void test_variants_match_the_reference(void **state) {
    (void)state;
    refused = runs = 0;
    static const struct ci_layout *const layouts[] = {&ci_layout_stored, &ci_layout_r16};
    struct ci_case shape;
    for (int i = 0; case_at(current_op, i, &shape); i++)
        for (int l = 0; l < 2; l++) note_programs(current_op, &shape, i, layouts[l]);
    for (int i = 0; case_at(current_op, i, &shape); i++)
        for (int l = 0; l < 2; l++) run_case(current_op, &shape, i, layouts[l]);
    for (int v = 0; ci_variants[v]; v++)
        if (ci_variants[v]->op == current_op && wanted(ci_variants[v]) && !cases_done[v])
            print_message("%s: %s/%s runs no case here\n", ci_device_caps(device)->name, current_op->name,
                          ci_variants[v]->name);
    print_message("%s: op %s: %d runs, %d refused\n", ci_device_caps(device)->name, current_op->name, runs, refused);
    if (refused) fail_msg("op %s: %d of %d runs refused", current_op->name, refused, runs);
}

static void check_overflow(const struct ci_op *op, const struct ci_case *shape) {
    struct ci_sample_call sample, actual;
    struct ci_device_call call;
    assert_int_equal(ci_sample_create(op, shape, 1, &sample), CLINFER_OK);
    cache_overflow_fill(&sample);
    assert_int_equal(ci_device_call_create(device, &sample, NULL, &call), CLINFER_OK);
    for (int v = 0; ci_variants[v]; v++) {
        int values[CI_MAX_TUNABLES] = {0};
        if (ci_variants[v]->op != op || !can_run(ci_variants[v], &sample.call)) continue;
        ci_bind_defaults(ci_variants[v], values);
        assert_int_equal(ci_sample_copy(&sample, &actual), CLINFER_OK);
        if (ci_device_call_run(&call, ci_variants[v], values, &actual) != CLINFER_OK) fail_msg("%s", clinfer_error());
        if (cache_overflow_wrong(&actual) >= 0)
            fail_msg("%s/%s, case \"%s\": value %d", op->name, ci_variants[v]->name, shape->name,
                     (int)cache_overflow_wrong(&actual));
        ci_sample_destroy(&actual);
    }
    ci_device_call_destroy(&call);
    ci_sample_destroy(&sample);
}

/* An infinite key may give a token no weight and show nowhere. */
static void test_what_a_cache_does_not_hold_is_not_a_number_there(void **state) {
    (void)state;
    static const struct ci_op *const ops[] = {&ci_op_kv_append, &ci_op_rope_kv_append};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (const struct ci_case *shape = ops[i]->cases; shape->name; shape++) check_overflow(ops[i], shape);
}

/* ---- rows of a tile, and alone ---- */

/* What a row does not see changes no bit of it: tiles of one row each give the same. */
static void check_rows_alone(const struct ci_variant *variant, const struct ci_case *shape) {
    struct ci_sample_call sample, together, alone;
    struct ci_device_call call;
    int values[CI_MAX_TUNABLES] = {0};
    assert_int_equal(ci_sample_create(&ci_op_attention, shape, 1, &sample), CLINFER_OK);
    if (small_only && work_of(&sample) > MOST_SMALL_WORK) {
        ci_sample_destroy(&sample);
        return;
    }
    ci_bind_defaults(variant, values);
    assert_int_equal(ci_sample_copy(&sample, &together), CLINFER_OK);
    assert_int_equal(ci_device_call_create(device, &sample, NULL, &call), CLINFER_OK);
    assert_int_equal(ci_device_call_run(&call, variant, values, &together), CLINFER_OK);
    ci_device_call_destroy(&call);

    struct ci_view *tiles = &sample.call.in[3];
    int32_t *own = calloc((size_t)sample.call.in[0].rows * CI_TILE_COLS, sizeof *own), *at = own;
    assert_non_null(own);
    for (const int32_t *tile = tiles->data, *end = tile + tiles->rows * CI_TILE_COLS; tile < end; tile += CI_TILE_COLS)
        for (int32_t row = 0; row < tile[CI_TILE_COUNT]; row++, at += CI_TILE_COLS) {
            memcpy(at, tile, CI_TILE_COLS * sizeof *at);
            at[CI_TILE_ROW] += row;
            at[CI_TILE_POSITION] += row;
            at[CI_TILE_COUNT] = 1;
        }
    tiles->data = own;
    tiles->rows = (at - own) / CI_TILE_COLS;
    assert_int_equal(ci_sample_copy(&sample, &alone), CLINFER_OK);
    assert_int_equal(ci_device_call_create(device, &sample, NULL, &call), CLINFER_OK);
    assert_int_equal(ci_device_call_run(&call, variant, values, &alone), CLINFER_OK);
    ci_device_call_destroy(&call);
    if (memcmp(together.call.out[0].data, alone.call.out[0].data, ci_view_bytes(&alone.call.out[0])) != 0)
        fail_msg("attention/%s, case \"%s\": rows alone have other bits", variant->name, shape->name);
    ci_sample_destroy(&alone);
    ci_sample_destroy(&together);
    ci_sample_destroy(&sample);
    free(own);
}

static void test_rows_of_attention_have_the_same_bits_alone(void **state) {
    (void)state;
    for (int v = 0; ci_variants[v]; v++)
        for (const struct ci_case *shape = ci_op_attention.cases; shape->name; shape++)
            if (ci_variants[v]->op == &ci_op_attention && strcmp(ci_variants[v]->name, "vec") == 0)
                check_rows_alone(ci_variants[v], shape);
}

/* ---- a corrupted kernel must be refused ---- */

struct corruption {
    const char *what, *op, *variant, *shape, *source, *text, *instead;
};

static void write_file(const char *folder, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void remove_files(const char *folder) {
    char path[512];
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name; source++) {
        snprintf(path, sizeof path, "%s/%s", folder, source->name);
        unlink(path);
    }
    static const char *const below[] = {"common", "types", ""};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, below[i]);
        rmdir(path);
    }
}

/* The kernels as they are, but for one place. */
static void write_kernels(const char *folder, const struct corruption *corruption) {
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name; source++) {
        if (strcmp(source->name, corruption->source) != 0) {
            write_file(folder, source->name, source->text);
            continue;
        }
        const char *at = strstr(source->text, corruption->text);
        if (!at) fail_msg("%s no longer has the text \"%s\": change this test too", source->name, corruption->text);
        char *patched = NULL;
        assert_true(asprintf(&patched, "%.*s%s%s", (int)(at - source->text), source->text, corruption->instead,
                             at + strlen(corruption->text)) > 0);
        write_file(folder, source->name, patched);
        free(patched);
    }
}

static void expect_refusal(const struct corruption *corruption) {
    const struct ci_variant *variant = NULL;
    const struct ci_case *shape = ci_op_find(corruption->op)->cases;
    for (int v = 0; ci_variants[v]; v++)
        if (strcmp(ci_variants[v]->op->name, corruption->op) == 0 &&
            strcmp(ci_variants[v]->name, corruption->variant) == 0 && ci_variants[v]->backend != CI_BACKEND_CPU)
            variant = ci_variants[v];
    while (shape->name && strcmp(shape->name, corruption->shape) != 0) shape++;
    if (!variant || !shape->name) fail_msg("no variant or no case of \"%s\"", corruption->what);
    char folder[] = "/tmp/clinfer-test-kernels-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct ci_sample_call sample, expected;
    struct ci_device_call call;
    int values[CI_MAX_TUNABLES] = {0};
    ci_bind_defaults(variant, values);
    assert_int_equal(ci_sample_create(variant->op, shape, 42, &sample), CLINFER_OK);
    assert_int_equal(ci_sample_copy(&sample, &expected), CLINFER_OK);
    assert_int_equal(ci_op_reference(variant->op, &expected.call), CLINFER_OK);
    assert_int_equal(ci_device_call_create(device, &sample, variant->weight_layout, &call), CLINFER_OK);
    bool right = passes(variant, shape->name, &call, &sample, &expected, variant->weight_layout, values, false);
    write_kernels(folder, corruption);
    setenv("CLINFER_KERNELS", folder, 1);
    bool wrong = passes(variant, shape->name, &call, &sample, &expected, variant->weight_layout, values, true);
    unsetenv("CLINFER_KERNELS");
    remove_files(folder);
    ci_device_call_destroy(&call);
    ci_sample_destroy(&expected);
    ci_sample_destroy(&sample);
    if (!right) fail_msg("%s: the kernel is refused even as it is", corruption->what);
    if (wrong) fail_msg("%s: %s/%s passed the gate", corruption->what, corruption->op, corruption->variant);
}

static void test_one_wrong_row_is_refused(void **state) {
    (void)state;
    expect_refusal(&(struct corruption){"one row of 576 is another row's", "matmul", "gemv_vec",
                                        "smollm2 ffn down, one token, q4_1 q8", "matmul_gemv_vec.cl", "out[n] = sum;",
                                        "out[n == 17 ? 18 : n] = sum; if (n == 17) out[17] = 0.0f;"});
}

static void test_one_wrong_tile_edge_is_refused(void **state) {
    (void)state;
    expect_refusal(&(struct corruption){"the last tile repeats its last row but one", "matmul", "gemm_vec",
                                        "prime rows, q4_0 f32", "matmul_gemm_vec.cl", "row = n + min(i, left - 1)",
                                        "row = n + min(i, max(left - 2, 0))"});
}

static void test_one_wrong_scale_is_refused(void **state) {
    (void)state;
    expect_refusal(&(struct corruption){"one scale of 10368 is 1% off", "matmul", "gemv_vec",
                                        "smollm2 attention output, one token, q4_1 q8", "types/q4_1.clh",
                                        "    codes = vload16(0, p + 4);",
                                        "    codes = vload16(0, p + 4);\n"
                                        "    if (row == 100 && unit == 5) *scale *= 1.01f;"});
}

static int run_device(int index) {
    const struct CMUnitTest others[] = {cmocka_unit_test(test_what_a_cache_does_not_hold_is_not_a_number_there),
                                        cmocka_unit_test(test_rows_of_attention_have_the_same_bits_alone)};
    const struct CMUnitTest corruptions[] = {cmocka_unit_test(test_one_wrong_row_is_refused),
                                             cmocka_unit_test(test_one_wrong_tile_edge_is_refused),
                                             cmocka_unit_test(test_one_wrong_scale_is_refused)};
    int failed = 0;
    if (ci_device_open(index, getenv("CLINFER_TEST_CACHE"), &device) != CLINFER_OK) {
        fprintf(stderr, "device %d does not open: %s\n", index, clinfer_error());
        return 1;
    }
    memset(programs, 0, sizeof programs);
    memset(cases_done, 0, sizeof cases_done);
    for (int i = 0; ci_ops[i]; i++) {
        char name[128];
        current_op = ci_ops[i];
        snprintf(name, sizeof name, "test_%s_variants_match_the_reference", current_op->name);
        const struct CMUnitTest tests[] = {{name, test_variants_match_the_reference, NULL, NULL, NULL}};
        failed += cmocka_run_group_tests_name(ci_device_caps(device)->name, tests, NULL, NULL);
    }
    if (!only) failed += cmocka_run_group_tests_name(ci_device_caps(device)->name, others, NULL, NULL);
    if (!small_only && !only)
        failed += cmocka_run_group_tests_name(ci_device_caps(device)->name, corruptions, NULL, NULL);
    ci_device_save_programs(device);
    ci_device_close(device);
    return failed;
}

int main(void) {
    struct ci_device_list list;
    int failed = 0;
    const char *wanted_device = getenv("CLINFER_TEST_DEVICE");
    only = getenv("CLINFER_TEST_VARIANT");
    small_only = getenv("CLINFER_TEST_SMALL") != NULL;
    unsetenv("CLINFER_KERNELS");
    if (ci_device_list(&list) != CLINFER_OK || list.count == 0) {
        fprintf(stderr, "no usable OpenCL device: %s\n", clinfer_error());
        return 1;
    }
    for (int i = 0; i < list.count; i++)
        if (!wanted_device || atoi(wanted_device) == i) failed += run_device(i);
    ci_device_list_free(&list);
    return failed != 0;
}
