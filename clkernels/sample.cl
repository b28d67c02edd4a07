/* sample.cl: from logits to a token id, in two launches: each work-item keeps the best of its chunk of the vocabulary,
 * then one work-item per row merges the chunks and draws. The order is that of the reference (largest first, lowest id
 * first among equals), so that the choice is the same. Rows whose sampler says MASKED choose among the tokens whose bit
 * is set in the row's mask; all logits are looked at for numbers that are not finite.
 *
 * Scratch per row and chunk: float values[MAX_K], int ids[MAX_K], int found, int not_finite. */
#define MAX_K 64
#define CHUNK_WORDS (2 * MAX_K + 2)

enum { TEMPERATURE, TOP_K, TOP_P, MIN_P, RANDOM, RANDOM_LOW, MASKED, SAMPLER_COLS = 8 };

INLINE int candidates(const __global float *sampler) {
    return sampler[TEMPERATURE] <= 0.0f ? 1 : clamp((int)sampler[TOP_K], 1, MAX_K);
}

INLINE int is_finite(float value) { return (as_int(value) & 0x7f800000) != 0x7f800000; }

/* Which of the logits from i on may be chosen, i a multiple of 16: bits 0..15. */
INLINE int allowed_at(const __global uint *mask, int masked, int i) {
    return masked ? (int)(mask[i >> 5] >> (i & 16)) & 0xffff : 0xffff;
}
INLINE int16 lanes_of(int bits) {
    const int16 bit = (int16)(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768);
    return ((int16)bits & bit) != (int16)0;
}

/* The largest of logits [first, last) by lanes, then across them. */
ONCE void best_of(const __global float *logits, const __global uint *mask, int masked, int first, int last,
                    __global float *value, __global int *id, __global int *found, __global int *not_finite) {
    float16 best = -INFINITY;
    int16 at = 0, broken = 0, now = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + first;
    int i = first;
    for (; i + 16 <= last; i += 16, now += 16) {
        float16 v = vload16(0, logits + i);
        int16 finite = (as_int16(v) & 0x7f800000) != 0x7f800000, better = (v > best) & finite;
        if (masked) better &= lanes_of(allowed_at(mask, masked, i));
        best = select(best, v, better);
        at = select(at, now, better);
        broken += select((int16)1, (int16)0, finite);
    }
    float top = -INFINITY;
    int top_id = 0x7fffffff, missing = 0, any_found = 0;
    float values[16];
    int ids[16], counts[16];
    vstore16(best, 0, values);
    vstore16(at, 0, ids);
    vstore16(broken, 0, counts);
    for (int lane = 0; lane < 16; lane++) {
        missing += counts[lane];
        if (values[lane] == -INFINITY || values[lane] < top || (values[lane] == top && ids[lane] > top_id)) continue;
        top = values[lane];
        top_id = ids[lane];
        any_found = 1;
    }
    for (int bits = i < last ? allowed_at(mask, masked, i) : 0; i < last; i++, bits >>= 1) {
        if (!is_finite(logits[i])) {
            missing++;
        } else if ((bits & 1) && (!any_found || logits[i] > top)) {
            top = logits[i];
            top_id = i;
            any_found = 1;
        }
    }
    *value = top;
    *id = top_id;
    *found = any_found;
    *not_finite = missing;
}

/* The k largest of logits [first, last), in order. */
ONCE void best_k_of(const __global float *logits, const __global uint *mask, int masked, int first, int last, int k,
                      __global float *values, __global int *ids, __global int *found, __global int *not_finite) {
    int count = 0, missing = 0;
    float least = -INFINITY;
    for (int i = first; i < last;) {
        int bits = allowed_at(mask, masked, i);
        /* Most vectors hold nothing that is among the best: one comparison passes over them. */
        if ((count == k || bits == 0) && i + 16 <= last) {
            float16 v = vload16(0, logits + i);
            int16 better = v > (count == k ? least : (float)INFINITY);
            if (masked) better &= lanes_of(bits);
            if (!any(better | ((as_int16(v) & 0x7f800000) == 0x7f800000))) {
                i += 16;
                continue;
            }
        }
        for (int end = min(i + 16, last); i < end; i++, bits >>= 1) {
            float value = logits[i];
            if (!is_finite(value)) {
                missing++;
                continue;
            }
            if (!(bits & 1) || (count == k && value <= least)) continue;
            int place = count < k ? count++ : k - 1;
            while (place > 0 && value > values[place - 1]) {
                values[place] = values[place - 1];
                ids[place] = ids[place - 1];
                place--;
            }
            values[place] = value;
            ids[place] = i;
            least = values[count - 1];
        }
    }
    *found = count;
    *not_finite = missing;
}

__kernel void sample_chunks(TENSOR(logits), TENSOR(sampler), TENSOR(mask), TENSOR(scratch), int cols) {
    const int chunk = get_global_id(0), row = get_global_id(1);
    const __global float *from = DATA(const float, logits) + (ulong)row * cols;
    const __global float *settings = DATA(const float, sampler) + row * SAMPLER_COLS;
    const __global uint *bits = DATA(const uint, mask) + (ulong)row * ((cols + 31) / 32);
    const int k = candidates(settings);
#ifdef IN2_I32
    const int masked = settings[MASKED] > 0.0f;
#else
    const int masked = 0; /* what stands in for the mask is none */
#endif
    __global int *to = DATA(int, scratch) + ((ulong)row * CHUNKS + chunk) * CHUNK_WORDS;
    int first, last;
    share(cols, 16, chunk, CHUNKS, &first, &last);
    if (k == 1)
        best_of(from, bits, masked, first, last, (__global float *)to, to + MAX_K, to + 2 * MAX_K, to + 2 * MAX_K + 1);
    else
        best_k_of(from, bits, masked, first, last, k, (__global float *)to, to + MAX_K, to + 2 * MAX_K,
                  to + 2 * MAX_K + 1);
}

/* The first whose sum reaches the draw's share of all, in whole numbers of 2^-56 as the reference. */
INLINE int draw_of(const float *weights, int count, const __global float *sampler) {
    const ulong random = (ulong)(sampler[RANDOM] * 0x1p24f) << 40 | (ulong)(sampler[RANDOM_LOW] * 0x1p24f) << 16;
    ulong total = 0, sum = 0;
    for (int i = 0; i < count; i++) total += (ulong)(weights[i] * 0x1p56f);
    const ulong wanted = mul_hi(total, random);
    for (int i = 0; i < count - 1; i++) {
        sum += (ulong)(weights[i] * 0x1p56f);
        if (sum >= wanted) return i;
    }
    return count - 1;
}

ONCE int draw(const float *values, const int *ids, int found, const __global float *sampler) {
    float weights[MAX_K], total = 0.0f, sum = 0.0f;
    int kept = found;
    if (sampler[TOP_P] < 1.0f) {
        for (int i = 0; i < found; i++) total += weights[i] = exp(values[i] - values[0]);
        for (kept = 0; kept < found && (kept == 0 || sum < sampler[TOP_P]); kept++) sum += weights[kept] / total;
    }
    if (sampler[MIN_P] > 0.0f) {
        const float least = values[0] + log(sampler[MIN_P]);
        while (kept > 1 && values[kept - 1] < least) kept--;
    }
    const float top = values[0] / sampler[TEMPERATURE];
    for (int i = 0; i < kept; i++) weights[i] = exp(values[i] / sampler[TEMPERATURE] - top);
    return ids[draw_of(weights, kept, sampler)];
}

__kernel void sample_merge(TENSOR(sampler), TENSOR(scratch), TENSOR(out), TENSOR(not_finite)) {
    const int row = get_global_id(0);
    const __global float *settings = DATA(const float, sampler) + row * SAMPLER_COLS;
    const __global int *chunks = DATA(const int, scratch) + (ulong)row * CHUNKS * CHUNK_WORDS;
    const int k = candidates(settings);
    float values[MAX_K];
    int ids[MAX_K], next[CHUNKS], missing = 0, found = 0;
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        next[chunk] = 0;
        missing += chunks[chunk * CHUNK_WORDS + 2 * MAX_K + 1];
    }
    while (found < k) {
        int from = -1;
        float largest = -INFINITY;
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            const __global int *candidate = chunks + chunk * CHUNK_WORDS;
            if (next[chunk] >= candidate[2 * MAX_K]) continue;
            float value = as_float(candidate[next[chunk]]);
            if (from < 0 || value > largest) {
                from = chunk;
                largest = value;
            }
        }
        if (from < 0) break;
        values[found] = largest;
        ids[found++] = chunks[from * CHUNK_WORDS + MAX_K + next[from]++];
    }
    DATA(int, not_finite)[row] = missing;
    DATA(int, out)[row] = found > 1 ? draw(values, ids, found, settings) : found == 1 ? ids[0] : 0;
}
