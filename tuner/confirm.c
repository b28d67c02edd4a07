/* confirm.c: kernels that win alone may lose together (caches, frequencies, layouts), so the whole model has the last
 * word: it runs with what there was before and with the new winners, in turn. Where it got slower, half of the winners
 * are given back, then half of the rest, until it is not: so one bad one costs few others. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "tuner/tuner_private.h"

enum { CONTEXT = 256, LEAST_PROMPT = 80, MOST_ROUNDS = CI_TUNE_ROUNDS };

/* The whole model counts as slower beyond this: less is noise. And new winners have to make it faster by so much: what
 * won alone and changes nothing there would only be another set of kernels. */
static const double slower = 1.03, faster = 0.99;

/* Of the time that is left so much is for a first run of each model. Seconds of a sample: for decoding, and for a
 * prompt, which is shortened until it fits, as long as it runs in the same plan. */
static const double first_share = 0.5, decode_seconds = 0.4, least_seconds = 0.1, most_seconds = 1.5;

/* ---- the profile as it would be ---- */

static bool same_signature(const struct ci_profile_entry *entry, const struct ci_profile_signature *signature) {
    return memcmp(&entry->signature, signature, sizeof *signature) == 0;
}

static void remove_entries(struct ci_profile *profile, const struct ci_profile_signature *signature) {
    int kept = 0;
    for (int i = 0; i < profile->entry_count; i++)
        if (!same_signature(&profile->entries[i], signature)) profile->entries[kept++] = profile->entries[i];
    profile->entry_count = kept;
}

/* What was measured with other parameters of CLBlast. */
static void remove_clblast(struct ci_profile *profile) {
    int kept = 0;
    for (int i = 0; i < profile->entry_count; i++)
        if (!ci_tuner_is_clblast(&profile->entries[i])) profile->entries[kept++] = profile->entries[i];
    profile->entry_count = kept;
}

/* The default in its own layout, so that no entry of another shape takes its place. */
static enum clinfer_status pin_default(const struct ci_tuner *tuner, int problem, struct ci_profile *profile) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    struct ci_profile_entry entry;
    if (!ci_tuner_default_entry(tuner, problem, &entry)) return CLINFER_OK;
    entry.tried = tuned->search.tried;
    return ci_profile_set(profile, &entry);
}

/* What the old profile says, with the times of this machine where that was measured elsewhere. */
static enum clinfer_status keep_old(const struct ci_tuner *tuner, int problem, struct ci_profile *profile) {
    enum clinfer_status status = CLINFER_OK;
    struct ci_profile_entry entry;
    if (tuner->origin == CI_PROFILE_EXACT) return CLINFER_OK;
    if (ci_tuner_old_entry(tuner, problem, NULL, &entry)) status = ci_profile_set(profile, &entry);
    for (int i = 0; ci_layouts[i] && status == CLINFER_OK; i++)
        if (ci_tuner_old_entry(tuner, problem, ci_layouts[i], &entry)) status = ci_profile_set(profile, &entry);
    return status;
}

static enum clinfer_status set_problem(const struct ci_tuner *tuner, int problem, struct ci_profile *profile) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    const struct ci_profile_signature *signature = &tuner->problems->items[problem].signature;
    enum clinfer_status status = CLINFER_OK;
    if (!tuned->decided) return CLINFER_OK;
    bool had = false;
    for (int i = 0; i < tuner->old.entry_count; i++) had = had || same_signature(&tuner->old.entries[i], signature);
    if (tuned->reverted && had) return keep_old(tuner, problem, profile);
    remove_entries(profile, signature);
    if (tuned->reverted) return pin_default(tuner, problem, profile);
    for (int i = 0; i < tuned->entry_count && status == CLINFER_OK; i++)
        status = ci_profile_set(profile, &tuned->entries[i]);
    return status;
}

static enum clinfer_status copy_lists(const struct ci_profile *source, struct ci_profile *copy) {
    copy->entries = calloc((size_t)source->entry_count + 1, sizeof *copy->entries);
    copy->models = calloc((size_t)source->model_count + 1, sizeof *copy->models);
    if (!copy->entries || !copy->models) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the profile");
    if (source->entry_count)
        memcpy(copy->entries, source->entries, (size_t)source->entry_count * sizeof *copy->entries);
    if (source->model_count) memcpy(copy->models, source->models, (size_t)source->model_count * sizeof *copy->models);
    copy->entry_count = source->entry_count;
    copy->model_count = source->model_count;
    return CLINFER_OK;
}

enum clinfer_status ci_tuner_profile(const struct ci_tuner *tuner, struct ci_profile *profile) {
    *profile = (struct ci_profile){.key = tuner->key,
                                   .measured = tuner->measured,
                                   .clblast = tuner->clblast,
                                   .tune_seconds = tuner->old.tune_seconds};
    if (tuner->origin != CI_PROFILE_EXACT) profile->tune_seconds = 0;
    snprintf(profile->clinfer, sizeof profile->clinfer, "%s", CLINFER_VERSION);
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(profile->created, sizeof profile->created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    enum clinfer_status status = copy_lists(&tuner->old, profile);
    /* What was measured elsewhere or with another driver is better than nothing until it is measured here; its times
     * still tell which layout was faster there. */
    if (tuner->origin != CI_PROFILE_EXACT) profile->model_count = 0;
    for (int i = 0; i < profile->entry_count && tuner->origin != CI_PROFILE_EXACT; i++) {
        struct ci_profile_entry *entry = &profile->entries[i];
        entry->tried = entry->refused = entry->crashed = 0;
    }
    if (!ci_profile_clblast_equal(&tuner->clblast, &tuner->old.clblast)) remove_clblast(profile);
    for (int i = 0; i < tuner->problems->count && status == CLINFER_OK; i++) status = set_problem(tuner, i, profile);
    if (status != CLINFER_OK) ci_profile_free(profile);
    return status;
}

/* ---- running models ---- */

/* Medians in seconds, [0] before, [1] with the new winners; and how much slower these are. */
struct outcome {
    bool ran, failed; /* neither: no time was left */
    double decode[2], prefill[2];
    double decode_ratio, prefill_ratio;   /* ratio_of() */
    double decode_median, prefill_median; /* of the ratios of each pair */
    char reason[256];                     /* why it did not run */
};

/* How much slower the second of each pair is: in the median, and at their best, whichever says less. Another program
 * that starts in between spoils one of them, seldom both. */
static double ratio_of(const double *pairs, int rounds, double *median) {
    double ratios[MOST_ROUNDS], least[2] = {INFINITY, INFINITY};
    for (int i = 0; i < rounds; i++) {
        ratios[i] = pairs[2 * i + 1] / pairs[2 * i];
        for (int k = 0; k < 2; k++) least[k] = fmin(least[k], pairs[2 * i + k]);
    }
    *median = ci_tuner_median(ratios, rounds, 1);
    return fmin(*median, least[1] / least[0]);
}

/* Rounds and tokens of the prompt; both sides warm up in one more. */
static void size_run(const struct ci_tuner *tuner, int model, int *rounds, int *prompt) {
    enum { LEAST_ROUNDS = 3 };
    double time = first_share * (tuner->end - ci_now());
    double whole = ci_problems_run(tuner->problems, tuner->seconds, model, CI_TUNE_PROMPT, NULL, NULL);
    double most = (double)ci_tune_rows[CI_TUNE_PROMPT], wanted = fmin(whole, most_seconds);
    *rounds = tuner->options->rounds;
    while (*rounds > LEAST_ROUNDS && 2 * (*rounds + 1) * (wanted + decode_seconds) > time) --*rounds;
    wanted = fmin(wanted, fmax(time / (2 * (*rounds + 1)) - decode_seconds, least_seconds));
    *prompt = (int)fmax(whole > 0 ? most * wanted / whole : most, LEAST_PROMPT);
}

static const char *old_tuning(const struct ci_tuner *tuner) {
    if (tuner->origin == CI_PROFILE_NONE) return "none";
    if (tuner->origin == CI_PROFILE_SHIPPED || !tuner->old_path) return "shipped";
    return tuner->old_path;
}

/* Runs a model with what there was and with the profile at `path`. */
static enum clinfer_status run_model(struct ci_tuner *tuner, int model, const char *path, struct outcome *outcome) {
    const struct ci_tune_model *known = &tuner->problems->models[model];
    int rounds, prompt;
    double decode[2 * MOST_ROUNDS] = {0}, prefill[2 * MOST_ROUNDS] = {0};
    struct ci_trial trial = {0};
    size_run(tuner, model, &rounds, &prompt);
    struct ci_worker_model run = {.model = known->path,
                                  .tunings = {old_tuning(tuner), path},
                                  .context = CONTEXT,
                                  .prompt = prompt,
                                  .rounds = rounds,
                                  .decode = decode,
                                  .prefill = prefill};
    *outcome = (struct outcome){0};
    ci_tuner_progress(tuner, "whole model", -1, NULL);
    double left = tuner->end - ci_now();
    if (left < 1) {
        snprintf(outcome->reason, sizeof outcome->reason, "no time was left");
        return CLINFER_OK;
    }
    enum clinfer_status status = ci_worker_model(tuner->worker, &run, left, &trial);
    if (status != CLINFER_OK) return status;
    outcome->ran = trial.outcome == CI_TRIAL_PASSED;
    snprintf(outcome->reason, sizeof outcome->reason, "%s",
             trial.outcome == CI_TRIAL_TIMED_OUT ? "it takes longer than the time that was left" : trial.reason);
    if (!outcome->ran && trial.outcome != CI_TRIAL_TIMED_OUT) {
        outcome->failed = true;
        outcome->decode_ratio = outcome->prefill_ratio = INFINITY;
    }
    if (!outcome->ran) return CLINFER_OK;
    for (int i = 0; i < 2; i++) {
        outcome->decode[i] = ci_tuner_median(decode + i, rounds, 2);
        outcome->prefill[i] = ci_tuner_median(prefill + i, rounds, 2) / run.prompt;
    }
    outcome->decode_ratio = ratio_of(decode, rounds, &outcome->decode_median);
    outcome->prefill_ratio = ratio_of(prefill, rounds, &outcome->prefill_median);
    const struct ci_tune_listener *listener = &tuner->options->listener;
    if (listener->trial) {
        struct ci_tune_trial said = {.kind = "model", .elapsed = ci_now() - tuner->start, .text = known->name};
        memcpy(said.decode, outcome->decode, sizeof said.decode);
        memcpy(said.prefill, outcome->prefill, sizeof said.prefill);
        listener->trial(listener->user, &said);
    }
    return CLINFER_OK;
}

/* The same with the winners as they stand now, by way of a file that is gone afterwards, or when the profile is locked
 * the next time. */
static enum clinfer_status run_with_winners(struct ci_tuner *tuner, int model, struct outcome *outcome) {
    struct ci_profile profile;
    char *path = NULL;
    if (asprintf(&path, "%s" CI_PROFILE_TRIAL, tuner->result->path) < 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the profile");
    enum clinfer_status status = ci_tuner_profile(tuner, &profile);
    if (status == CLINFER_OK) {
        status = ci_profile_write(path, &profile);
        ci_profile_free(&profile);
    }
    if (status == CLINFER_OK) status = run_model(tuner, model, path, outcome);
    unlink(path);
    free(path);
    return status;
}

/* ---- giving back ---- */

static bool got_slower(const struct outcome *outcome) {
    return outcome->decode_ratio > slower || outcome->prefill_ratio > slower;
}

/* Whether the problem would run otherwise than before. */
static bool is_changed(const struct ci_tuner *tuner, int problem) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    for (int i = 0; i < tuned->entry_count && tuned->decided; i++) {
        struct ci_profile_entry before;
        const struct ci_profile_entry *now = &tuned->entries[i];
        const struct ci_profile_entry *found = ci_profile_find(&tuner->old, &now->signature, now->layout);
        if (!found) {
            if (!ci_tuner_default_entry(tuner, problem, &before) || strcmp(before.layout, now->layout) != 0) continue;
            found = &before;
        }
        if (strcmp(found->variant, now->variant) != 0 || found->tunable_count != now->tunable_count ||
            memcmp(found->tunables, now->tunables, sizeof now->tunables) != 0)
            return true;
    }
    return false;
}

static bool runs_in(const struct ci_tuner *tuner, int model, int problem, int run) {
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        if (use->model == model && use->problem == problem && use->run == run) return true;
    }
    return false;
}

/* Winners of the runs that got slower, those that matter least first: they have least to lose. */
static int suspects(const struct ci_tuner *tuner, int model, const struct outcome *outcome, int *list) {
    int count = 0;
    for (int i = 0; i < tuner->problems->count; i++) {
        bool decode = outcome->decode_ratio > slower && runs_in(tuner, model, i, CI_TUNE_DECODE);
        bool prefill = outcome->prefill_ratio > slower && runs_in(tuner, model, i, CI_TUNE_PROMPT);
        if ((!decode && !prefill) || tuner->tuned[i].reverted || !is_changed(tuner, i)) continue;
        int at = count++;
        for (; at > 0 && tuner->weights[list[at - 1]] > tuner->weights[i]; at--) list[at] = list[at - 1];
        list[at] = i;
    }
    return count;
}

static void revert(struct ci_tuner *tuner, const int *list, int count, bool reverted) {
    for (int i = 0; i < count; i++) tuner->tuned[list[i]].reverted = reverted;
}

/* Whether these winners are the ones to blame: with them given back the model is as fast as before. */
static enum clinfer_status blame(struct ci_tuner *tuner, int model, const int *list, int count, struct outcome *outcome,
                                 bool *found) {
    struct outcome trial;
    revert(tuner, list, count, true);
    enum clinfer_status status = run_with_winners(tuner, model, &trial);
    *found = status == CLINFER_OK && trial.ran && !got_slower(&trial);
    if (*found)
        *outcome = trial;
    else
        revert(tuner, list, count, false);
    return status;
}

/* list[0, count) together make the model slower. One half of them goes, or the other; else all of them. */
static enum clinfer_status give_back(struct ci_tuner *tuner, int model, const int *list, int count,
                                     struct outcome *outcome) {
    bool found = false;
    enum clinfer_status status = CLINFER_OK;
    int half = count / 2;
    if (half > 0) status = blame(tuner, model, list, half, outcome, &found);
    if (status == CLINFER_OK && !found && half > 0 && !ci_tuner_stopped(tuner))
        status = blame(tuner, model, list + half, count - half, outcome, &found);
    if (status != CLINFER_OK || found) return status;
    revert(tuner, list, count, true);
    struct outcome trial;
    status = run_with_winners(tuner, model, &trial);
    if (status != CLINFER_OK) return status;
    /* What fails without them too is not their fault. */
    if (trial.failed) revert(tuner, list, count, false);
    if (trial.ran) *outcome = trial;
    /* No time was left to see it, but now the model runs as before. */
    if (!trial.ran && !trial.failed) {
        outcome->decode[1] = outcome->decode[0];
        outcome->prefill[1] = outcome->prefill[0];
    }
    return CLINFER_OK;
}

/* Whether what the old profile says of the problem can still run: nothing to go back to otherwise. */
static bool can_go_back(const struct ci_tuner *tuner, int problem) {
    for (int i = 0; i < tuner->old.entry_count; i++) {
        const struct ci_profile_entry *entry = &tuner->old.entries[i];
        struct ci_tuner_candidate candidate;
        if (!same_signature(entry, &tuner->problems->items[problem].signature)) continue;
        if (strcmp(entry->variant, CI_PROFILE_UNFUSED) != 0 &&
            (!ci_tuner_candidate_of(tuner, problem, entry, &candidate) ||
             ci_tuner_quarantined(tuner, problem, &candidate, true)))
            return false;
    }
    return true;
}

/* A run that the new winners made no faster goes on as before. */
static void give_back_idle(struct ci_tuner *tuner, int model, struct outcome *outcome) {
    static const struct {
        int run;
        const char *name;
    } runs[] = {{CI_TUNE_DECODE, "decoding"}, {CI_TUNE_PROMPT, "a prompt"}};
    for (int r = 0; r < 2 && outcome->ran; r++) {
        double *seconds = r == 0 ? outcome->decode : outcome->prefill;
        int given = 0;
        if ((r == 0 ? outcome->decode_median : outcome->prefill_median) <= faster) continue;
        for (int i = 0; i < tuner->problems->count; i++) {
            if (tuner->tuned[i].reverted || !runs_in(tuner, model, i, runs[r].run) || !is_changed(tuner, i) ||
                !can_go_back(tuner, i))
                continue;
            tuner->tuned[i].reverted = true;
            given++;
        }
        if (given == 0) continue;
        seconds[1] = seconds[0];
        ci_tuner_say(tuner, "%s: %d winners made %s no faster in the whole model, and are given back",
                     tuner->problems->models[model].name, given, runs[r].name);
    }
}

static void record(struct ci_tuner *tuner, int model, const struct outcome *outcome) {
    struct ci_tune_result *result = tuner->result;
    const struct ci_tune_model *known = &tuner->problems->models[model];
    struct ci_profile_model *record = &result->models[model];
    snprintf(record->name, sizeof record->name, "%s", known->name);
    record->fingerprint = known->fingerprint;
    if (!outcome || !outcome->ran) return; /* zeros: not measured */
    record->decode_before = 1 / outcome->decode[0];
    record->decode_after = 1 / outcome->decode[1];
    record->prefill_before = 1 / outcome->prefill[0];
    record->prefill_after = 1 / outcome->prefill[1];
}

static enum clinfer_status confirm_model(struct ci_tuner *tuner, int model) {
    const char *name = tuner->problems->models[model].name;
    struct outcome outcome;
    enum clinfer_status status = run_with_winners(tuner, model, &outcome);
    if (status == CLINFER_OK && outcome.ran && got_slower(&outcome)) {
        /* Once more, before anybody is blamed. */
        struct outcome again = {0};
        status = run_with_winners(tuner, model, &again);
        if (again.ran) outcome = again;
    }
    if (status != CLINFER_OK) return status;
    int *list = got_slower(&outcome) ? calloc((size_t)tuner->problems->count, sizeof *list) : NULL;
    int count = list ? suspects(tuner, model, &outcome, list) : 0;
    if (count > 0 && outcome.failed)
        ci_tuner_say(tuner, "%s fails as a whole (%s): winners are given back", name, outcome.reason);
    else if (count > 0)
        ci_tuner_say(tuner,
                     "%s got slower as a whole (decode takes %.0f%%, a prompt %.0f%% of the time before): winners are "
                     "given back",
                     name, 100 * outcome.decode_ratio, 100 * outcome.prefill_ratio);
    if (count > 0) status = give_back(tuner, model, list, count, &outcome);
    free(list);
    if (status == CLINFER_OK) give_back_idle(tuner, model, &outcome);
    if (!outcome.ran) ci_tuner_say(tuner, "%s was not run as a whole: %s", name, outcome.reason);
    record(tuner, model, &outcome);
    return status;
}

enum clinfer_status ci_tuner_confirm(struct ci_tuner *tuner) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < tuner->problems->model_count && status == CLINFER_OK; i++) {
        record(tuner, i, NULL);
        if (tuner->problems->models[i].path && !ci_tuner_stopped(tuner)) status = confirm_model(tuner, i);
    }
    for (int i = 0; i < tuner->problems->count; i++) tuner->result->given_back += tuner->tuned[i].reverted;
    return status;
}
