/* The profiles that are shipped: an entry whose kernel has changed since it was measured is passed over, so one that is
 * not renewed is dead weight. Those that any x86-64 machine can renew must be fresh: the CPU backend's, PoCL's and that
 * of Intel's runtime. Needs no driver: what an entry's hash is taken of are sources and compiler options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "profile/shipped.h"
#include "proof/survey.h"
#include "support/asserts.h"
#include "support/imagined_gpu.h"

/* How many entries are stale; the first of them goes to `first`. */
static int count_stale(const struct ci_profile *profile, bool on_device, const struct ci_profile_entry **first) {
    int stale = 0;
    for (int i = profile->entry_count - 1; i >= 0; i--) {
        if (!ci_survey_is_stale(on_device, &profile->entries[i])) continue;
        *first = &profile->entries[i];
        stale++;
    }
    return stale;
}

/* The variants of an instruction set of another architecture are not in this build. */
static bool can_be_judged(const struct ci_profile *profile) {
    bool on_device = strcmp(profile->key.platform, "cpu") != 0;
    if (on_device) return strcmp(profile->key.kind, "cpu") == 0;
#if defined(__x86_64__)
    return strstr(profile->key.cpu, "avx") != NULL;
#else
    return strstr(profile->key.cpu, "neon") != NULL;
#endif
}

static void test_shipped_profiles_are_of_the_kernels_of_this_build(void **state) {
    int judged = 0;
    (void)state;
    for (const struct ci_profile_shipped *file = ci_profiles_shipped; file->name; file++) {
        struct ci_profile profile;
        const struct ci_profile_entry *first = NULL;
        assert_ok(ci_profile_parse(file->name, file->text, file->length, &profile));
        if (can_be_judged(&profile)) {
            const char *device = strcmp(profile.key.platform, "cpu") == 0 ? "cpu" : "0";
            int stale = count_stale(&profile, strcmp(device, "0") == 0, &first);
            judged++;
            if (stale)
                fail_msg(
                    "profiles/%s.json: %d of %d entries are stale, the first is %s %s (%s): its kernel has changed "
                    "since. Renew it: clinfer tune --device %s, then clinfer profile export profiles/%s.json "
                    "--device %s",
                    file->name, stale, profile.entry_count, first->signature.op, first->variant, first->signature.types,
                    device, file->name, device);
        }
        ci_profile_free(&profile);
    }
    assert_true(judged >= 1);
}

static void test_changed_kernel_is_noticed(void **state) {
    (void)state;
    for (const struct ci_profile_shipped *file = ci_profiles_shipped; file->name; file++) {
        struct ci_profile profile;
        const struct ci_profile_entry *first = NULL;
        int unfused = 0;
        assert_ok(ci_profile_parse(file->name, file->text, file->length, &profile));
        for (int i = 0; i < profile.entry_count; i++) {
            profile.entries[i].source ^= 1;
            unfused += strcmp(profile.entries[i].variant, CI_PROFILE_UNFUSED) == 0;
        }
        if (can_be_judged(&profile)) {
            int stale = count_stale(&profile, strcmp(profile.key.platform, "cpu") != 0, &first);
            assert_int_equal(stale + unfused, profile.entry_count);
        }
        ci_profile_free(&profile);
    }
}

/* What a tune would write of the call: fresh, and with another hash stale. Returns how many variants that were. */
static int check_call(const struct ci_caps *caps, const struct ci_op *op, const struct ci_layout *layout,
                      struct ci_call call) {
    int checked = 0;
    for (int i = 0; i < op->inputs; i++) {
        if (!call.in[i].type || !(op->weight_inputs >> i & 1)) continue;
        if (!ci_layout_fits(layout, call.in[i].type, call.in[i].cols)) return 0;
        call.in[i].layout = layout;
    }
    for (int v = 0; ci_variants[v]; v++) {
        const struct ci_variant *variant = ci_variants[v];
        struct ci_profile_entry entry = {.source = 0};
        int values[CI_MAX_TUNABLES] = {0};
        if (variant->op != op || !ci_variant_fits(variant, caps, &call)) continue;
        if (variant->weight_layout && variant->weight_layout != layout) continue;
        ci_signature_of(op, &call, &entry.signature);
        snprintf(entry.layout, sizeof entry.layout, "%s", ci_signature_layout(op, &call));
        snprintf(entry.variant, sizeof entry.variant, "%s", variant->name);
        ci_bind_defaults(variant, values);
        entry.tunable_count = ci_signature_tunables(variant, values, entry.tunables);
        assert_ok(ci_signature_source(variant, values, &call, &entry.source));
        if (ci_survey_is_stale(caps->device != NULL, &entry))
            fail_msg("%s %s (%s) %s: passes for stale", op->name, variant->name, entry.signature.types, entry.layout);
        entry.source ^= 1;
        if (!ci_survey_is_stale(caps->device != NULL, &entry))
            fail_msg("%s %s (%s) %s: passes for fresh whatever its hash", op->name, variant->name,
                     entry.signature.types, entry.layout);
        checked++;
    }
    return checked;
}

static void test_whatever_plans_ask_for_is_judged(void **state) {
    (void)state;
    for (int on_device = 0; on_device < 2; on_device++) {
        struct ci_caps caps = imagined_gpu_caps();
        struct ci_problems problems = {0};
        int checked = 0;
        if (!on_device) caps.device = NULL;
        assert_ok(ci_problems_add_standard(&problems, &caps, 99));
        for (int i = 0; i < problems.count; i++)
            for (int l = 0; ci_layouts[l]; l++)
                checked += check_call(&caps, problems.items[i].problem.op, ci_layouts[l], problems.items[i].call);
        assert_true(checked > problems.count);
        ci_problems_free(&problems);
    }
}

static void test_types_that_nobody_knows_are_stale(void **state) {
    static const char *const types[] = {
        "", "q8", "q8,q4_1,-,-,-,-", "q8,q4_1,-,-,-,-,-,-", "q8,new,-,-,-,-,-", "q8,-,-,-,-,-,-"};
    struct ci_profile_entry entry = {.signature.op = "matmul", .layout = "stored"};
    uint64_t source;
    (void)state;
    for (int v = 0; ci_variants[v]; v++)
        if (ci_variants[v]->op == &ci_op_matmul && ci_variants[v]->backend == CI_BACKEND_OPENCL &&
            ci_variants[v]->type_input >= 0)
            snprintf(entry.variant, sizeof entry.variant, "%s", ci_variants[v]->name);
    strcpy(entry.signature.types, "q8,q4_1,-,-,-,-,-");
    assert_true(ci_survey_source(true, &entry, &source));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        strcpy(entry.signature.types, types[i]);
        assert_false(ci_survey_source(true, &entry, &source));
        assert_true(ci_survey_is_stale(true, &entry));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_profiles_are_of_the_kernels_of_this_build),
        cmocka_unit_test(test_changed_kernel_is_noticed),
        cmocka_unit_test(test_whatever_plans_ask_for_is_judged),
        cmocka_unit_test(test_types_that_nobody_knows_are_stale),
    };
    return cmocka_run_group_tests_name("shipped profiles", tests, NULL, NULL);
}
