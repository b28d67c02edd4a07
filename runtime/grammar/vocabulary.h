/* vocabulary.h: all tokens of a model as a trie in one array, in the order of a walk through it. */
#ifndef CI_GRAMMAR_VOCABULARY_H
#define CI_GRAMMAR_VOCABULARY_H

#include "grammar/matcher.h"

/* What texts are made of: an ASCII character, or any other character by its first byte. A token that ends within a
 * character has it as a whole. ODD: bytes that are no UTF-8. */
enum {
    CI_UNITS_ASCII = 128,
    CI_UNIT_FIRST_LEAD = 0xC2, /* by which characters of several bytes begin */
    CI_UNIT_LAST_LEAD = 0xF4,
    CI_UNIT_ODD = CI_UNITS_ASCII + CI_UNIT_LAST_LEAD - CI_UNIT_FIRST_LEAD + 1,
    CI_UNITS,
    CI_UNITS_LENGTHS = 32 /* of tokens that are told apart by how many units they have */
};

/* Units that texts are mostly made of, so that what is behind a byte can be told in a word: a-z, A-Z, 0-9, blanks,
 * other printable ones, quotation marks, backslashes, controls, characters of
 * several bytes, ODD. */
enum { CI_UNIT_GROUPS = 10, CI_UNIT_WITHIN = 1 << CI_UNIT_GROUPS };
int ci_grammar_unit_group(unsigned unit);

/* The unit that begins at bytes[0], and how many bytes it has. */
unsigned ci_grammar_unit(const char *bytes, size_t length, size_t *unit_length);

/* What may follow `have` bytes of a character whose first one is `lead`; false: nothing, it is whole. */
bool ci_grammar_unit_goes_on(uint8_t lead, int have, uint8_t *low, uint8_t *high);

/* A byte of one or several tokens; what goes on behind it stands next to it, up to `skip`. */
struct ci_trie_node {
    uint32_t skip;
    uint32_t first;  /* in `order`: of the tokens that end here, then of those behind it */
    uint16_t depth;  /* of the first byte: 0 */
    uint16_t height; /* most units from it on */
    uint16_t groups; /* of the units from it on: bits; and CI_UNIT_WITHIN where it is not the first byte of its own */
    uint8_t byte;
};

struct ci_grammar_vocabulary {
    size_t token_count, node_count;
    struct ci_trie_node *nodes; /* [node_count + 1], the last one only ends the one before */
    int32_t *order;             /* tokens as the nodes come */
    uint32_t *offsets;          /* [token_count + 1] of its bytes in `bytes`; those of control tokens are none */
    char *bytes;
    /* Bits of tokens [(token_count + 31) / 32] each. Those that begin with a blank, half of many vocabularies, are told
     * apart, and the blank is not one of their units here. */
    uint32_t *spaced;                /* those that begin with one */
    uint32_t *having;                /* [CI_UNITS] those that have this unit */
    uint32_t *groups;                /* [CI_UNIT_GROUPS] those that have a unit of this group */
    uint32_t *within;                /* [CI_UNITS_LENGTHS + 1] those of 0..i units; the last: of any number */
    size_t having_count[CI_UNITS];   /* how many are set */
    size_t spaced_first, spaced_end; /* nodes of those that begin with a blank */
    int32_t *ends;                   /* [end_count] tokens that end an answer */
    size_t end_count, most_depth;
};

static inline size_t ci_grammar_vocabulary_words(const struct ci_grammar_vocabulary *vocabulary) {
    return (vocabulary->token_count + 31) / 32;
}

bool ci_grammar_vocabulary_is_end(const struct ci_grammar_vocabulary *vocabulary, int32_t token);

#endif
