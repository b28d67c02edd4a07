#include "remote/sse.h"

#include <stdlib.h>
#include <string.h>

#include "base/append.h"

static enum ci_sse_status append(struct ci_sse_text *text, const char *bytes, size_t length) {
    if (length > CI_SSE_EVENT_BYTES || text->used > CI_SSE_EVENT_BYTES - length) return CI_SSE_TOO_LONG;
    if (!ci_append(&text->bytes, &text->used, &text->capacity, bytes, length)) return CI_SSE_OUT_OF_MEMORY;
    return CI_SSE_OK;
}

static void dispatch(struct ci_sse *sse) {
    if (sse->has_data) sse->callback(sse->user, sse->name, sse->data.bytes, sse->data.used);
    sse->has_data = false;
    sse->data.used = 0;
    sse->name[0] = 0;
}

static bool is_field(const char *line, size_t length, const char *name) {
    return length == strlen(name) && memcmp(line, name, length) == 0;
}

static enum ci_sse_status take_field(struct ci_sse *sse, const char *field, size_t field_length, const char *value,
                                     size_t length) {
    if (is_field(field, field_length, "data")) {
        enum ci_sse_status status = sse->has_data ? append(&sse->data, "\n", 1) : CI_SSE_OK;
        sse->has_data = true;
        return status == CI_SSE_OK ? append(&sse->data, value, length) : status;
    }
    if (is_field(field, field_length, "event")) {
        if (length >= sizeof sse->name) length = sizeof sse->name - 1;
        memcpy(sse->name, value, length);
        sse->name[length] = 0;
    }
    return CI_SSE_OK;
}

static enum ci_sse_status take_line(struct ci_sse *sse) {
    static const char mark[] = "\xEF\xBB\xBF";
    const char *line = sse->line.bytes;
    size_t length = sse->line.used;
    sse->line.used = 0;
    if (!sse->begun && length >= 3 && memcmp(line, mark, 3) == 0) {
        line += 3;
        length -= 3;
    }
    sse->begun = true;
    if (!length) {
        dispatch(sse);
        return CI_SSE_OK;
    }
    const char *colon = memchr(line, ':', length);
    if (colon == line) return CI_SSE_OK;
    const char *value = colon ? colon + 1 : line + length;
    if (colon && value < line + length && *value == ' ') value++;
    return take_field(sse, line, colon ? (size_t)(colon - line) : length, value, (size_t)(line + length - value));
}

enum ci_sse_status ci_sse_feed(struct ci_sse *sse, const char *bytes, size_t length) {
    const char *end = bytes + length;
    enum ci_sse_status status = CI_SSE_OK;
    while (bytes < end && status == CI_SSE_OK) {
        if (sse->after_return && *bytes == '\n') bytes++;
        sse->after_return = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r') stop++;
        status = append(&sse->line, bytes, (size_t)(stop - bytes));
        bytes = stop;
        if (stop == end || status != CI_SSE_OK) continue;
        sse->after_return = *stop == '\r';
        bytes++;
        status = take_line(sse);
    }
    return status;
}

void ci_sse_end(struct ci_sse *sse) { dispatch(sse); }

void ci_sse_free(struct ci_sse *sse) {
    free(sse->line.bytes);
    free(sse->data.bytes);
    *sse = (struct ci_sse){0};
}
