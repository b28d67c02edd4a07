/* The profiles that are shipped: an entry whose kernel has changed since it was measured is passed over, so one that is
 * not renewed is dead weight. Those that any x86-64 machine can renew must be fresh: the CPU backend's, PoCL's and that
 * of Intel's runtime. Needs no driver: what an entry's hash is taken of are sources and compiler options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "profile/shipped.h"
#include "proof/survey.h"
#include "support/asserts.h"
#include "support/imagined_gpu.h"

/* How many entries are stale; *unknown: of how many that cannot be said. The first stale one goes to `first`. */
static int count_stale(const struct ci_profile *profile, bool on_device, int *unknown,
                       const struct ci_profile_entry **first) {
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_survey survey;
    int stale = 0;
    if (!on_device) caps.device = NULL;
    assert_ok(ci_survey_create(&caps, &survey));
    *unknown = 0;
    for (int i = profile->entry_count - 1; i >= 0; i--) {
        enum ci_survey_age age = ci_survey_age(&survey, on_device, &profile->entries[i]);
        *unknown += age == CI_SURVEY_UNKNOWN;
        stale += age == CI_SURVEY_STALE;
        if (age == CI_SURVEY_STALE) *first = &profile->entries[i];
    }
    ci_survey_free(&survey);
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
        int unknown;
        assert_ok(ci_profile_parse(file->name, file->text, file->length, &profile));
        if (can_be_judged(&profile)) {
            const char *device = strcmp(profile.key.platform, "cpu") == 0 ? "cpu" : "0";
            int stale = count_stale(&profile, strcmp(device, "0") == 0, &unknown, &first);
            judged++;
            if (2 * unknown > profile.entry_count)
                fail_msg("profiles/%s.json: %d of %d entries have types that no test has", file->name, unknown,
                         profile.entry_count);
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
        int unknown, unfused = 0;
        assert_ok(ci_profile_parse(file->name, file->text, file->length, &profile));
        for (int i = 0; i < profile.entry_count; i++) {
            profile.entries[i].source ^= 1;
            unfused += strcmp(profile.entries[i].variant, CI_PROFILE_UNFUSED) == 0;
        }
        if (can_be_judged(&profile)) {
            int stale = count_stale(&profile, strcmp(profile.key.platform, "cpu") != 0, &unknown, &first);
            assert_int_equal(stale + unknown + unfused, profile.entry_count);
        }
        ci_profile_free(&profile);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_profiles_are_of_the_kernels_of_this_build),
        cmocka_unit_test(test_changed_kernel_is_noticed),
    };
    return cmocka_run_group_tests_name("shipped profiles", tests, NULL, NULL);
}
