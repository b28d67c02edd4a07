/* bench_limit.c: the time that a test would take if this machine did nothing but what must be done, at the best speed
 * that it shows in this very process: the roofline of Williams, Waterman and Patterson (2009,
 * https://doi.org/10.1145/1498765.1498785), step by step.
 *
 * A step must read the weights once and the rows of the KV cache that it looks at, and do the arithmetic of its rows;
 * whichever takes longer is its time. Where several places share a model their times add up, since a token goes through
 * one after the other. What the weights take and what a row costs comes from the plans; activations, which stay in the
 * caches, count for nothing. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/output.h"
#include "engine/engine_private.h"
#include "ops/product.h"
#include "proof/measure.h"

enum { UNIT_F32, UNIT_Q8, UNIT_Q16, UNITS_MEASURED = UNIT_Q16 };

/* As many bytes as the model has, but no more: from there on no cache helps, and the memory may be needed. */
static const uint64_t most_read = UINT64_C(1) << 30;

_Static_assert((int)CI_BENCH_PLACES == (int)CI_MAX_PLACES, "a place of an engine is one of a bench");

/* ---- measuring ---- */

static double known(enum clinfer_status status, double value, const char *name, bool *told) {
    if (status == CLINFER_OK) return value;
    /* Who has no such unit needs no warning. */
    if (status != CLINFER_UNSUPPORTED && !*told)
        ci_warn("%s: what it reads and computes at best cannot be measured: %s", name, clinfer_error());
    *told = *told || status != CLINFER_UNSUPPORTED;
    return 0;
}

static int place_of(const struct ci_bench_limits *limits, const struct clinfer_plan_step *step) {
    int at = 0;
    while (at < limits->count - 1 && strcmp(limits->places[at].name, step->place) != 0) at++;
    return at;
}

static void note_use(void *user, const struct clinfer_plan_step *step) {
    struct ci_bench_limits *limits = user;
    limits->places[place_of(limits, step)].used = true;
}

void ci_bench_limits_measure(struct ci_bench_target *target, struct ci_bench_limits *limits) {
    static const enum ci_measure_kind kinds[UNITS_MEASURED] = {CI_MEASURE_F32, CI_MEASURE_DOT8};
    struct clinfer_engine *engine = target->engine;
    uint64_t bytes = target->info.weight_bytes < most_read ? target->info.weight_bytes : most_read;
    *limits = (struct ci_bench_limits){.count = engine->device_count + 1};
    for (int i = 0; i < limits->count; i++) {
        struct ci_bench_place *place = &limits->places[i];
        place->device = i < engine->device_count ? engine->devices[i] : NULL;
        snprintf(place->name, sizeof place->name, "%s", place->device ? ci_device_caps(place->device)->name : "cpu");
    }
    clinfer_engine_explain(engine, 1, note_use, limits, NULL);
    for (int i = 0; i < limits->count; i++) {
        struct ci_bench_place *place = &limits->places[i];
        if (!place->used) continue;
        double value = 0;
        enum clinfer_status status = ci_measure_read(place->device, engine->threads, bytes, &value);
        place->read_bytes_per_second = known(status, value, place->name, &target->told_limits);
        for (int unit = 0; unit < UNITS_MEASURED; unit++) {
            status = ci_measure_arithmetic(place->device, engine->threads, kinds[unit], &value);
            place->operations_per_second[unit] = known(status, value, place->name, &target->told_limits);
        }
        double *speeds = place->operations_per_second;
        speeds[UNIT_Q16] = fmax(speeds[UNIT_F32], speeds[UNIT_Q8] / 2);
    }
    limits->measured_at = ci_now();
}

static double mean(double a, double b) { return a > 0 && b > 0 ? (a + b) / 2 : 0; }

void ci_bench_limits_mean(const struct ci_bench_limits *before, const struct ci_bench_limits *after,
                          struct ci_bench_limits *out) {
    *out = *after;
    for (int i = 0; i < out->count; i++) {
        const struct ci_bench_place *first = &before->places[i];
        struct ci_bench_place *place = &out->places[i];
        place->read_bytes_per_second = mean(first->read_bytes_per_second, place->read_bytes_per_second);
        for (int unit = 0; unit < CI_BENCH_UNITS; unit++)
            place->operations_per_second[unit] =
                mean(first->operations_per_second[unit], place->operations_per_second[unit]);
    }
}

/* ---- what a step must do ---- */

/* At one place. */
struct share {
    double weight_bytes;
    double row_operations[CI_BENCH_UNITS];    /* for each row of a step, attention left out */
    double output_operations[CI_BENCH_UNITS]; /* for each row whose logits are wanted */
    bool attends[CI_MAX_UNITS];               /* layers whose attention runs here */
};

/* What all steps of about as many rows have in common. */
struct work {
    const struct ci_bench_limits *limits;
    const struct clinfer_engine *engine;
    bool of_one;  /* the plan for one row is being read */
    int64_t rows; /* of a step; its plan may have room for more */
    struct share shares[CI_BENCH_PLACES];
};

/* A number of steps that are alike. `positions`: of the caches, read in all; `pairs`: of a row and a position that it
 * sees. */
struct steps {
    double times, rows, wanted, positions, pairs;
};

static void add_plan_step(void *user, const struct clinfer_plan_step *step) {
    struct work *work = user;
    int64_t pairs = ci_product_16_bit_rows(step->op, step->types, step->variant);
    bool wide = pairs > 0 && work->rows >= pairs && step->rows >= pairs;
    int unit = wide ? UNIT_Q16 : strncmp(step->types, "q8,", 3) == 0 ? UNIT_Q8 : UNIT_F32;
    struct share *share = &work->shares[place_of(work->limits, step)];
    bool attention = strncmp(step->op, "attention", strlen("attention")) == 0;
    bool output = step->n == work->engine->model.hyper.vocabulary;
    if (work->of_one) {
        int layer;
        if (attention && sscanf(step->label, "blk.%d.", &layer) == 1) share->attends[layer] = true;
        /* In this plan a step with weights reads hardly anything else. */
        if (*step->layout) share->weight_bytes += step->bytes;
    } else if (!attention && step->rows > 0) {
        double *operations = output ? share->output_operations : share->row_operations;
        operations[unit] += step->operations / (double)step->rows;
    }
}

/* A prompt and as many sequences have plans of their own, which may round activations otherwise. */
static enum clinfer_status read_plans(const struct ci_bench_target *target, int rows, int wanted, struct work *work) {
    enum clinfer_status status = ci_engine_lead(target->engine);
    if (status != CLINFER_OK) return status;
    work->of_one = true;
    work->rows = 1;
    status = ci_engine_explain(target->engine, 1, 1, add_plan_step, work, NULL);
    work->of_one = false;
    work->rows = rows;
    if (status == CLINFER_OK) status = ci_engine_explain(target->engine, rows, wanted, add_plan_step, work, NULL);
    ci_engine_stop_leading(target->engine);
    return status;
}

/* Sums over the steps of a test. */
struct total {
    double seconds, reading; /* of these, seconds in which reading takes longer than arithmetic */
    double bytes[CI_BENCH_PLACES], operations[CI_BENCH_PLACES][CI_BENCH_UNITS];
    bool unknown;
};

static double operations_per_second(const struct ci_bench_place *place, int unit) {
    double speed = place->operations_per_second[unit];
    return speed > 0 ? speed : place->operations_per_second[UNIT_F32];
}

/* What attention reads of the caches at a place, and its operations. A row sees no more than the layer's window. */
static void add_attention(const struct work *work, const struct share *share, const struct steps *steps, double *bytes,
                          double *operations) {
    const struct ci_model *model = &work->engine->model;
    for (const struct ci_state *state = model->states; state; state = state->next) {
        if (state->layer < 0 || !share->attends[state->layer]) continue;
        const struct ci_layer *layer = &model->layers[state->layer];
        double most = layer->window ? steps->rows * layer->window : (double)INFINITY;
        *bytes += fmin(steps->positions, most) *
                  (double)ci_type_row_bytes(state->tensor->view.type, state->tensor->view.cols);
        int width = state->kind == CI_STATE_KEYS ? layer->head_dim : layer->value_dim;
        *operations += 2.0 * layer->heads * width * fmin(steps->pairs, most);
    }
}

static void add_steps(const struct work *work, const struct steps *steps, struct total *total) {
    for (int i = 0; i < work->limits->count; i++) {
        const struct ci_bench_place *place = &work->limits->places[i];
        const struct share *share = &work->shares[i];
        double bytes = share->weight_bytes, attending = 0, computing = 0;
        add_attention(work, share, steps, &bytes, &attending);
        for (int unit = 0; unit < CI_BENCH_UNITS; unit++) {
            double operations = steps->rows * share->row_operations[unit];
            operations += steps->wanted * share->output_operations[unit];
            if (unit == UNIT_F32) operations += attending;
            double speed = operations_per_second(place, unit);
            total->unknown = total->unknown || (operations > 0 && speed <= 0);
            total->operations[i][unit] += steps->times * operations;
            if (speed > 0) computing += operations / speed;
        }
        total->unknown = total->unknown || (bytes > 0 && place->read_bytes_per_second <= 0);
        total->bytes[i] += steps->times * bytes;
        double reading = place->read_bytes_per_second > 0 ? bytes / place->read_bytes_per_second : 0;
        total->seconds += steps->times * fmax(reading, computing);
        if (reading > computing) total->reading += steps->times * reading;
    }
}

static enum clinfer_status add_prompt(const struct ci_bench_target *target, const struct ci_bench_test *test, int batch,
                                      struct work work, struct total *total) {
    int done = test->depth, end = done + test->prompt;
    enum clinfer_status status = read_plans(target, test->prompt < batch ? test->prompt : batch, 1, &work);
    while (done < end && status == CLINFER_OK) {
        int rows = end - done < batch ? end - done : batch;
        const struct steps steps = {1, rows, done + rows == end, done + rows, rows * (done + 0.5 * (rows + 1))};
        add_steps(&work, &steps, total);
        done += rows;
    }
    return status;
}

static enum clinfer_status add_decode(const struct ci_bench_target *target, const struct ci_bench_test *test, int batch,
                                      struct work work, struct total *total) {
    /* More sequences than a step holds take turns. */
    int rows = test->sequences < batch ? test->sequences : batch;
    enum clinfer_status status = read_plans(target, rows, rows, &work);
    for (int i = 1; i <= test->generated && status == CLINFER_OK; i++) {
        double positions = (double)rows * (test->depth + test->prompt + i);
        const struct steps steps = {(double)test->sequences / rows, rows, rows, positions, positions};
        add_steps(&work, &steps, total);
    }
    return status;
}

/* Of the place that reads most, and the unit that it computes most with. */
static void describe(const struct ci_bench_limits *limits, const struct total *total, struct ci_bench_bound *bound) {
    int most = 0;
    for (int i = 1; i < limits->count; i++)
        if (total->bytes[i] > total->bytes[most]) most = i;
    const double *operations = total->operations[most];
    int unit = UNIT_F32;
    for (int i = 1; i < CI_BENCH_UNITS; i++)
        if (operations[i] > operations[unit]) unit = i;
    *bound = (struct ci_bench_bound){.read_bytes_per_second = limits->places[most].read_bytes_per_second,
                                     .operations_per_second = operations_per_second(&limits->places[most], unit)};
    if (total->unknown) return;
    bound->seconds = total->seconds;
    bound->reading = total->reading > total->seconds / 2;
}

enum clinfer_status ci_bench_limits_bound(const struct ci_bench_target *target, const struct ci_bench_limits *limits,
                                          const struct ci_bench_test *test, struct ci_bench_bound *bound) {
    const struct clinfer_engine *engine = target->engine;
    const struct work work = {.limits = limits, .engine = engine};
    struct total total = {0};
    int batch = (int)engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    enum clinfer_status status = CLINFER_OK;
    if (test->prompt > 0) status = add_prompt(target, test, batch, work, &total);
    if (test->generated > 0 && status == CLINFER_OK) status = add_decode(target, test, batch, work, &total);
    if (status == CLINFER_OK) describe(limits, &total, bound);
    return status;
}
