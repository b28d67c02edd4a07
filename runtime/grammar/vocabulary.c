#include "grammar/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer.h"

enum { MOST_DEPTH = UINT16_MAX };

struct entry {
    const char *bytes;
    uint32_t length;
    int32_t token;
};

static int by_bytes(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    size_t common = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->bytes, y->bytes, common);
    if (order) return order;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

static enum clinfer_status no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "vocabulary: out of memory"); }

/* Bytes of all tokens, one after the other. Control tokens carry structure and no text: a grammar speaks of none but
 * those that end an answer. */
static enum clinfer_status copy_bytes(const struct ci_tokenizer *tokenizer, struct ci_grammar_vocabulary *vocabulary) {
    size_t length = 0, capacity = 0, ends = 0;
    for (size_t i = 0; i < vocabulary->token_count; i++) {
        const int32_t token = ci_narrowed((int64_t)i);
        size_t bytes = 0;
        const char *text = ci_tokenizer_piece(tokenizer, token, false, &bytes);
        bool end = ci_tokenizer_is_end(tokenizer, token);
        vocabulary->offsets[i] = ci_narrowed_unsigned(length);
        if (end) {
            if (!ci_array_reserve(&vocabulary->ends, &ends, vocabulary->end_count)) return no_memory();
            vocabulary->ends[vocabulary->end_count++] = token;
        }
        if (end || ci_tokenizer_is_control(tokenizer, token) || bytes > MOST_DEPTH) bytes = 0;
        if (length + bytes > UINT32_MAX || !ci_append(&vocabulary->bytes, &length, &capacity, text, bytes))
            return no_memory();
    }
    vocabulary->offsets[vocabulary->token_count] = ci_narrowed_unsigned(length);
    return CLINFER_OK;
}

int ci_grammar_byte_group(uint8_t byte) {
    if (byte >= 'a' && byte <= 'z') return 0;
    if (byte >= 'A' && byte <= 'Z') return 1;
    if (byte >= '0' && byte <= '9') return 2;
    if (byte == ' ') return 3;
    if (byte == '"') return 5;
    if (byte == '\\') return 6;
    return byte > ' ' && byte < 0x7f ? 4 : 7;
}

/* What is behind each node, from the last one on: those below a node come after it. */
static void look_behind(struct ci_grammar_vocabulary *vocabulary) {
    struct ci_trie_node *nodes = vocabulary->nodes;
    for (size_t i = vocabulary->node_count; i-- > 0;)
        for (size_t below = i + 1; below < nodes[i].skip; below = nodes[below].skip) {
            nodes[i].groups |= (uint8_t)(nodes[below].groups | 1 << ci_grammar_byte_group(nodes[below].byte));
            if (nodes[below].height + 1 > nodes[i].height) nodes[i].height = (uint16_t)(nodes[below].height + 1);
        }
}

/* Nodes of tokens in order: what a token has in common with the one before it is there already. */
static void build(struct ci_grammar_vocabulary *vocabulary, const struct entry *entries, size_t count,
                  uint32_t *open /* [most_depth] nodes down to the token before */) {
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = &entries[i], *before = i ? &entries[i - 1] : NULL;
        size_t common = 0;
        while (before && common < before->length && common < entry->length &&
               before->bytes[common] == entry->bytes[common])
            common++;
        for (; depth > common; depth--)
            vocabulary->nodes[open[depth - 1]].skip = ci_narrowed_unsigned(vocabulary->node_count);
        for (; depth < entry->length; depth++) {
            open[depth] = ci_narrowed_unsigned(vocabulary->node_count);
            vocabulary->nodes[vocabulary->node_count++] =
                (struct ci_trie_node){.first = ci_narrowed_unsigned(i),
                                      .depth = (uint16_t)ci_narrowed_unsigned(depth),
                                      .byte = (uint8_t)entry->bytes[depth]};
        }
        vocabulary->order[i] = entry->token;
    }
    for (; depth > 0; depth--) vocabulary->nodes[open[depth - 1]].skip = ci_narrowed_unsigned(vocabulary->node_count);
    vocabulary->nodes[vocabulary->node_count] = (struct ci_trie_node){.first = ci_narrowed_unsigned(count)};
    look_behind(vocabulary);
}

static enum clinfer_status make_trie(struct ci_grammar_vocabulary *vocabulary) {
    size_t count = 0, most_nodes = 0;
    struct entry *entries = malloc((vocabulary->token_count + 1) * sizeof *entries);
    if (!entries) return no_memory();
    for (size_t i = 0; i < vocabulary->token_count; i++) {
        uint32_t length = vocabulary->offsets[i + 1] - vocabulary->offsets[i];
        if (length == 0) continue;
        entries[count++] = (struct entry){vocabulary->bytes + vocabulary->offsets[i], length, ci_narrowed((int64_t)i)};
        most_nodes += length;
        if (length > vocabulary->most_depth) vocabulary->most_depth = length;
    }
    qsort(entries, count, sizeof *entries, by_bytes);
    uint32_t *open = calloc(vocabulary->most_depth + 1, sizeof *open);
    vocabulary->nodes = malloc((most_nodes + 1) * sizeof *vocabulary->nodes);
    enum clinfer_status status = open && vocabulary->nodes ? CLINFER_OK : no_memory();
    if (status == CLINFER_OK) {
        build(vocabulary, entries, count, open);
        void *fitting = realloc(vocabulary->nodes, (vocabulary->node_count + 1) * sizeof *vocabulary->nodes);
        if (fitting) vocabulary->nodes = fitting;
    }
    free(entries);
    free(open);
    return status;
}

enum clinfer_status ci_grammar_vocabulary_create(const struct ci_tokenizer *tokenizer,
                                                 struct ci_grammar_vocabulary **out) {
    struct ci_grammar_vocabulary *vocabulary = calloc(1, sizeof *vocabulary);
    *out = NULL;
    if (!vocabulary) return no_memory();
    vocabulary->token_count = ci_tokenizer_size(tokenizer);
    vocabulary->order = malloc((vocabulary->token_count + 1) * sizeof *vocabulary->order);
    vocabulary->offsets = malloc((vocabulary->token_count + 1) * sizeof *vocabulary->offsets);
    enum clinfer_status status =
        vocabulary->order && vocabulary->offsets ? copy_bytes(tokenizer, vocabulary) : no_memory();
    if (status == CLINFER_OK) status = make_trie(vocabulary);
    if (status == CLINFER_OK)
        *out = vocabulary;
    else
        ci_grammar_vocabulary_destroy(vocabulary);
    return status;
}

void ci_grammar_vocabulary_destroy(struct ci_grammar_vocabulary *vocabulary) {
    if (!vocabulary) return;
    free(vocabulary->nodes);
    free(vocabulary->order);
    free(vocabulary->offsets);
    free(vocabulary->bytes);
    free(vocabulary->ends);
    free(vocabulary);
}

bool ci_grammar_vocabulary_is_end(const struct ci_grammar_vocabulary *vocabulary, int32_t token) {
    for (size_t i = 0; i < vocabulary->end_count; i++)
        if (vocabulary->ends[i] == token) return true;
    return false;
}
