/* tool_format.h: the forms in which models write calls of tools, each a file tool_<name>.c and a line in
 * tool_format_list.inc. A form is known by what the chat template shows of it, as those of reasoning are.
 *
 * Most have a JSON object with name and arguments ({"name": "f", "arguments": {...}}), alone, between marks or in a
 * list, or the arguments behind the name (f[ARGS]{...}): tool_parser.c knows these. For the others `read` is what makes
 * JSON of them, by `tags`. */
#ifndef CI_TEXT_TOOL_FORMAT_H
#define CI_TEXT_TOOL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "text/tool_reading.h"

struct ci_tool_mark {
    const char *open;  /* calls begin behind it */
    const char *close; /* NULL, or what ends them */
    bool unsure;       /* it is one for other things, too: only a call of a tool that there is counts */
};

enum { CI_TOOL_MARKS = 3 };

struct ci_tool_format {
    const char *name;
    struct ci_tool_mark marks[CI_TOOL_MARKS]; /* as many as have an `open` */
    bool bare;            /* an answer that begins with an object or a list may be calls, of tools that there are */
    const char *name_end; /* NULL, or what ends a name that stands alone before its arguments */
    const char *id_mark;  /* NULL, or what may stand between such a name and the call's id */
    bool name_is_key;     /* an object is {"NAME": {...}}, its only member the arguments */
    bool has_ids;         /* the model gives an id in the object, often behind the arguments */
    bool begun;           /* prompts end with marks[0]: an answer begins behind it */
    const char *talk;     /* NULL, or the name behind which there is text, and no call */
    bool holds;           /* tool_grammar.h can hold a call to this form */
    bool named;           /* there, a name comes before `name_end` and the arguments behind it */
    const char *before, *between, *after; /* there, what stands between marks[0] and the first call, between calls, and
                                           * behind the last; between NULL: there is one call */
    const char *name_member;              /* NULL: "name" */
    const char *arguments;                /* the member's name, for those who write a call: "arguments", "parameters" */
    ci_tool_reader *read; /* NULL, or what makes JSON of calls that are written as `tags` say (tool_reading.h) */
    const struct ci_tool_tags *tags;
    bool (*fits)(const char *text, size_t length); /* whether a template or prompt shows this form */
};

/* The form that a template, or a prompt with tools that one made, shows. NULL: none that is known. */
const struct ci_tool_format *ci_tool_format_find(const char *text, size_t length);

/* What models are asked for whose templates know nothing of tools: a JSON object. */
const struct ci_tool_format *ci_tool_format_generic(void);

/* Whether this control token's text belongs to a mark of the form; `format` may be NULL. */
bool ci_tool_format_knows(const struct ci_tool_format *format, const char *text, size_t length);

/* For the forms: whether `sign` is in the text. */
bool ci_tool_format_has(const char *text, size_t length, const char *sign);

#endif
