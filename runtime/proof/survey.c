#include "proof/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "proof/known_answer.h"

/* The weight that says most about a test: the first weight input that is there. */
static int weight_input(const struct ci_op *op, const struct ci_call *call) {
    for (int i = 0; i < op->inputs; i++)
        if (call->in[i].type && (op->weight_inputs >> i & 1)) return i;
    return -1;
}

static bool same_types(const struct ci_op *op, const struct ci_call *a, const struct ci_call *b) {
    for (int i = 0; i < op->inputs; i++)
        if (a->in[i].type != b->in[i].type || (a->in[i].type && a->in[i].layout != b->in[i].layout)) return false;
    for (int i = 0; i < op->outputs; i++)
        if (a->out[i].type != b->out[i].type) return false;
    return true;
}

/* Whether this is the first test of its variant, or of its weights' type and layout: variants read weights by the same
 * load_block, so that one of them proves it. */
static bool covers(const struct ci_survey *survey, const struct ci_survey_test *test) {
    bool variant = false, weight = false;
    int input = weight_input(test->variant->op, &test->call);
    for (int i = 0; i < survey->count && !(variant && weight); i++) {
        const struct ci_survey_test *other = &survey->tests[i];
        if (!other->covers) continue;
        variant = variant || other->variant == test->variant;
        int other_input = weight_input(other->variant->op, &other->call);
        weight = weight ||
                 (input >= 0 && other_input >= 0 && other->call.in[other_input].type == test->call.in[input].type &&
                  other->call.in[other_input].layout == test->call.in[input].layout);
    }
    return !variant || (input >= 0 && !weight);
}

static enum clinfer_status append(struct ci_survey *survey, const struct ci_caps *caps,
                                  const struct ci_variant *variant, const struct ci_call *call) {
    if (!ci_variant_fits(variant, caps, call)) return CLINFER_OK;
    for (int i = 0; i < survey->count; i++)
        if (survey->tests[i].variant == variant && same_types(variant->op, &survey->tests[i].call, call))
            return CLINFER_OK;
    if (survey->count % 64 == 0) {
        struct ci_survey_test *more = realloc(survey->tests, ((size_t)survey->count + 64) * sizeof *more);
        if (!more) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of known-answer tests");
        survey->tests = more;
    }
    struct ci_survey_test test = {.variant = variant, .call = *call};
    test.covers = covers(survey, &test);
    survey->covering += test.covers;
    survey->tests[survey->count++] = test;
    return CLINFER_OK;
}

static enum clinfer_status append_layouts(struct ci_survey *survey, const struct ci_caps *caps,
                                          const struct ci_variant *variant, const struct ci_case *shape) {
    static const struct ci_layout *const layouts[] = {&ci_layout_stored, &ci_layout_r16};
    struct ci_call call;
    if (!ci_proof_signature(variant->op, shape, &call)) return CLINFER_OK;
    int weight = weight_input(variant->op, &call);
    enum clinfer_status status = CLINFER_OK;
    for (int l = 0; l < (weight < 0 ? 1 : 2) && status == CLINFER_OK; l++) {
        for (int i = 0; weight >= 0 && i < variant->op->inputs; i++)
            if (call.in[i].type && (variant->op->weight_inputs >> i & 1)) call.in[i].layout = layouts[l];
        bool can = weight < 0 || ((!variant->weight_layout || variant->weight_layout == layouts[l]) &&
                                  ci_layout_fits(layouts[l], call.in[weight].type, call.in[weight].cols));
        if (can) status = append(survey, caps, variant, &call);
    }
    if (status == CLINFER_OK && call.out[0].type == &ci_type_q8) {
        call.out[0].type = &ci_type_q16;
        status = append(survey, caps, variant, &call);
    }
    return status;
}

/* Those that cover first, else in the order of the table. */
static enum clinfer_status sort(struct ci_survey *survey) {
    struct ci_survey_test *sorted = calloc((size_t)survey->count + 1, sizeof *sorted);
    if (!sorted) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of known-answer tests");
    int first = 0, second = survey->covering;
    for (int i = 0; i < survey->count; i++) sorted[survey->tests[i].covers ? first++ : second++] = survey->tests[i];
    free(survey->tests);
    survey->tests = sorted;
    return CLINFER_OK;
}

enum clinfer_status ci_survey_create(const struct ci_caps *caps, struct ci_survey *survey) {
    *survey = (struct ci_survey){0};
    enum clinfer_status status = CLINFER_OK;
    for (int v = 0; ci_variants[v] && status == CLINFER_OK; v++)
        for (const struct ci_case *shape = ci_variants[v]->op->cases; shape && shape->name && status == CLINFER_OK;
             shape++)
            status = append_layouts(survey, caps, ci_variants[v], shape);
    if (status == CLINFER_OK) status = sort(survey);
    if (status != CLINFER_OK) ci_survey_free(survey);
    return status;
}

void ci_survey_free(struct ci_survey *survey) {
    free(survey->tests);
    *survey = (struct ci_survey){0};
}

void ci_survey_describe(const struct ci_survey_test *test, char *text, size_t size) {
    const struct ci_op *op = test->variant->op;
    const char *last = "";
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < op->inputs; i++) {
        const struct ci_type *type = test->call.in[i].type;
        if (!type || type == &ci_type_i32 || strcmp(type->name, last) == 0 || used >= size) continue;
        last = type->name;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " " : "", type->name);
    }
    int weight = weight_input(op, &test->call);
    if (weight >= 0 && test->call.in[weight].layout != &ci_layout_stored && used < size)
        snprintf(text + used, size - used, " %s", test->call.in[weight].layout->name);
}

/* ---- profiles ---- */

/* The next of a signature's types, "-" being none; false: there is no more, or none of that name. */
static bool next_type(const char **rest, const struct ci_type **type) {
    char name[CI_PROFILE_NAME_BYTES];
    size_t length = strcspn(*rest, ",");
    if (length == 0 || length >= sizeof name) return false;
    memcpy(name, *rest, length);
    name[length] = '\0';
    *rest += length + ((*rest)[length] == ',');
    *type = strcmp(name, "-") == 0 ? NULL : ci_type_from_name(name);
    return *type || strcmp(name, "-") == 0;
}

/* Outputs that a signature does not name are of the same type in every case of their op. */
static bool take_outputs(const struct ci_op *op, struct ci_call *call) {
    for (const struct ci_case *shape = op->cases; shape && shape->name; shape++)
        if (ci_proof_signature(op, shape, call)) return true;
    return false;
}

/* A call with the entry's types and layout, on which its program depends; its shapes are those of another. */
static bool call_of(const struct ci_op *op, const struct ci_profile_entry *entry, struct ci_call *call) {
    const struct ci_layout *layout = *entry->layout ? ci_layout_from_name(entry->layout) : &ci_layout_stored;
    const char *rest = entry->signature.types;
    bool known = layout && take_outputs(op, call);
    for (int i = 0; i < op->inputs && known; i++) {
        known = next_type(&rest, &call->in[i].type);
        call->in[i].layout = (op->weight_inputs >> i & 1) ? layout : &ci_layout_stored;
    }
    for (int i = 0; i < op->outputs && known; i++) {
        struct ci_view *out = &call->out[i];
        bool codes = out->type == &ci_type_q8 || out->type == &ci_type_q16;
        if ((op->state_outputs >> i & 1) || (codes && *rest))
            known = next_type(&rest, &out->type);
        else if (codes)
            out->type = &ci_type_q8;
    }
    return known && !*rest;
}

bool ci_survey_source(bool on_device, const struct ci_profile_entry *entry, uint64_t *source) {
    const struct ci_op *op = ci_op_find(entry->signature.op);
    const struct ci_variant *variant =
        op ? ci_variant_find(op, on_device ? CI_BACKEND_OPENCL : CI_BACKEND_CPU, entry->variant) : NULL;
    int values[CI_MAX_TUNABLES];
    struct ci_call call;
    return variant && ci_signature_values(variant, entry->tunables, entry->tunable_count, values) == CLINFER_OK &&
           call_of(op, entry, &call) && (variant->type_input < 0 || call.in[variant->type_input].type) &&
           ci_signature_source(variant, values, &call, source) == CLINFER_OK;
}

bool ci_survey_is_stale(bool on_device, const struct ci_profile_entry *entry) {
    uint64_t source;
    if (strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0) return !ci_op_find(entry->signature.op);
    return !ci_survey_source(on_device, entry, &source) || source != entry->source;
}
