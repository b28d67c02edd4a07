/* tune_report.c: what a tune has found, as a table for people and as JSON; and each trial for --log. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/tune.h"
#include "ops/signature.h"
#include "profile/profile_fields.h"

/* Lines that have less of decoding and of a prompt are left out of the table, unless all are asked for. */
static const double least_share = 0.005;

static void append(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(char *text, const char *format, ...) {
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, CI_TUNE_TEXT - used, format, arguments);
    va_end(arguments);
}

const char *ci_tune_problem_text(const struct ci_profile_signature *signature, char text[CI_TUNE_TEXT]) {
    char types[CI_PROFILE_TEXT_BYTES];
    snprintf(text, CI_TUNE_TEXT, "%s %s %" PRId64 "x%" PRId64 " -> %" PRId64, signature->op,
             ci_format_types(signature->types, types, sizeof types), signature->rows, signature->k, signature->n);
    return text;
}

static const char *chosen_text(const char *variant, const struct ci_profile_tunable *tunables, int count,
                               char text[CI_TUNE_TEXT]) {
    snprintf(text, CI_TUNE_TEXT, "%s", variant);
    for (int i = 0; i < count; i++) append(text, " %s=%d", tunables[i].name, tunables[i].value);
    return text;
}

const char *ci_tune_candidate_text(const struct ci_tuner_candidate *candidate, char text[CI_TUNE_TEXT]) {
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    int count = ci_signature_tunables(candidate->variant, candidate->tunables, tunables);
    chosen_text(candidate->variant->name, tunables, count, text);
    if (candidate->layout) append(text, " (%s)", candidate->layout->name);
    return text;
}

/* ---- the table ---- */

static void print_line(const struct ci_tune_line *line, const struct ci_profile_device *measured) {
    const struct ci_profile_entry *entry = &line->entry;
    char types[CI_PROFILE_TEXT_BYTES], shape[64], chosen[CI_TUNE_TEXT],
        before[CI_AMOUNT_BYTES] = "-", after[CI_AMOUNT_BYTES] = "-", gain[32] = "", speed[48] = "-", trials[48];
    struct ci_profile_rate rate = ci_profile_rate(entry, measured);
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 " -> %" PRId64, entry->signature.rows, entry->signature.k,
             entry->signature.n);
    chosen_text(entry->variant, entry->tunables, entry->tunable_count, chosen);
    if (entry->default_seconds > 0 && ci_profile_measured_here(entry)) {
        ci_format_seconds(entry->default_seconds, before);
        snprintf(gain, sizeof gain, "%.2fx", entry->default_seconds / entry->seconds);
    }
    if (ci_profile_measured_here(entry)) {
        ci_format_seconds(entry->seconds, after);
        snprintf(speed, sizeof speed, "%.3g %s", 1e-9 * rate.per_second, rate.by_bytes ? "GB/s" : "GFLOP/s");
    }
    snprintf(trials, sizeof trials, "%d/%d/%d", entry->tried, entry->refused, entry->crashed);
    ci_printf("%-18s %-20s %-19s %-6s %8s -> %8s %6s %13s %4.0f%% %8s  %s%s\n", entry->signature.op,
              ci_format_types(entry->signature.types, types, sizeof types), shape, entry->layout, before, after, gain,
              speed, 100 * rate.share, trials, chosen, line->kept ? " (kept)" : "");
}

/* From there on the rest is too little to look for. */
static const double enough = 0.8;

/* What was gained, how surely, and what bounds the rest. */
static void print_gain(const struct ci_tune_result *result, const char *what, double before, double after,
                       const struct ci_tune_gain *gain) {
    ci_printf("  %s: %.1f -> %.1f t/s", what, before, after);
    /* Settings have their own lines. */
    if (gain->ratio > 0 && fabs(after / before / gain->ratio - 1) > 1e-3)
        ci_printf(", %.2fx with the settings below; kernels", after / before);
    if (!(gain->ratio > 0))
        ci_printf(", %.2fx, as an earlier tune found", after / before);
    else if (gain->ratio > 1 || gain->ratio < 1)
        ci_printf(", %.2fx (19 times in 20 between %.2fx and %.2fx)", gain->ratio, gain->low, gain->high);
    else
        ci_printf(", nothing to gain was found");
    /* Above 1: caches gave what the memory was asked for, or the machine was busier when it was measured. */
    if (gain->share > 0)
        ci_printf("; that is %.0f%% of what the %s gives", 100 * fmin(gain->share, 1),
                  gain->by_memory ? "memory" : "arithmetic");
    if (gain->share >= 1) {
        ci_printf(": no kernel can help");
    } else if (gain->share >= enough) {
        ci_printf(": no kernel can gain more than %.2fx", 1 / gain->share);
    } else if (gain->share > 0 && gain->worst >= 0) {
        char problem[CI_TUNE_TEXT];
        ci_printf("; most is lost in %s (%.0f%% of the time, at %.0f%% of its limit)",
                  ci_tune_problem_text(&result->problems.items[gain->worst].signature, problem),
                  100 * fmin(gain->worst_loss, 1), 100 * gain->worst_share);
    }
    ci_printf("\n");
}

static void print_ratio(const char *what, const struct ci_tune_gain *gain) {
    if (gain->ratio > 0) ci_printf(", %s %.2fx (%.2fx to %.2fx)", what, gain->ratio, gain->low, gain->high);
}

static bool is_place(const struct ci_tune_setting *setting) { return strcmp(setting->name, "place") == 0; }

static void print_kept(const struct ci_tune_setting *setting) {
    ci_printf("  kept: %s %s", setting->name, setting->value);
    print_ratio("decode", &setting->decode);
    print_ratio("prompts", &setting->prefill);
    ci_printf(", 19 times in 20\n");
}

/* Where the model is to run. */
static void print_place(const struct ci_tune_setting *setting) {
    ci_printf("  on the CPU backend");
    print_ratio("decode", &setting->decode);
    print_ratio("prompts", &setting->prefill);
    ci_printf(" as fast as on this device, 19 times in 20\n");
}

/* Answers become less true. */
static void print_reported(const struct ci_tune_setting *setting) {
    ci_printf("  %s %s, which changes answers, so that nobody but you sets it", setting->name, setting->value);
    print_ratio("decode", &setting->decode);
    print_ratio("prompts", &setting->prefill);
    ci_printf(" behind %d tokens\n", setting->context);
}

/* A reason that several have stands behind the last of them. */
static bool is_news(const struct ci_tune_result *result, int index, int model, int which) {
    const char *reason = result->settings[index].reason;
    for (int i = index + 1; i < result->setting_count; i++) {
        const struct ci_tune_setting *next = &result->settings[i];
        if (next->model != model || (int)next->what != which || is_place(next)) continue;
        return next->all.ratio > 0 || strcmp(next->reason, reason) != 0;
    }
    return true;
}

static void print_others(const struct ci_tune_result *result, int model, const char *what, int which) {
    int count = 0;
    for (int i = 0; i < result->setting_count; i++) {
        const struct ci_tune_setting *setting = &result->settings[i];
        if (setting->model != model || (int)setting->what != which || is_place(setting)) continue;
        ci_printf("%s%s %s", count++ ? ", " : what, setting->name, setting->value);
        if (setting->all.ratio > 0)
            ci_printf(" %.2fx", setting->all.ratio);
        else if (is_news(result, i, model, which))
            ci_printf(" (%s)", setting->reason);
    }
    if (count) ci_printf("\n");
}

/* From how many right guesses on some number of them pays, as an engine chooses it. */
static double least_chance(const struct ci_profile_steps *steps) {
    const double gain = 1.03;
    for (int percent = 1; percent < 100; percent++) {
        double right = 1, tokens = 1;
        for (int guesses = 1, step = 1; step < CI_PROFILE_STEPS; guesses++) {
            right *= 0.01 * percent;
            tokens += right;
            if (guesses + 1 != 1 << step) continue;
            if (tokens * steps->seconds[0] > gain * steps->seconds[step]) return 0.01 * percent;
            step++;
        }
    }
    return 1;
}

static void print_steps(const struct ci_profile_steps *steps) {
    const double *seconds = steps->seconds;
    if (!(seconds[0] > 0) || !(seconds[CI_PROFILE_STEPS - 1] > 0)) return;
    ci_printf(
        "  guessed tokens (--lookup, -md): steps of 2, 4, 8, 16 rows take %.2f, %.2f, %.2f, %.2f times as long as of "
        "one",
        seconds[1] / seconds[0], seconds[2] / seconds[0], seconds[3] / seconds[0], seconds[4] / seconds[0]);
    double chance = least_chance(steps);
    if (chance < 1)
        ci_printf(": they pay where more than %.0f%% are right\n", 100 * chance);
    else
        ci_printf(": they never pay\n");
}

/* What kernels cannot change. */
static void print_settings(const struct ci_tune_result *result, int model) {
    for (int i = 0; i < result->setting_count; i++) {
        const struct ci_tune_setting *setting = &result->settings[i];
        if (setting->model != model) continue;
        if (is_place(setting) && setting->all.ratio > 0) print_place(setting);
        if (setting->what == CI_TUNE_KEPT && !is_place(setting)) print_kept(setting);
        if (setting->what == CI_TUNE_REPORTED) print_reported(setting);
    }
    print_others(result, model, "  not faster, and left as they are: ", CI_TUNE_NO_BETTER);
    print_others(result, model, "  not measured: ", CI_TUNE_NOT_MEASURED);
    print_steps(&result->models[model].steps);
    const struct ci_profile_settings *now = &result->models[model].settings;
    if (!ci_profile_settings_say(now)) return;
    ci_printf("  runs from now on, unless you say otherwise, with");
    if (now->threads) ci_printf(" -t %d", now->threads);
    if (*now->activations) ci_printf(" --activations %s", now->activations);
    if (now->batch) ci_printf(" -b %d", now->batch);
    if (*now->pages) ci_printf(" %s pages", now->pages);
    ci_printf("\n");
}

static void print_models(const struct ci_tune_device *device) {
    const struct ci_tune_result *result = &device->result;
    for (int i = 0; i < result->model_count; i++) {
        const struct ci_profile_model *model = &result->models[i];
        ci_printf("%s: %.0f%% of its time is in tuned ops\n", model->name, 100 * model->covered);
        if (model->decode_after > 0 && model->decode_before > 0)
            print_gain(result, "decode", model->decode_before, model->decode_after, &result->gains[i][0]);
        if (model->prefill_after > 0 && model->prefill_before > 0)
            print_gain(result, "prompts", model->prefill_before, model->prefill_after, &result->gains[i][1]);
        print_settings(result, i);
    }
}

/* ---- the last line ---- */

static void print_end_of(const struct ci_tune_result *result, const char *what, double before, double after,
                         const struct ci_tune_gain *gain) {
    char problem[CI_TUNE_TEXT];
    bool here = gain->ratio > 0, sure = here && (gain->ratio > 1 || gain->ratio < 1),
         settings = here && fabs(after / before / gain->ratio - 1) > 1e-3;
    ci_printf("%s %.2fx", what, after / before);
    if (!here) ci_printf(" (as an earlier tune found)");
    if (sure && settings) ci_printf(" (with the settings above; kernels %.2fx,", gain->ratio);
    if (sure) ci_printf("%s19 times in 20 %.2fx to %.2fx)", settings ? " " : " (", gain->low, gain->high);
    if (here && !sure) ci_printf(" (%s)", settings ? "by the settings above" : "nothing was surely faster");
    if (!(gain->share > 0)) return;
    ci_printf(", now at %.0f%% of what the %s gives", 100 * fmin(gain->share, 1),
              gain->by_memory ? "memory" : "arithmetic");
    if (gain->share >= enough)
        ci_printf(", so that no kernel can help");
    else if (gain->worst >= 0)
        ci_printf(", bound by %s", ci_tune_problem_text(&result->problems.items[gain->worst].signature, problem));
}

/* What was gained, at which confidence, and what bounds the rest; and where the model runs from now on. */
static void print_ends(const struct ci_tune_result *result) {
    for (int i = 0; i < result->model_count; i++) {
        const struct ci_profile_model *model = &result->models[i];
        if (!(model->decode_after > 0) || !(model->decode_before > 0) || !(model->prefill_before > 0)) {
            if (result->problems.models[i].path && !result->interrupted)
                ci_printf(
                    "%s: it was not run as a whole, so that what was gained is not known: a longer --budget, or a "
                    "machine with less to do, finds out\n",
                    model->name);
            continue;
        }
        ci_printf("%s: ", model->name);
        print_end_of(result, "decode", model->decode_before, model->decode_after, &result->gains[i][0]);
        ci_printf("; ");
        print_end_of(result, "prompts", model->prefill_before, model->prefill_after, &result->gains[i][1]);
        if (model->cpu_speed > 0)
            ci_printf("; the CPU backend is %.2f times as fast: %s without --device", model->cpu_speed,
                      ci_profile_place_text(model));
        ci_printf("\n");
    }
}

static void print_device(const struct ci_profile_device *measured) {
    char launch[CI_AMOUNT_BYTES], wait[CI_AMOUNT_BYTES], crossing[CI_AMOUNT_BYTES];
    if (!(measured->read_bytes_per_second > 0)) return; /* it failed, as was said */
    ci_printf("measured: reads %.1f GB/s, %.0f GFLOP/s in f32, %.0f GOP/s in 8 bits, launch %s, wait %s",
              1e-9 * measured->read_bytes_per_second, 1e-9 * measured->operations_per_second,
              1e-9 * measured->dot8_operations_per_second, ci_format_seconds(measured->launch_seconds, launch),
              ci_format_seconds(measured->wait_seconds, wait));
    if (measured->crossing_seconds > 0)
        ci_printf(", to the CPU and back %s and %.1f GB/s", ci_format_seconds(measured->crossing_seconds, crossing),
                  1e-9 * measured->crossing_bytes_per_second);
    ci_printf("\n");
}

/* Models that an earlier tune has been through are not begun again by themselves, unless kernels have changed since. */
static bool goes_on(const struct ci_tune_result *result) {
    int known = 0;
    for (int i = 0; i < result->model_count; i++)
        for (int k = 0; k < result->profile.model_count; k++)
            known += result->profile.models[k].fingerprint == result->models[i].fingerprint &&
                     !result->profile.models[k].outdated;
    return known < result->model_count;
}

static void print_stopped(const struct ci_tune_result *result) {
    if (goes_on(result))
        ci_printf("stopped: the next `clinfer tune` goes on from here\n");
    else
        ci_printf("stopped: what was not measured anew is as an earlier tune found it; `clinfer tune --again` measures "
                  "all anew\n");
}

void ci_tune_print(const struct ci_tune_device *device, bool all) {
    const struct ci_tune_result *result = &device->result;
    int left_out = 0;
    ci_printf("%s (%s)\n", device->name, device->platform);
    if (device->status != CLINFER_OK) {
        ci_printf("not tuned: %s\n", device->message);
        return;
    }
    if (result->line_count)
        ci_printf("%-18s %-20s %-19s %-6s %8s -> %8s %6s %13s %5s %8s  %s\n", "op", "types", "rows x k -> n", "layout",
                  "before", "after", "gain", "speed", "limit", "trials", "chosen");
    for (int i = 0; i < result->line_count; i++) {
        const struct ci_tune_line *line = &result->lines[i];
        if (all || fmax(line->decode_share, line->prefill_share) >= least_share)
            print_line(line, &result->profile.measured);
        else
            left_out++;
    }
    if (left_out) ci_printf("and %d that matter little (-v shows them)\n", left_out);
    print_device(&result->profile.measured);
    print_models(device);
    ci_printf("%d of %d problems measured in %.1f s, %d kept, %d left; candidates: %d tried, %d refused, %d crashed or "
              "hung, %d skipped",
              result->searched, result->problems.count, result->seconds, result->kept, result->left, result->tried,
              result->refused, result->crashed, result->skipped);
    if (result->given_back) ci_printf("; %d given back, the whole model was not faster with them", result->given_back);
    if (!result->changed && !result->line_count)
        ci_printf("\nnothing was measured to its end, so that all is as it was\n");
    else
        ci_printf("\n%s%s\n", result->changed ? "written to " : "nothing has changed in ", result->path);
    if (result->interrupted)
        print_stopped(result);
    else if (!result->changed && result->waiting)
        ci_printf("%d problems have not been measured here: `clinfer tune --again` measures all anew, and so does a "
                  "--budget of more than %.0f s\n",
                  result->waiting, ceil(fmax(result->profile.tune_seconds, result->seconds)));
    print_ends(result);
}

/* ---- JSON ---- */

static json_t *text_json(const char *text) { return ci_json_text(text, strlen(text)); }

static json_t *tunables_json(const struct ci_profile_tunable *tunables, int count) {
    json_t *object = json_object();
    for (int i = 0; i < count; i++) json_object_set_new(object, tunables[i].name, json_integer(tunables[i].value));
    return object;
}

static json_t *signature_json(const struct ci_profile_signature *signature) {
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "op", signature->op, "types", signature->types, "params",
                     signature->params, "rows", (json_int_t)signature->rows, "k", (json_int_t)signature->k, "n",
                     (json_int_t)signature->n);
}

static json_t *line_json(const struct ci_tune_line *line, const struct ci_profile_device *measured) {
    const struct ci_profile_entry *entry = &line->entry;
    struct ci_profile_rate rate = ci_profile_rate(entry, measured);
    json_t *object = signature_json(&entry->signature);
    json_t *more = json_pack(
        "{s:s, s:s, s:o, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:i, s:b}", "layout", entry->layout,
        "variant", entry->variant, "tunables", tunables_json(entry->tunables, entry->tunable_count), "seconds_before",
        entry->default_seconds, "seconds_after", entry->seconds, "bytes", entry->bytes, "operations", entry->operations,
        "share_of_limit", rate.share, "nmse", entry->nmse, "decode_share", line->decode_share, "prefill_share",
        line->prefill_share, "tried", entry->tried, "refused", entry->refused, "crashed", entry->crashed, "kept",
        (int)line->kept);
    json_object_update(object, more);
    json_decref(more);
    return object;
}

static json_t *gain_json(const struct ci_tune_gain *gain) {
    json_t *object = json_pack("{s:f, s:f, s:f, s:f}", "ratio", gain->ratio, "low", gain->low, "high", gain->high,
                               "share_of_limit", gain->share);
    if (gain->share > 0) json_object_set_new(object, "bound", json_string(gain->by_memory ? "memory" : "arithmetic"));
    return object;
}

static json_t *model_json(const struct ci_profile_model *model, const struct ci_tune_gain gains[2]) {
    json_t *object =
        json_pack("{s:o, s:f, s:f, s:f, s:f, s:f}", "name", text_json(model->name), "covered", model->covered,
                  "decode_before", model->decode_before, "decode_after", model->decode_after, "prefill_before",
                  model->prefill_before, "prefill_after", model->prefill_after);
    static const char *const runs[] = {"decode_gain", "prefill_gain"};
    for (int r = 0; r < 2 && gains[r].ratio > 0; r++) json_object_set_new(object, runs[r], gain_json(&gains[r]));
    if (model->cpu_speed > 0) json_object_set_new(object, "cpu_speed", json_real(model->cpu_speed));
    return object;
}

static json_t *setting_json(const struct ci_tune_setting *setting) {
    static const char *const words[] = {[CI_TUNE_KEPT] = "kept",
                                        [CI_TUNE_REPORTED] = "reported",
                                        [CI_TUNE_NO_BETTER] = "no faster",
                                        [CI_TUNE_NOT_MEASURED] = "not measured"};
    const struct {
        const char *name;
        const struct ci_tune_gain *gain;
    } gains[] = {{"decode", &setting->decode}, {"prefill", &setting->prefill}, {"both", &setting->all}};
    json_t *object = json_pack("{s:s, s:s, s:s, s:i}", "name", setting->name, "value", setting->value, "result",
                               words[setting->what], "context", setting->context);
    for (size_t i = 0; i < sizeof gains / sizeof *gains; i++)
        if (gains[i].gain->ratio > 0)
            json_object_set_new(object, gains[i].name,
                                json_pack("{s:f, s:f, s:f}", "ratio", gains[i].gain->ratio, "low", gains[i].gain->low,
                                          "high", gains[i].gain->high));
    bool measured = setting->all.ratio > 0;
    if (!measured && *setting->reason) json_object_set_new(object, "reason", text_json(setting->reason));
    return object;
}

static json_t *steps_json(const struct ci_profile_steps *steps) {
    return json_pack("[f, f, f, f, f]", steps->seconds[0], steps->seconds[1], steps->seconds[2], steps->seconds[3],
                     steps->seconds[4]);
}

static json_t *measured_json(const struct ci_profile_device *measured) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "read_bytes_per_second", measured->read_bytes_per_second,
                     "operations_per_second", measured->operations_per_second, "dot8_operations_per_second",
                     measured->dot8_operations_per_second, "launch_seconds", measured->launch_seconds, "wait_seconds",
                     measured->wait_seconds, "crossing_seconds", measured->crossing_seconds,
                     "crossing_bytes_per_second", measured->crossing_bytes_per_second);
}

json_t *ci_tune_device_json(const struct ci_tune_device *device) {
    const struct ci_tune_result *result = &device->result;
    json_t *object = json_pack("{s:i, s:o, s:o}", "index", device->index, "device", text_json(device->name), "platform",
                               text_json(device->platform));
    if (device->status != CLINFER_OK) {
        json_object_set_new(object, "error", text_json(device->message));
        return object;
    }
    json_t *lines = json_array(), *models = json_array();
    for (int i = 0; i < result->line_count; i++)
        json_array_append_new(lines, line_json(&result->lines[i], &result->profile.measured));
    for (int i = 0; i < result->model_count; i++) {
        json_t *model = model_json(&result->models[i], result->gains[i]), *settings = json_array();
        for (int k = 0; k < result->setting_count; k++)
            if (result->settings[k].model == i) json_array_append_new(settings, setting_json(&result->settings[k]));
        json_object_set_new(model, "settings", settings);
        json_object_set_new(model, "steps", steps_json(&result->models[i].steps));
        json_array_append_new(models, model);
    }
    json_t *more = json_pack(
        "{s:o, s:b, s:b, s:s, s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o}", "profile",
        text_json(result->path), "changed", (int)result->changed, "interrupted", (int)result->interrupted, "before",
        result->before, "seconds", result->seconds, "searched", result->searched, "kept", result->kept, "left",
        result->left, "waiting", result->waiting, "tried", result->tried, "refused", result->refused, "crashed",
        result->crashed, "skipped", result->skipped, "recovered", result->recovered, "given_back", result->given_back,
        "measured", measured_json(&result->profile.measured), "models", models, "ops", lines);
    json_object_update(object, more);
    json_decref(more);
    return object;
}

/* Numbers that JSON does not know are left out. */
static void set_number(json_t *object, const char *name, double value) {
    if (isfinite(value)) json_object_set_new(object, name, json_real(value));
}

static void set_outcome(json_t *object, const struct ci_trial *trial) {
    json_object_set_new(object, "outcome", json_string(ci_trial_outcome_name(trial->outcome)));
    if (*trial->reason) json_object_set_new(object, "reason", text_json(trial->reason));
    set_number(object, "build_seconds", trial->build_seconds);
    if (trial->outcome != CI_TRIAL_PASSED) return;
    set_number(object, "seconds", trial->seconds);
    set_number(object, "nmse", trial->nmse);
}

json_t *ci_tune_trial_json(const struct ci_tune_device *device, const struct ci_tune_trial *trial) {
    json_t *object =
        json_pack("{s:s, s:f, s:o}", "kind", trial->kind, "elapsed", trial->elapsed, "device", text_json(device->name));
    if (trial->problem) {
        json_t *signature = signature_json(&trial->problem->signature);
        json_object_update(object, signature);
        json_decref(signature);
    } else {
        json_object_set_new(object, "model", text_json(trial->text));
        if (trial->setting) json_object_set_new(object, "setting", text_json(trial->setting));
        json_object_set_new(object, "decode_seconds", json_pack("[f, f]", trial->decode[0], trial->decode[1]));
        json_object_set_new(object, "prefill_seconds", json_pack("[f, f]", trial->prefill[0], trial->prefill[1]));
        json_object_set_new(object, "decode_rounds", json_integer(trial->decode_rounds));
        json_object_set_new(object, "prefill_rounds", json_integer(trial->prefill_rounds));
    }
    if (trial->candidate) {
        struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
        int count = ci_signature_tunables(trial->candidate->variant, trial->candidate->tunables, tunables);
        json_object_set_new(object, "layout",
                            json_string(trial->candidate->layout ? trial->candidate->layout->name : ""));
        json_object_set_new(object, "variant", json_string(trial->candidate->variant->name));
        json_object_set_new(object, "tunables", tunables_json(tunables, count));
    }
    if (trial->clblast) {
        const struct ci_field_place place = {.file = "log"};
        json_t *parameters = json_object();
        if (trial->clblast->kernels) ci_profile_clblast_write(&place, trial->clblast, parameters);
        json_object_set_new(object, "clblast", parameters);
    }
    if (trial->trial) set_outcome(object, trial->trial);
    if (trial->problem && trial->text) json_object_set_new(object, "reason", text_json(trial->text));
    return object;
}
