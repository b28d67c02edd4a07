#include "ops/clblast.h"

#include "base/status.h"
#include "profile/profile_fields.h"

/* A kernel with work-groups of m x n items and so many floats of local memory. */
static enum clinfer_status check_limits(const struct ci_device_caps *caps, const char *kernel, int m, int n,
                                        int64_t floats) {
    size_t columns = (size_t)m, rows = (size_t)n;
    uint64_t bytes = (uint64_t)floats * sizeof(float);
    if (columns * rows > caps->max_work_group || columns > caps->max_work_item[0] || rows > caps->max_work_item[1])
        return ci_fail(CLINFER_UNSUPPORTED, "CLBlast's %s: work-groups of %d x %d; \"%s\" has at most %zu (%zu x %zu)",
                       kernel, m, n, caps->name, caps->max_work_group, caps->max_work_item[0], caps->max_work_item[1]);
    if (bytes > caps->local_bytes)
        return ci_fail(CLINFER_UNSUPPORTED, "CLBlast's %s: %llu bytes of local memory; \"%s\" has %llu", kernel,
                       (unsigned long long)bytes, caps->name, (unsigned long long)caps->local_bytes);
    return CLINFER_OK;
}

enum clinfer_status ci_clblast_check(const struct ci_device_caps *caps, const struct ci_profile_clblast *set) {
    const struct ci_field_place place = {.file = "CLBlast's parameters"};
    const struct ci_profile_xgemm *x = &set->xgemm;
    const struct ci_profile_xgemm_direct *direct = &set->direct;
    enum clinfer_status status = ci_profile_clblast_check(&place, set);
    if (status == CLINFER_OK && set->kernels >> CI_CLBLAST_XGEMM & 1)
        status = check_limits(caps, "Xgemm", x->MDIMC, x->NDIMC, (int64_t)x->KWG * (x->SA * x->MWG + x->SB * x->NWG));
    if (status == CLINFER_OK && set->kernels >> CI_CLBLAST_DIRECT & 1)
        status = check_limits(caps, "XgemmDirect", direct->MDIMCD, direct->NDIMCD,
                              (int64_t)direct->WGD * (2 * direct->WGD + direct->PADA + direct->PADB));
    return status;
}

enum clinfer_status ci_clblast_use(struct ci_device *device, const struct ci_profile_clblast *set) {
    struct ci_profile_clblast copy = *set;
    enum clinfer_status status = ci_clblast_check(ci_device_caps(device), set);
    for (int i = 0; i < CI_CLBLAST_KERNELS && status == CLINFER_OK; i++) {
        const char *names[CI_CLBLAST_VALUES];
        size_t values[CI_CLBLAST_VALUES];
        int count = 0;
        if (!(set->kernels >> i & 1)) continue;
        for (const struct ci_field *field = ci_profile_clblast_kernels[i].fields; field->name; field++) {
            names[count] = field->name;
            values[count++] = (size_t)*ci_profile_clblast_value(&copy, field);
        }
        ci_device_clblast_parameters(device, ci_profile_clblast_kernels[i].name, count, names, values);
    }
    return status;
}
