/* whole.c: a model two ways, in turn, in short samples, so that what disturbs the machine is seen by both; and what
 * chance leaves of the difference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/status.h"
#include "tuner/tuner_private.h"

enum { LEAST_CONTEXT = 16, MOST_CONTEXT = 256, LEAST_PROMPT = 80, LEAST_TOKENS = 5, LEAST_ROUNDS = 5 };

/* What is slower by less is left to the question whether it is faster. */
static const double slower = CI_TUNE_SLOWER;

/* How often chance alone may say that something changed. Where neither decoding nor prompts take less than great_gain
 * of the time before it has to be surer, since little is lost without it: a run of the model looks at both, perhaps
 * twice, and one of those looks may err where nothing is gained at all. */
static const double one_in_twenty = 0.05, one_in_a_hundred = CI_TUNE_CHANCE, great_gain = 0.9;

/* Of the time that is left so much is for a run of both sides, half of it for decoding and half for prompts (more for
 * a setting, whose pairs end as soon as they say enough), which with
 * loading ends at run_end of it, whatever was expected of either side; and so much for the context of each, in which it
 * decodes. Seconds of a sample of decoding, about, unless LEAST_TOKENS take longer (bench_model.c), and of a prompt,
 * which is shortened until it fits, as long as it runs in the same plan. */
static const double run_share = 0.45, settings_share = 0.75, run_end = 0.9, context_share = 0.05, decode_seconds = 0.06,
                    most_seconds = 0.12;

/* ---- what the pairs say ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The values between which the median lies with 95%, by their order alone. With fewer than six there are none so sure:
 * the least and the greatest. `values` are sorted. */
static void bounds_of_median(double *values, int count, double *low, double *high) {
    if (count == 0) return;
    int outside = 0;
    while (outside + 1 < count / 2 && ci_pairs_are_sure(count - outside - 1, count, 0.5 * one_in_twenty)) outside++;
    qsort(values, (size_t)count, sizeof *values, by_value);
    *low = values[outside];
    *high = values[count - 1 - outside];
}

void ci_tuner_sum_up(struct ci_timed *timed) {
    double ratios[CI_TUNE_MODEL_ROUNDS];
    int slow = 0;
    timed->faster = 0;
    if (timed->rounds == 0) return;
    for (int i = 0; i < timed->rounds; i++) {
        ratios[i] = timed->pairs[2 * i + 1] / timed->pairs[2 * i];
        timed->faster += ratios[i] < 1;
        slow += ratios[i] > 1;
    }
    timed->before = ci_tuner_median(timed->pairs, timed->rounds, 2);
    timed->ratio = ci_tuner_median(ratios, timed->rounds, 1);
    bounds_of_median(ratios, timed->rounds, &timed->low, &timed->high);
    timed->surely_slower = ci_pairs_are_sure(slow, timed->rounds, one_in_twenty) && timed->ratio > slower;
}

static void judge(struct ci_outcome *outcome) {
    struct ci_timed *timed[] = {&outcome->decode, &outcome->prefill};
    bool great = false;
    for (int r = 0; r < 2; r++) {
        ci_tuner_sum_up(timed[r]);
        great = great ||
                (timed[r]->ratio < great_gain && ci_pairs_are_sure(timed[r]->faster, timed[r]->rounds, one_in_twenty));
    }
    for (int r = 0; r < 2; r++)
        timed[r]->surely_faster =
            ci_pairs_are_sure(timed[r]->faster, timed[r]->rounds, great ? one_in_twenty : one_in_a_hundred);
}

static int rounds_for(double seconds, double sample, int had) {
    double rounds = seconds / (2 * fmax(sample, 1e-4));
    int most = CI_TUNE_MODEL_ROUNDS - had;
    return rounds > most ? most : rounds > LEAST_ROUNDS ? (int)rounds : LEAST_ROUNDS < most ? LEAST_ROUNDS : most;
}

static void tell(const struct ci_tuner *tuner, const struct ci_tune_model *model, const struct ci_sides *sides,
                 const struct ci_outcome *outcome) {
    const struct ci_tune_listener *listener = &tuner->options->listener;
    if (!listener->trial) return;
    struct ci_tune_trial said = {
        .kind = "model", .elapsed = ci_now() - tuner->start, .text = model->name, .setting = sides->setting};
    for (int i = 0; i < 2; i++) {
        said.decode[i] = outcome->decode.before * (i ? outcome->decode.ratio : 1);
        said.prefill[i] = outcome->prefill.before * (i ? outcome->prefill.ratio : 1);
    }
    said.decode_rounds = outcome->decode.rounds;
    said.prefill_rounds = outcome->prefill.rounds;
    listener->trial(listener->user, &said);
}

/* ---- running ---- */

/* How long contexts and prompts are, and how many samples there may be. */
static struct ci_worker_model make_run(const struct ci_tuner *tuner, int model, const struct ci_sides *sides,
                                       double left, struct ci_outcome *outcome) {
    double half = 0.5 * run_share * left;
    double token = ci_problems_run(tuner->problems, tuner->seconds, model, CI_TUNE_DECODE, NULL, NULL);
    double row = ci_problems_run(tuner->problems, tuner->seconds, model, CI_TUNE_PROMPT, NULL, NULL) /
                 (double)ci_tune_rows[CI_TUNE_PROMPT];
    int prompt = row > 0 ? (int)fmin(most_seconds / row, (double)ci_tune_rows[CI_TUNE_PROMPT]) : LEAST_PROMPT;
    if (prompt < LEAST_PROMPT) prompt = LEAST_PROMPT;
    if (sides->prompt) prompt = sides->prompt;
    int most = sides->context ? sides->context : MOST_CONTEXT;
    int context = row > 0 ? (int)fmin(context_share * left / row, most) : most;
    if (context < LEAST_CONTEXT) context = LEAST_CONTEXT;
    int room = tuner->problems->models[model].context - CI_WORKER_ANSWER - 1;
    if (room > 0 && prompt > room) prompt = room;
    if (room > 0 && context > room) context = room;
    double decode = fmax(decode_seconds, LEAST_TOKENS * token);
    struct ci_worker_model run = {.model = tuner->problems->models[model].path,
                                  .tunings = {sides->tunings[0], sides->tunings[1]},
                                  .caches = {sides->caches[0], sides->caches[1]},
                                  .devices = {sides->devices[0], sides->devices[1]},
                                  .context = context,
                                  .prompt = prompt,
                                  .seconds = run_end * left,
                                  .rounds_seconds = (sides->setting ? settings_share : run_share) * left,
                                  .give_up = sides->give_up,
                                  .decode_rounds = rounds_for(half, decode, outcome->decode.rounds),
                                  .prefill_rounds = rounds_for(half, prompt * row, outcome->prefill.rounds),
                                  .decode = outcome->decode.pairs + 2 * outcome->decode.rounds,
                                  .prefill = outcome->prefill.pairs + 2 * outcome->prefill.rounds};
    if (sides->rounds && (sides->setting || run.decode_rounds > sides->rounds)) run.decode_rounds = sides->rounds;
    if (sides->rounds && (sides->setting || run.prefill_rounds > sides->rounds)) run.prefill_rounds = sides->rounds;
    if (sides->no_decode) run.decode_rounds = 0;
    if (sides->no_prefill) run.prefill_rounds = 0;
    return run;
}

enum clinfer_status ci_tuner_run_model(struct ci_tuner *tuner, int model, const struct ci_sides *sides,
                                       struct ci_outcome *outcome) {
    struct ci_trial trial = {0};
    double left = fmin(tuner->end - ci_now(), sides->seconds);
    struct ci_worker_model run = make_run(tuner, model, sides, left, outcome);
    ci_tuner_progress(tuner, sides->setting ? sides->setting : "whole model", -1, NULL);
    if (left < 1) {
        snprintf(outcome->reason, sizeof outcome->reason, "no time was left");
        return CLINFER_OK;
    }
    enum clinfer_status status = ci_worker_model(tuner->worker, &run, left, &trial);
    if (status != CLINFER_OK) return status;
    snprintf(outcome->reason, sizeof outcome->reason, "%s",
             trial.outcome == CI_TRIAL_TIMED_OUT ? "it takes longer than the time that was left" : trial.reason);
    if (trial.outcome != CI_TRIAL_PASSED) {
        outcome->failed = trial.outcome != CI_TRIAL_TIMED_OUT;
        return CLINFER_OK;
    }
    if ((outcome->decode.rounds + run.decode_rounds == 0 && !sides->no_decode) ||
        (outcome->prefill.rounds + run.prefill_rounds == 0 && !sides->no_prefill)) {
        snprintf(outcome->reason, sizeof outcome->reason, "loading it takes the time that was left");
        return CLINFER_OK;
    }
    outcome->ran = true;
    outcome->context = run.context;
    for (int i = 0; i < 2 * run.prefill_rounds; i++) run.prefill[i] /= run.prompt;
    outcome->decode.rounds += run.decode_rounds;
    outcome->prefill.rounds += run.prefill_rounds;
    judge(outcome);
    tell(tuner, &tuner->problems->models[model], sides, outcome);
    return CLINFER_OK;
}
