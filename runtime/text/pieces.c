/* pieces.c: see pieces.h. */
#include "text/pieces.h"

#include <string.h>

#include "base/narrow.h"
#include "text/tokenizer_kind.h"
#include "text/utf8.h"

int32_t ci_pieces_find(const struct ci_vocabulary *vocabulary, const char *text, size_t length) {
    int32_t id = ci_vocabulary_find(vocabulary, text, length);
    if (id < 0) return -1;
    uint8_t type = vocabulary->types[id];
    return type == CI_TOKEN_CONTROL || type == CI_TOKEN_UNKNOWN || type == CI_TOKEN_BYTE ? -1 : id;
}

/* One character, or one byte that is part of none; `first` and `last` byte as the joins count them. */
struct character {
    size_t length;
    uint8_t first, last;
    bool space, whole;
};

static struct character character_at(const char *text, size_t length) {
    size_t step = ci_utf8_character(text, length);
    struct character character = {step ? step : 1, (uint8_t)text[0], 0, false, step > 0};
    character.last = (uint8_t)text[character.length - 1];
    if (text[0] == ' ' || ci_spelling_is_space(text, step)) {
        character.first = character.last = ' ';
        character.space = true;
    }
    return character;
}

static size_t join_of(uint8_t last, uint8_t first) { return (size_t)last << 8 | first; }

static void add_joins(const char *text, size_t length, uint64_t *joins) {
    uint8_t last = 0;
    for (size_t at = 0; at < length;) {
        struct character character = character_at(text + at, length - at);
        size_t join = join_of(last, character.first);
        if (at) joins[join / 64] |= UINT64_C(1) << join % 64;
        last = character.last;
        at += character.length;
    }
}

void ci_pieces_build(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                     struct ci_pieces *pieces) {
    memset(pieces, 0, sizeof *pieces);
    pieces->unknown = source->unknown_id < 0 ? -1 : ci_narrowed(source->unknown_id);
    pieces->space = ci_pieces_find(vocabulary, CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH);
    for (int byte = 0; byte < 256; byte++) {
        char spelled[CI_SPELLED_BYTE_LENGTH], plain = (char)byte;
        ci_spelling_write_byte((uint8_t)byte, spelled);
        int32_t own = ci_vocabulary_find(vocabulary, spelled, sizeof spelled);
        int32_t same = ci_pieces_find(vocabulary, &plain, 1);
        pieces->byte_tokens[byte] = own >= 0 ? own : same;
        if (byte < 128) pieces->ascii[byte] = same >= 0 ? same : CI_SYMBOL_NONE;
    }
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        uint32_t begin = vocabulary->text_offsets[id], length = vocabulary->text_offsets[id + 1] - begin;
        add_joins(vocabulary->texts + begin, length, pieces->joins);
    }
}

struct encoding {
    const struct ci_pieces *pieces;
    const struct ci_vocabulary *vocabulary;
    ci_merge_find *find;
    const void *rules;
    struct ci_token_work *work;
    struct ci_token_list *out;
};

static enum clinfer_status add_symbol(const struct encoding *encoding, int32_t token, const char *text, size_t length) {
    size_t begin = encoding->work->text_length; /* below 4 GiB: there are at most 2^30 symbols of a text below 2 GiB */
    enum clinfer_status status = ci_token_work_append(encoding->work, text, length);
    if (status != CLINFER_OK) return status;
    return ci_symbols_add(&encoding->work->word, token, ci_narrowed_unsigned(begin), ci_narrowed_unsigned(length));
}

static enum clinfer_status add_character(const struct encoding *encoding, const struct character *character,
                                         const char *text) {
    if (character->space)
        return add_symbol(encoding, encoding->pieces->space < 0 ? CI_SYMBOL_NONE : encoding->pieces->space,
                          CI_SPELLED_SPACE, CI_SPELLED_SPACE_LENGTH);
    int32_t token = CI_SYMBOL_NONE;
    if (character->first < 128)
        token = encoding->pieces->ascii[character->first];
    else if (character->whole)
        token = ci_pieces_find(encoding->vocabulary, text, character->length);
    return add_symbol(encoding, token < 0 ? CI_SYMBOL_NONE : token, text, character->length);
}

/* A symbol that is no token, byte by byte. */
static enum clinfer_status append_bytes(const struct encoding *encoding, const struct ci_symbol *symbol) {
    enum clinfer_status status = CLINFER_OK;
    for (uint32_t i = 0; i < symbol->length && status == CLINFER_OK; i++) {
        int32_t token = encoding->pieces->byte_tokens[(uint8_t)encoding->work->text[symbol->begin + i]];
        if (token < 0) token = encoding->pieces->unknown;
        if (token >= 0) status = ci_token_list_append(encoding->out, token);
    }
    return status;
}

/* The tokens of the symbols so far, of which no later one can become a part. */
static enum clinfer_status flush(const struct encoding *encoding) {
    struct ci_token_work *work = encoding->work;
    struct ci_pieces_word rules = {encoding->rules, encoding->vocabulary, work->text};
    bool some = work->word.count > 0;
    enum clinfer_status status = ci_symbols_merge(&work->word, encoding->find, &rules);
    for (int32_t i = 0; some && i >= 0 && status == CLINFER_OK; i = work->word.symbols[i].next) {
        const struct ci_symbol *symbol = &work->word.symbols[i];
        status =
            symbol->token >= 0 ? ci_token_list_append(encoding->out, symbol->token) : append_bytes(encoding, symbol);
    }
    work->word.count = 0;
    work->text_length = 0;
    return status;
}

enum clinfer_status ci_pieces_encode(const struct ci_pieces *pieces, const struct ci_vocabulary *vocabulary,
                                     const char *text, size_t length, bool prefix, ci_merge_find *find,
                                     const void *rules, struct ci_token_work *work, struct ci_token_list *out) {
    const struct encoding encoding = {pieces, vocabulary, find, rules, work, out};
    const struct character space = {CI_SPELLED_SPACE_LENGTH, ' ', ' ', true, true};
    enum clinfer_status status = CLINFER_OK;
    uint8_t last = ' ';
    work->word.count = 0;
    work->text_length = 0;
    if (prefix) status = add_character(&encoding, &space, CI_SPELLED_SPACE);
    for (size_t at = 0; at < length && status == CLINFER_OK;) {
        struct character character = character_at(text + at, length - at);
        size_t join = join_of(last, character.first);
        if (!(pieces->joins[join / 64] >> join % 64 & 1)) status = flush(&encoding);
        if (status == CLINFER_OK) status = add_character(&encoding, &character, text + at);
        last = character.last;
        at += character.length;
    }
    return status == CLINFER_OK ? flush(&encoding) : status;
}
