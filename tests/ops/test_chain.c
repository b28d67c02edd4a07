/* Chains of launches (ops/chain.h) on every CPU device of this machine: each step sees all that the steps before it
 * have written, whichever worker wrote it, and a chain that is updated computes with its new arguments. */
#include <string.h>

#include "support/device_fixture.h"

#include "ops/chain.h"
#include "ops/op_list.h"
#include "types/layout.h"

enum { ROWS = 37, COLS = 1024, STEPS = 400, NUMBERS = ROWS * COLS };

extern const struct ci_variant ci_variant_gather_opencl, ci_variant_rmsnorm_opencl, ci_variant_matmul_gemm_local;

static struct ci_buffer *buffers[2], *ids;
static struct ci_bound *bound[2];
static struct ci_call calls[2];
static int tunables[CI_MAX_TUNABLES];

static struct ci_view view(const struct ci_type *type, int64_t rows, int64_t cols, struct ci_buffer *buffer) {
    return (struct ci_view){.type = type, .layout = &ci_layout_stored, .rows = rows, .cols = cols, .buffer = buffer};
}

/* Row i of the output is row (i + 1) % ROWS of the input; from one buffer to the other, and back. */
static void make_rotations(void) {
    int32_t order[ROWS];
    for (int i = 0; i < ROWS; i++) order[i] = (i + 1) % ROWS;
    ids = fixture_buffer(sizeof order);
    assert_ok(ci_buffer_write(ids, 0, order, sizeof order));
    ci_bind_defaults(&ci_variant_gather_opencl, tunables);
    for (int i = 0; i < 2; i++) buffers[i] = fixture_buffer(NUMBERS * sizeof(float));
    for (int i = 0; i < 2; i++) {
        calls[i].in[0] = view(&ci_type_f32, ROWS, COLS, buffers[i]);
        calls[i].in[1] = view(&ci_type_i32, ROWS, 1, ids);
        calls[i].out[0] = view(&ci_type_f32, ROWS, COLS, buffers[1 - i]);
        assert_ok(ci_bind_create(fixture_device, &ci_variant_gather_opencl, tunables, &calls[i], &bound[i]));
    }
}

static void drop_rotations(void) {
    for (int i = 0; i < 2; i++) ci_bind_destroy(bound[i]);
    for (int i = 0; i < 2; i++) ci_buffer_destroy(buffers[i]);
    ci_buffer_destroy(ids);
}

static struct ci_chain_link link_of(int which) {
    return (struct ci_chain_link){bound[which], &ci_variant_gather_opencl, tunables, &calls[which]};
}

static struct ci_chain *make_chain(void) {
    struct ci_chain_link links[STEPS];
    struct ci_chain *chain = NULL;
    for (int i = 0; i < STEPS; i++) links[i] = link_of(i % 2);
    assert_ok(ci_chain_create(fixture_device, links, STEPS, 0, true, &chain));
    return chain;
}

static void fill(void) {
    static float numbers[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) numbers[i] = (float)i;
    assert_ok(ci_buffer_write(buffers[0], 0, numbers, sizeof numbers));
}

/* `rows` rows, of which the first is row `first` of what was filled in. */
static void assert_rotated(int first, int rows) {
    static float numbers[NUMBERS];
    assert_ok(ci_buffer_read(buffers[0], 0, numbers, sizeof numbers));
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < COLS; col++)
            assert_int_equal((int)numbers[row * COLS + col], (row + first) % ROWS * COLS + col);
}

static bool is_cpu(void) { return ci_device_caps(fixture_device)->kind == CI_DEVICE_CPU; }

static void test_each_step_sees_what_those_before_it_wrote(void **state) {
    (void)state;
    if (!is_cpu()) skip();
    make_rotations();
    struct ci_chain *chain = make_chain();
    fill();
    for (int run = 1; run <= 20; run++) {
        assert_ok(ci_chain_enqueue(chain));
        if (run % 10 == 0) assert_rotated(run * STEPS % ROWS, ROWS);
    }
    ci_chain_destroy(chain);
    drop_rotations();
}

static void test_an_updated_chain_has_the_new_arguments(void **state) {
    (void)state;
    if (!is_cpu()) skip();
    make_rotations();
    struct ci_chain *chain = make_chain();
    fill();
    assert_ok(ci_chain_enqueue(chain));
    assert_rotated(STEPS % ROWS, ROWS);
    for (int i = 0; i < 2; i++) {
        calls[i].in[1].rows = calls[i].out[0].rows = 0;
        assert_ok(ci_bind_update(bound[i], &calls[i]));
    }
    assert_ok(ci_chain_update(chain));
    assert_ok(ci_chain_enqueue(chain)); /* of no rows: nothing is written */
    assert_rotated(STEPS % ROWS, ROWS);
    for (int i = 0; i < 2; i++) {
        calls[i].in[1].rows = calls[i].out[0].rows = ROWS;
        assert_ok(ci_bind_update(bound[i], &calls[i]));
    }
    assert_ok(ci_chain_update(chain));
    assert_ok(ci_chain_enqueue(chain));
    assert_rotated(2 * STEPS % ROWS, ROWS);
    ci_chain_destroy(chain);
    drop_rotations();
}

static void test_what_is_in_no_cache_is_not_built_unasked(void **state) {
    struct ci_chain_link links[2];
    struct ci_chain *chain = NULL;
    (void)state;
    if (!is_cpu()) skip();
    make_rotations();
    for (int i = 0; i < 2; i++) links[i] = link_of(i);
    assert_int_equal(ci_chain_create(fixture_device, links, 2, 0, false, &chain), CLINFER_NOT_FOUND);
    assert_null(chain);
    assert_ok(ci_chain_create(fixture_device, links, 2, 0, true, &chain));
    assert_ok(ci_chain_enqueue(chain));
    assert_ok(ci_device_finish(fixture_device));
    ci_chain_destroy(chain);
    ci_device_save_programs(fixture_device);
    drop_rotations();
    fixture_reopen();
    make_rotations();
    for (int i = 0; i < 2; i++) links[i] = link_of(i);
    assert_ok(ci_chain_create(fixture_device, links, 2, 0, false, &chain));
    fill();
    assert_ok(ci_chain_enqueue(chain));
    assert_rotated(2, ROWS);
    ci_chain_destroy(chain);
    drop_rotations();
}

/* Work-items that do something together are no tasks that one worker runs after the other. */
static void test_work_groups_are_no_links(void **state) {
    (void)state;
    if (!is_cpu()) skip();
    make_rotations();
    struct ci_chain_link link = link_of(0);
    const struct ci_device_caps *caps = ci_device_caps(fixture_device);
    assert_true(ci_chain_takes(caps, &link));
    link.variant = &ci_variant_matmul_gemm_local;
    assert_false(ci_chain_takes(caps, &link));
    struct ci_device_caps gpu = *caps;
    gpu.kind = CI_DEVICE_GPU;
    link = link_of(0);
    assert_false(ci_chain_takes(&gpu, &link));
    drop_rotations();
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_step_sees_what_those_before_it_wrote, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_an_updated_chain_has_the_new_arguments, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_what_is_in_no_cache_is_not_built_unasked, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_work_groups_are_no_links, fixture_open, fixture_close),
    };
    return fixture_run(tests, sizeof tests / sizeof *tests);
}
