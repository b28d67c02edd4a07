/* pages.c: the KV caches are pools of pages of CI_PAGE_ROWS tokens, the same page numbers in every layer of a group.
 * They start small and double, up to what one session can fill and beyond it, so that memory follows what is used: each
 * layer's buffers are copied into larger ones on a device, and moved to other addresses on the host, which takes no
 * time.
 *
 * A page has several holders where they have the same tokens there (prefix.c). It is copied when one of them is to
 * write rows that another reads; the one that writes behind all that others read needs no copy.
 *
 * Layers with a window are a group of their own. Before each step a session gives back its pages there that no row from
 * this step on sees, so that it never has more than the window and the rows of a step take. Their numbers stay in its
 * table, where attention does not look. A session that goes back, to another end of its conversation or to a step that
 * failed, may find them gone: what they hold follows from all that came before, so it begins anew. */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

_Static_assert((int)CI_CACHE_SLOTS == (int)CI_CACHE_GROUPS, "a table of slots for each group");

int ci_engine_most_pages(int window, int context, int64_t step) {
    int64_t pages = ((int64_t)context + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS;
    /* Those that `window - 1 + step` positions touch, wherever they begin. */
    int64_t seen = (window + step + CI_PAGE_ROWS - 3) / CI_PAGE_ROWS + 1;
    return ci_narrowed(window && seen < pages ? seen : pages);
}

static int64_t step_rows(const struct clinfer_engine *engine) {
    return engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
}

static bool is_cache(const struct ci_state *state, enum ci_cache_group group) {
    return ci_state_is_cache(state) && ci_cache_group(state->window) == group;
}

/* ---- memory ---- */

uint64_t ci_engine_page_bytes(const struct clinfer_engine *engine, enum ci_cache_group group) {
    uint64_t bytes = 0;
    for (const struct ci_state *state = engine->model.states; state; state = state->next)
        if (is_cache(state, group))
            bytes += CI_PAGE_ROWS * ci_type_row_bytes(state->tensor->view.type, state->tensor->view.cols);
    return bytes;
}

static int doubled(const struct clinfer_engine *engine, enum ci_cache_group group) {
    const struct ci_page_pool *pool = &engine->pools[group];
    int capacity = pool->capacity * 2, most = ci_engine_most_pages(pool->window, engine->context, step_rows(engine));
    return pool->capacity < most && capacity > most ? most : capacity;
}

static enum clinfer_status make_room(struct ci_page_pool *pool, int capacity) {
    int32_t *numbers = realloc(pool->free, sizeof *numbers * (size_t)capacity);
    if (numbers) pool->free = numbers;
    struct ci_page *pages = realloc(pool->pages, sizeof *pages * (size_t)capacity);
    if (pages) pool->pages = pages;
    if (!numbers || !pages) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d pages of KV cache", capacity);
    return CLINFER_OK;
}

static void add_pages(struct ci_page_pool *pool, int capacity) {
    memset(pool->pages + pool->capacity, 0, sizeof *pool->pages * (size_t)(capacity - pool->capacity));
    /* The lowest number is taken first, to keep what is touched together. */
    for (int page = capacity - 1; page >= pool->capacity; page--) pool->free[pool->free_count++] = page;
    pool->capacity = capacity;
}

enum clinfer_status ci_pages_begin(struct ci_page_pool *pool, int capacity) {
    enum clinfer_status status = make_room(pool, capacity);
    if (status == CLINFER_OK) add_pages(pool, capacity);
    if (!pool->exists) pool->exists = status == CLINFER_OK;
    return status;
}

static enum clinfer_status grow_once(struct clinfer_engine *engine, enum ci_cache_group group, int capacity) {
    struct ci_page_pool *pool = &engine->pools[group];
    enum clinfer_status status = make_room(pool, capacity);
    int64_t rows = (int64_t)capacity * CI_PAGE_ROWS;
    for (const struct ci_state *state = engine->model.states; state && status == CLINFER_OK; state = state->next) {
        if (!is_cache(state, group)) continue;
        if (state->tensor->view.rows >= rows) continue; /* grown before a failure */
        status = ci_store_state_grow(&engine->store, state->tensor, rows);
        if (status != CLINFER_OK) ci_fail_prefix(status, "KV cache for %lld tokens; use a smaller -c", (long long)rows);
    }
    if (status == CLINFER_OK) add_pages(pool, capacity);
    return status;
}

/* Nothing of the caches is lost by a failure. */
static enum clinfer_status grow(struct clinfer_engine *engine, enum ci_cache_group group, int capacity) {
    enum clinfer_status status = grow_once(engine, group, capacity);
    if (status != CLINFER_DEVICE_ERROR && status != CLINFER_OUT_OF_MEMORY) return status;
    ci_log(CLINFER_LOG_NOTICE, "%s; tried again", ci_status_message());
    return grow_once(engine, group, capacity);
}

/* So many pages the group may have more while all groups together have no more than so many bytes. */
static int pages_within(const struct clinfer_engine *engine, enum ci_cache_group group, uint64_t limit) {
    uint64_t used = 0, bytes = ci_engine_page_bytes(engine, group);
    for (enum ci_cache_group g = 0; g < CI_CACHE_GROUPS; g++)
        used += (uint64_t)engine->pools[g].capacity * ci_engine_page_bytes(engine, g);
    uint64_t pages = used < limit && bytes ? (limit - used) / bytes : 0;
    return pages < INT_MAX / 2 ? ci_narrowed((int64_t)pages) : INT_MAX / 2;
}

/* Up to twice those that it has. */
static int capacity_within(const struct clinfer_engine *engine, enum ci_cache_group group, uint64_t limit) {
    int capacity = engine->pools[group].capacity, more = doubled(engine, group);
    int pages = pages_within(engine, group, limit);
    return pages < more - capacity ? capacity + pages : more;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* So many pages of the group are free then. */
static enum clinfer_status make_free(struct clinfer_engine *engine, enum ci_cache_group group,
                                     const struct clinfer_session *session, int needed) {
    struct ci_page_pool *pool = &engine->pools[group];
    enum clinfer_status status = CLINFER_OK;
    while (pool->free_count < needed && status == CLINFER_OK) {
        uint64_t limit = engine->kept ? least(engine->kept_bytes, engine->cache_limit) : engine->cache_limit;
        int capacity = capacity_within(engine, group, limit);
        if (capacity > pool->capacity) {
            status = grow(engine, group, capacity);
            if (status == CLINFER_OUT_OF_MEMORY &&
                (ci_prefix_drop_oldest(engine) || ci_prefix_drop_idle(engine, session)))
                status = CLINFER_OK;
        } else if (!ci_prefix_drop_oldest(engine) && !ci_prefix_drop_idle(engine, session)) {
            status = ci_fail(CLINFER_OUT_OF_MEMORY,
                             "the KV caches have %d pages of %d tokens, and there is no memory for more; use a smaller "
                             "-c, or -ctk q8_0 -ctv q8_0",
                             pool->capacity, CI_PAGE_ROWS);
        }
    }
    return status;
}

/* ---- holding ---- */

static enum clinfer_status take(struct clinfer_engine *engine, enum ci_cache_group group,
                                const struct clinfer_session *session, int32_t *page) {
    struct ci_page_pool *pool = &engine->pools[group];
    enum clinfer_status status = make_free(engine, group, session, 1);
    if (status != CLINFER_OK) return status;
    *page = pool->free[--pool->free_count];
    pool->pages[*page] = (struct ci_page){.holders = 1, .writer = session};
    if (pool->end <= *page) pool->end = *page + 1;
    return CLINFER_OK;
}

/* NULL: a holder that does not write. */
static void give_back(struct ci_page_pool *pool, const struct clinfer_session *session, int32_t number) {
    struct ci_page *page = &pool->pages[number];
    if (page->writer == session) page->writer = NULL;
    if (--page->holders > 0) return;
    pool->free[pool->free_count++] = number;
    while (pool->end > 0 && pool->pages[pool->end - 1].holders == 0) pool->end--;
}

/* The session may write page `index` from row `row` on, and reads those before. */
static enum clinfer_status make_writable(struct clinfer_engine *engine, enum ci_cache_group group,
                                         struct clinfer_session *session, int index, int row) {
    struct ci_page_pool *pool = &engine->pools[group];
    int32_t *number = &session->lists[group].pages[index], copy;
    struct ci_page *page = &pool->pages[*number];
    if (page->holders == 1) page->settled = 0;
    if (page->holders == 1 || (!page->writer && row >= page->settled)) page->writer = session;
    if (page->writer == session && row >= page->settled) return CLINFER_OK;
    enum clinfer_status status = take(engine, group, session, &copy);
    const bool taken = status == CLINFER_OK;
    for (const struct ci_state *state = engine->model.states; state && status == CLINFER_OK; state = state->next)
        if (row > 0 && is_cache(state, group))
            status = ci_store_state_copy(&engine->store, state->tensor, (int64_t)*number * CI_PAGE_ROWS,
                                         (int64_t)copy * CI_PAGE_ROWS, row);
    if (status != CLINFER_OK) {
        if (taken) give_back(pool, session, copy);
        return status;
    }
    give_back(pool, session, *number);
    *number = copy;
    return CLINFER_OK;
}

/* The first page that a row at `position` sees, or that one after it does. */
static int first_seen(const struct ci_page_pool *pool, size_t position) {
    size_t window = (size_t)pool->window;
    return window == 0 || position < window ? 0 : ci_narrowed((position - window + 1) / CI_PAGE_ROWS);
}

static int pages_for(size_t count) { return ci_narrowed((count + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS); }

enum clinfer_status ci_engine_take_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count) {
    int needed = pages_for(count), begun = ci_narrowed(session->computed / CI_PAGE_ROWS);
    enum clinfer_status status = CLINFER_OK;
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS && status == CLINFER_OK; group++) {
        struct ci_page_pool *pool = &engine->pools[group];
        struct ci_page_list *list = &session->lists[group];
        if (!list->pages) continue;
        for (int first = first_seen(pool, session->computed); list->first < first && list->first < list->count;)
            give_back(pool, session, list->pages[list->first++]);
        for (int i = begun > list->first ? begun : list->first; i < list->count && i < needed && status == CLINFER_OK;
             i++)
            status = make_writable(engine, group, session, i,
                                   i == begun ? ci_narrowed(session->computed % CI_PAGE_ROWS) : 0);
        while (list->count < needed && status == CLINFER_OK) {
            status = take(engine, group, session, &list->pages[list->count]);
            list->count += status == CLINFER_OK;
        }
    }
    return status;
}

void ci_engine_return_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count) {
    int kept = pages_for(count);
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_pool *pool = &engine->pools[group];
        struct ci_page_list *list = &session->lists[group];
        for (; list->count > kept; list->count--)
            if (list->count > list->first) give_back(pool, session, list->pages[list->count - 1]);
        if (list->first > list->count) list->first = list->count;
    }
}

enum clinfer_status ci_pages_copy(struct clinfer_engine *engine, const struct clinfer_session *from,
                                  struct clinfer_session *to) {
    assert(to->computed == 0);
    enum clinfer_status status = ci_engine_take_pages(engine, to, from->computed);
    for (const struct ci_state *state = engine->model.states; state && status == CLINFER_OK; state = state->next) {
        if (!ci_state_is_cache(state)) continue;
        const struct ci_page_list *source = &from->lists[ci_cache_group(state->window)];
        const struct ci_page_list *target = &to->lists[ci_cache_group(state->window)];
        for (int i = source->first; i < target->count && status == CLINFER_OK; i++)
            status = ci_store_state_copy(&engine->store, state->tensor, (int64_t)source->pages[i] * CI_PAGE_ROWS,
                                         (int64_t)target->pages[i] * CI_PAGE_ROWS, CI_PAGE_ROWS);
    }
    if (status == CLINFER_OK) to->computed = to->trusted = from->computed;
    return status;
}

void ci_engine_check_window(struct clinfer_engine *engine, struct clinfer_session *session) {
    if (ci_pages_reach(engine, session->lists, session->computed)) return;
    ci_engine_return_pages(engine, session, 0);
    session->computed = 0;
}

bool ci_engine_has_room(struct clinfer_engine *engine, const struct clinfer_session *session, size_t count) {
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        const struct ci_page_pool *pool = &engine->pools[group];
        const struct ci_page_list *list = &session->lists[group];
        int most = ci_engine_most_pages(pool->window, engine->context, step_rows(engine)), needed = pages_for(count);
        if (!list->pages) continue;
        needed = (needed < most ? needed : most) - (list->count - list->first);
        while (pool->free_count + pages_within(engine, group, engine->cache_limit) < needed)
            if (!ci_prefix_drop_oldest(engine) && !ci_prefix_drop_idle(engine, session)) return false;
        /* At once, so that growing holds up one step and not one after the other. */
        if (make_free(engine, group, session, needed) != CLINFER_OK) return false;
    }
    return true;
}

bool ci_pages_reach(const struct clinfer_engine *engine, const struct ci_page_list *lists, size_t position) {
    return lists[CI_CACHE_WINDOW].first <= first_seen(&engine->pools[CI_CACHE_WINDOW], position);
}

void ci_pages_hold(struct clinfer_engine *engine, const struct ci_page_list *from, size_t position,
                   struct ci_page_list *to) {
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_pool *pool = &engine->pools[group];
        if (!to[group].pages) continue;
        to[group].count = pages_for(position);
        to[group].first = first_seen(pool, position);
        memset(to[group].pages, 0, sizeof *to[group].pages * (size_t)to[group].count);
        for (int i = to[group].first; i < to[group].count; i++) {
            struct ci_page *page = &pool->pages[from[group].pages[i]];
            size_t rows = position - (size_t)i * CI_PAGE_ROWS;
            int32_t reads = rows < CI_PAGE_ROWS ? ci_narrowed((int64_t)rows) : CI_PAGE_ROWS;
            if (page->settled < reads) page->settled = reads;
            page->holders++;
            to[group].pages[i] = from[group].pages[i];
        }
    }
}

void ci_pages_release(struct clinfer_engine *engine, struct ci_page_list *lists) {
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_list *list = &lists[group];
        /* NULL is no writer of its own: the page keeps the one it has. */
        for (int i = list->first; i < list->count; i++) give_back(&engine->pools[group], NULL, list->pages[i]);
        list->first = list->count = 0;
    }
}

bool ci_pages_repeat_first(struct clinfer_engine *engine, struct clinfer_session *session, int count) {
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        const struct ci_page_list *list = &session->lists[group];
        if (list->pages && (list->first > 0 || list->count != 2 || count >= engine->pages_per_sequence)) return false;
    }
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_list *list = &session->lists[group];
        if (!list->pages) continue;
        list->pages[count] = list->pages[1];
        for (int i = 1; i < count; i++) list->pages[i] = list->pages[0];
        engine->pools[group].pages[list->pages[0]].holders += count - 1;
        list->count = count + 1;
    }
    return true;
}

struct ci_cache_use ci_engine_cache_use(const struct clinfer_engine *engine, const struct ci_run *run, int64_t rows) {
    struct ci_cache_use use = {.slot_count = rows};
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        int64_t used = (int64_t)engine->pools[group].end * CI_PAGE_ROWS;
        if (used > use.rows) use.rows = used;
        use.slots[group] = run->slots[group]->view.data;
    }
    return use;
}
