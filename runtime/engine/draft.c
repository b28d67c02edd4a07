/* draft.c: which sessions guess, how many tokens, and which of them count. See draft.h. */
#include "engine/draft.h"

#include <string.h>

#include "base/narrow.h"
#include "engine/engine_private.h"

static const struct ci_draft_source *const sources[] = {
#define CI_DRAFT_SOURCE(name) &ci_draft_##name,
#include "engine/draft_source_list.inc"
#undef CI_DRAFT_SOURCE
};
_Static_assert(sizeof sources / sizeof *sources == CI_DRAFT_SOURCES, "as many as there are in the list");

enum { FIRST_PATIENCE = 8, MOST_PATIENCE = 128, TRIAL = 3 };

void ci_draft_begin(struct clinfer_session *session) {
    struct ci_drafting *own = &session->drafting;
    own->count = 0;
    own->waits = false;
    own->held_back = 0;
    own->patience = FIRST_PATIENCE;
    memset(own->rates, 0, sizeof own->rates);
    ci_ngrams_forget(&own->ngrams);
}

void ci_draft_end(struct clinfer_session *session) {
    ci_ngrams_free(&session->drafting.ngrams);
    clinfer_session_destroy(session->drafting.model);
}

static int most_of(const struct clinfer_session *session) {
    int own = session->options.draft_most, most = session->engine->options.draft.most;
    if (most == 0 || most > CI_DRAFT_MOST) most = CI_DRAFT_MOST;
    return own >= 0 && own < most ? own : most;
}

bool ci_draft_must_wait(const struct clinfer_session *session) { return session->drafting.waits; }

/* What became of the last ones. */
static void settle(struct ci_drafting *own) {
    if (own->count == 0) return;
    ci_draft_rate_note(&own->rates[own->source][own->kind], own->count, own->right);
    own->patience = own->right > 0 ? FIRST_PATIENCE : own->patience < MOST_PATIENCE ? 2 * own->patience : MOST_PATIENCE;
    own->count = 0;
}

/* How many sessions may still come into this step, each with a row, and with one that has logits. */
static int64_t count_missing(const struct clinfer_engine *engine, const struct ci_batch *batch) {
    int64_t count = -batch->count;
    for (const struct clinfer_session *s = engine->queue; s; s = s->next_in_queue) count++;
    return count;
}

/* How many tokens of this session might be guessed for this step, if all were right. */
static int64_t room_of(const struct clinfer_session *session, const struct ci_batch *batch) {
    const struct clinfer_engine *engine = session->engine;
    const struct ci_bucket *largest = &engine->buckets[engine->bucket_count - 1];
    int64_t room = most_of(session), context = ci_session_room(session) - 1;
    int64_t missing = count_missing(engine, batch), outputs = largest->rows[CI_EXTENT_WANTED];
    int64_t rows = largest->rows[CI_EXTENT_ROWS] - batch->rows - missing,
            wanted = (outputs < CI_MAX_SEQUENCES ? outputs : CI_MAX_SEQUENCES) - batch->wanted - missing;
    int64_t tokens = session->max_tokens < 0 ? room : session->max_tokens - (int64_t)session->generated - 1;
    const int64_t bounds[] = {context, rows, wanted, tokens};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (bounds[i] < room) room = bounds[i];
    return room > 0 ? room : 0;
}

/* Of the guesses those that the grammar allows, and the masks that they lead to. */
static int keep_allowed(struct clinfer_session *session, int count) {
    struct ci_drafting *own = &session->drafting;
    const bool held = !session->on_host && ci_session_is_constrained(session);
    own->places[0] = held ? session->constraint.place : CI_PLACE_DEAD;
    for (int i = 0; i < count; i++) {
        own->places[i + 1] = CI_PLACE_DEAD;
        if (held && !ci_constraint_follow(&session->constraint, own->places[i], own->tokens[i], &own->places[i + 1]))
            return i;
    }
    return count;
}

/* How many of `most` guesses pay, if each is right with this chance. */
static int count_by_chance(const struct clinfer_session *session, const struct ci_batch *batch, int source, int most,
                           double chance) {
    return ci_draft_best(&session->engine->draft, batch->rows, batch->wanted, most, chance,
                         sources[source]->seconds(session));
}

/* The same by what was seen. */
static int best_count(const struct clinfer_session *session, const struct ci_batch *batch, int source, int kind,
                      int most) {
    const struct ci_draft_rate *rate = &session->drafting.rates[source][kind];
    return count_by_chance(session, batch, source, most, ci_draft_chance(rate, sources[source]->start[kind]));
}

/* The same, but for a few now and then although they have not paid: if they cost nothing, or would pay if they were as
 * good as guesses of this kind are taken for at first. */
static int choose_count(struct clinfer_session *session, const struct ci_batch *batch, int source, int kind, int most) {
    struct ci_drafting *own = &session->drafting;
    int count = best_count(session, batch, source, kind, most);
    if (session->engine->draft.always) return most;
    if (count == 0 && ++own->held_back >= own->patience &&
        (sources[source]->seconds(session) <= 0 ||
         count_by_chance(session, batch, source, most, sources[source]->start[kind]) > 0))
        count = most < TRIAL ? most : TRIAL;
    if (count > 0) own->held_back = 0;
    return count;
}

static int guess(struct clinfer_session *session, const struct ci_batch *batch) {
    struct ci_drafting *own = &session->drafting;
    int room = ci_narrowed(room_of(session, batch)), count = 0;
    for (int i = 0; i < CI_DRAFT_SOURCES && count == 0 && room > 0; i++) {
        int kind = 0, most = sources[i]->is_there(session) ? sources[i]->look(session, room, &kind) : 0;
        if (most == 0) continue;
        count = choose_count(session, batch, i, kind, most);
        if (count > 0) count = ci_narrowed(ci_draft_proven_rows(session->engine, batch->rows + count) - batch->rows);
        if (count > 0) count = keep_allowed(session, sources[i]->guess(session, count, own->tokens));
        own->source = i;
        own->kind = kind;
        if (count < 0) count = 0;
    }
    int least = session->options.draft_least;
    if (least < 0) least = session->engine->options.draft.least;
    return count >= least ? count : 0;
}

/* Whether guesses would pay if the token that is in flight were known. */
static bool wants_token(struct clinfer_session *session, const struct ci_batch *batch) {
    const struct ci_drafting *own = &session->drafting;
    int kind = 0;
    for (int i = 0; i < CI_DRAFT_SOURCES; i++) {
        int most = sources[i]->is_there(session) ? sources[i]->look(session, most_of(session), &kind) : 0;
        if (most > 0 && (own->held_back >= own->patience || best_count(session, batch, i, kind, most) > 0)) return true;
    }
    return false;
}

static void extend(struct clinfer_engine *engine, struct ci_batch *batch, struct ci_part *part) {
    struct clinfer_session *session = part->session;
    struct ci_drafting *own = &session->drafting;
    settle(own);
    own->waits = false;
    if (part->wanted != 1 || most_of(session) == 0) return;
    if (session->in_flight >= 0) {
        own->waits = wants_token(session, batch);
        own->held_back++;
        return;
    }
    int count = guess(session, batch);
    if (count == 0 || ci_engine_take_pages(engine, session, session->known + (size_t)count) != CLINFER_OK) return;
    own->waits = true;
    own->count = count;
    own->right = 0;
    own->known = session->known;
    part->rows += count;
    part->wanted += count;
    part->guessed = count;
    batch->rows += count;
    batch->wanted += count;
    batch->tiles += count;
    session->result.drafts++;
    session->result.drafted_tokens += (size_t)count;
}

void ci_draft_extend(struct clinfer_engine *engine, struct ci_batch *batch) {
    const struct clinfer_draft_options *options = &engine->options.draft;
    if ((!options->lookup && !options->model) || engine->careful) return;
    for (int i = 0; i < batch->count; i++) extend(engine, batch, &batch->parts[i]);
}

bool ci_draft_is_right(struct clinfer_session *session, int place) {
    struct ci_drafting *own = &session->drafting;
    const bool held = !session->on_host && ci_session_is_constrained(session);
    if (session->known != own->known + (size_t)place) return false;
    if (memcmp(session->tokens + own->known, own->tokens, sizeof *own->tokens * (size_t)place) != 0) return false;
    if (own->places[place] != (held ? session->constraint.place : CI_PLACE_DEAD)) return false;
    session->result.accepted_tokens += (size_t)(place - own->right);
    own->right = place;
    session->computed = session->known;
    return true;
}
