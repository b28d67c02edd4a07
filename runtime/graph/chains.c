/* chains.c: runs of steps that a device computes as one launch; see ops/chain.h. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "graph/plan_private.h"
#include "ops/chain.h"

/* A launch more or less is nothing beside that of a chain. */
enum { LEAST_STEPS = 4 };

static struct ci_chain_link link_of(const struct step *step) {
    return (struct ci_chain_link){step->bound, step->variant, step->tunables, &step->call};
}

static bool is_taken(const struct ci_plan *plan, const struct step *step) {
    const struct ci_chain_link link = step->bound ? link_of(step) : (struct ci_chain_link){0};
    return step->node && step->bound && ci_chain_takes(plan->store->places[step->place].caps.device, &link);
}

static enum clinfer_status make_chain(struct ci_plan *plan, int first, int count, bool build) {
    struct ci_chain_link *links = calloc((size_t)count, sizeof *links);
    struct plan_chain *made = &plan->chains[plan->chain_count];
    if (!links) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain of %d steps", count);
    for (int i = 0; i < count; i++) links[i] = link_of(&plan->steps[first + i]);
    *made = (struct plan_chain){.first = first, .count = count};
    enum clinfer_status status = ci_chain_create(plan->store->places[plan->steps[first].place].device, links, count,
                                                 ci_threads_count(plan->store->threads), build, &made->chain);
    free(links);
    if (status == CLINFER_OK) plan->chain_count++;
    return status;
}

static bool make_room(struct ci_plan *plan) {
    struct plan_chain *chains = realloc(plan->chains, sizeof *chains * (size_t)(plan->chain_count + 1));
    if (chains) plan->chains = chains;
    return chains;
}

/* The chains of one section. */
static enum clinfer_status chain_section(struct ci_plan *plan, const struct section *section, bool build) {
    enum clinfer_status status = CLINFER_OK;
    const int end = section->first + section->count;
    for (int first = section->first, last; first < end && status == CLINFER_OK; first = last + 1) {
        for (last = first; last < end && is_taken(plan, &plan->steps[last]);) last++;
        if (last - first < LEAST_STEPS) continue;
        status = make_room(plan) ? make_chain(plan, first, last - first, build)
                                 : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain");
    }
    return status;
}

enum clinfer_status ci_plan_chain(struct ci_plan *plan, bool build, uint64_t *program) {
    enum clinfer_status status = CLINFER_OK;
    assert(plan->ready && plan->generation == plan->store->generation);
    ci_plan_unchain(plan);
    for (int i = 0; i < plan->section_count && status == CLINFER_OK; i++)
        if (plan->sections[i].place > CI_PLACE_CPU) status = chain_section(plan, &plan->sections[i], build);
    *program = CI_HASH_START;
    for (int i = 0; i < plan->chain_count; i++) {
        const uint64_t key = ci_chain_key(plan->chains[i].chain);
        *program = ci_hash(*program, &key, sizeof key);
    }
    if (status != CLINFER_OK || plan->chain_count > 0) return status;
    return ci_fail(CLINFER_NOT_FOUND, "there are no launches that could be one");
}

void ci_plan_unchain(struct ci_plan *plan) {
    for (int i = 0; i < plan->chain_count; i++) ci_chain_destroy(plan->chains[i].chain);
    free(plan->chains);
    plan->chains = NULL;
    plan->chain_count = 0;
}

bool ci_plan_is_chained(const struct ci_plan *plan) { return plan->chain_count > 0; }

void ci_plan_take_apart(struct ci_plan *plan, bool apart) { plan->apart = apart; }

void ci_plan_update_chains(struct ci_plan *plan) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < plan->chain_count && status == CLINFER_OK; i++) status = ci_chain_update(plan->chains[i].chain);
    if (status == CLINFER_OK) return;
    ci_log(CLINFER_LOG_DEBUG, "launches are single again: %s", ci_status_message());
    ci_plan_unchain(plan);
}

struct plan_chain *ci_plan_chain_at(const struct ci_plan *plan, int step, int end) {
    for (int i = 0; i < plan->chain_count; i++)
        if (!plan->apart && plan->chains[i].first == step && step + plan->chains[i].count <= end)
            return &plan->chains[i];
    return NULL;
}
