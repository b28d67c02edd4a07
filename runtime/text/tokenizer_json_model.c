/* tokenizer_json_model.c: "model" and "added_tokens" of a tokenizer.json as tokens, types, scores and merges. */
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/spelling.h"
#include "text/tokenizer_json_private.h"

/* Ids may leave room for tokens that somebody adds; a file that is damaged must not make us allocate gigabytes. */
enum { MOST_ROOM = 1 << 16, MOST_TOKENS = 1 << 24 };

bool ci_json_is(const struct ci_text_span *text, const char *word) {
    return text->length == strlen(word) && memcmp(text->text, word, text->length) == 0;
}

static struct ci_text_span span_of(json_t *string) {
    return (struct ci_text_span){json_string_value(string), json_string_length(string)};
}

/* ---- tokens and their ids ---- */

int64_t ci_json_find_token(const struct ci_json_reader *reader, const struct ci_text_span *text) {
    size_t i;
    json_t *token, *vocabulary = json_object_get(json_object_get(reader->root, "model"), "vocab");
    for (i = 0; !reader->root && i < reader->source.token_count; i++)
        if (reader->tokens[i].length == text->length && memcmp(reader->tokens[i].text, text->text, text->length) == 0)
            return (int64_t)i;
    json_array_foreach(json_object_get(reader->root, "added_tokens"), i, token) {
        struct ci_text_span content = span_of(json_object_get(token, "content"));
        if (content.length == text->length && memcmp(content.text, text->text, text->length) == 0)
            return json_integer_value(json_object_get(token, "id"));
    }
    if (json_is_object(vocabulary)) {
        json_t *id = memchr(text->text, 0, text->length) ? NULL : json_object_get(vocabulary, text->text);
        return id ? json_integer_value(id) : -1;
    }
    json_array_foreach(vocabulary, i, token) {
        struct ci_text_span piece = span_of(json_array_get(token, 0));
        if (piece.length == text->length && memcmp(piece.text, text->text, text->length) == 0) return (int64_t)i;
    }
    return -1;
}

/* "model.vocab.the", "added_tokens[3].id". */
static enum clinfer_status check_id(const struct ci_json_reader *reader, const char *text, size_t index, json_t *id,
                                    size_t count) {
    json_int_t number = json_integer_value(id);
    char path[CI_JSON_PATH];
    if (json_is_integer(id) && number >= 0 && number < MOST_TOKENS && (size_t)number < count + MOST_ROOM)
        return CLINFER_OK;
    if (text)
        snprintf(path, sizeof path, "model.vocab.%.60s", text);
    else
        snprintf(path, sizeof path, "added_tokens[%zu].id", index);
    if (!json_is_integer(id)) return ci_json_bad(reader, path, "the id is no whole number");
    return ci_json_bad(reader, path, "the id %lld is out of range for %zu tokens", (long long)number, count);
}

/* How many ids there are: one more than the largest. */
static enum clinfer_status count_ids(const struct ci_json_reader *reader, json_t *vocabulary, size_t known,
                                     json_t *added, size_t *count) {
    size_t total = known + json_array_size(added), i;
    const char *text;
    json_t *id, *token;
    *count = json_is_object(vocabulary) ? 0 : known;
    json_object_foreach(vocabulary, text, id) {
        enum clinfer_status status = check_id(reader, text, 0, id, total);
        if (status != CLINFER_OK) return status;
        if ((size_t)json_integer_value(id) >= *count) *count = (size_t)json_integer_value(id) + 1;
    }
    json_array_foreach(added, i, token) {
        id = json_object_get(token, "id");
        enum clinfer_status status = check_id(reader, NULL, i, id, total);
        if (status != CLINFER_OK) return status;
        if ((size_t)json_integer_value(id) >= *count) *count = (size_t)json_integer_value(id) + 1;
    }
    return CLINFER_OK;
}

static enum clinfer_status allocate(struct ci_json_reader *reader, size_t count) {
    reader->tokens = ci_arena_array(&reader->arena, count + 1, sizeof *reader->tokens);
    reader->types = ci_arena_array(&reader->arena, count + 1, sizeof *reader->types);
    reader->scores = ci_arena_array(&reader->arena, count + 1, sizeof *reader->scores);
    if (!reader->tokens || !reader->types || !reader->scores)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%zu tokens: out of memory", count);
    for (size_t id = 0; id < count; id++) {
        reader->tokens[id] = (struct ci_text_span){"", 0};
        reader->types[id] = CI_TOKEN_UNUSED; /* an id that nothing has */
    }
    reader->source.tokens = reader->tokens;
    reader->source.types = reader->types;
    reader->source.scores = reader->scores;
    reader->source.token_count = count;
    return CLINFER_OK;
}

enum clinfer_status ci_json_make_room(struct ci_json_reader *reader, json_t *vocabulary, size_t known, json_t *added) {
    size_t count;
    enum clinfer_status status = count_ids(reader, vocabulary, known, added, &count);
    return status == CLINFER_OK ? allocate(reader, count) : status;
}

/* WordPiece's "##ing" goes on and "ing" begins a word; our vocabularies spell the latter with U+2581 (wordpiece.c). */
static enum clinfer_status spell_word(struct ci_json_reader *reader, struct ci_text_span *token) {
    if (token->length > 2 && memcmp(token->text, "##", 2) == 0) {
        *token = (struct ci_text_span){token->text + 2, token->length - 2};
        return CLINFER_OK;
    }
    char *spelled = ci_arena_alloc(&reader->arena, token->length + CI_SPELLED_SPACE_LENGTH + 1);
    if (spelled == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "tokens: out of memory");
    memcpy(spelled, CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH);
    memcpy(spelled + CI_SPELLED_SPACE_LENGTH, token->text, token->length);
    *token = (struct ci_text_span){spelled, token->length + CI_SPELLED_SPACE_LENGTH};
    return CLINFER_OK;
}

static enum clinfer_status put_token(struct ci_json_reader *reader, const char *path, size_t id,
                                     struct ci_text_span text) {
    if (reader->types[id] != CI_TOKEN_UNUSED)
        return ci_json_bad(reader, path, "the id %zu of '%.*s' is that of '%.*s' already", id,
                           ci_shown(text.length, 60), text.text, ci_shown(reader->tokens[id].length, 60),
                           reader->tokens[id].text);
    bool byte = reader->byte_fallback && ci_spelling_read_byte(text.text, text.length) >= 0;
    reader->tokens[id] = text;
    reader->types[id] = byte ? CI_TOKEN_BYTE : CI_TOKEN_NORMAL;
    return CLINFER_OK;
}

static enum clinfer_status put_object(struct ci_json_reader *reader, json_t *vocabulary) {
    const char *text;
    json_t *id;
    json_object_foreach(vocabulary, text, id) {
        enum clinfer_status status =
            put_token(reader, "model.vocab", (size_t)json_integer_value(id), (struct ci_text_span){text, strlen(text)});
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* Unigram: [["token", score], ...], the ids being the places. */
static enum clinfer_status put_scored(struct ci_json_reader *reader, json_t *vocabulary) {
    size_t i;
    json_t *entry;
    char path[CI_JSON_PATH];
    json_array_foreach(vocabulary, i, entry) {
        json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        snprintf(path, sizeof path, "model.vocab[%zu]", i);
        if (json_array_size(entry) != 2 || !json_is_string(text) || !json_is_number(score))
            return ci_json_bad(reader, path, "is not a token with its score");
        enum clinfer_status status = put_token(reader, path, i, span_of(text));
        if (status != CLINFER_OK) return status;
        reader->scores[i] = (float)json_number_value(score);
    }
    return CLINFER_OK;
}

/* ---- added tokens ---- */

static enum clinfer_status put_added(struct ci_json_reader *reader, size_t index, json_t *token,
                                     struct ci_strip *strip) {
    struct ci_text_span content = {"", 0};
    bool special = false, left = false, right = false, single_word = false;
    char path[CI_JSON_PATH];
    snprintf(path, sizeof path, "added_tokens[%zu]", index);
    enum clinfer_status status =
        ci_json_check_keys(reader, token, path, "id content single_word lstrip rstrip normalized special");
    if (status == CLINFER_OK) status = ci_json_string(reader, token, path, "content", true, &content);
    if (status == CLINFER_OK) status = ci_json_flag(reader, token, path, "special", &special);
    if (status == CLINFER_OK) status = ci_json_flag(reader, token, path, "lstrip", &left);
    if (status == CLINFER_OK) status = ci_json_flag(reader, token, path, "rstrip", &right);
    if (status == CLINFER_OK) status = ci_json_flag(reader, token, path, "single_word", &single_word);
    if (status != CLINFER_OK) return status;
    if (single_word) return ci_json_unknown(reader, path, "single_word is not supported");
    size_t id = (size_t)json_integer_value(json_object_get(token, "id"));
    struct ci_text_span *own = &reader->tokens[id];
    bool same = own->length == content.length && memcmp(own->text, content.text, content.length) == 0;
    if (reader->types[id] != CI_TOKEN_UNUSED && !same)
        return ci_json_bad(reader, path, "the id %zu of '%.*s' is that of '%.*s' already", id,
                           ci_shown(content.length, 60), content.text, ci_shown(own->length, 60), own->text);
    *own = content;
    reader->types[id] = special ? CI_TOKEN_CONTROL : CI_TOKEN_USER_DEFINED;
    *strip = (struct ci_strip){content, (uint8_t)((left ? CI_STRIP_LEFT : 0) | (right ? CI_STRIP_RIGHT : 0))};
    return CLINFER_OK;
}

enum clinfer_status ci_json_put_added(struct ci_json_reader *reader, json_t *added) {
    struct ci_strip *strips = ci_arena_array(&reader->arena, json_array_size(added) + 1, sizeof *strips);
    size_t i, count = 0;
    json_t *token;
    if (strips == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "added_tokens: out of memory");
    json_array_foreach(added, i, token) {
        enum clinfer_status status = put_added(reader, i, token, &strips[count]);
        if (status != CLINFER_OK) return status;
        count += strips[count].sides != 0 && strips[count].token.length != 0;
    }
    reader->source.strips = strips;
    reader->source.strip_count = count;
    return CLINFER_OK;
}

/* ---- the kinds of models ---- */

/* "a b" or ["a", "b"]. */
static enum clinfer_status read_merges(struct ci_json_reader *reader, json_t *merges) {
    size_t i, count = json_array_size(merges);
    json_t *merge;
    char path[CI_JSON_PATH];
    if (!json_is_array(merges)) return ci_json_bad(reader, "model.merges", "is no list");
    struct ci_text_span *spans = ci_arena_array(&reader->arena, count + 1, sizeof *spans);
    if (spans == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%zu merges: out of memory", count);
    json_array_foreach(merges, i, merge) {
        if (json_is_string(merge)) {
            spans[i] = span_of(merge);
            continue;
        }
        json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        snprintf(path, sizeof path, "model.merges[%zu]", i);
        if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
            return ci_json_bad(reader, path, "is not two tokens");
        struct ci_text_span a = span_of(left), b = span_of(right);
        if (memchr(a.text, ' ', a.length) || memchr(b.text, ' ', b.length))
            return ci_json_unknown(reader, path, "a token with a space is not supported");
        char *joined = ci_arena_alloc(&reader->arena, a.length + b.length + 2);
        if (joined == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "%zu merges: out of memory", count);
        memcpy(joined, a.text, a.length);
        joined[a.length] = ' ';
        memcpy(joined + a.length + 1, b.text, b.length);
        spans[i] = (struct ci_text_span){joined, a.length + b.length + 1};
    }
    reader->source.merges = spans;
    reader->source.merge_count = count;
    return CLINFER_OK;
}

static enum clinfer_status read_bpe(struct ci_json_reader *reader, json_t *model) {
    struct ci_text_span prefix = {"", 0}, suffix = {"", 0};
    bool fuse = false;
    enum clinfer_status status =
        ci_json_check_keys(reader, model, "model",
                           "type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback "
                           "ignore_merges vocab merges");
    if (status == CLINFER_OK) status = ci_json_flag(reader, model, "model", "byte_fallback", &reader->byte_fallback);
    if (status == CLINFER_OK)
        status = ci_json_flag(reader, model, "model", "ignore_merges", &reader->words.whole_words);
    if (status == CLINFER_OK) status = ci_json_flag(reader, model, "model", "fuse_unk", &fuse);
    if (status == CLINFER_OK)
        status = ci_json_string(reader, model, "model", "continuing_subword_prefix", false, &prefix);
    if (status == CLINFER_OK) status = ci_json_string(reader, model, "model", "end_of_word_suffix", false, &suffix);
    if (status != CLINFER_OK) return status;
    if (prefix.length)
        return ci_json_unknown(reader, "model.continuing_subword_prefix", "'%.*s' is not supported",
                               ci_shown(prefix.length, 60), prefix.text);
    if (suffix.length)
        return ci_json_unknown(reader, "model.end_of_word_suffix", "'%.*s' is not supported",
                               ci_shown(suffix.length, 60), suffix.text);
    json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return ci_json_unknown(reader, "model.dropout",
                               "only null is supported: text must become the same tokens always");
    reader->source.model = (struct ci_text_span){"gpt2", 4};
    reader->source.words = &reader->words;
    return read_merges(reader, json_object_get(model, "merges"));
}

static enum clinfer_status read_unigram(struct ci_json_reader *reader, json_t *model) {
    enum clinfer_status status = ci_json_check_keys(reader, model, "model", "type unk_id vocab byte_fallback");
    if (status == CLINFER_OK) status = ci_json_flag(reader, model, "model", "byte_fallback", &reader->byte_fallback);
    if (status != CLINFER_OK) return status;
    if (reader->byte_fallback)
        return ci_json_unknown(reader, "model.byte_fallback",
                               "bytes for what is no token are not supported in unigram");
    json_t *unknown = json_object_get(model, "unk_id");
    if (unknown && !json_is_null(unknown)) {
        if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
            (size_t)json_integer_value(unknown) >= json_array_size(json_object_get(model, "vocab")))
            return ci_json_bad(reader, "model.unk_id", "is none of the tokens");
        reader->source.unknown_id = json_integer_value(unknown);
    }
    reader->source.model = (struct ci_text_span){"t5", 2};
    return CLINFER_OK;
}

static enum clinfer_status read_wordpiece(struct ci_json_reader *reader, json_t *model) {
    struct ci_text_span prefix = {"##", 2};
    enum clinfer_status status = ci_json_check_keys(
        reader, model, "model", "type unk_token continuing_subword_prefix max_input_chars_per_word vocab");
    if (status == CLINFER_OK)
        status = ci_json_string(reader, model, "model", "continuing_subword_prefix", false, &prefix);
    if (status != CLINFER_OK) return status;
    if (!ci_json_is(&prefix, "##"))
        return ci_json_unknown(reader, "model.continuing_subword_prefix", "'%.*s' is not supported; '##' is",
                               ci_shown(prefix.length, 60), prefix.text);
    json_t *most = json_object_get(model, "max_input_chars_per_word");
    if (most && (!json_is_integer(most) || json_integer_value(most) < 1))
        return ci_json_bad(reader, "model.max_input_chars_per_word", "is no number above zero");
    reader->source.longest_word = most ? (size_t)json_integer_value(most) : 100;
    reader->source.model = (struct ci_text_span){"bert", 4};
    return CLINFER_OK;
}

/* "model" of older files names no type: what it has tells. */
static enum clinfer_status read_kind(struct ci_json_reader *reader, json_t *model) {
    struct ci_text_span type = {"", 0};
    enum clinfer_status status = ci_json_string(reader, model, "model", "type", false, &type);
    if (status != CLINFER_OK) return status;
    if (type.length == 0 && json_object_get(model, "merges")) type = (struct ci_text_span){"BPE", 3};
    if (ci_json_is(&type, "BPE")) {
        reader->model = CI_JSON_BPE;
        return read_bpe(reader, model);
    }
    if (ci_json_is(&type, "Unigram")) {
        reader->model = CI_JSON_UNIGRAM;
        return read_unigram(reader, model);
    }
    if (ci_json_is(&type, "WordPiece")) {
        reader->model = CI_JSON_WORDPIECE;
        return read_wordpiece(reader, model);
    }
    return ci_json_unknown(reader, "model.type", "'%.*s' is not supported; BPE, Unigram and WordPiece are",
                           ci_shown(type.length, 60), type.text);
}

/* After the added tokens are marked: those that stay are words. */
static enum clinfer_status finish_tokens(struct ci_json_reader *reader, json_t *model) {
    struct ci_text_span unknown = {"", 0};
    enum clinfer_status status = ci_json_string(reader, model, "model", "unk_token", false, &unknown);
    if (status != CLINFER_OK) return status;
    if (unknown.length) {
        int64_t id = ci_json_find_token(reader, &unknown);
        if (id < 0)
            return ci_json_bad(reader, "model.unk_token", "'%.*s' is not a token", ci_shown(unknown.length, 60),
                               unknown.text);
        reader->source.unknown_id = id;
    }
    if (reader->source.unknown_id >= 0) reader->types[reader->source.unknown_id] = CI_TOKEN_UNKNOWN;
    for (size_t id = 0; id < reader->source.token_count && reader->model == CI_JSON_WORDPIECE; id++) {
        if (reader->types[id] != CI_TOKEN_NORMAL) continue;
        status = spell_word(reader, &reader->tokens[id]);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_json_read_model(struct ci_json_reader *reader) {
    json_t *model = json_object_get(reader->root, "model"), *vocabulary = json_object_get(model, "vocab");
    json_t *added = json_object_get(reader->root, "added_tokens");
    if (!json_is_object(model)) return ci_json_bad(reader, "model", "is no object");
    if (added && !json_is_null(added) && !json_is_array(added))
        return ci_json_bad(reader, "added_tokens", "is no list");
    enum clinfer_status status = read_kind(reader, model);
    if (status != CLINFER_OK) return status;
    bool scored = reader->model == CI_JSON_UNIGRAM;
    if (scored ? !json_is_array(vocabulary) : !json_is_object(vocabulary))
        return ci_json_bad(reader, "model.vocab", scored ? "is no list" : "is no object");
    status = ci_json_make_room(reader, vocabulary, scored ? json_array_size(vocabulary) : json_object_size(vocabulary),
                               added);
    if (status == CLINFER_OK) status = scored ? put_scored(reader, vocabulary) : put_object(reader, vocabulary);
    if (status == CLINFER_OK) status = ci_json_put_added(reader, added);
    return status == CLINFER_OK ? finish_tokens(reader, model) : status;
}
