#include "profile/clblast.h"

#include <stddef.h>
#include <string.h>

#include "base/status.h"
#include "profile/profile_fields.h"

/* ---- the parameters: ranges are those of CLBlast's tuners, and small work-groups for processors ---- */

#define XGEMM(member, least, most)                                                                                     \
    { #member, CI_FIELD_INT, offsetof(struct ci_profile_clblast, xgemm.member), sizeof(int), least, most, false }
#define DIRECT(member, least, most)                                                                                    \
    { #member, CI_FIELD_INT, offsetof(struct ci_profile_clblast, direct.member), sizeof(int), least, most, false }
#define ROUTINE(member, least, most)                                                                                   \
    { #member, CI_FIELD_INT, offsetof(struct ci_profile_clblast, routine.member), sizeof(int), least, most, false }

static const struct ci_field xgemm_fields[] = {
    XGEMM(GEMMK, 0, 1),
    XGEMM(KREG, 1, 16),
    XGEMM(KWG, 1, 64),
    XGEMM(KWI, 1, 16),
    XGEMM(MDIMA, 1, 64),
    XGEMM(MDIMC, 1, 64),
    XGEMM(MWG, 8, 256),
    XGEMM(NDIMB, 1, 64),
    XGEMM(NDIMC, 1, 64),
    XGEMM(NWG, 8, 256),
    XGEMM(SA, 0, 1),
    XGEMM(SB, 0, 1),
    XGEMM(STRM, 0, 1),
    XGEMM(STRN, 0, 1),
    XGEMM(VWM, 1, 16),
    XGEMM(VWN, 1, 16),
    {0},
};

static const struct ci_field direct_fields[] = {
    DIRECT(KWID, 1, 32),
    DIRECT(MDIMAD, 1, 64),
    DIRECT(MDIMCD, 1, 64),
    DIRECT(NDIMBD, 1, 64),
    DIRECT(NDIMCD, 1, 64),
    DIRECT(PADA, 0, 1),
    DIRECT(PADB, 0, 1),
    DIRECT(VWMD, 1, 16),
    DIRECT(VWND, 1, 16),
    DIRECT(WGD, 8, 128),
    {0},
};

static const struct ci_field routine_fields[] = {ROUTINE(XGEMM_MIN_INDIRECT_SIZE, 1, 65536), {0}};

const struct ci_profile_clblast_fields ci_profile_clblast_kernels[CI_CLBLAST_KERNELS] = {
    [CI_CLBLAST_XGEMM] = {"Xgemm", xgemm_fields},
    [CI_CLBLAST_DIRECT] = {"XgemmDirect", direct_fields},
    [CI_CLBLAST_ROUTINE] = {"GemmRoutine", routine_fields},
};

int *ci_profile_clblast_value(struct ci_profile_clblast *set, const struct ci_field *field) {
    return (int *)(void *)((char *)set + field->offset);
}

bool ci_profile_clblast_equal(const struct ci_profile_clblast *a, const struct ci_profile_clblast *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* ---- what CLBlast wants of them ---- */

static enum clinfer_status refuse(const struct ci_field_place *place, const char *name, int value, const char *must) {
    json_t *json = json_integer(value);
    enum clinfer_status status = ci_field_refuse(place, name, json, "%s", must);
    json_decref(json);
    return status;
}

/* Flags aside, everything is a power of two in CLBlast: its kernels unroll by halves and have vectors of these widths.
 */
static enum clinfer_status check_powers(const struct ci_field_place *place, const struct ci_field *fields,
                                        const struct ci_profile_clblast *set) {
    for (; fields->name; fields++) {
        int value;
        memcpy(&value, (const char *)set + fields->offset, sizeof value);
        if (value & (value - 1)) return refuse(place, fields->name, value, "must be a power of two");
    }
    return CLINFER_OK;
}

struct rule {
    const char *name;
    int value;
    bool holds;
    const char *must;
};

static enum clinfer_status check_rules(const struct ci_field_place *place, const struct rule *rules, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!rules[i].holds) return refuse(place, rules[i].name, rules[i].value, rules[i].must);
    return CLINFER_OK;
}

static bool is_multiple(int value, int of) { return of > 0 && value % of == 0; }

static enum clinfer_status check_xgemm(const struct ci_field_place *place, const struct ci_profile_xgemm *x) {
    int items = x->MDIMC * x->NDIMC;
    const struct rule both[] = {
        {"KWG", x->KWG, is_multiple(x->KWG, x->KWI), "must be a multiple of KWI"},
        {"MWG", x->MWG, is_multiple(x->MWG, x->MDIMC * x->VWM), "must be a multiple of MDIMC * VWM"},
        {"NWG", x->NWG, is_multiple(x->NWG, x->NDIMC * x->VWN), "must be a multiple of NDIMC * VWN"},
        {"MWG", x->MWG, is_multiple(x->MWG, x->MDIMA * x->VWM), "must be a multiple of MDIMA * VWM"},
        {"NWG", x->NWG, is_multiple(x->NWG, x->NDIMB * x->VWN), "must be a multiple of NDIMB * VWN"},
    };
    const struct rule tiled[] = {
        {"KWG", x->KWG, is_multiple(x->KWG, items / x->MDIMA), "must be a multiple of MDIMC * NDIMC / MDIMA"},
        {"KWG", x->KWG, is_multiple(x->KWG, items / x->NDIMB), "must be a multiple of MDIMC * NDIMC / NDIMB"},
        {"KREG", x->KREG, x->KREG == 1, "must be 1 with GEMMK 0"},
    };
    const struct rule registers[] = {
        {"KREG", x->KREG, is_multiple(x->KREG, x->VWN), "must be a multiple of VWN with GEMMK 1"},
        {"KWG", x->KWG, x->KWG == 1, "must be 1 with GEMMK 1"},
        {"MDIMA", x->MDIMA, x->MDIMA == x->MDIMC, "must be MDIMC with GEMMK 1"},
        {"NDIMB", x->NDIMB, x->NDIMB == x->NDIMC, "must be NDIMC with GEMMK 1"},
        {"SA", x->SA, x->SA == 0, "must be 0 with GEMMK 1"},
        {"SB", x->SB, x->SB == 0, "must be 0 with GEMMK 1"},
        {"STRM", x->STRM, x->STRM == 0, "must be 0 with GEMMK 1"},
        {"STRN", x->STRN, x->STRN == 0, "must be 0 with GEMMK 1"},
    };
    enum clinfer_status status = check_rules(place, both, sizeof both / sizeof *both);
    if (status != CLINFER_OK) return status;
    return x->GEMMK ? check_rules(place, registers, sizeof registers / sizeof *registers)
                    : check_rules(place, tiled, sizeof tiled / sizeof *tiled);
}

static enum clinfer_status check_direct(const struct ci_field_place *place, const struct ci_profile_xgemm_direct *x) {
    int items = x->MDIMCD * x->NDIMCD;
    const struct rule rules[] = {
        {"WGD", x->WGD, is_multiple(x->WGD, x->KWID), "must be a multiple of KWID"},
        {"WGD", x->WGD, is_multiple(x->WGD, x->MDIMCD * x->VWMD), "must be a multiple of MDIMCD * VWMD"},
        {"WGD", x->WGD, is_multiple(x->WGD, x->NDIMCD * x->VWND), "must be a multiple of NDIMCD * VWND"},
        {"WGD", x->WGD, is_multiple(x->WGD, x->MDIMAD * x->VWMD), "must be a multiple of MDIMAD * VWMD"},
        {"WGD", x->WGD, is_multiple(x->WGD, x->NDIMBD * x->VWND), "must be a multiple of NDIMBD * VWND"},
        {"WGD", x->WGD, is_multiple(x->WGD, items / x->MDIMAD), "must be a multiple of MDIMCD * NDIMCD / MDIMAD"},
        {"WGD", x->WGD, is_multiple(x->WGD, items / x->NDIMBD), "must be a multiple of MDIMCD * NDIMCD / NDIMBD"},
    };
    return check_rules(place, rules, sizeof rules / sizeof *rules);
}

enum clinfer_status ci_profile_clblast_check(const struct ci_field_place *place, const struct ci_profile_clblast *set) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < CI_CLBLAST_KERNELS && status == CLINFER_OK; i++) {
        struct ci_field_place below = ci_field_below(place, ci_profile_clblast_kernels[i].name, -1);
        if (!(set->kernels >> i & 1) || i == CI_CLBLAST_ROUTINE) continue;
        status = check_powers(&below, ci_profile_clblast_kernels[i].fields, set);
        if (status == CLINFER_OK)
            status = i == CI_CLBLAST_XGEMM ? check_xgemm(&below, &set->xgemm) : check_direct(&below, &set->direct);
    }
    return status;
}

/* ---- as JSON ---- */

enum clinfer_status ci_profile_clblast_read(const struct ci_field_place *place, const json_t *object,
                                            struct ci_profile_clblast *set) {
    static const struct ci_field members[] = {CI_FIELD_CALLERS("Xgemm", true),
                                              CI_FIELD_CALLERS("XgemmDirect", true),
                                              CI_FIELD_CALLERS("GemmRoutine", true),
                                              {0}};
    *set = (struct ci_profile_clblast){0};
    enum clinfer_status status = ci_field_read(place, members, object, set);
    for (int i = 0; i < CI_CLBLAST_KERNELS && status == CLINFER_OK; i++) {
        const struct ci_profile_clblast_fields *kernel = &ci_profile_clblast_kernels[i];
        struct ci_field_place below = ci_field_below(place, kernel->name, -1);
        const json_t *values = json_object_get(object, kernel->name);
        if (!values) continue;
        status = ci_field_read(&below, kernel->fields, values, set);
        set->kernels |= 1U << i;
    }
    if (status == CLINFER_OK && !set->kernels) status = ci_field_refuse(place, "", object, "names no kernel");
    return status == CLINFER_OK ? ci_profile_clblast_check(place, set) : status;
}

enum clinfer_status ci_profile_clblast_write(const struct ci_field_place *place, const struct ci_profile_clblast *set,
                                             json_t *object) {
    enum clinfer_status status = ci_profile_clblast_check(place, set);
    for (int i = 0; i < CI_CLBLAST_KERNELS && status == CLINFER_OK; i++) {
        const struct ci_profile_clblast_fields *kernel = &ci_profile_clblast_kernels[i];
        struct ci_field_place below = ci_field_below(place, kernel->name, -1);
        if (!(set->kernels >> i & 1)) continue;
        json_t *values = json_object();
        if (json_object_set_new(object, kernel->name, values) != 0)
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", place->file);
        if (status == CLINFER_OK) status = ci_field_write(&below, kernel->fields, set, values);
    }
    return status;
}
