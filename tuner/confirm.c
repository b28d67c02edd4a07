/* confirm.c: kernels that win alone may lose together (caches, frequencies, layouts), so the whole model has the last
 * word: it runs with what there was before and with the new winners, in turn, many times. Where it got slower, one
 * half of the winners is given back, or the other, or all of them. And what did not make it faster for sure is given
 * back. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/status.h"
#include "tuner/tuner_private.h"

static const double slower = CI_TUNE_SLOWER;

/* Of the budget what one run may take, loading and building included, so that time is left for settings. */
static const double confirm_share = 0.4;

/* After so many rounds a gain that is not worth more of them shows; after so many more whether it is one: what they
 * cannot tell is too little. Those of a run that measures only. */
enum { FIRST_ROUNDS = 12, MORE_ROUNDS = 24, BRIEF_ROUNDS = 6, FIRST_PROMPT = 128 };
static const double too_little = 0.985;

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

/* What ran before: the old profile's entry for another shape, as measured now, or without one the default. */
static enum clinfer_status pin_before(const struct ci_tuner *tuner, int problem, struct ci_profile *profile) {
    enum clinfer_status status = CLINFER_OK;
    struct ci_profile_entry entry;
    bool found = ci_tuner_old_entry(tuner, problem, NULL, &entry);
    if (found) status = ci_profile_set(profile, &entry);
    for (int i = 0; ci_layouts[i] && status == CLINFER_OK; i++) {
        if (!ci_tuner_old_entry(tuner, problem, ci_layouts[i], &entry)) continue;
        status = ci_profile_set(profile, &entry);
        found = true;
    }
    return found || status != CLINFER_OK ? status : pin_default(tuner, problem, profile);
}

/* What was taken over from elsewhere and is of another kernel: no run would believe it, and each tune would look again.
 */
static void remove_stale(const struct ci_tuner *tuner, int problem, struct ci_profile *profile) {
    int kept = 0;
    for (int i = 0; i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        struct ci_tuner_candidate candidate;
        bool stale = same_signature(entry, &tuner->problems->items[problem].signature) && !entry->tried &&
                     strcmp(entry->variant, CI_PROFILE_UNFUSED) != 0 &&
                     !ci_tuner_candidate_of(tuner, problem, entry, &candidate);
        if (!stale) profile->entries[kept++] = *entry;
    }
    profile->entry_count = kept;
}

static enum clinfer_status set_problem(const struct ci_tuner *tuner, int problem, struct ci_profile *profile) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    const struct ci_profile_signature *signature = &tuner->problems->items[problem].signature;
    enum clinfer_status status = CLINFER_OK;
    remove_stale(tuner, problem, profile);
    if (!tuned->decided) return CLINFER_OK;
    bool had = false;
    for (int i = 0; i < tuner->old.entry_count; i++) had = had || same_signature(&tuner->old.entries[i], signature);
    /* What the old profile says stays as it is, so that the model's plan becomes what it was: with the times of this
     * tune the planner might weigh its layouts otherwise. */
    if (tuned->reverted && had) return CLINFER_OK;
    remove_entries(profile, signature);
    if (tuned->reverted) return pin_before(tuner, problem, profile);
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

static const char *old_tuning(const struct ci_tuner *tuner) {
    if (tuner->origin == CI_PROFILE_NONE) return "none";
    if (tuner->origin == CI_PROFILE_SHIPPED || !tuner->old_path) return "shipped";
    return tuner->old_path;
}

/* The same with the winners as they stand now, by way of a file that is gone afterwards, or when the profile is locked
 * the next time. */
static enum clinfer_status run_with_winners(struct ci_tuner *tuner, int model, struct ci_outcome *outcome) {
    struct ci_profile profile;
    char *path = NULL;
    if (asprintf(&path, "%s" CI_PROFILE_TRIAL, tuner->result->path) < 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the profile");
    enum clinfer_status status = ci_tuner_profile(tuner, &profile);
    if (status == CLINFER_OK) {
        status = ci_profile_write(path, &profile);
        ci_profile_free(&profile);
    }
    const struct ci_sides sides = {.tunings = {old_tuning(tuner), path},
                                   .rounds = outcome->brief   ? BRIEF_ROUNDS
                                             : outcome->first ? FIRST_ROUNDS
                                                              : MORE_ROUNDS,
                                   .prompt = outcome->first ? FIRST_PROMPT : 0,
                                   .seconds = confirm_share * tuner->options->budget};
    if (status == CLINFER_OK) status = ci_tuner_run_model(tuner, model, &sides, outcome);
    unlink(path);
    free(path);
    return status;
}

/* ---- giving back ---- */

static bool got_slower(const struct ci_outcome *outcome) {
    return outcome->failed || outcome->decode.surely_slower || outcome->prefill.surely_slower;
}

/* Seconds of a call before this tune, in this layout or else in the fastest; 0: of what ran then nobody knows. */
static double seconds_before(const struct ci_tuner *tuner, int problem, const struct ci_profile_entry *now) {
    const struct ci_layout *layout = *now->layout ? ci_layout_from_name(now->layout) : NULL;
    const struct ci_profile_entry *found =
        tuner->origin == CI_PROFILE_NONE ? NULL : ci_profile_find(&tuner->old, &now->signature, now->layout);
    struct ci_profile_entry old;
    struct ci_tuner_candidate candidate;
    double seconds = now->default_seconds > 0 ? now->default_seconds : now->seconds;
    if (found && ci_tuner_old_entry(tuner, problem, layout, &old)) return old.seconds;
    if (found &&
        (strcmp(found->variant, CI_PROFILE_UNFUSED) == 0 || ci_tuner_candidate_of(tuner, problem, found, &candidate)))
        return 0;
    for (int i = 0; ci_layouts[i] && !found; i++)
        if (ci_tuner_old_entry(tuner, problem, ci_layouts[i], &old)) seconds = fmin(seconds, old.seconds);
    return seconds;
}

/* Whether the problem would run otherwise than before: with another kernel, or in a layout of weights that is faster.
 */
static bool is_changed(const struct ci_tuner *tuner, int problem) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    for (int i = 0; i < tuned->entry_count && tuned->decided; i++) {
        struct ci_profile_entry before;
        const struct ci_profile_entry *now = &tuned->entries[i];
        const struct ci_profile_entry *found = ci_profile_find(&tuner->old, &now->signature, now->layout);
        if (!found) {
            if (!ci_tuner_default_entry(tuner, problem, &before)) continue;
            if (strcmp(before.layout, now->layout) != 0) {
                if (now->seconds * CI_SEARCH_GAIN <= seconds_before(tuner, problem, now)) return true;
                continue;
            }
            found = &before;
        }
        if (strcmp(found->variant, now->variant) != 0 || found->tunable_count != now->tunable_count ||
            memcmp(found->tunables, now->tunables, sizeof now->tunables) != 0)
            return true;
    }
    return false;
}

/* Itself, or as a part of a fused op; with whatever activations (kind -1), or with those. */
static bool runs_with(const struct ci_tuner *tuner, int model, int problem, int run, int kind) {
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        const struct ci_tune_problem *item = &tuner->problems->items[use->problem];
        if (use->model == model && use->run == run && (kind < 0 || use->kind == kind) &&
            (use->problem == problem || item->first == problem || item->second == problem))
            return true;
    }
    return false;
}

static bool runs_in(const struct ci_tuner *tuner, int model, int problem, int run) {
    return runs_with(tuner, model, problem, run, -1);
}

/* Winners of the runs that got slower, those that matter least first: they have least to lose. */
static int suspects(const struct ci_tuner *tuner, int model, const struct ci_outcome *outcome, int *list) {
    int count = 0;
    for (int i = 0; i < tuner->problems->count; i++) {
        bool decode = (outcome->failed || outcome->decode.surely_slower) && runs_in(tuner, model, i, CI_TUNE_DECODE);
        bool prefill = (outcome->failed || outcome->prefill.surely_slower) && runs_in(tuner, model, i, CI_TUNE_PROMPT);
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
static enum clinfer_status blame(struct ci_tuner *tuner, int model, const int *list, int count,
                                 struct ci_outcome *outcome, bool *found) {
    struct ci_outcome trial = {0};
    revert(tuner, list, count, true);
    enum clinfer_status status = run_with_winners(tuner, model, &trial);
    *found = status == CLINFER_OK && trial.ran && !got_slower(&trial);
    if (*found)
        *outcome = trial;
    else
        revert(tuner, list, count, false);
    return status;
}

/* Whether what the old profile says of the problem can still run: nothing to go back to otherwise. */
static bool can_go_back(const struct ci_tuner *tuner, int problem) {
    for (int i = 0; i < tuner->old.entry_count; i++) {
        const struct ci_profile_entry *entry = &tuner->old.entries[i];
        struct ci_tuner_candidate candidate;
        if (!same_signature(entry, &tuner->problems->items[problem].signature)) continue;
        if (ci_tuner_is_clblast(entry) && !ci_profile_clblast_equal(&tuner->clblast, &tuner->old.clblast)) return false;
        if (strcmp(entry->variant, CI_PROFILE_UNFUSED) != 0 &&
            (!ci_tuner_candidate_of(tuner, problem, entry, &candidate) ||
             ci_tuner_quarantined(tuner, problem, &candidate, true)))
            return false;
    }
    return true;
}

/* Everything that was found for the run, so that it goes on as before. Returns how many winners that were. */
static int give_back_run(struct ci_tuner *tuner, int model, int run) {
    int given = 0;
    for (int i = 0; i < tuner->problems->count; i++) {
        struct ci_tuned *tuned = &tuner->tuned[i];
        if (!tuned->decided || tuned->reverted || tuned->proven || !runs_in(tuner, model, i, run) ||
            !can_go_back(tuner, i))
            continue;
        tuned->reverted = true;
        given += is_changed(tuner, i);
    }
    return given;
}

static const struct run {
    int run;
    const char *name;
} runs[] = {{CI_TUNE_DECODE, "decoding"}, {CI_TUNE_PROMPT, "a prompt"}};

/* list[0, count) together make the model slower. One half of them goes, or the other; else all of them. */
static enum clinfer_status give_back(struct ci_tuner *tuner, int model, const int *list, int count,
                                     struct ci_outcome *outcome) {
    bool found = false;
    enum clinfer_status status = CLINFER_OK;
    int half = count / 2;
    if (half > 0) status = blame(tuner, model, list, half, outcome, &found);
    if (status == CLINFER_OK && !found && half > 0 && !ci_tuner_stopped(tuner))
        status = blame(tuner, model, list + half, count - half, outcome, &found);
    if (status != CLINFER_OK || found) return status;
    revert(tuner, list, count, true);
    struct ci_outcome trial = {0};
    status = run_with_winners(tuner, model, &trial);
    if (status != CLINFER_OK) return status;
    /* What fails without them too is not their fault. */
    bool innocent = trial.failed && outcome->failed;
    if (innocent) revert(tuner, list, count, false);
    if (trial.ran || innocent) {
        *outcome = trial;
        return CLINFER_OK;
    }
    /* It was not seen: all goes on as before. */
    for (int r = 0; r < 2; r++) give_back_run(tuner, model, runs[r].run);
    outcome->decode.ratio = outcome->prefill.ratio = 1;
    outcome->failed = outcome->decode.surely_faster = outcome->prefill.surely_faster = false;
    return CLINFER_OK;
}

/* What did not become faster for sure goes on as before; and all of it, unless what is left is seen to be no slower. */
static enum clinfer_status give_back_idle(struct ci_tuner *tuner, int model, struct ci_outcome *outcome) {
    const char *name = tuner->problems->models[model].name;
    struct ci_timed *timed[] = {&outcome->decode, &outcome->prefill};
    int given = 0, kept = 0;
    for (int r = 0; r < 2; r++) {
        kept += timed[r]->surely_faster;
        if (timed[r]->surely_faster) continue;
        int count = give_back_run(tuner, model, runs[r].run);
        timed[r]->ratio = 1;
        given += count;
        if (count > 0)
            ci_tuner_say(tuner, "%s: %d winners did not make %s faster for sure in the whole model, and are given back",
                         name, count, runs[r].name);
    }
    if (given == 0 || kept == 0) return CLINFER_OK;
    struct ci_outcome mixed = {0};
    enum clinfer_status status = run_with_winners(tuner, model, &mixed);
    if (status != CLINFER_OK) return status;
    if (mixed.ran && !got_slower(&mixed) && fmax(mixed.decode.ratio, mixed.prefill.ratio) < 1 + 2 * (slower - 1))
        return CLINFER_OK;
    for (int r = 0; r < 2; r++) {
        given = give_back_run(tuner, model, runs[r].run);
        timed[r]->ratio = 1;
        if (given > 0)
            ci_tuner_say(tuner, "%s: so are the %d of %s, which alone %s", name, given, runs[r].name,
                         mixed.ran ? "make it slower" : "were not seen to help");
    }
    return CLINFER_OK;
}

/* Winners that were given back leave what was there. */
static bool kept(const struct ci_timed *timed) { return timed->ratio < 1 || timed->ratio > 1; }

static void record(struct ci_tuner *tuner, int model, const struct ci_outcome *outcome) {
    struct ci_tune_result *result = tuner->result;
    const struct ci_tune_model *known = &tuner->problems->models[model];
    struct ci_profile_model *record = &result->models[model];
    snprintf(record->name, sizeof record->name, "%s", known->name);
    record->fingerprint = known->fingerprint;
    if (!outcome || !outcome->ran) return; /* zeros: not measured */
    record->decode_before = 1 / outcome->decode.before;
    record->decode_after = 1 / (outcome->decode.before * outcome->decode.ratio);
    record->prefill_before = 1 / outcome->prefill.before;
    record->prefill_after = 1 / (outcome->prefill.before * outcome->prefill.ratio);
    const struct ci_timed *timed[] = {&outcome->decode, &outcome->prefill};
    for (int r = 0; r < 2; r++)
        result->gains[model][r] = (struct ci_tune_gain){.ratio = 1 / timed[r]->ratio,
                                                        .low = kept(timed[r]) ? 1 / timed[r]->high : 1,
                                                        .high = kept(timed[r]) ? 1 / timed[r]->low : 1,
                                                        .worst = -1};
}

/* It looks faster, or slower, but by chance that may be. */
static bool is_unsure(const struct ci_timed *timed) {
    return timed->rounds < CI_TUNE_MODEL_ROUNDS && !timed->surely_faster &&
           (timed->ratio < too_little || timed->surely_slower);
}

/* The kind of activations that a run takes where the other is clearly slower; -1: it may take either. */
static int kind_of(const struct ci_tuner *tuner, int model, int run) {
    const double clear = 1.2;
    double f32 = ci_tuner_f32_time(tuner, model, run);
    return f32 > clear ? CI_TUNE_Q8 : f32 > 0 && f32 * clear < 1 ? CI_TUNE_F32 : -1;
}

/* Of a run's time what a winner saves, by its own trials; one that changes nothing of it saves nothing. */
static double saving(const struct ci_tuner *tuner, int model, int problem, int run, int kind) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    double most = 0, calls = 0;
    for (int i = 0; i < tuner->problems->use_count; i++) {
        const struct ci_tune_use *use = &tuner->problems->uses[i];
        if (use->model == model && use->run == run && use->problem == problem && use->kind == kind) calls = use->calls;
    }
    for (int i = 0; i < tuned->entry_count && calls > 0; i++) {
        double before = seconds_before(tuner, problem, &tuned->entries[i]);
        if (!(before > 0)) return 1;
        most = fmax(most, before - tuned->entries[i].seconds);
    }
    return calls * most / ci_problems_run(tuner->problems, tuner->seconds, model, run, NULL, NULL);
}

/* Whether there are winners that the whole model could show. Those that save less than it can tell from chance are
 * given back at once: each is one more program to build. */
static bool runs_otherwise(const struct ci_tuner *tuner, int model) {
    const double visible = 0.01;
    bool changed = false;
    for (int r = 0; r < 2 * CI_TUNE_KINDS; r++) {
        double saved = 0;
        int run = runs[r / CI_TUNE_KINDS].run, kind = r % CI_TUNE_KINDS, taken = kind_of(tuner, model, run);
        for (int i = 0; i < tuner->problems->count && (taken < 0 || taken == kind); i++)
            if (is_changed(tuner, i)) saved += saving(tuner, model, i, run, kind);
        changed = changed || saved >= visible;
    }
    return changed;
}

static enum clinfer_status confirm_model(struct ci_tuner *tuner, int model) {
    const char *name = tuner->problems->models[model].name;
    /* Where nothing has changed it runs to be measured, and nothing is to be proven. */
    bool changed = runs_otherwise(tuner, model);
    for (int r = 0; r < 2 && !changed; r++) give_back_run(tuner, model, runs[r].run);
    struct ci_outcome outcome = {.brief = !changed, .first = true};
    enum clinfer_status status = run_with_winners(tuner, model, &outcome);
    outcome.first = false;
    if (status == CLINFER_OK && outcome.ran && changed && (is_unsure(&outcome.decode) || is_unsure(&outcome.prefill)))
        status = run_with_winners(tuner, model, &outcome);
    if (status != CLINFER_OK) return status;
    if (!changed) outcome.decode.surely_faster = outcome.prefill.surely_faster = false; /* chance, once in a hundred */
    int *list = got_slower(&outcome) ? calloc((size_t)tuner->problems->count, sizeof *list) : NULL;
    int count = list ? suspects(tuner, model, &outcome, list) : 0;
    if (count > 0 && outcome.failed)
        ci_tuner_say(tuner, "%s fails as a whole (%s): winners are given back", name, outcome.reason);
    else if (count > 0)
        ci_tuner_say(tuner,
                     "%s got slower as a whole (decode takes %.0f%%, a prompt %.0f%% of the time before): winners are "
                     "given back",
                     name, 100 * outcome.decode.ratio, 100 * outcome.prefill.ratio);
    if (count > 0) status = give_back(tuner, model, list, count, &outcome);
    free(list);
    if (status == CLINFER_OK && outcome.ran) status = give_back_idle(tuner, model, &outcome);
    /* What was seen to be good elsewhere is better than what was not seen in the model at all. */
    bool unseen = !outcome.ran && !outcome.failed && tuner->origin != CI_PROFILE_NONE;
    for (int r = 0; r < 2 && unseen && status == CLINFER_OK; r++) give_back_run(tuner, model, runs[r].run);
    if (!outcome.ran)
        ci_tuner_say(tuner, "%s was not run as a whole: %s%s", name, outcome.reason,
                     unseen ? "; it goes on as before, a longer --budget finds out more" : "");
    const struct ci_timed *timed[] = {&outcome.decode, &outcome.prefill};
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < tuner->problems->count && timed[r]->surely_faster && timed[r]->ratio < 1; i++)
            tuner->tuned[i].proven = tuner->tuned[i].proven || runs_in(tuner, model, i, runs[r].run);
    record(tuner, model, &outcome);
    return status;
}

enum clinfer_status ci_tuner_confirm(struct ci_tuner *tuner) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < tuner->problems->model_count && status == CLINFER_OK; i++) {
        record(tuner, i, NULL);
        if (tuner->problems->models[i].path && !ci_tuner_stopped(tuner)) status = confirm_model(tuner, i);
    }
    for (int i = 0; i < tuner->problems->count; i++)
        tuner->result->given_back += tuner->tuned[i].reverted && is_changed(tuner, i);
    return status;
}
