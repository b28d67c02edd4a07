/* explain.c: `clinfer run --explain`: where every op of a plan runs, why there, and how often the host waits.
 *
 * A model has the same ops in each of its layers, so the text folds equal lines of several layers into one ("blk.0-29.
 * attn_q"); JSON has them all. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"

enum { PROMPT_ROWS = 64 };

struct group {
    char name[96]; /* label with the layer's number left out */
    bool in_layer;
    char op[32], variant[48], place[128], reason[256];
    bool fallback;
    int steps, first_layer, last_layer;
    double bytes, operations;
};

struct groups {
    struct group *items;
    size_t count;
    bool failed;
};

/* "blk.12.attn_q" -> "attn_q" and 12; anything else as it is, with -1. */
static int layer_of(const char *label, const char **name) {
    int layer, end = 0;
    *name = label;
    if (sscanf(label, "blk.%d.%n", &layer, &end) != 1 || !end) return -1;
    *name = label + end;
    return layer;
}

static struct group *find_group(struct groups *groups, const struct clinfer_plan_step *step, const char *name,
                                bool in_layer) {
    for (size_t i = 0; i < groups->count; i++) {
        struct group *group = &groups->items[i];
        if (strcmp(group->name, name) == 0 && group->in_layer == in_layer && strcmp(group->op, step->op) == 0 &&
            strcmp(group->variant, step->variant) == 0 && strcmp(group->place, step->place) == 0 &&
            strcmp(group->reason, step->reason) == 0 && group->fallback == step->fallback)
            return group;
    }
    struct group *grown = realloc(groups->items, (groups->count + 1) * sizeof *grown);
    if (!grown) return NULL;
    groups->items = grown;
    struct group *group = &grown[groups->count++];
    *group = (struct group){.in_layer = in_layer, .fallback = step->fallback, .first_layer = -1};
    snprintf(group->name, sizeof group->name, "%s", name);
    snprintf(group->op, sizeof group->op, "%s", step->op);
    snprintf(group->variant, sizeof group->variant, "%s", step->variant);
    snprintf(group->place, sizeof group->place, "%s", step->place);
    snprintf(group->reason, sizeof group->reason, "%s", step->reason);
    return group;
}

static void add_step(void *user, const struct clinfer_plan_step *step) {
    struct groups *groups = user;
    /* Texts longer than a group keeps must not make one of two. */
    char name[sizeof(((struct group *)NULL)->name)], reason[sizeof(((struct group *)NULL)->reason)];
    const char *label;
    int layer = layer_of(step->label ? step->label : "", &label);
    snprintf(name, sizeof name, "%s", label);
    snprintf(reason, sizeof reason, "%s", step->reason ? step->reason : "");
    struct clinfer_plan_step cut = *step;
    cut.reason = reason;
    cut.op = step->op ? step->op : "";
    cut.variant = step->variant ? step->variant : "";
    cut.place = step->place ? step->place : "";
    struct group *group = find_group(groups, &cut, name, layer >= 0);
    if (!group) {
        groups->failed = true;
        return;
    }
    group->steps++;
    group->bytes += step->bytes;
    group->operations += step->operations;
    if (group->first_layer < 0 || layer < group->first_layer) group->first_layer = layer;
    if (layer > group->last_layer) group->last_layer = layer;
}

static void print_group(const struct group *group) {
    char name[160], bytes[CI_AMOUNT_BYTES];
    if (!group->in_layer)
        snprintf(name, sizeof name, "%s", group->name);
    else if (group->first_layer == group->last_layer)
        snprintf(name, sizeof name, "blk.%d.%s", group->first_layer, group->name);
    else
        snprintf(name, sizeof name, "blk.%d-%d.%s", group->first_layer, group->last_layer, group->name);
    ci_tell("  %-24s %-14s %-24s x%-4d %10s  %s%s%s%s\n", name, group->op, group->variant, group->steps,
            ci_format_bytes((uint64_t)group->bytes, bytes), group->place, group->fallback ? " (fallback)" : "",
            *group->reason ? ": " : "", group->reason);
}

/* The prompt's plan: of as many rows as asked for, or fewer when that is more than a step holds. */
static enum clinfer_status explain(clinfer_engine *engine, int *rows, clinfer_plan_callback *callback, void *user,
                                   int *waits) {
    enum clinfer_status status;
    do {
        status = clinfer_engine_explain(engine, *rows, callback, user, waits);
        if (status != CLINFER_INVALID_ARGUMENT || *rows == 1) return status;
        *rows /= 2;
    } while (true);
}

static enum clinfer_status print_plan(clinfer_engine *engine, int rows) {
    struct groups groups = {0};
    int waits = 0;
    enum clinfer_status status = explain(engine, &rows, add_step, &groups, &waits);
    if (status == CLINFER_OK && groups.failed) status = CLINFER_OUT_OF_MEMORY;
    if (status == CLINFER_OK) {
        int steps = 0;
        for (size_t i = 0; i < groups.count; i++) steps += groups.items[i].steps;
        ci_tell("plan for %d row%s: %d steps, the host waits %d time%s\n", rows, rows == 1 ? "" : "s", steps, waits,
                waits == 1 ? "" : "s");
        ci_tell("  %-24s %-14s %-24s %-5s %10s  %s\n", "label", "op", "variant", "steps", "bytes", "place: why");
        for (size_t i = 0; i < groups.count; i++) print_group(&groups.items[i]);
    }
    free(groups.items);
    return status;
}

enum clinfer_status ci_explain_print(clinfer_engine *engine) {
    enum clinfer_status status = print_plan(engine, 1);
    return status == CLINFER_OK ? print_plan(engine, PROMPT_ROWS) : status;
}

static void append_step(void *user, const struct clinfer_plan_step *step) {
    json_t *object = json_object();
    json_object_set_new(object, "label", json_string(step->label));
    json_object_set_new(object, "op", json_string(step->op));
    json_object_set_new(object, "variant", json_string(step->variant));
    json_object_set_new(object, "place", ci_json_text(step->place, strlen(step->place)));
    json_object_set_new(object, "reason", ci_json_text(step->reason, strlen(step->reason)));
    json_object_set_new(object, "fallback", json_boolean(step->fallback));
    json_object_set_new(object, "bytes", json_real(step->bytes));
    json_object_set_new(object, "operations", json_real(step->operations));
    json_array_append_new(user, object);
}

enum clinfer_status ci_explain_json(clinfer_engine *engine, json_t **plans) {
    int sizes[2] = {1, PROMPT_ROWS};
    *plans = json_array();
    for (int i = 0; i < 2; i++) {
        json_t *plan = json_object(), *steps = json_array();
        int waits = 0;
        enum clinfer_status status = explain(engine, &sizes[i], append_step, steps, &waits);
        json_object_set_new(plan, "rows", json_integer(sizes[i]));
        json_object_set_new(plan, "waits", json_integer(waits));
        json_object_set_new(plan, "steps", steps);
        json_array_append_new(*plans, plan);
        if (status == CLINFER_OK) continue;
        json_decref(*plans);
        *plans = NULL;
        return status;
    }
    return CLINFER_OK;
}
