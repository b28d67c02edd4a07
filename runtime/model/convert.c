/* convert.c: see convert.h. A piece of a tensor is as many rows as make some megabytes; threads share its rows. A row
 * is floats on its way whatever it was and becomes, which changes no number of F32, F16 and BF16.
 *
 * What takes long or much is kept: $XDG_CACHE_HOME/clinfer/weights holds one file per model, its files' identities and
 * what was made of them being its name. It is written piece by piece and renamed when it is whole; where that is not
 * possible, all is made in memory, at each start. */
#define _GNU_SOURCE
#include "model/convert.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cache.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pages.h"
#include "base/status.h"
#include "base/threads.h"
#include "base/watch.h"

enum {
    VERSION = 1, /* of what is made: another one makes all anew */
    HEAD_BYTES = 64,
    ALIGNMENT = 64,
    KEPT_BYTES = 4 << 20,  /* less is made at each start */
    PIECE_BYTES = 8 << 20, /* of floats */
    PATH_BYTES = 64
};

struct work {
    struct ci_gguf_maker *maker;
    struct ci_conversion *list;
    struct ci_threads *threads;
    uint64_t key;
    size_t bytes; /* of all, each tensor at a multiple of ALIGNMENT behind the head */
    float *floats;
    uint8_t *piece;
};

/* ---- rows ---- */

static const struct ci_type *type_of(const struct ci_safetensors_tensor *tensor) {
    return ci_type_from_gguf((uint32_t)tensor->dtype->gguf_id);
}

/* Row `row` of the result, as floats. */
static void fetch(const struct ci_conversion *made, int64_t row, float *out) {
    int64_t matrix = row / made->rows_each, inner = row % made->rows_each;
    const struct ci_safetensors_tensor *own = made->sources[made->source_count > 1 ? matrix : 0];
    const struct ci_type *type = type_of(own);
    int64_t skipped = made->source_count > 1 ? 0 : matrix;
    if (made->transposed) {
        int64_t from = skipped * made->cols * made->own_rows + made->first + made->step * inner;
        const uint8_t *at = own->data + (size_t)(from * type->block_bytes);
        for (int64_t i = 0; i < made->cols; i++, at += made->own_rows * type->block_bytes)
            type->dequantise(at, &out[i], 1);
    } else {
        int64_t from = skipped * made->own_rows + made->first + made->step * inner;
        type->dequantise(own->data + (size_t)(from * made->cols * type->block_bytes), out, made->cols);
    }
    for (int64_t i = 0; i < made->cols && made->add != 0; i++) out[i] += made->add;
}

/* Row `row` in MXFP4, of which GGUF has the numbers 0 to 15 of a block in the low halves of its bytes, 16 to 31 in the
 * high ones. */
static void join(const struct ci_conversion *made, int64_t row, uint8_t *out) {
    const int64_t codes = made->type->block_cols / 2, blocks = made->cols / made->type->block_cols;
    int64_t from = row / made->rows_each * made->own_rows + made->first + made->step * (row % made->rows_each);
    const uint8_t *scale = made->scales->data + (size_t)(from * blocks);
    const uint8_t *pairs = made->sources[0]->data + (size_t)(from * blocks * codes);
    for (int64_t b = 0; b < blocks; b++, pairs += codes, out += made->type->block_bytes) {
        out[0] = scale[b];
        for (int i = 0; i < codes; i++) {
            const int low = pairs[i / 2] >> (i % 2 ? 4 : 0) & 15,
                      high = pairs[codes / 2 + i / 2] >> (i % 2 ? 4 : 0) & 15;
            out[1 + i] = (uint8_t)(low | high << 4);
        }
    }
}

struct share {
    const struct ci_conversion *made;
    const struct work *work;
    int64_t first, rows;
    _Atomic int64_t bad; /* a number that is not finite, counted in the tensor; -1: none */
};

static void convert_rows(void *argument, int thread, int threads) {
    struct share *share = argument;
    const struct ci_conversion *made = share->made;
    size_t row_bytes = ci_type_row_bytes(made->type, made->cols);
    for (int64_t i = thread; i < share->rows && made->scales; i += threads) {
        uint8_t *row = share->work->piece + (size_t)i * row_bytes;
        int64_t bad =
            (join(made, share->first + i, row), made->type->find_not_finite(row, made->cols / made->type->block_cols));
        if (bad < made->cols / made->type->block_cols)
            atomic_store(&share->bad, (share->first + i) * made->cols + bad * made->type->block_cols);
    }
    for (int64_t i = thread; i < share->rows && !made->scales; i += threads) {
        float *row = share->work->floats + i * made->cols;
        fetch(made, share->first + i, row);
        for (int64_t k = 0; k < made->cols; k++)
            if (!isfinite(row[k])) atomic_store(&share->bad, (share->first + i) * made->cols + k);
        made->type->quantise(row, share->work->piece + (size_t)i * row_bytes, made->cols / made->type->block_cols);
    }
}

/* Rows `first` to `first + rows` to the piece. */
static enum clinfer_status convert_piece(const struct work *work, const struct ci_conversion *made, int64_t first,
                                         int64_t rows) {
    struct share share = {.made = made, .work = work, .first = first, .rows = rows};
    atomic_init(&share.bad, -1);
    ci_watch_begin(CI_WATCH_BUILD, 0);
    if (work->threads)
        ci_threads_run(work->threads, convert_rows, &share);
    else
        convert_rows(&share, 0, 1);
    int64_t bad = atomic_load(&share.bad);
    if (bad < 0) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: tensor %s: number [%" PRId64 ", %" PRId64
                   "] is not finite; the file is damaged, or was badly made: fetch or make it again",
                   CI_TENSOR_AT(work->maker->gguf, ci_gguf_make_tensor_at(work->maker, made->tensor)->name),
                   bad / made->cols, bad % made->cols);
}

static size_t padded(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static size_t bytes_of(const struct ci_conversion *made) {
    return ci_type_row_bytes(made->type, made->cols) * (size_t)made->rows;
}

static int64_t rows_at_once(const struct ci_conversion *made) {
    int64_t rows = PIECE_BYTES / ((int64_t)sizeof(float) * made->cols);
    return rows < 1 ? 1 : rows < made->rows ? rows : made->rows;
}

/* Room for the largest piece of all. */
static enum clinfer_status prepare(struct work *work) {
    size_t floats = 0, bytes = 0;
    for (const struct ci_conversion *made = work->list; made; made = made->next) {
        size_t rows = (size_t)rows_at_once(made);
        if (rows * (size_t)made->cols > floats) floats = rows * (size_t)made->cols;
        if (rows * ci_type_row_bytes(made->type, made->cols) > bytes)
            bytes = rows * ci_type_row_bytes(made->type, made->cols);
    }
    work->floats = malloc(floats * sizeof *work->floats);
    work->piece = malloc(padded(bytes));
    if (work->floats && work->piece)
        return work->bytes > KEPT_BYTES ? ci_threads_create(0, &work->threads) : CLINFER_OK;
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", work->maker->gguf->path);
}

static void end(struct work *work) {
    if (work->threads) ci_threads_destroy(work->threads);
    free(work->floats);
    free(work->piece);
}

/* The pages of what a tensor was made of leave our resident set: nobody needs them any more. */
static void let_go_of(const struct ci_safetensors_tensor *own) {
    uintptr_t begin = (uintptr_t)own->data, end = begin + own->bytes;
    begin = (begin + CI_PAGE_BYTES - 1) / CI_PAGE_BYTES * CI_PAGE_BYTES;
    end = end / CI_PAGE_BYTES * CI_PAGE_BYTES;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static void let_go(const struct ci_conversion *made) {
    for (size_t i = 0; i < made->source_count; i++) let_go_of(made->sources[i]);
    if (made->scales) let_go_of(made->scales);
}

/* ---- in memory ---- */

static enum clinfer_status convert_in_memory(struct work *work) {
    for (const struct ci_conversion *made = work->list; made; made = made->next) {
        size_t row_bytes = ci_type_row_bytes(made->type, made->cols);
        uint8_t *out = ci_gguf_make_array(work->maker, bytes_of(made), 1);
        int64_t step = rows_at_once(made);
        if (!out) return work->maker->status;
        for (int64_t row = 0; row < made->rows; row += step) {
            int64_t rows = made->rows - row < step ? made->rows - row : step;
            enum clinfer_status status = convert_piece(work, made, row, rows);
            if (status != CLINFER_OK) return status;
            memcpy(out + (size_t)row * row_bytes, work->piece, (size_t)rows * row_bytes);
        }
        ci_gguf_make_tensor_at(work->maker, made->tensor)->data = out;
        let_go(made);
    }
    return CLINFER_OK;
}

/* ---- in the cache ---- */

/* Of the files' identities and all that decides what is made. */
static uint64_t key_of(const struct work *work) {
    uint64_t identity = ci_gguf_identity(work->maker->gguf), version = VERSION;
    uint64_t key = ci_hash(ci_hash(CI_HASH_START, &version, sizeof version), &identity, sizeof identity);
    for (const struct ci_conversion *made = work->list; made; made = made->next) {
        const char *name = ci_gguf_make_tensor_at(work->maker, made->tensor)->name;
        const int64_t numbers[] = {made->rows,  made->cols, made->rows_each,  made->own_rows,
                                   made->first, made->step, made->transposed, (int64_t)made->source_count};
        key = ci_hash(key, name, strlen(name) + 1);
        key = ci_hash(key, made->type->name, strlen(made->type->name) + 1);
        key = ci_hash(key, numbers, sizeof numbers);
        key = ci_hash(key, &made->add, sizeof made->add);
    }
    return key;
}

static void write_head(const struct work *work, char head[HEAD_BYTES]) {
    memset(head, 0, HEAD_BYTES);
    snprintf(head, HEAD_BYTES, "clinfer weights %d %016" PRIx64 " %zu\n", VERSION, work->key, work->bytes);
}

static enum clinfer_status write_all(int descriptor, const char *path, void *user) {
    static const uint8_t zeros[ALIGNMENT];
    const struct work *work = user;
    char head[HEAD_BYTES];
    write_head(work, head);
    enum clinfer_status status = ci_file_put(descriptor, path, head, sizeof head);
    for (const struct ci_conversion *made = work->list; made && status == CLINFER_OK; made = made->next) {
        size_t row_bytes = ci_type_row_bytes(made->type, made->cols);
        int64_t step = rows_at_once(made);
        for (int64_t row = 0; row < made->rows && status == CLINFER_OK; row += step) {
            int64_t rows = made->rows - row < step ? made->rows - row : step;
            status = convert_piece(work, made, row, rows);
            if (status == CLINFER_OK) status = ci_file_put(descriptor, path, work->piece, (size_t)rows * row_bytes);
        }
        let_go(made);
        if (status == CLINFER_OK)
            status = ci_file_put(descriptor, path, zeros, padded(bytes_of(made)) - bytes_of(made));
    }
    return status;
}

/* Whether the cache has it, and nobody else can have written it; then its bytes are the tensors'. */
static bool use_kept(struct work *work, const char *path) {
    struct ci_gguf *gguf = work->maker->gguf;
    char head[HEAD_BYTES];
    write_head(work, head);
    if (ci_file_check_own(path, "clinfer") != CLINFER_OK || ci_gguf_add_file(gguf, path) != CLINFER_OK) return false;
    const struct ci_file *file = &gguf->files[gguf->n_files - 1].mapped.file;
    if (file->size != HEAD_BYTES + work->bytes || memcmp(file->data, head, sizeof head) != 0) {
        ci_mapped_close(&gguf->files[--gguf->n_files].mapped);
        return false;
    }
    size_t at = HEAD_BYTES;
    for (const struct ci_conversion *made = work->list; made; made = made->next) {
        struct ci_gguf_tensor *tensor = ci_gguf_make_tensor_at(work->maker, made->tensor);
        tensor->data = file->data + at;
        tensor->offset = at;
        at += padded(bytes_of(made));
    }
    return true;
}

/* CLINFER_IO: not possible there. */
static enum clinfer_status convert_in_cache(struct work *work) {
    char name[PATH_BYTES];
    snprintf(name, sizeof name, "weights/%016" PRIx64, work->key);
    char *path = ci_cache_path(name);
    if (!path) return CLINFER_IO;
    enum clinfer_status status = CLINFER_OK;
    if (!use_kept(work, path)) {
        double start = ci_now();
        ci_log(CLINFER_LOG_NOTICE, "%s: %zu MB of weights are converted and kept in %s; later starts find them there",
               work->maker->gguf->path, work->bytes / 1000000, path);
        status = ci_cache_write_by(path, write_all, work);
        if (status == CLINFER_OK) ci_log(CLINFER_LOG_INFO, "converted in %.1f s", ci_now() - start);
        if (status == CLINFER_OK && !use_kept(work, path)) status = CLINFER_IO;
    }
    free(path);
    return status;
}

enum clinfer_status ci_convert(struct ci_gguf_maker *maker, struct ci_conversion *list) {
    struct work work = {.maker = maker, .list = list};
    if (!list) return CLINFER_OK;
    for (const struct ci_conversion *made = list; made; made = made->next) work.bytes += padded(bytes_of(made));
    work.key = key_of(&work);
    enum clinfer_status status = prepare(&work);
    bool kept = work.bytes > KEPT_BYTES;
    if (status == CLINFER_OK && kept) status = convert_in_cache(&work);
    if ((status == CLINFER_OK && !kept) || status == CLINFER_IO || status == CLINFER_REFUSED)
        status = convert_in_memory(&work);
    end(&work);
    return status;
}
