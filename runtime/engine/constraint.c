#include "engine/constraint.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/status.h"
#include "base/stop.h"
#include "engine/engine_private.h"
#include "grammar/gbnf.h"
#include "grammar/pieces.h"
#include "grammar/schema.h"

enum { MOST_KEPT = 16, MOST_KEPT_BYTES = 256 << 20 };

struct ci_compiled {
    struct ci_compiled *next;
    enum clinfer_grammar_kind kind;
    char *text;
    size_t length;
    struct ci_grammar *grammar;
    struct ci_matcher *matcher;
    atomic_size_t users; /* the engine's list is one */

    /* under the engine's lock of grammars */
    enum { COMPILES, LEFT, DONE } state; /* LEFT: while others wait for it */
    int waiting;
    enum clinfer_status status; /* of compiling, when it is DONE; its text is `message` */
    char *message;
};

void ci_compiled_hold(struct ci_compiled *compiled) { atomic_fetch_add(&compiled->users, 1); }

void ci_compiled_release(struct ci_compiled *compiled) {
    if (!compiled || atomic_fetch_sub(&compiled->users, 1) > 1) return;
    ci_matcher_destroy(compiled->matcher);
    ci_grammar_destroy(compiled->grammar);
    free(compiled->text);
    free(compiled->message);
    free(compiled);
}

static void release_all(struct ci_compiled *compiled) {
    while (compiled) {
        struct ci_compiled *next = compiled->next;
        ci_compiled_release(compiled);
        compiled = next;
    }
}

void ci_constraints_free(struct clinfer_engine *engine) {
    release_all(engine->compiled);
    release_all(engine->compiling); /* whoever waited for one that was left did not want it either */
    ci_grammar_vocabulary_destroy(engine->grammar_vocabulary);
    free(engine->mask_row);
}

/* ---- grammars of an engine ---- */

static size_t bytes_of(const struct ci_compiled *compiled) {
    return compiled->length + ci_grammar_bytes(compiled->grammar) + ci_matcher_bytes(compiled->matcher);
}

/* The oldest that nobody uses, where there are many, or large ones. By who computes: matchers grow with use. */
static void let_go(struct clinfer_engine *engine) {
    if (pthread_mutex_trylock(&engine->grammars)) return; /* the next request will do */
    for (bool too_many = true; too_many;) {
        size_t count = 0, bytes = 0;
        struct ci_compiled **oldest = NULL;
        for (struct ci_compiled **link = &engine->compiled; *link; link = &(*link)->next) {
            count++;
            bytes += bytes_of(*link);
            if (atomic_load(&(*link)->users) == 1) oldest = link; /* new ones are put at the front */
        }
        too_many = oldest && (count > MOST_KEPT || bytes > MOST_KEPT_BYTES);
        if (!too_many) break;
        struct ci_compiled *gone = *oldest;
        *oldest = gone->next;
        ci_compiled_release(gone);
    }
    pthread_mutex_unlock(&engine->grammars);
}

static enum clinfer_status parse(const struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                 struct ci_grammar **out) {
    size_t length = strlen(grammar->text);
    if (grammar->kind == CLINFER_GRAMMAR_JSON_SCHEMA)
        return ci_schema_compile(grammar->name ? grammar->name : "schema", grammar->text, length, out);
    const char *name = grammar->name ? grammar->name : "grammar";
    if (grammar->kind == CI_GRAMMAR_PIECES)
        return ci_pieces_compile(name, grammar->text, length, engine->tokenizer, out);
    return ci_gbnf_parse(name, grammar->text, length, engine->tokenizer, out);
}

static enum clinfer_status find_vocabulary(struct clinfer_engine *engine) {
    enum clinfer_status status = CLINFER_OK;
    pthread_mutex_lock(&engine->grammars);
    if (!engine->grammar_vocabulary)
        status = ci_grammar_vocabulary_create(engine->tokenizer, &engine->grammar_vocabulary);
    pthread_mutex_unlock(&engine->grammars);
    return status;
}

/* NULL: none. With the lock of the grammars. */
static struct ci_compiled *find(struct ci_compiled *among, const struct clinfer_grammar *grammar, size_t length) {
    struct ci_compiled *found = among;
    while (found &&
           (found->kind != grammar->kind || found->length != length || memcmp(found->text, grammar->text, length) != 0))
        found = found->next;
    if (found) ci_compiled_hold(found);
    return found;
}

static void link_in(struct ci_compiled **list, struct ci_compiled *compiled) {
    ci_compiled_hold(compiled);
    compiled->next = *list;
    *list = compiled;
}

static void link_out(struct ci_compiled **list, struct ci_compiled *compiled) {
    while (*list != compiled) list = &(*list)->next;
    *list = compiled->next;
    ci_compiled_release(compiled);
}

/* What another thread compiles; *leads: who did does not want it any more, and whoever waited goes on with it. With the
 * lock of the grammars, which is let go of meanwhile. */
static enum clinfer_status wait_for(struct clinfer_engine *engine, struct ci_compiled *compiled, bool *leads) {
    bool stops = false;
    compiled->waiting++;
    while (compiled->state == COMPILES && !(stops = ci_stop_is_asked())) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000000;
        if (until.tv_nsec >= 1000000000) until.tv_sec++;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&engine->grammars_changed, &engine->grammars, &until);
    }
    compiled->waiting--;
    if (stops) return ci_fail(CLINFER_CANCELLED, "cancelled while a grammar was compiled");
    *leads = compiled->state == LEFT;
    if (*leads) compiled->state = COMPILES;
    if (*leads || compiled->status == CLINFER_OK) return CLINFER_OK;
    return ci_fail(compiled->status, "%s", compiled->message ? compiled->message : "out of memory");
}

static enum clinfer_status compile(struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                   struct ci_compiled *compiled) {
    enum clinfer_status status = find_vocabulary(engine);
    if (status == CLINFER_OK) status = parse(engine, grammar, &compiled->grammar);
    if (status == CLINFER_OK)
        status = ci_matcher_create(compiled->grammar, engine->grammar_vocabulary, &compiled->matcher);
    if (status != CLINFER_OK) ci_grammar_destroy(compiled->grammar);
    if (status != CLINFER_OK) compiled->grammar = NULL;
    return status;
}

static struct ci_compiled *create(const struct clinfer_grammar *grammar, size_t length) {
    struct ci_compiled *compiled = calloc(1, sizeof *compiled);
    char *text = strdup(grammar->text);
    if (!compiled || !text) {
        free(compiled);
        free(text);
        return NULL;
    }
    atomic_init(&compiled->users, 1);
    compiled->kind = grammar->kind;
    compiled->text = text;
    compiled->length = length;
    return compiled;
}

/* What is there, or what another thread compiles just now, or what the caller is to compile (*leads). NULL: memory is
 * out. The caller holds it. */
static enum clinfer_status look_up(struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                   struct ci_compiled **out, bool *leads) {
    const size_t length = strlen(grammar->text);
    enum clinfer_status status = CLINFER_OK;
    *leads = false;
    pthread_mutex_lock(&engine->grammars);
    struct ci_compiled *found = find(engine->compiled, grammar, length);
    if (!found && (found = find(engine->compiling, grammar, length))) {
        status = wait_for(engine, found, leads);
    } else if (!found && (found = create(grammar, length))) {
        link_in(&engine->compiling, found);
        *leads = true;
    }
    pthread_mutex_unlock(&engine->grammars);
    *out = found;
    return found ? status : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a grammar");
}

/* Under this status, with this thread's message where it is a failure. */
static void end_compiling(struct clinfer_engine *engine, struct ci_compiled *compiled, enum clinfer_status status) {
    char *message = status == CLINFER_OK ? NULL : strdup(ci_status_message());
    pthread_mutex_lock(&engine->grammars);
    compiled->state = status == CLINFER_CANCELLED && compiled->waiting ? LEFT : DONE;
    if (compiled->state == DONE) {
        compiled->status = status;
        compiled->message = message;
        message = NULL;
        link_out(&engine->compiling, compiled);
        if (status == CLINFER_OK) link_in(&engine->compiled, compiled);
    }
    pthread_cond_broadcast(&engine->grammars_changed);
    pthread_mutex_unlock(&engine->grammars);
    free(message);
}

enum clinfer_status ci_compiled_take(struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                     struct ci_compiled **out) {
    struct ci_compiled *compiled;
    bool leads;
    *out = NULL;
    if (!grammar->text) return ci_fail(CLINFER_INVALID_ARGUMENT, "the grammar's text is NULL");
    enum clinfer_status status = look_up(engine, grammar, &compiled, &leads);
    if (leads) {
        status = compile(engine, grammar, compiled);
        end_compiling(engine, compiled, status);
    }
    if (status == CLINFER_OK)
        *out = compiled;
    else
        ci_compiled_release(compiled);
    return status;
}

size_t ci_compiled_count(const struct clinfer_engine *engine) {
    size_t count = 0;
    for (const struct ci_compiled *compiled = engine->compiled; compiled; compiled = compiled->next) count++;
    return count;
}

/* ---- a session's ---- */

void ci_constraint_end(struct ci_constraint *constraint) {
    ci_compiled_release(constraint->compiled);
    free(constraint->closing);
    free(constraint->turning);
    free(constraint->mark);
    constraint->compiled = NULL;
    constraint->mark = NULL;
    constraint->held = false;
    constraint->closing = constraint->turning = NULL;
    constraint->closing_count = constraint->turning_count = constraint->least = 0;
}

/* The tokens of the cheapest end. */
static enum clinfer_status make_closing(const struct clinfer_engine *engine, struct ci_constraint *constraint,
                                        ci_place place) {
    char *text;
    size_t length;
    free(constraint->closing);
    constraint->closing = NULL;
    constraint->closing_count = 0;
    enum clinfer_status status = ci_matcher_completion(constraint->compiled->matcher, place, &text, &length);
    if (status == CLINFER_OK)
        status =
            ci_tokenizer_encode(engine->tokenizer, text, length, 0, &constraint->closing, &constraint->closing_count);
    free(text);
    return status;
}

/* Whether what has to follow at a place fits into so many tokens. A byte is a token at most, so few are never encoded.
 * An end by named tokens cannot be made here: such an answer is left to come to it. */
static enum clinfer_status fits(const struct clinfer_engine *engine, struct ci_constraint *constraint, ci_place place,
                                int64_t room, bool *result) {
    *result = room < 0 || ci_matcher_cost(constraint->compiled->matcher, place) <= (size_t)room;
    if (*result) return CLINFER_OK;
    enum clinfer_status status = make_closing(engine, constraint, place);
    *result = status == CLINFER_OK && constraint->closing_count <= (size_t)room;
    if (status != CLINFER_UNSUPPORTED) return status;
    *result = true;
    return CLINFER_OK;
}

/* The answer has to come behind the reasoning, a token of which is the least there can be. */
static enum clinfer_status make_turning(const struct clinfer_engine *engine, const char *end,
                                        struct ci_constraint *constraint) {
    enum clinfer_status status = make_closing(engine, constraint, constraint->place);
    constraint->least = constraint->closing_count;
    if (status != CLINFER_OK && status != CLINFER_UNSUPPORTED) return status;
    return ci_tokenizer_encode(engine->tokenizer, end, strlen(end), CI_TOKENIZER_PARSE_SPECIAL, &constraint->turning,
                               &constraint->turning_count);
}

bool ci_constraint_turns(const struct ci_constraint *constraint, int64_t room) {
    return room >= 0 && constraint->turning_count && (size_t)room <= constraint->turning_count + constraint->least;
}

enum clinfer_status ci_constraint_begin(struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                        struct ci_compiled *compiled, const char *end, int64_t most,
                                        struct ci_constraint *constraint) {
    enum clinfer_status status = CLINFER_OK;
    ci_constraint_end(constraint);
    if (!grammar) return CLINFER_OK;
    constraint->compiled = compiled;
    constraint->held = true;
    constraint->leave_open = grammar->leave_open;
    constraint->force_bytes = grammar->force_bytes;
    atomic_fetch_add(&compiled->users, 1);
    let_go(engine);
    constraint->place = ci_matcher_start(compiled->matcher);
    bool fitting = true;
    size_t before = 0; /* tokens of reasoning and of what ends it */
    if (!grammar->leave_open && end) status = make_turning(engine, end, constraint);
    if (constraint->turning_count) before = constraint->turning_count + 1;
    if (status == CLINFER_OK && most >= 0 && before) fitting = before + constraint->least <= (size_t)most;
    if (status == CLINFER_OK && !grammar->leave_open && fitting)
        status = fits(engine, constraint, constraint->place, most, &fitting);
    if (status == CLINFER_OK && !fitting)
        status =
            ci_fail(CLINFER_INVALID_ARGUMENT,
                    "the shortest answer that the grammar allows has %zu tokens%s, and there is room for %lld; raise "
                    "-n, or let the answer be cut (--no-complete)",
                    constraint->closing_count + before, before ? ", with the end of the model's reasoning" : "",
                    (long long)most);
    if (status != CLINFER_OK) ci_constraint_end(constraint);
    return status;
}

enum clinfer_status ci_constraint_mask(const struct ci_constraint *constraint, const uint32_t **bits, size_t *count) {
    struct ci_matcher *matcher = constraint->compiled->matcher;
    enum clinfer_status status = ci_matcher_mask(matcher, constraint->place, bits, count);
    if (status != CLINFER_OK || *count > 0 || ci_matcher_may_end(matcher, constraint->place)) return status;
    return ci_fail(CLINFER_UNSUPPORTED,
                   "the model's vocabulary has no token with which the answer could go on as its grammar wants it");
}

enum clinfer_status ci_constraint_only(const struct ci_constraint *constraint, int32_t *token) {
    return ci_matcher_only(constraint->compiled->matcher, constraint->place, token);
}

bool ci_constraint_follow(const struct ci_constraint *constraint, ci_place from, int32_t token, ci_place *to) {
    return ci_matcher_take(constraint->compiled->matcher, from, token, to) == CLINFER_OK && *to != CI_PLACE_DEAD;
}

/* How many of these bytes are whole characters. */
static size_t whole_characters(const char *text, size_t length) {
    struct ci_utf8_stream stream = {.count = 0};
    char *out = malloc(length + CI_UTF8_HELD);
    size_t whole = out ? ci_utf8_stream_push(&stream, text, length, out) : 0;
    free(out);
    return whole;
}

/* How many of the tokens, of these bytes, are certain whatever comes behind them; 0 where they are not the bytes, as
 * where a tokenizer changes them. */
static enum clinfer_status certain_tokens(const struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                          const char *text, size_t length, const int32_t *tokens, size_t *count) {
    struct ci_matcher *matcher = constraint->compiled->matcher;
    size_t at = 0, whole = *count, bytes;
    for (size_t i = 0; i < whole && at <= length; i++, at += bytes) {
        const char *piece = ci_tokenizer_piece(engine->tokenizer, tokens[i], false, &bytes);
        if (bytes == 0 || bytes > length - at || memcmp(text + at, piece, bytes)) *count = 0;
        if (*count == 0) return CLINFER_OK;
    }
    ci_place end;
    enum clinfer_status status = ci_matcher_take_bytes(matcher, constraint->place, text, length, &end);
    if (at != length) *count = 0;
    for (size_t i = whole; i > 0 && *count > 0 && status == CLINFER_OK; i--) {
        bool extends;
        ci_tokenizer_piece(engine->tokenizer, tokens[i - 1], false, &bytes);
        at -= bytes;
        status = ci_matcher_extends(matcher, end, text + at, length - at, &extends);
        if (extends) *count = i - 1;
    }
    return status;
}

enum clinfer_status ci_constraint_forced(const struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                         int32_t **tokens, size_t *count) {
    char *text;
    size_t length;
    *tokens = NULL;
    *count = 0;
    if (!constraint->force_bytes) return CLINFER_OK;
    enum clinfer_status status = ci_matcher_forced(constraint->compiled->matcher, constraint->place, &text, &length);
    if (status == CLINFER_OK && length > 0) length = whole_characters(text, length);
    if (status == CLINFER_OK && length > 0)
        status = ci_tokenizer_encode(engine->tokenizer, text, length, 0, tokens, count);
    if (status == CLINFER_OK && *count > 0) status = certain_tokens(engine, constraint, text, length, *tokens, count);
    free(text);
    if (*count > 0 && status == CLINFER_OK) return CLINFER_OK;
    free(*tokens);
    *tokens = NULL;
    *count = 0;
    return status;
}

/* A model may have rows for more tokens than its tokenizer knows: none of these may come. */
enum clinfer_status ci_constraint_send(struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                       struct ci_plan *plan, int index) {
    const struct ci_tensor *mask = engine->model.mask;
    const size_t words = (size_t)mask->view.cols,
                 known = CI_MASK_WORDS(ci_matcher_tokens(constraint->compiled->matcher));
    const uint32_t *bits;
    size_t count;
    enum clinfer_status status = ci_constraint_mask(constraint, &bits, &count);
    if (status == CLINFER_OK && known < words) {
        if (!engine->mask_row) engine->mask_row = calloc(words, sizeof *engine->mask_row);
        if (!engine->mask_row) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a mask");
        bits = memcpy(engine->mask_row, bits, known * sizeof *bits);
    }
    return status == CLINFER_OK ? ci_plan_write(plan, mask, index, 1, bits) : status;
}

enum clinfer_status ci_constraint_apply(const struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                        float *logits) {
    const size_t tokens = ci_matcher_tokens(constraint->compiled->matcher);
    const size_t vocabulary = (size_t)engine->model.hyper.vocabulary;
    const uint32_t *bits;
    size_t count;
    enum clinfer_status status = ci_constraint_mask(constraint, &bits, &count);
    for (size_t i = 0; i < tokens && status == CLINFER_OK; i += 32) {
        uint32_t word = bits[i / 32];
        size_t last = tokens - i < 32 ? tokens - i : 32;
        if (word == UINT32_MAX) continue;
        for (size_t k = 0; k < last; k++)
            if (!(word >> k & 1)) logits[i + k] = -INFINITY;
    }
    for (size_t i = tokens; i < vocabulary && status == CLINFER_OK; i++) logits[i] = -INFINITY;
    return status;
}

/* What is held behind a mark ends with its grammar, or where no token of the vocabulary goes on. */
static enum clinfer_status look_for_end(struct ci_constraint *constraint) {
    struct ci_matcher *matcher = constraint->compiled->matcher;
    const uint32_t *bits;
    size_t count = 0;
    enum clinfer_status status = CLINFER_OK;
    constraint->held = !ci_matcher_is_over(matcher, constraint->place);
    if (constraint->held) status = ci_matcher_mask(matcher, constraint->place, &bits, &count);
    constraint->held = constraint->held && count > 0;
    return status;
}

enum clinfer_status ci_constraint_take(struct clinfer_engine *engine, struct ci_constraint *constraint, int32_t token,
                                       int64_t room, bool *closed) {
    ci_place to;
    bool fitting = true;
    enum clinfer_status status = ci_matcher_take(constraint->compiled->matcher, constraint->place, token, &to);
    *closed = false;
    if (status == CLINFER_OK && to == CI_PLACE_DEAD)
        status = ci_fail(CLINFER_WRONG_RESULT, "token %d came, which the grammar does not allow here", (int)token);
    if (status == CLINFER_OK && !constraint->leave_open && !ci_tokenizer_is_end(engine->tokenizer, token))
        status = fits(engine, constraint, to, room, &fitting);
    if (status == CLINFER_OK && !fitting) {
        *closed = true;
        status = make_closing(engine, constraint, constraint->place);
    }
    if (status != CLINFER_OK || *closed) return status;
    constraint->place = to;
    return constraint->mark ? look_for_end(constraint) : CLINFER_OK;
}

/* ---- what is held only behind a mark ---- */

enum clinfer_status ci_constraint_wait_for(struct ci_constraint *constraint, const char *mark) {
    constraint->mark = strdup(mark);
    constraint->held = false;
    constraint->leave_open = true;
    constraint->matched = 0;
    return constraint->mark ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the mark of a grammar");
}

/* How much of the mark the text ends with, one byte later. */
static size_t match(const char *mark, size_t matched, char byte) {
    size_t length = matched + 1;
    for (; length > 0; length--)
        if (mark[length - 1] == byte && memcmp(mark, mark + matched + 1 - length, length - 1) == 0) return length;
    return 0;
}

void ci_constraint_watch(struct ci_constraint *constraint, const char *text, size_t length) {
    struct ci_matcher *matcher = constraint->compiled->matcher;
    for (size_t i = 0; i < length; i++) {
        ci_place to;
        constraint->matched = match(constraint->mark, constraint->matched, text[i]);
        if (constraint->mark[constraint->matched]) continue;
        constraint->matched = 0;
        /* Without memory for a place the call is as free as it was before. */
        if (ci_matcher_take_bytes(matcher, ci_matcher_start(matcher), text + i + 1, length - i - 1, &to) !=
                CLINFER_OK ||
            to == CI_PLACE_DEAD)
            continue;
        constraint->place = to;
        if (look_for_end(constraint) != CLINFER_OK) constraint->held = false;
        return;
    }
}
