/* rope.c: the frequencies of rotary embeddings, as llama.cpp reads their metadata: linear scaling, also by its old key
 * and where no type is given; YaRN (Peng et al. 2023, arXiv 2309.00071), whose blend of two frequencies is one
 * frequency per pair and whose correction of the magnitude is a factor of the attention's scale, so that no op needs to
 * know; factors from the file (Llama 3). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "model/decoder.h"

struct scaling {
    float base;
    int rotated; /* numbers of a head */
    bool yarn;
    float factor;         /* positions are divided by it */
    float magnitude;      /* of sines and cosines */
    int original_context; /* what the model was trained for before it was stretched */
};

static enum clinfer_status read_factor(const struct ci_model *model, const struct ci_gguf_string *type,
                                       struct scaling *scaling) {
    static const char *const keys[] = {"rope.scaling.factor", "rope.scale_linear"}; /* the second is the old name */
    char name[128];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(name, sizeof name, "%s.%s", model->family->architecture, keys[i]);
        if (!ci_gguf_find(model->gguf, name)) continue;
        enum clinfer_status status = ci_gguf_get_f32(model->gguf, name, CI_GGUF_REQUIRED, &scaling->factor);
        if (status != CLINFER_OK) return status;
        if (!(scaling->factor >= 0))
            return ci_fail(CLINFER_BAD_FILE, "%s: %s: %g: must be positive, or 0 for none",
                           CI_KEY_AT(model->gguf, name), (double)scaling->factor);
        break;
    }
    if (scaling->factor == 0 || (type->length == 4 && memcmp(type->text, "none", 4) == 0)) scaling->factor = 1;
    return CLINFER_OK;
}

static enum clinfer_status read_scaling(const struct ci_model *model, struct scaling *scaling) {
    static const char *const known[] = {"none", "linear", "yarn", "longrope"};
    const char *path = ci_gguf_path(model->gguf);
    struct ci_gguf_string type = {"linear", 6};
    char key[128];
    snprintf(key, sizeof key, "%s.rope.scaling.type", model->family->architecture);
    *scaling = (struct scaling){
        .base = model->hyper.rope_base, .factor = 1, .magnitude = 1, .original_context = model->hyper.context};
    enum clinfer_status status = ci_gguf_get_string(model->gguf, key, CI_GGUF_OPTIONAL, &type);
    if (status != CLINFER_OK) return status;
    size_t i = 0;
    while (i < 4 && !(strlen(known[i]) == type.length && memcmp(known[i], type.text, type.length) == 0)) i++;
    if (i == 4)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: %s: \"%.*s\" is not supported (none, linear and yarn are)",
                       CI_KEY_AT(model->gguf, key), ci_shown(type.length, 64), type.text);
    scaling->yarn = i == 2;
    status = read_factor(model, &type, scaling);
    int original = 0;
    if (status == CLINFER_OK)
        status =
            ci_model_integer(model, "rope.scaling.original_context_length", CI_GGUF_OPTIONAL, 0, INT32_MAX, &original);
    if (original) scaling->original_context = original;
    if (status == CLINFER_OK)
        status = ci_model_float(model, "rope.scaling.attn_factor", CI_GGUF_OPTIONAL, &scaling->magnitude);
    if (status == CLINFER_OK && !(scaling->magnitude > 0))
        status = ci_fail(CLINFER_BAD_FILE, "%s: %s.rope.scaling.attn_factor: %g: must be positive", path,
                         model->family->architecture, (double)scaling->magnitude);
    if (scaling->yarn && scaling->factor > 1) scaling->magnitude *= 1 + 0.1f * logf(scaling->factor);
    return status;
}

/* The pair that turns `turns` times over the original context. */
static double pair_that_turns(const struct scaling *scaling, double turns) {
    const double two_pi = 6.283185307179586;
    return scaling->rotated * log(scaling->original_context / (turns * two_pi)) / (2 * log((double)scaling->base));
}

/* By how much the frequency of pair i changes. YaRN: pairs that turn 32 times or more over the original context keep
 * theirs, those that turn at most once are scaled, between them it is blended. */
static double scale_of_pair(const struct scaling *scaling, int i) {
    double scaled = 1 / (double)scaling->factor;
    if (!scaling->yarn) return scaled;
    double first = fmax(0, floor(pair_that_turns(scaling, 32)));
    double last = fmin(scaling->rotated - 1, ceil(pair_that_turns(scaling, 1)));
    double kept = 1 - fmin(1, fmax(0, (i - first) / fmax(0.001, last - first)));
    return scaled * (1 - kept) + kept;
}

/* Sines and cosines of another magnitude scale queries and keys alike, where all of a head is rotated. */
static enum clinfer_status scale_attention(struct ci_model *model, float magnitude) {
    const struct ci_layer *layer = &model->layers[0];
    struct ci_hyper *h = &model->hyper;
    if (magnitude == 1) return CLINFER_OK;
    if (layer->rotated != layer->head_dim)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: %s.rope.scaling: a magnitude of %g with %d of %d numbers of a head rotated is not supported",
            ci_gguf_path(model->gguf), model->family->architecture, (double)magnitude, layer->rotated, layer->head_dim);
    h->attention_scale = magnitude * magnitude / sqrtf((float)layer->head_dim);
    if (isnormal(h->attention_scale)) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: %s.rope.scaling: a magnitude of %g leaves nothing of the attention",
                   ci_gguf_path(model->gguf), model->family->architecture, (double)magnitude);
}

/* How far a pair turns from one position to the next, in radians: 1 at most in models that anybody trained, less where
 * positions are stretched. Of far more, 32 bits do not hold the angle. */
static enum clinfer_status check_frequency(const struct ci_model *model, const struct scaling *scaling,
                                           double frequency, float factor, int i) {
    const double most = 65536;
    const char *path = ci_gguf_path(model->gguf);
    if (fabs(frequency) <= most) return CLINFER_OK;
    if (factor != 1)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: tensor rope_freqs.weight: number %d is %g, no frequency can be divided by it", path, i,
                       (double)factor);
    return ci_fail(
        CLINFER_BAD_FILE,
        "%s: %s.rope: with freq_base %g and scaling.factor %g, pair %d of a head turns by %g radians from one "
        "position to the next, at most %g are possible; the file is damaged, or was badly made",
        path, model->family->architecture, (double)scaling->base, (double)scaling->factor, i, frequency, most);
}

static enum clinfer_status make_table(struct ci_model *model, const struct scaling *scaling, struct ci_rope *rope,
                                      const char *name) {
    struct ci_tensor *factors = NULL;
    float *frequencies;
    int half = scaling->rotated / 2;
    if (model->family->decoder && model->family->decoder->rope_factors) {
        enum clinfer_status status = ci_model_weight(model, &factors, false, 1, half, "rope_freqs.weight");
        if (status != CLINFER_OK) return status;
    }
    rope->frequencies = ci_model_computed(model, name, half, &frequencies);
    if (!rope->frequencies) return CLINFER_OUT_OF_MEMORY;
    for (int i = 0; i < half; i++) {
        float factor = 1;
        if (factors && factors->host) memcpy(&factor, (const float *)factors->host + i, sizeof factor);
        double frequency = pow((double)scaling->base, -2.0 * i / scaling->rotated) / (double)factor;
        frequency *= scale_of_pair(scaling, i);
        enum clinfer_status status = check_frequency(model, scaling, frequency, factor, i);
        if (status != CLINFER_OK) return status;
        frequencies[i] = (float)frequency;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_model_make_frequencies(struct ci_model *model) {
    static const char *const names[CI_ROPE_TABLES] = {"rope_frequencies", "rope_frequencies_window"};
    struct scaling scaling;
    enum clinfer_status status = read_scaling(model, &scaling);
    if (status == CLINFER_OK) status = scale_attention(model, scaling.magnitude);
    for (int table = 0; table < CI_ROPE_TABLES && status == CLINFER_OK; table++) {
        scaling.rotated = 0;
        for (int i = 0; i < model->hyper.layers && !scaling.rotated; i++)
            if (model->layers[i].rope_table == table) scaling.rotated = model->layers[i].rotated;
        if (table) scaling.base = model->hyper.window_rope_base;
        if (scaling.rotated) status = make_table(model, &scaling, &model->rope[table], names[table]);
    }
    return status;
}
