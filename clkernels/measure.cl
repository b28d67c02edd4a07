/* measure.cl: what the device does at best (runtime/proof/measure.c). Alone in its program. NUMBER and LANES say what
 * is computed with: float16 on processors whose work-items are loops, float where they are lanes. */
#ifndef NUMBER
#define NUMBER float
#endif
#ifndef LANES
#define LANES 1
#endif
#ifdef NEEDS_FP16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif

__kernel void measure_nothing(__global uint *out, uint never) {
    if (never) out[get_global_id(0)] = never;
}

/* A work-item reads its share of `lines` of 64 bytes, from line `first` on, in so many streams at once: how many get
 * most of what the memory gives differs between processors by a factor of two, either way. */
__kernel void measure_read_streams(__global const uint *data, ulong lines, ulong first, __global uint *out,
                                   int streams) {
    const ulong each = lines / get_global_size(0) / streams;
    /* Not by vload16: for processors without registers of that size PoCL warns of what it would return. */
    __global const uint16 *start = (__global const uint16 *)data + first + get_global_id(0) * each * streams;
    uint16 sum = 0;
    for (ulong i = 0; i < each; i++)
        for (int stream = 0; stream < streams; stream++) {
            __global const uint16 *line = start + stream * each + i;
            prefetch((__global const uint *)(line + 64), 16);
            sum += *line;
        }
    const uint8 a = sum.lo + sum.hi;
    const uint4 b = a.lo + a.hi;
    out[get_global_id(0)] = b.x + b.y + b.z + b.w;
}

/* Neighbours read neighbouring words: what GPUs merge into whole lines. */
__kernel void measure_read_lanes(__global const uint *data, ulong lines, ulong first, __global uint *out) {
    const ulong vectors = lines * 4, step = get_global_size(0);
    uint4 sum = 0;
    data += first * 16;
    ulong i = get_global_id(0);
    for (; i + 3 * step < vectors; i += 4 * step)
        sum += (vload4(i, data) + vload4(i + step, data)) + (vload4(i + 2 * step, data) + vload4(i + 3 * step, data));
    for (; i < vectors; i += step) sum += vload4(i, data);
    out[get_global_id(0)] = sum.x + sum.y + sum.z + sum.w;
}

/* Seven chains of multiply-add, which hide the latency of each and fit in 16 registers of half a vector: 14 operations
 * a lane and round. */
__kernel void measure_arithmetic(__global float *out, int rounds, float factor, float addend) {
    const NUMBER x = (NUMBER)(factor), y = (NUMBER)(addend);
    NUMBER a = (NUMBER)(get_global_id(0) & 7), b = a + y, c = b + y, d = c + y, e = d + y, f = e + y, g = f + y;
    for (int i = 0; i < rounds; i++) {
        a = a * x + y;
        b = b * x + y;
        c = c * x + y;
        d = d * x + y;
        e = e * x + y;
        f = f * x + y;
        g = g * x + y;
    }
    a += b + c + d + e + f + g;
#if LANES == 16
    out[get_global_id(0)] = (float)(a.s0 + a.s7 + a.sf);
#else
    out[get_global_id(0)] = (float)a;
#endif
}
