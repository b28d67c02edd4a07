/* vocabulary.h: all tokens of a model as a trie in one array, in the order of a walk through it. */
#ifndef CI_GRAMMAR_VOCABULARY_H
#define CI_GRAMMAR_VOCABULARY_H

#include "grammar/matcher.h"

/* Bytes that texts are mostly made of, so that what is behind a byte can be told in a word: a-z, A-Z, 0-9, blanks,
 * other printable ones, quotation marks, backslashes, all others. */
enum { CI_BYTE_GROUPS = 8 };
int ci_grammar_byte_group(uint8_t byte);

/* A byte of one or several tokens; what goes on behind it stands next to it, up to `skip`. */
struct ci_trie_node {
    uint32_t skip;
    uint32_t first;  /* in `order`: of the tokens that end here, then of those behind it */
    uint16_t depth;  /* of the first byte: 0 */
    uint16_t height; /* most bytes behind it */
    uint8_t byte;
    uint8_t groups; /* of the bytes behind it: bits */
};

struct ci_grammar_vocabulary {
    size_t token_count, node_count;
    struct ci_trie_node *nodes; /* [node_count + 1], the last one only ends the one before */
    int32_t *order;             /* tokens as the nodes come */
    uint32_t *offsets;          /* [token_count + 1] of its bytes in `bytes`; those of control tokens are none */
    char *bytes;
    int32_t *ends; /* [end_count] tokens that end an answer */
    size_t end_count, most_depth;
};

bool ci_grammar_vocabulary_is_end(const struct ci_grammar_vocabulary *vocabulary, int32_t token);

#endif
