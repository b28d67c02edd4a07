/* test_choices.c: which variant a node gets: forced, measured, by the table; what is in quarantine or stale is not
 * chosen. And how layers are split over places. No device is needed: capabilities are made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "graph/choices.h"
#include "graph/passes.h"
#include "graph/places.h"
#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "tensor/op_params.h"

enum { K = 576, N = 1024 };

/* A matrix product on a made-up device. */
struct fixture {
    struct ci_device_caps device;
    struct ci_caps caps;
    struct ci_choices choices;
    struct ci_chooser chooser;
    struct ci_tensor x, weight, out;
    struct ci_node node;
};

static void set_tensor(struct ci_tensor *tensor, enum ci_tensor_kind kind, const struct ci_type *type, int64_t rows,
                       int64_t cols) {
    *tensor = (struct ci_tensor){.name = "t", .kind = kind, .place = -1};
    ci_view_set(&tensor->view, type, rows, cols);
}

static int setup(void **state) {
    static const struct ci_cpu_features features = {.name = "Some Processor 9", .avx2 = true};
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->device = (struct ci_device_caps){.name = "made up",
                                        .platform = "nobody's",
                                        .kind = CI_DEVICE_CPU,
                                        .compute_units = 2,
                                        .max_work_group = 256,
                                        .max_work_item = {256, 256, 256},
                                        .local_bytes = 32768,
                                        .max_alloc_bytes = 1 << 30};
    f->caps = (struct ci_caps){&features, &f->device, 2};
    f->chooser = (struct ci_chooser){&f->choices, 1, NULL, &f->caps};
    set_tensor(&f->x, CI_TENSOR_ACTIVATION, &ci_type_q8, 1, K);
    set_tensor(&f->weight, CI_TENSOR_WEIGHT, &ci_type_q4_1, N, K);
    set_tensor(&f->out, CI_TENSOR_ACTIVATION, &ci_type_f32, 1, N);
    f->x.view.extent = f->out.view.extent = CI_EXTENT_ROWS;
    f->node = (struct ci_node){.op = &ci_op_matmul, .label = "test", .in = {&f->x, &f->weight}, .out = {&f->out}};
    f->choices.places[1].device = 7;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    ci_choices_free(&f->choices);
    free(f);
    return 0;
}

/* An entry of the profile for the fixture's node: as `clinfer tune` would write it. */
static struct ci_profile_entry entry_for(struct fixture *f, const char *variant_name, const char *tunable, int value,
                                         double seconds) {
    const struct ci_variant *variant = ci_variant_find(&ci_op_matmul, CI_BACKEND_OPENCL, variant_name);
    struct ci_profile_entry entry = {.seconds = seconds, .default_seconds = 2 * seconds};
    struct ci_call call;
    int values[CI_MAX_TUNABLES] = {0};
    assert_non_null(variant);
    ci_node_call(&f->node, &call);
    ci_signature_of(&ci_op_matmul, &call, &entry.signature);
    strcpy(entry.layout, call.in[CI_MATMUL_W0].layout->name);
    strcpy(entry.variant, variant_name);
    if (tunable) {
        strcpy(entry.tunables[0].name, tunable);
        entry.tunables[0].value = value;
        entry.tunable_count = 1;
        assert_int_equal(ci_signature_values(variant, entry.tunables, 1, values), CLINFER_OK);
    } else {
        ci_bind_defaults(variant, values);
    }
    assert_int_equal(ci_signature_source(variant, values, &call, &entry.source), CLINFER_OK);
    return entry;
}

static void add_entry(struct fixture *f, const struct ci_profile_entry *entry) {
    f->choices.places[1].origin = CI_PROFILE_EXACT;
    assert_int_equal(ci_profile_set(&f->choices.places[1].profile, entry), CLINFER_OK);
}

static struct ci_choice first(const struct fixture *f) {
    struct ci_choice choice;
    assert_true(ci_choices_first(&f->chooser, &f->node, &choice));
    return choice;
}

static void table_order_without_a_profile(void **state) {
    struct fixture *f = *state;
    assert_int_equal(first(f).origin, CI_CHOICE_TABLE);
    assert_string_equal(first(f).variant->name, "gemv_q8_vec");
}

static void what_was_measured_comes_first(void **state) {
    struct fixture *f = *state;
    struct ci_profile_entry entry = entry_for(f, "gemv_vec", "STREAMS", 4, 1e-4);
    add_entry(f, &entry);
    struct ci_choice choice = first(f);
    assert_int_equal(choice.origin, CI_CHOICE_TUNED);
    assert_string_equal(choice.variant->name, "gemv_vec");
    assert_int_equal(choice.tunables[0], 4);
    assert_true(ci_choices_seconds(&f->chooser, &f->node) > 0.9e-4);
    assert_ptr_equal(ci_choices_layout(&f->chooser, &f->node), &ci_layout_stored); /* though no prompt was measured */
}

static void what_is_stale_or_unknown_is_passed_over(void **state) {
    struct fixture *f = *state;
    struct ci_profile_entry entry = entry_for(f, "gemv_vec", "STREAMS", 4, 1e-4), bad = entry;
    bad.source++;
    add_entry(f, &bad);
    assert_int_equal(first(f).origin, CI_CHOICE_TABLE);
    assert_true(ci_choices_stale(&f->chooser, &f->node));
    bad = entry;
    bad.tunables[0].value = 3; /* not allowed */
    add_entry(f, &bad);
    assert_int_equal(first(f).origin, CI_CHOICE_TABLE);
    bad = entry;
    strcpy(bad.variant, "gemv_of_tomorrow");
    add_entry(f, &bad);
    assert_int_equal(first(f).origin, CI_CHOICE_TABLE);
    add_entry(f, &entry);
    assert_int_equal(first(f).origin, CI_CHOICE_TUNED);
    assert_false(ci_choices_stale(&f->chooser, &f->node));
}

/* What was measured of the node with so many rows, its weight in a layout. */
static struct ci_profile_entry entry_at(struct fixture *f, const struct ci_layout *layout, int64_t rows,
                                        double seconds) {
    const struct ci_layout *before = f->weight.view.layout;
    f->weight.view.layout = layout;
    f->x.view.rows = f->out.view.rows = rows;
    struct ci_profile_entry entry = entry_for(f, rows > 2 ? "gemm_vec" : "gemv_vec", NULL, 0, seconds);
    f->x.view.rows = f->out.view.rows = 1;
    f->weight.view.layout = before;
    return entry;
}

static void add_layouts(struct fixture *f) {
    const struct {
        const struct ci_layout *layout;
        int64_t rows;
        double seconds;
    } measured[] = {{&ci_layout_stored, 1, 4e-4},
                    {&ci_layout_stored, 512, 1e-3},
                    {&ci_layout_r16, 1, 1e-4},
                    {&ci_layout_r16, 512, 2e-3}};
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        struct ci_profile_entry entry = entry_at(f, measured[i].layout, measured[i].rows, measured[i].seconds);
        add_entry(f, &entry);
    }
}

static void the_layout_that_costs_least(void **state) {
    struct fixture *f = *state;
    add_layouts(f);
    assert_ptr_equal(ci_choices_layout(&f->chooser, &f->node), &ci_layout_r16);
    /* Prompts a thousand times slower: not worth it. */
    struct ci_profile_entry entry = entry_at(f, &ci_layout_r16, 512, 1);
    add_entry(f, &entry);
    assert_ptr_equal(ci_choices_layout(&f->chooser, &f->node), &ci_layout_stored);
}

/* Puts what an entry of the fixture's device names into quarantine. */
/* Whether a product whose input is of floats gets it rounded, with such times of both kinds. */
static bool is_rounded(struct fixture *f, double floats, double codes) {
    struct ci_graph graph;
    int64_t rows[CI_EXTENT_COUNT] = {[CI_EXTENT_ROWS] = 1};
    struct ci_profile_entry entry = entry_for(f, "gemv_vec", NULL, 0, codes);
    add_entry(f, &entry);
    f->x.view.type = &ci_type_f32;
    entry = entry_for(f, "gemv_vec", NULL, 0, floats);
    add_entry(f, &entry);
    ci_graph_init(&graph, rows);
    struct ci_tensor *in[CI_MAX_INPUTS] = {&f->x, &f->weight};
    assert_non_null(ci_graph_add(&graph, &ci_op_matmul, "test", in, NULL, NULL));
    const struct ci_chooser by_place[] = {f->chooser, f->chooser};
    assert_int_equal(ci_pass_activations(&graph, CI_ACTIVATIONS_AUTO, by_place), CLINFER_OK);
    bool rounded = graph.last->in[CI_MATMUL_X]->view.type == &ci_type_q8;
    ci_graph_destroy(&graph);
    f->x.view.type = &ci_type_q8;
    return rounded;
}

/* Both were timed at moments of their own: what is first in the table yields to what is clearly faster only. Of a type
 * that has codes first in the table. */
static void activations_are_rounded_by_the_table_or_where_that_is_clearly_faster(void **state) {
    struct fixture *f = *state;
    f->weight.view.type = &ci_type_iq4_nl;
    assert_true(is_rounded(f, 1.0e-4, 0.9e-4));
    assert_true(is_rounded(f, 0.9e-4, 1.0e-4));
    assert_false(is_rounded(f, 0.7e-4, 1.0e-4));
}

/* What a product with weights of so many rows reads where f->caps is. */
static const char *activations_of(struct fixture *f, int64_t weight_rows, int64_t rows, int64_t wanted,
                                  enum ci_activations activations) {
    struct ci_graph graph;
    int64_t most[CI_EXTENT_COUNT] = {[CI_EXTENT_ROWS] = rows, [CI_EXTENT_WANTED] = wanted};
    const struct ci_chooser chooser = {&f->choices, f->caps.device ? 1 : CI_PLACE_CPU, NULL, &f->caps},
                            by_place[] = {chooser, chooser};
    f->x.view.type = &ci_type_f32;
    f->x.view.rows = rows;
    f->weight.view.rows = weight_rows;
    ci_graph_init(&graph, most);
    struct ci_tensor *in[CI_MAX_INPUTS] = {&f->x, &f->weight};
    assert_non_null(ci_graph_add(&graph, &ci_op_matmul, "test", in, NULL, NULL));
    graph.last->place = chooser.place;
    assert_int_equal(ci_pass_activations(&graph, activations, by_place), CLINFER_OK);
    const char *name = graph.last->in[CI_MATMUL_X]->view.type->name;
    ci_graph_destroy(&graph);
    return name;
}

static void sixteen_bits_where_they_cost_little(void **state) {
    struct fixture *f = *state;
    enum { SMALL = 1024, LARGE = 1 << 20 }; /* rows of 360 bytes */
    struct ci_cpu_features features = {.avx2 = true, .avx512vnni = true};
    const char *eight = "matmul=q8_r16_avx2";
#if !defined(__x86_64__)
    skip();
#endif
    f->caps = (struct ci_caps){&features, NULL, 2};
    assert_string_equal(activations_of(f, LARGE, 1, 1, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, LARGE, 4, 4, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, LARGE, 5, 5, CI_ACTIVATIONS_AUTO), "q8");
    assert_string_equal(activations_of(f, LARGE, 64, 1, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, LARGE, 65, 1, CI_ACTIVATIONS_AUTO), "q8");
    assert_string_equal(activations_of(f, SMALL, 512, 64, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_Q8), "q8");
    assert_string_equal(activations_of(f, LARGE, 512, 1, CI_ACTIVATIONS_Q16), "q16");
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_F32), "f32");
    assert_int_equal(ci_choices_force(&f->choices, eight), CLINFER_OK);
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "q8");
    ci_choices_free(&f->choices);
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "q16");
    features.avx512vnni = false;
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "q8");
}

/* Five layers of two products and one behind them, with AVX2, where the second plane is not free. */
static void sixteen_bits_where_they_matter_most(void **state) {
    static const char *const expected[] = {"q16", "q16", "q16", "q16", "q16", "q8", "q16", "q8", "q16", "q16", "q8"};
    struct fixture *f = *state;
    struct ci_cpu_features features = {.avx2 = true};
    struct ci_graph graph;
    const int64_t most[CI_EXTENT_COUNT] = {[CI_EXTENT_ROWS] = 1, [CI_EXTENT_WANTED] = 1};
#if !defined(__x86_64__)
    skip();
#endif
    f->caps = (struct ci_caps){&features, NULL, 2};
    const struct ci_chooser by_place[] = {{&f->choices, CI_PLACE_CPU, NULL, &f->caps}};
    f->x.view.type = &ci_type_f32;
    ci_graph_init(&graph, most);
    for (int i = 0; i < 11; i++) {
        struct ci_tensor *in[CI_MAX_INPUTS] = {&f->x, &f->weight};
        graph.unit = 1 + i / 2;
        assert_non_null(ci_graph_add(&graph, &ci_op_matmul, "test", in, NULL, NULL));
        graph.last->place = CI_PLACE_CPU;
    }
    assert_int_equal(ci_pass_activations(&graph, CI_ACTIVATIONS_AUTO, by_place), CLINFER_OK);
    int count = 0;
    for (const struct ci_node *node = graph.first; node; node = node->next)
        if (node->op == &ci_op_matmul) assert_string_equal(node->in[CI_MATMUL_X]->view.type->name, expected[count++]);
    assert_int_equal(count, 11);
    ci_graph_destroy(&graph);
}

/* By what the device's kernels have: faster products of floats, or nothing to hide a second plane behind, AVX-512 VNNI,
 * or a dot product of bytes. */
static void devices_have_16_bits_where_their_kernels_hide_them(void **state) {
    struct fixture *f = *state;
    enum { SMALL = 1024, LARGE = 1 << 20 };
    struct ci_cpu_features features = {.name = "Some Processor 9", .avx2 = true, .avx512vnni = true};
    f->caps = (struct ci_caps){&features, &f->device, 2};
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "f32");
    features.avx512vnni = false;
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "f32");
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_Q16), "q16");
    f->weight.view.type = &ci_type_iq4_nl; /* has no kernel of floats for 16 rows */
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "q8");
    f->weight.view.type = &ci_type_q4_1;
    features.avx512vnni = true;
#if defined(__x86_64__)
    strcpy(f->device.name, "pthread-Some Processor 9");
    strcpy(f->device.platform, "Portable Computing Language");
    assert_string_equal(activations_of(f, LARGE, 1, 1, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, LARGE, 4, 4, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, LARGE, 5, 5, CI_ACTIVATIONS_AUTO), "q8");
    assert_string_equal(activations_of(f, SMALL, 512, 64, CI_ACTIVATIONS_AUTO), "q16");
    features.avx512vnni = false;
    assert_string_equal(activations_of(f, SMALL, 1, 1, CI_ACTIVATIONS_AUTO), "q8");
#endif
    f->device.kind = CI_DEVICE_GPU;
    assert_string_equal(activations_of(f, LARGE, 1, 1, CI_ACTIVATIONS_AUTO), "f32");
    f->device.dot4 = true;
    assert_string_equal(activations_of(f, LARGE, 1, 1, CI_ACTIVATIONS_AUTO), "q16");
    assert_string_equal(activations_of(f, LARGE, 512, 64, CI_ACTIVATIONS_AUTO), "q8");
}

static void quarantine(struct fixture *f, const struct ci_profile_entry *entry) {
    struct ci_quarantined item = {
        .device = f->choices.places[1].device, .source = entry->source, .reason = "wrong", .clinfer = CLINFER_VERSION};
    strcpy(item.op, entry->signature.op);
    strcpy(item.variant, entry->variant);
    strcpy(item.types, entry->signature.types);
    int values[CI_MAX_TUNABLES];
    const struct ci_variant *variant = ci_variant_find(&ci_op_matmul, CI_BACKEND_OPENCL, entry->variant);
    assert_int_equal(ci_signature_values(variant, entry->tunables, entry->tunable_count, values), CLINFER_OK);
    item.tunable_count = ci_signature_tunables(variant, values, item.tunables);
    assert_int_equal(ci_choices_quarantine(&f->choices, &item), CLINFER_OK);
}

static void what_is_not_used_decides_no_layout(void **state) {
    struct fixture *f = *state;
    add_layouts(f);
    struct ci_profile_entry entry = entry_at(f, &ci_layout_r16, 1, 1e-4), stale = entry;
    stale.source++;
    add_entry(f, &stale);
    assert_ptr_equal(ci_choices_layout(&f->chooser, &f->node), &ci_layout_stored);
    assert_float_equal(ci_choices_seconds(&f->chooser, &f->node), 4e-4, 1e-9);
    add_entry(f, &entry);
    assert_ptr_equal(ci_choices_layout(&f->chooser, &f->node), &ci_layout_r16);
    assert_float_equal(ci_choices_seconds(&f->chooser, &f->node), 1e-4, 1e-9);
    quarantine(f, &entry);
    assert_ptr_equal(ci_choices_layout(&f->chooser, &f->node), &ci_layout_stored);
    assert_float_equal(ci_choices_seconds(&f->chooser, &f->node), 4e-4, 1e-9);
}

/* Parts were faster than the fused op; since then one of them has changed, or gone wrong. */
static void parts_that_are_not_used_take_nothing_apart(void **state) {
    struct fixture *f = *state;
    struct ci_profile_entry part = entry_for(f, "gemv_vec", NULL, 0, 1e-4), stale = part;
    struct ci_tensor addend;
    struct ci_node fused = f->node;
    struct ci_call call;
    set_tensor(&addend, CI_TENSOR_ACTIVATION, &ci_type_f32, 1, N);
    addend.view.extent = CI_EXTENT_ROWS;
    fused.op = &ci_op_matmul_add;
    fused.in[ci_op_matmul.inputs] = &addend;
    struct ci_profile_entry apart = {.layout = "stored", .variant = CI_PROFILE_UNFUSED, .seconds = 2e-4};
    ci_node_call(&fused, &call);
    ci_signature_of(&ci_op_matmul_add, &call, &apart.signature);
    add_entry(f, &apart);
    assert_true(ci_choices_unfused(&f->chooser, &fused)); /* of whose parts nothing is known */
    add_entry(f, &part);
    assert_true(ci_choices_unfused(&f->chooser, &fused));
    assert_float_equal(ci_choices_seconds(&f->chooser, &fused), 2e-4, 1e-9);
    stale.source++;
    add_entry(f, &stale);
    assert_false(ci_choices_unfused(&f->chooser, &fused));
    assert_true(ci_choices_seconds(&f->chooser, &fused) == 0);
    add_entry(f, &part);
    quarantine(f, &part);
    assert_false(ci_choices_unfused(&f->chooser, &fused));
}

static void what_is_in_quarantine_is_not_chosen(void **state) {
    struct fixture *f = *state;
    struct ci_choice choice = first(f), list[16];
    struct ci_quarantined item = {
        .device = 7, .op = "matmul", .reason = "error 0.3", .date = "2026-11-21", .clinfer = CLINFER_VERSION};
    struct ci_call call;
    char reason[256];
    strcpy(item.variant, choice.variant->name);
    ci_node_call(&f->node, &call);
    assert_int_equal(ci_signature_source(choice.variant, choice.tunables, &call, &item.source), CLINFER_OK);
    assert_int_equal(ci_choices_quarantine(&f->choices, &item), CLINFER_OK);
    assert_true(ci_choices_list(&f->chooser, &f->node, list, 16, reason, sizeof reason) > 0);
    assert_string_not_equal(list[0].variant->name, choice.variant->name);
    assert_non_null(strstr(reason, "error 0.3"));
    assert_non_null(strstr(reason, "2026-11-21"));
    char names[64] = "";
    assert_int_equal(ci_choices_passed_over(&f->choices, names, sizeof names), 1);
    assert_string_equal(names, "matmul");
    f->choices.places[1].device = 8; /* another driver: tried afresh */
    assert_string_equal(first(f).variant->name, choice.variant->name);
}

static void forced(void **state) {
    struct fixture *f = *state;
    struct ci_choice list[16];
    char reason[256];
    assert_int_equal(ci_choices_force(&f->choices, "matmul=gemm_vec:CHUNK=64,TASKS=4"), CLINFER_OK);
    assert_int_equal(ci_choices_list(&f->chooser, &f->node, list, 16, reason, sizeof reason), 1);
    assert_string_equal(list[0].variant->name, "gemm_vec");
    assert_int_equal(list[0].tunables[0], 64);
    assert_int_equal(list[0].origin, CI_CHOICE_FORCED);
    assert_int_equal(ci_choices_force(&f->choices, "matmul=cpu"), CLINFER_OK); /* the last one counts */
    assert_int_equal(ci_choices_list(&f->chooser, &f->node, list, 16, reason, sizeof reason), 0);
    assert_string_equal(reason, "forced by --op");
}

static void forced_wrongly(void **state) {
    struct fixture *f = *state;
    const struct {
        const char *text, *message;
    } wrong[] = {{"matmul", "must be NAME="},
                 {"matmull=cpu", "rmsnorm"},
                 {"matmull=cpu", " rope, "}, /* a part of other names, and yet a name */
                 {"matmul=fastest", "gemm_vec"},
                 {"matmul=fastest", " gemv_dot, "},
                 {"matmul=gemm_vec:CHUNK=63", "64,256"},
                 {"matmul=gemm_vec:CHUNKS=64", "no tunable \"CHUNKS\""},
                 {"matmul=gemm_vec:CHUNK", "TUNABLE=NUMBER"},
                 {"matmul=gemm_vec:", "TUNABLE=NUMBER"},
                 {"matmul=gemm_vec:CHUNK=", "TUNABLE=NUMBER"},
                 {"matmul=gemm_vec:CHUNK=64,", "TUNABLE=NUMBER"},
                 {"matmul=gemm_vec:CHUNK=64TASKS=4", "TUNABLE=NUMBER"},
                 {"matmul=gemm_vec:CHUNK=4294967360", "TUNABLE=NUMBER"}}; /* 64 in 32 bits */
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(ci_choices_force(&f->choices, wrong[i].text), CLINFER_INVALID_ARGUMENT);
        if (!strstr(ci_status_message(), wrong[i].message)) fail_msg("%s", ci_status_message());
    }
    assert_int_equal(f->choices.forced_count, 0);
}

/* ---- places ---- */

enum { UNITS = 12, MIB = 1 << 20 };

static int count_at(const int8_t *places, int place) {
    int count = 0;
    for (int i = 1; i < UNITS; i++) count += places[i] == place;
    return count;
}

static void layers_are_split(void **state) {
    (void)state;
    uint64_t bytes[UNITS];
    int8_t places[UNITS];
    const int order[] = {1, 2};
    const uint64_t plenty[] = {100 * MIB, 100 * MIB};
    const double even[] = {1, 1}, uneven[] = {3, 1};
    for (int i = 0; i < UNITS; i++) bytes[i] = i ? MIB : 0;

    assert_int_equal(ci_places_split(bytes, UNITS, order, plenty, even, 1, -1, places), 0);
    assert_int_equal(count_at(places, 1), UNITS - 1);

    assert_int_equal(ci_places_split(bytes, UNITS, order, plenty, even, 2, -1, places), 0);
    assert_in_range(count_at(places, 1), 5, 6);
    for (int i = 1; i < UNITS; i++) assert_true(places[i] >= places[i - 1]); /* one crossing */

    assert_int_equal(ci_places_split(bytes, UNITS, order, plenty, uneven, 2, -1, places), 0);
    assert_in_range(count_at(places, 1), 8, 9);

    assert_int_equal(ci_places_split(bytes, UNITS, order, plenty, even, 1, 4, places), 0);
    assert_int_equal(count_at(places, 1), 4);
    assert_int_equal(places[UNITS - 1], 1);
    assert_int_equal(places[1], CI_PLACE_CPU);
    assert_int_equal(ci_places_split(bytes, UNITS, order, plenty, even, 1, 0, places), 0);
    assert_int_equal(count_at(places, CI_PLACE_CPU), UNITS - 1);
}

static void what_does_not_fit_stays_on_the_cpu(void **state) {
    (void)state;
    uint64_t bytes[UNITS];
    int8_t places[UNITS];
    const int order[] = {1, 2};
    const uint64_t little[] = {4 * MIB, 3 * MIB};
    const double even[] = {1, 1};
    for (int i = 0; i < UNITS; i++) bytes[i] = i ? MIB : 0;
    bytes[UNITS - 1] = 2 * MIB;
    assert_int_equal(ci_places_split(bytes, UNITS, order, little, even, 2, -1, places), 5);
    uint64_t used[3] = {0};
    for (int i = 1; i < UNITS; i++) used[places[i]] += bytes[i];
    assert_true(used[1] <= little[0] && used[2] <= little[1]);
    assert_int_equal(places[1], CI_PLACE_CPU);
    bytes[UNITS - 1] = 50 * MIB; /* the output matrix alone is too large for any device */
    assert_int_equal(ci_places_split(bytes, UNITS, order, little, even, 2, -1, places), UNITS - 1);
}

static void layers_go_where_they_are_fast(void **state) {
    (void)state;
    enum { COUNT = 2 };
    const int order[] = {1, CI_PLACE_CPU};
    double seconds[UNITS * COUNT], crossing[] = {0.5, 0};
    int8_t places[UNITS];
    for (int i = 0; i < UNITS; i++) {
        seconds[i * COUNT] = 1;
        seconds[i * COUNT + 1] = i == 5 || i == 6 ? 0.6 : 2;
    }
    /* Two units would save 0.8, there and back costs 1. */
    assert_float_equal(ci_places_fastest(seconds, crossing, UNITS, order, COUNT, places), UNITS, 1e-9);
    assert_int_equal(count_at(places, 1), UNITS - 1);
    crossing[0] = 0.3; /* now 0.6 */
    assert_float_equal(ci_places_fastest(seconds, crossing, UNITS, order, COUNT, places), UNITS - 0.2, 1e-9);
    assert_int_equal(count_at(places, CI_PLACE_CPU), 2);
    assert_int_equal(places[5], CI_PLACE_CPU);
    assert_int_equal(places[7], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_go_where_they_are_fast),
        cmocka_unit_test_setup_teardown(table_order_without_a_profile, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_measured_comes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_stale_or_unknown_is_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(the_layout_that_costs_least, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_used_decides_no_layout, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_that_are_not_used_take_nothing_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_in_quarantine_is_not_chosen, setup, teardown),
        cmocka_unit_test_setup_teardown(activations_are_rounded_by_the_table_or_where_that_is_clearly_faster, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sixteen_bits_where_they_cost_little, setup, teardown),
        cmocka_unit_test_setup_teardown(sixteen_bits_where_they_matter_most, setup, teardown),
        cmocka_unit_test_setup_teardown(devices_have_16_bits_where_their_kernels_hide_them, setup, teardown),
        cmocka_unit_test_setup_teardown(forced, setup, teardown),
        cmocka_unit_test_setup_teardown(forced_wrongly, setup, teardown),
        cmocka_unit_test(layers_are_split),
        cmocka_unit_test(what_does_not_fit_stays_on_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
