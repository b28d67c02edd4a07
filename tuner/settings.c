/* settings.c: what kernels cannot: how many threads, how activations are rounded, how many rows a prompt's steps have,
 * ... Each value runs against what is set so far, whole models in turn, and stays where it is surely faster: in a
 * prompt of 512 tokens and an answer of 256, which is what the planner weighs layouts by, so that what decoding gains
 * no prompt loses again. What would change answers for the worse is reported and never set. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/threads.h"
#include "tuner/tuner_private.h"

enum { MOST_VALUES = 8, LEAST_ROUNDS = 3, MOST_ROUNDS = 20, TOLD_ROUNDS = 6, PLACE_ROUNDS = 5, MOST_KERNELS = 4 };
enum { CONTEXT = 128, DEEP_CONTEXT = 1024, SHORT_PROMPT = 128, PROMPT_TOKENS = 512, ANSWER_TOKENS = 256 };

/* What is no faster than so much is not worth another way of running. Seconds that a value takes at most, and of the
 * budget, and that have to be left for one. */
static const double worth = 0.98, most_seconds = 12, value_share = 0.1, least_seconds = 1.5;

/* A value that in the first three rounds takes so many times as long needs no more: it is not worth keeping; or, of
 * what is told in any case, it is far behind. What kernels alone say takes so much longer needs no round at all. */
static const double hopeless = 0.995, far_behind = 1.1, foreseen = 1.12;

/* Of values that go down: the next is looked at where one is faster by so much. */
static const double promising = 1.01;

typedef char word[CI_SETTING_WORD_BYTES];

/* ---- the settings ---- */

/* One for each core where a core has several processors, else all but one; then half as many again and again. (With all
 * but one most cores would still be shared: where that is slower one for each may yet be faster.) */
static int thread_values(const struct ci_tuner *tuner, word *values) {
    int all = ci_threads_default(), cores = ci_threads_cores(), count = 0;
    int threads = cores < all ? cores : all - 1;
    /* Who said how many wants so many; and where others are at it fewer threads are faster, today. */
    if (tuner->options->caps->device || tuner->options->threads != all || tuner->options->busy) return 0;
    while (threads >= 1 && count < MOST_VALUES) {
        snprintf(values[count++], sizeof *values, "%d", threads);
        threads = threads > all / 2 ? all / 2 : threads / 2;
    }
    return count;
}

static int activation_values(const struct ci_tuner *tuner, word *values) {
    (void)tuner;
    strcpy(values[0], "q16");
    strcpy(values[1], "f32");
    return 2;
}

/* Less true than what `auto` takes where it can afford more. */
static int rough_values(const struct ci_tuner *tuner, word *values) {
    (void)tuner;
    strcpy(values[0], "q8");
    return 1;
}

static int batch_values(const struct ci_tuner *tuner, word *values) {
    (void)tuner;
    strcpy(values[0], "256");
    strcpy(values[1], "128");
    strcpy(values[2], "64");
    return 3;
}

/* Where the system gives large pages to who asks for them. */
static int page_values(const struct ci_tuner *tuner, word *values) {
    char text[64] = "";
    const struct ci_device_caps *device = tuner->options->caps->device;
    if (device && !device->shares_host_memory) return 0;
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    bool there = file && fgets(text, sizeof text, file) && strstr(text, "[madvise]");
    if (file) fclose(file);
    if (there) strcpy(values[0], "small");
    return there;
}

/* Where the model is to run without --device. */
static int place_values(const struct ci_tuner *tuner, word *values) {
    if (!tuner->options->caps->device) return 0;
    strcpy(values[0], "cpu");
    return 1;
}

static int cache_values(const struct ci_tuner *tuner, word *values) {
    (void)tuner;
    strcpy(values[0], "q8_0");
    strcpy(values[1], "q4_0");
    return 2;
}

static void set_threads(struct ci_profile_settings *settings, const char *value) {
    settings->threads = (int)strtol(value, NULL, 10);
}

static void set_batch(struct ci_profile_settings *settings, const char *value) {
    settings->batch = (int)strtol(value, NULL, 10);
}

static void set_activations(struct ci_profile_settings *settings, const char *value) {
    snprintf(settings->activations, sizeof settings->activations, "%s", value);
}

static void set_pages(struct ci_profile_settings *settings, const char *value) {
    snprintf(settings->pages, sizeof settings->pages, "%s", value);
}

enum { DECODE = 1, PROMPT = 2 };

/* In the order in which they are measured, what gains most where it gains first; those that are only told come behind
 * the steps of several rows. A setting may be kept where answers stay as true as they are. */
static const struct setting {
    const char *name;
    int runs;       /* what it concerns */
    bool goes_down; /* one value after the other: what comes after one that gains nothing gains nothing either */
    int (*values)(const struct ci_tuner *tuner, word *values);
    void (*set)(struct ci_profile_settings *settings, const char *value); /* of those that a profile says */
    enum { A_SETTING, A_CACHE_TYPE, A_PLACE } kind;
    bool reported; /* and never kept */
} settings[] = {
    {"place", DECODE | PROMPT, false, place_values, NULL, A_PLACE, false},
    {"threads", DECODE | PROMPT, true, thread_values, set_threads, A_SETTING, false},
    {"batch", PROMPT, true, batch_values, set_batch, A_SETTING, false},
    {"pages", DECODE | PROMPT, false, page_values, set_pages, A_SETTING, false},
    {"activations", DECODE | PROMPT, false, activation_values, set_activations, A_SETTING, false},
    {"activations", DECODE | PROMPT, false, rough_values, set_activations, A_SETTING, true},
    {"KV cache", DECODE, false, cache_values, NULL, A_CACHE_TYPE, true},
};

enum { SETTINGS = sizeof settings / sizeof *settings };

/* What a run does by itself. */
static const char by_itself[] = "default";

static struct ci_profile_settings with_value(const struct ci_profile_settings *now, const struct setting *setting,
                                             const char *value) {
    struct ci_profile_settings with = *now;
    setting->set(&with, strcmp(value, by_itself) == 0 ? "" : value);
    return with;
}

static bool changes(const struct ci_profile_settings *now, const struct setting *setting, const char *value) {
    const struct ci_profile_settings with = with_value(now, setting, value);
    return memcmp(&with, now, sizeof with) != 0;
}

/* ---- profiles to run with ---- */

/* The profile as it would be, with these settings for the model. */
static enum clinfer_status write_profile(const struct ci_tuner *tuner, int model, const char *path,
                                         const struct ci_profile_settings *with) {
    struct ci_profile profile;
    struct ci_profile_model record = tuner->result->models[model];
    record.settings = *with;
    enum clinfer_status status = ci_tuner_profile(tuner, &profile);
    if (status != CLINFER_OK) return status;
    struct ci_profile_model *models = realloc(profile.models, ((size_t)profile.model_count + 1) * sizeof *models);
    if (!models) {
        ci_profile_free(&profile);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the profile");
    }
    profile.models = models;
    int at = 0;
    while (at < profile.model_count && models[at].fingerprint != record.fingerprint) at++;
    models[at] = record;
    if (at == profile.model_count) profile.model_count++;
    status = ci_profile_write(path, &profile);
    ci_profile_free(&profile);
    return status;
}

/* ---- one value ---- */

struct settling {
    struct ci_tuner *tuner;
    int model;
    double end;
    struct ci_profile_settings now;
    char *paths[2];
};

/* What is judged: both runs as one prompt and one answer, or the one that the setting concerns. */
static void judge(const struct setting *setting, const struct ci_outcome *outcome, struct ci_timed *all) {
    const struct ci_timed *decode = &outcome->decode, *prefill = &outcome->prefill;
    *all = setting->runs == DECODE ? *decode : *prefill;
    if (setting->runs != (DECODE | PROMPT)) return;
    all->rounds = decode->rounds < prefill->rounds ? decode->rounds : prefill->rounds;
    for (int i = 0; i < 2 * all->rounds; i++)
        all->pairs[i] = ANSWER_TOKENS * decode->pairs[i] + PROMPT_TOKENS * prefill->pairs[i];
    ci_tuner_sum_up(all);
}

static bool is_sure(const struct ci_timed *all) {
    return ci_pairs_are_surely_less(all->pairs, all->rounds, CI_TUNE_CHANCE);
}

static void take_gain(const struct ci_timed *timed, struct ci_tune_gain *gain) {
    if (timed->rounds == 0) return;
    *gain =
        (struct ci_tune_gain){.ratio = 1 / timed->ratio, .low = 1 / timed->high, .high = 1 / timed->low, .worst = -1};
}

/* Seconds without which a value would be begun in vain: two engines, their first prompts, and a few rounds. */
static double least_time(const struct settling *settling, const struct setting *setting) {
    const struct ci_profile_model *record = &settling->tuner->result->models[settling->model];
    double prompts = setting->runs & PROMPT && record->prefill_after > 0
                         ? (setting->runs == PROMPT ? PROMPT_TOKENS : SHORT_PROMPT) / record->prefill_after
                         : 0;
    return fmax(least_seconds, 0.5 * least_seconds + 2 * (LEAST_ROUNDS + 1) * prompts);
}

/* A few rounds, and more for as long as it may yet be seen to be faster. */
static enum clinfer_status run_value(const struct settling *settling, const struct setting *setting, const char *value,
                                     struct ci_outcome *outcome, struct ci_timed *all) {
    char name[64];
    struct ci_tuner *tuner = settling->tuner;
    snprintf(name, sizeof name, "%s %s", setting->name, value);
    const char *const others[] = {settling->paths[1], settling->paths[0], "auto"}; /* by kind */
    struct ci_sides sides = {.tunings = {settling->paths[0], others[setting->kind]},
                             .caches = {NULL, setting->kind == A_CACHE_TYPE ? value : NULL},
                             .devices = {NULL, setting->kind == A_PLACE ? value : NULL},
                             .setting = name,
                             .context = setting->kind == A_CACHE_TYPE ? DEEP_CONTEXT : CONTEXT,
                             .prompt = setting->runs == PROMPT ? PROMPT_TOKENS : SHORT_PROMPT,
                             .give_up = setting->reported ? far_behind : hopeless,
                             .rounds = setting->reported          ? TOLD_ROUNDS
                                       : setting->kind == A_PLACE ? PLACE_ROUNDS
                                                                  : MOST_ROUNDS,
                             .no_decode = !(setting->runs & DECODE),
                             .no_prefill = !(setting->runs & PROMPT)};
    enum clinfer_status status = CLINFER_OK;
    if (setting->kind == A_SETTING) {
        const struct ci_profile_settings with = with_value(&settling->now, setting, value);
        status = write_profile(tuner, settling->model, settling->paths[1], &with);
    }
    const double most =
        fmin(most_seconds, fmax(value_share * tuner->options->budget, 1.2 * least_time(settling, setting)));
    sides.seconds = fmin(settling->end - ci_now(), most);
    if (status == CLINFER_OK && !ci_tuner_stopped(tuner))
        status = ci_tuner_run_model(tuner, settling->model, &sides, outcome);
    judge(setting, outcome, all);
    return status;
}

static enum clinfer_status keep(struct settling *settling, const struct setting *setting, const char *value,
                                const struct ci_tune_setting *result) {
    struct ci_profile_model *record = &settling->tuner->result->models[settling->model];
    settling->now = with_value(&settling->now, setting, value);
    if (setting->runs & DECODE) record->decode_after *= result->decode.ratio;
    if (setting->runs & PROMPT) record->prefill_after *= result->prefill.ratio;
    if (setting->runs == (DECODE | PROMPT)) record->cpu_speed /= result->all.ratio;
    return write_profile(settling->tuner, settling->model, settling->paths[0], &settling->now);
}

/* Which of the two comes first is decided by who opens the model (engine/devices.h). */
static void take_place(const struct settling *settling, const struct ci_tune_setting *result) {
    struct ci_profile_model *record = &settling->tuner->result->models[settling->model];
    if (!(result->all.ratio > 0)) return;
    record->cpu_speed = result->all.ratio;
    ci_tuner_say(settling->tuner,
                 "%s: the CPU backend decodes %.2f and reads prompts %.2f times as fast as this device: %s without "
                 "--device",
                 record->name, result->decode.ratio, result->prefill.ratio, ci_profile_place_text(record));
}

static enum clinfer_status try_value(struct settling *settling, const struct setting *setting, const char *value,
                                     struct ci_tune_setting *result) {
    struct ci_timed all = {0};
    struct ci_outcome *outcome = calloc(1, sizeof *outcome);
    if (!outcome) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for samples of a model");
    enum clinfer_status status = run_value(settling, setting, value, outcome, &all);
    result->context = outcome->context;
    if (!outcome->ran || all.rounds < LEAST_ROUNDS) {
        snprintf(result->reason, sizeof result->reason, "%.120s",
                 outcome->ran ? "there was time for too few rounds" : outcome->reason);
    } else {
        take_gain(&outcome->decode, &result->decode);
        take_gain(&outcome->prefill, &result->prefill);
        take_gain(&all, &result->all);
        bool better = all.ratio <= worth && (setting->kind == A_PLACE || is_sure(&all));
        result->what = setting->reported ? CI_TUNE_REPORTED : better ? CI_TUNE_KEPT : CI_TUNE_NO_BETTER;
    }
    if (setting->kind == A_PLACE)
        take_place(settling, result);
    else if (result->what == CI_TUNE_KEPT)
        status = keep(settling, setting, value, result);
    free(outcome);
    return status;
}

/* ---- a model ---- */

static struct ci_tune_setting *add_result(struct ci_tuner *tuner, int model, const struct setting *setting,
                                          const char *value) {
    struct ci_tune_result *result = tuner->result;
    struct ci_tune_setting *list = realloc(result->settings, ((size_t)result->setting_count + 1) * sizeof *list);
    if (!list) return NULL;
    result->settings = list;
    struct ci_tune_setting *added = &list[result->setting_count++];
    *added = (struct ci_tune_setting){
        .model = model, .name = setting->name, .what = CI_TUNE_NOT_MEASURED, .reason = "no time was left: --budget"};
    snprintf(added->value, sizeof added->value, "%s", value);
    return added;
}

/* Whether runs read codes of that type by themselves and nothing else: no floats either, nor may kernels that were
 * timed make them. */
static bool reads_only(const struct settling *settling, const struct ci_type *codes) {
    const struct ci_tuner *tuner = settling->tuner;
    const struct ci_type *other = codes == &ci_type_q8 ? &ci_type_q16 : &ci_type_q8;
    double decode = ci_tuner_f32_time(tuner, settling->model, CI_TUNE_DECODE);
    double prompt = ci_tuner_f32_time(tuner, settling->model, CI_TUNE_PROMPT);
    bool floats_are_faster = (decode > 0 && decode < 1) || (prompt > 0 && prompt < 1);
    return !tuner->problems->models[settling->model].reads_floats && !floats_are_faster &&
           ci_tuner_never_reads(tuner, settling->model, other);
}

/* A run with other activations builds all its programs anew, for seconds on a driver: a few kernels say before whether
 * it is worth that. */
static enum clinfer_status time_floats(const struct settling *settling, const struct setting *setting,
                                       const char *value) {
    static const int runs[] = {CI_TUNE_DECODE, CI_TUNE_PROMPT};
    enum clinfer_status status = CLINFER_OK;
    if (setting->set != set_activations || strcmp(value, "f32") != 0) return CLINFER_OK;
    for (int i = 0; i < 2 * CI_TUNE_KINDS && status == CLINFER_OK; i++)
        status = ci_tuner_time_kind(settling->tuner, settling->model, runs[i / CI_TUNE_KINDS], i % CI_TUNE_KINDS,
                                    MOST_KERNELS);
    return status;
}

/* Of the time of a prompt and its answer, as measured. */
static double decode_share(const struct settling *settling) {
    const struct ci_profile_model *record = &settling->tuner->result->models[settling->model];
    double decode = ANSWER_TOKENS / record->decode_after, prompt = PROMPT_TOKENS / record->prefill_after;
    return decode / (decode + prompt);
}

/* Runs have no other codes by themselves; kernels in f32 were timed. */
static bool is_foreseen(const struct settling *settling, const struct setting *setting, const char *value,
                        struct ci_tune_setting *result) {
    if (setting->kind != A_SETTING || setting->set != set_activations) return false;
    const bool is_q8 = strcmp(value, "q8") == 0, is_q16 = strcmp(value, "q16") == 0;
    if (is_q8 || is_q16) {
        if (*settling->now.activations || !reads_only(settling, is_q8 ? &ci_type_q8 : &ci_type_q16)) return false;
        result->what = CI_TUNE_NO_BETTER;
        snprintf(result->reason, sizeof result->reason, "changes nothing here");
        return true;
    }
    double decode = ci_tuner_f32_time(settling->tuner, settling->model, CI_TUNE_DECODE);
    double prompt = ci_tuner_f32_time(settling->tuner, settling->model, CI_TUNE_PROMPT);
    if (!(decode > 0) || !(prompt > 0) ||
        decode * decode_share(settling) + prompt * (1 - decode_share(settling)) < foreseen)
        return false;
    result->what = CI_TUNE_NO_BETTER;
    snprintf(result->reason, sizeof result->reason, "its kernels take %.1f and %.1f times as long", decode, prompt);
    return true;
}

/* Whether there is no time for another value. */
static bool is_short(const struct settling *settling, const struct setting *setting) {
    return settling->end - ci_now() < least_time(settling, setting) || ci_tuner_stopped(settling->tuner);
}

static enum clinfer_status settle_one(struct settling *settling, const struct setting *setting) {
    word values[MOST_VALUES + 1];
    int count = setting->values(settling->tuner, values);
    enum clinfer_status status = CLINFER_OK;
    /* What an earlier tune has set may have become worse than nothing. */
    if (count > 0 && setting->kind == A_SETTING && !setting->reported && changes(&settling->now, setting, by_itself))
        strcpy(values[count++], by_itself);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        if (setting->kind == A_SETTING && !changes(&settling->now, setting, values[i])) continue;
        struct ci_tune_setting *result = add_result(settling->tuner, settling->model, setting, values[i]);
        if (!result) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of settings");
        if (is_foreseen(settling, setting, values[i], result) || is_short(settling, setting)) continue;
        status = time_floats(settling, setting, values[i]);
        if (status != CLINFER_OK || is_foreseen(settling, setting, values[i], result) || is_short(settling, setting))
            continue;
        status = try_value(settling, setting, values[i], result);
        bool no_better = result->all.ratio <= promising; /* 0: there was no time for it, nor is there for the next */
        while (no_better && setting->goes_down && i + 1 < count && strcmp(values[i + 1], by_itself) != 0) i++;
    }
    return status;
}

/* What guessing tokens costs: an engine begins with that to choose how many, and goes on with what it sees. */
static enum clinfer_status time_steps(const struct settling *settling) {
    struct ci_tuner *tuner = settling->tuner;
    double left = settling->end - ci_now();
    struct ci_trial trial = {0};
    struct ci_profile_steps steps;
    if (left < least_seconds || ci_tuner_stopped(tuner)) return CLINFER_OK;
    ci_tuner_progress(tuner, "steps of several rows", -1, NULL);
    enum clinfer_status status = ci_worker_steps(tuner->worker, tuner->problems->models[settling->model].path,
                                                 settling->paths[0], CONTEXT, left, &steps, &trial);
    if (status == CLINFER_OK && trial.outcome == CI_TRIAL_PASSED) tuner->result->models[settling->model].steps = steps;
    return status;
}

static enum clinfer_status settle(struct ci_tuner *tuner, int model, double end) {
    struct settling settling = {
        .tuner = tuner, .model = model, .end = end, .now = tuner->result->models[model].settings};
    enum clinfer_status status = CLINFER_OK;
    bool made = asprintf(&settling.paths[0], "%s" CI_PROFILE_TRIAL, tuner->result->path) >= 0 &&
                asprintf(&settling.paths[1], "%s" CI_PROFILE_OTHER_TRIAL, tuner->result->path) >= 0;
    if (!made) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the profile");
    status = write_profile(tuner, model, settling.paths[0], &settling.now);
    for (int told = 0; told < 2; told++) {
        for (int i = 0; i < SETTINGS && status == CLINFER_OK; i++)
            if (settings[i].reported == told) status = settle_one(&settling, &settings[i]);
        if (!told && status == CLINFER_OK) status = time_steps(&settling);
    }
    for (int i = 0; i < 2; i++) {
        unlink(settling.paths[i]);
        free(settling.paths[i]);
    }
    tuner->result->models[model].settings = settling.now;
    return status;
}

enum clinfer_status ci_tuner_settle(struct ci_tuner *tuner) {
    enum clinfer_status status = CLINFER_OK;
    int left = 0;
    tuner->search_end = tuner->end;
    for (int i = 0; i < tuner->problems->model_count; i++) left += !tuner->settled[i];
    for (int i = 0; i < tuner->problems->model_count && status == CLINFER_OK; i++) {
        double now = ci_now();
        if (tuner->settled[i]) continue;
        /* A model that could not be run as a whole, or has not the time for it, keeps what it had. */
        if (tuner->result->models[i].decode_after > 0 && !ci_tuner_stopped(tuner))
            status = settle(tuner, i, now + (tuner->end - now) / left);
        tuner->settled[i] = tuner->result->models[i].decode_after > 0 && !ci_tuner_stopped(tuner);
        left--;
    }
    return status;
}
