#include "graph/verify.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/watch.h"
#include "graph/plan_private.h"
#include "proof/judge_real.h"
#include "proof/sample_run.h"

/* Bytes of a view's rows on the host, from wherever they are. There are hundreds of such reads in a step: one that
 * fails is done again. */
static enum clinfer_status fetch(const struct ci_view *view, void *host) {
    size_t bytes = ci_view_bytes(view);
    if (bytes == 0) return CLINFER_OK;
    if (view->buffer && ci_buffer_read(view->buffer, view->offset, host, bytes) == CLINFER_OK) return CLINFER_OK;
    if (view->buffer) return ci_buffer_read(view->buffer, view->offset, host, bytes);
    memcpy(host, view->data, bytes);
    return CLINFER_OK;
}

static enum clinfer_status fetch_new(struct ci_view *view, void **memory) {
    size_t bytes = (ci_view_bytes(view) + 64) / 64 * 64;
    *memory = aligned_alloc(64, bytes);
    if (!*memory) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of a step's inputs", bytes);
    enum clinfer_status status = fetch(view, *memory);
    view->data = *memory;
    view->buffer = NULL;
    view->offset = 0;
    return status;
}

/* A cache is looked at as far as it is used; what the run before has sampled may be more than this run's rows. */
static void cut(struct ci_view *view, const struct ci_tensor *tensor, int64_t cache_rows) {
    if (tensor->kind != CI_TENSOR_STATE) return;
    view->rows = tensor->view.rows;
    if (view->extent == CI_EXTENT_FIXED && view->rows > cache_rows) view->rows = cache_rows;
}

/* The step's call with all inputs on the host, and state outputs as they are before it. Weights are those of the file,
 * as stored: what was packed or copied wrongly shows, too. */
static enum clinfer_status fetch_inputs(const struct step *step, int64_t cache_rows, struct ci_sample_call *sample) {
    *sample = (struct ci_sample_call){.op = step->node->op, .call = step->call};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < sample->op->inputs && status == CLINFER_OK; i++) {
        struct ci_view *view = &sample->call.in[i];
        if (!step->in[i]) continue;
        if (step->in[i]->kind == CI_TENSOR_WEIGHT) {
            view->layout = &ci_layout_stored;
            view->data = (void *)(uintptr_t)step->in[i]->host;
            view->buffer = NULL;
            view->offset = 0;
            continue;
        }
        if (step->in[i]->kind == CI_TENSOR_INPUT) { /* what was sent, not what the device says it got */
            view->data = step->node->in[i]->view.data;
            view->buffer = NULL;
            view->offset = 0;
            continue;
        }
        cut(view, step->in[i], cache_rows);
        status = fetch_new(view, &sample->memory[i]);
    }
    for (int i = 0; i < sample->op->outputs && status == CLINFER_OK; i++) {
        struct ci_view *view = &sample->call.out[i];
        if (sample->op->state_outputs >> i & 1) {
            cut(view, step->out[i], cache_rows);
            status = fetch_new(view, &sample->memory[CI_MAX_INPUTS + i]);
        } else {
            view->data = NULL;
            view->buffer = NULL;
        }
    }
    return status;
}

static enum clinfer_status fetch_outputs(const struct step *step, const struct ci_sample_call *result) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < result->op->outputs && status == CLINFER_OK; i++) {
        struct ci_view view = step->call.out[i];
        view.rows = result->call.out[i].rows;
        status = fetch(&view, result->call.out[i].data);
    }
    return status;
}

static enum clinfer_status run_and_wait(struct ci_plan *plan, int index) {
    const struct step *step = &plan->steps[index];
    const struct section section = {step->node ? step->place : -1, index, 1};
    struct ci_device *device = plan->store->places[step->place].device;
    enum clinfer_status status = ci_plan_run_section(plan, &section);
    if (status == CLINFER_OK && device) status = ci_device_finish(device);
    return status;
}

/* What fails once may be an accident; what fails twice is a kernel's fault where the device does other things. Step and
 * report as in verify_step. */
static enum clinfer_status run(struct ci_plan *plan, int index, struct ci_verify_step *report) {
    report->status = run_and_wait(plan, index);
    if (report->status != CLINFER_OK) report->status = run_and_wait(plan, index);
    if (report->status == CLINFER_OK) return CLINFER_OK;
    report->passed = false;
    snprintf(report->text, sizeof report->text, "%s", ci_status_message());
    struct ci_device *device = plan->store->places[plan->steps[index].place].device;
    return device ? ci_device_works(device) : CLINFER_OK;
}

/* Those that the step reads. */
static const int32_t *slots_of(const struct step *step, const struct ci_cache_use *caches) {
    for (int i = 0; i < step->node->op->inputs; i++)
        for (int k = 0; k < CI_CACHE_SLOTS; k++)
            if (step->node->in[i] && caches->slots[k] && step->node->in[i]->view.data == caches->slots[k])
                return caches->slots[k];
    return caches->slots[0];
}

/* Numbers of the step's outputs that are not finite, of caches in the rows that it writes. */
static int64_t count_not_finite(const struct step *step, const struct ci_sample_call *result,
                                const struct ci_cache_use *caches) {
    const int32_t *slots = slots_of(step, caches);
    int64_t count = 0;
    for (int i = 0; i < result->op->outputs; i++) {
        const struct ci_view *view = &result->call.out[i];
        bool state = result->op->state_outputs >> i & 1;
        if (!state) count += ci_view_not_finite(view);
        for (int64_t k = 0; state && k < caches->slot_count; k++)
            if (slots[k] >= 0) count += ci_row_not_finite(view, slots[k]);
    }
    return count;
}

static bool writes_narrow_cache(const struct ci_sample_call *result) {
    for (int i = 0; i < result->op->outputs; i++)
        if ((result->op->state_outputs >> i & 1) && result->call.out[i].type != &ci_type_f32) return true;
    return false;
}

static enum clinfer_status judge_outputs(const struct step *step, struct ci_sample_call *sample,
                                         struct ci_verify_step *report) {
    struct ci_sample_call result;
    struct ci_gate_result verdict = {0};
    report->not_finite = 0;
    enum clinfer_status status = ci_sample_copy(sample, &result);
    if (status == CLINFER_OK) status = fetch_outputs(step, &result);
    if (status == CLINFER_OK) report->not_finite = count_not_finite(step, &result, &report->caches);
    report->own = report->not_finite > 0 && !ci_sample_reads_not_finite(sample);
    report->in_cache = report->own && writes_narrow_cache(&result);
    const struct ci_watch_pause pause = ci_watch_pause(); /* slow, but in nobody's driver */
    if (status == CLINFER_OK) status = ci_judge_real(sample, &result, &verdict);
    ci_watch_resume(&pause);
    ci_sample_destroy(&result);
    report->passed = verdict.passed;
    report->own = report->own && verdict.passed;
    report->in_cache = report->in_cache && verdict.passed;
    report->nmse = verdict.nmse;
    report->allowed = verdict.allowed;
    report->worst = verdict.worst;
    snprintf(report->text, sizeof report->text, "%s", verdict.text);
    return status;
}

/* Bytes that were read wrongly once are no kernel's fault, nor is what a device gives that computes nothing. */
static enum clinfer_status judge(struct ci_plan *plan, const struct step *step, struct ci_sample_call *sample,
                                 struct ci_verify_step *report) {
    struct ci_device *device = plan->store->places[step->place].device;
    enum clinfer_status status = judge_outputs(step, sample, report);
    if (status == CLINFER_OK && !report->passed) status = judge_outputs(step, sample, report);
    return status == CLINFER_OK && !report->passed && device ? ci_device_works(device) : status;
}

static enum clinfer_status verify_step(struct ci_plan *plan, int index, const struct ci_cache_use *caches,
                                       struct ci_verify_step *report) {
    const struct step *step = &plan->steps[index];
    struct ci_plan_step names;
    ci_plan_step(plan, index, &names);
    *report = (struct ci_verify_step){.index = index,
                                      .label = names.label,
                                      .op = names.op,
                                      .variant = names.variant,
                                      .place = names.place,
                                      .caches = *caches,
                                      .passed = true};
    if (!step->node) return run(plan, index, report);
    report->allowed = ci_op_gate(step->node->op, &step->call).nmse;
    if (step->call.out[0].rows == 0) return CLINFER_OK;
    struct ci_sample_call sample = {0};
    enum clinfer_status status = fetch_inputs(step, caches->rows, &sample);
    if (status == CLINFER_OK) status = run(plan, index, report);
    if (status == CLINFER_OK && report->status == CLINFER_OK) status = judge(plan, step, &sample, report);
    ci_sample_destroy(&sample);
    return status;
}

enum clinfer_status ci_plan_verify(struct ci_plan *plan, const struct ci_cache_use *caches,
                                   ci_verify_callback *callback, void *user) {
    assert(plan->ready);
    enum clinfer_status status = ci_plan_send_inputs(plan);
    if (status != CLINFER_OK) status = ci_plan_send_inputs(plan);
    for (int i = 0; i < plan->step_count && status == CLINFER_OK; i++) {
        struct ci_verify_step report;
        ci_watch_begin_alone(plan->estimate);
        status = verify_step(plan, i, caches, &report);
        if (status != CLINFER_OK || !callback(user, &report)) break;
    }
    return status;
}

/* ---- looking at each step, comparing few ---- */

/* What lies on a device is read into `room`, which no output of a step exceeds. */
struct look {
    struct ci_walk *walk;
    void *room;
};

static enum clinfer_status make_room(const struct ci_plan *plan, void **room) {
    size_t most = 0;
    for (int i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        for (int k = 0; step->node && k < step->node->op->outputs; k++) {
            struct ci_view view = step->call.out[k];
            if (step->node->op->state_outputs >> k & 1) view.rows = plan->rows[CI_EXTENT_ROWS];
            if (view.buffer && ci_view_bytes(&view) > most) most = ci_view_bytes(&view);
        }
    }
    *room = malloc(most + 1);
    return *room ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of outputs", most);
}

static enum clinfer_status look_at_rows(const struct look *look, const struct ci_view *view, int64_t first,
                                        int64_t rows, bool *finite) {
    struct ci_view part = *view;
    size_t skipped = (size_t)first * ci_type_row_bytes(view->type, view->cols);
    part.rows = rows;
    part.offset += skipped;
    enum clinfer_status status = part.buffer ? fetch(&part, look->room) : CLINFER_OK;
    part.data = part.buffer ? look->room : (uint8_t *)view->data + skipped;
    *finite = *finite && (status != CLINFER_OK || ci_view_not_finite(&part) == 0);
    return status;
}

/* Rows of a cache follow each other within a page at least. */
static enum clinfer_status look_at_cache(const struct look *look, const struct step *step, const struct ci_view *view,
                                         bool *finite) {
    const int32_t *slots = slots_of(step, &look->walk->caches);
    enum clinfer_status status = CLINFER_OK;
    for (int64_t i = 0, next; i < look->walk->caches.slot_count && status == CLINFER_OK; i = next) {
        for (next = i + 1; next < look->walk->caches.slot_count && slots[next] == slots[next - 1] + 1;) next++;
        status = look_at_rows(look, view, slots[i], next - i, finite);
    }
    return status;
}

static enum clinfer_status look_at_outputs(const struct look *look, const struct step *step, bool *finite) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < step->node->op->outputs && status == CLINFER_OK; i++) {
        const struct ci_view *view = &step->call.out[i];
        if (view->type == &ci_type_i32) continue;
        if (step->node->op->state_outputs >> i & 1)
            status = look_at_cache(look, step, view, finite);
        else
            status = look_at_rows(look, view, 0, view->rows, finite);
    }
    return status;
}

/* What is rightly not finite (a model's own numbers; a cache that was spoilt before) makes everything behind it so:
 * *clean is false from there on, and nothing more is looked at. */
static enum clinfer_status walk_step(struct ci_plan *plan, int index, const struct look *look, bool *clean) {
    const struct step *step = &plan->steps[index];
    struct ci_walk *walk = look->walk;
    bool suspect = plan->suspect == index, finite = true;
    if (step->node && step->call.out[0].rows == 0) return CLINFER_OK;
    double start = ci_now();
    bool ran = run_and_wait(plan, index) == CLINFER_OK;
    enum clinfer_status status = CLINFER_OK;
    if (ran && step->node && *clean) status = look_at_outputs(look, step, &finite);
    walk->steps++;
    double end = ci_now();
    walk->seconds += end - start;
    if (status != CLINFER_OK || (ran && finite && !suspect)) return status;
    status = verify_step(plan, index, &walk->caches, &walk->last);
    walk->compare_seconds += ci_now() - end;
    walk->compared++;
    walk->compared_suspect = walk->compared_suspect || suspect;
    if (suspect) plan->suspect = -1;
    if (walk->last.own && !walk->own.label) walk->own = walk->last;
    *clean = *clean && walk->last.not_finite == 0;
    return status;
}

enum clinfer_status ci_plan_walk(struct ci_plan *plan, struct ci_walk *walk) {
    assert(plan->ready);
    struct look look = {.walk = walk};
    bool clean = true;
    *walk = (struct ci_walk){.caches = walk->caches, .last = {.passed = true}};
    enum clinfer_status status = make_room(plan, &look.room);
    if (status == CLINFER_OK && ci_plan_send_inputs(plan) != CLINFER_OK) status = ci_plan_send_inputs(plan);
    for (int i = 0; i < plan->step_count && status == CLINFER_OK && walk->last.passed; i++) {
        ci_watch_begin_alone(plan->estimate);
        status = walk_step(plan, i, &look, &clean);
    }
    free(look.room);
    return status;
}

void ci_plan_suspect(struct ci_plan *plan, int step) { plan->suspect = step; }

void ci_plan_suspect_writer(struct ci_plan *plan, const struct ci_tensor *tensor) {
    for (int i = 0; i < plan->step_count; i++)
        for (int k = 0; k < CI_MAX_OUTPUTS; k++)
            if (plan->steps[i].out[k] == tensor) plan->suspect = i;
}

bool ci_plan_has_suspect(const struct ci_plan *plan) { return plan->suspect >= 0; }

/* ---- the kernel's fault, or the numbers' ---- */

static const struct ci_layout *layout_of_weights(const struct step *step) {
    for (int i = 0; i < step->node->op->inputs; i++)
        if (step->call.in[i].type && (step->node->op->weight_inputs >> i & 1)) return step->call.in[i].layout;
    return NULL;
}

/* Whether the step's variant fails or is wrong with numbers of our own, twice; *text tells how. What was sent by the
 * engine itself (positions, slots, settings of the sampler) stays: it is nothing that a file could have spoilt. */
static bool fails_with_own_numbers(struct ci_plan *plan, const struct ci_verify_step *wrong, char text[256]) {
    enum { SEED = 33, TRIES = 2 };
    const struct step *step = &plan->steps[wrong->index];
    struct ci_device *device = plan->store->places[step->place].device;
    struct ci_sample_call sample;
    struct ci_gate_result verdict = {0};
    unsigned ours = 0;
    for (int i = 0; i < step->node->op->inputs; i++)
        if (step->in[i] && step->in[i]->kind != CI_TENSOR_INPUT) ours |= 1u << i;
    enum clinfer_status status = fetch_inputs(step, wrong->caches.rows, &sample);
    if (status == CLINFER_OK) status = ci_sample_renumber(&sample, ours, SEED);
    bool fails = status == CLINFER_OK;
    for (int i = 0; i < TRIES && fails; i++) {
        status = ci_sample_prove(device, step->variant, step->tunables, layout_of_weights(step), &sample, &verdict);
        fails = status != CLINFER_OK || !verdict.passed;
        snprintf(text, 256, "%s", status != CLINFER_OK ? ci_status_message() : verdict.text);
    }
    ci_sample_destroy(&sample);
    return fails && (!device || ci_device_works(device) == CLINFER_OK);
}

bool ci_plan_set_aside(struct ci_plan *plan, const struct ci_verify_step *wrong, bool *quarantined) {
    const struct step *step = &plan->steps[wrong->index];
    char text[256] = "";
    *quarantined = false;
    if (!step->node || !step->variant || !plan->store->choices) return false;
    enum ci_watch_kind before = ci_watch_begin(CI_WATCH_BUILD, 0);
    *quarantined = fails_with_own_numbers(plan, wrong, text);
    ci_watch_begin(before, 0);
    ci_plan_ban(plan, step->place, step->variant, step->tunables, &step->call, *quarantined ? text : wrong->text,
                *quarantined);
    return true;
}
