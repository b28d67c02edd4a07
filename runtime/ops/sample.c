/* sample: from logits to a token id. The candidates are the top_k largest logits, the lowest id first among equals; of
 * these the smallest set whose probability reaches top_p (Holtzman et al. 2019, arXiv 1904.09751), of these those with
 * at least min_p of the largest probability (Nguyen et al. 2024, arXiv 2407.01082); then one is drawn at `temperature`,
 * all in the order and the 32-bit numbers of llama.cpp's samplers, so that the same random number gives the same token.
 * Logits that are not finite are counted and never chosen: the count is how a broken kernel shows itself. */
#include <math.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"
#include "ops/sample.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("sample", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK)
        status = ci_infer_expect("sample", call, 1, &ci_type_f32, call->in[0].rows, CI_SAMPLER_COLS);
    ci_infer_out(&call->out[0], &ci_type_i32, call->in[0].extent, call->in[0].rows, 1);
    ci_infer_out(&call->out[1], &ci_type_i32, call->in[0].extent, call->in[0].rows, 1);
    return status;
}

/* Keeps the k largest in falling order; returns the number that are not finite. */
static int32_t largest(const float *logits, int64_t count, int k, int32_t *ids, int *found) {
    int32_t not_finite = 0;
    *found = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(logits[i])) {
            not_finite++;
            continue;
        }
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
        ((int32_t *)call->out[1].data)[row] = search(logits, vocabulary, k, ids, &found);
        ((int32_t *)call->out[0].data)[row] = found > 1 ? draw(logits, ids, found, sampler) : ids[0];
    }
}

static void reference(const struct ci_call *call) { ci_sample_rows(call, largest, 0, 1); }

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
        if (row % 4 == 2) logits[call->in[0].cols / 2] = NAN;
        if (row % 4 == 3) logits[0] = INFINITY;
        if (row % 4 == 1) logits[call->in[0].cols - 1] = 30;
    }
}

#define CASE(title, rows, vocabulary)                                                                                  \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, vocabulary}, {&ci_type_f32, rows, CI_SAMPLER_COLS}}, {{0}}, {                     \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, greedy", 1, 49152),
                                       CASE("every setting", 12, 5003),
                                       CASE("few tokens", 6, 3),
                                       CASE("large", 2, 151936),
                                       {0}};

const struct ci_op ci_op_sample = {
    .name = "sample",
    .inputs = 2,
    .outputs = 2,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {0, 0},
    .cases = cases,
};
