/* vocabulary.c: see vocabulary.h. */
#define _GNU_SOURCE
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/narrow.h"
#include "base/pages.h"
#include "base/status.h"
#include "text/tokenizer_kind.h"

enum { MAXIMUM_TOKENS = 1 << 24 };

#define MIX UINT64_C(0xa0761d6478bd642f)

static uint64_t hash_text(uint64_t secret, const char *text, size_t length) {
    uint64_t hash = secret ^ length;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        hash = ci_text_mix(hash ^ word, MIX);
        text += 8;
        length -= 8;
    }
    /* The rest by loads of fixed size, which may overlap: the length is mixed in already. */
    uint32_t low = 0, high = 0;
    if (length >= 4) {
        memcpy(&low, text, 4);
        memcpy(&high, text + length - 4, 4);
    } else if (length > 0) {
        low = (uint32_t)(uint8_t)text[0] << 16 | (uint32_t)(uint8_t)text[length / 2] << 8 | (uint8_t)text[length - 1];
    }
    return ci_text_mix(ci_text_mix(hash ^ ((uint64_t)high << 32 | low), MIX), secret | 1);
}

/* Without the kernel's random numbers the time has to do: only the speed on a hostile file depends on it. */
static uint64_t make_secret(void) {
    uint64_t secret;
    if (getrandom(&secret, sizeof secret, GRND_NONBLOCK) == (ssize_t)sizeof secret) return secret;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ci_text_mix((uint64_t)now.tv_nsec ^ MIX, (uint64_t)now.tv_sec | 1);
}

static const char *text_of(const struct ci_vocabulary *vocabulary, uint32_t id, size_t *length) {
    *length = vocabulary->text_offsets[id + 1] - vocabulary->text_offsets[id];
    return vocabulary->texts + vocabulary->text_offsets[id];
}

/* The slot of this text, or the free one where it would go. */
static struct ci_vocabulary_slot *find_slot(const struct ci_vocabulary *vocabulary, const char *text, size_t length,
                                            uint32_t *tag) {
    uint64_t hash = hash_text(vocabulary->secret, text, length);
    *tag = ci_narrowed_unsigned(hash >> 32);
    for (size_t at = hash & vocabulary->slot_mask;; at = (at + 1) & vocabulary->slot_mask) {
        struct ci_vocabulary_slot *slot = &vocabulary->slots[at];
        if (slot->id_plus_one == 0) return slot;
        if (slot->tag != *tag) continue;
        size_t other_length;
        const char *other = text_of(vocabulary, slot->id_plus_one - 1, &other_length);
        if (other_length == length && memcmp(other, text, length) == 0) return slot;
    }
}

int32_t ci_vocabulary_find(const struct ci_vocabulary *vocabulary, const char *text, size_t length) {
    uint32_t tag;
    return length == 0 || vocabulary->count == 0 ? -1
                                                 : (int32_t)find_slot(vocabulary, text, length, &tag)->id_plus_one - 1;
}

bool ci_vocabulary_is(const struct ci_vocabulary *vocabulary, int64_t id, const char *text, size_t length) {
    if (id < 0 || id >= vocabulary->count) return false;
    size_t other_length;
    const char *other = text_of(vocabulary, ci_narrowed_unsigned((uint64_t)id), &other_length);
    return other_length == length && memcmp(other, text, length) == 0;
}

const char *ci_vocabulary_piece(const struct ci_vocabulary *vocabulary, int32_t id, size_t *length) {
    if (ci_token_is_special(vocabulary->types[id])) return text_of(vocabulary, (uint32_t)id, length);
    *length = vocabulary->byte_offsets[id + 1] - vocabulary->byte_offsets[id];
    return vocabulary->bytes + vocabulary->byte_offsets[id];
}

static enum clinfer_status allocate(const struct ci_tokenizer_source *source, struct ci_vocabulary *vocabulary) {
    if (source->token_count == 0 || source->token_count > MAXIMUM_TOKENS)
        return ci_fail(CLINFER_BAD_FILE, "%s: %zu tokens; 1 to %d are possible", vocabulary->keys->tokens,
                       source->token_count, MAXIMUM_TOKENS);
    uint64_t total = 0;
    for (size_t i = 0; i < source->token_count; i++) {
        if (source->tokens[i].length > UINT32_MAX - total)
            return ci_fail(CLINFER_BAD_FILE, "%s: element %zu: more than 4 GiB of text", vocabulary->keys->tokens, i);
        total += source->tokens[i].length;
    }
    size_t slots = 16;
    while (slots < source->token_count * 2) slots *= 2;
    vocabulary->count = ci_narrowed_unsigned(source->token_count);
    vocabulary->slot_mask = slots - 1;
    vocabulary->secret = make_secret();
    vocabulary->texts = malloc(total + 1);
    vocabulary->bytes = malloc(total + 1);
    vocabulary->text_offsets = malloc((source->token_count + 1) * sizeof *vocabulary->text_offsets);
    vocabulary->byte_offsets = malloc((source->token_count + 1) * sizeof *vocabulary->byte_offsets);
    vocabulary->types = malloc(source->token_count);
    vocabulary->slots = ci_pages_zeros(slots * sizeof *vocabulary->slots);
    if (!vocabulary->texts || !vocabulary->bytes || !vocabulary->text_offsets || !vocabulary->byte_offsets ||
        !vocabulary->types || !vocabulary->slots)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "vocabulary of %zu tokens: out of memory", source->token_count);
    return CLINFER_OK;
}

/* Token `id` to the end of the tables and into the index. An empty text is a token that nothing can find. */
static enum clinfer_status add(const struct ci_tokenizer_source *source, uint32_t id, ci_spelling *spelling,
                               struct ci_vocabulary *vocabulary) {
    const struct ci_text_span *text = &source->tokens[id];
    int32_t type = source->types ? source->types[id] : CI_TOKEN_NORMAL;
    if (type < 0 || type >= CI_TOKEN_TYPES)
        return ci_fail(CLINFER_BAD_FILE, "%s: element %u is %d; 0 to %d have a meaning", vocabulary->keys->types, id,
                       type, CI_TOKEN_TYPES - 1);
    vocabulary->types[id] = (uint8_t)type;

    uint32_t at = vocabulary->text_offsets[id];
    if (text->length) memcpy(vocabulary->texts + at, text->text, text->length);
    vocabulary->text_offsets[id + 1] = at + ci_narrowed_unsigned(text->length);
    char *bytes = vocabulary->bytes + vocabulary->byte_offsets[id];
    size_t byte_count = text->length;
    if (!ci_token_is_special(vocabulary->types[id]))
        byte_count = spelling(text->text, text->length, type, bytes);
    else if (byte_count)
        memcpy(bytes, text->text, byte_count);
    vocabulary->byte_offsets[id + 1] = vocabulary->byte_offsets[id] + ci_narrowed_unsigned(byte_count);
    if (text->length == 0) return CLINFER_OK;

    uint32_t tag;
    struct ci_vocabulary_slot *slot = find_slot(vocabulary, vocabulary->texts + at, text->length, &tag);
    if (slot->id_plus_one)
        return ci_fail(CLINFER_BAD_FILE, "%s: elements %u and %u are both '%.*s'", vocabulary->keys->tokens,
                       slot->id_plus_one - 1, id, ci_shown(text->length, 64), text->text);
    *slot = (struct ci_vocabulary_slot){tag, id + 1};
    return CLINFER_OK;
}

enum clinfer_status ci_vocabulary_build(const struct ci_tokenizer_source *source, ci_spelling *spelling,
                                        struct ci_vocabulary *vocabulary) {
    memset(vocabulary, 0, sizeof *vocabulary);
    vocabulary->keys = ci_tokenizer_keys(source);
    enum clinfer_status status = allocate(source, vocabulary);
    if (status != CLINFER_OK) return status;

    vocabulary->text_offsets[0] = vocabulary->byte_offsets[0] = 0;
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        status = add(source, id, spelling, vocabulary);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

void ci_vocabulary_destroy(struct ci_vocabulary *vocabulary) {
    free(vocabulary->texts);
    free(vocabulary->bytes);
    free(vocabulary->text_offsets);
    free(vocabulary->byte_offsets);
    free(vocabulary->types);
    free(vocabulary->slots);
    memset(vocabulary, 0, sizeof *vocabulary);
}
