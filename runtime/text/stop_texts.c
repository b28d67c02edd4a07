#define _GNU_SOURCE
#include "text/stop_texts.h"

#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/status.h"

enum clinfer_status ci_stop_texts_check(const char *const *texts, size_t count) {
    if (count && !texts) return ci_fail(CLINFER_INVALID_ARGUMENT, "stop is NULL, stop_count %zu", count);
    for (size_t i = 0; i < count; i++)
        if (!texts[i] || !*texts[i])
            return ci_fail(CLINFER_INVALID_ARGUMENT, "stop text %zu is %s", i, texts[i] ? "empty" : "NULL");
    return CLINFER_OK;
}

void ci_stop_texts_begin(struct ci_stop_texts *stop, const char *const *texts, size_t count) {
    stop->texts = texts;
    stop->count = count;
    stop->length = 0;
    stop->found = false;
    stop->text = NULL;
}

/* Bytes of what is held before the first stop text; all of them when there is none. */
static size_t before_stop(struct ci_stop_texts *stop) {
    size_t first = stop->length;
    for (size_t i = 0; i < stop->count; i++) {
        const char *at = memmem(stop->held, stop->length, stop->texts[i], strlen(stop->texts[i]));
        if (!at || (stop->found && (size_t)(at - stop->held) >= first)) continue;
        first = (size_t)(at - stop->held);
        stop->found = true;
        stop->text = stop->texts[i];
    }
    return first;
}

/* How many of the last bytes may become a stop text. */
static size_t may_become_stop(const struct ci_stop_texts *stop) {
    size_t most = 0;
    for (size_t i = 0; i < stop->count; i++)
        for (size_t length = strlen(stop->texts[i]) - 1; length > most; length--)
            if (length <= stop->length && memcmp(stop->held + stop->length - length, stop->texts[i], length) == 0)
                most = length;
    return most;
}

bool ci_stop_texts_push(struct ci_stop_texts *stop, const char *text, size_t length, clinfer_text_callback *callback,
                        void *user) {
    if (stop->count == 0) return callback(user, text, length);
    if (stop->found || !ci_append(&stop->held, &stop->length, &stop->capacity, text, length)) return false;
    size_t passed = before_stop(stop);
    if (!stop->found) passed -= may_become_stop(stop);
    bool goes_on = passed == 0 || callback(user, stop->held, passed);
    stop->length -= passed;
    memmove(stop->held, stop->held + passed, stop->length);
    return goes_on && !stop->found;
}

bool ci_stop_texts_flush(struct ci_stop_texts *stop, clinfer_text_callback *callback, void *user) {
    bool goes_on = stop->found || stop->length == 0 || callback(user, stop->held, stop->length);
    stop->length = 0;
    return goes_on;
}

void ci_stop_texts_free(struct ci_stop_texts *stop) {
    free(stop->held);
    *stop = (struct ci_stop_texts){.texts = NULL};
}
