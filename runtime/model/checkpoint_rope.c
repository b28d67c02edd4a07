/* checkpoint_rope.c: what config.json says of rotary embeddings. Two spellings: rope_theta and rope_scaling, and since
 * transformers 5 one object, rope_parameters, in which layers that see everything may have one of their own
 * ("full_attention") beside those with a window ("sliding_attention").
 *
 * Llama 3 scales frequencies by a rule (transformers, modeling_rope_utils.py): what turns fast stays, what turns slowly
 * is divided by `factor`, between them it is blended. GGUF has the result as a tensor of factors; so it is made here.
 *
 * Nothing in these objects is passed over: a field that nobody reads is found, two objects that disagree are refused.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "model/checkpoint.h"

enum { FIELD_BYTES = 96 };

struct rope {
    struct ci_checkpoint_reading *reading;
    const char *at; /* the object with its fields */
};

static const char *field(const struct rope *rope, const char *name, char text[FIELD_BYTES]) {
    snprintf(text, FIELD_BYTES, "%s.%s", rope->at, name);
    return text;
}

static double number(const struct rope *rope, const char *name, double otherwise) {
    char text[FIELD_BYTES];
    return ci_checkpoint_number_of(rope->reading, field(rope, name, text), otherwise);
}

static bool has(const struct rope *rope, const char *name) {
    char text[FIELD_BYTES];
    return ci_checkpoint_find(rope->reading, field(rope, name, text)) != NULL;
}

static void copy_number(const struct rope *rope, const char *name, const char *key) {
    char text[FIELD_BYTES];
    if (has(rope, name)) ci_checkpoint_number(rope->reading, field(rope, name, text), key, number(rope, name, 0));
}

static void refuse(const struct rope *rope, const char *name, const char *what) {
    char text[FIELD_BYTES];
    ci_checkpoint_refuse(rope->reading, CLINFER_BAD_FILE, field(rope, name, text), what);
}

static void set_type(const struct rope *rope, const char *type) {
    char text[FIELD_BYTES], key[160];
    snprintf(key, sizeof key, "%s.rope.scaling.type", rope->reading->family->architecture);
    const char *kept = ci_gguf_make_text(rope->reading->maker, field(rope, "rope_type", text));
    if (kept) ci_gguf_make_from(rope->reading->maker, rope->reading->folder->config_path, kept);
    ci_gguf_make_string(rope->reading->maker, key, type);
}

/* Stretching by nothing, or by how much nobody knows, is no scaling. */
static void copy_factor(const struct rope *rope) {
    if (!(number(rope, "factor", 0) > 0)) refuse(rope, "factor", "must be a positive number");
    copy_number(rope, "factor", "rope.scaling.factor");
}

static void copy_original_context(const struct rope *rope) {
    static const char name[] = "original_max_position_embeddings";
    char text[FIELD_BYTES];
    if (has(rope, name))
        ci_checkpoint_integer(rope->reading, field(rope, name, text), "rope.scaling.original_context_length",
                              (int64_t)number(rope, name, 0));
}

static int head_dim(const struct ci_checkpoint_reading *reading) {
    const json_t *size = ci_checkpoint_find(reading, "head_dim");
    int64_t heads = json_integer_value(ci_checkpoint_find(reading, "num_attention_heads"));
    int64_t width = json_integer_value(ci_checkpoint_find(reading, "hidden_size"));
    int64_t dim = size ? json_integer_value(size) : heads > 0 ? width / heads : 0;
    return dim > 0 && dim <= 1 << 16 ? ci_narrowed(dim) : 0;
}

static void make_llama3(const struct rope *rope, double base) {
    double factor = number(rope, "factor", 8), low = number(rope, "low_freq_factor", 1);
    double high = number(rope, "high_freq_factor", 4);
    double context = number(rope, "original_max_position_embeddings", 8192);
    int dim = head_dim(rope->reading);
    if (!(factor > 0)) refuse(rope, "factor", "must be positive");
    if (!(low > 0)) refuse(rope, "low_freq_factor", "must be positive");
    if (!(high > low)) refuse(rope, "high_freq_factor", "must be larger than low_freq_factor");
    if (!(context > 0)) refuse(rope, "original_max_position_embeddings", "must be positive");
    if (rope->reading->status != CLINFER_OK || dim < 2) return; /* what follows says why there are no heads */
    float *factors = ci_checkpoint_vector(rope->reading, rope->at, "rope_freqs.weight", (size_t)dim / 2);
    for (int i = 0; factors && i < dim / 2; i++) {
        double length = 2 * 3.14159265358979323846 * pow(base, 2.0 * i / dim); /* positions of a turn */
        double share = (context / length - low) / (high - low);
        factors[i] = share >= 1 ? 1 : share <= 0 ? (float)factor : (float)(1 / ((1 - share) / factor + share));
    }
}

/* Factors of a list, as a tensor. */
static void add_factors(const struct rope *rope, const char *name, const char *tensor) {
    char text[FIELD_BYTES];
    const json_t *list = ci_checkpoint_find(rope->reading, field(rope, name, text));
    size_t count = json_array_size(list);
    bool fine = count > 0 && count <= 1024;
    for (size_t i = 0; i < count; i++) fine = fine && json_is_number(json_array_get(list, i));
    if (!fine) refuse(rope, name, "must be a list of numbers");
    float *factors = fine ? ci_checkpoint_vector(rope->reading, text, tensor, count) : NULL;
    for (size_t i = 0; factors && i < count; i++) factors[i] = (float)json_number_value(json_array_get(list, i));
}

/* LongRoPE (Ding et al. 2024, arXiv 2402.13753): the magnitude follows from how far the context was stretched. */
static void make_longrope(const struct rope *rope) {
    double context = ci_checkpoint_number_of(rope->reading, "max_position_embeddings", 0);
    double original = ci_checkpoint_number_of(rope->reading, "original_max_position_embeddings",
                                              number(rope, "original_max_position_embeddings", context));
    double magnitude = context > original && original > 1 ? sqrt(1 + log(context / original) / log(original)) : 1;
    set_type(rope, "longrope");
    if (!ci_checkpoint_find(rope->reading, "original_max_position_embeddings")) copy_original_context(rope);
    ci_checkpoint_number(rope->reading, "max_position_embeddings", "rope.scaling.attn_factor", magnitude);
    add_factors(rope, "long_factor", "rope_factors_long.weight");
    add_factors(rope, "short_factor", "rope_factors_short.weight");
}

static void make_scaling(const struct rope *rope, double base) {
    char text[FIELD_BYTES];
    const char *name = has(rope, "rope_type") ? "rope_type" : "type";
    const json_t *value = ci_checkpoint_find(rope->reading, field(rope, name, text));
    const char *type = value ? json_string_value(value) : "default";
    if (!type) {
        refuse(rope, name, "must be the name of a scaling");
    } else if (strcmp(type, "linear") == 0) {
        set_type(rope, "linear");
        copy_factor(rope);
    } else if (strcmp(type, "yarn") == 0) {
        set_type(rope, "yarn");
        copy_factor(rope);
        copy_number(rope, "extrapolation_factor", "rope.scaling.yarn_ext_factor");
        copy_number(rope, has(rope, "attention_factor") ? "attention_factor" : "attn_factor",
                    "rope.scaling.yarn_attn_factor");
        copy_number(rope, "beta_fast", "rope.scaling.yarn_beta_fast");
        copy_number(rope, "beta_slow", "rope.scaling.yarn_beta_slow");
        copy_original_context(rope);
    } else if (strcmp(type, "llama3") == 0) {
        make_llama3(rope, base);
    } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) {
        make_longrope(rope);
    } else if (strcmp(type, "default") != 0 && strcmp(type, "dynamic") != 0 && strcmp(type, "mrope") != 0) {
        /* Dynamic scaling begins beyond max_position_embeddings, which is the context here. */
        ci_checkpoint_refuse(rope->reading, CLINFER_UNSUPPORTED, field(rope, name, text),
                             "is not supported (linear, yarn, llama3, longrope and dynamic are)");
    }
}

static bool is_read(const char *name) {
    static const char *const names[] = {"rope_type",
                                        "type",
                                        "rope_theta",
                                        "factor",
                                        "original_max_position_embeddings",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "extrapolation_factor",
                                        "attention_factor",
                                        "attn_factor",
                                        "beta_fast",
                                        "beta_slow",
                                        "long_factor",
                                        "short_factor",
                                        "full_attention",
                                        "sliding_attention"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static void find_unread(const struct rope *rope, const json_t *object) {
    const char *name;
    const json_t *value;
    char text[FIELD_BYTES];
    json_object_foreach((json_t *)object, name, value) if (!json_is_null(value) && !is_read(name))
        ci_checkpoint_unread(rope->reading, field(rope, name, text));
}

static bool is_equal(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal((json_t *)a, (json_t *)b);
}

/* The older object may repeat what the newer one says. */
static void check_older(struct ci_checkpoint_reading *reading) {
    const json_t *newer = ci_checkpoint_find(reading, "rope_parameters"), *value;
    const char *name;
    char text[FIELD_BYTES];
    json_object_foreach((json_t *)ci_checkpoint_find(reading, "rope_scaling"), name, value) {
        const char *other = strcmp(name, "type") == 0 && !json_object_get(newer, name) ? "rope_type" : name;
        if (is_equal(value, json_object_get(newer, other))) continue;
        snprintf(text, sizeof text, "rope_scaling.%s", name);
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, text,
                             "rope_parameters stands there, too, and says otherwise: take one of the two out");
    }
}

void ci_checkpoint_sections(struct ci_checkpoint_reading *reading) {
    const char *name =
        ci_checkpoint_find(reading, "rope_parameters") ? "rope_parameters.mrope_section" : "rope_scaling.mrope_section";
    const json_t *list = ci_checkpoint_find(reading, name);
    int64_t numbers[4] = {0};
    char key[160];
    bool fine = json_array_size(list) == 3;
    for (size_t i = 0; i < 3 && fine; i++) {
        fine = json_is_integer(json_array_get(list, i));
        numbers[i] = json_integer_value(json_array_get(list, i));
    }
    if (!fine) {
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, name, "must be a list of three whole numbers");
        return;
    }
    snprintf(key, sizeof key, "%s.rope.dimension_sections", reading->family->architecture);
    ci_gguf_make_from(reading->maker, reading->folder->config_path, name);
    ci_gguf_make_integers(reading->maker, key, true, numbers, 4);
}

void ci_checkpoint_partial(struct ci_checkpoint_reading *reading, double otherwise) {
    const char *name = ci_checkpoint_find(reading, "partial_rotary_factor") ? "partial_rotary_factor"
                                                                            : "rope_parameters.partial_rotary_factor";
    double share = ci_checkpoint_number_of(reading, name, otherwise);
    if (!(share > 0 && share <= 1)) ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, name, "must be a part of 1");
    if (share < 1) ci_checkpoint_integer(reading, name, "rope.dimension_count", (int64_t)(share * head_dim(reading)));
}

void ci_checkpoint_rope(struct ci_checkpoint_reading *reading) {
    struct rope rope = {.reading = reading, .at = "rope_scaling"};
    const char *theta = "rope_theta";
    if (ci_checkpoint_find(reading, "rope_parameters")) {
        check_older(reading);
        bool nested = json_is_object(ci_checkpoint_find(reading, "rope_parameters.full_attention"));
        rope.at = nested ? "rope_parameters.full_attention" : "rope_parameters";
        if (has(&rope, "rope_theta"))
            theta = nested ? "rope_parameters.full_attention.rope_theta" : "rope_parameters.rope_theta";
        if (ci_checkpoint_find(reading, "rope_parameters.sliding_attention.rope_theta"))
            ci_checkpoint_number(reading, "rope_parameters.sliding_attention.rope_theta", "rope.freq_base_swa",
                                 ci_checkpoint_number_of(reading, "rope_parameters.sliding_attention.rope_theta", 0));
    }
    double base = ci_checkpoint_number_of(reading, theta, 10000);
    if (ci_checkpoint_find(reading, theta)) ci_checkpoint_number(reading, theta, "rope.freq_base", base);
    const json_t *scaling = ci_checkpoint_find(reading, rope.at);
    if (scaling && !json_is_object(scaling))
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, rope.at, "must be an object");
    else if (scaling)
        make_scaling(&rope, base);
    find_unread(&rope, scaling);
}
