/* experts.cl: what stands around matmul_experts: which experts a row goes to, the pairs of rows and experts in the
 * order of the experts, and the sum of what the experts gave. */

/* Of tensor/op_params.h. */
enum { SOFTMAX, SIGMOID, SOFTMAX_CHOSEN };
#define LEAST_SUM 0x1p-14f
#define MAX_EXPERTS 1024

#ifdef OUT3_I32
/* What is chosen by: the gate of an expert, and its bias; where there are neither groups nor a bias the logit, whose
 * order is the same. */
struct choice {
    const __global float *logits, *bias;
    int gating, grouped;
    float most, sum; /* of softmax */
};

INLINE float value_of(struct choice by, int e) {
    const float logit = by.logits[e];
#ifndef IN1_F32
    if (!by.grouped) return logit;
#endif
    const float gate = by.gating == SIGMOID   ? 1.0f / (1.0f + exp(-logit))
                       : by.gating == SOFTMAX ? exp(logit - by.most) / by.sum
                                              : logit;
#ifdef IN1_F32
    return gate + by.bias[e];
#else
    return gate;
#endif
}

/* The two largest of a group, in sum. */
INLINE float sum_of_two(struct choice by, int first, int end) {
    float largest = -INFINITY, second = -INFINITY;
    for (int e = first; e < end; e++) {
        const float value = value_of(by, e);
        if (value > largest) {
            second = largest;
            largest = value;
        } else if (value > second) {
            second = value;
        }
    }
    return largest + second;
}

/* Takes the experts of all groups but the best ones: those than which fewer are better, of equals those before. */
INLINE void take_other_groups(struct choice by, int experts, int groups, int groups_used, uchar *taken) {
    const int size = experts / groups;
    for (int g = 0; g < groups; g++) {
        const float sum = sum_of_two(by, g * size, (g + 1) * size);
        int better = 0;
        for (int other = 0; other < groups; other++) {
            const float value = sum_of_two(by, other * size, (other + 1) * size);
            better += value > sum || (value == sum && other < g);
        }
        for (int e = g * size; e < (g + 1) * size; e++) taken[e] = better >= groups_used;
    }
}

/* A work-item per row. Numbers that are none are never chosen, unless there is nothing else. */
__kernel void route(TENSOR(logits), TENSOR(bias), TENSOR(ids), TENSOR(weights), int experts, int used, int gating,
                    int normalise, int groups, int groups_used, float scale) {
    const ulong row = get_global_id(0);
    const __global float *from = DATA(const float, logits) + row * experts;
    __global int *chosen = DATA(int, ids) + row * used;
    __global float *to = DATA(float, weights) + row * used;
    float most = from[0], sum = 0.0f;
    for (int e = 1; e < experts; e++) most = from[e] > most ? from[e] : most;
    if (gating == SOFTMAX)
        for (int e = 0; e < experts; e++) sum += exp(from[e] - most);
    uchar taken[MAX_EXPERTS];
    for (int e = 0; e < experts; e++) taken[e] = 0;
    const struct choice by = {from, DATA(const float, bias), gating, groups > 1, most, sum};
    if (groups > 1) take_other_groups(by, experts, groups, groups_used, taken);
    for (int j = 0; j < used; j++) {
        int best = -1;
        float largest = 0.0f;
        for (int e = 0; e < experts; e++) {
            const float value = value_of(by, e);
            if (taken[e] || (best >= 0 && !(value > largest))) continue;
            best = e;
            largest = isnan(value) ? -INFINITY : value;
        }
        taken[best] = 1;
        chosen[j] = best;
    }
    float chosen_most = from[chosen[0]], total = 0.0f;
    for (int j = 1; j < used; j++) chosen_most = fmax(chosen_most, from[chosen[j]]);
    if (gating == SOFTMAX_CHOSEN) {
        most = chosen_most;
        for (int j = 0; j < used; j++) sum += exp(from[chosen[j]] - most);
    }
    for (int j = 0; j < used; j++) {
        const float logit = from[chosen[j]];
        to[j] = gating == SIGMOID ? 1.0f / (1.0f + exp(-logit)) : exp(logit - most) / sum;
        total += to[j];
    }
    for (int j = 0; j < used; j++) to[j] = (normalise ? to[j] / fmax(total, LEAST_SUM) : to[j]) * scale;
}

/* A work-item per expert: its pairs in their order, behind those of the experts before it. The last one also tells
 * where all end. */
__kernel void route_order(TENSOR(ids), TENSOR(order), TENSOR(starts), int rows, int used, int experts) {
    const int expert = get_global_id(0), pairs = rows * used;
    const __global int *from = DATA(const int, ids);
    int at = 0;
    for (int i = 0; i < pairs; i++) at += from[i] < expert;
    DATA(int, starts)[expert] = at;
    for (int i = 0; i < pairs; i++)
        if (from[i] == expert) DATA(int, order)[at++] = i;
    if (expert == experts - 1) DATA(int, starts)[experts] = pairs;
}
#else
/* Work-items (part, row): a part takes every so manieth vector of 16 columns; what a row has beyond its last whole
 * vector is done by part 0, number by number. */
__kernel void combine(TENSOR(y), TENSOR(weights), TENSOR(addend), TENSOR(out), int cols, int used) {
    const ulong row = get_global_id(1);
    const __global float *from = DATA(const float, y) + row * used * cols;
    const __global float *by = DATA(const float, weights) + row * used;
    __global float *to = DATA(float, out) + row * cols;
#ifdef IN2_F32
    const __global float *added = DATA(const float, addend) + row * cols;
#endif
    for (int v = get_global_id(0); v < cols / 16; v += get_global_size(0)) {
#ifdef IN2_F32
        float16 sum = vload16(v, added);
#else
        float16 sum = 0.0f;
#endif
        for (int j = 0; j < used; j++) sum = by[j] * vload16(v, from + (ulong)j * cols) + sum;
        vstore16(sum, v, to);
    }
    if (get_global_id(0) > 0) return;
    for (int i = cols / 16 * 16; i < cols; i++) {
#ifdef IN2_F32
        float sum = added[i];
#else
        float sum = 0.0f;
#endif
        for (int j = 0; j < used; j++) sum = by[j] * from[(ulong)j * cols + i] + sum;
        to[i] = sum;
    }
}
#endif
