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

/* ---- units ---- */

int ci_grammar_unit_group(unsigned unit) {
    if (unit >= 'a' && unit <= 'z') return 0;
    if (unit >= 'A' && unit <= 'Z') return 1;
    if (unit >= '0' && unit <= '9') return 2;
    if (unit == ' ') return 3;
    if (unit == '"') return 5;
    if (unit == '\\') return 6;
    if (unit == CI_UNIT_ODD) return 9;
    if (unit >= CI_UNITS_ASCII) return 8;
    return unit > ' ' && unit < 0x7f ? 4 : 7;
}

static unsigned unit_of(uint8_t lead) {
    if (lead < CI_UNITS_ASCII) return lead;
    bool begins = lead >= CI_UNIT_FIRST_LEAD && lead <= CI_UNIT_LAST_LEAD;
    return begins ? CI_UNITS_ASCII + lead - CI_UNIT_FIRST_LEAD : CI_UNIT_ODD;
}

/* Table 3-7 of the Unicode standard. */
bool ci_grammar_unit_goes_on(uint8_t lead, int have, uint8_t *low, uint8_t *high) {
    int length = lead < CI_UNIT_FIRST_LEAD ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    *low = have == 1 && lead == 0xE0 ? 0xA0 : have == 1 && lead == 0xF0 ? 0x90 : 0x80;
    *high = have == 1 && lead == 0xED ? 0x9F : have == 1 && lead == CI_UNIT_LAST_LEAD ? 0x8F : 0xBF;
    return have < length;
}

unsigned ci_grammar_unit(const char *bytes, size_t length, size_t *unit_length) {
    const uint8_t lead = (uint8_t)bytes[0];
    const unsigned unit = unit_of(lead);
    uint8_t low, high;
    *unit_length = 1;
    if (unit < CI_UNITS_ASCII || unit == CI_UNIT_ODD) return unit;
    for (int have = 1; ci_grammar_unit_goes_on(lead, have, &low, &high) && (size_t)have < length; have++) {
        const uint8_t byte = (uint8_t)bytes[have];
        if (byte < low || byte > high) return CI_UNIT_ODD;
        ++*unit_length;
    }
    return unit;
}

static void set(uint32_t *bits, size_t token) { bits[token / 32] |= UINT32_C(1) << token % 32; }

/* Which tokens have which units, and how many. */
static enum clinfer_status count_units(struct ci_grammar_vocabulary *vocabulary) {
    const size_t words = ci_grammar_vocabulary_words(vocabulary);
    vocabulary->spaced = calloc(words + 1, sizeof *vocabulary->spaced);
    vocabulary->having = calloc(CI_UNITS * words + 1, sizeof *vocabulary->having);
    vocabulary->groups = calloc(CI_UNIT_GROUPS * words + 1, sizeof *vocabulary->groups);
    vocabulary->within = calloc((CI_UNITS_LENGTHS + 1) * words + 1, sizeof *vocabulary->within);
    if (!vocabulary->spaced || !vocabulary->having || !vocabulary->groups || !vocabulary->within) return no_memory();
    for (size_t token = 0; token < vocabulary->token_count; token++) {
        const uint32_t first = vocabulary->offsets[token], end = vocabulary->offsets[token + 1];
        const bool spaced = end > first && vocabulary->bytes[first] == ' ';
        size_t units = 0, length;
        if (spaced) set(vocabulary->spaced, token);
        for (uint32_t at = first + spaced; at < end; units++) {
            const unsigned unit = ci_grammar_unit(vocabulary->bytes + at, end - at, &length);
            set(vocabulary->having + unit * words, token);
            at += ci_narrowed_unsigned(length);
        }
        const size_t row = units < CI_UNITS_LENGTHS ? units : CI_UNITS_LENGTHS;
        if (end > first) set(vocabulary->within + row * words, token);
    }
    for (size_t i = words; i < (CI_UNITS_LENGTHS + 1) * words; i++)
        vocabulary->within[i] |= vocabulary->within[i - words];
    for (unsigned u = 0; u < CI_UNITS; u++) {
        const uint32_t *having = vocabulary->having + u * words;
        uint32_t *group = vocabulary->groups + (size_t)ci_grammar_unit_group(u) * words;
        for (size_t i = 0; i < words; i++) {
            vocabulary->having_count[u] += (size_t)__builtin_popcount(having[i]);
            group[i] |= having[i];
        }
    }
    return CLINFER_OK;
}

/* ---- the trie ---- */

/* The unit that the byte at path[depth] begins; CI_UNITS: it is within the one that began at path[*begins]. What is
 * below the first bytes of a character and does not go on with it makes that ODD. */
static unsigned unit_at(const uint8_t *path, unsigned depth, unsigned *begins) {
    uint8_t low, high;
    const unsigned before = *begins;
    const bool open = before < depth && ci_grammar_unit_goes_on(path[before], (int)(depth - before), &low, &high);
    if (open && path[depth] >= low && path[depth] <= high) return CI_UNITS;
    *begins = depth;
    return open ? CI_UNIT_ODD : unit_of(path[depth]);
}

/* What is from each node on, from the last one on: those below a node come after it. */
static enum clinfer_status look_behind(struct ci_grammar_vocabulary *vocabulary) {
    struct ci_trie_node *nodes = vocabulary->nodes;
    uint8_t *path = malloc(vocabulary->most_depth + 1);
    unsigned *begins = malloc((vocabulary->most_depth + 1) * sizeof *begins); /* the unit that a depth is in */
    const bool fine = path && begins;
    for (size_t i = 0; fine && i < vocabulary->node_count; i++) {
        const unsigned depth = nodes[i].depth;
        path[depth] = nodes[i].byte;
        begins[depth] = depth ? begins[depth - 1] : 0;
        const unsigned unit = unit_at(path, depth, &begins[depth]);
        nodes[i].height = unit < CI_UNITS;
        nodes[i].groups = (uint16_t)(unit < CI_UNITS ? 1 << ci_grammar_unit_group(unit) : CI_UNIT_WITHIN);
    }
    for (size_t i = vocabulary->node_count; fine && i-- > 0;) {
        unsigned height = 0, groups = 0;
        for (size_t below = i + 1; below < nodes[i].skip; below = nodes[below].skip) {
            groups |= nodes[below].groups;
            if (nodes[below].height > height) height = nodes[below].height;
        }
        nodes[i].height = (uint16_t)(nodes[i].height + height);
        nodes[i].groups |= (uint16_t)(groups & ~(unsigned)CI_UNIT_WITHIN);
    }
    free(path);
    free(begins);
    return fine ? CLINFER_OK : no_memory();
}

/* Nodes of tokens in order: what a token has in common with the one before it is there already. */
static enum clinfer_status build(struct ci_grammar_vocabulary *vocabulary, const struct entry *entries, size_t count,
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
    struct ci_trie_node *nodes = vocabulary->nodes;
    size_t *first = &vocabulary->spaced_first;
    while (*first < vocabulary->node_count && nodes[*first].byte != ' ') *first = nodes[*first].skip;
    vocabulary->spaced_end = *first < vocabulary->node_count ? nodes[*first].skip : *first;
    return look_behind(vocabulary);
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
        status = build(vocabulary, entries, count, open);
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
    if (status == CLINFER_OK) status = count_units(vocabulary);
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
    free(vocabulary->spaced);
    free(vocabulary->having);
    free(vocabulary->within);
    free(vocabulary->groups);
    free(vocabulary->ends);
    free(vocabulary);
}

bool ci_grammar_vocabulary_is_end(const struct ci_grammar_vocabulary *vocabulary, int32_t token) {
    for (size_t i = 0; i < vocabulary->end_count; i++)
        if (vocabulary->ends[i] == token) return true;
    return false;
}
