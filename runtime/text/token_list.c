/* token_list.c: see token_list.h. */
#include "text/token_list.h"

#include <stdlib.h>

#include "base/status.h"

enum clinfer_status ci_token_list_append(struct ci_token_list *list, int32_t token) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        int32_t *tokens = realloc(list->tokens, capacity * sizeof *tokens);
        if (tokens == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "list of %zu tokens: out of memory", capacity);
        list->tokens = tokens;
        list->capacity = capacity;
    }
    list->tokens[list->count++] = token;
    return CLINFER_OK;
}
