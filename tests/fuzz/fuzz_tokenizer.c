/* Any bytes as a vocabulary and a text: the vocabulary is refused with a message, or encoding gives tokens whose bytes
 * are the text again (less the bytes that the vocabulary has no token for, and spaces that a kind puts there).
 *
 * The input: a byte of flags (1: put all 256 bytes first, 2: token types follow, 4 and 8: add_bos, add_eos, 16: say
 * nothing of both, 32: scores follow, 64: no space before the text), a byte that picks kind and pre-tokenizer, three
 * bytes of ids (plus 4), then tokens and merges as (count, (length, bytes)...), types and scores one byte each (plus
 * 4), and the rest is text. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "round_trip.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAXIMUM = 256 + 255 };

struct reader {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct reader *reader) {
    if (reader->size == 0) return 0;
    reader->size--;
    return *reader->data++;
}

static int take_signed(struct reader *reader) { return take(reader) - 4; }

static struct ci_text_span take_span(struct reader *reader) {
    size_t length = take(reader);
    if (length > reader->size) length = reader->size;
    struct ci_text_span span = {(const char *)reader->data, length};
    reader->data += length;
    reader->size -= length;
    return span;
}

enum spelled { BYTE_LEVEL, PIECES, ESCAPED };

static size_t put_bytes(struct ci_text_span *tokens, char spelled[256][CI_SPELLED_BYTE_LENGTH + 1], enum spelled how) {
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        int plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        size_t length = CI_SPELLED_BYTE_LENGTH;
        if (how == PIECES)
            ci_spelling_write_byte((uint8_t)byte, spelled[byte]);
        else if (how == ESCAPED)
            length = (size_t)snprintf(spelled[byte], sizeof spelled[byte], "\\x%02x", byte);
        else
            length = ci_utf8_encode(plain ? byte : next++, spelled[byte]);
        tokens[byte] = (struct ci_text_span){spelled[byte], length};
    }
    return 256;
}

static void check_round_trip(const struct ci_tokenizer *tokenizer, const struct round_trip *rule,
                             struct ci_text_span text, unsigned flags) {
    int32_t *ids;
    size_t count;
    if (ci_tokenizer_encode(tokenizer, text.text, text.length, flags, &ids, &count) != CLINFER_OK) {
        if (clinfer_error()[0] == 0) abort();
        return;
    }
    /* What is added is no text. */
    if (!(flags & CI_TOKENIZER_ADD_SPECIAL)) check_tokens(tokenizer, rule, ids, count, text.text, text.length);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* WordPiece and unigram read other text than they are given: only that ids are tokens is checked. */
    static const struct {
        const char *model, *pre;
        enum spelled spelled;
        bool spaces, changes; /* spaces come and go; all else does too */
    } kinds[] = {{"gpt2", "gpt-2", BYTE_LEVEL, false, false},
                 {"gpt2", "smollm", BYTE_LEVEL, false, false},
                 {"gpt2", "llama-bpe", BYTE_LEVEL, false, false},
                 {"gpt2", "qwen2", BYTE_LEVEL, false, false},
                 {"llama", "", PIECES, true, false},
                 {"gemma4", "", PIECES, true, false},
                 {"rwkv", "", ESCAPED, false, false},
                 {"plamo2", "", PIECES, false, false},
                 {"bert", "", PIECES, true, true},
                 {"t5", "", PIECES, true, true}};
    struct ci_text_span tokens[MAXIMUM], merges[255];
    int32_t types[MAXIMUM];
    float scores[MAXIMUM];
    char spelled[256][CI_SPELLED_BYTE_LENGTH + 1];
    struct reader reader = {data, size};
    uint8_t flags = take(&reader);
    size_t kind = take(&reader) % (sizeof kinds / sizeof *kinds);
    struct ci_tokenizer_source source = {.model = {kinds[kind].model, strlen(kinds[kind].model)},
                                         .pre_tokenizer = {kinds[kind].pre, strlen(kinds[kind].pre)},
                                         .classifier_id = -1,
                                         .separator_id = -1,
                                         .remove_extra_whitespaces = -1,
                                         .lowercase = -1,
                                         .strip_accents = -1,
                                         .add_space_prefix = flags & 64 ? 0 : -1};
    source.bos_id = take_signed(&reader);
    source.eos_id = take_signed(&reader);
    source.eot_id = source.eom_id = source.unknown_id = source.padding_id = take_signed(&reader);
    source.add_bos = flags & 16 ? -1 : !!(flags & 4);
    source.add_eos = flags & 16 ? -1 : !!(flags & 8);
    if (flags & 1) source.token_count = put_bytes(tokens, spelled, kinds[kind].spelled);
    size_t more = take(&reader);
    while (more--) tokens[source.token_count++] = take_span(&reader);
    source.merge_count = take(&reader);
    for (size_t i = 0; i < source.merge_count; i++) merges[i] = take_span(&reader);
    for (size_t i = 0; i < source.token_count; i++)
        types[i] = flags & 1 && i < 256 ? kinds[kind].spelled == PIECES ? CI_TOKEN_BYTE : CI_TOKEN_NORMAL
                   : flags & 2          ? take_signed(&reader)
                                        : CI_TOKEN_NORMAL;
    for (size_t i = 0; i < source.token_count; i++) scores[i] = flags & 32 ? (float)take_signed(&reader) : 0;
    source.tokens = tokens;
    source.merges = merges;
    source.types = flags & 3 ? types : NULL;
    source.scores = scores;

    struct ci_tokenizer *tokenizer;
    if (ci_tokenizer_create(&source, &tokenizer) != CLINFER_OK) {
        if (tokenizer || clinfer_error()[0] == 0) abort();
        return 0;
    }
    struct ci_text_span text = {(const char *)reader.data, reader.size};
    struct round_trip rule = {.whole = flags & 1,
                              .characters = kinds[kind].spaces,
                              .changes = kinds[kind].changes,
                              .marks = kinds[kind].spelled == PIECES && !kinds[kind].spaces,
                              .unknown = kinds[kind].spelled == BYTE_LEVEL ? -1
                                         : source.unknown_id < 0           ? 0
                                                                           : source.unknown_id};
    for (unsigned use = 0; use < 4; use++) check_round_trip(tokenizer, &rule, text, use);
    ci_tokenizer_destroy(tokenizer);
    return 0;
}
