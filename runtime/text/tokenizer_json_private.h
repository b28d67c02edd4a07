/* tokenizer_json_private.h: what the files that read a tokenizer.json share. */
#ifndef CI_TEXT_TOKENIZER_JSON_PRIVATE_H
#define CI_TEXT_TOKENIZER_JSON_PRIVATE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/vocabulary.h"

enum ci_json_model { CI_JSON_BPE, CI_JSON_UNIGRAM, CI_JSON_WORDPIECE };

struct ci_json_reader {
    const char *file; /* for messages */
    json_t *root;     /* NULL: there is no such file; of the vocabulary itself: it comes from a tokenizer.model */
    json_t *added;    /* of a tokenizer.model: the list of added tokens, which their texts are borrowed from */
    struct ci_arena arena;
    enum ci_json_model model;
    struct ci_tokenizer_source source;

    /* Arrays that the source points to. */
    struct ci_text_span *tokens;
    int32_t *types;
    float *scores;

    /* How text becomes words. */
    struct ci_tokenizer_words words;
    struct ci_pretokenizer_expression expressions[CI_PRETOKENIZER_MOST];
    bool byte_level, byte_fallback;
    bool spaces_replaced; /* by U+2581 */
    bool merges_spaces;   /* runs of them count as one */
    bool strips_right, splits_at_spaces;
    bool bert_normalizer, bert_pretokenizer;
};

/* Paths inside the JSON, "pre_tokenizer.pretokenizers[1]". */
enum { CI_JSON_PATH = 160 };

/* CLINFER_BAD_FILE and CLINFER_UNSUPPORTED with file and path. */
enum clinfer_status ci_json_bad(const struct ci_json_reader *reader, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum clinfer_status ci_json_unknown(const struct ci_json_reader *reader, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Members of the object at `path`; absent and null are as if they had the value that is there already, where `required`
 * does not say otherwise. Strings are borrowed. */
enum clinfer_status ci_json_string(const struct ci_json_reader *reader, json_t *object, const char *path,
                                   const char *key, bool required, struct ci_text_span *value);
enum clinfer_status ci_json_flag(const struct ci_json_reader *reader, json_t *object, const char *path, const char *key,
                                 bool *value);
enum clinfer_status ci_json_type(const struct ci_json_reader *reader, json_t *object, const char *path,
                                 struct ci_text_span *type);

/* CLINFER_UNSUPPORTED for a member that is not in the list, "type vocab merges". */
enum clinfer_status ci_json_check_keys(const struct ci_json_reader *reader, json_t *object, const char *path,
                                       const char *known);

bool ci_json_is(const struct ci_text_span *text, const char *word);

/* The id of a token by its text as the JSON has it; -1 when there is none. */
int64_t ci_json_find_token(const struct ci_json_reader *reader, const struct ci_text_span *text);

/* Arrays for so many tokens and those that are added, all unused; `vocabulary`: an object of ids, or NULL. And the
 * added ones in their places, an object with "id" each. */
enum clinfer_status ci_json_make_room(struct ci_json_reader *reader, json_t *vocabulary, size_t known, json_t *added);
enum clinfer_status ci_json_put_added(struct ci_json_reader *reader, json_t *added);

/* A tokenizer.model (tokenizer_model.c) with what tokenizer_config.json and added_tokens.json add to it; the bytes stay
 * the caller's and are pointed to. */
enum clinfer_status ci_json_read_sentencepiece(struct ci_json_reader *reader, const struct ci_tokenizer_json_file *file,
                                               const struct ci_json_reader *config, const struct ci_json_reader *added);

/* The parts of a tokenizer.json, in this order. */
enum clinfer_status ci_json_read_model(struct ci_json_reader *reader);
enum clinfer_status ci_json_read_normalizer(struct ci_json_reader *reader);
enum clinfer_status ci_json_read_pretokenizer(struct ci_json_reader *reader);
enum clinfer_status ci_json_read_postprocessor(struct ci_json_reader *reader);

#endif
