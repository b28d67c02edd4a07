/* special.c: see special.h. */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/template.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

static int compare(const void *left, const void *right) {
    const struct ci_special_token *a = left, *b = right;
    size_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, common);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

enum clinfer_status ci_special_build(const struct ci_vocabulary *vocabulary, struct ci_special *special) {
    memset(special, 0, sizeof *special);
    size_t count = 0;
    for (uint32_t id = 0; id < vocabulary->count; id++) count += ci_token_is_special(vocabulary->types[id]);
    if (count == 0) return CLINFER_OK;
    special->tokens = malloc(count * sizeof *special->tokens);
    if (special->tokens == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%zu special tokens: out of memory", count);

    for (uint32_t id = 0; id < vocabulary->count; id++) {
        uint32_t begin = vocabulary->text_offsets[id], length = vocabulary->text_offsets[id + 1] - begin;
        if (!ci_token_is_special(vocabulary->types[id]) || length == 0) continue;
        if (length > CI_SPECIAL_MAXIMUM)
            return ci_fail(CLINFER_BAD_FILE, "%s: element %u: a special token of %u bytes; at most %d are possible",
                           vocabulary->keys->tokens, id, length, CI_SPECIAL_MAXIMUM);
        const char *text = vocabulary->texts + begin;
        special->starts[(uint8_t)text[0]] = true;
        bool always = vocabulary->types[id] == CI_TOKEN_USER_DEFINED;
        special->tokens[special->count++] = (struct ci_special_token){text, length, (int32_t)id, always};
    }
    qsort(special->tokens, special->count, sizeof *special->tokens, compare);
    return CLINFER_OK;
}

void ci_special_destroy(struct ci_special *special) {
    free(special->tokens);
    memset(special, 0, sizeof *special);
}

/* First token in [low, high) whose byte at `depth` is at least `byte`; all of them are longer than depth. */
static size_t lower_bound(const struct ci_special *special, size_t low, size_t high, size_t depth, int byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uint8_t)special->tokens[middle].text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that the text starts with; a control token has no more bytes than `written`. NULL when there is
 * none. */
static const struct ci_special_token *longest(const struct ci_special *special, const char *text, size_t length,
                                              size_t written) {
    const struct ci_special_token *found = NULL;
    size_t low = 0, high = special->count;
    for (size_t depth = 0;; depth++) {
        /* Sorted, so the one that ends here comes first. */
        if (low < high && special->tokens[low].length == depth) {
            if (depth <= written || special->tokens[low].always) found = &special->tokens[low];
            low++;
        }
        if (low == high || depth == length) return found;
        uint8_t byte = (uint8_t)text[depth];
        low = lower_bound(special, low, high, depth, byte);
        high = lower_bound(special, low, high, depth, byte + 1);
    }
}

/* How many bytes from this place on are no input. Neighbouring runs differ, so they end with the run. */
static size_t written_from(struct ci_special_origins *origins, size_t at) {
    while (origins->index < origins->count && at >= origins->begin + origins->runs[origins->index].length)
        origins->begin += origins->runs[origins->index++].length;
    if (origins->index == origins->count || origins->runs[origins->index].input) return 0;
    return origins->begin + origins->runs[origins->index].length - at;
}

int32_t ci_special_find(const struct ci_special *special, const char *text, size_t at, size_t length,
                        struct ci_special_origins *origins, size_t *begin, size_t *end) {
    for (; special->count > 0 && at < length; at++) {
        if (!special->starts[(uint8_t)text[at]]) continue;
        const struct ci_special_token *token = longest(special, text + at, length - at, written_from(origins, at));
        if (token == NULL) continue;
        *begin = at;
        *end = at + token->length;
        return token->id;
    }
    return -1;
}
