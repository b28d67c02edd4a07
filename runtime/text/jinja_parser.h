/* jinja_parser.h: what the two halves of the parser share. */
#ifndef CI_TEXT_JINJA_PARSER_H
#define CI_TEXT_JINJA_PARSER_H

#include "text/jinja_tree.h"

struct ci_jinja_parser {
    struct ci_jinja_heap *heap;
    const struct ci_jinja_token *token; /* the next one */
    struct ci_jinja_string *names;
    int name_count, name_capacity;
    int *name_slots; /* hash table of numbers + 1 */
    size_t name_slot_mask;
};

/* A list that grows while its length is unknown. */
struct ci_jinja_node_list {
    const struct ci_jinja_node **items;
    size_t count, capacity;
};

struct ci_jinja_node *ci_jinja_node_create(struct ci_jinja_parser *parser, enum ci_jinja_node_kind kind);
void ci_jinja_node_list_add(struct ci_jinja_parser *parser, struct ci_jinja_node_list *list,
                            const struct ci_jinja_node *node);
int ci_jinja_name_number(struct ci_jinja_parser *parser, struct ci_jinja_string name);

_Noreturn void ci_jinja_parser_fail(struct ci_jinja_parser *parser, const char *expected);
void ci_jinja_nest(struct ci_jinja_parser *parser);
static inline void ci_jinja_unnest(struct ci_jinja_parser *parser) { ci_jinja_leave(parser->heap); }

bool ci_jinja_next_is(const struct ci_jinja_parser *parser, enum ci_jinja_token_kind kind, const char *text);
bool ci_jinja_skip_if(struct ci_jinja_parser *parser, enum ci_jinja_token_kind kind, const char *text);
static inline bool ci_jinja_next_is_name(const struct ci_jinja_parser *parser, const char *name) {
    return ci_jinja_next_is(parser, CI_JINJA_NAME, name);
}
static inline bool ci_jinja_skip_name(struct ci_jinja_parser *parser, const char *name) {
    return ci_jinja_skip_if(parser, CI_JINJA_NAME, name);
}
static inline bool ci_jinja_next_is_operator(const struct ci_jinja_parser *parser, const char *text) {
    return ci_jinja_next_is(parser, CI_JINJA_OPERATOR, text);
}
static inline bool ci_jinja_skip_operator(struct ci_jinja_parser *parser, const char *text) {
    return ci_jinja_skip_if(parser, CI_JINJA_OPERATOR, text);
}
void ci_jinja_expect_operator(struct ci_jinja_parser *parser, const char *text);
struct ci_jinja_string ci_jinja_expect_name(struct ci_jinja_parser *parser);

/* jinja_expression.c. `conditions`: whether "a if b" is part of it. */
const struct ci_jinja_node *ci_jinja_parse_expression(struct ci_jinja_parser *parser, bool conditions);
/* One expression, or several with commas as a tuple, up to the end of the tag, `)` or one of the names. */
const struct ci_jinja_node *ci_jinja_parse_tuple(struct ci_jinja_parser *parser, bool conditions);
/* name, (a, b), namespace.attribute where allowed. */
const struct ci_jinja_node *ci_jinja_parse_target(struct ci_jinja_parser *parser, bool attributes);
/* `| f(x) | g` behind `node`; with `first` the first bar is missing, as in {% filter f %}. */
const struct ci_jinja_node *ci_jinja_parse_filters(struct ci_jinja_parser *parser, const struct ci_jinja_node *node,
                                                   bool first);

#endif
