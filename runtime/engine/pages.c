/* pages.c: the KV caches are pools of pages of CI_PAGE_ROWS tokens, the same page numbers in every layer of a group.
 * They start small and double, up to what one session can fill and beyond it, each layer's buffers copied into larger
 * ones, so that memory follows what is used.
 *
 * Layers with a window are a group of their own. Before each step a session gives back its pages there that no row from
 * this step on sees, so that it never has more than the window and the rows of a step take. Their numbers stay in its
 * table, where attention does not look. A session that goes back, to another end of its conversation or to a step that
 * failed, may find them gone: what they hold follows from all that came before, so it begins anew. */
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

static enum clinfer_status grow_once(struct clinfer_engine *engine, enum ci_cache_group group) {
    struct ci_page_pool *pool = &engine->pools[group];
    int capacity = pool->capacity * 2, most = ci_engine_most_pages(pool->window, engine->context, step_rows(engine));
    if (pool->capacity < most && capacity > most) capacity = most;
    int32_t *pages = realloc(pool->free, sizeof *pages * (size_t)capacity);
    if (!pages) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d pages of KV cache", capacity);
    pool->free = pages;
    for (const struct ci_state *state = engine->model.states; state; state = state->next) {
        int64_t rows = (int64_t)capacity * CI_PAGE_ROWS;
        if (!ci_state_is_cache(state) || ci_cache_group(state->window) != group) continue;
        if (state->tensor->view.rows >= rows) continue; /* grown before a failure */
        enum clinfer_status status = ci_store_state_grow(&engine->store, state->tensor, rows);
        if (status != CLINFER_OK)
            return ci_fail_prefix(status, "KV cache for %lld tokens; use a smaller -c", (long long)rows);
    }
    /* The lowest number is taken first, to keep what is touched together. */
    for (int page = capacity - 1; page >= pool->capacity; page--) pool->free[pool->free_count++] = page;
    pool->capacity = capacity;
    return CLINFER_OK;
}

/* Nothing of the caches is lost by a failure. */
static enum clinfer_status grow(struct clinfer_engine *engine, enum ci_cache_group group) {
    enum clinfer_status status = grow_once(engine, group);
    if (status != CLINFER_DEVICE_ERROR && status != CLINFER_OUT_OF_MEMORY) return status;
    ci_log(CLINFER_LOG_NOTICE, "%s; tried again", ci_status_message());
    return grow_once(engine, group);
}

/* The first page that a row at `position` sees, or that one after it does. */
static int first_seen(const struct ci_page_pool *pool, size_t position) {
    size_t window = (size_t)pool->window;
    return window == 0 || position < window ? 0 : ci_narrowed((position - window + 1) / CI_PAGE_ROWS);
}

enum clinfer_status ci_engine_take_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count) {
    int needed = ci_narrowed((count + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS);
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_pool *pool = &engine->pools[group];
        struct ci_page_list *list = &session->lists[group];
        if (!list->pages) continue;
        for (int first = first_seen(pool, session->computed); list->first < first && list->first < list->count;)
            pool->free[pool->free_count++] = list->pages[list->first++];
        while (list->count < needed) {
            enum clinfer_status status = pool->free_count == 0 ? grow(engine, group) : CLINFER_OK;
            if (status != CLINFER_OK) return status;
            list->pages[list->count++] = pool->free[--pool->free_count];
        }
    }
    return CLINFER_OK;
}

void ci_engine_return_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count) {
    int kept = ci_narrowed((count + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS);
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_pool *pool = &engine->pools[group];
        struct ci_page_list *list = &session->lists[group];
        for (; list->count > kept; list->count--)
            if (list->count > list->first) pool->free[pool->free_count++] = list->pages[list->count - 1];
        if (list->first > list->count) list->first = list->count;
    }
}

void ci_engine_check_window(struct clinfer_engine *engine, struct clinfer_session *session) {
    if (session->lists[CI_CACHE_WINDOW].first <= first_seen(&engine->pools[CI_CACHE_WINDOW], session->computed)) return;
    ci_engine_return_pages(engine, session, 0);
    session->computed = 0;
}

/* Of one group: the pages up to the last that a session has. */
static int pages_in_use(const struct ci_page_pool *pool) {
    int pages = pool->capacity;
    for (bool is_free = true; is_free && pages > 0;) {
        is_free = false;
        for (int i = 0; i < pool->free_count; i++) is_free = is_free || pool->free[i] == pages - 1;
        if (is_free) pages--;
    }
    return pages;
}

struct ci_cache_use ci_engine_cache_use(const struct clinfer_engine *engine, const struct ci_run *run, int64_t rows) {
    struct ci_cache_use use = {.slot_count = rows};
    for (enum ci_cache_group group = 0; group < CI_CACHE_GROUPS; group++) {
        int64_t used = (int64_t)pages_in_use(&engine->pools[group]) * CI_PAGE_ROWS;
        if (used > use.rows) use.rows = used;
        use.slots[group] = run->slots[group]->view.data;
    }
    return use;
}
