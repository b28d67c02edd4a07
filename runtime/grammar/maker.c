/* maker.c: the nodes that rules are made of. The first failure is kept, and everything after it does nothing, so that
 * whoever makes a grammar looks once, at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/array.h"
#include "base/hash.h"
#include "base/narrow.h"
#include "base/status.h"
#include "base/stop.h"
#include "grammar/grammar_private.h"

enum { MOST_NODES = 1 << 24, MOST_CODE_POINT = 0x10FFFF, FIRST_SURROGATE = 0xD800, LAST_SURROGATE = 0xDFFF };

struct ci_grammar_maker *ci_grammar_maker_create(void) {
    struct ci_grammar_maker *maker = calloc(1, sizeof *maker);
    if (!maker || !ci_array_reserve(&maker->nodes, &maker->node_capacity, 0)) {
        free(maker);
        return NULL;
    }
    maker->nodes[0] = (struct ci_node){0};
    maker->node_count = 1;
    return maker;
}

void ci_grammar_maker_destroy(struct ci_grammar_maker *maker) {
    if (!maker) return;
    for (size_t i = 0; i < maker->rule_count; i++) free(maker->rules[i].name);
    free(maker->rules);
    free(maker->nodes);
    free(maker->ways);
    free(maker->bytes);
    free(maker->children);
    free(maker->names);
    free(maker);
}

enum clinfer_status ci_grammar_maker_status(const struct ci_grammar_maker *maker) { return maker->status; }

enum clinfer_status ci_grammar_stopped(void) {
    return ci_fail(CLINFER_CANCELLED, "cancelled while a grammar was compiled");
}

static ci_grammar_node no_memory(struct ci_grammar_maker *maker) {
    if (maker->status == CLINFER_OK) maker->status = ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory");
    return CI_GRAMMAR_NONE;
}

static ci_grammar_node add(struct ci_grammar_maker *maker, struct ci_node node) {
    if (maker->status != CLINFER_OK) return CI_GRAMMAR_NONE;
    if (node.depth > CI_GRAMMAR_MOST_DEPTH || maker->node_count >= MOST_NODES) {
        maker->status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s",
                                node.depth > CI_GRAMMAR_MOST_DEPTH ? "it is nested too deeply" : "it is too large");
        return CI_GRAMMAR_NONE;
    }
    if (maker->node_count % 1024 == 0 && ci_stop_is_asked()) {
        maker->status = ci_grammar_stopped();
        return CI_GRAMMAR_NONE;
    }
    if (!ci_array_reserve(&maker->nodes, &maker->node_capacity, maker->node_count)) return no_memory(maker);
    maker->nodes[maker->node_count] = node;
    return ci_narrowed_unsigned(maker->node_count++);
}

/* ---- leaves ---- */

ci_grammar_node ci_grammar_text(struct ci_grammar_maker *maker, const char *bytes, size_t length) {
    size_t first = maker->byte_count;
    if (maker->status != CLINFER_OK) return CI_GRAMMAR_NONE;
    if (length > MOST_NODES || first > UINT32_MAX - MOST_NODES ||
        !ci_append(&maker->bytes, &maker->byte_count, &maker->byte_capacity, bytes, length))
        return no_memory(maker);
    return add(maker, (struct ci_node){.kind = CI_NODE_TEXT,
                                       .first = ci_narrowed_unsigned(first),
                                       .count = ci_narrowed_unsigned(length)});
}

static int encode(uint32_t code, uint8_t bytes[4]) {
    if (code < 0x80) {
        bytes[0] = (uint8_t)code;
        return 1;
    }
    int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, code >>= 6) bytes[i] = (uint8_t)(0x80 | (code & 0x3f));
    bytes[0] = (uint8_t)(code | (length == 2 ? 0xC0 : length == 3 ? 0xE0 : 0xF0));
    return length;
}

static void add_way(struct ci_grammar_maker *maker, uint32_t first, uint32_t last) {
    struct ci_way way = {0};
    way.length = (uint8_t)encode(first, way.low);
    encode(last, way.high);
    if (!ci_array_reserve(&maker->ways, &maker->way_capacity, maker->way_count))
        no_memory(maker);
    else
        maker->ways[maker->way_count++] = way;
}

/* As ranges of whole bytes: cut where the length changes, then until all bytes behind the first that differs go from
 * 0x80 to 0xBF. */
static void add_range(struct ci_grammar_maker *maker, uint32_t first, uint32_t last) {
    static const uint32_t lengths[] = {0x7f, 0x7ff, 0xffff};
    while (first <= last && maker->status == CLINFER_OK) {
        uint32_t end = last;
        for (size_t i = 0; i < 3; i++)
            if (first <= lengths[i] && end > lengths[i]) end = lengths[i];
        for (uint32_t low = 0x3f; low < 0x40000 && first > 0x7f; low = low << 6 | 0x3f) {
            if ((first & ~low) == (end & ~low)) break; /* the bytes before these are the same */
            if (first & low)
                end = first | low;
            else if ((end & low) != low)
                end = (end & ~low) - 1;
        }
        add_way(maker, first, end);
        if (end == MOST_CODE_POINT) break;
        first = end + 1;
    }
}

static int by_first(const void *a, const void *b) {
    const struct ci_grammar_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* What lies between `from` and `to`, but no surrogates. */
static void add_characters(struct ci_grammar_maker *maker, uint32_t from, uint32_t to) {
    if (to > MOST_CODE_POINT) to = MOST_CODE_POINT;
    if (from < FIRST_SURROGATE) add_range(maker, from, to < FIRST_SURROGATE ? to : FIRST_SURROGATE - 1);
    if (to > LAST_SURROGATE) add_range(maker, from > LAST_SURROGATE ? from : LAST_SURROGATE + 1, to);
}

ci_grammar_node ci_grammar_set(struct ci_grammar_maker *maker, const struct ci_grammar_range *ranges, size_t count,
                               bool negated) {
    if (maker->status != CLINFER_OK) return CI_GRAMMAR_NONE;
    size_t first = maker->way_count;
    struct ci_grammar_range *sorted = malloc((count + 1) * sizeof *sorted);
    if (!sorted) return no_memory(maker);
    if (count) memcpy(sorted, ranges, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_first);
    uint32_t next = 0; /* the first code point that none of them had */
    for (size_t i = 0; i < count; i++) {
        uint32_t from = sorted[i].first > next ? sorted[i].first : next, to = sorted[i].last;
        if (sorted[i].first > sorted[i].last || to < next || next > MOST_CODE_POINT) continue;
        if (negated && sorted[i].first > next) add_characters(maker, next, sorted[i].first - 1);
        if (!negated) add_characters(maker, from, to);
        next = to >= MOST_CODE_POINT ? MOST_CODE_POINT + 1 : to + 1;
    }
    if (negated && next <= MOST_CODE_POINT) add_characters(maker, next, MOST_CODE_POINT);
    free(sorted);
    return add(maker, (struct ci_node){.kind = CI_NODE_SET,
                                       .first = ci_narrowed_unsigned(first),
                                       .count = ci_narrowed_unsigned(maker->way_count - first)});
}

ci_grammar_node ci_grammar_token(struct ci_grammar_maker *maker, int32_t token, bool negated) {
    return add(maker, (struct ci_node){.kind = CI_NODE_TOKEN, .negated = negated, .first = (uint32_t)token});
}

/* ---- nodes of nodes ---- */

static ci_grammar_node add_list(struct ci_grammar_maker *maker, enum ci_node_kind kind, const ci_grammar_node *nodes,
                                size_t count) {
    struct ci_node list = {.kind = (uint8_t)kind, .depth = 1, .first = ci_narrowed_unsigned(maker->child_count)};
    for (size_t i = 0; i < count && maker->status == CLINFER_OK; i++) {
        uint16_t depth = maker->nodes[nodes[i]].depth;
        if (depth >= list.depth) list.depth = (uint16_t)(depth + 1);
        if (maker->child_count >= MOST_NODES ||
            !ci_array_reserve(&maker->children, &maker->child_capacity, maker->child_count))
            return no_memory(maker);
        maker->children[maker->child_count++] = nodes[i];
        list.count++;
    }
    return add(maker, list);
}

ci_grammar_node ci_grammar_sequence(struct ci_grammar_maker *maker, const ci_grammar_node *nodes, size_t count) {
    return count == 1 ? nodes[0] : add_list(maker, CI_NODE_SEQUENCE, nodes, count);
}

ci_grammar_node ci_grammar_choice(struct ci_grammar_maker *maker, const ci_grammar_node *nodes, size_t count) {
    return count == 1 ? nodes[0] : add_list(maker, CI_NODE_CHOICE, nodes, count);
}

ci_grammar_node ci_grammar_repeat(struct ci_grammar_maker *maker, ci_grammar_node node, uint32_t least, uint32_t most) {
    if (maker->status != CLINFER_OK) return CI_GRAMMAR_NONE;
    if (least > most) return ci_grammar_choice(maker, NULL, 0);
    return add(maker, (struct ci_node){.kind = CI_NODE_REPEAT,
                                       .depth = (uint16_t)(maker->nodes[node].depth + 1),
                                       .first = node,
                                       .least = least,
                                       .most = most});
}

/* ---- rules ---- */

/* Where the name is in the table, or belongs. */
static uint32_t *find_name(const struct ci_grammar_maker *maker, const char *name, size_t length) {
    size_t at = (size_t)ci_hash(CI_HASH_START, name, length) & (maker->name_capacity - 1);
    for (;; at = (at + 1) & (maker->name_capacity - 1)) {
        uint32_t *entry = &maker->names[at];
        if (*entry == 0) return entry;
        const char *other = maker->rules[*entry - 1].name;
        if (strncmp(other, name, length) == 0 && other[length] == 0) return entry;
    }
}

static bool make_room_for_names(struct ci_grammar_maker *maker) {
    if (maker->rule_count * 2 < maker->name_capacity) return true;
    size_t capacity = maker->name_capacity ? maker->name_capacity * 2 : 64;
    uint32_t *names = calloc(capacity, sizeof *names);
    if (!names) return false;
    free(maker->names);
    maker->names = names;
    maker->name_capacity = capacity;
    for (size_t i = 0; i < maker->rule_count; i++)
        *find_name(maker, maker->rules[i].name, strlen(maker->rules[i].name)) = ci_narrowed_unsigned(i + 1);
    return true;
}

int ci_grammar_rule(struct ci_grammar_maker *maker, const char *name, size_t length) {
    if (maker->status != CLINFER_OK) return -1;
    if (!make_room_for_names(maker) || maker->rule_count >= MOST_NODES) {
        no_memory(maker);
        return -1;
    }
    uint32_t *entry = find_name(maker, name, length);
    if (*entry == 0) {
        char *copy = strndup(name, length);
        if (!copy || !ci_array_reserve(&maker->rules, &maker->rule_capacity, maker->rule_count)) {
            free(copy);
            no_memory(maker);
            return -1;
        }
        maker->rules[maker->rule_count++] = (struct ci_rule){.name = copy};
        *entry = ci_narrowed_unsigned(maker->rule_count);
    }
    return (int)*entry - 1;
}

bool ci_grammar_is_defined(const struct ci_grammar_maker *maker, int rule) {
    return rule >= 0 && maker->rules[rule].node != CI_GRAMMAR_NONE;
}

void ci_grammar_define(struct ci_grammar_maker *maker, int rule, ci_grammar_node node) {
    if (maker->status == CLINFER_OK && rule >= 0) maker->rules[rule].node = node;
}

ci_grammar_node ci_grammar_call(struct ci_grammar_maker *maker, int rule) {
    return add(maker, (struct ci_node){.kind = CI_NODE_CALL, .first = (uint32_t)rule});
}
