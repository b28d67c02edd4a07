/* Choices for devices that are not here: the capabilities of 31 devices, as public reports give them
 * (tests/data/devices.json), stand in for a device while real models' graphs get their kernels. Every op must get one,
 * no launch may go beyond a limit, memory is asked for in pieces that the device allows or refused in words, and no
 * profile that is shipped for another device may be taken. */
#define _GNU_SOURCE
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/status.h"
#include "device/kernels.h"
#include "graph/passes.h"
#include "graph/store.h"
#include "model/model.h"
#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "support/recorded_devices.h"
#include "tensor/op_params.h"

static struct recorded_device devices[RECORDED_DEVICES];

/* No processor of the host counts for a device. */
static const struct ci_cpu_features no_features = {.name = "recorded"};

static int read_all(void **state) {
    (void)state;
    return read_recorded_devices(devices);
}

/* ---- models ---- */

/* One layer is as good as thirty: they are alike. */
#define SHAPE(width, ff, head_count, kv, dim, positions, ids)                                                          \
    .hyper = {.layers = 1, .embedding = width, .context = positions, .vocabulary = ids, .eps = 1e-5f},                 \
    .layer = {                                                                                                         \
        .heads = head_count, .kv_heads = kv, .head_dim = dim, .value_dim = dim, .rotated = dim, .feed_forward = ff}

static const struct ci_imagined shapes[] = {
    {.architecture = "llama", SHAPE(576, 1536, 9, 3, 64, 2048, 49152)}, /* SmolLM2-135M */
    {.architecture = "qwen2", .optional = "blk.*.attn_[qkv].bias", SHAPE(1536, 8960, 12, 2, 128, 32768, 151936)}};

static const struct ci_type *const weight_types[] = {
    &ci_type_f32,  &ci_type_f16,  &ci_type_bf16, &ci_type_q4_0, &ci_type_q4_1, &ci_type_q5_0, &ci_type_q5_1,
    &ci_type_q8_0, &ci_type_q2_k, &ci_type_q3_k, &ci_type_q4_k, &ci_type_q5_k, &ci_type_q6_k};

static void make_model(const struct ci_imagined *shape, const struct ci_type *type, struct ci_model *model) {
    static struct ci_imagined imagined; /* of the only model there is at a time */
    imagined = *shape;
    imagined.matrices = imagined.embedding = type;
    assert_int_equal(ci_model_imagine(&imagined, model), CLINFER_OK);
    ci_model_make_states(model, &ci_type_f16, &ci_type_f16, 2048, 64);
}

static void make_graph(struct ci_model *model, int64_t rows, struct ci_graph *graph) {
    int64_t sequences = rows < 64 ? rows : 64;
    const int64_t extents[CI_EXTENT_COUNT] = {
        [CI_EXTENT_ROWS] = rows, [CI_EXTENT_WANTED] = sequences, [CI_EXTENT_TILES] = rows / CI_TILE_ROWS + sequences};
    struct ci_run run;
    assert_int_equal(ci_model_build(model, extents, sequences, model->hyper.context / CI_PAGE_ROWS, graph, &run),
                     CLINFER_OK);
}

/* ---- choices ---- */

static void fail_choice(const struct recorded_device *device, const struct ci_node *node, const char *variant,
                        const char *what) {
    char types[256] = "";
    for (int i = 0; i < node->op->inputs; i++) {
        size_t used = strlen(types);
        if (node->in[i])
            snprintf(types + used, sizeof types - used, " %s[%lld, %lld]", node->in[i]->view.type->name,
                     (long long)node->in[i]->view.rows, (long long)node->in[i]->view.cols);
    }
    fail_msg("%s: op %s (%s)%s, variant %s: %s", device->id, node->op->name, node->label, types, variant, what);
}

static void check_limits(const struct recorded_device *device, const struct ci_node *node,
                         const struct ci_choice *choice) {
    const struct ci_variant *variant = choice->variant;
    const struct ci_device_caps *caps = &device->caps;
    struct ci_call call;
    ci_node_call(node, &call);
    for (int i = 0; i < variant->launch_count; i++) {
        struct ci_grid grid = {0};
        size_t items = 1;
        variant->launches[i].grid(&call, choice->tunables, caps, &grid);
        if (grid.dimensions < 1 || grid.dimensions > 3) fail_choice(device, node, variant->name, "dimensions");
        for (int k = 0; k < grid.dimensions; k++) {
            if (grid.global[k] > UINT32_MAX) fail_choice(device, node, variant->name, "global size");
            if (!grid.local[0]) continue;
            items *= grid.local[k];
            if (!grid.local[k] || grid.global[k] % grid.local[k])
                fail_choice(device, node, variant->name, "global size is no multiple of the local one");
            if (grid.local[k] > caps->max_work_item[k]) fail_choice(device, node, variant->name, "work-item size");
        }
        if (items > caps->max_work_group) fail_choice(device, node, variant->name, "work-group size");
    }
    if (variant->local_bytes && variant->local_bytes(&call, choice->tunables) > caps->local_bytes)
        fail_choice(device, node, variant->name, "local memory");
    if (variant->scratch && variant->scratch(&call, choice->tunables) > caps->max_alloc_bytes)
        fail_choice(device, node, variant->name, "scratch memory");
}

/* All ops of the graph as a plan for this device would have them; how many. */
static int check_graph(const struct recorded_device *device, struct ci_model *model, int64_t rows,
                       enum ci_activations activations) {
    const struct ci_caps host = {.cpu = &no_features, .threads = 2};
    const struct ci_caps caps = {.cpu = &no_features, .device = &device->caps, .threads = 2};
    const struct ci_chooser by_place[2] = {{.place = 0, .caps = &host}, {.place = 1, .caps = &caps}};
    struct ci_graph graph;
    int count = 0;
    make_graph(model, rows, &graph);
    for (struct ci_node *node = graph.first; node; node = node->next) node->place = 1;
    assert_int_equal(ci_pass_activations(&graph, activations, by_place), CLINFER_OK);
    assert_int_equal(ci_pass_fuse(&graph, by_place), CLINFER_OK);
    for (struct ci_node *node = graph.first; node; node = node->next) {
        struct ci_choice choices[16];
        char reason[256];
        int found = ci_choices_list(&by_place[1], node, choices, 16, reason, sizeof reason);
        if (found == 0) fail_choice(device, node, "(none)", "no kernel fits");
        for (int i = 0; i < found; i++) check_limits(device, node, &choices[i]);
        count++;
    }
    ci_graph_destroy(&graph);
    return count;
}

static void test_every_op_has_a_kernel_within_the_limits(void **state) {
    static const int64_t buckets[] = {1, 8, 64, 512};
    int checked = 0;
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (size_t t = 0; t < sizeof weight_types / sizeof *weight_types; t++) {
            struct ci_model model;
            make_model(&shapes[s], weight_types[t], &model);
            for (int d = 0; d < RECORDED_DEVICES; d++)
                for (size_t b = 0; devices[d].usable && b < sizeof buckets / sizeof *buckets; b++)
                    for (int a = CI_ACTIVATIONS_AUTO; a <= CI_ACTIVATIONS_Q8; a++)
                        checked += check_graph(&devices[d], &model, buckets[b], (enum ci_activations)a);
            ci_model_close(&model);
        }
    }
    print_message("%d choices\n", checked);
    assert_true(checked > 50000);
}

/* What is made for a class of device is what such a device gets. */
static const char *first_choice(const char *id, const struct ci_op *op, int64_t rows) {
    struct ci_model model;
    struct ci_graph graph;
    const char *name = NULL;
    make_model(&shapes[0], &ci_type_q4_1, &model);
    make_graph(&model, rows, &graph);
    for (int d = 0; d < RECORDED_DEVICES; d++) {
        if (strcmp(devices[d].id, id) != 0) continue;
        const struct ci_caps caps = {.cpu = &no_features, .device = &devices[d].caps, .threads = 2};
        const struct ci_chooser chooser = {.place = 1, .caps = &caps};
        for (struct ci_node *node = graph.first; node && !name; node = node->next) {
            struct ci_choice choice;
            if (node->op == op && ci_choices_first(&chooser, node, &choice)) name = choice.variant->name;
        }
    }
    ci_graph_destroy(&graph);
    ci_model_close(&model);
    if (!name) fail_msg("%s: op %s: no kernel", id, op->name);
    return name;
}

static void test_devices_get_the_kernels_made_for_them(void **state) {
    (void)state;
    assert_non_null(strstr(first_choice("intel-iris-xe-alder-lake-p", &ci_op_matmul, 1), "subgroup"));
    assert_null(strstr(first_choice("nvidia-gtx-1080", &ci_op_matmul, 1), "vec"));
    assert_null(strstr(first_choice("apple-m1", &ci_op_matmul, 512), "vec"));
    assert_string_equal(first_choice("nvidia-rtx-3090", &ci_op_attention, 1), "split");
    assert_string_equal(first_choice("arm-mali-g610-rk3588-g6p0", &ci_op_attention, 512), "local");
    assert_string_equal(first_choice("broadcom-videocore-iv-vc4cl", &ci_op_attention, 512), "vec");
    assert_string_equal(first_choice("broadcom-videocore-iv-vc4cl", &ci_op_rmsnorm, 1), "portable");
    assert_string_equal(first_choice("pocl-6.0-cortex-a57", &ci_op_attention, 1), "vec");
    assert_non_null(strstr(first_choice("pocl-1.8-cortex-a55", &ci_op_matmul, 1), "vec"));
}

/* ---- memory ---- */

enum { FILE_BYTES = 900 << 20 };

/* This machine's device in the limits of another. */
static void put_on(struct ci_device *device, const struct ci_device_caps *real, const struct recorded_device *mask) {
    struct ci_device_caps *caps = (struct ci_device_caps *)(uintptr_t)ci_device_caps(device);
    *caps = *real;
    caps->max_alloc_bytes =
        mask->caps.max_alloc_bytes < real->max_alloc_bytes ? mask->caps.max_alloc_bytes : real->max_alloc_bytes;
    caps->shares_host_memory = mask->caps.shares_host_memory;
}

static void check_pieces(const struct recorded_device *device, const struct ci_store *store, uint64_t limit) {
    const struct ci_place *place = &store->places[1];
    uint64_t sum = 0;
    for (size_t i = 0; i < place->file_count; i++) {
        if (ci_buffer_bytes(place->file[i]) > limit) fail_msg("%s: piece %zu of the file is too large", device->id, i);
        sum += ci_buffer_bytes(place->file[i]);
    }
    if (device->caps.shares_host_memory && sum != FILE_BYTES) fail_msg("%s: the pieces miss a part", device->id);
}

/* A weight or a state: there within the limit, or refused with its name. */
static void check_tensor(const struct recorded_device *device, const struct ci_tensor *tensor,
                         enum clinfer_status status, uint64_t limit) {
    const struct ci_view *view = &tensor->view;
    uint64_t bytes = ci_layout_bytes(&ci_layout_stored, view->type, view->rows, view->cols);
    if (status == CLINFER_OK) {
        if (ci_buffer_bytes(view->buffer) > limit) fail_msg("%s: %s: beyond the limit", device->id, tensor->name);
        if (view->offset + bytes > ci_buffer_bytes(view->buffer)) fail_msg("%s: %s", device->id, tensor->name);
        return;
    }
    if (bytes <= limit) fail_msg("%s: %s: refused: %s", device->id, tensor->name, clinfer_error());
    assert_int_equal(status, CLINFER_OUT_OF_MEMORY);
    if (!strstr(clinfer_error(), tensor->name)) fail_msg("%s: not named: %s", device->id, clinfer_error());
}

static void check_memory(struct ci_device *device, const struct recorded_device *mask, struct ci_threads *threads,
                         const uint8_t *bytes) {
    uint64_t limit = ci_device_caps(device)->max_alloc_bytes;
    struct ci_store store;
    struct ci_model model;
    ci_store_init(&store, &device, 1, threads);
    assert_int_equal(ci_store_add_file(&store, bytes, 4096), CLINFER_OK);
    assert_int_equal(ci_store_add_file(&store, bytes + 4096, FILE_BYTES - 4096), CLINFER_OK);
    check_pieces(mask, &store, limit);
    make_model(&shapes[1], &ci_type_q4_0, &model);
    /* As in a file: one behind the other, at offsets that are multiples of 32. */
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_output.weight", "blk.0.ffn_gate.weight",
                                        "blk.0.ffn_down.weight", "token_embd.weight"};
    size_t at = 4096 + 32;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct ci_tensor *weight = ci_model_find(&model, names[i]);
        const struct ci_view *view = &weight->view;
        weight->host = bytes + at;
        at += (ci_layout_bytes(&ci_layout_stored, view->type, view->rows, view->cols) + 31) / 32 * 32;
        assert_true(at <= FILE_BYTES);
        check_tensor(mask, weight, ci_store_weight(&store, weight, 1, &ci_layout_stored), limit);
    }
    /* A context of a million tokens is more than some allow. */
    struct ci_tensor *keys = ci_model_state(&model, CI_STATE_KEYS, 0, 0, 0);
    for (int64_t rows = 2048; rows <= 1 << 20; rows *= 8) {
        keys->place = -1;
        keys->view.rows = rows;
        check_tensor(mask, keys, ci_store_state(&store, keys, 1), limit);
    }
    ci_store_destroy(&store);
    ci_model_close(&model);
}

static void test_memory_is_asked_for_within_the_limits(void **state) {
    struct ci_device *device = NULL;
    struct ci_threads *threads = NULL;
    (void)state;
    if (ci_device_open(0, NULL, &device) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(ci_threads_create(1, &threads), CLINFER_OK);
    const struct ci_device_caps real = *ci_device_caps(device);
    /* Pages that nobody writes to cost nothing. */
    void *bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(bytes != MAP_FAILED);
    for (int d = 0; d < RECORDED_DEVICES; d++) {
        put_on(device, &real, &devices[d]);
        check_memory(device, &devices[d], threads, bytes);
    }
    put_on(device, &real, &(struct recorded_device){.caps = real});
    munmap(bytes, FILE_BYTES);
    ci_threads_destroy(threads);
    ci_device_close(device);
}

/* ---- profiles ---- */

static void test_no_profile_of_another_device_is_taken(void **state) {
    (void)state;
    for (int d = 0; d < RECORDED_DEVICES; d++) {
        const struct ci_caps caps = {.cpu = &no_features, .device = &devices[d].caps, .threads = 2};
        struct ci_profile_key key;
        struct ci_profile profile = {0};
        enum ci_profile_origin origin;
        ci_signature_key(&caps, &key);
        assert_int_equal(ci_profile_lookup_shipped(&key, &profile, &origin, NULL), CLINFER_OK);
        if (origin != CI_PROFILE_NONE &&
            (strcmp(profile.key.platform, key.platform) != 0 ||
             (devices[d].caps.kind != CI_DEVICE_CPU && strcmp(profile.key.device, key.device) != 0)))
            fail_msg("%s gets the profile of \"%s\" (%s)", devices[d].id, profile.key.device, profile.key.platform);
        ci_profile_free(&profile);
    }
}

static bool has_word(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += length) {
        bool begins = at == text || (!isalnum((unsigned char)at[-1]) && at[-1] != '_');
        if (begins && !isalnum((unsigned char)at[length]) && at[length] != '_') return true;
    }
    return false;
}

/* A tunable that the kernel does not see must not make another program, and one that it sees must. */
static void test_a_tunable_is_a_macro_of_the_kernel_or_of_the_grid_alone(void **state) {
    (void)state;
    for (int i = 0; ci_variants[i]; i++) {
        const struct ci_variant *variant = ci_variants[i];
        const char *sources[] = {variant->header, variant->second_header, variant->source};
        for (int t = 0; variant->tunables && variant->tunables[t].name; t++) {
            const struct ci_tunable *tunable = &variant->tunables[t];
            bool seen = false, of_grid = variant->grid_tunables >> t & 1;
            for (size_t k = 0; k < sizeof sources / sizeof *sources; k++) {
                char *text;
                if (!sources[k]) continue;
                assert_int_equal(ci_kernel_source_load(sources[k], &text), CLINFER_OK);
                seen = seen || has_word(text, tunable->name);
                free(text);
            }
            if (seen == of_grid)
                fail_msg("%s of %s %s: the kernel %s it", tunable->name, variant->op->name, variant->name,
                         seen ? "sees" : "does not see");
        }
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_has_a_kernel_within_the_limits),
        cmocka_unit_test(test_devices_get_the_kernels_made_for_them),
        cmocka_unit_test(test_memory_is_asked_for_within_the_limits),
        cmocka_unit_test(test_no_profile_of_another_device_is_taken),
        cmocka_unit_test(test_a_tunable_is_a_macro_of_the_kernel_or_of_the_grid_alone),
    };
    return cmocka_run_group_tests(tests, read_all, NULL);
}
