/* sample: from logits to a token id. The candidates are the top_k largest logits, the lowest id first among equals; of
 * these the smallest set whose probability reaches top_p (Holtzman et al. 2019, arXiv 1904.09751), of these those with
 * at least min_p of the largest probability (Nguyen et al. 2024, arXiv 2407.01082); then one is drawn at `temperature`,
 * all in the order and the 32-bit numbers of llama.cpp's samplers, so that the same random number gives the same token.
 * Logits that are not finite are counted and never chosen: the count is how a broken kernel shows itself.
 *
 * A row may come with a mask, one bit per logit: what a grammar lets come next. It belongs to rows whose sampler says
 * so, so that one step serves rows with and without, and nobody sends masks that are not used. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "ops/sample.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("sample", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK)
        status = ci_infer_expect("sample", call, 1, &ci_type_f32, call->in[0].rows, CI_SAMPLER_COLS);
    if (status == CLINFER_OK && call->in[CI_SAMPLE_MASK].type)
        status = ci_infer_expect("sample", call, CI_SAMPLE_MASK, &ci_type_i32, -1, CI_MASK_WORDS(call->in[0].cols));
    ci_infer_out(&call->out[0], &ci_type_i32, call->in[0].extent, call->in[0].rows, 1);
    ci_infer_out(&call->out[1], &ci_type_i32, call->in[0].extent, call->in[0].rows, 1);
    return status;
}

/* Keeps the k largest in falling order; returns the number that are not finite. */
static int32_t largest(const float *logits, int64_t count, const uint32_t *mask, int k, int32_t *ids, int *found) {
    int32_t not_finite = 0;
    *found = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(logits[i])) {
            not_finite++;
            continue;
        }
        if (mask && !(mask[i / 32] >> i % 32 & 1)) continue;
        if (*found == k && logits[i] <= logits[ids[k - 1]]) continue;
        int place = *found < k ? (*found)++ : k - 1;
        while (place > 0 && logits[i] > logits[ids[place - 1]]) {
            ids[place] = ids[place - 1];
            place--;
        }
        ids[place] = (int32_t)i;
    }
    return not_finite;
}

/* The upper half of the product. */
static uint64_t multiply_high(uint64_t a, uint64_t b) {
    uint64_t low = UINT32_MAX, middle = (a >> 32) * (b & low) + ((a & low) * (b & low) >> 32);
    return (a >> 32) * (b >> 32) + (middle >> 32) + (((a & low) * (b >> 32) + (middle & low)) >> 32);
}

/* The first whose sum reaches the draw's share of all. Sums are whole numbers of 2^-56: not every device has doubles,
 * and these say the same but for the last of their 53 bits. */
static int draw_of(const float *weights, int count, const float *sampler) {
    uint64_t random = (uint64_t)(sampler[CI_SAMPLER_RANDOM] * 0x1p24f) << 40 |
                      (uint64_t)(sampler[CI_SAMPLER_RANDOM_LOW] * 0x1p24f) << 16;
    uint64_t total = 0, sum = 0;
    for (int i = 0; i < count; i++) total += (uint64_t)(weights[i] * 0x1p56f);
    uint64_t wanted = multiply_high(total, random);
    for (int i = 0; i < count - 1; i++) {
        sum += (uint64_t)(weights[i] * 0x1p56f);
        if (sum >= wanted) return i;
    }
    return count - 1;
}

static int32_t draw(const float *logits, const int32_t *ids, int found, const float *sampler) {
    float weights[CI_SAMPLE_MAX_K], total = 0, sum = 0, top = logits[ids[0]];
    int kept = found;
    if (sampler[CI_SAMPLER_TOP_P] < 1) {
        for (int i = 0; i < found; i++) total += weights[i] = expf(logits[ids[i]] - top);
        for (kept = 0; kept < found && (kept == 0 || sum < sampler[CI_SAMPLER_TOP_P]); kept++)
            sum += weights[kept] / total;
    }
    if (sampler[CI_SAMPLER_MIN_P] > 0) {
        float least = top + logf(sampler[CI_SAMPLER_MIN_P]);
        while (kept > 1 && logits[ids[kept - 1]] < least) kept--;
    }
    top /= sampler[CI_SAMPLER_TEMPERATURE];
    for (int i = 0; i < kept; i++) weights[i] = expf(logits[ids[i]] / sampler[CI_SAMPLER_TEMPERATURE] - top);
    return ids[draw_of(weights, kept, sampler)];
}

static const uint32_t *mask_of(const struct ci_call *call, int64_t row, const float *sampler) {
    const struct ci_view *mask = &call->in[CI_SAMPLE_MASK];
    bool masked = mask->type && sampler[CI_SAMPLER_MASKED] > 0;
    return masked ? (const uint32_t *)mask->data + row * mask->cols : NULL;
}

void ci_sample_rows(const struct ci_call *call, ci_sample_largest *search, int thread, int threads) {
    int64_t vocabulary = call->in[0].cols, first, last;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *logits = (const float *)call->in[0].data + row * vocabulary;
        const float *sampler = (const float *)call->in[1].data + row * CI_SAMPLER_COLS;
        bool greedy = sampler[CI_SAMPLER_TEMPERATURE] <= 0;
        int k = greedy ? 1 : (int)sampler[CI_SAMPLER_TOP_K], found;
        k = k < 1 ? 1 : k > CI_SAMPLE_MAX_K ? CI_SAMPLE_MAX_K : k;
        int32_t ids[CI_SAMPLE_MAX_K] = {0};
        ((int32_t *)call->out[1].data)[row] = search(logits, vocabulary, mask_of(call, row, sampler), k, ids, &found);
        ((int32_t *)call->out[0].data)[row] = found > 1 ? draw(logits, ids, found, sampler) : ids[0];
    }
}

static void reference(const struct ci_call *call) { ci_sample_rows(call, largest, 0, 1); }

/* Of all densities; the last row's lets nothing come but what is not finite there, if anything. */
static void fill_masks(const struct ci_call *call, uint64_t *random_state) {
    const struct ci_view *mask = &call->in[CI_SAMPLE_MASK];
    for (int64_t row = 0; row < mask->rows; row++) {
        uint32_t *bits = (uint32_t *)mask->data + row * mask->cols;
        memset(bits, row % 6 == 4 ? 0xff : 0, (size_t)mask->cols * sizeof *bits);
        for (int64_t word = 0; word < mask->cols; word++) {
            uint64_t random = ci_random(random_state);
            if (row % 6 == 0) bits[word] = (uint32_t)(random >> 32);
            if (row % 6 == 1 && random % 64 == 0) bits[word] = UINT32_C(1) << (random >> 32) % 32;
            if (row % 6 == 3 && random % 2 == 0) bits[word] = UINT32_MAX;
        }
        if (row % 6 == 2) bits[mask->cols / 2] = 2;
        if (row % 6 == 5) bits[0] = 1;
    }
}

static void fill(struct ci_call *call, uint64_t *random_state) {
    static const float settings[][CI_SAMPLER_COLS] = {{0, 40, 0.95f, 0.05f}, {0.8f, 40, 0.95f, 0.05f}, {1.5f, 64, 1, 0},
                                                      {0.7f, 1, 1, 0},       {2, 5, 0.5f, 0},          {1, 7, 1, 0.3f}};
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        float *sampler = (float *)call->in[1].data + row * CI_SAMPLER_COLS;
        float *logits = (float *)call->in[0].data + row * call->in[0].cols;
        for (int i = 0; i < CI_SAMPLER_COLS; i++)
            sampler[i] = settings[(size_t)row % (sizeof settings / sizeof *settings)][i];
        sampler[CI_SAMPLER_RANDOM] = ci_random_float(random_state);
        sampler[CI_SAMPLER_RANDOM_LOW] = ci_random_float(random_state);
        sampler[CI_SAMPLER_MASKED] = call->in[CI_SAMPLE_MASK].type && row % 5 != 3 ? 1 : 0;
        if (row % 4 == 2) logits[call->in[0].cols / 2] = NAN;
        if (row % 4 == 3) logits[0] = INFINITY;
        if (row % 4 == 1) logits[call->in[0].cols - 1] = 30;
    }
    if (call->in[CI_SAMPLE_MASK].type) fill_masks(call, random_state);
}

#define CASE(title, rows, vocabulary)                                                                                  \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, vocabulary}, {&ci_type_f32, rows, CI_SAMPLER_COLS}}, {{0}}, {                     \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }
#define MASKED(title, rows, vocabulary)                                                                                \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_f32, rows, vocabulary},                                                                         \
             {&ci_type_f32, rows, CI_SAMPLER_COLS},                                                                    \
             {&ci_type_i32, rows, CI_MASK_WORDS(vocabulary)}},                                                         \
            {{0}}, {                                                                                                   \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, greedy", 1, 49152),
                                       CASE("every setting", 12, 5003),
                                       CASE("few tokens", 6, 3),
                                       CASE("large", 2, 151936),
                                       MASKED("smollm2, greedy, masked", 1, 49152),
                                       MASKED("every setting and mask", 30, 5003),
                                       MASKED("few tokens, masked", 12, 3),
                                       MASKED("large, masked", 2, 262144),
                                       {0}};

const struct ci_op ci_op_sample = {
    .name = "sample",
    .inputs = 3,
    .outputs = 2,
    .looked_up_inputs = 1u << CI_SAMPLE_MASK,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {0, 0},
    .cases = cases,
};
