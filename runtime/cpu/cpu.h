/* cpu.h: what this processor can do, found once at run time (CPUID and XGETBV on x86, the auxiliary vector on Arm). */
#ifndef CI_CPU_CPU_H
#define CI_CPU_CPU_H

#include <stdbool.h>

struct ci_cpu_features {
    char name[64];
    bool avx2;       /* with FMA and F16C */
    bool avx512vnni; /* F, BW, VL, DQ, VNNI, and the operating system saves the registers */
    bool avx512bf16; /* the above and BF16 */
    bool neon;       /* Advanced SIMD */
    bool neondot;    /* with the dot product instructions */
};

/* CLINFER_CPU=scalar|avx2|... in the environment (a name above; "scalar" is none) takes away what is better, for tests.
 */
const struct ci_cpu_features *ci_cpu_features(void);

#endif
