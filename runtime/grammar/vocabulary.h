/* vocabulary.h: all tokens of a model as a trie in one array, in the order of a walk through it. */
#ifndef CI_GRAMMAR_VOCABULARY_H
#define CI_GRAMMAR_VOCABULARY_H

#include "grammar/matcher.h"

/* A byte of one or several tokens; what goes on behind it stands next to it, up to `skip`. */
struct ci_trie_node {
    uint32_t skip;
    int32_t token;  /* that ends here, -1: none; others with the same bytes follow by `same` */
    uint16_t depth; /* of the first byte: 0 */
    uint8_t byte;
};

struct ci_grammar_vocabulary {
    size_t token_count, node_count;
    struct ci_trie_node *nodes; /* [node_count] */
    int32_t *same;              /* [token_count] the next token with the same bytes, -1: none */
    uint32_t *offsets;          /* [token_count + 1] of its bytes in `bytes`; those of control tokens are none */
    char *bytes;
    int32_t *ends; /* [end_count] tokens that end an answer */
    size_t end_count, most_depth;
};

bool ci_grammar_vocabulary_is_end(const struct ci_grammar_vocabulary *vocabulary, int32_t token);

#endif
