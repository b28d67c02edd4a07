/* step.c: one step computes the next rows of all active sessions: pieces of prompts, and one token of each that
 * decodes. */
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
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

static bool pass_text(void *user, const char *text, size_t length) {
    const struct clinfer_session *session = user;
    return !session->callback || session->callback(session->user, text, length);
}

static bool pass_reasoning(void *user, const char *text, size_t length) {
    const struct clinfer_session *session = user;
    return !session->reasoning || session->reasoning(session->user, text, length);
}

/* Text, but for what is out already. */
static bool pass_part(void *user, enum ci_text_part part, const char *text, size_t length) {
    struct clinfer_session *session = user;
    size_t skipped = session->skipped_bytes < length ? session->skipped_bytes : length;
    session->skipped_bytes -= skipped;
    if (part == CI_PART_ANSWER && session->parts.marked && !session->result.reasoning_tokens)
        session->result.reasoning_tokens = session->emitted;
    text += skipped;
    length -= skipped;
    bool goes_on = length == 0 ||
                   (part == CI_PART_REASONING ? pass_reasoning(session, text, length)
                                              : ci_stop_texts_push(&session->stop, text, length, pass_text, session));
    session->refused = session->refused || !goes_on;
    return !session->refused;
}

static void finish(struct clinfer_session *session, enum clinfer_status status, enum clinfer_finish reason) {
    struct clinfer_engine *engine = session->engine;
    char rest[CI_UTF8_HELD];
    size_t length = ci_utf8_stream_flush(&session->stream, rest);
    if (status == CLINFER_OK && !session->refused && ci_parts_push(&session->parts, rest, length, pass_part, session))
        ci_parts_flush(&session->parts, pass_part, session);
    if (status == CLINFER_OK && !session->refused) ci_stop_texts_flush(&session->stop, pass_text, session);
    if (session->stop.found && reason == CLINFER_FINISH_CANCELLED) reason = CLINFER_FINISH_END;
    if (session->parts.marked && session->parts.now != CI_PART_ANSWER)
        session->result.reasoning_tokens = session->generated;
    ci_engine_forget(session);
    if (session->computed > session->known) session->computed = session->known;
    session->care = CI_CARE_NONE;
    session->result.finish = reason;
    session->result.generated_tokens = session->generated;
    session->result.tokens = session->output;
    session->result.stop_text = session->stop.text;
    session->result.logprobs = ci_logprobs_end(&session->logprobs, session->output, session->generated);
    session->result.generate_seconds = session->last_token - session->first_token;
    session->status = status;
    if (status != CLINFER_OK) {
        strncpy(session->message, ci_status_message(), sizeof session->message - 1);
        /* Nobody knows what the caches hold: the next request computes everything again. */
        session->computed = session->trusted = 0;
        ci_prefix_drop_all(engine);
    }
    ci_trace_host(engine->trace, CI_TRACE_REQUEST, session->submitted);
    CI_PROBE(request_end, session->request, session->generated, (int)reason, (int)status);
    ci_queue_leave(engine, session);
    pthread_mutex_lock(&engine->lock);
    session->state = CI_SESSION_DONE;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
}

void ci_session_finish(struct clinfer_session *session, enum clinfer_status status, enum clinfer_finish reason) {
    finish(session, status, reason);
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

/* Writes the inputs of a step; see tensor/op_params.h for what they mean. */
static void fill_inputs(const struct ci_batch *batch, const struct ci_run *run) {
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
            bool known = (size_t)position < session->known;
            ids[row + i] = known ? session->tokens[position] : -1 - session->in_flight;
            if (positions) positions[row + i] = position; /* some models have none */
        }
        for (int32_t done = 0; done < part->rows; done += CI_TILE_ROWS, tile += CI_TILE_COLS) {
            tile[CI_TILE_ROW] = row + done;
            tile[CI_TILE_COUNT] = rows - done < CI_TILE_ROWS ? rows - done : CI_TILE_ROWS;
            tile[CI_TILE_LINE] = line;
            tile[CI_TILE_POSITION] = first + done;
            tile[CI_TILE_LENGTH] = first + rows;
        }
        for (int group = 0; group < CI_CACHE_GROUPS; group++)
            fill_pages(&session->lists[group], line, first, rows, run->slots[group], row, run->pages[group]);
        row += rows;
        if (!part->wanted) continue;
        *wanted++ = row - 1;
        ci_sampler_fill(session, session->flights, sampler);
        sampler += CI_SAMPLER_COLS;
    }
}

/* The sessions' rows are computed with what is enqueued now; those that are wanted go on with what it samples. */
static void count_rows(struct clinfer_engine *engine, struct ci_flight *flight) {
    engine->stats.steps++;
    engine->stats.rows += (uint64_t)flight->batch.rows;
    flight->count = 0;
    for (int i = 0; i < flight->batch.count; i++) {
        struct clinfer_session *session = flight->batch.parts[i].session;
        session->computed += (size_t)flight->batch.parts[i].rows;
        session->in_flight = -1;
        if (!flight->batch.parts[i].wanted) continue;
        session->in_flight = flight->count;
        session->flights++;
        flight->sessions[flight->count++] = session;
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
        const struct clinfer_session *session = batch->parts[i].session;
        if (!batch->parts[i].wanted) continue;
        if (!session->on_host && ci_session_is_constrained(session)) {
            status = ci_constraint_send(engine, &session->constraint, bucket->plan, row);
            sampler[row * CI_SAMPLER_COLS + CI_SAMPLER_MASKED] = 1;
        }
        row++;
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
    fill_inputs(batch, &bucket->run);
    int64_t rows[CI_EXTENT_COUNT] = {0, batch->rows, batch->wanted, batch->tiles};
    status = ci_plan_set_rows(bucket->plan, rows);
    start = ci_trace_host(engine->trace, CI_TRACE_SCHEDULE, start);
    if (status == CLINFER_OK) status = send_masks(engine, batch, bucket);
    ci_trace_host(engine->trace, CI_TRACE_SAMPLER, start);
    start = flight->started = ci_now();
    if (status == CLINFER_OK)
        status = engine->careful ? ci_careful_run(engine, bucket, batch->rows, &replaced) : ci_plan_run(bucket->plan);
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

static bool in_answer(const struct clinfer_session *session) {
    return !session->parts.form || session->parts.now == CI_PART_ANSWER;
}

/* Text goes out in pieces that fit on the stack, whatever a vocabulary holds. */
bool ci_session_emit(struct clinfer_session *session, int32_t id) {
    enum { PIECE = 512 };
    char out[PIECE + CI_UTF8_HELD];
    size_t length;
    const char *bytes = ci_tokenizer_piece(session->engine->tokenizer, id, false, &length);
    if (!length) { /* a control token has text only as part of a mark */
        bytes = ci_tokenizer_piece(session->engine->tokenizer, id, true, &length);
        if (!ci_parts_know(&session->parts, bytes, length) && !ci_tool_format_knows(session->calls, bytes, length))
            length = 0;
    }
    for (size_t done = 0; done < length; done += PIECE) {
        size_t count =
            ci_utf8_stream_push(&session->stream, bytes + done, length - done < PIECE ? length - done : PIECE, out);
        if (count && !ci_parts_push(&session->parts, out, count, pass_part, session)) return false;
    }
    session->emitted++;
    struct ci_constraint *constraint = &session->constraint;
    if (constraint->mark && !constraint->held && in_answer(session)) ci_constraint_watch(constraint, bytes, length);
    return true;
}

/* Reasoning that ends like an answer, with the answer to come. */
static bool goes_on_behind(const struct clinfer_session *session, int32_t id) {
    size_t length;
    const char *text = ci_tokenizer_piece(session->engine->tokenizer, id, true, &length);
    return ci_parts_go_on(&session->parts, text, length);
}

bool ci_session_is_constrained(const struct clinfer_session *session) {
    return session->constraint.held && in_answer(session);
}

/* Tokens that may come behind the next one; -1: any number. */
static int64_t room_of(const struct clinfer_session *session) {
    int64_t context = (int64_t)session->engine->context - (int64_t)session->known;
    int64_t most = session->max_tokens - (int64_t)session->generated - 1;
    if (session->max_tokens < 0) return session->options.shift ? -1 : context;
    return session->options.shift || most < context ? most : context;
}

/* Whether the host has to see the token before the next step: it chooses it, or makes the mask for the one behind it.
 */
static bool must_wait(const struct clinfer_session *session) { return session->on_host || session->constraint.held; }

/* What becomes of a token that was chosen. */
enum turn {
    TURN_TOKEN,
    TURN_COMPLETE /* nothing may come any more */,
    TURN_CLOSED, /* the closing comes in its place */
    TURN_THOUGHT /* what ends reasoning comes in its place */
};

/* The chain of samplers over what may come. */
static enum clinfer_status sample_on_host(struct clinfer_engine *engine, const struct ci_flight *flight, int index,
                                          int32_t *id) {
    struct clinfer_session *session = flight->sessions[index];
    enum clinfer_status status =
        ci_plan_read(flight->bucket->plan, flight->bucket->run.logits, index, 1, engine->host_logits);
    if (status == CLINFER_OK) status = ci_logprobs_look(&session->logprobs, engine, session->output, session->generated);
    if (status == CLINFER_OK && ci_session_is_constrained(session))
        status = ci_constraint_apply(engine, &session->constraint, engine->host_logits);
    if (status != CLINFER_OK) return status;
    *id = ci_sampler_choose(session, engine->host_logits);
    ci_logprobs_take(&session->logprobs, engine->host_logits, *id);
    return CLINFER_OK;
}

/* The token that was sampled for this session, and what becomes of it by its grammar. */
static enum clinfer_status choose_token(struct clinfer_engine *engine, const struct ci_flight *flight, int index,
                                        int32_t *id, enum turn *turn) {
    struct clinfer_session *session = flight->sessions[index];
    const bool constrained = ci_session_is_constrained(session);
    enum clinfer_status status = CLINFER_OK;
    const uint32_t *bits;
    size_t count = 1;
    bool closed = false;
    if (constrained) status = ci_constraint_mask(&session->constraint, &bits, &count);
    *turn = TURN_COMPLETE;
    if (status != CLINFER_OK || count == 0) return status;
    if (session->on_host) status = sample_on_host(engine, flight, index, id);
    if (status == CLINFER_OK && constrained)
        status = ci_constraint_take(engine, &session->constraint, *id, room_of(session), &closed);
    *turn = closed ? TURN_CLOSED : TURN_TOKEN;
    if (!constrained && session->constraint.turning_count && ci_tokenizer_is_end(engine->tokenizer, *id) &&
        !goes_on_behind(session, *id))
        *turn = TURN_THOUGHT;
    return status;
}

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

/* Room for a whole context was reserved; only after a shift can there be more. */
static enum clinfer_status keep_output(struct clinfer_session *session, int32_t id) {
    if (session->generated == session->output_capacity) {
        size_t capacity = session->output_capacity * 2 + 16;
        int32_t *output = realloc(session->output, sizeof *output * capacity);
        if (!output) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", capacity);
        session->output = output;
        session->output_capacity = capacity;
    }
    session->output[session->generated++] = id;
    return CLINFER_OK;
}

/* Once more with care, or not at all. */
static void fail_part(struct ci_part *part, enum clinfer_status status) {
    if (part->session && !ci_careful_retry(part, status)) finish(part->session, status, CLINFER_FINISH_CANCELLED);
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
    for (int i = 0; i < flight->batch.count; i++) {
        ci_fail(status, "%s", message);
        fail_part(&flight->batch.parts[i], status);
    }
    flight->count = flight->batch.count = 0;
}

static bool pass_token(struct clinfer_session *session, int32_t id) {
    return (!session->on_token || session->on_token(session->user, id)) && ci_session_emit(session, id);
}

static enum clinfer_status keep_token(struct clinfer_session *session, int32_t id) {
    session->tokens[session->known++] = id;
    CI_PROBE(token, session->request, session->generated, id, session->known);
    return keep_output(session, id);
}

/* An answer that has no room for more ends as its grammar wants it; nothing of that has to be computed. */
static void close_answer(struct clinfer_session *session) {
    const struct ci_constraint *constraint = &session->constraint;
    enum clinfer_status status = CLINFER_OK;
    bool goes_on = true;
    for (size_t i = 0; i < constraint->closing_count && goes_on; i++) {
        status = keep_token(session, constraint->closing[i]);
        goes_on = status == CLINFER_OK && pass_token(session, constraint->closing[i]);
    }
    finish(session, status, goes_on ? CLINFER_FINISH_LENGTH : CLINFER_FINISH_CANCELLED);
}

/* The answer goes on with this token; false: that was its end. */
static bool go_on_with(struct clinfer_session *session, int32_t id) {
    struct clinfer_engine *engine = session->engine;
    enum clinfer_status status = keep_token(session, id);
    if (session->flights == 0) session->in_flight = -1;
    bool ends = (!session->ignore_end || session->constraint.held) && ci_tokenizer_is_end(engine->tokenizer, id) &&
                !goes_on_behind(session, id);
    double start = ci_trace_start(engine->trace);
    bool goes_on = status == CLINFER_OK && !ends && pass_token(session, id);
    ci_trace_host(engine->trace, CI_TRACE_TEXT, start);
    if (!goes_on) finish(session, status, ends ? CLINFER_FINISH_END : CLINFER_FINISH_CANCELLED);
    if (goes_on && ci_session_is_constrained(session) && session->flights > 0) {
        ci_engine_forget(session); /* it was free when that was enqueued */
        session->computed = session->known - 1;
    }
    return goes_on;
}

/* Tokens without a choice are taken at once: their rows are computed with the next step, as those of a prompt. Each
 * spends what it would have spent of random numbers, so that the text is what it is with a step for each. Whatever ends
 * an answer for want of room is left to the next step. */
static void take_forced(struct clinfer_session *session) {
    struct clinfer_engine *engine = session->engine;
    bool goes_on = !engine->each_token_steps;
    while (goes_on && ci_session_is_constrained(session) && session->known <= (size_t)engine->context &&
           (session->max_tokens < 0 || (int64_t)session->generated < session->max_tokens)) {
        int32_t id;
        bool closed = false;
        double start = ci_trace_start(engine->trace);
        enum clinfer_status status = ci_constraint_only(&session->constraint, &id);
        ci_trace_host(engine->trace, CI_TRACE_SAMPLER, start);
        if (status == CLINFER_OK && (id < 0 || ci_sampler_forbids(&session->sampler, id))) return;
        if (status == CLINFER_OK)
            status = ci_constraint_take(engine, &session->constraint, id, room_of(session), &closed);
        if (status != CLINFER_OK) {
            finish(session, status, CLINFER_FINISH_CANCELLED);
            return;
        }
        if (closed) {
            close_answer(session);
            return;
        }
        ci_sampler_pass(&session->sampler);
        goes_on = go_on_with(session, id);
    }
}

/* Reasoning ends here, so that the answer still comes. */
static void end_reasoning(struct clinfer_session *session) {
    const struct ci_constraint *constraint = &session->constraint;
    bool goes_on = true;
    session->result.reasoning_cut = true;
    for (size_t i = 0; i < constraint->turning_count && goes_on; i++)
        goes_on = go_on_with(session, constraint->turning[i]);
    if (goes_on) take_forced(session);
}

/* Takes the sampled id of one session: the next token of its text. */
static void take_token(struct clinfer_engine *engine, struct ci_flight *flight, int index) {
    struct clinfer_session *session = flight->sessions[index];
    int32_t id = flight->ids[index];
    enum turn turn = TURN_TOKEN;
    enum clinfer_status status = check_result(flight, index);
    if (status == CLINFER_OK && must_wait(session)) {
        double start = ci_trace_start(engine->trace);
        status = choose_token(engine, flight, index, &id, &turn);
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
    if (turn == TURN_COMPLETE) {
        finish(session, CLINFER_OK, CLINFER_FINISH_END);
        return;
    }
    if (turn == TURN_CLOSED) {
        close_answer(session);
        return;
    }
    if (turn == TURN_THOUGHT) {
        end_reasoning(session);
        return;
    }
    if (!go_on_with(session, id)) return;
    if (session->constraint.held && !ci_session_is_constrained(session) &&
        ci_constraint_turns(&session->constraint, room_of(session) < 0 ? -1 : room_of(session) + 1))
        end_reasoning(session);
    else
        take_forced(session);
}

static enum clinfer_status wait_for(struct clinfer_engine *engine, struct ci_flight *flight) {
    double start = ci_now();
    deactivate(flight);
    /* The later read first: when that is done the other is too. */
    enum clinfer_status status =
        ci_plan_read_wait(flight->bucket->plan, flight->bucket->run.not_finite, flight->slot + 1);
    enum clinfer_status second = ci_plan_read_wait(flight->bucket->plan, engine->model.sampled, flight->slot);
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
    for (int i = 0; i < flight->count; i++)
        if (flight->sessions[i]) take_token(engine, flight, i);
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
    struct ci_flight *previous = &engine->flights[engine->next_flight ^ 1],
                     *flight = &engine->flights[engine->next_flight];
    double start = ci_trace_start(engine->trace);
    ci_engine_collect(engine, &flight->batch);
    ci_trace_host(engine->trace, CI_TRACE_SCHEDULE, start);
    bool waits = false, some = flight->batch.count > 0;
    if (!some && !previous->active) return engine->short_of_pages;
    for (int i = 0; i < flight->batch.count; i++) waits = waits || must_wait(flight->batch.parts[i].session);
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

enum clinfer_status ci_engine_compute_logits(struct clinfer_engine *engine, struct clinfer_session *session, bool all,
                                             float *logits, bool *replaced, size_t *bad) {
    size_t outputs = (size_t)engine->model.outputs;
    const struct ci_bucket *largest = &engine->buckets[engine->bucket_count - 1];
    int64_t most = all ? largest->rows[CI_EXTENT_WANTED] : largest->rows[CI_EXTENT_ROWS];
    *bad = 0;
    *replaced = false;
    enum clinfer_status status = CLINFER_OK;
    ci_engine_check_window(engine, session);
    while (session->computed < session->known && status == CLINFER_OK && *bad == 0) {
        int64_t left = (int64_t)(session->known - session->computed), rows = left < most ? left : most;
        bool last = rows == left;
        struct ci_batch batch = {.count = 0};
        ci_batch_add(&batch, session, rows, all || last);
        struct ci_bucket *bucket;
        int64_t wanted_rows = all ? rows : last ? 1 : 0;
        status = ci_gguf_check_whole(engine->gguf);
        if (status == CLINFER_OK) status = ci_engine_take_pages(engine, session, session->computed + (size_t)rows);
        if (status == CLINFER_OK) status = ci_engine_bucket(engine, rows, wanted_rows, &bucket);
        if (status != CLINFER_OK) break;
        fill_inputs(&batch, &bucket->run);
        int32_t *wanted = bucket->run.wanted->view.data;
        for (int64_t i = 0; i < wanted_rows; i++) wanted[i] = ci_narrowed(rows - wanted_rows + i);
        int64_t extents[CI_EXTENT_COUNT] = {0, rows, wanted_rows, batch.tiles};
        status = ci_plan_set_rows(bucket->plan, extents);
        if (status == CLINFER_OK)
            status = engine->careful ? ci_careful_run(engine, bucket, rows, replaced) : ci_plan_run(bucket->plan);
        if (*replaced) return status;
        if (status == CLINFER_OK && wanted_rows)
            status = ci_plan_read(bucket->plan, bucket->run.logits, 0, wanted_rows, logits);
        size_t count = status == CLINFER_OK ? outputs * (size_t)wanted_rows : 0;
        for (size_t i = 0; i < count; i++) *bad += !isfinite(logits[i]);
        logits += count;
        session->computed += (size_t)rows;
        engine->stats.steps++;
        engine->stats.rows += (uint64_t)rows;
    }
    if (status != CLINFER_OK) session->computed = 0;
    return status;
}

enum clinfer_status ci_engine_compute_together(struct clinfer_engine *engine, struct clinfer_session *const *sessions,
                                               int count, float *rows) {
    struct ci_batch batch = {.count = 0};
    struct ci_bucket *bucket;
    size_t bad = 0;
    ci_engine_land(engine);
    enum clinfer_status status = ci_gguf_check_whole(engine->gguf);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        ci_engine_check_window(engine, sessions[i]);
        status = ci_engine_take_pages(engine, sessions[i], sessions[i]->known);
        if (status == CLINFER_OK) ci_batch_add(&batch, sessions[i], (int64_t)sessions[i]->known, true);
    }
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, batch.rows, batch.rows, &bucket);
    if (status != CLINFER_OK) return status;
    fill_inputs(&batch, &bucket->run);
    int32_t *wanted = bucket->run.wanted->view.data;
    for (int64_t i = 0; i < batch.rows; i++) wanted[i] = ci_narrowed(i);
    int64_t extents[CI_EXTENT_COUNT] = {0, batch.rows, batch.rows, batch.tiles};
    status = ci_plan_set_rows(bucket->plan, extents);
    if (status == CLINFER_OK) status = ci_plan_run(bucket->plan);
    if (status == CLINFER_OK) status = ci_plan_read(bucket->plan, bucket->run.logits, 0, batch.rows, rows);
    size_t numbers = status == CLINFER_OK ? (size_t)batch.rows * (size_t)engine->model.outputs : 0;
    for (size_t i = 0; i < numbers; i++) bad += !isfinite(rows[i]);
    engine->stats.steps++;
    engine->stats.rows += (uint64_t)batch.rows;
    return bad ? ci_fail(CLINFER_WRONG_RESULT, "%zu numbers of %d texts are not finite", bad, count) : status;
}

enum clinfer_status ci_engine_verify_rows(struct clinfer_engine *engine, struct clinfer_session *session, int64_t rows,
                                          ci_verify_callback *callback, void *user) {
    struct ci_batch batch = {.count = 0};
    struct ci_bucket *bucket;
    ci_engine_land(engine);
    ci_engine_check_window(engine, session);
    enum clinfer_status status = ci_engine_take_pages(engine, session, session->computed + (size_t)rows);
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, rows, 1, &bucket);
    if (status != CLINFER_OK) return status;
    ci_batch_add(&batch, session, rows, true);
    fill_inputs(&batch, &bucket->run);
    int64_t extents[CI_EXTENT_COUNT] = {0, rows, 1, batch.tiles};
    status = ci_plan_set_rows(bucket->plan, extents);
    struct ci_cache_use caches = ci_engine_cache_use(engine, &bucket->run, rows);
    if (status == CLINFER_OK) status = ci_plan_verify(bucket->plan, &caches, callback, user);
    if (status == CLINFER_OK) session->computed += (size_t)rows;
    return status;
}
