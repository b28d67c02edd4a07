/* reasoning.h: which part of an answer is what a model thinks aloud, and which is the answer proper.
 *
 * Models mark it in forms of their own, <think> ... </think>, [THINK] ... [/THINK], channels; which one, the chat
 * template shows. Marks may come in pieces, and partly as control tokens, which have no text otherwise: whoever has the
 * tokens hands over the text of those that belong to a mark. Marks themselves are of no part, nor are spaces and line
 * breaks around reasoning. */
#ifndef CI_TEXT_REASONING_H
#define CI_TEXT_REASONING_H

#include <stdbool.h>
#include <stddef.h>

struct ci_reasoning_form;

/* Parts that text is of; the latter two are the marks' own. */
enum ci_text_part { CI_PART_ANSWER, CI_PART_REASONING, CI_PART_HIDDEN, CI_PART_NEXT };

/* The form whose sign is in `text`, a template or a prompt that one made, or within whose reasoning it ends. NULL:
 * none.
 */
const struct ci_reasoning_form *ci_reasoning_find(const char *text, size_t length);

/* <think> ... </think>, which models use whose templates do not tell. */
const struct ci_reasoning_form *ci_reasoning_usual(void);

/* Whether a prompt that ends like this has begun the reasoning itself. */
bool ci_reasoning_is_begun(const struct ci_reasoning_form *form, const char *prompt, size_t length);

/* The marks around reasoning; false: the form has others besides. */
bool ci_reasoning_marks(const struct ci_reasoning_form *form, const char **open, const char **close);

/* What has to be written within reasoning so that the answer proper comes next. */
const char *ci_reasoning_end(const struct ci_reasoning_form *form);

enum { CI_MARK_BYTES = 64, CI_HELD_SPACES = 64 };

struct ci_parts {
    const struct ci_reasoning_form *form; /* NULL: all text is the answer */
    enum ci_text_part now, next;
    bool text_has_come; /* from then on marks that are no control tokens are text */
    bool trims;         /* spaces that come next are left out */
    bool addressed;     /* a tool's name came, and its message is to come */
    bool marked;        /* marks have come, or the prompt had one */
    char held[CI_MARK_BYTES];
    size_t held_count; /* bytes that may become a mark */
    char spaces[CI_HELD_SPACES];
    size_t space_count; /* at the end of reasoning, perhaps */
};

typedef bool ci_text_part_sink(void *user, enum ci_text_part part, const char *text, size_t length);

void ci_parts_begin(struct ci_parts *parts, const struct ci_reasoning_form *form, bool begun);

/* Whether this control token's text belongs to a mark. */
bool ci_parts_know(const struct ci_parts *parts, const char *text, size_t length);

/* Whether this control token, which would end an answer, ends only the reasoning. */
bool ci_parts_go_on(const struct ci_parts *parts, const char *text, size_t length);

/* Text of CI_PART_ANSWER and CI_PART_REASONING goes to the sink; what may become a mark is held back. False: the sink
 * wants no more. */
bool ci_parts_push(struct ci_parts *parts, const char *text, size_t length, ci_text_part_sink *sink, void *user);

/* At the end: what is held is no mark. */
bool ci_parts_flush(struct ci_parts *parts, ci_text_part_sink *sink, void *user);

#endif
