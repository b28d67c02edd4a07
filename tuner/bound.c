/* bound.c: what bounds a model after a tune: how much of the time of decoding, or of a prompt, its bytes and operations
 * need at least on this device, and which op loses most of the rest. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "tuner/tuner_private.h"

/* Seconds that the bytes and the operations of a call need at least; 0 where the device was not measured. */
static double limit_of(const struct ci_tuner *tuner, int problem, bool *by_memory) {
    const struct ci_tune_problem *item = &tuner->problems->items[problem];
    double bandwidth = tuner->measured.read_bytes_per_second;
    double peak = ci_profile_peak(&tuner->measured, &item->signature);
    if (!(bandwidth > 0) || !(peak > 0)) return 0;
    *by_memory = item->bytes / bandwidth >= item->operations / peak;
    return fmax(item->bytes / bandwidth, item->operations / peak);
}

/* Seconds of a run with such activations; *timed: of them what is no estimate. */
static double run_seconds(const struct ci_tuner *tuner, int model, int run, int kind, double *timed) {
    double seconds = 0;
    *timed = 0;
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        if (use->model != model || use->run != run || use->kind != kind) continue;
        seconds += use->calls * tuner->seconds[use->problem];
        if (tuner->tuned[use->problem].timed) *timed += use->calls * tuner->seconds[use->problem];
    }
    return seconds;
}

bool ci_tuner_is_timed(const struct ci_tuner *tuner, int model, int run, int kind) {
    double timed, seconds = run_seconds(tuner, model, run, kind, &timed);
    return 2 * timed > seconds;
}

double ci_tuner_f32_time(const struct ci_tuner *tuner, int model, int run) {
    double ignored;
    for (int kind = 0; kind < CI_TUNE_KINDS; kind++)
        if (!ci_tuner_is_timed(tuner, model, run, kind)) return 0;
    return run_seconds(tuner, model, run, CI_TUNE_F32, &ignored) / run_seconds(tuner, model, run, CI_TUNE_Q8, &ignored);
}

bool ci_tuner_never_reads(const struct ci_tuner *tuner, int model, const struct ci_type *codes) {
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        bool judged = use->run == CI_TUNE_DECODE || use->run == CI_TUNE_PROMPT;
        if (use->model != model || use->kind != CI_TUNE_Q8 || !judged) continue;
        if (tuner->problems->items[use->problem].call.in[0].type == codes) return false;
    }
    return true;
}

int ci_tuner_kind(const struct ci_tuner *tuner, int model, int run) {
    double seconds[CI_TUNE_KINDS] = {0};
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        if (use->model == model && use->run == run) seconds[use->kind] += use->calls * tuner->seconds[use->problem];
    }
    return seconds[CI_TUNE_Q8] > 0 && seconds[CI_TUNE_Q8] <= seconds[CI_TUNE_F32] ? CI_TUNE_Q8 : CI_TUNE_F32;
}

static void bound(const struct ci_tuner *tuner, int model, int run, double measured, struct ci_tune_gain *gain) {
    double limit = 0, by_memory = 0, most = 0;
    bool known = true;
    int kind = ci_tuner_kind(tuner, model, run);
    gain->worst = -1;
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        bool reads = false;
        if (use->model != model || use->run != run || use->kind != kind) continue;
        double least = limit_of(tuner, use->problem, &reads), took = tuner->seconds[use->problem];
        known = known && least > 0;
        limit += use->calls * least;
        by_memory += reads ? use->calls * least : 0;
        if (!tuner->tuned[use->problem].timed || use->calls * (took - least) <= most) continue;
        most = use->calls * (took - least);
        gain->worst = use->problem;
        gain->worst_share = least / took;
        gain->worst_loss = most / measured;
    }
    gain->share = known ? limit / measured : 0;
    gain->by_memory = 2 * by_memory >= limit;
}

/* What was measured as the limit was measured alone and at another moment. Where the CPU backend was faster in turn
 * with this device, on the same processor and memory, they give more than that. */
static void correct(const struct ci_tuner *tuner, int model, int run, struct ci_tune_gain *gain) {
    const struct ci_device_caps *device = tuner->options->caps->device;
    const struct ci_tune_result *result = tuner->result;
    for (int i = 0; i < result->setting_count && device && device->kind == CI_DEVICE_CPU; i++) {
        const struct ci_tune_setting *setting = &result->settings[i];
        double ratio = run == CI_TUNE_DECODE ? setting->decode.ratio : setting->prefill.ratio;
        if (setting->model == model && strcmp(setting->name, "place") == 0 && ratio > 1)
            gain->share = fmin(gain->share, 1 / ratio);
    }
}

void ci_tuner_bound(const struct ci_tuner *tuner, int model) {
    const struct ci_profile_model *record = &tuner->result->models[model];
    struct ci_tune_gain *gains = tuner->result->gains[model];
    double tokens = (double)ci_tune_rows[CI_TUNE_PROMPT];
    if (record->decode_after > 0) bound(tuner, model, CI_TUNE_DECODE, 1 / record->decode_after, &gains[0]);
    correct(tuner, model, CI_TUNE_DECODE, &gains[0]);
    if (record->prefill_after > 0) bound(tuner, model, CI_TUNE_PROMPT, tokens / record->prefill_after, &gains[1]);
    correct(tuner, model, CI_TUNE_PROMPT, &gains[1]);
}
