#include "model/numbers.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pages.h"
#include "base/status.h"
#include "base/watch.h"
#include "proof/known_answer.h"
#include "types/type.h"

/* Less is not worth waking threads for. */
enum { SHARED_BYTES = 256 << 10, PIECE_BLOCKS = 1 << 13, MOST_COLS = 256 };

struct search {
    const struct ci_type *type;
    const uint8_t *data;
    int64_t blocks;
    _Atomic int64_t first; /* that is not finite; `blocks`: none */
};

static void look(void *argument, int thread, int threads) {
    struct search *search = argument;
    for (int64_t at = (int64_t)thread * PIECE_BLOCKS; at < atomic_load(&search->first);
         at += (int64_t)threads * PIECE_BLOCKS) {
        int64_t count = search->blocks - at < PIECE_BLOCKS ? search->blocks - at : PIECE_BLOCKS;
        int64_t found = at + search->type->find_not_finite(search->data + at * search->type->block_bytes, count);
        if (found == at + count) continue;
        int64_t first = atomic_load(&search->first);
        while (found < first && !atomic_compare_exchange_weak(&search->first, &first, found)) continue;
        return;
    }
}

/* "[7, 12] is nan" */
static enum clinfer_status refuse(const struct ci_gguf *gguf, const struct ci_gguf_tensor *tensor,
                                  const struct search *search) {
    float numbers[MOST_COLS];
    const struct ci_type *type = search->type;
    int64_t first = atomic_load(&search->first);
    int column = 0;
    assert(type->block_cols <= MOST_COLS);
    type->dequantise(search->data + first * type->block_bytes, numbers, 1);
    while (column + 1 < type->block_cols && isfinite(numbers[column])) column++;
    const struct ci_gguf_place place = ci_gguf_tensor_place(gguf, tensor->name);
    const char *holding = ci_gguf_file_holding(gguf, tensor->data);
    uint64_t at = (uint64_t)first * (uint64_t)type->block_cols + (uint64_t)column;
    if (ci_gguf_folder(gguf) && holding && strcmp(holding, place.file) != 0) /* it was finite when it was converted */
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: tensor %s (%s): number [%" PRIu64 ", %" PRIu64 "] is %g: what was converted from %s and "
                       "kept is damaged: remove this file, and it is made anew",
                       holding, place.name, type->name, at / tensor->dims[0], at % tensor->dims[0],
                       (double)numbers[column], place.file);
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: tensor %s (%s): number [%" PRIu64 ", %" PRIu64 "] is %g, in the %" PRId64 " bytes at %" PRIu64
                   "; the file is damaged, or was badly made: fetch or make it again",
                   place.file, place.name, type->name, at / tensor->dims[0], at % tensor->dims[0],
                   (double)numbers[column], (int64_t)type->block_bytes,
                   tensor->offset + (uint64_t)first * (uint64_t)type->block_bytes);
}

/* What was converted while loading lies in memory of ours instead, and has no other copy. */
static bool is_mapped(const struct ci_gguf *gguf, const uint8_t *data) {
    for (size_t i = 0; i < ci_gguf_file_count(gguf); i++) {
        const struct ci_file *file = ci_gguf_file_at(gguf, i);
        if (file->identity && (uintptr_t)data - (uintptr_t)file->data < file->size) return true;
    }
    return false;
}

/* The file's pages do not stay in our resident set: what uses the weights may pack them and needs no others. */
static void let_go(const struct ci_gguf *gguf, const struct search *search) {
    uintptr_t first = ((uintptr_t)search->data + CI_PAGE_BYTES - 1) / CI_PAGE_BYTES * CI_PAGE_BYTES;
    uintptr_t last = ((uintptr_t)search->data + (size_t)(search->blocks * search->type->block_bytes)) / CI_PAGE_BYTES *
                     CI_PAGE_BYTES;
    if (is_mapped(gguf, search->data) && first < last) madvise((void *)first, last - first, MADV_DONTNEED);
}

static enum clinfer_status check_tensor(const struct ci_gguf *gguf, const struct ci_gguf_tensor *tensor,
                                        struct ci_threads *threads) {
    const struct ci_type *type = ci_type_from_gguf(tensor->type);
    if (!type || !type->find_not_finite) return CLINFER_OK;
    struct search search = {.type = type, .data = tensor->data, .blocks = (int64_t)tensor->bytes / type->block_bytes};
    atomic_init(&search.first, search.blocks);
    if (tensor->bytes < SHARED_BYTES)
        look(&search, 0, 1);
    else
        ci_threads_run(threads, look, &search);
    bool finite = atomic_load(&search.first) == search.blocks;
    enum clinfer_status status = finite ? CLINFER_OK : refuse(gguf, tensor, &search);
    let_go(gguf, &search);
    return status;
}

enum clinfer_status ci_model_check_numbers(const struct ci_model *model, struct ci_threads *threads) {
    const struct ci_gguf *gguf = model->gguf;
    static const char what[] = "weights are finite, 1";
    uint64_t identity = ci_gguf_identity(gguf), key = ci_hash(CI_HASH_START, what, sizeof what);
    key = ci_hash(key, &identity, sizeof identity);
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const bool taken = model->taken[i] != NULL;
        key = ci_hash(key, &taken, sizeof taken);
    }
    if (identity && ci_proof_is_known(0, key)) return CLINFER_OK;
    double start = ci_now(), bytes = 0;
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        if (!model->taken[i]) continue;
        ci_watch_begin(CI_WATCH_BUILD, 0);
        enum clinfer_status status = check_tensor(gguf, tensor, threads);
        if (status != CLINFER_OK) return status;
        bytes += (double)tensor->bytes;
    }
    double seconds = ci_now() - start;
    ci_log(CLINFER_LOG_INFO, "%s: all weights are finite: %.0f MB in %.3f s, %.1f GB/s; looked at once",
           ci_gguf_path(gguf), bytes / 1e6, seconds, bytes / seconds / 1e9);
    if (identity) ci_proof_remember(0, key);
    return CLINFER_OK;
}
