#include "support/profile_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/asserts.h"

struct ci_profile_key profile_sample_key(void) {
    return (struct ci_profile_key){.kind = "gpu",
                                   .platform = "Some Platform",
                                   .platform_version = "OpenCL 3.0 v1",
                                   .device = "Thing 9000 \"µ\" (TM)",
                                   .driver = "535.1",
                                   .compute_units = 12,
                                   .threads = 4,
                                   .cpu = "avx2,avx512vnni"};
}

struct ci_profile_entry profile_sample_entry(const char *op, int64_t rows, int64_t k, int64_t n) {
    struct ci_profile_entry entry = {
        .signature = {.types = "q8,q4_1,-", .params = "9,-3", .rows = rows, .k = k, .n = n},
        .layout = "r16",
        .variant = "gemm_vec",
        .tunables = {{"STREAMS", 4}, {"OFFSET", -1}},
        .tunable_count = 2,
        .source = UINT64_C(0xfedcba9876543210),
        .seconds = 1.25e-5,
        .default_seconds = 2.5e-5,
        .bytes = 12345678,
        .operations = 2.5e9,
        .nmse = 1e-10,
        .tried = 40,
        .refused = 3,
        .crashed = 1};
    snprintf(entry.signature.op, sizeof entry.signature.op, "%s", op);
    return entry;
}

void profile_sample(struct ci_profile *profile) {
    *profile = (struct ci_profile){.key = profile_sample_key(),
                                   .clinfer = "0.1.0",
                                   .created = "2026-11-21T10:00:00Z",
                                   .tune_seconds = 58.5,
                                   .measured = {1e10, 2e11, 7e11, 3e-6, 4e-5, 5e-5, 6e9}};
    struct ci_profile_entry first = profile_sample_entry("matmul", 1, 576, 1536),
                            second = profile_sample_entry("rmsnorm", 512, 576, 576);
    memset(second.layout, 0, sizeof second.layout);
    second.tunable_count = 0;
    memset(second.tunables, 0, sizeof second.tunables);
    assert_ok(ci_profile_set(profile, &first));
    assert_ok(ci_profile_set(profile, &second));
    profile->models = calloc(1, sizeof *profile->models);
    assert_non_null(profile->models);
    profile->model_count = 1;
    profile->models[0] = (struct ci_profile_model){"SmolLM2",
                                                   0x123,
                                                   10.5,
                                                   20.25,
                                                   100,
                                                   200,
                                                   0.875,
                                                   1e8,
                                                   1.5,
                                                   {{0.1, 0.2, 0.3, 0.4, 0.5}},
                                                   {.threads = 3, .batch = 128, .activations = "f32", .pages = "small"},
                                                   true};
}
