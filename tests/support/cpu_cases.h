/* cpu_cases.h: variants of the CPU backend on cases of their ops, against the op's reference, with the work divided
 * among one, two and three threads, three in turns.
 *
 * What is cross-built for other architectures runs under an emulator; that being slow, it does there one in three of
 * the small shapes and of the large cases. No library: cross-built tests have none of tests/support. */
#ifndef TESTS_SUPPORT_CPU_CASES_H
#define TESTS_SUPPORT_CPU_CASES_H

#include <stdint.h>
#include <stdlib.h>

#include "base/status.h"
#include "cpu/kernels.h"
#include "ops/op_list.h"
#include "proof/gate.h"
#include "support/sampling.h"

#ifdef CI_TESTS_CROSS_CMOCKA_H
enum { CPU_ONE_IN = 3 };
#else
enum { CPU_ONE_IN = 1 };
#endif
enum { CPU_THREADS = 3, CPU_SEED = 20 };

static inline const struct ci_variant *const *cpu_variant(const struct ci_variant *const *from) {
    while (*from && (*from)->backend != CI_BACKEND_CPU) from++;
    return from;
}

static inline struct ci_caps cpu_caps(void) { return (struct ci_caps){.cpu = ci_cpu_features(), .threads = 1}; }

/* Weights to the layout that the variant wants, in memory of its own. */
static inline void cpu_lay_out(const struct ci_variant *variant, struct ci_call *call, void **memory) {
    for (int i = 0; i < CI_MAX_INPUTS; i++) {
        struct ci_view *w = &call->in[i];
        memory[i] = NULL;
        if (!variant->weight_layout || !w->type || !(variant->op->weight_inputs >> i & 1)) continue;
        size_t bytes = ci_layout_bytes(variant->weight_layout, w->type, w->rows, w->cols);
        memory[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        assert_non_null(memory[i]);
        ci_layout_pack(variant->weight_layout, w->type, w->rows, w->cols, w->data, memory[i], 0, w->rows);
        w->layout = variant->weight_layout;
        w->data = memory[i];
    }
}

/* One variant on one sample, `threads` shares, the last first: none may depend on another's. The most threads take
 * turns where the variant does: so the last takes all pieces. */
static inline void cpu_check_threads(const struct ci_variant *variant, const struct ci_case *shape,
                                     const struct ci_sample_call *sample, const struct ci_sample_call *expected,
                                     int threads) {
    struct ci_sample_call actual;
    struct ci_gate_result result;
    void *weights[CI_MAX_INPUTS];
    atomic_int taken = 0;
    int output;
    if (ci_sample_copy(sample, &actual) != CLINFER_OK) fail_msg("%s", ci_status_message());
    if (threads == CPU_THREADS) actual.call.taken = &taken;
    cpu_lay_out(variant, &actual.call, weights);
    ci_cpu_function *function = variant->cpu(&actual.call);
    for (int thread = threads - 1; thread >= 0; thread--) function(&actual.call, thread, threads);
    if (ci_gate_compare(variant->op, &expected->call, &actual.call, &result) != CLINFER_OK)
        fail_msg("%s", ci_status_message());
    if (!result.passed)
        fail_msg("%s by %s, case \"%s\", %d threads: %s", variant->op->name, variant->name, shape->name, threads,
                 result.text);
    if (!ci_sample_guards_hold(&actual, &output))
        fail_msg("%s by %s, case \"%s\", %d threads: writes beyond output %d", variant->op->name, variant->name,
                 shape->name, threads, output);
    for (int i = 0; i < CI_MAX_INPUTS; i++) free(weights[i]);
    ci_sample_destroy(&actual);
}

/* All variants of an op on one case; the reference, the slow part, is computed once. Returns how many ran. */
static inline int cpu_check_case(const struct ci_op *op, const struct ci_case *shape) {
    const double large = 1e7; /* operations; a second or more under an emulator */
    struct ci_caps here = cpu_caps();
    struct ci_sample_call sample, expected;
    int ran = 0;
    enum clinfer_status status = ci_sample_create(op, shape, CPU_SEED, &sample);
    if (status == CLINFER_UNSUPPORTED) return 0;
    if (status == CLINFER_OK && op->operations && op->operations(&sample.call) > large) {
        static int seen;
        if (!sampling_takes("large cases", seen++, CPU_ONE_IN, CPU_ONE_IN)) {
            ci_sample_destroy(&sample);
            return 0;
        }
    }
    if (status != CLINFER_OK || ci_sample_copy(&sample, &expected) != CLINFER_OK ||
        ci_op_reference(op, &expected.call) != CLINFER_OK)
        fail_msg("%s, case \"%s\": %s", op->name, shape->name, ci_status_message());
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        if ((*v)->op != op || !ci_variant_fits(*v, &here, &sample.call)) continue;
        for (int threads = 1; threads <= CPU_THREADS; threads++)
            cpu_check_threads(*v, shape, &sample, &expected, threads);
        ran++;
    }
    ci_sample_destroy(&sample);
    ci_sample_destroy(&expected);
    return ran;
}

#endif
