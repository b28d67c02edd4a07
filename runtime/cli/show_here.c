/* show_here.c: what running a model on this machine would be like: an engine is opened as far as engine/preview.h goes,
 * which decides everything and loads nothing. */
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/show.h"
#include "engine/preview.h"

/* Steps that are alike are one. */
static void add_step(void *user, const struct clinfer_plan_step *step) {
    struct ci_show_here *here = user;
    struct ci_show_op op = {.fallback = step->fallback};
    snprintf(op.op, sizeof op.op, "%s", step->op);
    ci_format_types(step->types, op.types, sizeof op.types);
    snprintf(op.variant, sizeof op.variant, "%s", step->variant);
    snprintf(op.place, sizeof op.place, "%s", step->place);
    for (int i = 0; i < here->op_count; i++) {
        struct ci_show_op *known = &here->ops[i];
        if (strcmp(known->op, op.op) != 0 || strcmp(known->types, op.types) != 0 ||
            strcmp(known->variant, op.variant) != 0 || strcmp(known->place, op.place) != 0)
            continue;
        known->count++;
        return;
    }
    if (here->op_count == CI_SHOW_OPS) return;
    op.count = 1;
    here->ops[here->op_count++] = op;
}

static void add_memory(void *user, const struct ci_preview_memory *memory) {
    struct ci_show_here *here = user;
    if ((size_t)here->memory_count == sizeof here->memory / sizeof *here->memory) return;
    struct ci_show_memory *added = &here->memory[here->memory_count++];
    *added = (struct ci_show_memory){
        .weights = memory->weights, .cache = memory->cache, .activations = memory->activations, .most = memory->most};
    snprintf(added->place, sizeof added->place, "%s", memory->place);
}

enum clinfer_status ci_show_here_find(const struct clinfer_engine_options *options, struct ci_show_here *here) {
    clinfer_engine *engine = NULL;
    struct clinfer_engine_info info;
    *here = (struct ci_show_here){0};
    enum clinfer_status status = ci_preview_open(options, &engine, &here->fits);
    if (status == CLINFER_OK) {
        clinfer_engine_get_info(engine, &info);
        snprintf(here->device, sizeof here->device, "%s", info.device);
        snprintf(here->tuning, sizeof here->tuning, "%s", info.tuning);
        here->context = info.context;
        here->model_context = info.model_context;
        status = ci_preview_steps(engine, 1, add_step, here);
    }
    if (status == CLINFER_OK) status = ci_preview_memory(engine, add_memory, here);
    here->runs = status == CLINFER_OK;
    if (!here->runs) snprintf(here->reason, sizeof here->reason, "%s", clinfer_error());
    clinfer_engine_close(engine);
    return status == CLINFER_OUT_OF_MEMORY && here->fits ? status : CLINFER_OK;
}

static uint64_t total_of(const struct ci_show_memory *memory) {
    return memory->weights + memory->cache + memory->activations;
}

static void print_memory(const struct ci_show_here *here) {
    char total[CI_AMOUNT_BYTES], most[CI_AMOUNT_BYTES], weights[CI_AMOUNT_BYTES], cache[CI_AMOUNT_BYTES],
        work[CI_AMOUNT_BYTES];
    for (int i = 0; i < here->memory_count; i++) {
        const struct ci_show_memory *memory = &here->memory[i];
        ci_printf("  %-13s %s%s%s of %s: weights %s, KV cache %s for %d tokens, %s to work in\n", i ? "" : "fits",
                  i ? "" : "yes, ", i || here->memory_count > 1 ? ci_one_line(memory->place) : "in ",
                  ci_format_bytes(total_of(memory), total), ci_format_bytes(memory->most, most),
                  ci_format_bytes(memory->weights, weights), ci_format_bytes(memory->cache, cache), here->context,
                  ci_format_bytes(memory->activations, work));
    }
    if (here->context < here->model_context)
        ci_printf("  %-13s %d tokens of the %d that the model was made for\n", "", here->context, here->model_context);
}

void ci_show_here_print(const struct ci_show_here *here) {
    if (!here->runs) {
        ci_printf("  %-13s no: %s\n", here->fits ? "runs here" : "fits", ci_one_line(here->reason));
        return;
    }
    print_memory(here);
    ci_printf("\nWhat would run here, for a token: %s; tuning: %s\n", ci_one_line(here->device), here->tuning);
    for (int i = 0; i < here->op_count; i++) {
        const struct ci_show_op *op = &here->ops[i];
        ci_printf("  %-18s x%-4d %-28s %-28s %s%s\n", op->op, op->count, op->types, op->variant, ci_one_line(op->place),
                  op->fallback ? " (fallback)" : "");
    }
}

void ci_show_here_add(const struct ci_show_here *here, json_t *object) {
    json_t *ops = json_array(), *memory = json_array();
    for (int i = 0; i < here->op_count; i++) {
        const struct ci_show_op *op = &here->ops[i];
        json_array_append_new(ops,
                              json_pack("{s:s, s:i, s:s, s:s, s:o, s:b}", "op", op->op, "count", op->count, "types",
                                        op->types, "variant", op->variant, "place",
                                        ci_json_text(op->place, strlen(op->place)), "fallback", (int)op->fallback));
    }
    for (int i = 0; i < here->memory_count; i++) {
        const struct ci_show_memory *at = &here->memory[i];
        json_array_append_new(memory, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "place",
                                                ci_json_text(at->place, strlen(at->place)), "weight_bytes",
                                                (json_int_t)at->weights, "kv_cache_bytes", (json_int_t)at->cache,
                                                "activation_bytes", (json_int_t)at->activations, "total_bytes",
                                                (json_int_t)total_of(at), "limit_bytes", (json_int_t)at->most));
    }
    json_object_set_new(object, "here",
                        json_pack("{s:b, s:b, s:o, s:o, s:s, s:i, s:o, s:o}", "runs", (int)here->runs, "fits",
                                  (int)here->fits, "reason", ci_json_text(here->reason, strlen(here->reason)), "device",
                                  ci_json_text(here->device, strlen(here->device)), "tuning", here->tuning, "context",
                                  here->context, "memory", memory, "ops", ops));
}
