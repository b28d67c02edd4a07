/* The bodies of answers that are texts. */
#define _GNU_SOURCE
#include "net/fetch.h"

#include <stdlib.h>

#include "base/append.h"
#include "base/status.h"

struct text {
    const struct ci_fetch_request *request;
    char *bytes;
    size_t length, capacity, most;
    bool no_memory;
};

static bool pass_head(void *user, const struct ci_fetch *fetch) {
    const struct ci_fetch_request *request = ((struct text *)user)->request;
    return !request->on_head || request->on_head(request->user, fetch);
}

static bool take_text(void *user, const struct ci_fetch *fetch, const char *bytes, size_t length) {
    struct text *text = user;
    (void)fetch;
    size_t taken = length < text->most - text->length ? length : text->most - text->length;
    text->no_memory = !ci_append(&text->bytes, &text->length, &text->capacity, bytes, taken);
    return !text->no_memory && taken == length;
}

enum clinfer_status ci_fetch_text(struct ci_fetcher *fetcher, const struct ci_fetch_request *request, size_t most,
                                  struct ci_fetch **fetch, char **body, size_t *length) {
    struct text text = {.request = request, .most = most};
    struct ci_fetch_request own = *request;
    own.unpack = true;
    own.on_head = pass_head;
    own.on_body = take_text;
    own.user = &text;
    *fetch = NULL;
    *body = NULL;
    *length = 0;
    enum clinfer_status status = CLINFER_OK;
    if (!ci_append(&text.bytes, &text.length, &text.capacity, NULL, 0))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "an answer does not fit into the memory");
    if (status == CLINFER_OK) status = ci_fetch_wait(fetcher, &own, fetch);
    if (status == CLINFER_OK && text.no_memory)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "an answer does not fit into the memory");
    if (status != CLINFER_OK) {
        ci_fetch_free(*fetch);
        *fetch = NULL;
        free(text.bytes);
        return status;
    }
    *body = text.bytes;
    *length = text.length;
    return CLINFER_OK;
}
