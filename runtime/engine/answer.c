/* answer.c: what becomes of a token that was chosen: by its grammar, as text, and as the end of an answer. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "engine/engine_private.h"
#include "trace/probes.h"

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

void ci_session_finish(struct clinfer_session *session, enum clinfer_status status, enum clinfer_finish reason) {
    struct clinfer_engine *engine = session->engine;
    char rest[CI_UTF8_HELD];
    size_t length = ci_utf8_stream_flush(&session->stream, rest);
    /* Half a character, where the answer was cut in it. */
    if (reason == CLINFER_FINISH_LENGTH || reason == CLINFER_FINISH_CONTEXT) length = 0;
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

/* Tokens that may still come; -1: any number. */
static int64_t room_of(const struct clinfer_session *session) {
    int64_t context = ci_session_room(session), most = session->max_tokens - (int64_t)session->generated;
    if (session->max_tokens < 0) return session->options.shift ? -1 : context;
    return session->options.shift || most < context ? most : context;
}

/* The same behind the next one. */
static int64_t room_behind(const struct clinfer_session *session) {
    int64_t room = room_of(session);
    return room > 0 ? room - 1 : room;
}

/* The chain of samplers over what may come. */
static enum clinfer_status sample_on_host(struct clinfer_engine *engine, const struct ci_flight *flight, int index,
                                          int32_t *id) {
    struct clinfer_session *session = flight->sessions[index];
    enum clinfer_status status =
        ci_plan_read(flight->bucket->plan, flight->bucket->run.logits, index, 1, engine->host_logits);
    if (status == CLINFER_OK)
        status = ci_logprobs_look(&session->logprobs, engine, session->output, session->generated);
    if (status == CLINFER_OK && ci_session_is_constrained(session))
        status = ci_constraint_apply(engine, &session->constraint, engine->host_logits);
    if (status != CLINFER_OK) return status;
    *id = ci_sampler_choose(session, engine->host_logits);
    ci_logprobs_take(&session->logprobs, engine->host_logits, *id);
    return CLINFER_OK;
}

enum clinfer_status ci_answer_choose(struct clinfer_engine *engine, const struct ci_flight *flight, int index,
                                     int32_t *id, enum ci_turn *turn) {
    struct clinfer_session *session = flight->sessions[index];
    const bool constrained = ci_session_is_constrained(session);
    enum clinfer_status status = CLINFER_OK;
    const uint32_t *bits;
    size_t count = 1;
    bool closed = false;
    if (constrained) status = ci_constraint_mask(&session->constraint, &bits, &count);
    *turn = CI_TURN_COMPLETE;
    if (status != CLINFER_OK || count == 0) return status;
    if (session->on_host) status = sample_on_host(engine, flight, index, id);
    if (status == CLINFER_OK && constrained)
        status = ci_constraint_take(engine, &session->constraint, *id, room_behind(session), &closed);
    *turn = closed ? CI_TURN_CLOSED : CI_TURN_TOKEN;
    if (!constrained && session->constraint.turning_count && ci_tokenizer_is_end(engine->tokenizer, *id) &&
        !goes_on_behind(session, *id))
        *turn = CI_TURN_THOUGHT;
    return status;
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
    ci_session_finish(session, status, goes_on ? CLINFER_FINISH_LENGTH : CLINFER_FINISH_CANCELLED);
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
    if (!goes_on) ci_session_finish(session, status, ends ? CLINFER_FINISH_END : CLINFER_FINISH_CANCELLED);
    if (goes_on && ci_session_is_constrained(session) && session->flights > 0) {
        ci_engine_forget(session); /* it was free when that was enqueued */
        session->computed = session->known - 1;
    }
    return goes_on;
}

/* Tokens that come without a step of their own. */
struct forced {
    int32_t *tokens; /* [count] of bytes that have to come */
    size_t count, next;
};

/* The next of them; -1: there is none. */
static enum clinfer_status next_forced(struct clinfer_session *session, struct forced *forced, int32_t *id) {
    struct clinfer_engine *engine = session->engine;
    double start = ci_trace_start(engine->trace);
    enum clinfer_status status = CLINFER_OK;
    *id = -1;
    if (forced->next == forced->count) {
        free(forced->tokens);
        forced->next = 0;
        status = ci_constraint_forced(engine, &session->constraint, &forced->tokens, &forced->count);
    }
    if (status == CLINFER_OK && forced->next < forced->count)
        *id = forced->tokens[forced->next++];
    else if (status == CLINFER_OK)
        status = ci_constraint_only(&session->constraint, id);
    ci_trace_host(engine->trace, CI_TRACE_SAMPLER, start);
    if (*id >= 0 && ci_sampler_forbids(&session->sampler, *id)) *id = -1;
    return status;
}

/* Tokens without a choice are taken at once: their rows are computed with the next step, as those of a prompt. Each
 * spends what it would have spent of random numbers, so that the text is what it is with a step for each; with
 * force_bytes, where they are tokens that might not have been drawn, it may be another. Whatever ends an answer for
 * want of room is left to the next step. */
static void take_forced(struct clinfer_session *session) {
    struct clinfer_engine *engine = session->engine;
    struct forced forced = {.tokens = NULL};
    enum clinfer_status status = CLINFER_OK;
    bool goes_on = !engine->each_token_steps, closed = false;
    while (goes_on && ci_session_is_constrained(session) && ci_session_room(session) > 0 &&
           (session->max_tokens < 0 || (int64_t)session->generated < session->max_tokens)) {
        int32_t id;
        status = next_forced(session, &forced, &id);
        if (status == CLINFER_OK && id < 0) break;
        if (status == CLINFER_OK)
            status = ci_constraint_take(engine, &session->constraint, id, room_behind(session), &closed);
        if (status != CLINFER_OK || closed) break;
        ci_sampler_pass(&session->sampler);
        goes_on = go_on_with(session, id);
    }
    free(forced.tokens);
    if (status != CLINFER_OK)
        ci_session_finish(session, status, CLINFER_FINISH_CANCELLED);
    else if (closed)
        close_answer(session);
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

void ci_answer_take(struct clinfer_session *session, int32_t id, enum ci_turn turn) {
    if (turn == CI_TURN_COMPLETE) {
        ci_session_finish(session, CLINFER_OK, CLINFER_FINISH_END);
        return;
    }
    if (turn == CI_TURN_CLOSED) {
        close_answer(session);
        return;
    }
    if (turn == CI_TURN_THOUGHT) {
        end_reasoning(session);
        return;
    }
    if (!go_on_with(session, id)) return;
    const int64_t room = room_of(session);
    if (session->constraint.held && !ci_session_is_constrained(session) && room > 0 &&
        ci_constraint_turns(&session->constraint, room))
        end_reasoning(session);
    else
        take_forced(session);
}
