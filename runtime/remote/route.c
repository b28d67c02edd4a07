/* route.c: how a request was answered, as a record and as a line. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "remote/router.h"

/* What the log has told is told in a word. */
static void print_visit(FILE *out, const struct clinfer_rung *rung, bool answered, const struct ci_visit *visit,
                        bool told_before) {
    if (answered)
        fprintf(out, "%s: %zu tokens", rung->name, rung->tokens);
    else if (visit->told && rung->tokens)
        fprintf(out, "%s: %zu tokens, then %s", rung->name, rung->tokens, clinfer_status_text(rung->status));
    else if (visit->told)
        fprintf(out, "%s: %s", rung->name, clinfer_status_text(rung->status));
    else if (told_before && !rung->tried)
        fprintf(out, "%s is out of use", rung->name);
    else
        fprintf(out, "%s: %s", rung->name, rung->reason);
    if (rung->tried) fprintf(out, " (%.2f s)", rung->seconds);
}

/* Rungs that have nothing to tell are left out; what keeps one out of use is told once. NULL: out of memory. */
static char *text_of(const struct clinfer_route *route, const struct ci_visit *visits, struct ci_rung *rungs) {
    char *text = NULL;
    size_t length;
    bool some = false;
    FILE *out = open_memstream(&text, &length);
    if (!out) return NULL;
    for (size_t i = 0; i < route->count; i++) {
        bool answered = (int)i == route->answered;
        if (!answered && !*route->rungs[i].reason) continue;
        if (some) fputs("; ", out);
        print_visit(out, &route->rungs[i], answered, &visits[i], rungs[i].told);
        rungs[i].told = rungs[i].out;
        some = true;
    }
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

void ci_route_write(struct clinfer_conversation *conversation, int answered) {
    const struct clinfer_router *router = conversation->router;
    struct clinfer_route *route = &conversation->route;
    for (int i = 0; i < router->count; i++) {
        const struct ci_visit *visit = &conversation->visits[i];
        struct clinfer_rung *rung = &conversation->shown[i];
        *rung = ci_router_show(&router->rungs[i]);
        rung->tried = visit->tried;
        rung->seconds = visit->seconds;
        rung->tokens = visit->tokens;
        rung->status = visit->status;
        rung->reason = visit->reason;
    }
    route->rungs = conversation->shown;
    route->count = (size_t)router->count;
    route->answered = answered;
    route->fell_back = answered > 0;
    route->partial = answered < 0 && conversation->text_bytes > 0;
    free(conversation->route_text);
    conversation->route_text = text_of(route, conversation->visits, router->rungs);
    route->text = conversation->route_text ? conversation->route_text : "";
}
