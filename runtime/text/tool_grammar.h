/* tool_grammar.h: what a call that has to come must look like, in the model's own form. */
#ifndef CI_TEXT_TOOL_GRAMMAR_H
#define CI_TEXT_TOOL_GRAMMAR_H

#include <stdbool.h>

#include <clinfer.h>
#include <jansson.h>

struct ci_tool_format;

/* The document of grammar/pieces.h for calls as `choice` has them ("required", or a tool's name; NULL, "auto": any
 * tool's): what comes behind the text marks[0].open of the format, up to the mark's close, "required": and, where marks
 * are around each call, more of such; `whole`: with that text before it. *pieces is the caller's to free.
 * CLINFER_UNSUPPORTED: this form cannot be held so, or two tools define something of one name ($defs) differently; then
 * ci_tools_schema() may do. */
enum clinfer_status ci_tools_pieces(const struct ci_tool_format *format, const json_t *tools, const char *choice,
                                    bool whole, char **pieces);

#endif
