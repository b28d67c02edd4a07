#include "tuner/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/bind.h"

/* Variants and layouts whose best is so much slower than the fastest are not looked at any closer. */
static const double far_behind = 1.6;

enum { LEAP = 2, RANDOM_DRAWS = 64, MOST_FAMILIES = 64 };

/* ---- candidates ---- */

/* The call with weights in the layout. */
static struct ci_call call_in(const struct ci_search *search, const struct ci_layout *layout) {
    struct ci_call call = search->call;
    for (int i = 0; i < search->op->inputs && layout; i++)
        if (call.in[i].type && (search->op->weight_inputs >> i & 1)) call.in[i].layout = layout;
    return call;
}

static bool has_weights(const struct ci_search *search) {
    for (int i = 0; i < search->op->inputs; i++)
        if (search->call.in[i].type && (search->op->weight_inputs >> i & 1)) return true;
    return false;
}

static bool layout_fits(const struct ci_search *search, const struct ci_layout *layout) {
    for (int i = 0; i < search->op->inputs; i++) {
        const struct ci_view *in = &search->call.in[i];
        if (in->type && (search->op->weight_inputs >> i & 1) && !ci_layout_fits(layout, in->type, in->cols))
            return false;
    }
    return true;
}

static bool fits(const struct ci_search *search, const struct ci_variant *variant, const struct ci_layout *layout) {
    if (variant->op != search->op || (layout != NULL) != has_weights(search)) return false;
    if (layout && variant->weight_layout && variant->weight_layout != layout) return false;
    if (layout && !layout_fits(search, layout)) return false;
    struct ci_call call = call_in(search, layout);
    return ci_variant_fits(variant, search->caps, &call);
}

bool ci_candidates_equal(const struct ci_tuner_candidate *a, const struct ci_tuner_candidate *b) {
    if (a->variant != b->variant || a->layout != b->layout) return false;
    for (int i = 0; a->variant->tunables && a->variant->tunables[i].name; i++)
        if (a->tunables[i] != b->tunables[i]) return false;
    return true;
}

int ci_search_find(const struct ci_search *search, const struct ci_tuner_candidate *candidate) {
    for (int i = 0; i < search->count; i++)
        if (ci_candidates_equal(&search->points[i].candidate, candidate)) return i;
    return -1;
}

static bool is_new(const struct ci_search *search, const struct ci_tuner_candidate *candidate) {
    return ci_search_find(search, candidate) < 0;
}

static struct ci_tuner_candidate standard(const struct ci_variant *variant, const struct ci_layout *layout) {
    struct ci_tuner_candidate candidate = {.variant = variant, .layout = layout};
    ci_bind_defaults(variant, candidate.tunables);
    return candidate;
}

/* The pairs of variant and layout that fit, in the order of the table, a variant's own or the stored layout first. A
 * family is what differs in tunables only. Returns how many. */
static int families(const struct ci_search *search, struct ci_tuner_candidate list[MOST_FAMILIES]) {
    int count = 0;
    for (int i = 0; ci_variants[i]; i++) {
        if (ci_variants[i]->op != search->op) continue;
        if (!has_weights(search) && fits(search, ci_variants[i], NULL) && count < MOST_FAMILIES)
            list[count++] = standard(ci_variants[i], NULL);
        for (int k = 0; ci_layouts[k] && has_weights(search); k++)
            if (fits(search, ci_variants[i], ci_layouts[k]) && count < MOST_FAMILIES)
                list[count++] = standard(ci_variants[i], ci_layouts[k]);
    }
    return count;
}

void ci_search_init(struct ci_search *search, const struct ci_caps *caps, const struct ci_tune_problem *problem) {
    *search = (struct ci_search){.caps = caps, .op = problem->problem.op, .call = problem->call};
}

void ci_search_free(struct ci_search *search) {
    free(search->points);
    free(search->seeds);
    *search = (struct ci_search){0};
}

bool ci_search_possible(const struct ci_search *search) {
    struct ci_tuner_candidate list[MOST_FAMILIES];
    return families(search, list) > 0;
}

enum clinfer_status ci_search_seed(struct ci_search *search, const struct ci_tuner_candidate *candidate) {
    if (!fits(search, candidate->variant, candidate->layout)) return CLINFER_OK;
    struct ci_tuner_candidate *seeds = realloc(search->seeds, (size_t)(search->seed_count + 1) * sizeof *seeds);
    if (!seeds) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the search");
    search->seeds = seeds;
    seeds[search->seed_count++] = *candidate;
    return CLINFER_OK;
}

/* ---- asking ---- */

/* The fastest of a family so far; -1: none passed. */
static int best_of(const struct ci_search *search, const struct ci_tuner_candidate *family) {
    int best = -1;
    for (int i = 0; i < search->count; i++) {
        const struct ci_search_point *point = &search->points[i];
        if (point->candidate.variant != family->variant || point->candidate.layout != family->layout) continue;
        if (isfinite(point->seconds) && (best < 0 || point->seconds < search->points[best].seconds)) best = i;
    }
    return best;
}

/* Families worth a closer look as indices of their best points, the fastest first. */
static int promising(const struct ci_search *search, int order[MOST_FAMILIES]) {
    struct ci_tuner_candidate list[MOST_FAMILIES];
    int all = families(search, list), count = 0;
    for (int i = 0; i < all; i++) {
        int best = best_of(search, &list[i]), at = count;
        if (best < 0 || !list[i].variant->tunables) continue;
        while (at > 0 && search->points[order[at - 1]].seconds > search->points[best].seconds) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = best;
        count++;
    }
    int fastest = -1;
    for (int i = 0; i < search->count; i++)
        if (isfinite(search->points[i].seconds) &&
            (fastest < 0 || search->points[i].seconds < search->points[fastest].seconds))
            fastest = i;
    while (count > 0 && search->points[order[count - 1]].seconds > far_behind * search->points[fastest].seconds)
        count--;
    return count;
}

static int allowed_count(const struct ci_tunable *tunable) {
    int count = 0;
    while (count < (int)(sizeof tunable->allowed / sizeof *tunable->allowed) && tunable->allowed[count]) count++;
    return count;
}

/* In the list; -1: it is not. */
static int place_of(const struct ci_tunable *tunable, int value) {
    for (int i = 0; i < allowed_count(tunable); i++)
        if (tunable->allowed[i] == value) return i;
    return -1;
}

/* The next values of one tunable, up and down its list; a value that is not in the list ("as the driver likes") has all
 * of it for neighbours. */
static bool ask_neighbour(const struct ci_search *search, const struct ci_tuner_candidate *from, int which,
                          struct ci_tuner_candidate *candidate) {
    const struct ci_tunable *tunable = &from->variant->tunables[which];
    int count = allowed_count(tunable), place = place_of(tunable, from->tunables[which]);
    for (int i = 0; i < count; i++) {
        if (place >= 0 && i != place + 1 && i != place - 1) continue;
        *candidate = *from;
        candidate->tunables[which] = tunable->allowed[i];
        if (is_new(search, candidate)) return true;
    }
    return false;
}

/* What is best of a variant with one layout of the weights may be so with another. */
static bool ask_other_layout(const struct ci_search *search, struct ci_tuner_candidate *candidate) {
    int order[MOST_FAMILIES], count = promising(search, order);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < count; k++) {
            const struct ci_tuner_candidate *other = &search->points[order[k]].candidate;
            *candidate = search->points[order[i]].candidate;
            if (k == i || other->variant != candidate->variant) continue;
            memcpy(candidate->tunables, other->tunables, sizeof candidate->tunables);
            if (is_new(search, candidate)) return true;
        }
    return false;
}

static bool ask_descent(const struct ci_search *search, struct ci_tuner_candidate *candidate) {
    int order[MOST_FAMILIES], count = promising(search, order);
    for (int i = 0; i < count; i++) {
        const struct ci_tuner_candidate *from = &search->points[order[i]].candidate;
        int tunables = 0;
        while (from->variant->tunables[tunables].name) tunables++;
        for (int which = 0; which < tunables; which++)
            if (ask_neighbour(search, from, (search->gained + which) % tunables, candidate)) return true;
    }
    return false;
}

/* A tunable some steps up or down its list, as far as that goes. */
static void move(struct ci_tuner_candidate *candidate, int which, int steps) {
    const struct ci_tunable *tunable = &candidate->variant->tunables[which];
    int values = allowed_count(tunable), place = place_of(tunable, candidate->tunables[which]);
    if (place < 0) place = values / 2;
    if (place + steps >= 0 && place + steps < values) candidate->tunables[which] = tunable->allowed[place + steps];
}

/* Tunables depend on each other, and most of what lies far from anything good is bad: a few steps in one to three of
 * them; or one in all, the first with the others or against them, as a tile's size and what each work-item has of it.
 */
static void mutate(struct ci_tuner_candidate *candidate, uint64_t *random_state) {
    const uint64_t one_way = 2;
    uint64_t bits = ci_random(random_state);
    int tunables = 0, signs[] = {-1, 1};
    while (candidate->variant->tunables[tunables].name) tunables++;
    if (tunables == 0) return;
    if (bits % one_way == 0) {
        for (int i = 0; i < tunables; i++) move(candidate, i, signs[bits >> (i == 0 ? 8 : 9) & 1]);
        return;
    }
    for (uint64_t changes = 1 + (bits >> 8) % 3; changes > 0; changes--) {
        bits = ci_random(random_state);
        move(candidate, (int)((bits >> 8) % (uint64_t)tunables), signs[bits & 1] * (1 + (int)(bits >> 1 & 1)));
    }
}

static bool ask_random(const struct ci_search *search, uint64_t *random_state, struct ci_tuner_candidate *candidate) {
    int order[MOST_FAMILIES], count = promising(search, order);
    for (int draw = 0; draw < RANDOM_DRAWS && count > 0; draw++) {
        int at = 0;
        while (at + 1 < count && ci_random(random_state) % 2) at++;
        *candidate = search->points[order[at]].candidate;
        mutate(candidate, random_state);
        if (is_new(search, candidate)) return true;
    }
    return false;
}

static bool slow_to_build(const struct ci_variant *variant) { return variant->backend == CI_BACKEND_CLBLAST; }

bool ci_search_ask(const struct ci_search *search, enum ci_search_depth depth, uint64_t *random_state,
                   struct ci_tuner_candidate *candidate) {
    struct ci_tuner_candidate list[MOST_FAMILIES];
    int count = families(search, list);
    for (int i = 0; i < count; i++) {
        /* The default comes first of all; the other variants after the seeds. */
        if (i == 1) {
            for (int k = 0; k < search->seed_count; k++)
                if (is_new(search, &search->seeds[k])) return *candidate = search->seeds[k], true;
            if (depth < CI_SEARCH_VARIANTS) return false;
        }
        if ((search->with_slow || !slow_to_build(list[i].variant)) && is_new(search, &list[i]))
            return *candidate = list[i], true;
    }
    for (int k = 0; k < search->seed_count && count == 1; k++)
        if (is_new(search, &search->seeds[k])) return *candidate = search->seeds[k], true;
    /* Tunables depend on each other: steps in one at a time may end where only two at once lead on. */
    bool leap = depth >= CI_SEARCH_RANDOM && search->count % LEAP == 0;
    if (leap && ask_random(search, random_state, candidate)) return true;
    if (depth >= CI_SEARCH_DESCENT && (ask_other_layout(search, candidate) || ask_descent(search, candidate)))
        return true;
    if (depth >= CI_SEARCH_RANDOM && ask_random(search, random_state, candidate)) return true;
    return false;
}

/* ---- telling ---- */

static enum clinfer_status add_point(struct ci_search *search, const struct ci_search_point *point) {
    if ((search->count & (search->count - 1)) == 0) {
        struct ci_search_point *points =
            realloc(search->points, (size_t)(search->count ? 2 * search->count : 1) * sizeof *points);
        if (!points) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the search");
        search->points = points;
    }
    struct ci_tuner_candidate usual = standard(point->candidate.variant, point->candidate.layout);
    search->points[search->count] = *point;
    search->points[search->count].is_default = ci_candidates_equal(&usual, &point->candidate);
    search->count++;
    return CLINFER_OK;
}

/* The first tunable in which two of a family differ; 0: none. */
static int differing(const struct ci_tuner_candidate *a, const struct ci_tuner_candidate *b) {
    for (int i = 0; a->variant->tunables && a->variant->tunables[i].name; i++)
        if (a->tunables[i] != b->tunables[i]) return i;
    return 0;
}

enum clinfer_status ci_search_tell(struct ci_search *search, const struct ci_tuner_candidate *candidate,
                                   const struct ci_trial *trial, double seconds) {
    bool passed = trial->outcome == CI_TRIAL_PASSED;
    struct ci_tuner_candidate family = standard(candidate->variant, candidate->layout);
    int best = best_of(search, &family);
    if (passed && best >= 0 && seconds < search->points[best].seconds)
        search->gained = differing(&search->points[best].candidate, candidate);
    search->tried++;
    if (trial->outcome == CI_TRIAL_WRONG || trial->outcome == CI_TRIAL_UNUSABLE)
        search->refused++;
    else if (!passed)
        search->crashed++;
    return add_point(search, &(struct ci_search_point){.candidate = *candidate,
                                                       .outcome = trial->outcome,
                                                       .seconds = passed ? seconds : INFINITY,
                                                       .build_seconds = trial->build_seconds,
                                                       .nmse = trial->nmse});
}

enum clinfer_status ci_search_skip(struct ci_search *search, const struct ci_tuner_candidate *candidate) {
    return add_point(search,
                     &(struct ci_search_point){
                         .candidate = *candidate, .outcome = CI_TRIAL_UNUSABLE, .skipped = true, .seconds = INFINITY});
}

void ci_search_forget(struct ci_search *search, enum ci_backend backend) {
    int kept = 0;
    for (int i = 0; i < search->count; i++)
        if (search->points[i].candidate.variant->backend != backend) search->points[kept++] = search->points[i];
    search->count = kept;
}

/* ---- results ---- */

int ci_search_best(const struct ci_search *search, const struct ci_layout *layout) {
    int best = -1;
    for (int i = 0; i < search->count; i++) {
        const struct ci_search_point *point = &search->points[i];
        if (point->candidate.layout != layout || !isfinite(point->seconds)) continue;
        if (best < 0 || point->seconds < search->points[best].seconds) best = i;
    }
    return best;
}

static int first_default(const struct ci_search *search, const struct ci_layout *layout, bool any_layout) {
    struct ci_tuner_candidate list[MOST_FAMILIES];
    int count = families(search, list);
    for (int i = 0; i < count; i++) {
        if (!any_layout && list[i].layout != layout) continue;
        int index = ci_search_find(search, &list[i]);
        if (index >= 0 && isfinite(search->points[index].seconds)) return index;
    }
    return -1;
}

int ci_search_default(const struct ci_search *search, const struct ci_layout *layout) {
    return first_default(search, layout, false);
}

int ci_search_overall_default(const struct ci_search *search) { return first_default(search, NULL, true); }

int ci_search_winner(const double *seconds, int standard_index, int old, int fastest, double gain) {
    int winner = old >= 0 ? old : standard_index;
    /* What an older tune found stays, unless the default has become faster. */
    if (old >= 0 && standard_index >= 0 && seconds[standard_index] * gain <= seconds[old]) winner = standard_index;
    if (winner < 0) return fastest;
    bool beats_default = standard_index < 0 || seconds[fastest] * gain <= seconds[standard_index];
    return fastest >= 0 && beats_default && seconds[fastest] * gain <= seconds[winner] ? fastest : winner;
}
