/* jinja_tree.h: tokens and the tree that the parser makes of them. Both lie in the heap of the template and are only
 * read once made. */
#ifndef CI_TEXT_JINJA_TREE_H
#define CI_TEXT_JINJA_TREE_H

#include "text/jinja.h"

/* ---- tokens ---- */

enum ci_jinja_token_kind {
    CI_JINJA_TEXT, /* between tags; never empty */
    CI_JINJA_BLOCK_BEGIN,
    CI_JINJA_BLOCK_END,
    CI_JINJA_VARIABLE_BEGIN,
    CI_JINJA_VARIABLE_END,
    CI_JINJA_NAME,
    CI_JINJA_STRING_LITERAL,
    CI_JINJA_INTEGER_LITERAL,
    CI_JINJA_FLOAT_LITERAL,
    CI_JINJA_OPERATOR, /* text has it */
    CI_JINJA_END
};

struct ci_jinja_token {
    enum ci_jinja_token_kind kind;
    int line;
    struct ci_jinja_string text; /* strings: unescaped */
    union {
        int64_t integer;
        double number;
    };
};

/* All tokens with CI_JINJA_END last, in the arena. */
struct ci_jinja_token *ci_jinja_tokenize(struct ci_jinja_heap *heap, struct ci_jinja_string source);

/* ---- tree ---- */

enum ci_jinja_node_kind {
    /* expressions */
    CI_JINJA_CONSTANT,  /* value */
    CI_JINJA_VARIABLE,  /* name */
    CI_JINJA_LIST,      /* items */
    CI_JINJA_TUPLE,     /* items */
    CI_JINJA_DICT,      /* items: key, value, key, value */
    CI_JINJA_ATTRIBUTE, /* a.text */
    CI_JINJA_ITEM,      /* a[b] */
    CI_JINJA_SLICE,     /* a[items[0]:items[1]:items[2]], NULL where absent */
    CI_JINJA_CALL,      /* a(arguments) */
    CI_JINJA_FILTER,    /* a | text(arguments); a is NULL in filter blocks */
    CI_JINJA_TEST,      /* a is text(arguments) */
    CI_JINJA_NOT,
    CI_JINJA_NEGATIVE,
    CI_JINJA_POSITIVE,
    CI_JINJA_AND,
    CI_JINJA_OR,
    CI_JINJA_CONDITION, /* a if b else c; c may be NULL */
    CI_JINJA_CONCAT,    /* a ~ b */
    CI_JINJA_BINARY,    /* a operation b */
    CI_JINJA_COMPARE,   /* a operations[0] items[0] operations[1] items[1] ... */
    /* statements */
    CI_JINJA_BLOCK,        /* items */
    CI_JINJA_LITERAL,      /* text */
    CI_JINJA_OUTPUT,       /* a */
    CI_JINJA_IF,           /* items: condition, body, condition, body, ...; c: else */
    CI_JINJA_FOR,          /* a: target, b: iterable, body, c: else, items[0]: filter or NULL */
    CI_JINJA_SET,          /* a: target, b: value */
    CI_JINJA_SET_BLOCK,    /* a: target, body, b: filter or NULL */
    CI_JINJA_MACRO,        /* name, text, items: defaults or NULL, names: parameters, body */
    CI_JINJA_CALL_BLOCK,   /* a: call, b: the block as a macro */
    CI_JINJA_FILTER_BLOCK, /* a: filter, body */
    CI_JINJA_WITH,         /* items: target, value, target, value; body */
    CI_JINJA_SCOPE,        /* body */
    CI_JINJA_BREAK,
    CI_JINJA_CONTINUE,
    /* only as a target: ns.attribute */
    CI_JINJA_NAMESPACE_TARGET /* name, text */
};

struct ci_jinja_node {
    enum ci_jinja_node_kind kind;
    enum ci_jinja_operation operation;
    int line;
    int name;                    /* number of a variable */
    struct ci_jinja_string text; /* name of an attribute, filter, test; literal text */
    const struct ci_jinja_node *a, *b, *c, *body;
    const struct ci_jinja_node **items;
    size_t count;
    const enum ci_jinja_operation *operations; /* [count] */
    const int *names;                          /* [count] */
    const struct ci_jinja_named_node *named;   /* [named_count] keyword arguments */
    size_t named_count;
    struct ci_jinja_value value;
};

struct ci_jinja_named_node {
    struct ci_jinja_string name;
    const struct ci_jinja_node *node;
};

/* Names of variables are numbered, `names` gives the text of each. */
struct ci_jinja_tree {
    const struct ci_jinja_node *root;
    const struct ci_jinja_string *names;
    int name_count;
    int loop_name, caller_name; /* the numbers of "loop" and "caller" */
};

struct ci_jinja_tree ci_jinja_parse(struct ci_jinja_heap *heap, struct ci_jinja_token *tokens);

#endif
