/* tokenizer.h: text to token ids and back.
 *
 * Special tokens are found first (longest at the leftmost place); what becomes of the text between them is a matter of
 * the kind of vocabulary (tokenizer_kind.h). The bytes of tokens, one after the other, are the text again, but for what
 * a kind adds or changes when it reads: SentencePiece may put a space before a text and behind special tokens.
 *
 * Files type tokens wrongly: end tokens as text, or none at all. What plain text can never become, because it is
 * cut into words before, is no text: such tokens are control tokens if they are known by name to end a turn, if the
 * file names them as begin or end, or if a template writes them.
 *
 * A tokenizer is only read once a model's template is known to it (chat.h): any number of threads may share it. */
#ifndef CI_TEXT_TOKENIZER_H
#define CI_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_gguf;
struct ci_pretokenizer_expression;
struct ci_rendered;
struct ci_token_list;
struct ci_tokenizer;

/* Bytes of the caller; any value, no zero at the end. */
struct ci_text_span {
    const char *text;
    size_t length;
};

/* White space beside a special token that belongs to the token when it is found in text. */
enum ci_strip_side { CI_STRIP_LEFT = 1, CI_STRIP_RIGHT = 2 };
struct ci_strip {
    struct ci_text_span token; /* empty: every special token */
    uint8_t sides;             /* enum ci_strip_side, or 0 */
};

/* How a file that is no GGUF names what messages speak of, "model.merges" for tokenizer.ggml.merges. */
struct ci_tokenizer_keys {
    const char *tokens, *types, *scores, *merges, *charsmap;
};

/* How a file cuts text into words that names no pre-tokenizer. */
struct ci_tokenizer_words {
    const struct ci_pretokenizer_expression *expressions; /* [count] */
    size_t count;
    bool whole_words; /* a word that is a token is that token, whatever the merges say */
    bool characters;  /* tokens are spelled as SentencePiece does it (pieces.h), not byte by byte */
    /* Of add_space_prefix, which puts a space before the text and behind special tokens. */
    bool first_only, unless_space; /* not behind special tokens; not where there is one */
};

/* Unicode's normal forms: what text is brought into before anything else is done with it. */
enum ci_normal_form { CI_NORMAL_AS_IT_IS, CI_NORMAL_NFC, CI_NORMAL_NFD, CI_NORMAL_NFKC, CI_NORMAL_NFKD };

/* What a vocabulary is made from: the metadata of a GGUF file, or a test's own. Everything is copied. Ids are -1 when
 * absent; flags are 0, 1 or -1 when the file does not say. */
struct ci_tokenizer_source {
    struct ci_text_span model;         /* of a kind (tokenizer_kind_list.inc), or one that has no text */
    struct ci_text_span pre_tokenizer; /* "smollm", "llama-bpe", ...; for kinds that need one */
    const struct ci_text_span *tokens; /* [token_count] in the file's spelling (spelling.h) */
    const int32_t *types;              /* [token_count] enum ci_token_type; NULL: all normal */
    const float *scores;               /* [token_count]; for kinds that need them */
    size_t token_count;
    const struct ci_text_span *merges; /* [merge_count] "left right", by rank */
    size_t merge_count;
    struct ci_text_span charsmap; /* SentencePiece's normalisation (charsmap.h); empty: none */
    int64_t bos_id, eos_id, eot_id, eom_id, unknown_id, padding_id, classifier_id, separator_id;
    const int64_t *end_ids; /* [end_count] of more tokens that generation ends with; inside the vocabulary */
    size_t end_count;
    int add_bos, add_eos, add_space_prefix, remove_extra_whitespaces, lowercase, strip_accents;
    const struct ci_strip *strips; /* [strip_count]; of two for a token the later counts */
    size_t strip_count;
    const struct ci_tokenizer_words *words; /* in place of pre_tokenizer; NULL: that counts */
    enum ci_normal_form normal_form;
    size_t longest_word;                  /* characters; a longer one is unknown (WordPiece); 0: none is too long */
    const struct ci_tokenizer_keys *keys; /* NULL: those of GGUF */
    /* The types are right: text that looks like a sign is none unless they say so. White space that special tokens take
     * is all of Unicode's, as in Hugging Face's tokenizers; else that of ASCII, as in llama.cpp. */
    bool types_are_right;
};

/* Whether this tokenizer.ggml.model says that the model takes token ids and no text: "none", "no_vocab", and "test",
 * which llama.cpp's own tests write. Such a tokenizer has pieces where the file has tokens; encoding is
 * CLINFER_UNSUPPORTED. */
bool ci_tokenizer_has_no_text(const struct ci_text_span *model);

/* CLINFER_UNSUPPORTED for another model or pre-tokenizer, CLINFER_BAD_FILE for a vocabulary that contradicts itself. On
 * failure *tokenizer is NULL. */
enum clinfer_status ci_tokenizer_create(const struct ci_tokenizer_source *source, struct ci_tokenizer **tokenizer);

/* The same from a file's tokenizer.ggml.* entries, or from the tokenizer.json of the folder that the model came from.
 */
enum clinfer_status ci_tokenizer_create_gguf(const struct ci_gguf *gguf, struct ci_tokenizer **tokenizer);

void ci_tokenizer_destroy(struct ci_tokenizer *tokenizer);

/* ADD_SPECIAL: begin- and end-of-text tokens where the model wants them. PARSE_SPECIAL: control tokens written in the
 * text count as such; without it they are ordinary text (user-defined tokens always count). */
enum ci_tokenizer_flags { CI_TOKENIZER_ADD_SPECIAL = 1, CI_TOKENIZER_PARSE_SPECIAL = 2 };

/* *tokens is for the caller to free; NULL when *count is 0. At most INT32_MAX bytes of text. */
enum clinfer_status ci_tokenizer_encode(const struct ci_tokenizer *tokenizer, const char *text, size_t length,
                                        unsigned flags, int32_t **tokens, size_t *count);

/* Appends the tokens of bytes [begin, end) of what a template has made: control tokens count where the template wrote
 * all of their bytes. Words are formed without regard to who wrote what. At most INT32_MAX bytes. */
enum clinfer_status ci_tokenizer_append(const struct ci_tokenizer *tokenizer, const struct ci_rendered *text,
                                        size_t begin, size_t end, struct ci_token_list *out);

/* Before the tokenizer is shared: signs that a template writes, "<|im_start|>", are special tokens from now on where
 * their types say otherwise: control tokens, or user-defined ones that mark up an answer ("<think>"). */
enum clinfer_status ci_tokenizer_take_written(struct ci_tokenizer *tokenizer, const char *text, size_t length);

/* Before the tokenizer is shared: generation ends with the sign that the text begins with, if the file types that as
 * text or as user-defined, and it is no markup: then it is a control token. */
enum clinfer_status ci_tokenizer_end_at(struct ci_tokenizer *tokenizer, const char *text, size_t length);

/* The signs whose types were wrong: "<|im_start|>, <|im_end|>", cut where there are many; "": none. Borrowed. */
const char *ci_tokenizer_mistyped(const struct ci_tokenizer *tokenizer);

/* The bytes that a token stands for, borrowed; possibly a part of a character (utf8.h). Control tokens have none unless
 * `special`; neither has an id outside the vocabulary. */
const char *ci_tokenizer_piece(const struct ci_tokenizer *tokenizer, int32_t token, bool special, size_t *length);

/* Whether generation ends with this token: the file's eos, eot and eom ids, and the tokens that are known by name to
 * end a turn or a text. */
bool ci_tokenizer_is_end(const struct ci_tokenizer *tokenizer, int32_t token);

/* Whether it is a control token: one that carries structure and no text. */
bool ci_tokenizer_is_control(const struct ci_tokenizer *tokenizer, int32_t token);

/* By the text in the file ("<|im_end|>"); -1 when there is none. */
int32_t ci_tokenizer_find(const struct ci_tokenizer *tokenizer, const char *text, size_t length);

size_t ci_tokenizer_size(const struct ci_tokenizer *tokenizer);

/* -1 when the file names none. */
int32_t ci_tokenizer_bos(const struct ci_tokenizer *tokenizer);
int32_t ci_tokenizer_eos(const struct ci_tokenizer *tokenizer);

/* Whether ADD_SPECIAL puts a token before and behind the text. */
bool ci_tokenizer_adds_bos(const struct ci_tokenizer *tokenizer);
bool ci_tokenizer_adds_eos(const struct ci_tokenizer *tokenizer);

#endif
