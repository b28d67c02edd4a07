/* prefix.c: what one request has computed is not computed again for another that begins with the same tokens.
 *
 * Whoever has pages may share them: a session that computes, one that is between two requests, and what is kept of
 * requests that are over. A request takes over the longest common beginning that it finds, to the token, and holds the
 * same pages; the last of them is copied when it is written (pages.c). There are never more kept prefixes than pages,
 * and comparing tokens takes microseconds where computing one takes milliseconds: so they are a list, and neither a
 * tree nor a table of hashes.
 *
 * What a window has passed is gone for those who would need it: they begin anew. So that another answer to the same
 * prompt does not, prompts of models with windows are kept as soon as they are computed.
 *
 * What is kept lies in pages that nobody needs at the time: no memory is set aside for it. It goes, the one first that
 * was used longest ago, when a session needs a page and none is free, unless the caches are smaller than
 * options.prefix_bytes; then they grow. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/engine_private.h"

/* So many that looking through all of them is nothing beside a step. */
enum { MOST_KEPT = 1024 };

static const uint64_t most_by_default = (uint64_t)1 << 30;

/* Where the host's memory is known, the part of the caches that lies there may take what weights and working memory
 * leave of it; a device says itself when it has no more. */
static uint64_t most_bytes(const struct clinfer_engine *engine, uint64_t whole) {
    const struct ci_host_bytes *host = &engine->predicted;
    uint64_t limit = ci_memory_limit(), fixed = host->weights + host->activations;
    if (limit == UINT64_MAX || host->cache == 0) return UINT64_MAX;
    double share = (double)host->cache / (double)whole, most = limit > fixed ? (double)(limit - fixed) / share : 0;
    return most > (double)whole ? (uint64_t)most : whole;
}

void ci_prefix_set_bound(struct clinfer_engine *engine) {
    int64_t bytes = engine->options.prefix_bytes, step = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    uint64_t whole = 0;
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++)
        whole += ci_engine_page_bytes(engine, group) *
                 (uint64_t)ci_engine_most_pages(engine->pools[group].window, engine->context, step);
    engine->kept_bytes = bytes > 0 ? (uint64_t)bytes : whole < most_by_default ? whole : most_by_default;
    engine->cache_limit = most_bytes(engine, whole);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Of an id that is in flight only its place is known. */
static size_t computed_tokens(const struct clinfer_session *session) {
    return least(session->computed, session->known);
}

/* Until its first token is there, nobody has looked at what a session computes. */
static size_t trusted_tokens(const struct clinfer_session *session) {
    return session->generated > session->taken_up ? session->computed : session->trusted;
}

static size_t common_tokens(const int32_t *a, const int32_t *b, size_t most) {
    enum { STRIDE = 64 };
    size_t i = 0;
    while (i + STRIDE <= most && memcmp(a + i, b + i, STRIDE * sizeof *a) == 0) i += STRIDE;
    while (i < most && a[i] == b[i]) i++;
    return i;
}

/* ---- keeping ---- */

static void free_kept(struct ci_kept *kept) {
    for (int group = 0; group < CI_CACHE_GROUPS; group++) free(kept->lists[group].pages);
    free(kept->tokens);
    free(kept);
}

/* Takes it off the list. */
static void drop(struct clinfer_engine *engine, struct ci_kept **link) {
    struct ci_kept *kept = *link;
    *link = kept->next;
    engine->kept_count--;
    ci_pages_release(engine, kept->lists);
    free_kept(kept);
}

bool ci_prefix_drop_oldest(struct clinfer_engine *engine) {
    struct ci_kept **link = &engine->kept;
    if (!*link) return false;
    while ((*link)->next) link = &(*link)->next;
    drop(engine, link);
    return true;
}

void ci_prefix_drop_all(struct clinfer_engine *engine) {
    while (engine->kept) drop(engine, &engine->kept);
}

bool ci_prefix_drop_idle(struct clinfer_engine *engine, const struct clinfer_session *but) {
    struct clinfer_session *oldest = NULL;
    pthread_mutex_lock(&engine->lock);
    for (struct clinfer_session *s = engine->sessions; s; s = s->next)
        if (s != but && s->state != CI_SESSION_ACTIVE && s->computed > 0 && (!oldest || s->request < oldest->request))
            oldest = s;
    pthread_mutex_unlock(&engine->lock);
    if (!oldest) return false;
    ci_engine_return_pages(engine, oldest, 0);
    oldest->computed = oldest->trusted = 0;
    return true;
}

static void move_to_front(struct clinfer_engine *engine, struct ci_kept **link) {
    struct ci_kept *kept = *link;
    *link = kept->next;
    kept->next = engine->kept;
    engine->kept = kept;
}

/* Whether `longer` has all that the first `count` tokens of `shorter` are good for: the window of a longer one may have
 * passed what a shorter one still has. */
static bool covers(const struct ci_page_list *longer, const struct ci_page_list *shorter) {
    return longer[CI_CACHE_WINDOW].first <= shorter[CI_CACHE_WINDOW].first;
}

/* Those that are a beginning of these tokens go. true: one of those that stay has all of them. */
static bool is_kept(struct clinfer_engine *engine, const struct clinfer_session *session, size_t count) {
    for (struct ci_kept **link = &engine->kept; *link;) {
        struct ci_kept *kept = *link;
        size_t both = least(kept->count, count), common = common_tokens(kept->tokens, session->tokens, both);
        if (common == count && covers(kept->lists, session->lists)) {
            move_to_front(engine, link);
            return true;
        }
        if (common == kept->count && covers(session->lists, kept->lists))
            drop(engine, link);
        else
            link = &kept->next;
    }
    return false;
}

static struct ci_kept *make_kept(const struct clinfer_session *session, size_t count) {
    struct ci_kept *kept = calloc(1, sizeof *kept);
    if (!kept) return NULL;
    kept->tokens = malloc(sizeof *kept->tokens * count);
    bool made = kept->tokens;
    for (int group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_list *list = &kept->lists[group];
        if (!session->lists[group].pages) continue;
        list->pages = malloc(sizeof *list->pages * ((count + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS));
        made = made && list->pages;
    }
    if (!made) {
        free_kept(kept);
        return NULL;
    }
    memcpy(kept->tokens, session->tokens, sizeof *kept->tokens * count);
    kept->count = count;
    kept->trusted = least(trusted_tokens(session), count);
    return kept;
}

void ci_prefix_keep(struct clinfer_engine *engine, struct clinfer_session *session) {
    size_t count = computed_tokens(session);
    if (!session->shares || count == 0) return;
    if (!ci_pages_reach(engine, session->lists, count) || is_kept(engine, session, count)) return;
    if (engine->kept_count >= MOST_KEPT) ci_prefix_drop_oldest(engine);
    struct ci_kept *kept = make_kept(session, count);
    if (!kept) return;
    ci_pages_hold(engine, session->lists, count, kept->lists);
    kept->next = engine->kept;
    engine->kept = kept;
    engine->kept_count++;
}

void ci_prefix_mark(struct clinfer_engine *engine, struct clinfer_session *session) {
    if (session->lists[CI_CACHE_WINDOW].pages) ci_prefix_keep(engine, session);
}

size_t ci_prefix_forget(struct clinfer_engine *engine, const int32_t *tokens, size_t count) {
    size_t most = 0;
    for (struct ci_kept **link = &engine->kept; *link;) {
        size_t both = least((*link)->count, count), common = common_tokens((*link)->tokens, tokens, both);
        if (common > 0 && common == both) {
            most = common > most ? common : most;
            drop(engine, link);
        } else {
            link = &(*link)->next;
        }
    }
    return most;
}

/* ---- taking ---- */

/* The longest beginning found so far, and whose it is. */
struct found {
    const struct ci_page_list *lists;
    struct ci_kept **link; /* NULL: a session's */
    size_t count, trusted;
};

/* Whether these are better. */
static bool look_at(const struct clinfer_engine *engine, const struct clinfer_session *session, const int32_t *tokens,
                    size_t count, const struct ci_page_list *lists, struct found *found) {
    size_t most = least(count, session->known - 1);
    if (most <= found->count) return false;
    size_t common = common_tokens(session->tokens, tokens, most);
    if (common <= found->count || !ci_pages_reach(engine, lists, common)) return false;
    *found = (struct found){.lists = lists, .count = common};
    return true;
}

static struct found find(struct clinfer_engine *engine, const struct clinfer_session *session) {
    struct found found = {.count = session->computed};
    pthread_mutex_lock(&engine->lock); /* others may make sessions */
    for (const struct clinfer_session *s = engine->sessions; s; s = s->next)
        if (s != session && s->shares && look_at(engine, session, s->tokens, computed_tokens(s), s->lists, &found))
            found.trusted = least(found.count, trusted_tokens(s));
    pthread_mutex_unlock(&engine->lock);
    for (struct ci_kept **link = &engine->kept; *link; link = &(*link)->next) {
        struct ci_kept *kept = *link;
        if (!look_at(engine, session, kept->tokens, kept->count, kept->lists, &found)) continue;
        found.trusted = least(found.count, kept->trusted);
        found.link = link;
    }
    return found;
}

void ci_prefix_take(struct clinfer_engine *engine, struct clinfer_session *session) {
    struct found found = find(engine, session);
    if (!found.lists) return;
    ci_engine_return_pages(engine, session, 0);
    ci_pages_hold(engine, found.lists, found.count, session->lists);
    session->computed = found.count;
    session->trusted = found.trusted;
    if (found.link) move_to_front(engine, found.link);
}

static bool computes_prompt(const struct clinfer_session *session) {
    return session->state == CI_SESSION_ACTIVE && session->admitted && session->generated == session->taken_up;
}

bool ci_prefix_is_coming(struct clinfer_engine *engine, struct clinfer_session *session) {
    enum { WORTH_WAITING = 16 };
    const struct clinfer_session *other = session->follows;
    if (other && computes_prompt(other) && other->request == session->followed)
        return other->computed < session->follow_count;
    session->follows = NULL;
    if (!session->shares) return false;
    struct found found = find(engine, session);
    for (const struct clinfer_session *s = engine->queue; s && s != session; s = s->next_in_queue) {
        if (!s->shares || !computes_prompt(s)) continue;
        size_t common = common_tokens(session->tokens, s->tokens, least(session->known - 1, s->known));
        if (common <= s->computed || common < found.count + WORTH_WAITING) continue;
        session->follows = s;
        session->follow_count = common;
        session->followed = s->request;
        found.count = common;
    }
    return session->follows;
}
