/* vocabulary.h: the tokens of a vocabulary: id -> text as the file spells it, id -> the bytes it stands for (how kinds
 * of vocabularies spell them: spelling.h), text -> id. Special tokens are spelled as they are. */
#ifndef CI_TEXT_VOCABULARY_H
#define CI_TEXT_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

#include "text/spelling.h"

struct ci_tokenizer_keys;
struct ci_tokenizer_source;

/* The numbers stand in the file (tokenizer.ggml.token_type). */
enum ci_token_type {
    CI_TOKEN_UNDEFINED,
    CI_TOKEN_NORMAL,
    CI_TOKEN_UNKNOWN,
    CI_TOKEN_CONTROL,
    CI_TOKEN_USER_DEFINED,
    CI_TOKEN_UNUSED,
    CI_TOKEN_BYTE,
    CI_TOKEN_TYPES
};

struct ci_vocabulary {
    const struct ci_tokenizer_keys *keys; /* for messages, static */
    uint32_t count;
    char *texts;            /* all texts, one after the other */
    uint32_t *text_offsets; /* [count + 1] */
    char *bytes;            /* the same decoded */
    uint32_t *byte_offsets; /* [count + 1] */
    uint8_t *types;         /* [count] enum ci_token_type; the tokenizer may know better than the file */

    /* Open addressing over the texts; `tag` are hash bits that spare most comparisons, id_plus_one 0 is free. The hash
     * has a secret, so that no file can be made to collide. */
    struct ci_vocabulary_slot {
        uint32_t tag;
        uint32_t id_plus_one;
    } * slots;
    size_t slot_mask;
    uint64_t secret;
};

/* Copies what it needs. Fails on counts out of range, an unknown type, a text twice. Destroy it in any case. */
enum clinfer_status ci_vocabulary_build(const struct ci_tokenizer_source *source, ci_spelling *spelling,
                                        struct ci_vocabulary *vocabulary);
void ci_vocabulary_destroy(struct ci_vocabulary *vocabulary);

/* -1 when there is none. */
int32_t ci_vocabulary_find(const struct ci_vocabulary *vocabulary, const char *text, size_t length);

/* Whether token `id`, if there is one, has exactly this text: the cheap question before ci_vocabulary_find(). */
bool ci_vocabulary_is(const struct ci_vocabulary *vocabulary, int64_t id, const char *text, size_t length);

/* The bytes that token `id` stands for: those of a special token are its text. */
const char *ci_vocabulary_piece(const struct ci_vocabulary *vocabulary, int32_t id, size_t *length);

/* Types that are recognised in text before any splitting. */
static inline bool ci_token_is_special(uint8_t type) {
    return type == CI_TOKEN_CONTROL || type == CI_TOKEN_USER_DEFINED || type == CI_TOKEN_UNKNOWN;
}

/* One round of wyhash's mixing: both halves of the 128-bit product. */
static inline uint64_t ci_text_mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
