/* matmul_r16.cl: weights in layout r16 and x in q8 or q16, on CPU devices of x86-64 whose compiler takes __asm__ (PoCL,
 * Intel's runtime): the integer multiply-add that OpenCL C has no name for. The arithmetic is that of
 * runtime/cpu/matmul_r16.h.
 *
 * The 16 rows of a group are the 16 lanes, so that nothing is summed across lanes. A "quad" is 4 columns of them:
 *
 *                  32 columns = 8 quads, 64 bytes each, byte 4 * row + column
 *             quad 0          quad 1                 quad 7
 *          [r0 r0 r0 r0 r1 .. r15]  ...                           codes of the weight
 *        x [x0 x1 x2 x3 x0 .. x3 ]  ...                           four codes of x, the same for every row
 *          [ sum r0 |  ..  | r15 ]  8 times into 16 int32, then to float, times both scales
 *
 * With codes of 16 bits the sums of the high plane are multiplied by 256, and those of the low plane added to them.
 *
 * What a unit of 32 columns adds is scale * scale_x * (codes . codes_x) + offset * sum_x. Where its bytes are, a type
 * says by R16_ macros in types/<type>.clh. Two instruction sets: VNNI, vpdpbusd on 512 bits (AVX-512); without it
 * vpmaddubsw and vpmaddwd on two halves of 256 bits (AVX2).
 *
 * matmul_gemv_r16: few rows of x, bound by memory. A work-item walks STREAMS distant groups at once and prefetches
 * PREFETCH bytes ahead: one stream reaches half of the bandwidth.
 *
 * matmul_gemm_r16: many rows of x. A work-item unpacks CHUNK columns of a group to private memory (in the first cache)
 * and multiplies all rows of x with them, TILE at a time, so that a quad is loaded once for TILE rows; the first of
 * these tiles asks for what is unpacked next. All groups of the work-item take their turn with the same columns, so
 * that those of x stay in the second cache; further chunks add to what the first left in the output. Rejected:
 * unpacking in registers for each tile, as runtime/cpu does. */

/* What stands for a vector register in __asm__, where the value is a vector of floats. Intel's front end compiles for
 * SPIR and knows no registers of x86: "X" is anything, of which its back end makes a vector register, though none
 * above 15. */
#ifdef __SPIR64__
#define REGISTER "X"
#elif defined(VNNI)
#define REGISTER "v"
#else
#define REGISTER "x"
#endif

/* An error that the driver reports: with registers that its target has not got, some compilers end the process. Which
 * processor Intel's compiles for only the host knows. */
#ifdef __SPIR64__
#elif defined(VNNI) && !(defined(__AVX512F__) && defined(__AVX512BW__))
#error "this device's compiler does not make code for AVX-512"
#elif !defined(__AVX2__)
#error "this device's compiler does not make code for AVX2"
#endif

/* ---- four codes of 16 rows times four of x ---- */

#ifdef VNNI
typedef int16 sums16;

/* Quad q of a unit whose codes of x are at `x`; q is written as a number, a part of the instruction. */
#define ADD_PRODUCTS(sums, weights, x, q)                                                                              \
    {                                                                                                                  \
        float16 sum = as_float16(*(sums));                                                                             \
        __asm__("vpdpbusd 4*" #q "(%2)%{1to16%}, %1, %0" : "+" REGISTER(sum) : REGISTER(as_float16(weights)), "r"(x)); \
        *(sums) = as_int16(sum);                                                                                       \
    }

INLINE void widen(sums16 *sums, int quads) {}

/* From the sums of the high plane on to those of the low one. */
INLINE void next_plane(sums16 *sums) { *sums <<= 8; }

INLINE float16 to_floats(const sums16 *sums) { return convert_float16(*sums); }
#else

/* Lanes 0..7 and 8..15. Two products of an unsigned and a signed byte are summed in 16 bits, and several quads of small
 * codes fit there too. */
typedef struct {
    int8 low, high;
    short16 low_words, high_words;
} sums16;

#if R16_MOST == 15
#define TOGETHER 8
#elif R16_MOST <= 31
#define TOGETHER 4
#elif R16_MOST <= 63
#define TOGETHER 2
#else
#define TOGETHER 1
#endif

/* The addition too is in the __asm__: else compilers add the products of several quads first and run out of registers.
 * Signed codes give their sign to x. The first products of a sum are the sum: codes of 8 bits need no addition then. */
INLINE void add_byte_products(short16 *words, uint8 codes, int8 x, bool first) {
    float8 sum = as_float8(*words), weights = as_float8(codes), inputs = as_float8(x), products;
#ifdef R16_SIGNED
    __asm__("vpsignb %1, %0, %0" : "+" REGISTER(inputs) : REGISTER(weights));
    __asm__("vpabsb %0, %0" : "+" REGISTER(weights));
#endif
    if (first)
        __asm__("vpmaddubsw %2, %1, %0" : "=" REGISTER(sum) : REGISTER(weights), REGISTER(inputs));
    else
        __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
                : "+" REGISTER(sum), "=&" REGISTER(products)
                : REGISTER(weights), REGISTER(inputs));
    *words = as_short16(sum);
}

INLINE int8 pair_sums(short16 words) {
    float8 sums;
    __asm__("vpmaddwd %2, %1, %0" : "=" REGISTER(sums) : REGISTER(as_float8(words)), REGISTER(as_float8((short16)1)));
    return as_int8(sums);
}

#define ADD_PRODUCTS(sums, weights, x, q) add_products(sums, weights, (x) + 4 * (q), (q) % QUADS % TOGETHER == 0);
INLINE void add_products(sums16 *sums, uint16 quad, const __global char *x, bool first) {
    const int8 same = (int8) * (const __global int *)x;
    add_byte_products(&sums->low_words, quad.lo, same, first);
    add_byte_products(&sums->high_words, quad.hi, same, first);
}

/* To be called after each quad, with their number so far. */
INLINE void widen(sums16 *sums, int quads) {
    if (quads % TOGETHER != 0) return;
    sums->low += pair_sums(sums->low_words);
    sums->high += pair_sums(sums->high_words);
}

INLINE void next_plane(sums16 *sums) {
    sums->low <<= 8;
    sums->high <<= 8;
}

INLINE float16 to_floats(const sums16 *sums) {
    return (float16)(convert_float8(sums->low), convert_float8(sums->high));
}
#endif

INLINE sums16 no_sums(void) {
#ifdef VNNI
    return 0;
#else
    sums16 none = {0, 0, 0, 0};
    return none;
#endif
}

/* ---- 32 columns of 16 rows (common/r16.clh) ---- */

#ifdef R16_VALUES
/* What the codes stand for, as bytes: signed, or counted from the least. */
INLINE uint16 look_up(uint16 codes) {
#ifdef R16_ZERO
    const uint4 values = as_uint4((char16)(R16_VALUES) + as_char16((uchar16)R16_ZERO));
#else
    const uint4 values = as_uint4((char16)(R16_VALUES));
#endif
    const uint8 table = (uint8)(values, values);
#ifdef VNNI
    float16 found;
    __asm__("vpshufb %1, %2, %0"
            : "=" REGISTER(found)
            : REGISTER(as_float16(codes)), REGISTER(as_float16((uint16)(table, table))));
    return as_uint16(found);
#else
    float8 low, high;
    __asm__("vpshufb %1, %2, %0" : "=" REGISTER(low) : REGISTER(as_float8(codes.lo)), REGISTER(as_float8(table)));
    __asm__("vpshufb %1, %2, %0" : "=" REGISTER(high) : REGISTER(as_float8(codes.hi)), REGISTER(as_float8(table)));
    return (uint16)(as_uint8(low), as_uint8(high));
#endif
}
#endif

INLINE void unpack(const __global uchar *p, int part, struct block *block) {
    unpack_codes(p, part, block->quad);
#ifdef R16_VALUES
#pragma unroll
    for (int q = 0; q < 8; q++) block->quad[q] = look_up(block->quad[q]);
#endif
    unpack_scales(p, part, block->scale, block->offset);
}

/* ---- a unit of a row of x ---- */

struct x_unit {
    float scale, sum, half_sum;
};

INLINE struct x_unit load_x(struct x_row x, int unit) {
    struct x_unit values = {x.scales[unit], 0.0f, 0.0f};
#ifdef HAS_OFFSET
    values.sum = x.sums[unit];
#endif
#if HALVES == 2
    values.half_sum = x.half_sums[unit];
#endif
    return values;
}

/* What a unit adds, of which `dot` are the sums of products. Of two halves the sum of x in the second one is that of
 * both less that in the first. */
INLINE float16 add_unit(const struct block *block, const sums16 *dot, struct x_unit x, float16 sum) {
#if HALVES == 1
    sum = to_floats(dot) * (block->scale[0] * x.scale) + sum;
#else
    const float16 both = to_floats(dot + 1) * block->scale[1] + to_floats(dot) * block->scale[0];
    sum = both * x.scale + ((block->offset[0] - block->offset[1]) * x.half_sum + sum);
#endif
#ifdef HAS_OFFSET
    sum = block->offset[HALVES - 1] * x.sum + sum;
#endif
    return sum;
}

/* What is added from memory; nothing, if it is not given: then 64 bytes at `instead` are read. Without a branch, at which
 * compilers keep all sums in memory (Intel's runtime read prompts a third more slowly). */
INLINE float16 add_some(float16 sum, const __global float *from, int count, bool given, const __global void *instead) {
    const float16 numbers = load_some(given ? from : (const __global float *)instead, count);
    return sum + as_float16(as_int16(numbers) & (int16)(given ? -1 : 0));
}

/* ---- few rows ---- */

#ifdef STREAMS
/* Groups [first, last) of one part for one row of x. */
ONCE void gemv_part(struct x_row x, const __global uchar *w, int cols, int first, int last, int count,
                      const __global float *bias, bool has_bias, const __global float *addend, bool has_addend,
                      __global float *out) {
    const int units = cols / 32, run = (last - first + STREAMS - 1) / STREAMS;
    const __global char *codes = (const __global char *)x.data;
    const ulong group_bytes = (ulong)(units / R16_PARTS) * R16_BYTES;
    for (int i = 0; i < run; i++) {
        int group[STREAMS];
        const __global uchar *from[STREAMS];
        float16 sums[STREAMS];
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            group[s] = min(first + s * run + i, last - 1);
            from[s] = w + group[s] * group_bytes;
            sums[s] = 0.0f;
        }
        for (int unit = 0; unit < units; unit++) {
            const struct x_unit values = load_x(x, unit);
            const int part = unit % R16_PARTS;
#pragma unroll
            for (int s = 0; s < STREAMS; s++) {
                const __global uchar *p = block_at(from[s], unit);
#pragma unroll
                for (int line = 0; line < R16_BYTES / R16_PARTS; line += 64)
                    __asm__ volatile("prefetcht0 (%0)" : : "r"(p + part * (R16_BYTES / R16_PARTS) + line + PREFETCH));
                struct block block;
                unpack(p, part, &block);
                sums16 dot[HALVES];
#pragma unroll
                for (int h = 0; h < HALVES; h++) dot[h] = no_sums();
#pragma unroll
                for (int plane = 0; plane < PLANES; plane++) {
                    const __global char *at = codes + 32 * (PLANES * unit + plane);
#pragma unroll
                    for (int h = 0; plane > 0 && h < HALVES; h++) next_plane(dot + h);
#define ADD_QUAD(q)                                                                                                    \
    ADD_PRODUCTS(dot + q / QUADS, block.quad[q], at, q)                                                                \
    widen(dot + q / QUADS, q % QUADS + 1);
                    EACH_QUAD(ADD_QUAD)
#undef ADD_QUAD
                }
                sums[s] = add_unit(&block, dot, values, sums[s]);
            }
        }
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            const int n = group[s] * GROUP;
            if (first + s * run + i >= last) continue;
            if (has_bias) sums[s] += load_some(bias + n, count - n);
            store_some(add_some(sums[s], addend + n, count - n, has_addend, x.data), out + n, count - n);
        }
    }
}

__kernel void matmul_gemv_r16(MATMUL_ARGUMENTS MATMUL_TOLD) {
    int first, last;
    share(MATMUL_BLOCK_COUNT(GROUP), 1, get_global_id(0), get_global_size(0), &first, &last);
    for (int row = 0; row < MATMUL_ROW_COUNT; row++) {
        MATMUL_ROW(row);
        for (int p = 0, before = 0; p < MATMUL_PARTS; p++) {
            MATMUL_PART(p);
            const int groups = BLOCKS(count, GROUP);
            const int part_first = max(first - before, 0), part_last = min(last - before, groups);
            const ulong at = out_at(&set, 0) + start;
            before += groups;
            if (part_first < part_last)
                gemv_part(x_row_at(x_buffer + x_offset, &set, 0), w, cols, part_first, part_last, count, bias, has_bias,
                          MATMUL_ADDEND + at, MATMUL_HAS_ADDEND, DATA(float, out) + at);
        }
    }
}
#endif

/* ---- many rows ---- */

#ifdef TILE
#define UNIT_BYTES (R16_BYTES / R16_PARTS)

/* So many rows of CHUNK columns of x stay in the second cache while the weights go by. */
#define MOST_ROWS 256

/* CHUNK columns of 16 rows, unpacked. */
struct panel {
    struct block blocks[CHUNK / 32];
};

/* Rows [row, row + TILE) of the set by one panel, the last of them again where there are fewer. At `next` is what is
 * unpacked next, of which each unit asks for as many bytes as it had itself; NULL: it was asked for. */
INLINE void tile_sums(const __global uchar *x, const struct rows *set, int row, int first_unit, int units,
                      const struct panel *panel, const __global uchar *next, float16 *sums) {
    struct x_row from[TILE];
#pragma unroll
    for (int r = 0; r < TILE; r++) {
        from[r] = x_row_at(x, set, min(row + r, set->count - 1));
        sums[r] = 0.0f;
    }
    for (int u = 0; u < units; u++) {
        const struct block *block = panel->blocks + u;
        const int unit = first_unit + u;
        sums16 dot[TILE][HALVES];
        if (next) {
#pragma unroll
            for (int line = 0; line < UNIT_BYTES; line += 64)
                __asm__ volatile("prefetcht0 (%0)" : : "r"(next + u * UNIT_BYTES + line));
        }
#pragma unroll
        for (int r = 0; r < TILE; r++) {
#pragma unroll
            for (int h = 0; h < HALVES; h++) dot[r][h] = no_sums();
        }
#pragma unroll
        for (int plane = 0; plane < PLANES; plane++) {
            const __global char *codes[TILE];
#pragma unroll
            for (int r = 0; r < TILE; r++) {
                codes[r] = (const __global char *)from[r].data + 32 * (PLANES * unit + plane);
#pragma unroll
                for (int h = 0; plane > 0 && h < HALVES; h++) next_plane(&dot[r][h]);
            }
#define ADD_QUAD(q)                                                                                                    \
    {                                                                                                                  \
        const uint16 quad = block->quad[q];                                                                            \
        _Pragma("unroll") for (int r = 0; r < TILE; r++) {                                                             \
            ADD_PRODUCTS(&dot[r][q / QUADS], quad, codes[r], q)                                                        \
            widen(&dot[r][q / QUADS], q % QUADS + 1);                                                                  \
        }                                                                                                              \
    }
            EACH_QUAD(ADD_QUAD)
#undef ADD_QUAD
        }
#pragma unroll
        for (int r = 0; r < TILE; r++) sums[r] = add_unit(block, dot[r], load_x(from[r], unit), sums[r]);
    }
}

/* Units [first, first + units) of one group of one part. */
ONCE void gemm_group(const __global uchar *x, const struct rows *set, int begin, int end, int cols,
                       const __global uchar *w, int group, int next_group, int first, int units, int count,
                       const __global float *bias, bool has_bias, const __global float *addend, bool has_addend,
                       __global float *out) {
    __attribute__((aligned(64))) struct panel panel;
    const int n = group * GROUP;
    const bool has_before = first > 0 || has_addend;
    const __global float *before = first > 0 ? out : addend;
    const ulong group_bytes = (ulong)(cols / 32 / R16_PARTS) * R16_BYTES;
    const __global uchar *from = w + group * group_bytes, *next = w + next_group * group_bytes + first * UNIT_BYTES;
    for (int u = 0; u < units; u++) unpack(block_at(from, first + u), (first + u) % R16_PARTS, panel.blocks + u);
    for (int row = begin; row < end; row += TILE) {
        float16 sums[TILE];
#pragma unroll
        for (int r = 0; r < TILE; r++)
            __asm__ volatile("prefetchw (%0)" : : "r"(out + out_at(set, min(row + r, set->count - 1)) + n));
        tile_sums(x, set, row, first, units, &panel, row == begin ? next : 0, sums);
#pragma unroll
        for (int r = 0; r < TILE; r++) {
            if (row + r >= end) continue;
            const ulong at = out_at(set, row + r) + n;
            if (has_bias && first == 0) sums[r] += load_some(bias + n, count - n);
            store_some(add_some(sums[r], before + at, count - n, has_before, x), out + at, count - n);
        }
    }
}

__kernel void matmul_gemm_r16(MATMUL_ARGUMENTS MATMUL_TOLD) {
    MATMUL_ROWS(get_global_id(1));
    const int piece = BLOCKS(cols / 32, BLOCKS(cols, CHUNK)); /* all as long as each other */
    int first, last;
    share(MATMUL_BLOCK_COUNT(GROUP), 1, get_global_id(0), get_global_size(0), &first, &last);
    for (int p = 0; p < MATMUL_PARTS; p++) {
        MATMUL_PART(p);
        const int groups = BLOCKS(count, GROUP), begin = max(first, 0), end = min(last, groups);
        for (int row = 0; row < set.count; row += MOST_ROWS)
            for (int unit = 0; unit < cols / 32; unit += piece)
                for (int group = begin; group < end; group++)
                    gemm_group(x_buffer + x_offset, &set, row, min(row + MOST_ROWS, set.count), cols, w, group,
                               group + 1 < end ? group + 1 : begin, unit, min(piece, cols / 32 - unit), count, bias,
                               has_bias, MATMUL_ADDEND + start, MATMUL_HAS_ADDEND, DATA(float, out) + start);
        first -= groups;
        last -= groups;
    }
}
#endif
