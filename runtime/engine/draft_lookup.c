/* draft_lookup.c: the tokens that followed when the conversation had the same tokens before. Answers that repeat what
 * they were given, code with a change in it, quotations, data in another form, are guessed that way for nothing.
 *
 * Every pair of tokens is in a list by its hash, the latest first. Of the places where the last two tokens stand, the
 * one counts that has most tokens before them in common, of equals the latest; how many that are says how sure the
 * guess is. A guess may run into itself: a text that repeats with a period goes on so. An index of longer n-grams would
 * save looking through a list, which takes a microsecond, and would have to be made for each length. */
#include <stdlib.h>

#include "base/narrow.h"
#include "engine/engine_private.h"

/* Places that are looked at, for pairs that stand everywhere. */
enum { MOST_PLACES = 256 };

static uint32_t hash(const int32_t *pair) {
    uint32_t mixed = (uint32_t)pair[0] * 0x9e3779b1u ^ (uint32_t)pair[1] * 0x85ebca6bu;
    return (mixed ^ mixed >> 15) % CI_NGRAM_HASHES;
}

/* false: no memory, and so nothing to find. */
static bool make_room(struct ci_ngrams *ngrams, size_t known) {
    if (!ngrams->first) ngrams->first = calloc(CI_NGRAM_HASHES, sizeof *ngrams->first);
    if (!ngrams->first) return false;
    if (known <= ngrams->capacity) return true;
    size_t capacity = known + known / 2 + 256;
    int32_t *previous = realloc(ngrams->previous, capacity * sizeof *previous);
    if (!previous) return false;
    ngrams->previous = previous;
    ngrams->capacity = capacity;
    return true;
}

/* The pair that ends with the last token is not among them: it would find itself. */
static void index_pairs(struct ci_ngrams *ngrams, const int32_t *tokens, size_t known) {
    for (size_t end = ngrams->indexed ? ngrams->indexed : 1; end + 1 < known; end++) {
        int32_t *first = &ngrams->first[hash(tokens + end - 1)];
        ngrams->previous[end] = *first;
        *first = ci_narrowed((int64_t)end + 1);
        ngrams->indexed = end + 1;
    }
}

/* How many tokens up to this place are those that the text ends with. */
static size_t common(const int32_t *tokens, size_t known, size_t end) {
    size_t length = 0;
    while (length <= end && length < CI_NGRAM_LONGEST && tokens[end - length] == tokens[known - 1 - length]) length++;
    return length;
}

size_t ci_ngrams_look(struct ci_ngrams *ngrams, const int32_t *tokens, size_t known) {
    ngrams->length = 0;
    if (known < 3 || !make_room(ngrams, known)) return 0;
    index_pairs(ngrams, tokens, known);
    int32_t place = ngrams->first[hash(tokens + known - 2)];
    for (int looked = 0; place > 0 && looked < MOST_PLACES && ngrams->length < CI_NGRAM_LONGEST; looked++) {
        size_t end = (size_t)place - 1, length = common(tokens, known, end);
        if (length >= CI_NGRAM_LEAST && length > ngrams->length) {
            ngrams->length = length;
            ngrams->match = end + 1;
        }
        place = ngrams->previous[end];
    }
    return ngrams->length ? known - ngrams->match : 0;
}

void ci_ngrams_forget(struct ci_ngrams *ngrams) {
    for (int i = 0; ngrams->first && i < CI_NGRAM_HASHES; i++) ngrams->first[i] = 0;
    ngrams->indexed = 0;
}

void ci_ngrams_free(struct ci_ngrams *ngrams) {
    free(ngrams->first);
    free(ngrams->previous);
    *ngrams = (struct ci_ngrams){0};
}

static bool is_there(const struct clinfer_session *session) { return session->engine->options.draft.lookup; }

static int look(struct clinfer_session *session, int most, int *kind) {
    struct ci_ngrams *ngrams = &session->drafting.ngrams;
    if (!ci_ngrams_look(ngrams, session->tokens, session->known)) return 0;
    *kind = 0;
    for (size_t length = 3; *kind + 1 < CI_DRAFT_KINDS && ngrams->length >= length; length = 2 * length - 1) ++*kind;
    return most;
}

static int guess(struct clinfer_session *session, int count, int32_t *tokens) {
    size_t match = session->drafting.ngrams.match, known = session->known;
    for (size_t i = 0; i < (size_t)count; i++)
        tokens[i] = match + i < known ? session->tokens[match + i] : tokens[match + i - known];
    return count;
}

static double seconds(const struct clinfer_session *session) {
    (void)session;
    return 0;
}

const struct ci_draft_source ci_draft_lookup = {
    .name = "lookup",
    .is_there = is_there,
    .look = look,
    .guess = guess,
    .seconds = seconds,
    .start = {0.35, 0.55, 0.7, 0.85, 0.95},
};
