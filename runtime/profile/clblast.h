/* clblast.h: parameters of CLBlast's kernels in a profile: one set per device, for products of floats. CLBlast believes
 * whatever it is told, and wrong parameters give wrong results; so a set is refused unless it is what CLBlast's own
 * tuners could have tried. (The limits of a device are another matter: ops/clblast.h.) */
#ifndef CI_PROFILE_CLBLAST_H
#define CI_PROFILE_CLBLAST_H

#include <stdbool.h>

struct ci_field;

/* Kernels and parameters are named as CLBlast names them. For large products; MWG x NWG is the tile of a work-group of
 * MDIMC x NDIMC, KWG its depth, VWM and VWN the widths of vectors, SA and SB whether the factors go through local
 * memory. GEMMK 1 is another algorithm, which tiles registers by KREG. */
struct ci_profile_xgemm {
    int GEMMK, KREG, KWG, KWI, MDIMA, MDIMC, MWG, NDIMB, NDIMC, NWG, SA, SB, STRM, STRN, VWM, VWN;
};

/* For small products: no copies of the factors; the tile is WGD x WGD and as deep, in local memory. */
struct ci_profile_xgemm_direct {
    int KWID, MDIMAD, MDIMCD, NDIMBD, NDIMCD, PADA, PADB, VWMD, VWND, WGD;
};

/* A product of m, n and k is small when m n k is less than the cube of this. */
struct ci_profile_gemm_routine {
    int XGEMM_MIN_INDIRECT_SIZE;
};

enum ci_profile_clblast_kernel { CI_CLBLAST_XGEMM, CI_CLBLAST_DIRECT, CI_CLBLAST_ROUTINE, CI_CLBLAST_KERNELS };

/* No padding, and zeros where a kernel is absent: may be compared and hashed as bytes. */
struct ci_profile_clblast {
    unsigned kernels; /* bits 1 << kernel of those that have parameters here; 0: CLBlast's own for all */
    struct ci_profile_xgemm xgemm;
    struct ci_profile_xgemm_direct direct;
    struct ci_profile_gemm_routine routine;
};

/* By kernel; fields' offsets are from the start of struct ci_profile_clblast, all are of kind CI_FIELD_INT. */
struct ci_profile_clblast_fields {
    const char *name;
    const struct ci_field *fields;
};
extern const struct ci_profile_clblast_fields ci_profile_clblast_kernels[CI_CLBLAST_KERNELS];

int *ci_profile_clblast_value(struct ci_profile_clblast *set, const struct ci_field *field);
bool ci_profile_clblast_equal(const struct ci_profile_clblast *a, const struct ci_profile_clblast *b);

#endif
