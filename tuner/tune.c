#define _GNU_SOURCE
#include "tuner/tune.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "ops/clblast.h"
#include "ops/signature.h"
#include "tuner/tuner_private.h"

/* Of the budget what the whole model may take to confirm kernels, what it may take to find settings (and all that is
 * left), and what measuring the device may. */
static const double model_share = 0.2, settings_share = 0.1, measure_share = 0.1;

/* On a device so much more for each GB of the largest model, at most for one: two engines pack its weights, build its
 * programs, and prove its launches as one, before anything is measured. */
static const double share_of_gb = 0.15;

/* So many a common model of which there is no file is worth: with less time there are fewer of them. */
static const double common_seconds = 7;

bool ci_tuner_stopped(const struct ci_tuner *tuner) {
    const struct ci_tune_listener *listener = &tuner->options->listener;
    return listener->stopped && listener->stopped(listener->user);
}

void ci_tuner_say(const struct ci_tuner *tuner, const char *format, ...) {
    const struct ci_tune_listener *listener = &tuner->options->listener;
    char text[512];
    if (!listener->say) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    listener->say(listener->user, text);
}

void ci_tuner_progress(const struct ci_tuner *tuner, const char *doing, int problem,
                       const struct ci_tuner_candidate *candidate) {
    const struct ci_tune_listener *listener = &tuner->options->listener;
    const struct ci_tune_result *result = tuner->result;
    struct ci_tune_progress progress = {.doing = doing,
                                        .elapsed = ci_now() - tuner->start,
                                        .budget = tuner->options->budget,
                                        .candidate = candidate,
                                        .tried = result->tried,
                                        .refused = result->refused,
                                        .crashed = result->crashed};
    if (!listener->progress) return;
    if (problem >= 0) {
        const struct ci_search *search = &tuner->tuned[problem].search;
        int standard = ci_search_overall_default(search);
        progress.problem = &tuner->problems->items[problem];
        progress.standard = standard >= 0 ? search->points[standard].seconds : 0;
        progress.best = progress.standard;
        for (int i = 0; i < search->count; i++)
            if (isfinite(search->points[i].seconds) &&
                (progress.best == 0 || search->points[i].seconds < progress.best))
                progress.best = search->points[i].seconds;
    }
    listener->progress(listener->user, &progress);
}

/* ---- what is to be done ---- */

static enum clinfer_status add_problems(struct ci_tuner *tuner) {
    const struct ci_tune_options *options = tuner->options;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < options->model_count && status == CLINFER_OK; i++) {
        status = ci_problems_add_file(tuner->problems, options->caps, options->models[i]);
        if (status == CLINFER_OK || status == CLINFER_OUT_OF_MEMORY) continue;
        /* One of several does no harm. */
        if (options->model_count == 1) return status;
        ci_tuner_say(tuner, "left out: %s", ci_status_message());
        status = CLINFER_OK;
    }
    if (status == CLINFER_OK && tuner->problems->model_count == 0)
        status =
            ci_problems_add_standard(tuner->problems, options->caps, (int)fmin(options->budget / common_seconds, 1e3));
    return status;
}

/* Copies what the old profile has of a problem; *stale: something of it is no longer what was measured, or stood there
 * unmeasured, as what other devices have, because a tune found nothing better. */
static void take_old_entries(struct ci_tuner *tuner, int problem, bool *stale) {
    struct ci_tuned *tuned = &tuner->tuned[problem];
    *stale = false;
    for (int i = 0; i < tuner->old.entry_count && tuner->origin == CI_PROFILE_EXACT; i++) {
        const struct ci_profile_entry *entry = &tuner->old.entries[i];
        struct ci_tuner_candidate candidate;
        if (memcmp(&entry->signature, &tuner->problems->items[problem].signature, sizeof entry->signature)) continue;
        bool unfused = strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0;
        if (!unfused && (!ci_tuner_candidate_of(tuner, problem, entry, &candidate) ||
                         ci_tuner_quarantined(tuner, problem, &candidate, true)))
            *stale = true;
        else if (ci_profile_measured_here(entry) && tuned->entry_count < CI_TUNE_LAYOUTS)
            tuned->entries[tuned->entry_count++] = *entry;
    }
}

/* What a tune of this device said of the model; NULL: nothing. */
static const struct ci_profile_model *old_model(const struct ci_tuner *tuner, int model) {
    for (int i = 0; i < tuner->old.model_count && tuner->origin == CI_PROFILE_EXACT; i++)
        if (tuner->old.models[i].fingerprint == tuner->problems->models[model].fingerprint)
            return &tuner->old.models[i];
    return NULL;
}

static bool was_tuned(const struct ci_tuner *tuner, int model) {
    return strcmp(tuner->old.clinfer, CLINFER_VERSION) == 0 && old_model(tuner, model);
}

static bool is_tuned_now(const struct ci_tuner *tuner, uint64_t fingerprint) {
    for (int i = 0; i < tuner->problems->model_count; i++)
        if (tuner->problems->models[i].fingerprint == fingerprint) return true;
    return false;
}

/* Places and settings were measured with kernels that are no longer the same. Which models of earlier tunes have the
 * problem too is not known: once this tune has renewed it nothing else would tell them. */
static void unsettle(struct ci_tuner *tuner, int problem) {
    const struct ci_problems *problems = tuner->problems;
    for (int i = 0; i < problems->use_count; i++) {
        int model = problems->uses[i].model;
        if (problems->uses[i].problem != problem) continue;
        tuner->settled[model] = !problems->models[model].path;
        tuner->outdated[model] = old_model(tuner, model) != NULL;
    }
    for (int i = 0; i < tuner->old.model_count; i++)
        if (!is_tuned_now(tuner, tuner->old.models[i].fingerprint)) tuner->old.models[i].outdated = true;
}

/* What a tune of this length has measured, or left because its time was over, is not looked at again. */
static void choose_work(struct ci_tuner *tuner) {
    const struct ci_problems *problems = tuner->problems;
    bool longer = tuner->options->again || tuner->options->budget > tuner->old.tune_seconds;
    for (int i = 0; i < problems->model_count; i++) {
        const struct ci_profile_model *old = old_model(tuner, i);
        tuner->outdated[i] = old && old->outdated;
        tuner->settled[i] = !problems->models[i].path || (!longer && was_tuned(tuner, i) && !tuner->outdated[i]);
    }
    for (int i = 0; i < problems->use_count; i++)
        if (longer || !was_tuned(tuner, problems->uses[i].model)) tuner->tuned[problems->uses[i].problem].wanted = true;
    for (int i = problems->count - 1; i >= 0; i--) {
        const struct ci_tune_problem *item = &problems->items[i];
        if (!tuner->tuned[i].wanted || item->first < 0) continue;
        tuner->tuned[item->first].wanted = tuner->tuned[item->second].wanted = true;
    }
    for (int i = 0; i < problems->count; i++) {
        struct ci_tuned *tuned = &tuner->tuned[i];
        bool stale;
        ci_search_init(&tuned->search, tuner->options->caps, &problems->items[i]);
        take_old_entries(tuner, i, &stale);
        if (stale) unsettle(tuner, i);
        tuned->fresh = tuned->entry_count > 0 && !stale && !longer;
        tuned->wanted = (tuned->wanted || stale) && !tuned->fresh && ci_search_possible(&tuned->search);
        for (int k = 0; k < tuned->entry_count; k++)
            if (k == 0 || tuned->entries[k].seconds < tuner->seconds[i]) tuner->seconds[i] = tuned->entries[k].seconds;
        tuned->timed = tuned->entry_count > 0;
    }
}

/* ---- before and after ---- */

static enum clinfer_status measure_device(struct ci_tuner *tuner) {
    const uint64_t most = 512 << 20, least = 64 << 20;
    struct ci_trial trial = {0};
    uint64_t bytes = least;
    for (int i = 0; i < tuner->problems->model_count; i++)
        if (tuner->problems->models[i].weight_bytes > bytes) bytes = tuner->problems->models[i].weight_bytes;
    if (bytes > most) bytes = most;
    ci_tuner_progress(tuner, "measuring", -1, NULL);
    double deadline = fmax(5, measure_share * tuner->options->budget);
    enum clinfer_status status = ci_worker_measure(tuner->worker, bytes, deadline, &tuner->measured, &trial);
    if (status == CLINFER_OK && trial.outcome != CI_TRIAL_PASSED) {
        ci_tuner_say(tuner, "bandwidth and crossing costs were not measured: %s", trial.reason);
        tuner->measured = tuner->old.measured;
    }
    return status;
}

static bool anything_wanted(const struct ci_tuner *tuner) {
    for (int i = 0; i < tuner->problems->model_count; i++)
        if (!tuner->settled[i]) return true;
    for (int i = 0; i < tuner->problems->count; i++)
        if (tuner->tuned[i].wanted) return true;
    return false;
}

static bool anything_decided(const struct ci_tuner *tuner) {
    for (int i = 0; i < tuner->problems->count; i++)
        if (tuner->tuned[i].decided) return true;
    return false;
}

static double share_of_models(const struct ci_tuner *tuner) {
    double bytes = 0;
    for (int i = 0; i < tuner->problems->model_count; i++)
        if (tuner->problems->models[i].path) bytes = fmax(bytes, (double)tuner->problems->models[i].weight_bytes);
    return model_share + (tuner->options->caps->device ? share_of_gb * fmin(1e-9 * bytes, 1) : 0);
}

static enum clinfer_status work(struct ci_tuner *tuner) {
    enum clinfer_status status = ci_tuner_start_worker(tuner, &tuner->clblast, &tuner->worker);
    if (status == CLINFER_OK) status = measure_device(tuner);
    if (status != CLINFER_OK) return status;
    ci_tuner_reweigh(tuner);
    bool has_file = false;
    for (int i = 0; i < tuner->problems->model_count; i++)
        has_file = has_file || tuner->problems->models[i].path != NULL;
    tuner->end = tuner->start + tuner->options->budget;
    tuner->search_end = tuner->end;
    if (has_file) {
        tuner->search_end -= (share_of_models(tuner) + settings_share) * tuner->options->budget;
        tuner->end -= settings_share * tuner->options->budget;
    }
    if (tuner->options->caps->device) tuner->ahead = ci_ahead_create();
    status = ci_tuner_search(tuner);
    ci_ahead_destroy(tuner->ahead);
    tuner->ahead = NULL;
    tuner->result->interrupted = ci_tuner_stopped(tuner);
    if (status == CLINFER_OK) status = ci_tuner_confirm(tuner);
    tuner->end = tuner->start + tuner->options->budget;
    if (status == CLINFER_OK) status = ci_tuner_settle(tuner);
    tuner->result->interrupted = tuner->result->interrupted || ci_tuner_stopped(tuner);
    return status;
}

/* What earlier tunes gained and what this one gained together, as "before" of its speed now: what they measured was
 * another hour's machine. Without kernels that have changed since, which gain nothing any more. */
static double before_all(double old_before, double old_after, double before, double after, bool outdated) {
    bool gained = old_before > 0 && old_after > 0 && before > 0 && after > 0 && !outdated;
    return gained ? before * old_before / old_after : before;
}

/* What each model's record says about the share that was covered, and the record into the profile. */
static enum clinfer_status record_models(struct ci_tuner *tuner, struct ci_profile *profile) {
    struct ci_tune_result *result = tuner->result;
    bool *known = calloc((size_t)tuner->problems->count + 1, sizeof *known);
    if (!known) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < tuner->problems->count; i++) known[i] = tuner->tuned[i].entry_count > 0;
    for (int i = 0; i < result->model_count; i++) {
        struct ci_profile_model *model = &result->models[i];
        double decode, prefill;
        ci_problems_run(tuner->problems, tuner->seconds, i, CI_TUNE_DECODE, known, &decode);
        ci_problems_run(tuner->problems, tuner->seconds, i, CI_TUNE_PROMPT, known, &prefill);
        model->covered = 0.5 * (decode + prefill);
        int at = 0;
        while (at < profile->model_count && profile->models[at].fingerprint != model->fingerprint) at++;
        if (at < profile->model_count) {
            const struct ci_profile_model *old = &profile->models[at];
            struct ci_profile_model merged = *model;
            bool outdated = tuner->outdated[i];
            merged.outdated = outdated && (!tuner->settled[i] || !tuner->problems->models[i].path);
            merged.decode_before =
                before_all(old->decode_before, old->decode_after, model->decode_before, model->decode_after, outdated);
            merged.prefill_before = before_all(old->prefill_before, old->prefill_after, model->prefill_before,
                                               model->prefill_after, outdated);
            if (model->decode_after <= 0) {
                merged.decode_before = old->decode_before;
                merged.decode_after = old->decode_after;
            }
            if (model->prefill_after <= 0) {
                merged.prefill_before = old->prefill_before;
                merged.prefill_after = old->prefill_after;
            }
            profile->models[at] = merged;
        } else if (!result->interrupted) {
            struct ci_profile_model *models =
                realloc(profile->models, (size_t)(profile->model_count + 1) * sizeof *models);
            if (!models) break;
            profile->models = models;
            models[profile->model_count++] = *model;
        }
    }
    free(known);
    return CLINFER_OK;
}

/* A profile that is full loses what was measured longest ago: new entries stand behind old ones. */
static void make_room(struct ci_profile *profile) {
    int entries = profile->entry_count - CI_PROFILE_ENTRIES, models = profile->model_count - CI_PROFILE_MODELS;
    if (entries > 0) {
        profile->entry_count -= entries;
        memmove(profile->entries, profile->entries + entries, (size_t)profile->entry_count * sizeof *profile->entries);
    }
    if (models > 0) {
        profile->model_count -= models;
        memmove(profile->models, profile->models + models, (size_t)profile->model_count * sizeof *profile->models);
    }
}

static enum clinfer_status write_profile(struct ci_tuner *tuner) {
    struct ci_tune_result *result = tuner->result;
    struct ci_profile *profile = &result->profile;
    enum clinfer_status status = ci_tuner_profile(tuner, profile);
    if (status == CLINFER_OK) status = record_models(tuner, profile);
    double elapsed = ci_now() - tuner->start;
    double spent = result->interrupted ? elapsed : tuner->options->budget;
    profile->tune_seconds = fmax(profile->tune_seconds, spent);
    make_room(profile);
    if (status == CLINFER_OK) status = ci_profile_write(result->path, profile);
    return status;
}

/* ---- the table ---- */

static double share_of(const struct ci_tuner *tuner, int problem, int run) {
    const struct ci_problems *problems = tuner->problems;
    bool *only = calloc((size_t)problems->count + 1, sizeof *only);
    double share = 0;
    if (!only) return 0;
    only[problem] = true;
    for (int i = 0; i < problems->model_count && share == 0; i++)
        ci_problems_run(problems, tuner->seconds, i, run, only, &share);
    free(only);
    return share;
}

/* One that was never timed here has no seconds, and is shown where there is no other. */
static const struct ci_profile_entry *fastest_entry(const struct ci_profile *profile,
                                                    const struct ci_profile_signature *signature) {
    const struct ci_profile_entry *found = NULL;
    for (int i = 0; i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        if (memcmp(&entry->signature, signature, sizeof *signature) != 0) continue;
        bool here = ci_profile_measured_here(entry), better = !found || here > ci_profile_measured_here(found);
        if (better || (here == ci_profile_measured_here(found) && entry->seconds < found->seconds)) found = entry;
    }
    return found;
}

/* What goes on as before has no times in the profile, so that the planner weighs nothing otherwise, but here. */
static bool was_seen(const struct ci_tuner *tuner, int problem, const char *layout, struct ci_profile_entry *seen) {
    return (ci_tuner_old_entry(tuner, problem, *layout ? ci_layout_from_name(layout) : NULL, seen) ||
            ci_tuner_default_entry(tuner, problem, seen)) &&
           strcmp(seen->layout, layout) == 0;
}

static enum clinfer_status fill_lines(struct ci_tuner *tuner) {
    struct ci_tune_result *result = tuner->result;
    result->lines = calloc((size_t)tuner->problems->count + 1, sizeof *result->lines);
    if (!result->lines) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the table");
    ci_tuner_reweigh(tuner);
    for (int i = 0; i < result->model_count; i++) ci_tuner_bound(tuner, i);
    for (int i = 0; i < tuner->problems->count; i++) {
        const struct ci_tuned *tuned = &tuner->tuned[i];
        result->waiting += !tuned->decided && !tuned->timed && ci_search_possible(&tuned->search);
        const struct ci_profile_entry *entry = fastest_entry(&result->profile, &tuner->problems->items[i].signature);
        if (!entry) {
            result->left++;
            continue;
        }
        struct ci_profile_entry seen;
        if (!ci_profile_measured_here(entry) && was_seen(tuner, i, entry->layout, &seen)) entry = &seen;
        struct ci_tune_line line = {.problem = i,
                                    .entry = *entry,
                                    .decode_share = share_of(tuner, i, CI_TUNE_DECODE),
                                    .prefill_share = share_of(tuner, i, CI_TUNE_PROMPT),
                                    .kept = !tuned->decided};
        result->kept += line.kept;
        result->searched += !line.kept;
        int at = result->line_count++;
        for (; at > 0 && tuner->weights[result->lines[at - 1].problem] < tuner->weights[i]; at--)
            result->lines[at] = result->lines[at - 1];
        result->lines[at] = line;
    }
    return CLINFER_OK;
}

/* Nothing had to be done: what was known is the result. */
static enum clinfer_status keep_all(struct ci_tuner *tuner) {
    struct ci_tune_result *result = tuner->result;
    for (int i = 0; i < result->model_count; i++)
        for (int k = 0; k < tuner->old.model_count; k++)
            if (tuner->old.models[k].fingerprint == tuner->problems->models[i].fingerprint)
                result->models[i] = tuner->old.models[k];
    result->profile = tuner->old;
    if (tuner->origin != CI_PROFILE_EXACT) result->profile.tune_seconds = 0; /* of another machine's tune */
    tuner->old = (struct ci_profile){0};
    return CLINFER_OK;
}

/* ---- the whole ---- */

/* Says who is in the way before it waits: he may be at it for as long as this one would. What fails at once is no
 * matter of waiting. */
static enum clinfer_status take_lock(struct ci_tuner *tuner, struct ci_profile_lock *lock) {
    const double moment = 0.5;
    double start = ci_now(), end = start + fmax(120, 2 * tuner->options->budget);
    enum clinfer_status status = ci_profile_lock(&tuner->key, moment, lock);
    if (status == CLINFER_OK || ci_now() - start < moment) return status;
    ci_tuner_say(tuner, "%s; waiting", ci_status_message());
    while (status == CLINFER_IO && ci_now() < end && !ci_tuner_stopped(tuner))
        status = ci_profile_lock(&tuner->key, moment, lock);
    return status;
}

static enum clinfer_status prepare(struct ci_tuner *tuner) {
    struct ci_tune_result *result = tuner->result;
    result->path = ci_profile_path(&tuner->key);
    if (!result->path) return ci_file_no_xdg("DATA", "profiles");
    result->recovered = ci_trial_recover();
    enum clinfer_status status = ci_quarantine_read(&tuner->quarantine);
    if (status == CLINFER_OK) status = ci_profile_lookup(&tuner->key, &tuner->old, &tuner->origin, &tuner->old_path);
    if (status == CLINFER_OK) status = add_problems(tuner);
    if (status != CLINFER_OK) return status;
    result->before = tuner->origin == CI_PROFILE_NONE      ? "the order of the table"
                     : tuner->origin == CI_PROFILE_SHIPPED ? "the shipped profile"
                                                           : "the old profile";
    tuner->measured = tuner->old.measured;
    if (tuner->origin == CI_PROFILE_EXACT && tuner->options->caps->device &&
        ci_clblast_check(tuner->options->caps->device, &tuner->old.clblast) == CLINFER_OK)
        tuner->clblast = tuner->old.clblast;
    size_t count = (size_t)tuner->problems->count + 1;
    tuner->tuned = calloc(count, sizeof *tuner->tuned);
    tuner->seconds = calloc(count, sizeof *tuner->seconds);
    tuner->weights = calloc(count, sizeof *tuner->weights);
    result->models = calloc((size_t)tuner->problems->model_count + 1, sizeof *result->models);
    tuner->settled = calloc((size_t)tuner->problems->model_count + 1, sizeof *tuner->settled);
    result->gains = calloc((size_t)tuner->problems->model_count + 1, sizeof *result->gains);
    tuner->outdated = calloc((size_t)tuner->problems->model_count + 1, sizeof *tuner->outdated);
    if (!tuner->outdated || !result->gains || !tuner->tuned || !tuner->seconds || !tuner->weights || !result->models ||
        !tuner->settled)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of what to tune");
    result->model_count = tuner->problems->model_count;
    for (int i = 0; i < result->model_count; i++) {
        snprintf(result->models[i].name, sizeof result->models[i].name, "%s", tuner->problems->models[i].name);
        result->models[i].fingerprint = tuner->problems->models[i].fingerprint;
        result->models[i].bytes = (double)tuner->problems->models[i].weight_bytes;
        const struct ci_profile_model *old = old_model(tuner, i);
        if (old) result->models[i].settings = old->settings;
        if (old) result->models[i].steps = old->steps;
        if (old) result->models[i].cpu_speed = old->cpu_speed;
    }
    choose_work(tuner);
    return CLINFER_OK;
}

static void clean_up(struct ci_tuner *tuner) {
    ci_worker_destroy(tuner->worker);
    ci_ahead_destroy(tuner->ahead);
    for (int i = 0; i < tuner->problems->count && tuner->tuned; i++) ci_search_free(&tuner->tuned[i].search);
    free(tuner->tuned);
    free(tuner->seconds);
    free(tuner->weights);
    free(tuner->settled);
    free(tuner->outdated);
    ci_quarantine_free(&tuner->quarantine);
    ci_profile_free(&tuner->old);
    free(tuner->old_path);
}

enum clinfer_status ci_tune(const struct ci_tune_options *options, struct ci_tune_result *result) {
    assert(options->rounds >= 1 && options->rounds <= CI_TUNE_ROUNDS);
    *result = (struct ci_tune_result){.before = ""};
    struct ci_tuner tuner = {.options = options,
                             .result = result,
                             .problems = &result->problems,
                             .random_state = options->seed,
                             .start = ci_now()};
    struct ci_profile_lock lock = {-1};
    ci_signature_key(options->caps, &tuner.key);
    tuner.device = ci_quarantine_device(&tuner.key);
    enum clinfer_status status = take_lock(&tuner, &lock);
    tuner.start = ci_now();
    tuner.search_end = tuner.end = tuner.start + options->budget;
    if (status == CLINFER_OK) status = prepare(&tuner);
    if (status == CLINFER_OK && anything_wanted(&tuner)) {
        status = work(&tuner);
        result->changed = status == CLINFER_OK && (anything_decided(&tuner) || result->setting_count > 0);
    }
    if (status == CLINFER_OK) status = result->changed ? write_profile(&tuner) : keep_all(&tuner);
    if (status == CLINFER_OK) status = fill_lines(&tuner);
    result->seconds = ci_now() - tuner.start;
    clean_up(&tuner);
    ci_profile_unlock(&lock);
    return status;
}

void ci_tune_free(struct ci_tune_result *result) {
    ci_problems_free(&result->problems);
    ci_profile_free(&result->profile);
    free(result->lines);
    free(result->models);
    free(result->gains);
    free(result->settings);
    free(result->path);
    *result = (struct ci_tune_result){0};
}
