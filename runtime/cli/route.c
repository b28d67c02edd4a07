/* route.c: the request ladder as `clinfer run` shows it: before a request, and what came of one. */
#include <string.h>

#include "cli/run.h"

static const char *kind_of(const struct clinfer_rung *rung) {
    switch (rung->kind) {
    case CLINFER_RUNG_DEVICE: return "device";
    case CLINFER_RUNG_CPU: return "cpu";
    case CLINFER_RUNG_REMOTE: return "remote";
    }
    return "device";
}

static void set_text(json_t *object, const char *name, const char *text) {
    json_object_set_new(object, name, ci_json_text(text, strlen(text)));
}

static json_t *rung_json(const struct clinfer_rung *rung) {
    json_t *object = json_object();
    set_text(object, "name", rung->name);
    set_text(object, "kind", kind_of(rung));
    if (*rung->url) set_text(object, "url", rung->url);
    return object;
}

json_t *ci_report_route_json(const struct clinfer_route *route) {
    json_t *object = json_object(), *rungs = json_array();
    const struct clinfer_rung *answered = route->answered >= 0 ? &route->rungs[route->answered] : NULL;
    for (size_t i = 0; i < route->count; i++) {
        const struct clinfer_rung *rung = &route->rungs[i];
        json_t *entry = rung_json(rung);
        json_object_set_new(entry, "tried", json_boolean(rung->tried));
        json_object_set_new(entry, "answered", json_boolean(rung == answered));
        set_text(entry, "reason", rung->reason);
        json_object_set_new(entry, "seconds", json_real(rung->seconds));
        json_object_set_new(entry, "tokens", json_integer((json_int_t)rung->tokens));
        json_array_append_new(rungs, entry);
    }
    set_text(object, "backend", answered ? answered->name : "");
    set_text(object, "kind", answered ? kind_of(answered) : "");
    json_object_set_new(object, "fell_back", json_boolean(route->fell_back));
    json_object_set_new(object, "rungs", rungs);
    return object;
}

/* ---- --dry-run ---- */

/* Why a rung stands where it stands. */
static const char *why(const struct ci_run_state *run, const struct clinfer_rung *rung, size_t index) {
    const char *device = run->engine_flags.device;
    bool automatic = !device || strcmp(device, "auto") == 0;
    if (*rung->reason) return rung->reason;
    if (rung->kind == CLINFER_RUNG_REMOTE)
        return run->remotes.only ? "--remote-only" : "if this machine cannot finish; allowed by flag or configuration";
    if (index > 0) return rung->kind == CLINFER_RUNG_CPU ? "if no device can" : "if those before cannot";
    if (!automatic) return "asked for by --device or configuration";
    return rung->kind == CLINFER_RUNG_CPU ? "there is no usable OpenCL device, or this was measured to be faster"
                                          : "the first usable device, or the fastest where measured";
}

static json_t *ladder_json(struct ci_run_state *run, const struct clinfer_rung *rungs, size_t count) {
    json_t *object = json_object(), *ladder = json_array(), *left_out = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *entry = rung_json(&rungs[i]);
        json_object_set_new(entry, "usable", json_boolean(!*rungs[i].reason));
        set_text(entry, "why", why(run, &rungs[i], i));
        json_array_append_new(ladder, entry);
    }
    for (size_t i = 0; i < run->remotes.left_out_count; i++) {
        json_t *entry = json_object();
        set_text(entry, "name", run->remotes.left_out[i].name);
        set_text(entry, "why", run->remotes.left_out[i].reason);
        json_array_append_new(left_out, entry);
    }
    set_text(object, "model", run->model.path ? run->model.path : "");
    json_object_set_new(object, "ladder", ladder);
    json_object_set_new(object, "left_out", left_out);
    return object;
}

int ci_report_ladder(struct ci_run_state *run) {
    size_t count;
    struct clinfer_rung *rungs;
    enum clinfer_status status = clinfer_router_rungs(run->router, &rungs, &count);
    if (status != CLINFER_OK) return ci_complain(status);
    if (run->json) {
        int exit_status = ci_print_json(ladder_json(run, rungs, count));
        clinfer_free(rungs);
        return exit_status;
    }
    if (run->model.path) ci_printf("model: %s (%s)\n", run->model.path, run->model.why);
    for (size_t i = 0; i < count; i++)
        ci_printf("%zu. %s%s%s%s%s: %s\n", i + 1, rungs[i].kind == CLINFER_RUNG_REMOTE ? "remote " : "", rungs[i].name,
                  *rungs[i].url ? " (" : "", rungs[i].url, *rungs[i].url ? ")" : "", why(run, &rungs[i], i));
    clinfer_free(rungs);
    for (size_t i = 0; i < run->remotes.left_out_count; i++)
        ci_printf("-  remote %s is not asked: %s\n", run->remotes.left_out[i].name, run->remotes.left_out[i].reason);
    return 0;
}
