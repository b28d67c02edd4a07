/* plan.c: making and running plans; see plan.h. */
#define _GNU_SOURCE
#include "graph/plan.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/watch.h"
#include "graph/plan_private.h"
#include "ops/chain.h"
#include "ops/product.h"
#include "ops/signature.h"
#include "trace/probes.h"

static enum clinfer_status make_sections(struct ci_plan *plan) {
    plan->sections = ci_arena_array(&plan->graph.arena, (size_t)plan->step_count + 1, sizeof *plan->sections);
    if (!plan->sections) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    for (int i = 0; i < plan->step_count; i++) {
        int place = plan->steps[i].node ? plan->steps[i].place : -1;
        struct section *last = plan->section_count ? &plan->sections[plan->section_count - 1] : NULL;
        if (last && last->place == place && place >= 0)
            last->count++;
        else
            plan->sections[plan->section_count++] = (struct section){place, i, 1};
    }
    return CLINFER_OK;
}

/* What goes from one device to another passes through the host. */
static enum clinfer_status make_staging(struct ci_plan *plan) {
    size_t most = 0;
    for (int i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        if (step->node || step->source->place == CI_PLACE_CPU || step->place == CI_PLACE_CPU) continue;
        const struct ci_view *view = &step->source->view;
        size_t bytes = ci_type_row_bytes(view->type, view->cols) * (size_t)view->rows;
        if (bytes > most) most = bytes;
    }
    if (!most) return CLINFER_OK;
    plan->staging = malloc(most);
    return plan->staging ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes", most);
}

static enum clinfer_status make_placeholders(struct ci_plan *plan) {
    enum { PLACEHOLDER_BYTES = 4096 };
    for (int i = 1; i < plan->store->place_count; i++) {
        enum clinfer_status status =
            ci_buffer_create(plan->store->places[i].device, PLACEHOLDER_BYTES, NULL, &plan->placeholder[i]);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

static void take_view(const struct ci_plan *plan, const struct ci_tensor *tensor, struct ci_view *view) {
    *view = (struct ci_view){0};
    if (!tensor) return;
    *view = tensor->view;
    if (view->extent != CI_EXTENT_FIXED) view->rows = plan->rows[view->extent];
}

static size_t live_bytes(const struct ci_plan *plan, const struct ci_tensor *tensor) {
    int64_t rows = tensor->view.extent == CI_EXTENT_FIXED ? tensor->view.rows : plan->rows[tensor->view.extent];
    if (tensor->kind == CI_TENSOR_STATE) rows = tensor->view.rows; /* of the run before, which may have had more */
    return ci_type_row_bytes(tensor->view.type, tensor->view.cols) * (size_t)rows;
}

/* Inputs of a run have their bytes on the host too, wherever it runs: lengths of sequences, tokens. */
static void count_step(const struct step *step, float *bytes, float *operations) {
    struct ci_call call = step->call;
    for (int i = 0; i < step->node->op->inputs; i++)
        if (step->node->in[i] && step->node->in[i]->kind == CI_TENSOR_INPUT)
            call.in[i].data = step->node->in[i]->view.data;
    *bytes = (float)ci_op_bytes(step->node->op, &call);
    *operations = (float)ci_op_operations(step->node->op, &call);
}

static void count_steps(struct ci_plan *plan) {
    for (int i = 0; i < plan->step_count; i++) {
        struct step *step = &plan->steps[i];
        if (step->node)
            count_step(step, &step->bytes, &step->operations);
        else
            step->bytes = (float)live_bytes(plan, step->source);
    }
}

void ci_plan_call(const struct ci_plan *plan, const struct step *step, struct ci_call *call) {
    call->params = step->node->params;
    for (int i = 0; i < CI_MAX_INPUTS; i++) take_view(plan, step->in[i], &call->in[i]);
    for (int i = 0; i < CI_MAX_OUTPUTS; i++) take_view(plan, step->out[i], &call->out[i]);
    take_view(plan, step->scratch, &call->scratch);
}

enum clinfer_status ci_plan_set_rows(struct ci_plan *plan, const int64_t rows[CI_EXTENT_COUNT]) {
    bool moved = plan->generation != plan->store->generation;
    if (plan->ready && !moved && memcmp(plan->rows, rows, sizeof plan->rows) == 0) return CLINFER_OK;
    for (int i = 1; i < CI_EXTENT_COUNT; i++) assert(rows[i] >= 0 && rows[i] <= plan->graph.rows[i]);
    memcpy(plan->rows, rows, sizeof plan->rows);
    plan->ready = false; /* until every step has its arguments */
    for (int i = 0; i < plan->step_count; i++) {
        struct step *step = &plan->steps[i];
        if (!step->node) continue;
        ci_plan_call(plan, step, &step->call);
        if (step->bound && moved) ci_bind_forget(step->bound);
        enum clinfer_status status = step->bound ? ci_bind_update(step->bound, &step->call) : CLINFER_OK;
        if (status != CLINFER_OK) return status;
    }
    ci_plan_update_chains(plan);
    plan->ready = true;
    plan->generation = plan->store->generation;
    if (plan->store->trace) count_steps(plan);
    return CLINFER_OK;
}

/* ---- what is recorded ---- */

/* Steps are told apart as in the table of a tune: by what a choice depends on, but for the rows. */
static void trace_steps(struct ci_plan *plan) {
    for (int i = 0; i < plan->step_count; i++) {
        struct ci_plan_step known;
        ci_plan_step(plan, i, &known);
        plan->steps[i].traced =
            ci_trace_add_step(plan->store->trace,
                              &(struct ci_trace_step){
                                  .label = known.label,
                                  .op = known.op,
                                  .types = known.signature.types,
                                  .layout = known.layout,
                                  .variant = known.variant,
                                  .place = plan->steps[i].place,
                                  .dot8 = strncmp(known.signature.types, "q8,", 3) == 0,
                                  .dot16_rows = ci_product_16_bit_rows(known.op, known.signature.types, known.variant),
                                  .k = known.signature.k,
                                  .n = known.signature.n});
    }
}

/* Seconds of a step, rather too many than too few. What was measured here says it: the time of the op, or its bytes and
 * operations on this device. Without that, those of a device that is slow. */
static double step_seconds(const struct ci_plan *plan, int index) {
    double bytes_per_second = 4e9, operations_per_second = 20e9, known = 0;
    const struct step *step = &plan->steps[index];
    const struct ci_choices *choices = plan->store->choices;
    struct ci_plan_step counted;
    ci_plan_step(plan, index, &counted);
    if (choices && ci_choices_measured_here(&choices->places[step->place])) {
        const struct ci_profile_device *measured = &choices->places[step->place].profile.measured;
        struct ci_chooser chooser = ci_store_chooser(plan->store, step->place);
        if (step->node) known = ci_choices_seconds(&chooser, step->node);
        if (measured->read_bytes_per_second > 0) bytes_per_second = measured->read_bytes_per_second;
        if (measured->operations_per_second > 0) operations_per_second = measured->operations_per_second;
    }
    return fmax(known, counted.bytes / bytes_per_second + counted.operations / operations_per_second);
}

/* What a device has in its queue when the host begins to wait for it: nothing is known of its single steps before that,
 * since an event for each would be a cost of every run. The CPU tells of each. */
static double estimate(const struct ci_plan *plan) {
    double longest = 0, queued = 0;
    for (int i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        bool on_cpu = step->node && step->place == CI_PLACE_CPU, is_copy = !step->node;
        double seconds = step_seconds(plan, i);
        if (!on_cpu) queued += seconds;
        longest = fmax(longest, on_cpu ? seconds : queued);
        if (is_copy && step->source->place != CI_PLACE_CPU) queued = 0;
    }
    return longest;
}

static struct ci_trace_span span_of(const struct ci_plan *plan, const struct step *step) {
    const struct ci_trace *trace = plan->store->trace;
    struct ci_trace_span span = {
        .step = step->traced, .run = trace->run_count - 1, .bytes = step->bytes, .operations = step->operations};
    span.kind = step->node ? CI_TRACE_OP : CI_TRACE_CROSSING;
    /* What the op reads beside its inputs follows from their data, which differs in each run. */
    if (step->node && step->node->op->extra_bytes) count_step(step, &span.bytes, &span.operations);
    return span;
}

/* A step that the host has computed. */
static void trace_step(const struct ci_plan *plan, const struct step *step, double start, double end) {
    struct ci_trace_span span = span_of(plan, step);
    span.start = start;
    span.end = end;
    if (step->traced >= 0) ci_trace_add(plan->store->trace, &span);
}

static const char *variant_name(const struct step *step) { return step->variant ? step->variant->name : "reference"; }

static void probe_done(const struct ci_trace *trace, const struct ci_device_record *record) {
    int64_t index = (int64_t)record->tag;
    if (index < 0) return;
    const struct ci_trace_span *span = ci_trace_span(trace, index);
    const struct ci_trace_step *step = trace->steps[span->step];
    const char *phase = ci_trace_phase_names[trace->runs[span->run].phase];
    CI_PROBE(op_done, step->op, step->label, step->variant, phase, step->k, step->n, (int)record->more,
             CI_PROBE_NANOSECONDS(record->start), CI_PROBE_NANOSECONDS(record->end));
}

void ci_plan_collect(struct ci_plan *plan) {
    enum { RECORDS = 64 };
    struct ci_device_record records[RECORDS];
    struct ci_trace *trace = plan->store->trace;
    if (!trace) return;
    for (int i = 1; i < plan->store->place_count; i++) {
        int count;
        do {
            count = ci_device_record_take(plan->store->places[i].device, records, RECORDS);
            for (int k = 0; k < count; k++) {
                ci_trace_settle(trace, (int64_t)records[k].tag, records[k].enqueued, records[k].start, records[k].end,
                                records[k].more);
                probe_done(trace, &records[k]);
            }
        } while (count == RECORDS);
    }
}

/* ---- making ---- */

enum clinfer_status ci_plan_create(struct ci_store *store, struct ci_graph *graph,
                                   const struct ci_plan_options *options, struct ci_plan **out) {
    *out = NULL;
    enum clinfer_status status = graph->status;
    struct ci_plan *plan = calloc(1, sizeof *plan);
    if (!plan) {
        ci_graph_destroy(graph);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    }
    plan->store = store;
    plan->graph = *graph;
    plan->options = *options;
    plan->suspect = -1;
    *graph = (struct ci_graph){0};
    struct ci_chooser by_place[CI_MAX_PLACES];
    for (int i = 0; i < store->place_count; i++) by_place[i] = ci_store_chooser(store, i);
    for (struct ci_node *node = plan->graph.first; node; node = node->next)
        node->place = options->place_of_unit ? options->place_of_unit[node->unit] : store->preferred;
    if (status == CLINFER_OK) status = ci_pass_activations(&plan->graph, options->activations, by_place);
    if (status == CLINFER_OK) status = ci_pass_fuse(&plan->graph, by_place);
    if (status == CLINFER_OK) status = make_placeholders(plan);
    if (status == CLINFER_OK) status = ci_plan_inputs(plan);
    if (status == CLINFER_OK) status = ci_plan_choose(plan);
    if (status == CLINFER_OK) status = ci_plan_memory(plan);
    if (status == CLINFER_OK) status = make_sections(plan);
    if (status == CLINFER_OK) status = make_staging(plan);
    if (status == CLINFER_OK) status = ci_plan_set_rows(plan, plan->graph.rows);
    if (status == CLINFER_OK && store->trace) trace_steps(plan);
    plan->estimate = status == CLINFER_OK ? estimate(plan) : 0;
    if (status != CLINFER_OK) {
        ci_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return CLINFER_OK;
}

void ci_plan_destroy(struct ci_plan *plan) {
    if (!plan) return;
    ci_plan_unchain(plan);
    for (int i = 0; i < plan->step_count; i++) ci_bind_destroy(plan->steps[i].bound);
    for (int i = 0; i < CI_MAX_PLACES; i++) {
        ci_buffer_destroy(plan->device_memory[i]);
        ci_buffer_destroy(plan->input_device[i]);
        ci_buffer_destroy(plan->placeholder[i]);
    }
    free(plan->host_memory);
    free(plan->staging);
    free(plan->input_host);
    ci_graph_destroy(&plan->graph);
    free(plan);
}

/* ---- running ---- */

struct cpu_section {
    struct ci_plan *plan;
    const struct section *section;
    int step; /* that the first thread is at; -1: none */
};

/* Clocks are read between the probes, so that what a listener takes is no part of an op. */
static void begin_op(struct cpu_section *work, int index) {
    struct step *step = &work->plan->steps[index];
    CI_PROBE(op_begin, index, step->node->op->name, step->node->label, variant_name(step), step->call.in[0].rows,
             step->call.in[0].cols, step->call.out[0].cols);
    work->step = index;
    if (work->plan->store->trace) step->started = ci_now();
}

static void end_op(struct cpu_section *work) {
    if (work->plan->store->trace) work->plan->steps[work->step].ended = ci_now();
    CI_PROBE(op_end, work->step);
    work->step = -1;
}

/* Spans are added when all is done: it would take time between the ops. Waking the threads belongs to the first. */
static void trace_section(struct ci_plan *plan, const struct section *section, double start) {
    enum { SPANS = 64 };
    struct ci_trace_span spans[SPANS];
    int count = 0;
    double now = ci_now();
    for (struct step *step = &plan->steps[section->first]; step < &plan->steps[section->first + section->count];
         step++) {
        if (step->ended == 0) continue;
        if (count == SPANS) {
            ci_trace_add_many(plan->store->trace, spans, count);
            count = 0;
        }
        spans[count] = span_of(plan, step);
        spans[count].start = start > 0 ? start : step->started;
        spans[count].end = step->ended;
        count += step->traced >= 0;
        start = step->ended = 0;
    }
    ci_trace_add_many(plan->store->trace, spans, count);
    ci_trace_host(plan->store->trace, CI_TRACE_PROFILE, now);
}

static void run_cpu_section(void *argument, int thread, int threads) {
    struct cpu_section *work = argument;
    for (int i = 0; i < work->section->count; i++) {
        const struct step *step = &work->plan->steps[work->section->first + i];
        if (step->call.out[0].rows == 0) continue;
        if (thread == 0) begin_op(work, work->section->first + i);
        if (step->function)
            step->function(&step->call, thread, threads);
        else if (thread == 0)
            step->node->op->reference(&step->call);
        if (i + 1 == work->section->count) continue;
        ci_threads_barrier(work->plan->store->threads);
        if (thread != 0) continue;
        end_op(work);
        ci_watch_beat();
    }
}

static enum clinfer_status copy(struct ci_plan *plan, const struct step *step) {
    const struct ci_view *source = &step->source->view, *target = &step->target->view;
    size_t bytes = live_bytes(plan, step->source);
    if (!bytes) return CLINFER_OK;
    if (source->buffer && target->data) return ci_buffer_read(source->buffer, source->offset, target->data, bytes);
    if (target->buffer && source->data)
        return ci_buffer_write_small(target->buffer, target->offset, source->data, bytes);
    if (source->data && target->data) {
        memcpy(target->data, source->data, bytes);
        return CLINFER_OK;
    }
    enum clinfer_status status = ci_buffer_read(source->buffer, source->offset, plan->staging, bytes);
    return status == CLINFER_OK ? ci_buffer_write_small(target->buffer, target->offset, plan->staging, bytes) : status;
}

enum clinfer_status ci_plan_send_inputs(struct ci_plan *plan) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 1; i < plan->store->place_count && status == CLINFER_OK; i++)
        if (plan->input_device[i])
            status = ci_buffer_write_small(plan->input_device[i], 0, plan->input_host, plan->input_bytes);
    return status;
}

enum clinfer_status ci_plan_run_section(struct ci_plan *plan, const struct section *section) {
    struct ci_trace *trace = plan->store->trace;
    struct step *first = &plan->steps[section->first];
    enum clinfer_status status = CLINFER_OK;
    if (section->place == -1) {
        double start = ci_trace_start(trace);
        status = copy(plan, first);
        /* The run goes on with what is behind the copy. */
        if (first->source->view.buffer) ci_watch_begin_alone(plan->estimate);
        if (trace) trace_step(plan, first, start, ci_now());
        CI_PROBE(transfer, first->source->name, live_bytes(plan, first->source), first->source->place, first->place);
        return status;
    }
    if (section->place == CI_PLACE_CPU) {
        double start = ci_now();
        struct cpu_section work = {plan, section, -1};
        for (struct step *step = first; step < first + section->count; step++) {
            atomic_store_explicit(&step->taken, 0, memory_order_relaxed);
            step->call.taken = &step->taken;
        }
        ci_threads_run(plan->store->threads, run_cpu_section, &work);
        if (work.step >= 0) end_op(&work);
        if (trace) trace_section(plan, section, start);
        plan->cpu_seconds += ci_now() - start;
        return CLINFER_OK;
    }
    struct ci_device *device = plan->store->places[section->place].device;
    double start = ci_trace_start(trace);
    for (int i = 0; i < section->count && status == CLINFER_OK; i++) {
        if (trace) {
            struct ci_trace_span span = span_of(plan, &first[i]);
            ci_device_record_tag(device,
                                 first[i].traced >= 0 ? (uint64_t)ci_trace_add(trace, &span) : CI_DEVICE_NO_TAG);
        }
        const struct plan_chain *chain =
            trace ? NULL : ci_plan_chain_at(plan, section->first + i, section->first + section->count);
        status = chain ? ci_chain_enqueue(chain->chain) : ci_bind_enqueue(first[i].bound);
        if (status != CLINFER_OK) plan->suspect = section->first + i;
        if (chain) i += chain->count - 1;
        ci_watch_beat();
    }
    if (trace) ci_device_record_tag(device, CI_DEVICE_NO_TAG); /* what others enqueue belongs to no op */
    if (status == CLINFER_OK) status = ci_device_flush(device);
    ci_trace_host(trace, CI_TRACE_ENQUEUE, start);
    return status;
}

enum clinfer_status ci_plan_run(struct ci_plan *plan) {
    ci_watch_begin_behind(plan->estimate);
    if (!plan->store->ran) ci_watch_build_queued(); /* weights may come from disk only now */
    double start = ci_trace_start(plan->store->trace);
    enum clinfer_status status = ci_plan_send_inputs(plan);
    if (plan->store->place_count > 1) ci_trace_host(plan->store->trace, CI_TRACE_ENQUEUE, start);
    for (int s = 0; s < plan->section_count && status == CLINFER_OK; s++)
        status = ci_plan_run_section(plan, &plan->sections[s]);
    return status;
}

enum clinfer_status ci_plan_write(struct ci_plan *plan, const struct ci_tensor *state, int64_t first, int64_t rows,
                                  const void *data) {
    size_t row_bytes = ci_type_row_bytes(state->view.type, state->view.cols);
    size_t start = row_bytes * (size_t)first, bytes = row_bytes * (size_t)rows;
    (void)plan;
    if (state->view.buffer) return ci_buffer_write_small(state->view.buffer, state->view.offset + start, data, bytes);
    memcpy((uint8_t *)state->view.data + start, data, bytes);
    return CLINFER_OK;
}

enum clinfer_status ci_plan_read(struct ci_plan *plan, const struct ci_tensor *tensor, int64_t first, int64_t rows,
                                 void *out) {
    size_t row_bytes = ci_type_row_bytes(tensor->view.type, tensor->view.cols);
    size_t start = row_bytes * (size_t)first, bytes = row_bytes * (size_t)rows;
    (void)plan;
    if (tensor->view.buffer) return ci_buffer_read(tensor->view.buffer, tensor->view.offset + start, out, bytes);
    memcpy(out, (const uint8_t *)tensor->view.data + start, bytes);
    return CLINFER_OK;
}

enum clinfer_status ci_plan_read_start(struct ci_plan *plan, const struct ci_tensor *tensor, int64_t rows, void *out,
                                       int slot) {
    size_t bytes = ci_type_row_bytes(tensor->view.type, tensor->view.cols) * (size_t)rows;
    if (tensor->view.buffer) return ci_buffer_read_start(tensor->view.buffer, tensor->view.offset, out, bytes, slot);
    return ci_plan_read(plan, tensor, 0, rows, out);
}

enum clinfer_status ci_plan_read_wait(struct ci_plan *plan, const struct ci_tensor *tensor, int slot) {
    enum clinfer_status status = CLINFER_OK;
    if (tensor->view.buffer) status = ci_buffer_read_wait(plan->store->places[tensor->place].device, slot);
    return status;
}

void ci_plan_waited(struct ci_plan *plan, const struct ci_watch_run *run) {
    plan->store->ran = true;
    ci_watch_done(run);
}

int ci_plan_steps(const struct ci_plan *plan) { return plan->step_count; }

void ci_plan_step(const struct ci_plan *plan, int index, struct ci_plan_step *out) {
    const struct step *step = &plan->steps[index];
    const struct ci_device_caps *device = plan->store->places[step->place].caps.device;
    *out = (struct ci_plan_step){
        .place = device ? device->name : "cpu", .reason = step->reason, .fallback = step->fallback};
    if (!step->node) {
        out->label = step->source->name;
        out->op = out->variant = "copy";
        out->bytes = (double)live_bytes(plan, step->source);
        out->layout = "";
        return;
    }
    out->label = step->node->label;
    out->op = step->node->op->name;
    out->variant = variant_name(step);
    const struct ci_call *call = &step->call;
    ci_signature_of(step->node->op, call, &out->signature);
    out->layout = ci_signature_layout(step->node->op, call);
    out->bytes = ci_op_bytes(step->node->op, call);
    out->operations = ci_op_operations(step->node->op, call);
}

void ci_plan_tunables(const struct ci_plan *plan, int index, char *text, size_t size) {
    const struct step *step = &plan->steps[index];
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    int count = step->variant ? ci_signature_tunables(step->variant, step->tunables, tunables) : 0;
    ci_profile_tunables_text(tunables, count, text, size);
}

int ci_plan_waits(const struct ci_plan *plan) {
    int last = plan->step_count - 1, waits = 0;
    while (last > 0 && !plan->steps[last].node) last--;
    /* The results are read together, from each device that has some. */
    const struct ci_node *node = plan->steps[last].node;
    bool counted[CI_MAX_PLACES] = {[CI_PLACE_CPU] = true};
    for (int i = 0; node && i < node->op->outputs; i++) {
        waits += !counted[node->out[i]->place];
        counted[node->out[i]->place] = true;
    }
    for (int i = 0; i < plan->step_count; i++)
        if (!plan->steps[i].node && plan->steps[i].source->place != CI_PLACE_CPU) waits++;
    return waits;
}

int ci_plan_fallbacks(const struct ci_plan *plan) { return plan->fallbacks; }
int ci_plan_stale(const struct ci_plan *plan) { return plan->stale; }
size_t ci_plan_activation_bytes(const struct ci_plan *plan) { return plan->activation_bytes; }
double ci_plan_cpu_seconds(const struct ci_plan *plan) { return plan->cpu_seconds; }
