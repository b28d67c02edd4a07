/* tool_parser.h: the calls of tools in an answer, as it comes.
 *
 * What may become a call is held back: a mark's beginning, then everything until the call's name is there; from then on
 * its arguments go out as they come. What turns out to be no call is text, with its mark, so that nothing is lost: an
 * answer may speak of marks. A call that breaks off, or goes on as no JSON does, when parts of it are out already stays
 * one that is cut; what comes behind the breach is text. Spaces and line breaks around calls are of no text. */
#ifndef CI_TEXT_TOOL_PARSER_H
#define CI_TEXT_TOOL_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>
#include <jansson.h>

#include "text/json_scan.h"
#include "text/tool_calls.h"
#include "text/tool_format.h"

struct ci_tool_sink {
    bool (*text)(void *user, const char *text, size_t length);
    bool (*call)(void *user, const struct clinfer_tool_call_piece *piece);
    void *user;
};

enum ci_tool_state {
    CI_TOOL_TEXT,
    CI_TOOL_BEGUN,
    CI_TOOL_NAME,
    CI_TOOL_ID,
    CI_TOOL_OBJECT,
    CI_TOOL_BEHIND,
    CI_TOOL_READING /* the format's own reader has it */
};

struct ci_tool_parser {
    const struct ci_tool_format *format; /* NULL: all is text */
    const json_t *tools;                 /* the request's, borrowed */
    struct ci_tool_sink sink;
    uint64_t seed; /* of ids */

    enum ci_tool_state state;
    const struct ci_tool_mark *mark; /* NULL: a bare object */
    bool text_has_come, trims, in_list;
    bool refused, out_of_memory; /* by the sink; then nothing goes on */
    char *text;                  /* that goes out next; owned, as the next */
    size_t text_length, text_capacity;
    char *raw; /* what is held: marks and calls */
    size_t raw_length, raw_capacity;
    size_t spaces; /* of `raw`: so many bytes before what may be a mark */

    /* the call at hand; places are in `raw`, 0: not known */
    struct ci_json_scan scan;
    size_t index;      /* of the call */
    size_t begin;      /* of a name or id that stands alone */
    bool alone;        /* the object is the arguments */
    size_t key, value; /* begin of the member at hand */
    enum { CI_MEMBER_OTHER, CI_MEMBER_NAME, CI_MEMBER_ID, CI_MEMBER_ARGUMENTS } member;
    bool in_value;
    struct ci_tool_reading reading;
    bool called;     /* a call came behind the mark at hand */
    char *name, *id; /* owned; NULL: not known */
    size_t arguments, arguments_end, sent;
    bool told, id_told; /* pieces of it are out */
};

/* The parser is all zeros or was ended. */
void ci_tool_parser_begin(struct ci_tool_parser *parser, const struct ci_tool_format *format, const json_t *tools,
                          uint64_t seed, const struct ci_tool_sink *sink);

/* Nothing has come yet, and a call has to come first: behind the format's first mark, which the prompt ends with, or
 * as an object (`marked` false). */
void ci_tool_parser_expect(struct ci_tool_parser *parser, bool marked);

/* Whole characters. false: the sink wants no more, or memory is out. */
bool ci_tool_parser_push(struct ci_tool_parser *parser, const char *text, size_t length);

/* Nothing comes any more: what is held is a call that is cut, or text. Frees what the parser holds. */
bool ci_tool_parser_end(struct ci_tool_parser *parser);

#endif
