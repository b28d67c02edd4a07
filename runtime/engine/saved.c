/* saved.c: see saved.h. Who saves and who restores is a session for the time: it takes over what is kept as any other
 * does, or has rows that it did not compute itself, and leaves them behind when it goes.
 *
 *     header | tokens int32[count] | of each cache its rows [from, count), as they lie there | checksum u64
 *
 * Numbers are little-endian, as of all machines that clinfer runs on. */
#include "engine/saved.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

static const char magic[8] = "CLINFKV1";

struct header {
    char magic[8];
    uint64_t model;                 /* make_print() */
    uint64_t count;                 /* tokens */
    uint64_t from[CI_CACHE_GROUPS]; /* the first row that is there, of each group */
};

struct bytes {
    char *data;
    size_t size;
};

/* ---- which model, in which form ---- */

/* Of names, shapes and a piece of each tensor, of how positions are turned, and of the caches' types: other weights
 * make another one. */
static uint64_t make_print(const struct clinfer_engine *engine) {
    enum { PIECE = 256 };
    const struct clinfer_rope_options *rope = &engine->options.rope;
    const double turned[] = {rope->scaling,
                             rope->factor,
                             rope->freq_base,
                             rope->original_context,
                             rope->yarn_extrapolation,
                             rope->yarn_magnitude,
                             rope->yarn_beta_fast,
                             rope->yarn_beta_slow};
    uint64_t print = ci_hash(CI_HASH_START, turned, sizeof turned);
    for (size_t i = 0; i < ci_gguf_tensor_count(engine->gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(engine->gguf, i);
        print = ci_hash(print, tensor->name, strlen(tensor->name));
        print = ci_hash(print, tensor->dims, sizeof tensor->dims);
        print = ci_hash(print, &tensor->type, sizeof tensor->type);
        if (tensor->data) print = ci_hash(print, tensor->data, tensor->bytes < PIECE ? tensor->bytes : PIECE);
    }
    for (const struct ci_state *state = engine->model.states; state; state = state->next) {
        if (!ci_state_is_cache(state)) continue;
        const struct ci_view *view = &state->tensor->view;
        const int64_t form[] = {state->kind, state->layer, state->window, view->cols};
        print = ci_hash(print, form, sizeof form);
        print = ci_hash(print, view->type->name, strlen(view->type->name));
    }
    return print;
}

static enum clinfer_status check_engine(const struct clinfer_engine *engine) {
    if (engine->options.prefix_bytes == 0)
        return ci_fail(CLINFER_UNSUPPORTED, "nothing is kept of prompts here, so there is nothing to save or restore");
    return CLINFER_OK;
}

/* Other states are those of a step, and have no rows that stay. */
static size_t row_bytes(const struct ci_state *state) {
    return !ci_state_is_cache(state) ? 0 : ci_type_row_bytes(state->tensor->view.type, state->tensor->view.cols);
}

static uint64_t file_bytes(const struct clinfer_engine *engine, const struct header *header) {
    uint64_t bytes = sizeof *header + header->count * sizeof(int32_t) + sizeof(uint64_t);
    for (const struct ci_state *state = engine->model.states; state; state = state->next)
        bytes += (header->count - header->from[ci_cache_group(state->window)]) * row_bytes(state);
    return bytes;
}

/* ---- rows ---- */

/* Rows of one page of a cache, into or out of `bytes`. */
static enum clinfer_status move_rows(const struct clinfer_engine *engine, const struct ci_state *state, size_t row,
                                     size_t rows, void *bytes, bool into) {
    const struct ci_view *view = &state->tensor->view;
    size_t offset = row * row_bytes(state), size = rows * row_bytes(state);
    if (engine->store.places[state->tensor->place].device)
        return into ? ci_buffer_write(view->buffer, view->offset + offset, bytes, size)
                    : ci_buffer_read(view->buffer, view->offset + offset, bytes, size);
    uint8_t *there = (uint8_t *)view->data + offset;
    memcpy(into ? there : bytes, into ? bytes : there, size);
    return CLINFER_OK;
}

/* All rows of all caches between the session's pages and `bytes`. */
static enum clinfer_status move_all(const struct clinfer_session *session, const struct header *header, uint8_t *bytes,
                                    bool into) {
    const struct clinfer_engine *engine = session->engine;
    enum clinfer_status status = CLINFER_OK;
    for (const struct ci_state *state = engine->model.states; state; state = state->next) {
        enum ci_cache_group group = ci_cache_group(state->window);
        if (!ci_state_is_cache(state)) continue;
        for (size_t at = header->from[group]; at < header->count && status == CLINFER_OK;) {
            size_t page = at / CI_PAGE_ROWS, end = (page + 1) * CI_PAGE_ROWS;
            size_t rows = (end < header->count ? end : header->count) - at;
            size_t row = (size_t)session->lists[group].pages[page] * CI_PAGE_ROWS + at % CI_PAGE_ROWS;
            status = move_rows(engine, state, row, rows, bytes, into);
            bytes += rows * row_bytes(state);
            at += rows;
        }
    }
    return status;
}

/* ---- saving ---- */

/* Header, tokens and rows as they are in the file, for free(). */
static enum clinfer_status gather(struct clinfer_session *session, struct header *header, struct bytes *file) {
    const struct clinfer_engine *engine = session->engine;
    *header = (struct header){.model = make_print(engine), .count = session->computed};
    memcpy(header->magic, magic, sizeof magic);
    for (int group = 0; group < CI_CACHE_GROUPS; group++)
        header->from[group] = (uint64_t)session->lists[group].first * CI_PAGE_ROWS;
    if (!header->count) return ci_fail(CLINFER_NOT_FOUND, "nothing is kept of these tokens any more");
    file->size = file_bytes(engine, header);
    file->data = malloc(file->size);
    if (!file->data) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes", file->size);
    memcpy(file->data, header, sizeof *header);
    char *tokens = file->data + sizeof *header;
    memcpy(tokens, session->tokens, header->count * sizeof *session->tokens);
    return move_all(session, header, (uint8_t *)tokens + header->count * sizeof *session->tokens, false);
}

static enum clinfer_status write_file(const struct bytes *file, const char *path) {
    uint64_t sum = ci_hash(CI_HASH_START, file->data, file->size - sizeof sum);
    memcpy(file->data + file->size - sizeof sum, &sum, sizeof sum);
    return ci_file_write(path, file->data, file->size);
}

/* A session of its own, which leads. */
static enum clinfer_status begin(clinfer_engine *engine, clinfer_session **session) {
    struct clinfer_session_options options;
    *session = NULL;
    enum clinfer_status status = check_engine(engine);
    if (status != CLINFER_OK) return status;
    clinfer_session_options_default(engine, &options);
    status = clinfer_session_create(engine, &options, session);
    if (status == CLINFER_OK) status = ci_engine_lead(engine);
    if (status != CLINFER_OK) {
        clinfer_session_destroy(*session);
        *session = NULL;
        return status;
    }
    (*session)->shares = true;
    return CLINFER_OK;
}

/* What it has stays, as of any session. */
static void end(clinfer_engine *engine, clinfer_session *session) {
    ci_engine_stop_leading(engine);
    clinfer_session_destroy(session);
}

/* Rows of a prompt whose first token has not come: nobody has looked at them, and those of a file count as right. */
static void keep_trusted(clinfer_engine *engine, clinfer_session *session) {
    if (session->trusted >= session->computed) return;
    ci_engine_return_pages(engine, session, session->trusted);
    session->computed = session->trusted;
    ci_engine_check_window(engine, session);
}

enum clinfer_status ci_engine_save(clinfer_engine *engine, const int32_t *tokens, size_t count, const char *path,
                                   struct ci_saved *saved) {
    struct header header;
    struct bytes file = {0};
    clinfer_session *session;
    *saved = (struct ci_saved){0};
    enum clinfer_status status = begin(engine, &session);
    if (status != CLINFER_OK) return status;
    if (count > (size_t)engine->context) count = (size_t)engine->context;
    status = ci_session_reserve(session, &(struct clinfer_request){.tokens = tokens, .count = count});
    pthread_mutex_unlock(&engine->lock); /* still leading */
    if (status == CLINFER_OK) {
        memcpy(session->tokens, tokens, sizeof *tokens * count);
        session->tokens[count] = 0; /* whose turn would be the next: all before it may be taken over */
        session->known = count + 1;
        ci_prefix_take(engine, session);
        keep_trusted(engine, session);
        session->known = session->computed;
        status = gather(session, &header, &file);
    }
    pthread_mutex_lock(&engine->lock);
    end(engine, session);
    if (status == CLINFER_OK) status = write_file(&file, path); /* a disk takes its time: others compute meanwhile */
    if (status == CLINFER_OK) *saved = (struct ci_saved){.tokens = header.count, .bytes = file.size};
    free(file.data);
    return status;
}

/* ---- restoring ---- */

/* By who leads: in which form caches are may change with a step. */
static enum clinfer_status check_header(const struct clinfer_engine *engine, const struct header *header,
                                        const struct bytes *file) {
    if (header->model != make_print(engine))
        return ci_fail(CLINFER_BAD_FILE, "was saved with another model, or with other types of its caches (-ctk, -ctv) "
                                         "or other positions (--rope-...)");
    if (header->count == 0 || header->count > INT32_MAX / 2) return ci_fail(CLINFER_BAD_FILE, "its count is wrong");
    if (header->count > (uint64_t)engine->context)
        return ci_fail(CLINFER_CONTEXT_FULL, "has %llu tokens, the context %d: raise -c",
                       (unsigned long long)header->count, engine->context);
    for (int group = 0; group < CI_CACHE_GROUPS; group++) {
        uint64_t from = header->from[group];
        if (from > header->count || from % CI_PAGE_ROWS || (from && !engine->pools[group].window))
            return ci_fail(CLINFER_BAD_FILE, "it begins at a wrong row");
    }
    if (file->size != file_bytes(engine, header))
        return ci_fail(CLINFER_BAD_FILE, "has %zu bytes, and should have %llu", file->size,
                       (unsigned long long)file_bytes(engine, header));
    return CLINFER_OK;
}

/* What takes its time, and no engine. */
static enum clinfer_status check_whole(const struct bytes *file, struct header *header) {
    uint64_t sum;
    if (file->size < sizeof *header + sizeof sum)
        return ci_fail(CLINFER_BAD_FILE, "has %zu bytes, less than a header", file->size);
    memcpy(header, file->data, sizeof *header);
    if (memcmp(header->magic, magic, sizeof magic) != 0)
        return ci_fail(CLINFER_BAD_FILE, "is no saved prompt of clinfer's");
    memcpy(&sum, file->data + file->size - sizeof sum, sizeof sum);
    if (sum != ci_hash(CI_HASH_START, file->data, file->size - sizeof sum))
        return ci_fail(CLINFER_BAD_FILE, "was cut or changed since it was saved: its checksum is wrong");
    return CLINFER_OK;
}

/* With rows that a session did not compute it is as if it had. */
static enum clinfer_status put(struct clinfer_session *session, const struct header *header, uint8_t *rows) {
    struct clinfer_engine *engine = session->engine;
    for (int group = 0; group < CI_CACHE_GROUPS; group++)
        session->lists[group].first = session->lists[group].count =
            ci_narrowed((int64_t)(header->from[group] / CI_PAGE_ROWS));
    enum clinfer_status status = ci_engine_take_pages(engine, session, header->count);
    if (status == CLINFER_OK) status = move_all(session, header, rows, true);
    if (status != CLINFER_OK) {
        ci_engine_return_pages(engine, session, 0);
        return status;
    }
    session->known = session->computed = session->trusted = header->count;
    ci_engine_check_window(engine, session);
    return session->computed ? CLINFER_OK : ci_fail(CLINFER_BAD_FILE, "lacks rows that its last token sees");
}

static enum clinfer_status restore(clinfer_engine *engine, const struct bytes *file, int32_t **tokens,
                                   struct ci_saved *restored) {
    struct header header;
    clinfer_session *session;
    enum clinfer_status status = check_whole(file, &header);
    if (status == CLINFER_OK) status = begin(engine, &session);
    if (status != CLINFER_OK) return status;
    char *at = file->data + sizeof header;
    size_t bytes = 0;
    status = check_header(engine, &header, file);
    if (status == CLINFER_OK) {
        bytes = header.count * sizeof **tokens;
        *tokens = malloc(bytes);
        if (!*tokens) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes", bytes);
    }
    if (status == CLINFER_OK) {
        memcpy(*tokens, at, bytes);
        status = ci_session_reserve(session, &(struct clinfer_request){.tokens = *tokens, .count = header.count});
        if (status == CLINFER_INVALID_ARGUMENT) status = CLINFER_BAD_FILE; /* a token that is none */
    }
    pthread_mutex_unlock(&engine->lock); /* still leading */
    if (status == CLINFER_OK) {
        memcpy(session->tokens, *tokens, bytes);
        status = put(session, &header, (uint8_t *)at + bytes);
    }
    pthread_mutex_lock(&engine->lock);
    end(engine, session);
    if (status == CLINFER_OK) *restored = (struct ci_saved){.tokens = header.count, .bytes = file->size};
    return status;
}

enum clinfer_status ci_engine_restore(clinfer_engine *engine, const char *path, int32_t **tokens,
                                      struct ci_saved *restored) {
    struct bytes file = {0};
    const struct header most = {.count = (uint64_t)engine->context};
    *tokens = NULL;
    *restored = (struct ci_saved){0};
    enum clinfer_status status = check_engine(engine);
    /* Not mapped: somebody may cut it meanwhile. */
    if (status == CLINFER_OK) status = ci_file_read(path, file_bytes(engine, &most), &file.data, &file.size);
    if (status != CLINFER_OK) return status;
    status = restore(engine, &file, tokens, restored);
    free(file.data);
    if (status == CLINFER_OK) return status;
    free(*tokens);
    *tokens = NULL;
    return status;
}

size_t ci_engine_drop_saved(clinfer_engine *engine, const int32_t *tokens, size_t count) {
    if (ci_engine_lead(engine) != CLINFER_OK) return 0;
    size_t most = ci_prefix_forget(engine, tokens, count);
    ci_engine_stop_leading(engine);
    return most;
}
