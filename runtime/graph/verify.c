#include "graph/verify.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/watch.h"
#include "graph/plan_private.h"
#include "proof/judge_real.h"

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

static enum clinfer_status judge_outputs(const struct step *step, struct ci_sample_call *sample,
                                         struct ci_verify_step *report) {
    struct ci_sample_call result;
    struct ci_gate_result verdict = {0};
    report->not_finite = 0;
    enum clinfer_status status = ci_sample_copy(sample, &result);
    if (status == CLINFER_OK) status = fetch_outputs(step, &result);
    for (int i = 0; i < sample->op->outputs && status == CLINFER_OK; i++)
        if (!(sample->op->state_outputs >> i & 1)) report->not_finite += ci_view_not_finite(&result.call.out[i]);
    if (status == CLINFER_OK) status = ci_judge_real(sample, &result, &verdict);
    ci_sample_destroy(&result);
    report->passed = verdict.passed;
    report->nmse = verdict.nmse;
    report->worst = verdict.worst;
    snprintf(report->text, sizeof report->text, "%s", verdict.text);
    return status;
}

/* Bytes that were read wrongly once are no kernel's fault. */
static enum clinfer_status judge(const struct step *step, struct ci_sample_call *sample,
                                 struct ci_verify_step *report) {
    enum clinfer_status status = judge_outputs(step, sample, report);
    return status == CLINFER_OK && !report->passed ? judge_outputs(step, sample, report) : status;
}

static enum clinfer_status verify_step(struct ci_plan *plan, int index, int64_t cache_rows,
                                       struct ci_verify_step *report) {
    const struct step *step = &plan->steps[index];
    struct ci_plan_step names;
    ci_plan_step(plan, index, &names);
    *report = (struct ci_verify_step){.index = index,
                                      .label = names.label,
                                      .op = names.op,
                                      .variant = names.variant,
                                      .place = names.place,
                                      .passed = true};
    if (!step->node) return run(plan, index, report);
    report->gate_nmse = step->node->op->gate.nmse;
    if (step->call.out[0].rows == 0) return CLINFER_OK;
    struct ci_sample_call sample = {0};
    enum clinfer_status status = fetch_inputs(step, cache_rows, &sample);
    if (status == CLINFER_OK) status = run(plan, index, report);
    if (status == CLINFER_OK && report->status == CLINFER_OK) status = judge(step, &sample, report);
    ci_sample_destroy(&sample);
    return status;
}

enum clinfer_status ci_plan_verify(struct ci_plan *plan, int64_t cache_rows, ci_verify_callback *callback, void *user) {
    assert(plan->ready);
    enum clinfer_status status = ci_plan_send_inputs(plan);
    if (status != CLINFER_OK) status = ci_plan_send_inputs(plan);
    for (int i = 0; i < plan->step_count && status == CLINFER_OK; i++) {
        struct ci_verify_step report;
        ci_watch_begin(CI_WATCH_STEP, plan->estimate);
        status = verify_step(plan, i, cache_rows, &report);
        if (status != CLINFER_OK || !callback(user, &report)) break;
    }
    return status;
}

bool ci_plan_quarantine(struct ci_plan *plan, int index, const char *reason) {
    const struct step *step = &plan->steps[index];
    if (!step->node || !step->variant || !plan->store->choices) return false;
    ci_plan_ban(plan, step->place, step->variant, step->tunables, &step->call, reason);
    return true;
}
