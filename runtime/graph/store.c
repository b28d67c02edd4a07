#define _GNU_SOURCE
#include "graph/store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/pages.h"
#include "base/status.h"
#include "base/watch.h"

/* Weights are smaller than a large page, or end within one: packed ones lie one behind the other in chunks, so large
 * that hardly any room is left at their ends. */
enum { CHUNK_BYTES = 128 * CI_LARGE_PAGE_BYTES, PIECE_BYTES = 256 << 10 };

struct ci_store_memory {
    struct ci_store_memory *next;
    struct ci_tensor *tensor;
    void *host;
    size_t mapped; /* bytes at `host` of ci_pages_map; 0: free() takes them */
    struct ci_buffer *buffer;
    void *packed; /* of a weight: where it lies in a chunk */
};

struct ci_store_copy {
    struct ci_store_copy *next;
    const struct ci_tensor *original;
    struct ci_tensor tensor;
};

/* A mapped file as buffers of a device that shares memory. Pieces overlap by nothing; a weight that crosses a border
 * is copied into a buffer of its own. */
static enum clinfer_status wrap_file(struct ci_place *place, const struct ci_store_file *file) {
    size_t piece = place->file_piece, count = piece ? (file->bytes + piece - 1) / piece : 0;
    if (!count) return CLINFER_OK;
    struct ci_buffer **grown = realloc(place->file, (place->file_count + count) * sizeof(struct ci_buffer *));
    if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the buffers of the model file");
    place->file = grown;
    for (size_t i = 0; i < count; i++) {
        size_t start = i * piece, bytes = file->bytes - start;
        enum clinfer_status status = ci_buffer_create(place->device, bytes < piece ? bytes : piece, file->data + start,
                                                      &place->file[place->file_count]);
        if (status != CLINFER_OK) return status;
        place->file_count++;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_store_add_file(struct ci_store *store, const void *data, size_t bytes) {
    struct ci_store_file *grown = realloc(store->files, (store->file_count + 1) * sizeof *grown);
    if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of model files");
    store->files = grown;
    struct ci_store_file *file = &grown[store->file_count];
    *file = (struct ci_store_file){.data = data, .bytes = bytes, .descriptor = -1};
    for (int i = 0; i < store->place_count; i++) {
        file->first_piece[i] = store->places[i].file_count;
        enum clinfer_status status = wrap_file(&store->places[i], file);
        if (status != CLINFER_OK) return status;
    }
    store->file_count++;
    store->file_bytes += bytes;
    return CLINFER_OK;
}

void ci_store_read_by(struct ci_store *store, int descriptor) {
    store->files[store->file_count - 1].descriptor = descriptor;
}

void ci_store_init(struct ci_store *store, struct ci_device *const *devices, int device_count,
                   struct ci_threads *threads) {
    assert(device_count < CI_MAX_PLACES);
    *store = (struct ci_store){.threads = threads, .place_count = 1};
    store->places[CI_PLACE_CPU].caps = (struct ci_caps){.cpu = ci_cpu_features(), .threads = ci_threads_count(threads)};
    for (int i = 0; i < device_count; i++) {
        struct ci_place *place = &store->places[store->place_count++];
        place->device = devices[i];
        place->caps = (struct ci_caps){ci_cpu_features(), ci_device_caps(devices[i]), ci_threads_count(threads)};
        if (place->caps.device->shares_host_memory)
            place->file_piece = (size_t)(place->caps.device->max_alloc_bytes / CI_PAGE_BYTES * CI_PAGE_BYTES);
        store->preferred = 1;
    }
}

struct ci_chooser ci_store_chooser(const struct ci_store *store, int place) {
    const struct ci_place *at = &store->places[place];
    return (struct ci_chooser){store->choices, place, at->device, &at->caps};
}

static void release(struct ci_store_memory *memory) {
    ci_buffer_destroy(memory->buffer);
    if (memory->mapped)
        ci_pages_unmap(memory->host, memory->mapped);
    else
        free(memory->host);
    free(memory);
}

void ci_store_abandon_host_memory(struct ci_store *store) {
    for (struct ci_store_memory *memory = store->memory; memory; memory = memory->next) {
        ci_device_abandon(memory->host);
        memory->host = NULL;
    }
}

void ci_store_destroy(struct ci_store *store) {
    while (store->memory) {
        struct ci_store_memory *next = store->memory->next;
        release(store->memory);
        store->memory = next;
    }
    while (store->copies) {
        struct ci_store_copy *next = store->copies->next;
        free(store->copies);
        store->copies = next;
    }
    for (int i = 0; i < store->place_count; i++) {
        for (size_t k = 0; store->places[i].file && k < store->places[i].file_count; k++)
            ci_buffer_destroy(store->places[i].file[k]);
        free(store->places[i].file);
    }
    free(store->files);
    *store = (struct ci_store){0};
}

/* Remembers memory so that it is freed with the store; takes it over also on failure. */
static enum clinfer_status keep(struct ci_store *store, struct ci_tensor *tensor, void *host,
                                struct ci_buffer *buffer) {
    struct ci_store_memory *memory = malloc(sizeof *memory);
    if (!memory) {
        ci_buffer_destroy(buffer);
        free(host);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", tensor->name);
    }
    *memory = (struct ci_store_memory){.next = store->memory, .tensor = tensor, .host = host, .buffer = buffer};
    store->memory = memory;
    return CLINFER_OK;
}

static size_t whole_pages(size_t bytes, size_t page) { return (bytes + page - 1) / page * page; }

/* Lives as long as the store; chunks are freed after the buffers in them, which are younger. */
static enum clinfer_status alloc_in_chunk(struct ci_store *store, struct ci_tensor *weight, size_t bytes,
                                          void **memory) {
    bytes = whole_pages(bytes, CI_PAGE_BYTES);
    if (bytes > store->chunk_left) {
        size_t usual = whole_pages(store->file_bytes, CI_LARGE_PAGE_BYTES);
        if (usual > CHUNK_BYTES) usual = CHUNK_BYTES;
        size_t size = whole_pages(bytes > usual ? bytes : usual, CI_LARGE_PAGE_BYTES);
        uint8_t *chunk = ci_pages_alloc(size);
        if (!chunk) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for %zu bytes", weight->name, size);
        enum clinfer_status status = keep(store, weight, chunk, NULL);
        if (status != CLINFER_OK) return status;
        store->chunk = chunk;
        store->chunk_left = size;
    }
    *memory = store->chunk;
    store->chunk += bytes;
    store->chunk_left -= bytes;
    return CLINFER_OK;
}

/* The file in which these bytes lie; NULL: in none. */
static const struct ci_store_file *file_of(const struct ci_store *store, const void *data, size_t bytes) {
    const uint8_t *start = data;
    for (size_t i = 0; i < store->file_count; i++) {
        const struct ci_store_file *file = &store->files[i];
        if (start >= file->data && start + bytes <= file->data + file->bytes) return file;
    }
    return NULL;
}

/* Pages of the file that nobody reads any more leave our resident set; they stay in the system's cache. */
static void let_go(const struct ci_store *store, const void *data, size_t bytes) {
    uintptr_t first = ((uintptr_t)data + CI_PAGE_BYTES - 1) / CI_PAGE_BYTES * CI_PAGE_BYTES;
    uintptr_t last = ((uintptr_t)data + bytes) / CI_PAGE_BYTES * CI_PAGE_BYTES;
    if (file_of(store, data, bytes) && first < last) madvise((void *)first, last - first, MADV_DONTNEED);
}

struct packing {
    const struct ci_store *store;
    const struct ci_tensor *weight;
    const struct ci_layout *layout;
    uint8_t *packed; /* NULL: store->packed keeps it, in its file from `at` on */
    uint64_t at;
};

/* The same bytes in `room`, where they could be read; else where they are mapped. What is missing of a file is missed
 * there, see base/mapped.h. */
static const uint8_t *fetch(const struct ci_store *store, const uint8_t *bytes, size_t count, uint8_t *room) {
    const struct ci_store_file *file = room && count <= PIECE_BYTES ? file_of(store, bytes, count) : NULL;
    if (!file || file->descriptor < 0) return bytes;
    return pread(file->descriptor, room, count, bytes - file->data) == (ssize_t)count ? room : bytes;
}

/* `count` rows, to row `first` of the packed weight; `bytes` are those of the rows in either layout. */
static void pack_piece(const struct packing *packing, const uint8_t *source, int64_t first, int64_t count,
                       uint8_t *room) {
    const struct ci_view *view = &packing->weight->view;
    size_t at = ci_layout_bytes(packing->layout, view->type, first, view->cols);
    uint8_t *to = packing->packed ? packing->packed + at : room;
    if (to) ci_layout_pack(packing->layout, view->type, count, view->cols, source, to, 0, count);
    if (!packing->packed)
        ci_packed_put(packing->store->packed, packing->at + at, to,
                      ci_layout_bytes(packing->layout, view->type, count, view->cols));
}

/* In pieces that a processor's cache holds, of which none stays in memory: an output matrix of hundreds of megabytes is
 * never there twice. */
static void pack_share(void *argument, int thread, int threads) {
    const struct packing *packing = argument;
    const struct ci_view *view = &packing->weight->view;
    const uint8_t *host = packing->weight->host;
    int64_t first, last, group = packing->layout->group_rows;
    size_t row_bytes = ci_type_row_bytes(view->type, view->cols);
    int64_t rows = (int64_t)(PIECE_BYTES / row_bytes) / group * group, piece = rows > group ? rows : group;
    size_t most = ci_layout_bytes(packing->layout, view->type, piece, view->cols);
    uint8_t *room = malloc(PIECE_BYTES), *filled = packing->packed ? NULL : malloc(most);
    ci_share(view->rows, packing->layout->group_rows, thread, threads, &first, &last);
    for (; first < last; first += piece) {
        int64_t count = last - first > piece ? piece : last - first;
        size_t at = (size_t)first * row_bytes, bytes = (size_t)count * row_bytes;
        const uint8_t *source = fetch(packing->store, host + at, bytes, room);
        pack_piece(packing, source, first, count, filled);
        if (source != room) let_go(packing->store, host + at, bytes);
    }
    free(filled);
    free(room);
}

static void pack(const struct ci_store *store, const struct ci_tensor *weight, const struct ci_layout *layout,
                 uint8_t *packed, uint64_t at) {
    const struct ci_view *view = &weight->view;
    struct packing packing = {store, weight, layout, packed, at};
    ci_threads_run(store->threads, pack_share, &packing);
    let_go(store, weight->host, ci_layout_bytes(&ci_layout_stored, view->type, view->rows, view->cols));
}

/* Where the weight lies in the wrapped file; false when it does not or crosses the border of two pieces. */
static bool in_file(const struct ci_store *store, int place, struct ci_tensor *weight, size_t bytes) {
    const struct ci_store_file *file = store->places[place].file ? file_of(store, weight->host, bytes) : NULL;
    if (!file) return false;
    size_t offset = (size_t)((const uint8_t *)weight->host - file->data);
    size_t piece = offset / store->places[place].file_piece;
    if ((offset + bytes - 1) / store->places[place].file_piece != piece) return false;
    weight->view.buffer = store->places[place].file[file->first_piece[place] + piece];
    weight->view.offset = offset - piece * store->places[place].file_piece;
    return true;
}

/* The weight as the lender has packed it into the host's memory; NULL: it has not. */
static void *borrow(const struct ci_store *lender, const struct ci_tensor *weight, const struct ci_layout *layout) {
    const struct ci_view *view = &weight->view;
    for (const struct ci_store_memory *memory = lender ? lender->memory : NULL; memory; memory = memory->next) {
        const struct ci_view *there = &memory->tensor->view;
        if (memory->packed && there->layout == layout && there->type == view->type && there->rows == view->rows &&
            there->cols == view->cols && strcmp(memory->tensor->name, weight->name) == 0)
            return memory->packed;
    }
    return NULL;
}

/* The packed weight on disk, from an earlier start or from now on; NULL: it is not kept. */
static const void *kept(const struct ci_store *store, const struct ci_tensor *weight, const struct ci_layout *layout) {
    uint64_t at;
    const void *there = ci_packed_find(store->packed, weight, layout);
    if (there || !(there = ci_packed_add(store->packed, weight, layout, &at))) return there;
    pack(store, weight, layout, NULL, at);
    return ci_packed_added(store->packed) ? there : NULL;
}

enum clinfer_status ci_store_weight(struct ci_store *store, struct ci_tensor *weight, int place,
                                    const struct ci_layout *layout) {
    if (weight->place >= 0) return CLINFER_OK;
    ci_watch_begin(CI_WATCH_BUILD, 0);
    struct ci_device *device = store->places[place].device;
    struct ci_view *view = &weight->view;
    size_t bytes = ci_layout_bytes(layout, view->type, view->rows, view->cols);
    const void *source = weight->host;
    enum clinfer_status status = CLINFER_OK;
    bool repack = layout != &ci_layout_stored;
    /* A packed copy stays ours where it can be used in place; other bytes are copied. */
    bool in_place = repack && (!device || store->places[place].caps.device->shares_host_memory);
    void *packed = NULL, *passing = NULL, *borrowed = in_place ? borrow(store->lender, weight, layout) : NULL;
    const void *there = in_place && !borrowed ? kept(store, weight, layout) : borrowed;
    if (there)
        packed = (void *)(uintptr_t)there;
    else if (in_place)
        status = alloc_in_chunk(store, weight, bytes, &packed);
    else if (repack && !(packed = passing = ci_pages_alloc(bytes)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for %zu bytes", weight->name, bytes);
    if (status != CLINFER_OK) return status;
    if (repack && !there) pack(store, weight, layout, packed, 0);
    if (repack) source = packed;
    if (!device) {
        view->data = (void *)(uintptr_t)source;
        if (repack && !borrowed) status = keep(store, weight, NULL, NULL);
    } else if (repack || !in_file(store, place, weight, bytes)) {
        struct ci_buffer *buffer = NULL;
        status = ci_buffer_create(device, bytes, in_place ? packed : NULL, &buffer);
        if (status == CLINFER_OK && !in_place) status = ci_buffer_write(buffer, 0, source, bytes);
        if (status == CLINFER_OK && !repack) let_go(store, source, bytes);
        free(passing);
        if (status != CLINFER_OK) {
            ci_buffer_destroy(buffer);
            return ci_fail_prefix(status, "%s", weight->name);
        }
        view->buffer = buffer;
        view->offset = 0;
        status = keep(store, weight, NULL, buffer);
    }
    if (status == CLINFER_OK && in_place && !borrowed) store->memory->packed = packed;
    view->layout = layout;
    weight->place = place;
    store->weight_bytes[place] += bytes;
    return status;
}

enum clinfer_status ci_store_weight_at(struct ci_store *store, struct ci_tensor *weight, int place,
                                       struct ci_tensor **found) {
    *found = weight;
    if (weight->place == place) return CLINFER_OK;
    for (struct ci_store_copy *copy = store->copies; copy; copy = copy->next) {
        *found = &copy->tensor;
        if (copy->original == weight && copy->tensor.place == place) return CLINFER_OK;
    }
    struct ci_store_copy *copy = malloc(sizeof *copy);
    if (!copy) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", weight->name);
    *copy = (struct ci_store_copy){store->copies, weight, *weight};
    copy->tensor.place = -1;
    copy->tensor.view.data = NULL;
    copy->tensor.view.buffer = NULL;
    store->copies = copy;
    *found = &copy->tensor;
    return ci_store_weight(store, &copy->tensor, place, weight->view.layout);
}

static enum clinfer_status host_state(struct ci_store *store, struct ci_tensor *state, size_t bytes) {
    void *host = ci_pages_map(bytes);
    if (!host) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for %zu bytes", state->name, bytes);
    struct ci_store_memory *memory = malloc(sizeof *memory);
    if (!memory) {
        ci_pages_unmap(host, bytes);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", state->name);
    }
    *memory = (struct ci_store_memory){.next = store->memory, .tensor = state, .host = host, .mapped = bytes};
    store->memory = memory;
    state->view.data = host;
    return CLINFER_OK;
}

static enum clinfer_status device_state(struct ci_store *store, struct ci_tensor *state, int place, size_t bytes,
                                        struct ci_buffer **buffer) {
    enum clinfer_status status = ci_buffer_create(store->places[place].device, bytes, NULL, buffer);
    if (status != CLINFER_OK) return ci_fail_prefix(status, "%s", state->name);
    return keep(store, state, NULL, *buffer);
}

enum clinfer_status ci_store_state(struct ci_store *store, struct ci_tensor *state, int place) {
    if (state->place >= 0) return CLINFER_OK;
    size_t bytes = ci_layout_bytes(&ci_layout_stored, state->view.type, state->view.rows, state->view.cols);
    struct ci_buffer *buffer = NULL;
    enum clinfer_status status = store->places[place].device ? device_state(store, state, place, bytes, &buffer)
                                                             : host_state(store, state, bytes);
    if (status != CLINFER_OK) return status;
    state->view.buffer = buffer;
    state->view.offset = 0;
    state->place = place;
    store->state_bytes[place] += bytes;
    return CLINFER_OK;
}

static void forget(struct ci_store *store, const struct ci_buffer *buffer) {
    for (struct ci_store_memory **link = &store->memory; *link; link = &(*link)->next) {
        struct ci_store_memory *memory = *link;
        if (memory->buffer == buffer) {
            *link = memory->next;
            release(memory);
            return;
        }
    }
}

void ci_store_forget_states(struct ci_store *store) {
    for (struct ci_store_memory **link = &store->memory; *link;) {
        struct ci_store_memory *memory = *link;
        if (memory->tensor->kind != CI_TENSOR_STATE) {
            link = &memory->next;
            continue;
        }
        memory->tensor->place = -1;
        memory->tensor->view.data = NULL;
        memory->tensor->view.buffer = NULL;
        *link = memory->next;
        release(memory);
    }
    memset(store->state_bytes, 0, sizeof store->state_bytes);
    store->generation++;
}

static enum clinfer_status grow_on_host(struct ci_store *store, struct ci_tensor *state, size_t bytes) {
    struct ci_store_memory *memory = store->memory;
    while (memory->host != state->view.data) memory = memory->next;
    void *host = ci_pages_grow(memory->host, memory->mapped, bytes);
    if (!host) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for %zu bytes", state->name, bytes);
    memory->host = state->view.data = host;
    memory->mapped = bytes;
    return CLINFER_OK;
}

static enum clinfer_status grow_on_device(struct ci_store *store, struct ci_tensor *state, size_t old_bytes,
                                          size_t bytes) {
    struct ci_buffer *buffer;
    enum clinfer_status status = device_state(store, state, state->place, bytes, &buffer);
    if (status != CLINFER_OK) return status;
    status = ci_buffer_copy(state->view.buffer, state->view.offset, buffer, 0, old_bytes);
    if (status == CLINFER_OK) status = ci_device_finish(store->places[state->place].device);
    forget(store, status == CLINFER_OK ? state->view.buffer : buffer);
    if (status != CLINFER_OK) return status;
    state->view.buffer = buffer;
    state->view.offset = 0;
    return CLINFER_OK;
}

enum clinfer_status ci_store_state_grow(struct ci_store *store, struct ci_tensor *state, int64_t rows) {
    assert(state->place >= 0 && rows >= state->view.rows);
    size_t row_bytes = ci_type_row_bytes(state->view.type, state->view.cols);
    size_t old_bytes = row_bytes * (size_t)state->view.rows, bytes = row_bytes * (size_t)rows;
    enum clinfer_status status = store->places[state->place].device ? grow_on_device(store, state, old_bytes, bytes)
                                                                    : grow_on_host(store, state, bytes);
    if (status != CLINFER_OK) return status;
    state->view.rows = rows;
    store->state_bytes[state->place] += bytes - old_bytes;
    store->generation++;
    return CLINFER_OK;
}

enum clinfer_status ci_store_state_copy(const struct ci_store *store, const struct ci_tensor *state, int64_t from,
                                        int64_t to, int64_t rows) {
    const struct ci_view *view = &state->view;
    size_t row_bytes = ci_type_row_bytes(view->type, view->cols), bytes = row_bytes * (size_t)rows;
    size_t source = row_bytes * (size_t)from, target = row_bytes * (size_t)to;
    assert(state->place >= 0 && from + rows <= view->rows && to + rows <= view->rows);
    assert(from + rows <= to || to + rows <= from);
    if (store->places[state->place].device)
        return ci_buffer_copy(view->buffer, view->offset + source, view->buffer, view->offset + target, bytes);
    memcpy((uint8_t *)view->data + target, (const uint8_t *)view->data + source, bytes);
    return CLINFER_OK;
}
