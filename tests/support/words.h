/* words.h: small vocabularies for tests of the tokenizer: all 256 bytes, then what a test adds; and what they are
 * asked.
 */
#ifndef TESTS_SUPPORT_WORDS_H
#define TESTS_SUPPORT_WORDS_H

#include "text/tokenizer.h"
#include "text/vocabulary.h"

enum { WORDS_MAXIMUM = 400 };

struct words {
    struct ci_tokenizer_source source;
    char spelled[256][7];
    struct ci_text_span tokens[WORDS_MAXIMUM], merges[WORDS_MAXIMUM];
    int32_t types[WORDS_MAXIMUM];
    float scores[WORDS_MAXIMUM];
};

struct ci_text_span span(const char *text);

/* GPT-2's spelling of a byte, told once more: 188 bytes are themselves, the others follow from U+0100 on. */
void make_words(struct words *words);
int32_t add_token(struct words *words, const char *text, enum ci_token_type type);
void add_merge(struct words *words, const char *text);

/* The beginning of a vocabulary of SentencePiece ("llama"): <unk>, <s>, </s>, and from PIECES_BYTES on <0x00> to
 * <0xFF>.
 */
enum { PIECES_BYTES = 3 };
void make_pieces(struct words *words);
int32_t add_piece(struct words *words, const char *text, float score);

/* A tokenizer with these words; the caller destroys it. */
struct ci_tokenizer *create_tokenizer(const struct words *words);

/* `count` ids follow, as int. */
void expect_ids(const struct ci_tokenizer *tokenizer, const char *text, unsigned flags, size_t count, ...);
void expect_refused(const struct words *words, enum clinfer_status expected, const char *part);

/* Encodes, decodes and compares byte for byte. */
void expect_round_trip(const struct ci_tokenizer *tokenizer, const char *text, size_t length);

/* Of this process, as the machine may be busy. */
double processor_seconds(void);

#endif
