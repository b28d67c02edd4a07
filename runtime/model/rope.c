/* rope.c: how positions become angles, as llama.cpp reads the metadata and as its flags change it: linear scaling, also
 * by its old key and where no type is given; YaRN (Peng et al. 2023, arXiv 2309.00071), whose blend of two frequencies
 * is one frequency per pair; factors from the file, of Llama 3 for any context, of LongRoPE (Ding et al. 2024, arXiv
 * 2402.13753) one set for short and one for long ones. Sines and cosines have a magnitude of their own where positions
 * are stretched. */
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
    float factor;                     /* positions are divided by it */
    float magnitude;                  /* of sines and cosines */
    float extrapolation;              /* how much of YaRN's blend, 0 to 1 */
    float beta_fast, beta_slow;       /* turns over the original context between which it blends */
    int original_context;             /* what the model was trained for before it was stretched */
    const struct ci_tensor *divisors; /* of frequencies, [1, rotated / 2]; NULL: none */
    bool asked_for;                   /* not all of it is the file's */
};

/* ---- what the file says ---- */

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

static enum clinfer_status read_type(const struct ci_model *model, struct ci_gguf_string *type, bool *yarn) {
    static const char *const known[] = {"none", "linear", "longrope", "yarn"};
    char key[128];
    snprintf(key, sizeof key, "%s.rope.scaling.type", model->family->architecture);
    *type = (struct ci_gguf_string){"linear", 6};
    enum clinfer_status status = ci_gguf_get_string(model->gguf, key, CI_GGUF_OPTIONAL, type);
    if (status != CLINFER_OK) return status;
    size_t i = 0;
    while (i < 4 && !(strlen(known[i]) == type->length && memcmp(known[i], type->text, type->length) == 0)) i++;
    *yarn = i == 3;
    return i < 4
               ? CLINFER_OK
               : ci_fail(CLINFER_UNSUPPORTED, "%s: %s: \"%.*s\" is not supported (none, linear, yarn and longrope are)",
                         CI_KEY_AT(model->gguf, key), ci_shown(type->length, 64), type->text);
}

static enum clinfer_status read_scaling(const struct ci_model *model, struct scaling *scaling) {
    const struct ci_hyper *h = &model->hyper;
    struct ci_gguf_string type;
    *scaling = (struct scaling){.base = h->rope_base,
                                .factor = 1,
                                .magnitude = 1,
                                .extrapolation = h->yarn_extrapolation,
                                .beta_fast = h->yarn_beta_fast,
                                .beta_slow = h->yarn_beta_slow};
    enum clinfer_status status = read_type(model, &type, &scaling->yarn);
    if (status == CLINFER_OK) status = read_factor(model, &type, scaling);
    if (status == CLINFER_OK)
        status = ci_model_integer(model, "rope.scaling.original_context_length", CI_GGUF_OPTIONAL, 0, INT32_MAX,
                                  &scaling->original_context);
    if (status == CLINFER_OK)
        status = ci_model_float(model, "rope.scaling.attn_factor", CI_GGUF_OPTIONAL, &scaling->magnitude);
    if (status == CLINFER_OK && !(scaling->magnitude > 0))
        status = ci_fail(CLINFER_BAD_FILE, "%s: %s.rope.scaling.attn_factor: %g: must be positive",
                         ci_gguf_path(model->gguf), model->family->architecture, (double)scaling->magnitude);
    if (!scaling->original_context) scaling->original_context = h->trained_context;
    return status;
}

/* ---- what is asked for ---- */

static bool is_default(const struct clinfer_rope_options *rope) {
    return !rope->scaling && rope->factor <= 0 && rope->freq_base <= 0 && rope->original_context <= 0 &&
           rope->yarn_extrapolation < 0 && rope->yarn_magnitude <= 0 && rope->yarn_beta_fast <= 0 &&
           rope->yarn_beta_slow <= 0;
}

static bool is_stretched(const struct clinfer_rope_options *rope) {
    return rope->scaling != CLINFER_ROPE_OF_MODEL || rope->factor > 0 || rope->freq_base > 0;
}

static void change_scaling(const struct clinfer_rope_options *rope, struct scaling *scaling) {
    if (rope->scaling != CLINFER_ROPE_OF_MODEL) scaling->yarn = rope->scaling == CLINFER_ROPE_YARN;
    if (rope->factor > 0) scaling->factor = rope->factor;
    if (rope->scaling == CLINFER_ROPE_NONE) scaling->factor = 1;
    if (rope->freq_base > 0) scaling->base = rope->freq_base;
    if (rope->original_context > 0) scaling->original_context = rope->original_context;
    if (rope->yarn_extrapolation >= 0) scaling->extrapolation = rope->yarn_extrapolation;
    if (rope->yarn_magnitude > 0) scaling->magnitude *= rope->yarn_magnitude;
    if (rope->yarn_beta_fast > 0) scaling->beta_fast = rope->yarn_beta_fast;
    if (rope->yarn_beta_slow > 0) scaling->beta_slow = rope->yarn_beta_slow;
}

/* How many tokens there may be: what the model was trained for grows and shrinks with the factor. Another base has no
 * number that says how far it reaches. */
static int longest_context(const struct ci_model *model, const struct clinfer_rope_options *rope, float file_factor,
                           float factor) {
    if (rope->freq_base > 0) return CI_MAX_CONTEXT;
    double most = rope->original_context > 0
                      ? (double)rope->original_context * (double)factor
                      : (double)model->hyper.trained_context / (double)file_factor * (double)factor;
    return most < 1 ? 1 : most < CI_MAX_CONTEXT ? (int)(most + 0.5) : CI_MAX_CONTEXT;
}

static bool positions_are_learned(const struct ci_model *model) {
    return model->family->decoder && model->family->decoder->positions;
}

static enum clinfer_status refuse_stretching(const struct ci_model *model) {
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "%s: --rope-* and --yarn-* flags: models of the family %s have learned a vector for each of %d "
                   "positions, and nothing that could be stretched; leave these flags out",
                   ci_gguf_path(model->gguf), model->family->architecture, model->hyper.trained_context);
}

static enum clinfer_status refuse_context(const struct ci_model *model, int wanted, const struct scaling *scaling) {
    const struct ci_hyper *h = &model->hyper;
    if (positions_are_learned(model))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "%s: a context of %d tokens: the model has learned %d positions, and there can be no more; "
                       "-c 0 takes them",
                       ci_gguf_path(model->gguf), wanted, h->context);
    double factor = ceil((double)wanted / (double)h->context * (double)scaling->factor * 100) / 100;
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "%s: a context of %d tokens: the model was made for %d, or stretched to them; --rope-scaling yarn "
                   "--rope-scale %g stretches it further, at some cost to its answers, -c 0 takes the %d",
                   ci_gguf_path(model->gguf), wanted, h->context, factor, h->context);
}

/* ---- frequencies ---- */

/* The pair that turns `turns` times over the original context. */
static double pair_that_turns(const struct scaling *scaling, double turns) {
    const double two_pi = 6.283185307179586;
    return scaling->rotated * log(scaling->original_context / (turns * two_pi)) / (2 * log((double)scaling->base));
}

/* By how much the frequency of pair i changes. YaRN: pairs that turn beta_fast times or more over the original context
 * keep theirs, those that turn at most beta_slow times are scaled, between them it is blended. */
static double scale_of_pair(const struct scaling *scaling, int i) {
    double scaled = 1 / (double)scaling->factor;
    if (!(scaling->extrapolation > 0)) return scaled;
    double first = fmax(0, floor(pair_that_turns(scaling, (double)scaling->beta_fast)));
    double last = fmin(scaling->rotated - 1, ceil(pair_that_turns(scaling, (double)scaling->beta_slow)));
    double kept = 1 - fmin(1, fmax(0, (i - first) / fmax(0.001, last - first)));
    kept *= (double)scaling->extrapolation;
    return scaled * (1 - kept) + kept;
}

/* Of sines and cosines where YaRN stretches positions: by `whole` in the model, by the scaling's own factor in these
 * layers. */
static float yarn_magnitude(const struct ci_hyper *h, const struct scaling *scaling, float whole) {
    if (!(scaling->extrapolation > 0)) return 1;
    float grown = 0.1f * logf(whole), here = 0.1f * logf(scaling->factor);
    if (whole <= 1) return (1 + here) / (1 + grown);
    return (1 + here) / (h->yarn_log_multiplier != 0 ? 1 + h->yarn_log_multiplier * grown : 1);
}

/* Queries and keys have it both. */
static enum clinfer_status check_magnitude(const struct ci_model *model, float magnitude) {
    if (isnormal(magnitude * magnitude)) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: %s.rope.scaling: a magnitude of %g leaves nothing of the attention",
                   ci_gguf_path(model->gguf), model->family->architecture, (double)magnitude);
}

/* How far a pair turns from one position to the next, in radians: 1 at most in models that anybody trained, less where
 * positions are stretched. Of far more, 32 bits do not hold the angle. */
static enum clinfer_status check_frequency(const struct ci_model *model, const struct scaling *scaling,
                                           double frequency, float divisor, int i) {
    const double most = 65536;
    const char *path = ci_gguf_path(model->gguf);
    if (fabs(frequency) <= most) return CLINFER_OK;
    if (scaling->asked_for)
        return ci_fail(
            CLINFER_INVALID_ARGUMENT,
            "--rope-freq-base %g, --rope-scale %g: pair %d of a head turns by %g radians from one position to "
            "the next, at most %g are possible",
            (double)scaling->base, (double)scaling->factor, i, frequency, most);
    if (scaling->divisors && divisor != 1)
        return ci_fail(CLINFER_BAD_FILE, "%s: tensor %s: number %d is %g, no frequency can be divided by it", path,
                       scaling->divisors->name, i, (double)divisor);
    return ci_fail(
        CLINFER_BAD_FILE,
        "%s: %s.rope: with freq_base %g and scaling.factor %g, pair %d of a head turns by %g radians from one "
        "position to the next, at most %g are possible; the file is damaged, or was badly made",
        path, model->family->architecture, (double)scaling->base, (double)scaling->factor, i, frequency, most);
}

/* Whether pair i stays where it is in texts: its position is that of a section that only pictures fill. As llama.cpp
 * has it: of interleaved sections the third pair belongs to the last one once the first three are used up. */
static bool stands_still(const struct ci_model *model, int i) {
    const int *sections = model->hyper.rope_sections;
    int first = sections[0] + sections[1] + sections[2], all = first + sections[3];
    if (all == 0) return false;
    int at = i % all;
    bool interleaved = model->family->decoder->sections == CI_SECTIONS_INTERLEAVED;
    return interleaved ? at >= 3 * sections[at % 3] : at >= first;
}

/* LongRoPE's are chosen by the context that there may be, not by what a text fills of it. */
static enum clinfer_status find_divisors(struct ci_model *model, struct scaling *scaling, int context) {
    static const char *const names[] = {"rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"};
    struct ci_tensor *found[3] = {NULL};
    int half = scaling->rotated / 2;
    scaling->divisors = NULL;
    if (!model->family->decoder || !model->family->decoder->rope_factors) return CLINFER_OK;
    for (int i = 0; i < 3; i++) {
        bool pair = i > 0 && (ci_model_has(model, names[1]) || ci_model_has(model, names[2]));
        enum clinfer_status status = ci_model_weight(model, &found[i], pair, 1, half, names[i]);
        if (status != CLINFER_OK) return status;
    }
    scaling->divisors = found[0] ? found[0] : found[context > scaling->original_context ? 2 : 1];
    return CLINFER_OK;
}

/* Each frequency from the one before, in 32 bits, as llama.cpp does it: some millionths less or more turn a head far
 * from the beginning by what shows in the digits that are compared. */
static enum clinfer_status make_table(struct ci_model *model, const struct scaling *scaling, struct ci_rope *rope,
                                      const char *name) {
    int half = scaling->rotated / 2;
    if (!rope->frequencies) rope->frequencies = ci_model_computed(model, name, half, &rope->numbers);
    if (!rope->frequencies) return CLINFER_OUT_OF_MEMORY;
    rope->magnitude = scaling->magnitude;
    float step = powf(scaling->base, -2.0f / (float)scaling->rotated), unscaled = 1;
    for (int i = 0; i < half; i++) {
        float divisor = 1;
        if (scaling->divisors && scaling->divisors->host)
            memcpy(&divisor, (const float *)scaling->divisors->host + i, sizeof divisor);
        double frequency = (double)unscaled / (double)divisor;
        frequency *= stands_still(model, i) ? 0 : scale_of_pair(scaling, i);
        enum clinfer_status status = check_frequency(model, scaling, frequency, divisor, i);
        if (status != CLINFER_OK) return status;
        rope->numbers[i] = (float)frequency;
        unscaled *= step;
    }
    return CLINFER_OK;
}

/* Layers with a window have a base of their own, or the file's, and no more stretching than the file says, in some
 * families none: what they see is near. Where there is none and the base is the others', it follows theirs. */
static void change_to_window(const struct ci_model *model, struct scaling *scaling, float file_factor) {
    const struct ci_hyper *h = &model->hyper;
    const struct ci_decoder *kind = model->family->decoder;
    bool unscaled = kind && kind->window_scaling != CI_WINDOW_SCALED, of_family = kind && kind->window_rope_base != 0;
    if (h->window_rope_base > 0 && (of_family || h->window_rope_base != h->rope_base))
        scaling->base = h->window_rope_base;
    else if (!unscaled)
        scaling->base = h->rope_base;
    scaling->factor = unscaled ? 1 : file_factor;
    if (!kind || kind->window_scaling != CI_WINDOW_PLAIN) return;
    scaling->magnitude = 1;
    scaling->extrapolation = 0;
}

static enum clinfer_status make_tables(struct ci_model *model, struct scaling *scaling, float file_factor,
                                       int context) {
    static const char *const names[CI_ROPE_TABLES] = {"rope_frequencies", "rope_frequencies_window"};
    const float magnitude = scaling->magnitude, whole = scaling->factor;
    enum clinfer_status status = CLINFER_OK;
    for (int table = 0; table < CI_ROPE_TABLES && status == CLINFER_OK; table++) {
        scaling->rotated = 0;
        for (int i = 0; i < model->hyper.layers && !scaling->rotated; i++)
            if (model->layers[i].rope_table == table) scaling->rotated = model->layers[i].rotated;
        if (!scaling->rotated) continue;
        if (table) change_to_window(model, scaling, file_factor);
        if (scaling->extrapolation > 0) scaling->magnitude = magnitude * yarn_magnitude(&model->hyper, scaling, whole);
        status = check_magnitude(model, scaling->magnitude);
        if (status == CLINFER_OK) status = find_divisors(model, scaling, context);
        if (status == CLINFER_OK) status = make_table(model, scaling, &model->rope[table], names[table]);
    }
    return status;
}

enum clinfer_status ci_model_set_context(struct ci_model *model, int wanted, const struct clinfer_rope_options *rope,
                                         int *context) {
    static const struct clinfer_rope_options unchanged = {.yarn_extrapolation = -1};
    struct ci_hyper *h = &model->hyper;
    struct scaling scaling;
    if (!rope || is_default(rope)) rope = &unchanged;
    if (rope != &unchanged && positions_are_learned(model)) return refuse_stretching(model);
    enum clinfer_status status = read_scaling(model, &scaling);
    if (status != CLINFER_OK) return status;
    float file_factor = scaling.factor;
    change_scaling(rope, &scaling);
    scaling.asked_for = rope != &unchanged;
    if (scaling.extrapolation < 0) scaling.extrapolation = scaling.yarn ? 1 : 0;
    h->original_context = scaling.original_context;
    h->context = is_stretched(rope) ? longest_context(model, rope, file_factor, scaling.factor) : h->trained_context;
    if (wanted > h->context) return refuse_context(model, wanted, &scaling);
    /* Who asks for another base says how long it shall be; else it is what it was. */
    *context = wanted > 0 ? wanted : rope->freq_base > 0 ? h->trained_context : h->context;
    return make_tables(model, &scaling, file_factor, *context);
}
