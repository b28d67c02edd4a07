/* pretokenizer.h: cuts text into the words that byte-pair merges may not cross. Which expressions do it is a property
 * of the vocabulary; GGUF names them in tokenizer.ggml.pre. */
#ifndef CI_TEXT_PRETOKENIZER_H
#define CI_TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

/* The name of the one for files that name none. */
#define CI_PRETOKENIZER_DEFAULT "default"

/* The one of tokenizer.ggml.model "gemma4". */
#define CI_PRETOKENIZER_GEMMA4 "gemma4"

struct ci_pretokenizer;

/* What else hangs on the name. */
struct ci_pretokenizer_traits {
    bool whole_words; /* a word that is a token is that token, whatever the merges say */
    bool whole_lines; /* the same for line ends alone */
    bool add_bos;     /* when the file does not say */
    bool always_bos;  /* whatever it says: a mistake that converters make */
    bool characters;  /* tokens are spelled as SentencePiece does it (pieces.h), not byte by byte */
};

/* One of a file's own: its matches and what is between them are words, or its matches alone. */
struct ci_pretokenizer_expression {
    const char *pattern; /* PCRE2's syntax, zero-terminated */
    bool matches_only;
};

/* CLINFER_UNSUPPORTED for a name that is not in the table; the message lists those that are. */
enum clinfer_status ci_pretokenizer_create(const char *name, size_t length, struct ci_pretokenizer **pretokenizer);

/* At most CI_PRETOKENIZER_MOST; none: text is one word. CLINFER_UNSUPPORTED for a pattern that PCRE2 does not take. */
enum { CI_PRETOKENIZER_MOST = 16 };
enum clinfer_status ci_pretokenizer_create_own(const struct ci_pretokenizer_expression *expressions, size_t count,
                                               struct ci_pretokenizer **pretokenizer);

void ci_pretokenizer_destroy(struct ci_pretokenizer *pretokenizer);

/* Those of a name; none for one that is not in the table. */
struct ci_pretokenizer_traits ci_pretokenizer_traits_of(const char *name, size_t length);

/* Gets the words in order; together they are the text, unless an expression gives its matches only. Any status but
 * CLINFER_OK ends the split and is returned. */
typedef enum clinfer_status ci_pretokenizer_word(void *user, const char *word, size_t length);

/* `text` must be well-formed UTF-8. Safe from several threads at once. */
enum clinfer_status ci_pretokenizer_split(const struct ci_pretokenizer *pretokenizer, const char *text, size_t length,
                                          ci_pretokenizer_word *word, void *user);

#endif
