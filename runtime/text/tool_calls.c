#include "text/tool_calls.h"

#include <stdlib.h>
#include <string.h>

#include "base/append.h"

/* One call's texts as they grow. */
struct ci_tool_call_texts {
    char *id, *name, *arguments;
    size_t length, capacity; /* of arguments */
    bool whole;
};

void ci_tool_calls_free(struct ci_tool_calls *calls) {
    for (size_t i = 0; i < calls->count; i++) {
        free(calls->texts[i].id);
        free(calls->texts[i].name);
        free(calls->texts[i].arguments);
    }
    free(calls->texts);
    free(calls->calls);
    *calls = (struct ci_tool_calls){0};
}

static bool make_room(struct ci_tool_calls *calls) {
    if (calls->count < calls->capacity) return true;
    if (calls->count == CI_MOST_TOOL_CALLS) return false;
    size_t capacity = calls->capacity ? 2 * calls->capacity : 4;
    struct ci_tool_call_texts *texts = realloc(calls->texts, capacity * sizeof *texts);
    if (!texts) return false;
    calls->texts = texts;
    struct clinfer_tool_call *view = realloc(calls->calls, capacity * sizeof *view);
    if (!view) return false;
    calls->calls = view;
    calls->capacity = capacity;
    return true;
}

/* What was said first stays. */
static bool set_once(char **text, const char *value) {
    if (!value || *text) return true;
    *text = strdup(value);
    return *text != NULL;
}

bool ci_tool_calls_add(struct ci_tool_calls *calls, const struct clinfer_tool_call_piece *piece) {
    if (piece->index > calls->count) return false;
    if (piece->index == calls->count) {
        if (!make_room(calls)) return false;
        calls->texts[calls->count++] = (struct ci_tool_call_texts){0};
    }
    struct ci_tool_call_texts *texts = &calls->texts[piece->index];
    texts->whole = texts->whole || piece->last;
    return set_once(&texts->id, piece->id) && set_once(&texts->name, piece->name) &&
           ci_append(&texts->arguments, &texts->length, &texts->capacity, piece->arguments, piece->length);
}

const struct clinfer_tool_call *ci_tool_calls_view(struct ci_tool_calls *calls) {
    for (size_t i = 0; i < calls->count; i++) {
        const struct ci_tool_call_texts *texts = &calls->texts[i];
        calls->calls[i] = (struct clinfer_tool_call){.id = texts->id ? texts->id : "",
                                                     .name = texts->name ? texts->name : "",
                                                     .arguments = texts->length  ? texts->arguments
                                                                  : texts->whole ? "{}"
                                                                                 : "",
                                                     .cut = !texts->whole};
    }
    return calls->count ? calls->calls : NULL;
}

void ci_tool_call_id(uint64_t seed, size_t index, char id[CI_TOOL_ID_BYTES]) {
    static const char signs[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    /* splitmix64's last steps: neighbours get ids that share nothing. */
    uint64_t bits = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    bits ^= bits >> 31;
    for (int i = 0; i < CI_TOOL_ID_BYTES - 1; i++, bits /= sizeof signs - 1) id[i] = signs[bits % (sizeof signs - 1)];
    id[CI_TOOL_ID_BYTES - 1] = 0;
}
