/* What the processor can do. On x86 CPUID says what it has and XGETBV whether the operating system saves the registers;
 * on Arm the auxiliary vector says both. */
#include "cpu/cpu.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ci_cpu_features features;

#if defined(__x86_64__)
#include <cpuid.h>

enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6 };

static uint64_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

static void find_name(void) {
    uint32_t words[12];
    uint32_t most = __get_cpuid_max(0x80000000u, NULL);
    if (most < 0x80000004u) return;
    for (uint32_t i = 0; i < 3; i++)
        __cpuid(0x80000002u + i, words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    char text[sizeof words + 1] = {0};
    memcpy(text, words, sizeof words);
    /* Makers pad it with spaces on either side. */
    char *start = text + strspn(text, " "), *end = start + strlen(start);
    while (end > start && end[-1] == ' ') *--end = 0;
    snprintf(features.name, sizeof features.name, "%s", start);
}

static void find_features(void) {
    uint32_t a, b, c, d, b7, c7, d7, a71 = 0, unused;
    find_name();
    if (!__get_cpuid(1, &a, &b, &c, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return;
    if (a >= 1) __cpuid_count(7, 1, a71, unused, unused, unused);
    uint64_t saved = has(c, bit_OSXSAVE) ? saved_registers() : 0;
    features.avx2 = (saved & XCR0_AVX) == XCR0_AVX && has(c, bit_AVX | bit_FMA | bit_F16C) && has(b7, bit_AVX2);
    features.avx512vnni = features.avx2 && (saved & XCR0_AVX512) == XCR0_AVX512 &&
                          has(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ) && has(c7, bit_AVX512VNNI);
    features.avx512bf16 = features.avx512vnni && has(a71, bit_AVX512BF16);
}

#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

/* The kernel's own list gives parts by number only; the device tree of small machines names the board. */
static void find_name(void) {
    snprintf(features.name, sizeof features.name, "aarch64");
    FILE *file = fopen("/proc/device-tree/model", "rb");
    if (!file) return;
    char text[sizeof features.name] = {0};
    if (fread(text, 1, sizeof text - 1, file) > 0) memcpy(features.name, text, sizeof text);
    fclose(file);
}

static void find_features(void) {
    unsigned long capabilities = getauxval(AT_HWCAP);
    find_name();
    features.neon = capabilities & HWCAP_ASIMD;
    features.neondot = features.neon && (capabilities & HWCAP_ASIMDDP);
}

#else
static void find_features(void) {}
#endif

/* CLINFER_CPU names the best that may be used: what comes after it in its family, and the other family, are taken away.
 * A name that is none of them takes nothing away. */
static void apply_environment(void) {
    const char *wanted = getenv("CLINFER_CPU");
    const struct {
        const char *name;
        int family;
        bool *feature;
    } order[] = {{"scalar", 0, NULL},
                 {"avx2", 1, &features.avx2},
                 {"avx512vnni", 1, &features.avx512vnni},
                 {"avx512bf16", 1, &features.avx512bf16},
                 {"neon", 2, &features.neon},
                 {"neondot", 2, &features.neondot}};
    enum { COUNT = sizeof order / sizeof *order };
    int best = 0;
    if (!wanted) return;
    while (best < COUNT && strcmp(order[best].name, wanted) != 0) best++;
    if (best == COUNT) return;
    for (int i = 0; i < COUNT; i++)
        if (order[i].feature && (order[i].family != order[best].family || i > best)) *order[i].feature = false;
}

static void find(void) {
    find_features();
    apply_environment();
    if (!features.name[0]) snprintf(features.name, sizeof features.name, "unknown processor");
}

const struct ci_cpu_features *ci_cpu_features(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find);
    return &features;
}
