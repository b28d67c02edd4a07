/* pages.c: the KV caches are pools of pages of CI_PAGE_ROWS tokens, the same page numbers in every layer. They start
 * small and double, each layer's buffers copied into larger ones, so that memory follows what is used. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

static enum clinfer_status grow_once(struct clinfer_engine *engine) {
    int capacity = engine->page_capacity * 2;
    int32_t *pages = realloc(engine->free_pages, sizeof *pages * (size_t)capacity);
    if (!pages) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d pages of KV cache", capacity);
    engine->free_pages = pages;
    for (struct ci_state *state = engine->model.states; state; state = state->next) {
        int64_t rows = (int64_t)capacity * CI_PAGE_ROWS;
        if (state->kind == CI_STATE_SAMPLED || state->tensor->view.rows >= rows) continue; /* grown before a failure */
        enum clinfer_status status = ci_store_state_grow(&engine->store, state->tensor, rows);
        if (status != CLINFER_OK)
            return ci_fail_prefix(status, "KV cache for %lld tokens; use a smaller -c", (long long)rows);
    }
    /* The lowest number is taken first, to keep what is touched together. */
    for (int page = capacity - 1; page >= engine->page_capacity; page--)
        engine->free_pages[engine->free_count++] = page;
    engine->page_capacity = capacity;
    return CLINFER_OK;
}

/* Nothing of the caches is lost by a failure. */
static enum clinfer_status grow(struct clinfer_engine *engine) {
    enum clinfer_status status = grow_once(engine);
    if (status != CLINFER_DEVICE_ERROR && status != CLINFER_OUT_OF_MEMORY) return status;
    ci_log(CLINFER_LOG_NOTICE, "%s; tried again", ci_status_message());
    return grow_once(engine);
}

enum clinfer_status ci_engine_take_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count) {
    int needed = ci_narrowed((count + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS);
    while (session->page_count < needed) {
        if (engine->free_count == 0) {
            enum clinfer_status status = grow(engine);
            if (status != CLINFER_OK) return status;
        }
        session->pages[session->page_count++] = engine->free_pages[--engine->free_count];
    }
    return CLINFER_OK;
}

void ci_engine_return_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count) {
    int kept = ci_narrowed((count + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS);
    while (session->page_count > kept) engine->free_pages[engine->free_count++] = session->pages[--session->page_count];
}

struct ci_cache_use ci_engine_cache_use(const struct clinfer_engine *engine, const struct ci_run *run, int64_t rows) {
    int pages = engine->page_capacity;
    for (bool is_free = true; is_free && pages > 0;) {
        is_free = false;
        for (int i = 0; i < engine->free_count; i++) is_free = is_free || engine->free_pages[i] == pages - 1;
        if (is_free) pages--;
    }
    return (struct ci_cache_use){
        .rows = (int64_t)pages * CI_PAGE_ROWS, .slots = run->slots->view.data, .slot_count = rows};
}
