/* step.c: one step computes the next rows of all active sessions: pieces of prompts, and one token of each that
 * decodes. */
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "trace/probes.h"

void ci_engine_forget(struct clinfer_session *session) {
    for (int f = 0; f < 2; f++) {
        struct ci_flight *flight = &session->engine->flights[f];
        for (int i = 0; i < flight->count; i++)
            if (flight->sessions[i] == session) flight->sessions[i] = NULL;
        for (int i = 0; i < flight->batch.count; i++)
            if (flight->batch.parts[i].session == session) flight->batch.parts[i].session = NULL;
    }
    session->in_flight = -1;
    session->flights = 0;
}

/* Where the keys and values of `rows` rows go, from position `first` on, and a sequence's line of the table of pages.
 */
static void fill_pages(const struct ci_page_list *list, int line, int32_t first, int32_t rows,
                       const struct ci_tensor *slots, int32_t row, const struct ci_tensor *pages) {
    int32_t *slot = slots->view.data, *table = pages->view.data;
    if (!list->pages) return;
    for (int32_t p = first; p < first + rows; p++)
        slot[row++] = list->pages[p / CI_PAGE_ROWS] * CI_PAGE_ROWS + p % CI_PAGE_ROWS;
    memcpy(table + line * pages->view.cols, list->pages, sizeof *table * (size_t)list->count);
}

/* Rows of one sequence in tiles. Guessed ones have one each, as they would have if they were computed one by one. */
static int32_t *fill_tiles(const struct ci_part *part, int line, int32_t row, int32_t *tile) {
    const int32_t first = ci_narrowed((int64_t)part->first), rows = ci_narrowed(part->rows);
    const int32_t certain = ci_narrowed(part->rows - part->guessed);
    for (int32_t done = 0, count; done < rows; done += count, tile += CI_TILE_COLS) {
        count = certain - done < CI_TILE_ROWS ? certain - done : CI_TILE_ROWS;
        if (done >= certain) count = 1;
        tile[CI_TILE_ROW] = row + done;
        tile[CI_TILE_COUNT] = count;
        tile[CI_TILE_LINE] = line;
        tile[CI_TILE_POSITION] = first + done;
        tile[CI_TILE_LENGTH] = first + (done < certain ? certain : done + 1);
    }
    return tile;
}

/* Guessed tokens follow the known ones; a token in flight is known to the device alone. */
static int32_t token_at(const struct clinfer_session *session, size_t position) {
    if (position < session->known) return session->tokens[position];
    return session->in_flight >= 0 ? -1 - session->in_flight : session->drafting.tokens[position - session->known];
}

void ci_batch_fill_inputs(const struct ci_batch *batch, const struct ci_run *run) {
    int32_t *ids = run->ids->view.data, *positions = run->positions->view.data;
    int32_t *wanted = run->wanted->view.data, *tile = run->tiles->view.data;
    float *sampler = run->sampler->view.data;
    int32_t row = 0;
    for (int line = 0; line < batch->count; line++) {
        const struct ci_part *part = &batch->parts[line];
        struct clinfer_session *session = part->session;
        int32_t first = ci_narrowed(session->computed), rows = ci_narrowed(part->rows);
        for (int32_t i = 0; i < part->rows; i++) {
            int32_t position = first + i;
            ids[row + i] = token_at(session, (size_t)position);
            if (positions) positions[row + i] = position; /* some models have none */
        }
        tile = fill_tiles(part, line, row, tile);
        for (int group = 0; group < CI_CACHE_GROUPS; group++)
            fill_pages(&session->lists[group], line, first, rows, run->slots[group], row, run->pages[group]);
        row += rows;
        for (int32_t i = 0; i < part->wanted; i++, sampler += CI_SAMPLER_COLS) {
            *wanted++ = row - ci_narrowed(part->wanted) + i;
            ci_sampler_fill(session, session->flights + i, sampler);
        }
    }
}

/* The sessions' rows are computed with what is enqueued now; those that are wanted go on with what it samples. */
static void count_rows(struct clinfer_engine *engine, struct ci_flight *flight) {
    engine->stats.steps++;
    engine->stats.rows += (uint64_t)flight->batch.rows;
    flight->count = 0;
    for (int i = 0; i < flight->batch.count; i++) {
        struct clinfer_session *session = flight->batch.parts[i].session;
        const struct ci_part *part = &flight->batch.parts[i];
        session->computed += (size_t)(part->rows - part->guessed);
        session->in_flight = part->wanted ? flight->count : -1;
        for (int place = 0; place < part->wanted; place++) {
            session->flights++;
            flight->places[flight->count] = place;
            flight->sessions[flight->count++] = session;
        }
    }
    flight->active = flight->count > 0;
}

/* Its results are read, or count for nothing. */
static void deactivate(struct ci_flight *flight) {
    for (int i = 0; flight->active && i < flight->count; i++)
        if (flight->sessions[i]) flight->sessions[i]->flights--;
    flight->active = false;
}

static bool is_first_token(const struct clinfer_session *session) { return session->generated == session->taken_up; }

/* A prompt belongs to the time before the first token of its session, and so does what is computed with it. */
static enum ci_trace_phase phase_of(const struct ci_batch *batch) {
    for (int i = 0; i < batch->count; i++)
        if (is_first_token(batch->parts[i].session) && batch->parts[i].session->in_flight < 0) return CI_TRACE_PREFILL;
    return CI_TRACE_DECODE;
}

/* What may come in the rows of sessions that follow a grammar. */
static enum clinfer_status send_masks(struct clinfer_engine *engine, const struct ci_batch *batch,
                                      struct ci_bucket *bucket) {
    float *sampler = bucket->run.sampler->view.data;
    enum clinfer_status status = CLINFER_OK;
    int row = 0;
    for (int i = 0; i < batch->count && status == CLINFER_OK; i++) {
        const struct ci_part *part = &batch->parts[i];
        const struct clinfer_session *session = part->session;
        const bool masked = !session->on_host && ci_session_is_constrained(session);
        struct ci_constraint constraint = session->constraint; /* moves along the guesses */
        for (int place = 0; place < part->wanted && status == CLINFER_OK; place++, row++) {
            if (!masked) continue;
            if (part->guessed) constraint.place = session->drafting.places[place];
            status = ci_constraint_send(engine, &constraint, bucket->plan, row);
            sampler[row * CI_SAMPLER_COLS + CI_SAMPLER_MASKED] = 1;
        }
    }
    return status;
}

static enum clinfer_status run_batch(struct clinfer_engine *engine, struct ci_flight *flight) {
    struct ci_bucket *bucket;
    const struct ci_batch *batch = &flight->batch;
    bool replaced = false;
    flight->count = 0;
    enum ci_trace_phase phase = phase_of(batch);
    ci_trace_add_run(engine->trace, phase, batch->rows);
    CI_PROBE(run_begin, ci_trace_phase_names[phase], batch->rows, batch->count);
    double start = ci_trace_start(engine->trace);
    enum clinfer_status status = ci_gguf_check_whole(engine->gguf);
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, batch->rows, batch->wanted, &bucket);
    if (status != CLINFER_OK) return status;
    start = ci_trace_host(engine->trace, CI_TRACE_PLAN, start);
    ci_batch_fill_inputs(batch, &bucket->run);
    int64_t rows[CI_EXTENT_COUNT] = {0, batch->rows, batch->wanted, batch->tiles};
    status = ci_plan_set_rows(bucket->plan, rows);
    if (status == CLINFER_OK && bucket->steps < CI_CHAIN_STEP && ++bucket->steps == CI_CHAIN_STEP)
        ci_engine_take_chain(engine, bucket);
    start = ci_trace_host(engine->trace, CI_TRACE_SCHEDULE, start);
    if (status == CLINFER_OK) status = send_masks(engine, batch, bucket);
    ci_trace_host(engine->trace, CI_TRACE_SAMPLER, start);
    start = flight->started = ci_now();
    if (status == CLINFER_OK)
        status = engine->careful ? ci_careful_run(engine, bucket, batch->rows, &replaced) : ci_plan_run(bucket->plan);
    flight->run = ci_watch_run();
    engine->stats.device_seconds += ci_now() - start;
    if (status != CLINFER_OK || replaced) return status;
    flight->bucket = bucket;
    count_rows(engine, flight);
    if (!flight->active) return CLINFER_OK;
    start = ci_trace_start(engine->trace);
    status = ci_plan_read_start(bucket->plan, engine->model.sampled, flight->count, flight->ids, flight->slot);
    if (status == CLINFER_OK)
        status = ci_plan_read_start(bucket->plan, bucket->run.not_finite, flight->count, flight->not_finite,
                                    flight->slot + 1);
    if (status != CLINFER_OK) ci_plan_read_wait(bucket->plan, engine->model.sampled, flight->slot);
    if (engine->device) ci_trace_host(engine->trace, CI_TRACE_ENQUEUE, start);
    return status;
}

/* Whether the host has to see the token before the next step: it chooses it, or makes the mask for the one behind it.
 */
static bool must_wait(const struct clinfer_session *session) { return session->on_host || session->constraint.held; }

static enum clinfer_status check_result(const struct ci_flight *flight, int index) {
    const struct clinfer_engine *engine = flight->sessions[index]->engine;
    int32_t id = flight->ids[index], vocabulary = engine->model.hyper.vocabulary;
    if (flight->not_finite[index] == 0 && id >= 0 && id < vocabulary) return CLINFER_OK;
    if (flight->not_finite[index] == 0) {
        ci_plan_suspect_writer(flight->bucket->plan, engine->model.sampled);
        return ci_fail(CLINFER_WRONG_RESULT, "token %d was sampled after token %zu on %s, but the vocabulary has 0..%d",
                       (int)id, flight->sessions[index]->known, engine->info.device, (int)vocabulary - 1);
    }
    return ci_fail(CLINFER_WRONG_RESULT, "%d of %d logits after token %zu are not finite on %s",
                   flight->not_finite[index], engine->model.outputs, flight->sessions[index]->known,
                   engine->info.device);
}

/* Once more with care, or not at all. */
static void fail_part(struct ci_part *part, enum clinfer_status status) {
    if (part->session && !ci_careful_retry(part, status))
        ci_session_finish(part->session, status, CLINFER_FINISH_CANCELLED);
}

/* Rows of prompts that nobody has waited for may not have been computed, though no step failed that had them. */
static void distrust(struct clinfer_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    for (struct clinfer_session *s = engine->sessions; s; s = s->next)
        if (is_first_token(s) && s->in_flight < 0 && s->computed > s->trusted) s->computed = s->trusted;
    pthread_mutex_unlock(&engine->lock);
}

/* The message of the failure is kept for all parts. */
static void fail_flight(struct clinfer_engine *engine, struct ci_flight *flight, enum clinfer_status status,
                        const char *message) {
    deactivate(flight);
    distrust(engine);
    ci_watch_begin_alone(0);
    for (int i = 0; i < flight->batch.count; i++) {
        ci_fail(status, "%s", message);
        fail_part(&flight->batch.parts[i], status);
    }
    flight->count = flight->batch.count = 0;
}

/* Takes the sampled id of one session: the next token of its text. */
static void take_token(struct clinfer_engine *engine, struct ci_flight *flight, int index) {
    struct clinfer_session *session = flight->sessions[index];
    int32_t id = flight->ids[index];
    enum ci_turn turn = CI_TURN_TOKEN;
    enum clinfer_status status = check_result(flight, index);
    if (status == CLINFER_OK && must_wait(session)) {
        double start = ci_trace_start(engine->trace);
        status = ci_answer_choose(engine, flight, index, &id, &turn);
        ci_trace_host(engine->trace, CI_TRACE_SAMPLER, start);
    }
    if (status != CLINFER_OK) {
        for (int i = 0; i < flight->batch.count; i++)
            if (flight->batch.parts[i].session == session) fail_part(&flight->batch.parts[i], status);
        return;
    }
    flight->sessions[index] = NULL;
    if (session->care) ci_careful_end(session);
    session->last_token = ci_now();
    if (is_first_token(session)) {
        session->first_token = session->last_token;
        session->result.prompt_seconds = session->first_token - session->submitted;
        ci_prefix_mark(engine, session);
    }
    ci_answer_take(session, id, turn);
}

static enum clinfer_status wait_for(struct clinfer_engine *engine, struct ci_flight *flight) {
    double start = ci_now();
    deactivate(flight);
    /* The later read first: when that is done the other is too. */
    enum clinfer_status status =
        ci_plan_read_wait(flight->bucket->plan, flight->bucket->run.not_finite, flight->slot + 1);
    enum clinfer_status second = ci_plan_read_wait(flight->bucket->plan, engine->model.sampled, flight->slot);
    ci_plan_waited(flight->bucket->plan, &flight->run);
    engine->stats.device_seconds += ci_now() - start;
    if (engine->trace && engine->device) {
        start = ci_trace_host(engine->trace, CI_TRACE_WAIT, start);
        ci_plan_collect(flight->bucket->plan);
        ci_trace_host(engine->trace, CI_TRACE_PROFILE, start);
    }
    return status == CLINFER_OK ? second : status;
}

/* After a failure everything that is under way counts for nothing; `flight` comes before the other one. */
static void give_up(struct clinfer_engine *engine, struct ci_flight *flight, enum clinfer_status status) {
    struct ci_flight *later = flight == engine->flights ? &engine->flights[1] : &engine->flights[0];
    char message[sizeof((struct clinfer_session *)NULL)->message];
    snprintf(message, sizeof message, "%s", ci_status_message());
    if (later->active) wait_for(engine, later);
    for (int i = 0; i < engine->device_count; i++) ci_device_finish(engine->devices[i]);
    ci_engine_drop_chains(engine);
    fail_flight(engine, flight, status, message);
    fail_flight(engine, later, status, message);
}

static void land(struct clinfer_engine *engine, struct ci_flight *flight) {
    enum clinfer_status status = wait_for(engine, flight);
    if (status != CLINFER_OK) {
        give_up(engine, flight, status);
        return;
    }
    ci_pace_note(engine, flight);
    for (int i = 0; i < flight->count; i++) {
        if (!flight->sessions[i]) continue;
        if (flight->places[i] == 0 || ci_draft_is_right(flight->sessions[i], flight->places[i]))
            take_token(engine, flight, i);
        else
            flight->sessions[i] = NULL;
    }
    flight->count = flight->batch.count = 0;
}

bool ci_engine_step(struct clinfer_engine *engine) {
    if (engine->careful) ci_engine_land(engine); /* a careful step starts with everything known */
    if (engine->store.caches_must_move) {
        ci_engine_land(engine);
        ci_engine_move_caches(engine); /* where that fails, so does the step */
    }
    if (engine->short_of_pages) {
        ci_engine_land(engine);
        ci_engine_make_way(engine);
    }
    if (engine->draft.wants_proof) {
        ci_engine_land(engine);
        ci_draft_prove(engine);
    }
    struct ci_flight *previous = &engine->flights[engine->next_flight ^ 1],
                     *flight = &engine->flights[engine->next_flight];
    double start = ci_trace_start(engine->trace);
    ci_engine_collect(engine, &flight->batch);
    ci_trace_host(engine->trace, CI_TRACE_SCHEDULE, start);
    bool waits = false, some = flight->batch.count > 0;
    if (!some && !previous->active) return engine->short_of_pages;
    for (int i = 0; i < flight->batch.count; i++)
        waits =
            waits || must_wait(flight->batch.parts[i].session) || ci_draft_must_wait(flight->batch.parts[i].session);
    if (some) {
        flight->slot = 2 * engine->next_flight;
        engine->next_flight ^= 1;
        enum clinfer_status status = run_batch(engine, flight);
        if (status != CLINFER_OK) {
            char message[sizeof((struct clinfer_session *)NULL)->message];
            snprintf(message, sizeof message, "%s", ci_status_message());
            deactivate(flight);
            if (previous->active) land(engine, previous); /* its tokens may be there */
            fail_flight(engine, flight, status, message);
            return true;
        }
    }
    if (!flight->active) flight->batch.count = 0;
    if (previous->active) land(engine, previous);
    if (flight->active && (!engine->pipelined || waits || engine->careful)) land(engine, flight);
    return true;
}

void ci_engine_land(struct clinfer_engine *engine) {
    for (int i = 0; i < 2; i++) {
        struct ci_flight *flight = &engine->flights[engine->next_flight ^ i];
        if (flight->active) land(engine, flight);
    }
}
