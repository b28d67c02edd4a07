/* tool_calls.h: the calls of an answer, as they come in pieces, from a model's own text (tool_parser.h) or an API's. */
#ifndef CI_TEXT_TOOL_CALLS_H
#define CI_TEXT_TOOL_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

/* All zeros: none. */
struct ci_tool_calls {
    struct ci_tool_call_texts *texts; /* [count] */
    struct clinfer_tool_call *calls;  /* [count], made by ci_tool_calls_view() */
    size_t count, capacity;
};

/* More calls than any answer has a use for: what comes beyond is refused. */
enum { CI_MOST_TOOL_CALLS = 1024 };

void ci_tool_calls_free(struct ci_tool_calls *calls);

/* Takes a piece; its index is that of a call that is there or of the next one. false: out of memory, or too many. */
bool ci_tool_calls_add(struct ci_tool_calls *calls, const struct clinfer_tool_call_piece *piece);

/* They are what the caller of the library gets: borrowed until the next change. NULL where there are none, or out of
 * memory. */
const struct clinfer_tool_call *ci_tool_calls_view(struct ci_tool_calls *calls);

/* An id for a call that has none: nine letters and digits, as Mistral's templates want them; the same for the same
 * `seed`. */
enum { CI_TOOL_ID_BYTES = 10 };
void ci_tool_call_id(uint64_t seed, size_t index, char id[CI_TOOL_ID_BYTES]);

#endif
