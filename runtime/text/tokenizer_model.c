/* tokenizer_model.c: a folder's tokenizer.model, which is what SentencePiece itself reads, where there is no
 * tokenizer.json: BPE with bytes for what is no token (Llama 2, Mistral, Gemma, Yi, Phi-3).
 *
 * It is a message of Protocol Buffers, of which few fields matter, so they are read by hand; numbers are those of
 * sentencepiece_model.proto. Tokens that were added later stand in tokenizer_config.json ("added_tokens_decoder") and
 * added_tokens.json. What would cut text otherwise than sentencepiece.c does is refused with its field. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer_json_private.h"

enum { MOST_PIECES = 1 << 24 };

/* ---- Protocol Buffers ---- */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct message {
    const uint8_t *at, *end;
};

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;         /* VARINT; FIXED32: its bits */
    struct message content; /* BYTES */
};

static bool read_varint(struct message *message, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        uint8_t byte = *message->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* The next field; false: it is no field, or reaches beyond the end. */
static bool read_field(struct message *message, struct field *field) {
    uint64_t key, length = 0;
    if (!read_varint(message, &key) || key >> 3 == 0) return false;
    *field = (struct field){.number = key >> 3, .wire = (enum wire)(key & 7)};
    if (field->wire == VARINT) return read_varint(message, &field->value);
    if (field->wire == FIXED32) length = 4;
    if (field->wire == FIXED64) length = 8;
    if (field->wire == BYTES && !read_varint(message, &length)) return false;
    if ((key & 7) > BYTES && field->wire != FIXED32) return false;
    if (length > (uint64_t)(message->end - message->at)) return false;
    field->content = (struct message){message->at, message->at + length};
    for (unsigned i = 0; field->wire == FIXED32 && i < 4; i++) field->value |= (uint64_t)message->at[i] << 8 * i;
    message->at += length;
    return true;
}

/* ---- what is in it ---- */

struct spec {
    uint64_t kind; /* of TrainerSpec: 1 unigram, 2 BPE, 3 words, 4 characters */
    bool suffix, prefix, merge_spaces, escape;
    struct message charsmap;
};

static enum clinfer_status damaged(const struct ci_json_reader *reader, const char *path) {
    return ci_json_bad(reader, path,
                       "is no message of SentencePiece: the file is damaged, or it is none; fetch it "
                       "again, or the tokenizer.json of the same model");
}

/* An id of TrainerSpec: -1 is none. */
static enum clinfer_status take_id(const struct ci_json_reader *reader, const char *path, uint64_t value, int64_t *id) {
    int64_t number = (int64_t)value;
    if (number < -1 || number >= MOST_PIECES)
        return ci_json_bad(reader, path, "%lld is no id of a token", (long long)number);
    *id = number;
    return CLINFER_OK;
}

static enum clinfer_status read_trainer(struct ci_json_reader *reader, struct message message, struct spec *spec) {
    struct ci_tokenizer_source *source = &reader->source;
    enum clinfer_status status = CLINFER_OK;
    struct field field;
    while (message.at < message.end && status == CLINFER_OK) {
        if (!read_field(&message, &field)) return damaged(reader, "trainer_spec");
        if (field.wire != VARINT) continue;
        if (field.number == 3) spec->kind = field.value;
        if (field.number == 24) spec->suffix = field.value != 0;
        if (field.number == 40) status = take_id(reader, "trainer_spec.unk_id", field.value, &source->unknown_id);
        if (field.number == 41) status = take_id(reader, "trainer_spec.bos_id", field.value, &source->bos_id);
        if (field.number == 42) status = take_id(reader, "trainer_spec.eos_id", field.value, &source->eos_id);
        if (field.number == 43) status = take_id(reader, "trainer_spec.pad_id", field.value, &source->padding_id);
    }
    return status;
}

static enum clinfer_status read_normalizer(struct ci_json_reader *reader, struct message message, struct spec *spec) {
    struct field field;
    while (message.at < message.end) {
        if (!read_field(&message, &field)) return damaged(reader, "normalizer_spec");
        if (field.number == 2 && field.wire == BYTES) spec->charsmap = field.content;
        if (field.wire != VARINT) continue;
        if (field.number == 3) spec->prefix = field.value != 0;
        if (field.number == 4) spec->merge_spaces = field.value != 0;
        if (field.number == 5) spec->escape = field.value != 0;
    }
    return CLINFER_OK;
}

static enum clinfer_status read_piece(struct ci_json_reader *reader, struct message message, size_t id) {
    struct ci_text_span text = {"", 0};
    uint64_t type = CI_TOKEN_NORMAL;
    uint32_t score = 0;
    char path[CI_JSON_PATH];
    struct field field;
    snprintf(path, sizeof path, "pieces[%zu]", id);
    while (message.at < message.end) {
        if (!read_field(&message, &field)) return damaged(reader, path);
        if (field.number == 1 && field.wire == BYTES)
            text =
                (struct ci_text_span){(const char *)field.content.at, (size_t)(field.content.end - field.content.at)};
        if (field.number == 2 && field.wire == FIXED32) score = ci_low_bits(field.value);
        if (field.number == 3 && field.wire == VARINT) type = field.value;
    }
    /* The numbers are the same as in GGUF files, which have them from here. */
    if (type < CI_TOKEN_NORMAL || type > CI_TOKEN_BYTE)
        return ci_json_bad(reader, path, "type: %llu is no type of a piece", (unsigned long long)type);
    reader->tokens[id] = text;
    reader->types[id] = ci_narrowed((int64_t)type);
    memcpy(&reader->scores[id], &score, sizeof score);
    return CLINFER_OK;
}

/* Parts beside the pieces, and how many of those there are. */
static enum clinfer_status read_parts(struct ci_json_reader *reader, struct message message, struct spec *spec,
                                      size_t *pieces) {
    struct field field;
    *pieces = 0;
    while (message.at < message.end) {
        if (!read_field(&message, &field)) return damaged(reader, "(top)");
        enum clinfer_status status = CLINFER_OK;
        if (field.wire != BYTES) continue;
        if (field.number == 1 && ++*pieces > MOST_PIECES)
            return ci_json_bad(reader, "pieces", "are more than %d", MOST_PIECES);
        if (field.number == 2) status = read_trainer(reader, field.content, spec);
        if (field.number == 3) status = read_normalizer(reader, field.content, spec);
        if (status != CLINFER_OK) return status;
    }
    return *pieces ? CLINFER_OK : damaged(reader, "pieces");
}

static enum clinfer_status judge(struct ci_json_reader *reader, const struct spec *spec) {
    static const char *const kinds[] = {"", "unigram", "BPE", "words", "characters"};
    static const char advice[] = "is not supported from this file; fetch the model's tokenizer.json, too";
    if (spec->kind != 2)
        return ci_json_unknown(reader, "trainer_spec.model_type", "%s %s",
                               spec->kind < sizeof kinds / sizeof *kinds ? kinds[spec->kind] : "a new kind", advice);
    if (spec->suffix) return ci_json_unknown(reader, "trainer_spec.treat_whitespace_as_suffix", "true %s", advice);
    if (spec->merge_spaces)
        return ci_json_unknown(reader, "normalizer_spec.remove_extra_whitespaces", "true %s", advice);
    if (!spec->escape) return ci_json_unknown(reader, "normalizer_spec.escape_whitespaces", "false %s", advice);
    if (spec->charsmap.at < spec->charsmap.end)
        return ci_json_unknown(reader, "normalizer_spec.precompiled_charsmap", "(text is changed before it is cut) %s",
                               advice);
    return CLINFER_OK;
}

static enum clinfer_status read_pieces(struct ci_json_reader *reader, struct message message) {
    struct field field;
    for (size_t id = 0; message.at < message.end;) {
        if (!read_field(&message, &field)) return damaged(reader, "(top)");
        if (field.wire != BYTES || field.number != 1) continue;
        enum clinfer_status status = read_piece(reader, field.content, id++);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* ---- added tokens ---- */

/* As tokenizer.json lists them, with their ids inside. False: out of memory. */
static bool add(json_t *list, const char *key, json_t *token) {
    char *end;
    errno = 0;
    long long id = strtoll(key, &end, 10);
    json_t *copy = json_copy(token), *number = *key && !*end && !errno ? json_integer(id) : json_string(key);
    return copy && json_object_set_new(copy, "id", number) == 0 && json_array_append_new(list, copy) == 0;
}

/* {"32000": {"content": "<pad>", ...}} and {"<pad>": 32000}; the former goes first, as it says more. */
static enum clinfer_status list_added(const struct ci_json_reader *config, const struct ci_json_reader *added,
                                      json_t *list) {
    json_t *known = json_object_get(config->root, "added_tokens_decoder"), *token;
    const char *key;
    bool fine = true;
    if (known && !json_is_object(known)) return ci_json_bad(config, "added_tokens_decoder", "is no object");
    if (added->root && !json_is_object(added->root)) return ci_json_bad(added, "(top)", "is no object");
    json_object_foreach(known, key, token) {
        if (!json_is_object(token)) return ci_json_bad(config, "added_tokens_decoder", "'%.60s' is no object", key);
        fine = fine && add(list, key, token);
    }
    json_object_foreach(added->root, key, token) {
        char id[32];
        if (!json_is_integer(token)) return ci_json_bad(added, key, "is no id");
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(token));
        if (json_object_get(known, id)) continue;
        json_t *made = json_pack("{s:s}", "content", key);
        fine = fine && made && add(list, id, made);
        json_decref(made);
    }
    return fine ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: added tokens: out of memory", config->file);
}

static void start(struct ci_json_reader *reader) {
    static const struct ci_tokenizer_keys keys = {.tokens = "pieces",
                                                  .types = "pieces.type",
                                                  .scores = "pieces.score",
                                                  .merges = "pieces",
                                                  .charsmap = "normalizer_spec.precompiled_charsmap"};
    struct ci_tokenizer_source *source = &reader->source;
    source->keys = &keys;
    source->model = (struct ci_text_span){"llama", 5};
    source->types_are_right = false;
    source->unknown_id = 0;
    source->bos_id = 1;
    source->eos_id = 2;
    source->add_bos = source->add_eos = -1;
}

enum clinfer_status ci_json_read_sentencepiece(struct ci_json_reader *reader, const struct ci_tokenizer_json_file *file,
                                               const struct ci_json_reader *config,
                                               const struct ci_json_reader *added) {
    const struct message message = {(const uint8_t *)file->text, (const uint8_t *)file->text + file->length};
    struct spec spec = {.kind = 1, .prefix = true, .merge_spaces = true, .escape = true}; /* what the format says */
    size_t pieces;
    reader->added = json_array();
    reader->file = file->name;
    start(reader);
    enum clinfer_status status =
        reader->added ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", file->name);
    if (status == CLINFER_OK) status = read_parts(reader, message, &spec, &pieces);
    if (status == CLINFER_OK) status = judge(reader, &spec);
    if (status == CLINFER_OK) status = list_added(config, added, reader->added);
    if (status == CLINFER_OK) status = ci_json_make_room(reader, NULL, pieces, reader->added);
    if (status == CLINFER_OK) status = read_pieces(reader, message);
    if (status == CLINFER_OK) status = ci_json_put_added(reader, reader->added);
    reader->source.add_space_prefix = spec.prefix;
    return status;
}
