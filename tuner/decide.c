/* decide.c: what the trials of a problem come to: the winner in each layout of the weights, and whether a fused op is
 * worth it. A single trial is short and other programs run too, so nobody wins without an interleaved comparison. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "ops/signature.h"
#include "tuner/tuner_private.h"

enum { MOST_FINALISTS = 8 };

/* Without a comparison, when time is over, only what is faster beyond doubt wins. */
static const double gain_uncompared = 1.15;

/* Every other kernel is one more program to load and to bind at a start, and one more chance for noise to win: so it
 * has to save that much of the model's time. */
static const double least_saving = 0.002;

static double gain_for(const struct ci_tuner *tuner, int problem, double gain) {
    double needed = least_saving / fmax(tuner->weights[problem], least_saving);
    return fmax(gain, 1 / (1 - fmin(needed, 0.5)));
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ci_tuner_median(const double *values, int count, int stride) {
    double sorted[CI_TUNE_MODEL_ROUNDS];
    for (int i = 0; i < count; i++) sorted[i] = values[i * stride];
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

/* What the old profile would run in this layout, as a point of the search; -1: nothing, or it did not pass. */
static int old_point(const struct ci_tuner *tuner, int problem, const struct ci_layout *layout) {
    struct ci_tuner_candidate candidate;
    if (tuner->origin == CI_PROFILE_NONE) return -1;
    const struct ci_profile_entry *entry =
        ci_profile_find(&tuner->old, &tuner->problems->items[problem].signature, layout ? layout->name : "");
    if (!entry || !ci_tuner_candidate_of(tuner, problem, entry, &candidate)) return -1;
    int index = ci_search_find(&tuner->tuned[problem].search, &candidate);
    return index >= 0 && isfinite(tuner->tuned[problem].search.points[index].seconds) ? index : -1;
}

/* ---- finalists ---- */

struct final {
    int list[MOST_FINALISTS], count;
};

static void add_finalist(struct final *final, int point) {
    for (int i = 0; i < final->count; i++)
        if (final->list[i] == point) return;
    if (point >= 0 && final->count < MOST_FINALISTS) final->list[final->count++] = point;
}

/* The fastest but one. */
static int second_best(const struct ci_search *search, const struct ci_layout *layout, int best) {
    int second = -1;
    for (int i = 0; i < search->count; i++) {
        const struct ci_search_point *point = &search->points[i];
        if (i == best || point->candidate.layout != layout || !isfinite(point->seconds)) continue;
        if (second < 0 || point->seconds < search->points[second].seconds) second = i;
    }
    return second;
}

/* Whoever may win in a layout where the fastest is not what would run anyway. */
static void finalists(const struct ci_tuner *tuner, int problem, const struct ci_layout *layout, struct final *final) {
    const struct ci_search *search = &tuner->tuned[problem].search;
    int best = ci_search_best(search, layout), standard = ci_search_default(search, layout);
    int old = old_point(tuner, problem, layout), overall = ci_search_overall_default(search);
    if (best < 0) return;
    double bar = fmin(standard >= 0 ? search->points[standard].seconds : INFINITY,
                      old >= 0 ? search->points[old].seconds : INFINITY);
    bool contested = best != standard && best != old && search->points[best].seconds * CI_SEARCH_GAIN <= bar;
    if (!contested && !(old >= 0 && old != standard)) return;
    add_finalist(final, overall);
    add_finalist(final, standard);
    add_finalist(final, old);
    if (!contested) return;
    add_finalist(final, best);
    int second = second_best(search, layout, best);
    if (second >= 0 && search->points[second].seconds < bar) add_finalist(final, second);
}

/* The quarter of the rounds that is worst for `point`: how much faster than `standard` it was even there. Medians alone
 * let noise win: among twenty candidates that are alike, one always looks some percent faster. */
static double sure_gain(const double *samples, int rounds, int stride, int standard, int point) {
    double gains[CI_TUNE_ROUNDS];
    for (int i = 0; i < rounds; i++) gains[i] = samples[i * stride + standard] / samples[i * stride + point];
    qsort(gains, (size_t)rounds, sizeof *gains, by_value);
    return gains[rounds / 4];
}

/* Who is not surely faster than what would run anyway in the same layout, by itself or by the old profile, counts as
 * just as fast, and does not win. */
static void level(const struct ci_tuner *tuner, int problem, const struct final *final, const double *samples,
                  int rounds) {
    struct ci_search *search = &tuner->tuned[problem].search;
    for (int i = 0; i < final->count; i++) {
        struct ci_search_point *point = &search->points[final->list[i]];
        int standard = ci_search_default(search, point->candidate.layout);
        int old = old_point(tuner, problem, point->candidate.layout);
        for (int k = 0; k < final->count; k++) {
            bool anyway = final->list[k] == standard || (final->list[k] == old && final->list[i] != standard);
            if (!anyway || i == k) continue;
            if (sure_gain(samples, rounds, final->count, k, i) < CI_SEARCH_GAIN)
                point->seconds = fmax(point->seconds, search->points[final->list[k]].seconds);
        }
    }
}

/* Puts medians of the interleaved comparison in the place of single trials. *compared: it worked. */
static enum clinfer_status compare(struct ci_tuner *tuner, int problem, const struct final *final, bool *compared) {
    struct ci_search *search = &tuner->tuned[problem].search;
    const struct ci_tune_options *options = tuner->options;
    struct ci_tuner_candidate candidates[MOST_FINALISTS];
    struct ci_trial trial = {0};
    *compared = false;
    double *samples = calloc((size_t)options->rounds * (size_t) final->count, sizeof *samples);
    enum clinfer_status status = CLINFER_OK;
    if (!samples) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for samples");
    for (int i = 0; i < final->count; i++) candidates[i] = search->points[final->list[i]].candidate;
    ci_tuner_progress(tuner, "comparing", problem, &candidates[final->count - 1]);
    double left = tuner->end - ci_now();
    if (status == CLINFER_OK && left > 0.2)
        status = ci_worker_compare(tuner->worker, &tuner->problems->items[problem].problem, candidates, final->count,
                                   options->rounds, fmin(left, options->candidate_seconds), samples, &trial);
    else
        trial.outcome = CI_TRIAL_TIMED_OUT;
    *compared = status == CLINFER_OK && trial.outcome == CI_TRIAL_PASSED;
    for (int i = 0; i < final->count && *compared; i++) {
        struct ci_search_point *point = &search->points[final->list[i]];
        double charge = ci_tuner_charge(tuner, problem, candidates[i].variant, point->build_seconds);
        trial.seconds = ci_tuner_median(samples + i, options->rounds, final->count);
        trial.nmse = point->nmse;
        trial.build_seconds = point->build_seconds;
        point->seconds = trial.seconds + charge;
        if (options->listener.trial)
            options->listener.trial(options->listener.user,
                                    &(struct ci_tune_trial){.kind = "compare",
                                                            .elapsed = ci_now() - tuner->start,
                                                            .problem = &tuner->problems->items[problem],
                                                            .candidate = &candidates[i],
                                                            .trial = &trial});
    }
    if (*compared) level(tuner, problem, final, samples, options->rounds);
    free(samples);
    return status;
}

/* The fastest so far that is not in the list yet. */
static int next_best(const struct ci_search *search, const struct final *final) {
    int best = -1;
    for (int i = 0; i < search->count; i++) {
        bool listed = !isfinite(search->points[i].seconds);
        for (int k = 0; k < final->count; k++) listed = listed || final->list[k] == i;
        if (!listed && (best < 0 || search->points[i].seconds < search->points[best].seconds)) best = i;
    }
    return best;
}

enum clinfer_status ci_tuner_rank(struct ci_tuner *tuner, int problem) {
    const double far_behind = 2.5;
    const struct ci_search *search = &tuner->tuned[problem].search;
    struct final final = {.count = 0};
    bool compared;
    add_finalist(&final, ci_search_overall_default(search));
    double fastest = INFINITY;
    for (int i = 0; i < search->count; i++) fastest = fmin(fastest, search->points[i].seconds);
    for (int next; final.count < MOST_FINALISTS && (next = next_best(search, &final)) >= 0;) {
        if (search->points[next].seconds > far_behind * fastest) break;
        add_finalist(&final, next);
    }
    return final.count > 1 ? compare(tuner, problem, &final, &compared) : CLINFER_OK;
}

/* ---- entries ---- */

static void fill_entry(const struct ci_tuner *tuner, int problem, int point, struct ci_profile_entry *entry) {
    const struct ci_tune_problem *item = &tuner->problems->items[problem];
    const struct ci_search *search = &tuner->tuned[problem].search;
    const struct ci_search_point *won = &search->points[point];
    int standard = ci_search_overall_default(search);
    struct ci_call call = ci_tuner_call(tuner, problem, won->candidate.layout);
    *entry = (struct ci_profile_entry){.signature = item->signature,
                                       .seconds = won->seconds,
                                       .default_seconds = standard >= 0 ? search->points[standard].seconds : 0,
                                       .bytes = item->bytes,
                                       .operations = item->operations,
                                       .nmse = won->nmse,
                                       .tried = search->tried,
                                       .refused = search->refused,
                                       .crashed = search->crashed};
    snprintf(entry->layout, sizeof entry->layout, "%s", won->candidate.layout ? won->candidate.layout->name : "");
    snprintf(entry->variant, sizeof entry->variant, "%s", won->candidate.variant->name);
    entry->tunable_count = ci_signature_tunables(won->candidate.variant, won->candidate.tunables, entry->tunables);
    if (ci_signature_source(won->candidate.variant, won->candidate.tunables, &call, &entry->source) != CLINFER_OK)
        entry->source = 0; /* never believed */
}

bool ci_tuner_default_entry(const struct ci_tuner *tuner, int problem, struct ci_profile_entry *entry) {
    int standard = ci_search_overall_default(&tuner->tuned[problem].search);
    if (standard >= 0) fill_entry(tuner, problem, standard, entry);
    return standard >= 0;
}

bool ci_tuner_old_entry(const struct ci_tuner *tuner, int problem, const struct ci_layout *layout,
                        struct ci_profile_entry *entry) {
    int old = old_point(tuner, problem, layout);
    if (old >= 0) fill_entry(tuner, problem, old, entry);
    return old >= 0;
}

static void decide_layout(struct ci_tuner *tuner, int problem, const struct ci_layout *layout, double gain) {
    struct ci_tuned *tuned = &tuner->tuned[problem];
    const struct ci_search *search = &tuned->search;
    double seconds[MOST_FINALISTS];
    int points[3] = {ci_search_default(search, layout), old_point(tuner, problem, layout),
                     ci_search_best(search, layout)};
    for (int i = 0; i < 3; i++) seconds[i] = points[i] >= 0 ? search->points[points[i]].seconds : INFINITY;
    if (points[2] < 0 || tuned->entry_count == CI_TUNE_LAYOUTS) return;
    /* A layout in which nothing runs without a profile is worth an entry only where it is faster than what does. */
    int overall = ci_search_overall_default(search);
    if (points[0] < 0 && points[1] < 0 && overall >= 0 && seconds[2] * gain > search->points[overall].seconds) return;
    int winner = ci_search_winner(seconds, points[0] >= 0 ? 0 : -1, points[1] >= 0 ? 1 : -1, 2, gain);
    fill_entry(tuner, problem, points[winner], &tuned->entries[tuned->entry_count++]);
}

enum clinfer_status ci_tuner_decide(struct ci_tuner *tuner, int problem) {
    struct ci_tuned *tuned = &tuner->tuned[problem];
    struct final final = {.count = 0};
    bool compared = true;
    enum clinfer_status status = CLINFER_OK;
    finalists(tuner, problem, NULL, &final);
    for (int i = 0; ci_layouts[i]; i++) finalists(tuner, problem, ci_layouts[i], &final);
    if (final.count > 1 && !ci_tuner_stopped(tuner))
        status = compare(tuner, problem, &final, &compared);
    else
        compared = final.count <= 1;
    if (status != CLINFER_OK) return status;
    double gain = gain_for(tuner, problem, compared ? CI_SEARCH_GAIN : gain_uncompared);
    tuned->entry_count = 0;
    decide_layout(tuner, problem, NULL, gain);
    for (int i = 0; ci_layouts[i]; i++) decide_layout(tuner, problem, ci_layouts[i], gain);
    tuned->decided = tuned->entry_count > 0;
    tuned->decided_seconds = INFINITY;
    for (int i = 0; i < tuned->entry_count; i++)
        tuned->decided_seconds = fmin(tuned->decided_seconds, tuned->entries[i].seconds);
    if (tuned->decided) tuner->seconds[problem] = tuned->decided_seconds;
    return CLINFER_OK;
}

/* ---- fused or not ---- */

/* The entry of a problem in the layout that another's entry has; parts without weights have the layout "". */
static const struct ci_profile_entry *entry_in(const struct ci_tuned *tuned, const char *layout) {
    for (int i = 0; i < tuned->entry_count; i++)
        if (strcmp(tuned->entries[i].layout, layout) == 0 || !*tuned->entries[i].layout) return &tuned->entries[i];
    return NULL;
}

/* Three problems were timed at three times, and the machine was not as busy at each: now in turn. Medians go to
 * seconds; false: it did not work. */
static bool time_in_turn(struct ci_tuner *tuner, const int problems[3], const struct ci_profile_entry *const entries[3],
                         double seconds[3]) {
    enum { TURNS = 4, ROUNDS = 3, SAMPLES = TURNS * ROUNDS };
    static_assert((int)SAMPLES <= (int)CI_TUNE_ROUNDS, "medians are of so many");
    double samples[3][SAMPLES];
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < 3; i++) {
            struct ci_tuner_candidate candidate;
            struct ci_trial trial = {0};
            double left = tuner->end - ci_now();
            if (ci_tuner_stopped(tuner) || left <= 0 ||
                !ci_tuner_candidate_of(tuner, problems[i], entries[i], &candidate))
                return false;
            ci_tuner_progress(tuner, "comparing", problems[i], &candidate);
            if (ci_worker_compare(tuner->worker, &tuner->problems->items[problems[i]].problem, &candidate, 1, ROUNDS,
                                  fmin(left, tuner->options->candidate_seconds), samples[i] + turn * ROUNDS,
                                  &trial) != CLINFER_OK ||
                trial.outcome != CI_TRIAL_PASSED)
                return false;
        }
    for (int i = 0; i < 3; i++) seconds[i] = ci_tuner_median(samples[i], SAMPLES, 1);
    return true;
}

/* `entry` becomes "take it apart" where that is faster; one that was apart before stays so until together is faster. */
static void unfuse_entry(struct ci_tuner *tuner, int problem, struct ci_profile_entry *entry) {
    const struct ci_tune_problem *item = &tuner->problems->items[problem];
    const struct ci_profile_entry *first = entry_in(&tuner->tuned[item->first], entry->layout);
    const struct ci_profile_entry *second = entry_in(&tuner->tuned[item->second], entry->layout);
    const struct ci_profile_entry *before =
        tuner->origin == CI_PROFILE_NONE ? NULL : ci_profile_find(&tuner->old, &item->signature, entry->layout);
    if (!first || !second || strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0) return;
    bool was_apart = before && strcmp(before->variant, CI_PROFILE_UNFUSED) == 0;
    double gain = gain_for(tuner, problem, CI_SEARCH_GAIN), seconds[3];
    if (was_apart) gain = 1 / CI_SEARCH_GAIN;
    if ((first->seconds + second->seconds) * gain > entry->seconds) return;
    if (!time_in_turn(tuner, (int[]){problem, item->first, item->second},
                      (const struct ci_profile_entry *[]){entry, first, second}, seconds) ||
        (seconds[1] + seconds[2]) * gain > seconds[0])
        return;
    snprintf(entry->variant, sizeof entry->variant, "%s", CI_PROFILE_UNFUSED);
    memset(entry->tunables, 0, sizeof entry->tunables);
    entry->tunable_count = 0;
    /* The default was timed when the fused one was. */
    entry->seconds *= (seconds[1] + seconds[2]) / seconds[0];
    entry->nmse = fmax(first->nmse, second->nmse);
    entry->source = first->source ^ second->source;
}

void ci_tuner_unfuse(struct ci_tuner *tuner) {
    for (int i = 0; i < tuner->problems->count; i++) {
        struct ci_tuned *tuned = &tuner->tuned[i];
        if (tuner->problems->items[i].first < 0 || !tuned->decided) continue;
        for (int k = 0; k < tuned->entry_count; k++) {
            unfuse_entry(tuner, i, &tuned->entries[k]);
            tuner->seconds[i] = fmin(tuner->seconds[i], tuned->entries[k].seconds);
        }
    }
}
