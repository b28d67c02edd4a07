/* sampler.c: what the op `sample` is told, and the choice on the host for settings that it does not know: those that
 * need the last token before the next step, or more candidates than it keeps. */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

/* Where the chain is what the op does, the place of the next of its samplers; else -1. */
static int device_place(const char *name) {
    static const char *const order[4] = {"top_k", "top_p", "min_p", "temperature"};
    for (int i = 0; i < 4; i++)
        if (strcmp(order[i], name) == 0) return i;
    return -1;
}

static bool uses(const struct ci_sampler *sampler, const char *name) {
    for (int i = 0; i < sampler->count; i++)
        if (strcmp(sampler->chain[i]->name, name) == 0) return true;
    return false;
}

static bool is_greedy(const struct ci_sampler *sampler) {
    return sampler->options.temperature <= 0 && uses(sampler, "temperature");
}

bool ci_sampler_needs_host(const struct ci_sampler *sampler) {
    const struct clinfer_session_options *options = &sampler->options;
    if (options->mirostat || sampler->bias_count || options->logprobs) return true;
    for (int i = 0, last = -1; i < sampler->count; i++) {
        int place = device_place(sampler->chain[i]->name);
        if (place <= last) return true;
        last = place;
    }
    return !is_greedy(sampler) && (!uses(sampler, "top_k") || options->top_k > CI_SAMPLE_MAX_K);
}

/* The op draws on the device, with 48 bits. */
static void fill_random(double random, float sampler[CI_SAMPLER_COLS]) {
    double high = floor(random * 0x1p24);
    sampler[CI_SAMPLER_RANDOM] = (float)(high * 0x1p-24);
    sampler[CI_SAMPLER_RANDOM_LOW] = (float)(floor((random * 0x1p24 - high) * 0x1p24) * 0x1p-24);
}

void ci_sampler_fill(struct clinfer_session *session, int ahead, float sampler[CI_SAMPLER_COLS]) {
    struct ci_sampler *own = &session->sampler;
    const struct clinfer_session_options *options = &own->options;
    for (int i = 0; i < CI_SAMPLER_COLS; i++) sampler[i] = 0;
    if (session->on_host || is_greedy(own)) return;
    sampler[CI_SAMPLER_TEMPERATURE] = uses(own, "temperature") ? options->temperature : 1;
    sampler[CI_SAMPLER_TOP_K] = (float)options->top_k;
    sampler[CI_SAMPLER_TOP_P] = uses(own, "top_p") ? options->top_p : 1;
    sampler[CI_SAMPLER_MIN_P] = uses(own, "min_p") ? options->min_p : 0;
    fill_random(ci_draws_at(&own->draws, session->generated + (uint64_t)ahead), sampler);
}

enum clinfer_status ci_sampler_reserve(struct clinfer_engine *engine, const struct ci_sampler *sampler) {
    size_t vocabulary = (size_t)engine->model.hyper.vocabulary, repeats = (size_t)engine->context + 2;
    struct ci_sampler_room *room = &engine->room;
    if (!engine->host_logits) engine->host_logits = malloc(vocabulary * sizeof *engine->host_logits);
    if (!room->candidates) room->candidates = malloc(vocabulary * sizeof *room->candidates);
    if (!room->others) room->others = malloc(vocabulary * sizeof *room->others);
    if (!room->marks) room->marks = calloc(vocabulary, sizeof *room->marks);
    if (!room->repeats && uses(sampler, "dry")) room->repeats = malloc(repeats * sizeof *room->repeats);
    return engine->host_logits && room->candidates && room->others && room->marks &&
                   (room->repeats || !uses(sampler, "dry"))
               ? CLINFER_OK
               : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu candidates", vocabulary);
}

void ci_sampler_begin(struct ci_sampler *sampler, const struct ci_sampler_memory *memory) {
    uint32_t seed = ci_low_bits(sampler->options.seed ^ sampler->options.seed >> 32);
    ci_draws_seed(&sampler->draws, seed);
    ci_mersenne_seed(&sampler->own, seed);
    sampler->memory = memory ? *memory : (struct ci_sampler_memory){.surprise = 2 * sampler->options.mirostat_tau};
    for (uint64_t i = 0; i < sampler->memory.words; i++) ci_mersenne_word(&sampler->own);
}

/* Only what may come stays; in the order that it has. */
static void drop_infinite(struct ci_sampling *choice) {
    size_t count = 0;
    for (size_t i = 0; i < choice->count; i++)
        if (isfinite(choice->items[i].logit)) choice->items[count++] = choice->items[i];
    choice->count = count;
}

static int by_id(const void *a, const void *b) {
    const struct ci_candidate *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* While they are in the order of their ids. */
static void add_biases(struct ci_sampling *choice) {
    const struct ci_sampler *sampler = choice->sampler;
    bool finite = true;
    for (size_t i = 0; i < sampler->bias_count; i++) {
        const struct ci_candidate wanted = {.id = sampler->bias[i].token};
        struct ci_candidate *item = bsearch(&wanted, choice->items, choice->count, sizeof wanted, by_id);
        if (!item) continue;
        item->logit += sampler->bias[i].bias;
        finite = finite && isfinite(item->logit);
    }
    if (!finite) drop_infinite(choice);
}

/* In the order of their ids; those that may not come are none. */
static void collect(struct ci_sampling *choice, const float *logits) {
    size_t count = 0;
    for (int i = 0; i < choice->vocabulary; i++) {
        choice->items[count].logit = logits[i];
        choice->items[count].id = (int32_t)i;
        count += isfinite(logits[i]) != 0;
    }
    choice->count = count;
    add_biases(choice);
}

bool ci_sampler_forbids(const struct ci_sampler *sampler, int32_t token) {
    for (size_t i = 0; i < sampler->bias_count; i++)
        if (sampler->bias[i].token == token && sampler->bias[i].bias == -INFINITY) return true;
    return false;
}

/* Only mirostat learns from one that was certain; nobody draws where there is one candidate. */
void ci_sampler_pass(struct ci_sampler *sampler) {
    if (sampler->options.mirostat) ci_sampler_surprise(sampler, 1);
}

int32_t ci_sampler_choose(struct clinfer_session *session, const float *logits) {
    struct clinfer_engine *engine = session->engine;
    struct ci_sampler *sampler = &session->sampler;
    struct ci_sampling choice = {.sampler = sampler,
                                 .room = &engine->room,
                                 .items = engine->room.candidates,
                                 .tokens = session->tokens,
                                 .known = session->known,
                                 .vocabulary = engine->model.hyper.vocabulary};
    collect(&choice, logits);
    if (choice.count == 0) return 0;
    if (sampler->options.mirostat) return choice.items[ci_sampler_mirostat(&choice)].id;
    for (int i = 0; i < sampler->count; i++) sampler->chain[i]->apply(&choice);
    return choice.items[ci_sampler_draw(&choice, ci_draws_at(&sampler->draws, session->generated))].id;
}
