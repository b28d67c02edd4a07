/* Any bytes as a vocabulary and a text: the vocabulary is refused with a message, or encoding gives tokens whose bytes
 * are the text again (less the bytes that the vocabulary has no token for).
 *
 * The input: a byte of flags (1: put all 256 bytes first, 2: token types follow, 4 and 8: add_bos, add_eos, 16: say
 * nothing of both), a byte that picks the pre-tokenizer, three bytes of ids (plus 4), then tokens and merges as (count,
 * (length, bytes)...), types one byte each (plus 4), and the rest is text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/utf8.h"

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

static size_t put_bytes(struct ci_text_span *tokens, char spelled[256][3]) {
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        int plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        tokens[byte] = (struct ci_text_span){spelled[byte], ci_utf8_encode(plain ? byte : next++, spelled[byte])};
    }
    return 256;
}

/* With tokens for all bytes nothing may be lost; otherwise what comes back is the text with bytes left out. */
static void check_round_trip(const struct ci_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                             int whole) {
    int32_t *ids;
    size_t count, at = 0;
    if (ci_tokenizer_encode(tokenizer, text, length, flags, &ids, &count) != CLINFER_OK) {
        if (clinfer_error()[0] == 0) abort();
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *piece = ci_tokenizer_piece(tokenizer, ids[i], true, &bytes);
        (void)ci_tokenizer_is_end(tokenizer, ids[i]);
        if (flags & CI_TOKENIZER_ADD_SPECIAL) continue; /* the added ones are no text */
        for (size_t j = 0; j < bytes; j++, at++) {
            while (!whole && at < length && text[at] != piece[j]) at++;
            if (at >= length || text[at] != piece[j]) abort();
        }
    }
    if (whole && !(flags & CI_TOKENIZER_ADD_SPECIAL) && at != length) abort();
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    struct ci_text_span tokens[MAXIMUM], merges[255];
    int32_t types[MAXIMUM];
    char spelled[256][3];
    struct reader reader = {data, size};
    uint8_t flags = take(&reader);
    const char *name = names[take(&reader) % 4];
    struct ci_tokenizer_source source = {.model = {"gpt2", 4}, .pre_tokenizer = {name, strlen(name)}};
    source.bos_id = take_signed(&reader);
    source.eos_id = take_signed(&reader);
    source.eot_id = source.eom_id = source.unknown_id = source.padding_id = take_signed(&reader);
    source.add_bos = flags & 16 ? -1 : !!(flags & 4);
    source.add_eos = flags & 16 ? -1 : !!(flags & 8);
    if (flags & 1) source.token_count = put_bytes(tokens, spelled);
    size_t more = take(&reader);
    while (more--) tokens[source.token_count++] = take_span(&reader);
    source.merge_count = take(&reader);
    for (size_t i = 0; i < source.merge_count; i++) merges[i] = take_span(&reader);
    for (size_t i = 0; i < source.token_count; i++)
        types[i] = flags & 1 && i < 256 ? 1 : flags & 2 ? take_signed(&reader) : 1;
    source.tokens = tokens;
    source.merges = merges;
    source.types = flags & 2 ? types : NULL;

    struct ci_tokenizer *tokenizer;
    if (ci_tokenizer_create(&source, &tokenizer) != CLINFER_OK) {
        if (tokenizer || clinfer_error()[0] == 0) abort();
        return 0;
    }
    for (unsigned use = 0; use < 4; use++)
        check_round_trip(tokenizer, (const char *)reader.data, reader.size, use, flags & 1);
    ci_tokenizer_destroy(tokenizer);
    return 0;
}
