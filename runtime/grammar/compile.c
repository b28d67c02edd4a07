/* compile.c: rules become positions, each made with the position behind it at hand, so from the end to the beginning.
 * Repetitions are written out. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "base/stop.h"
#include "grammar/grammar_private.h"

struct compiler {
    const struct ci_grammar_maker *maker;
    struct ci_grammar *grammar;
    size_t position_count, position_capacity, edge_count, edge_capacity, target_count, target_capacity;
    uint32_t *waiting; /* [waiting_count] rules that are called and not compiled; each once */
    bool *seen;        /* [rules] */
    size_t waiting_count;
    enum clinfer_status status;
};

static uint32_t fail(struct compiler *compiler, enum clinfer_status status, const char *what) {
    if (compiler->status == CLINFER_OK) compiler->status = ci_fail(status, "%s", what);
    return CI_POSITION_OF_END;
}

static uint32_t add(struct compiler *compiler, struct ci_position position) {
    struct ci_grammar *grammar = compiler->grammar;
    if (compiler->status != CLINFER_OK) return CI_POSITION_OF_END;
    if (compiler->position_count >= CI_GRAMMAR_MOST_POSITIONS)
        return fail(compiler, CLINFER_INVALID_ARGUMENT,
                    "it is too large when its repetitions are written out; repeat less, or without an upper bound");
    if (compiler->position_count % 4096 == 0 && ci_stop_is_asked()) {
        compiler->status = ci_grammar_stopped();
        return CI_POSITION_OF_END;
    }
    if (!ci_array_reserve(&grammar->positions, &compiler->position_capacity, compiler->position_count))
        return fail(compiler, CLINFER_OUT_OF_MEMORY, "out of memory");
    grammar->positions[compiler->position_count] = position;
    return ci_narrowed_unsigned(compiler->position_count++);
}

static void add_edge(struct compiler *compiler, uint8_t low, uint8_t high, uint32_t next) {
    struct ci_grammar *grammar = compiler->grammar;
    if (compiler->edge_count >= (size_t)CI_GRAMMAR_MOST_POSITIONS * 4)
        fail(compiler, CLINFER_INVALID_ARGUMENT, "its sets of characters are too large");
    else if (!ci_array_reserve(&grammar->edges, &compiler->edge_capacity, compiler->edge_count))
        fail(compiler, CLINFER_OUT_OF_MEMORY, "out of memory");
    else
        grammar->edges[compiler->edge_count++] = (struct ci_edge){low, high, next};
}

static uint32_t add_byte(struct compiler *compiler, uint8_t low, uint8_t high, uint32_t next) {
    size_t first = compiler->edge_count;
    add_edge(compiler, low, high, next);
    return add(compiler,
               (struct ci_position){.kind = CI_POSITION_BYTES, .first = ci_narrowed_unsigned(first), .count = 1});
}

/* A split with room for its targets, which are CI_POSITION_OF_END until they are set. */
static uint32_t add_split(struct compiler *compiler, uint32_t count) {
    struct ci_grammar *grammar = compiler->grammar;
    size_t first = compiler->target_count;
    for (uint32_t i = 0; i < count; i++) {
        if (compiler->target_count >= (size_t)CI_GRAMMAR_MOST_POSITIONS * 4)
            return fail(compiler, CLINFER_INVALID_ARGUMENT, "it has too many alternatives");
        if (!ci_array_reserve(&grammar->targets, &compiler->target_capacity, compiler->target_count))
            return fail(compiler, CLINFER_OUT_OF_MEMORY, "out of memory");
        grammar->targets[compiler->target_count++] = CI_POSITION_OF_END;
    }
    return add(compiler,
               (struct ci_position){.kind = CI_POSITION_SPLIT, .first = ci_narrowed_unsigned(first), .count = count});
}

static void set_target(struct compiler *compiler, uint32_t split, uint32_t index, uint32_t target) {
    if (compiler->status == CLINFER_OK)
        compiler->grammar->targets[compiler->grammar->positions[split].first + index] = target;
}

/* ---- nodes ---- */

/* Sets end alike: the last bytes of their ways share positions. */
static uint32_t build_set(struct compiler *compiler, const struct ci_node *node, uint32_t next) {
    const struct ci_way *ways = compiler->maker->ways + node->first;
    uint32_t *starts = malloc((node->count + 1) * sizeof *starts); /* behind the first byte of each way */
    if (!starts) return fail(compiler, CLINFER_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < node->count; i++) {
        const struct ci_way *way = &ways[i], *before = i ? &ways[i - 1] : NULL;
        size_t rest = (size_t)way->length - 1;
        bool same = before && before->length == way->length && memcmp(before->low + 1, way->low + 1, rest) == 0 &&
                    memcmp(before->high + 1, way->high + 1, rest) == 0;
        starts[i] = same ? starts[i - 1] : next;
        for (int k = way->length - 1; k > 0 && !same; k--)
            starts[i] = add_byte(compiler, way->low[k], way->high[k], starts[i]);
    }
    size_t first = compiler->edge_count;
    for (uint32_t i = 0; i < node->count; i++) add_edge(compiler, ways[i].low[0], ways[i].high[0], starts[i]);
    free(starts);
    return add(compiler, (struct ci_position){.kind = CI_POSITION_BYTES,
                                              .first = ci_narrowed_unsigned(first),
                                              .count = ci_narrowed_unsigned(compiler->edge_count - first)});
}

static uint32_t build(struct compiler *compiler, ci_grammar_node index, uint32_t next);

/* ---- many texts, of which one has to come, as in an enum: what they begin with is there once ---- */

enum { LEAST_TEXTS = 8, MOST_TEXTS_DEPTH = 300 };

struct text {
    const char *bytes;
    uint32_t length;
};

static int by_bytes(const void *a, const void *b) {
    const struct text *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static uint32_t build_bytes(struct compiler *compiler, const char *bytes, uint32_t count, uint32_t next) {
    for (uint32_t i = count; i > 0; i--) next = add_byte(compiler, (uint8_t)bytes[i - 1], (uint8_t)bytes[i - 1], next);
    return next;
}

static uint32_t build_texts(struct compiler *compiler, const struct text *texts, size_t count, uint32_t from, int depth,
                            uint32_t next);

/* Where texts part, which are the same up to `from` and longer: an edge for each byte that comes there. */
static uint32_t build_fork(struct compiler *compiler, const struct text *texts, size_t count, uint32_t from, int depth,
                           uint32_t next) {
    uint32_t starts[256], edges = 0;
    uint8_t bytes[256];
    for (size_t i = 0, end; i < count && compiler->status == CLINFER_OK; i = end) {
        for (end = i + 1; end < count && texts[end].bytes[from] == texts[i].bytes[from];) end++;
        bytes[edges] = (uint8_t)texts[i].bytes[from];
        starts[edges++] = build_texts(compiler, texts + i, end - i, from + 1, depth + 1, next);
    }
    size_t first = compiler->edge_count;
    for (uint32_t i = 0; i < edges; i++) add_edge(compiler, bytes[i], bytes[i], starts[i]);
    return add(compiler,
               (struct ci_position){.kind = CI_POSITION_BYTES, .first = ci_narrowed_unsigned(first), .count = edges});
}

/* What is left of texts in order behind their first `from` bytes, which they have in common. */
static uint32_t build_texts(struct compiler *compiler, const struct text *texts, size_t count, uint32_t from, int depth,
                            uint32_t next) {
    const struct text *last = &texts[count - 1];
    uint32_t common = from;
    while (common < texts->length && common < last->length && texts->bytes[common] == last->bytes[common]) common++;
    size_t ended = 0; /* texts that have nothing more: the shortest come first */
    while (ended < count && texts[ended].length == common) ended++;
    uint32_t at = next;
    if (ended < count && depth < MOST_TEXTS_DEPTH) {
        at = build_fork(compiler, texts + ended, count - ended, common, depth, next);
    } else if (ended < count) {
        at = add_split(compiler, ci_narrowed_unsigned(count - ended));
        for (size_t i = ended; i < count && compiler->status == CLINFER_OK; i++)
            set_target(compiler, at, ci_narrowed_unsigned(i - ended),
                       build_bytes(compiler, texts[i].bytes + common, texts[i].length - common, next));
    }
    if (ended > 0 && ended < count) {
        uint32_t split = add_split(compiler, 2);
        set_target(compiler, split, 0, at);
        set_target(compiler, split, 1, next);
        at = split;
    }
    return build_bytes(compiler, texts->bytes + from, common - from, at);
}

static uint32_t build_all_texts(struct compiler *compiler, const struct ci_node *node, size_t count, uint32_t next) {
    const struct ci_grammar_maker *maker = compiler->maker;
    struct text *texts = malloc(count * sizeof *texts);
    if (!texts) return fail(compiler, CLINFER_OUT_OF_MEMORY, "out of memory");
    count = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        const struct ci_node *child = &maker->nodes[maker->children[node->first + i]];
        if (child->kind == CI_NODE_TEXT) texts[count++] = (struct text){maker->bytes + child->first, child->count};
    }
    qsort(texts, count, sizeof *texts, by_bytes);
    uint32_t at = build_texts(compiler, texts, count, 0, 0, next);
    free(texts);
    return at;
}

static uint32_t build_choice(struct compiler *compiler, const struct ci_node *node, uint32_t next) {
    const struct ci_grammar_maker *maker = compiler->maker;
    uint32_t texts = 0, target = 0;
    if (node->count == 0) return add_split(compiler, 0);
    const ci_grammar_node *children = maker->children + node->first;
    for (uint32_t i = 0; i < node->count; i++) texts += maker->nodes[children[i]].kind == CI_NODE_TEXT;
    if (texts < LEAST_TEXTS) texts = 0;
    if (texts && texts == node->count) return build_all_texts(compiler, node, texts, next);
    uint32_t split = add_split(compiler, node->count - texts + (texts > 0));
    for (uint32_t i = 0; i < node->count && compiler->status == CLINFER_OK; i++)
        if (!texts || maker->nodes[children[i]].kind != CI_NODE_TEXT)
            set_target(compiler, split, target++, build(compiler, children[i], next));
    if (texts && compiler->status == CLINFER_OK)
        set_target(compiler, split, target, build_all_texts(compiler, node, texts, next));
    return split;
}

enum { MOST_LEAST = 1000 };

static uint32_t least_of(uint64_t bytes) { return bytes < MOST_LEAST ? ci_narrowed_unsigned(bytes) : MOST_LEAST; }

/* How many bytes the node has at least, MOST_LEAST: or more; a token is one. 0 where so many steps do not tell. */
static uint32_t least_bytes(const struct ci_grammar_maker *maker, ci_grammar_node index, int *steps) {
    const struct ci_node *node = &maker->nodes[index];
    uint32_t least = 0;
    if (--*steps < 0 || index == CI_GRAMMAR_NONE) return 0;
    switch ((enum ci_node_kind)node->kind) {
    case CI_NODE_TEXT: return least_of(node->count);
    case CI_NODE_SET:
    case CI_NODE_TOKEN: return 1;
    case CI_NODE_SEQUENCE:
        for (uint32_t i = 0; i < node->count; i++)
            least = least_of(least + least_bytes(maker, maker->children[node->first + i], steps));
        return least;
    case CI_NODE_CHOICE:
        least = node->count ? MOST_LEAST : 0;
        for (uint32_t i = 0; i < node->count && least > 0; i++) {
            uint32_t one = least_bytes(maker, maker->children[node->first + i], steps);
            if (one < least) least = one;
        }
        return least;
    case CI_NODE_REPEAT:
        return node->least ? least_of((uint64_t)node->least * least_bytes(maker, node->first, steps)) : 0;
    case CI_NODE_CALL: return least_bytes(maker, maker->rules[node->first].node, steps);
    }
    return 0;
}

/* Copies of a node whose positions begin at `first`. */
static void keep_copies(struct compiler *compiler, ci_grammar_node node, size_t first, uint32_t count) {
    struct ci_grammar *grammar = compiler->grammar;
    size_t positions = compiler->position_count - first;
    int steps = 1000;
    if (compiler->status != CLINFER_OK || count < CI_GRAMMAR_LEAST_COPIES || positions % count ||
        grammar->copies_count == CI_GRAMMAR_COPIES)
        return;
    uint32_t bytes = least_bytes(compiler->maker, node, &steps);
    if (bytes == 0) return;
    grammar->copies[grammar->copies_count++] = (struct ci_copies){.first = ci_narrowed_unsigned(first),
                                                                  .stride = ci_narrowed_unsigned(positions / count),
                                                                  .count = count,
                                                                  .bytes = bytes};
}

static uint32_t build_repeat(struct compiler *compiler, const struct ci_node *node, uint32_t next) {
    uint32_t at = next, least = node->least;
    if (node->most == CI_GRAMMAR_NO_END) {
        uint32_t again = add_split(compiler, 2), body = build(compiler, node->first, again);
        set_target(compiler, again, 0, body);
        set_target(compiler, again, 1, next);
        at = least > 0 ? body : again; /* what comes again and again is the last that has to come: a++++ is no larger */
        if (least > 0) least--;
    }
    size_t first = compiler->position_count;
    for (uint32_t i = node->least; i < node->most && node->most != CI_GRAMMAR_NO_END; i++) {
        uint32_t body = build(compiler, node->first, at);
        at = add_split(compiler, 2);
        set_target(compiler, at, 0, body);
        set_target(compiler, at, 1, next);
        if (compiler->status != CLINFER_OK) break;
    }
    if (node->most != CI_GRAMMAR_NO_END && node->most > node->least)
        keep_copies(compiler, node->first, first, node->most - node->least);
    first = compiler->position_count;
    for (uint32_t i = 0; i < least && compiler->status == CLINFER_OK; i++) {
        size_t before = compiler->position_count;
        at = build(compiler, node->first, at);
        if (compiler->position_count == before) break; /* nothing, however often */
    }
    if (least > 0) keep_copies(compiler, node->first, first, least);
    return at;
}

static uint32_t build_call(struct compiler *compiler, const struct ci_node *node, uint32_t next) {
    if (!compiler->seen[node->first]) {
        compiler->seen[node->first] = true;
        compiler->waiting[compiler->waiting_count++] = node->first;
    }
    return add(compiler, (struct ci_position){.kind = CI_POSITION_CALL, .rule = node->first, .next = next});
}

/* The position at which the node begins that goes on at `next`. Nodes are not deeper than CI_GRAMMAR_MOST_DEPTH. */
static uint32_t build(struct compiler *compiler, ci_grammar_node index, uint32_t next) {
    const struct ci_grammar_maker *maker = compiler->maker;
    const struct ci_node *node = &maker->nodes[index];
    if (compiler->status != CLINFER_OK) return CI_POSITION_OF_END;
    switch ((enum ci_node_kind)node->kind) {
    case CI_NODE_TEXT:
        for (uint32_t i = node->count; i > 0; i--) {
            uint8_t byte = (uint8_t)maker->bytes[node->first + i - 1];
            next = add_byte(compiler, byte, byte, next);
        }
        return next;
    case CI_NODE_SET: return build_set(compiler, node, next);
    case CI_NODE_SEQUENCE:
        for (uint32_t i = node->count; i > 0; i--) next = build(compiler, maker->children[node->first + i - 1], next);
        return next;
    case CI_NODE_CHOICE: return build_choice(compiler, node, next);
    case CI_NODE_REPEAT: return build_repeat(compiler, node, next);
    case CI_NODE_TOKEN:
        return add(compiler, (struct ci_position){.kind = CI_POSITION_TOKEN,
                                                  .negated = node->negated,
                                                  .token = (int32_t)node->first,
                                                  .next = next});
    case CI_NODE_CALL: return build_call(compiler, node, next);
    }
    return next;
}

/* ---- all ---- */

static enum clinfer_status find_undefined(const struct ci_grammar_maker *maker) {
    for (size_t i = 0; i < maker->rule_count; i++)
        if (maker->rules[i].node == CI_GRAMMAR_NONE)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "rule '%.100s' is called, but nowhere defined",
                           maker->rules[i].name);
    return CLINFER_OK;
}

/* Each rule begins with a split of its own, so that a position tells whose beginning it is. */
static void compile_rules(struct compiler *compiler, uint32_t root) {
    const struct ci_position end = {.kind = CI_POSITION_END};
    add(compiler, end);
    compiler->seen[root] = true;
    compiler->waiting[compiler->waiting_count++] = root;
    while (compiler->waiting_count > 0 && compiler->status == CLINFER_OK) {
        uint32_t rule = compiler->waiting[--compiler->waiting_count];
        uint32_t entry = add_split(compiler, 1);
        compiler->grammar->entries[rule] = entry;
        set_target(compiler, entry, 0, build(compiler, compiler->maker->rules[rule].node, CI_POSITION_OF_END));
    }
}

enum clinfer_status ci_grammar_finish(struct ci_grammar_maker *maker, int root, struct ci_grammar **out) {
    *out = NULL;
    if (maker->status != CLINFER_OK) return maker->status;
    enum clinfer_status status = find_undefined(maker);
    if (status != CLINFER_OK) return status;
    struct compiler compiler = {.maker = maker, .grammar = calloc(1, sizeof *compiler.grammar)};
    compiler.waiting = calloc(maker->rule_count + 1, sizeof *compiler.waiting);
    compiler.seen = calloc(maker->rule_count + 1, sizeof *compiler.seen);
    struct ci_grammar *grammar = compiler.grammar;
    if (grammar) grammar->entries = calloc(maker->rule_count + 1, sizeof *grammar->entries);
    if (!grammar || !grammar->entries || !compiler.waiting || !compiler.seen) {
        fail(&compiler, CLINFER_OUT_OF_MEMORY, "out of memory");
    } else {
        grammar->root = (uint32_t)root;
        grammar->rule_count = ci_narrowed_unsigned(maker->rule_count);
        compile_rules(&compiler, grammar->root);
        grammar->position_count = ci_narrowed_unsigned(compiler.position_count);
        grammar->edge_count = ci_narrowed_unsigned(compiler.edge_count);
        grammar->target_count = ci_narrowed_unsigned(compiler.target_count);
        if (compiler.status == CLINFER_OK) compiler.status = ci_grammar_analyse(grammar, maker->rules);
    }
    free(compiler.waiting);
    free(compiler.seen);
    if (compiler.status == CLINFER_OK)
        *out = grammar;
    else
        ci_grammar_destroy(grammar);
    return compiler.status;
}

size_t ci_grammar_bytes(const struct ci_grammar *grammar) {
    return sizeof *grammar + grammar->position_count * sizeof *grammar->positions +
           grammar->edge_count * sizeof *grammar->edges + grammar->target_count * sizeof *grammar->targets +
           grammar->rule_count * sizeof *grammar->entries;
}

void ci_grammar_destroy(struct ci_grammar *grammar) {
    if (!grammar) return;
    free(grammar->positions);
    free(grammar->edges);
    free(grammar->targets);
    free(grammar->entries);
    free(grammar);
}
