/* token_list.h: a growing list of token ids. */
#ifndef CI_TEXT_TOKEN_LIST_H
#define CI_TEXT_TOKEN_LIST_H

#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

/* Starts zeroed; `tokens` is freed by its owner. */
struct ci_token_list {
    int32_t *tokens;
    size_t count;
    size_t capacity;
};

enum clinfer_status ci_token_list_append(struct ci_token_list *list, int32_t token);

#endif
