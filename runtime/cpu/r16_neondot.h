/* r16_neondot.h: the 16 lanes of layout r16 are four registers of 4. sdot multiplies four signed codes of a row with
 * four of x and takes those of x from any quarter of a register, so one load of x serves four quads. */
#ifndef CI_CPU_R16_NEONDOT_H
#define CI_CPU_R16_NEONDOT_H

#include "cpu/r16_codes.h"
#include "cpu/simd.h"

#define R16_NAME(name) name##_neondot
enum { R16_TILE_ROWS = 4, R16_BYTE_OFFSET = 0 };

typedef struct {
    int8x16_t v[4];
} r16_quad;
typedef struct {
    float32x4_t v[4];
} r16_float;

#define R16_EACH(expression)                                                                                           \
    r16_float result;                                                                                                  \
    UNROLL for (int i = 0; i < 4; i++) result.v[i] = (expression);                                                     \
    return result

INLINE r16_float r16_zero(void) { R16_EACH(vdupq_n_f32(0)); }
INLINE r16_float r16_add(r16_float a, r16_float b) { R16_EACH(vaddq_f32(a.v[i], b.v[i])); }
INLINE r16_float r16_sub(r16_float a, r16_float b) { R16_EACH(vsubq_f32(a.v[i], b.v[i])); }
INLINE r16_float r16_mul(r16_float a, r16_float b) { R16_EACH(vmulq_f32(a.v[i], b.v[i])); }
INLINE r16_float r16_set(float a) { R16_EACH(vdupq_n_f32(a)); }
INLINE r16_float r16_times(r16_float a, float b) { R16_EACH(vmulq_n_f32(a.v[i], b)); }
INLINE r16_float r16_fma(r16_float a, r16_float b, r16_float c) { R16_EACH(vfmaq_f32(c.v[i], a.v[i], b.v[i])); }
INLINE r16_float r16_fma_scalar(r16_float a, float b, r16_float c) { R16_EACH(vfmaq_n_f32(c.v[i], a.v[i], b)); }
INLINE r16_float r16_halves(const uint8_t *at) { R16_EACH(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(at + 8 * i)))); }
INLINE r16_float r16_from_i8(const int8_t *at) {
    int16x8_t words[2] = {vmovl_s8(vld1_s8(at)), vmovl_s8(vld1_s8(at + 8))};
    R16_EACH(vcvtq_f32_s32(vmovl_s16(i % 2 ? vget_high_s16(words[i / 2]) : vget_low_s16(words[i / 2]))));
}
INLINE r16_float r16_load_some(const float *at, int n) {
    float lanes[16] = {0};
    memcpy(lanes, at, (size_t)n * sizeof *at);
    R16_EACH(vld1q_f32(lanes + 4 * i));
}
INLINE void r16_store_some(float *at, r16_float a, int n) {
    float lanes[16];
    UNROLL for (int i = 0; i < 4; i++) vst1q_f32(n == 16 ? at + 4 * i : lanes + 4 * i, a.v[i]);
    if (n < 16) memcpy(at, lanes, (size_t)n * sizeof *at);
}

INLINE r16_quad r16_load(const uint8_t *at) {
    r16_quad quad;
    UNROLL for (int i = 0; i < 4; i++) quad.v[i] = vreinterpretq_s8_u8(vld1q_u8(at + 16 * i));
    return quad;
}

/* Of each byte the bits of `mask` after a shift to the right. */
INLINE r16_quad r16_bits(r16_quad a, int right, int mask) {
    UNROLL for (int i = 0; i < 4; i++) {
        uint8x16_t moved = vshlq_u8(vreinterpretq_u8_s8(a.v[i]), vdupq_n_s8((int8_t)-right));
        a.v[i] = vreinterpretq_s8_u8(vandq_u8(moved, vdupq_n_u8((uint8_t)mask)));
    }
    return a;
}
/* a | r16_bits(b, right, mask) */
INLINE r16_quad r16_or_bits(r16_quad a, r16_quad b, int right, int mask) {
    b = r16_bits(b, right, mask);
    UNROLL for (int i = 0; i < 4; i++) a.v[i] = vorrq_s8(a.v[i], b.v[i]);
    return a;
}

INLINE r16_float r16_from_u8(uint8x16_t bytes) {
    uint16x8_t words[2] = {vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes))};
    R16_EACH(vcvtq_f32_u32(vmovl_u16(i % 2 ? vget_high_u16(words[i / 2]) : vget_low_u16(words[i / 2]))));
}

/* Two numbers of 6 bits (types/k_quant.h). */
INLINE void r16_pair(const uint8_t *at, r16_float *first, r16_float *second) {
    uint8x16_t bytes = vld1q_u8(at);
    uint8x8_t nibbles = vld1_u8(at + 16);
    uint8x16_t upper = vandq_u8(vcombine_u8(vshl_n_u8(nibbles, 2), vshr_n_u8(nibbles, 2)), vdupq_n_u8(60));
    *first = r16_from_u8(vandq_u8(bytes, vdupq_n_u8(63)));
    *second = r16_from_u8(vorrq_u8(upper, vshrq_n_u8(bytes, 6)));
}

/* The lower and the upper 4 bits of 16 bytes. */
INLINE void r16_nibble_pair(const uint8_t *at, r16_float *lower, r16_float *upper) {
    uint8x16_t bytes = vld1q_u8(at);
    *lower = r16_from_u8(vandq_u8(bytes, vdupq_n_u8(15)));
    *upper = r16_from_u8(vshrq_n_u8(bytes, 4));
}

INLINE void r16_bytes(const uint8_t *codes, r16_quad *quad) {
    UNROLL for (int q = 0; q < 8; q++) UNROLL for (int i = 0; i < 4; i++) quad[q].v[i] =
        vreinterpretq_s8_u8(vld1q_u8(codes + 64 * q + 16 * i));
}

/* 2^(e - 127), also the least, which is no normal float. */
INLINE r16_float r16_powers_of_two(const uint8_t *exponents) {
    uint16x8_t words[2] = {vmovl_u8(vld1_u8(exponents)), vmovl_u8(vld1_u8(exponents + 8))};
    r16_float powers;
    UNROLL for (int i = 0; i < 4; i++) {
        uint32x4_t e = vmovl_u16(i % 2 ? vget_high_u16(words[i / 2]) : vget_low_u16(words[i / 2]));
        uint32x4_t least = vandq_u32(vceqq_u32(e, vdupq_n_u32(0)), vdupq_n_u32(1u << 22));
        powers.v[i] = vreinterpretq_f32_u32(vorrq_u32(vshlq_n_u32(e, 23), least));
    }
    return powers;
}

/* Nibbles to what they stand for, counted from -zero. */
INLINE void r16_look_up(const int8_t values[16], int zero, r16_quad *quad) {
    const int8x16_t table = vaddq_s8(vld1q_s8(values), vdupq_n_s8((int8_t)zero));
    UNROLL for (int q = 0; q < 8; q++) UNROLL for (int i = 0; i < 4; i++) quad[q].v[i] =
        vqtbl1q_s8(table, vreinterpretq_u8_s8(quad[q].v[i]));
}

INLINE r16_float r16_dot(const struct r16_codes *x, const r16_quad *quads, int count, int most, int zero) {
    const int32_t start = x->starts ? x->starts[0] : 0;
    int32x4_t sum[4] = {vdupq_n_s32(start), vdupq_n_s32(start), vdupq_n_s32(start), vdupq_n_s32(start)};
    (void)most, (void)zero;
    UNROLL for (int q = 0; q < count; q += 4) {
        int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(x->codes + 4 * q));
        UNROLL for (int i = 0; i < 4; i++) {
            sum[i] = vdotq_laneq_s32(sum[i], quads[q].v[i], codes, 0);
            sum[i] = vdotq_laneq_s32(sum[i], quads[q + 1].v[i], codes, 1);
            sum[i] = vdotq_laneq_s32(sum[i], quads[q + 2].v[i], codes, 2);
            sum[i] = vdotq_laneq_s32(sum[i], quads[q + 3].v[i], codes, 3);
        }
    }
    R16_EACH(vcvtq_f32_s32(sum[i]));
}

/* -zero times the sums of the 16 codes of each half, or of all. */
INLINE void r16_starts(const uint8_t *codes, int zero, int halves, int32_t starts[2]) {
    for (int h = 0; h < 2; h++) starts[h] = -zero * vaddlvq_s8(vreinterpretq_s8_u8(vld1q_u8(codes + 16 * h)));
    if (halves == 1) starts[0] += starts[1];
}

INLINE r16_float r16_column(r16_quad quad, int c) {
    const int32x4_t up = vdupq_n_s32(24 - 8 * c);
    R16_EACH(vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(vreinterpretq_s32_s8(quad.v[i]), up), 24)));
}

#undef R16_EACH

#endif
