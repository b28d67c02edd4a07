/* schedule.c: whose rows the next step computes.
 *
 * Requests run in the order in which they come, so many at once as a step has rows for and memory has pages; the others
 * wait. Each step has one row of every session that decodes, and with the rest of its rows it goes on with prompts, the
 * oldest first. So that nobody waits long for the next token, the piece of prompts beside those that decode is no
 * larger than a step of less than a tenth of a second allows (pace.h).
 *
 * Where pages run out, the one that came last gives its own back, waits, and is computed again later. */
#include <assert.h>
#include <string.h>

#include "base/status.h"
#include "cpu/cpu.h"
#include "engine/engine_private.h"
#include "trace/probes.h"

/* Rows that follow each other without a choice are no prompt. Some kernels for many rows compute WHOLE of them, there
 * or not. */
enum { MOST_FORCED = 16, MANY = 32, WHOLE = 16 };

/* ---- the queue ---- */

void ci_queue_enter(struct clinfer_engine *engine, struct clinfer_session *session) {
    struct clinfer_session **end = &engine->queue;
    while (*end) end = &(*end)->next_in_queue;
    session->next_in_queue = NULL;
    *end = session;
}

void ci_queue_leave(struct clinfer_engine *engine, struct clinfer_session *session) {
    struct clinfer_session **link = &engine->queue;
    while (*link && *link != session) link = &(*link)->next_in_queue;
    if (*link) *link = session->next_in_queue;
}

static int count_running(const struct clinfer_engine *engine) {
    int running = 0;
    for (const struct clinfer_session *s = engine->queue; s; s = s->next_in_queue) running += s->admitted;
    return running;
}

void ci_engine_make_way(struct clinfer_engine *engine) {
    struct clinfer_session *last = NULL;
    engine->short_of_pages = false;
    for (struct clinfer_session *s = engine->queue; s; s = s->next_in_queue)
        if (s->admitted) last = s;
    if (!last || count_running(engine) < 2) return;
    ci_engine_return_pages(engine, last, 0);
    last->computed = last->trusted = 0;
    last->admitted = false;
}

/* ---- how long steps take ---- */

void ci_pace_note(struct clinfer_engine *engine, const struct ci_flight *flight) {
    struct ci_pace *pace = &engine->pace;
    const struct ci_batch *batch = &flight->batch;
    double now = ci_now(), start = flight->started > pace->landed ? flight->started : pace->landed;
    const struct ci_pace_step step = {now - start, batch->rows - batch->decoding, batch->decoding, batch->cut};
    pace->landed = now;
    if (engine->careful != CI_CARE_NONE || step.seconds <= 0) return;
    if (step.prompt == 0) ci_draft_pace_note(&engine->draft, batch->rows, step.seconds);
    ci_pace_take(pace, &step, engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS]);
}

/* ---- a step ---- */

/* The context is full: what a shift leaves is computed again. */
enum { KEPT = 1 };

size_t ci_session_shift(int32_t *tokens, size_t known) {
    size_t dropped = known / 2;
    memmove(tokens + KEPT, tokens + KEPT + dropped, sizeof *tokens * (known - KEPT - dropped));
    return known - dropped;
}

static void shift(struct clinfer_session *session) {
    session->known = ci_session_shift(session->tokens, session->known);
    session->computed = KEPT < session->computed ? KEPT : session->computed;
    ci_ngrams_forget(&session->drafting.ngrams);
    ci_engine_check_window(session->engine, session);
}

int64_t ci_session_room(const struct clinfer_session *session) {
    int64_t room = (int64_t)session->engine->context - (int64_t)session->known;
    return room + (session->options.shift || (room == 0 && session->generated == 0));
}

/* How many rows this session has for a step with room for `budget`; ends it when it can have no more. */
static int64_t rows_of(struct clinfer_session *session, int64_t budget, bool *wanted) {
    int flights = session->flights;
    *wanted = false;
    if (atomic_load(&session->cancel)) {
        if (flights == 0) ci_session_finish(session, CLINFER_OK, CLINFER_FINISH_CANCELLED);
        return 0;
    }
    if (session->max_tokens >= 0 && (int64_t)session->generated + flights >= session->max_tokens) {
        if (flights == 0) ci_session_finish(session, CLINFER_OK, CLINFER_FINISH_LENGTH);
        return 0;
    }
    if (ci_session_room(session) <= flights || session->computed >= (size_t)session->engine->context) {
        if (flights) return 0;
        if (!session->options.shift) {
            ci_session_finish(session, CLINFER_OK, CLINFER_FINISH_CONTEXT);
            return 0;
        }
        shift(session);
    }
    if (session->in_flight >= 0) {
        *wanted = budget > 0;
        return budget > 0 ? 1 : 0;
    }
    assert(flights == 0);
    int64_t rows = (int64_t)(session->known - session->computed);
    *wanted = rows <= budget;
    return rows < budget ? rows : budget;
}

void ci_batch_add(struct ci_batch *batch, struct clinfer_session *session, int64_t rows, bool wanted) {
    batch->parts[batch->count++] =
        (struct ci_part){.session = session, .first = session->computed, .rows = rows, .wanted = wanted};
    batch->rows += rows;
    batch->wanted += wanted;
    batch->tiles += (rows + CI_TILE_ROWS - 1) / CI_TILE_ROWS;
}

/* Its first rows are about to be computed: now there is as much to share as can be. */
static bool admit(struct clinfer_engine *engine, struct clinfer_session *session, bool alone) {
    if (session->shares) ci_prefix_take(engine, session);
    if (!alone && !ci_engine_has_room(engine, session, session->known + 1)) {
        ci_engine_return_pages(engine, session, 0);
        session->computed = session->trusted = 0;
        return false;
    }
    session->admitted = true;
    if (session->told) return true;
    session->told = true;
    session->result.cached_tokens = session->computed;
    CI_PROBE(request_begin, session->request, session->known, session->computed, session->max_tokens);
    if (session->on_start) session->on_start(session->user, session->computed);
    return true;
}

static bool decodes(const struct clinfer_session *session) {
    if (!session->admitted) return false;
    if (session->in_flight >= 0) return true;
    return session->known - session->computed <= (session->generated > session->taken_up ? MOST_FORCED : 1);
}

/* As many rows of the session as it has, and as fit; returns how many that are. */
static int64_t add_rows(struct clinfer_engine *engine, struct ci_batch *batch, struct clinfer_session *session,
                        int64_t most) {
    bool wanted;
    session->collected = engine->collected;
    ci_engine_check_window(engine, session);
    int64_t rows = rows_of(session, most, &wanted);
    if (rows == 0) return 0;
    enum clinfer_status status = ci_engine_take_pages(engine, session, session->computed + (size_t)rows);
    if (status == CLINFER_OUT_OF_MEMORY && count_running(engine) > 1) {
        engine->short_of_pages = true;
        return 0;
    }
    if (status != CLINFER_OK) {
        ci_session_finish(session, status, CLINFER_FINISH_CANCELLED);
        return 0;
    }
    ci_batch_add(batch, session, rows, wanted);
    return rows;
}

/* Whether kernels compute whole blocks of rows: those of AVX-512, and those for OpenCL on processors, compute tiles of
 * 8 at most. */
static bool has_whole_blocks(const struct clinfer_engine *engine) {
    if (engine->device) return ci_device_caps(engine->device)->kind != CI_DEVICE_CPU;
    return !ci_cpu_features()->avx512vnni;
}

/* What a piece of a prompt beside `rows` others may have as well, since it costs nothing; where kernels compute no more
 * rows than there are, it would make the step longer than it may be. */
static int64_t whole_piece(const struct clinfer_engine *engine, int64_t rows, int64_t piece) {
    int64_t all = rows + piece;
    if (all <= MANY || !has_whole_blocks(engine)) return piece;
    return (all + WHOLE - 1) / WHOLE * WHOLE - rows;
}

/* The oldest first. */
static void add_prompts(struct clinfer_engine *engine, struct ci_batch *batch, int64_t most) {
    int64_t room = most - batch->rows;
    int running = count_running(engine);
    bool closed = false; /* who came later than one that has to wait waits too */
    int64_t piece = whole_piece(engine, batch->rows, ci_pace_piece(&engine->pace));
    if (batch->count > 0 && piece < room) room = piece;
    for (struct clinfer_session *session = engine->queue, *next; session && room > 0; session = next) {
        next = session->next_in_queue;
        if (session->collected == engine->collected) continue;
        if (!session->admitted) {
            closed = closed || running >= CI_MAX_SEQUENCES || running >= most || engine->short_of_pages;
            if (closed || ci_prefix_is_coming(engine, session)) continue;
            closed = !admit(engine, session, running == 0);
            if (closed) continue;
            running++;
        }
        room -= add_rows(engine, batch, session, room);
    }
    batch->cut = room <= 0;
}

void ci_engine_collect(struct clinfer_engine *engine, struct ci_batch *batch) {
    int64_t most = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    batch->count = 0;
    batch->rows = batch->wanted = batch->tiles = 0;
    batch->cut = false;
    engine->careful = engine->successor ? CI_CARE_SUCCESSOR : CI_CARE_NONE;
    engine->collected++;
    for (struct clinfer_session *session = engine->queue, *next; session; session = next) {
        next = session->next_in_queue;
        if (session->care > engine->careful) engine->careful = session->care;
        if (!session->admitted && atomic_load(&session->cancel))
            ci_session_finish(session, CLINFER_OK, CLINFER_FINISH_CANCELLED);
    }
    for (struct clinfer_session *session = engine->queue, *next; session && batch->rows < most; session = next) {
        int64_t room = most - batch->rows;
        next = session->next_in_queue;
        if (decodes(session)) add_rows(engine, batch, session, room < MOST_FORCED ? room : MOST_FORCED);
    }
    ci_draft_extend(engine, batch);
    batch->decoding = batch->rows;
    add_prompts(engine, batch, most);
}
