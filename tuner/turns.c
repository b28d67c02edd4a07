/* turns.c: what is searched, for how long, and when to stop. A minute is some hundred trials, and a model has a hundred
 * problems with dozens of candidates each, so time goes where the limits of the device say that there is something to
 * gain:
 *   what runs today is timed first, of everything that matters;
 *   problems that differ in shape alone are searched together: at the heaviest of them, and what wins there is tried at
 *   the others, where its program is built already;
 *   those with the most room get a turn of a few trials; who found nothing in his turn has to wait longer for the next.
 * Where no room is left the search ends, however much time there is. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "ops/signature.h"
#include "tuner/tuner_private.h"

/* Of the limit that its bytes and operations set, what a good kernel reaches: beyond that there is nothing to gain. */
static const double reachable = 0.9;

/* Room (of the time of decoding, or of a prompt) that is not worth a turn, of a tune that is thorough, too; that is
 * worth one of seconds. What a fruitless turn takes from the chance of the next. Weight of a problem that is looked at
 * at all, where other things are worth the time more, and whose candidates are timed once more before the search goes
 * deeper. Of a run's time what has to be saved for a winner to be tried elsewhere. */
static const double least_room = 0.005, tiny_room = 0.0005, much_room = 0.05, fruitless_chance = 0.6,
                    worth_a_look = 0.001, worth_an_idle_look = 0.004, worth_ranking = 0.01, least_saving = 0.0005;

/* Of the search: what the first look may take; what is kept for what builds slowly, for trying winners elsewhere, for
 * comparing winners, and fused ops with their parts. */
static const double look_share = 0.4, slow_share = 0.1, spread_share = 0.13, decide_share = 0.06, unfuse_share = 0.04;

/* Of the search what is kept for CLBlast when the tune is thorough, and of that what sets of parameters may take: with
 * the best of them its products are timed again. */
static const double clblast_share = 0.3, clblast_sets_share = 0.5;

/* So many turns that find nothing halve what all of them may hope for. Of turns that may hope for less than that of
 * their room the search has so much of the budget, and settings the rest. */
static const double usual_turns = 3, little_hope = 0.4, idle_share = 0.3;

enum { TURN_TRIALS = 4, PATIENCE = 1, WISHES = 16 };

void ci_tuner_reweigh(struct ci_tuner *tuner) {
    enum { BUCKETS = 4 };
    double measured[BUCKETS] = {0}, estimated[BUCKETS] = {0};
    for (int i = 0; i < tuner->problems->count; i++) tuner->tuned[i].measured = tuner->tuned[i].estimated = 0;
    for (int i = 0; i < tuner->problems->count; i++) {
        const struct ci_tune_problem *item = &tuner->problems->items[i];
        struct ci_tuned *first = &tuner->tuned[tuner->tuned[i].like];
        if (!tuner->tuned[i].timed) continue;
        first->measured += tuner->seconds[i];
        first->estimated += ci_problems_estimate(item, &tuner->measured);
        measured[ci_profile_bucket(item->signature.rows)] += tuner->seconds[i];
        estimated[ci_profile_bucket(item->signature.rows)] += ci_problems_estimate(item, &tuner->measured);
    }
    for (int i = 0; i < tuner->problems->count; i++) {
        const struct ci_tune_problem *item = &tuner->problems->items[i];
        const struct ci_tuned *first = &tuner->tuned[tuner->tuned[i].like];
        int bucket = ci_profile_bucket(item->signature.rows);
        double factor = first->estimated > 0    ? first->measured / first->estimated
                        : estimated[bucket] > 0 ? measured[bucket] / estimated[bucket]
                                                : 1;
        if (!tuner->tuned[i].timed) tuner->seconds[i] = factor * ci_problems_estimate(item, &tuner->measured);
    }
    ci_problems_weigh(tuner->problems, tuner->seconds, tuner->weights);
}

static bool over(const struct ci_tuner *tuner, double end) {
    return ci_tuner_stopped(tuner) || ci_now() >= fmin(end, tuner->search_end);
}

/* ---- trials ---- */

/* -1: none passed. */
static int fastest_point(const struct ci_search *search) {
    int best = -1;
    for (int i = 0; i < search->count; i++)
        if (isfinite(search->points[i].seconds) &&
            (best < 0 || search->points[i].seconds < search->points[best].seconds))
            best = i;
    return best;
}

static double fastest(const struct ci_search *search) {
    int best = fastest_point(search);
    return best < 0 ? INFINITY : search->points[best].seconds;
}

/* At most `most` trials; returns how many there were by *made. */
static enum clinfer_status try_some(struct ci_tuner *tuner, int problem, enum ci_search_depth depth, int most,
                                    double end, int *made) {
    struct ci_tuned *tuned = &tuner->tuned[problem];
    struct ci_tuner_candidate candidate;
    enum clinfer_status status = CLINFER_OK;
    for (*made = 0; *made < most && status == CLINFER_OK && !over(tuner, end); ++*made) {
        if (!ci_search_ask(&tuned->search, depth, &tuner->random_state, &candidate)) break;
        status = ci_tuner_try(tuner, problem, &candidate);
    }
    double seconds = fastest(&tuned->search);
    if (!isfinite(seconds)) return status;
    tuner->seconds[problem] = seconds;
    tuned->timed = true;
    return status;
}

/* ---- what is alike ---- */

static bool same_weights(const struct ci_tune_problem *a, const struct ci_tune_problem *b) {
    return a->call.in[0].type == b->call.in[0].type && a->call.in[1].type == b->call.in[1].type;
}

static bool has_weights(const struct ci_tune_problem *item) {
    return (item->problem.op->weight_inputs & ~item->problem.op->looked_up_inputs) != 0;
}

/* What is fastest for one may well be for the other: they differ in shape alone, or read the same kind of weights as
 * products that the same kernels compute. */
static bool alike(const struct ci_tuner *tuner, int a, int b) {
    const struct ci_tune_problem *first = &tuner->problems->items[a], *second = &tuner->problems->items[b];
    if (ci_profile_bucket(first->signature.rows) != ci_profile_bucket(second->signature.rows)) return false;
    if (has_weights(first) && has_weights(second)) return same_weights(first, second);
    return strcmp(first->signature.op, second->signature.op) == 0 &&
           strcmp(first->signature.types, second->signature.types) == 0;
}

static void find_alike(struct ci_tuner *tuner) {
    for (int i = 0; i < tuner->problems->count; i++) {
        tuner->tuned[i].like = i;
        for (int k = i - 1; k >= 0; k--)
            if (alike(tuner, i, k)) tuner->tuned[i].like = tuner->tuned[k].like;
    }
}

/* `won` is to be tried at this problem too; what does not fit there is forgotten. */
static enum clinfer_status seed(struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *won) {
    struct ci_tuner_candidate candidate = *won;
    candidate.variant =
        ci_variant_find(tuner->problems->items[problem].problem.op, won->variant->backend, won->variant->name);
    return candidate.variant ? ci_search_seed(&tuner->tuned[problem].search, &candidate) : CLINFER_OK;
}

/* What the present profile would run. */
static enum clinfer_status seed_from_old(struct ci_tuner *tuner, int problem) {
    enum clinfer_status status = CLINFER_OK;
    const struct ci_tune_problem *item = &tuner->problems->items[problem];
    if (tuner->origin == CI_PROFILE_NONE) return CLINFER_OK;
    for (int i = -1; (i < 0 || ci_layouts[i]) && status == CLINFER_OK; i++) {
        struct ci_tuner_candidate candidate;
        const struct ci_profile_entry *entry =
            ci_profile_find(&tuner->old, &item->signature, i < 0 ? "" : ci_layouts[i]->name);
        if (entry && ci_tuner_candidate_of(tuner, problem, entry, &candidate))
            status = ci_search_seed(&tuner->tuned[problem].search, &candidate);
    }
    return status;
}

/* ---- room ---- */

/* The share of a run's time that the problem would save at most. */
static double room(const struct ci_tuner *tuner, int problem) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    if (!tuned->wanted) return 0;
    if (!tuned->timed && !tuner->tuned[tuned->like].estimated) return tuner->weights[problem];
    double limit = ci_problems_estimate(&tuner->problems->items[problem], &tuner->measured) / reachable;
    return tuner->weights[problem] * fmax(0, 1 - limit / tuner->seconds[problem]);
}

/* Of all that are like this one, by how likely it is to be found. */
static double room_alike(const struct ci_tuner *tuner, int like) {
    double sum = 0;
    for (int i = like; i < tuner->problems->count; i++)
        if (tuner->tuned[i].like == like) sum += room(tuner, i);
    return sum * pow(fruitless_chance, tuner->tuned[like].fruitless);
}

/* How much of its room any turn may hope for, by what the turns so far have found: where the table's order is wrong
 * that shows soon, and where it is right, and limits promise what is not there, the time is for what kernels cannot. */
static double chance(const struct ci_tuner *tuner) {
    return fmin(1, usual_turns * (1 + tuner->realised) / (usual_turns + tuner->turns));
}

/* Whose turn it is, as the first of those that are alike; -1: nobody's. */
static int next_turn(const struct ci_tuner *tuner, double least) {
    int found = -1;
    double most = least / chance(tuner);
    for (int i = 0; i < tuner->problems->count; i++) {
        double here = tuner->tuned[i].like == i && !tuner->tuned[i].exhausted ? room_alike(tuner, i) : 0;
        if (here <= most) continue;
        most = here;
        found = i;
    }
    return found;
}

/* Where those that are alike are searched: the one with the most room. */
static int head_of(const struct ci_tuner *tuner, int like) {
    int head = like;
    for (int i = like; i < tuner->problems->count; i++)
        if (tuner->tuned[i].like == like && room(tuner, i) > room(tuner, head)) head = i;
    return head;
}

/* ---- turns ---- */

static bool is_to_look_at(const struct ci_tuner *tuner, int problem, double least, bool firsts) {
    const struct ci_tuned *tuned = &tuner->tuned[problem];
    return tuned->wanted && !tuned->search.count && tuner->weights[problem] >= least &&
           !(firsts && tuner->tuned[tuned->like].estimated > 0);
}

/* The heaviest that was not tried yet and weighs so much; -1: none. `firsts`: of those that are alike one is enough. */
static int heaviest(const struct ci_tuner *tuner, double least, bool firsts) {
    int found = -1;
    for (int i = 0; i < tuner->problems->count; i++)
        if (is_to_look_at(tuner, i, least, firsts) && (found < 0 || tuner->weights[i] > tuner->weights[found]))
            found = i;
    return found;
}

/* What the next looks will try, the heaviest first. */
static enum clinfer_status build_for_looks(struct ci_tuner *tuner, double least, bool firsts) {
    struct ci_wish wishes[WISHES];
    int count = 0;
    for (int i = 0; i < tuner->problems->count; i++) {
        if (!is_to_look_at(tuner, i, least, firsts)) continue;
        int at = count < WISHES ? count++ : WISHES;
        for (; at > 0 && tuner->weights[wishes[at - 1].problem] < tuner->weights[i]; at--)
            if (at < WISHES) wishes[at] = wishes[at - 1];
        if (at < WISHES) wishes[at] = (struct ci_wish){i, CI_SEARCH_SEEDS, TURN_TRIALS};
    }
    return ci_tuner_build_ahead(tuner, wishes, count);
}

/* What runs today, of everything that weighs so much. */
static enum clinfer_status look(struct ci_tuner *tuner, double least, bool firsts, double end) {
    enum clinfer_status status = CLINFER_OK;
    for (int at, made; status == CLINFER_OK && !over(tuner, end) && (at = heaviest(tuner, least, firsts)) >= 0;) {
        status = build_for_looks(tuner, least, firsts);
        if (status == CLINFER_OK) status = try_some(tuner, at, CI_SEARCH_SEEDS, INT_MAX, end, &made);
        if (status != CLINFER_OK) break;
        if (!made) tuner->tuned[at].wanted = false;
        ci_tuner_reweigh(tuner);
    }
    return status;
}

/* What was found for the other kind of activations, or for nearly as many rows, with the same type of weights, and for
 * as many rows with another type. */
static enum clinfer_status seed_from_siblings(struct ci_tuner *tuner, int head) {
    const struct ci_tune_problem *item = &tuner->problems->items[head];
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < tuner->problems->count && has_weights(item) && status == CLINFER_OK; i++) {
        const struct ci_tune_problem *other = &tuner->problems->items[i];
        int apart = abs(ci_profile_bucket(item->signature.rows) - ci_profile_bucket(other->signature.rows));
        int best = fastest_point(&tuner->tuned[i].search);
        bool near = other->call.in[1].type == item->call.in[1].type ? apart <= 1 : apart == 0;
        if (i == head || !near || !has_weights(other)) continue;
        if (best < 0 || tuner->tuned[i].search.points[best].is_default) continue;
        status = seed(tuner, head, &tuner->tuned[i].search.points[best].candidate);
    }
    return status;
}

/* Tunables depend on each other: steps in one at a time may end where only two at once lead on. */
static enum ci_search_depth depth_of(const struct ci_tuned *first) {
    return first->fruitless < PATIENCE ? CI_SEARCH_DESCENT : CI_SEARCH_RANDOM;
}

static enum clinfer_status take_turn(struct ci_tuner *tuner, int like) {
    struct ci_tuned *first = &tuner->tuned[like];
    int head = head_of(tuner, like), made;
    struct ci_tuned *tuned = &tuner->tuned[head];
    enum clinfer_status status = CLINFER_OK;
    struct ci_tuner_candidate next;
    uint64_t random_state = tuner->random_state;
    /* All variants were seen once: the best of them are timed in turn before the search goes deeper. */
    if (!tuned->ranked && tuner->weights[head] >= worth_ranking &&
        !ci_search_ask(&tuned->search, CI_SEARCH_VARIANTS, &random_state, &next)) {
        tuned->ranked = true;
        status = ci_tuner_rank(tuner, head);
    }
    enum ci_search_depth depth = depth_of(first);
    double before = fastest(&tuned->search);
    if (status == CLINFER_OK) status = seed_from_siblings(tuner, head);
    if (status == CLINFER_OK) status = try_some(tuner, head, depth, TURN_TRIALS, INFINITY, &made);
    if (status != CLINFER_OK) return status;
    double after = fastest(&tuned->search); /* INFINITY, as before, where nothing passes */
    double limit = ci_problems_estimate(&tuner->problems->items[head], &tuner->measured) / reachable;
    tuner->turns++;
    bool found = after < before && after * CI_SEARCH_GAIN <= before;
    if (found && isfinite(before) && before > limit) tuner->realised += fmin(1, (before - after) / (before - limit));
    first->fruitless = found ? 0 : first->fruitless + 1;
    first->exhausted = depth != CI_SEARCH_DESCENT && made < TURN_TRIALS && !over(tuner, INFINITY);
    ci_tuner_reweigh(tuner);
    return status;
}

/* What the next turn will try, and those behind it if it finds nothing. */
static enum clinfer_status build_for_turns(struct ci_tuner *tuner, int like, double least) {
    struct ci_wish wishes[WISHES];
    int count = 0;
    wishes[count++] = (struct ci_wish){head_of(tuner, like), depth_of(&tuner->tuned[like]), TURN_TRIALS};
    for (int i = 0; i < tuner->problems->count; i++) {
        if (i == like || tuner->tuned[i].like != i || tuner->tuned[i].exhausted || room_alike(tuner, i) <= least)
            continue;
        int at = count < WISHES ? count++ : WISHES, head = head_of(tuner, i);
        for (; at > 1 && room_alike(tuner, tuner->tuned[wishes[at - 1].problem].like) < room_alike(tuner, i); at--)
            if (at < WISHES) wishes[at] = wishes[at - 1];
        if (at < WISHES) wishes[at] = (struct ci_wish){head, depth_of(&tuner->tuned[i]), TURN_TRIALS};
    }
    return ci_tuner_build_ahead(tuner, wishes, count);
}

enum clinfer_status ci_tuner_time_kind(struct ci_tuner *tuner, int model, int run, int kind, int most) {
    enum clinfer_status status = CLINFER_OK;
    for (int n = 0, made; n < most && status == CLINFER_OK && !ci_tuner_is_timed(tuner, model, run, kind); n++) {
        double heaviest_seconds = 0;
        int at = -1;
        for (int i = 0; i < tuner->problems->use_count; i++) {
            const struct ci_tune_use *use = &tuner->problems->uses[i];
            const struct ci_tuned *tuned = &tuner->tuned[use->problem];
            double seconds = use->calls * tuner->seconds[use->problem];
            if (use->model != model || use->run != run || use->kind != kind || tuned->timed || tuned->search.count ||
                seconds <= heaviest_seconds)
                continue;
            heaviest_seconds = seconds;
            at = use->problem;
        }
        if (at < 0 || over(tuner, INFINITY)) break;
        status = try_some(tuner, at, CI_SEARCH_SEEDS, 1, INFINITY, &made);
        if (!made) break;
        ci_tuner_reweigh(tuner);
    }
    return status;
}

/* Whether other things are worth the time more. */
static bool is_idle(const struct ci_tuner *tuner) {
    bool settles = false;
    for (int i = 0; i < tuner->problems->model_count; i++) settles = settles || !tuner->settled[i];
    return settles && !tuner->options->thorough && chance(tuner) < little_hope &&
           ci_now() - tuner->start > idle_share * tuner->options->budget;
}

static enum clinfer_status take_turns(struct ci_tuner *tuner, double least, double end) {
    enum clinfer_status status = CLINFER_OK;
    for (int like;
         status == CLINFER_OK && !over(tuner, end) && !is_idle(tuner) && (like = next_turn(tuner, least)) >= 0;) {
        status = build_for_turns(tuner, like, least);
        if (status == CLINFER_OK) status = take_turn(tuner, like);
    }
    return status;
}

/* What takes seconds to build is tried where much is to be gained, and on processors, where nobody has seen it win, by
 * thorough tunes only: those try it like everything else. */
static enum clinfer_status take_slow_turns(struct ci_tuner *tuner) {
    const struct ci_device_caps *caps = tuner->options->caps->device;
    if (!caps || caps->kind == CI_DEVICE_CPU || tuner->options->thorough) return CLINFER_OK;
    /* What others have found says nothing of these. */
    tuner->turns = 0;
    tuner->realised = 0;
    for (int i = 0; i < tuner->problems->count; i++) {
        tuner->tuned[i].search.with_slow = true;
        tuner->tuned[i].exhausted = false;
        tuner->tuned[i].fruitless = 0;
    }
    return take_turns(tuner, much_room, INFINITY);
}

/* gains [like]: how much faster the winner of a kind is than what would run without a profile, where it was searched.
 */
static void find_gains(const struct ci_tuner *tuner, double *gains) {
    for (int i = 0; i < tuner->problems->count; i++) gains[i] = 1;
    for (int i = 0; i < tuner->problems->count; i++) {
        const struct ci_search *search = &tuner->tuned[i].search;
        int best = fastest_point(search), standard = best >= 0 ? ci_search_overall_default(search) : -1;
        double *gain = &gains[tuner->tuned[i].like];
        if (standard >= 0) *gain = fmax(*gain, search->points[standard].seconds / search->points[best].seconds);
    }
}

/* Where its kind was searched, or what it is a part of, or what it has for a part. */
static bool may_teach(const struct ci_tuner *tuner, int teacher, int problem) {
    const struct ci_tune_problem *item = &tuner->problems->items[teacher], *other = &tuner->problems->items[problem];
    int like = tuner->tuned[teacher].like;
    for (int i = like; i < tuner->problems->count; i++)
        if (tuner->tuned[i].like == like && tuner->tuned[i].search.count > tuner->tuned[teacher].search.count)
            return false;
    return tuner->tuned[problem].like == like || item->first == problem || item->second == problem ||
           other->first == teacher || other->second == teacher;
}

/* The winner in each layout of the weights. */
static enum clinfer_status seed_winners(struct ci_tuner *tuner, int problem) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < tuner->problems->count && status == CLINFER_OK; i++) {
        const struct ci_search *search = &tuner->tuned[i].search;
        if (i == problem || !search->count || !may_teach(tuner, i, problem)) continue;
        for (int k = -1; (k < 0 || ci_layouts[k]) && status == CLINFER_OK; k++) {
            int best = ci_search_best(search, k < 0 ? NULL : ci_layouts[k]);
            if (best >= 0) status = seed(tuner, problem, &search->points[best].candidate);
        }
    }
    return status;
}

/* What won where it was searched is tried at the others, where most is to be saved first: at other shapes, with other
 * numbers of rows, and in the op that it is a part of. */
static enum clinfer_status spread(struct ci_tuner *tuner) {
    enum clinfer_status status = CLINFER_OK;
    double *gains = calloc((size_t)tuner->problems->count + 1, sizeof *gains);
    bool *done = calloc((size_t)tuner->problems->count + 1, sizeof *done);
    if (!done || !gains) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the search");
    if (status == CLINFER_OK) find_gains(tuner, gains);
    while (status == CLINFER_OK && !over(tuner, INFINITY)) {
        double most = least_saving;
        int at = -1, made;
        for (int i = 0; i < tuner->problems->count; i++) {
            double saving = tuner->weights[i] * (gains[tuner->tuned[i].like] - 1);
            if (!tuner->tuned[i].wanted || done[i] || saving <= most) continue;
            most = saving;
            at = i;
        }
        if (at < 0) break;
        done[at] = true;
        status = seed_winners(tuner, at);
        const struct ci_wish wish = {at, CI_SEARCH_SEEDS, WISHES};
        if (status == CLINFER_OK) status = ci_tuner_build_ahead(tuner, &wish, 1);
        if (status == CLINFER_OK) status = try_some(tuner, at, CI_SEARCH_SEEDS, INT_MAX, INFINITY, &made);
    }
    free(done);
    free(gains);
    ci_tuner_reweigh(tuner);
    return status;
}

static enum clinfer_status decide_all(struct ci_tuner *tuner) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < tuner->problems->count && status == CLINFER_OK; i++)
        if (tuner->tuned[i].wanted && tuner->tuned[i].search.count > 0) status = ci_tuner_decide(tuner, i);
    ci_tuner_reweigh(tuner);
    return status;
}

enum clinfer_status ci_tuner_search(struct ci_tuner *tuner) {
    double end = tuner->search_end, whole = end - ci_now();
    bool thorough = tuner->options->thorough;
    double for_clblast = thorough && tuner->options->caps->device ? clblast_share * whole : 0;
    enum clinfer_status status = CLINFER_OK;
    tuner->search_end = end - (spread_share + decide_share + unfuse_share) * whole - for_clblast;
    find_alike(tuner);
    for (int i = 0; i < tuner->problems->count && status == CLINFER_OK; i++)
        if (tuner->tuned[i].wanted) status = seed_from_old(tuner, i);
    for (int i = 0; i < tuner->problems->count; i++) tuner->tuned[i].search.with_slow = thorough;
    if (status == CLINFER_OK) status = look(tuner, worth_a_look, true, ci_now() + look_share * whole);
    double turns_end = tuner->search_end - (thorough ? 0 : slow_share * whole);
    if (status == CLINFER_OK) status = take_turns(tuner, thorough ? tiny_room : least_room, turns_end);
    if (status == CLINFER_OK) status = take_slow_turns(tuner);
    tuner->search_end += for_clblast;
    if (status == CLINFER_OK && for_clblast > 0)
        status = ci_tuner_search_clblast(tuner, ci_now() + clblast_sets_share * for_clblast);
    /* Trials that were forgotten by that. */
    for (int i = 0, made; i < tuner->problems->count && status == CLINFER_OK && for_clblast > 0; i++)
        if (tuner->tuned[i].wanted && tuner->tuned[i].search.count > 0)
            status = try_some(tuner, i, CI_SEARCH_VARIANTS, INT_MAX, INFINITY, &made);
    tuner->search_end += spread_share * whole;
    if (status == CLINFER_OK) status = spread(tuner);
    if (status == CLINFER_OK) status = look(tuner, is_idle(tuner) ? worth_an_idle_look : worth_a_look, false, INFINITY);
    tuner->search_end = end - unfuse_share * whole;
    if (status == CLINFER_OK) status = decide_all(tuner);
    tuner->search_end = end;
    if (status == CLINFER_OK) ci_tuner_unfuse(tuner);
    return status;
}
