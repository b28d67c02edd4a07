/* clblast.c: parameters for CLBlast's products on this device, looked for by a thorough tune only.
 *
 * CLBlast comes with parameters for devices that somebody has tuned, and with some for all others. Ours are found on
 * the product of a prompt that matters most: from sets that are good on one kind of device or another, one parameter
 * after the other is doubled and halved as long as that helps. Each set has a worker of its own, since CLBlast knows no
 * way back to its own choice. What a set costs to build says little the first time, when no driver has it in a cache,
 * so it is charged only in the end, as a second process pays it. That the result is right is proven before any is
 * timed, and again for all other shapes before one of them gets a product with it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "ops/clblast.h"
#include "ops/signature.h"
#include "profile/profile_fields.h"
#include "tuner/tuner_private.h"

enum { MOST_SETS = 64, LEAST_ROWS = 65, TURNS = 5 };

/* Where even the best set to begin with is so far behind another variant, no step will make up for it. */
static const double hopeless = 4;

/* Numbers that a work-item may keep in registers: what is unrolled so far compiles for minutes. */
enum { MOST_REGISTERS = 256 };

/* ---- sets ---- */

/* Xgemm: GEMMK KREG KWG KWI, MDIMA MDIMC MWG, NDIMB NDIMC NWG, SA SB, STRM STRN, VWM VWN. XgemmDirect: KWID, MDIMAD
 * MDIMCD, NDIMBD NDIMCD, PADA PADB, VWMD VWND, WGD. */
enum { ON_CPUS = 1, ON_OTHERS = 2, ON_ALL = 3 };
static const struct {
    int where;
    enum ci_profile_clblast_kernel kernel;
    struct ci_profile_xgemm xgemm;
    struct ci_profile_xgemm_direct direct;
} starts[] = {
    /* wide vectors, large tiles, no copies */
    {ON_CPUS, CI_CLBLAST_XGEMM, {0, 1, 32, 1, 8, 8, 128, 4, 4, 64, 0, 0, 0, 0, 8, 2}, {0}},
    {ON_CPUS, CI_CLBLAST_XGEMM, {0, 1, 32, 1, 4, 4, 64, 4, 4, 32, 0, 0, 0, 0, 16, 4}, {0}},
    {ON_CPUS, CI_CLBLAST_XGEMM, {0, 1, 32, 1, 8, 8, 128, 4, 4, 16, 0, 0, 0, 0, 8, 1}, {0}},
    /* both factors in local memory */
    {ON_OTHERS, CI_CLBLAST_XGEMM, {0, 1, 16, 2, 16, 16, 128, 8, 8, 64, 1, 1, 0, 0, 4, 4}, {0}},
    {ON_OTHERS, CI_CLBLAST_XGEMM, {0, 1, 32, 2, 16, 16, 64, 16, 16, 64, 1, 1, 0, 0, 2, 2}, {0}},
    {ON_OTHERS, CI_CLBLAST_XGEMM, {0, 1, 32, 2, 8, 8, 32, 8, 8, 32, 1, 1, 0, 0, 2, 2}, {0}},
    /* none */
    {ON_ALL, CI_CLBLAST_XGEMM, {0, 1, 32, 2, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 4, 4}, {0}},
    {ON_OTHERS, CI_CLBLAST_XGEMM, {0, 1, 16, 2, 8, 8, 32, 8, 8, 32, 0, 0, 0, 0, 4, 2}, {0}},
    /* tiles in registers */
    {ON_OTHERS, CI_CLBLAST_XGEMM, {1, 4, 1, 1, 16, 16, 64, 8, 8, 32, 0, 0, 0, 0, 4, 4}, {0}},
    {ON_OTHERS, CI_CLBLAST_XGEMM, {1, 2, 1, 1, 8, 8, 32, 4, 4, 16, 0, 0, 0, 0, 4, 2}, {0}},
    /* without copies of the factors */
    {ON_ALL, CI_CLBLAST_DIRECT, {0}, {2, 8, 8, 8, 8, 1, 1, 4, 4, 32}},
};

/* Which of CLBlast's two kernels does a product goes by its size: one that was found for prompts takes those of some
 * rows, too, or all. */
enum { LARGE = 256, ALL_ARE_SMALL = 65536 };

static bool fits(const struct ci_device_caps *caps, const struct ci_profile_clblast *set) {
    const struct ci_profile_xgemm *x = &set->xgemm;
    if (ci_clblast_check(caps, set) != CLINFER_OK) return false;
    return !(set->kernels >> CI_CLBLAST_XGEMM & 1) || x->MWG / x->MDIMC * (x->NWG / x->NDIMC) <= MOST_REGISTERS;
}

int ci_clblast_starts(const struct ci_device_caps *caps, struct ci_profile_clblast list[CI_CLBLAST_STARTS]) {
    _Static_assert(sizeof starts / sizeof *starts <= CI_CLBLAST_STARTS, "room for all");
    int count = 0;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        bool large = starts[i].kernel == CI_CLBLAST_XGEMM;
        struct ci_profile_clblast *set = &list[count];
        *set = (struct ci_profile_clblast){.kernels = 1U << starts[i].kernel | 1U << CI_CLBLAST_ROUTINE,
                                           .xgemm = starts[i].xgemm,
                                           .direct = starts[i].direct,
                                           .routine = {large ? LARGE : ALL_ARE_SMALL}};
        if (starts[i].where & (caps->kind == CI_DEVICE_CPU ? ON_CPUS : ON_OTHERS) && fits(caps, set)) count++;
    }
    return count;
}

/* What changes together: the second must follow the first. By how much promise they have. */
static const struct {
    enum ci_profile_clblast_kernel kernel;
    const char *names[2];
} steps[] = {
    {CI_CLBLAST_XGEMM, {"NWG", NULL}},         {CI_CLBLAST_XGEMM, {"MWG", NULL}},
    {CI_CLBLAST_XGEMM, {"VWM", NULL}},         {CI_CLBLAST_XGEMM, {"VWN", NULL}},
    {CI_CLBLAST_XGEMM, {"KWG", NULL}},         {CI_CLBLAST_XGEMM, {"NDIMC", "NDIMB"}},
    {CI_CLBLAST_XGEMM, {"MDIMC", "MDIMA"}},    {CI_CLBLAST_XGEMM, {"KWI", NULL}},
    {CI_CLBLAST_XGEMM, {"SA", NULL}},          {CI_CLBLAST_XGEMM, {"SB", NULL}},
    {CI_CLBLAST_XGEMM, {"STRM", NULL}},        {CI_CLBLAST_XGEMM, {"STRN", NULL}},
    {CI_CLBLAST_XGEMM, {"KREG", NULL}},        {CI_CLBLAST_DIRECT, {"WGD", NULL}},
    {CI_CLBLAST_DIRECT, {"VWMD", "VWND"}},     {CI_CLBLAST_DIRECT, {"KWID", NULL}},
    {CI_CLBLAST_DIRECT, {"NDIMCD", "NDIMBD"}}, {CI_CLBLAST_DIRECT, {"MDIMCD", "MDIMAD"}},
    {CI_CLBLAST_DIRECT, {"PADA", "PADB"}},
};

static const struct ci_field *field_of(enum ci_profile_clblast_kernel kernel, const char *name) {
    const struct ci_field *field = ci_profile_clblast_kernels[kernel].fields;
    while (strcmp(field->name, name) != 0) field++;
    return field;
}

bool ci_clblast_step(const struct ci_device_caps *caps, const struct ci_profile_clblast *from, int step,
                     struct ci_profile_clblast *set) {
    _Static_assert(2 * sizeof steps / sizeof *steps == CI_CLBLAST_STEPS, "up and down");
    bool up = step % 2 == 0;
    *set = *from;
    if (!(from->kernels >> steps[step / 2].kernel & 1)) return false;
    for (int i = 0; i < 2 && steps[step / 2].names[i]; i++) {
        const struct ci_field *field = field_of(steps[step / 2].kernel, steps[step / 2].names[i]);
        int *value = ci_profile_clblast_value(set, field);
        bool flag = field->minimum < 1;
        *value = flag ? !*value : up ? 2 * *value : *value / 2;
        if ((flag && !up) || *value < (int)field->minimum || *value > (int)field->maximum) return false;
    }
    return fits(caps, set);
}

/* ---- trying them ---- */

enum clinfer_status ci_tuner_start_worker(const struct ci_tuner *tuner, const struct ci_profile_clblast *clblast,
                                          struct ci_worker **worker) {
    const struct ci_worker_options options = {
        .device = tuner->options->device, .threads = tuner->options->threads, .clblast = *clblast};
    return ci_worker_create(&options, worker);
}

struct hunt {
    struct ci_tuner *tuner;
    int problem;
    struct ci_tuner_candidate candidate;
    double end;
    struct ci_profile_clblast tried[MOST_SETS];
    double seconds[MOST_SETS]; /* of a call; INFINITY: it did not pass */
    int count, best;           /* [0] is what CLBlast has now */
    double charge;             /* of [0], for its programs */
};

static bool is_over(const struct hunt *hunt) {
    return ci_tuner_stopped(hunt->tuner) || ci_now() >= hunt->end || hunt->count == MOST_SETS;
}

static enum clinfer_status try_set(struct hunt *hunt, const struct ci_profile_clblast *set) {
    struct ci_tuner *tuner = hunt->tuner;
    struct ci_worker *worker;
    struct ci_trial trial;
    for (int i = 0; i < hunt->count; i++)
        if (ci_profile_clblast_equal(&hunt->tried[i], set)) return CLINFER_OK;
    if (is_over(hunt)) return CLINFER_OK;
    enum clinfer_status status = ci_tuner_start_worker(tuner, set, &worker);
    if (status != CLINFER_OK) return status;
    hunt->candidate.give_up_seconds =
        hunt->count && isfinite(hunt->seconds[hunt->best]) ? 2 * hunt->seconds[hunt->best] : 0;
    status = ci_tuner_try_clblast(tuner, hunt->problem, &hunt->candidate, set, worker, hunt->end, &trial);
    ci_worker_destroy(worker);
    int at = hunt->count++;
    hunt->tried[at] = *set;
    hunt->seconds[at] = status == CLINFER_OK && trial.outcome == CI_TRIAL_PASSED ? trial.seconds : INFINITY;
    if (at == 0) hunt->charge = ci_tuner_charge(tuner, hunt->problem, hunt->candidate.variant, trial.build_seconds);
    if (hunt->seconds[at] < hunt->seconds[hunt->best]) hunt->best = at;
    /* Some devices are for one process at a time, and the tune has one there already. */
    return status == CLINFER_DEVICE_ERROR ? CLINFER_OK : status;
}

/* The product of a prompt that matters most and has passed. */
static bool find_product(const struct ci_tuner *tuner, struct hunt *hunt) {
    double weight = -1, seconds = INFINITY;
    for (int i = 0; i < tuner->problems->count; i++) {
        const struct ci_search *search = &tuner->tuned[i].search;
        if (tuner->problems->items[i].signature.rows < LEAST_ROWS || tuner->weights[i] < weight) continue;
        for (int k = 0; k < search->count; k++) {
            const struct ci_search_point *point = &search->points[k];
            if (point->candidate.variant->backend != CI_BACKEND_CLBLAST || !isfinite(point->seconds)) continue;
            if (tuner->weights[i] <= weight && point->seconds >= seconds) continue;
            weight = tuner->weights[i];
            seconds = point->seconds;
            hunt->problem = i;
            hunt->candidate = point->candidate;
        }
    }
    return weight >= 0;
}

static enum clinfer_status hunt_sets(struct hunt *hunt) {
    const struct ci_device_caps *caps = hunt->tuner->options->caps->device;
    const struct ci_profile_clblast own = {0};
    struct ci_profile_clblast list[CI_CLBLAST_STARTS], next;
    int count = ci_clblast_starts(caps, list);
    enum clinfer_status status = try_set(hunt, &hunt->tuner->clblast);
    if (status == CLINFER_OK) status = try_set(hunt, &own);
    for (int i = 0; i < count && status == CLINFER_OK; i++) status = try_set(hunt, &list[i]);
    bool better = hunt->count > 0 && hunt->seconds[hunt->best] < hopeless * hunt->tuner->seconds[hunt->problem];
    while (better && status == CLINFER_OK && !is_over(hunt)) {
        int from = hunt->best;
        for (int i = 0; i < CI_CLBLAST_STEPS && status == CLINFER_OK && hunt->best == from; i++)
            if (ci_clblast_step(caps, &hunt->tried[from], i, &next)) status = try_set(hunt, &next);
        better = hunt->best != from;
    }
    return status;
}

/* ---- taking the best ---- */

bool ci_tuner_is_clblast(const struct ci_profile_entry *entry) {
    const struct ci_op *op = ci_op_find(entry->signature.op);
    const struct ci_variant *variant = op ? ci_variant_find(op, CI_BACKEND_OPENCL, entry->variant) : NULL;
    return variant && variant->backend == CI_BACKEND_CLBLAST;
}

/* The best set and what CLBlast has now, in turn, and with what their programs cost: *seconds of either. False: it did
 * not work, or no time was left. */
static bool compare(const struct hunt *hunt, double seconds[2]) {
    struct ci_tuner *tuner = hunt->tuner;
    const struct ci_problem *problem = &tuner->problems->items[hunt->problem].problem;
    const struct ci_profile_clblast *best = &hunt->tried[hunt->best];
    struct ci_worker *workers[2] = {tuner->worker, NULL};
    struct ci_trial trial;
    double samples[2][TURNS];
    if (ci_tuner_start_worker(tuner, best, &workers[1]) != CLINFER_OK) return false;
    bool worked = ci_tuner_try_clblast(tuner, hunt->problem, &hunt->candidate, best, workers[1], tuner->end, &trial) ==
                      CLINFER_OK &&
                  trial.outcome == CI_TRIAL_PASSED;
    double charges[2] = {hunt->charge,
                         ci_tuner_charge(tuner, hunt->problem, hunt->candidate.variant, trial.build_seconds)};
    for (int i = 0; i < 2 * TURNS && worked; i++) {
        double left = fmin(tuner->end - ci_now(), tuner->options->candidate_seconds);
        ci_tuner_progress(tuner, "comparing", hunt->problem, &hunt->candidate);
        worked = left > 0 && !ci_tuner_stopped(tuner) &&
                 ci_worker_compare(workers[i % 2], problem, &hunt->candidate, 1, 1, left, &samples[i % 2][i / 2],
                                   &trial) == CLINFER_OK &&
                 trial.outcome == CI_TRIAL_PASSED;
    }
    ci_worker_destroy(workers[1]);
    for (int i = 0; i < 2 && worked; i++) seconds[i] = ci_tuner_median(samples[i], TURNS, 1) + charges[i];
    return worked;
}

/* What was measured of CLBlast before holds no longer: winners among it are dethroned until they prove themselves. */
static enum clinfer_status adopt(struct ci_tuner *tuner, const struct ci_profile_clblast *set) {
    enum clinfer_status status = CLINFER_OK;
    tuner->clblast = *set;
    ci_worker_destroy(tuner->worker);
    tuner->worker = NULL;
    status = ci_tuner_start_worker(tuner, set, &tuner->worker);
    for (int i = 0; i < tuner->problems->count && status == CLINFER_OK; i++) {
        struct ci_tuned *tuned = &tuner->tuned[i];
        bool won = false;
        for (int k = 0; k < tuned->entry_count; k++) won = won || ci_tuner_is_clblast(&tuned->entries[k]);
        ci_search_forget(&tuned->search, CI_BACKEND_CLBLAST);
        if (won) tuned->entry_count = 0;
        if (won && tuned->decided) status = ci_tuner_decide(tuner, i);
    }
    return status;
}

static void say(const struct hunt *hunt, double share) {
    const struct ci_profile_signature *signature = &hunt->tuner->problems->items[hunt->problem].signature;
    char product[96];
    int right = 0;
    for (int i = 1; i < hunt->count; i++) right += isfinite(hunt->seconds[i]);
    snprintf(product, sizeof product, "%lld x %lld -> %lld", (long long)signature->rows, (long long)signature->k,
             (long long)signature->n);
    if (share < 1)
        ci_tuner_say(hunt->tuner,
                     "CLBlast: with the best of %d sets of parameters a product %s takes %.0f%% of the time it took",
                     right, product, 100 * share);
    else
        ci_tuner_say(hunt->tuner, "CLBlast: none of %d sets of parameters is better for a product %s than what it has",
                     right, product);
}

enum clinfer_status ci_tuner_search_clblast(struct ci_tuner *tuner, double end) {
    struct hunt hunt = {.tuner = tuner, .end = fmin(end, tuner->search_end)};
    double seconds[2];
    if (!find_product(tuner, &hunt)) return CLINFER_OK;
    enum clinfer_status status = hunt_sets(&hunt);
    if (status != CLINFER_OK || hunt.count < 2) return status;
    bool better = hunt.best > 0 && hunt.seconds[hunt.best] * CI_SEARCH_GAIN <= hunt.seconds[0] &&
                  compare(&hunt, seconds) && seconds[1] * CI_SEARCH_GAIN <= seconds[0];
    say(&hunt, better ? seconds[1] / seconds[0] : 1);
    return better ? adopt(tuner, &hunt.tried[hunt.best]) : CLINFER_OK;
}
