#include "support/imagined_gpu.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

const struct ci_device_caps imagined_gpu = {.name = "Imagined GPU",
                                            .vendor = "nobody",
                                            .platform = "Imagined",
                                            .platform_version = "OpenCL 3.0",
                                            .version = "OpenCL 3.0",
                                            .driver = "1.0",
                                            .kind = CI_DEVICE_GPU,
                                            .opencl_major = 3,
                                            .compute_units = 16,
                                            .global_bytes = UINT64_C(8) << 30,
                                            .max_alloc_bytes = UINT64_C(2) << 30,
                                            .local_bytes = 48 << 10,
                                            .max_work_group = 1024,
                                            .max_work_item = {1024, 1024, 64},
                                            .base_align_bytes = 128,
                                            .local_is_dedicated = true,
                                            .fp16 = true,
                                            .subgroups = true,
                                            .key = 42};

struct ci_caps imagined_gpu_caps(void) {
    return (struct ci_caps){.cpu = ci_cpu_features(), .device = &imagined_gpu, .threads = 2};
}

double seconds_by_tunables(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    const char *name = candidate->variant->name;
    double seconds = 1e-5 * (1 + (double)(ci_hash(CI_HASH_START, name, strlen(name)) % 50) / 100);
    seconds *= 1 + log2((double)problem->shape.in[0].rows * (double)problem->shape.in[0].cols);
    for (int i = 0; candidate->variant->tunables && candidate->variant->tunables[i].name; i++) {
        const int *allowed = candidate->variant->tunables[i].allowed;
        int count = 0, place = 0;
        for (; allowed[count]; count++)
            if (allowed[count] == candidate->tunables[i]) place = count;
        seconds *= 1 + 0.1 * (count - 1 - place);
    }
    return seconds;
}

double seconds_by_size(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    (void)candidate;
    return 1e-9 * (double)(problem->shape.in[0].rows * problem->shape.in[0].cols);
}

bool has_defaults(const struct ci_tuner_candidate *candidate) {
    for (int i = 0; candidate->variant->tunables && candidate->variant->tunables[i].name; i++)
        if (candidate->tunables[i] != candidate->variant->tunables[i].value) return false;
    return true;
}

const struct ci_tune_problem *find_problem(const struct ci_problems *problems, const char *op, int64_t rows,
                                           const char *types) {
    for (int i = 0; i < problems->count; i++) {
        const struct ci_profile_signature *signature = &problems->items[i].signature;
        if (strcmp(signature->op, op) == 0 && signature->rows == rows &&
            strncmp(signature->types, types, strlen(types)) == 0)
            return &problems->items[i];
    }
    return NULL;
}
