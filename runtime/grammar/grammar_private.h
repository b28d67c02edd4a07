/* grammar_private.h: a compiled grammar, and the nodes that it is made of. */
#ifndef CI_GRAMMAR_GRAMMAR_PRIVATE_H
#define CI_GRAMMAR_GRAMMAR_PRIVATE_H

#include "grammar/grammar.h"

/* ---- compiled ---- */

enum ci_position_kind {
    CI_POSITION_END,   /* of a rule: back to where it was called */
    CI_POSITION_BYTES, /* one of its edges, by the next byte */
    CI_POSITION_SPLIT, /* any of its targets, without a byte */
    CI_POSITION_CALL,  /* a rule, and then `next` */
    CI_POSITION_TOKEN  /* one token, or any but it */
};

enum { CI_POSITION_OF_END = 0 }; /* there is one for all rules */

#define CI_COST_NO_END UINT32_MAX
enum { CI_COST_TOKEN = 1 << 20, CI_COST_MOST = 1 << 30 }; /* a token is no byte: bytes go before; sums end there */

struct ci_position {
    uint8_t kind;  /* enum ci_position_kind */
    bool negated;  /* TOKEN */
    uint32_t cost; /* bytes to the end of its rule at least; CI_COST_NO_END: none is reached, it is as if not there */
    union {
        uint32_t first; /* of edges or targets */
        uint32_t rule;
        int32_t token;
    };
    union {
        uint32_t count; /* of edges or targets */
        uint32_t next;  /* CALL, TOKEN */
    };
};

struct ci_edge {
    uint8_t low, high;
    uint32_t next;
};

/* A counted repetition, written out: positions first + i * stride .. are copy i, behind which i more may come, or have
 * to. Each copy reads so many bytes at least, which are not 0. Repetitions within copies come before those that they
 * are part of. */
struct ci_copies {
    uint32_t first, stride, count, bytes;
};

enum { CI_GRAMMAR_COPIES = 64, CI_GRAMMAR_LEAST_COPIES = 8 }; /* most that are known, of so many copies at least */

struct ci_grammar {
    struct ci_position *positions;
    struct ci_edge *edges;
    uint32_t *targets;
    uint32_t *entries; /* [rule_count], of rules that are not reached CI_POSITION_OF_END */
    uint32_t position_count, edge_count, target_count, rule_count, root;
    struct ci_copies copies[CI_GRAMMAR_COPIES];
    int copies_count;
};

/* ---- nodes ---- */

enum ci_node_kind {
    CI_NODE_TEXT,     /* first, count: bytes */
    CI_NODE_SET,      /* first, count: ways, whose bytes are ranges */
    CI_NODE_SEQUENCE, /* first, count: children */
    CI_NODE_CHOICE,   /* the same */
    CI_NODE_REPEAT,   /* first: the child; least, most */
    CI_NODE_TOKEN,    /* first: its id */
    CI_NODE_CALL      /* first: the rule */
};

struct ci_node {
    uint8_t kind; /* enum ci_node_kind */
    bool negated;
    uint16_t depth;
    uint32_t first, count, least, most;
};

/* A range of code points as UTF-8: one to four ranges of bytes. */
struct ci_way {
    uint8_t length, low[4], high[4];
};

struct ci_rule {
    char *name;
    ci_grammar_node node; /* CI_GRAMMAR_NONE: not defined */
};

struct ci_grammar_maker {
    enum clinfer_status status;
    struct ci_node *nodes; /* [0] is CI_GRAMMAR_NONE */
    struct ci_way *ways;
    char *bytes;
    ci_grammar_node *children;
    struct ci_rule *rules;
    size_t node_count, node_capacity, way_count, way_capacity, byte_count, byte_capacity, child_count, child_capacity,
        rule_count, rule_capacity;
    uint32_t *names; /* [name_capacity] rules by the hash of their names, +1 */
    size_t name_capacity;
};

/* analysis.c: the costs of positions; CLINFER_INVALID_ARGUMENT for left recursion and for a root that never ends. */
enum clinfer_status ci_grammar_analyse(struct ci_grammar *grammar, const struct ci_rule *rules);

/* maker.c: the failure of what is not wanted any more (base/stop.h). */
enum clinfer_status ci_grammar_stopped(void);

#endif
